//! Content digests (OCI image-spec, "Digests").

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A hash algorithm that a content digest may use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Algorithm {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl Algorithm {
    /// The registered identifier: `sha256` or `sha512`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A content digest: algorithm and lower-case hex of exactly the right length.
///
/// [`FromStr`] is the only door for text; [`Digest::of`] makes one from bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    // "sha256:<hex>", kept whole: it is printed, compared and hashed far more often than taken apart.
    text: Box<str>,
}

/// Why a text is not a digest.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum DigestError {
    /// The text has no `algorithm:hex` form, or an algorithm that is not registered.
    #[error("digest {found:?} does not start with `sha256:` or `sha512:`")]
    Algorithm {
        /// What was given.
        found: String,
    },
    /// The hex part has the wrong length or a character outside `[0-9a-f]`.
    #[error("digest {found:?} needs {expected} lower-case hex characters after the colon")]
    Hex {
        /// What was given.
        found: String,
        /// Characters that the algorithm needs.
        expected: usize,
    },
}

impl Digest {
    /// The SHA-256 digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_with(Algorithm::Sha256, bytes)
    }

    /// The digest of `bytes` with `algorithm`.
    #[must_use]
    pub fn of_with(algorithm: Algorithm, bytes: &[u8]) -> Self {
        use aws_lc_rs::digest::{SHA256, SHA512, digest};
        let hash = match algorithm {
            Algorithm::Sha256 => digest(&SHA256, bytes),
            Algorithm::Sha512 => digest(&SHA512, bytes),
        };
        let text = format!("{}:{}", algorithm.as_str(), hex::encode(hash)).into();
        Self { algorithm, text }
    }

    /// Whether `bytes` hash to this digest.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        Self::of_with(self.algorithm, bytes) == *self
    }

    /// The hash algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `algorithm:hex`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The hex part alone.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.as_str().len() + 1..]
    }

    /// The digest in the form that tag schemes use: `sha256-<hex>` (OCI distribution-spec, "Referrers Tag Schema").
    #[must_use]
    pub fn tag_form(&self) -> String {
        format!("{}-{}", self.algorithm.as_str(), self.hex())
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let found = || shorten(text);
        let (algorithm, hex) = match text.split_once(':') {
            Some(("sha256", hex)) => (Algorithm::Sha256, hex),
            Some(("sha512", hex)) => (Algorithm::Sha512, hex),
            _ => return Err(DigestError::Algorithm { found: found() }),
        };
        let lower_hex = hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex.len() != algorithm.hex_len() || !lower_hex {
            return Err(DigestError::Hex { found: found(), expected: algorithm.hex_len() });
        }
        Ok(Self { algorithm, text: text.into() })
    }
}

/// Hostile text is quoted in errors, but never at full length.
pub(super) fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 160;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_prints() {
        let digest = Digest::of(b"");
        assert_eq!(digest.as_str(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(digest.as_str().parse(), Ok(digest.clone()));
        assert_eq!(digest.tag_form(), format!("sha256-{}", digest.hex()));
        assert!(digest.matches(b"") && !digest.matches(b"x"));
        let long = Digest::of_with(Algorithm::Sha512, b"x");
        assert_eq!(long.as_str().parse(), Ok(long.clone()));
        assert!(long.matches(b"x"));
    }

    #[test]
    fn names_what_is_wrong() {
        let upper = "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";
        for text in ["", "sha256", "md5:00", "SHA256:00", "sha256-00", ":"] {
            assert!(matches!(text.parse::<Digest>(), Err(DigestError::Algorithm { .. })), "{text}");
        }
        for text in ["sha256:", "sha256:00", upper, "sha512:00"] {
            assert!(matches!(text.parse::<Digest>(), Err(DigestError::Hex { .. })), "{text}");
        }
    }
}
