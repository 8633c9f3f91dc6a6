//! Sigstore bundles (protobuf-specs, `Bundle` v0.1 to v0.3, JSON form).

use bytes::Bytes;
use sigstore_types::{Bundle, SignatureContent, VerificationMaterialContent};

use super::{Content, Evidence, Format, MAX_CHAIN, MAX_LOG_ENTRIES, Origin, Statement, statement::PAYLOAD_TYPE};
use crate::{image::Digest, verify::Rejection};

/// Whether a layer with this media type holds a bundle.
#[must_use]
pub fn is_bundle_media_type(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.dev.sigstore.bundle")
}

/// Reads a bundle that a layer with `digest` holds.
///
/// # Errors
/// A [`Rejection`] when it is malformed, or has more log entries or timestamps than any real one.
pub fn from_bundle(digest: Digest, bytes: &[u8]) -> Result<Evidence, Rejection> {
    let bundle: Bundle =
        serde_json::from_slice(bytes).map_err(|error| Rejection::Malformed(format!("bundle: {error}")))?;
    check_counts(&bundle)?;
    let content = match &bundle.content {
        SignatureContent::DsseEnvelope(envelope) if envelope.payload_type == PAYLOAD_TYPE => {
            let payload = Bytes::copy_from_slice(envelope.payload.as_bytes());
            Content::Statement { statement: Statement::parse(&payload)?, payload, envelope_sha256: None }
        }
        SignatureContent::DsseEnvelope(envelope) => {
            return Err(Rejection::Unsupported(format!(
                "DSSE payload type {:?}, expected {PAYLOAD_TYPE:?}",
                envelope.payload_type
            )));
        }
        // Anybody may sign a file that happens to be a manifest: that says nothing of an image.
        SignatureContent::MessageSignature(_) => {
            return Err(Rejection::Unsupported(
                "a message signature in a bundle is of a file, not of an image".to_owned(),
            ));
        }
        _ => return Err(Rejection::Unsupported("bundle content of an unknown kind".to_owned())),
    };
    Ok(Evidence { origin: Origin { format: Format::Bundle, digest }, content, bundle })
}

/// Step 1: counts within the caps, before any signature is checked.
fn check_counts(bundle: &Bundle) -> Result<(), Rejection> {
    let material = &bundle.verification_material;
    let entries = material.tlog_entries.len();
    let timestamps = material.timestamp_verification_data.rfc3161_timestamps.len();
    let certificates = match &material.content {
        VerificationMaterialContent::X509CertificateChain { certificates } => certificates.len(),
        _ => 1,
    };
    for (what, count, max) in [
        ("log entries", entries, MAX_LOG_ENTRIES),
        ("timestamps", timestamps, MAX_LOG_ENTRIES),
        ("certificates", certificates, MAX_CHAIN),
    ] {
        if count > max {
            return Err(Rejection::TooLarge(format!("{count} {what}, expected at most {max}")));
        }
    }
    Ok(())
}
