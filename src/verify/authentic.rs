//! Steps 2 to 7: evidence is authentic when signature, certificate, log and time all hold and it names
//! the image. Who signed is looked at afterwards.
//!
//! The cryptography is that of `sigstore-verify`; it is asked for any identity, and what it verified is
//! asserted here, so that a relaxed default of the library cannot pass for a check.

use jiff::Timestamp;
use sigstore_types::{
    Artifact, ArtifactDigest, HashAlgorithm, KindVersion, TransparencyLogEntry, VerificationMaterialContent,
};
use sigstore_verify::{
    CertificateError, Error, PublicKeyVerificationPolicy, TimestampError, TransparencyLogError, VerificationPolicy,
    VerificationResult,
};

use super::Rejection;
use crate::{
    evidence::{Content, Evidence, logged_envelope_sha256},
    image::{Algorithm, PinnedImage},
    policy::PublicKey,
    trust::TrustRoot,
};

/// Who made a signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Signer {
    /// The holder of a short-lived certificate.
    Certificate {
        /// The OIDC issuer (Fulcio extension 1.3.6.1.4.1.57264.1.1 or .1.8).
        issuer: String,
        /// The subject alternative name.
        subject: String,
    },
    /// The holder of a key.
    Key {
        /// SHA-256 of its public half in SPKI form, hex.
        fingerprint: String,
    },
}

impl std::fmt::Display for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Certificate { issuer, subject } => write!(f, "{subject} (issuer {issuer})"),
            Self::Key { fingerprint } => write!(f, "key sha256:{fingerprint}"),
        }
    }
}

/// Evidence that is authentic, whoever signed it.
#[derive(Clone, Debug)]
pub struct Authentic {
    /// Who signed it.
    pub signer: Signer,
    /// When it was signed: the earliest verified time. `None` for a key signature without one.
    pub signed_at: Option<Timestamp>,
    /// Its index in the transparency log.
    pub log_index: Option<u64>,
    /// The predicate type of an attestation.
    pub predicate_type: Option<String>,
    /// The signed payload.
    pub payload: bytes::Bytes,
}

/// Checks evidence that is signed with a certificate.
pub(super) fn keyless(
    image: &PinnedImage,
    evidence: &Evidence,
    trust: &TrustRoot,
    now: Timestamp,
) -> Result<Authentic, Rejection> {
    if matches!(evidence.bundle.verification_material.content, VerificationMaterialContent::PublicKey(_)) {
        return Err(Rejection::SignerKindMismatch { expected: "a certificate", found: "a key" });
    }
    let result = check(image, evidence, trust, &VerificationPolicy::any_identity())?;
    if !(result.certificate_verified() && result.sct_verified() && result.tlog_verified()) {
        return Err(Rejection::Unsupported("certificate, SCT and log were not all verified".to_owned()));
    }
    let subject = result.identity().map(ToString::to_string).filter(|subject| !subject.is_empty());
    let issuer = result.issuer().map(str::to_owned).filter(|issuer| !issuer.is_empty());
    let (Some(subject), Some(issuer)) = (subject, issuer) else { return Err(Rejection::IdentityMissing) };
    authentic(evidence, &result, Signer::Certificate { issuer, subject }, now)
}

/// Checks evidence that is signed with `key`.
pub(super) fn with_key(
    image: &PinnedImage,
    evidence: &Evidence,
    key: &PublicKey,
    trust: &TrustRoot,
    now: Timestamp,
) -> Result<Authentic, Rejection> {
    if !matches!(evidence.bundle.verification_material.content, VerificationMaterialContent::PublicKey(_)) {
        return Err(Rejection::SignerKindMismatch { expected: "a key", found: "a certificate" });
    }
    let spki = sigstore_types::DerPublicKey::from_bytes(key.der());
    let result = check(image, evidence, trust, &PublicKeyVerificationPolicy::new(spki))?;
    if !result.tlog_verified() {
        return Err(Rejection::LogEntryMissing("log inclusion was not verified".to_owned()));
    }
    let fingerprint = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.der()));
    authentic(evidence, &result, Signer::Key { fingerprint }, now)
}

/// Steps 2 to 7.
fn check(
    image: &PinnedImage,
    evidence: &Evidence,
    trust: &TrustRoot,
    policy: &dyn sigstore_verify::Policy,
) -> Result<VerificationResult, Rejection> {
    // Step 7 first, for it is the cheapest: what names another image cannot pass.
    evidence.names(image).map_err(|found| Rejection::PayloadMismatch { expected: image.digest.clone(), found })?;
    let entries = &evidence.bundle.verification_material.tlog_entries;
    if entries.iter().any(|entry| entry.inclusion_promise.is_none() && entry.inclusion_proof.is_none()) {
        return Err(Rejection::LogEntryMissing("an entry has neither promise nor proof".to_owned()));
    }
    let artifact = match &evidence.content {
        Content::SimpleSigning { payload, .. } => Artifact::from_blob(payload),
        Content::Statement { .. } => Artifact::from_digest(artifact_digest(image)?),
    };
    let result = trust.verifier().verify(artifact, &evidence.bundle, policy).map_err(|error| {
        let rejection = rejection(error);
        expired(evidence).filter(|_| matches!(rejection, Rejection::CertificateUntrusted(_))).unwrap_or(rejection)
    })?;
    check_envelope_hash(evidence)?;
    Ok(result)
}

/// Step 5, the part that the library leaves out: a legacy attestation is stored as it was logged, so the
/// log's hash of the whole envelope must be that of the layer.
fn check_envelope_hash(evidence: &Evidence) -> Result<(), Rejection> {
    let Content::Statement { envelope_sha256: Some(stored), .. } = &evidence.content else { return Ok(()) };
    for entry in &evidence.bundle.verification_material.tlog_entries {
        if entry.kind_version != KindVersion::DsseV001 {
            continue;
        }
        let logged = logged_envelope_sha256(entry.canonicalized_body.as_bytes())
            .ok_or_else(|| Rejection::LogEntryMalformed("the entry has no envelope hash".to_owned()))?;
        if logged != *stored {
            return Err(Rejection::LogEntryMismatch(format!("the log has envelope {logged}, the layer is {stored}")));
        }
    }
    Ok(())
}

fn artifact_digest(image: &PinnedImage) -> Result<ArtifactDigest, Rejection> {
    let algorithm = match image.digest.algorithm() {
        Algorithm::Sha256 => HashAlgorithm::Sha2256,
        Algorithm::Sha512 => HashAlgorithm::Sha2512,
    };
    let bytes = hex::decode(image.digest.hex()).map_err(|error| Rejection::Malformed(error.to_string()))?;
    ArtifactDigest::new(algorithm, sigstore_types::DigestBytes::new(bytes))
        .map_err(|error| Rejection::Malformed(error.to_string()))
}

fn authentic(
    evidence: &Evidence,
    result: &VerificationResult,
    signer: Signer,
    now: Timestamp,
) -> Result<Authentic, Rejection> {
    let times = result.verified_timestamps();
    if let Some(future) = times.iter().find(|time| **time > now) {
        return Err(Rejection::IntegratedTimeInvalid(format!("signed at {future}, and it is {now}")));
    }
    Ok(Authentic {
        signer,
        signed_at: times.iter().min().copied(),
        log_index: evidence.bundle.verification_material.tlog_entries.first().and_then(log_index),
        predicate_type: evidence.predicate_type().map(str::to_owned),
        payload: evidence.payload(),
    })
}

/// The entry's index, as far as the log vouched for it: a v1 promise covers it, a v2 proof uses it, and a v1 proof has
/// one of its own tree.
fn log_index(entry: &TransparencyLogEntry) -> Option<u64> {
    if entry.inclusion_promise.is_some() || entry.kind_version == KindVersion::HashedRekordV002 {
        return Some(entry.log_index.get());
    }
    entry.inclusion_proof.as_ref().map(|proof| proof.log_index.get())
}

/// A more telling reason for a chain that does not verify: the log's time lies outside the certificate's validity.
fn expired(evidence: &Evidence) -> Option<Rejection> {
    let certificate = sigstore_crypto::x509::parse_certificate_info(evidence.bundle.signing_certificate()?).ok()?;
    let entries = &evidence.bundle.verification_material.tlog_entries;
    let outside = |time: &Timestamp| *time < certificate.not_before || *time > certificate.not_after;
    let time = entries.iter().filter_map(|entry| entry.integrated_time).find(outside)?;
    let (from, to) = (certificate.not_before, certificate.not_after);
    Some(Rejection::CertificateExpired(format!("signed at {time}, the certificate is valid from {from} to {to}")))
}

/// The library's error as one of our reasons.
fn rejection(error: Error) -> Rejection {
    use sigstore_verify::bundle::Error as Structure;
    let text = error.to_string();
    match error {
        Error::SignatureInvalid(detail) | Error::ArtifactMismatch(detail) => Rejection::SignatureInvalid(detail),
        Error::Certificate(error) => match error {
            CertificateError::Malformed(detail) => Rejection::CertificateMalformed(detail),
            CertificateError::NotYetValid { .. } | CertificateError::Expired { .. } => {
                Rejection::CertificateExpired(text)
            }
            CertificateError::Sct(detail) => Rejection::SctInvalid(detail),
            _ => Rejection::CertificateUntrusted(text),
        },
        Error::TransparencyLog(error) => match error {
            TransparencyLogError::UnknownLog { log_id } => Rejection::LogUnknown(log_id),
            TransparencyLogError::InclusionProof(detail) => Rejection::InclusionProofInvalid(detail),
            TransparencyLogError::Checkpoint(detail) => Rejection::CheckpointInvalid(detail),
            TransparencyLogError::InclusionPromise(detail) => Rejection::InclusionPromiseInvalid(detail),
            TransparencyLogError::EntryMismatch(detail) => Rejection::LogEntryMismatch(detail),
            TransparencyLogError::IntegratedTime(detail) => Rejection::IntegratedTimeInvalid(detail),
            _ => Rejection::LogEntryMalformed(text),
        },
        Error::Timestamp(TimestampError::NoVerifiedTimestamp(detail)) => Rejection::TimestampMissing(detail),
        Error::Timestamp(_) => Rejection::TimestampInvalid(text),
        Error::Bundle(
            Structure::MissingInclusionPromise(_)
            | Structure::MissingInclusionProof(_)
            | Structure::MissingSigningTimeEvidence,
        ) => Rejection::LogEntryMissing(text),
        Error::UnsupportedBundle(detail) => Rejection::Unsupported(detail),
        _ => Rejection::Malformed(text),
    }
}
