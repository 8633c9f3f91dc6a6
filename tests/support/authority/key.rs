//! Signing keys.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::super::der;

/// An ECDSA P-256 key that signs with SHA-256.
pub struct EcKey {
    pair: EcdsaKeyPair,
}

impl EcKey {
    /// A fresh key.
    pub fn generate() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING);
        Self { pair: pair.expect("key generation") }
    }

    /// ASN.1 signature over `message`.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        signature.expect("signing").as_ref().to_vec()
    }

    /// SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> Vec<u8> {
        let algorithm = der::sequence(&[der::oid("1.2.840.10045.2.1"), der::oid("1.2.840.10045.3.1.7")]);
        der::sequence(&[algorithm, der::bits(0, self.pair.public_key().as_ref())])
    }

    /// SubjectPublicKeyInfo in PEM, as in cosign's `cosign.pub`.
    pub fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &self.spki())
    }

    /// Key identifier for certificates: the first 20 bytes of the public key's SHA-256 (RFC 7093).
    pub fn identifier(&self) -> Vec<u8> {
        sha256(self.pair.public_key().as_ref())[..20].to_vec()
    }

    /// SHA-256 of the SubjectPublicKeyInfo: a log's ID, and the hint of a bundle without certificate.
    pub fn id(&self) -> [u8; 32] {
        sha256(&self.spki())
    }
}

/// An Ed25519 key: Rekor v2 signs its checkpoints with one.
pub struct EdKey {
    pair: Ed25519KeyPair,
}

impl EdKey {
    /// A fresh key.
    pub fn generate() -> Self {
        Self { pair: Ed25519KeyPair::generate().expect("key generation") }
    }

    /// Signature over `message`, 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }

    /// SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> Vec<u8> {
        let algorithm = der::sequence(&[der::oid("1.3.101.112")]);
        der::sequence(&[algorithm, der::bits(0, self.pair.public_key().as_ref())])
    }

    /// ID of a log with this key: the signed note's key hash (C2SP `signed-note`), unshortened.
    pub fn log_id(&self, origin: &str) -> [u8; 32] {
        let mut text = format!("{origin}\n\u{1}").into_bytes();
        text.extend_from_slice(self.pair.public_key().as_ref());
        sha256(&text)
    }
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("32 bytes")
}

/// Standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// PEM with a final newline.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = base64(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
