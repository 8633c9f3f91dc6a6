//! Registries over HTTP (OCI distribution-spec 1.1): the read path alone.
//!
//! Nothing that a registry sends is trusted: bodies are capped and hashed while they arrive, redirects and
//! token endpoints are checked before they are followed, and every call ends by its deadline. Connections,
//! tokens and the way in which a registry asks for credentials are kept, so that a call on a warm registry
//! costs one round trip.

mod address;
mod body;
mod client;
mod exchange;
mod host;
mod link;
mod options;
mod redirect;
mod referrers;
mod stats;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::sync::Cache;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use tokio::time::{Instant, timeout_at};

pub use client::HttpOptionsError;
pub use options::{HttpOptions, Mirror, MirrorError, PrivateAddresses, Proxy};
pub use stats::{HttpCounts, HttpStats};

use self::{
    client::Clients,
    exchange::{Place, Target, Want},
    host::{Directory, Host},
};
use super::{
    BoxFuture, Call, Caps, Descriptor, FetchError, FetchErrorKind, Manifest, OciSource, Pointer, Referrers,
    auth::{Credentials, Tokens},
};
use crate::image::{Algorithm, Digest, Registry, Repository};

/// Registries remembered at a time.
const HOSTS: usize = 1024;

const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
const ANY_TYPE: &str = "*/*";

/// All registries, over HTTP. Clones share connections, tokens and counters.
#[derive(Clone)]
pub struct HttpSource {
    shared: Arc<Shared>,
    credentials: Credentials,
}

struct Shared {
    directory: Directory,
    clients: Clients,
    caps: Caps,
    stats: HttpStats,
    hosts: Cache<Registry, Arc<Host>>,
    tokens: Tokens,
}

impl HttpSource {
    /// A source with these options. Nothing is sent, and no file read but those with certificates.
    ///
    /// # Errors
    /// [`HttpOptionsError`] when the options contradict each other or a file with certificates cannot be used.
    pub fn new(options: &HttpOptions) -> Result<Self, HttpOptionsError> {
        let shared = Shared {
            directory: Directory::new(options)?,
            clients: Clients::new(options)?,
            caps: options.caps,
            stats: HttpStats::default(),
            hosts: Cache::new(HOSTS),
            tokens: Tokens::new(),
        };
        Ok(Self { shared: Arc::new(shared), credentials: options.credentials.clone() })
    }

    /// The same source with other credentials: connections are shared, tokens are not.
    #[must_use]
    pub fn with_credentials(&self, credentials: Credentials) -> Self {
        Self { shared: Arc::clone(&self.shared), credentials }
    }

    /// What was sent so far.
    #[must_use]
    pub fn stats(&self) -> &HttpStats {
        &self.shared.stats
    }

    async fn target(&self, repository: &Repository) -> Result<Target, FetchError> {
        let registry = repository.registry();
        let host = match self.shared.hosts.get(registry) {
            Some(host) => host,
            None => self.shared.hosts.get_or_insert_with(registry, || {
                let host = self.shared.directory.host(registry);
                host.map(Arc::new).ok_or_else(|| FetchError {
                    endpoint: registry.to_string(),
                    kind: FetchErrorKind::Refused("no URL can be made of it".to_owned()),
                })
            })?,
        };
        let path = host.path(repository.path());
        let found = self.credentials.find(&host.credentials, &path).await;
        Ok(Target { host, path, found })
    }

    async fn fetch_manifest(
        &self,
        repository: &Repository,
        pointer: &Pointer,
        call: &Call,
    ) -> Result<Option<Manifest>, FetchError> {
        let target = self.target(repository).await?;
        let (name, algorithm) = match pointer {
            Pointer::Tag(tag) => (tag.as_str(), Algorithm::Sha256),
            Pointer::Digest(digest) => (digest.as_str(), digest.algorithm()),
        };
        let want = Want {
            url: target.url("manifests", name)?,
            accept: MANIFEST_TYPES,
            max_bytes: self.shared.caps.manifest_bytes,
            algorithm: Some(algorithm),
            // Twice: what is parsed of it lives beside it.
            weight: 2,
            call: call.clone(),
        };
        let answer = self.ask(&target, &want).await?;
        let error = |kind| target.error(&want.url, kind);
        let Some(body) = answer.body else {
            // A place that the registry led to says nothing about what the registry has.
            let is_word = !matches!(answer.place, Place::Elsewhere | Place::SameQuestion { not_found: false });
            return if answer.status == 404 && is_word {
                Ok(None)
            } else {
                Err(error(FetchErrorKind::Status(answer.status)))
            };
        };
        let found = body.digest.unwrap_or_else(|| Digest::of_with(algorithm, &body.bytes));
        if let Pointer::Digest(expected) = pointer
            && *expected != found
        {
            return Err(error(FetchErrorKind::DigestMismatch { expected: expected.clone(), found }));
        }
        check_announced(&answer.headers, &found, &body.bytes).map_err(error)?;
        check_is_manifest(&answer.headers, &body.bytes).map_err(error)?;
        Ok(Some(Manifest { digest: found, bytes: body.bytes }))
    }

    async fn fetch_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        max_bytes: u64,
        call: &Call,
    ) -> Result<Bytes, FetchError> {
        let target = self.target(repository).await?;
        let want = Want {
            url: target.url("blobs", descriptor.digest.as_str())?,
            accept: ANY_TYPE,
            max_bytes: descriptor.size,
            algorithm: Some(descriptor.digest.algorithm()),
            weight: 1,
            call: call.clone(),
        };
        let error = |kind| target.error(&want.url, kind);
        if descriptor.size > max_bytes {
            return Err(error(FetchErrorKind::TooLarge { max_bytes }));
        }
        let answer = self.ask(&target, &want).await?;
        let body = answer.body.ok_or_else(|| error(FetchErrorKind::Status(answer.status)))?;
        if body.bytes.len() as u64 != descriptor.size {
            let why = format!("{} bytes, its descriptor says {}", body.bytes.len(), descriptor.size);
            return Err(error(FetchErrorKind::Protocol(why)));
        }
        match body.digest {
            Some(found) if found != descriptor.digest => {
                let expected = descriptor.digest.clone();
                Err(error(FetchErrorKind::DigestMismatch { expected, found }))
            }
            Some(_) => Ok(body.bytes),
            None => Err(error(FetchErrorKind::Protocol("bytes without a digest".to_owned()))),
        }
    }

    /// Runs `work` until `deadline`.
    async fn until<T>(
        &self,
        deadline: Instant,
        repository: &Repository,
        what: &str,
        work: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        let started = Instant::now();
        let timeout = |waited| FetchError {
            endpoint: format!("{repository} ({what})"),
            kind: FetchErrorKind::Timeout { waited },
        };
        if started >= deadline {
            return Err(timeout(std::time::Duration::ZERO));
        }
        timeout_at(deadline, work).await.unwrap_or_else(|_| Err(timeout(started.elapsed())))
    }
}

impl OciSource for HttpSource {
    fn manifest<'a>(
        &'a self,
        repository: &'a Repository,
        pointer: &'a Pointer,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Option<Manifest>, FetchError>> {
        let work = self.fetch_manifest(repository, pointer, call);
        Box::pin(self.until(call.deadline, repository, "manifest", work))
    }

    fn referrers<'a>(
        &'a self,
        repository: &'a Repository,
        digest: &'a Digest,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Referrers, FetchError>> {
        let work = self.fetch_referrers(repository, digest, call);
        Box::pin(self.until(call.deadline, repository, "referrers", work))
    }

    fn blob<'a>(
        &'a self,
        repository: &'a Repository,
        descriptor: &'a Descriptor,
        max_bytes: u64,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        if descriptor.size <= max_bytes
            && let Some(bytes) = descriptor.embedded()
        {
            return Box::pin(std::future::ready(Ok(bytes)));
        }
        let work = self.fetch_blob(repository, descriptor, max_bytes, call);
        Box::pin(self.until(call.deadline, repository, "blob", work))
    }
}

/// The digest that the registry gives, where it gives one, has to be that of the bytes.
fn check_announced(headers: &HeaderMap, found: &Digest, bytes: &[u8]) -> Result<(), FetchErrorKind> {
    for header in headers.get_all("docker-content-digest") {
        let expected: Digest =
            header.to_str().ok().and_then(|text| text.trim().parse().ok()).ok_or_else(|| {
                FetchErrorKind::Protocol("its Docker-Content-Digest header is not a digest".to_owned())
            })?;
        if expected != *found {
            let found = Digest::of_with(expected.algorithm(), bytes);
            if expected != found {
                return Err(FetchErrorKind::DigestMismatch { expected, found });
            }
        }
    }
    Ok(())
}

/// A page for people with status 200 must not pass for an image that nobody has signed.
fn check_is_manifest(headers: &HeaderMap, bytes: &[u8]) -> Result<(), FetchErrorKind> {
    let media_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if media_type.starts_with(b"application/vnd.docker.distribution.manifest.v1+") {
        return Err(FetchErrorKind::Protocol("a manifest of the obsolete schema 1".to_owned()));
    }
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(FetchErrorKind::Protocol("a manifest that is not a JSON object".to_owned()));
    }
    Ok(())
}
