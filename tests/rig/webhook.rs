//! The library's HTTPS server with policies in force, and a caller that does what an API server does.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bonafide::admission::Phase;
use bonafide::pipeline::{Engine, Lifetimes, Settings, Snapshot};
use bonafide::policy::{PolicySet, ReadContext, read_policies};
use bonafide::registry::Caps;
use bonafide::registry::auth::Credentials;
use bonafide::registry::http::{HttpOptions, HttpSource, Mirror, PrivateAddresses, Proxy};
use bonafide::server::{CertificateSource, Limits, SelfSigned, Server, ServerOptions};
use bonafide::telemetry::Metrics;
use bonafide::trust::TrustRoot;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

use super::{Admission, Answer, Review, World};

/// How a [`Webhook`] is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Caches, caps and the time that work goes on after its request.
    pub settings: Settings,
    /// Limits of requests.
    pub limits: Limits,
    /// `?timeout=` of each call; none if zero.
    pub timeout: Duration,
    /// Credentials for registries.
    pub credentials: Credentials,
    /// PEM files with authorities to trust for registries.
    pub ca_files: Vec<std::path::PathBuf>,
}

impl Default for Options {
    /// Nothing is remembered but passes, so that every answer is of now.
    fn default() -> Self {
        let lifetimes = Lifetimes { tag: Duration::ZERO, rejection: Duration::ZERO, ..Lifetimes::DEFAULT };
        let grace = Duration::from_millis(200);
        Self {
            settings: Settings { lifetimes, grace, ..Settings::DEFAULT },
            limits: Limits::DEFAULT,
            timeout: Duration::from_secs(10),
            credentials: Credentials::anonymous(),
            ca_files: Vec::new(),
        }
    }
}

impl Options {
    /// Everything as `serve` has it.
    pub fn production() -> Self {
        Self { settings: Settings::DEFAULT, ..Self::default() }
    }

    /// Nothing is remembered at all.
    pub fn without_caches() -> Self {
        Self::default().lifetimes(Lifetimes { pass: Duration::ZERO, rejection: Duration::ZERO, tag: Duration::ZERO })
    }

    /// The same with these lifetimes.
    pub fn lifetimes(mut self, lifetimes: Lifetimes) -> Self {
        self.settings.lifetimes = lifetimes;
        self
    }

    /// The same with another `?timeout=`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// The HTTPS server of the library in this process, and its caller.
pub struct Webhook {
    /// Its engine, to look into.
    pub engine: Arc<Engine>,
    /// What it has sent to registries.
    pub source: HttpSource,
    /// The authority of its certificate, PEM.
    pub ca_pem: String,
    server: Server,
    client: reqwest::Client,
    timeout: Duration,
}

impl Webhook {
    /// Serves with `policies`, texts of any number of documents each. `ghcr.io` and `docker.io` are read from
    /// the world's registry, whose authority is the one that is trusted.
    pub async fn start(world: &World, policies: &[&str]) -> Self {
        Self::with(world, policies, Options::default()).await
    }

    /// The same with other settings.
    pub async fn with(world: &World, policies: &[&str], options: Options) -> Self {
        let trust = TrustRoot::from_json(&world.sigstore.trusted_root_json()).expect("a trust root");
        let policies = policy_set(&trust, policies);
        let mirror = |host: &str| format!("{host}={}", world.registry.url()).parse::<Mirror>().expect("a mirror");
        let source = HttpSource::new(&HttpOptions {
            mirrors: vec![mirror("ghcr.io"), mirror("docker.io")],
            plain_http: Vec::new(),
            allowed_hosts: Vec::new(),
            private: PrivateAddresses::Allow,
            ca_files: options.ca_files,
            credentials: options.credentials,
            proxy: Proxy::Direct,
            caps: Caps::DEFAULT,
            user_agent: "bonafide/test".to_owned(),
            connect_timeout: Duration::from_secs(5),
            idle_connections: 32,
            concurrency: NonZeroUsize::new(64).expect("not zero"),
        })
        .expect("good options");
        let snapshot = Snapshot { policies, trust: Arc::new(trust) };
        let engine = Engine::new(snapshot, Arc::new(source.clone()), options.settings);
        let made = SelfSigned::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("a certificate");
        let ca_pem = made.ca_pem.clone();
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = ServerOptions {
            listen: loopback,
            health_listen: loopback,
            certificate: CertificateSource::SelfSigned(made),
            limits: options.limits,
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(5),
        };
        let server = Server::start(Arc::clone(&engine), Metrics::new(), server).await.expect("two free ports");
        let client = client(&ca_pem);
        // API servers keep their connections: no call is to pay for the handshake.
        client.get(format!("https://{}/", server.address)).send().await.expect("an answer");
        Self { engine, source, ca_pem, server, client, timeout: options.timeout }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Where health and metrics are.
    pub fn health_address(&self) -> SocketAddr {
        self.server.health_address
    }

    /// Puts other policies in force.
    pub fn replace_policies(&self, policies: &[&str]) {
        let trust = Arc::clone(&self.engine.snapshot().trust);
        let policies = policy_set(&trust, policies);
        self.engine.replace(Snapshot { policies, trust });
    }

    /// Stops taking calls, finishes those under way.
    pub async fn shut_down(self) {
        self.server.shut_down().await;
    }

    /// One call with any body.
    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let mut url = format!("https://{}{path}", self.server.address);
        if !self.timeout.is_zero() {
            url.push_str(&format!("?timeout={}ms", self.timeout.as_millis()));
        }
        let started = Instant::now();
        let sent = self.client.post(url).header("content-type", "application/json").body(body).send();
        let response = sent.await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.text().await.expect("a body");
        Answer::read(status, body, started.elapsed())
    }

    /// One call of one phase.
    pub async fn review(&self, phase: Phase, review: impl Into<Review>) -> Answer {
        let review = review.into();
        let path = format!("/{}", phase.as_str());
        let answer = self.post(&path, review.json().to_string()).await;
        if answer.http == 200 {
            assert_eq!(answer.uid, review.uid(), "the answer to another request");
        }
        answer
    }

    /// The mutating call.
    pub async fn mutate(&self, review: impl Into<Review>) -> Answer {
        self.review(Phase::Mutate, review).await
    }

    /// The validating call.
    pub async fn validate(&self, review: impl Into<Review>) -> Answer {
        self.review(Phase::Validate, review).await
    }

    /// Both calls, the second one for what the first one made of the object.
    pub async fn admit(&self, review: impl Into<Review>) -> Admission {
        let review = review.into();
        let mutated = self.mutate(review.clone()).await;
        let object = mutated.apply(review.object().clone());
        if !mutated.allowed {
            return Admission { validated: mutated.clone(), mutated, object };
        }
        let validated = self.validate(review.with_object(object.clone())).await;
        assert!(validated.patch.is_none(), "the validating call patches nothing");
        Admission { mutated, validated, object }
    }

    /// A page of the plain port: `/metrics`, `/readyz`.
    pub async fn health(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.server.health_address);
        let response = self.client.get(url).send().await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("a body"))
    }
}

fn policy_set(trust: &TrustRoot, texts: &[&str]) -> PolicySet {
    let context = ReadContext { known_logs: trust.logs().to_vec(), webhook_timeout_seconds: Some(30) };
    let read = |(at, text): (usize, &&str)| {
        let file = format!("policy {at}");
        read_policies(text, &file, &context).unwrap_or_else(|error| panic!("{error}\n{text}")).policies
    };
    PolicySet::new(texts.iter().enumerate().flat_map(read).collect()).expect("different names")
}

/// An HTTPS client that trusts `ca_pem` and nothing else.
fn client(ca_pem: &str) -> reqwest::Client {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("PEM")).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls).build().expect("a client")
}
