use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::*;
use crate::policy::{
    DigestRule, FieldPath, ImageScope, LabelRule, NamespaceScope, Policy, PolicyError, PredicateType, Problem,
    RequirementError, RequirementKind, field::decode, model,
};

const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// A policy on which `changes` are laid: null takes a field away.
fn spec(changes: &Value) -> Value {
    let mut spec = json!({
        "match": {"images": ["ghcr.io/zionsworking/*"]},
        "authorities": [
            {"name": "a", "keyless": {"issuer": ISSUER, "subject": "https://github.com/zionsworking/*"}},
            {"name": "b", "keyless": {"issuerRegex": "https://[a-z.]+", "subjectRegex": ".*@example\\.com"}},
        ],
        "require": [
            {"signature": {"anyOf": ["a", "b"]}},
            {"attestation": {"predicateType": "spdxjson", "anyOf": ["a", "b"], "count": 2}},
        ],
    });
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    spec
}

fn read(changes: &Value) -> Result<Policy, PolicyError> {
    parse("p", &decode(spec(changes), &FieldPath::root().key("spec"))?)
}

fn refused(changes: &Value) -> (String, Problem) {
    let PolicyError { field, problem } = read(changes).unwrap_err();
    (field.to_string(), problem)
}

#[test]
fn a_policy_is_read() {
    let policy = read(&json!({})).unwrap();
    assert_eq!((policy.name.as_str(), policy.mode, policy.digest), ("p", model::Mode::Enforce, DigestRule::Pin));
    assert_eq!((&policy.namespaces, &policy.notes), (&NamespaceScope::All, &Vec::new()));
    assert!(policy.enforces_evidence());
    let [signature, attestation] = &policy.requirements[..] else { panic!("{policy:?}") };
    assert_eq!((signature.kind(), signature.count()), (&RequirementKind::Signature, 1));
    let spdx = RequirementKind::Attestation { predicate_type: PredicateType::Spdx };
    assert_eq!((attestation.kind(), attestation.count()), (&spdx, 2));
    let model::AuthorityKind::Keyless(identity) = &signature.authorities()[1].kind else { panic!("{policy:?}") };
    assert!(identity.issuer.matches("https://accounts.example") && identity.subject.matches("me@example.com"));
    assert!(!identity.subject.matches("me@example.com.evil"));
    for (changes, expected) in [
        (json!({"mode": "Warn"}), (model::Mode::Warn, DigestRule::Pin, 0)),
        (json!({"mode": "Audit", "digest": "Require"}), (model::Mode::Audit, DigestRule::Require, 0)),
        (json!({"digest": "Ignore"}), (model::Mode::Enforce, DigestRule::Pin, 1)),
        (json!({"require": [{"signature": {"anyOf": ["a"]}}]}), (model::Mode::Enforce, DigestRule::Pin, 1)),
    ] {
        let policy = read(&changes).unwrap();
        assert_eq!((policy.mode, policy.digest, policy.notes.len()), expected, "{changes}");
    }
}

#[test]
fn a_fallback_policy_denies_what_nobody_covers() {
    let changes = json!({
        "match": {"excludeImages": ["registry.k8s.io/*"]}, "fallback": true, "digest": "Ignore", "authorities": null,
        "require": [{"deny": {"message": "no policy covers this image"}}],
    });
    let policy = read(&changes).unwrap();
    assert!(matches!(&policy.images, ImageScope::Fallback { exclude } if exclude.len() == 1));
    assert!(!policy.requires_evidence() && policy.digest == DigestRule::Ignore);
    let message = "no policy covers this image".to_owned();
    assert_eq!(*policy.requirements[0].kind(), RequirementKind::Deny { message });
}

#[test]
fn namespaces_are_selected_by_label() {
    let selector = json!({
        "matchLabels": {"team": "x"},
        "matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]},
            {"key": "a", "operator": "Exists"},
            {"key": "b", "operator": "DoesNotExist"},
        ],
    });
    let changes = json!({"match": {"images": ["*"], "namespaceSelector": selector}});
    let policy = read(&changes).unwrap();
    let set = |text: &str| [text.to_owned()].into();
    let expected = vec![
        LabelRule::In("team".to_owned(), set("x")),
        LabelRule::NotIn("kubernetes.io/metadata.name".to_owned(), set("kube-system")),
        LabelRule::Exists("a".to_owned()),
        LabelRule::DoesNotExist("b".to_owned()),
    ];
    assert_eq!(policy.namespaces, NamespaceScope::Labels(expected));
    assert!(policy.namespaces.may_cover(Some("prod")) && !policy.namespaces.may_cover(Some("kube-system")));
    let empty = json!({"match": {"images": ["*"], "namespaceSelector": {}}});
    assert_eq!(read(&empty).unwrap().namespaces, NamespaceScope::All);
}

/// Asserts that each of the changed policies is refused at the field and with what the problem starts with.
fn all_refused<const N: usize>(cases: [(Value, &str, &str); N]) {
    for (changes, field, problem) in cases {
        let (found_field, found_problem) = refused(&changes);
        let found = found_problem.to_string();
        assert!(found_field == field && found.starts_with(problem), "{changes}: {found_field}: {found}");
    }
}

#[test]
fn requirements_that_can_not_be_meant_are_refused() {
    let any_of = |names: &[&str], count: u32| json!({"require": [{"signature": {"anyOf": names, "count": count}}]});
    all_refused([
        (json!({"require": []}), "spec.require", "it is empty: a policy without a requirement would admit every image"),
        (json!({"require": null}), "spec", "missing field `require`"),
        (
            json!({"require": [{}]}),
            "spec.require[0]",
            "it takes exactly one of `signature`, `attestation` and `deny`, and has 0",
        ),
        (
            json!({"require": [{"deny": {"message": "x"}, "signature": {"anyOf": ["a"]}}]}),
            "spec.require[0]",
            "it takes exactly one of `signature`, `attestation` and `deny`, and has 2",
        ),
        (json!({"require": [{"deny": {"message": " "}}]}), "spec.require[0].deny.message", "it is empty"),
        (
            json!({"require": [{"deny": {"message": "x".repeat(2049)}}]}),
            "spec.require[0].deny.message",
            "a message of 2049 bytes",
        ),
        (any_of(&[], 1), "spec.require[0].signature.anyOf", "it names no authority"),
        (
            any_of(&["nobody"], 1),
            "spec.require[0].signature.anyOf[0]",
            "there is no authority \"nobody\" in spec.authorities, which has: a, b",
        ),
        (any_of(&["a", "a"], 2), "spec.require[0].signature.anyOf[1]", "authority \"a\" is there twice"),
        (any_of(&["a", "b"], 0), "spec.require[0].signature.count", "count is 0"),
        (any_of(&["a", "b"], 3), "spec.require[0].signature.count", "count is 3"),
        (
            json!({"require": [{"attestation": {"predicateType": "spdx-json", "anyOf": ["a"]}}]}),
            "spec.require[0].attestation.predicateType",
            "\"spdx-json\" is no predicate type",
        ),
    ]);
    let (_, problem) = refused(&any_of(&["a", "b"], 3));
    assert_eq!(problem, Problem::Requirement(RequirementError::Count { count: 3, authorities: 2 }));
}

#[test]
fn authorities_that_trust_nobody_or_anybody_are_refused() {
    let keyless = |keyless: Value| json!({"authorities": [{"name": "a", "keyless": keyless}]});
    let name_twice = json!({"authorities": [
        {"name": "a", "keyless": {"issuer": "i", "subject": "s"}}, {"name": "a", "keyless": {"issuer": "i", "subject": "t"}},
    ]});
    let issuer = spec(&json!({}))["authorities"][0]["keyless"].clone();
    all_refused([
        (name_twice, "spec.authorities[1].name", "authority \"a\" is there twice"),
        (
            json!({"authorities": [{"name": "a", "keyless": issuer}, {"name": "b", "keyless": issuer}]}),
            "spec.require[0].signature.anyOf",
            "authorities \"a\" and \"b\" are the same",
        ),
        (json!({"authorities": [{"name": "", "key": {"pem": "x"}}]}), "spec.authorities[0].name", "it is empty"),
        (
            json!({"authorities": [{"name": "a"}]}),
            "spec.authorities[0]",
            "it takes exactly one of `keyless` and `key`, and has 0",
        ),
        (
            json!({"authorities": [{"name": "a", "key": {"pem": "x"}, "keyless": issuer}]}),
            "spec.authorities[0]",
            "it takes exactly one of `keyless` and `key`, and has 2",
        ),
        (
            json!({"authorities": [{"name": "a", "key": {"pem": "x"}}]}),
            "spec.authorities[0].key.pem",
            "there is no PEM block",
        ),
        (
            keyless(json!({"issuer": ISSUER})),
            "spec.authorities[0].keyless",
            "it takes exactly one of `subject` and `subjectRegex`, and has 0",
        ),
        (
            keyless(json!({"subject": "s"})),
            "spec.authorities[0].keyless",
            "it takes exactly one of `issuer` and `issuerRegex`, and has 0",
        ),
        (keyless(json!({"issuer": "", "subject": "s"})), "spec.authorities[0].keyless.issuer", "it is empty"),
        (keyless(json!({"issuer": ISSUER, "subject": ""})), "spec.authorities[0].keyless.subject", "it is empty"),
        (
            keyless(json!({"issuer": "*", "subject": "s"})),
            "spec.authorities[0].keyless.issuer",
            "\"*\" matches anything",
        ),
        (
            keyless(json!({"issuer": "https://*", "subject": "s"})),
            "spec.authorities[0].keyless.issuer",
            "\"https://*\" has a wildcard",
        ),
        (
            keyless(json!({"issuer": ISSUER, "subject": "**"})),
            "spec.authorities[0].keyless.subject",
            "\"**\" matches anything",
        ),
        (
            keyless(json!({"issuerRegex": ".*", "subject": "s"})),
            "spec.authorities[0].keyless.issuerRegex",
            "\".*\" matches anything",
        ),
        (
            keyless(json!({"issuer": ISSUER, "subjectRegex": "a("})),
            "spec.authorities[0].keyless.subjectRegex",
            "\"a(\" is not a usable regular expression: unclosed group",
        ),
    ]);
}

#[test]
fn scopes_that_can_not_be_meant_are_refused() {
    let expressions =
        |rule: Value| json!({"match": {"images": ["*"], "namespaceSelector": {"matchExpressions": [rule]}}});
    all_refused([
        (json!({"match": null}), "spec", "it has neither `match` nor `fallback: true`"),
        (json!({"match": {}}), "spec.match.images", "it is empty"),
        (json!({"match": {"images": ["a b"]}}), "spec.match.images[0]", "image pattern \"a b\" can match no image"),
        (
            json!({"match": {"images": ["*"], "excludeImages": ["/"]}}),
            "spec.match.excludeImages[0]",
            "image pattern \"/\"",
        ),
        (json!({"fallback": true}), "spec.match.images", "match.images beside fallback is not supported"),
        (
            expressions(json!({"key": "a", "operator": "In"})),
            "spec.match.namespaceSelector.matchExpressions[0].values",
            "it is empty",
        ),
        (
            expressions(json!({"key": "a", "operator": "Exists", "values": ["x"]})),
            "spec.match.namespaceSelector.matchExpressions[0].values",
            "a list of values is not supported",
        ),
        (
            expressions(json!({"key": "a", "operator": "Gt"})),
            "spec.match.namespaceSelector.matchExpressions[0].operator",
            "unknown variant `Gt`",
        ),
        (json!({"match": {"objectSelector": {}}}), "spec.match.objectSelector", "unknown field `objectSelector`"),
        (json!({"mode": "enforce"}), "spec.mode", "unknown variant `enforce`"),
        (json!({"digest": "pin"}), "spec.digest", "unknown variant `pin`"),
    ]);
    for name in ["", "Upper", "a/b", "-a", "a.", "a b"] {
        let error = parse(name, &serde_json::from_value(spec(&json!({}))).unwrap()).unwrap_err();
        assert_eq!(error.problem, Problem::Name { found: name.to_owned() });
    }
}

/// The fields without a description, by which `kubectl explain` explains them.
fn undescribed(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if property["description"].as_str().is_none_or(str::is_empty) {
            found.push(path.clone());
        }
        undescribed(property, &path, found);
        undescribed(&property["items"], &path, found);
    }
}

#[test]
fn the_schema_is_structural_and_explains_itself() {
    let crd = serde_json::to_value(ImagePolicy::crd()).unwrap();
    assert_eq!((&crd["spec"]["scope"], &crd["spec"]["names"]["shortNames"]), (&json!("Cluster"), &json!(["imgpol"])));
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let text = schema.to_string();
    for forbidden in ["\"additionalProperties\":false", "$ref", "\"definitions\"", "\"anyOf\":[{"] {
        assert!(!text.contains(forbidden), "{forbidden} in {text}");
    }
    let mut found = Vec::new();
    undescribed(&schema["properties"]["spec"], "spec", &mut found);
    assert!(found.is_empty(), "{found:?}");
    let spec = &schema["properties"]["spec"];
    assert_eq!(spec["required"], json!(["require"]));
    assert_eq!(
        (&spec["properties"]["mode"]["default"], &spec["properties"]["digest"]["default"]),
        (&json!("Enforce"), &json!("Pin"))
    );
    let signature = &spec["properties"]["require"]["items"]["properties"]["signature"]["properties"];
    assert_eq!((&spec["properties"]["require"]["minItems"], &signature["anyOf"]["minItems"]), (&json!(1), &json!(1)));
    assert_eq!((&signature["count"]["format"], signature["count"]["minimum"].as_f64()), (&json!("int32"), Some(1.0)));
}
