//! Who may pull: anyone, holders of a password, holders of a token.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// What the registry asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Nothing.
    #[default]
    Anonymous,
    /// User name and password with each request.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// A token of the token endpoint.
    Bearer {
        /// User name and password that the token endpoint asks for; anyone gets a token if `None`.
        credentials: Option<(String, String)>,
        /// Lifetime of a token.
        lifetime: Duration,
        /// Realm to name in the challenge instead of the registry's own.
        realm: Option<String>,
    },
}

impl Auth {
    /// User name and password.
    pub fn basic(user: &str, password: &str) -> Self {
        Self::Basic { user: user.into(), password: password.into() }
    }

    /// Tokens for anyone, good for five minutes.
    pub fn bearer() -> Self {
        Self::Bearer { credentials: None, lifetime: Duration::from_secs(300), realm: None }
    }

    /// Tokens for whoever has the password, good for five minutes.
    pub fn bearer_for(user: &str, password: &str) -> Self {
        let credentials = Some((user.into(), password.into()));
        Self::Bearer { credentials, lifetime: Duration::from_secs(300), realm: None }
    }

    /// The same, with tokens that are good for `lifetime`.
    pub fn with_lifetime(mut self, duration: Duration) -> Self {
        if let Self::Bearer { lifetime, .. } = &mut self {
            *lifetime = duration;
        }
        self
    }

    /// The same, with another realm in the challenge.
    pub fn with_realm(mut self, url: &str) -> Self {
        if let Self::Bearer { realm, .. } = &mut self {
            *realm = Some(url.into());
        }
        self
    }

    /// `WWW-Authenticate` for a request to `repository`, if `authorization` does not do.
    pub(super) fn challenge(
        &self,
        authorization: Option<&str>,
        repository: Option<&str>,
        base: &str,
        tokens: &Tokens,
    ) -> Option<String> {
        match self {
            Self::Anonymous => None,
            Self::Basic { user, password } => {
                let good = is_basic(authorization, user, password);
                (!good).then(|| r#"Basic realm="registry""#.to_owned())
            }
            Self::Bearer { realm, .. } => {
                let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
                if token.is_some_and(|token| tokens.allow(token, repository)) {
                    return None;
                }
                let realm = realm.clone().unwrap_or_else(|| format!("{base}/token"));
                let mut challenge = format!(r#"Bearer realm="{realm}",service="test-registry""#);
                if let Some(repository) = repository {
                    challenge.push_str(&format!(r#",scope="repository:{repository}:pull""#));
                }
                Some(challenge)
            }
        }
    }

    /// The token endpoint: a body, or `None` if the credentials are wrong.
    pub(super) fn token(&self, authorization: Option<&str>, query: &str, tokens: &Tokens) -> Option<String> {
        let Self::Bearer { credentials, lifetime, .. } = self else { return None };
        if let Some((user, password)) = credentials
            && !is_basic(authorization, user, password)
        {
            return None;
        }
        let scopes = query.split('&').filter_map(|pair| pair.strip_prefix("scope="));
        let scopes = scopes.map(|scope| scope.replace("%3A", ":").replace("%2F", "/")).collect();
        let token = tokens.issue(scopes, *lifetime);
        Some(format!(r#"{{"token":"{token}","access_token":"{token}","expires_in":{}}}"#, lifetime.as_secs()))
    }
}

/// Tokens issued, with what they are good for and until when.
#[derive(Default)]
pub(super) struct Tokens(Mutex<BTreeMap<String, (Vec<String>, Instant)>>);

impl Tokens {
    fn issue(&self, scopes: Vec<String>, lifetime: Duration) -> String {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).expect("randomness");
        let token = hex::encode(bytes);
        let until = Instant::now() + lifetime;
        self.0.lock().expect("no panic while locked").insert(token.clone(), (scopes, until));
        token
    }

    fn allow(&self, token: &str, repository: Option<&str>) -> bool {
        let tokens = self.0.lock().expect("no panic while locked");
        let Some((scopes, until)) = tokens.get(token) else { return false };
        let covers = |repository| {
            let pull = format!("repository:{repository}:");
            scopes.iter().any(|scope| scope.starts_with(&pull) && scope.contains("pull"))
        };
        Instant::now() < *until && repository.is_none_or(covers)
    }

    pub(super) fn clear(&self) {
        self.0.lock().expect("no panic while locked").clear();
    }
}

fn is_basic(authorization: Option<&str>, user: &str, password: &str) -> bool {
    let expected = format!("Basic {}", BASE64.encode(format!("{user}:{password}")));
    authorization == Some(&expected)
}
