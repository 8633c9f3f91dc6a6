//! What can be wrong with evidence, one thing at a time.

/// What a [`Signer`](super::Signer) makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A layer of a `.sig` tag.
    LegacySignature,
    /// A layer of an `.att` tag.
    LegacyAttestation,
    /// A bundle with predicate type `https://sigstore.dev/cosign/sign/v1`.
    BundleSignature,
    /// A bundle with any other predicate type.
    BundleAttestation,
}

impl Kind {
    /// All four.
    pub const ALL: [Self; 4] =
        [Self::LegacySignature, Self::LegacyAttestation, Self::BundleSignature, Self::BundleAttestation];

    /// Whether it is a Sigstore bundle.
    pub fn is_bundle(self) -> bool {
        matches!(self, Self::BundleSignature | Self::BundleAttestation)
    }

    /// Whether the payload is an in-toto statement in a DSSE envelope.
    pub fn is_statement(self) -> bool {
        self != Self::LegacySignature
    }
}

/// One thing that is wrong; everything else stays sound, and agrees with it where it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The key signed something else; the log has that signature with the shown payload's hash.
    SignatureOverOtherPayload,
    /// The payload was changed after everything was signed and logged.
    TamperedPayload,
    /// Certificate and log entry are a victim's, of another payload; the signature is an attacker's.
    StolenCertificate,
    /// Signature and certificate fit; the log entry is of the same signer's signature over something
    /// else.
    LogEntryOfAnotherSignature,
    /// Signature and certificate fit; the log entry has the right payload and certificate but another
    /// signature.
    LogEntryWithAnotherSignature,
    /// Signature fits; the log entry has the right payload and signature but another certificate.
    LogEntryWithAnotherCertificate,
    /// No log entry, and no other source of time.
    NoLogEntry,
    /// The log entry comes without signed entry timestamp.
    NoSet,
    /// The signed entry timestamp was made with another key than the log's.
    SetByWrongKey,
    /// `integratedTime` was changed after the SET was made.
    ForgedIntegratedTime,
    /// The log claims to have integrated the entry five minutes from now.
    FutureIntegratedTime,
    /// The log is a stranger, with an ID that the trusted root does not know.
    UnknownLog,
    /// The checkpoint was signed with another key than the log's.
    CheckpointByWrongKey,
    /// The audit path leads elsewhere.
    BadInclusionProof,
    /// The certificate has no SCT.
    NoSct,
    /// The SCT is of a CT log that the trusted root does not know.
    SctByUnknownLog,
    /// The SCT names the trusted CT log but was signed with another key.
    SctByWrongKey,
    /// The certificate comes from another authority that goes by the same names.
    UntrustedAuthority,
    /// The certificate had expired when it was used.
    ExpiredCertificate,
    /// The certificate comes from an intermediate that had expired; its root is trusted.
    ExpiredIntermediate,
    /// The certificate's extended key usage is not code signing.
    NotForCodeSigning,
    /// It speaks of another image's digest, and is soundly signed.
    AnotherImage,
    /// A predicate type that nobody asked for.
    WrongPredicateType,
    /// `_type` is not an in-toto statement's.
    WrongStatementType,
    /// The DSSE payload type is not in-toto's.
    WrongPayloadType,
    /// `critical.type` is not `cosign container image signature`.
    WrongCriticalType,
    /// The envelope has two signatures.
    TwoSignatures,
    /// The envelope was serialised anew: same content, other bytes than the log's `envelopeHash`.
    ReformattedEnvelope,
    /// The time stamp is by an authority that the trusted root does not know.
    TimestampByAnotherAuthority,
    /// The time stamp is by such an authority too, and brings the trusted one's certificate along
    /// (CVE-2026-39984).
    TimestampWithBorrowedCertificate,
    /// The time stamp is of another signature.
    TimestampOfAnotherSignature,
    /// The statement has this many subjects, ours the last.
    Subjects(usize),
    /// The bundle carries its log entry this many times.
    LogEntries(usize),
    /// The bundle carries this many time stamps, all sound.
    Timestamps(usize),
}

impl Flaw {
    /// Every flaw, the counts at 100.
    pub const ALL: [Self; 34] = [
        Self::SignatureOverOtherPayload,
        Self::TamperedPayload,
        Self::StolenCertificate,
        Self::LogEntryOfAnotherSignature,
        Self::LogEntryWithAnotherSignature,
        Self::LogEntryWithAnotherCertificate,
        Self::NoLogEntry,
        Self::NoSet,
        Self::SetByWrongKey,
        Self::ForgedIntegratedTime,
        Self::FutureIntegratedTime,
        Self::UnknownLog,
        Self::CheckpointByWrongKey,
        Self::BadInclusionProof,
        Self::NoSct,
        Self::SctByUnknownLog,
        Self::SctByWrongKey,
        Self::UntrustedAuthority,
        Self::ExpiredCertificate,
        Self::ExpiredIntermediate,
        Self::NotForCodeSigning,
        Self::AnotherImage,
        Self::WrongPredicateType,
        Self::WrongStatementType,
        Self::WrongPayloadType,
        Self::WrongCriticalType,
        Self::TwoSignatures,
        Self::ReformattedEnvelope,
        Self::TimestampByAnotherAuthority,
        Self::TimestampWithBorrowedCertificate,
        Self::TimestampOfAnotherSignature,
        Self::Subjects(100),
        Self::LogEntries(100),
        Self::Timestamps(100),
    ];

    /// Whether `kind` can have this flaw. Asking for one that it cannot have is a panic.
    pub fn applies_to(self, kind: Kind) -> bool {
        match self {
            Self::WrongCriticalType => kind == Kind::LegacySignature,
            Self::WrongPredicateType
            | Self::WrongStatementType
            | Self::WrongPayloadType
            | Self::TwoSignatures
            | Self::Subjects(_) => kind.is_statement(),
            Self::ReformattedEnvelope => kind == Kind::LegacyAttestation,
            Self::CheckpointByWrongKey | Self::BadInclusionProof | Self::LogEntries(_) | Self::Timestamps(_) => {
                kind.is_bundle()
            }
            _ => true,
        }
    }

    /// Whether it only shows in a bundle with a time stamp.
    pub fn needs_timestamp(self) -> bool {
        matches!(
            self,
            Self::TimestampByAnotherAuthority
                | Self::TimestampWithBorrowedCertificate
                | Self::TimestampOfAnotherSignature
        )
    }

    /// Whether a Rekor v2 entry can have this flaw: it has neither SET nor integrated time.
    pub fn applies_to_rekor_v2(self) -> bool {
        !matches!(self, Self::NoSet | Self::SetByWrongKey | Self::ForgedIntegratedTime | Self::FutureIntegratedTime)
    }

    /// Whether evidence signed with a plain key can have this flaw.
    pub fn applies_to_keys(self) -> bool {
        !matches!(
            self,
            Self::StolenCertificate
                | Self::NoSct
                | Self::SctByUnknownLog
                | Self::SctByWrongKey
                | Self::UntrustedAuthority
                | Self::ExpiredCertificate
                | Self::ExpiredIntermediate
                | Self::NotForCodeSigning
        )
    }
}
