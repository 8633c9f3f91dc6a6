//! What a registry is asked, counted: one image is asked about once, however many ask for it.

use std::time::Duration;

use bonafide::pipeline::Lifetimes;
use futures::future::join_all;

use super::{assert_admitted, assert_admitted_as, assert_denied, example_with};
use crate::rig::{Options, Webhook, World, object, policy};
use crate::support::On;

/// Requests of one cold admission of `image`.
async fn cost_of_one(world: &World, webhook: &Webhook, image: &str) -> usize {
    world.registry.clear_requests();
    assert_admitted(&webhook.admit(object::pod(image)).await);
    world.registry.count(On::All)
}

/// Nothing but passes is remembered for longer than two calls take.
fn tags_for_a_while() -> Options {
    let lifetimes = Lifetimes { tag: Duration::from_secs(60), ..Lifetimes::DEFAULT };
    Options::default().lifetimes(lifetimes)
}

#[tokio::test]
async fn eight_containers_of_one_image_cost_what_one_costs() {
    let (world, alone) = example_with(Options::without_caches()).await;
    for tag in ["1.0.0", "1.0.0-legacy"] {
        let image = world.image(tag);
        let one = Webhook::start(&world, &[policy::KYVERNO]).await;
        let cost = cost_of_one(&world, &one, &image).await;
        let eight = Webhook::start(&world, &[policy::KYVERNO]).await;
        world.registry.clear_requests();
        let more: Vec<_> = (1..8).map(|n| ("containers", object::container(&format!("app-{n}"), &image))).collect();
        let admission = eight.admit(object::pod_with(&image, &more)).await;
        assert_admitted_as(&admission, &world.pinned(tag));
        assert_eq!(admission.field("/spec/containers/7/image"), world.pinned(tag));
        assert_eq!(world.registry.count(On::All), cost, "{:#?}", world.registry.requests());
    }
    drop(alone);
}

#[tokio::test]
async fn a_tag_and_its_digest_are_one_image() {
    let (world, webhook) = example_with(Options::default()).await;
    let image = world.image("1.0.0");
    let cost = cost_of_one(&world, &webhook, &image).await;
    let webhook = Webhook::start(&world, &[policy::KYVERNO]).await;
    world.registry.clear_requests();
    let pod = object::pod_with(&image, &[("containers", object::container("pinned", &world.by_digest("1.0.0")))]);
    assert_admitted(&webhook.admit(pod).await);
    assert_eq!(world.registry.count(On::All), cost);
}

#[tokio::test]
async fn a_pass_is_remembered_and_both_calls_share_their_work() {
    let (world, webhook) = example_with(tags_for_a_while()).await;
    let image = world.image("1.0.0");
    let cost = cost_of_one(&world, &webhook, &image).await;
    let manifest = world.registry.count(On::path("/manifests/1.0.0"));
    assert_eq!(manifest, 1, "the validating call has the digest already");
    assert!(cost > 1);
    for image in [&image, &world.pinned("1.0.0"), &world.by_digest("1.0.0")] {
        assert_eq!(cost_of_one(&world, &webhook, image).await, 0, "{image}");
    }
    let stats = webhook.engine.cache_stats();
    assert!(stats.hits >= 6, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_equal_requests_at_once_are_one_flight() {
    let world = World::new();
    let one = Webhook::with(&world, &[policy::KYVERNO], Options::without_caches()).await;
    for tag in ["1.0.0", "1.0.0-legacy"] {
        let pinned = world.by_digest(tag);
        world.registry.clear_requests();
        assert!(one.validate(object::pod(&pinned)).await.allowed);
        let cost = world.registry.count(On::All);
        // Long enough for all of them to come in while the first one waits.
        world.registry.set_delay(Duration::from_millis(400));
        world.registry.clear_requests();
        let answers = join_all((0..20).map(|_| one.validate(object::pod(&pinned)))).await;
        world.registry.set_delay(Duration::ZERO);
        assert!(answers.iter().all(|answer| answer.allowed), "{}", answers[0].message);
        assert_eq!(world.registry.count(On::All), cost, "{tag}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_look_ups_of_one_tag_at_once_are_one() {
    let world = World::new();
    let webhook = Webhook::with(&world, &[policy::KYVERNO], Options::without_caches()).await;
    world.registry.set_delay(Duration::from_millis(400));
    let image = world.image("1.0.0");
    let answers = join_all((0..20).map(|_| webhook.mutate(object::pod(&image)))).await;
    assert!(answers.iter().all(|answer| answer.replaced().len() == 1));
    assert_eq!(world.registry.count(On::path("/manifests/1.0.0")), 1);
}

#[tokio::test]
async fn a_rejection_is_remembered_for_its_time() {
    let lifetimes = Lifetimes { tag: Duration::from_secs(60), ..Lifetimes::DEFAULT };
    let (world, webhook) = example_with(Options::default().lifetimes(lifetimes)).await;
    let image = world.image("unsigned");
    assert_denied(&webhook.admit(object::pod(&image)).await, "SignatureMissing", &[]);
    world.registry.clear_requests();
    assert_denied(&webhook.admit(object::pod(&image)).await, "SignatureMissing", &[]);
    assert_eq!(world.registry.count(On::All), 0);
}

#[tokio::test]
async fn an_edited_policy_is_in_force_for_the_next_request() {
    let (world, webhook) = example_with(tags_for_a_while()).await;
    let image = world.image("no-sbom");
    assert_denied(&webhook.admit(object::pod(&image)).await, "AttestationMissing", &[]);
    let signature = policy::image_policy("signature", "Enforce", "ghcr.io/zionsworking/*", &[policy::SIGNATURE]);
    webhook.replace_policies(&[&signature]);
    assert_admitted_as(&webhook.admit(object::pod(&image)).await, &world.pinned("no-sbom"));
    webhook.replace_policies(&[policy::OURS]);
    assert_denied(&webhook.admit(object::pod(&image)).await, "AttestationMissing", &[]);
}
