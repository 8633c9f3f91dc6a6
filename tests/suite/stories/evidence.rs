//! Good evidence among bad: one piece that passes is enough, and nobody else's can take that away.

use serde_json::json;

use super::{assert_admitted, assert_admitted_as, assert_denied, example};
use crate::rig::world::REPOSITORY;
use crate::rig::{Format, object};
use crate::support::{Flaw, sbom};

#[tokio::test]
async fn a_good_signature_beside_bad_ones_passes() {
    let (world, webhook) = example().await;
    for format in Format::ALL {
        for good_first in [true, false] {
            let tag = format!("mixed-{good_first}{}", format.suffix());
            let digest = world.push(&tag);
            let ours = world.signer(format);
            let bad = [
                world.stranger(format),
                ours.clone().flaw(Flaw::SignatureOverOtherPayload),
                ours.clone().flaw(Flaw::UntrustedAuthority),
            ];
            if good_first {
                world.sign(format, &ours, &digest);
            }
            for signer in &bad {
                world.sign(format, signer, &digest);
            }
            world.attest(format, &ours, &digest, sbom::SPDX);
            if !good_first {
                let admission = webhook.admit(object::pod(&world.image(&tag))).await;
                // The one that came closest is told first.
                assert_denied(&admission, "SubjectMismatch", &["zionsworking-evil", "also: "]);
                world.sign(format, &ours, &digest);
            }
            let admission = webhook.admit(object::pod(&world.image(&tag))).await;
            assert_admitted_as(&admission, &world.pinned(&tag));
        }
    }
}

#[tokio::test]
async fn a_strangers_attestation_does_not_break_a_good_image() {
    let (world, webhook) = example().await;
    for format in Format::ALL {
        for tag in ["1.0.0", "1.0.0-legacy"] {
            let stranger = world.stranger(format);
            let digest = world.digest(tag);
            world.attest(format, &stranger, &digest, sbom::SPDX);
            world.attest(format, &stranger, &digest, sbom::SLSA);
            world.sign(format, &stranger, &digest);
            let admission = webhook.admit(object::pod(&world.image(tag))).await;
            assert_admitted_as(&admission, &world.pinned(tag));
        }
    }
}

#[tokio::test]
async fn junk_beside_good_evidence_is_passed_over() {
    let (world, webhook) = example().await;
    let digest = world.digest("1.0.0");
    world.registry.push_bundle(REPOSITORY, &digest, "{}");
    world.registry.push_bundle(REPOSITORY, &digest, "not JSON");
    let lie = json!({ "dev.sigstore.bundle.predicateType": "https://spdx.dev/Document" });
    let slsa = world.stranger(Format::Bundle).bundle_attestation(&digest, sbom::SLSA, &sbom::spdx());
    world.registry.push_bundle_annotated(REPOSITORY, &digest, &slsa, lie);
    assert_admitted(&webhook.admit(object::pod(&world.image("1.0.0"))).await);
}

#[tokio::test]
async fn an_attestation_is_no_signature_and_a_signature_no_attestation() {
    let (world, webhook) = example().await;
    for format in Format::ALL {
        let tag = format!("attested-only{}", format.suffix());
        let digest = world.push(&tag);
        world.attest(format, &world.signer(format), &digest, sbom::SPDX);
        let admission = webhook.admit(object::pod(&world.image(&tag))).await;
        assert_denied(&admission, "SignatureMissing", &["an attestation is not a signature"]);
        assert!(!admission.message().contains("attestation https://spdx.dev/Document:"), "{}", admission.message());
    }
}

#[tokio::test]
async fn a_bundle_is_what_its_payload_says_whatever_its_manifest_says() {
    let (world, webhook) = example().await;
    let digest = world.push("mislabelled");
    let signer = world.signer(Format::Bundle);
    world.sign(Format::Bundle, &signer, &digest);
    let slsa = signer.bundle_attestation(&digest, sbom::SLSA, &sbom::spdx());
    let lie = json!({ "dev.sigstore.bundle.predicateType": "https://spdx.dev/Document" });
    world.registry.push_bundle_annotated(REPOSITORY, &digest, &slsa, lie);
    let admission = webhook.admit(object::pod(&world.image("mislabelled"))).await;
    assert_denied(&admission, "PredicateTypeMismatch", &["only of type https://slsa.dev/provenance/v1"]);
    // And the other way round: no annotation at all, and the right payload.
    let spdx = signer.bundle_attestation(&digest, sbom::SPDX, &sbom::spdx());
    world.registry.push_bundle_annotated(REPOSITORY, &digest, &spdx, json!({}));
    assert_admitted(&webhook.admit(object::pod(&world.image("mislabelled"))).await);
}

/// The same payload and signature, without what proves when it was made: whoever may push can put it first.
#[tokio::test]
async fn a_stripped_copy_of_a_good_layer_does_not_hide_it() {
    let (world, webhook) = example().await;
    let digest = world.push("stripped");
    let signer = world.signer(Format::Legacy);
    for layer in [signer.legacy_signature(&digest), signer.legacy_attestation(&digest, sbom::SPDX, &sbom::spdx())] {
        let mut stripped = layer.clone();
        stripped.annotations.remove("dev.sigstore.cosign/bundle").expect("logged");
        world.registry.push_legacy(REPOSITORY, &digest, [stripped, layer]);
    }
    assert_admitted(&webhook.admit(object::pod(&world.image("stripped"))).await);
}
