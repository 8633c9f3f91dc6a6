//! Finding everything that is attached to an image: the union of legacy cosign tags, OCI 1.1 referrers
//! and the referrers fallback tag.
//!
//! All of them are asked at once. What one of them fails to answer is kept as a failure: evidence found
//! elsewhere may still satisfy a policy, and if it does not, the verdict is "don't know" and not "no".

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use futures::future::{join, join_all};
use tokio::{sync::Semaphore, time::Instant};

use super::{
    Call, Caps, Descriptor, Entries, FetchError, FetchErrorKind, Held, Manifest, Memory, OciSource, Pointer, Referrers,
};
use crate::{
    evidence::{
        self, DSSE_MEDIA_TYPE, Evidence, Format, Origin, SIMPLE_SIGNING_MEDIA_TYPE, Unreadable, is_bundle_media_type,
    },
    image::{Digest, PinnedImage, Reference, Tag},
};

/// Everything that was found for one image, still untrusted.
#[derive(Debug)]
pub struct Gathered {
    /// Pieces that could be read.
    pub evidence: Vec<Evidence>,
    /// Pieces that could not.
    pub unreadable: Vec<Unreadable>,
    /// Places that gave no usable answer, or held more than is read.
    pub failures: Vec<FetchError>,
    /// The memory that it all takes.
    pub held: Held,
}

/// The digest that `reference` stands for: its own, or what its tag points to now.
///
/// # Errors
/// [`FetchError`] when the tag does not exist or could not be looked up in time.
pub async fn resolve(source: &dyn OciSource, reference: &Reference, call: &Call) -> Result<Digest, FetchError> {
    if let Some(digest) = reference.digest() {
        return Ok(digest.clone());
    }
    let repository = reference.repository();
    let not_found = || FetchError { endpoint: reference.to_string(), kind: FetchErrorKind::NotFound };
    let tag = reference.tag().ok_or_else(not_found)?;
    let manifest = source.manifest(repository, &Pointer::Tag(tag.clone()), call).await?;
    manifest.map(|manifest| manifest.digest).ok_or_else(not_found)
}

/// Requests of one search at the same time.
const AT_ONCE: usize = 8;

/// Finds and reads everything that is attached to `image`, within `caps`, by `deadline` and with what is left of
/// `memory`.
pub async fn gather(
    source: &dyn OciSource,
    image: &PinnedImage,
    caps: &Caps,
    memory: &Memory,
    deadline: Instant,
) -> Gathered {
    let call = Call { deadline, held: memory.share(caps.evidence_bytes) };
    let search = Search { source, image, caps, call, slots: Semaphore::new(AT_ONCE) };
    let legacy = join(search.tagged(".sig"), search.tagged(".att"));
    let ((signatures, attestations), referrers) = join(legacy, search.referrers()).await;
    let (mut evidence, mut unreadable, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for piece in [signatures, attestations, referrers].into_iter().flatten() {
        match piece {
            // The same thing twice, under a tag and as a referrer.
            Piece::Evidence(what, _) if seen.contains(&what) => {}
            Piece::Evidence(..) if evidence.len() == caps.pieces => {
                let kind =
                    FetchErrorKind::TooMany { what: "pieces of evidence", found: caps.pieces + 1, max: caps.pieces };
                failures.push(search.failure(kind));
                break;
            }
            Piece::Evidence(what, found) => {
                seen.insert(what);
                evidence.push(*found);
            }
            Piece::Unreadable(piece) => unreadable.push(piece),
            Piece::Failure(failure) => failures.push(failure),
        }
    }
    unreadable.truncate(caps.pieces);
    Gathered { evidence, unreadable, failures, held: search.call.held }
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
    call: Call,
    slots: Semaphore,
}

impl Search<'_> {
    fn failure(&self, kind: FetchErrorKind) -> FetchError {
        FetchError { endpoint: self.image.to_string(), kind }
    }

    /// A manifest, a few at a time.
    async fn fetch_manifest(&self, pointer: &Pointer) -> Result<Option<Manifest>, FetchError> {
        let _slot = self.slots.acquire().await;
        self.source.manifest(&self.image.repository, pointer, &self.call).await
    }

    fn entries(&self, manifest: &Manifest, max: usize) -> Result<Entries, FetchError> {
        let unusable = |error: String| self.failure(FetchErrorKind::Protocol(format!("{}: {error}", manifest.digest)));
        let (entries, unreadable) = manifest.entries().map_err(|error| unusable(error.to_string()))?;
        if unreadable > 0 {
            return Err(unusable(format!("{unreadable} of its descriptors cannot be read")));
        }
        let (what, found) = match &entries {
            Entries::Layers(list) => ("layers", list.len()),
            Entries::Manifests(list) => ("referrers", list.len()),
        };
        if found > max {
            return Err(self.failure(FetchErrorKind::TooMany { what, found, max }));
        }
        Ok(entries)
    }

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
        let listed = self.source.referrers(&self.image.repository, &self.image.digest, &self.call);
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
        let tagged = tagged.and_then(|index| index.map(|index| self.entries(&index, self.caps.referrers)).transpose());
        match tagged {
            Ok(Some(Entries::Manifests(more))) => descriptors.extend(more),
            Ok(Some(Entries::Layers(_)) | None) => {}
            Err(failure) => pieces.push(Piece::Failure(failure)),
        }
        let mut seen = HashSet::new();
        descriptors.retain(|descriptor| seen.insert(descriptor.digest.clone()));
        let read = join_all(descriptors.into_iter().map(|descriptor| self.read_referrer(descriptor))).await;
        pieces.extend(read.into_iter().flatten());
        pieces
    }

    async fn fetch_tag(&self, suffix: &str) -> Result<Option<Manifest>, FetchError> {
        let text = format!("{}{suffix}", self.image.digest.tag_form());
        // A SHA-512 digest is longer than a tag may be: nothing can be stored under it.
        let Ok(tag) = text.parse::<Tag>() else { return Ok(None) };
        self.fetch_manifest(&Pointer::Tag(tag)).await
    }

    async fn read_referrer(&self, descriptor: Descriptor) -> Vec<Piece> {
        let digest = descriptor.digest.clone();
        let manifest = if let Some(bytes) = descriptor.embedded() {
            Ok(Some(Manifest { digest, bytes }))
        } else {
            self.fetch_manifest(&Pointer::Digest(digest)).await
        };
        match manifest {
            Ok(Some(manifest)) => self.read_manifest(&manifest).await,
            // Listed and not there: a mirror that lags behind, most likely. What it says is not known.
            Ok(None) => {
                let what = format!("it lists the referrer {} and does not have it", descriptor.digest);
                vec![Piece::Failure(self.failure(FetchErrorKind::Protocol(what)))]
            }
            Err(failure) => vec![Piece::Failure(failure)],
        }
    }

    async fn read_manifest(&self, manifest: &Manifest) -> Vec<Piece> {
        let layers = match self.entries(manifest, self.caps.layers) {
            Ok(Entries::Layers(layers)) => layers,
            Ok(Entries::Manifests(_)) => return Vec::new(),
            Err(failure) => return vec![Piece::Failure(failure)],
        };
        join_all(layers.iter().map(|layer| self.read_layer(layer))).await.into_iter().flatten().collect()
    }

    /// Layers are told apart by media type alone: artifact types and annotations are hints.
    async fn read_layer(&self, layer: &Descriptor) -> Option<Piece> {
        let (format, max_bytes) = match layer.media_type.as_str() {
            SIMPLE_SIGNING_MEDIA_TYPE => (Format::LegacySignature, self.caps.signature_bytes),
            DSSE_MEDIA_TYPE => (Format::LegacyAttestation, self.caps.attestation_bytes),
            other if is_bundle_media_type(other) => (Format::Bundle, self.caps.attestation_bytes),
            _ => return None,
        };
        let bytes = match self.fetch_layer(format, layer, max_bytes).await {
            Ok(bytes) => bytes,
            Err(failure) => return Some(Piece::Failure(failure)),
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
            Err(rejection) => {
                Piece::Unreadable(Unreadable { origin: Origin { format, digest: layer.digest.clone() }, rejection })
            }
        })
    }

    async fn fetch_layer(&self, format: Format, layer: &Descriptor, max_bytes: u64) -> Result<Bytes, FetchError> {
        if format == Format::LegacySignature {
            let guess = evidence::canonical_payload(self.image);
            if guess.len() as u64 == layer.size && layer.digest.matches(&guess) {
                return Ok(guess);
            }
        }
        if layer.size > max_bytes {
            return Err(self.failure(FetchErrorKind::TooLarge { max_bytes }));
        }
        let _slot = self.slots.acquire().await;
        self.source.blob(&self.image.repository, layer, max_bytes, &self.call).await
    }
}
