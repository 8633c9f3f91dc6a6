//! Policies: what they say, how they are read, and which of them cover an image.
//!
//! Text comes in, values go out: nothing here reads a file, a clock or a network. The readers
//! ([`crd`] for `ImagePolicy`, [`kyverno`] for `ClusterPolicy`) are the only makers of a [`Policy`],
//! and what they cannot express is an error that names the field.

mod glob;
mod identity;
mod key;
pub mod model;
mod namespace;
mod pattern;
mod predicate;

pub use glob::Glob;
pub use identity::{CompiledRegex, Identity, Pattern, PatternError};
pub use key::{PublicKey, PublicKeyError};
pub use model::{
    Authority, AuthorityKind, DigestRule, ImageScope, Mode, Policy, PolicyName, Requirement, RequirementError,
    RequirementId, RequirementKind, Source,
};
pub use namespace::NamespaceScope;
pub use pattern::ImagePattern;
pub use predicate::{PredicateType, PredicateTypeError};
