//! Every image field of a Pod, and of the Pod template of each workload kind.

use std::{collections::HashSet, fmt};

use serde::Deserialize;
use serde_json::Value;

use crate::image::{Reference, ReferenceError};

/// The kinds that are read: group, kind, and where the Pod's spec is.
const KINDS: [(&str, &str, &str); 8] = [
    ("", "Pod", "/spec"),
    ("", "ReplicationController", "/spec/template/spec"),
    ("apps", "Deployment", "/spec/template/spec"),
    ("apps", "ReplicaSet", "/spec/template/spec"),
    ("apps", "StatefulSet", "/spec/template/spec"),
    ("apps", "DaemonSet", "/spec/template/spec"),
    ("batch", "Job", "/spec/template/spec"),
    ("batch", "CronJob", "/spec/jobTemplate/spec/template/spec"),
];

/// Most new or changed images of one object. No node runs a Pod with as many.
pub const MAX_IMAGES: usize = 512;

/// An object with its images.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Whether it is a Pod: its tags are pinned, and it must have digests. A template keeps its tags.
    pub is_pod: bool,
    /// The images that are new or changed.
    pub images: Vec<ImageSite>,
}

/// One image field.
#[derive(Clone, Debug)]
pub struct ImageSite {
    /// JSON pointer of the field (RFC 6901).
    pub pointer: String,
    /// What holds it.
    pub kind: SiteKind,
    /// The name of the container or volume.
    pub name: String,
    /// The text of the field.
    pub written: String,
    /// What it names.
    pub image: Result<Reference, ReferenceError>,
}

/// What holds an image field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SiteKind {
    /// `containers[]`
    Container,
    /// `initContainers[]`
    InitContainer,
    /// `ephemeralContainers[]`
    EphemeralContainer,
    /// `volumes[].image`
    Volume,
}

/// Why the images of an object could not be read.
#[derive(thiserror::Error, Debug)]
pub enum ExtractError {
    /// The request has no object.
    #[error("AdmissionReview has no request.object")]
    NoObject,
    /// The object, or the one before the update, is not of the shape that its kind has.
    #[error("{which} is not a {kind}: {source}")]
    Shape {
        /// `request.object` or `request.oldObject`.
        which: &'static str,
        /// The kind that it should have.
        kind: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// More images than any Pod has: looking at each would be work for nothing.
    #[error("the object has {found} images, at most {MAX_IMAGES} are looked at")]
    TooManyImages {
        /// How many there are.
        found: usize,
    },
    /// A kind without a Pod in it: the webhook's rules send more than is read.
    #[error("kind {kind:?} of group {group:?} is not one that holds a Pod")]
    Kind {
        /// API group.
        group: String,
        /// Kind.
        kind: String,
    },
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    containers: Option<Vec<Container>>,
    #[serde(default)]
    init_containers: Option<Vec<Container>>,
    #[serde(default)]
    ephemeral_containers: Option<Vec<Container>>,
    #[serde(default)]
    volumes: Option<Vec<Volume>>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    image: Option<Value>,
}

#[derive(Deserialize)]
struct Volume {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    image: Option<ImageVolume>,
}

#[derive(Deserialize)]
struct ImageVolume {
    #[serde(default)]
    reference: Option<Value>,
}

#[derive(Deserialize)]
struct Holder<T> {
    #[serde(default = "Option::default")]
    spec: Option<T>,
}

#[derive(Deserialize)]
struct Templated<T> {
    #[serde(default = "Option::default")]
    template: Option<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobTemplated<T> {
    #[serde(default = "Option::default")]
    job_template: Option<T>,
}

type Plain = Holder<PodSpec>;
type InTemplate = Holder<Templated<Plain>>;
type InJobTemplate = Holder<JobTemplated<InTemplate>>;

impl Subject {
    /// Reads the images of `object`. With `old`, only those that are new or changed: an image is the same
    /// when the container of that name, in the same list, had it before.
    ///
    /// # Errors
    /// [`ExtractError`] when `kind` is not one that is read, or an object is not of its shape.
    pub fn read(group: &str, kind: &str, object: &str, old: Option<&str>) -> Result<Self, ExtractError> {
        let Some((_, _, base)) = KINDS.iter().find(|(g, k, _)| (*g, *k) == (group, kind)) else {
            return Err(ExtractError::Kind { group: shorten(group), kind: shorten(kind) });
        };
        let shape = |which| move |source| ExtractError::Shape { which, kind: kind.to_owned(), source };
        let mut images = sites(pod_spec(object, base).map_err(shape("request.object"))?, base);
        if let Some(old) = old {
            let before = sites(pod_spec(old, base).map_err(shape("request.oldObject"))?, base);
            let before: HashSet<_> =
                before.iter().map(|site| (site.kind, site.name.as_str(), site.written.as_str())).collect();
            images.retain(|site| !before.contains(&(site.kind, site.name.as_str(), site.written.as_str())));
        }
        if images.len() > MAX_IMAGES {
            return Err(ExtractError::TooManyImages { found: images.len() });
        }
        Ok(Self { is_pod: kind == "Pod", images })
    }
}

fn pod_spec(object: &str, base: &str) -> serde_json::Result<PodSpec> {
    // serde reads an array as a struct as well, field by field.
    if !object.trim_start().starts_with('{') {
        return Err(serde::de::Error::custom("it is not a JSON object"));
    }
    let spec = match base {
        "/spec" => serde_json::from_str::<Plain>(object)?.spec,
        "/spec/template/spec" => {
            let outer: InTemplate = serde_json::from_str(object)?;
            outer.spec.and_then(|spec| spec.template).and_then(|template| template.spec)
        }
        _ => {
            let outer: InJobTemplate = serde_json::from_str(object)?;
            let job = outer.spec.and_then(|spec| spec.job_template);
            job.and_then(|job| job.spec).and_then(|spec| spec.template).and_then(|template| template.spec)
        }
    };
    Ok(spec.unwrap_or_default())
}

/// The table of image fields.
fn sites(spec: PodSpec, base: &str) -> Vec<ImageSite> {
    let lists = [
        ("initContainers", SiteKind::InitContainer, spec.init_containers),
        ("containers", SiteKind::Container, spec.containers),
        ("ephemeralContainers", SiteKind::EphemeralContainer, spec.ephemeral_containers),
    ];
    let mut sites = Vec::new();
    for (list, kind, containers) in lists {
        for (index, container) in containers.unwrap_or_default().into_iter().enumerate() {
            let pointer = format!("{base}/{list}/{index}/image");
            sites.push(site(pointer, kind, container.name, container.image));
        }
    }
    for (index, volume) in spec.volumes.unwrap_or_default().into_iter().enumerate() {
        if let Some(image) = volume.image {
            let pointer = format!("{base}/volumes/{index}/image/reference");
            sites.push(site(pointer, SiteKind::Volume, volume.name, image.reference));
        }
    }
    sites
}

fn site(pointer: String, kind: SiteKind, name: Option<String>, image: Option<Value>) -> ImageSite {
    let written = match image {
        Some(Value::String(text)) => text,
        // Not a string: kept as its JSON, which no reference is.
        Some(other) if !other.is_null() => other.to_string(),
        _ => String::new(),
    };
    ImageSite { pointer, kind, name: name.unwrap_or_default(), image: written.parse(), written }
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

impl fmt::Display for ImageSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            SiteKind::Container => "container",
            SiteKind::InitContainer => "init container",
            SiteKind::EphemeralContainer => "ephemeral container",
            SiteKind::Volume => "image volume",
        };
        let name: String = self.name.chars().take(64).collect();
        write!(f, "{what} {name:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(kind: (&str, &str), object: &Value, old: Option<&Value>) -> Vec<(String, String)> {
        let old = old.map(ToString::to_string);
        let subject = Subject::read(kind.0, kind.1, &object.to_string(), old.as_deref()).expect("readable");
        subject.images.into_iter().map(|site| (site.pointer, site.written)).collect()
    }

    fn pair(pointer: &str, image: &str) -> (String, String) {
        (pointer.to_owned(), image.to_owned())
    }

    #[test]
    fn finds_every_image_field() {
        let spec = serde_json::json!({
            "initContainers": [{"name": "i", "image": "a"}],
            "containers": [{"name": "c", "image": "b"}, {"name": "none"}],
            "ephemeralContainers": [{"name": "e", "image": 7}],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "image": {"reference": "d"}}],
        });
        let found = images(("", "Pod"), &serde_json::json!({ "spec": spec }), None);
        let expected = [
            pair("/spec/initContainers/0/image", "a"),
            pair("/spec/containers/0/image", "b"),
            pair("/spec/containers/1/image", ""),
            pair("/spec/ephemeralContainers/0/image", "7"),
            pair("/spec/volumes/1/image/reference", "d"),
        ];
        assert_eq!(found, expected);
        let template = serde_json::json!({"spec": {"template": {"spec": spec}}});
        for kind in KINDS.iter().filter(|kind| kind.2 == "/spec/template/spec") {
            let found = images((kind.0, kind.1), &template, None);
            assert_eq!(found[1], pair("/spec/template/spec/containers/0/image", "b"), "{kind:?}");
            assert_eq!(found.len(), expected.len());
        }
        let cron = serde_json::json!({"spec": {"jobTemplate": template}});
        let found = images(("batch", "CronJob"), &cron, None);
        assert_eq!(found[1].0, "/spec/jobTemplate/spec/template/spec/containers/0/image");
    }

    #[test]
    fn an_update_is_held_to_what_it_changes() {
        let pod = |a: &str, b: &str| serde_json::json!({"spec": {"containers": [{"name": "a", "image": a}, {"name": "b", "image": b}]}});
        let at = |index: usize, image| pair(&format!("/spec/containers/{index}/image"), image);
        assert_eq!(images(("", "Pod"), &pod("x", "y"), Some(&pod("x", "y"))), []);
        assert_eq!(images(("", "Pod"), &pod("x", "z"), Some(&pod("x", "y"))), [at(1, "z")]);
        // Moved to another container: changed.
        assert_eq!(images(("", "Pod"), &pod("y", "x"), Some(&pod("x", "y"))), [at(0, "y"), at(1, "x")]);
        // Moved to another list: changed.
        let init = serde_json::json!({"spec": {"initContainers": [{"name": "a", "image": "x"}]}});
        assert_eq!(images(("", "Pod"), &init, Some(&pod("x", "y"))).len(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let read = |group, kind, object| Subject::read(group, kind, object, None);
        assert!(matches!(read("", "ConfigMap", "{}"), Err(ExtractError::Kind { .. })));
        assert!(matches!(read("apps", "Pod", "{}"), Err(ExtractError::Kind { .. })));
        let many = vec![serde_json::json!({"name": "a", "image": "b"}); MAX_IMAGES + 1];
        let many = serde_json::json!({"spec": {"containers": many}}).to_string();
        assert!(matches!(read("", "Pod", &many), Err(ExtractError::TooManyImages { found: 513 })));
        for object in [
            "[]",
            r#"{"spec":7}"#,
            r#"{"spec":{"containers":{}}}"#,
            r#"{"spec":{"containers":[1]}}"#,
            r#"{"spec":{},"spec":{}}"#,
            r#"{"spec":{"containers":[{"image":"a","image":"b"}]}}"#,
        ] {
            assert!(matches!(read("", "Pod", object), Err(ExtractError::Shape { .. })), "{object}");
        }
    }
}
