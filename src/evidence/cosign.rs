//! Legacy cosign signatures and attestations (cosign `specs/SIGNATURE_SPEC.md`), brought into bundle form.
//!
//! Every annotation is a claim by whoever pushed the layer. They become a v0.1 bundle here, which may
//! rest on a signed entry timestamp (SET) without an inclusion proof, and are believed only as far as
//! that bundle verifies.

use std::{collections::BTreeMap, str::FromStr as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use sigstore_types::{
    Bundle, CanonicalizedBody, DerCertificate, DigestBytes, DsseEnvelope, HashAlgorithm, InclusionPromise, KindVersion,
    LogId, LogIndex, LogKeyId, MediaType, MessageDigest, MessageSignature, PublicKeyIdentifier, Rfc3161Timestamp,
    SignatureBytes, SignatureContent, SignedTimestamp, TimestampToken, TimestampVerificationData, TransparencyLogEntry,
    VerificationMaterial, VerificationMaterialContent, X509Certificate,
};

use super::{Content, Evidence, Format, MAX_CHAIN, Origin, Statement, statement::PAYLOAD_TYPE};
use crate::{
    image::{Digest, PinnedImage},
    verify::Rejection,
};

/// Media type of a simple-signing payload.
pub const SIMPLE_SIGNING_MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Media type of a DSSE envelope.
pub const DSSE_MEDIA_TYPE: &str = "application/vnd.dsse.envelope.v1+json";

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const BUNDLE: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";
const PAYLOAD_KIND: &str = "cosign container image signature";

type Annotations = BTreeMap<String, String>;

/// The payload that cosign writes for `image` when it was signed under this very name and without extra
/// annotations. Where it hashes to the layer's digest, the layer need not be fetched.
#[must_use]
pub fn canonical_payload(image: &PinnedImage) -> Bytes {
    let PinnedImage { repository, digest } = image;
    format!(
        r#"{{"critical":{{"identity":{{"docker-reference":"{repository}"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"{PAYLOAD_KIND}"}},"optional":null}}"#
    )
    .into()
}

/// Reads a legacy signature: `payload` is the layer, checked against `digest`.
///
/// # Errors
/// A [`Rejection`] that says which part is malformed or unsupported.
pub fn from_legacy_signature(digest: Digest, payload: Bytes, annotations: &Annotations) -> Result<Evidence, Rejection> {
    #[derive(Deserialize)]
    struct Payload {
        critical: Critical,
    }
    #[derive(Deserialize)]
    struct Critical {
        image: Image,
        #[serde(rename = "type")]
        kind: String,
    }
    #[derive(Deserialize)]
    struct Image {
        #[serde(rename = "docker-manifest-digest")]
        manifest_digest: String,
    }
    let parsed: Payload = serde_json::from_slice(&payload)
        .map_err(|error| Rejection::Malformed(format!("simple-signing payload: {error}")))?;
    if parsed.critical.kind != PAYLOAD_KIND {
        return Err(Rejection::Malformed(format!(
            "simple-signing payload has critical.type {:?}, expected {PAYLOAD_KIND:?}",
            parsed.critical.kind
        )));
    }
    let signature = annotations.get(SIGNATURE).map(String::as_str).unwrap_or_default();
    let signature = decode("signature annotation", signature)?;
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &payload);
    let message = MessageSignature::new(SignatureBytes::new(signature))
        .with_message_digest(MessageDigest::new(HashAlgorithm::Sha2256, DigestBytes::new(sha256.as_ref().to_vec())));
    let mut material = material(annotations)?;
    if let Some(token) = timestamp(annotations)? {
        material = material.with_timestamp_verification_data(TimestampVerificationData::new(vec![token]));
    }
    Ok(Evidence {
        origin: Origin { format: Format::LegacySignature, digest },
        content: Content::SimpleSigning { payload, manifest_digest: parsed.critical.image.manifest_digest },
        bundle: Bundle::new(MediaType::Bundle0_1, material, SignatureContent::MessageSignature(message)),
    })
}

/// Reads a legacy attestation: `envelope` is the layer, checked against `digest`.
///
/// A legacy timestamp covers the whole envelope and not the signature; the SET is the verified time here.
///
/// # Errors
/// A [`Rejection`] that says which part is malformed or unsupported.
pub fn from_legacy_attestation(
    digest: Digest,
    envelope: &Bytes,
    annotations: &Annotations,
) -> Result<Evidence, Rejection> {
    let parsed: DsseEnvelope =
        serde_json::from_slice(envelope).map_err(|error| Rejection::Malformed(format!("DSSE envelope: {error}")))?;
    if parsed.payload_type != PAYLOAD_TYPE {
        return Err(Rejection::Unsupported(format!(
            "DSSE payload type {:?}, expected {PAYLOAD_TYPE:?}",
            parsed.payload_type
        )));
    }
    let payload = Bytes::copy_from_slice(parsed.payload.as_bytes());
    let statement = Statement::parse(&payload)?;
    let material = match material(annotations) {
        // Say that the bytes were changed before saying that the log entry is of an old kind.
        Err(unsupported @ Rejection::LogEntryUnsupported { .. }) => {
            return Err(signed_by_its_certificate(&parsed, annotations).err().unwrap_or(unsupported));
        }
        other => other?,
    };
    let envelope_sha256 = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, envelope));
    Ok(Evidence {
        origin: Origin { format: Format::LegacyAttestation, digest },
        content: Content::Statement { statement, payload, envelope_sha256: Some(envelope_sha256) },
        bundle: Bundle::new(MediaType::Bundle0_1, material, SignatureContent::DsseEnvelope(parsed)),
    })
}

fn decode(what: &str, text: &str) -> Result<Vec<u8>, Rejection> {
    STANDARD.decode(text).map_err(|error| Rejection::Malformed(format!("{what}: {error}")))
}

/// Certificate chain (or key hint) and log entry.
fn material(annotations: &Annotations) -> Result<VerificationMaterial, Rejection> {
    let content = match annotations.get(CERTIFICATE) {
        Some(leaf) => {
            let mut certificates = pem_certificates(leaf)?;
            certificates.truncate(1);
            if let Some(chain) = annotations.get(CHAIN) {
                certificates.extend(pem_certificates(chain)?);
            }
            if certificates.len() > MAX_CHAIN {
                return Err(Rejection::TooLarge(format!("more than {MAX_CHAIN} certificates in the chain")));
            }
            VerificationMaterialContent::X509CertificateChain {
                certificates: certificates.into_iter().map(X509Certificate::new).collect(),
            }
        }
        None => VerificationMaterialContent::PublicKey(PublicKeyIdentifier::new("")),
    };
    let material = VerificationMaterial::new(content);
    Ok(match annotations.get(BUNDLE) {
        Some(entry) => material.with_tlog_entries(vec![log_entry(entry)?]),
        None => material,
    })
}

fn pem_certificates(text: &str) -> Result<Vec<DerCertificate>, Rejection> {
    const END: &str = "-----END CERTIFICATE-----";
    let mut certificates = Vec::new();
    for block in text.split_inclusive(END).filter(|block| block.contains(END)).take(MAX_CHAIN + 1) {
        let certificate = DerCertificate::from_pem(block)
            .map_err(|error| Rejection::Malformed(format!("certificate annotation: {error}")))?;
        certificates.push(certificate);
    }
    if certificates.is_empty() {
        return Err(Rejection::Malformed("certificate annotation holds no certificate".to_owned()));
    }
    Ok(certificates)
}

/// The Rekor v1 entry that cosign keeps as an annotation.
fn log_entry(annotation: &str) -> Result<TransparencyLogEntry, Rejection> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct RekorBundle {
        signed_entry_timestamp: String,
        payload: Payload,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload {
        body: String,
        integrated_time: i64,
        log_index: u64,
        #[serde(rename = "logID")]
        log_id: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        api_version: String,
        kind: String,
    }
    let malformed =
        |what: &str, error: &dyn std::fmt::Display| Rejection::Malformed(format!("log entry {what}: {error}"));
    let RekorBundle { signed_entry_timestamp, payload } =
        serde_json::from_str(annotation).map_err(|error| malformed("annotation", &error))?;
    let body = decode("log entry body", &payload.body)?;
    let Body { api_version, kind } = serde_json::from_slice(&body).map_err(|error| malformed("body", &error))?;
    let kind_version = match (kind.as_str(), api_version.as_str()) {
        ("hashedrekord", "0.0.1") => KindVersion::HashedRekordV001,
        ("dsse", "0.0.1") => KindVersion::DsseV001,
        ("intoto", "0.0.2") => KindVersion::IntotoV002,
        _ => return Err(Rejection::LogEntryUnsupported { kind, version: api_version }),
    };
    let log_id = hex::decode(&payload.log_id).map_err(|error| malformed("logID", &error))?;
    let index = LogIndex::new(payload.log_index).map_err(|error| malformed("logIndex", &error))?;
    let time =
        jiff::Timestamp::from_second(payload.integrated_time).map_err(|error| malformed("integratedTime", &error))?;
    let set = SignedTimestamp::new(decode("signed entry timestamp", &signed_entry_timestamp)?);
    Ok(TransparencyLogEntry::new(index, LogId::new(LogKeyId::new(log_id)), kind_version, CanonicalizedBody::new(body))
        .with_integrated_time(time)
        .with_inclusion_promise(InclusionPromise::new(set)))
}

fn timestamp(annotations: &Annotations) -> Result<Option<Rfc3161Timestamp>, Rejection> {
    #[derive(Deserialize)]
    struct Annotation {
        #[serde(rename = "SignedRFC3161Timestamp")]
        token: String,
    }
    // cosign writes `null` or an empty text where it has none.
    let Some(text) = annotations.get(TIMESTAMP).filter(|text| !matches!(text.as_str(), "" | "null")) else {
        return Ok(None);
    };
    let annotation: Annotation = serde_json::from_str(text)
        .map_err(|error| Rejection::Malformed(format!("rfc3161timestamp annotation: {error}")))?;
    let token = TimestampToken::new(decode("rfc3161timestamp annotation", &annotation.token)?);
    Ok(Some(Rfc3161Timestamp::new(token)))
}

/// Whether the envelope is signed by the key of its own (unverified) certificate.
fn signed_by_its_certificate(envelope: &DsseEnvelope, annotations: &Annotations) -> Result<(), Rejection> {
    let certificate = annotations.get(CERTIFICATE).map(String::as_str).unwrap_or_default();
    let certificate = pem_certificates(certificate)?.swap_remove(0);
    let info = sigstore_crypto::x509::parse_certificate_info(&certificate)
        .map_err(|error| Rejection::CertificateMalformed(error.to_string()))?;
    let scheme = info.key_algorithm.default_signing_scheme();
    sigstore_crypto::verify_signature(&info.public_key, &envelope.pae(), &envelope.signature.sig, scheme)
        .map_err(|error| Rejection::SignatureInvalid(error.to_string()))
}

/// The digest that the log's `dsse` entry gives for the whole envelope, hex.
pub(crate) fn logged_envelope_sha256(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        spec: Spec,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Spec {
        envelope_hash: Hash,
    }
    #[derive(Deserialize)]
    struct Hash {
        algorithm: String,
        value: String,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    let Hash { algorithm, value } = body.spec.envelope_hash;
    Digest::from_str(&format!("{algorithm}:{value}")).ok().map(|digest| digest.hex().to_owned())
}
