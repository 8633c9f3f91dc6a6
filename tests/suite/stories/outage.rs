//! Story 7: a registry that is down, slow, or refuses. "Don't know" is not "no", and it is over when the
//! registry is back.

use std::time::Duration;

use bonafide::pipeline::Lifetimes;

use super::{
    assert_admitted, assert_admitted_as, assert_denied, assert_undecided, assert_within, example, example_with,
};
use crate::rig::{Format, Options, Webhook, World, object, policy};
use crate::support::{Fault, On, registry, sbom};

/// Of a call, for faults that only time ends.
const SHORT: Duration = Duration::from_secs(2);

/// Under `fault` everything is undecided for the reason `code`; without it, everything is as it should be.
async fn outage(fault: Fault, timeout: Duration, code: &str, words: &[&str]) {
    let (world, webhook) = example_with(Options::default().timeout(timeout)).await;
    for format in Format::ALL {
        let (signed, tag) = (world.image_in(format, "1.0.0"), format!("1.0.0{}", format.suffix()));
        for image in [&signed, &world.by_digest(&tag), &world.image("unsigned")] {
            world.registry.inject(On::All, fault.clone());
            let admission = webhook.admit(object::pod(image)).await;
            assert_undecided(&admission, code, words);
            assert_within(&admission, timeout);
            assert_eq!(admission.mutated.patch, None);
            world.registry.heal();
        }
        back(&webhook, &signed, &world.pinned(&tag)).await;
        let admission = webhook.admit(object::pod(&world.image("unsigned"))).await;
        assert_denied(&admission, "SignatureMissing", &[]);
    }
}

/// The registry is back: admitted, if not at the first try then as soon as what hangs has been given up.
async fn back(webhook: &Webhook, image: &str, pinned: &str) {
    for _ in 0..5 {
        let admission = webhook.admit(object::pod(image)).await;
        if admission.allowed() {
            return assert_admitted_as(&admission, pinned);
        }
        assert_eq!(admission.code(), "Timeout", "{}", admission.message());
    }
    panic!("{image} is not admitted though the registry is back");
}

#[tokio::test]
async fn story_7_status_401() {
    outage(Fault::Status(401), Duration::from_secs(5), "RegistryUnauthorized", &["ghcr.io", "401"]).await;
}

#[tokio::test]
async fn story_7_status_403() {
    outage(Fault::Status(403), Duration::from_secs(5), "RegistryForbidden", &["ghcr.io", "403"]).await;
}

#[tokio::test]
async fn story_7_status_429() {
    outage(Fault::Status(429), Duration::from_secs(5), "RegistryRateLimited", &["ghcr.io", "429"]).await;
    // Longer than there is time for: said at once.
    outage(Fault::RetryAfter(429, 3_600), Duration::from_secs(5), "RegistryRateLimited", &["429"]).await;
}

#[tokio::test]
async fn story_7_status_500() {
    outage(Fault::Status(500), Duration::from_secs(5), "RegistryError", &["ghcr.io", "500"]).await;
    outage(Fault::Status(503), Duration::from_secs(5), "RegistryError", &["ghcr.io", "503"]).await;
}

#[tokio::test]
async fn story_7_dropped_connections() {
    outage(Fault::Drop, Duration::from_secs(5), "RegistryUnreachable", &["ghcr.io"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn story_7_no_answer() {
    slowness(Fault::Hang).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn story_7_a_body_that_comes_too_slowly() {
    slowness(Fault::Drip(Duration::from_millis(50))).await;
}

/// As [`outage`], for what takes all the time that there is: by tag and by digest.
async fn slowness(fault: Fault) {
    let (world, webhook) = example_with(Options::default().timeout(SHORT)).await;
    for image in [world.image("1.0.0"), world.by_digest("1.0.0-legacy")] {
        world.registry.inject(On::All, fault.clone());
        let admission = webhook.admit(object::pod(&image)).await;
        assert_undecided(&admission, "Timeout", &[" ms"]);
        assert_within(&admission, SHORT);
        world.registry.heal();
    }
    back(&webhook, &world.image("1.0.0"), &world.pinned("1.0.0")).await;
    back(&webhook, &world.by_digest("1.0.0-legacy"), &world.by_digest("1.0.0-legacy")).await;
}

#[tokio::test]
async fn story_7_nothing_listens() {
    let (world, webhook) = example().await;
    world.registry.stop();
    for image in [world.image("1.0.0"), world.by_digest("1.0.0"), world.image("unsigned")] {
        let admission = webhook.admit(object::pod(&image)).await;
        assert_undecided(&admission, "RegistryUnreachable", &["could not be reached"]);
    }
    world.registry.restart();
    let admission = webhook.admit(object::pod(&world.image("1.0.0"))).await;
    assert_admitted_as(&admission, &world.pinned("1.0.0"));
}

#[tokio::test]
async fn the_mutating_call_leaves_the_tag_with_a_warning() {
    let (world, webhook) = example().await;
    world.registry.inject(On::All, Fault::Status(500));
    let answer = webhook.mutate(object::pod(&world.image("1.0.0"))).await;
    assert!(answer.allowed && answer.patch.is_none());
    assert_eq!(answer.warnings.len(), 1, "{:?}", answer.warnings);
    assert!(answer.warnings[0].contains("RegistryError"), "{:?}", answer.warnings);
    // Back by the time of the validating call: the tag was not pinned, which is nobody's fault.
    world.registry.heal();
    let answer = webhook.validate(object::pod(&world.image("1.0.0"))).await;
    assert_eq!((answer.allowed, answer.code.as_str()), (false, "DigestMissing"));
    assert!(answer.message.contains("try again"), "{}", answer.message);
}

#[tokio::test]
async fn an_absent_tag_is_not_an_unsigned_image() {
    let (world, webhook) = example().await;
    let admission = webhook.admit(object::pod(&world.image("absent"))).await;
    assert_undecided(&admission, "ImageNotFound", &[":absent"]);
}

#[tokio::test]
async fn referrers_that_cannot_be_read_leave_open_what_they_might_have_said() {
    for (status, code) in [(403, "RegistryForbidden"), (500, "RegistryError")] {
        let (world, webhook) = example().await;
        world.registry.inject(On::Referrers, Fault::Status(status));
        // Legacy tags satisfy everything that is asked: nothing is left open.
        let admission = webhook.admit(object::pod(&world.image("1.0.0-legacy"))).await;
        assert_admitted(&admission);
        for tag in ["1.0.0", "unsigned", "no-sbom-legacy", "other-identity-legacy"] {
            let admission = webhook.admit(object::pod(&world.image(tag))).await;
            assert_undecided(&admission, code, &["/referrers/"]);
        }
        world.registry.heal();
        assert_admitted(&webhook.admit(object::pod(&world.image("1.0.0"))).await);
        assert_denied(&webhook.admit(object::pod(&world.image("no-sbom-legacy"))).await, "AttestationMissing", &[]);
    }
}

#[tokio::test]
async fn so_do_legacy_tags_and_blobs() {
    let (world, webhook) = example_with(Options::without_caches()).await;
    for on in [On::path(".sig"), On::path(".att"), On::Blobs] {
        world.registry.inject(on, Fault::Status(500));
        let admission = webhook.admit(object::pod(&world.image("1.0.0-legacy"))).await;
        assert_undecided(&admission, "RegistryError", &["500"]);
        world.registry.heal();
    }
    // A requirement that is met is met: the blobs of the attestation say nothing about the signature.
    world.registry.inject(On::path(".att"), Fault::Status(500));
    let admission = webhook.admit(object::pod(&world.image("1.0.0-legacy"))).await;
    assert!(!admission.message().contains("signature:"), "{}", admission.message());
}

#[tokio::test]
async fn a_cached_pass_survives_an_outage_by_digest() {
    let (world, webhook) = example().await;
    let pinned = world.pinned("1.0.0");
    assert_admitted_as(&webhook.admit(object::pod(&world.image("1.0.0"))).await, &pinned);
    world.registry.stop();
    assert_admitted_as(&webhook.admit(object::pod(&pinned)).await, &pinned);
    let elsewhere = pinned.replace("cicd-supply-chain-security", "mirror");
    assert_admitted_as(&webhook.admit(object::pod(&elsewhere)).await, &elsewhere);
    // What its tag points to now is not known.
    let admission = webhook.admit(object::pod(&world.image("1.0.0"))).await;
    assert_undecided(&admission, "RegistryUnreachable", &[]);
}

#[tokio::test]
async fn a_rejection_is_of_its_repository_and_an_outage_is_not_remembered() {
    let lifetimes = Lifetimes { tag: Duration::ZERO, ..Lifetimes::DEFAULT };
    let (world, webhook) = example_with(Options::default().lifetimes(lifetimes)).await;
    let unsigned = world.by_digest("unsigned");
    world.registry.inject(On::All, Fault::Status(500));
    assert_undecided(&webhook.admit(object::pod(&unsigned)).await, "RegistryError", &[]);
    world.registry.heal();
    assert_denied(&webhook.admit(object::pod(&unsigned)).await, "SignatureMissing", &[]);
    // Remembered: nothing is asked again for a while.
    let before = world.registry.count(On::All);
    assert_denied(&webhook.admit(object::pod(&unsigned)).await, "SignatureMissing", &[]);
    assert_eq!(world.registry.count(On::All), before);
    // The same digest where it is signed.
    let digest = world.digest("unsigned");
    let signer = world.signer(Format::Legacy);
    let layers = [signer.legacy_signature(&digest), signer.legacy_attestation(&digest, sbom::SPDX, &sbom::spdx())];
    world.registry.push_legacy("zionsworking/signed-copy", &digest, layers);
    let copy = unsigned.replace("cicd-supply-chain-security", "signed-copy");
    assert_admitted(&webhook.admit(object::pod(&copy)).await);
}

#[tokio::test]
async fn an_image_that_gets_signed_is_admitted() {
    let (world, webhook) = example().await;
    let image = world.image("unsigned");
    assert_denied(&webhook.admit(object::pod(&image)).await, "SignatureMissing", &[]);
    let (signer, digest) = (world.signer(Format::Bundle), world.digest("unsigned"));
    world.sign(Format::Bundle, &signer, &digest);
    assert_denied(&webhook.admit(object::pod(&image)).await, "AttestationMissing", &[]);
    world.attest(Format::Bundle, &signer, &digest, sbom::SPDX);
    assert_admitted_as(&webhook.admit(object::pod(&image)).await, &world.pinned("unsigned"));
}

/// What an answer must not be: endless, gigantic, other bytes, cut off, no JSON.
#[tokio::test]
async fn manifests_that_are_not_what_they_should_be_are_bounded_and_undecided() {
    let gigantic = Fault::Huge(1 << 40);
    for (fault, codes) in [
        (Fault::Endless, ["ResponseTooLarge", "ResponseTooLarge"]),
        (gigantic, ["ResponseTooLarge", "ResponseTooLarge"]),
        (Fault::WrongBytes, ["ContentDigestMismatch", "ContentDigestMismatch"]),
        (Fault::Truncate, ["RegistryUnreachable", "RegistryUnreachable"]),
        (Fault::DigestHeader("sha256:0".to_owned()), ["RegistryProtocolError", "RegistryProtocolError"]),
        (Fault::Redirect("http://169.254.169.254/latest/meta-data".to_owned()), ["RegistryRefused", "RegistryRefused"]),
        (Fault::Redirect("file:///etc/passwd".to_owned()), ["RegistryRefused", "RegistryRefused"]),
    ] {
        let (world, webhook) = example().await;
        // The image's own manifest, and those of its evidence.
        for (on, code) in [On::path("/manifests/1.0.0"), On::path("/manifests/sha256")].into_iter().zip(codes) {
            world.registry.inject(on.clone(), fault.clone());
            let admission = webhook.admit(object::pod(&world.image("1.0.0-legacy"))).await;
            assert!(!admission.allowed(), "{fault:?} {on:?}");
            assert_eq!(admission.code(), code, "{fault:?} {on:?}: {}", admission.message());
            assert_undecided(&admission, code, &[]);
            assert_within(&admission, Duration::from_secs(10));
            world.registry.heal();
        }
        assert_admitted(&webhook.admit(object::pod(&world.image("1.0.0-legacy"))).await);
    }
}

#[tokio::test]
async fn blobs_that_are_not_what_they_should_be_are_bounded_and_undecided() {
    for (fault, code) in [
        (Fault::Endless, "ResponseTooLarge"),
        (Fault::Huge(1 << 40), "ResponseTooLarge"),
        (Fault::WrongBytes, "ContentDigestMismatch"),
        (Fault::Body(b"{}".to_vec()), "RegistryProtocolError"),
        (Fault::Truncate, "RegistryUnreachable"),
        (Fault::Status(404), "RegistryError"),
    ] {
        let (world, webhook) = example().await;
        for format in Format::ALL {
            world.registry.inject(On::Blobs, fault.clone());
            let admission = webhook.admit(object::pod(&world.image_in(format, "1.0.0"))).await;
            assert_eq!(admission.code(), code, "{fault:?}, {format:?}: {}", admission.message());
            assert_undecided(&admission, code, &[]);
            world.registry.heal();
            assert_admitted(&webhook.admit(object::pod(&world.image_in(format, "1.0.0"))).await);
        }
    }
}

#[tokio::test]
async fn referrers_that_are_not_what_they_should_be_are_bounded_and_undecided() {
    for (fault, code) in [
        (Fault::Endless, "ResponseTooLarge"),
        (Fault::Huge(1 << 40), "ResponseTooLarge"),
        (Fault::InvalidJson, "RegistryProtocolError"),
        (Fault::Truncate, "RegistryUnreachable"),
    ] {
        let (world, webhook) = example().await;
        world.registry.inject(On::Referrers, fault.clone());
        let admission = webhook.admit(object::pod(&world.image("1.0.0"))).await;
        assert_eq!(admission.code(), code, "{fault:?}: {}", admission.message());
        assert_undecided(&admission, code, &["/referrers/"]);
        world.registry.heal();
        assert_admitted(&webhook.admit(object::pod(&world.image("1.0.0"))).await);
    }
}

/// Tokens: asked for once, asked for again when they are no longer good.
#[tokio::test]
async fn a_registry_that_asks_for_tokens() {
    let auth = registry::Auth::bearer();
    let world = World::with(registry::Options { auth, ..registry::Options::default() });
    let webhook = Webhook::with(&world, &[policy::KYVERNO], Options::without_caches()).await;
    assert_admitted(&webhook.admit(object::pod(&world.image("1.0.0"))).await);
    assert_admitted(&webhook.admit(object::pod(&world.image("1.0.0-legacy"))).await);
    assert_eq!(world.registry.count(On::Token), 1);
    world.registry.revoke_tokens();
    assert_admitted(&webhook.admit(object::pod(&world.image("1.0.0"))).await);
    world.registry.revoke_tokens();
    world.registry.inject(On::Token, Fault::Status(500));
    assert_undecided(&webhook.admit(object::pod(&world.image("1.0.0"))).await, "RegistryError", &["/token"]);
    world.registry.heal();
    assert_admitted(&webhook.admit(object::pod(&world.image("1.0.0"))).await);
}

/// A private registry, without the password.
#[tokio::test]
async fn a_registry_that_asks_for_a_password() {
    for auth in [registry::Auth::bearer_for("user", "secret"), registry::Auth::basic("user", "secret")] {
        let world = World::with(registry::Options { auth, ..registry::Options::default() });
        let webhook = Webhook::start(&world, &[policy::KYVERNO]).await;
        let admission = webhook.admit(object::pod(&world.image("1.0.0"))).await;
        assert_undecided(&admission, "RegistryUnauthorized", &["no credentials are set"]);
    }
}

#[tokio::test]
async fn the_metrics_count_what_could_not_be_decided() {
    let (world, webhook) = example().await;
    webhook.admit(object::pod(&world.image("unsigned"))).await;
    world.registry.inject(On::All, Fault::Status(500));
    webhook.admit(object::pod(&world.image("1.0.0"))).await;
    let (status, metrics) = webhook.health("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        r#"bonafide_denials_total{class="rejected",code="SignatureMissing"} 1"#,
        r#"bonafide_denials_total{class="unknown",code="RegistryError"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    assert_eq!(webhook.health("/readyz").await, (200, "ok: 2 policies\n".to_owned()));
    assert_eq!(webhook.health("/healthz").await.0, 200);
}
