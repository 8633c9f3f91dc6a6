//! A signing authority, a registry, and the images of every story.

use std::sync::OnceLock;

use crate::support::store::{Discovery, Store};
use crate::support::{Authority, Identity, Registry, SharedStore, Signer, registry, sbom};

/// The repository of the stories, within its registry.
pub const REPOSITORY: &str = "zionsworking/cicd-supply-chain-security";
/// The registry that it is in, as users write it.
pub const HOST: &str = "ghcr.io";
/// A repository of somebody else whose name begins like the right one.
pub const EVIL: &str = "zionsworking-evil/cicd-supply-chain-security";

/// How evidence is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Tags `sha256-<hex>.sig` and `.att`, Rekor v1: what cosign 2 writes.
    Legacy,
    /// Sigstore bundles as OCI referrers, Rekor v2 and a time stamp: what cosign 3 writes.
    Bundle,
}

impl Format {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Bundle, Self::Legacy];

    /// What is added to a tag for the image whose evidence is in this format.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Legacy => "-legacy",
            Self::Bundle => "",
        }
    }
}

/// Where everything comes from that a Pod of the stories names. Each test has one of its own, so that
/// faults and counts are its own too; what is in it was signed once for all.
pub struct World {
    pub sigstore: Authority,
    pub registry: Registry,
}

/// Keys, and what they signed.
struct Minted {
    sigstore: Authority,
    store: Store,
}

/// With and without the referrers API: what clients leave behind differs.
static MINTED: [OnceLock<Minted>; 2] = [OnceLock::new(), OnceLock::new()];

impl World {
    /// With a registry that answers the referrers API.
    pub fn new() -> Self {
        Self::with(registry::Options::default())
    }

    /// With a registry that has no referrers API: bundles are found by fallback tags.
    pub fn without_referrers() -> Self {
        Self::with(registry::Options::without_referrers())
    }

    /// With any registry; `options.store` is filled in here.
    pub fn with(options: registry::Options) -> Self {
        let fallback = matches!(options.referrers, registry::Referrers::Off { .. });
        let minted = MINTED[usize::from(fallback)].get_or_init(|| mint(fallback));
        let store = Some(SharedStore::from(minted.store.clone()));
        Self { sigstore: minted.sigstore.clone(), registry: Registry::launch(registry::Options { store, ..options }) }
    }

    /// `ghcr.io/zionsworking/cicd-supply-chain-security:TAG`.
    pub fn image(&self, tag: &str) -> String {
        format!("{HOST}/{REPOSITORY}:{tag}")
    }

    /// The image of that name whose evidence is in `format`.
    pub fn image_in(&self, format: Format, tag: &str) -> String {
        self.image(&(tag.to_owned() + format.suffix()))
    }

    /// The digest that `tag` points to.
    pub fn digest(&self, tag: &str) -> String {
        let store = self.registry.store();
        let store = store.lock();
        store.repositories[REPOSITORY].tags.get(tag).cloned().unwrap_or_else(|| panic!("no tag {tag}"))
    }

    /// `ghcr.io/...:TAG@sha256:...`, as the webhook pins it.
    pub fn pinned(&self, tag: &str) -> String {
        format!("{}@{}", self.image(tag), self.digest(tag))
    }

    /// `ghcr.io/...@sha256:...`, without the tag.
    pub fn by_digest(&self, tag: &str) -> String {
        format!("{HOST}/{REPOSITORY}@{}", self.digest(tag))
    }

    /// Pushes an image without evidence; returns its digest.
    pub fn push(&self, tag: &str) -> String {
        self.registry.push_image(REPOSITORY, tag, format!("pushed as {tag}").as_bytes())
    }

    /// The workflow that the example policies ask for, signing in the way of `format`.
    pub fn signer(&self, format: Format) -> Signer {
        signer(&self.sigstore, format, Identity::zionsworking())
    }

    /// Somebody else's workflow, signing in the way of `format`.
    pub fn stranger(&self, format: Format) -> Signer {
        signer(&self.sigstore, format, evil())
    }

    /// Attaches a signature over `digest`.
    pub fn sign(&self, format: Format, signer: &Signer, digest: &str) {
        sign(&mut self.registry.store().lock(), format, signer, digest);
    }

    /// Attaches an attestation about `digest`.
    pub fn attest(&self, format: Format, signer: &Signer, digest: &str, predicate_type: &str) {
        attest(&mut self.registry.store().lock(), format, signer, digest, predicate_type);
    }
}

fn evil() -> Identity {
    Identity::github(EVIL, "release.yml", "refs/heads/main")
}

fn signer(sigstore: &Authority, format: Format, identity: Identity) -> Signer {
    let signer = sigstore.identity(identity);
    match format {
        Format::Legacy => signer,
        Format::Bundle => signer.rekor_v2(),
    }
}

fn sign(store: &mut Store, format: Format, signer: &Signer, digest: &str) {
    match format {
        Format::Legacy => store.push_legacy(REPOSITORY, digest, [signer.legacy_signature(digest)]),
        Format::Bundle => drop(store.push_bundle(REPOSITORY, digest, &signer.bundle_signature(digest))),
    }
}

fn attest(store: &mut Store, format: Format, signer: &Signer, digest: &str, predicate_type: &str) {
    let predicate = sbom::spdx();
    match format {
        Format::Legacy => {
            let layer = signer.legacy_attestation(digest, predicate_type, &predicate);
            store.push_legacy(REPOSITORY, digest, [layer]);
        }
        Format::Bundle => {
            let bundle = signer.bundle_attestation(digest, predicate_type, &predicate);
            store.push_bundle(REPOSITORY, digest, &bundle);
        }
    }
}

/// Signs the images of the stories.
///
/// | tag | signature by | attestation |
/// |---|---|---|
/// | `1.0.0`, `2.0.0` | zionsworking | SPDX by zionsworking |
/// | `unsigned` | - | - |
/// | `other-identity` | zionsworking-evil | SPDX by zionsworking-evil |
/// | `no-sbom` | zionsworking | - |
/// | `sbom-by-other` | zionsworking | SPDX by zionsworking-evil |
/// | `other-type` | zionsworking | SLSA provenance by zionsworking |
/// | `moved` | as `1.0.0`; a story moves the tag | |
///
/// Each but `unsigned` is there a second time, with `-legacy` at its end and evidence in that format.
fn mint(fallback: bool) -> Minted {
    let sigstore = Authority::new();
    let mut store = if fallback { Store::with_fallback_tags() } else { Store::default() };
    assert_eq!(store.discovery == Discovery::FallbackTag, fallback);
    store.push_image(REPOSITORY, "unsigned", b"unsigned");
    store.push_image("library/nginx", "latest", b"nginx");
    for format in Format::ALL {
        let ours = signer(&sigstore, format, Identity::zionsworking());
        let theirs = signer(&sigstore, format, evil());
        for (tag, signature, attestation) in [
            ("1.0.0", &ours, Some((sbom::SPDX, &ours))),
            ("2.0.0", &ours, Some((sbom::SPDX, &ours))),
            ("other-identity", &theirs, Some((sbom::SPDX, &theirs))),
            ("no-sbom", &ours, None),
            ("sbom-by-other", &ours, Some((sbom::SPDX, &theirs))),
            ("other-type", &ours, Some((sbom::SLSA, &ours))),
            ("moved", &ours, Some((sbom::SPDX, &ours))),
        ] {
            let tag = tag.to_owned() + format.suffix();
            let digest = store.push_image(REPOSITORY, &tag, tag.as_bytes());
            sign(&mut store, format, signature, &digest);
            if let Some((predicate_type, signer)) = attestation {
                attest(&mut store, format, signer, &digest, predicate_type);
            }
        }
    }
    Minted { sigstore, store }
}
