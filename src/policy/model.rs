//! What a policy says, once it has been read: nothing in here can be invalid.

use std::{borrow::Borrow, fmt, sync::Arc};

use aws_lc_rs::digest::{Context, SHA256};

use super::{Identity, ImagePattern, NamespaceScope, Pattern, PredicateType, PublicKey};

/// Longest name of a policy, in bytes: a Kubernetes name (253), a slash, a Kyverno rule's name (63), room for `#2`.
const MAX_NAME_BYTES: usize = 330;

/// One policy: what it covers, what it asks for, and what happens when that is missing.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What people call it. Unique within a [`PolicySet`](super::PolicySet).
    pub name: PolicyName,
    /// What a failure leads to.
    pub mode: Mode,
    /// Which images it covers.
    pub images: ImageScope,
    /// In which namespaces.
    pub namespaces: NamespaceScope,
    /// What becomes of a tag. Never [`DigestRule::Ignore`] where a signature or an attestation is required.
    pub digest: DigestRule,
    /// What an image needs: all of these. Never empty.
    pub requirements: Vec<Arc<Requirement>>,
    /// What the author should know, found while reading. For people; one line each.
    pub notes: Vec<String>,
    /// What it was read from.
    pub source: Source,
}

/// The name of a policy: `zionsworking`, or `verify-images/check-cosign-signature` for a rule of Kyverno's.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyName(Arc<str>);

/// What a failure leads to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// The object is denied.
    Enforce,
    /// The object is admitted with a warning.
    Warn,
    /// The object is admitted; the failure is reported.
    Audit,
}

/// Which images a policy covers.
#[derive(Clone, Debug)]
pub enum ImageScope {
    /// Those that a pattern of `include` covers and none of `exclude`.
    Patterns {
        /// Covered, if any of these does.
        include: Vec<ImagePattern>,
        /// Not covered, if any of these does.
        exclude: Vec<ImagePattern>,
    },
    /// Those that no enforcing policy with a signature or an attestation requirement covers.
    Fallback {
        /// Not covered, if any of these does.
        exclude: Vec<ImagePattern>,
    },
}

/// What becomes of an image that is named by a tag.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DigestRule {
    /// It is replaced by its digest.
    Pin,
    /// It is denied: the author has to write the digest.
    Require,
    /// It stays.
    Ignore,
}

/// What a policy was read from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// An `ImagePolicy` of `bonafide.dev`.
    ImagePolicy,
    /// A rule with `verifyImages` in a `ClusterPolicy` of `kyverno.io`.
    KyvernoRule,
}

/// One thing that an image needs. [`Requirement::new`] is the only door.
#[derive(Clone, Debug)]
pub struct Requirement {
    id: RequirementId,
    kind: RequirementKind,
    authorities: Vec<Arc<Authority>>,
    count: usize,
}

/// A hash over everything that decides whether a requirement is met, so that equal requirements of
/// different policies share a verdict. The names of authorities are not in it, their order is: a verdict may
/// point at an authority by its index, never by its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequirementId([u8; 32]);

/// What kind of evidence is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RequirementKind {
    /// A signature over the image.
    Signature,
    /// A signed statement about the image.
    Attestation {
        /// What it has to state.
        predicate_type: PredicateType,
    },
    /// Nothing meets this: every image that the policy covers is refused.
    Deny {
        /// What to tell the author of the object.
        message: String,
    },
}

/// Somebody whose signature counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authority {
    /// What the policy calls them.
    pub name: String,
    /// How they are told from others.
    pub kind: AuthorityKind,
}

/// How an authority is told from others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuthorityKind {
    /// By the identity in a short-lived certificate.
    Keyless(Identity),
    /// By a public key.
    Key(PublicKey),
}

/// Why a requirement can't be made.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum RequirementError {
    /// Nobody is named: nothing could ever meet it, or everything would.
    #[error("it names no authority, so nobody's signature would count")]
    NoAuthority,
    /// More are asked for than are named, or none.
    #[error("count is {count}, but it has to be between 1 and the number of authorities, {authorities}")]
    Count {
        /// What was asked for.
        count: usize,
        /// How many are named.
        authorities: usize,
    },
    /// Two of the authorities are one: a single signature would count twice.
    #[error("authorities {first:?} and {second:?} are the same, so that one signature would count twice")]
    SameAuthority {
        /// The name of the one.
        first: String,
        /// The name of the other.
        second: String,
    },
}

impl Policy {
    /// Whether it asks for a signature or an attestation, and not only for a digest or a denial.
    #[must_use]
    pub fn requires_evidence(&self) -> bool {
        self.requirements.iter().any(|requirement| requirement.kind.is_evidence())
    }

    /// Whether it denies what does not meet it, and so can stand in for a fallback policy.
    #[must_use]
    pub fn enforces_evidence(&self) -> bool {
        self.mode == Mode::Enforce && self.requires_evidence()
    }
}

impl PolicyName {
    /// The name `text`, if it can be printed in one line and is not absurdly long.
    pub(super) fn new(text: &str) -> Option<Self> {
        let fits = !text.trim().is_empty() && text.len() <= MAX_NAME_BYTES && !text.chars().any(char::is_control);
        fits.then(|| Self(text.into()))
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Requirement {
    /// A requirement for evidence of `kind` by at least `count` different ones of `authorities`. A
    /// [`RequirementKind::Deny`] is made with [`Requirement::deny`].
    ///
    /// # Errors
    /// [`RequirementError`] where `authorities` is empty or has one twice, or `count` is not within `1..=authorities.len()`.
    pub fn new(
        kind: RequirementKind,
        authorities: Vec<Arc<Authority>>,
        count: usize,
    ) -> Result<Self, RequirementError> {
        if authorities.is_empty() {
            return Err(RequirementError::NoAuthority);
        }
        if count == 0 || count > authorities.len() {
            return Err(RequirementError::Count { count, authorities: authorities.len() });
        }
        for (at, second) in authorities.iter().enumerate() {
            if let Some(first) = authorities[..at].iter().find(|first| first.kind == second.kind) {
                let (first, second) = (first.name.clone(), second.name.clone());
                return Err(RequirementError::SameAuthority { first, second });
            }
        }
        Ok(Self { id: RequirementId::of(&kind, &authorities, count), kind, authorities, count })
    }

    /// A requirement that nothing meets.
    #[must_use]
    pub fn deny(message: String) -> Self {
        let kind = RequirementKind::Deny { message };
        Self { id: RequirementId::of(&kind, &[], 0), kind, authorities: Vec::new(), count: 0 }
    }

    /// The hash of everything that decides.
    #[must_use]
    pub const fn id(&self) -> RequirementId {
        self.id
    }

    /// What kind of evidence is asked for.
    #[must_use]
    pub const fn kind(&self) -> &RequirementKind {
        &self.kind
    }

    /// Whose evidence counts. Empty for a denial only.
    #[must_use]
    pub fn authorities(&self) -> &[Arc<Authority>] {
        &self.authorities
    }

    /// How many different ones of the authorities are needed: 1 at least, 0 for a denial only.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }
}

impl RequirementKind {
    /// Whether evidence can meet it.
    #[must_use]
    pub const fn is_evidence(&self) -> bool {
        matches!(self, Self::Signature | Self::Attestation { .. })
    }
}

impl RequirementId {
    /// The hash's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Every field is preceded by its length, every choice by its name, so that no two requirements
    /// have the same serialisation.
    fn of(kind: &RequirementKind, authorities: &[Arc<Authority>], count: usize) -> Self {
        let mut hash = Context::new(&SHA256);
        let mut put = |field: &str| {
            hash.update(&(field.len() as u64).to_be_bytes());
            hash.update(field.as_bytes());
        };
        put("bonafide requirement 1");
        match kind {
            RequirementKind::Signature => put("signature"),
            RequirementKind::Attestation { predicate_type: PredicateType::Exact(uri) } => {
                put("attestation");
                put("exact");
                put(uri);
            }
            RequirementKind::Attestation { predicate_type: PredicateType::Spdx } => {
                put("attestation");
                put("spdx");
            }
            RequirementKind::Deny { message } => {
                put("deny");
                put(message);
            }
        }
        put(&count.to_string());
        put(&authorities.len().to_string());
        for authority in authorities {
            match &authority.kind {
                AuthorityKind::Keyless(Identity { issuer, subject }) => {
                    put("keyless");
                    for pattern in [issuer, subject] {
                        put(match pattern {
                            Pattern::Exact(_) => "exact",
                            Pattern::Glob(_) => "glob",
                            Pattern::Regex(regex) if regex.is_anchored() => "regex",
                            Pattern::Regex(_) => "search",
                        });
                        put(pattern.as_str());
                    }
                }
                AuthorityKind::Key(key) => {
                    put("key");
                    put(key.fingerprint().as_str());
                }
            }
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hash.finish().as_ref());
        Self(bytes)
    }
}

impl Borrow<str> for PolicyName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enforce => "Enforce",
            Self::Warn => "Warn",
            Self::Audit => "Audit",
        })
    }
}

/// `signature`, `attestation https://spdx.dev/Document`, `denial`.
impl fmt::Display for RequirementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature => f.write_str("signature"),
            Self::Attestation { predicate_type } => write!(f, "attestation {predicate_type}"),
            Self::Deny { .. } => f.write_str("denial"),
        }
    }
}

impl fmt::Display for AuthorityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keyless(identity) => identity.fmt(f),
            Self::Key(key) => write!(f, "public key {}", key.fingerprint()),
        }
    }
}

impl fmt::Display for RequirementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for RequirementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequirementId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyless(name: &str, issuer: &str, subject: &str) -> Arc<Authority> {
        let identity = Identity { issuer: Pattern::glob(issuer).unwrap(), subject: Pattern::glob(subject).unwrap() };
        Arc::new(Authority { name: name.to_owned(), kind: AuthorityKind::Keyless(identity) })
    }

    fn new(
        kind: &RequirementKind,
        authorities: &[&Arc<Authority>],
        count: usize,
    ) -> Result<Requirement, RequirementError> {
        Requirement::new(kind.clone(), authorities.iter().copied().cloned().collect(), count)
    }

    fn id(kind: &RequirementKind, authorities: &[&Arc<Authority>], count: usize) -> RequirementId {
        new(kind, authorities, count).unwrap().id()
    }

    #[test]
    fn everything_that_decides_is_in_the_id_and_names_are_not() {
        let (a, b) = (keyless("a", "i", "s"), keyless("b", "i", "s*"));
        let attestation = |predicate_type| RequirementKind::Attestation { predicate_type };
        let exact = attestation(PredicateType::uri("https://spdx.dev/Document").unwrap());
        let regex = Arc::new(Authority {
            name: "c".to_owned(),
            kind: AuthorityKind::Keyless(Identity {
                issuer: Pattern::exact("i").unwrap(),
                subject: Pattern::regex("s*").unwrap(),
            }),
        });
        let signature = RequirementKind::Signature;
        let ids = [
            id(&signature, &[&a], 1),
            id(&signature, &[&b], 1),
            id(&signature, &[&regex], 1),
            id(&signature, &[&a, &b], 1),
            id(&signature, &[&b, &a], 1),
            id(&signature, &[&a, &b], 2),
            id(&signature, &[&keyless("a", "is", "x")], 1),
            id(&signature, &[&keyless("a", "i", "sx")], 1),
            id(&exact, &[&a], 1),
            id(&attestation(PredicateType::Spdx), &[&a], 1),
            Requirement::deny("no".to_owned()).id(),
            Requirement::deny("not".to_owned()).id(),
        ];
        for (at, one) in ids.iter().enumerate() {
            assert!(!ids[..at].contains(one), "{at}");
        }
        assert_eq!(ids[0], id(&signature, &[&keyless("other name", "i", "s")], 1));
        assert_eq!(ids[0].to_string().len(), 64);
    }

    #[test]
    fn counts_and_doubles_are_refused() {
        let (a, b) = (keyless("a", "i", "s"), keyless("b", "i", "t"));
        let new = |authorities: &[_], count| new(&RequirementKind::Signature, authorities, count).unwrap_err();
        assert_eq!(new(&[], 0), RequirementError::NoAuthority);
        assert_eq!(new(&[&a], 0), RequirementError::Count { count: 0, authorities: 1 });
        assert_eq!(new(&[&a, &b], 3), RequirementError::Count { count: 3, authorities: 2 });
        let twin = keyless("twin", "i", "s");
        let expected = RequirementError::SameAuthority { first: "a".to_owned(), second: "twin".to_owned() };
        assert_eq!(new(&[&a, &twin], 2), expected);
    }
}
