//! Repositories in memory: what a registry serves and what a layout is written from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::authority::{Layer, sha256};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub const COSIGN_ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

/// A manifest or an index.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Media type, the `Content-Type` it is served with.
    pub media_type: String,
    /// Content.
    pub bytes: Vec<u8>,
}

impl Manifest {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }
}

/// Manifests, blobs and tags under one name.
#[derive(Clone, Debug, Default)]
pub struct Repository {
    /// By digest.
    pub manifests: BTreeMap<String, Manifest>,
    /// By digest.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// Digest by tag.
    pub tags: BTreeMap<String, String>,
    /// Digests of referring manifests by the digest of their subject.
    referrers: BTreeMap<String, BTreeSet<String>>,
    /// Tags that point elsewhere at each request, in turn.
    alternating: BTreeMap<String, (Vec<String>, usize)>,
}

/// How evidence in bundle format is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discovery {
    /// The registry answers the referrers API.
    #[default]
    Referrers,
    /// It does not: clients keep an index under the tag `sha256-<hex>`.
    FallbackTag,
}

/// Repositories by name.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// By name, such as `zionsworking/app`.
    pub repositories: BTreeMap<String, Repository>,
    /// What [`Store::push_bundle`] leaves behind.
    pub discovery: Discovery,
}

/// A store that several registries serve and a test changes.
#[derive(Clone, Debug, Default)]
pub struct SharedStore(Arc<Mutex<Store>>);

impl SharedStore {
    /// The store, for reading and writing.
    pub fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().expect("no panic while locked")
    }
}

impl From<Store> for SharedStore {
    fn from(store: Store) -> Self {
        Self(Arc::new(Mutex::new(store)))
    }
}

/// `sha256:<hex>` of `bytes`.
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha256(bytes)))
}

/// `sha256-<hex>` and a suffix: the tag of a digest's evidence.
pub fn evidence_tag(digest: &str, suffix: &str) -> String {
    format!("{}{suffix}", digest.replace(':', "-"))
}

/// An OCI descriptor.
pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "size": bytes.len(), "digest": digest_of(bytes) })
}

impl Store {
    /// A store for registries without the referrers API.
    pub fn with_fallback_tags() -> Self {
        Self { discovery: Discovery::FallbackTag, ..Self::default() }
    }

    /// The repository, made if there is none.
    pub fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }

    /// Pushes an image for linux/amd64 whose one layer holds the file `content`; returns its digest.
    pub fn push_image(&mut self, repository: &str, tag: &str, content: &[u8]) -> String {
        let layer = tar("content", content);
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [digest_of(&layer)] },
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, &config),
            "layers": [descriptor(OCI_LAYER, &layer)],
        });
        let repository = self.repository(repository);
        repository.push_blob(layer);
        repository.push_blob(config);
        repository.push_manifest(Some(tag), OCI_MANIFEST, manifest.to_string().into_bytes())
    }

    /// Pushes an image index over images of the same repository: (architecture, digest).
    pub fn push_index(&mut self, repository: &str, tag: &str, images: &[(&str, &str)]) -> String {
        let repository = self.repository(repository);
        let manifests: Vec<_> = images
            .iter()
            .map(|(architecture, digest)| {
                let manifest = repository.manifests.get(*digest).expect("pushed before");
                let mut entry = descriptor(&manifest.media_type, &manifest.bytes);
                entry["platform"] = json!({ "architecture": architecture, "os": "linux" });
                entry
            })
            .collect();
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
        repository.push_manifest(Some(tag), OCI_INDEX, index.to_string().into_bytes())
    }

    /// Adds layers to the tag `sha256-<hex>.sig` or `.att` of `digest`, by what they are.
    pub fn push_legacy(&mut self, repository: &str, digest: &str, layers: impl IntoIterator<Item = Layer>) {
        let (attestations, signatures): (Vec<_>, Vec<_>) =
            layers.into_iter().partition(|layer| layer.media_type.contains("dsse"));
        for (suffix, layers) in [(".sig", signatures), (".att", attestations)] {
            if !layers.is_empty() {
                self.push_legacy_to(repository, &evidence_tag(digest, suffix), layers);
            }
        }
    }

    /// Adds layers to any tag, in the shape of cosign's `.sig` and `.att` manifests.
    pub fn push_legacy_to(&mut self, repository: &str, tag: &str, layers: impl IntoIterator<Item = Layer>) {
        let repository = self.repository(repository);
        let mut descriptors = repository.untag(tag, "layers");
        for layer in layers {
            descriptors.push(layer_descriptor(&layer));
            repository.push_blob(layer.bytes);
        }
        let manifest = repository.legacy_manifest(&descriptors, None);
        repository.push_manifest(Some(tag), OCI_MANIFEST, manifest);
    }

    /// Adds legacy layers as an OCI 1.1 referrer (`COSIGN_EXPERIMENTAL=1 --registry-referrers-mode
    /// oci-1-1`); returns the digest of the referring manifest.
    pub fn push_legacy_referrer(
        &mut self,
        repository: &str,
        digest: &str,
        layers: impl IntoIterator<Item = Layer>,
    ) -> String {
        let fallback = self.discovery == Discovery::FallbackTag;
        let repository = self.repository(repository);
        let mut descriptors = Vec::new();
        for layer in layers {
            descriptors.push(layer_descriptor(&layer));
            repository.push_blob(layer.bytes);
        }
        let subject = repository.subject(digest);
        let manifest = repository.legacy_manifest(&descriptors, Some(subject));
        repository.push_referrer(digest, manifest, fallback)
    }

    /// Attaches a bundle to `digest` as cosign 3 does; returns the digest of the referring manifest.
    pub fn push_bundle(&mut self, repository: &str, digest: &str, bundle: &str) -> String {
        let annotations = bundle_annotations(bundle);
        self.push_bundle_annotated(repository, digest, bundle, annotations)
    }

    /// Attaches a bundle whose manifest says of it what `annotations` say, true or not.
    pub fn push_bundle_annotated(
        &mut self,
        repository: &str,
        digest: &str,
        bundle: &str,
        annotations: Value,
    ) -> String {
        let fallback = self.discovery == Discovery::FallbackTag;
        let repository = self.repository(repository);
        let mut config = descriptor(OCI_EMPTY, b"{}");
        config["artifactType"] = BUNDLE.into();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config,
            "layers": [descriptor(BUNDLE, bundle.as_bytes())],
            "annotations": annotations,
            "subject": repository.subject(digest),
            "artifactType": BUNDLE,
        });
        repository.push_blob(b"{}".to_vec());
        repository.push_blob(bundle.as_bytes().to_vec());
        repository.push_referrer(digest, manifest.to_string().into_bytes(), fallback)
    }

    /// Pushes any manifest, under a tag or not; returns its digest.
    pub fn push_manifest(&mut self, repository: &str, tag: Option<&str>, media_type: &str, bytes: Vec<u8>) -> String {
        self.repository(repository).push_manifest(tag, media_type, bytes)
    }

    /// Points `tag` at `digest`.
    pub fn move_tag(&mut self, repository: &str, tag: &str, digest: &str) {
        let repository = self.repository(repository);
        repository.alternating.remove(tag);
        repository.tags.insert(tag.to_owned(), digest.to_owned());
    }

    /// Points `tag` at each of `digests` in turn, the next one at every request.
    pub fn alternate_tag(&mut self, repository: &str, tag: &str, digests: &[&str]) {
        let digests = digests.iter().map(|digest| (*digest).to_owned()).collect();
        self.repository(repository).alternating.insert(tag.to_owned(), (digests, 0));
    }

    /// Removes `tag`, not what it points at.
    pub fn remove_tag(&mut self, repository: &str, tag: &str) {
        let repository = self.repository(repository);
        repository.alternating.remove(tag);
        repository.tags.remove(tag);
    }
}

impl Repository {
    /// Stores a blob; returns its digest.
    pub fn push_blob(&mut self, bytes: Vec<u8>) -> String {
        let digest = digest_of(&bytes);
        self.blobs.insert(digest.clone(), bytes);
        digest
    }

    /// Stores a manifest, under a tag or not; returns its digest.
    pub fn push_manifest(&mut self, tag: Option<&str>, media_type: &str, bytes: Vec<u8>) -> String {
        let digest = digest_of(&bytes);
        let manifest = Manifest { media_type: media_type.into(), bytes };
        if let Some(subject) = manifest.json()["subject"]["digest"].as_str() {
            self.referrers.entry(subject.to_owned()).or_default().insert(digest.clone());
        }
        self.manifests.insert(digest.clone(), manifest);
        if let Some(tag) = tag {
            self.tags.insert(tag.to_owned(), digest.clone());
        }
        digest
    }

    /// The manifest under `reference`, a tag or a digest, and its digest. Turns alternating tags.
    pub fn resolve(&mut self, reference: &str) -> Option<(String, Manifest)> {
        let digest = if let Some((digests, turn)) = self.alternating.get_mut(reference) {
            *turn += 1;
            digests[(*turn - 1) % digests.len()].clone()
        } else {
            self.tags.get(reference).cloned().unwrap_or_else(|| reference.to_owned())
        };
        let manifest = self.manifests.get(&digest)?.clone();
        Some((digest, manifest))
    }

    /// Descriptors of the manifests that refer to `digest`, as the referrers API lists them.
    pub fn referrers(&self, digest: &str) -> Vec<Value> {
        let describe = |manifest: &Manifest| {
            let content = manifest.json();
            let mut entry = fallback_descriptor(manifest);
            if let Some(annotations) = content.get("annotations") {
                entry["annotations"] = annotations.clone();
            }
            entry
        };
        let referrers = self.referrers.get(digest).into_iter().flatten();
        referrers.filter_map(|digest| self.manifests.get(digest)).map(describe).collect()
    }

    /// Removes the manifest under `tag`, if any; returns the entries of its list `name`.
    fn untag(&mut self, tag: &str, name: &str) -> Vec<Value> {
        let manifest = self.tags.remove(tag).and_then(|digest| self.manifests.remove(&digest));
        let entries = manifest.map(|manifest| manifest.json()[name].take());
        entries.and_then(|entries| entries.as_array().cloned()).unwrap_or_default()
    }

    fn subject(&self, digest: &str) -> Value {
        match self.manifests.get(digest) {
            Some(manifest) => descriptor(&manifest.media_type, &manifest.bytes),
            None => json!({ "mediaType": OCI_MANIFEST, "size": 0, "digest": digest }),
        }
    }

    fn legacy_manifest(&mut self, layers: &[Value], subject: Option<Value>) -> Vec<u8> {
        let digests: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
        let nothing = "0001-01-01T00:00:00Z";
        let history = vec![json!({ "created": nothing }); layers.len()];
        let config = json!({
            "architecture": "", "created": nothing, "history": history, "os": "",
            "rootfs": { "type": "layers", "diff_ids": digests }, "config": {},
        });
        let config = config.to_string().into_bytes();
        let kind = if subject.is_some() { COSIGN_ARTIFACT } else { OCI_CONFIG };
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(kind, &config),
            "layers": layers,
        });
        if let Some(subject) = subject {
            manifest["subject"] = subject;
        }
        self.push_blob(config);
        manifest.to_string().into_bytes()
    }

    fn push_referrer(&mut self, subject: &str, manifest: Vec<u8>, fallback: bool) -> String {
        let digest = self.push_manifest(None, OCI_MANIFEST, manifest);
        if fallback {
            let tag = evidence_tag(subject, "");
            let mut entries = self.untag(&tag, "manifests");
            entries.push(fallback_descriptor(&self.manifests[&digest]));
            entries.sort_by_key(|entry| entry["digest"].to_string());
            let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
            self.push_manifest(Some(&tag), OCI_INDEX, index.to_string().into_bytes());
        }
        digest
    }
}

/// A referrer as a fallback index lists it: its artifact type is its own, or its config's media type.
fn fallback_descriptor(manifest: &Manifest) -> Value {
    let content = manifest.json();
    let mut entry = descriptor(&manifest.media_type, &manifest.bytes);
    let kind = content.get("artifactType").unwrap_or(&content["config"]["mediaType"]);
    if kind.is_string() {
        entry["artifactType"] = kind.clone();
    }
    entry
}

fn layer_descriptor(layer: &Layer) -> Value {
    let mut entry = descriptor(&layer.media_type, &layer.bytes);
    entry["annotations"] = json!(layer.annotations);
    entry
}

fn bundle_annotations(bundle: &str) -> Value {
    let bundle: Value = serde_json::from_str(bundle).unwrap_or(Value::Null);
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap_or_default();
    let payload = base64_decoded(payload);
    let statement: Value = serde_json::from_slice(&payload).unwrap_or(Value::Null);
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    json!({
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": statement["predicateType"].as_str().unwrap_or_default(),
        "org.opencontainers.image.created": now,
    })
}

fn base64_decoded(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default()
}

/// A tar archive (ustar) with one file.
fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = vec![0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let padding = vec![0; (512 - content.len() % 512) % 512 + 1024];
    [&header, content, &padding].concat()
}
