//! What an operator decides about registries.

use std::{collections::HashSet, num::NonZeroUsize, path::PathBuf, str::FromStr, time::Duration};

use reqwest::Url;

use crate::{
    image::Registry,
    registry::{Caps, auth::Credentials},
};

/// Everything that [`super::HttpSource`] needs to know. There is no default: each choice is the caller's.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Registries that are read from elsewhere.
    pub mirrors: Vec<Mirror>,
    /// Registries that are asked over plain HTTP. Their address may be any.
    pub plain_http: Vec<Registry>,
    /// Hosts, with port where it is not 443, whose address may be any: a registry on a loopback address, or
    /// the place that a registry's redirects or token endpoint lead to.
    pub allowed_hosts: Vec<Registry>,
    /// Registries at private addresses.
    pub private: PrivateAddresses,
    /// PEM files with certificate authorities, in addition to the system's and Mozilla's.
    pub ca_files: Vec<PathBuf>,
    /// Where credentials are looked up.
    pub credentials: Credentials,
    /// Whether a proxy is used.
    pub proxy: Proxy,
    /// How much may be read.
    pub caps: Caps,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// How long making one connection may take, TLS included.
    pub connect_timeout: Duration,
    /// Idle connections kept, per host.
    pub idle_connections: usize,
    /// Requests to one registry at a time.
    pub concurrency: NonZeroUsize,
}

/// Registries at private addresses: RFC 1918, shared address space, unique local addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PrivateAddresses {
    /// Any registry may be at one.
    Allow,
    /// These alone may be, by their canonical name.
    Only(HashSet<Registry>),
}

/// Whether requests go through a proxy. A proxy resolves names itself, so that the rule about addresses
/// then holds only for hosts that are written as an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proxy {
    /// Never.
    Direct,
    /// As `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say; never for this host itself.
    FromEnvironment,
}

/// A registry that is read from another place, written `HOST=URL`.
///
/// A path in the URL is put before each repository (`https://harbor.corp/ghcr` reads `ghcr.io/org/app` at
/// `/v2/ghcr/org/app`); a path that has a segment `v2` is the API's root, as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mirror {
    pub(super) registry: Registry,
    pub(super) root: Root,
}

/// Where a registry's API is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Root {
    /// Scheme, host and the path up to and with `v2/`.
    pub url: Url,
    /// What is put before repository names: empty, or with a slash at its end.
    pub prefix: String,
}

/// Why a text is not a mirror.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("mirror {found:?} is not HOST=URL: {why}")]
pub struct MirrorError {
    found: String,
    why: &'static str,
}

impl Mirror {
    /// The registry that is read from elsewhere.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, MirrorError> {
        // The URL may hold a password by mistake, which must not be repeated.
        let (host, url) = text.split_once('=').unwrap_or((text, ""));
        let invalid = |why| MirrorError { found: format!("{host}=..."), why };
        let registry = host.parse().map_err(|_| invalid("the part before `=` is not a registry"))?;
        let url = Url::parse(url).map_err(|_| invalid("the part after `=` is not a URL"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(invalid("the URL has to start with http:// or https:// and a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("credentials belong into the docker configuration, not into the URL"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("the URL has a query or a fragment"));
        }
        Ok(Self { registry, root: Root::of(url) })
    }
}

impl Root {
    fn of(mut url: Url) -> Self {
        let path = url.path().trim_matches('/').to_owned();
        let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let (root, prefix) = match segments.iter().position(|segment| *segment == "v2") {
            Some(at) => segments.split_at(at + 1),
            None => (&["v2"][..], &segments[..]),
        };
        url.set_path(&format!("/{}/", root.join("/")));
        let prefix = prefix.iter().flat_map(|segment| [segment, "/"]).collect();
        Self { url, prefix }
    }

    /// The API of `registry` itself.
    pub(super) fn direct(registry: &Registry, plain_http: bool) -> Option<Self> {
        let host = match registry.as_str() {
            "docker.io" => "registry-1.docker.io",
            host => host,
        };
        let scheme = if plain_http { "http" } else { "https" };
        let url = Url::parse(&format!("{scheme}://{host}/v2/")).ok()?;
        Some(Self { url, prefix: String::new() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn root(text: &str) -> (String, String, String) {
        let mirror: Mirror = text.parse().unwrap();
        (mirror.registry.to_string(), mirror.root.url.into(), mirror.root.prefix)
    }

    #[test]
    fn a_mirror_has_a_root_and_a_prefix() {
        for (text, registry, url, prefix) in [
            ("ghcr.io=http://127.0.0.1:5000", "ghcr.io", "http://127.0.0.1:5000/v2/", ""),
            ("GHCR.IO:443=https://m.corp/", "ghcr.io", "https://m.corp/v2/", ""),
            ("index.docker.io=https://m.corp/hub", "docker.io", "https://m.corp/v2/", "hub/"),
            ("ghcr.io=https://m.corp/v2/a/b/", "ghcr.io", "https://m.corp/v2/", "a/b/"),
            ("ghcr.io=https://m.corp/api/docker/x/v2", "ghcr.io", "https://m.corp/api/docker/x/v2/", ""),
            ("ghcr.io=http://[::1]:5000/a//b", "ghcr.io", "http://[::1]:5000/v2/", "a/b/"),
        ] {
            assert_eq!(root(text), (registry.to_owned(), url.to_owned(), prefix.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_mirror_is_an_error_without_the_url() {
        for text in [
            "",
            "ghcr.io",
            "ghcr.io=",
            "=http://x",
            "ghcr.io=m.corp",
            "ghcr.io=file:///x",
            "ghcr.io=https://u:hunter2@m.corp",
            "ghcr.io=https://m.corp/?hunter2",
            "a/b=https://m.corp",
        ] {
            let error = text.parse::<Mirror>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_registry_is_asked_at_its_own_host() {
        let direct = |name: &str, plain| Root::direct(&name.parse().unwrap(), plain).map(|root| root.url.to_string());
        assert_eq!(direct("docker.io", false).as_deref(), Some("https://registry-1.docker.io/v2/"));
        assert_eq!(direct("localhost:5000", false).as_deref(), Some("https://localhost:5000/v2/"));
        assert_eq!(direct("localhost:5000", true).as_deref(), Some("http://localhost:5000/v2/"));
        assert_eq!(direct("[::1]:5000", false).as_deref(), Some("https://[::1]:5000/v2/"));
    }
}
