//! Where in an object something is wrong, and what.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    ImagePatternError, Pattern, PatternError, PolicyName, PredicateTypeError, PublicKeyError, RequirementError,
};

/// The way to a field: `spec.rules[0].verifyImages[0].attestors`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct FieldPath(Vec<Step>);

/// One step of the way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// Into the value under a key.
    Key(String),
    /// Into an item of a list, counted from 0.
    Index(usize),
}

impl FieldPath {
    /// The object itself.
    #[must_use]
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// The field `key` of the value here.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    /// The item `index` of the list here.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    /// The field to which `rest` leads from here.
    #[must_use]
    pub fn join(&self, rest: &Self) -> Self {
        Self(self.0.iter().chain(&rest.0).cloned().collect())
    }

    /// The steps from the object to the field.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl From<&serde_path_to_error::Path> for FieldPath {
    fn from(path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment;
        let steps = path.iter().map_while(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { variant } => Some(Step::Key(variant.clone())),
            Segment::Unknown => None,
        });
        Self(steps.collect())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                // A key with dots would read as several.
                Step::Key(key) if key.contains(['.', '[', ']']) || key.is_empty() => write!(f, "[{key:?}]")?,
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

/// What is wrong with an object that was meant to be a policy, and where.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("{field}: {problem}")]
pub struct PolicyError {
    /// The field.
    pub field: FieldPath,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The field is unknown, missing or of the wrong type.
    #[error("{0}")]
    Shape(String),
    /// Something that has to be there is not.
    #[error("{0}")]
    Missing(&'static str),
    /// It is a list without items, or a text without characters.
    #[error("it is empty: {0}")]
    Empty(&'static str),
    /// Of several fields that exclude each other, none or more than one is there.
    #[error("it takes exactly one of {fields}, and has {found} of them")]
    ExactlyOne {
        /// The fields.
        fields: &'static str,
        /// How many are there.
        found: usize,
    },
    /// It can't be expressed here, and leaving it out would change what the policy says.
    #[error("{found} is not supported: {why}")]
    NotSupported {
        /// What was given.
        found: String,
        /// Why not, and what to do.
        why: &'static str,
    },
    /// It is not the name of an object.
    #[error("{found:?} is no name: it takes 1 to 253 lower-case letters, digits, `-` and `.`")]
    Name {
        /// What was given.
        found: String,
    },
    /// Two policies, or two authorities of one policy, have one name.
    #[error("{what} {name:?} is there twice")]
    Twice {
        /// What has the name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// No authority of the policy has this name.
    #[error("there is no authority {name:?} in spec.authorities, which has: {known}")]
    UnknownAuthority {
        /// What was given.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// Nobody knows this transparency log.
    #[error(
        "{url:?} is no known transparency log; known are the public ones of Sigstore and, of the trust root: {known}"
    )]
    UnknownLog {
        /// What was given.
        url: String,
        /// The logs of the trust root.
        known: String,
    },
    /// The identity pattern is unusable.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The image pattern is unusable.
    #[error(transparent)]
    Image(#[from] ImagePatternError),
    /// The key is unusable.
    #[error(transparent)]
    Key(#[from] PublicKeyError),
    /// The predicate type is unusable.
    #[error(transparent)]
    Predicate(#[from] PredicateTypeError),
    /// The requirement can't be made of what there is.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
}

impl FieldPath {
    /// The error that this field has `problem`.
    #[must_use]
    pub fn error(&self, problem: impl Into<Problem>) -> PolicyError {
        PolicyError { field: self.clone(), problem: problem.into() }
    }
}

/// Decodes the part of an object that is at `field`.
///
/// # Errors
/// [`Problem::Shape`] at the field that is unknown, missing or of the wrong type.
pub(super) fn decode<T: DeserializeOwned>(value: Value, field: &FieldPath) -> Result<T, PolicyError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let at = field.join(&FieldPath::from(error.path()));
        at.error(Problem::Shape(error.into_inner().to_string()))
    })
}

/// Two fields of which one has to be there: a pattern and a regular expression.
pub(super) struct Choice<'a> {
    pub(super) plain: (&'static str, Option<&'a str>),
    pub(super) read_plain: fn(&str) -> Result<Pattern, PatternError>,
    pub(super) regex: (&'static str, Option<&'a str>),
    pub(super) both: &'static str,
}

impl Choice<'_> {
    pub(super) fn read(&self, field: &FieldPath) -> Result<Pattern, PolicyError> {
        let ((plain_name, plain), (regex_name, regex)) = (self.plain, self.regex);
        match (plain, regex) {
            (Some(text), None) => (self.read_plain)(text).map_err(|error| field.key(plain_name).error(error)),
            (None, Some(text)) => Pattern::regex(text).map_err(|error| field.key(regex_name).error(error)),
            (None, None) => Err(field.error(Problem::ExactlyOne { fields: self.both, found: 0 })),
            (Some(_), Some(_)) => Err(field.error(Problem::ExactlyOne { fields: self.both, found: 2 })),
        }
    }
}

/// The name of an object, which is a DNS subdomain (RFC 1123) as Kubernetes asks.
pub(super) fn object_name(name: &str, field: &FieldPath) -> Result<PolicyName, PolicyError> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let is_name =
        name.len() <= 253 && edge(name.chars().next()) && edge(name.chars().next_back()) && name.bytes().all(inner);
    is_name
        .then(|| PolicyName::new(name))
        .flatten()
        .ok_or_else(|| field.error(Problem::Name { found: name.chars().take(160).collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_people_write_it() {
        let rule = FieldPath::root().key("spec").key("rules").index(0);
        assert_eq!(rule.key("verifyImages").index(12).to_string(), "spec.rules[0].verifyImages[12]");
        let label = FieldPath::root().key("matchLabels").key("kubernetes.io/metadata.name");
        assert_eq!(label.to_string(), "matchLabels[\"kubernetes.io/metadata.name\"]");
        assert_eq!(FieldPath::root().index(3).key("spec").to_string(), "[3].spec");
        assert_eq!(rule.join(&FieldPath::root().key("name")), rule.key("name"));
    }
}
