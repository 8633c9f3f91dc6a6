//! A Sigstore of our own: Fulcio, CT log, Rekor v1 and v2 and a time-stamp authority, in memory.
//!
//! Its trusted root bears the names that the example policy uses. What it makes verifies with
//! `sigstore_verify::Verifier` and with cosign under [`Authority::trusted_root_json`], unless a
//! [`Flaw`] was asked for.
//!
//! ```ignore
//! let sigstore = Authority::new();
//! let signer = sigstore.identity(Identity::zionsworking());
//! let layer = signer.legacy_signature(digest);
//! let layer = signer.legacy_attestation(digest, sbom::SPDX, &sbom::spdx());
//! let bundle = signer.clone().timestamped().bundle_signature(digest);
//! let bundle = signer.clone().rekor_v2().bundle_attestation(digest, sbom::SPDX, &sbom::spdx());
//! let wrong = signer.clone().flaw(Flaw::SetByWrongKey).legacy_signature(digest);
//! let old = signer.at("2025-06-01T12:00:00Z".parse()?).bundle_signature(digest);
//! let key = sigstore.key();
//! let layer = key.clone().unlogged().legacy_signature(digest);
//! let pem = key.public_key_pem();
//! ```

mod body;
mod certificate;
mod flaw;
mod identity;
mod key;
mod log;
mod signer;
mod statement;
mod timestamp;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

pub use self::certificate::Certified;
pub use self::flaw::{Flaw, Kind};
pub use self::identity::{GITHUB_ISSUER, GitHub, Identity, San};
pub use self::key::{EcKey, base64, sha256};
pub use self::log::{Entry, REKOR_V1, REKOR_V2};
pub use self::signer::{Layer, Signer};
pub use self::statement::{COSIGN_SIGN, IN_TOTO, simple_signing, statement};

use self::certificate::{Hierarchy, Purpose, Sct};
use self::log::Log;

/// Organisation in the names of the certificate authorities.
const ORGANIZATION: &str = "sigstore.dev";

/// How an [`Authority`] differs from the usual one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The trusted root's own issuing certificate ends here instead of in 2049.
    pub issuing_certificate_ends: Option<Timestamp>,
    /// The trusted root lists no time-stamp authority.
    pub without_tsa: bool,
    /// The trusted root lists no Rekor v2 log.
    pub without_rekor_v2: bool,
}

/// A Sigstore. Clones are the same one.
#[derive(Clone)]
pub struct Authority {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    fulcio: Hierarchy,
    ct: EcKey,
    rekor: Log,
    rekor_v2: Log,
    tsa: Hierarchy,
    time_stamper: Certified,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A Sigstore with fresh keys.
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    /// A Sigstore with fresh keys, different as `options` say.
    pub fn with(options: Options) -> Self {
        let tsa = Hierarchy::new(ORGANIZATION, Purpose::TimeStamping, None);
        let ends = options.issuing_certificate_ends;
        let inner = Inner {
            options,
            fulcio: Hierarchy::new(ORGANIZATION, Purpose::CodeSigning, ends),
            ct: EcKey::generate(),
            rekor: Log::v1(),
            rekor_v2: Log::v2(),
            time_stamper: tsa.time_stamper(ORGANIZATION),
            tsa,
        };
        Self { inner: Arc::new(inner) }
    }

    /// `trusted_root.json`.
    pub fn trusted_root_json(&self) -> String {
        let Inner { options, fulcio, ct, rekor, rekor_v2, tsa, time_stamper } = &*self.inner;
        let valid = json!({ "start": "2024-01-01T00:00:00Z" });
        let mut tlogs = vec![rekor.trusted_root_json()];
        if !options.without_rekor_v2 {
            tlogs.push(rekor_v2.trusted_root_json());
        }
        let details = "PKIX_ECDSA_P256_SHA_256";
        let ct = log::instance("https://ctfe.sigstore.dev/test", &ct.spki(), details, ct.id());
        let mut root = json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": tlogs,
            "certificateAuthorities": [{
                "subject": { "organization": ORGANIZATION, "commonName": "sigstore" },
                "uri": "https://fulcio.sigstore.dev",
                "certChain": fulcio.chain_json(None),
                "validFor": valid,
            }],
            "ctlogs": [ct],
        });
        if !options.without_tsa {
            root["timestampAuthorities"] = json!([{
                "subject": { "organization": ORGANIZATION, "commonName": "sigstore-tsa" },
                "uri": "https://timestamp.sigstore.dev/api/v1/timestamp",
                "certChain": tsa.chain_json(Some(time_stamper)),
                "validFor": valid,
            }]);
        }
        serde_json::to_string_pretty(&root).expect("JSON")
    }

    /// Someone who signs with certificates for `identity`, a fresh one for each signature.
    pub fn identity(&self, identity: Identity) -> Signer {
        Signer::keyless(self.clone(), identity)
    }

    /// Someone who signs with a key of their own, the same for each signature, and no certificate.
    pub fn key(&self) -> Signer {
        Signer::keyed(self.clone(), Arc::new(EcKey::generate()))
    }

    /// Public key of the Rekor v1 log, PEM.
    pub fn rekor_public_pem(&self) -> String {
        self.inner.rekor.public_pem().expect("Rekor v1 has an ECDSA key")
    }

    /// Public key of the CT log, PEM.
    pub fn ct_public_pem(&self) -> String {
        self.inner.ct.public_pem()
    }

    /// Fulcio's certificates, PEM: intermediate, root.
    pub fn fulcio_chain_pem(&self) -> String {
        let Hierarchy { root, intermediate } = &self.inner.fulcio;
        intermediate.pem() + &root.pem()
    }

    /// The time-stamp authority's certificates, PEM: leaf, intermediate, root.
    pub fn tsa_chain_pem(&self) -> String {
        let Hierarchy { root, intermediate } = &self.inner.tsa;
        self.inner.time_stamper.pem() + &intermediate.pem() + &root.pem()
    }

    /// A signing certificate for `key`, valid ten minutes around `at`, wrong in the way of `flaw`;
    /// and the certificates above it.
    fn certify(
        &self,
        identity: &Identity,
        key: &Arc<EcKey>,
        at: Timestamp,
        flaw: Option<Flaw>,
    ) -> (Certified, Vec<String>) {
        let Inner { fulcio, ct, .. } = &*self.inner;
        let stranger;
        let hierarchy = if flaw == Some(Flaw::UntrustedAuthority) {
            stranger = Hierarchy::new(ORGANIZATION, Purpose::CodeSigning, None);
            &stranger
        } else {
            fulcio
        };
        let sibling;
        let issuer = if flaw == Some(Flaw::ExpiredIntermediate) {
            let ended = at - jiff::Span::new().hours(1);
            sibling = hierarchy.sibling(ORGANIZATION, Purpose::CodeSigning, ended);
            &sibling
        } else {
            &hierarchy.intermediate
        };
        let validity = match flaw {
            Some(Flaw::ExpiredCertificate) => certificate::ten_minutes_around(at - jiff::Span::new().hours(1)),
            _ => certificate::ten_minutes_around(at),
        };
        let purpose = match flaw {
            Some(Flaw::NotForCodeSigning) => Purpose::ServerAuth,
            _ => Purpose::CodeSigning,
        };
        let other = EcKey::generate();
        let sct = match flaw {
            Some(Flaw::NoSct) => Sct::None,
            Some(Flaw::SctByUnknownLog) => Sct::By { key: &other, id: other.id() },
            Some(Flaw::SctByWrongKey) => Sct::By { key: &other, id: ct.id() },
            _ => Sct::By { key: ct, id: ct.id() },
        };
        let leaf = certificate::signing_certificate(issuer, identity, key, validity, purpose, &sct);
        (leaf, vec![issuer.pem(), hierarchy.root.pem()])
    }

    /// An RFC 3161 response over `message`, wrong in the way of `flaw`.
    fn time_stamp(&self, message: &[u8], at: Timestamp, flaw: Option<Flaw>) -> Vec<u8> {
        let ours = &self.inner.time_stamper;
        let stranger = || {
            let hierarchy = Hierarchy::new(ORGANIZATION, Purpose::TimeStamping, None);
            hierarchy.time_stamper(ORGANIZATION)
        };
        match flaw {
            Some(Flaw::TimestampByAnotherAuthority) => timestamp::time_stamp(&stranger(), &[], message, at),
            Some(Flaw::TimestampWithBorrowedCertificate) => {
                let stranger = stranger();
                timestamp::time_stamp(&stranger, &[ours, &stranger], message, at)
            }
            Some(Flaw::TimestampOfAnotherSignature) => timestamp::time_stamp(ours, &[], b"another signature", at),
            _ => timestamp::time_stamp(ours, &[], message, at),
        }
    }

    fn log(&self, version: signer::Rekor) -> &Log {
        match version {
            signer::Rekor::V1 => &self.inner.rekor,
            signer::Rekor::V2 => &self.inner.rekor_v2,
        }
    }
}
