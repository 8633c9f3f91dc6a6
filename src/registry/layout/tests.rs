use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::*;

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("bonafide-layout-{}-{number}", std::process::id()));
        std::fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        std::fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(path)
    }

    fn blob(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        std::fs::write(self.0.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        digest
    }

    fn index(&self, entries: &[(&Digest, &str)]) -> LayoutSource {
        let manifests: Vec<_> = entries
            .iter()
            .map(|(digest, name)| {
                json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1,
                       "annotations": {REF_NAME: name}})
            })
            .collect();
        std::fs::write(self.0.join("index.json"), json!({"manifests": manifests}).to_string()).unwrap();
        LayoutSource::open(&self.0, Caps::DEFAULT).unwrap()
    }
}

fn soon() -> Call {
    Call::until(Instant::now() + Duration::from_secs(10))
}

fn repository(name: &str) -> Repository {
    name.parse::<Reference>().unwrap().repository().clone()
}

fn tag(text: &str) -> Pointer {
    Pointer::Tag(text.parse().unwrap())
}

fn descriptor(digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: String::new(),
        digest,
        size,
        artifact_type: None,
        annotations: std::collections::BTreeMap::new(),
        data: None,
    }
}

#[tokio::test]
async fn a_plain_tag_is_one_of_any_repository_a_full_reference_of_its_own() {
    let folder = Folder::new();
    let (a, b) = (folder.blob(b"{}"), folder.blob(b"{ }"));
    let layout = folder.index(&[(&a, "v1"), (&b, "ghcr.io:443/org/app:v1"), (&b, "docker.io/library/nginx:v2")]);
    for (name, at, expected) in [
        ("ghcr.io/org/app", "v1", Some(&b)),
        ("ghcr.io/org/other", "v1", Some(&a)),
        ("nginx", "v2", Some(&b)),
        ("ghcr.io/org/app", "v2", None),
    ] {
        let found = layout.manifest(&repository(name), &tag(at), &soon()).await.unwrap();
        assert_eq!(found.map(|manifest| manifest.digest).as_ref(), expected, "{name}:{at}");
    }
}

#[tokio::test]
async fn a_tag_with_two_digests_is_an_error() {
    let folder = Folder::new();
    let (a, b) = (folder.blob(b"{}"), folder.blob(b"{ }"));
    let layout = folder.index(&[(&a, "v1"), (&b, "v1"), (&a, "v2"), (&a, "v2")]);
    let error = layout.manifest(&repository("r.io/a"), &tag("v1"), &soon()).await.unwrap_err();
    assert!(matches!(error.kind, FetchErrorKind::Protocol(_)), "{error}");
    assert!(layout.manifest(&repository("r.io/a"), &tag("v2"), &soon()).await.unwrap().is_some());
}

#[tokio::test]
async fn missing_is_not_unreadable() {
    let folder = Folder::new();
    let (there, gone) = (folder.blob(b"{}"), Digest::of(b"gone"));
    let layout = folder.index(&[(&gone, "gone")]);
    let repository = repository("r.io/a");
    let by_digest = layout.manifest(&repository, &Pointer::Digest(gone.clone()), &soon()).await;
    assert!(matches!(by_digest, Ok(None)));
    let by_tag = layout.manifest(&repository, &tag("gone"), &soon()).await.unwrap_err();
    assert!(matches!(by_tag.kind, FetchErrorKind::Protocol(_)), "{by_tag}");
    let blob = layout.blob(&repository, &descriptor(gone, 4), 10, &soon()).await.unwrap_err();
    assert!(matches!(blob.kind, FetchErrorKind::Protocol(_)), "{blob}");
    std::fs::write(folder.0.join("blobs/sha256").join(there.hex()), b"{x}").unwrap();
    let changed = layout.manifest(&repository, &Pointer::Digest(there), &soon()).await.unwrap_err();
    assert!(matches!(changed.kind, FetchErrorKind::DigestMismatch { .. }), "{changed}");
}

#[tokio::test]
async fn blobs_have_their_size_and_keep_to_the_cap() {
    let folder = Folder::new();
    let digest = folder.blob(b"12345");
    let layout = folder.index(&[]);
    let repository = repository("r.io/a");
    let blob = async |size, max_bytes| {
        layout
            .blob(&repository, &descriptor(digest.clone(), size), max_bytes, &soon())
            .await
            .map_err(|error| error.kind)
    };
    assert_eq!(blob(5, 5).await.unwrap(), "12345");
    assert_eq!(blob(5, 4).await.unwrap_err(), FetchErrorKind::TooLarge { max_bytes: 4 });
    assert_eq!(blob(3, 4).await.unwrap_err(), FetchErrorKind::TooLarge { max_bytes: 4 });
    assert!(matches!(blob(4, 9).await.unwrap_err(), FetchErrorKind::Protocol(_)));
}

#[tokio::test]
async fn referrers_are_the_manifests_with_that_subject() {
    let folder = Folder::new();
    let image = folder.blob(b"{}");
    let signature = json!({"subject": {"digest": image, "size": 2}, "artifactType": "a/b", "layers": []});
    let signature = folder.blob(signature.to_string().as_bytes());
    let other = folder.blob(b"not a manifest");
    let layout = folder.index(&[(&image, "v1"), (&signature, "x"), (&other, "y")]);
    let repository = repository("r.io/a");
    let Referrers::Listed(listed) = layout.referrers(&repository, &image, &soon()).await.unwrap() else {
        panic!("unsupported")
    };
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].digest, listed[0].artifact_type.as_deref()), (&signature, Some("a/b")));
    let none = layout.referrers(&repository, &other, &soon()).await.unwrap();
    assert!(matches!(none, Referrers::Unsupported));
}

#[test]
fn opening_names_the_file_and_the_problem() {
    let folder = Folder::new();
    let open = || LayoutSource::open(&folder.0, Caps::DEFAULT).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(open().contains("index.json: cannot be read"), "{}", open());
    std::fs::write(folder.0.join("index.json"), "{").unwrap();
    assert!(open().contains("index.json: is not valid"), "{}", open());
    std::fs::write(folder.0.join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    assert!(open().contains(r#"oci-layout: has version "2.0.0""#), "{}", open());
    std::fs::remove_file(folder.0.join("oci-layout")).unwrap();
    assert!(open().contains("oci-layout: cannot be read"), "{}", open());
}
