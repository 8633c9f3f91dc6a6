//! Sound evidence verifies, flawed evidence does not, each for its reason.

use sigstore_crypto::SubjectAltName;
use sigstore_trust_root::TrustedRoot;
use sigstore_types::{SignatureBytes, TimestampToken};

use super::support::authority::{Options, sha256};
use super::support::{Authority, Flaw, Identity, Kind, Layer, San, Signer, sbom};
use super::{DIGEST, make, verifier, verify, verify_with_key};

#[test]
fn sound_evidence_verifies() {
    let sigstore = Authority::new();
    let verifier = verifier(&sigstore);
    let signer = sigstore.identity(Identity::zionsworking());
    for kind in Kind::ALL {
        for (name, signer) in [
            ("plain", signer.clone()),
            ("stamped", signer.clone().timestamped()),
            ("in 2025", signer.clone().at("2025-06-01T12:00:00Z".parse().unwrap())),
            ("Rekor v2", signer.clone().rekor_v2()),
        ] {
            if name == "Rekor v2" && !kind.is_bundle() {
                continue;
            }
            let result =
                verify(&verifier, &make(&signer, kind)).unwrap_or_else(|error| panic!("{kind:?}, {name}: {error}"));
            assert!(result.certificate_verified(), "{kind:?}, {name}");
            assert!(result.sct_verified(), "{kind:?}, {name}");
            assert!(result.tlog_verified(), "{kind:?}, {name}");
            assert_eq!(result.integrated_time().is_some(), name != "Rekor v2", "{kind:?}, {name}");
            assert_eq!(result.issuer(), Some("https://token.actions.githubusercontent.com"));
            let subject = "https://github.com/zionsworking/cicd-supply-chain-security\
                           /.github/workflows/release.yml@refs/heads/main";
            assert_eq!(result.identity(), Some(&SubjectAltName::Uri(subject.into())));
            let certificate = result.certificate().expect("a certificate");
            let claims = format!("{:?}", certificate.ci_claims);
            for claim in ["github-hosted", "https://github.com/zionsworking", "push", "public"] {
                assert!(claims.contains(claim), "{claim} in {claims}");
            }
        }
    }
}

/// Why the library rejects a flaw; `None` if it leaves the matter to its caller.
fn reason(flaw: Flaw, kind: Kind, variant: &str) -> Option<&'static str> {
    let legacy = !kind.is_bundle();
    Some(match flaw {
        Flaw::SignatureOverOtherPayload | Flaw::TamperedPayload | Flaw::StolenCertificate => "signature invalid",
        Flaw::LogEntryOfAnotherSignature => "hash mismatch",
        Flaw::LogEntryWithAnotherSignature => "does not match",
        Flaw::LogEntryWithAnotherCertificate => "does not match",
        Flaw::NoLogEntry if legacy => "must have an inclusion promise",
        Flaw::NoLogEntry => "must have an inclusion proof",
        Flaw::NoSet if legacy => "must have an inclusion promise",
        // The time stamp says when, the inclusion proof that it was logged.
        Flaw::NoSet if variant == "stamped" => return None,
        Flaw::NoSet => "no verified timestamp",
        Flaw::SetByWrongKey | Flaw::ForgedIntegratedTime => "SET verification failed",
        Flaw::FutureIntegratedTime => "in the future",
        Flaw::UnknownLog if variant == "Rekor v2" => "No matching Rekor key",
        Flaw::UnknownLog => "No log key valid",
        Flaw::CheckpointByWrongKey => "No valid Rekor signature found on checkpoint",
        Flaw::BadInclusionProof => "inclusion proof verification failed",
        Flaw::NoSct => "missing SCT extension",
        Flaw::SctByUnknownLog => "SCT signature verification failed",
        Flaw::SctByWrongKey => "SCT signature verification failed",
        Flaw::UntrustedAuthority => "certificate chain validation failed",
        Flaw::ExpiredCertificate => "CertExpired",
        Flaw::ExpiredIntermediate if legacy => "CertExpired",
        // A bundle has the leaf only; the trusted intermediate did not sign it.
        Flaw::ExpiredIntermediate => "certificate chain validation failed",
        Flaw::NotForCodeSigning => "RequiredEkuNotFound",
        Flaw::AnotherImage if kind.is_statement() => "does not match any subject",
        Flaw::WrongPayloadType => "unsupported DSSE payload type",
        Flaw::TwoSignatures => "exactly one signature, found 2",
        // The token of a legacy attestation is over the envelope: see the test below.
        Flaw::TimestampByAnotherAuthority
        | Flaw::TimestampWithBorrowedCertificate
        | Flaw::TimestampOfAnotherSignature
            if kind == Kind::LegacyAttestation =>
        {
            return None;
        }
        Flaw::TimestampByAnotherAuthority | Flaw::TimestampWithBorrowedCertificate => {
            "does not match any trusted TSA certificate"
        }
        Flaw::TimestampOfAnotherSignature => "message hash mismatch",
        Flaw::AnotherImage
        | Flaw::WrongPredicateType
        | Flaw::WrongStatementType
        | Flaw::WrongCriticalType
        | Flaw::ReformattedEnvelope
        | Flaw::Subjects(_)
        | Flaw::LogEntries(_)
        | Flaw::Timestamps(_) => return None,
    })
}

#[test]
fn flawed_evidence_fails_for_its_reason() {
    let sigstore = Authority::new();
    let verifier = verifier(&sigstore);
    let signer = sigstore.identity(Identity::zionsworking());
    for flaw in Flaw::ALL {
        for kind in Kind::ALL.into_iter().filter(|kind| flaw.applies_to(*kind)) {
            let mut variants =
                vec![("plain", signer.clone().flaw(flaw)), ("stamped", signer.clone().timestamped().flaw(flaw))];
            if kind.is_bundle() && flaw.applies_to_rekor_v2() {
                variants.push(("Rekor v2", signer.clone().rekor_v2().flaw(flaw)));
            }
            for (variant, signer) in variants {
                let what = format!("{flaw:?}, {kind:?}, {variant}");
                match (verify(&verifier, &make(&signer, kind)), reason(flaw, kind, variant)) {
                    (Err(error), Some(reason)) => {
                        assert!(error.contains(reason), "{what}: {error}");
                    }
                    (Err(error), None) => panic!("{what}: {error}"),
                    (Ok(_), Some(reason)) => panic!("{what}: passed instead of {reason}"),
                    (Ok(_), None) => {}
                }
            }
        }
    }
}

#[test]
fn evidence_of_another_sigstore_fails() {
    let verifier = verifier(&Authority::new());
    let signer = Authority::new().identity(Identity::zionsworking());
    for kind in Kind::ALL {
        let error = verify(&verifier, &make(&signer, kind)).expect_err("a stranger");
        assert!(error.contains("No log key valid"), "{kind:?}: {error}");
    }
}

#[test]
fn keys_sign_without_certificates() {
    let sigstore = Authority::new();
    let verifier = verifier(&sigstore);
    let key = sigstore.key();
    let pem = key.public_key_pem();
    for kind in Kind::ALL {
        let mut variants = vec![key.clone(), key.clone().timestamped()];
        if kind.is_bundle() {
            variants.push(key.clone().rekor_v2());
        }
        for signer in variants {
            let evidence = make(&signer, kind);
            verify_with_key(&verifier, &evidence, &pem).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
            let stranger = sigstore.key().public_key_pem();
            let error = verify_with_key(&verifier, &evidence, &stranger).expect_err("another key");
            assert!(error.contains("signature invalid"), "{kind:?}: {error}");
        }
        let evidence = make(&key.clone().unlogged(), kind);
        let error = verify_with_key(&verifier, &evidence, &pem).expect_err("no log entry");
        assert!(error.contains("must have an inclusion"), "{kind:?}: {error}");
    }
}

#[test]
fn a_signature_by_key_alone_is_plain_ecdsa() {
    let key = Authority::new().key().unlogged();
    let layer = key.legacy_signature(DIGEST);
    let signature = super::decode(&layer.annotations["dev.cosignproject.cosign/signature"]);
    let key = sigstore_types::DerPublicKey::from_pem(&key.public_key_pem()).unwrap();
    sigstore_crypto::verify_signature(
        &key,
        &layer.bytes,
        &sigstore_types::SignatureBytes::new(signature),
        sigstore_crypto::SigningScheme::EcdsaP256Sha256,
    )
    .unwrap();
    assert_eq!(layer.annotations.len(), 1, "no certificate, no log entry");
}

#[test]
fn subjects_come_in_every_form() {
    let sigstore = Authority::new();
    let verifier = verifier(&sigstore);
    let issuer = "https://accounts.example.com";
    for (identity, subject) in [
        (Identity::email(issuer, "someone@example.com"), Some(SubjectAltName::Email("someone@example.com".into()))),
        (
            Identity::uri(issuer, "spiffe://example.com/builder"),
            Some(SubjectAltName::Uri("spiffe://example.com/builder".into())),
        ),
        (Identity::zionsworking().with_san(San::Absent), None),
    ] {
        let expected_issuer = identity.issuer.clone();
        let evidence = make(&sigstore.identity(identity), Kind::BundleSignature);
        let result = verify(&verifier, &evidence).unwrap();
        assert_eq!(result.identity(), subject.as_ref());
        assert_eq!(result.issuer(), Some(expected_issuer.as_str()));
    }
}

#[test]
fn an_issuing_certificate_that_has_ended_is_left_to_the_caller() {
    let ended = "2025-01-01T00:00:00Z".parse().unwrap();
    let options = Options { issuing_certificate_ends: Some(ended), ..Options::default() };
    let sigstore = Authority::with(options);
    let verifier = verifier(&sigstore);
    let signer = sigstore.identity(Identity::zionsworking());
    // CVE-2026-24122: to the library each certificate of the trusted root is an anchor, and an anchor
    // does not end.
    for kind in Kind::ALL {
        verify(&verifier, &make(&signer, kind)).unwrap();
    }
}

#[test]
fn a_trusted_root_need_not_have_everything() {
    let options = Options { without_tsa: true, without_rekor_v2: true, ..Options::default() };
    let sigstore = Authority::with(options);
    let verifier = verifier(&sigstore);
    let signer = sigstore.identity(Identity::zionsworking());
    verify(&verifier, &make(&signer, Kind::BundleSignature)).unwrap();
    let stamped = make(&signer.clone().timestamped(), Kind::BundleSignature);
    let error = verify(&verifier, &stamped).expect_err("no TSA");
    assert!(error.contains("no timestamp authorities"), "{error}");
}

/// The time stamp of a legacy attestation, checked against the bytes that it must be over.
fn check_envelope_stamp(sigstore: &Authority, layer: &Layer) -> Result<(), String> {
    let root = TrustedRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    let token = &layer.annotations["dev.sigstore.cosign/rfc3161timestamp"];
    let token: serde_json::Value = serde_json::from_str(token).unwrap();
    let token = super::decode(token["SignedRFC3161Timestamp"].as_str().unwrap());
    sigstore_verify::tsa::verify_timestamp_for_authority(
        &TimestampToken::new(token),
        &SignatureBytes::new(layer.bytes.clone()),
        &root.tsa_authorities()[0],
    )
    .map(drop)
    .map_err(|error| error.to_string())
}

#[test]
fn a_legacy_attestation_is_stamped_as_a_whole() {
    let sigstore = Authority::new();
    let signer = sigstore.identity(Identity::zionsworking()).timestamped();
    let attest = |signer: Signer| signer.legacy_attestation(DIGEST, sbom::SPDX, &sbom::spdx());
    check_envelope_stamp(&sigstore, &attest(signer.clone())).unwrap();
    for (flaw, reason) in [
        (Flaw::TimestampByAnotherAuthority, "does not match any trusted TSA certificate"),
        (Flaw::TimestampOfAnotherSignature, "message hash mismatch"),
    ] {
        let layer = attest(signer.clone().flaw(flaw));
        let error = check_envelope_stamp(&sigstore, &layer).unwrap_err();
        assert!(error.contains(reason), "{flaw:?}: {error}");
    }
}

#[test]
fn the_log_names_the_envelope() {
    let signer = Authority::new().identity(Identity::zionsworking());
    let body = |signer: &Signer| {
        let layer = signer.legacy_attestation(DIGEST, sbom::SPDX, &sbom::spdx());
        let bundle = &layer.annotations["dev.sigstore.cosign/bundle"];
        let bundle: serde_json::Value = serde_json::from_str(bundle).unwrap();
        let body = super::decode(bundle["Payload"]["body"].as_str().unwrap());
        (serde_json::from_slice::<serde_json::Value>(&body).unwrap(), hex::encode(sha256(&layer.bytes)))
    };
    let (entry, envelope) = body(&signer);
    assert_eq!(entry["spec"]["envelopeHash"]["value"], envelope);
    let (entry, envelope) = body(&signer.clone().flaw(Flaw::ReformattedEnvelope));
    assert_ne!(entry["spec"]["envelopeHash"]["value"], envelope);
    let (entry, envelope) = body(&signer.intoto_entry());
    assert_eq!((&entry["kind"], &entry["apiVersion"]), (&"intoto".into(), &"0.0.1".into()));
    assert_eq!(entry["spec"]["content"]["hash"]["value"], envelope);
}
