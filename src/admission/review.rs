//! `AdmissionReview` (admission.k8s.io/v1), request side.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ExtractError, Subject};

/// An `AdmissionReview` whose envelope was read; the objects in it are not yet.
#[derive(Debug)]
pub struct Review<'a> {
    /// The request.
    pub request: Request<'a>,
}

/// What is asked.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// Echoed in the answer.
    #[serde(borrow)]
    pub uid: Cow<'a, str>,
    /// What the object is.
    #[serde(borrow)]
    pub kind: Kind<'a>,
    /// `ephemeralcontainers`, where a sub-resource is written.
    #[serde(borrow, default)]
    pub sub_resource: Option<Cow<'a, str>>,
    /// The object's name, empty where it is still to be generated.
    #[serde(borrow, default)]
    pub name: Option<Cow<'a, str>>,
    /// The object's namespace.
    #[serde(borrow, default)]
    pub namespace: Option<Cow<'a, str>>,
    /// What is done to it.
    pub operation: Operation,
    /// The object.
    #[serde(borrow, default)]
    pub object: Option<&'a RawValue>,
    /// The object before an update.
    #[serde(borrow, default)]
    pub old_object: Option<&'a RawValue>,
    /// Whether nothing will be stored.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

/// Group, version and kind.
#[expect(clippy::struct_field_names, reason = "these are the names on the wire")]
#[derive(Deserialize, Debug)]
pub struct Kind<'a> {
    /// API group, empty for the core group.
    #[serde(borrow, default)]
    pub group: Cow<'a, str>,
    /// Version within the group.
    #[serde(borrow, default)]
    pub version: Cow<'a, str>,
    /// The kind.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
}

/// What is done to an object.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is removed.
    Delete,
    /// It is connected to (exec, attach, proxy).
    Connect,
}

/// Why a body is not an `AdmissionReview` that can be answered. All are HTTP 400.
#[derive(thiserror::Error, Debug)]
pub enum ReviewError {
    /// Not JSON of that shape.
    #[error("body is not an AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    /// Another kind, or a version that is not `v1`.
    #[error("body is {api_version:?} {kind:?}, expected \"admission.k8s.io/v1\" \"AdmissionReview\"")]
    Type {
        /// What was given.
        api_version: String,
        /// What was given.
        kind: String,
    },
    /// It has no request.
    #[error("AdmissionReview has no request")]
    NoRequest,
    /// A uid of a length or with characters that no API server sends.
    #[error("AdmissionReview has a request.uid that is empty or longer than {max} bytes")]
    Uid {
        /// Most bytes.
        max: usize,
    },
    /// The object that is to be looked at is not there, or cannot be read.
    #[error(transparent)]
    Object(#[from] ExtractError),
}

const MAX_UID_BYTES: usize = 128;

impl<'a> Review<'a> {
    /// Reads the envelope.
    ///
    /// # Errors
    /// [`ReviewError`] when it is not one.
    pub fn parse(body: &'a [u8]) -> Result<Self, ReviewError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            #[serde(borrow, default)]
            api_version: Cow<'a, str>,
            #[serde(borrow, default)]
            kind: Cow<'a, str>,
            #[serde(borrow, default)]
            request: Option<Request<'a>>,
        }
        let wire: Wire<'a> = serde_json::from_slice(body)?;
        if wire.api_version != "admission.k8s.io/v1" || wire.kind != "AdmissionReview" {
            return Err(ReviewError::Type {
                api_version: wire.api_version.chars().take(64).collect(),
                kind: wire.kind.chars().take(64).collect(),
            });
        }
        let request = wire.request.ok_or(ReviewError::NoRequest)?;
        if request.uid.is_empty() || request.uid.len() > MAX_UID_BYTES {
            return Err(ReviewError::Uid { max: MAX_UID_BYTES });
        }
        Ok(Self { request })
    }

    /// The images of the object, and what else is needed of it.
    ///
    /// # Errors
    /// [`ExtractError`] when the object is missing, unreadable or of a kind that holds no Pod.
    pub fn subject(&self) -> Result<Subject, ExtractError> {
        let request = &self.request;
        let object = request.object.ok_or(ExtractError::NoObject)?;
        let old = match request.operation {
            Operation::Update => request.old_object,
            _ => None,
        };
        Subject::read(&request.kind.group, &request.kind.kind, object.get(), old.map(RawValue::get))
    }
}
