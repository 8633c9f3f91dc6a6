//! Caps on what one source may make us read.

/// Largest sizes and counts, per answer. cosign's own limit for an attestation is 128 MiB; the others
/// have no limit in a specification (CVE-2023-46737 is what happens without one).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// One manifest or index, in bytes.
    pub manifest_bytes: u64,
    /// One page of referrers, in bytes.
    pub referrers_bytes: u64,
    /// Pages of referrers that are followed.
    pub referrers_pages: usize,
    /// Referrers of one image, over all pages.
    pub referrers: usize,
    /// Layers of one signature or attestation manifest.
    pub layers: usize,
    /// Pieces of evidence of one image. cosign adds a layer whenever an image is signed again.
    pub pieces: usize,
    /// One signature payload, in bytes.
    pub signature_bytes: u64,
    /// One attestation or bundle, in bytes.
    pub attestation_bytes: u64,
    /// Manifests and evidence of one image, over all pieces, in bytes.
    pub evidence_bytes: u64,
    /// One answer of a token endpoint, in bytes.
    pub token_bytes: u64,
}

impl Caps {
    /// The limits that apply where nothing else is set.
    pub const DEFAULT: Self = Self {
        manifest_bytes: 4 << 20,
        referrers_bytes: 4 << 20,
        referrers_pages: 64,
        referrers: 1_000,
        layers: 256,
        pieces: 256,
        signature_bytes: 1 << 20,
        attestation_bytes: 16 << 20,
        evidence_bytes: 32 << 20,
        token_bytes: 64 << 10,
    };
}
