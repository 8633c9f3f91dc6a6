//! What the product does, from outside: everything here goes through a real server, a real registry
//! protocol and real signatures.
#![allow(clippy::pedantic, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../rig/mod.rs"]
mod rig;
mod stories;
#[path = "../support/mod.rs"]
mod support;
