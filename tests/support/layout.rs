//! Writes a store as an OCI image layout (`oci-layout`, `index.json`, `blobs/`).

use std::path::Path;

use serde_json::json;

use super::store::{Store, descriptor};

/// Writes every repository of `store` into `dir`. A layout knows no repositories: tags must not clash.
/// Manifests without a tag, such as referrers, are among the blobs; with fallback tags, the index of
/// referrers is under its tag.
pub fn write_layout(dir: &Path, store: &Store) -> std::io::Result<()> {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let mut entries = std::collections::BTreeMap::new();
    for repository in store.repositories.values() {
        let manifests = repository.manifests.iter().map(|(digest, m)| (digest, &m.bytes));
        for (digest, bytes) in repository.blobs.iter().chain(manifests) {
            std::fs::write(blobs.join(digest.trim_start_matches("sha256:")), bytes)?;
        }
        for (tag, digest) in &repository.tags {
            let manifest = &repository.manifests[digest];
            let mut entry = descriptor(&manifest.media_type, &manifest.bytes);
            entry["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
            let before = entries.insert(tag.clone(), entry);
            assert!(before.is_none(), "two repositories have the tag {tag}");
        }
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": super::store::OCI_INDEX,
        "manifests": entries.into_values().collect::<Vec<_>>(),
    });
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    std::fs::write(dir.join("index.json"), serde_json::to_vec_pretty(&index)?)
}
