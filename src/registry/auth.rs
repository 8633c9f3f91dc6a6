//! Who we are to a registry: credentials, where they come from, and how a registry asks for them.
//!
//! Architecture invariant: a credential is used only for the registry that it was set for.

mod challenge;
mod credential;
mod docker_config;
mod helper;
mod token;

pub use credential::{Credential, Credentials, Secret};
pub use docker_config::DockerConfigError;

pub(in crate::registry) use challenge::{Challenge, challenges};
pub(in crate::registry) use credential::Found;
pub(in crate::registry) use token::{Token, TokenKey, Tokens, parse_answer};
