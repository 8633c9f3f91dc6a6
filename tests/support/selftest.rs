//! Checks the test Sigstore and the test registry themselves, with `sigstore_verify` as the judge.
#![allow(clippy::pedantic, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "selftest/cosign.rs"]
mod cosign;
#[path = "selftest/evidence.rs"]
mod evidence;
#[path = "selftest/registry.rs"]
mod registry;
#[path = "mod.rs"]
mod support;

use serde_json::{Value, json};
use sigstore_trust_root::TrustedRoot;
use sigstore_types::{Bundle, DerPublicKey, Sha256Hash};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult, Verifier};

use self::support::{Authority, Kind, Layer, Signer, sbom};

/// The image that evidence is about.
const DIGEST: &str = "sha256:78250f9f3ca12d7334cd0f432d2f4edb5c66309ab6afa586430ff44b9f86947d";

/// Evidence of some kind, as the library wants it: a bundle, and the bytes that were signed if they
/// are not in the bundle.
struct Evidence {
    bundle: String,
    payload: Option<Vec<u8>>,
}

fn make(signer: &Signer, kind: Kind) -> Evidence {
    match kind {
        Kind::LegacySignature => assemble(&signer.legacy_signature(DIGEST)),
        Kind::LegacyAttestation => assemble(&signer.legacy_attestation(DIGEST, sbom::SPDX, &sbom::spdx())),
        Kind::BundleSignature => Evidence { bundle: signer.bundle_signature(DIGEST), payload: None },
        Kind::BundleAttestation => {
            let bundle = signer.bundle_attestation(DIGEST, sbom::SPDX, &sbom::spdx());
            Evidence { bundle, payload: None }
        }
    }
}

/// A legacy layer as a bundle v0.1: all of it comes from the annotations.
fn assemble(layer: &Layer) -> Evidence {
    let annotation = |name: &str| layer.annotations.get(&format!("dev.sigstore.cosign/{name}"));
    let mut material = json!({ "publicKey": { "hint": "" } });
    if let Some(leaf) = annotation("certificate") {
        let chain = annotation("chain").expect("next to the certificate");
        let certificates: Vec<_> = format!("{leaf}{chain}")
            .split("-----BEGIN CERTIFICATE-----")
            .skip(1)
            .map(|pem| pem.split("-----END").next().expect("an end").replace('\n', ""))
            .map(|base64| json!({ "rawBytes": base64 }))
            .collect();
        material = json!({ "x509CertificateChain": { "certificates": certificates } });
    }
    if let Some(bundle) = annotation("bundle") {
        let bundle: Value = serde_json::from_str(bundle).expect("JSON");
        let payload = &bundle["Payload"];
        let body = decode(payload["body"].as_str().expect("base64"));
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let log_id = hex::decode(payload["logID"].as_str().expect("hex")).expect("hex");
        let number = |name: &str| payload[name].as_i64().expect("a number").to_string();
        let mut entry = json!({
            "logIndex": number("logIndex"),
            "logId": { "keyId": encode(&log_id) },
            "kindVersion": { "kind": body["kind"], "version": body["apiVersion"] },
            "integratedTime": number("integratedTime"),
            "canonicalizedBody": payload["body"],
        });
        let set = bundle["SignedEntryTimestamp"].as_str().expect("base64");
        if !set.is_empty() {
            entry["inclusionPromise"] = json!({ "signedEntryTimestamp": set });
        }
        material["tlogEntries"] = json!([entry]);
    }
    let attestation = layer.media_type.contains("dsse");
    if let Some(token) = annotation("rfc3161timestamp") {
        let token: Value = serde_json::from_str(token).expect("JSON");
        let token = json!({ "signedTimestamp": token["SignedRFC3161Timestamp"] });
        // An attestation's token is over the envelope, which a bundle cannot say.
        if !attestation {
            material["timestampVerificationData"] = json!({ "rfc3161Timestamps": [token] });
        }
    }
    let mut bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "verificationMaterial": material,
    });
    if attestation {
        bundle["dsseEnvelope"] = serde_json::from_slice(&layer.bytes).expect("JSON");
        return Evidence { bundle: bundle.to_string(), payload: None };
    }
    let digest = support::authority::sha256(&layer.bytes);
    bundle["messageSignature"] = json!({
        "messageDigest": { "algorithm": "SHA2_256", "digest": encode(&digest) },
        "signature": layer.annotations["dev.cosignproject.cosign/signature"],
    });
    Evidence { bundle: bundle.to_string(), payload: Some(layer.bytes.clone()) }
}

fn verifier(sigstore: &Authority) -> Verifier {
    let root = TrustedRoot::from_json(&sigstore.trusted_root_json()).expect("a trusted root");
    Verifier::new(&root).expect("a good trusted root")
}

fn verify(verifier: &Verifier, evidence: &Evidence) -> Result<VerificationResult, String> {
    let bundle = Bundle::from_json(&evidence.bundle).map_err(|e| e.to_string())?;
    let policy = VerificationPolicy::any_identity();
    match &evidence.payload {
        Some(payload) => verifier.verify(payload.as_slice(), &bundle, &policy),
        None => verifier.verify(digest(), &bundle, &policy),
    }
    .map_err(|e| e.to_string())
}

fn verify_with_key(verifier: &Verifier, evidence: &Evidence, pem: &str) -> Result<(), String> {
    let bundle = Bundle::from_json(&evidence.bundle).map_err(|e| e.to_string())?;
    let policy = PublicKeyVerificationPolicy::new(DerPublicKey::from_pem(pem).expect("PEM"));
    match &evidence.payload {
        Some(payload) => verifier.verify(payload.as_slice(), &bundle, &policy),
        None => verifier.verify(digest(), &bundle, &policy),
    }
    .map(drop)
    .map_err(|e| e.to_string())
}

fn digest() -> Sha256Hash {
    Sha256Hash::from_hex(&DIGEST["sha256:".len()..]).expect("a digest")
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
}

fn encode(bytes: &[u8]) -> String {
    support::authority::base64(bytes)
}
