//! What the tests stand on: a Sigstore of our own, an OCI registry that misbehaves when told to, and
//! the means to write both out as files.
//!
//! - [`authority`]: [`Authority`] is Fulcio, CT log, Rekor (v1 and v2) and time-stamp authority in
//!   one; a [`Signer`] makes signatures and attestations in the formats cosign writes, sound or with
//!   a chosen [`Flaw`].
//! - [`store`]: [`Store`] holds repositories, manifests, blobs and tags in memory.
//! - [`registry`]: [`Registry`] serves a store over HTTP(S) on loopback, with faults on demand.
//! - [`layout`]: writes a store as an OCI image layout.
//! - [`sbom`]: a small, valid SPDX 2.3 document.
//!
//! Nothing here uses the crate under test, so nothing here can agree with one of its mistakes.
//!
//! ```ignore
//! #[path = "support/mod.rs"]
//! mod support;
//! use support::{Authority, Identity, Registry, registry};
//!
//! let sigstore = Authority::new();
//! let registry = Registry::start(registry::Options::default()).await;
//! let digest = registry.push_image("zionsworking/app", "1.0.0", b"hello");
//! let signer = sigstore.identity(Identity::github(
//!     "zionsworking/cicd-supply-chain-security", "release.yml", "refs/heads/main"));
//! registry.push_legacy("zionsworking/app", &digest, [signer.legacy_signature(&digest)]);
//! registry.push_bundle("zionsworking/app", &digest, &signer.bundle_signature(&digest));
//! ```
#![allow(dead_code, unreachable_pub, unused_imports, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::pedantic, clippy::disallowed_methods)]

pub mod authority;
mod der;
pub mod layout;
pub mod registry;
pub mod sbom;
pub mod store;

pub use authority::{Authority, EcKey, Flaw, GitHub, Identity, Kind, Layer, San, Signer};
pub use registry::{Auth, Fault, On, Registry};
pub use store::{SharedStore, Store};
