//! An OCI registry on loopback that does what it is told, mistakes included.
//!
//! It runs on a thread of its own, so a test may block while the binary under test talks to it.
//!
//! ```ignore
//! let registry = Registry::start(Options { auth: Auth::bearer(), ..Options::default() }).await;
//! let image = format!("{}/zionsworking/app:1.0.0", registry.host());
//! registry.inject(On::Referrers, Fault::Status(503));
//! registry.inject_times(On::Blobs, Fault::Drop, 1);
//! registry.heal();
//! assert_eq!(registry.count(On::Token), 1);
//! registry.stop();
//! registry.restart();
//! ```

mod auth;
mod fault;
mod serve;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

pub use self::auth::Auth;
pub use self::fault::{Fault, On};

use super::authority::Layer;
use super::store::SharedStore;

/// How a [`Registry`] is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Serve HTTPS with a certificate for `localhost` and `127.0.0.1` of [`Registry::ca_pem`].
    pub tls: bool,
    /// What to serve; an empty store of the registry's own if `None`.
    pub store: Option<SharedStore>,
    /// Who may pull.
    pub auth: Auth,
    /// The referrers API.
    pub referrers: Referrers,
    /// Where blobs are.
    pub blobs: Blobs,
    /// Every request takes this much longer.
    pub delay: Duration,
}

impl Options {
    /// Plain HTTP, no referrers API: evidence in bundle format is under fallback tags.
    pub fn without_referrers() -> Self {
        Self { referrers: Referrers::Off { status: 404 }, ..Self::default() }
    }

    /// HTTPS.
    pub fn tls() -> Self {
        Self { tls: true, ..Self::default() }
    }
}

/// How the referrers API answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Referrers {
    /// With at most `page` entries at a time and a `Link` to the next ones. `lie` leaves out artifact
    /// types and annotations, as ghcr.io may.
    On { page: usize, lie: bool },
    /// With this status: 404, 400, 406.
    Off { status: u16 },
}

impl Default for Referrers {
    fn default() -> Self {
        Self::On { page: 100, lie: false }
    }
}

/// Where `GET /v2/<name>/blobs/<digest>` leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Blobs {
    /// To the blob.
    #[default]
    Direct,
    /// By 307 to `/storage/...` on this registry.
    Redirect,
    /// By 307 to `/storage/...` at this base URL, such as `http://127.0.0.1:1234`: another registry
    /// with the same store, or nothing.
    RedirectTo(String),
}

/// A request as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Path without query.
    pub path: String,
    /// Query, or empty.
    pub query: String,
    /// `Host`, or the authority of HTTP/2.
    pub host: String,
    /// `Authorization`, whole.
    pub authorization: Option<String>,
    /// `User-Agent`.
    pub user_agent: Option<String>,
}

impl Request {
    /// Whether it carries credentials.
    pub fn has_authorization(&self) -> bool {
        self.authorization.is_some()
    }
}

/// State shared by the handle and the server's tasks.
struct State {
    options: Options,
    store: SharedStore,
    base: String,
    tokens: auth::Tokens,
    faults: fault::Faults,
    requests: Mutex<Vec<Request>>,
    delay_nanos: AtomicU64,
}

/// A running registry. Dropping it stops it.
pub struct Registry {
    state: Arc<State>,
    address: SocketAddr,
    tls: Option<(Arc<ServerConfig>, String)>,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Registry {
    /// Starts on a free port of 127.0.0.1.
    pub async fn start(options: Options) -> Self {
        Self::launch(options)
    }

    /// [`Registry::start`] outside of async code.
    pub fn launch(options: Options) -> Self {
        let tls = options.tls.then(certificate);
        let config = tls.as_ref().map(|(config, _)| Arc::clone(config));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let scheme = if options.tls { "https" } else { "http" };
        let store = options.store.clone().unwrap_or_default();
        if matches!(options.referrers, Referrers::Off { .. }) {
            store.lock().discovery = super::store::Discovery::FallbackTag;
        }
        let state = Arc::new(State {
            base: format!("{scheme}://{address}"),
            store,
            tokens: auth::Tokens::default(),
            faults: fault::Faults::default(),
            requests: Mutex::default(),
            delay_nanos: AtomicU64::new(0),
            options,
        });
        let registry = Self { state, address, tls, running: Mutex::new(None) };
        registry.set_delay(registry.state.options.delay);
        registry.run(listener, config);
        registry
    }

    /// `127.0.0.1:PORT`, the registry part of an image name.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `localhost:PORT`, the same registry under another name.
    pub fn localhost(&self) -> String {
        format!("localhost:{}", self.port())
    }

    /// Port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `http://127.0.0.1:PORT` or `https://...`.
    pub fn url(&self) -> String {
        self.state.base.clone()
    }

    /// Certificate authority of an HTTPS registry, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.tls.as_ref().expect("an HTTPS registry").1
    }

    /// What it serves.
    pub fn store(&self) -> SharedStore {
        self.state.store.clone()
    }

    /// See [`super::store::Store::push_image`].
    pub fn push_image(&self, repository: &str, tag: &str, content: &[u8]) -> String {
        self.state.store.lock().push_image(repository, tag, content)
    }

    /// See [`super::store::Store::push_index`].
    pub fn push_index(&self, repository: &str, tag: &str, images: &[(&str, &str)]) -> String {
        self.state.store.lock().push_index(repository, tag, images)
    }

    /// See [`super::store::Store::push_legacy`].
    pub fn push_legacy(&self, repository: &str, digest: &str, layers: impl IntoIterator<Item = Layer>) {
        self.state.store.lock().push_legacy(repository, digest, layers);
    }

    /// See [`super::store::Store::push_legacy_referrer`].
    pub fn push_legacy_referrer(
        &self,
        repository: &str,
        digest: &str,
        layers: impl IntoIterator<Item = Layer>,
    ) -> String {
        self.state.store.lock().push_legacy_referrer(repository, digest, layers)
    }

    /// See [`super::store::Store::push_bundle`].
    pub fn push_bundle(&self, repository: &str, digest: &str, bundle: &str) -> String {
        self.state.store.lock().push_bundle(repository, digest, bundle)
    }

    /// See [`super::store::Store::push_bundle_annotated`].
    pub fn push_bundle_annotated(
        &self,
        repository: &str,
        digest: &str,
        bundle: &str,
        annotations: serde_json::Value,
    ) -> String {
        self.state.store.lock().push_bundle_annotated(repository, digest, bundle, annotations)
    }

    /// See [`super::store::Store::push_manifest`].
    pub fn push_manifest(&self, repository: &str, tag: Option<&str>, media_type: &str, bytes: Vec<u8>) -> String {
        self.state.store.lock().push_manifest(repository, tag, media_type, bytes)
    }

    /// See [`super::store::Store::move_tag`].
    pub fn move_tag(&self, repository: &str, tag: &str, digest: &str) {
        self.state.store.lock().move_tag(repository, tag, digest);
    }

    /// See [`super::store::Store::alternate_tag`].
    pub fn alternate_tag(&self, repository: &str, tag: &str, digests: &[&str]) {
        self.state.store.lock().alternate_tag(repository, tag, digests);
    }

    /// See [`super::store::Store::remove_tag`].
    pub fn remove_tag(&self, repository: &str, tag: &str) {
        self.state.store.lock().remove_tag(repository, tag);
    }

    /// From now on, requests that `on` covers meet `fault`. Faults add up: a delay and a status.
    pub fn inject(&self, on: On, fault: Fault) {
        self.state.faults.add(on, fault, None);
    }

    /// Like [`Registry::inject`], for the next `times` requests only.
    pub fn inject_times(&self, on: On, fault: Fault, times: usize) {
        self.state.faults.add(on, fault, Some(times));
    }

    /// No more faults.
    pub fn heal(&self) {
        self.state.faults.clear();
    }

    /// Every request takes this much longer from now on.
    pub fn set_delay(&self, delay: Duration) {
        let nanos = u64::try_from(delay.as_nanos()).expect("a delay below centuries");
        self.state.delay_nanos.store(nanos, Ordering::Relaxed);
    }

    /// No token issued so far is good any more.
    pub fn revoke_tokens(&self) {
        self.state.tokens.clear();
    }

    /// Requests so far, in the order of their arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().expect("no panic while locked").clone()
    }

    /// How many requests so far `on` covers.
    pub fn count(&self, on: On) -> usize {
        self.requests().iter().filter(|request| on.covers(&request.path)).count()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.state.requests.lock().expect("no panic while locked").clear();
    }

    /// Closes the port and every connection.
    pub fn stop(&self) {
        let running = self.running.lock().expect("no panic while locked").take();
        if let Some(Running { stop, thread }) = running {
            let _ = stop.send(true);
            thread.join().expect("the server does not panic");
        }
    }

    /// Opens the same port again; does nothing while running.
    pub fn restart(&self) {
        if self.running.lock().expect("no panic while locked").is_some() {
            return;
        }
        let bound = std::net::TcpListener::bind(self.address);
        let config = self.tls.as_ref().map(|(config, _)| Arc::clone(config));
        self.run(bound.expect("the port is still free"), config);
    }

    fn run(&self, listener: std::net::TcpListener, tls: Option<Arc<ServerConfig>>) {
        let (stop, stopped) = watch::channel(false);
        let (ready, is_ready) = mpsc::channel();
        let state = Arc::clone(&self.state);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            runtime.block_on(async {
                listener.set_nonblocking(true).expect("a socket");
                let listener = TcpListener::from_std(listener).expect("a socket");
                let _ = ready.send(());
                accept(listener, tls.map(TlsAcceptor::from), state, stopped).await;
            });
            runtime.shutdown_background();
        });
        is_ready.recv().expect("the server runs");
        *self.running.lock().expect("no panic while locked") = Some(Running { stop, thread });
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    state: Arc<State>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let stream = tokio::select! {
            _ = stopped.changed() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
        };
        let _ = stream.set_nodelay(true);
        let (state, tls) = (Arc::clone(&state), tls.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| serve::serve(Arc::clone(&state), request));
            let server = auto::Builder::new(TokioExecutor::new());
            // A client that gives up, or a fault that drops the connection, is no error here.
            match tls {
                None => drop(server.serve_connection(TokioIo::new(stream), service).await),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        drop(server.serve_connection(TokioIo::new(stream), service).await);
                    }
                }
            }
        });
    }
}

/// A server configuration for `localhost` and 127.0.0.1, and the authority that vouches for it.
fn certificate() -> (Arc<ServerConfig>, String) {
    let key = || rcgen::KeyPair::generate().expect("key generation");
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "test registry authority");
    let issuer = rcgen::CertifiedIssuer::self_signed(authority, key()).expect("a certificate");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let server_key = key();
    let leaf = rcgen::CertificateParams::new(names).expect("good names");
    let leaf = leaf.signed_by(&server_key, &issuer).expect("a certificate");
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .expect("key and certificate fit");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (Arc::new(config), issuer.pem())
}
