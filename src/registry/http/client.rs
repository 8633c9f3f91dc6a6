//! The HTTP clients: one connection pool for each reach, made when first needed.

use std::{
    collections::HashSet,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::{Client, Url, redirect::Policy};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::{
    address::{Reach, Resolver},
    options::{HttpOptions, Proxy},
};

/// Why the options cannot be used.
#[derive(thiserror::Error, Debug)]
pub enum HttpOptionsError {
    /// A file with certificate authorities cannot be read.
    #[error("certificate authorities {path}: {error}")]
    ReadCa {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        error: std::io::Error,
    },
    /// A file with certificate authorities has none, or one that is not a certificate.
    #[error("certificate authorities {path}: {why}")]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Two mirrors for one registry.
    #[error("registry {0} has two mirrors")]
    TwoMirrors(crate::image::Registry),
}

/// All clients.
pub(super) struct Clients {
    proxy: Proxy,
    proxies: Arc<HashSet<String>>,
    user_agent: String,
    connect_timeout: Duration,
    idle_connections: usize,
    extra_roots: Vec<CertificateDer<'static>>,
    tls: tokio::sync::OnceCell<ClientConfig>,
    plain: [OnceLock<Client>; 8],
    secure: [OnceLock<Client>; 8],
}

impl Clients {
    pub(super) fn new(options: &HttpOptions) -> Result<Self, HttpOptionsError> {
        let mut extra_roots = Vec::new();
        for path in &options.ca_files {
            let pem = std::fs::read(path).map_err(|error| HttpOptionsError::ReadCa { path: path.clone(), error })?;
            let invalid = |why: String| HttpOptionsError::Ca { path: path.clone(), why };
            let before = extra_roots.len();
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
                RootCertStore::empty().add(certificate.clone()).map_err(|error| invalid(error.to_string()))?;
                extra_roots.push(certificate);
            }
            if extra_roots.len() == before {
                return Err(invalid("has no certificate".to_owned()));
            }
        }
        Ok(Self {
            proxy: options.proxy,
            proxies: Arc::new(proxy_hosts(options.proxy)),
            user_agent: options.user_agent.clone(),
            connect_timeout: options.connect_timeout,
            idle_connections: options.idle_connections,
            extra_roots,
            tls: tokio::sync::OnceCell::new(),
            plain: Default::default(),
            secure: Default::default(),
        })
    }

    /// Whether a connection for `url` may in fact be one to a proxy.
    pub(super) fn may_be_proxied(&self, url: &Url) -> bool {
        !self.proxies.is_empty() && !is_this_host(url)
    }

    /// The client for `url`.
    ///
    /// # Errors
    /// Why there is none: TLS cannot be set up here.
    pub(super) async fn of(&self, url: &Url, reach: Reach) -> Result<&Client, String> {
        let clients = if url.scheme() == "https" { &self.secure } else { &self.plain };
        let proxy = if is_this_host(url) { Proxy::Direct } else { self.proxy };
        let reach_slot = match reach {
            Reach::Public => 0,
            Reach::Private => 1,
            Reach::Loopback => 2,
            Reach::Configured => 3,
        };
        let slot = &clients[match proxy {
            Proxy::Direct => reach_slot,
            Proxy::FromEnvironment => reach_slot + 4,
        }];
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let tls = if url.scheme() == "https" {
            self.tls.get_or_try_init(|| self.load_tls()).await?.clone()
        } else {
            // Never used: redirects to https take the other kind of client.
            tls_config(RootCertStore::empty())?
        };
        let client = self.build(tls, reach, proxy)?;
        Ok(slot.get_or_init(|| client))
    }

    fn build(&self, tls: ClientConfig, reach: Reach, proxy: Proxy) -> Result<Client, String> {
        let builder = Client::builder()
            .user_agent(&self.user_agent)
            .connect_timeout(self.connect_timeout)
            .pool_max_idle_per_host(self.idle_connections)
            .redirect(Policy::none())
            .referer(false)
            .dns_resolver(Resolver { reach, proxies: Arc::clone(&self.proxies) })
            .tls_backend_preconfigured(tls);
        let builder = match proxy {
            Proxy::Direct => builder.no_proxy(),
            Proxy::FromEnvironment => builder,
        };
        builder.build().map_err(|error| error.to_string())
    }

    /// Reads the system's certificates: a few milliseconds that only HTTPS needs.
    async fn load_tls(&self) -> Result<ClientConfig, String> {
        let native = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)
            .await
            .map_err(|error| error.to_string())?;
        for error in &native.errors {
            tracing::warn!(%error, "system certificates cannot be read");
        }
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        roots.add_parsable_certificates(native.certs);
        roots.add_parsable_certificates(self.extra_roots.iter().cloned());
        tls_config(roots)
    }
}

fn tls_config(roots: RootCertStore) -> Result<ClientConfig, String> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Whether `url` is at this host, which no proxy is asked for: so does Go's client.
fn is_this_host(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback()),
        None => false,
    }
}

/// The hosts of the proxies in the environment.
fn proxy_hosts(proxy: Proxy) -> HashSet<String> {
    const VARIABLES: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    if proxy == Proxy::Direct {
        return HashSet::new();
    }
    VARIABLES.iter().filter_map(|name| proxy_host(&std::env::var(name).ok()?)).collect()
}

fn proxy_host(value: &str) -> Option<String> {
    let url = if value.contains("://") { Url::parse(value) } else { Url::parse(&format!("http://{value}")) };
    Some(url.ok()?.host_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::proxy_host;

    #[test]
    fn proxies_are_known_by_their_host() {
        for value in ["http://u:p@proxy.corp:3128", "proxy.corp:3128", "proxy.corp", "https://PROXY.corp/"] {
            assert_eq!(proxy_host(value).as_deref(), Some("proxy.corp"), "{value}");
        }
        assert_eq!(proxy_host(""), None);
    }
}
