//! Reads policies from text: YAML with any number of documents, or JSON.

use std::{collections::HashMap, fmt};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value};

use super::{
    FieldPath, Policy, PolicyError, PolicyName, Problem, ReadContext,
    crd::{self, ImagePolicySpec},
    document::{Node, documents},
    field::decode,
    kyverno,
};

/// What a file comes to.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    /// The policies, in the order in which they are there.
    pub policies: Vec<Policy>,
    /// What is not ours and was left out, as `file:line: field: what`.
    pub notes: Vec<String>,
}

/// What is wrong with a policy file, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadError {
    /// The file, as it was called.
    pub file: String,
    /// The line, from 1, where there is one.
    pub line: Option<u64>,
    /// The field, from the document's root.
    pub field: FieldPath,
    /// What is wrong with it.
    pub problem: ReadProblem,
}

/// What is wrong with a policy file.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum ReadProblem {
    /// The text is not YAML, or too much of it.
    #[error("{0}")]
    Syntax(String),
    /// The policy can't be read.
    #[error(transparent)]
    Policy(Box<Problem>),
    /// The object is no policy, or of a kind that is not read.
    #[error(
        "{found} is {why}; what is read: ImagePolicy of bonafide.dev/v1beta1, ClusterPolicy of kyverno.io/v1 \
         or kyverno.io/v2beta1, and List of v1 with those in it"
    )]
    Kind {
        /// The object's kind and version.
        found: String,
        /// Why it is not read.
        why: &'static str,
    },
    /// There is no policy in the file.
    #[error("there is no policy in it")]
    NoPolicy,
    /// Two policies in the file have one name.
    #[error("policy {name} is there twice, first on line {first}")]
    Twice {
        /// The name.
        name: PolicyName,
        /// The line, from 1, of the first one.
        first: u64,
    },
}

/// The policies in `text`, which came from `file`.
///
/// # Errors
/// [`ReadError`] where anything in it can't be read, is no policy, or has the name of another one; and where
/// there is nothing in it.
pub fn read_policies(text: &str, file: &str, context: &ReadContext) -> Result<PolicyFile, ReadError> {
    let error = |line, field, problem| ReadError { file: file.to_owned(), line, field, problem };
    let found = documents(text).map_err(|found| {
        error((found.line > 0).then_some(found.line), FieldPath::root(), ReadProblem::Syntax(found.problem))
    })?;
    let mut read = PolicyFile { policies: Vec::new(), notes: Vec::new() };
    let mut lines: HashMap<PolicyName, u64> = HashMap::new();
    let mut objects = 0;
    for document in &found {
        for (object, at) in objects_of(document) {
            objects += 1;
            let field_error = |found: Wrong| {
                let field = at.join(&found.field);
                error(Some(document.line_of(&field)), field, found.problem)
            };
            let reading = read_object(object, context).map_err(field_error)?;
            let line = document.line_of(&at.join(&name_path()));
            for policy in &reading.policies {
                if let Some(first) = lines.insert(policy.name.clone(), line) {
                    let problem = ReadProblem::Twice { name: policy.name.clone(), first };
                    return Err(field_error(Wrong { field: name_path(), problem }));
                }
            }
            read.policies.extend(reading.policies);
            read.notes.extend(reading.left_out.iter().map(|note| {
                let field = at.join(&note.field);
                format!("{file}:{}: {field}: {}", document.line_of(&field), note.text)
            }));
        }
    }
    if objects == 0 {
        return Err(error(None, FieldPath::root(), ReadProblem::NoPolicy));
    }
    Ok(read)
}

/// What is wrong with an object, with the field from the object.
struct Wrong {
    field: FieldPath,
    problem: ReadProblem,
}

impl From<PolicyError> for Wrong {
    fn from(error: PolicyError) -> Self {
        Self { field: error.field, problem: ReadProblem::Policy(Box::new(error.problem)) }
    }
}

/// What every object of Kubernetes has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    kind: String,
    metadata: Map<String, Value>,
    spec: Value,
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
}

/// The document, or the items of the list that it is.
fn objects_of(document: &Node) -> Vec<(&Node, FieldPath)> {
    let is = |key, expected| document.entry(key).and_then(Node::text) == Some(expected);
    match document.entry("items").and_then(Node::items) {
        Some(items) if is("kind", "List") && is("apiVersion", "v1") => {
            let path = FieldPath::root().key("items");
            items.iter().enumerate().map(|(at, item)| (item, path.index(at))).collect()
        }
        _ => vec![(document, FieldPath::root())],
    }
}

fn read_object(object: &Node, context: &ReadContext) -> Result<kyverno::Reading, Wrong> {
    // The kind first: what else is wrong with an object that is no policy does not matter.
    if let (Some(api_version), Some(kind)) =
        (object.entry("apiVersion").and_then(Node::text), object.entry("kind").and_then(Node::text))
    {
        check_kind(api_version, kind)?;
    }
    let Object { kind, metadata, spec, .. } = decode(object.to_value(), &FieldPath::root())?;
    let name = match metadata.get("name") {
        Some(Value::String(name)) => name,
        None => {
            let missing = Problem::Missing("it has no name, by which people could tell it from others");
            return Err(FieldPath::root().key("metadata").error(missing).into());
        }
        Some(_) => return Err(name_path().error(Problem::Shape("it takes a text".to_owned())).into()),
    };
    if kind == "ImagePolicy" {
        let spec: ImagePolicySpec = decode(spec, &FieldPath::root().key("spec"))?;
        Ok(kyverno::Reading { policies: vec![crd::parse(name, &spec)?], left_out: Vec::new() })
    } else {
        Ok(kyverno::parse(name, spec, context)?)
    }
}

fn name_path() -> FieldPath {
    FieldPath::root().key("metadata").key("name")
}

fn check_kind(api_version: &str, kind: &str) -> Result<(), Wrong> {
    let why = match (api_version, kind) {
        ("bonafide.dev/v1beta1", "ImagePolicy") | ("kyverno.io/v1" | "kyverno.io/v2beta1", "ClusterPolicy") => {
            return Ok(());
        }
        ("kyverno.io/v1" | "kyverno.io/v2beta1", "Policy") => "not supported yet",
        (_, "ImagePolicy" | "ClusterPolicy") => "of a version that is not read",
        _ => "no policy",
    };
    let problem = ReadProblem::Kind { found: format!("{kind} of {api_version}"), why };
    Err(Wrong { field: FieldPath::root().key("kind"), problem })
}

impl std::error::Error for ReadError {}

/// `policy/x.yaml:14: spec.rules[0].verifyImages[0].attestors: what is wrong`.
impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.field.steps().is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.problem)
    }
}

#[cfg(test)]
mod tests;
