//! Bonafide lets a Pod into a Kubernetes cluster only when every image in it that a policy covers carries,
//! for the digest that will run, the Sigstore signatures and attestations that the policy asks for.
//!
//! Six steps lead from a request to a decision, and [`pipeline::admit`] has them on one screen:
//! extract ([`admission`]), select ([`policy`]), resolve and gather ([`registry`]), verify ([`evidence`], [`verify`],
//! [`trust`]), decide ([`decision`]). `serve` ([`server`]) and `apply` ([`cli`]) both go through them.
//!
//! Modules are layers. [`image`], [`admission`], [`policy`], [`evidence`], [`verify`], [`trust`] and [`decision`] are pure: no
//! network, no files, no clock. The others are edges.
//!
//! # Invariants
//!
//! - **"No" is not "don't know".** A missing signature or a wrong identity is a [`verify::Rejection`]; a registry that
//!   answers 401, 403, 429 or 5xx, or not at all, is a [`decision::Unknown`]. Both deny in Enforce; only the first
//!   says that the image is bad, and the second is never cached.
//! - **Allow is explicit.** A requirement without a verdict, a policy without requirements, an error of ours: deny.
//! - **Nothing that a Pod, a registry's header or an annotation claims is trusted**: only bytes whose digest was
//!   checked, and statements whose signature was.
//! - **The mutating phase never denies on policy grounds; the validating phase decides**, on the final object.
//! - **A cached pass is of a digest, a requirement and a trust root.** A tag is never part of its key, and what is not a
//!   pass is also keyed by the repository that it came from.
//! - **No network on the hot path but the registry's.** Policies and trust root are immutable snapshots.
//! - **A credential is used only for the registry that it was set for.**

pub mod pipeline;

pub mod admission;
pub mod decision;
pub mod evidence;
pub mod image;
pub mod policy;
pub mod trust;
pub mod verify;

pub mod cli;
pub mod registry;
pub mod server;
pub mod telemetry;
