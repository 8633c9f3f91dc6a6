//! Real evidence of the public-good instance, against the embedded trust root, offline.

use std::collections::BTreeMap;

use bonafide::{
    evidence::{Evidence, from_bundle, from_legacy_attestation, from_legacy_signature},
    image::{Digest, PinnedImage, Reference},
    policy::{Authority, AuthorityKind, Identity, Pattern, PredicateType, Requirement, RequirementKind},
    trust::TrustRoot,
    verify::{Docket, Rejection},
};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use super::binary::repo;

const GITHUB: &str = "https://token.actions.githubusercontent.com";

fn read(path: &str) -> Bytes {
    std::fs::read(repo("tests/vectors").join(path)).unwrap().into()
}

fn image(digest: &str) -> PinnedImage {
    format!("ghcr.io/example/app@{digest}").parse::<Reference>().unwrap().pinned().unwrap()
}

fn requirement(kind: RequirementKind, issuer: &str, subject: &str) -> Requirement {
    let identity = Identity { issuer: Pattern::exact(issuer).unwrap(), subject: Pattern::glob(subject).unwrap() };
    let authority = Authority { name: "signer".to_owned(), kind: AuthorityKind::Keyless(identity) };
    Requirement::new(kind, vec![authority.into()], 1).unwrap()
}

/// `Ok` with the log index, or the first reason.
fn verify(image: &PinnedImage, evidence: &Evidence, requirement: &Requirement) -> Result<Option<u64>, &'static str> {
    let trust = TrustRoot::public_good().unwrap();
    let pieces = [evidence.clone()];
    let docket = Docket::new(image, &pieces, &[], &trust, Timestamp::now());
    match docket.verify(requirement) {
        Ok(verified) => Ok(verified[0].authentic().log_index),
        Err(rejections) => Err(rejections[0].code()),
    }
}

fn legacy_signature() -> Evidence {
    let manifest: Value = serde_json::from_slice(&read("legacy-signature-rekor-test/manifest.json")).unwrap();
    let annotations: BTreeMap<String, String> =
        serde_json::from_value(manifest["layers"][0]["annotations"].clone()).unwrap();
    let payload = read("legacy-signature-rekor-test/payload.json");
    let digest = Digest::of(&payload);
    assert_eq!(manifest["layers"][0]["digest"], digest.as_str());
    from_legacy_signature(digest, payload, &annotations).unwrap()
}

#[test]
fn a_legacy_signature_of_2024() {
    let evidence = legacy_signature();
    let signed = image("sha256:31dc72a13a0c34b40eb95419d2b2fd67320c856baf3b72da518023ee8d370aee");
    let issuer = "https://github.com/login/oauth";
    let require = |issuer, subject| requirement(RequirementKind::Signature, issuer, subject);
    assert_eq!(verify(&signed, &evidence, &require(issuer, "*@securesystems.de")), Ok(Some(98_235_800)));
    assert_eq!(verify(&signed, &evidence, &require(issuer, "*@example.com")), Err("SubjectMismatch"));
    assert_eq!(verify(&signed, &evidence, &require(GITHUB, "*@securesystems.de")), Err("IssuerMismatch"));
    let other = image(Digest::of(b"another image").as_str());
    assert_eq!(verify(&other, &evidence, &require(issuer, "*@securesystems.de")), Err("PayloadMismatch"));
}

#[test]
fn a_bundle_of_a_release_workflow() {
    let bytes = read("bundle-v03-kubewarden-controller/bundle.json");
    let evidence = from_bundle(Digest::of(&bytes), &bytes).unwrap();
    let signed = image("sha256:c811d58de79c92f03214e63aa339484e488d694ae8a6283b5f3f17a9faf50172");
    let subject = "https://github.com/kubewarden/*";
    let require = |subject| requirement(RequirementKind::Signature, GITHUB, subject);
    assert!(matches!(verify(&signed, &evidence, &require(subject)), Ok(Some(_))));
    assert_eq!(verify(&signed, &evidence, &require("https://github.com/kubewarde/*")), Err("SubjectMismatch"));
    let other = image(Digest::of(b"another image").as_str());
    assert_eq!(verify(&other, &evidence, &require(subject)), Err("PayloadMismatch"));
    let predicate_type = "spdxjson".parse::<PredicateType>().unwrap();
    let sbom = requirement(RequirementKind::Attestation { predicate_type }, GITHUB, subject);
    assert_eq!(verify(&signed, &evidence, &sbom), Err("AttestationMissing"));
}

#[test]
fn a_shortened_attestation_is_not_what_was_signed() {
    let envelope = read("tampered-legacy-attestation-distroless-static/envelope.json");
    let annotations = read("tampered-legacy-attestation-distroless-static/annotations.json");
    let annotations: BTreeMap<String, String> = serde_json::from_slice(&annotations).unwrap();
    let read = from_legacy_attestation(Digest::of(&envelope), &envelope, &annotations);
    assert!(matches!(read, Err(Rejection::SignatureInvalid(_))), "{read:?}");
}
