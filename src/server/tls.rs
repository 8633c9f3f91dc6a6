//! Server certificates: from files, read again when they change, or self-signed.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// How often certificate files are looked at. kubelet renews mounted Secrets about once a minute.
const POLL: Duration = Duration::from_secs(10);

/// Where the server's certificate comes from.
#[derive(Debug)]
pub enum CertificateSource {
    /// PEM files, read again when they change.
    Files {
        /// Certificate chain.
        certificate: PathBuf,
        /// Private key.
        key: PathBuf,
    },
    /// Made for this run.
    SelfSigned(SelfSigned),
}

/// A certificate authority made for one run, and a leaf from it.
#[derive(Debug)]
pub struct SelfSigned {
    /// The authority's certificate, PEM: what a webhook configuration's `caBundle` holds.
    pub ca_pem: String,
    key: Arc<CertifiedKey>,
}

/// Why a certificate cannot be used.
#[derive(thiserror::Error, Debug)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} does not hold a usable {what}: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// `certificate chain` or `private key`.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The TLS library refuses it.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

impl SelfSigned {
    /// An authority and a leaf for `names` (DNS names and IP addresses), valid for a year from yesterday.
    ///
    /// # Errors
    /// When a name is neither.
    pub fn new(names: Vec<String>) -> Result<Self, TlsError> {
        use rcgen::{
            BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
        };
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.distinguished_name.push(DnType::CommonName, "bonafide self-signed CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let mut leaf = CertificateParams::new(names)?;
        leaf.distinguished_name.push(DnType::CommonName, "bonafide");
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let today = time_now();
        for params in [&mut ca, &mut leaf] {
            params.not_before = today - Duration::from_hours(24);
            params.not_after = today + Duration::from_hours(365 * 24);
        }
        let ca_key = KeyPair::generate()?;
        let ca_certificate = ca.self_signed(&ca_key)?;
        let issuer = rcgen::Issuer::new(ca, &ca_key);
        let leaf_key = KeyPair::generate()?;
        let certificate = leaf.signed_by(&leaf_key, &issuer)?;
        let key = PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into());
        let key = certified(vec![certificate.der().clone()], &key)?;
        Ok(Self { ca_pem: ca_certificate.pem(), key: Arc::new(key) })
    }
}

fn time_now() -> time::OffsetDateTime {
    time::OffsetDateTime::now_utc()
}

fn certified(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) -> Result<CertifiedKey, rustls::Error> {
    let key = CertifiedKey::new(chain, aws_lc_rs::sign::any_supported_type(key)?);
    key.keys_match()?;
    Ok(key)
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// A TLS 1.2+ configuration with `source`'s certificate. Files are polled in a task of their own.
pub(super) fn server_config(source: CertificateSource) -> Result<Arc<ServerConfig>, TlsError> {
    let (key, files) = match source {
        CertificateSource::SelfSigned(made) => (made.key, None),
        CertificateSource::Files { certificate, key } => {
            let loaded = load(&certificate, &key)?;
            (Arc::new(loaded), Some((certificate, key)))
        }
    };
    let current = Arc::new(Current(ArcSwap::new(key)));
    if let Some((certificate, key)) = files {
        tokio::spawn(reload(Arc::clone(&current), certificate, key));
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(current);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn load(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let read = |path: &Path| fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source });
    let content = |path: &Path, what, why: String| TlsError::Content { path: path.to_owned(), what, why };
    let (chain_pem, key_pem) = (read(certificate)?, read(key)?);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain_pem)
        .collect::<Result<_, _>>()
        .map_err(|error| content(certificate, "certificate chain", error.to_string()))?;
    if chain.is_empty() {
        return Err(content(certificate, "certificate chain", "it has no certificate".to_owned()));
    }
    let private =
        PrivateKeyDer::from_pem_slice(&key_pem).map_err(|error| content(key, "private key", error.to_string()))?;
    certified(chain, &private).map_err(|error| content(key, "private key", error.to_string()))
}

/// Looks at the files again and again: a symlink swap, as kubelet does it, is seen like any other change.
async fn reload(current: Arc<Current>, certificate: PathBuf, key: PathBuf) {
    loop {
        tokio::time::sleep(POLL).await;
        let (certificate, key) = (certificate.clone(), key.clone());
        let loaded = tokio::task::spawn_blocking(move || load(&certificate, &key)).await;
        match loaded {
            Ok(Ok(loaded)) if loaded.cert != current.0.load().cert => {
                current.0.store(Arc::new(loaded));
                tracing::info!("serving a new certificate");
            }
            Ok(Err(error)) => tracing::warn!(%error, "keeping the certificate that was loaded last"),
            _ => {}
        }
    }
}
