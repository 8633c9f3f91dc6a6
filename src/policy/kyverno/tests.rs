use serde_json::json;

use super::*;

const SUBJECT: &str = "https://github.com/zionsworking/app/.github/workflows/release.yml@refs/tags/v1";
const ISSUER: &str = "https://token.actions.githubusercontent.com";
const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEBrFtUP8BB9HWUl6xRpUvV3SV9dNg\n\
    x0N2N3m0mE0V3bzvE9m9f3qMqDIr3GcQ0BKKE3mSTq0w4K4+qyO3g1QYJQ==\n\
    -----END PUBLIC KEY-----\n";

fn keyless(subject: &str) -> Value {
    json!({"keyless": {"subject": subject, "issuer": ISSUER}})
}

/// A rule with one `verifyImages` entry, on which `changes` are laid: null takes a field away.
fn spec(changes: &Value) -> Value {
    let mut entry = json!({
        "imageReferences": ["ghcr.io/zionsworking/*"],
        "attestors": [{"entries": [keyless("https://github.com/zionsworking/*")]}],
    });
    for (key, value) in changes.as_object().unwrap() {
        entry[key] = value.clone();
    }
    entry.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    json!({
        "validationFailureAction": "Enforce",
        "rules": [{"name": "r", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]}, "verifyImages": [entry]}],
    })
}

fn read(spec: Value) -> Result<Reading, PolicyError> {
    let context = ReadContext { known_logs: vec!["https://rekor.example.com".to_owned()], ..ReadContext::default() };
    parse("p", spec, &context)
}

fn one(spec: Value) -> Policy {
    let mut reading = read(spec).unwrap();
    assert_eq!(reading.policies.len(), 1);
    reading.policies.remove(0)
}

/// The error as people read it.
fn refused(spec: Value) -> String {
    read(spec).unwrap_err().to_string()
}

/// `spec` with the value at `pointer` replaced, or added to its object.
fn with(mut spec: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    spec.pointer_mut(parent).unwrap()[key] = value;
    spec
}

#[test]
fn the_example_is_read_unchanged() {
    let object: Value = serde_saphyr::from_str(include_str!("../../../policy/kyverno-verify-images.yaml")).unwrap();
    let context = ReadContext { known_logs: Vec::new(), webhook_timeout_seconds: Some(30) };
    let reading = parse("verify-images", object["spec"].clone(), &context).unwrap();
    assert!(reading.left_out.is_empty());
    let [signature, sbom] = &reading.policies[..] else { panic!("{reading:?}") };
    assert_eq!(signature.name.as_str(), "verify-images/check-cosign-signature");
    assert_eq!(sbom.name.as_str(), "verify-images/require-sbom-attestation");
    let covered = "ghcr.io/zionsworking/a/b:v1".parse().unwrap();
    let evil = "ghcr.io/zionsworking-evil/x".parse().unwrap();
    for policy in [signature, sbom] {
        assert_eq!((policy.mode, policy.digest, policy.source), (Mode::Enforce, DigestRule::Pin, Source::KyvernoRule));
        assert_eq!((&policy.namespaces, &policy.notes), (&NamespaceScope::All, &Vec::new()));
        let ImageScope::Patterns { include, exclude } = &policy.images else { panic!("{policy:?}") };
        assert!(include.len() == 1 && exclude.is_empty());
        assert!(include[0].includes(&covered) && !include[0].includes(&evil));
        let [requirement] = &policy.requirements[..] else { panic!("{policy:?}") };
        let [authority] = requirement.authorities() else { panic!("{policy:?}") };
        let AuthorityKind::Keyless(identity) = &authority.kind else { panic!("{policy:?}") };
        assert_eq!(requirement.count(), 1);
        assert_eq!(identity.issuer, Pattern::exact(ISSUER).unwrap());
        assert_eq!(identity.subject, Pattern::glob("https://github.com/zionsworking/*").unwrap());
        assert!(identity.subject.matches(SUBJECT));
        assert!(!identity.subject.matches("https://github.com/zionsworking-evil/x"));
    }
    assert_eq!(*signature.requirements[0].kind(), RequirementKind::Signature);
    let RequirementKind::Attestation { predicate_type } = sbom.requirements[0].kind() else { panic!("{sbom:?}") };
    assert!(predicate_type.matches("https://spdx.dev/Document"));
    assert!(!predicate_type.matches("https://spdx.dev/Document/v2.3"));

    let other = ReadContext { known_logs: Vec::new(), webhook_timeout_seconds: Some(10) };
    let noted = parse("verify-images", object["spec"].clone(), &other).unwrap();
    assert_eq!(
        noted.policies[0].notes,
        ["webhookTimeoutSeconds: 30 is not followed: the webhook configuration's timeoutSeconds counts, which is 10"]
    );
    assert!(noted.policies[1].notes.is_empty());
}

#[test]
fn what_is_left_out_means_what_it_means_to_kyverno() {
    let policy = one(spec(&json!({})));
    assert_eq!((policy.mode, policy.digest), (Mode::Enforce, DigestRule::Pin));
    assert_eq!(one(with(spec(&json!({})), "/validationFailureAction", Value::Null)).mode, Mode::Audit);
    assert_eq!(one(with(spec(&json!({})), "/validationFailureAction", json!("enforce"))).mode, Mode::Enforce);
    assert_eq!(one(spec(&json!({"failureAction": "Audit"}))).mode, Mode::Audit);
    let entries =
        json!([keyless("https://a.example/*"), keyless("https://b.example/*"), {"keys": {"publicKeys": KEY}}]);
    let all = one(spec(&json!({"attestors": [{"entries": entries}]})));
    assert_eq!((all.requirements.len(), all.requirements[0].count()), (1, 3));
    assert_eq!(all.requirements[0].authorities()[2].name, "attestors[0].entries[2]");
    assert!(matches!(all.requirements[0].authorities()[2].kind, AuthorityKind::Key(_)));
    let two = one(spec(&json!({"attestors": [{"entries": entries, "count": 2}, {"entries": [keyless("x")]}]})));
    assert_eq!(two.requirements.iter().map(|one| one.count()).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn digests_follow_mutate_and_verify() {
    for (mutate, verify, expected, notes) in [
        (json!(true), json!(false), DigestRule::Pin, 0),
        (json!(false), json!(true), DigestRule::Require, 0),
        (json!(false), json!(null), DigestRule::Require, 0),
        (json!(false), json!(false), DigestRule::Pin, 1),
    ] {
        let policy = one(spec(&json!({"mutateDigest": mutate, "verifyDigest": verify})));
        assert_eq!((policy.digest, policy.notes.len()), (expected, notes), "{mutate} {verify}");
    }
}

#[test]
fn several_entries_and_rules_are_told_apart() {
    let mut several = spec(&json!({}));
    let rule = several["rules"][0].clone();
    let mut validate = json!({"name": "v", "validate": {"pattern": {}}, "match": {"resources": {}}});
    several["rules"].as_array_mut().unwrap().insert(0, validate.clone());
    let entry = rule["verifyImages"][0].clone();
    several["rules"][1]["verifyImages"].as_array_mut().unwrap().push(entry);
    let reading = read(several.clone()).unwrap();
    let names: Vec<_> = reading.policies.iter().map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["p/r", "p/r#2"]);
    assert_eq!(reading.left_out.len(), 1);
    assert_eq!(reading.left_out[0].field.to_string(), "spec.rules[0]");
    several["rules"].as_array_mut().unwrap().push(rule);
    assert_eq!(refused(several), "spec.rules[2].name: rule \"r\" is there twice");
    validate["verifyImages"] = Value::Null;
    let none = read(json!({"rules": [validate]})).unwrap();
    assert!(none.policies.is_empty());
    assert_eq!(none.left_out.len(), 2);
    assert_eq!(none.left_out[1].text, "no rule has verifyImages: the policy says nothing about signatures");
}

#[test]
fn only_known_logs_are_taken() {
    let with_log = |url: &str| {
        let entry = json!({"keyless": {"subject": "a*", "issuer": "b", "rekor": {"url": url}}});
        spec(&json!({"attestors": [{"entries": [entry]}]}))
    };
    for url in [
        "https://rekor.sigstore.dev",
        "https://rekor.sigstore.dev/",
        "https://rekor.sigstage.dev",
        "https://log2025-1.rekor.sigstore.dev",
        "https://log2025-alpha1.rekor.sigstage.dev",
        "https://rekor.example.com",
        "https://rekor.example.com/",
    ] {
        assert_eq!(one(with_log(url)).requirements.len(), 1, "{url}");
    }
    for url in [
        "",
        "http://rekor.sigstore.dev",
        "https://rekor.sigstore.dev.evil.example",
        "https://evilrekor.sigstore.dev",
        "https://log.rekor.sigstore.dev",
        "https://x.log2025-1.rekor.sigstore.dev",
        "https://rekor.example.com/path",
        "https://rekor.other.example",
    ] {
        assert_eq!(
            refused(with_log(url)),
            format!(
                "spec.rules[0].verifyImages[0].attestors[0].entries[0].keyless.rekor.url: {url:?} is no known transparency \
                 log; known are the public ones of Sigstore and, of the trust root: https://rekor.example.com"
            )
        );
    }
}

#[test]
fn what_cannot_be_expressed_names_its_field() {
    let entry = "spec.rules[0].verifyImages[0]";
    for (changes, expected) in [
        (json!({"required": false}), "required: required: false is not supported: an image that was not verified"),
        (json!({"attestors": null}), ": it has neither attestors nor attestations"),
        (json!({"attestors": []}), ": it has neither attestors nor attestations"),
        (json!({"attestors": [{"entries": []}]}), "attestors[0].entries: it names no authority"),
        (json!({"attestors": [{"count": 1}]}), "attestors[0]: missing field `entries`"),
        (
            json!({"attestors": [{"entries": [{}]}]}),
            "attestors[0].entries[0]: it takes exactly one of `keyless` and `keys`",
        ),
        (
            json!({"attestors": [{"entries": [keyless("a*")], "count": 0}]}),
            "attestors[0].count: count is 0, but it has to be between 1 and",
        ),
        (json!({"attestors": [{"entries": [keyless("a*")], "count": 2}]}), "attestors[0].count: count is 2"),
        (json!({"attestors": [{"entries": [keyless("a*")], "count": -1}]}), "attestors[0].count: invalid value"),
        (
            json!({"attestors": [{"entries": [keyless("a*"), keyless("a*")]}]}),
            "attestors[0].entries: authorities \"attestors[0].entries[0]\" and \"attestors[0].entries[1]\" are the same",
        ),
        (
            json!({"attestors": [{"entries": [keyless("*")]}]}),
            "attestors[0].entries[0].keyless.subject: \"*\" matches anything",
        ),
        (json!({"attestors": [{"entries": [keyless("")]}]}), "attestors[0].entries[0].keyless.subject: it is empty"),
        (
            json!({"attestors": [{"entries": [{"keyless": {"subject": "a"}}]}]}),
            "attestors[0].entries[0].keyless: it takes exactly one of `issuer` and `issuerRegExp`, and has 0",
        ),
        (
            json!({"attestors": [{"entries": [{"keyless": {"issuer": "a"}}]}]}),
            "attestors[0].entries[0].keyless: it takes exactly one of `subject` and `subjectRegExp`, and has 0",
        ),
        (
            json!({"attestors": [{"entries": [{"keyless": {}}]}]}),
            "attestors[0].entries[0].keyless: it takes exactly one of `issuer` and `issuerRegExp`, and has 0",
        ),
        (
            json!({"attestors": [{"entries": [{"keyless": {"issuer": "**", "subject": "a"}}]}]}),
            "attestors[0].entries[0].keyless.issuer: \"**\" matches anything",
        ),
        (
            json!({"attestors": [{"entries": [{"keyless": {"issuer": "a", "subjectRegExp": ".*"}}]}]}),
            "attestors[0].entries[0].keyless.subjectRegExp: \".*\" matches anything",
        ),
        (
            json!({"attestors": [{"entries": [{"keyless": {"issuer": "a", "subject": "b", "subjectRegExp": "b"}}]}]}),
            "attestors[0].entries[0].keyless: it takes exactly one of `subject` and `subjectRegExp`, and has 2",
        ),
        (
            json!({"attestors": [{"entries": [{"keyless": {"issuer": "a", "subject": "b", "ctlog": {"ignoreSCT": true}}}]}]}),
            "attestors[0].entries[0].keyless.ctlog: unknown field `ctlog`",
        ),
        (
            json!({"attestors": [{"entries": [{"keyless": {"issuer": "a", "subject": "b", "rekor": {"ignoreTlog": true}}}]}]}),
            "attestors[0].entries[0].keyless.rekor.ignoreTlog: unknown field `ignoreTlog`",
        ),
        (
            json!({"attestors": [{"entries": [{"keys": {"publicKeys": "k8s://ns/key"}}]}]}),
            "attestors[0].entries[0].keys.publicKeys: there is no PEM block",
        ),
        (
            json!({"attestors": [{"entries": [{"keys": {"kms": "awskms://x"}}]}]}),
            "attestors[0].entries[0].keys.kms: unknown field `kms`",
        ),
        (json!({"attestors": [{"entries": [{"attestor": {}}]}]}), "attestors[0].entries[0].attestor: unknown field"),
        (
            json!({"attestations": [{"type": "https://x.example/y"}]}),
            "attestations[0].attestors: it is empty: an attestation",
        ),
        (
            json!({"attestations": [{"attestors": []}]}),
            "attestations[0]: it takes exactly one of `type` and `predicateType`",
        ),
        (
            json!({"attestations": [{"type": "spdx", "attestors": []}]}),
            "attestations[0].type: \"spdx\" is no predicate type",
        ),
        (
            json!({"attestations": [{"predicateType": "https://x.example/y", "conditions": []}]}),
            "attestations[0].conditions: unknown field `conditions`",
        ),
        (json!({"imageReferences": []}), "imageReferences: it is empty"),
        (json!({"imageReferences": null}), ": missing field `imageReferences`"),
        (
            json!({"imageReferences": ["ghcr.io/a/"]}),
            "imageReferences[0]: image pattern \"ghcr.io/a/\" can match no image",
        ),
        (json!({"skipImageReferences": ["A B"]}), "skipImageReferences[0]: image pattern \"A B\" can match no image"),
        (
            json!({"imageReferences": "ghcr.io/*"}),
            "imageReferences: invalid type: string \"ghcr.io/*\", expected a sequence",
        ),
        (json!({"failureAction": "Block"}), "failureAction: unknown variant `Block`"),
        (json!({"mutateDigest": "yes"}), "mutateDigest: invalid type: string \"yes\", expected a boolean"),
        (json!({"type": "SigstoreBundle"}), "type: unknown field `type`"),
        (json!({"useCache": true}), "useCache: unknown field `useCache`"),
    ] {
        let found = refused(spec(&changes));
        let rest = found.strip_prefix(entry).unwrap_or_else(|| panic!("{changes}: {found}"));
        assert!(rest.trim_start_matches('.').starts_with(expected), "{changes}: {found}");
    }
}

#[test]
fn the_rest_of_the_object_is_read_as_strictly() {
    for (pointer, value, expected) in [
        ("/validationFailureActionOverrides", json!([]), "spec.validationFailureActionOverrides: unknown field"),
        ("/failurePolicy", json!("Maybe"), "spec.failurePolicy: unknown variant `Maybe`"),
        ("/webhookTimeoutSeconds", json!("30"), "spec.webhookTimeoutSeconds: invalid type: string \"30\""),
        ("/rules", json!("x"), "spec.rules: invalid type: string \"x\", expected a sequence"),
        ("/rules/0/exclude", json!({}), "spec.rules[0].exclude: unknown field `exclude`"),
        ("/rules/0/preconditions", json!({}), "spec.rules[0].preconditions: unknown field `preconditions`"),
        ("/rules/0/name", json!(" "), "spec.rules[0].name: \" \" is not supported"),
        ("/rules/0/verifyImages", json!([]), "spec.rules[0].verifyImages: it is empty"),
        ("/rules/0/match", json!({}), "spec.rules[0].match: it takes exactly one of `any` and `all`, and has 0"),
        (
            "/rules/0/match",
            json!({"any": [], "all": []}),
            "spec.rules[0].match: it takes exactly one of `any` and `all`, and has 2",
        ),
        ("/rules/0/match", json!({"any": []}), "spec.rules[0].match.any: it is empty"),
        ("/rules/0/match", json!({"resources": {}}), "spec.rules[0].match.resources: unknown field `resources`"),
        (
            "/rules/0/match",
            json!({"all": [{"resources": {"kinds": ["Pod", "Deployment"]}}]}),
            "spec.rules[0].match.all[0].resources.kinds[1]: kind \"Deployment\" is not supported",
        ),
        (
            "/rules/0/match",
            json!({"any": [{"resources": {"kinds": []}}]}),
            "spec.rules[0].match.any[0].resources.kinds: it is empty",
        ),
        (
            "/rules/0/match",
            json!({"any": [{"resources": {"kinds": ["Pod"], "namespaces": ["prod"]}}]}),
            "spec.rules[0].match.any[0].resources.namespaces: unknown field `namespaces`",
        ),
        (
            "/rules/0/match",
            json!({"any": [{"resources": {"kinds": ["Pod"]}, "subjects": []}]}),
            "spec.rules[0].match.any[0].subjects: unknown field `subjects`",
        ),
    ] {
        let found = refused(with(spec(&json!({})), pointer, value));
        assert!(found.starts_with(expected), "{pointer}: {found}");
    }
    assert_eq!(parse("P_x", spec(&json!({})), &ReadContext::default()).unwrap_err().field.to_string(), "metadata.name");
}

#[test]
fn differences_are_noted() {
    let mut noted = spec(&json!({
        "attestors": [{"entries": [{"keyless": {"issuer": ISSUER, "subjectRegExp": "https://github.com/a/.*"}}]}],
    }));
    for (key, value) in
        [("failurePolicy", json!("Ignore")), ("background", json!(true)), ("webhookTimeoutSeconds", json!(30))]
    {
        noted[key] = value;
    }
    assert_eq!(
        one(noted).notes,
        [
            "webhookTimeoutSeconds: 30 is not followed: the webhook configuration's timeoutSeconds counts",
            "failurePolicy: Ignore is not followed: the webhook configuration's counts",
            "background: true is not followed: running Pods are not checked again",
            "the regular expression \"https://github.com/a/.*\" has to fit the whole text",
        ]
    );
}
