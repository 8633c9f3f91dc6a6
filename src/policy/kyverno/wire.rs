//! The parts of a `ClusterPolicy` that are read. A field that is not here is an error.

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ClusterPolicySpec {
    pub(super) validation_failure_action: Option<FailureAction>,
    pub(super) webhook_timeout_seconds: Option<u32>,
    pub(super) failure_policy: Option<FailurePolicy>,
    pub(super) background: Option<bool>,
    /// Decoded one by one: those without `verifyImages` may have any form.
    pub(super) rules: Vec<Value>,
}

#[derive(Deserialize, Clone, Copy)]
pub(super) enum FailureAction {
    #[serde(alias = "enforce")]
    Enforce,
    #[serde(alias = "audit")]
    Audit,
}

#[derive(Deserialize, PartialEq, Eq)]
pub(super) enum FailurePolicy {
    Fail,
    Ignore,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) name: String,
    #[serde(rename = "match")]
    pub(super) match_: ResourceMatch,
    pub(super) verify_images: Vec<ImageVerification>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ResourceMatch {
    pub(super) any: Option<Vec<ResourceFilter>>,
    pub(super) all: Option<Vec<ResourceFilter>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ResourceFilter {
    pub(super) resources: Resources,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Resources {
    pub(super) kinds: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ImageVerification {
    pub(super) image_references: Vec<String>,
    #[serde(default)]
    pub(super) skip_image_references: Vec<String>,
    #[serde(default)]
    pub(super) attestors: Vec<Attestor>,
    #[serde(default)]
    pub(super) attestations: Vec<Attestation>,
    pub(super) mutate_digest: Option<bool>,
    pub(super) verify_digest: Option<bool>,
    pub(super) required: Option<bool>,
    pub(super) failure_action: Option<FailureAction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Attestation {
    #[serde(rename = "type")]
    pub(super) type_: Option<String>,
    pub(super) predicate_type: Option<String>,
    #[serde(default)]
    pub(super) attestors: Vec<Attestor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Attestor {
    /// How many of the entries are needed: all of them where left out.
    pub(super) count: Option<u32>,
    pub(super) entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) keyless: Option<Keyless>,
    pub(super) keys: Option<Keys>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Keyless {
    pub(super) subject: Option<String>,
    pub(super) issuer: Option<String>,
    pub(super) subject_reg_exp: Option<String>,
    pub(super) issuer_reg_exp: Option<String>,
    pub(super) rekor: Option<Rekor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Keys {
    pub(super) public_keys: String,
    pub(super) rekor: Option<Rekor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Rekor {
    pub(super) url: Option<String>,
}
