//! Image patterns.

/// A pattern over canonical image names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImagePattern {}
