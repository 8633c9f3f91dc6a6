//! The stories: one module for each group of them, one test for each case. Every test asserts the outcome
//! and the reason code; a denial by identity also says what was found and what was expected.

mod bad_input;
mod counted;
mod evidence;
mod fallback;
mod fields;
mod identity;
mod moved;
mod outage;
mod signed;
mod updates;

use std::time::Duration;

use crate::rig::{Admission, Options, Webhook, World, policy};

/// The example policy in both languages, on a registry with and one without the referrers API.
async fn every_setting() -> Vec<(World, Webhook, &'static str)> {
    let mut settings = Vec::new();
    for (policy, language) in [(policy::KYVERNO, "ClusterPolicy"), (policy::OURS, "ImagePolicy")] {
        for world in [World::new(), World::without_referrers()] {
            let webhook = Webhook::start(&world, &[policy]).await;
            settings.push((world, webhook, language));
        }
    }
    settings
}

/// The stories' images and the example policy, with settings for tests.
async fn example() -> (World, Webhook) {
    example_with(Options::default()).await
}

async fn example_with(options: Options) -> (World, Webhook) {
    let world = World::new();
    let webhook = Webhook::with(&world, &[policy::KYVERNO], options).await;
    (world, webhook)
}

/// Let in, and stored with `image` in its first container.
#[track_caller]
fn assert_admitted_as(admission: &Admission, image: &str) {
    assert_admitted(admission);
    assert_eq!(admission.image(), image);
}

#[track_caller]
fn assert_admitted(admission: &Admission) {
    assert!(admission.allowed(), "denied: {}: {}", admission.code(), admission.message());
    assert_eq!(admission.validated.status, None);
}

/// Kept out by the validating call for the reason `code`, with a message that has every one of `words`. The
/// mutating call denies nothing.
#[track_caller]
fn assert_denied(admission: &Admission, code: &str, words: &[&str]) {
    let message = admission.message();
    assert!(admission.mutated.allowed, "the mutating call denied: {message}");
    assert!(!admission.allowed(), "admitted instead of {code}");
    assert_eq!(admission.code(), code, "{message}");
    assert_eq!(admission.validated.status, Some(403));
    assert_eq!(admission.validated.audit["reason"], code);
    for word in words.iter().chain([&code]) {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
}

/// Kept out because it could not be decided: the message says that, and nothing about the image.
#[track_caller]
fn assert_undecided(admission: &Admission, code: &str, words: &[&str]) {
    assert_denied(admission, code, words);
    let message = admission.message();
    assert!(message.contains("could not be decided"), "{message}");
    for verdict in ["SignatureMissing", "AttestationMissing", "PredicateTypeMismatch"] {
        assert!(!message.contains(verdict), "{message}");
    }
}

/// Both calls were answered before an API server would have given up on either.
#[track_caller]
fn assert_within(admission: &Admission, timeout: Duration) {
    for answer in [&admission.mutated, &admission.validated] {
        assert!(answer.elapsed < timeout, "answered after {:?}, the call times out after {timeout:?}", answer.elapsed);
    }
}
