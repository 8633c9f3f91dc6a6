//! Forged and broken evidence: every flaw in every format, each with the reason code that it is rejected with.
//! Sound evidence of the same signer lies beside nothing else, so what rejects it is the flaw.

use bonafide::{
    evidence::{Evidence, from_bundle, from_legacy_attestation, from_legacy_signature},
    image::{Digest, PinnedImage, Reference},
    policy::{
        Authority as PolicyAuthority, AuthorityKind, Identity as PolicyIdentity, Pattern, PublicKey, Requirement,
        RequirementKind,
    },
    trust::TrustRoot,
    verify::{Docket, Rejection},
};
use jiff::Timestamp;

use super::support::{Authority, Flaw, Identity, Kind, Layer, San, Signer, authority, sbom};

fn image() -> PinnedImage {
    let digest = Digest::of(b"the image");
    format!("ghcr.io/zionsworking/app@{digest}").parse::<Reference>().unwrap().pinned().unwrap()
}

/// The evidence that `signer` makes for the image, as it would be found.
fn found(signer: &Signer, kind: Kind) -> Result<Evidence, Rejection> {
    let digest = image().digest.to_string();
    let layer = |layer: Layer| {
        let bytes = bytes::Bytes::from(layer.bytes);
        (Digest::of(&bytes), bytes, layer.annotations)
    };
    let bundle = |text: String| from_bundle(Digest::of(text.as_bytes()), text.as_bytes());
    match kind {
        Kind::LegacySignature => {
            let (digest, bytes, annotations) = layer(signer.legacy_signature(&digest));
            from_legacy_signature(digest, bytes, &annotations)
        }
        Kind::LegacyAttestation => {
            let (digest, bytes, annotations) = layer(signer.legacy_attestation(&digest, sbom::SPDX, &sbom::spdx()));
            from_legacy_attestation(digest, &bytes, &annotations)
        }
        Kind::BundleSignature => bundle(signer.bundle_signature(&digest)),
        Kind::BundleAttestation => bundle(signer.bundle_attestation(&digest, sbom::SPDX, &sbom::spdx())),
    }
}

fn requirement(kind: Kind, authority: AuthorityKind) -> Requirement {
    let kind = match kind {
        Kind::LegacySignature | Kind::BundleSignature => RequirementKind::Signature,
        _ => RequirementKind::Attestation { predicate_type: sbom::SPDX.parse().unwrap() },
    };
    let authority = PolicyAuthority { name: "release".to_owned(), kind: authority };
    Requirement::new(kind, vec![authority.into()], 1).unwrap()
}

fn zionsworking() -> AuthorityKind {
    AuthorityKind::Keyless(PolicyIdentity {
        issuer: Pattern::exact("https://token.actions.githubusercontent.com").unwrap(),
        subject: Pattern::glob("https://github.com/zionsworking/*").unwrap(),
    })
}

/// The verdict: `passes`, or the code of the first reason.
fn verdict(trust: &TrustRoot, signer: &Signer, kind: Kind, authority: AuthorityKind) -> &'static str {
    let pieces = match found(signer, kind) {
        Ok(evidence) => [evidence],
        Err(rejection) => return rejection.code(),
    };
    let image = image();
    let docket = Docket::new(&image, &pieces, &[], trust, Timestamp::now());
    match docket.verify(&requirement(kind, authority)) {
        Ok(_) => "passes",
        Err(rejections) => rejections[0].code(),
    }
}

fn sigstore() -> (Authority, TrustRoot) {
    let sigstore = Authority::new();
    let trust = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    (sigstore, trust)
}

/// The reason code that each flaw is rejected with, in a Rekor v1 and in a Rekor v2 log.
fn expected(flaw: Flaw, kind: Kind, rekor_v2: bool) -> &'static str {
    match flaw {
        Flaw::SignatureOverOtherPayload | Flaw::TamperedPayload | Flaw::StolenCertificate => "SignatureInvalid",
        // A hashed entry of another payload shows as a signature that does not fit.
        Flaw::LogEntryOfAnotherSignature if rekor_v2 || kind == Kind::LegacySignature => "SignatureInvalid",
        Flaw::LogEntryOfAnotherSignature
        | Flaw::LogEntryWithAnotherSignature
        | Flaw::LogEntryWithAnotherCertificate
        | Flaw::ReformattedEnvelope => "LogEntryMismatch",
        Flaw::NoLogEntry => "LogEntryMissing",
        Flaw::NoSet if kind.is_bundle() => "TimestampMissing",
        Flaw::UnknownLog if rekor_v2 => "CheckpointInvalid",
        Flaw::NoSet | Flaw::SetByWrongKey | Flaw::ForgedIntegratedTime | Flaw::UnknownLog => "InclusionPromiseInvalid",
        Flaw::FutureIntegratedTime => "IntegratedTimeInvalid",
        Flaw::CheckpointByWrongKey => "CheckpointInvalid",
        Flaw::BadInclusionProof => "InclusionProofInvalid",
        Flaw::NoSct | Flaw::SctByUnknownLog | Flaw::SctByWrongKey => "SctInvalid",
        Flaw::ExpiredCertificate if !rekor_v2 => "CertificateExpired",
        Flaw::UntrustedAuthority | Flaw::ExpiredCertificate | Flaw::ExpiredIntermediate | Flaw::NotForCodeSigning => {
            "CertificateUntrusted"
        }
        Flaw::AnotherImage => "PayloadMismatch",
        Flaw::WrongPredicateType if kind == Kind::BundleSignature => "SignatureMissing",
        Flaw::WrongPredicateType => "PredicateTypeMismatch",
        Flaw::WrongStatementType | Flaw::WrongCriticalType | Flaw::TwoSignatures => "EvidenceMalformed",
        Flaw::WrongPayloadType => "EvidenceUnsupported",
        // A legacy attestation's time stamp is not used: its time is that of the log.
        Flaw::TimestampByAnotherAuthority
        | Flaw::TimestampWithBorrowedCertificate
        | Flaw::TimestampOfAnotherSignature => {
            if kind == Kind::LegacyAttestation {
                "passes"
            } else {
                "TimestampInvalid"
            }
        }
        // The counts: a build of many artifacts is real, that many log entries or time stamps are not.
        Flaw::Subjects(count) if count <= 1_024 => "passes",
        Flaw::Subjects(_) => "EvidenceMalformed",
        Flaw::LogEntries(_) | Flaw::Timestamps(_) => "EvidenceTooLarge",
    }
}

#[test]
fn every_flaw_is_rejected_for_its_own_reason() {
    let (sigstore, trust) = sigstore();
    let mut tried = 0;
    for flaw in Flaw::ALL.into_iter().chain([Flaw::Subjects(2_000)]) {
        for kind in Kind::ALL.into_iter().filter(|kind| flaw.applies_to(*kind)) {
            let mut signer = sigstore.identity(Identity::zionsworking()).flaw(flaw);
            if flaw.needs_timestamp() {
                signer = signer.timestamped();
            }
            assert_eq!(
                verdict(&trust, &signer, kind, zionsworking()),
                expected(flaw, kind, false),
                "{flaw:?} {kind:?}"
            );
            tried += 1;
            if kind.is_bundle() && flaw.applies_to_rekor_v2() {
                let found = verdict(&trust, &signer.rekor_v2(), kind, zionsworking());
                assert_eq!(found, expected(flaw, kind, true), "{flaw:?} {kind:?} in Rekor v2");
                tried += 1;
            }
        }
    }
    assert!(tried > 120, "{tried} rows");
}

#[test]
fn sound_evidence_passes_in_every_format() {
    let (sigstore, trust) = sigstore();
    for kind in Kind::ALL {
        let signer = sigstore.identity(Identity::zionsworking());
        let last_year = signer.clone().at("2025-10-01T12:00:00Z".parse().unwrap());
        let mut variants = vec![signer.clone(), signer.clone().timestamped(), last_year];
        if kind.is_bundle() {
            variants.push(signer.rekor_v2());
        }
        for (at, signer) in variants.iter().enumerate() {
            assert_eq!(verdict(&trust, signer, kind, zionsworking()), "passes", "{kind:?}, variant {at}");
        }
    }
}

#[test]
fn near_misses_of_an_identity() {
    const GITHUB: &str = "https://token.actions.githubusercontent.com";
    let (sigstore, trust) = sigstore();
    let workflow = "https://github.com/zionsworking/app/.github/workflows/release.yml@refs/heads/main";
    for (identity, code) in [
        (Identity::github("zionsworking-evil/app", "release.yml", "refs/heads/main"), "SubjectMismatch"),
        (Identity::uri(GITHUB, "https://github.com/zionsworking"), "SubjectMismatch"),
        (Identity::uri(GITHUB, "https://github.com.evil.example/zionsworking/app"), "SubjectMismatch"),
        (Identity::uri(GITHUB, "https://github.com/Zionsworking/app"), "SubjectMismatch"),
        (Identity::uri(GITHUB, " https://github.com/zionsworking/app"), "SubjectMismatch"),
        (Identity::uri("https://token.actions.githubusercontent.com.evil.example", workflow), "IssuerMismatch"),
        (Identity::uri("https://token.actions.githubusercontent.co", workflow), "IssuerMismatch"),
        (Identity::uri("https://token.actions.githubusercontent.com/", workflow), "IssuerMismatch"),
        (Identity::email("https://accounts.example.com", "zionsworking@example.com"), "IssuerMismatch"),
        (Identity::zionsworking().with_san(San::Absent), "IdentityMissing"),
        (Identity::zionsworking(), "passes"),
    ] {
        let text = format!("{identity:?}");
        assert_eq!(
            verdict(&trust, &sigstore.identity(identity), Kind::BundleSignature, zionsworking()),
            code,
            "{text}"
        );
    }
}

/// CVE-2026-24122: an authority's own certificate, here one of the trust root itself, had expired when it was used.
#[test]
fn an_authority_vouches_for_nothing_after_its_own_end() {
    let ends: Timestamp = "2025-06-01T00:00:00Z".parse().unwrap();
    let sigstore = Authority::with(authority::Options { issuing_certificate_ends: Some(ends), ..Default::default() });
    let trust = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    for kind in Kind::ALL {
        let signer = sigstore.identity(Identity::zionsworking());
        let before = signer.clone().at("2025-05-01T00:00:00Z".parse().unwrap());
        assert_eq!(verdict(&trust, &before, kind, zionsworking()), "passes", "{kind:?}");
        assert_eq!(verdict(&trust, &signer, kind, zionsworking()), "CertificateUntrusted", "{kind:?}");
    }
}

#[test]
fn keys_are_held_to_the_same_checks() {
    let (sigstore, trust) = sigstore();
    let signer = sigstore.key();
    let key = |signer: &Signer| AuthorityKind::Key(PublicKey::from_pem(&signer.public_key_pem()).unwrap());
    for kind in Kind::ALL {
        assert_eq!(verdict(&trust, &signer, kind, key(&signer)), "passes", "{kind:?}");
        assert_eq!(verdict(&trust, &signer, kind, key(&sigstore.key())), "SignatureInvalid", "{kind:?}");
        assert_eq!(verdict(&trust, &signer.clone().unlogged(), kind, key(&signer)), "LogEntryMissing", "{kind:?}");
        // Who asks for a key is not content with an identity, nor the other way round.
        assert_eq!(verdict(&trust, &signer, kind, zionsworking()), "SignerKindMismatch", "{kind:?}");
        let keyless = sigstore.identity(Identity::zionsworking());
        assert_eq!(verdict(&trust, &keyless, kind, key(&signer)), "SignerKindMismatch", "{kind:?}");
    }
}

#[test]
fn every_key_log_and_authority_of_the_trust_root_matters() {
    let (sigstore, trust) = sigstore();
    let (stranger, _) = (Authority::new(), ());
    let signer = stranger.identity(Identity::zionsworking());
    let sound = sigstore.identity(Identity::zionsworking());
    // One element of the trust root replaced at a time: what was signed under it no longer passes.
    for (list, code) in [
        ("certificateAuthorities", "CertificateUntrusted"),
        ("ctlogs", "SctInvalid"),
        ("tlogs", "InclusionPromiseInvalid"),
    ] {
        let mut root: serde_json::Value = serde_json::from_str(&sigstore.trusted_root_json()).unwrap();
        let other: serde_json::Value = serde_json::from_str(&stranger.trusted_root_json()).unwrap();
        root[list] = other[list].clone();
        let mixed = TrustRoot::from_json(&root.to_string()).unwrap();
        assert_eq!(verdict(&mixed, &sound, Kind::BundleSignature, zionsworking()), code, "{list}");
    }
    assert_ne!(verdict(&trust, &signer, Kind::BundleSignature, zionsworking()), "passes");
}

#[test]
fn an_old_kind_of_log_entry_says_how_to_mend_it() {
    let (sigstore, trust) = sigstore();
    let signer = sigstore.identity(Identity::zionsworking()).intoto_entry();
    assert_eq!(verdict(&trust, &signer, Kind::LegacyAttestation, zionsworking()), "LogEntryUnsupported");
    let rejection = found(&signer, Kind::LegacyAttestation).unwrap_err();
    assert!(rejection.to_string().contains("attest the image again"), "{rejection}");
}
