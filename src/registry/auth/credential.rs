//! Credentials and where they are looked up.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::docker_config::{DockerConfig, DockerConfigError};
use crate::{image::Registry, registry::CredentialsUsed};

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

/// What proves who we are to one registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credential {
    /// User name and password, sent to the registry itself or to its token endpoint.
    Basic {
        /// The user name.
        username: String,
        /// The password, or a personal access token.
        password: Secret,
    },
    /// A refresh token for the registry's token endpoint (`identitytoken`).
    IdentityToken(Secret),
}

/// Where credentials are looked up, by registry and repository path.
#[derive(Clone)]
pub struct Credentials(Source);

#[derive(Clone)]
enum Source {
    Anonymous,
    DockerConfig(Arc<DockerConfig>),
}

/// What a lookup gave.
#[derive(Clone, Debug)]
pub(in crate::registry) struct Found {
    /// The credential, where there is one.
    pub credential: Option<Credential>,
    /// For a refusal's text.
    pub used: CredentialsUsed,
}

impl Secret {
    /// Takes `text` in.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Credential {
    /// Tells credentials apart as parts of a cache key.
    pub(in crate::registry) fn fingerprint(&self) -> [u8; 32] {
        use aws_lc_rs::digest::{Context, SHA256};
        let (kind, name, secret) = match self {
            Self::Basic { username, password } => (0, username.as_str(), password),
            Self::IdentityToken(token) => (1, "", token),
        };
        let mut context = Context::new(&SHA256);
        context.update(&[kind]);
        context.update(&(name.len() as u64).to_be_bytes());
        context.update(name.as_bytes());
        context.update(secret.expose().as_bytes());
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.finish().as_ref());
        fingerprint
    }
}

impl Credentials {
    /// None for any registry.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self(Source::Anonymous)
    }

    /// Those of the docker configuration file at `path`, its credential helpers included. It is read when
    /// first needed, and again when it has changed.
    #[must_use]
    pub fn docker_config(path: &Path) -> Self {
        Self(Source::DockerConfig(Arc::new(DockerConfig::file(path))))
    }

    /// Those of the docker configuration that cosign would use: `$DOCKER_CONFIG/config.json`, or
    /// `~/.docker/config.json` where that variable is not set; `$REGISTRY_AUTH_FILE` where there is no such
    /// file. A file that does not exist has none.
    #[must_use]
    pub fn discover() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let path = variable("DOCKER_CONFIG")
            .map(|folder| folder.join("config.json"))
            .or_else(|| variable("HOME").map(|home| home.join(".docker/config.json")));
        let is_there = path.as_ref().is_some_and(|path| path.exists());
        match variable("REGISTRY_AUTH_FILE").filter(|_| !is_there).or(path) {
            Some(path) => Self(Source::DockerConfig(Arc::new(DockerConfig::file_if_present(&path)))),
            None => Self::anonymous(),
        }
    }

    /// Those in `json`, a docker configuration from elsewhere (a pull secret), called `name` in messages.
    /// Credential helpers named in it are never run: whoever wrote it is not the operator.
    ///
    /// # Errors
    /// [`DockerConfigError`] when it is not a docker configuration.
    pub fn docker_config_json(name: &str, json: &[u8]) -> Result<Self, DockerConfigError> {
        Ok(Self(Source::DockerConfig(Arc::new(DockerConfig::fixed(name, json)?))))
    }

    /// The credential for the repository `path` of `registry`.
    pub(in crate::registry) async fn find(&self, registry: &Registry, path: &str) -> Found {
        match &self.0 {
            Source::Anonymous => Found { credential: None, used: CredentialsUsed::Anonymous },
            Source::DockerConfig(config) => config.find(registry, path).await,
        }
    }

    /// Says that the credential for `registry` was refused: a helper is asked again next time.
    pub(in crate::registry) fn refused(&self, registry: &Registry) {
        if let Source::DockerConfig(config) = &self.0 {
            config.refused(registry);
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Anonymous => f.write_str("Credentials(anonymous)"),
            Source::DockerConfig(config) => write!(f, "Credentials({})", config.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let credential = Credential::Basic { username: "ada".to_owned(), password: Secret::new("hunter2") };
        assert_eq!(format!("{credential:?}"), r#"Basic { username: "ada", password: [redacted] }"#);
        let token = Credential::IdentityToken(Secret::new("hunter2"));
        assert_eq!(format!("{token:?}"), "IdentityToken([redacted])");
    }

    #[test]
    fn fingerprints_tell_credentials_apart() {
        let basic = |username: &str, password: &str| {
            Credential::Basic { username: username.to_owned(), password: Secret::new(password) }.fingerprint()
        };
        assert_eq!(basic("a", "bc"), basic("a", "bc"));
        assert_ne!(basic("a", "bc"), basic("ab", "c"));
        assert_ne!(basic("", "bc"), Credential::IdentityToken(Secret::new("bc")).fingerprint());
    }
}
