//! Updates, deletions, repeated calls: what is not new is not looked at again.

use serde_json::json;

use super::{assert_admitted, assert_admitted_as, assert_denied, example, example_with};
use crate::rig::{Options, Review, object};
use crate::support::On;

#[tokio::test]
async fn a_label_change_needs_no_registry() {
    let (world, webhook) = example_with(Options::without_caches()).await;
    world.registry.stop();
    for kind in object::workload_kinds().chain(["Pod"]) {
        for tag in ["1.0.0", "unsigned"] {
            let before = match kind {
                "Pod" => object::pod(&world.image(tag)),
                _ => object::workload(kind, &world.image(tag)),
            };
            let after = object::labelled(before.clone(), "team", "blue");
            let admission = webhook.admit(Review::update(after, before)).await;
            assert_admitted(&admission);
            assert_eq!(admission.mutated.patch, None, "{kind}");
        }
    }
    assert_eq!(world.registry.count(On::All), 0);
}

#[tokio::test]
async fn only_a_changed_image_is_verified_and_pinned() {
    let (world, webhook) = example().await;
    let pod = |first: &str, second: &str| {
        object::pod_with(&world.image(first), &[("containers", object::container("second", &world.image(second)))])
    };
    // What runs already is unsigned, and stays as it is.
    let before = pod("unsigned", "1.0.0");
    let admission = webhook.admit(Review::update(pod("unsigned", "2.0.0"), before.clone())).await;
    assert_admitted_as(&admission, &world.image("unsigned"));
    assert_eq!(admission.mutated.replaced(), [("/spec/containers/1/image".to_owned(), world.pinned("2.0.0"))]);
    // Moved to another container, an old image is a new one there.
    let admission = webhook.admit(Review::update(pod("1.0.0", "unsigned"), before.clone())).await;
    assert_denied(&admission, "SignatureMissing", &["container \"second\""]);
    let admission = webhook.admit(Review::update(pod("unsigned", "no-sbom"), before)).await;
    assert_denied(&admission, "AttestationMissing", &["container \"second\""]);
    assert!(!admission.message().contains("\"app\""), "{}", admission.message());
}

#[tokio::test]
async fn a_template_that_changes_its_image_is_validated() {
    let (world, webhook) = example().await;
    for kind in object::workload_kinds() {
        let before = object::workload(kind, &world.image("1.0.0"));
        let good = Review::update(object::workload(kind, &world.image("2.0.0")), before.clone());
        assert_admitted(&webhook.admit(good).await);
        let bad = Review::update(object::workload(kind, &world.image("unsigned")), before);
        assert_denied(&webhook.admit(bad).await, "SignatureMissing", &[]);
    }
}

#[tokio::test]
async fn an_ephemeral_container_is_patched_and_nothing_else() {
    let (world, webhook) = example().await;
    let mut before = object::pod(&world.image("unsigned"));
    before["spec"]["ephemeralContainers"] = json!([object::container("first", &world.image("unsigned"))]);
    let mut after = before.clone();
    let entry = object::container("second", &world.image("1.0.0"));
    after["spec"]["ephemeralContainers"].as_array_mut().unwrap().push(entry);
    let admission = webhook.admit(Review::update(after, before).sub_resource("ephemeralcontainers")).await;
    assert_admitted(&admission);
    let pinned = [("/spec/ephemeralContainers/1/image".to_owned(), world.pinned("1.0.0"))];
    assert_eq!(admission.mutated.replaced(), pinned);
}

#[tokio::test]
async fn mutating_twice_changes_nothing() {
    let (world, webhook) = example().await;
    let image = world.image("1.0.0");
    let pod = object::pod_with(
        &image,
        &[
            ("initContainers", object::container("setup", &world.image("2.0.0"))),
            ("volumes", object::image_volume("data", &world.image("1.0.0-legacy"))),
        ],
    );
    let once = webhook.admit(pod).await;
    assert_eq!(once.mutated.replaced().len(), 3);
    let twice = webhook.admit(once.object.clone()).await;
    assert_admitted(&twice);
    assert_eq!(twice.mutated.patch, None);
    assert_eq!(twice.object, once.object);
}

#[tokio::test]
async fn deletion_is_allowed() {
    let (world, webhook) = example().await;
    world.registry.stop();
    for old in [object::pod(&world.image("unsigned")), object::workload("Deployment", "not a reference")] {
        assert_admitted(&webhook.admit(Review::delete(old)).await);
    }
    assert_eq!(world.registry.count(On::All), 0);
}

#[tokio::test]
async fn a_dry_run_is_decided_alike() {
    let (world, webhook) = example().await;
    let review = |tag: &str| Review::create(object::pod(&world.image(tag))).dry_run();
    assert_admitted_as(&webhook.admit(review("1.0.0")).await, &world.pinned("1.0.0"));
    assert_denied(&webhook.admit(review("unsigned")).await, "SignatureMissing", &[]);
}

#[tokio::test]
async fn a_pod_without_images_of_any_policy_is_left_alone() {
    let (world, webhook) = example().await;
    let mut pod = object::pod("docker.io/library/nginx:latest");
    assert_admitted_as(&webhook.admit(pod.clone()).await, "docker.io/library/nginx:latest");
    pod["spec"]["containers"] = json!([]);
    let admission = webhook.admit(pod).await;
    assert_admitted(&admission);
    assert_eq!(world.registry.count(On::All), 0);
}
