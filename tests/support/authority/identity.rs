//! Who signs: issuer, subject and the claims that Fulcio writes into the certificate.

use super::super::der;

/// Issuer of GitHub Actions' identity tokens.
pub const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";

/// Subject alternative name of a signing certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum San {
    /// A URI: a workflow, a SPIFFE ID.
    Uri(String),
    /// An email address.
    Email(String),
    /// A user name of an issuer (`otherName`, OID 1.3.6.1.4.1.57264.1.7).
    Username(String),
    /// No such extension at all.
    Absent,
}

/// The issuer, subject and claims of a signing certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// OIDC issuer, written in both encodings (1.1 raw, 1.8 DER).
    pub issuer: String,
    /// Subject alternative name.
    pub san: San,
    /// Claims of a GitHub workflow run (1.2 to 1.6, 1.9 to 1.22).
    pub github: Option<GitHub>,
}

/// What GitHub says of a workflow run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitHub {
    /// `OWNER/REPO` that the run belongs to.
    pub repository: String,
    /// `refs/heads/main`
    pub reference: String,
    /// URI of the workflow file that signs, `@` its ref; differs from `config` for a reusable workflow.
    pub signer: String,
    /// URI of the workflow file that was triggered, `@` its ref.
    pub config: String,
    /// Name of the workflow.
    pub workflow: String,
    /// Commit, 40 hexadecimal digits.
    pub commit: String,
    /// Event: `push`, `pull_request`, `workflow_dispatch` ...
    pub trigger: String,
    /// `github-hosted` or `self-hosted`.
    pub runner: String,
    /// `public`, `private` or `internal`.
    pub visibility: String,
}

impl Identity {
    /// The workflow `.github/workflows/FILE` of `OWNER/REPO` at `reference`, triggered by a push.
    pub fn github(repository: &str, file: &str, reference: &str) -> Self {
        let signer = format!("https://github.com/{repository}/.github/workflows/{file}@{reference}");
        Self {
            issuer: GITHUB_ISSUER.into(),
            san: San::Uri(signer.clone()),
            github: Some(GitHub {
                repository: repository.into(),
                reference: reference.into(),
                config: signer.clone(),
                signer,
                workflow: file.split('.').next().unwrap_or(file).into(),
                commit: "4f0c1d7d1f7f9d1c2b3a495867768594a3b2c1d0".into(),
                trigger: "push".into(),
                runner: "github-hosted".into(),
                visibility: "public".into(),
            }),
        }
    }

    /// The example policy's own: `zionsworking/cicd-supply-chain-security`, `release.yml`, `main`.
    pub fn zionsworking() -> Self {
        Self::github("zionsworking/cicd-supply-chain-security", "release.yml", "refs/heads/main")
    }

    /// A person, known by email address.
    pub fn email(issuer: &str, address: &str) -> Self {
        Self { issuer: issuer.into(), san: San::Email(address.into()), github: None }
    }

    /// Any pair of issuer and subject URI.
    pub fn uri(issuer: &str, subject: &str) -> Self {
        Self { issuer: issuer.into(), san: San::Uri(subject.into()), github: None }
    }

    /// The same identity with another subject, or none.
    pub fn with_san(mut self, san: San) -> Self {
        self.san = san;
        self
    }

    /// The same identity with another issuer.
    pub fn with_issuer(mut self, issuer: &str) -> Self {
        self.issuer = issuer.into();
        self
    }

    /// The same workflow called as a reusable one from `FILE` of `OWNER/REPO`: the subject stays that
    /// of the called workflow, source repository and build configuration are the caller's.
    pub fn called_from(mut self, repository: &str, file: &str, reference: &str) -> Self {
        let claims = self.github.as_mut().expect("an identity of GitHub");
        claims.repository = repository.into();
        claims.reference = reference.into();
        claims.config = format!("https://github.com/{repository}/.github/workflows/{file}@{reference}");
        self
    }

    /// The same workflow, triggered by another event.
    pub fn triggered_by(mut self, event: &str) -> Self {
        self.github.as_mut().expect("an identity of GitHub").trigger = event.into();
        self
    }

    /// The same workflow on another kind of runner: `github-hosted`, `self-hosted`.
    pub fn on_runner(mut self, environment: &str) -> Self {
        self.github.as_mut().expect("an identity of GitHub").runner = environment.into();
        self
    }

    /// The subject as text, if there is one.
    pub fn subject(&self) -> Option<&str> {
        match &self.san {
            San::Uri(text) | San::Email(text) | San::Username(text) => Some(text),
            San::Absent => None,
        }
    }

    /// `GeneralName` of the subject.
    pub(super) fn general_name(&self) -> Option<Vec<u8>> {
        match &self.san {
            San::Uri(uri) => Some(der::context_primitive(6, uri.as_bytes())),
            San::Email(address) => Some(der::context_primitive(1, address.as_bytes())),
            San::Username(name) => {
                let value = der::context(0, &der::utf8(name));
                Some(der::context(0, &[der::oid("1.3.6.1.4.1.57264.1.7"), value].concat()))
            }
            San::Absent => None,
        }
    }

    /// Fulcio's extensions as (last arc, extension value): up to 6 the raw text, from 8 a UTF8String.
    pub(super) fn claims(&self) -> Vec<(u8, Vec<u8>)> {
        let raw = |arc: u8, text: &str| (arc, text.as_bytes().to_vec());
        let string = |arc: u8, text: &str| (arc, der::utf8(text));
        let Some(run) = &self.github else {
            return vec![raw(1, &self.issuer), string(8, &self.issuer)];
        };
        let owner = run.repository.split('/').next().expect("OWNER/REPO");
        let source = format!("https://github.com/{}", run.repository);
        vec![
            raw(1, &self.issuer),
            raw(2, &run.trigger),
            raw(3, &run.commit),
            raw(4, &run.workflow),
            raw(5, &run.repository),
            raw(6, &run.reference),
            string(8, &self.issuer),
            string(9, &run.signer),
            string(10, &run.commit),
            string(11, &run.runner),
            string(12, &source),
            string(13, &run.commit),
            string(14, &run.reference),
            string(15, "1001"),
            string(16, &format!("https://github.com/{owner}")),
            string(17, "2002"),
            string(18, &run.config),
            string(19, &run.commit),
            string(20, &run.trigger),
            string(21, &format!("{source}/actions/runs/3003/attempts/1")),
            string(22, &run.visibility),
        ]
    }
}
