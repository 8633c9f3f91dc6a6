//! Story 6: the tag is moved to a rebuilt image. A signature is of a digest, whatever a tag says.

use super::{assert_admitted_as, assert_denied, every_setting, example};
use crate::rig::world::REPOSITORY;
use crate::rig::{Format, Options, Webhook, World, object, policy};

#[tokio::test]
async fn story_6_a_moved_tag_is_denied_and_the_old_digest_still_admitted() {
    for (world, webhook, _) in every_setting().await {
        for format in Format::ALL {
            let tag = format!("moved{}", format.suffix());
            let (before, pinned) = (world.digest(&tag), world.pinned(&tag));
            assert_admitted_as(&webhook.admit(object::pod(&world.image(&tag))).await, &pinned);
            let rebuilt = world.registry.push_image(REPOSITORY, &tag, b"rebuilt, with something added");
            assert_ne!(before, rebuilt);
            let admission = webhook.admit(object::pod(&world.image(&tag))).await;
            assert_denied(&admission, "SignatureMissing", &[&rebuilt]);
            assert_admitted_as(&webhook.admit(object::pod(&pinned)).await, &pinned);
        }
    }
}

#[tokio::test]
async fn the_digest_decides_where_the_tag_beside_it_says_something_else() {
    let (world, webhook) = example().await;
    let good = format!("{}@{}", world.image("unsigned"), world.digest("1.0.0"));
    let admission = webhook.admit(object::pod(&good)).await;
    assert_admitted_as(&admission, &good);
    assert_eq!(admission.mutated.patch, None);
    let bad = format!("{}@{}", world.image("1.0.0"), world.digest("unsigned"));
    assert_denied(&webhook.admit(object::pod(&bad)).await, "SignatureMissing", &[]);
}

#[tokio::test]
async fn evidence_of_another_digest_is_none() {
    let (world, webhook) = example().await;
    for format in Format::ALL {
        // Copied to where the evidence of this image is looked for.
        let tag = format!("copied{}", format.suffix());
        let digest = world.push(&tag);
        let other = world.digest("1.0.0");
        let signer = world.signer(format);
        match format {
            Format::Legacy => world.registry.push_legacy(REPOSITORY, &digest, [signer.legacy_signature(&other)]),
            Format::Bundle => {
                world.registry.push_bundle(REPOSITORY, &digest, &signer.bundle_signature(&other));
            }
        }
        let admission = webhook.admit(object::pod(&world.image(&tag))).await;
        assert_denied(&admission, "PayloadMismatch", &[&other, &digest]);
    }
}

/// Two policies, each with its own requirement: Kyverno resolves the tag once for each rule.
#[tokio::test]
async fn a_tag_that_flips_is_resolved_once_for_all_policies() {
    let world = World::new();
    let signature = policy::image_policy("signature", "Enforce", "ghcr.io/zionsworking/*", &[policy::SIGNATURE]);
    let sbom = policy::image_policy("sbom", "Enforce", "ghcr.io/zionsworking/*", &[policy::SBOM]);
    let webhook = Webhook::with(&world, &[&signature, &sbom], Options::without_caches()).await;
    let (good, bad) = (world.digest("1.0.0"), world.digest("unsigned"));
    let lookups = || world.registry.count(crate::support::On::path("/manifests/flipping"));
    for (first, second, admitted) in [(&good, &bad, true), (&bad, &good, false)] {
        world.registry.alternate_tag(REPOSITORY, "flipping", &[first, second]);
        let before = lookups();
        let admission = webhook.admit(object::pod(&world.image("flipping"))).await;
        assert_eq!(lookups() - before, 1);
        assert_eq!(admission.image(), format!("{}@{first}", world.image("flipping")));
        assert_eq!(admission.allowed(), admitted, "{}", admission.message());
    }
    // A template is not pinned: both policies still speak of one digest.
    for (first, second, admitted) in [(&good, &bad, true), (&bad, &good, false)] {
        world.registry.alternate_tag(REPOSITORY, "flipping", &[first, second]);
        let before = lookups();
        let answer = webhook.validate(object::workload("Deployment", &world.image("flipping"))).await;
        assert_eq!((answer.allowed, lookups() - before), (admitted, 1), "{}", answer.message);
    }
    // Two containers with the tag: one digest.
    world.registry.alternate_tag(REPOSITORY, "flipping", &[&good, &bad]);
    let image = world.image("flipping");
    let pod = object::pod_with(&image, &[("containers", object::container("second", &image))]);
    let admission = webhook.admit(pod).await;
    assert_admitted_as(&admission, &format!("{image}@{good}"));
    assert_eq!(admission.field("/spec/containers/1/image"), format!("{image}@{good}"));
}
