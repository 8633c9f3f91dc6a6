//! Where images and their evidence are read from: OCI registries and OCI layouts on disk.
//!
//! Everything that comes through here is untrusted. A source checks that bytes hash to the digest by
//! which they were asked for, keeps to the caps and the deadline, and tells "there is none" apart
//! from "could not be read".

pub mod auth;
mod budget;
pub mod discovery;
pub mod http;
pub mod layout;
mod manifest;
mod memory;

use std::{future::Future, pin::Pin, time::Duration};

use bytes::Bytes;

pub use budget::Caps;
pub use discovery::{Gathered, gather, resolve};

pub use manifest::{Descriptor, Entries, Manifest, ManifestError};
pub use memory::{Call, Held, Memory, Reading};

use crate::image::{Digest, Repository, Tag};

/// A boxed future, for the one trait of this crate that needs dynamic dispatch.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a manifest is asked for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Pointer {
    /// By tag: the registry says what it points to.
    Tag(Tag),
    /// By digest: the bytes must hash to it.
    Digest(Digest),
}

/// What the referrers API said of a digest (OCI distribution-spec 1.1, "Listing Referrers").
#[derive(Clone, Debug)]
pub enum Referrers {
    /// The registry has no such API: the fallback tag holds what there is.
    Unsupported,
    /// All pages, within the caps.
    Listed(Vec<Descriptor>),
}

/// A place that holds manifests and blobs. The HTTP registry and the layout on disk implement it.
///
/// Every call ends by its deadline, and charges what it reads to its share of memory.
pub trait OciSource: Send + Sync + 'static {
    /// The manifest that `pointer` names, `None` where the source says that there is none.
    ///
    /// # Errors
    /// [`FetchError`] whenever the source did not give a usable answer.
    fn manifest<'a>(
        &'a self,
        repository: &'a Repository,
        pointer: &'a Pointer,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Option<Manifest>, FetchError>>;

    /// The descriptors of the manifests whose `subject` is `digest`.
    ///
    /// # Errors
    /// [`FetchError`] whenever the source did not give a usable answer.
    fn referrers<'a>(
        &'a self,
        repository: &'a Repository,
        digest: &'a Digest,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Referrers, FetchError>>;

    /// The blob that `descriptor` names: exactly its size, hashing to its digest.
    ///
    /// # Errors
    /// [`FetchError`] whenever the source did not give those bytes. `max_bytes` is checked against the
    /// descriptor's size before anything is sent.
    fn blob<'a>(
        &'a self,
        repository: &'a Repository,
        descriptor: &'a Descriptor,
        max_bytes: u64,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Bytes, FetchError>>;
}

/// Why a source gave no usable answer. This is "don't know", never "no": see [`crate::decision::Verdict`].
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("{endpoint}: {kind}")]
pub struct FetchError {
    /// What was asked: host and path, without credentials or query.
    pub endpoint: String,
    /// What happened.
    pub kind: FetchErrorKind,
}

/// The kinds of [`FetchError`].
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum FetchErrorKind {
    /// No connection, or one that broke: refused, reset, name not found, TLS failure.
    #[error("could not be reached: {0}")]
    Unreachable(String),
    /// No complete answer before the deadline.
    #[error("did not answer within {} ms", .waited.as_millis())]
    Timeout {
        /// How long was waited.
        waited: Duration,
    },
    /// 401, also after a token was asked for.
    #[error("answered 401 Unauthorized{}", credentials(.0))]
    Unauthorized(CredentialsUsed),
    /// 403.
    #[error("answered 403 Forbidden{}", credentials(.0))]
    Forbidden(CredentialsUsed),
    /// 429, and the wait that it asked for does not fit into the deadline.
    #[error("answered 429 Too Many Requests")]
    RateLimited,
    /// Any other status that is not an answer to the question.
    #[error("answered status {0}")]
    Status(u16),
    /// There is no such image.
    #[error("has no such image (404)")]
    NotFound,
    /// The body is larger than the cap.
    #[error("sent more than the {max_bytes} bytes allowed here")]
    TooLarge {
        /// The cap, in bytes.
        max_bytes: u64,
    },
    /// The bytes do not hash to the digest by which they were asked for, or that the registry gave
    /// (CVE-2023-47630).
    #[error("sent bytes with digest {found}, expected {expected}")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What the bytes hash to.
        found: Digest,
    },
    /// An answer that does not follow the protocol.
    #[error("sent an answer that cannot be used: {0}")]
    Protocol(String),
    /// More of something than is read.
    #[error("has {found} {what} for this image, at most {max} are read")]
    TooMany {
        /// `referrers`, `layers`, `pieces of evidence`.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many are read.
        max: usize,
    },
    /// The memory set aside for evidence is in use.
    #[error("is not read now: the evidence of other images fills the memory that is set aside for it; try again")]
    Busy,
    /// An address, redirect or token endpoint that must not be followed.
    #[error("is refused: {0}")]
    Refused(String),
}

/// Which credentials a refused request carried, for the denial's text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CredentialsUsed {
    /// None were known for that registry.
    Anonymous,
    /// From the named source, e.g. `docker config /path/config.json`.
    From(String),
}

fn credentials(used: &CredentialsUsed) -> String {
    match used {
        CredentialsUsed::Anonymous => " (no credentials are set for it)".to_owned(),
        CredentialsUsed::From(source) => format!(" (credentials from {source})"),
    }
}

impl FetchErrorKind {
    /// Whether another try, at once, may come to something else.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_) | Self::Timeout { .. } | Self::RateLimited | Self::Status(500..) | Self::Busy
        )
    }

    /// The stable reason code: the same in messages, metrics and reports.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "RegistryUnreachable",
            Self::Timeout { .. } => "Timeout",
            Self::Unauthorized(_) => "RegistryUnauthorized",
            Self::Forbidden(_) => "RegistryForbidden",
            Self::RateLimited => "RegistryRateLimited",
            Self::Status(_) => "RegistryError",
            Self::NotFound => "ImageNotFound",
            Self::TooLarge { .. } | Self::TooMany { .. } => "ResponseTooLarge",
            Self::Busy => "Overloaded",
            Self::DigestMismatch { .. } => "ContentDigestMismatch",
            Self::Protocol(_) => "RegistryProtocolError",
            Self::Refused(_) => "RegistryRefused",
        }
    }
}
