//! Policies: what they say, how they are read, and which of them cover an image.
//!
//! Text comes in, values go out: nothing here reads a file, a clock or a network. The readers
//! ([`crd`] for `ImagePolicy`, [`kyverno`] for `ClusterPolicy`) are the only makers of a [`Policy`],
//! and what they cannot express is an error that names the field.

pub mod crd;
mod document;
mod field;
mod glob;
mod identity;
mod key;
pub mod kyverno;
pub mod model;
mod namespace;
mod pattern;
mod predicate;
mod read;
mod select;

pub use field::{FieldPath, PolicyError, Problem, Step};
pub use glob::Glob;
pub use identity::{CompiledRegex, Identity, Pattern, PatternError};
pub use key::{PublicKey, PublicKeyError};
pub use kyverno::ReadContext;
pub use model::{
    Authority, AuthorityKind, DigestRule, ImageScope, Mode, Policy, PolicyName, Requirement, RequirementError,
    RequirementId, RequirementKind, Source,
};
pub use namespace::{LabelRule, NamespaceScope};
pub use pattern::{ImagePattern, ImagePatternError};
pub use predicate::{PredicateType, PredicateTypeError};
pub use read::{PolicyFile, ReadError, ReadProblem, read_policies};
pub use select::{DuplicateName, PolicySet};
