//! The admission wire format, and what this crate reads of the objects in it. Pure.

mod extract;
mod respond;
mod review;

pub use extract::{ExtractError, ImageSite, MAX_IMAGES, SiteKind, Subject};
pub use respond::{MAX_WARNING_CHARS, respond};
pub use review::{Operation, Request, Review, ReviewError};

/// Which of the two calls is being answered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// `/mutate`: pins tags, never denies on policy grounds.
    Mutate,
    /// `/validate`: decides, on the final object.
    Validate,
}

impl Phase {
    /// The word for it in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}
