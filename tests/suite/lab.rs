//! What real cosign 2 and 3 wrote for six images, under the very names of the example policy: the six
//! verdicts, in both formats, through `apply`, `serve` and `verify`.

use std::io::Write as _;

use super::binary::{Served, arg, pod, run};

const REPOSITORY: &str = "ghcr.io/zionsworking/cicd-supply-chain-security";
const FORMATS: [&str; 2] = ["cosign2", "cosign3"];

/// Tag, its digest with cosign 2 and with cosign 3 (their beginnings), and the reason code of the denial.
const VERDICTS: [(&str, [&str; 2], Option<&str>); 6] = [
    ("signed-with-sbom", ["sha256:78250f9f3ca1", "sha256:f6649ee371b6"], None),
    ("signed-no-sbom", ["sha256:50b018c661b4", "sha256:211b67db946b"], Some("AttestationMissing")),
    ("unsigned", ["sha256:58ead293046d", "sha256:e41e4db2d525"], Some("SignatureMissing")),
    ("other-identity", ["sha256:c3a6270d5a2f", "sha256:0f040f9d4368"], Some("SubjectMismatch")),
    ("sbom-by-other", ["sha256:e005f633ea14", "sha256:17433b603e61"], Some("SubjectMismatch")),
    ("attested-only", ["sha256:161d74a6c903", "sha256:9c5a40c909b1"], Some("SignatureMissing")),
];

fn layout(format: &str) -> String {
    arg(&format!("tests/vectors/lab/{format}"))
}

fn trusted_root() -> String {
    arg("tests/vectors/lab/trusted_root.json")
}

/// The full digest of `tag`.
fn digest(format: &str, tag: &str) -> String {
    let index = std::fs::read(format!("{}/index.json", layout(format))).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let named = |entry: &&serde_json::Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag;
    let entry = index["manifests"].as_array().unwrap().iter().find(named).unwrap();
    entry["digest"].as_str().unwrap().to_owned()
}

#[test]
fn apply_gives_the_six_verdicts() {
    for (at, format) in FORMATS.iter().enumerate() {
        for (tag, digests, code) in VERDICTS {
            for policy in ["policy/kyverno-verify-images.yaml", "policy/verify-images.yaml"] {
                let mut file = tempfile::NamedTempFile::new().unwrap();
                write!(file, "{}", pod(&format!("{REPOSITORY}:{tag}"))).unwrap();
                let path = file.path().display().to_string();
                let (policy, root, layout) = (arg(policy), trusted_root(), layout(format));
                let arguments = ["apply", &policy, "-r", &path, "--layout", &layout, "--trusted-root", &root];
                let ended = run(&arguments);
                assert_eq!(ended.status, i32::from(code.is_some()), "{format} {tag}: {}", ended.stdout);
                assert!(ended.stdout.contains(code.unwrap_or("fail: 0")), "{format} {tag}: {}", ended.stdout);
                assert!(ended.stdout.contains(digests[at]), "{format} {tag}: {}", ended.stdout);
            }
        }
    }
}

#[test]
fn serve_gives_the_six_verdicts() {
    for format in FORMATS {
        let (policy, root, layout) = (arg("policy/kyverno-verify-images.yaml"), trusted_root(), layout(format));
        let server = Served::start(&["--policy", &policy, "--layout", &layout, "--trusted-root", &root]);
        for (tag, _, code) in VERDICTS {
            let answer = server.validate(&format!("{REPOSITORY}:{tag}@{}", digest(format, tag)));
            assert_eq!(answer["allowed"], code.is_none(), "{format} {tag}: {answer}");
            if let Some(code) = code {
                assert_eq!(answer["status"]["code"], 403);
                assert_eq!(answer["status"]["reason"], code, "{format} {tag}: {answer}");
            }
        }
        assert_eq!(server.terminate(), Some(0));
    }
}

#[test]
fn verify_and_verify_attestation_agree_with_the_verdicts() {
    for format in FORMATS {
        for (tag, signature, attestation) in [
            ("signed-with-sbom", 0, 0),
            ("signed-no-sbom", 0, 1),
            ("unsigned", 1, 1),
            ("other-identity", 1, 1),
            ("sbom-by-other", 0, 1),
            ("attested-only", 1, 0),
        ] {
            let (image, layout, root) = (format!("{REPOSITORY}:{tag}"), layout(format), trusted_root());
            let common = [
                "--certificate-identity-regexp",
                "^https://github.com/zionsworking/",
                "--certificate-oidc-issuer",
                "https://token.actions.githubusercontent.com",
                "--layout",
                &layout,
                "--trusted-root",
                &root,
                &image,
            ];
            let ended = run(&[&["verify"], &common[..]].concat());
            assert_eq!(ended.status, signature, "{format} {tag}: {}", ended.stderr);
            if signature == 0 {
                let payloads: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
                let digest = &payloads[0]["critical"]["image"]["docker-manifest-digest"];
                assert_eq!(digest, &self::digest(format, tag));
                let subject = payloads[0]["optional"]["Subject"].as_str().unwrap();
                assert!(subject.starts_with("https://github.com/zionsworking/"), "{subject}");
            }
            let ended = run(&[&["verify-attestation", "--type", "spdxjson"], &common[..]].concat());
            assert_eq!(ended.status, attestation, "{format} {tag}: {}", ended.stderr);
            if attestation == 0 {
                let envelope: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
                assert_eq!(envelope["payloadType"], "application/vnd.in-toto+json");
            }
        }
    }
}

/// The policy names one log, the evidence of cosign 3 is in another one of the same trust root: the name has to be
/// known, and then any log of the trust root counts. Under the public-good root both are unknown.
#[test]
fn evidence_of_a_private_sigstore_is_nothing_to_the_public_good_root() {
    for format in FORMATS {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "{}", pod(&format!("{REPOSITORY}:signed-with-sbom"))).unwrap();
        let path = file.path().display().to_string();
        let (policy, layout) = (arg("policy/kyverno-verify-images.yaml"), layout(format));
        let ended = run(&["apply", &policy, "-r", &path, "--layout", &layout]);
        assert_eq!(ended.status, 1, "{}", ended.stdout);
        let code = if format == "cosign2" { "InclusionPromiseInvalid" } else { "TimestampInvalid" };
        assert!(ended.stdout.contains(code), "{format}: {}", ended.stdout);
    }
}
