//! `AdmissionReview`s of the shape that a kube-apiserver sends.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::object;

/// A request that is being put together.
#[derive(Clone, Debug)]
pub struct Review {
    operation: &'static str,
    object: Value,
    old: Value,
    sub_resource: Option<String>,
    dry_run: bool,
    uid: String,
}

impl Review {
    fn new(operation: &'static str, object: Value, old: Value) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let uid = format!("7d1c0a52-94f3-4e6b-8f60-{count:012x}");
        Self { operation, object, old, sub_resource: None, dry_run: false, uid }
    }

    /// `object` is made.
    pub fn create(object: Value) -> Self {
        Self::new("CREATE", object, Value::Null)
    }

    /// `old` becomes `object`.
    pub fn update(object: Value, old: Value) -> Self {
        Self::new("UPDATE", object, old)
    }

    /// `old` is removed.
    pub fn delete(old: Value) -> Self {
        Self::new("DELETE", Value::Null, old)
    }

    /// By way of a sub-resource: `ephemeralcontainers`.
    pub fn sub_resource(mut self, name: &str) -> Self {
        self.sub_resource = Some(name.into());
        self
    }

    /// Nothing will be stored.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// The same request for another object: the next call of the same admission.
    pub fn with_object(&self, object: Value) -> Self {
        let next = Self::new(self.operation, object, self.old.clone());
        Self { sub_resource: self.sub_resource.clone(), dry_run: self.dry_run, ..next }
    }

    /// The object.
    pub fn object(&self) -> &Value {
        &self.object
    }

    /// What is echoed in the answer.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The whole body.
    pub fn json(&self) -> Value {
        let subject = if self.object.is_null() { &self.old } else { &self.object };
        let metadata = &subject["metadata"];
        let (group, version, kind, resource) = object::kind_of(subject);
        let kind = json!({ "group": group, "version": version, "kind": kind });
        let resource = json!({ "group": group, "version": version, "resource": resource });
        let options = match self.operation {
            "CREATE" => "CreateOptions",
            "UPDATE" => "UpdateOptions",
            _ => "DeleteOptions",
        };
        let mut request = json!({
            "uid": self.uid,
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "operation": self.operation,
            "userInfo": {
                "username": "system:serviceaccount:kube-system:replicaset-controller",
                "uid": "0b3a9d1e-6c50-4c43-9a35-3e7c2f0f4b8d",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
                "extra": { "authentication.kubernetes.io/credential-id": ["JTI=5f2a9b7c-1f53-4b3e-bb38-0d8a6c1e2f47"] },
            },
            "object": self.object,
            "oldObject": self.old,
            "dryRun": self.dry_run,
            "options": { "kind": options, "apiVersion": "meta.k8s.io/v1", "fieldManager": "kube-controller-manager" },
        });
        if let Some(name) = &self.sub_resource {
            request["subResource"] = name.as_str().into();
            request["requestSubResource"] = name.as_str().into();
        }
        json!({ "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request })
    }
}

impl From<Value> for Review {
    /// `object` is made.
    fn from(object: Value) -> Self {
        Self::create(object)
    }
}
