//! Manifests, indexes and descriptors (OCI image-spec), as far as evidence needs them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};

use crate::image::Digest;

/// A content descriptor. Its annotations and artifact type are hints from whoever wrote it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the bytes claim to be.
    #[serde(default)]
    pub media_type: String,
    /// What the bytes hash to.
    pub digest: Digest,
    /// How many bytes there are.
    pub size: u64,
    /// The type that a referrer claims.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// Claims, such as the certificate and signature of a legacy cosign layer.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// The bytes themselves, base64, where the writer embedded them (image-spec, "Embedded Content").
    #[serde(default)]
    pub data: Option<String>,
}

impl Descriptor {
    /// The embedded content, when it is there and hashes to the digest.
    #[must_use]
    pub fn embedded(&self) -> Option<Bytes> {
        use base64::Engine as _;
        let data = self.data.as_deref()?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).ok()?;
        (bytes.len() as u64 == self.size && self.digest.matches(&bytes)).then(|| bytes.into())
    }
}

/// The bytes of a manifest or an index, checked against `digest`. Not parsed: the manifest of an image
/// is only ever named, never read.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// What the bytes hash to; where it was asked for by digest, that digest.
    pub digest: Digest,
    /// The bytes as served.
    pub bytes: Bytes,
}

/// What an image manifest or an index lists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entries {
    /// The layers of an image manifest.
    Layers(Vec<Descriptor>),
    /// The manifests of an index.
    Manifests(Vec<Descriptor>),
}

/// Why bytes are not a manifest.
#[derive(thiserror::Error, Debug)]
pub enum ManifestError {
    /// Not JSON of that shape.
    #[error("manifest is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// Both an image manifest and an index, or neither: two readers could disagree (CVE-2021-41190).
    #[error("manifest has {0} of `layers` and `manifests`, expected exactly one")]
    Ambiguous(&'static str),
}

impl Manifest {
    /// What the manifest lists, and how many descriptors in it could not be read (a digest of an algorithm that is
    /// not known, a negative size).
    ///
    /// # Errors
    /// [`ManifestError`] when the bytes are neither an image manifest nor an index, or could be both.
    pub fn entries(&self) -> Result<(Entries, usize), ManifestError> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Entry {
            Known(Box<Descriptor>),
            Other(IgnoredAny),
        }
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            layers: Option<Vec<Entry>>,
            #[serde(default)]
            manifests: Option<Vec<Entry>>,
        }
        let wire: Wire = serde_json::from_slice(&self.bytes)?;
        let known = |entries: Vec<Entry>| {
            let all = entries.len();
            let known: Vec<Descriptor> = entries
                .into_iter()
                .filter_map(|entry| match entry {
                    Entry::Known(descriptor) => Some(*descriptor),
                    Entry::Other(_) => None,
                })
                .collect();
            let unreadable = all - known.len();
            (known, unreadable)
        };
        match (wire.layers, wire.manifests) {
            (Some(layers), None) => {
                let (layers, unreadable) = known(layers);
                Ok((Entries::Layers(layers), unreadable))
            }
            (None, Some(manifests)) => {
                let (manifests, unreadable) = known(manifests);
                Ok((Entries::Manifests(manifests), unreadable))
            }
            (Some(_), Some(_)) => Err(ManifestError::Ambiguous("both")),
            (None, None) => Err(ManifestError::Ambiguous("neither")),
        }
    }
}
