//! The house keeps its own rules: layers, documents that say what is true, one crypto provider.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use super::binary::{repo, run};

/// The folders and files that have no tokio, no HTTP, no file system and no clock.
const PURE: [&str; 8] = [
    "src/image.rs",
    "src/image",
    "src/admission.rs",
    "src/admission",
    "src/policy",
    "src/evidence",
    "src/verify",
    "src/decision.rs",
];
const EDGES: [&str; 9] =
    ["tokio", "reqwest", "hyper", "axum", "std::fs", "std::net::Tcp", "Timestamp::now", "Instant::now", "SystemTime"];

fn sources(path: &Path, found: &mut Vec<(String, String)>) {
    if path.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| sources(entry, found));
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        found.push((path.display().to_string(), fs::read_to_string(path).unwrap()));
    }
}

#[test]
fn the_pure_layers_reach_for_nothing() {
    let mut files = Vec::new();
    PURE.iter().for_each(|path| sources(&repo(path), &mut files));
    assert!(files.len() > 20, "the layers were moved?");
    for (name, text) in files {
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for edge in EDGES {
                assert!(!line.contains(edge), "{name}:{}: {edge} in a pure layer", number + 1);
            }
        }
    }
}

#[test]
fn every_command_of_the_readme_is_there() {
    let readme = fs::read_to_string(repo("README.md")).unwrap();
    let help = run(&["--help"]).stdout;
    let makefile = fs::read_to_string(repo("Makefile")).unwrap();
    let words: Vec<&str> =
        readme.split_whitespace().map(|word| word.trim_matches(['`', '.', ',', ':', '(', ')'])).collect();
    let mut commands = BTreeSet::new();
    for pair in words.windows(2) {
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        if pair[0] == "make" && is_word(pair[1]) {
            assert!(makefile.contains(&format!("\n{}:", pair[1])), "make {} is not in the Makefile", pair[1]);
        }
        if pair[0] == "bonafide" && is_word(pair[1]) {
            assert!(help.contains(&format!("\n  {}", pair[1])), "`bonafide {}` is not a command", pair[1]);
            commands.insert(pair[1]);
        }
    }
    for command in ["serve", "apply", "verify", "verify-attestation", "completions"] {
        assert!(commands.contains(command), "the README does not show `bonafide {command}`");
    }
    for flag in readme
        .split(|c: char| !c.is_ascii_lowercase() && c != '-')
        // `cargo build --release` is not ours.
        .filter(|word| word.starts_with("--") && word.len() > 4 && *word != "--release")
    {
        let known = ["serve", "apply", "verify", "verify-attestation"].iter().any(|command| {
            run(&[command, "--help"]).stdout.contains(&format!("{flag} "))
                || run(&[command, "--help"]).stdout.contains(&format!("{flag}\n"))
        });
        assert!(known, "the README's {flag} is no flag of any command");
    }
}

#[test]
fn every_reason_code_is_in_the_reference() {
    let reference = fs::read_to_string(repo("policy/README.md")).unwrap();
    let mut codes = BTreeSet::new();
    for file in ["src/verify/rejection.rs", "src/registry.rs", "src/decision.rs", "src/server/routes.rs"] {
        let text = fs::read_to_string(repo(file)).unwrap();
        for line in text.lines().filter(|line| line.contains("=> \"") || line.contains("Class::Invalid, \"")) {
            let code = line.split('"').nth(1).unwrap();
            if code.len() > 5
                && code.bytes().all(|b| b.is_ascii_alphanumeric())
                && code.starts_with(|c: char| c.is_ascii_uppercase())
            {
                codes.insert(code.to_owned());
            }
        }
    }
    assert!(codes.len() > 40, "{codes:?}");
    for code in codes {
        assert!(reference.contains(&format!("`{code}`")), "policy/README.md does not explain {code}");
    }
}

#[test]
fn there_is_one_crypto_provider() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--prefix", "none", "--edges", "normal,build"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.contains("aws-lc-rs v"), "{tree}");
    for other in ["ring v", "openssl-sys v", "native-tls v"] {
        assert!(!tree.lines().any(|line| line.starts_with(other)), "{other} is in the tree");
    }
}

#[test]
fn the_top_level_holds_what_it_should() {
    let known = [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "charts",
        "deploy",
        "policy",
        "tests",
        "Dockerfile",
        "README.md",
        "Makefile",
        "LICENSE",
        "target",
    ];
    for entry in fs::read_dir(repo("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with('.') || known.contains(&name.as_str()), "{name} at the top level");
    }
}
