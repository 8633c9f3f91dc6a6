//! `bonafide verify` and `bonafide verify-attestation`, as cosign's.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::bail;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{ArgGroup, Args, ValueEnum};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Status,
    args::{RegistryArgs, TrustArgs, duration},
    files, paint,
};
use crate::{
    decision::{Unknown, printable},
    evidence::{Evidence, Format},
    image::{PinnedImage, Reference},
    policy::{Authority, AuthorityKind, Identity, Pattern, PredicateType, PublicKey, Requirement, RequirementKind},
    registry::{Caps, Gathered, Memory, OciSource, gather, resolve},
    trust::TrustRoot,
    verify::{Docket, Rejection, Signer, Verified},
};

/// Verify the signature of images.
///
/// Takes the identity, key, trust root and output flags of `cosign verify`. Signatures are found in legacy tags and in bundles alike, and
/// verified against the embedded public-good trust root or --trusted-root, without asking anyone but the
/// registry.
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    common: CommonArgs,
}

/// Verify a signed attestation of images.
///
/// Takes the identity, key, trust root and output flags of `cosign verify-attestation`.
#[derive(Args, Debug)]
pub(super) struct VerifyAttestationArgs {
    /// Predicate type: a URI, or slsaprovenance, slsaprovenance02, slsaprovenance1, link, spdx, spdxjson, cyclonedx,
    /// vuln, openvex, custom
    #[arg(long = "type", value_name = "TYPE", default_value = "custom")]
    predicate_type: PredicateType,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("subject").args(["certificate_identity", "certificate_identity_regexp"]))]
#[command(group = ArgGroup::new("issuer").args(["certificate_oidc_issuer", "certificate_oidc_issuer_regexp"]))]
struct CommonArgs {
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<Reference>,
    /// The identity in the signing certificate, exactly
    #[arg(long, value_name = "IDENTITY", conflicts_with = "key", requires = "issuer")]
    certificate_identity: Option<String>,
    /// A regular expression that the identity has to match; as cosign's it is not anchored
    #[arg(long, value_name = "REGEXP", conflicts_with = "key", requires = "issuer")]
    certificate_identity_regexp: Option<String>,
    /// The OIDC issuer in the signing certificate, exactly
    #[arg(long, value_name = "URL", conflicts_with = "key", requires = "subject")]
    certificate_oidc_issuer: Option<String>,
    /// A regular expression that the OIDC issuer has to match; as cosign's it is not anchored
    #[arg(long, value_name = "REGEXP", conflicts_with = "key", requires = "subject")]
    certificate_oidc_issuer_regexp: Option<String>,
    /// A public key file (PEM) in place of an identity
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// How to print what was verified
    #[arg(short, long, value_enum, default_value_t = Output::Json)]
    output: Output,
    /// Time for one image: 3m, 90s, or a number of seconds
    #[arg(short, long, value_name = "DURATION", default_value = "3m", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Output {
    /// The signed payloads, as cosign prints them
    Json,
    /// A line for each signer
    Text,
}

pub(super) async fn run(args: VerifyArgs) -> anyhow::Result<Status> {
    verify_all(args.common, RequirementKind::Signature).await
}

pub(super) async fn run_attestation(args: VerifyAttestationArgs) -> anyhow::Result<Status> {
    let predicate_type = args.predicate_type;
    verify_all(args.common, RequirementKind::Attestation { predicate_type }).await
}

async fn verify_all(args: CommonArgs, kind: RequirementKind) -> anyhow::Result<Status> {
    let authority = Arc::new(Authority { name: "command line".to_owned(), kind: authority(&args)? });
    let requirement = Requirement::new(kind, vec![authority], 1)?;
    let trust = files::trust_root(args.trust.trusted_root.as_deref())?;
    let caps = args.registry.caps();
    let source = args.registry.source()?;
    let mut worst = Status::Ok;
    for image in &args.images {
        let deadline = Instant::now() + args.timeout;
        let status = match examine(&*source, image, &caps, deadline).await {
            Ok((pinned, gathered)) => verify_one(image, &pinned, &gathered, &requirement, &trust, args.output),
            Err(unknown) => could_not_decide(image, &unknown),
        };
        worst = worst.max(status);
    }
    Ok(worst)
}

fn authority(args: &CommonArgs) -> anyhow::Result<AuthorityKind> {
    if let Some(path) = &args.key {
        return Ok(AuthorityKind::Key(PublicKey::from_pem(&files::read_text(path)?)?));
    }
    let pattern = |exact: &Option<String>, regexp: &Option<String>| match (exact, regexp) {
        (Some(exact), _) => Pattern::exact(exact).map(Some),
        (None, Some(regexp)) => Pattern::search(regexp).map(Some),
        (None, None) => Ok(None),
    };
    let subject = pattern(&args.certificate_identity, &args.certificate_identity_regexp)?;
    let issuer = pattern(&args.certificate_oidc_issuer, &args.certificate_oidc_issuer_regexp)?;
    match (issuer, subject) {
        (Some(issuer), Some(subject)) => Ok(AuthorityKind::Keyless(Identity { issuer, subject })),
        _ => bail!(
            "whose signature counts? give --certificate-identity and --certificate-oidc-issuer (or their -regexp forms), or --key"
        ),
    }
}

async fn examine(
    source: &dyn OciSource,
    image: &Reference,
    caps: &Caps,
    deadline: Instant,
) -> Result<(PinnedImage, Gathered), Unknown> {
    let digest = resolve(source, image, deadline).await?;
    let pinned = image.repository().pin(digest);
    let gathered = gather(source, &pinned, caps, &Memory::new(u64::MAX), deadline).await;
    Ok((pinned, gathered))
}

fn could_not_decide(image: &Reference, unknown: &Unknown) -> Status {
    anstream::eprintln!(
        "{} {image}: {}: could not be decided: {}",
        paint::unsure("unknown"),
        unknown.code(),
        printable(&unknown.to_string())
    );
    Status::Unknown
}

fn verify_one(
    image: &Reference,
    pinned: &PinnedImage,
    gathered: &Gathered,
    requirement: &Requirement,
    trust: &TrustRoot,
    output: Output,
) -> Status {
    let docket = Docket::new(pinned, &gathered.evidence, &gathered.unreadable, trust, Timestamp::now());
    let verified = docket.verify_every(requirement);
    if !verified.is_empty() {
        print_verified(image, pinned, gathered, &verified, requirement, output);
        return Status::Ok;
    }
    if let Some(failure) = gathered.failures.first() {
        return could_not_decide(image, &Unknown::Fetch(failure.clone()));
    }
    let rejections = docket.verify(requirement).err().unwrap_or_default();
    let code = rejections.first().map_or("InternalError", Rejection::code);
    anstream::eprintln!("{} {pinned}: {}", paint::bad("denied"), requirement.kind());
    for rejection in &rejections {
        eprintln!("  {}: {}", rejection.code(), printable(&rejection.to_string()));
    }
    if rejections.is_empty() {
        eprintln!("  {code}");
    }
    Status::Denied
}

fn print_verified(
    image: &Reference,
    pinned: &PinnedImage,
    gathered: &Gathered,
    verified: &[Verified],
    requirement: &Requirement,
    output: Output,
) {
    anstream::eprintln!(
        "\nVerification for {image} --\nThe following checks were performed on each of these signatures:\n  \
         - The claims name the image's digest, {}\n  \
         - Existence of the claims in the transparency log was verified offline",
        pinned.digest
    );
    match verified.first().map(|verified| &verified.authentic().signer) {
        Some(Signer::Key { .. }) => eprintln!("  - The signatures were verified against the specified public key\n"),
        _ => eprintln!(
            "  - The code-signing certificate was verified using trusted certificate authority certificates\n"
        ),
    }
    match (output, requirement.kind()) {
        (Output::Text, _) => {
            for verified in verified {
                let authentic = verified.authentic();
                let at = authentic.signed_at.map(|time| format!(" at {time}")).unwrap_or_default();
                let log = authentic.log_index.map(|index| format!(", log index {index}")).unwrap_or_default();
                println!(
                    "{}: signed by {}{at}{log} ({})",
                    pinned,
                    printable(&authentic.signer.to_string()),
                    verified.origin().format.as_str()
                );
            }
        }
        (Output::Json, RequirementKind::Attestation { .. }) => {
            for verified in verified {
                if let Some(evidence) = gathered.evidence.iter().find(|evidence| evidence.origin == *verified.origin())
                {
                    println!("{}", envelope(evidence));
                }
            }
        }
        (Output::Json, _) => {
            let payloads: Vec<Value> = verified.iter().map(|verified| payload(pinned, verified)).collect();
            println!("{}", Value::from(payloads));
        }
    }
}

/// The DSSE envelope, one on a line, as `cosign verify-attestation` prints it.
fn envelope(evidence: &Evidence) -> Value {
    match &evidence.bundle.content {
        sigstore_types::SignatureContent::DsseEnvelope(envelope) => json!({
            "payloadType": envelope.payload_type,
            "payload": STANDARD.encode(envelope.payload.as_bytes()),
            "signatures": [{"sig": STANDARD.encode(envelope.signature.sig.as_bytes())}],
        }),
        _ => Value::Null,
    }
}

/// The simple-signing payload with the signer's claims under `optional`, as `cosign verify` prints it.
fn payload(pinned: &PinnedImage, verified: &Verified) -> Value {
    let authentic = verified.authentic();
    let mut payload = match verified.origin().format {
        Format::LegacySignature => serde_json::from_slice(&authentic.payload).unwrap_or_default(),
        _ => json!({"critical": {
            "identity": {"docker-reference": pinned.repository.to_string()},
            "image": {"docker-manifest-digest": pinned.digest.as_str()},
            "type": "https://sigstore.dev/cosign/sign/v1",
        }}),
    };
    let mut optional = match payload.get_mut("optional").map(Value::take) {
        Some(Value::Object(optional)) => optional,
        _ => serde_json::Map::new(),
    };
    if let Signer::Certificate { issuer, subject } = &authentic.signer {
        optional.insert("Issuer".to_owned(), issuer.as_str().into());
        optional.insert("Subject".to_owned(), subject.as_str().into());
    }
    if let Some(index) = authentic.log_index {
        optional.insert("LogIndex".to_owned(), index.into());
    }
    payload["optional"] = Value::Object(optional);
    payload
}
