//! Canonical bodies of Rekor entries. Keys are in alphabetical order, as canonical JSON wants them.

use serde_json::{Value, json};

use super::key::{base64, sha256};

fn sha256_json(bytes: &[u8]) -> Value {
    json!({ "algorithm": "sha256", "value": hex::encode(sha256(bytes)) })
}

/// `hashedrekord` 0.0.1: a signature over `payload`; `verifier` is PEM.
pub fn hashedrekord(payload: &[u8], signature: &[u8], verifier: &str) -> Value {
    json!({ "apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
        "data": { "hash": sha256_json(payload) },
        "signature": {
            "content": base64(signature),
            "publicKey": { "content": base64(verifier.as_bytes()) },
        },
    } })
}

/// `hashedrekord` 0.0.2 (Rekor v2): a signature over `signed`; for DSSE that is the pre-authentication
/// encoding.
pub fn hashedrekord_v2(signed: &[u8], signature: &[u8], verifier: &Value) -> Value {
    json!({ "apiVersion": "0.0.2", "kind": "hashedrekord", "spec": { "hashedRekordV002": {
        "data": { "algorithm": "SHA2_256", "digest": base64(&sha256(signed)) },
        "signature": { "content": base64(signature), "verifier": verifier },
    } } })
}

/// `dsse` 0.0.1.
pub fn dsse(envelope: &[u8], payload: &[u8], signature: &[u8], verifier: &str) -> Value {
    json!({ "apiVersion": "0.0.1", "kind": "dsse", "spec": {
        "envelopeHash": sha256_json(envelope),
        "payloadHash": sha256_json(payload),
        "signatures": [{
            "signature": base64(signature),
            "verifier": base64(verifier.as_bytes()),
        }],
    } })
}

/// `intoto` 0.0.1, cosign up to 2.2.2; it does not record the signature.
pub fn intoto_v1(envelope: &[u8], payload: &[u8], verifier: &str) -> Value {
    json!({ "apiVersion": "0.0.1", "kind": "intoto", "spec": {
        "content": { "hash": sha256_json(envelope), "payloadHash": sha256_json(payload) },
        "publicKey": base64(verifier.as_bytes()),
    } })
}
