//! How it is printed: 100 columns, colours on a terminal only.

use std::time::Duration;

use anstream::println;
use owo_colors::OwoColorize as _;

use crate::rig::Admission;
use crate::rig::world::{HOST, REPOSITORY};
use crate::stories::Stage;

const COLUMNS: usize = 100;
/// Where text begins: the verdicts are to the left of it.
const INDENT: usize = 13;
/// In what a registry was asked: long, and the same every time.
const REPOSITORY_AS_FOUND: &str = "/v2/zionsworking/cicd-supply-chain-security/";

/// What a case has to come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// Let in.
    Admitted,
    /// Kept out for this reason.
    Denied(&'static str),
    /// Kept out because it is not known, for this reason.
    Undecided(&'static str),
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Admitted => f.write_str("admitted"),
            Self::Denied(code) => write!(f, "denied, {code}"),
            Self::Undecided(code) => write!(f, "undecided, {code}"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    All,
    FirstReason,
    None,
}

/// One question, asked in one way or several that must come to the same.
pub struct Case {
    asked: String,
    expected: Expected,
    runs: Vec<(String, Admission)>,
    problems: Vec<String>,
    checked: usize,
    detail: Detail,
}

impl Case {
    /// `asked` is the image, two blanks and what is to be known about it.
    pub fn new(asked: &str, expected: Expected) -> Self {
        let (asked, detail) = (asked.to_owned(), Detail::All);
        Self { asked, expected, runs: Vec::new(), problems: Vec::new(), checked: 0, detail }
    }

    /// Shows the verdict alone.
    pub fn brief(mut self) -> Self {
        self.detail = Detail::None;
        self
    }

    /// Shows the first reason alone.
    pub fn first_reason(mut self) -> Self {
        self.detail = Detail::FirstReason;
        self
    }

    /// An outcome to be shown, and checked.
    pub fn add(&mut self, label: &str, admission: Admission) {
        self.check(label, &admission);
        self.runs.push((label.to_owned(), admission));
    }

    /// An outcome that is checked alone.
    pub fn check(&mut self, label: &str, admission: &Admission) {
        self.checked += 1;
        let undecided = admission.message().contains("could not be decided");
        let found = match (admission.allowed(), admission.code()) {
            (true, _) => "admitted".to_owned(),
            (false, code) if undecided => format!("undecided, {code}"),
            (false, code) => format!("denied, {code}"),
        };
        self.demand(admission.mutated.allowed, "the mutating call denies nothing");
        if found != self.expected.to_string() {
            self.problems.push(format!("{label}: {found} instead of {}: {}", self.expected, admission.message()));
        }
    }

    /// Something else that must hold.
    pub fn demand(&mut self, holds: bool, what: &str) {
        if !holds {
            self.problems.push(format!("it does not hold that {what}"));
        }
    }
}

/// What is printed, and the count of it.
#[derive(Default)]
pub struct Page {
    stories: usize,
    wrong: Vec<usize>,
    admissions: usize,
}

impl Page {
    /// What there is.
    pub fn head(&self, stage: &Stage) {
        println!("{}", "Bonafide: signed Pods in, unsigned Pods out".bold());
        let webhook = stage.webhook.address();
        for (name, what) in [
            ("webhook", format!("https://{webhook} /mutate /validate, called as kube-apiserver calls")),
            ("policy", "policy/kyverno-verify-images.yaml unchanged; policy/verify-images.yaml must agree".to_owned()),
            ("images", format!("{HOST}/{REPOSITORY}:TAG")),
            ("registry", format!("{} in place of ghcr.io and docker.io", stage.world.registry.url())),
            (
                "evidence",
                "made here by a Sigstore of our own, for GitHub workflow identities, in two formats:".to_owned(),
            ),
            ("", "bundle = OCI referrers, Rekor v2 and a time stamp, as cosign 3 writes them;".to_owned()),
            ("", "legacy = .sig and .att tags, Rekor v1, as cosign 2 does".to_owned()),
            ("times", format!("of both calls of an admission together{}", build())),
        ] {
            println!("  {:INDENT$}{what}", name.dimmed(), INDENT = INDENT - 2);
        }
    }

    /// The next story begins.
    pub fn story(&mut self, title: &str) {
        self.stories += 1;
        println!("\n{} {}", format!("{:>2}", self.stories).bold().cyan(), title.bold());
    }

    /// Prints a case.
    pub fn case(&mut self, case: Case) {
        self.admissions += case.checked;
        let verdict = match (case.problems.is_empty(), case.expected) {
            (false, _) => format!("{:<10}", "WRONG").magenta().bold().to_string(),
            (true, Expected::Admitted) => format!("{:<10}", "ADMITTED").green().bold().to_string(),
            (true, Expected::Denied(_)) => format!("{:<10}", "DENIED").red().bold().to_string(),
            (true, Expected::Undecided(_)) => format!("{:<10}", "UNDECIDED").yellow().bold().to_string(),
        };
        let times = times(&case.runs);
        let (what, about) = case.asked.split_once("  ").unwrap_or((&case.asked, ""));
        let width = INDENT + what.chars().count() + about.chars().count() + 2;
        let shown = format!("{what}  {}", about.dimmed());
        match times.chars().count() + width {
            fits if fits < COLUMNS => println!("   {verdict}{shown}{}{times}", " ".repeat(COLUMNS - fits)),
            _ => {
                println!("   {verdict}{shown}");
                print_wrapped(INDENT, &times, |line| line.to_owned());
            }
        }
        for problem in &case.problems {
            print_wrapped(INDENT, problem, |line| line.magenta().to_string());
        }
        if let (Some((_, first)), true) = (case.runs.first(), case.problems.is_empty()) {
            print_detail(first, case.detail);
        }
        if !case.problems.is_empty() && self.wrong.last() != Some(&self.stories) {
            self.wrong.push(self.stories);
        }
    }

    /// The sum. Whether everything was as expected.
    pub fn foot(&self, elapsed: Duration) -> bool {
        let (all, good) = (self.stories, self.stories - self.wrong.len());
        let line = format!("{all} stories, {good} as expected");
        let about = format!("({} admissions, {:.1} s)", self.admissions, elapsed.as_secs_f64());
        let line = if good == all { line.green().bold().to_string() } else { line.red().bold().to_string() };
        println!("\n{line} {}", about.dimmed());
        println!("\nNext");
        for (command, what) in [
            ("make policy-test", "the same policies, on manifests, offline"),
            ("cargo run -- serve --policy policy/ --tls-self-signed", "this webhook, to call by hand"),
            ("cargo run -- verify --help", "one image, with cosign's flags"),
            ("make e2e", "the same on a real kube-apiserver"),
            ("make bench", "how fast, in a release build"),
        ] {
            println!("  {command:<55}{}", what.dimmed());
        }
        good == all
    }
}

fn build() -> &'static str {
    if cfg!(debug_assertions) { "; this is a debug build" } else { "" }
}

/// `bundle 12 ms   legacy 9 ms`
fn times(runs: &[(String, Admission)]) -> String {
    let time = |(label, admission): &(String, Admission)| {
        let ms = admission.elapsed().as_secs_f64() * 1e3;
        let blank = if label.is_empty() { "" } else { " " };
        format!("{label}{blank}{ms:.0} ms")
    };
    runs.iter().map(time).collect::<Vec<_>>().join(", ")
}

fn print_detail(admission: &Admission, detail: Detail) {
    match detail {
        Detail::None => {}
        _ if admission.allowed() => {
            let patch = admission.mutated.replaced();
            for (path, image) in &patch {
                let (name, digest) = image.split_once('@').unwrap_or((image, ""));
                if patch.len() == 1 {
                    println!("{:INDENT$}patch {path}: {name}\n{:INDENT$}      @{digest}", "", "");
                } else {
                    let (tag, digest) = (&name[name.rfind(':').unwrap_or(0)..], digest.get(..19).unwrap_or(digest));
                    println!("{:INDENT$}patch {path}: ...{tag}@{digest}...", "");
                }
            }
            if let ([vouched, ..], true) = (&admission.validated.vouched()[..], patch.len() == 1) {
                let subject = vouched["subject"].as_str().unwrap_or_default();
                print_wrapped(INDENT, &format!("signed by {subject}"), |line| line.dimmed().to_string());
            }
        }
        _ => {
            let mut reasons = reasons(admission.message());
            if detail == Detail::FirstReason {
                reasons.truncate(1);
            }
            for reason in reasons {
                print_wrapped(INDENT, &reason, coloured);
            }
        }
    }
}

/// The lines of a denial, without what the question has said already. Equal ones once.
fn reasons(message: &str) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    for line in message.lines() {
        let site = line.split(": image ").next().unwrap_or_default();
        let (_, after) = line.split_once(": policy ").unwrap_or(("", line));
        let (_, reason) = after.split_once(": ").unwrap_or(("", after));
        let (_, reason) = reason.split_once(": ").unwrap_or(("", reason));
        let reason = reason.replace(REPOSITORY_AS_FOUND, "/v2/.../");
        let reason = if site == "container \"app\"" { reason } else { format!("{site}: {reason}") };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons
}

/// The reason code stands out: the word with capitals inside that ends in a colon.
fn coloured(line: &str) -> String {
    let is_code = |word: &str| {
        let Some(code) = word.strip_suffix(':') else { return false };
        let capitals = code.bytes().filter(u8::is_ascii_uppercase).count();
        capitals > 1 && code.bytes().all(|byte| byte.is_ascii_alphabetic()) || code == "Timeout"
    };
    let words = line.split(' ').map(|word| if is_code(word) { word.yellow().to_string() } else { word.to_owned() });
    words.collect::<Vec<_>>().join(" ")
}

/// Prints `text` indented, broken at blanks; a word that does not fit a line is broken after a slash.
fn print_wrapped(indent: usize, text: &str, paint: impl Fn(&str) -> String) {
    for line in wrapped(text, COLUMNS - indent) {
        println!("{}{}", " ".repeat(indent), paint(&line));
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut rest = word;
        loop {
            let line = lines.last_mut().expect("never empty");
            let blank = usize::from(!line.is_empty());
            if line.len() + blank + rest.len() <= width {
                line.push_str(&" ".repeat(blank));
                line.push_str(rest);
                break;
            }
            if rest.len() <= width {
                lines.push(String::new());
                continue;
            }
            // Longer than any line: as much of it as fits here.
            let room = width.saturating_sub(line.len() + blank);
            let at = rest.as_bytes()[..room].iter().rposition(|byte| matches!(byte, b'/' | b'@'));
            let Some(at) = at.map(|at| at + 1).filter(|at| *at > 10) else {
                if line.is_empty() {
                    lines.push(rest.to_owned());
                    break;
                }
                lines.push(String::new());
                continue;
            };
            line.push_str(&" ".repeat(blank));
            line.push_str(&rest[..at]);
            rest = &rest[at..];
            lines.push(String::new());
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}
