//! The registry and the Sigstore in a process of their own, so that what they use is not taken for the
//! webhook's or the driver's. Commands are lines on standard input, each answered by one line.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde_json::json;

use super::support::{
    Auth, Authority, Identity, On, Registry, SharedStore, registry::Options, sbom, store::OCI_MANIFEST,
};

/// The argument by which the driver starts itself as a registry.
pub const ROLE: &str = "registry";

/// The formats in which evidence is stored.
#[derive(Clone, Copy, Debug)]
pub enum Format {
    /// cosign 2: the tags `sha256-<hex>.sig` and `.att`, with a signed entry timestamp.
    Legacy,
    /// cosign 3: two bundles in referrers, with a Rekor v2 entry and an RFC 3161 time stamp.
    Bundle,
}

impl Format {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Bundle => "bundle",
        }
    }
}

/// The registry's process. Dropping it ends it.
pub struct Remote {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// HTTPS, bearer tokens, and the delay that [`Remote::delay`] sets.
    pub https: String,
    /// Plain HTTP, open to all, without delay.
    pub http: String,
    /// The certificate authority of `https`.
    pub ca: PathBuf,
    /// What the images are signed under.
    pub trusted_root: PathBuf,
}

impl Remote {
    /// Starts the process, which leaves its certificates in `dir`.
    pub fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .arg(ROLE)
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the driver starts");
        let commands = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let (ca, trusted_root) = (dir.join("registry-ca.pem"), dir.join("trusted_root.json"));
        let mut remote = Self { child, commands, answers, https: String::new(), http: String::new(), ca, trusted_root };
        let urls = remote.answer();
        let (https, http) = urls.split_once(' ').expect("two addresses");
        (remote.https, remote.http) = (https.to_owned(), http.to_owned());
        remote
    }

    /// Pushes `count` images under the tags `<tag>-0` and on, each with signature and SBOM attestation;
    /// returns their digests.
    pub fn push(&mut self, format: Format, repository: &str, tag: &str, count: usize) -> Vec<String> {
        let answer = self.tell(&format!("push {} {repository} {tag} {count}", format.as_str()));
        answer.split(' ').map(str::to_owned).collect()
    }

    /// Makes every request to `https` take this much longer.
    pub fn delay(&mut self, delay: Duration) {
        self.tell(&format!("delay {}", delay.as_millis()));
    }

    /// The requests to `https` since the last call: how many, and of which kinds.
    pub fn requests(&mut self) -> (usize, String) {
        let answer = self.tell("requests");
        let (count, kinds) = answer.split_once(' ').expect("a count and kinds");
        (count.parse().expect("a number"), kinds.to_owned())
    }

    fn tell(&mut self, command: &str) -> String {
        writeln!(self.commands, "{command}").expect("the registry listens");
        self.commands.flush().expect("the registry listens");
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the registry answers");
        assert!(line.ends_with('\n'), "the registry's process ended");
        line.trim_end_matches('\n').to_owned()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the registry's process does: serves until its standard input ends.
pub fn main(dir: &Path) {
    let sigstore = Authority::new();
    let store = SharedStore::default();
    let https = Options { tls: true, auth: Auth::bearer(), store: Some(store.clone()), ..Options::default() };
    let https = Registry::launch(https);
    let http = Registry::launch(Options { store: Some(store), ..Options::default() });
    fs::write(dir.join("registry-ca.pem"), https.ca_pem()).expect("a writable directory");
    fs::write(dir.join("trusted_root.json"), sigstore.trusted_root_json()).expect("a writable directory");
    println!("{} {}", https.url(), http.url());
    for line in std::io::stdin().lines() {
        let line = line.expect("text");
        let words: Vec<_> = line.split(' ').collect();
        let answer = match words[..] {
            ["push", format, repository, tag, count] => {
                let count: usize = count.parse().expect("a number");
                let images = (0..count).map(|at| push(&https, &sigstore, format, repository, &format!("{tag}-{at}")));
                images.collect::<Vec<_>>().join(" ")
            }
            ["delay", millis] => {
                https.set_delay(Duration::from_millis(millis.parse().expect("a number")));
                "ok".to_owned()
            }
            ["requests"] => requests(&https),
            _ => panic!("no such command: {line}"),
        };
        println!("{answer}");
    }
}

/// One image, no larger than it has to be, with its evidence.
fn push(registry: &Registry, sigstore: &Authority, format: &str, repository: &str, tag: &str) -> String {
    let manifest = json!({ "schemaVersion": 2, "layers": [], "annotations": { "tag": tag } }).to_string();
    let digest = registry.push_manifest(repository, Some(tag), OCI_MANIFEST, manifest.into_bytes());
    let signer = sigstore.identity(Identity::zionsworking()).repository(&format!("ghcr.io/{repository}"));
    let sbom = sbom::spdx();
    if format == Format::Legacy.as_str() {
        let layers = [signer.legacy_signature(&digest), signer.legacy_attestation(&digest, sbom::SPDX, &sbom)];
        registry.push_legacy(repository, &digest, layers);
    } else {
        let signer = signer.rekor_v2();
        registry.push_bundle(repository, &digest, &signer.bundle_signature(&digest));
        registry.push_bundle(repository, &digest, &signer.bundle_attestation(&digest, sbom::SPDX, &sbom));
    }
    digest
}

fn requests(registry: &Registry) -> String {
    let requests = registry.requests();
    registry.clear_requests();
    let count = |on: On| requests.iter().filter(|request| on.covers(&request.path)).count();
    let kinds = [
        ("manifests", count(On::Manifests)),
        ("referrers", count(On::Referrers)),
        ("blobs", count(On::Blobs)),
        ("token", count(On::Token)),
    ];
    let kinds: Vec<_> = kinds.iter().filter(|kind| kind.1 > 0).map(|(name, count)| format!("{count} {name}")).collect();
    format!("{} {}", requests.len(), kinds.join(", "))
}
