//! Story 1: a signed image with its SBOM, by tag, is admitted and pinned.

use serde_json::json;

use super::{assert_admitted_as, assert_denied, every_setting, example};
use crate::rig::{Format, Webhook, World, object, policy};
use crate::support::sbom;

#[tokio::test]
async fn a_signed_image_is_admitted_and_its_tag_pinned() {
    for (world, webhook, language) in every_setting().await {
        for format in Format::ALL {
            let tag = format!("1.0.0{}", format.suffix());
            let admission = webhook.admit(object::pod(&world.image(&tag))).await;
            assert_admitted_as(&admission, &world.pinned(&tag));
            let image = world.image(&tag);
            let expected = json!([
                { "op": "test", "path": "/spec/containers/0/image", "value": image },
                { "op": "replace", "path": "/spec/containers/0/image", "value": world.pinned(&tag) },
            ]);
            assert_eq!(json!(admission.mutated.patch), expected, "{language}, {format:?}");
            assert_eq!(admission.validated.warnings, Vec::<String>::new());
        }
    }
}

#[tokio::test]
async fn the_audit_log_says_who_vouched() {
    let (world, webhook) = example().await;
    for format in Format::ALL {
        let image = world.image_in(format, "1.0.0");
        let admission = webhook.admit(object::pod(&image)).await;
        let vouched = admission.validated.vouched();
        assert!(!vouched.is_empty(), "{}", admission.validated.body);
        for vouched in vouched {
            let subject = "https://github.com/zionsworking/cicd-supply-chain-security\
                           /.github/workflows/release.yml@refs/heads/main";
            assert_eq!(vouched["subject"], subject);
            assert_eq!(vouched["issuer"], "https://token.actions.githubusercontent.com");
            let policy = vouched["policy"].as_str().unwrap();
            assert!(matches!(policy.split_once('/'), Some(("verify-images", _))), "{policy}");
            assert!(vouched["image"].as_str().unwrap().ends_with(&world.digest(&format!("1.0.0{}", format.suffix()))));
            assert!(vouched["logIndex"].is_u64());
        }
    }
}

#[tokio::test]
async fn every_generation_of_evidence_passes() {
    let (world, webhook) = example().await;
    let bundle = world.signer(Format::Legacy);
    let mut images = Vec::new();
    for (name, signer, format) in [
        ("bundles with Rekor v1", bundle.clone(), Format::Bundle),
        ("bundles with Rekor v1 and a time stamp", bundle.clone().timestamped(), Format::Bundle),
        ("bundles with Rekor v2", bundle.clone().rekor_v2(), Format::Bundle),
        ("legacy", bundle.clone(), Format::Legacy),
        ("legacy with a time stamp", bundle.clone().timestamped(), Format::Legacy),
    ] {
        let tag = name.replace(' ', "-").to_lowercase();
        let digest = world.push(&tag);
        world.sign(format, &signer, &digest);
        world.attest(format, &signer, &digest, sbom::SPDX);
        images.push((name, tag));
    }
    // A signature in one format and the attestation in the other: what is found is one union.
    let digest = world.push("mixed");
    world.sign(Format::Legacy, &bundle, &digest);
    world.attest(Format::Bundle, &world.signer(Format::Bundle), &digest, sbom::SPDX);
    images.push(("mixed", "mixed".to_owned()));
    // Legacy layers as an OCI referrer.
    let digest = world.push("legacy-referrer");
    let layers = [bundle.legacy_signature(&digest), bundle.legacy_attestation(&digest, sbom::SPDX, &sbom::spdx())];
    world.registry.push_legacy_referrer(crate::rig::world::REPOSITORY, &digest, layers);
    images.push(("legacy layers as a referrer", "legacy-referrer".to_owned()));
    for (name, tag) in images {
        let admission = webhook.admit(object::pod(&world.image(&tag))).await;
        assert!(admission.allowed(), "{name}: {}", admission.message());
        assert_admitted_as(&admission, &world.pinned(&tag));
    }
}

#[tokio::test]
async fn an_image_index_is_signed_as_a_whole() {
    let (world, webhook) = example().await;
    let (amd, arm) = (world.push("amd64"), world.push("arm64"));
    let repository = crate::rig::world::REPOSITORY;
    let index = world.registry.push_index(repository, "multi", &[("amd64", &amd), ("arm64", &arm)]);
    let signer = world.signer(Format::Bundle);
    world.sign(Format::Bundle, &signer, &index);
    world.attest(Format::Bundle, &signer, &index, sbom::SPDX);
    let admission = webhook.admit(object::pod(&world.image("multi"))).await;
    assert_admitted_as(&admission, &world.pinned("multi"));
    // A signature over the index is none over what it lists.
    let admission = webhook.admit(object::pod(&world.image("amd64"))).await;
    assert_denied(&admission, "SignatureMissing", &[&amd]);
}

#[tokio::test]
async fn a_digest_is_admitted_as_it_is() {
    for (world, webhook, _) in every_setting().await {
        for tag in ["1.0.0", "1.0.0-legacy"] {
            for image in [world.by_digest(tag), world.pinned(tag)] {
                let admission = webhook.admit(object::pod(&image)).await;
                assert_admitted_as(&admission, &image);
                assert_eq!(admission.mutated.patch, None);
            }
        }
    }
}

#[tokio::test]
async fn both_languages_at_once_ask_for_the_same() {
    let world = World::new();
    let webhook = Webhook::start(&world, &[policy::KYVERNO, policy::OURS, policy::DEFAULT_DENY]).await;
    let admission = webhook.admit(object::pod(&world.image("1.0.0"))).await;
    assert_admitted_as(&admission, &world.pinned("1.0.0"));
    let admission = webhook.admit(object::pod(&world.image("unsigned"))).await;
    assert_denied(&admission, "SignatureMissing", &["policy verify-images", "policy zionsworking"]);
    assert!(!admission.message().contains("default-deny"), "{}", admission.message());
}
