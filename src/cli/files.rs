//! Reading what the command line names: policies and trust roots.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use crate::{
    policy::{Policy, PolicySet, ReadContext, read_policies},
    trust::TrustRoot,
};

/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

pub(super) fn read_text(path: &Path) -> anyhow::Result<String> {
    let size = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if size > MAX_FILE_BYTES {
        bail!("{} has {size} bytes, at most {MAX_FILE_BYTES} are read", path.display());
    }
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The trust root in `path`, or the embedded one of the public-good instance.
pub(super) fn trust_root(path: Option<&Path>) -> anyhow::Result<TrustRoot> {
    match path {
        None => Ok(TrustRoot::public_good()?),
        Some(path) => TrustRoot::from_json(&read_text(path)?).with_context(|| format!("trust root {}", path.display())),
    }
}

/// What was read from policy files.
pub(super) struct Read {
    pub(super) policies: PolicySet,
    /// What their authors should know, a line each.
    pub(super) notes: Vec<String>,
}

/// The policies in `paths`: files, or the YAML files directly in a folder. `timeout_s` is the time-out of the
/// webhook, which a policy may ask to be another.
pub(super) fn policies(paths: &[PathBuf], trust: &TrustRoot, timeout_s: u32) -> anyhow::Result<Read> {
    let context = ReadContext { known_logs: trust.logs().to_vec(), webhook_timeout_seconds: Some(timeout_s) };
    let mut policies: Vec<Policy> = Vec::new();
    let mut notes = Vec::new();
    for path in paths {
        let files = if path.is_dir() { yaml_files(path)? } else { vec![path.clone()] };
        for file in files {
            let text = read_text(&file)?;
            let read = read_policies(&text, &file.display().to_string(), &context)?;
            policies.extend(read.policies);
            notes.extend(read.notes);
        }
    }
    let policies = PolicySet::new(policies)?;
    notes.extend(
        policies.iter().flat_map(|policy| policy.notes.iter().map(|note| format!("policy {}: {note}", policy.name))),
    );
    Ok(Read { policies, notes })
}

fn yaml_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        // `is_file` follows links: a mounted ConfigMap is a folder of them.
        if path.is_file() && matches!(extension, "yaml" | "yml" | "json") {
            files.push(path);
        }
    }
    if files.is_empty() {
        bail!("{} has no .yaml, .yml or .json file", folder.display());
    }
    files.sort();
    Ok(files)
}
