//! `cargo bench --bench verify`: what one piece of work costs, without network and processes.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]
#![allow(missing_docs, unreachable_pub)]

mod pod;
#[path = "../support/mod.rs"]
mod support;

use std::{fmt::Write as _, hint::black_box, path::Path, sync::Arc, time::Duration};

use bonafide::{
    admission::{Phase, Review, respond},
    evidence::{Evidence, from_bundle, from_legacy_attestation, from_legacy_signature},
    image::{Digest, PinnedImage, Reference},
    pipeline::{Engine, Settings, Snapshot, admit},
    policy::{Policy, PolicySet, ReadContext, Requirement, read_policies},
    registry::{Caps, layout::LayoutSource},
    trust::TrustRoot,
    verify::Docket,
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use support::{Authority, Identity, Layer, Signer, Store, layout, sbom};
use tokio::time::Instant;

const REPOSITORY: &str = "zionsworking/app";

fn example_policies(trust: &TrustRoot) -> Vec<Policy> {
    let text = include_str!("../../policy/kyverno-verify-images.yaml");
    policies(text, trust)
}

fn policies(text: &str, trust: &TrustRoot) -> Vec<Policy> {
    let context = ReadContext { known_logs: trust.logs().to_vec(), webhook_timeout_seconds: None };
    read_policies(text, "policies.yaml", &context).expect("good policies").policies
}

/// `count` policies for repositories of other owners.
fn other_policies(count: usize, trust: &TrustRoot) -> Vec<Policy> {
    let mut text = String::new();
    for at in 0..count {
        write!(
            text,
            "---\napiVersion: bonafide.dev/v1beta1\nkind: ImagePolicy\nmetadata: {{name: other-{at}}}\nspec:\n  \
             match: {{images: [\"ghcr.io/org-{at}/*\"]}}\n  authorities:\n    - name: a\n      keyless: {{issuer: \
             \"https://i.example\", subject: \"https://github.com/org-{at}/*\"}}\n  require:\n    - signature: \
             {{anyOf: [a]}}\n"
        )
        .expect("memory");
    }
    policies(&text, trust)
}

/// An image with its digest as text.
fn image(name: &str) -> (PinnedImage, String) {
    let digest = Digest::of(name.as_bytes());
    let reference: Reference = format!("ghcr.io/{REPOSITORY}").parse().expect("a reference");
    let text = digest.to_string();
    (reference.repository().pin(digest), text)
}

fn workflow(sigstore: &Authority) -> Signer {
    sigstore.identity(Identity::zionsworking()).repository(&format!("ghcr.io/{REPOSITORY}"))
}

fn signature(layer: Layer) -> Evidence {
    let digest = Digest::of(&layer.bytes);
    from_legacy_signature(digest, layer.bytes.into(), &layer.annotations).expect("a signature")
}

fn attestation(layer: Layer) -> Evidence {
    let digest = Digest::of(&layer.bytes);
    from_legacy_attestation(digest, &layer.bytes.into(), &layer.annotations).expect("an attestation")
}

fn bundle(json: &str) -> Evidence {
    from_bundle(Digest::of(json.as_bytes()), json.as_bytes()).expect("a bundle")
}

fn verify(c: &mut Criterion) {
    let sigstore = Authority::new();
    let trust = TrustRoot::from_json(&sigstore.trusted_root_json()).expect("a trust root");
    let policies = example_policies(&trust);
    let requirements: Vec<Arc<Requirement>> =
        policies.iter().flat_map(|policy| policy.requirements.iter().cloned()).collect();
    let [signed, attested] = &requirements[..] else { panic!("a signature and an attestation are required") };
    let (pinned, digest) = image("verify");
    let workflow = workflow(&sigstore);
    let sbom = sbom::spdx();
    let v2 = workflow.clone().rekor_v2();
    let cases = [
        ("legacy signature", signed, signature(workflow.legacy_signature(&digest))),
        ("legacy attestation", attested, attestation(workflow.legacy_attestation(&digest, sbom::SPDX, &sbom))),
        ("bundle, Rekor v1", attested, bundle(&workflow.bundle_attestation(&digest, sbom::SPDX, &sbom))),
        ("bundle, Rekor v2 and time stamp", attested, bundle(&v2.bundle_attestation(&digest, sbom::SPDX, &sbom))),
    ];
    let mut group = c.benchmark_group("verify");
    for (name, requirement, evidence) in cases {
        let evidence = [evidence];
        group.bench_function(name, |b| {
            b.iter(|| {
                let docket = Docket::new(&pinned, &evidence, &[], &trust, Timestamp::now());
                docket.verify(requirement).expect("it verifies")
            });
        });
    }
    let json = v2.bundle_attestation(&digest, sbom::SPDX, &sbom);
    group.bench_function("parse a bundle", |b| b.iter(|| bundle(black_box(&json))));
    group.finish();
}

fn select(c: &mut Criterion) {
    let trust = TrustRoot::public_good().expect("the embedded trust root");
    let mut group = c.benchmark_group("select among other policies");
    for others in [10, 1_000, 10_000] {
        let mut policies = other_policies(others, &trust);
        policies.extend(example_policies(&trust));
        let set = PolicySet::new(policies).expect("distinct names");
        let image: Reference = format!("ghcr.io/{REPOSITORY}:1.0.0").parse().expect("a reference");
        group.bench_function(BenchmarkId::from_parameter(others), |b| {
            b.iter(|| set.select(black_box(&image), Some("shop")).len());
        });
    }
    group.finish();
}

fn admission(c: &mut Criterion) {
    let sigstore = Authority::new();
    let mut store = Store::with_fallback_tags();
    let digest = store.push_image(REPOSITORY, "1.0.0", b"hello");
    let workflow = workflow(&sigstore);
    let layers = [workflow.legacy_signature(&digest), workflow.legacy_attestation(&digest, sbom::SPDX, &sbom::spdx())];
    store.push_legacy(REPOSITORY, &digest, layers);
    let dir = tempfile::tempdir().expect("a temporary directory");
    layout::write_layout(dir.path(), &store).expect("a writable directory");
    let review = pod::review(&[&format!("ghcr.io/{REPOSITORY}:1.0.0@{digest}")]);

    let mut group = c.benchmark_group("admission");
    group.bench_function("parse and extract a Pod of 5 kB", |b| {
        b.iter(|| Review::parse(black_box(review.as_bytes())).expect("a review").subject().expect("a Pod"));
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let engine = engine(&sigstore, dir.path());
    let subject = Review::parse(review.as_bytes()).expect("a review").subject().expect("a Pod");
    let decide = |phase| {
        let deadline = Instant::now() + Duration::from_secs(10);
        runtime.block_on(admit(&engine, &subject, Some("shop"), phase, deadline))
    };
    let decision = decide(Phase::Validate);
    assert!(decision.allowed() && decision.vouched.len() == 2, "{decision:?}");
    group.bench_function("select and decide, warm, mutate", |b| b.iter(|| decide(Phase::Mutate)));
    group.bench_function("select and decide, warm, validate", |b| b.iter(|| decide(Phase::Validate)));
    group.bench_function("write the answer", |b| b.iter(|| respond("uid", black_box(&decision))));
    group.finish();
}

fn engine(sigstore: &Authority, layout: &Path) -> Arc<Engine> {
    let trust = TrustRoot::from_json(&sigstore.trusted_root_json()).expect("a trust root");
    let policies = PolicySet::new(example_policies(&trust)).expect("distinct names");
    let source = Arc::new(LayoutSource::open(layout, Caps::DEFAULT).expect("a layout"));
    Engine::new(Snapshot { policies, trust: trust.into() }, source, Settings::DEFAULT)
}

criterion_group! {
    name = benches;
    // All of them in half a minute.
    config = Criterion::default().sample_size(50).warm_up_time(Duration::from_millis(700)).measurement_time(Duration::from_secs(2));
    targets = verify, select, admission
}
criterion_main!(benches);
