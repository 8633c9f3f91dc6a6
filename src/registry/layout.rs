//! An OCI image layout on disk (image-spec, "Image Layout") as the one source of all repositories.
//!
//! Tags are the `org.opencontainers.image.ref.name` annotations of `index.json`: a plain tag is one of any
//! repository, a full reference one of the repository that it names. Files are found by digest alone, so
//! that no name can lead out of the directory.

use std::{
    collections::HashMap,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use serde::Deserialize;
use tokio::{
    io::AsyncReadExt as _,
    sync::OnceCell,
    time::{Instant, timeout_at},
};

use super::{BoxFuture, Call, Caps, Descriptor, FetchError, FetchErrorKind, Manifest, OciSource, Pointer, Referrers};
use crate::image::{Digest, Reference, Repository, Tag};

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A layout, as its `index.json` was when it was opened.
pub struct LayoutSource {
    path: PathBuf,
    caps: Caps,
    index: Vec<Descriptor>,
    tags: HashMap<TagKey, Vec<Digest>>,
    subjects: OnceCell<HashMap<Digest, Vec<Descriptor>>>,
}

/// A tag, of one repository or, with `None`, of any.
type TagKey = (Option<Repository>, Tag);

/// Why a directory is not a layout.
#[derive(thiserror::Error, Debug)]
#[error("OCI layout {path}: {problem}")]
pub struct LayoutError {
    path: PathBuf,
    problem: LayoutProblem,
}

/// What is wrong with a file of a layout.
#[derive(thiserror::Error, Debug)]
enum LayoutProblem {
    #[error("cannot be read: {0}")]
    Read(std::io::Error),
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
    #[error("is not valid: {0}")]
    Json(serde_json::Error),
    #[error("has version {0:?}, expected \"1.0.0\"")]
    Version(String),
}

impl LayoutSource {
    /// Opens the layout in the directory `path`.
    ///
    /// # Errors
    /// [`LayoutError`] names the file that is missing, too large or not valid.
    pub fn open(path: &Path, caps: Caps) -> Result<Self, LayoutError> {
        #[derive(Deserialize)]
        struct Marker {
            #[serde(rename = "imageLayoutVersion")]
            version: String,
        }
        #[derive(Deserialize)]
        struct Index {
            #[serde(default)]
            manifests: Vec<Descriptor>,
        }
        let marker_path = path.join("oci-layout");
        let marker: Marker = read_json(&marker_path, caps.manifest_bytes)?;
        if marker.version != "1.0.0" {
            return Err(LayoutError { path: marker_path, problem: LayoutProblem::Version(marker.version) });
        }
        let index: Index = read_json(&path.join("index.json"), caps.manifest_bytes)?;
        let mut tags: HashMap<TagKey, Vec<Digest>> = HashMap::new();
        for descriptor in &index.manifests {
            let Some(key) = descriptor.annotations.get(REF_NAME).and_then(|name| tag_key(name)) else { continue };
            let digests = tags.entry(key).or_default();
            if !digests.contains(&descriptor.digest) {
                digests.push(descriptor.digest.clone());
            }
        }
        Ok(Self { path: path.to_owned(), caps, index: index.manifests, tags, subjects: OnceCell::new() })
    }

    async fn find_manifest(
        &self,
        repository: &Repository,
        pointer: &Pointer,
        call: &Call,
    ) -> Result<Option<Manifest>, FetchError> {
        let digest = match pointer {
            Pointer::Digest(digest) => digest,
            Pointer::Tag(tag) => match self.tagged(repository, tag)? {
                Some(digest) => digest,
                None => return Ok(None),
            },
        };
        let cap = self.caps.manifest_bytes;
        match self.read_blob(digest, cap).await? {
            Some(bytes) => {
                self.charge(bytes.len(), call)?;
                Ok(Some(Manifest { digest: digest.clone(), bytes }))
            }
            // What a tag names has to be there; a digest may be anybody's.
            None if matches!(pointer, Pointer::Tag(_)) => Err(self.missing(digest)),
            None => Ok(None),
        }
    }

    /// The digest that `tag` names: of this repository, else of any.
    fn tagged(&self, repository: &Repository, tag: &Tag) -> Result<Option<&Digest>, FetchError> {
        let digests =
            self.tags.get(&(Some(repository.clone()), tag.clone())).or_else(|| self.tags.get(&(None, tag.clone())));
        match digests.map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([digest]) => Ok(Some(digest)),
            Some(_) => {
                let why = format!("tag {tag} has more than one digest in index.json");
                Err(error(&self.path.join("index.json"), FetchErrorKind::Protocol(why)))
            }
        }
    }

    async fn find_referrers(&self, digest: &Digest) -> Result<Referrers, FetchError> {
        let subjects = self.subjects.get_or_try_init(|| self.read_subjects()).await?;
        match subjects.get(digest) {
            None => Ok(Referrers::Unsupported),
            Some(listed) if listed.len() > self.caps.referrers => {
                let why = format!("more than {} referrers", self.caps.referrers);
                Err(error(&self.path, FetchErrorKind::Protocol(why)))
            }
            Some(listed) => Ok(Referrers::Listed(listed.clone())),
        }
    }

    /// Which manifests in `index.json` have which subject. A file that is not a manifest has none.
    async fn read_subjects(&self) -> Result<HashMap<Digest, Vec<Descriptor>>, FetchError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Subjected {
            subject: Option<Descriptor>,
            #[serde(default)]
            artifact_type: Option<String>,
            #[serde(default)]
            annotations: std::collections::BTreeMap<String, String>,
        }
        let mut subjects: HashMap<Digest, Vec<Descriptor>> = HashMap::new();
        for descriptor in &self.index {
            let Some(bytes) = self.read_blob(&descriptor.digest, self.caps.manifest_bytes).await? else {
                // Half a copy: what it would have said is not known.
                return Err(self.missing(&descriptor.digest));
            };
            let Ok(manifest) = serde_json::from_slice::<Subjected>(&bytes) else { continue };
            let Some(subject) = manifest.subject else { continue };
            let listed = subjects.entry(subject.digest).or_default();
            if listed.iter().all(|known| known.digest != descriptor.digest) {
                // As the referrers API does: type and annotations are those of the manifest.
                listed.push(Descriptor {
                    artifact_type: manifest.artifact_type.or_else(|| descriptor.artifact_type.clone()),
                    annotations: manifest.annotations,
                    ..descriptor.clone()
                });
            }
        }
        Ok(subjects)
    }

    async fn find_blob(&self, descriptor: &Descriptor, max_bytes: u64, call: &Call) -> Result<Bytes, FetchError> {
        let path = self.blob_path(&descriptor.digest);
        if descriptor.size > max_bytes {
            return Err(error(&path, FetchErrorKind::TooLarge { max_bytes }));
        }
        let bytes =
            self.read_blob(&descriptor.digest, max_bytes).await?.ok_or_else(|| self.missing(&descriptor.digest))?;
        if bytes.len() as u64 != descriptor.size {
            let why = format!("{} bytes, its descriptor says {}", bytes.len(), descriptor.size);
            return Err(error(&path, FetchErrorKind::Protocol(why)));
        }
        self.charge(bytes.len(), call)?;
        Ok(bytes)
    }

    fn charge(&self, bytes: usize, call: &Call) -> Result<(), FetchError> {
        call.held.take(bytes as u64).map_err(|kind| error(&self.path, kind))
    }

    /// The file of `digest`, `None` where there is none.
    async fn read_blob(&self, digest: &Digest, max_bytes: u64) -> Result<Option<Bytes>, FetchError> {
        let path = self.blob_path(digest);
        let unreadable = |cause: std::io::Error| error(&path, FetchErrorKind::Unreachable(cause.to_string()));
        let file = match tokio::fs::File::open(&path).await {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let metadata = file.metadata().await.map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(error(&path, FetchErrorKind::Protocol("not a regular file".to_owned())));
        }
        if metadata.len() > max_bytes {
            return Err(error(&path, FetchErrorKind::TooLarge { max_bytes }));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
        file.take(max_bytes + 1).read_to_end(&mut bytes).await.map_err(unreadable)?;
        if bytes.len() as u64 > max_bytes {
            return Err(error(&path, FetchErrorKind::TooLarge { max_bytes }));
        }
        let found = Digest::of_with(digest.algorithm(), &bytes);
        if found != *digest {
            let expected = digest.clone();
            return Err(error(&path, FetchErrorKind::DigestMismatch { expected, found }));
        }
        Ok(Some(bytes.into()))
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }

    fn missing(&self, digest: &Digest) -> FetchError {
        error(&self.blob_path(digest), FetchErrorKind::Protocol("the file is missing".to_owned()))
    }

    async fn until<T>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        let started = Instant::now();
        let timeout = |waited: Duration| error(&self.path, FetchErrorKind::Timeout { waited });
        timeout_at(deadline, work).await.unwrap_or_else(|_| Err(timeout(started.elapsed())))
    }
}

impl OciSource for LayoutSource {
    fn manifest<'a>(
        &'a self,
        repository: &'a Repository,
        pointer: &'a Pointer,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Option<Manifest>, FetchError>> {
        Box::pin(self.until(call.deadline, self.find_manifest(repository, pointer, call)))
    }

    fn referrers<'a>(
        &'a self,
        _repository: &'a Repository,
        digest: &'a Digest,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Referrers, FetchError>> {
        Box::pin(self.until(call.deadline, self.find_referrers(digest)))
    }

    fn blob<'a>(
        &'a self,
        _repository: &'a Repository,
        descriptor: &'a Descriptor,
        max_bytes: u64,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        Box::pin(self.until(call.deadline, self.find_blob(descriptor, max_bytes, call)))
    }
}

fn error(path: &Path, kind: FetchErrorKind) -> FetchError {
    FetchError { endpoint: path.display().to_string(), kind }
}

/// What a reference name stands for. One that is neither a tag nor a reference with a tag names nothing here.
fn tag_key(name: &str) -> Option<TagKey> {
    if let Ok(tag) = name.parse::<Tag>() {
        return Some((None, tag));
    }
    let reference = name.parse::<Reference>().ok()?;
    Some((Some(reference.repository().clone()), reference.tag()?.clone()))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path, max_bytes: u64) -> Result<T, LayoutError> {
    use std::io::Read as _;
    let failed = |problem| LayoutError { path: path.to_owned(), problem };
    let file = std::fs::File::open(path).map_err(|error| failed(LayoutProblem::Read(error)))?;
    let mut json = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut json).map_err(|error| failed(LayoutProblem::Read(error)))?;
    if json.len() as u64 > max_bytes {
        return Err(failed(LayoutProblem::TooLarge(max_bytes)));
    }
    serde_json::from_slice(&json).map_err(|error| failed(LayoutProblem::Json(error)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
