//! Everything that is tested through the public door: the stories, the command line, real evidence and
//! forged evidence, and the house itself. Only Rust is needed.
#![allow(missing_docs, unreachable_pub, clippy::pedantic, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../rig/mod.rs"]
mod rig;
#[path = "../support/mod.rs"]
mod support;

mod binary;
mod cli;
mod flaws;
mod hardening;
mod house;
mod lab;
mod second_opinion;
mod stories;
mod vectors;
