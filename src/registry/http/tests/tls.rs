//! HTTPS: whom we trust, and that a connection never falls back to plain HTTP.

use std::{net::SocketAddr, path::PathBuf, sync::Mutex};

use axum::{
    Router,
    http::{Request, Response, Version},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{server::Server, *};

/// A file with certificates, gone after the test.
struct CaFile(PathBuf);

impl Drop for CaFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl CaFile {
    fn new(name: &str, pem: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bonafide-ca-{}-{name}", std::process::id()));
        std::fs::write(&path, pem).unwrap();
        Self(path)
    }
}

struct TlsServer {
    address: SocketAddr,
    pem: String,
    seen: Arc<Mutex<Vec<Version>>>,
}

/// A server with a certificate of its own for `name`, that answers everything with `status` and `header`.
async fn serve(name: &str, alpn: &[&str], status: u16, header: (&'static str, String)) -> TlsServer {
    let key = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let private = PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], private.into())
            .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let router = Router::new().fallback(async move |request: Request<axum::body::Body>| {
        log.lock().unwrap().push(request.version());
        Response::builder().status(status).header(header.0, &header.1).body("{}".to_owned()).unwrap()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = TowerToHyperService::new(router);
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    TlsServer { address, pem: key.cert.pem(), seen }
}

fn ok() -> (&'static str, String) {
    ("content-type", "application/json".to_owned())
}

/// A source that reads `ghcr.io` from `server`, and trusts `ca`.
async fn source_of(server: &TlsServer, ca: Option<&CaFile>) -> HttpSource {
    let plain = Server::always(super::server::answer(200, &[], "{}")).await;
    let mut options = options(&plain);
    options.mirrors = vec![format!("ghcr.io=https://localhost:{}", server.address.port()).parse().unwrap()];
    options.ca_files = ca.map(|file| file.0.clone()).into_iter().collect();
    HttpSource::new(&options).unwrap()
}

#[tokio::test]
async fn a_registry_with_a_ca_of_its_own_is_read_over_both_versions() {
    for (name, alpn, version) in [
        ("h2", &["h2", "http/1.1"][..], Version::HTTP_2),
        ("h1", &["http/1.1"], Version::HTTP_11),
        ("none", &[], Version::HTTP_11),
    ] {
        let server = serve("localhost", alpn, 200, ok()).await;
        let ca = CaFile::new(name, &server.pem);
        let source = source_of(&server, Some(&ca)).await;
        let all = futures::future::join_all((0..8).map(|_| manifest(&source))).await;
        assert!(all.iter().all(|found| matches!(found, Ok(Some(_)))), "{name}: {all:?}");
        assert_eq!(*server.seen.lock().unwrap(), [version; 8], "{name}");
    }
}

#[tokio::test]
async fn an_unknown_ca_and_another_name_are_no_connection() {
    let server = serve("localhost", &[], 200, ok()).await;
    let FetchErrorKind::Unreachable(why) = manifest(&source_of(&server, None).await).await.unwrap_err() else {
        panic!("reached")
    };
    assert!(why.contains("certificate"), "{why}");
    let server = serve("other.example", &[], 200, ok()).await;
    let ca = CaFile::new("other", &server.pem);
    let FetchErrorKind::Unreachable(why) = manifest(&source_of(&server, Some(&ca)).await).await.unwrap_err() else {
        panic!("reached")
    };
    assert!(why.contains("other.example") && why.contains("localhost"), "{why}");
    assert!(server.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn https_does_not_lead_to_plain_http() {
    let plain = Server::always(super::server::answer(200, &[], "{}")).await;
    let redirect = ("location", format!("http://{}/", plain.address));
    let realm = ("www-authenticate", format!(r#"Bearer realm="http://{}/token",service="x""#, plain.address));
    for (name, status, header) in [("redirect", 307, redirect), ("realm", 401, realm)] {
        let server = serve("localhost", &[], status, header).await;
        let ca = CaFile::new(name, &server.pem);
        let error = manifest(&source_of(&server, Some(&ca)).await).await.unwrap_err();
        assert!(matches!(error, FetchErrorKind::Refused(_)), "{name}: {error}");
    }
    assert!(plain.targets().is_empty());
}

#[tokio::test]
async fn a_ca_file_has_certificates() {
    let plain = Server::always(super::server::answer(200, &[], "{}")).await;
    let mut options = options(&plain);
    for (name, pem) in [
        ("empty", ""),
        ("no-pem", "hello"),
        ("garbage", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"),
        ("broken", "-----BEGIN CERTIFICATE-----\n"),
    ] {
        let file = CaFile::new(name, pem);
        options.ca_files = vec![file.0.clone()];
        assert!(
            matches!(HttpSource::new(&options), Err(HttpOptionsError::Ca { path, .. }) if path == file.0),
            "{name}"
        );
    }
    options.ca_files = vec![std::env::temp_dir().join("bonafide-no-such-file")];
    assert!(matches!(HttpSource::new(&options), Err(HttpOptionsError::ReadCa { .. })));
}
