//! Finding everything that is attached to an image: the union of legacy cosign tags, OCI 1.1 referrers
//! and the referrers fallback tag.
//!
//! All of them are asked at once. What one of them fails to answer is kept as a failure: evidence found
//! elsewhere may still satisfy a policy, and if it does not, the verdict is "don't know" and not "no".

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures::future::{join, join_all};
use tokio::time::Instant;

use super::{Caps, Descriptor, Entries, FetchError, FetchErrorKind, Manifest, OciSource, Pointer, Referrers};
use crate::{
    evidence::{
        self, DSSE_MEDIA_TYPE, Evidence, Format, Origin, SIMPLE_SIGNING_MEDIA_TYPE, Unreadable, is_bundle_media_type,
    },
    image::{Digest, PinnedImage, Reference, Tag},
    verify::Rejection,
};

/// Everything that was found for one image, still untrusted.
#[derive(Clone, Default, Debug)]
pub struct Gathered {
    /// Pieces that could be read.
    pub evidence: Vec<Evidence>,
    /// Pieces that could not.
    pub unreadable: Vec<Unreadable>,
    /// Places that gave no usable answer.
    pub failures: Vec<FetchError>,
}

/// The digest that `reference` stands for: its own, or what its tag points to now.
///
/// # Errors
/// [`FetchError`] when the tag does not exist or could not be looked up by `deadline`.
pub async fn resolve(source: &dyn OciSource, reference: &Reference, deadline: Instant) -> Result<Digest, FetchError> {
    if let Some(digest) = reference.digest() {
        return Ok(digest.clone());
    }
    let repository = reference.repository();
    let not_found = || FetchError { endpoint: reference.to_string(), kind: FetchErrorKind::NotFound };
    let tag = reference.tag().ok_or_else(not_found)?;
    let manifest = source.manifest(repository, &Pointer::Tag(tag.clone()), deadline).await?;
    manifest.map(|manifest| manifest.digest).ok_or_else(not_found)
}

/// Finds and reads everything that is attached to `image`, within `caps` and by `deadline`.
pub async fn gather(source: &dyn OciSource, image: &PinnedImage, caps: &Caps, deadline: Instant) -> Gathered {
    let search = Search { source, image, caps, deadline, budget: AtomicU64::new(caps.evidence_bytes) };
    let legacy = join(search.tagged(".sig"), search.tagged(".att"));
    let ((signatures, attestations), referrers) = join(legacy, search.referrers()).await;
    let mut gathered = Gathered::default();
    let mut seen = HashSet::new();
    for piece in [signatures, attestations, referrers].into_iter().flatten() {
        match piece {
            Piece::Evidence(what, evidence) => {
                if seen.insert(what) {
                    gathered.evidence.push(*evidence);
                }
            }
            Piece::Unreadable(unreadable) => gathered.unreadable.push(unreadable),
            Piece::Failure(failure) => gathered.failures.push(failure),
        }
    }
    gathered
}

enum Piece {
    Evidence(What, Box<Evidence>),
    Unreadable(Unreadable),
    Failure(FetchError),
}

/// What makes two pieces one. Legacy signatures of one image have the same payload whoever made them, hence
/// the same layer: the signature is in the annotations. A bundle has everything in it.
type What = (Digest, Option<BTreeMap<String, String>>);

struct Search<'a> {
    source: &'a dyn OciSource,
    image: &'a PinnedImage,
    caps: &'a Caps,
    deadline: Instant,
    budget: AtomicU64,
}

impl Search<'_> {
    /// What the legacy tag `sha256-<hex><suffix>` points to.
    async fn tagged(&self, suffix: &str) -> Vec<Piece> {
        match self.fetch_tag(suffix).await {
            Ok(Some(manifest)) => self.read_manifest(&manifest).await,
            Ok(None) => Vec::new(),
            Err(failure) => vec![Piece::Failure(failure)],
        }
    }

    /// What the referrers API and the fallback tag list. Both are asked: an image that was signed before its
    /// registry had the API has its evidence under the tag alone.
    async fn referrers(&self) -> Vec<Piece> {
        let listed = self.source.referrers(&self.image.repository, &self.image.digest, self.deadline);
        let (listed, tagged) = join(listed, self.fetch_tag("")).await;
        let mut pieces = Vec::new();
        let mut descriptors = match listed {
            Ok(Referrers::Listed(descriptors)) => descriptors,
            Ok(Referrers::Unsupported) => Vec::new(),
            Err(failure) => {
                pieces.push(Piece::Failure(failure));
                Vec::new()
            }
        };
        match tagged {
            Ok(Some(index)) => match index.entries() {
                Ok(Entries::Manifests(more)) => descriptors.extend(more),
                Ok(Entries::Layers(_)) => {}
                Err(error) => pieces.push(unreadable(&index.digest, Rejection::Malformed(error.to_string()))),
            },
            Ok(None) => {}
            Err(failure) => pieces.push(Piece::Failure(failure)),
        }
        let mut seen = HashSet::new();
        descriptors.retain(|descriptor| seen.insert(descriptor.digest.clone()));
        if descriptors.len() > self.caps.referrers {
            pieces.push(too_many("referrers", descriptors.len(), self.caps.referrers, &self.image.digest));
            descriptors.truncate(self.caps.referrers);
        }
        let read = join_all(descriptors.into_iter().map(|descriptor| self.read_referrer(descriptor))).await;
        pieces.extend(read.into_iter().flatten());
        pieces
    }

    async fn fetch_tag(&self, suffix: &str) -> Result<Option<Manifest>, FetchError> {
        let text = format!("{}{suffix}", self.image.digest.tag_form());
        // A SHA-512 digest is longer than a tag may be: nothing can be stored under it.
        let Ok(tag) = text.parse::<Tag>() else { return Ok(None) };
        self.source.manifest(&self.image.repository, &Pointer::Tag(tag), self.deadline).await
    }

    async fn read_referrer(&self, descriptor: Descriptor) -> Vec<Piece> {
        let manifest = if let Some(bytes) = descriptor.embedded() {
            Ok(Some(Manifest { digest: descriptor.digest, bytes }))
        } else {
            let pointer = Pointer::Digest(descriptor.digest);
            self.source.manifest(&self.image.repository, &pointer, self.deadline).await
        };
        match manifest {
            Ok(Some(manifest)) => self.read_manifest(&manifest).await,
            // Listed and gone: deleted in between. That it said anything is not known.
            Ok(None) => Vec::new(),
            Err(failure) => vec![Piece::Failure(failure)],
        }
    }

    async fn read_manifest(&self, manifest: &Manifest) -> Vec<Piece> {
        let mut layers = match manifest.entries() {
            Ok(Entries::Layers(layers)) => layers,
            Ok(Entries::Manifests(_)) => return Vec::new(),
            Err(error) => return vec![unreadable(&manifest.digest, Rejection::Malformed(error.to_string()))],
        };
        let mut pieces = Vec::new();
        if layers.len() > self.caps.layers {
            pieces.push(too_many("layers", layers.len(), self.caps.layers, &manifest.digest));
            layers.truncate(self.caps.layers);
        }
        pieces.extend(join_all(layers.iter().map(|layer| self.read_layer(layer))).await.into_iter().flatten());
        pieces
    }

    /// Layers are told apart by media type alone: artifact types and annotations are hints.
    async fn read_layer(&self, layer: &Descriptor) -> Option<Piece> {
        let (format, max_bytes) = match layer.media_type.as_str() {
            SIMPLE_SIGNING_MEDIA_TYPE => (Format::LegacySignature, self.caps.signature_bytes),
            DSSE_MEDIA_TYPE => (Format::LegacyAttestation, self.caps.attestation_bytes),
            other if is_bundle_media_type(other) => (Format::Bundle, self.caps.attestation_bytes),
            _ => return None,
        };
        let origin = || Origin { format, digest: layer.digest.clone() };
        let bytes = match self.fetch_layer(format, layer, max_bytes).await {
            Ok(bytes) => bytes,
            Err(NoBytes::Rejected(rejection)) => {
                return Some(Piece::Unreadable(Unreadable { origin: origin(), rejection }));
            }
            Err(NoBytes::Failed(failure)) => return Some(Piece::Failure(failure)),
        };
        let digest = layer.digest.clone();
        let read = match format {
            Format::LegacySignature => evidence::from_legacy_signature(digest, bytes, &layer.annotations),
            Format::LegacyAttestation => evidence::from_legacy_attestation(digest, &bytes, &layer.annotations),
            Format::Bundle => evidence::from_bundle(digest, &bytes),
        };
        Some(match read {
            Ok(evidence) => {
                let annotations = (format != Format::Bundle).then(|| layer.annotations.clone());
                Piece::Evidence((layer.digest.clone(), annotations), Box::new(evidence))
            }
            Err(rejection) => Piece::Unreadable(Unreadable { origin: origin(), rejection }),
        })
    }

    async fn fetch_layer(&self, format: Format, layer: &Descriptor, max_bytes: u64) -> Result<Bytes, NoBytes> {
        if format == Format::LegacySignature {
            let guess = evidence::canonical_payload(self.image);
            if guess.len() as u64 == layer.size && layer.digest.matches(&guess) {
                return Ok(guess);
            }
        }
        let too_large = |what: &str, max: u64| {
            NoBytes::Rejected(Rejection::TooLarge(format!("{what} of {} bytes, at most {max} are read", layer.size)))
        };
        if layer.size > max_bytes {
            return Err(too_large("a layer", max_bytes));
        }
        let left = |left: u64| left.checked_sub(layer.size);
        if self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_err() {
            return Err(too_large("with all that was read before, a layer", self.caps.evidence_bytes));
        }
        self.source.blob(&self.image.repository, layer, max_bytes, self.deadline).await.map_err(NoBytes::Failed)
    }
}

enum NoBytes {
    Rejected(Rejection),
    Failed(FetchError),
}

fn unreadable(digest: &Digest, rejection: Rejection) -> Piece {
    Piece::Unreadable(Unreadable { origin: Origin { format: Format::Bundle, digest: digest.clone() }, rejection })
}

fn too_many(what: &str, found: usize, max: usize, digest: &Digest) -> Piece {
    unreadable(digest, Rejection::TooLarge(format!("{found} {what}, at most {max} are read")))
}
