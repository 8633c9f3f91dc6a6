//! What gets signed: simple-signing payloads, in-toto statements, DSSE envelopes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::flaw::Flaw;
use super::key::base64;

/// Predicate type of a signature in bundle format.
pub const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
/// DSSE payload type of in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// A `sha256:` digest that nothing has.
pub const ANOTHER_DIGEST: &str = "sha256:5f0c1d7d1f7f9d1c2b3a495867768594a3b2c1d04f0c1d7d1f7f9d1c2b3a4958";

/// cosign's simple-signing payload for `digest`, byte for byte as cosign writes it.
pub fn simple_signing(
    repository: &str,
    digest: &str,
    optional: &BTreeMap<String, String>,
    flaw: Option<Flaw>,
) -> Vec<u8> {
    let kind = match flaw {
        Some(Flaw::WrongCriticalType) => "atomic container signature",
        _ => "cosign container image signature",
    };
    let optional =
        if optional.is_empty() { "null".to_owned() } else { serde_json::to_string(optional).expect("strings") };
    format!(
        concat!(
            r#"{{"critical":{{"identity":{{"docker-reference":"{}"}},"#,
            r#""image":{{"docker-manifest-digest":"{}"}},"type":"{}"}},"optional":{}}}"#
        ),
        repository, digest, kind, optional
    )
    .into_bytes()
}

/// An in-toto statement about `digest`: v1 without a subject name for a signature, v0.1 with one for
/// an attestation, as cosign writes them.
pub fn statement(
    repository: &str,
    digest: &str,
    predicate_type: &str,
    predicate: &Value,
    flaw: Option<Flaw>,
) -> Vec<u8> {
    let signature = predicate_type == COSIGN_SIGN;
    let kind = match flaw {
        Some(Flaw::WrongStatementType) => "https://in-toto.io/Statement/v9",
        _ if signature => "https://in-toto.io/Statement/v1",
        _ => "https://in-toto.io/Statement/v0.1",
    };
    let predicate_type = match flaw {
        Some(Flaw::WrongPredicateType) => "https://example.com/anything/v1",
        _ => predicate_type,
    };
    let hex = digest.strip_prefix("sha256:").expect("a sha256 digest");
    let ours = if signature {
        format!(r#"{{"digest":{{"sha256":"{hex}"}},"annotations":{{}}}}"#)
    } else {
        format!(r#"{{"name":"{repository}","digest":{{"sha256":"{hex}"}}}}"#)
    };
    let mut subjects = match flaw {
        Some(Flaw::Subjects(count)) => (1..count).map(other_subject).collect(),
        _ => Vec::new(),
    };
    subjects.push(ours);
    format!(
        r#"{{"_type":"{kind}","predicateType":"{predicate_type}","subject":[{}],"predicate":{predicate}}}"#,
        subjects.join(",")
    )
    .into_bytes()
}

fn other_subject(n: usize) -> String {
    format!(r#"{{"name":"file-{n}","digest":{{"sha256":"{n:064x}"}}}}"#)
}

/// What a DSSE signature is over.
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// A DSSE envelope as cosign 2 stores it in a layer.
pub fn envelope(payload_type: &str, payload: &[u8], signatures: &[Vec<u8>]) -> Vec<u8> {
    let signatures: Vec<_> =
        signatures.iter().map(|signature| format!(r#"{{"keyid":"","sig":"{}"}}"#, base64(signature))).collect();
    format!(
        r#"{{"payloadType":"{payload_type}","payload":"{}","signatures":[{}]}}"#,
        base64(payload),
        signatures.join(",")
    )
    .into_bytes()
}

/// `payload` with something added that its signature does not cover.
pub fn tampered(payload: &[u8]) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(payload).expect("a JSON payload");
    let place = if value.get("critical").is_some() { "optional" } else { "predicate" };
    value[place]["tampered"] = Value::Bool(true);
    serde_json::to_vec(&value).expect("JSON")
}
