//! Bonafide (crate doc to be completed).
pub mod image;
pub mod policy;
pub mod registry;
