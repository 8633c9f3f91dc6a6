//! X.509: authorities of two levels, and Fulcio's short-lived certificates with an embedded SCT.

use std::sync::Arc;

use jiff::{Span, Timestamp};

use super::super::der;
use super::identity::Identity;
use super::key::{EcKey, base64, pem, sha256};

const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
const TIME_STAMPING: &str = "1.3.6.1.5.5.7.3.8";
const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";

/// A certificate and its private key.
pub struct Certified {
    /// The certificate.
    pub der: Vec<u8>,
    /// Subject, a DER `Name`.
    pub subject: Vec<u8>,
    /// Issuer, a DER `Name`.
    pub issuer: Vec<u8>,
    /// Serial number, 20 bytes.
    pub serial: Vec<u8>,
    /// The private key.
    pub key: Arc<EcKey>,
}

impl Certified {
    /// The certificate in PEM, with a final newline.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }
}

/// A root and an intermediate that it issued; leaves come from the intermediate.
pub struct Hierarchy {
    /// Self-signed.
    pub root: Certified,
    /// Issued by the root.
    pub intermediate: Certified,
}

/// Purpose of a hierarchy, the extended key usage of its leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Fulcio.
    CodeSigning,
    /// A time-stamp authority.
    TimeStamping,
    /// Neither, for a certificate that must not be accepted.
    ServerAuth,
}

impl Purpose {
    fn oid(self) -> Vec<u8> {
        der::oid(match self {
            Self::CodeSigning => CODE_SIGNING,
            Self::TimeStamping => TIME_STAMPING,
            Self::ServerAuth => SERVER_AUTH,
        })
    }
}

impl Hierarchy {
    /// A hierarchy valid from 2024 to 2049, its intermediate until `not_after` if given.
    pub fn new(organization: &str, purpose: Purpose, not_after: Option<Timestamp>) -> Self {
        let (start, end) = lifetime();
        let name = match purpose {
            Purpose::TimeStamping => "sigstore-tsa",
            Purpose::CodeSigning | Purpose::ServerAuth => "sigstore",
        };
        let root = issue(
            None,
            &Request {
                subject: name_of(organization, name),
                validity: (start, end),
                extensions: authority_extensions(1, None),
                key: Arc::new(EcKey::generate()),
            },
        );
        let intermediate = Self::intermediate(&root, organization, purpose, not_after.unwrap_or(end));
        Self { root, intermediate }
    }

    /// Another intermediate of the same root, under the same name.
    pub fn sibling(&self, organization: &str, purpose: Purpose, not_after: Timestamp) -> Certified {
        Self::intermediate(&self.root, organization, purpose, not_after)
    }

    fn intermediate(root: &Certified, organization: &str, purpose: Purpose, not_after: Timestamp) -> Certified {
        let name = match purpose {
            Purpose::TimeStamping => "sigstore-tsa-intermediate",
            Purpose::CodeSigning | Purpose::ServerAuth => "sigstore-intermediate",
        };
        issue(
            Some(root),
            &Request {
                subject: name_of(organization, name),
                validity: (lifetime().0, not_after),
                extensions: authority_extensions(0, Some(purpose)),
                key: Arc::new(EcKey::generate()),
            },
        )
    }

    /// The certificate that signs time-stamp tokens.
    pub fn time_stamper(&self, organization: &str) -> Certified {
        let usage = extension("2.5.29.37", true, &der::sequence(&[Purpose::TimeStamping.oid()]));
        issue(
            Some(&self.intermediate),
            &Request {
                subject: name_of(organization, "sigstore-tsa-leaf"),
                validity: lifetime(),
                extensions: vec![key_usage(7, 0x80), usage],
                key: Arc::new(EcKey::generate()),
            },
        )
    }

    /// `certChain` of a trusted root: `leaf` if any, intermediate, root.
    pub fn chain_json(&self, leaf: Option<&Certified>) -> serde_json::Value {
        let chain = leaf.into_iter().chain([&self.intermediate, &self.root]);
        let certificates: Vec<_> = chain.map(|c| serde_json::json!({ "rawBytes": base64(&c.der) })).collect();
        serde_json::json!({ "certificates": certificates })
    }
}

/// How a signing certificate's SCT comes about.
pub enum Sct<'a> {
    /// Signed by this key; names the log with `id`.
    By { key: &'a EcKey, id: [u8; 32] },
    /// No SCT extension.
    None,
}

/// What Fulcio would issue for `identity` and `key`.
pub fn signing_certificate(
    issuer: &Certified,
    identity: &Identity,
    key: &Arc<EcKey>,
    validity: (Timestamp, Timestamp),
    purpose: Purpose,
    sct: &Sct<'_>,
) -> Certified {
    let mut extensions = vec![key_usage(7, 0x80), extension("2.5.29.37", false, &der::sequence(&[purpose.oid()]))];
    let mut rest = Vec::new();
    if let Some(name) = identity.general_name() {
        rest.push(extension("2.5.29.17", true, &der::sequence(&[name])));
    }
    for (arc, value) in identity.claims() {
        rest.push(extension(&format!("1.3.6.1.4.1.57264.1.{arc}"), false, &value));
    }
    extensions.extend(identifiers(key, &issuer.key));
    extensions.append(&mut rest);
    let mut request = Request { subject: der::sequence(&[]), validity, extensions, key: Arc::clone(key) };
    let serial = fresh_serial();
    if let Sct::By { key, id } = sct {
        let tbs = to_be_signed(&serial, &issuer.subject, &request);
        let time = validity.0.as_millisecond() + 48;
        let list = sct_list(key, *id, u64::try_from(time).expect("after 1970"), &issuer.key, &tbs);
        request.extensions.push(extension("1.3.6.1.4.1.11129.2.4.2", false, &der::octets(&list)));
    }
    certify(&serial, &issuer.subject, &issuer.key, &request)
}

/// RFC 6962 `SignedCertificateTimestampList` of one SCT over the precertificate `tbs`.
fn sct_list(log: &EcKey, id: [u8; 32], time: u64, issuer: &EcKey, tbs: &[u8]) -> Vec<u8> {
    let mut signed = vec![0, 0]; // version 1, certificate_timestamp
    signed.extend(time.to_be_bytes());
    signed.extend([0, 1]); // precert_entry
    signed.extend(issuer.id());
    signed.extend(&u32::try_from(tbs.len()).expect("short").to_be_bytes()[1..]);
    signed.extend(tbs);
    signed.extend([0, 0]); // no extensions
    let signature = log.sign(&signed);

    let mut sct = vec![0];
    sct.extend(id);
    sct.extend(time.to_be_bytes());
    sct.extend([0, 0, 4, 3]); // no extensions; SHA-256, ECDSA
    sct.extend(length16(&signature));
    sct.extend(signature);
    let sct = [length16(&sct).to_vec(), sct].concat();
    [length16(&sct).to_vec(), sct].concat()
}

fn length16(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).expect("short").to_be_bytes()
}

struct Request {
    subject: Vec<u8>,
    validity: (Timestamp, Timestamp),
    extensions: Vec<Vec<u8>>,
    key: Arc<EcKey>,
}

/// Issues with the key identifiers added; without an `issuer`, self-signed.
fn issue(issuer: Option<&Certified>, request: &Request) -> Certified {
    let issuer_key = issuer.map_or(&request.key, |i| &i.key);
    let issuer_name = issuer.map_or(&request.subject, |i| &i.subject);
    let mut extensions = request.extensions.clone();
    extensions.extend(identifiers(&request.key, issuer_key));
    let request = Request {
        subject: request.subject.clone(),
        validity: request.validity,
        extensions,
        key: Arc::clone(&request.key),
    };
    certify(&fresh_serial(), issuer_name, issuer_key, &request)
}

fn certify(serial: &[u8], issuer: &[u8], issuer_key: &EcKey, request: &Request) -> Certified {
    let tbs = to_be_signed(serial, issuer, request);
    let signature = der::bits(0, &issuer_key.sign(&tbs));
    Certified {
        der: der::sequence(&[tbs, ecdsa_with_sha256(), signature]),
        subject: request.subject.clone(),
        issuer: issuer.to_vec(),
        serial: serial.to_vec(),
        key: Arc::clone(&request.key),
    }
}

fn to_be_signed(serial: &[u8], issuer: &[u8], request: &Request) -> Vec<u8> {
    let (from, to) = request.validity;
    der::sequence(&[
        der::context(0, &der::integer(2)),
        der::unsigned(serial),
        ecdsa_with_sha256(),
        issuer.to_vec(),
        der::sequence(&[der::utc_time(from), der::utc_time(to)]),
        request.subject.clone(),
        request.key.spki(),
        der::context(3, &der::sequence(&request.extensions)),
    ])
}

/// `AlgorithmIdentifier` of ECDSA with SHA-256.
pub fn ecdsa_with_sha256() -> Vec<u8> {
    der::sequence(&[der::oid("1.2.840.10045.4.3.2")])
}

/// 2024-01-01 to 2049-01-01.
pub fn lifetime() -> (Timestamp, Timestamp) {
    let parse = |text: &str| text.parse().expect("a timestamp");
    (parse("2024-01-01T00:00:00Z"), parse("2049-01-01T00:00:00Z"))
}

/// 20 random bytes, positive and without a leading zero.
fn fresh_serial() -> Vec<u8> {
    let mut serial = [0; 20];
    aws_lc_rs::rand::fill(&mut serial).expect("randomness");
    serial[0] = serial[0] & 0x7f | 0x40;
    serial.to_vec()
}

fn name_of(organization: &str, common: &str) -> Vec<u8> {
    let part = |oid: &str, text: &str| der::set(&[der::sequence(&[der::oid(oid), der::printable(text)])]);
    der::sequence(&[part("2.5.4.10", organization), part("2.5.4.3", common)])
}

fn extension(oid: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut parts = vec![der::oid(oid)];
    if critical {
        parts.push(der::yes());
    }
    parts.push(der::octets(value));
    der::sequence(&parts)
}

fn key_usage(unused: u8, bits: u8) -> Vec<u8> {
    extension("2.5.29.15", true, &der::bits(unused, &[bits]))
}

fn authority_extensions(path_length: u8, purpose: Option<Purpose>) -> Vec<Vec<u8>> {
    let mut extensions = vec![key_usage(1, 0x06)];
    if let Some(purpose) = purpose {
        extensions.push(extension("2.5.29.37", false, &der::sequence(&[purpose.oid()])));
    }
    let constraints = der::sequence(&[der::yes(), der::integer(path_length)]);
    extensions.push(extension("2.5.29.19", true, &constraints));
    extensions
}

fn identifiers(subject: &EcKey, issuer: &EcKey) -> [Vec<u8>; 2] {
    let authority = der::sequence(&[der::context_primitive(0, &issuer.identifier())]);
    [extension("2.5.29.14", false, &der::octets(&subject.identifier())), extension("2.5.29.35", false, &authority)]
}

/// SHA-256 of a certificate, as RFC 5035's `ESSCertIDv2` wants it.
pub fn fingerprint(certificate: &Certified) -> [u8; 32] {
    sha256(&certificate.der)
}

/// A Fulcio certificate's ten minutes, with `at` five seconds in.
pub fn ten_minutes_around(at: Timestamp) -> (Timestamp, Timestamp) {
    let start = at - Span::new().seconds(5);
    (start, start + Span::new().minutes(10))
}
