//! The docker configuration file (`config.json`, and podman's `auth.json`), as far as it holds credentials.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use serde::Deserialize;
use tokio::{io::AsyncReadExt as _, time::Instant};

use super::{
    Credential, Found, Secret,
    helper::{HelperError, HelperName},
};
use crate::{image::Registry, registry::CredentialsUsed};

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// How often the file is looked at for changes, at most.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// How long the answer of a credential helper is kept; the shortest-lived ones last for an hour.
const HELPER_TTL: Duration = Duration::from_mins(5);
/// How long the failure of a credential helper is kept.
const HELPER_FAILURE_TTL: Duration = Duration::from_secs(5);
/// What Docker Hub is called in this file and by credential helpers.
const DOCKER_HUB_SERVER: &str = "https://index.docker.io/v1/";

/// A docker configuration, from a file or from elsewhere.
pub(super) struct DockerConfig {
    name: String,
    origin: Origin,
    check_every: Duration,
    current: ArcSwapOption<Loaded>,
    reading: tokio::sync::Mutex<()>,
    helpers: Mutex<HashMap<(HelperName, Registry), Arc<HelperSlot>>>,
}

enum Origin {
    File { path: PathBuf, required: bool },
    Fixed,
}

struct Loaded {
    checked: Instant,
    stamp: Option<(SystemTime, u64)>,
    config: Arc<Result<Config, DockerConfigError>>,
}

type HelperSlot = tokio::sync::Mutex<Option<(Instant, Result<Option<Credential>, HelperError>)>>;

/// Why a docker configuration cannot be used. It never repeats the content.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum DockerConfigError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(String),
    /// The file is larger than any that is read.
    #[error("is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// Not JSON of that shape.
    #[error("is not a docker configuration (line {line}, column {column})")]
    Json {
        /// Line of the error, from 1.
        line: usize,
        /// Column of the error, from 1.
        column: usize,
    },
}

/// A credential, or why an entry is none.
type Entry = Result<Credential, &'static str>;

/// The parsed file.
#[derive(Default)]
struct Config {
    /// By registry, the longest repository prefix first. The prefix is empty for the whole registry.
    entries: HashMap<Registry, Vec<(String, Entry)>>,
    helpers: HashMap<Registry, Result<HelperName, HelperError>>,
    store: Option<Result<HelperName, HelperError>>,
}

impl DockerConfig {
    /// The file at `path`, which has to be there.
    pub(super) fn file(path: &Path) -> Self {
        Self::new(path.display().to_string(), Origin::File { path: path.to_owned(), required: true })
    }

    /// The file at `path`, if it is there.
    pub(super) fn file_if_present(path: &Path) -> Self {
        Self::new(path.display().to_string(), Origin::File { path: path.to_owned(), required: false })
    }

    /// `json`, without its credential helpers.
    pub(super) fn fixed(name: &str, json: &[u8]) -> Result<Self, DockerConfigError> {
        let mut config = Config::parse(json)?;
        config.helpers.clear();
        config.store = None;
        let this = Self::new(name.to_owned(), Origin::Fixed);
        this.current.store(Some(Arc::new(Loaded {
            checked: Instant::now(),
            stamp: None,
            config: Arc::new(Ok(config)),
        })));
        Ok(this)
    }

    fn new(name: String, origin: Origin) -> Self {
        Self {
            name,
            origin,
            check_every: CHECK_EVERY,
            current: ArcSwapOption::empty(),
            reading: tokio::sync::Mutex::default(),
            helpers: Mutex::default(),
        }
    }

    /// What the configuration is called in messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The credential for the repository `path` of `registry`. A configuration that cannot be used gives
    /// none and says so: a public image is still readable, and a refusal then tells why.
    pub(super) async fn find(&self, registry: &Registry, path: &str) -> Found {
        let current = self.current().await;
        let config = match &*current {
            Ok(config) => config,
            Err(error) => return self.unusable(error),
        };
        let helper = config.helpers.get(registry).or(config.store.as_ref());
        let asked = match helper {
            None => Ok(None),
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(helper)) => self.ask(helper, registry).await,
        };
        match (asked, config.entry(registry, path)) {
            (Ok(Some(credential)), _) => self.found(credential),
            (_, Some(Ok(credential))) => self.found(credential.clone()),
            (Err(error), _) => self.unusable(&error),
            (Ok(None), Some(Err(error))) => self.unusable(error),
            (Ok(None), None) => Found { credential: None, used: CredentialsUsed::Anonymous },
        }
    }

    fn found(&self, credential: Credential) -> Found {
        Found { credential: Some(credential), used: CredentialsUsed::From(format!("docker config {}", self.name)) }
    }

    fn unusable(&self, error: &(impl std::fmt::Display + ?Sized)) -> Found {
        let used = CredentialsUsed::From(format!("docker config {}, not usable: {error}", self.name));
        Found { credential: None, used }
    }

    /// Asks the credential helper for `registry` again next time.
    pub(super) fn refused(&self, registry: &Registry) {
        let mut helpers = self.helpers.lock().unwrap_or_else(PoisonError::into_inner);
        helpers.retain(|(_, kept), _| kept != registry);
    }

    async fn ask(&self, helper: &HelperName, registry: &Registry) -> Result<Option<Credential>, HelperError> {
        let slot = {
            let mut helpers = self.helpers.lock().unwrap_or_else(PoisonError::into_inner);
            // Registry names come from image names: what is over makes room before the map can grow.
            if helpers.len() >= 1024 {
                helpers.clear();
            }
            Arc::clone(helpers.entry((helper.clone(), registry.clone())).or_default())
        };
        let mut slot = slot.lock().await;
        if let Some((until, answer)) = &*slot
            && Instant::now() < *until
        {
            return answer.clone();
        }
        let server = if registry.as_str() == "docker.io" { DOCKER_HUB_SERVER } else { registry.as_str() };
        let answer = helper.get(server).await;
        let ttl = if answer.is_ok() { HELPER_TTL } else { HELPER_FAILURE_TTL };
        *slot = Some((Instant::now() + ttl, answer.clone()));
        answer
    }

    /// The configuration, read again when the file has changed. Nearly always this waits for nothing.
    async fn current(&self) -> Arc<Result<Config, DockerConfigError>> {
        let Origin::File { path, required } = &self.origin else {
            return self.current.load_full().map_or_else(|| Arc::new(Ok(Config::default())), |l| Arc::clone(&l.config));
        };
        if let Some(loaded) = &*self.current.load()
            && loaded.checked.elapsed() < self.check_every
        {
            return Arc::clone(&loaded.config);
        }
        let _reading = self.reading.lock().await;
        let before = self.current.load_full();
        if let Some(loaded) = &before
            && loaded.checked.elapsed() < self.check_every
        {
            return Arc::clone(&loaded.config);
        }
        let metadata = tokio::fs::metadata(path).await;
        let stamp = metadata.as_ref().ok().and_then(|m| Some((m.modified().ok()?, m.len())));
        let config = match (&before, metadata) {
            (Some(loaded), Ok(_)) if stamp.is_some() && loaded.stamp == stamp => Arc::clone(&loaded.config),
            (_, Err(error)) if error.kind() == std::io::ErrorKind::NotFound && !required => {
                Arc::new(Ok(Config::default()))
            }
            (_, Err(error)) => Arc::new(Err(DockerConfigError::Read(error.to_string()))),
            (_, Ok(_)) => Arc::new(read(path).await.and_then(|json| Config::parse(&json))),
        };
        if let Err(error) = &*config {
            tracing::warn!(config = %self.name, %error, "docker configuration cannot be used");
        }
        let loaded = Loaded { checked: Instant::now(), stamp, config: Arc::clone(&config) };
        self.current.store(Some(Arc::new(loaded)));
        config
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, DockerConfigError> {
    let failed = |error: std::io::Error| DockerConfigError::Read(error.to_string());
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut json = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut json).await.map_err(failed)?;
    if json.len() as u64 > MAX_BYTES { Err(DockerConfigError::TooLarge) } else { Ok(json) }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    auths: HashMap<String, WireEntry>,
    #[serde(default, rename = "credHelpers")]
    helpers: HashMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Deserialize)]
struct WireEntry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
}

impl Config {
    fn parse(json: &[u8]) -> Result<Self, DockerConfigError> {
        let wire: Wire = serde_json::from_slice(json)
            .map_err(|error| DockerConfigError::Json { line: error.line(), column: error.column() })?;
        let mut config =
            Self { store: wire.store.filter(|s| !s.is_empty()).map(|s| HelperName::parse(&s)), ..Self::default() };
        for (key, helper) in wire.helpers {
            if let Some((registry, _)) = parse_key(&key) {
                config.helpers.insert(registry, HelperName::parse(&helper));
            }
        }
        for (key, entry) in wire.auths {
            // An entry without a secret marks what a credential store holds.
            if let (Some((registry, prefix)), Some(credential)) = (parse_key(&key), entry.credential()) {
                config.entries.entry(registry).or_default().push((prefix, credential));
            }
        }
        for entries in config.entries.values_mut() {
            // Among two spellings of one key the order is that of the text, so that it does not change.
            entries.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        }
        Ok(config)
    }

    fn entry(&self, registry: &Registry, path: &str) -> Option<&Entry> {
        let covers = |prefix: &str| match path.strip_prefix(prefix) {
            Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        };
        self.entries.get(registry)?.iter().find(|(prefix, _)| covers(prefix)).map(|(_, credential)| credential)
    }
}

impl WireEntry {
    fn credential(self) -> Option<Entry> {
        if !self.identitytoken.is_empty() {
            return Some(Ok(Credential::IdentityToken(Secret::new(&self.identitytoken))));
        }
        if self.auth.is_empty() {
            let empty = self.username.is_empty() && self.password.is_empty();
            let basic = Credential::Basic { username: self.username, password: Secret::new(&self.password) };
            return (!empty).then_some(Ok(basic));
        }
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(self.auth.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        Some(match pair {
            // docker pads with NUL.
            Some((username, password)) => Ok(Credential::Basic {
                username: username.to_owned(),
                password: Secret::new(password.trim_end_matches('\0')),
            }),
            None => Err("an `auth` entry for this registry is not base64 of user:password"),
        })
    }
}

/// The registry and the repository prefix that a key stands for: `ghcr.io`, `ghcr.io/org`,
/// `https://index.docker.io/v1/`. A key that is no registry is `None`.
fn parse_key(key: &str) -> Option<(Registry, String)> {
    let without_scheme = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let (host, path) = without_scheme.unwrap_or(key).split_once('/').unwrap_or((without_scheme.unwrap_or(key), ""));
    let path = path.trim_end_matches('/');
    // Docker's own keys are URLs of the API; only podman's, which have no scheme, name repositories.
    let prefix = if without_scheme.is_some() || matches!(path, "v1" | "v2") { "" } else { path };
    Some((host.parse().ok()?, prefix.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn basic(username: &str, password: &str) -> Credential {
        Credential::Basic { username: username.to_owned(), password: Secret::new(password) }
    }

    fn key(text: &str) -> Option<(String, String)> {
        parse_key(text).map(|(registry, prefix)| (registry.to_string(), prefix))
    }

    #[test]
    fn every_spelling_of_a_key_is_one_registry() {
        for text in [
            "https://index.docker.io/v1/",
            "docker.io",
            "registry-1.docker.io",
            "http://docker.io/",
            "index.docker.io/v1",
        ] {
            assert_eq!(key(text), Some(("docker.io".to_owned(), String::new())), "{text}");
        }
        assert_eq!(key("GHCR.io:443"), Some(("ghcr.io".to_owned(), String::new())));
        assert_eq!(key("https://ghcr.io/org"), Some(("ghcr.io".to_owned(), String::new())));
        assert_eq!(key("ghcr.io/org/app/"), Some(("ghcr.io".to_owned(), "org/app".to_owned())));
        assert_eq!(key("localhost:5000"), Some(("localhost:5000".to_owned(), String::new())));
        assert_eq!(key("[::1]:5000/v2/"), Some(("[::1]:5000".to_owned(), String::new())));
        for text in ["", "/", "https://", "a b", "*.example.com"] {
            assert_eq!(key(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn the_longest_prefix_counts_and_only_for_its_registry() {
        // u:p1, u:p2 and u:p3
        let json = br#"{"auths":{"ghcr.io":{"auth":"dTpwMQ=="},"ghcr.io/org":{"auth":"dTpwMg=="},
            "ghcr.io/org/app":{"username":"u","password":"p3"},"quay.io":{"identitytoken":"t"},"empty.io":{}}}"#;
        let config = DockerConfig::fixed("secret ns/pull", json).unwrap();
        for (registry, path, expected) in [
            ("ghcr.io", "other/app", Some(basic("u", "p1"))),
            ("ghcr.io", "organic/app", Some(basic("u", "p1"))),
            ("ghcr.io", "org/x", Some(basic("u", "p2"))),
            ("ghcr.io", "org/app", Some(basic("u", "p3"))),
            ("ghcr.io", "org/app/sub", Some(basic("u", "p3"))),
            ("quay.io", "a/b", Some(Credential::IdentityToken(Secret::new("t")))),
            ("ghcr.io:444", "org/app", None),
            ("docker.io", "org/app", None),
            ("empty.io", "a", None),
        ] {
            let found = config.find(&registry.parse().unwrap(), path).await;
            assert_eq!(found.credential, expected, "{registry}/{path}");
        }
        let found = config.find(&"ghcr.io".parse().unwrap(), "x").await;
        assert_eq!(found.used, CredentialsUsed::From("docker config secret ns/pull".to_owned()));
    }

    #[tokio::test]
    async fn helpers_of_a_secret_are_not_run() {
        let json = br#"{"credsStore":"x","credHelpers":{"ghcr.io":"y"},"auths":{"ghcr.io":{"auth":"dTpw"}}}"#;
        let config = DockerConfig::fixed("s", json).unwrap();
        let found = config.find(&"ghcr.io".parse().unwrap(), "a").await;
        assert_eq!(found.credential, Some(basic("u", "p")));
    }

    #[tokio::test]
    async fn what_cannot_be_used_says_so_without_its_content() {
        let config = DockerConfig::fixed("s", br#"{"auths":{"ghcr.io":{"auth":"aHVudGVyMg=="}}}"#).unwrap();
        let found = config.find(&"ghcr.io".parse().unwrap(), "a").await;
        let CredentialsUsed::From(used) = found.used else { panic!("anonymous") };
        assert!(used.contains("not usable") && !used.contains("hunter2"), "{used}");
        for json in ["", "1", r#"{"auths":{"a":"hunter2"}}"#] {
            let Err(error) = DockerConfig::fixed("s", json.as_bytes()) else { panic!("{json}") };
            assert!(matches!(error, DockerConfigError::Json { .. }) && !error.to_string().contains("hunter2"));
        }
    }

    #[tokio::test]
    async fn a_file_is_read_when_it_is_there() {
        let folder = std::env::temp_dir().join(format!("bonafide-docker-config-{}", std::process::id()));
        let path = folder.join("config.json");
        let registry: Registry = "ghcr.io".parse().unwrap();
        let missing = DockerConfig::file_if_present(&path).find(&registry, "a").await;
        assert_eq!((missing.credential, missing.used), (None, CredentialsUsed::Anonymous));
        let missing = DockerConfig::file(&path).find(&registry, "a").await;
        assert!(matches!(missing.used, CredentialsUsed::From(text) if text.contains("not usable")));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&path, r#"{"auths":{"ghcr.io":{"auth":"dTpw"}}}"#).unwrap();
        let config = DockerConfig { check_every: Duration::ZERO, ..DockerConfig::file(&path) };
        assert_eq!(config.find(&registry, "a").await.credential, Some(basic("u", "p")));
        std::fs::write(&path, r#"{"auths":{"ghcr.io":{"auth":"dTpwMg=="}}}"#).unwrap();
        assert_eq!(config.find(&registry, "a").await.credential, Some(basic("u", "p2")));
        std::fs::write(&path, "{").unwrap();
        let broken = config.find(&registry, "a").await;
        assert!(matches!(broken.used, CredentialsUsed::From(text) if text.contains("not a docker configuration")));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
