//! The whole path on loopback: signed images in a registry, the real HTTPS webhook, and a caller that
//! asks as an API server does. The stories, the demo and the load driver stand on it.
//!
//! - [`world`]: [`World`] is a signing authority and a registry with the images of every story.
//! - [`webhook`]: [`Webhook`] is the library's own server with policies in force, and an HTTPS client
//!   that trusts its certificate: [`Webhook::review`] makes one call, [`Webhook::admit`] both.
//! - [`review`]: [`Review`] is an `AdmissionReview` of the shape that a kube-apiserver sends.
//! - [`object`]: Pods and workloads as they are by the time of admission, defaults filled in.
//! - [`answer`]: [`Answer`] is what came back; [`Admission`] the outcome of both calls.
//!
//! ```ignore
//! #[path = "../rig/mod.rs"]
//! mod rig;
//! #[path = "../support/mod.rs"]
//! mod support;
//!
//! let world = World::new();
//! let webhook = Webhook::start(&world, &[policy::KYVERNO]).await;
//! let admission = webhook.admit(object::pod(&world.image("1.0.0"))).await;
//! assert!(admission.allowed());
//! ```
#![allow(dead_code, unreachable_pub, unused_imports, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::pedantic, clippy::disallowed_methods)]

pub mod answer;
pub mod object;
pub mod policy;
pub mod review;
pub mod webhook;
pub mod world;

pub use answer::{Admission, Answer};
pub use review::Review;
pub use webhook::{Options, Webhook};
pub use world::{Format, World};
