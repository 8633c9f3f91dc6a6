//! From verdicts to a decision. Pure.

use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc};

use crate::{
    admission::ImageSite,
    image::{Digest, PinnedImage, Reference, ReferenceError},
    policy::{DigestRule, Mode, Policy, RequirementId, RequirementKind},
    registry::FetchError,
    verify::{Rejection, Signer, Verified},
};

/// What was found out about one image and one requirement.
///
/// Architecture invariant: "no" is not "don't know". Both deny in Enforce; only `Rejected` says that the
/// image is bad, and `Unknown` is never cached.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The requirement is met.
    Passed(Arc<[Vouch]>),
    /// It is not, and all that there is was looked at. Never empty; the most telling reason first.
    Rejected(Arc<[Rejection]>),
    /// It could not be decided.
    Unknown(Arc<Unknown>),
}

impl Verdict {
    /// Whether another try may come to something else.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unknown(unknown) if unknown.may_pass())
    }
}

/// Who satisfied a requirement: what is kept of a [`Verified`], without the payload. Only a [`Verified`]
/// makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vouch {
    signer: Signer,
    log_index: Option<u64>,
}

impl Vouch {
    /// Who signed.
    #[must_use]
    pub const fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Index in the transparency log.
    #[must_use]
    pub const fn log_index(&self) -> Option<u64> {
        self.log_index
    }
}

impl From<&Verified> for Vouch {
    fn from(verified: &Verified) -> Self {
        let authentic = verified.authentic();
        Self { signer: authentic.signer.clone(), log_index: authentic.log_index }
    }
}

/// Why something could not be decided.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum Unknown {
    /// A registry gave no usable answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The time for the answer ran out.
    #[error("{millis} ms were not enough; verification goes on, try again")]
    Timeout {
        /// How long was waited.
        millis: u128,
    },
    /// The server has no room for more work.
    #[error("the server has more work than it can do in time; try again")]
    Overloaded,
    /// The mutating call could not pin the tag, and pinning is not for the validating call to do.
    #[error("the tag was not pinned to a digest when the Pod was created, now it points to {digest}; try again")]
    NotPinned {
        /// What the tag points to now.
        digest: Digest,
    },
    /// Something that should not happen, caught.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Unknown {
    /// Whether another try, at once, may come to something else.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Fetch(error) => error.kind.may_pass(),
            Self::Timeout { .. } | Self::Overloaded | Self::Internal(_) => true,
            Self::NotPinned { .. } => false,
        }
    }

    /// The stable reason code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Fetch(error) => error.kind.code(),
            Self::Timeout { .. } => "Timeout",
            Self::Overloaded => "Overloaded",
            Self::NotPinned { .. } => "DigestMissing",
            Self::Internal(_) => "InternalError",
        }
    }
}

/// Whether a denial says that the image is bad, or that it is not known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// The image does not meet the policy.
    Rejected,
    /// It could not be decided whether it does.
    Unknown,
    /// The object itself is not acceptable: an unreadable image field, an image ID, a missing digest.
    Invalid,
}

impl Class {
    /// The word for it in metrics and JSON output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
        }
    }
}

/// Why one image of an object is not admitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denial {
    /// Where: `container "app"`, `init container "setup"`, `volume "model"`.
    pub site: String,
    /// The image as written.
    pub image: String,
    /// The digest that was looked at, once it is known.
    pub digest: Option<Digest>,
    /// The policy that asked, and which of its requirements; empty where no policy is involved.
    pub policy: String,
    /// `signature`, `attestation <type>`, `deny` or `digest`.
    pub requirement: String,
    /// No, don't know, or not acceptable as it is.
    pub class: Class,
    /// The stable reason code.
    pub code: &'static str,
    /// What was found against what was expected.
    pub message: String,
}

impl Denial {
    /// The denial of an object as a whole.
    #[must_use]
    pub fn of_object(class: Class, code: &'static str, message: String) -> Self {
        Self {
            site: "object".to_owned(),
            image: String::new(),
            digest: None,
            policy: String::new(),
            requirement: String::new(),
            class,
            code,
            message,
        }
    }
}

/// `text` with what a reader would not see replaced: control characters, and those that turn the direction of text
/// or take no room. What a registry or a certificate says ends up on terminals.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let unseen = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if text.chars().any(unseen) {
        text.chars().map(|c| if unseen(c) { char::REPLACEMENT_CHARACTER } else { c }).collect::<String>().into()
    } else {
        text.into()
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.site)?;
        if !self.image.is_empty() || self.site != "object" {
            write!(f, ": image {:?}", self.image)?;
        }
        if let Some(digest) = self.digest.as_ref().filter(|digest| !self.image.ends_with(digest.as_str())) {
            write!(f, " ({digest})")?;
        }
        if !self.policy.is_empty() {
            write!(f, ": policy {}", self.policy)?;
        }
        if !self.requirement.is_empty() {
            write!(f, ": {}", self.requirement)?;
        }
        let unsure = if self.class == Class::Unknown { "could not be decided: " } else { "" };
        write!(f, ": {}: {unsure}{}", self.code, printable(&self.message))
    }
}

/// Who vouched for an admitted image, for audit annotations and logs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vouched {
    /// The image.
    pub image: PinnedImage,
    /// The policy that asked.
    pub policy: String,
    /// Who signed.
    pub signer: Signer,
    /// Index in the transparency log.
    pub log_index: Option<u64>,
}

/// An image field to be rewritten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pin {
    /// JSON pointer of the field (RFC 6901).
    pub pointer: String,
    /// The text that is there.
    pub from: String,
    /// The text to put there.
    pub to: String,
}

/// What is answered.
#[derive(Clone, Default, Debug)]
pub struct Decision {
    /// Empty: allowed.
    pub denials: Vec<Denial>,
    /// Denials of policies in Warn mode, and notes.
    pub warnings: Vec<String>,
    /// Denials of policies in Audit mode: recorded, not shown.
    pub audited: Vec<Denial>,
    /// Image fields to pin; only the mutating phase has any.
    pub pins: Vec<Pin>,
    /// Who vouched for what.
    pub vouched: Vec<Vouched>,
    /// Policies that every image they cover satisfied so far, by name.
    pub passed: Vec<String>,
    /// Policies that an image did not satisfy, whatever their mode.
    pub failed: Vec<String>,
    /// Images that a policy covered.
    pub covered: usize,
    /// Images that no policy covered.
    pub uncovered: Vec<String>,
}

impl Decision {
    /// Whether the object is let in.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.denials.is_empty()
    }

    /// Records a denial as the policy's mode asks for.
    pub fn record(&mut self, mode: Mode, denial: Denial) {
        let list = match mode {
            Mode::Enforce => &mut self.denials,
            Mode::Audit => &mut self.audited,
            Mode::Warn => {
                let warning = denial.to_string();
                if !self.warnings.contains(&warning) {
                    self.warnings.push(warning);
                }
                return;
            }
        };
        if !list.contains(&denial) {
            list.push(denial);
        }
    }

    /// Counts `policy` as passed, unless an image failed it.
    fn settle(&mut self, policy: &str, met: bool) {
        let contains = |names: &[String]| names.iter().any(|name| name == policy);
        if !met {
            self.passed.retain(|name| name != policy);
            if !contains(&self.failed) {
                self.failed.push(policy.to_owned());
            }
        } else if !contains(&self.failed) && !contains(&self.passed) {
            self.passed.push(policy.to_owned());
        }
    }

    /// The most telling reason code: that of the first denial.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.denials.first().map_or("Allowed", |denial| denial.code)
    }

    /// The message for the user: every denial on a line of its own.
    #[must_use]
    pub fn message(&self) -> String {
        self.denials.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

/// The reason code of an image field that is no reference.
#[must_use]
pub const fn reference_code(error: &ReferenceError) -> &'static str {
    match error {
        ReferenceError::ImageId { .. } => "ImageIdNotAllowed",
        ReferenceError::Invalid { .. } | ReferenceError::Digest { .. } => "ImageReferenceInvalid",
    }
}

/// What is known of one covered image when it is decided on.
pub struct Case<'a> {
    /// The field.
    pub site: &'a ImageSite,
    /// What it names.
    pub image: &'a Reference,
    /// The policies that cover it.
    pub policies: &'a [&'a Arc<Policy>],
    /// Its digest, or why there is none; `None` where nothing needed it.
    pub resolved: Option<Result<&'a Digest, Arc<Unknown>>>,
    /// The verdict on each requirement that takes evidence.
    pub verdicts: Option<&'a HashMap<RequirementId, Verdict>>,
    /// Whether it should have been pinned to a digest by now and is not.
    pub must_be_pinned: bool,
}

/// Step 6 for one image: every requirement of every policy that covers it has to be met.
///
/// Architecture invariant: allow is explicit. A requirement without a verdict is a denial.
pub fn decide(case: &Case<'_>, decision: &mut Decision) {
    let before = decision.denials.len();
    for policy in case.policies {
        let mut met = true;
        for requirement in &policy.requirements {
            let verdict = match requirement.kind() {
                RequirementKind::Deny { message } => {
                    Verdict::Rejected(Arc::new([Rejection::DeniedByPolicy(message.clone())]))
                }
                _ => case.verdict(requirement.id()),
            };
            let (class, code, message) = match verdict {
                Verdict::Passed(vouches) => {
                    case.vouch(policy, &vouches, decision);
                    continue;
                }
                Verdict::Rejected(rejections) => {
                    let code = rejections.first().map_or("InternalError", Rejection::code);
                    (Class::Rejected, code, explain(&rejections))
                }
                Verdict::Unknown(unknown) => (Class::Unknown, unknown.code(), unknown.to_string()),
            };
            met = false;
            decision.record(policy.mode, case.denial(policy, requirement.kind().to_string(), class, code, message));
        }
        if policy.digest == DigestRule::Require && case.image.digest().is_none() {
            let message = "the image is named by a tag, the policy requires a digest".to_owned();
            let denial = case.denial(policy, "digest".to_owned(), Class::Invalid, "DigestRequired", message);
            met = false;
            decision.record(policy.mode, denial);
        }
        decision.settle(policy.name.as_str(), met);
    }
    // Only said where nothing worse is: an outage is not a missing digest.
    if case.must_be_pinned && decision.denials.len() == before {
        case.not_pinned(decision);
    }
}

impl Case<'_> {
    fn verdict(&self, requirement: RequirementId) -> Verdict {
        if let Some(Err(unknown)) = &self.resolved {
            return Verdict::Unknown(Arc::clone(unknown));
        }
        let verdict = self.verdicts.and_then(|verdicts| verdicts.get(&requirement));
        let missing = || Verdict::Unknown(Arc::new(Unknown::Internal("there is no verdict".to_owned())));
        verdict.cloned().unwrap_or_else(missing)
    }

    fn digest(&self) -> Option<&Digest> {
        self.resolved.as_ref().and_then(|resolved| resolved.as_ref().ok().copied()).or_else(|| self.image.digest())
    }

    fn denial(
        &self,
        policy: &Policy,
        requirement: String,
        class: Class,
        code: &'static str,
        message: String,
    ) -> Denial {
        Denial {
            site: self.site.to_string(),
            image: self.site.written.clone(),
            digest: self.digest().cloned(),
            policy: policy.name.to_string(),
            requirement,
            class,
            code,
            message,
        }
    }

    fn vouch(&self, policy: &Policy, vouches: &[Vouch], decision: &mut Decision) {
        let Some(digest) = self.digest() else { return };
        for vouch in vouches {
            let known = Vouched {
                image: self.image.repository().pin(digest.clone()),
                policy: policy.name.to_string(),
                signer: vouch.signer.clone(),
                log_index: vouch.log_index,
            };
            if !decision.vouched.contains(&known) {
                decision.vouched.push(known);
            }
        }
    }

    fn not_pinned(&self, decision: &mut Decision) {
        let unknown = match &self.resolved {
            Some(Ok(digest)) => Arc::new(Unknown::NotPinned { digest: (*digest).clone() }),
            Some(Err(unknown)) => Arc::clone(unknown),
            None => Arc::new(Unknown::Internal("the reference was not resolved".to_owned())),
        };
        for policy in self.policies.iter().filter(|policy| policy.requires_evidence()) {
            let (code, message) = (unknown.code(), unknown.to_string());
            let denial = self.denial(policy, "digest".to_owned(), Class::Unknown, code, message);
            decision.record(policy.mode, denial);
            decision.settle(policy.name.as_str(), false);
        }
    }
}

/// The first reason, and the others behind it.
fn explain(rejections: &[Rejection]) -> String {
    let mut lines = rejections.iter().map(ToString::to_string);
    let first = lines.next().unwrap_or_default();
    let others: Vec<_> = lines.collect();
    if others.is_empty() { first } else { format!("{first}; also: {}", others.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_say_cannot_drive_a_terminal() {
        assert_eq!(printable("plain ä"), "plain ä");
        assert_eq!(printable("a\u{1b}[31m\nb\u{9b}c"), "a\u{fffd}[31m\u{fffd}b\u{fffd}c");
        assert_eq!(printable("a\u{202e}b\u{200b}c"), "a\u{fffd}b\u{fffd}c");
        let denial = Denial {
            site: "container \"a\"".to_owned(),
            image: "nginx".to_owned(),
            digest: None,
            policy: "p".to_owned(),
            requirement: "signature".to_owned(),
            class: Class::Rejected,
            code: "SubjectMismatch",
            message: "signed by \r\nfaked line".to_owned(),
        };
        assert_eq!(denial.to_string().lines().count(), 1);
    }
}
