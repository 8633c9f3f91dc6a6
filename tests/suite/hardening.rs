//! Faults that a review found, each with the test that would have found it.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use bonafide::{
    admission::{Phase, Subject},
    decision::Decision,
    image::{Digest, Reference},
    pipeline::{Engine, Lifetimes, Settings, Snapshot, admit},
    policy::{PolicySet, ReadContext, read_policies},
    registry::{
        Caps, Memory,
        auth::Credentials,
        gather,
        http::{HttpOptions, HttpSource, PrivateAddresses, Proxy},
    },
    trust::TrustRoot,
};
use serde_json::json;
use tokio::time::Instant;

use super::{
    binary::{Served, arg, pod},
    support::{Authority, Fault, Flaw, Identity, On, Registry, Signer, registry, sbom},
};

const PATH: &str = "zionsworking/app";

/// An enforcing policy that asks for a signature by zionsworking.
fn policy(name: &str, more: &str) -> String {
    format!(
        "---\napiVersion: bonafide.dev/v1beta1\nkind: ImagePolicy\nmetadata: {{name: {name}}}\nspec:\n  authorities:\n  - name: a\n    \
         keyless: {{issuer: https://token.actions.githubusercontent.com, subject: 'https://github.com/zionsworking/*'}}\n  \
         require: [{{signature: {{anyOf: [a]}}}}]\n{more}"
    )
}

const COVERS: &str = "  match: {images: [ghcr.io/zionsworking/*]}\n";

struct Bench {
    sigstore: Authority,
    registry: Registry,
    source: HttpSource,
}

impl Bench {
    fn new() -> Self {
        Self::with_allowed(Vec::new())
    }

    fn with_allowed(allowed_hosts: Vec<bonafide::image::Registry>) -> Self {
        let registry = Registry::launch(registry::Options::default());
        let mirror = format!("ghcr.io={}", registry.url()).parse().unwrap();
        let source = HttpSource::new(&HttpOptions {
            mirrors: vec![mirror],
            plain_http: Vec::new(),
            allowed_hosts,
            private: PrivateAddresses::Allow,
            ca_files: Vec::new(),
            credentials: Credentials::anonymous(),
            proxy: Proxy::Direct,
            caps: Caps::DEFAULT,
            user_agent: "test".to_owned(),
            connect_timeout: Duration::from_secs(2),
            idle_connections: 4,
            concurrency: NonZeroUsize::new(64).unwrap(),
        });
        Self { sigstore: Authority::new(), registry, source: source.unwrap() }
    }

    fn signer(&self) -> Signer {
        self.sigstore.identity(Identity::zionsworking())
    }

    fn engine(&self, policies: &str) -> Arc<Engine> {
        let trust = TrustRoot::from_json(&self.sigstore.trusted_root_json()).unwrap();
        let policies = read_policies(policies, "test", &ReadContext::default()).unwrap().policies;
        let snapshot = Snapshot { policies: PolicySet::new(policies).unwrap(), trust: trust.into() };
        let lifetimes = Lifetimes { tag: Duration::ZERO, rejection: Duration::ZERO, ..Lifetimes::DEFAULT };
        Engine::new(snapshot, Arc::new(self.source.clone()), Settings { lifetimes, ..Settings::DEFAULT })
    }
}

async fn decide(engine: &Arc<Engine>, image: &str, phase: Phase) -> Decision {
    let subject = Subject::read("", "Pod", &pod(image).to_string(), None).unwrap();
    admit(engine, &subject, Some("prod"), phase, Instant::now() + Duration::from_secs(10)).await
}

#[tokio::test]
async fn a_policy_that_only_audits_keeps_none_from_pinning() {
    let bench = Bench::new();
    let digest = bench.registry.push_image(PATH, "1", b"x");
    bench.registry.push_legacy(PATH, &digest, [bench.signer().legacy_signature(&digest)]);
    let enforce = policy("enforce", COVERS);
    let image = format!("ghcr.io/{PATH}:1");
    for mode in ["Audit", "Warn"] {
        let other = policy("other", &format!("{COVERS}  mode: {mode}\n  digest: Require\n"));
        let engine = bench.engine(&format!("{enforce}\n{other}"));
        let mutated = decide(&engine, &image, Phase::Mutate).await;
        assert_eq!(mutated.pins.len(), 1, "{mode}: {mutated:?}");
        let validated = decide(&engine, &image, Phase::Validate).await;
        assert_eq!(validated.code(), "DigestMissing", "{mode}: a tag is never let through: {validated:?}");
    }
    // One that enforces does: the author has to write the digest.
    let other = policy("other", &format!("{COVERS}  digest: Require\n"));
    let engine = bench.engine(&format!("{enforce}\n{other}"));
    assert!(decide(&engine, &image, Phase::Mutate).await.pins.is_empty());
    assert_eq!(decide(&engine, &image, Phase::Validate).await.code(), "DigestRequired");
    assert!(decide(&engine, &format!("{image}@{digest}"), Phase::Validate).await.allowed());
}

#[tokio::test]
async fn a_policy_that_may_not_be_in_force_does_not_stand_in_for_the_default() {
    let bench = Bench::new();
    let digest = bench.registry.push_image(PATH, "1", b"x");
    bench.registry.push_legacy(PATH, &digest, [bench.signer().legacy_signature(&digest)]);
    let image = format!("ghcr.io/{PATH}@{digest}");
    let deny = "---\napiVersion: bonafide.dev/v1beta1\nkind: ImagePolicy\nmetadata: {name: deny}\nspec: {fallback: true, require: [{deny: {message: no}}]}\n";
    for (selector, allowed) in [
        ("{matchLabels: {env: dev}}", false),
        ("{matchLabels: {kubernetes.io/metadata.name: prod}}", true),
        ("{}", true),
    ] {
        let covers = format!("  match: {{images: [ghcr.io/zionsworking/*], namespaceSelector: {selector}}}\n");
        let engine = bench.engine(&format!("{}\n{deny}", policy("dev", &covers)));
        assert_eq!(decide(&engine, &image, Phase::Validate).await.allowed(), allowed, "{selector}");
    }
}

#[tokio::test]
async fn signers_of_one_payload_are_told_apart() {
    let bench = Bench::new();
    let stranger = Authority::new().identity(Identity::zionsworking());
    let engine = bench.engine(&policy("p", COVERS));
    for (tag, good_first) in [("first", true), ("last", false)] {
        let digest = bench.registry.push_image(PATH, tag, tag.as_bytes());
        let mut layers = vec![bench.signer().legacy_signature(&digest), stranger.legacy_signature(&digest)];
        assert_eq!(layers[0].bytes, layers[1].bytes, "cosign writes one payload for every signer");
        if !good_first {
            layers.reverse();
        }
        bench.registry.push_legacy(PATH, &digest, layers);
        let decision = decide(&engine, &format!("ghcr.io/{PATH}@{digest}"), Phase::Validate).await;
        assert!(decision.allowed(), "{tag}: {}", decision.message());
    }
}

#[tokio::test]
async fn what_is_listed_and_not_there_is_not_known() {
    let bench = Bench::new();
    let digest = bench.registry.push_image(PATH, "1", b"x");
    let bundle = bench.registry.push_bundle(PATH, &digest, &bench.signer().bundle_signature(&digest));
    bench.registry.inject(On::Path(format!("manifests/{bundle}")), Fault::Status(404));
    let engine = bench.engine(&policy("p", COVERS));
    let decision = decide(&engine, &format!("ghcr.io/{PATH}@{digest}"), Phase::Validate).await;
    assert_eq!(decision.code(), "RegistryProtocolError", "{}", decision.message());
    bench.registry.heal();
    assert!(decide(&engine, &format!("ghcr.io/{PATH}@{digest}"), Phase::Validate).await.allowed());
}

#[tokio::test]
async fn what_strangers_write_is_cut_before_it_is_kept() {
    let bench = Bench::new();
    let digest = bench.registry.push_image(PATH, "1", b"x");
    let long = format!("https://example.com/{}", "a".repeat(1 << 20));
    bench.registry.push_bundle(PATH, &digest, &bench.signer().bundle_attestation(&digest, &long, &json!({})));
    let other =
        bench.sigstore.identity(Identity::zionsworking().with_issuer(&format!("https://{}", "b".repeat(9_000))));
    bench.registry.push_bundle(PATH, &digest, &other.bundle_signature(&digest));
    let engine = bench.engine(&policy("p", COVERS));
    let decision = decide(&engine, &format!("ghcr.io/{PATH}@{digest}"), Phase::Validate).await;
    assert_eq!(decision.code(), "IssuerMismatch");
    assert!(decision.message().len() < 4_096, "{} bytes", decision.message().len());
}

#[tokio::test]
async fn evidence_that_memory_is_not_there_for_is_not_known() {
    let bench = Bench::new();
    let digest = bench.registry.push_image(PATH, "1", b"x");
    let attestation = bench.signer().bundle_attestation(&digest, sbom::SPDX, &json!({"comment": "c".repeat(200_000)}));
    bench.registry.push_bundle(PATH, &digest, &attestation);
    let image = format!("ghcr.io/{PATH}@{digest}").parse::<Reference>().unwrap().pinned().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let memory = Memory::new(100_000);
    let found = gather(&bench.source, &image, &Caps::DEFAULT, &memory, deadline).await;
    assert_eq!(found.failures[0].kind.code(), "Overloaded");
    drop(found);
    // What one search took is given back: a small one still fits, as often as it likes.
    let small = bench.registry.push_image(PATH, "2", b"y");
    bench.registry.push_bundle(PATH, &small, &bench.signer().bundle_signature(&small));
    let image = format!("ghcr.io/{PATH}@{small}").parse::<Reference>().unwrap().pinned().unwrap();
    for _ in 0..20 {
        let found = gather(&bench.source, &image, &Caps::DEFAULT, &memory, deadline).await;
        assert_eq!((found.evidence.len(), found.failures.len()), (1, 0));
    }
    let caps = Caps { attestation_bytes: 1_000, ..Caps::DEFAULT };
    let found = gather(&bench.source, &image, &caps, &memory, deadline).await;
    assert_eq!(found.failures[0].kind.code(), "ResponseTooLarge");
}

#[tokio::test]
async fn good_evidence_beside_bad_passes_and_bad_alone_does_not() {
    let bench = Bench::new();
    let engine = bench.engine(&policy("p", COVERS));
    let digest = bench.registry.push_image(PATH, "1", b"x");
    let image = format!("ghcr.io/{PATH}@{digest}");
    let bad = bench.signer().flaw(Flaw::TamperedPayload);
    bench.registry.push_bundle(PATH, &digest, &bad.bundle_signature(&digest));
    assert_eq!(decide(&engine, &image, Phase::Validate).await.code(), "SignatureInvalid");
    bench.registry.push_bundle(PATH, &digest, &bench.signer().bundle_signature(&digest));
    assert!(decide(&engine, &image, Phase::Validate).await.allowed());
}

/// A maintenance page that a registry redirects to says nothing about what the registry has.
#[tokio::test]
async fn a_404_behind_a_redirect_is_not_none() {
    let other = Registry::launch(registry::Options::default());
    let bench = Bench::with_allowed(vec![other.host().parse().unwrap()]);
    let digest = bench.registry.push_image(PATH, "1", b"x");
    let engine = bench.engine(&policy("p", COVERS));
    let image = format!("ghcr.io/{PATH}@{digest}");
    assert_eq!(decide(&engine, &image, Phase::Validate).await.code(), "SignatureMissing");
    for on in [On::Manifests, On::Referrers] {
        bench.registry.inject(on, Fault::Redirect(format!("{}/v2/none/manifests/none", other.url())));
        assert_eq!(decide(&engine, &image, Phase::Validate).await.code(), "RegistryError");
        bench.registry.heal();
    }
}

/// `registry.k8s.io` answers nothing itself: what the place that it leads to says of the same question counts.
#[tokio::test]
async fn a_404_of_the_same_question_is_none() {
    let other = Registry::launch(registry::Options::default());
    let bench = Bench::with_allowed(vec![other.host().parse().unwrap()]);
    let digest = bench.registry.push_image(PATH, "1", b"x");
    let engine = bench.engine(&policy("p", COVERS));
    let tag = format!("{}.sig", digest.replace(':', "-"));
    let there = format!("{}/v2/elsewhere/app/manifests/{tag}", other.url());
    bench.registry.inject(On::Path(format!("manifests/{tag}")), Fault::Redirect(there));
    let decision = decide(&engine, &format!("ghcr.io/{PATH}@{digest}"), Phase::Validate).await;
    assert_eq!(decision.code(), "SignatureMissing", "{}", decision.message());
}

/// Sizes that are only claimed take no memory: of the layer, and of the body of a request.
#[tokio::test]
async fn what_was_only_announced_takes_nothing() {
    let bench = Bench::new();
    let digest = bench.registry.push_image(PATH, "1", b"x");
    let claimed = 16_u64 << 20;
    let layer = json!({"mediaType": "application/vnd.dsse.envelope.v1+json", "size": claimed, "digest": Digest::of(b"nothing")});
    let manifest = json!({"schemaVersion": 2, "layers": [layer, layer, layer, layer]}).to_string().into_bytes();
    let tag = format!("{}.att", digest.replace(':', "-"));
    bench.registry.push_manifest(PATH, Some(&tag), "application/vnd.oci.image.manifest.v1+json", manifest);
    bench.registry.push_bundle(PATH, &digest, &bench.signer().bundle_signature(&digest));
    let engine = bench.engine(&policy("p", COVERS));
    let decision = decide(&engine, &format!("ghcr.io/{PATH}@{digest}"), Phase::Validate).await;
    assert!(decision.allowed(), "a stranger's layers break nothing: {}", decision.message());
}

#[test]
fn callers_who_send_nothing_hold_nothing() {
    let server = Served::start(&["--policy", &arg("policy"), "--layout", &arg("policy/test/evidence")]);
    server.open_idle(40);
    let started = std::time::Instant::now();
    let answer = server.validate("docker.io/library/nginx:latest");
    assert_eq!(answer["status"]["reason"], "DeniedByPolicy");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

/// SIGTERM while a call waits for a slow registry: the call is answered, and then the server ends.
#[test]
fn calls_under_way_are_answered_before_the_server_ends() {
    let bench = Bench::new();
    let digest = bench.registry.push_image(PATH, "1", b"x");
    bench.registry.push_bundle(PATH, &digest, &bench.signer().bundle_signature(&digest));
    let root = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(root.path(), bench.sigstore.trusted_root_json()).unwrap();
    let mirror = format!("ghcr.io={}", bench.registry.url());
    let policy = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(policy.path(), self::policy("p", COVERS)).unwrap();
    let server = Served::start(&[
        "--policy",
        policy.path().to_str().unwrap(),
        "--registry-mirror",
        &mirror,
        "--trusted-root",
        root.path().to_str().unwrap(),
    ]);
    bench.registry.set_delay(Duration::from_millis(400));
    let pid = server.pid();
    let terminator = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap()
    });
    let answer = server.validate(&format!("ghcr.io/{PATH}@{digest}"));
    assert_eq!(answer["allowed"], true, "{answer}");
    assert!(terminator.join().unwrap().success());
    assert_eq!(server.ended(), Some(0));
}

#[test]
fn a_server_without_a_policy_does_not_start() {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let rules = "apiVersion: kyverno.io/v1\nkind: ClusterPolicy\nmetadata: {name: other}\nspec: {rules: [{name: r, match: {any: [{resources: {kinds: [Pod]}}]}, validate: {message: m}}]}\n";
    std::fs::write(file.path(), rules).unwrap();
    let path = file.path().display().to_string();
    let ended = super::binary::run(&["serve", "--policy", &path, "--tls-self-signed", "--listen", "127.0.0.1:0"]);
    assert_eq!(ended.status, 2, "{ended:?}");
    assert!(ended.stderr.contains("no policy"), "{}", ended.stderr);
}
