//! What an attestation states, by the URI of its predicate.

use std::{fmt, str::FromStr};

const SPDX: &str = "https://spdx.dev/Document";
/// Longest URI that is read, in bytes.
const MAX_URI_BYTES: usize = 1024;

/// The short names that cosign's `--type` takes, but for the SPDX ones, and what they stand for.
const SHORT_NAMES: [(&str, &str); 8] = [
    ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance02", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
    ("link", "https://in-toto.io/Link/v1"),
    ("cyclonedx", "https://cyclonedx.org/bom"),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
    ("openvex", "https://openvex.dev/ns"),
    ("custom", "https://cosign.sigstore.dev/attestation/v1"),
];

/// Which predicate an attestation has to have.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PredicateType {
    /// This URI, character by character.
    Exact(String),
    /// An SPDX document of any version: `https://spdx.dev/Document`, `https://spdx.dev/Document/v2.3`.
    /// Asked for by name only (`spdx`, `spdxjson`).
    Spdx,
}

/// The text is neither a URI nor a name that stands for one.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error(
    "{found:?} is no predicate type: it takes a URI such as {SPDX}, or one of spdx, spdxjson, slsaprovenance, \
     slsaprovenance02, slsaprovenance1, link, cyclonedx, vuln, openvex, custom"
)]
pub struct PredicateTypeError {
    /// What was given.
    pub found: String,
}

impl PredicateType {
    /// The predicate with exactly this URI. Short names are not read here.
    ///
    /// # Errors
    /// [`PredicateTypeError`] where `uri` does not start with a scheme, is too long, or has a space or a
    /// control character.
    pub fn uri(uri: &str) -> Result<Self, PredicateTypeError> {
        if is_uri(uri) {
            Ok(Self::Exact(uri.to_owned()))
        } else {
            Err(PredicateTypeError { found: uri.chars().take(160).collect() })
        }
    }

    /// Whether a statement whose `predicateType` is `uri` is one of these.
    #[must_use]
    pub fn matches(&self, uri: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == uri,
            Self::Spdx => uri.strip_prefix(SPDX).is_some_and(|rest| {
                rest.is_empty() || rest.strip_prefix("/v").is_some_and(|version| version.split('.').all(is_number))
            }),
        }
    }

    /// The URI, for an SPDX document the one without a version.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(uri) => uri,
            Self::Spdx => SPDX,
        }
    }
}

/// A name that cosign's `--type` takes, or a URI.
impl FromStr for PredicateType {
    type Err = PredicateTypeError;

    fn from_str(text: &str) -> Result<Self, PredicateTypeError> {
        if matches!(text, "spdx" | "spdxjson") {
            return Ok(Self::Spdx);
        }
        match SHORT_NAMES.iter().find(|(name, _)| *name == text) {
            Some((_, uri)) => Ok(Self::Exact((*uri).to_owned())),
            None => Self::uri(text),
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// A scheme, a colon and something after it (RFC 3986, 3.1): enough to tell a URI from a mistyped name.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let scheme_char = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(scheme_char)
        && !rest.is_empty()
        && text.len() <= MAX_URI_BYTES
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

impl fmt::Display for PredicateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_matches_exactly_and_the_alias_every_version() {
        let exact = PredicateType::uri(SPDX).unwrap();
        let alias: PredicateType = "spdxjson".parse().unwrap();
        assert_eq!((alias.clone(), "spdx".parse()), (PredicateType::Spdx, Ok(PredicateType::Spdx)));
        assert!(exact.matches(SPDX) && alias.matches(SPDX));
        for versioned in
            ["https://spdx.dev/Document/v2.3", "https://spdx.dev/Document/v3", "https://spdx.dev/Document/v3.0.1"]
        {
            assert!(!exact.matches(versioned) && alias.matches(versioned), "{versioned}");
        }
        for other in [
            "",
            "https://spdx.dev/Document/",
            "https://spdx.dev/Document/v",
            "https://spdx.dev/Document/v2.",
            "https://spdx.dev/Document/v2.3/x",
            "https://spdx.dev/Document/evil",
            "https://spdx.dev/Documents",
            "https://spdx.dev/document",
            "http://spdx.dev/Document",
            "https://cyclonedx.org/bom",
            "https://sigstore.dev/cosign/sign/v1",
        ] {
            assert!(!exact.matches(other) && !alias.matches(other), "{other}");
        }
    }

    #[test]
    fn short_names_are_those_of_cosign() {
        for (name, uri) in SHORT_NAMES {
            assert_eq!(name.parse(), Ok(PredicateType::Exact(uri.to_owned())));
        }
        for found in ["", "spdx-json", "SPDX", "https:", "https://a b", "/x", "1:x", "https://a\n"] {
            assert_eq!(found.parse::<PredicateType>(), Err(PredicateTypeError { found: found.to_owned() }), "{found}");
        }
        assert_eq!(PredicateType::uri("spdx").unwrap_err().found, "spdx");
    }
}
