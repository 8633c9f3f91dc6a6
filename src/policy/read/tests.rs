use super::*;
use crate::policy::{Mode, PolicySet};

const KYVERNO: &str = include_str!("../../../policy/kyverno-verify-images.yaml");
const OURS: &str = include_str!("../../../policy/verify-images.yaml");
const DEFAULT_DENY: &str = include_str!("../../../policy/default-deny.yaml");

fn read(text: &str) -> Result<PolicyFile, ReadError> {
    read_policies(text, "policy/x.yaml", &ReadContext::default())
}

fn refused(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

fn names(file: &PolicyFile) -> Vec<&str> {
    file.policies.iter().map(|policy| policy.name.as_str()).collect()
}

#[test]
fn the_files_in_the_policy_folder_load_together() {
    let kyverno = read(KYVERNO).unwrap();
    let (ours, default_deny) = (read(OURS).unwrap(), read(DEFAULT_DENY).unwrap());
    assert_eq!(names(&kyverno), ["verify-images/check-cosign-signature", "verify-images/require-sbom-attestation"]);
    assert_eq!((names(&ours), names(&default_deny)), (vec!["zionsworking"], vec!["default-deny"]));
    assert!(ours.policies[0].notes.is_empty() && default_deny.policies[0].notes.is_empty());
    // Both ask for the same, so that what one has verified the other need not.
    let asked = |file: &PolicyFile| {
        file.policies.iter().flat_map(|policy| &policy.requirements).map(|one| one.id()).collect::<Vec<_>>()
    };
    assert_eq!(asked(&kyverno), asked(&ours));
    let set =
        PolicySet::new([kyverno, ours, default_deny].into_iter().flat_map(|file| file.policies).collect()).unwrap();
    let selected = |image: &str| {
        let image = image.parse().unwrap();
        set.select(&image, Some("default")).iter().map(|policy| policy.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        selected("GHCR.IO/zionsworking/cicd-supply-chain-security:1.0.0"),
        ["verify-images/check-cosign-signature", "verify-images/require-sbom-attestation", "zionsworking"]
    );
    assert_eq!(selected("nginx"), ["default-deny"]);
}

#[test]
fn every_kind_of_error_has_file_line_and_field() {
    let change = |from: &str, to: &str| {
        assert!(KYVERNO.contains(from), "{from}");
        refused(&KYVERNO.replacen(from, to, 1))
    };
    for (found, expected) in [
        // An unknown field.
        (
            change("background:", "backgroud:"),
            "policy/x.yaml:8: spec.backgroud: unknown field `backgroud`, expected one of",
        ),
        (
            change("count: 1", "cuont: 1"),
            "policy/x.yaml:15: spec.rules[0].verifyImages[0].attestors[0].cuont: unknown field `cuont`",
        ),
        // A wrong type.
        (
            change("count: 1", "count: one"),
            "policy/x.yaml:15: spec.rules[0].verifyImages[0].attestors[0].count: invalid type: string \"one\"",
        ),
        // A missing field.
        (
            change("    - name: check-cosign-signature\n      match", "    - match"),
            "policy/x.yaml:10: spec.rules[0]: missing field `name`",
        ),
        // What no rule allows.
        (
            change("https://rekor.sigstore.dev", "https://rekor.example.com"),
            "policy/x.yaml:20: spec.rules[0].verifyImages[0].attestors[0].entries[0].keyless.rekor.url: \
             \"https://rekor.example.com\" is no known transparency log",
        ),
        (
            change("required: true", "required: false"),
            "policy/x.yaml:23: spec.rules[0].verifyImages[0].required: required: false is not supported",
        ),
        (
            change("subject: \"https://github.com/zionsworking/*\"", "subject: \"*\""),
            "policy/x.yaml:18: spec.rules[0].verifyImages[0].attestors[0].entries[0].keyless.subject: \"*\" matches anything",
        ),
        (
            change("kinds: [Pod]", "kinds: [Job]"),
            "policy/x.yaml:11: spec.rules[0].match.any[0].resources.kinds[0]: kind \"Job\"",
        ),
        // The object around the policy.
        (change("spec:", "sepc:"), "policy/x.yaml:4: sepc: unknown field `sepc`"),
        (change("{name: verify-images}", "{name: Verify}"), "policy/x.yaml:3: metadata.name: \"Verify\" is no name"),
        (change("{name: verify-images}", "{name: 7}"), "policy/x.yaml:3: metadata.name: it takes a text"),
        (change("{name: verify-images}", "{}"), "policy/x.yaml:3: metadata: it has no name"),
        (
            change("kind: ClusterPolicy", "kind: Policy"),
            "policy/x.yaml:2: kind: Policy of kyverno.io/v1 is not supported yet",
        ),
        (
            change("kind: ClusterPolicy", "kind: Pod"),
            "policy/x.yaml:2: kind: Pod of kyverno.io/v1 is no policy; what is read:",
        ),
        (
            change("kyverno.io/v1", "kyverno.io/v3"),
            "policy/x.yaml:2: kind: ClusterPolicy of kyverno.io/v3 is of a version that is not read",
        ),
        (change("kind: ClusterPolicy\n", ""), "policy/x.yaml:1: missing field `kind`"),
        // The text itself.
        (change("failurePolicy: Fail", "background: true"), "policy/x.yaml:8: duplicate mapping key `background`"),
        (change("rules:", "rules: ["), "policy/x.yaml:"),
        (refused("just text"), "policy/x.yaml:1: invalid type: string \"just text\""),
        (refused(""), "policy/x.yaml: there is no policy in it"),
        (refused("---\n# nothing\n---\n"), "policy/x.yaml: there is no policy in it"),
        (refused("{apiVersion: v1, kind: List, items: []}"), "policy/x.yaml: there is no policy in it"),
    ] {
        assert!(found.starts_with(expected), "{found}\n{expected}");
        assert!(!found.contains('\n'), "{found}");
    }
}

#[test]
fn many_documents_lists_and_json() {
    let both = read(&format!("# first\n---\n{KYVERNO}\n---\n---\n{DEFAULT_DENY}...\n")).unwrap();
    assert_eq!(both.policies.len(), 3);

    let json = "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n\
        {\"apiVersion\": \"bonafide.dev/v1beta1\", \"kind\": \"ImagePolicy\", \"metadata\": {\"name\": \"a\"},\n\
        \"spec\": {\"fallback\": true, \"require\": [{\"deny\": {\"message\": \"no\"}}]}},\n\
        {\"apiVersion\": \"bonafide.dev/v1beta1\", \"kind\": \"ImagePolicy\", \"metadata\": {\"name\": \"b\"},\n\
        \"spec\": {\"fallback\": true, \"mode\": \"Audit\", \"require\": [{\"deny\": {\"message\": \"no\"}}]}}]}\n";
    let list = read(json).unwrap();
    assert_eq!(names(&list), ["a", "b"]);
    assert_eq!(list.policies.iter().map(|policy| policy.mode).collect::<Vec<_>>(), [Mode::Enforce, Mode::Audit]);
    assert_eq!(
        refused(&json.replacen("\"Audit\"", "\"audit\"", 1)),
        "policy/x.yaml:5: items[1].spec.mode: unknown variant `audit`, expected one of `Enforce`, `Warn`, `Audit`"
    );

    let second = DEFAULT_DENY.replacen("deny:", "denied:", 1);
    let first_lines = KYVERNO.lines().count() + 1;
    let line = first_lines + second.lines().position(|line| line.contains("denied:")).unwrap() + 1;
    let expected = format!("policy/x.yaml:{line}: spec.require[0].denied: unknown field `denied`");
    let found = refused(&format!("{KYVERNO}---\n{second}"));
    assert!(found.starts_with(&expected), "{found}");
}

#[test]
fn one_name_twice_is_refused() {
    let found = read(&format!("{DEFAULT_DENY}---\n{DEFAULT_DENY}")).unwrap_err();
    let ReadProblem::Twice { name, first } = &found.problem else { panic!("{found}") };
    assert_eq!((name.as_str(), *first), ("default-deny", 6));
    let second = DEFAULT_DENY.lines().count() as u64 + 1 + 6;
    assert_eq!((found.line, found.field.to_string()), (Some(second), "metadata.name".to_owned()));
}

#[test]
fn what_is_left_out_is_noted_with_its_place() {
    let text = KYVERNO.replacen("verifyImages:", "validate:", 1);
    let file = read(&text).unwrap();
    assert_eq!(names(&file), ["verify-images/require-sbom-attestation"]);
    assert_eq!(file.notes, ["policy/x.yaml:10: spec.rules[0]: the rule has no verifyImages and is left out"]);
    let status = format!("{KYVERNO}status: {{ready: true}}\n");
    assert_eq!(read(&status).unwrap().policies.len(), 2);
}

#[test]
fn damaged_text_is_an_error_or_a_policy_but_never_a_panic() {
    let mut refused = 0;
    for text in [KYVERNO, OURS] {
        for at in 0..text.len() {
            let mut damaged = text.as_bytes().to_vec();
            damaged[at] = b":*&!{[-\n\"#|"[at % 11];
            for text in [&text[..at], &String::from_utf8_lossy(&damaged)] {
                if let Err(error) = read(text) {
                    refused += 1;
                    assert!(!error.to_string().contains('\n'), "{error}");
                }
            }
        }
    }
    assert!(refused > 1_000, "{refused}");
}
