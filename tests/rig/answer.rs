//! What came back, and what an API server makes of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

/// The answer to one call.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status. What follows is read from the body of a 200 only.
    pub http: u16,
    /// The body as it came.
    pub body: String,
    /// `response.uid`
    pub uid: String,
    /// `response.allowed`
    pub allowed: bool,
    /// `response.status.code`
    pub status: Option<u64>,
    /// `response.status.reason`: the reason code.
    pub code: String,
    /// `response.status.message`
    pub message: String,
    /// `response.patch`, decoded; `None` if there is none.
    pub patch: Option<Vec<Value>>,
    /// `response.warnings`
    pub warnings: Vec<String>,
    /// `response.auditAnnotations`
    pub audit: Value,
    /// From sending the request to having the whole answer.
    pub elapsed: Duration,
}

impl Answer {
    /// Reads the answer to a call.
    ///
    /// # Panics
    /// When the body of a 200 is no `AdmissionReview` that an API server takes.
    pub fn read(http: u16, body: String, elapsed: Duration) -> Self {
        let review: Value = match http {
            200 => serde_json::from_str(&body).unwrap_or_else(|error| panic!("not JSON: {error}: {body}")),
            _ => Value::Null,
        };
        let response = &review["response"];
        if http == 200 {
            assert_eq!(review["apiVersion"], "admission.k8s.io/v1", "{body}");
            assert_eq!(review["kind"], "AdmissionReview", "{body}");
            assert!(response["allowed"].is_boolean(), "{body}");
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let patch = response["patch"].as_str().map(|patch| {
            assert_eq!(response["patchType"], "JSONPatch", "{body}");
            let patch = BASE64.decode(patch).expect("base64");
            serde_json::from_slice(&patch).expect("a list of operations")
        });
        let warnings = response["warnings"].as_array().cloned().unwrap_or_default();
        Self {
            uid: text(&response["uid"]),
            allowed: response["allowed"] == true,
            status: response["status"]["code"].as_u64(),
            code: text(&response["status"]["reason"]),
            message: text(&response["status"]["message"]),
            patch,
            warnings: warnings.iter().map(text).collect(),
            audit: response["auditAnnotations"].clone(),
            http,
            body,
            elapsed,
        }
    }

    /// `object` with the patch applied, as an API server does: RFC 6902, all of it or nothing.
    ///
    /// # Panics
    /// When an operation is neither `test` nor `replace`, or does not fit the object.
    pub fn apply(&self, mut object: Value) -> Value {
        for operation in self.patch.iter().flatten() {
            let path = operation["path"].as_str().expect("a path");
            let place = object.pointer_mut(path).unwrap_or_else(|| panic!("nothing at {path}"));
            match operation["op"].as_str() {
                Some("test") => assert_eq!(*place, operation["value"], "test at {path}"),
                Some("replace") => *place = operation["value"].clone(),
                other => panic!("operation {other:?} at {path}"),
            }
        }
        object
    }

    /// The paths that the patch replaces, with what it puts there.
    pub fn replaced(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let operations = self.patch.iter().flatten().filter(|operation| operation["op"] == "replace");
        operations.map(|operation| (text(&operation["path"]), text(&operation["value"]))).collect()
    }

    /// Who vouched for what, from the audit annotations: a list of `{image, policy, subject, issuer, logIndex}`.
    pub fn vouched(&self) -> Vec<Value> {
        let text = self.audit["verified"].as_str();
        text.map(|text| serde_json::from_str(text).expect("a list")).unwrap_or_default()
    }
}

/// The outcome of both calls.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The mutating call's answer.
    pub mutated: Answer,
    /// The validating call's; the mutating one's again if that denied.
    pub validated: Answer,
    /// The object that would be stored.
    pub object: Value,
}

impl Admission {
    /// Whether the object is let in.
    pub fn allowed(&self) -> bool {
        self.mutated.allowed && self.validated.allowed
    }

    /// The reason code of a denial, `Allowed` where there is none.
    pub fn code(&self) -> &str {
        if self.allowed() { "Allowed" } else { &self.validated.code }
    }

    /// The message of a denial.
    pub fn message(&self) -> &str {
        &self.validated.message
    }

    /// Both calls together.
    pub fn elapsed(&self) -> Duration {
        self.mutated.elapsed + self.validated.elapsed
    }

    /// The text at a JSON pointer of the object that would be stored.
    pub fn field(&self, pointer: &str) -> &str {
        self.object.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {pointer}"))
    }

    /// The image of the first container of the Pod that would be stored.
    pub fn image(&self) -> &str {
        self.field("/spec/containers/0/image")
    }
}
