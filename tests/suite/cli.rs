//! The command line as a user meets it: exit codes, and errors that name the thing.

use std::io::Write as _;

use super::binary::{Served, arg, pod, run};

const IDENTITY: [&str; 4] = [
    "--certificate-identity-regexp",
    "^https://github.com/zionsworking/",
    "--certificate-oidc-issuer",
    "https://token.actions.githubusercontent.com",
];
const IMAGE: &str = "ghcr.io/zionsworking/cicd-supply-chain-security";

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

fn evidence() -> [String; 4] {
    let (layout, root) = (arg("policy/test/evidence"), arg("policy/test/evidence/trusted_root.json"));
    ["--layout".to_owned(), layout, "--trusted-root".to_owned(), root]
}

#[test]
fn help_and_usage() {
    for command in [&["--help"][..], &["serve", "--help"], &["apply", "--help"], &["verify", "--help"], &["--version"]]
    {
        let ended = run(command);
        assert_eq!((ended.status, ended.stderr.as_str()), (0, ""), "{command:?}");
    }
    for (command, word) in [
        (&["verify", "--no-such-flag", "nginx"][..], "--no-such-flag"),
        (&["verify"], "<IMAGE>"),
        (&["verify", "nginx"], "--certificate-identity"),
        (&["verify", "--certificate-identity", "x", "nginx"], "--certificate-oidc-issuer"),
        (&["verify", "--certificate-oidc-issuer", "x", "nginx"], "--certificate-identity"),
        (&["verify", "sha256:abc123"], "image ID"),
        (&["verify-attestation", "--type", "spdxjsn", "nginx"], "spdxjsn"),
        (&["apply", "policy"], "--resource"),
        (&["serve", "--policy", "policy"], "--tls-self-signed"),
        (&["serve", "--policy", "policy", "--tls-cert", "x"], "--tls-key"),
        (&["no-such-command"], "no-such-command"),
    ] {
        let ended = run(command);
        assert_eq!(ended.status, 2, "{command:?}");
        assert!(ended.stderr.contains(word), "{command:?}: {}", ended.stderr);
    }
    let ended = run(&["completions", "bash"]);
    assert!(ended.status == 0 && ended.stdout.contains("verify-attestation"), "{ended:?}");
}

#[test]
fn an_unreadable_policy_names_file_line_and_field() {
    let policy =
        "apiVersion: bonafide.dev/v1beta1\nkind: ImagePolicy\nmetadata: {name: p}\nspec:\n  match:\n    imagse: [a]\n";
    let (policy, pods) = (file(policy), file(&pod("nginx").to_string()));
    for command in [
        &["apply", path(&policy), "-r", path(&pods)][..],
        &["serve", "--policy", path(&policy), "--tls-self-signed", "--listen", "127.0.0.1:0"],
    ] {
        let ended = run(command);
        assert_eq!(ended.status, 2, "{ended:?}");
        let expected = format!("{}:6: spec.match", path(&policy));
        assert!(ended.stderr.contains(&expected) && ended.stderr.contains("imagse"), "{}", ended.stderr);
    }
}

#[test]
fn one_policy_name_twice_is_an_error() {
    let pods = file(&pod("nginx").to_string());
    let policy = arg("policy/default-deny.yaml");
    let copy = file(&std::fs::read_to_string(&policy).unwrap());
    let ended = run(&["apply", &policy, path(&copy), "-r", path(&pods)]);
    assert_eq!(ended.status, 2);
    assert!(ended.stderr.contains("default-deny") && ended.stderr.contains("twice"), "{}", ended.stderr);
}

#[test]
fn an_unknown_log_is_an_error_of_the_policy() {
    let policy = std::fs::read_to_string(arg("policy/kyverno-verify-images.yaml")).unwrap();
    let policy = file(&policy.replace("https://rekor.sigstore.dev", "https://rekor.example.com"));
    let pods = file(&pod("nginx").to_string());
    let ended = run(&["apply", path(&policy), "-r", path(&pods)]);
    assert_eq!(ended.status, 2);
    assert!(ended.stderr.contains("rekor.url") && ended.stderr.contains("rekor.example.com"), "{}", ended.stderr);
}

#[test]
fn apply_says_what_is_left_open() {
    let pods = file(&pod("docker.io/evil/cicd-supply-chain-security").to_string());
    let policy = arg("policy/verify-images.yaml");
    let ended = run(&[&["apply", &policy, "-r", path(&pods)][..], &evidence().each_ref().map(String::as_str)].concat());
    assert_eq!(ended.status, 0, "{ended:?}");
    for words in ["nothing was checked", "docker.io/evil/cicd-supply-chain-security", "fallback: true", "skip: 1"] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
}

#[test]
fn apply_reads_lists_workloads_and_objects_of_no_interest() {
    let template = pod(&format!("{IMAGE}:1.0.0-unsigned"))["spec"].clone();
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": {"spec": template}}},
    ]});
    let resources = file(&format!("---\n---\n{}\n---\n{}\n", pod(&format!("{IMAGE}:1.0.0")), list));
    let policy = arg("policy/verify-images.yaml");
    let ended =
        run(&[&["apply", &policy, "-r", path(&resources)][..], &evidence().each_ref().map(String::as_str)].concat());
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(ended.stdout.contains("default/Deployment/d"), "{}", ended.stdout);
    assert!(ended.stdout.ends_with("pass: 1, fail: 1, warn: 0, error: 0, skip: 1\n"), "{}", ended.stdout);
}

#[test]
fn what_is_no_resource_is_an_error() {
    let policy = arg("policy/verify-images.yaml");
    for (text, words) in [("", "no resource"), ("just text", "apiVersion"), ("a: [", "not valid YAML")] {
        let resources = file(text);
        let ended = run(&["apply", &policy, "-r", path(&resources)]);
        assert_eq!(ended.status, 2, "{text:?}: {ended:?}");
        assert!(ended.stderr.contains(words), "{text:?}: {}", ended.stderr);
    }
}

/// As the webhook: what cannot be read is denied, and what comes after it is still looked at.
#[test]
fn an_unreadable_resource_is_denied_and_does_not_end_the_run() {
    let broken = "apiVersion: v1\nkind: Pod\nmetadata: {name: broken}\nspec: {containers: 7}\n";
    let resources = file(&format!("{broken}---\n{}\n", pod(&format!("{IMAGE}:1.0.0"))));
    let policy = arg("policy/verify-images.yaml");
    let ended =
        run(&[&["apply", &policy, "-r", path(&resources)][..], &evidence().each_ref().map(String::as_str)].concat());
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(ended.stdout.contains("ObjectUnreadable") && ended.stdout.contains("not a Pod"), "{}", ended.stdout);
    assert!(ended.stdout.ends_with("pass: 1, fail: 1, warn: 0, error: 0, skip: 0\n"), "{}", ended.stdout);
}

#[test]
fn verify_sh_looks_at_one_digest() {
    let evidence = evidence();
    let script = |image: &str| {
        std::process::Command::new("sh")
            .arg(arg("policy/verify.sh"))
            .args(["--trusted-root", &evidence[3], image, "--", &evidence[0], &evidence[1]])
            .env("BONAFIDE", super::binary::BINARY)
            .output()
            .unwrap()
    };
    let ended = script(&format!("{IMAGE}:1.0.0"));
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains(&format!("SPDX attestation of {IMAGE}@sha256:")), "{stderr}");
    assert_eq!(script(&format!("{IMAGE}:1.0.0-unsigned")).status.code(), Some(1));
    assert_eq!(script(&format!("{IMAGE}:no-such-tag")).status.code(), Some(2));
}

#[test]
fn could_not_decide_is_not_denied() {
    // Nothing listens on port 1.
    let nowhere = ["--registry-mirror", "ghcr.io=http://127.0.0.1:1"];
    let image = format!("{IMAGE}:1.0.0");
    let ended = run(&[&["verify"], &IDENTITY[..], &nowhere, &[&image]].concat());
    assert_eq!(ended.status, 2, "{ended:?}");
    assert!(ended.stderr.contains("RegistryUnreachable"), "{}", ended.stderr);
    let (policy, pods) = (arg("policy/verify-images.yaml"), file(&pod(&image).to_string()));
    let ended = run(&[&["apply", &policy, "-r", path(&pods)], &nowhere[..]].concat());
    assert_eq!(ended.status, 2, "{ended:?}");
    assert!(ended.stdout.contains("RegistryUnreachable") && ended.stdout.contains("error: 1"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("SignatureMissing"), "{}", ended.stdout);
}

#[test]
fn verify_prints_for_people_and_for_scripts() {
    let evidence = evidence();
    let evidence = evidence.each_ref().map(String::as_str);
    let image = format!("{IMAGE}:1.0.0");
    let ended = run(&[&["verify", "--output", "text"], &IDENTITY[..], &evidence, &[&image]].concat());
    assert_eq!(ended.status, 0, "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 2, "the legacy signature and the bundle: {}", ended.stdout);
    assert!(!ended.stdout.contains('\u{1b}') && !ended.stderr.contains('\u{1b}'), "no colour without a terminal");
    let missing = format!("{IMAGE}:no-such-tag");
    let ended = run(&[&["verify"], &IDENTITY[..], &evidence, &[&missing]].concat());
    assert_eq!(ended.status, 2);
    assert!(ended.stderr.contains("ImageNotFound") && ended.stderr.contains("no-such-tag"), "{}", ended.stderr);
    // One of several images is bad: all are looked at, and the worst outcome counts.
    let unsigned = format!("{IMAGE}:1.0.0-unsigned");
    let ended = run(&[&["verify"], &IDENTITY[..], &evidence, &[&unsigned, &image]].concat());
    assert_eq!(ended.status, 1);
    assert!(ended.stderr.contains("SignatureMissing") && ended.stdout.contains("docker-manifest-digest"), "{ended:?}");
}

#[test]
fn the_server_answers_what_is_no_review_with_a_reason() {
    let server = Served::start(&["--policy", &arg("policy"), "--layout", &arg("policy/test/evidence")]);
    for (body, status, words) in [
        (&b""[..], 400, "AdmissionReview"),
        (b"{", 400, "AdmissionReview"),
        (b"[]", 400, "AdmissionReview"),
        (b"\xff\xfe", 400, "AdmissionReview"),
        (br#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}"#, 400, "v1beta1"),
        (br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#, 400, "no request"),
        (
            br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","kind":{"group":"","version":"v1","kind":"Pod"},"operation":"CREATE"}}"#,
            400,
            "no request.object",
        ),
    ] {
        let (found, answer) = server.post("/validate", body.to_vec());
        assert_eq!(found, status, "{answer}");
        assert!(answer.contains(words), "{answer}");
    }
    let (found, answer) = server.post("/validate", vec![b' '; 9 << 20]);
    assert!(found == 413 && answer.contains("8388608"), "{found} {answer}");
    assert_eq!(server.post("/other", Vec::new()).0, 404);
    // And it still answers what is one.
    let answer = server.validate("docker.io/library/nginx:latest");
    assert_eq!((&answer["allowed"], &answer["status"]["reason"]), (&false.into(), &"DeniedByPolicy".into()));
    assert_eq!(server.terminate(), Some(0));
}
