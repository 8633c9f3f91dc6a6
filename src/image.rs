//! Image names: digests, references and pinned images.
//!
//! Everything after this door works on canonical names, so that no spelling of a name can escape a
//! policy. Parsing is strict: what the reference grammar does not allow is an error, never a guess.

mod digest;
mod reference;

pub use digest::{Algorithm, Digest, DigestError};
pub use reference::{PinnedImage, Reference, ReferenceError, Registry, Repository, Tag};
