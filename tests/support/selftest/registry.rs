//! The registry answers as a registry, and misbehaves as told.

use std::time::{Duration, Instant};

use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use super::support::registry::{Blobs, Options, Referrers};
use super::support::store::{OCI_INDEX, OCI_MANIFEST, digest_of, evidence_tag};
use super::support::{Auth, Authority, Fault, Identity, On, Registry, Store, layout, sbom};

const NAME: &str = "zionsworking/app";

fn client() -> Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let no_redirect = reqwest::redirect::Policy::none();
    Client::builder().redirect(no_redirect).build().expect("a client")
}

async fn fetch(registry: &Registry, path: &str) -> Response {
    let url = format!("{}{path}", registry.url());
    client().get(url).send().await.expect("an answer")
}

async fn json(registry: &Registry, path: &str) -> Value {
    let bytes = fetch(registry, path).await.bytes().await.expect("a body");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

async fn with_image(options: Options) -> (Registry, String) {
    let registry = Registry::start(options).await;
    let digest = registry.push_image(NAME, "1.0.0", b"hello");
    (registry, digest)
}

#[tokio::test]
async fn manifests_and_blobs_are_served() {
    let (registry, digest) = with_image(Options::default()).await;
    assert_eq!(fetch(&registry, "/v2/").await.status(), 200);
    for reference in ["1.0.0", &digest] {
        let response = fetch(&registry, &format!("/v2/{NAME}/manifests/{reference}")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "content-type"), OCI_MANIFEST);
        assert_eq!(header(&response, "docker-content-digest"), digest);
        let body = response.bytes().await.unwrap();
        assert_eq!(digest_of(&body), digest);
        let manifest: Value = serde_json::from_slice(&body).unwrap();
        for part in [&manifest["config"], &manifest["layers"][0]] {
            let blob = part["digest"].as_str().unwrap();
            let response = fetch(&registry, &format!("/v2/{NAME}/blobs/{blob}")).await;
            assert_eq!(digest_of(&response.bytes().await.unwrap()), blob);
        }
    }
    let url = format!("{}/v2/{NAME}/manifests/1.0.0", registry.url());
    let head = client().head(url).send().await.unwrap();
    assert_eq!(header(&head, "docker-content-digest"), digest);
    assert_ne!(header(&head, "content-length"), "0");
    assert!(head.bytes().await.unwrap().is_empty());
    assert_eq!(fetch(&registry, &format!("/v2/{NAME}/manifests/none")).await.status(), 404);
    assert_eq!(registry.count(On::Manifests), 4);
    registry.clear_requests();
    assert!(registry.requests().is_empty());
}

#[tokio::test]
async fn tags_move_and_vanish() {
    let (registry, first) = with_image(Options::default()).await;
    let second = registry.push_image(NAME, "2", b"other");
    let path = format!("/v2/{NAME}/manifests/1.0.0");
    let resolved = async || {
        let response = fetch(&registry, &path).await;
        header(&response, "docker-content-digest").to_owned()
    };
    registry.move_tag(NAME, "1.0.0", &second);
    assert_eq!(resolved().await, second);
    registry.alternate_tag(NAME, "1.0.0", &[&first, &second]);
    assert_eq!([resolved().await, resolved().await, resolved().await], [&first, &second, &first].map(String::clone));
    registry.remove_tag(NAME, "1.0.0");
    assert_eq!(fetch(&registry, &path).await.status(), 404);
}

#[tokio::test]
async fn evidence_is_found_by_referrers_or_by_tag() {
    let signer = Authority::new().identity(Identity::zionsworking());
    for (options, status) in [(Options::default(), 200), (Options::without_referrers(), 404)] {
        let (registry, digest) = with_image(options).await;
        registry.push_legacy(
            NAME,
            &digest,
            [
                signer.legacy_signature(&digest),
                signer.legacy_signature(&digest),
                signer.legacy_attestation(&digest, sbom::SPDX, &sbom::spdx()),
            ],
        );
        for (suffix, layers) in [(".sig", 2), (".att", 1)] {
            let tag = evidence_tag(&digest, suffix);
            let manifest = json(&registry, &format!("/v2/{NAME}/manifests/{tag}")).await;
            assert_eq!(manifest["layers"].as_array().unwrap().len(), layers);
        }
        let bundle = signer.bundle_signature(&digest);
        let referrer = registry.push_bundle(NAME, &digest, &bundle);
        let response = fetch(&registry, &format!("/v2/{NAME}/referrers/{digest}")).await;
        assert_eq!(response.status(), status);
        let index = if status == 200 {
            assert_eq!(header(&response, "content-type"), OCI_INDEX);
            serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
        } else {
            json(&registry, &format!("/v2/{NAME}/manifests/{}", evidence_tag(&digest, ""))).await
        };
        assert_eq!(index["manifests"][0]["digest"], referrer.as_str());
        let manifest = json(&registry, &format!("/v2/{NAME}/manifests/{referrer}")).await;
        assert_eq!(manifest["subject"]["digest"], digest.as_str());
        assert_eq!(manifest["layers"][0]["digest"], digest_of(bundle.as_bytes()));
    }
}

#[tokio::test]
async fn referrers_come_in_pages_and_may_lie() {
    let referrers = Referrers::On { page: 2, lie: true };
    let (registry, digest) = with_image(Options { referrers, ..Options::default() }).await;
    for n in 0..5 {
        registry.push_bundle(NAME, &digest, &format!("{{\"n\":{n}}}"));
    }
    let mut path = format!("/v2/{NAME}/referrers/{digest}");
    let mut sizes = Vec::new();
    loop {
        let response = fetch(&registry, &path).await;
        let link = header(&response, "link").to_owned();
        let index: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        let entries = index["manifests"].as_array().unwrap();
        assert_eq!(entries[0]["artifactType"], "application/vnd.oci.empty.v1+json");
        sizes.push(entries.len());
        let Some(next) = link.strip_suffix(r#">; rel="next""#) else { break };
        path = next.trim_start_matches('<').to_owned();
    }
    assert_eq!(sizes, [2, 2, 1]);
}

#[tokio::test]
async fn tokens_are_asked_for_and_expire() {
    let lifetime = Duration::from_millis(300);
    let auth = Auth::bearer_for("robot", "secret").with_lifetime(lifetime);
    let (registry, _) = with_image(Options { auth, ..Options::default() }).await;
    let path = format!("/v2/{NAME}/manifests/1.0.0");
    let response = fetch(&registry, &path).await;
    assert_eq!(response.status(), 401);
    let challenge = header(&response, "www-authenticate").to_owned();
    let realm = format!("{}/token", registry.url());
    assert_eq!(challenge, format!(r#"Bearer realm="{realm}",service="test-registry",scope="repository:{NAME}:pull""#));
    let scope = format!("{realm}?service=test-registry&scope=repository:{NAME}:pull");
    assert_eq!(client().get(&scope).send().await.unwrap().status(), 401);
    let answer = client().get(&scope).basic_auth("robot", Some("secret")).send().await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let token = answer["token"].as_str().unwrap();
    let pull = async |name: &str| {
        let url = format!("{}/v2/{name}/manifests/1.0.0", registry.url());
        client().get(url).bearer_auth(token).send().await.unwrap().status()
    };
    assert_eq!(pull(NAME).await, 200);
    assert_eq!(pull("zionsworking/other").await, 401);
    tokio::time::sleep(lifetime).await;
    assert_eq!(pull(NAME).await, 401);
    assert_eq!(registry.count(On::Token), 2);
    assert!(!registry.requests()[0].has_authorization());
}

#[tokio::test]
async fn passwords_are_asked_for() {
    let auth = Auth::basic("robot", "secret");
    let (registry, _) = with_image(Options { auth, ..Options::default() }).await;
    let url = format!("{}/v2/{NAME}/manifests/1.0.0", registry.url());
    assert_eq!(client().get(&url).send().await.unwrap().status(), 401);
    let good = client().get(&url).basic_auth("robot", Some("secret")).send().await.unwrap();
    assert_eq!(good.status(), 200);
}

#[tokio::test]
async fn blobs_may_be_elsewhere() {
    let (storage, _) = with_image(Options::default()).await;
    let options =
        Options { store: Some(storage.store()), blobs: Blobs::RedirectTo(storage.url()), ..Options::default() };
    let registry = Registry::start(options).await;
    let manifest = json(&registry, &format!("/v2/{NAME}/manifests/1.0.0")).await;
    let blob = manifest["layers"][0]["digest"].as_str().unwrap();
    let response = fetch(&registry, &format!("/v2/{NAME}/blobs/{blob}")).await;
    assert_eq!(response.status(), 307);
    let body = client().get(header(&response, "location")).send().await.unwrap();
    assert_eq!(digest_of(&body.bytes().await.unwrap()), blob);
    assert_eq!(storage.count(On::Storage), 1);
}

#[tokio::test]
async fn https_is_served_with_its_own_authority() {
    let (registry, _) = with_image(Options::tls()).await;
    let authority = reqwest::Certificate::from_pem(registry.ca_pem().as_bytes()).unwrap();
    drop(client());
    let client = Client::builder().tls_certs_only([authority]).build().unwrap();
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{}/v2/", registry.port());
        let response = client.get(url).send().await.unwrap();
        assert_eq!((response.status(), response.version()), (StatusCode::OK, reqwest::Version::HTTP_2));
    }
    let stranger = super::registry::client().get(format!("{}/v2/", registry.url())).send().await;
    assert!(stranger.is_err());
}

#[tokio::test]
async fn faults_change_answers() {
    let (registry, digest) = with_image(Options::default()).await;
    let path = format!("/v2/{NAME}/manifests/1.0.0");
    let faulty = async |fault: Fault| {
        registry.heal();
        registry.inject(On::Manifests, fault);
        fetch(&registry, &path).await
    };
    assert_eq!(faulty(Fault::Status(503)).await.status(), 503);
    let response = faulty(Fault::RetryAfter(429, 7)).await;
    assert_eq!((response.status().as_u16(), header(&response, "retry-after")), (429, "7"));
    let response = faulty(Fault::WrongBytes).await;
    assert_eq!(header(&response, "docker-content-digest"), digest);
    assert_ne!(digest_of(&response.bytes().await.unwrap()), digest);
    let response = faulty(Fault::InvalidJson).await.bytes().await.unwrap();
    assert!(serde_json::from_slice::<Value>(&response).is_err());
    assert_eq!(faulty(Fault::Body(b"x".to_vec())).await.bytes().await.unwrap(), "x");
    let response = faulty(Fault::ContentType("text/html".into())).await;
    assert_eq!(header(&response, "content-type"), "text/html");
    let response = faulty(Fault::DigestHeader(String::new())).await;
    assert_eq!(header(&response, "docker-content-digest"), "");
    let response = faulty(Fault::DigestHeader("sha256:0".into())).await;
    assert_eq!(header(&response, "docker-content-digest"), "sha256:0");
    let response = faulty(Fault::Redirect("http://127.0.0.1:1/".into())).await;
    assert_eq!((response.status().as_u16(), header(&response, "location")), (307, "http://127.0.0.1:1/"));
    assert_eq!(fetch(&registry, "/v2/").await.status(), 200, "other paths are well");
    registry.heal();
    registry.inject_times(On::path("1.0.0"), Fault::Status(500), 2);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(fetch(&registry, &path).await.status().as_u16());
    }
    assert_eq!(statuses, [500, 500, 200]);
}

#[tokio::test]
async fn faults_change_how_answers_come() {
    let (registry, _) = with_image(Options::default()).await;
    let path = format!("/v2/{NAME}/manifests/1.0.0");
    let url = format!("{}{path}", registry.url());
    let faulty = |fault: Fault| {
        registry.heal();
        registry.inject(On::Manifests, fault);
        client().get(&url).timeout(Duration::from_millis(500)).send()
    };
    let start = Instant::now();
    faulty(Fault::Delay(Duration::from_millis(50))).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert!(faulty(Fault::Hang).await.unwrap_err().is_timeout());
    assert!(!faulty(Fault::Drop).await.unwrap_err().is_timeout());
    let error = faulty(Fault::Truncate).await.unwrap().bytes().await.unwrap_err();
    assert!(!error.is_timeout(), "{error:?}");
    let mut endless = faulty(Fault::Endless).await.unwrap();
    let mut seen = 0;
    while seen < 10_000_000 {
        seen += endless.chunk().await.unwrap().expect("more").len();
    }
    let huge = faulty(Fault::Huge(1_000_001)).await.unwrap();
    assert_eq!(huge.content_length(), Some(1_000_001));
    assert_eq!(huge.bytes().await.unwrap().len(), 1_000_001);
    let drip = faulty(Fault::Drip(Duration::from_millis(20))).await.unwrap();
    assert!(drip.bytes().await.unwrap_err().is_timeout());
}

#[tokio::test]
async fn registries_go_down_and_come_back() {
    let (registry, _) = with_image(Options::default()).await;
    let url = format!("{}/v2/", registry.url());
    let client = client();
    for _ in 0..3 {
        assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
        registry.stop();
        assert!(client.get(&url).send().await.is_err());
        registry.restart();
    }
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
}

#[test]
fn a_layout_holds_what_the_registry_serves() {
    let signer = Authority::new().identity(Identity::zionsworking());
    let mut store = Store::with_fallback_tags();
    let digest = store.push_image(NAME, "1.0.0", b"hello");
    store.push_legacy(NAME, &digest, [signer.legacy_signature(&digest)]);
    store.push_bundle(NAME, &digest, &signer.bundle_signature(&digest));
    let dir = std::env::temp_dir().join(format!("layout-{}", std::process::id()));
    layout::write_layout(&dir, &store).unwrap();
    let index: Value = serde_json::from_slice(&std::fs::read(dir.join("index.json")).unwrap()).unwrap();
    let mut tags = Vec::new();
    for entry in index["manifests"].as_array().unwrap() {
        tags.push(entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap());
        let digest = entry["digest"].as_str().unwrap();
        let blob = std::fs::read(dir.join("blobs").join(digest.replace(':', "/"))).unwrap();
        assert_eq!(digest_of(&blob), digest);
        assert_eq!(entry["size"], blob.len());
    }
    assert_eq!(tags, ["1.0.0", &evidence_tag(&digest, ""), &evidence_tag(&digest, ".sig")]);
    std::fs::remove_dir_all(&dir).unwrap();
}
