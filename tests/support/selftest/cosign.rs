//! Real cosign accepts what the test Sigstore makes and the test registry serves.
//!
//! `COSIGN=/path/to/cosign cargo test --test support -- --ignored`, with cosign 2 or 3.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::support::registry::Options;
use super::support::{Authority, Flaw, Identity, Registry, Signer, sbom};

/// Flag of cosign 2 for what is the default of cosign 3.
const BUNDLES: &str = "--new-bundle-format";
const REPOSITORY: &str = "zionsworking/cicd-supply-chain-security";

struct Cosign {
    sigstore: Authority,
    registry: Registry,
    home: std::path::PathBuf,
}

impl Cosign {
    fn new(options: Options) -> Self {
        let sigstore = Authority::new();
        let registry = Registry::launch(options);
        let home = std::env::temp_dir().join(format!("cosign-{}", registry.port()));
        std::fs::create_dir_all(&home).unwrap();
        for (name, content) in [
            ("trusted_root.json", sigstore.trusted_root_json()),
            ("fulcio.pem", sigstore.fulcio_chain_pem()),
            ("ct.pub", sigstore.ct_public_pem()),
            ("rekor.pub", sigstore.rekor_public_pem()),
            ("tsa.pem", sigstore.tsa_chain_pem()),
        ] {
            std::fs::write(home.join(name), content).unwrap();
        }
        Self { sigstore, registry, home }
    }

    fn signer(&self) -> Signer {
        let repository = format!("{}/{REPOSITORY}", self.registry.host());
        self.sigstore.identity(Identity::zionsworking()).repository(&repository)
    }

    /// Runs `cosign ARGUMENTS IMAGE@DIGEST`: what it printed, as error if it failed.
    fn run(&self, arguments: &[&str], digest: &str) -> Result<String, String> {
        let mut command = Command::new(std::env::var("COSIGN").expect("COSIGN, a path"));
        command.args(arguments);
        if arguments[0] == "verify-attestation" && !is_cosign_3() && !arguments.contains(&BUNDLES) {
            // cosign 2 takes no trusted root here.
            command
                .arg(format!("--timestamp-certificate-chain={}", self.home.join("tsa.pem").display()))
                .env("SIGSTORE_ROOT_FILE", self.home.join("fulcio.pem"))
                .env("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", self.home.join("ct.pub"))
                .env("SIGSTORE_REKOR_PUBLIC_KEY", self.home.join("rekor.pub"));
        } else {
            let root = self.home.join("trusted_root.json");
            command.arg(format!("--trusted-root={}", root.display()));
        }
        let mut child = command
            .arg(format!("{}/{REPOSITORY}@{digest}", self.registry.host()))
            .env("HOME", &self.home)
            .env("COSIGN_EXPERIMENTAL", "1")
            .stdout(Stdio::from(std::fs::File::create(self.home.join("out")).unwrap()))
            .stderr(Stdio::from(std::fs::File::create(self.home.join("err")).unwrap()))
            .spawn()
            .unwrap();
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > Duration::from_secs(60) {
                child.kill().unwrap();
                panic!("cosign takes longer than a minute");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let read = |name| std::fs::read_to_string(self.home.join(name)).unwrap();
        if status.success() { Ok(read("out")) } else { Err(read("err")) }
    }

    fn verify(&self, more: &[&str], digest: &str) -> Result<String, String> {
        self.run(&[&["verify"], &IDENTITY[..], more].concat(), digest)
    }

    fn verify_attestation(&self, more: &[&str], digest: &str) -> Result<String, String> {
        let command = ["verify-attestation", "--type=spdxjson"];
        self.run(&[&command, &IDENTITY[..], more].concat(), digest)
    }
}

impl Drop for Cosign {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

const IDENTITY: [&str; 2] = [
    "--certificate-identity=https://github.com/zionsworking/cicd-supply-chain-security\
     /.github/workflows/release.yml@refs/heads/main",
    "--certificate-oidc-issuer=https://token.actions.githubusercontent.com",
];

fn is_cosign_3() -> bool {
    let version = Command::new(std::env::var("COSIGN").unwrap()).arg("version").output().unwrap();
    String::from_utf8_lossy(&version.stdout).contains("v3.")
}

#[test]
#[ignore = "needs COSIGN, the path of a cosign binary"]
fn cosign_accepts_sound_evidence() {
    for options in [Options::default(), Options::without_referrers()] {
        let cosign = Cosign::new(options);
        for (n, signer) in [
            cosign.signer(),
            cosign.signer().timestamped(),
            cosign.signer().at("2025-06-01T12:00:00Z".parse().unwrap()),
        ]
        .into_iter()
        .enumerate()
        {
            let content = format!("legacy {n}");
            let digest = cosign.registry.push_image(REPOSITORY, &format!("l{n}"), content.as_bytes());
            let signature = signer.legacy_signature(&digest);
            let attestation = signer.legacy_attestation(&digest, sbom::SPDX, &sbom::spdx());
            cosign.registry.push_legacy(REPOSITORY, &digest, [signature, attestation]);
            cosign.verify(&[], &digest).unwrap_or_else(|e| panic!("{content}: {e}"));
            cosign.verify_attestation(&[], &digest).unwrap_or_else(|e| panic!("{content}: {e}"));
        }
        for (n, signer) in
            [cosign.signer(), cosign.signer().timestamped(), cosign.signer().rekor_v2()].into_iter().enumerate()
        {
            let content = format!("bundle {n}");
            let digest = cosign.registry.push_image(REPOSITORY, &format!("b{n}"), content.as_bytes());
            let attestation = signer.bundle_attestation(&digest, sbom::SPDX, &sbom::spdx());
            cosign.registry.push_bundle(REPOSITORY, &digest, &signer.bundle_signature(&digest));
            cosign.registry.push_bundle(REPOSITORY, &digest, &attestation);
            let mut flags: Vec<&str> = if is_cosign_3() { Vec::new() } else { vec![BUNDLES] };
            if n == 2 && !is_cosign_3() {
                flags.push("--use-signed-timestamps");
            }
            cosign.verify(&flags, &digest).unwrap_or_else(|e| panic!("{content}: {e}"));
            cosign.verify_attestation(&flags, &digest).unwrap_or_else(|e| panic!("{content}: {e}"));
        }
    }
}

#[test]
#[ignore = "needs COSIGN, the path of a cosign binary"]
fn cosign_accepts_signatures_by_key() {
    let cosign = Cosign::new(Options::default());
    let repository = format!("{}/{REPOSITORY}", cosign.registry.host());
    let key = cosign.sigstore.key().repository(&repository);
    std::fs::write(cosign.home.join("cosign.pub"), key.public_key_pem()).unwrap();
    let flag = format!("--key={}", cosign.home.join("cosign.pub").display());
    let digest = cosign.registry.push_image(REPOSITORY, "logged", b"logged");
    cosign.registry.push_legacy(REPOSITORY, &digest, [key.legacy_signature(&digest)]);
    cosign.run(&["verify", &flag], &digest).unwrap();
    let digest = cosign.registry.push_image(REPOSITORY, "unlogged", b"unlogged");
    let unlogged = key.clone().unlogged();
    cosign.registry.push_legacy(REPOSITORY, &digest, [unlogged.legacy_signature(&digest)]);
    cosign.run(&["verify", &flag], &digest).unwrap_err();
    cosign.run(&["verify", &flag, "--insecure-ignore-tlog"], &digest).unwrap();
    if is_cosign_3() {
        let digest = cosign.registry.push_image(REPOSITORY, "bundle", b"bundle");
        cosign.registry.push_bundle(REPOSITORY, &digest, &key.bundle_signature(&digest));
        cosign.run(&["verify", &flag], &digest).unwrap();
    }
}

#[test]
#[ignore = "needs COSIGN, the path of a cosign binary"]
fn cosign_rejects_flawed_evidence() {
    let cosign = Cosign::new(Options::default());
    let flaws = Flaw::ALL.into_iter().filter(|flaw| {
        !matches!(
            flaw,
            // Not a signature's matter.
            Flaw::ReformattedEnvelope
                | Flaw::WrongPredicateType
                | Flaw::WrongStatementType
                // Not cosign's: it has no limits here, does not compare a log's time with the clock,
                // needs no time stamp next to a SET, and of `critical` reads the digest only.
                | Flaw::Subjects(_)
                | Flaw::LogEntries(_)
                | Flaw::Timestamps(_)
                | Flaw::FutureIntegratedTime
                | Flaw::TimestampByAnotherAuthority
                | Flaw::TimestampWithBorrowedCertificate
                | Flaw::TimestampOfAnotherSignature
                | Flaw::WrongCriticalType
        )
    });
    let mut passed = Vec::new();
    for flaw in flaws {
        let signer = cosign.signer().flaw(flaw);
        let content = format!("{flaw:?}");
        let digest = cosign.registry.push_image(REPOSITORY, &content, content.as_bytes());
        if flaw.applies_to(super::Kind::LegacySignature) {
            cosign.registry.push_legacy(REPOSITORY, &digest, [signer.legacy_signature(&digest)]);
            if cosign.verify(&[], &digest).is_ok() {
                passed.push(format!("{flaw:?}, legacy"));
            }
            cosign.registry.remove_tag(REPOSITORY, &format!("{}.sig", digest.replace(':', "-")));
        }
        if is_cosign_3() && flaw.applies_to(super::Kind::BundleSignature) {
            cosign.registry.push_bundle(REPOSITORY, &digest, &signer.bundle_signature(&digest));
            if cosign.verify(&[], &digest).is_ok() {
                passed.push(format!("{flaw:?}, bundle"));
            }
        }
    }
    assert!(passed.is_empty(), "cosign accepts {passed:#?}");
}

#[test]
#[ignore = "needs COSIGN, the path of a cosign binary"]
fn cosign_finds_legacy_signatures_among_referrers() {
    let cosign = Cosign::new(Options::default());
    let digest = cosign.registry.push_image(REPOSITORY, "1", b"content");
    let signature = cosign.signer().legacy_signature(&digest);
    cosign.registry.push_legacy_referrer(REPOSITORY, &digest, [signature]);
    cosign.verify(&["--experimental-oci11"], &digest).unwrap();
}
