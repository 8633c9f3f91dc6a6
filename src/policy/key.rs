//! Public keys as policies carry them.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";
const PUBLIC_KEY: &str = "PUBLIC KEY";

/// A public key: the DER of its `SubjectPublicKeyInfo` (RFC 5280, 4.1) and the PEM text that it came in.
/// Which algorithm it is for, and whether that one is allowed, is for the verifier to say.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    der: Vec<u8>,
    pem: String,
}

/// Why a text is not a public key.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum PublicKeyError {
    /// There is no PEM block.
    #[error("there is no PEM block in it; a public key starts with `-----BEGIN PUBLIC KEY-----`")]
    NoBlock,
    /// There is a PEM block, of another kind.
    #[error("the PEM block is a {found:?}, not a `PUBLIC KEY`")]
    Label {
        /// What the block says it is.
        found: String,
    },
    /// There is more than one PEM block, or text around it.
    #[error("there is more in it than one PEM block")]
    MoreThanOne,
    /// The block does not end, or what is in it is not base64 of a DER sequence.
    #[error("the PEM block is damaged: {why}")]
    Damaged {
        /// What is wrong.
        why: &'static str,
    },
}

impl PublicKey {
    /// The key in `pem`, which must be one `PUBLIC KEY` block and nothing else.
    ///
    /// # Errors
    /// [`PublicKeyError`], which says what else it is.
    pub fn from_pem(pem: &str) -> Result<Self, PublicKeyError> {
        let text = pem.trim();
        let Some(begin) = text.find(BEGIN) else { return Err(PublicKeyError::NoBlock) };
        let rest = &text[begin + BEGIN.len()..];
        let damaged = |why| PublicKeyError::Damaged { why };
        let (label, rest) = rest.split_once(DASHES).ok_or(damaged("its first line does not end"))?;
        if label != PUBLIC_KEY {
            return Err(PublicKeyError::Label { found: label.chars().take(40).collect() });
        }
        let (body, after) =
            rest.split_once("-----END PUBLIC KEY-----").ok_or(damaged("it has no `-----END PUBLIC KEY-----`"))?;
        if begin != 0 || !after.is_empty() {
            return Err(PublicKeyError::MoreThanOne);
        }
        let base64: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let der = BASE64_STANDARD.decode(base64).map_err(|_| damaged("its body is not base64"))?;
        if der.first() != Some(&0x30) {
            return Err(damaged("its body is not a DER sequence"));
        }
        Ok(Self { der, pem: format!("{text}\n") })
    }

    /// The DER of the key's `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The PEM text as it was given.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 over the DER: the name that logs and people give a key.
    #[must_use]
    pub fn fingerprint(&self) -> crate::image::Digest {
        crate::image::Digest::of(&self.der)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEBrFtUP8BB9HWUl6xRpUvV3SV9dNg\n\
        x0N2N3m0mE0V3bzvE9m9f3qMqDIr3GcQ0BKKE3mSTq0w4K4+qyO3g1QYJQ==\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn reads_one_block() {
        let key = PublicKey::from_pem(KEY).unwrap();
        assert_eq!((key.der()[0], key.der().len(), key.pem()), (0x30, 91, KEY));
        assert_eq!(PublicKey::from_pem(&KEY.replace('\n', "\r\n  ")).unwrap().der(), key.der());
    }

    #[test]
    fn says_what_else_it_is() {
        let read = |text: &str| PublicKey::from_pem(text).unwrap_err();
        assert_eq!(read(""), PublicKeyError::NoBlock);
        assert_eq!(read("k8s://ns/secret"), PublicKeyError::NoBlock);
        assert_eq!(
            read(&KEY.replace("PUBLIC", "EC PRIVATE")),
            PublicKeyError::Label { found: "EC PRIVATE KEY".to_owned() }
        );
        assert_eq!(read(&format!("{KEY}{KEY}")), PublicKeyError::MoreThanOne);
        assert_eq!(read(&format!("# key\n{KEY}")), PublicKeyError::MoreThanOne);
        assert_eq!(read(&KEY[..100]), PublicKeyError::Damaged { why: "it has no `-----END PUBLIC KEY-----`" });
        assert_eq!(read(&KEY.replace("MFkw", "M!kw")), PublicKeyError::Damaged { why: "its body is not base64" });
        assert_eq!(
            read(&KEY.replace("MFkw", "AFkw")),
            PublicKeyError::Damaged { why: "its body is not a DER sequence" }
        );
    }
}
