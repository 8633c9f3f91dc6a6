//! Evidence as it was found: parsed, still untrusted.
//!
//! Legacy cosign layers and Sigstore bundles become one shape here, so that verification has one
//! path. What cannot be brought into that shape is a [`Rejection`], never silently left out.

mod bundle;
mod cosign;
mod statement;

use bytes::Bytes;
use sigstore_types::Bundle;

pub use bundle::{from_bundle, is_bundle_media_type};
pub(crate) use cosign::logged_envelope_sha256;
pub use cosign::{
    DSSE_MEDIA_TYPE, SIMPLE_SIGNING_MEDIA_TYPE, canonical_payload, from_legacy_attestation, from_legacy_signature,
};
pub use statement::{COSIGN_SIGN_PREDICATE, Statement};

use crate::{
    image::{Digest, PinnedImage},
    verify::Rejection,
};

/// Most log entries, and most timestamps, of one piece of evidence. Real ones have one or two.
pub const MAX_LOG_ENTRIES: usize = 16;
/// Most subjects of one statement. A build that makes many artifacts at once has hundreds.
pub const MAX_SUBJECTS: usize = 1_024;
/// Most certificates of one chain.
pub const MAX_CHAIN: usize = 10;

/// How a piece of evidence was stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// A layer under the tag `sha256-<hex>.sig`, or of an OCI 1.1 legacy artifact.
    LegacySignature,
    /// A layer under the tag `sha256-<hex>.att`.
    LegacyAttestation,
    /// A Sigstore bundle in a referrer.
    Bundle,
}

impl Format {
    /// A word for it, as in messages and JSON output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LegacySignature => "legacy-signature",
            Self::LegacyAttestation => "legacy-attestation",
            Self::Bundle => "bundle",
        }
    }
}

/// Where a piece of evidence came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// How it was stored.
    pub format: Format,
    /// Digest of the layer that holds it.
    pub digest: Digest,
}

/// What a piece of evidence says of the image.
#[derive(Clone, Debug)]
pub enum Content {
    /// A simple-signing payload, signed as it stands.
    SimpleSigning {
        /// The signed bytes.
        payload: Bytes,
        /// `critical.image.docker-manifest-digest`.
        manifest_digest: String,
    },
    /// An in-toto statement in a DSSE envelope.
    Statement {
        /// What was parsed of the payload.
        statement: Statement,
        /// The signed payload.
        payload: Bytes,
        /// SHA-256 of the envelope as stored, hex: legacy log entries name it.
        envelope_sha256: Option<String>,
    },
}

/// One piece of evidence, of one signer.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Where it came from.
    pub origin: Origin,
    /// What it says.
    pub content: Content,
    /// Signature, certificate or key hint, log entries and timestamps, in the form that is verified.
    pub bundle: Bundle,
}

/// A piece that could not be read, with the place it came from.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// Where it came from.
    pub origin: Origin,
    /// What is wrong with it.
    pub rejection: Rejection,
}

impl Evidence {
    /// Whether it claims to be a signature of the image and not an attestation about it.
    #[must_use]
    pub fn is_signature(&self) -> bool {
        match &self.content {
            Content::SimpleSigning { .. } => true,
            Content::Statement { statement, .. } => statement.predicate_type == COSIGN_SIGN_PREDICATE,
        }
    }

    /// The predicate type of an attestation, `None` for a signature.
    #[must_use]
    pub fn predicate_type(&self) -> Option<&str> {
        match &self.content {
            Content::Statement { statement, .. } if !self.is_signature() => Some(&statement.predicate_type),
            _ => None,
        }
    }

    /// Whether it names `image`, and the name that it has instead where it does not.
    ///
    /// # Errors
    /// The digests that it names.
    pub fn names(&self, image: &PinnedImage) -> Result<(), String> {
        match &self.content {
            Content::SimpleSigning { manifest_digest, .. } if manifest_digest == image.digest.as_str() => Ok(()),
            Content::SimpleSigning { manifest_digest, .. } => Err(manifest_digest.clone()),
            Content::Statement { statement, .. } => statement.names(&image.digest),
        }
    }

    /// The signed payload.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        match &self.content {
            Content::SimpleSigning { payload, .. } | Content::Statement { payload, .. } => payload.clone(),
        }
    }
}
