//! Why evidence was rejected.

use crate::image::Digest;

/// One reason why evidence does not satisfy a requirement: "no", as opposed to "don't know".
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Rejection {
    /// The policy denies the image whatever its evidence.
    #[error("{0}")]
    DeniedByPolicy(String),
    /// No signature was found for the digest.
    #[error("no signature was found for this digest{}", also_found(attestations))]
    SignatureMissing {
        /// Predicate types of the attestations that were found.
        attestations: Vec<String>,
    },
    /// No attestation at all was found for the digest.
    #[error("no attestation of type {predicate_type} was found for this digest")]
    AttestationMissing {
        /// The predicate type asked for.
        predicate_type: String,
    },
    /// Attestations were found, but none of the type asked for.
    #[error("no attestation of type {expected} was found for this digest, only of type {}", found.join(", "))]
    PredicateTypeMismatch {
        /// The predicate type asked for.
        expected: String,
        /// The predicate types that are there.
        found: Vec<String>,
    },
    /// Fewer authorities were satisfied than asked for.
    #[error("{expected} authorities must be satisfied, only {} was: {}", found.len(), found.join(", "))]
    TooFewAuthorities {
        /// How many must be satisfied.
        expected: usize,
        /// The authorities that were.
        found: Vec<String>,
    },
    /// Signed by somebody else.
    #[error("signed by subject {found}, expected {expected} (issuer {issuer})")]
    SubjectMismatch {
        /// The pattern of the policy.
        expected: String,
        /// The certificate's subject alternative name.
        found: String,
        /// The certificate's issuer.
        issuer: String,
    },
    /// The signer's identity was vouched for by somebody else.
    #[error("signed with an identity from issuer {found}, expected {expected} (subject {subject})")]
    IssuerMismatch {
        /// The pattern of the policy.
        expected: String,
        /// The certificate's OIDC issuer.
        found: String,
        /// The certificate's subject alternative name.
        subject: String,
    },
    /// The certificate names no issuer or no subject, or the evidence has no certificate.
    #[error("the signing certificate names no subject or no issuer, or there is no certificate")]
    IdentityMissing,
    /// The evidence is of another image.
    #[error("the signed payload names {found}, expected {expected}")]
    PayloadMismatch {
        /// The image's digest.
        expected: Digest,
        /// What the payload names.
        found: String,
    },
    /// The signature does not verify over the payload.
    #[error("the signature does not verify: {0}")]
    SignatureInvalid(String),
    /// The evidence is signed with a key, or with a certificate, where the other is asked for.
    #[error("the evidence is signed with {found}, expected {expected}")]
    SignerKindMismatch {
        /// `a certificate` or `a key`.
        expected: &'static str,
        /// The other one.
        found: &'static str,
    },
    /// The certificate cannot be read.
    #[error("the signing certificate cannot be read: {0}")]
    CertificateMalformed(String),
    /// The certificate does not lead to a CA of the trust root.
    #[error("the signing certificate is not from a trusted CA: {0}")]
    CertificateUntrusted(String),
    /// A verified signing time lies outside the certificate's validity.
    #[error("the signature was not made while the certificate was valid: {0}")]
    CertificateExpired(String),
    /// The signed certificate timestamp is missing, or not from a log of the trust root.
    #[error("the certificate's SCT does not verify: {0}")]
    SctInvalid(String),
    /// There is no log entry, or one without promise and proof.
    #[error("there is no transparency log entry that can be verified: {0}")]
    LogEntryMissing(String),
    /// The log entry is of another signature, key or payload (CVE-2022-36056).
    #[error("the transparency log entry is not of this signature: {0}")]
    LogEntryMismatch(String),
    /// The log entry cannot be read.
    #[error("the transparency log entry cannot be read: {0}")]
    LogEntryMalformed(String),
    /// The log entry is of a kind that is not verified here.
    #[error(
        "the transparency log entry is of kind {kind}/{version}, which is not verified; \
         sign or attest the image again with cosign 2.4 or later"
    )]
    LogEntryUnsupported {
        /// The kind.
        kind: String,
        /// The version of that kind.
        version: String,
    },
    /// The log is not in the trust root.
    #[error("the transparency log is not in the trust root: {0}")]
    LogUnknown(String),
    /// The signed entry timestamp does not verify.
    #[error("the log's inclusion promise (SET) does not verify: {0}")]
    InclusionPromiseInvalid(String),
    /// The Merkle proof does not verify.
    #[error("the log's inclusion proof does not verify: {0}")]
    InclusionProofInvalid(String),
    /// The signed tree head does not verify.
    #[error("the log's checkpoint does not verify: {0}")]
    CheckpointInvalid(String),
    /// The log's time is in the future or outside the certificate's validity.
    #[error("the log's integrated time cannot be: {0}")]
    IntegratedTimeInvalid(String),
    /// An RFC 3161 timestamp does not verify.
    #[error("the signed timestamp does not verify: {0}")]
    TimestampInvalid(String),
    /// Nothing proves when the signature was made.
    #[error("nothing proves when the signature was made: {0}")]
    TimestampMissing(String),
    /// The evidence cannot be read.
    #[error("the evidence cannot be read: {0}")]
    Malformed(String),
    /// The evidence is of a form that is not verified here.
    #[error("the evidence is not of a form that is verified: {0}")]
    Unsupported(String),
    /// More, or larger, than any real evidence.
    #[error("the evidence is larger than allowed: {0}")]
    TooLarge(String),
}

fn also_found(attestations: &[String]) -> String {
    match attestations {
        [] => String::new(),
        some => format!(" (an attestation is not a signature; found: {})", some.join(", ")),
    }
}

/// Longest text that a rejection repeats of what a stranger wrote, in bytes.
const MAX_TEXT_BYTES: usize = 512;

fn bounded(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.push_str("...");
        text.shrink_to_fit();
    }
    text
}

impl Rejection {
    /// The same with every text cut to a length that may be kept and shown.
    pub(super) fn bounded(self) -> Self {
        let list = |texts: Vec<String>| texts.into_iter().map(bounded).collect();
        match self {
            Self::IdentityMissing | Self::SignerKindMismatch { .. } => self,
            // The policy's author wrote it.
            Self::DeniedByPolicy(text) => Self::DeniedByPolicy(text),
            Self::SignatureMissing { attestations } => Self::SignatureMissing { attestations: list(attestations) },
            Self::AttestationMissing { predicate_type } => {
                Self::AttestationMissing { predicate_type: bounded(predicate_type) }
            }
            Self::PredicateTypeMismatch { expected, found } => {
                Self::PredicateTypeMismatch { expected: bounded(expected), found: list(found) }
            }
            Self::TooFewAuthorities { expected, found } => Self::TooFewAuthorities { expected, found: list(found) },
            Self::SubjectMismatch { expected, found, issuer } => {
                Self::SubjectMismatch { expected: bounded(expected), found: bounded(found), issuer: bounded(issuer) }
            }
            Self::IssuerMismatch { expected, found, subject } => {
                Self::IssuerMismatch { expected: bounded(expected), found: bounded(found), subject: bounded(subject) }
            }
            Self::PayloadMismatch { expected, found } => Self::PayloadMismatch { expected, found: bounded(found) },
            Self::LogEntryUnsupported { kind, version } => {
                Self::LogEntryUnsupported { kind: bounded(kind), version: bounded(version) }
            }
            Self::SignatureInvalid(text) => Self::SignatureInvalid(bounded(text)),
            Self::CertificateMalformed(text) => Self::CertificateMalformed(bounded(text)),
            Self::CertificateUntrusted(text) => Self::CertificateUntrusted(bounded(text)),
            Self::CertificateExpired(text) => Self::CertificateExpired(bounded(text)),
            Self::SctInvalid(text) => Self::SctInvalid(bounded(text)),
            Self::LogEntryMissing(text) => Self::LogEntryMissing(bounded(text)),
            Self::LogEntryMismatch(text) => Self::LogEntryMismatch(bounded(text)),
            Self::LogEntryMalformed(text) => Self::LogEntryMalformed(bounded(text)),
            Self::LogUnknown(text) => Self::LogUnknown(bounded(text)),
            Self::InclusionPromiseInvalid(text) => Self::InclusionPromiseInvalid(bounded(text)),
            Self::InclusionProofInvalid(text) => Self::InclusionProofInvalid(bounded(text)),
            Self::CheckpointInvalid(text) => Self::CheckpointInvalid(bounded(text)),
            Self::IntegratedTimeInvalid(text) => Self::IntegratedTimeInvalid(bounded(text)),
            Self::TimestampInvalid(text) => Self::TimestampInvalid(bounded(text)),
            Self::TimestampMissing(text) => Self::TimestampMissing(bounded(text)),
            Self::Malformed(text) => Self::Malformed(bounded(text)),
            Self::Unsupported(text) => Self::Unsupported(bounded(text)),
            Self::TooLarge(text) => Self::TooLarge(bounded(text)),
        }
    }

    /// The stable reason code: the same in messages, metrics and reports.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::DeniedByPolicy(_) => "DeniedByPolicy",
            Self::SignatureMissing { .. } => "SignatureMissing",
            Self::AttestationMissing { .. } => "AttestationMissing",
            Self::PredicateTypeMismatch { .. } => "PredicateTypeMismatch",
            Self::TooFewAuthorities { .. } => "TooFewAuthorities",
            Self::SubjectMismatch { .. } => "SubjectMismatch",
            Self::IssuerMismatch { .. } => "IssuerMismatch",
            Self::IdentityMissing => "IdentityMissing",
            Self::PayloadMismatch { .. } => "PayloadMismatch",
            Self::SignatureInvalid(_) => "SignatureInvalid",
            Self::SignerKindMismatch { .. } => "SignerKindMismatch",
            Self::CertificateMalformed(_) => "CertificateMalformed",
            Self::CertificateUntrusted(_) => "CertificateUntrusted",
            Self::CertificateExpired(_) => "CertificateExpired",
            Self::SctInvalid(_) => "SctInvalid",
            Self::LogEntryMissing(_) => "LogEntryMissing",
            Self::LogEntryMismatch(_) => "LogEntryMismatch",
            Self::LogEntryMalformed(_) => "LogEntryMalformed",
            Self::LogEntryUnsupported { .. } => "LogEntryUnsupported",
            Self::LogUnknown(_) => "LogUnknown",
            Self::InclusionPromiseInvalid(_) => "InclusionPromiseInvalid",
            Self::InclusionProofInvalid(_) => "InclusionProofInvalid",
            Self::CheckpointInvalid(_) => "CheckpointInvalid",
            Self::IntegratedTimeInvalid(_) => "IntegratedTimeInvalid",
            Self::TimestampInvalid(_) => "TimestampInvalid",
            Self::TimestampMissing(_) => "TimestampMissing",
            Self::Malformed(_) => "EvidenceMalformed",
            Self::Unsupported(_) => "EvidenceUnsupported",
            Self::TooLarge(_) => "EvidenceTooLarge",
        }
    }

    /// The step of [`super`] at which it failed. Of several rejections the one that came furthest says most.
    pub(super) const fn step(&self) -> u8 {
        match self {
            Self::DeniedByPolicy(_) => 11,
            Self::TooFewAuthorities { .. } => 10,
            Self::SubjectMismatch { .. } | Self::IssuerMismatch { .. } | Self::IdentityMissing => 9,
            Self::PayloadMismatch { .. } => 7,
            Self::SignatureInvalid(_) => 6,
            Self::LogEntryMismatch(_)
            | Self::LogEntryMalformed(_)
            | Self::LogEntryUnsupported { .. }
            | Self::InclusionProofInvalid(_)
            | Self::CheckpointInvalid(_) => 5,
            Self::SctInvalid(_) => 4,
            Self::CertificateMalformed(_) | Self::CertificateUntrusted(_) | Self::CertificateExpired(_) => 3,
            Self::LogEntryMissing(_)
            | Self::LogUnknown(_)
            | Self::InclusionPromiseInvalid(_)
            | Self::IntegratedTimeInvalid(_)
            | Self::TimestampInvalid(_)
            | Self::TimestampMissing(_) => 2,
            Self::SignerKindMismatch { .. } | Self::Malformed(_) | Self::Unsupported(_) | Self::TooLarge(_) => 1,
            Self::SignatureMissing { .. } | Self::AttestationMissing { .. } | Self::PredicateTypeMismatch { .. } => 0,
        }
    }
}
