//! Whether evidence meets a requirement. Pure: bytes, trust root and time in, [`Verified`] or
//! [`Rejection`]s out.
//!
//! The steps, numbered as in the code:
//! 1. sizes and counts are within the caps (when evidence is parsed);
//! 2. verified times: signed entry timestamp, RFC 3161;
//! 3. the chain leads to a trusted CA and is valid at every verified time, code-signing usage;
//! 4. signed certificate timestamp;
//! 5. the log entry is of *this* signature, certificate or key and payload (CVE-2022-36056);
//! 6. the signature is over the payload, or its DSSE pre-authentication encoding;
//! 7. the payload names the image's digest;
//! 8. its type is the one asked for: an SBOM is not a signature (CVE-2022-35929);
//! 9. identity: issuer and subject.
//!
//! Any one piece of evidence that passes all steps satisfies one authority. What fails is reported and
//! otherwise ignored, so that a stranger's extra signature cannot break a good image.

mod authentic;
mod rejection;

use std::sync::Arc;

use jiff::Timestamp;

pub use authentic::{Authentic, Signer};
pub use rejection::Rejection;

use crate::{
    evidence::{Evidence, Format, Origin, Unreadable},
    image::PinnedImage,
    policy::{Authority, AuthorityKind, Identity, Requirement, RequirementKind},
    trust::TrustRoot,
};

/// Most rejections that are kept for a message.
const MAX_REPORTED: usize = 8;

/// Proof that one piece of evidence passed every step for one authority. Only a [`Docket`] makes one.
#[derive(Clone, Debug)]
pub struct Verified {
    authority: String,
    authentic: Arc<Authentic>,
    origin: Origin,
}

impl Verified {
    /// The authority that it satisfies.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Who signed, when, and where that is logged.
    #[must_use]
    pub fn authentic(&self) -> &Authentic {
        &self.authentic
    }

    /// Where the evidence was found.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// The evidence of one image, each piece checked cryptographically at most once per kind of signer
/// however many requirements and authorities look at it.
pub struct Docket<'a> {
    image: &'a PinnedImage,
    trust: &'a TrustRoot,
    now: Timestamp,
    cases: Vec<Case<'a>>,
    unreadable: &'a [Unreadable],
}

struct Case<'a> {
    evidence: &'a Evidence,
    keyless: std::cell::OnceCell<Result<Arc<Authentic>, Rejection>>,
}

impl<'a> Docket<'a> {
    /// Lays out the evidence of `image` for any number of [`Docket::verify`].
    #[must_use]
    pub fn new(
        image: &'a PinnedImage,
        evidence: &'a [Evidence],
        unreadable: &'a [Unreadable],
        trust: &'a TrustRoot,
        now: Timestamp,
    ) -> Self {
        let cases = evidence.iter().map(|evidence| Case { evidence, keyless: std::cell::OnceCell::new() }).collect();
        Self { image, trust, now, cases, unreadable }
    }

    /// The evidence that satisfies `requirement`: one piece for each of `count` distinct authorities.
    ///
    /// # Errors
    /// Why it is not satisfied, the failure that came closest first.
    pub fn verify(&self, requirement: &Requirement) -> Result<Vec<Verified>, Vec<Rejection>> {
        if let RequirementKind::Deny { message } = requirement.kind() {
            return Err(vec![Rejection::DeniedByPolicy(message.clone())]);
        }
        let candidates = self.candidates(requirement.kind());
        let mut rejections = Vec::new();
        let mut verified = Vec::new();
        for authority in requirement.authorities() {
            match self.first_that_satisfies(authority, &candidates, &mut rejections) {
                Some(found) => verified.push(found),
                None => continue,
            }
            if verified.len() == requirement.count() {
                return Ok(verified);
            }
        }
        if !verified.is_empty() {
            rejections.push(Rejection::TooFewAuthorities {
                expected: requirement.count(),
                found: verified.iter().map(|verified| verified.authority.clone()).collect(),
            });
        }
        Err(self.explain(requirement, rejections, candidates.is_empty()))
    }

    /// Every piece of evidence that satisfies an authority of `requirement`, whatever its count.
    #[must_use]
    pub fn verify_every(&self, requirement: &Requirement) -> Vec<Verified> {
        let candidates = self.candidates(requirement.kind());
        let pairs =
            requirement.authorities().iter().flat_map(|authority| candidates.iter().map(move |case| (authority, case)));
        let passes = |(authority, case): (&Arc<Authority>, &&Case<'a>)| {
            let authentic = self.satisfies(authority, case).ok()?;
            Some(Verified { authority: authority.name.clone(), authentic, origin: case.evidence.origin.clone() })
        };
        pairs.filter_map(passes).collect()
    }

    /// Step 8 first: the payload is what is signed, so one of another type cannot pass whatever its signature.
    fn candidates(&self, kind: &RequirementKind) -> Vec<&Case<'a>> {
        let wanted = |evidence: &Evidence| match kind {
            RequirementKind::Deny { .. } => false,
            RequirementKind::Signature => evidence.is_signature(),
            RequirementKind::Attestation { predicate_type } => {
                evidence.predicate_type().is_some_and(|uri| predicate_type.matches(uri))
            }
        };
        self.cases.iter().filter(|case| wanted(case.evidence)).collect()
    }

    fn first_that_satisfies(
        &self,
        authority: &Authority,
        candidates: &[&Case<'a>],
        rejections: &mut Vec<Rejection>,
    ) -> Option<Verified> {
        for case in candidates {
            match self.satisfies(authority, case) {
                Ok(authentic) => {
                    let origin = case.evidence.origin.clone();
                    return Some(Verified { authority: authority.name.clone(), authentic, origin });
                }
                Err(rejection) if !rejections.contains(&rejection) => rejections.push(rejection),
                Err(_) => {}
            }
        }
        None
    }

    fn satisfies(&self, authority: &Authority, case: &Case<'_>) -> Result<Arc<Authentic>, Rejection> {
        match &authority.kind {
            AuthorityKind::Keyless(identity) => {
                let authentic = case
                    .keyless
                    .get_or_init(|| authentic::keyless(self.image, case.evidence, self.trust, self.now).map(Arc::new))
                    .clone()?;
                // Step 9.
                match_identity(identity, &authentic)?;
                Ok(authentic)
            }
            AuthorityKind::Key(key) => {
                authentic::with_key(self.image, case.evidence, key, self.trust, self.now).map(Arc::new)
            }
        }
    }

    /// Adds what is missing altogether, and puts the failure that came closest to passing first.
    fn explain(&self, requirement: &Requirement, mut rejections: Vec<Rejection>, none: bool) -> Vec<Rejection> {
        let mut others: Vec<String> =
            self.cases.iter().filter_map(|case| case.evidence.predicate_type()).map(str::to_owned).collect();
        others.sort_unstable();
        others.dedup();
        others.truncate(MAX_REPORTED);
        match requirement.kind() {
            RequirementKind::Signature if none => rejections.push(Rejection::SignatureMissing { attestations: others }),
            RequirementKind::Attestation { predicate_type } if none && !others.is_empty() => {
                rejections
                    .push(Rejection::PredicateTypeMismatch { expected: predicate_type.to_string(), found: others });
            }
            RequirementKind::Attestation { predicate_type } if none => {
                rejections.push(Rejection::AttestationMissing { predicate_type: predicate_type.to_string() });
            }
            _ => {}
        }
        let wants_signature = requirement.kind() == &RequirementKind::Signature;
        let concerns = |format| match format {
            Format::LegacySignature => wants_signature,
            Format::LegacyAttestation => !wants_signature,
            Format::Bundle => true,
        };
        let unreadable = self.unreadable.iter().filter(|piece| concerns(piece.origin.format));
        rejections.extend(unreadable.map(|piece| piece.rejection.clone()));
        rejections.sort_by_key(|rejection| std::cmp::Reverse(rejection.step()));
        rejections.dedup();
        rejections.truncate(MAX_REPORTED);
        rejections.into_iter().map(Rejection::bounded).collect()
    }
}

fn match_identity(identity: &Identity, authentic: &Authentic) -> Result<(), Rejection> {
    let Signer::Certificate { issuer, subject } = &authentic.signer else {
        return Err(Rejection::IdentityMissing);
    };
    if !identity.issuer.matches(issuer) {
        return Err(Rejection::IssuerMismatch {
            expected: identity.issuer.to_string(),
            found: issuer.clone(),
            subject: subject.clone(),
        });
    }
    if !identity.subject.matches(subject) {
        return Err(Rejection::SubjectMismatch {
            expected: identity.subject.to_string(),
            found: subject.clone(),
            issuer: issuer.clone(),
        });
    }
    Ok(())
}
