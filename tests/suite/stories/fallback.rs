//! Story 3, the default-deny, and what policies that do not enforce leave to others.

use super::{assert_admitted, assert_admitted_as, assert_denied};
use crate::rig::{Webhook, World, object, policy};
use crate::support::On;

const NGINX: &str = "docker.io/library/nginx:latest";

#[tokio::test]
async fn story_3_an_uncovered_image_is_denied_by_a_fallback_policy_alone() {
    let world = World::new();
    let with = Webhook::start(&world, &[policy::KYVERNO, policy::DEFAULT_DENY]).await;
    let without = Webhook::start(&world, &[policy::KYVERNO]).await;
    for image in
        [NGINX, "nginx", "index.docker.io/library/nginx", "quay.invalid/zionsworking/cicd-supply-chain-security:1"]
    {
        let admission = with.admit(object::pod(image)).await;
        assert_denied(&admission, "DeniedByPolicy", &["policy default-deny", "ask for an ImagePolicy"]);
        let admission = without.admit(object::pod(image)).await;
        assert_admitted_as(&admission, image);
        assert_eq!(admission.mutated.patch, None);
    }
    assert_eq!(world.registry.count(On::All), 0, "neither needs to ask a registry");
}

#[tokio::test]
async fn a_fallback_policy_leaves_alone_what_another_one_covers() {
    let world = World::new();
    let webhook = Webhook::start(&world, &[policy::OURS, policy::DEFAULT_DENY]).await;
    let admission = webhook.admit(object::pod(&world.image("1.0.0"))).await;
    assert_admitted_as(&admission, &world.pinned("1.0.0"));
    let admission = webhook.admit(object::pod(&world.image("unsigned"))).await;
    assert_denied(&admission, "SignatureMissing", &["policy zionsworking"]);
    assert!(!admission.message().contains("default-deny"));
}

#[tokio::test]
async fn warn_mode_admits_with_a_warning() {
    let world = World::new();
    let warn = policy::image_policy("soft", "Warn", "ghcr.io/zionsworking/*", &[policy::SIGNATURE]);
    let webhook = Webhook::start(&world, &[&warn]).await;
    let admission = webhook.admit(object::pod(&world.image("unsigned"))).await;
    assert_admitted(&admission);
    let warnings = &admission.validated.warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].chars().count() <= 256);
    assert!(warnings[0].contains("policy soft") && warnings[0].contains("container \"app\""), "{warnings:?}");
    let admission = webhook.admit(object::pod(&world.image("1.0.0"))).await;
    assert_admitted_as(&admission, &world.pinned("1.0.0"));
    assert!(admission.validated.warnings.is_empty());
}

#[tokio::test]
async fn audit_mode_admits_and_records() {
    let world = World::new();
    let audit = policy::image_policy("silent", "Audit", "ghcr.io/zionsworking/*", &[policy::SIGNATURE]);
    let webhook = Webhook::start(&world, &[&audit]).await;
    let admission = webhook.admit(object::pod(&world.image("other-identity"))).await;
    assert_admitted(&admission);
    assert!(admission.validated.warnings.is_empty());
    let recorded = admission.validated.audit["audit-denials"].as_str().expect("recorded");
    assert!(recorded.contains("policy silent: signature: SubjectMismatch"), "{recorded}");
}

#[tokio::test]
async fn a_policy_that_does_not_enforce_does_not_switch_the_fallback_off() {
    let world = World::new();
    for mode in ["Warn", "Audit"] {
        let soft = policy::image_policy("soft", mode, "docker.io/*", &[policy::SIGNATURE]);
        let webhook = Webhook::start(&world, &[&soft, policy::DEFAULT_DENY]).await;
        let admission = webhook.admit(object::pod(NGINX)).await;
        assert_denied(&admission, "DeniedByPolicy", &["policy default-deny"]);
    }
}

#[tokio::test]
async fn an_enforcing_policy_is_not_softened_by_another() {
    let world = World::new();
    let warn = policy::image_policy("soft", "Warn", "*", &[policy::SIGNATURE]);
    let webhook = Webhook::start(&world, &[&warn, policy::KYVERNO]).await;
    let admission = webhook.admit(object::pod(&world.image("unsigned"))).await;
    assert_denied(&admission, "SignatureMissing", &["policy verify-images"]);
    assert_eq!(admission.validated.warnings.len(), 1);
}

#[tokio::test]
async fn a_tag_is_denied_where_a_digest_is_required() {
    let world = World::new();
    let lines = ["digest: Require", policy::SIGNATURE];
    let require = policy::image_policy("digests", "Enforce", "ghcr.io/zionsworking/*", &lines);
    let webhook = Webhook::start(&world, &[&require]).await;
    let admission = webhook.admit(object::pod(&world.image("1.0.0"))).await;
    assert_denied(&admission, "DigestRequired", &["requires a digest"]);
    let admission = webhook.admit(object::pod(&world.by_digest("1.0.0"))).await;
    assert_admitted(&admission);
}
