//! `AdmissionReview` (admission.k8s.io/v1), response side: everything in it comes from the one [`Decision`].

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::json;

use crate::{
    decision::{Decision, Pin, Vouched},
    verify::Signer,
};

/// Longest warning that API servers pass on whole, in characters.
pub const MAX_WARNING_CHARS: usize = 256;
/// All warnings together, in characters: past 4,096 API servers truncate.
const MAX_WARNINGS_CHARS: usize = 4_096;
/// Longest denial message or audit annotation, in bytes. The one ends up on a terminal, the other in a log.
const MAX_TEXT_BYTES: usize = 16 << 10;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

/// The body of the answer to the request `uid`.
#[must_use]
pub fn respond(uid: &str, decision: &Decision) -> Vec<u8> {
    let allowed = decision.allowed();
    let patch = (allowed && !decision.pins.is_empty()).then(|| STANDARD.encode(patch(&decision.pins)));
    let response = Response {
        uid,
        allowed,
        status: (!allowed).then(|| Status { code: 403, reason: decision.code(), message: bounded(decision.message()) }),
        patch_type: patch.is_some().then_some("JSONPatch"),
        patch,
        warnings: warnings(&decision.warnings),
        audit_annotations: audit_annotations(decision),
    };
    let answer = Answer { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response };
    // Plain strings, numbers and maps with string keys always serialise; an empty body is a failure to the caller.
    serde_json::to_vec(&answer).unwrap_or_default()
}

/// RFC 6902: a `test` before each `replace`, so that the patch fits the object that was looked at or none.
fn patch(pins: &[Pin]) -> Vec<u8> {
    let operations: Vec<_> = pins
        .iter()
        .flat_map(|pin| {
            [
                json!({"op": "test", "path": pin.pointer, "value": pin.from}),
                json!({"op": "replace", "path": pin.pointer, "value": pin.to}),
            ]
        })
        .collect();
    serde_json::to_vec(&operations).unwrap_or_default()
}

fn bounded(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.push_str(" ... (more is left out)");
    }
    text
}

fn warnings(all: &[String]) -> Vec<String> {
    let mut left = MAX_WARNINGS_CHARS;
    let mut kept = Vec::new();
    for warning in all {
        let warning: String = warning.chars().take(MAX_WARNING_CHARS.min(left)).collect();
        left -= warning.chars().count();
        if warning.is_empty() {
            break;
        }
        kept.push(warning);
    }
    kept
}

fn audit_annotations(decision: &Decision) -> BTreeMap<&'static str, String> {
    let mut annotations = BTreeMap::new();
    if !decision.vouched.is_empty() {
        let vouched: Vec<_> = decision.vouched.iter().map(vouched).collect();
        annotations.insert("verified", bounded(serde_json::Value::from(vouched).to_string()));
    }
    if !decision.audited.is_empty() {
        let audited: Vec<_> = decision.audited.iter().map(ToString::to_string).collect();
        annotations.insert("audit-denials", bounded(audited.join("\n")));
    }
    if !decision.allowed() {
        annotations.insert("reason", decision.code().to_owned());
    }
    annotations
}

fn vouched(vouched: &Vouched) -> serde_json::Value {
    let mut value = json!({
        "image": vouched.image.to_string(),
        "policy": vouched.policy,
    });
    match &vouched.signer {
        Signer::Certificate { issuer, subject } => {
            value["subject"] = subject.as_str().into();
            value["issuer"] = issuer.as_str().into();
        }
        Signer::Key { fingerprint } => value["key"] = fingerprint.as_str().into(),
    }
    if let Some(index) = vouched.log_index {
        value["logIndex"] = index.into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_nothing_but_the_image() {
        let pin = Pin { pointer: "/spec/containers/0/image".into(), from: "a:b".into(), to: "a:b@sha256:0".into() };
        let body = respond("u", &Decision { pins: vec![pin], ..Decision::default() });
        let answer: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(answer["response"]["allowed"], true);
        let patch = STANDARD.decode(answer["response"]["patch"].as_str().expect("a patch")).expect("base64");
        let patch: serde_json::Value = serde_json::from_slice(&patch).expect("JSON");
        assert_eq!(
            patch,
            json!([
                {"op": "test", "path": "/spec/containers/0/image", "value": "a:b"},
                {"op": "replace", "path": "/spec/containers/0/image", "value": "a:b@sha256:0"},
            ])
        );
    }

    #[test]
    fn keeps_warnings_within_what_is_passed_on() {
        let decision = Decision { warnings: vec!["ä".repeat(1_000); 40], ..Decision::default() };
        let answer: serde_json::Value = serde_json::from_slice(&respond("u", &decision)).expect("JSON");
        let warnings = answer["response"]["warnings"].as_array().expect("warnings").clone();
        assert_eq!(warnings.len(), MAX_WARNINGS_CHARS / MAX_WARNING_CHARS);
        assert!(warnings.iter().all(|warning| warning.as_str().is_some_and(|text| text.chars().count() == 256)));
    }
}
