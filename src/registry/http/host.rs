//! One registry: where it is, how it asks for credentials, how busy it is.

use std::collections::{HashMap, HashSet};

use arc_swap::ArcSwapOption;
use reqwest::Url;
use tokio::sync::Semaphore;

use super::{
    address::Reach,
    client::HttpOptionsError,
    options::{HttpOptions, PrivateAddresses, Root},
    redirect::same_origin,
};
use crate::image::Registry;

/// What is known of one registry.
pub(super) struct Host {
    /// The name that images use.
    pub registry: Registry,
    /// The name that credentials are looked up by: that of the mirror where there is one.
    pub credentials: Registry,
    /// How it asked for credentials, since the first time that it did.
    pub scheme: ArcSwapOption<Scheme>,
    /// Requests that may still be sent.
    pub permits: Semaphore,
    root: Root,
    mirrored: bool,
    /// How far redirects of this registry may lead, where the operator did not name their host.
    reach: Reach,
}

/// How a registry asks for credentials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Scheme {
    /// With each request.
    Basic,
    /// A token of a token endpoint.
    Bearer(TokenEndpoint),
}

/// A token endpoint that may be asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TokenEndpoint {
    pub realm: Url,
    pub service: Option<String>,
    pub reach: Reach,
}

/// What the operator decided, ready to be looked up.
pub(super) struct Directory {
    mirrors: HashMap<Registry, Root>,
    plain_http: HashSet<Registry>,
    private: PrivateAddresses,
    concurrency: usize,
    /// Host and port of everything that the operator named.
    configured: HashSet<(String, u16)>,
}

impl Directory {
    pub(super) fn new(options: &HttpOptions) -> Result<Self, HttpOptionsError> {
        let mut mirrors = HashMap::new();
        for mirror in &options.mirrors {
            if mirrors.insert(mirror.registry.clone(), mirror.root.clone()).is_some() {
                return Err(HttpOptionsError::TwoMirrors(mirror.registry.clone()));
            }
        }
        let plain = options.plain_http.iter().filter_map(|registry| Root::direct(registry, true));
        let allowed = options.allowed_hosts.iter().filter_map(|registry| Root::direct(registry, false));
        let roots = mirrors.values().cloned().chain(plain).chain(allowed);
        let configured = roots.filter_map(|root| authority(&root.url)).collect();
        Ok(Self {
            mirrors,
            plain_http: options.plain_http.iter().cloned().collect(),
            private: options.private.clone(),
            concurrency: options.concurrency.get(),
            configured,
        })
    }

    /// The registry of that name, not asked yet. `None` when no URL can be made of it.
    pub(super) fn host(&self, registry: &Registry) -> Option<Host> {
        let mirror = self.mirrors.get(registry);
        let root = match mirror {
            Some(root) => root.clone(),
            None => Root::direct(registry, self.plain_http.contains(registry))?,
        };
        let credentials = match mirror {
            Some(root) => registry_of(&root.url)?,
            None => registry.clone(),
        };
        let reach = match &self.private {
            PrivateAddresses::Allow => Reach::Private,
            PrivateAddresses::Only(registries) if registries.contains(registry) => Reach::Private,
            PrivateAddresses::Only(_) => Reach::Public,
        };
        Some(Host {
            registry: registry.clone(),
            credentials,
            scheme: ArcSwapOption::empty(),
            permits: Semaphore::new(self.concurrency.min(Semaphore::MAX_PERMITS)),
            root,
            mirrored: mirror.is_some(),
            reach,
        })
    }

    /// How far a connection to `url` may go when `host` sent us there.
    pub(super) fn reach(&self, host: &Host, url: &Url) -> Reach {
        if self.is_configured(url) { Reach::Configured } else { host.reach }
    }

    /// Whether the operator named the host and port of `url`.
    pub(super) fn is_configured(&self, url: &Url) -> bool {
        authority(url).is_some_and(|authority| self.configured.contains(&authority))
    }
}

impl Host {
    /// The name of a repository at this host.
    pub(super) fn path(&self, path: &str) -> String {
        [&self.root.prefix, path].concat()
    }

    /// The URL of `what` (`manifests`, `blobs`, `referrers`) called `name` in the repository `path`.
    pub(super) fn url(&self, path: &str, what: &str, name: &str) -> Option<Url> {
        Url::parse(&format!("{}{path}/{what}/{name}", self.root.url)).ok()
    }

    /// Whether it is asked over plain HTTP.
    pub(super) fn is_plain(&self) -> bool {
        self.root.url.scheme() == "http"
    }

    /// Whether `url` is at this host.
    pub(super) fn holds(&self, url: &Url) -> bool {
        same_origin(&self.root.url, url)
    }

    /// What `url` is called in errors: host and path.
    pub(super) fn endpoint(&self, url: &Url) -> String {
        let mirror =
            if self.mirrored && self.holds(url) { format!(" (mirror of {})", self.registry) } else { String::new() };
        format!("{}{}{mirror}", authority_text(url), url.path())
    }
}

/// Host and port of `url`, as an error shows them.
pub(super) fn authority_text(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn authority(url: &Url) -> Option<(String, u16)> {
    Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
}

fn registry_of(url: &Url) -> Option<Registry> {
    authority_text(url).parse().ok()
}
