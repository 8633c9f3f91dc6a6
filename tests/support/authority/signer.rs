//! Makes signatures and attestations the way cosign does.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{Span, Timestamp};
use serde_json::{Value, json};

use super::Authority;
use super::body::{dsse, hashedrekord, hashedrekord_v2, intoto_v1};
use super::certificate::Certified;
use super::flaw::{Flaw, Kind};
use super::identity::Identity;
use super::key::{EcKey, base64};
use super::log::{Entry, Log};
use super::statement::{
    ANOTHER_DIGEST, COSIGN_SIGN, IN_TOTO, envelope, pre_authentication_encoding, simple_signing, statement, tampered,
};

/// A layer of a manifest: bytes, media type, annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Media type of the bytes.
    pub media_type: String,
    /// Content.
    pub bytes: Vec<u8>,
    /// Annotations of the descriptor.
    pub annotations: BTreeMap<String, String>,
}

/// Generation of the log that entries go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rekor {
    /// With signed entry timestamps.
    V1,
    /// Without; the signature needs a time stamp.
    V2,
}

#[derive(Clone)]
enum Holder {
    Identity(Box<Identity>),
    Key(Arc<EcKey>),
}

/// Someone who signs. Settings are changed on the way, as in `signer.clone().at(time).timestamped()`.
#[derive(Clone)]
pub struct Signer {
    authority: Authority,
    holder: Holder,
    repository: String,
    optional: BTreeMap<String, String>,
    at: Option<Timestamp>,
    rekor: Option<Rekor>,
    timestamp: bool,
    intoto: bool,
    flaw: Option<Flaw>,
}

impl Signer {
    pub(super) fn keyless(authority: Authority, identity: Identity) -> Self {
        Self::new(authority, Holder::Identity(Box::new(identity)))
    }

    pub(super) fn keyed(authority: Authority, key: Arc<EcKey>) -> Self {
        Self::new(authority, Holder::Key(key))
    }

    fn new(authority: Authority, holder: Holder) -> Self {
        Self {
            authority,
            holder,
            repository: "ghcr.io/zionsworking/cicd-supply-chain-security".into(),
            optional: BTreeMap::new(),
            at: None,
            rekor: Some(Rekor::V1),
            timestamp: false,
            intoto: false,
            flaw: None,
        }
    }

    /// Signs at this time instead of a minute ago.
    pub fn at(mut self, time: Timestamp) -> Self {
        self.at = Some(time);
        self
    }

    /// Adds an RFC 3161 time stamp.
    pub fn timestamped(mut self) -> Self {
        self.timestamp = true;
        self
    }

    /// Logs to Rekor v2, with an RFC 3161 time stamp; bundles only.
    pub fn rekor_v2(mut self) -> Self {
        self.rekor = Some(Rekor::V2);
        self.timestamp = true;
        self
    }

    /// Does not log.
    pub fn unlogged(mut self) -> Self {
        self.rekor = None;
        self
    }

    /// Logs legacy attestations as `intoto` 0.0.1, as cosign up to 2.2.2 did.
    pub fn intoto_entry(mut self) -> Self {
        self.intoto = true;
        self
    }

    /// Names this repository in payloads: `docker-reference`, subject name.
    pub fn repository(mut self, repository: &str) -> Self {
        self.repository = repository.into();
        self
    }

    /// Adds to `optional` of a simple-signing payload, as `cosign sign -a name=value`.
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.optional.insert(name.into(), value.into());
        self
    }

    /// Makes this one thing wrong.
    pub fn flaw(mut self, flaw: Flaw) -> Self {
        self.timestamp |= flaw.needs_timestamp() || matches!(flaw, Flaw::Timestamps(_));
        self.flaw = Some(flaw);
        self
    }

    /// The public key of a signer without certificates, PEM.
    pub fn public_key_pem(&self) -> String {
        match &self.holder {
            Holder::Key(key) => key.public_pem(),
            Holder::Identity(_) => panic!("a fresh key for each signature"),
        }
    }

    /// A layer for the tag `sha256-<hex>.sig`. `digest` is `sha256:<hex>`.
    pub fn legacy_signature(&self, digest: &str) -> Layer {
        let digest = self.digest_for(Kind::LegacySignature, digest);
        let payload = simple_signing(&self.repository, digest, &self.optional, self.flaw);
        self.legacy_signature_over(payload)
    }

    /// A layer for the tag `sha256-<hex>.sig` over any payload.
    pub fn legacy_signature_over(&self, payload: Vec<u8>) -> Layer {
        let act = self.act(&Content::Plain(payload));
        let Content::Plain(bytes) = &act.shown else { unreachable!("signed as plain bytes") };
        Layer {
            media_type: "application/vnd.dev.cosign.simplesigning.v1+json".into(),
            bytes: bytes.clone(),
            annotations: act.annotations(&base64(&act.signature), &act.signature),
        }
    }

    /// A layer for the tag `sha256-<hex>.att`.
    pub fn legacy_attestation(&self, digest: &str, predicate_type: &str, predicate: &Value) -> Layer {
        let digest = self.digest_for(Kind::LegacyAttestation, digest);
        let payload = statement(&self.repository, digest, predicate_type, predicate, self.flaw);
        let act = self.act(&self.dsse(payload));
        let bytes = act.envelope();
        let mut annotations = act.annotations("", &bytes);
        annotations.insert("predicateType".into(), predicate_type.into());
        Layer { media_type: "application/vnd.dsse.envelope.v1+json".into(), bytes, annotations }
    }

    /// A bundle v0.3 with cosign 3's signature over `digest`, JSON.
    pub fn bundle_signature(&self, digest: &str) -> String {
        let digest = self.digest_for(Kind::BundleSignature, digest);
        self.bundle(&statement(&self.repository, digest, COSIGN_SIGN, &json!({}), self.flaw))
    }

    /// A bundle v0.3 with an attestation about `digest`, JSON.
    pub fn bundle_attestation(&self, digest: &str, predicate_type: &str, predicate: &Value) -> String {
        let digest = self.digest_for(Kind::BundleAttestation, digest);
        let payload = statement(&self.repository, digest, predicate_type, predicate, self.flaw);
        self.bundle(&payload)
    }

    /// A bundle v0.3 over any in-toto statement, JSON.
    pub fn bundle(&self, statement: &[u8]) -> String {
        let act = self.act(&self.dsse(statement.to_vec()));
        act.bundle()
    }

    fn dsse(&self, payload: Vec<u8>) -> Content {
        let payload_type = match self.flaw {
            Some(Flaw::WrongPayloadType) => "application/vnd.example+json",
            _ => IN_TOTO,
        };
        Content::Dsse(payload_type, payload)
    }

    /// The digest to speak of; checks that the settings make sense for `kind`.
    fn digest_for<'a>(&self, kind: Kind, digest: &'a str) -> &'a str {
        let rekor_v2 = self.rekor == Some(Rekor::V2);
        assert!(kind.is_bundle() || !rekor_v2, "legacy evidence has no Rekor v2 entry");
        let Some(flaw) = self.flaw else { return digest };
        assert!(flaw.applies_to(kind), "{kind:?} cannot have the flaw {flaw:?}");
        assert!(!rekor_v2 || flaw.applies_to_rekor_v2(), "Rekor v2 cannot have the flaw {flaw:?}");
        let keyed = matches!(self.holder, Holder::Key(_));
        assert!(!keyed || flaw.applies_to_keys(), "a key cannot have the flaw {flaw:?}");
        if flaw == Flaw::AnotherImage { ANOTHER_DIGEST } else { digest }
    }

    /// Signs, logs and time-stamps.
    fn act(&self, content: &Content) -> Act {
        let flaw = self.flaw;
        let now = Timestamp::now();
        let mut at = self.at.unwrap_or(now - Span::new().minutes(1));
        if flaw == Some(Flaw::FutureIntegratedTime) {
            at = now + Span::new().minutes(5);
        }
        let (key, certificate, chain) = match &self.holder {
            Holder::Key(key) => (Arc::clone(key), None, Vec::new()),
            Holder::Identity(identity) => {
                let key = Arc::new(EcKey::generate());
                let (leaf, chain) = self.authority.certify(identity, &key, at, flaw);
                (key, Some(leaf), chain)
            }
        };
        let signature = match flaw {
            Some(Flaw::SignatureOverOtherPayload) => key.sign(b"something else"),
            Some(Flaw::StolenCertificate) => EcKey::generate().sign(&content.signed()),
            _ => key.sign(&content.signed()),
        };
        let mut act = Act {
            shown: content.clone(),
            flaw,
            signature,
            verifier: verifier_pem(&key, certificate.as_ref()),
            key,
            certificate,
            chain,
            entry: None,
            token: None,
        };
        if flaw != Some(Flaw::NoLogEntry)
            && let Some(rekor) = self.rekor
        {
            act.entry = Some(self.log_entry(&act, rekor, at));
        }
        if self.timestamp {
            act.token = Some(Token {
                of_signature: self.authority.time_stamp(&act.signature, at, flaw),
                of_envelope: self.authority.time_stamp(&act.envelope_or_payload(), at, flaw),
            });
        }
        if flaw == Some(Flaw::TamperedPayload) {
            act.shown = act.shown.map(tampered);
        }
        act
    }

    /// Logs what was signed, or something else if the flaw says so.
    fn log_entry(&self, act: &Act, rekor: Rekor, at: Timestamp) -> Entry {
        let other = act.shown.map(|_| br#"{"another":"payload"}"#.to_vec());
        let other_signature = || act.key.sign(&other.signed());
        let (content, signature) = match act.flaw {
            Some(Flaw::LogEntryOfAnotherSignature | Flaw::StolenCertificate) => (&other, other_signature()),
            Some(Flaw::LogEntryWithAnotherSignature) => (&act.shown, act.key.sign(&act.shown.signed())),
            _ => (&act.shown, act.signature.clone()),
        };
        let (verifier, certificate) = match (act.flaw, &self.holder) {
            (Some(Flaw::LogEntryWithAnotherCertificate), Holder::Identity(identity)) => {
                let (leaf, _) = self.authority.certify(identity, &act.key, at, None);
                (leaf.pem(), Some(leaf.der))
            }
            (Some(Flaw::LogEntryWithAnotherCertificate), Holder::Key(_)) => (EcKey::generate().public_pem(), None),
            _ => (act.verifier.clone(), act.certificate.as_ref().map(|c| c.der.clone())),
        };
        let (kind, body) = match (content, rekor, self.intoto) {
            (_, Rekor::V2, _) => {
                let key = match &certificate {
                    Some(der) => json!({
                        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                        "x509Certificate": { "rawBytes": base64(der) },
                    }),
                    None => json!({
                        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                        "publicKey": { "rawBytes": base64(&act.key.spki()) },
                    }),
                };
                (("hashedrekord", "0.0.2"), hashedrekord_v2(&content.signed(), &signature, &key))
            }
            (Content::Plain(payload), Rekor::V1, _) => {
                (("hashedrekord", "0.0.1"), hashedrekord(payload, &signature, &verifier))
            }
            (Content::Dsse(kind, payload), Rekor::V1, intoto) => {
                let envelope = envelope(kind, payload, std::slice::from_ref(&signature));
                if intoto {
                    (("intoto", "0.0.1"), intoto_v1(&envelope, payload, &verifier))
                } else {
                    (("dsse", "0.0.1"), dsse(&envelope, payload, &signature, &verifier))
                }
            }
        };
        let stranger;
        let log = if act.flaw == Some(Flaw::UnknownLog) {
            stranger = match rekor {
                Rekor::V1 => Log::v1(),
                Rekor::V2 => Log::v2(),
            };
            &stranger
        } else {
            self.authority.log(rekor)
        };
        let body = serde_json::to_vec(&body).expect("JSON");
        let mut entry = log.append(kind, body, at);
        match act.flaw {
            Some(Flaw::NoSet) => entry.set = None,
            Some(Flaw::SetByWrongKey) => log.impostor().sign_entry(&mut entry),
            Some(Flaw::ForgedIntegratedTime) => {
                entry.integrated = entry.integrated.map(|time| time + Span::new().seconds(7));
            }
            Some(Flaw::CheckpointByWrongKey) => log.impostor().sign_checkpoint(&mut entry),
            Some(Flaw::BadInclusionProof) => entry.path[0] = [0x5a; 32],
            _ => {}
        }
        entry
    }
}

/// What is signed: plain bytes, or payload type and payload of a DSSE envelope.
#[derive(Clone)]
enum Content {
    Plain(Vec<u8>),
    Dsse(&'static str, Vec<u8>),
}

impl Content {
    fn signed(&self) -> Vec<u8> {
        match self {
            Self::Plain(payload) => payload.clone(),
            Self::Dsse(kind, payload) => pre_authentication_encoding(kind, payload),
        }
    }

    fn map(&self, change: impl FnOnce(&[u8]) -> Vec<u8>) -> Self {
        match self {
            Self::Plain(payload) => Self::Plain(change(payload)),
            Self::Dsse(kind, payload) => Self::Dsse(kind, change(payload)),
        }
    }
}

/// A finished signature with everything that goes with it.
struct Act {
    shown: Content,
    flaw: Option<Flaw>,
    signature: Vec<u8>,
    key: Arc<EcKey>,
    certificate: Option<Certified>,
    verifier: String,
    chain: Vec<String>,
    entry: Option<Entry>,
    token: Option<Token>,
}

/// Time stamps: bundles and legacy signatures have the signature stamped, legacy attestations the
/// whole envelope.
struct Token {
    of_signature: Vec<u8>,
    of_envelope: Vec<u8>,
}

impl Act {
    fn signatures(&self) -> Vec<Vec<u8>> {
        let mut signatures = vec![self.signature.clone()];
        if self.flaw == Some(Flaw::TwoSignatures) {
            signatures.push(EcKey::generate().sign(&self.shown.signed()));
        }
        signatures
    }

    fn envelope(&self) -> Vec<u8> {
        let Content::Dsse(kind, payload) = &self.shown else { unreachable!("not an envelope") };
        let bytes = envelope(kind, payload, &self.signatures());
        match self.flaw {
            Some(Flaw::ReformattedEnvelope) => {
                let value: Value = serde_json::from_slice(&bytes).expect("JSON");
                serde_json::to_vec_pretty(&value).expect("JSON")
            }
            _ => bytes,
        }
    }

    fn envelope_or_payload(&self) -> Vec<u8> {
        match &self.shown {
            Content::Plain(payload) => payload.clone(),
            Content::Dsse(..) => self.envelope(),
        }
    }

    /// Annotations of a legacy layer; `stamped` tells which time stamp belongs to it.
    fn annotations(&self, signature: &str, stamped: &[u8]) -> BTreeMap<String, String> {
        let mut annotations = BTreeMap::new();
        annotations.insert("dev.cosignproject.cosign/signature".into(), signature.to_owned());
        if let Some(certificate) = &self.certificate {
            annotations.insert("dev.sigstore.cosign/certificate".into(), certificate.pem());
            let chain = self.chain.concat().trim_end().to_owned();
            annotations.insert("dev.sigstore.cosign/chain".into(), chain);
        }
        if let Some(entry) = &self.entry {
            annotations.insert("dev.sigstore.cosign/bundle".into(), entry.annotation());
        }
        if let Some(token) = &self.token {
            let of_signature = stamped == self.signature;
            let token = if of_signature { &token.of_signature } else { &token.of_envelope };
            let value = json!({ "SignedRFC3161Timestamp": base64(token) }).to_string();
            annotations.insert("dev.sigstore.cosign/rfc3161timestamp".into(), value);
        }
        annotations
    }

    fn bundle(&self) -> String {
        let Content::Dsse(kind, payload) = &self.shown else { unreachable!("not an envelope") };
        let mut material = match &self.certificate {
            Some(certificate) => json!({ "certificate": { "rawBytes": base64(&certificate.der) } }),
            None => json!({ "publicKey": { "hint": base64(&self.key.id()) } }),
        };
        let entries = match self.flaw {
            Some(Flaw::LogEntries(count)) => count,
            _ => 1,
        };
        let entry = self.entry.as_ref().map(Entry::bundle_json);
        material["tlogEntries"] = entry.map_or(json!([]), |entry| json!(vec![entry; entries]));
        if let Some(token) = &self.token {
            let count = match self.flaw {
                Some(Flaw::Timestamps(count)) => count,
                _ => 1,
            };
            let token = json!({ "signedTimestamp": base64(&token.of_signature) });
            material["timestampVerificationData"] = json!({ "rfc3161Timestamps": vec![token; count] });
        }
        let signatures: Vec<_> = self.signatures().iter().map(|sig| json!({ "sig": base64(sig) })).collect();
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": material,
            "dsseEnvelope": {
                "payload": base64(payload),
                "payloadType": kind,
                "signatures": signatures,
            },
        })
        .to_string()
    }
}

fn verifier_pem(key: &EcKey, certificate: Option<&Certified>) -> String {
    certificate.map_or_else(|| key.public_pem(), Certified::pem)
}
