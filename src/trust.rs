//! Trust roots: which certificate authorities, logs and timestamp authorities are believed.

use std::fmt;

use sigstore_trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};
use sigstore_verify::Verifier;

use crate::image::Digest;

/// An immutable trust root, ready to verify with.
pub struct TrustRoot {
    verifier: Verifier,
    logs: Vec<String>,
    generation: Digest,
}

/// Why a trust root cannot be used.
#[derive(thiserror::Error, Debug)]
pub enum TrustError {
    /// Not a `trusted_root.json` of a version that is understood.
    #[error("trust root is not valid: {0}")]
    Invalid(String),
    /// It lists nothing that a keyless signature could be verified with.
    #[error("trust root has no {0}")]
    Lacks(&'static str),
}

impl TrustRoot {
    /// The public-good instance's trust root, as embedded at build time.
    pub fn public_good() -> Result<Self, TrustError> {
        Self::from_json(SIGSTORE_PRODUCTION_TRUSTED_ROOT)
    }

    /// Reads a `trusted_root.json` (protobuf-specs, `TrustedRoot` 0.1 or 0.2).
    pub fn from_json(json: &str) -> Result<Self, TrustError> {
        let invalid = |error: &dyn fmt::Display| TrustError::Invalid(error.to_string());
        let root = TrustedRoot::from_json(json).map_err(|error| invalid(&error))?;
        if root.tlogs.is_empty() {
            return Err(TrustError::Lacks("transparency log"));
        }
        let verifier = Verifier::new(&root).map_err(|error| invalid(&error))?;
        let logs = root.tlogs.iter().map(|log| log.base_url.clone()).collect();
        Ok(Self { verifier, logs, generation: Digest::of(json.as_bytes()) })
    }

    /// Base URLs of its transparency logs.
    #[must_use]
    pub fn logs(&self) -> &[String] {
        &self.logs
    }

    /// What it is, for the key of a cached verdict: the digest of its JSON.
    #[must_use]
    pub const fn generation(&self) -> &Digest {
        &self.generation
    }

    pub(crate) const fn verifier(&self) -> &Verifier {
        &self.verifier
    }
}

impl fmt::Debug for TrustRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustRoot").field("logs", &self.logs).field("generation", &self.generation).finish_non_exhaustive()
    }
}
