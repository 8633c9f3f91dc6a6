//! Credential helpers: programs named `docker-credential-<name>` that print one credential.

use std::{process::Stdio, time::Duration};

use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};

use super::{Credential, Secret};

/// How long a helper may take: those of cloud providers ask a service of their own.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What a helper may print, in bytes.
const MAX_OUTPUT_BYTES: u64 = 64 << 10;
/// What the protocol's reference implementation prints where there is no credential.
const NOT_FOUND: &str = "credentials not found";

/// The name of a credential helper: `[a-z0-9._-]+`, so that it can only be a program on the path.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct HelperName(String);

/// Why a helper gave no answer. Its output is not repeated: it may hold a secret.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub(super) enum HelperError {
    #[error("credential helper name {0:?} has other characters than a-z, 0-9, `.`, `_`, `-`")]
    Name(String),
    #[error("credential helper {program} could not be run: {error}")]
    Run { program: String, error: String },
    #[error("credential helper {program} took longer than {} s", TIMEOUT.as_secs())]
    Timeout { program: String },
    #[error("credential helper {program} failed ({status})")]
    Failed { program: String, status: String },
    #[error("credential helper {program} printed something that is not a credential")]
    Output { program: String },
}

impl HelperName {
    pub(super) fn parse(name: &str) -> Result<Self, HelperError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
            return Err(HelperError::Name(name.chars().take(64).collect()));
        }
        Ok(Self(name.to_owned()))
    }

    fn program(&self) -> String {
        format!("docker-credential-{}", self.0)
    }

    /// Asks the helper for the credential of `server`, `None` where it has none.
    ///
    /// # Errors
    /// [`HelperError`] when it cannot be run, fails, or prints something else.
    pub(super) async fn get(&self, server: &str) -> Result<Option<Credential>, HelperError> {
        let timeout = || HelperError::Timeout { program: self.program() };
        tokio::time::timeout(TIMEOUT, run(&self.program(), server)).await.map_err(|_| timeout())?
    }
}

async fn run(program: &str, server: &str) -> Result<Option<Credential>, HelperError> {
    let name = || program.to_owned();
    let failed = |error: std::io::Error| HelperError::Run { program: name(), error: error.to_string() };
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read its input may still answer.
        let _ = input.write_all(server.as_bytes()).await;
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_OUTPUT_BYTES + 1).read_to_end(&mut output).await.map_err(failed)?;
    }
    if output.len() as u64 > MAX_OUTPUT_BYTES {
        return Err(HelperError::Output { program: name() });
    }
    let status = child.wait().await.map_err(failed)?;
    if !status.success() {
        let not_found = String::from_utf8_lossy(&output).contains(NOT_FOUND);
        return if not_found {
            Ok(None)
        } else {
            Err(HelperError::Failed { program: name(), status: status.to_string() })
        };
    }
    parse(&output).ok_or_else(|| HelperError::Output { program: name() })
}

/// The outer `None`: not an answer. The inner: no credential.
#[expect(clippy::option_option, reason = "an answer that says there is none is not a missing answer")]
fn parse(output: &[u8]) -> Option<Option<Credential>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        #[serde(default)]
        username: String,
        secret: String,
    }
    let answer: Answer = serde_json::from_slice(output).ok()?;
    if answer.secret.is_empty() {
        return Some(None);
    }
    let secret = Secret::new(&answer.secret);
    Some(Some(match answer.username.as_str() {
        "<token>" => Credential::IdentityToken(secret),
        _ => Credential::Basic { username: answer.username, password: secret },
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn names_are_programs_on_the_path() {
        for name in ["ecr-login", "gcr", "osxkeychain", "acr-env", "a.b_c"] {
            assert!(HelperName::parse(name).is_ok(), "{name}");
        }
        for name in ["", "../x", "a/b", "a b", "A", "a;b", "a\0", "ä"] {
            assert!(matches!(HelperName::parse(name), Err(HelperError::Name(_))), "{name}");
        }
    }

    #[test]
    fn answers_are_credentials_or_none() {
        let basic = Credential::Basic { username: "u".to_owned(), password: Secret::new("p") };
        assert_eq!(parse(br#"{"ServerURL":"x","Username":"u","Secret":"p"}"#), Some(Some(basic)));
        let token = Credential::IdentityToken(Secret::new("t"));
        assert_eq!(parse(br#"{"Username":"<token>","Secret":"t"}"#), Some(Some(token)));
        assert_eq!(parse(br#"{"Username":"","Secret":""}"#), Some(None));
        assert_eq!(parse(b"{}"), None);
        assert_eq!(parse(b"secret"), None);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_helper_is_asked_on_its_input_and_its_failure_tells_no_secret() {
        use std::os::unix::fs::PermissionsExt as _;
        let path = std::env::temp_dir().join(format!("bonafide-helper-{}", std::process::id()));
        let program = path.to_str().unwrap();
        let answers = async |script: &str| {
            // Moved into place, for a file that is still open for writing cannot be run.
            let written = path.with_extension("new");
            std::fs::write(&written, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&written, std::fs::Permissions::from_mode(0o700)).unwrap();
            std::fs::rename(&written, &path).unwrap();
            run(program, "ghcr.io").await
        };
        let found = answers(r#"read server; echo "{\"Username\":\"$1\",\"Secret\":\"$server\"}""#).await;
        let expected = Credential::Basic { username: "get".to_owned(), password: Secret::new("ghcr.io") };
        assert_eq!(found, Ok(Some(expected)));
        assert_eq!(answers("echo credentials not found in native keychain; exit 1").await, Ok(None));
        for (script, is_failure) in [("echo hunter2; exit 1", true), ("echo hunter2", false), ("yes hunter2", false)] {
            let error = answers(script).await.unwrap_err();
            assert_eq!(matches!(error, HelperError::Failed { .. }), is_failure, "{script}");
            assert!(!error.to_string().contains("hunter2"));
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn a_helper_that_is_not_there_is_an_error() {
        let found = HelperName::parse("no-such-helper-here").unwrap().get("ghcr.io").await;
        assert!(matches!(found, Err(HelperError::Run { .. })), "{found:?}");
    }
}
