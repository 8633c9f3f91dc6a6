//! Stories 2, 4 and 5: no signature, somebody else's, no SBOM, somebody else's, another type.

use super::{assert_denied, every_setting};
use crate::rig::{Format, object, policy};

/// What the messages say of the one who should not have signed.
const FOUND: &str = "https://github.com/zionsworking-evil/cicd-supply-chain-security\
                     /.github/workflows/release.yml@refs/heads/main";

#[tokio::test]
async fn story_2_an_unsigned_image_of_the_same_repository() {
    for (world, webhook, _) in every_setting().await {
        for image in [world.image("unsigned"), world.by_digest("unsigned")] {
            let admission = webhook.admit(object::pod(&image)).await;
            let words =
                ["container \"app\"", "no signature was found", "AttestationMissing", &world.digest("unsigned")];
            assert_denied(&admission, "SignatureMissing", &words);
        }
    }
}

#[tokio::test]
async fn story_4_a_signature_by_another_identity() {
    for (world, webhook, language) in every_setting().await {
        for format in Format::ALL {
            let admission = webhook.admit(object::pod(&world.image_in(format, "other-identity"))).await;
            let expected = format!("signed by subject {FOUND}, expected {}", policy::EXPECTED_SUBJECT);
            assert_denied(&admission, "SubjectMismatch", &[&expected, "signature: SubjectMismatch"]);
            // The SBOM is somebody else's too.
            let attestation = "attestation https://spdx.dev/Document: SubjectMismatch";
            assert!(admission.message().contains(attestation), "{language}: {}", admission.message());
        }
    }
}

#[tokio::test]
async fn story_5_signed_but_no_sbom() {
    for (world, webhook, _) in every_setting().await {
        for format in Format::ALL {
            let admission = webhook.admit(object::pod(&world.image_in(format, "no-sbom"))).await;
            let words = ["no attestation of type https://spdx.dev/Document was found"];
            assert_denied(&admission, "AttestationMissing", &words);
            assert!(!admission.message().contains("signature:"), "the signature is good: {}", admission.message());
        }
    }
}

#[tokio::test]
async fn story_5_an_sbom_that_somebody_else_signed() {
    for (world, webhook, _) in every_setting().await {
        for format in Format::ALL {
            let admission = webhook.admit(object::pod(&world.image_in(format, "sbom-by-other"))).await;
            let expected = format!("signed by subject {FOUND}, expected {}", policy::EXPECTED_SUBJECT);
            assert_denied(&admission, "SubjectMismatch", &["attestation https://spdx.dev/Document", &expected]);
            assert!(!admission.message().contains("signature:"), "the signature is good: {}", admission.message());
        }
    }
}

#[tokio::test]
async fn story_5_an_attestation_of_another_type_only() {
    for (world, webhook, _) in every_setting().await {
        for format in Format::ALL {
            let admission = webhook.admit(object::pod(&world.image_in(format, "other-type"))).await;
            let words = ["https://spdx.dev/Document", "only of type https://slsa.dev/provenance/v1"];
            assert_denied(&admission, "PredicateTypeMismatch", &words);
        }
    }
}

#[tokio::test]
async fn another_issuer_is_another_identity() {
    for (world, webhook, _) in every_setting().await {
        let identity = crate::support::Identity::zionsworking().with_issuer("https://gitlab.com");
        let signer = world.sigstore.identity(identity).rekor_v2();
        let digest = world.push("other-issuer");
        world.sign(Format::Bundle, &signer, &digest);
        world.attest(Format::Bundle, &signer, &digest, crate::support::sbom::SPDX);
        let admission = webhook.admit(object::pod(&world.image("other-issuer"))).await;
        let expected = "issuer https://gitlab.com, expected https://token.actions.githubusercontent.com";
        assert_denied(&admission, "IssuerMismatch", &[expected]);
    }
}

#[tokio::test]
async fn the_mutating_call_denies_none_of_them() {
    for (world, webhook, _) in every_setting().await {
        for tag in ["unsigned", "other-identity", "no-sbom", "sbom-by-other", "other-type", "absent"] {
            let answer = webhook.mutate(object::pod(&world.image(tag))).await;
            assert!(answer.allowed, "{tag}: {}", answer.message);
        }
        for image in ["", "not a reference", "sha256:0", "ghcr.io/zionsworking/UPPER"] {
            let answer = webhook.mutate(object::pod(image)).await;
            assert!(answer.allowed && answer.patch.is_none(), "{image}: {}", answer.message);
        }
    }
}
