//! From verdicts to a decision. Pure.

use std::{fmt, sync::Arc};

use crate::{
    image::{Digest, PinnedImage, ReferenceError},
    policy::Mode,
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
    Passed(Arc<[Verified]>),
    /// It is not, and all that there is was looked at. Never empty; the most telling reason first.
    Rejected(Arc<[Rejection]>),
    /// It could not be decided.
    Unknown(Arc<Unknown>),
}

/// Why something could not be decided.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum Unknown {
    /// A registry gave no usable answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The time for the answer ran out.
    #[error("could not be decided within {millis} ms; verification goes on, try again")]
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

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: image {:?}", self.site, self.image)?;
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
        write!(f, ": {}: {unsure}{}", self.code, self.message)
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
