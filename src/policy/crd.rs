//! `ImagePolicy` as it is written: the custom resource's types. [`parse`] is the one door to a [`Policy`](super::Policy), whether
//! the object comes from a file or from a cluster; unknown fields are refused.
//!
//! The comments on the fields are what `kubectl explain imagepolicy` prints.

mod parse;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use parse::parse;

/// Says which images may run: by whom they have to be signed and what has to be attested about them. Every policy
/// that covers an image has to be met.
#[derive(kube::CustomResource, Serialize, Deserialize, Clone, PartialEq, Eq, Debug, JsonSchema)]
#[kube(
    group = "bonafide.dev",
    version = "v1beta1",
    kind = "ImagePolicy",
    plural = "imagepolicies",
    shortname = "imgpol",
    category = "bonafide",
    derive = "PartialEq",
    printcolumn = r#"{"name": "Mode", "type": "string", "jsonPath": ".spec.mode"}"#,
    printcolumn = r#"{"name": "Images", "type": "string", "jsonPath": ".spec.match.images"}"#,
    printcolumn = r#"{"name": "Fallback", "type": "boolean", "jsonPath": ".spec.fallback"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImagePolicySpec {
    /// What happens to an object with an image that does not meet this policy: `Enforce` denies it, `Warn` admits
    /// it with a warning, `Audit` admits and reports it. `Enforce` where left out.
    #[serde(default = "Mode::where_left_out")]
    pub mode: Mode,

    /// Which images this policy covers, and in which namespaces.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    pub match_: Option<Match>,

    /// Covers every image that no enforcing policy with a signature or an attestation requirement covers, and
    /// takes no `match.images`. With `require: [{deny: {message: ...}}]` it is the default that keeps
    /// everything else out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fallback: bool,

    /// What becomes of a tag: `Pin` replaces it by the digest that was verified, `Require` denies it, `Ignore` leaves
    /// it. `Pin` where left out. Where a signature or an attestation is required, `Ignore` pins as well: a tag may
    /// be moved after the check.
    #[serde(default = "Digest::where_left_out")]
    pub digest: Digest,

    /// Those whose signatures count, for the requirements to name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<Authority>,

    /// What an image needs: all of these, and at least one has to be here.
    #[schemars(length(min = 1))]
    pub require: Vec<Require>,
}

/// What happens to an object with an image that does not meet a policy.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, JsonSchema)]
pub enum Mode {
    /// It is denied.
    Enforce,
    /// It is admitted with a warning.
    Warn,
    /// It is admitted and reported.
    Audit,
}

impl Mode {
    const fn where_left_out() -> Self {
        Self::Enforce
    }
}

/// What becomes of a tag.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, JsonSchema)]
pub enum Digest {
    /// It is replaced by the digest that was verified.
    Pin,
    /// It is denied.
    Require,
    /// It stays.
    Ignore,
}

impl Digest {
    const fn where_left_out() -> Self {
        Self::Pin
    }
}

/// Which images a policy covers, and in which namespaces.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Match {
    /// Patterns of image names, any of which covers an image: `*` stands for any characters, `/` included, `?`
    /// for one. They are held against `registry/repository` and `registry/repository:tag` in full
    /// spelling; a pattern without a tag covers every tag, and where an image has a digest its tag does not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,

    /// Patterns of image names that are not covered after all. Where an image has a digest, a pattern with a
    /// tag excepts nothing, for a runtime ignores the tag beside a digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_images: Vec<String>,

    /// The namespaces in which this policy is in force, by their labels; all of them where left out. Where labels
    /// are not known, a namespace counts as selected, unless a rule on `kubernetes.io/metadata.name`
    /// says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<NamespaceSelector>,
}

/// Namespaces by their labels. All of `matchLabels` and `matchExpressions` have to be met.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceSelector {
    /// Labels with the values that they have to have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,

    /// Rules on labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelExpression>,
}

/// A rule on a label.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelExpression {
    /// The label.
    pub key: String,

    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: LabelOperator,

    /// The values, for `In` and `NotIn` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// What a rule asks of a label.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, JsonSchema)]
pub enum LabelOperator {
    /// It has one of the values.
    In,
    /// It has none of the values, or is not there.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

/// Somebody whose signature counts. Takes exactly one of `keyless` and `key`.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Authority {
    /// The name by which requirements call them.
    pub name: String,

    /// By the identity in a short-lived certificate of the trust root's certificate authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyless: Option<Keyless>,

    /// By a public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
}

/// An identity. Takes exactly one of `issuer` and `issuerRegex`, and exactly one of `subject` and `subjectRegex`.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Keyless {
    /// The OIDC issuer that vouched for the signer, e.g. `https://token.actions.githubusercontent.com`, character by
    /// character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,

    /// A regular expression that the whole of the issuer has to fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_regex: Option<String>,

    /// The subject in the certificate, with `*` for any characters and `?` for one, e.g.
    /// `https://github.com/organisation/*`. Mind the last slash: without it `organisation-evil` fits too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,

    /// A regular expression that the whole of the subject has to fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_regex: Option<String>,
}

/// A public key.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Key {
    /// The key in PEM: one block, `-----BEGIN PUBLIC KEY-----`.
    pub pem: String,
}

/// Something that an image needs. Takes exactly one of `signature`, `attestation` and `deny`.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Require {
    /// A signature over the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,

    /// A signed statement about the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attestation>,

    /// Keeps every covered image out, with a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Deny>,
}

/// A signature over the image.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signature {
    /// The names of authorities whose signature counts.
    #[schemars(length(min = 1))]
    pub any_of: Vec<String>,

    /// How many different ones of them have to have signed; 1 where left out.
    // API servers know int32, not uint32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1))]
    pub count: Option<u32>,
}

/// A signed statement about the image.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attestation {
    /// What it has to state: the URI of the predicate type, character by character, e.g. `https://spdx.dev/Document`;
    /// or a name of cosign's: `slsaprovenance`, `slsaprovenance02`, `slsaprovenance1`, `link`, `cyclonedx`,
    /// `vuln`, `openvex`, `custom`, and `spdx` or `spdxjson` for an SPDX document of any version.
    pub predicate_type: String,

    /// The names of authorities whose signature counts.
    #[schemars(length(min = 1))]
    pub any_of: Vec<String>,

    /// How many different ones of them have to have attested it; 1 where left out.
    // API servers know int32, not uint32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1))]
    pub count: Option<u32>,
}

/// Keeps every covered image out.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deny {
    /// What to tell the author of the object: why, and what to do.
    pub message: String,
}

#[cfg(test)]
mod tests;
