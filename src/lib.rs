//! Bonafide: Kubernetes admission by image signature (crate doc to be completed).
pub mod admission;
pub mod cli;
pub mod decision;
pub mod evidence;
pub mod image;
pub mod pipeline;
pub mod policy;
pub mod registry;
pub mod server;
pub mod telemetry;
pub mod trust;
pub mod verify;
