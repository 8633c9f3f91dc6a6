//! Trust roots: which certificate authorities, logs and timestamp authorities are believed.

use std::fmt;

use jiff::Timestamp;
use sigstore_trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};
use sigstore_types::TimeRange;
use sigstore_verify::Verifier;
use x509_cert::{Certificate, der::Decode as _};

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
        let mut root = root;
        for authority in &mut root.certificate_authorities {
            authority.valid_for = narrowed(
                authority.valid_for,
                authority.cert_chain.certificates.iter().map(|entry| entry.raw_bytes.as_bytes()),
            )?;
        }
        for authority in &mut root.timestamp_authorities {
            authority.valid_for = narrowed(
                authority.valid_for,
                authority.cert_chain.certificates.iter().map(|entry| entry.raw_bytes.as_bytes()),
            )?;
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

/// An authority vouches for nothing outside the validity of its own certificates (CVE-2026-24122). The
/// verifier takes every certificate of the trust root as an anchor and looks at the window alone, so the
/// window is narrowed to what all of them allow.
fn narrowed<'a>(
    mut window: Option<TimeRange>,
    certificates: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<TimeRange>, TrustError> {
    for certificate in certificates {
        let invalid = |error: &dyn fmt::Display| TrustError::Invalid(format!("certificate of an authority: {error}"));
        let parsed = Certificate::from_der(certificate).map_err(|error| invalid(&error))?;
        let validity = parsed.tbs_certificate.validity;
        let time = |time: x509_cert::time::Time| {
            let seconds = time.to_unix_duration().as_secs();
            Timestamp::from_second(i64::try_from(seconds).unwrap_or(i64::MAX)).map_err(|error| invalid(&error))
        };
        let (start, end) = (time(validity.not_before)?, time(validity.not_after)?);
        let start = window.as_ref().map_or(start, |window| window.start.max(start));
        let end = window.as_ref().and_then(|window| window.end).map_or(end, |known| known.min(end));
        window = Some(TimeRange::new(start, Some(end)));
    }
    Ok(window)
}

impl fmt::Debug for TrustRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustRoot")
            .field("logs", &self.logs)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
