//! From what is written to what is meant.

use std::sync::Arc;

use super::{Authority, Digest, ImagePolicySpec, Keyless, LabelExpression, LabelOperator, Match, Mode, Require};
use crate::policy::{
    AuthorityKind, DigestRule, FieldPath, Identity, ImagePattern, ImageScope, LabelRule, NamespaceScope, Pattern,
    PatternError, Policy, PolicyError, PredicateType, Problem, PublicKey, Requirement, RequirementKind, Source,
    field::{Choice, object_name},
    model,
};

/// Longest message of a `deny`, in bytes. An API server cuts what it passes on.
const MAX_MESSAGE_BYTES: usize = 2048;

type Authorities = Vec<Arc<model::Authority>>;

/// The policy that an `ImagePolicy` called `name` describes.
///
/// # Errors
/// [`PolicyError`], with the field's path from the object.
pub fn parse(name: &str, spec: &ImagePolicySpec) -> Result<Policy, PolicyError> {
    let name = object_name(name, &FieldPath::root().key("metadata").key("name"))?;
    let field = FieldPath::root().key("spec");
    let mut notes = Vec::new();
    let authorities = read_authorities(&spec.authorities, &field.key("authorities"))?;
    let requirements = read_requirements(&spec.require, &authorities, &field.key("require"))?;
    for authority in &authorities {
        let used =
            |requirement: &Arc<Requirement>| requirement.authorities().iter().any(|one| Arc::ptr_eq(one, authority));
        if !requirements.iter().any(used) {
            notes.push(format!("authority {:?} is named by no requirement", authority.name));
        }
    }
    let evidence = requirements.iter().any(|requirement| requirement.kind().is_evidence());
    let digest = match spec.digest {
        Digest::Pin => DigestRule::Pin,
        Digest::Require => DigestRule::Require,
        Digest::Ignore if evidence => {
            notes.push("digest: Ignore pins all the same, as a signature or an attestation is required".to_owned());
            DigestRule::Pin
        }
        Digest::Ignore => DigestRule::Ignore,
    };
    Ok(Policy {
        name,
        mode: match spec.mode {
            Mode::Enforce => model::Mode::Enforce,
            Mode::Warn => model::Mode::Warn,
            Mode::Audit => model::Mode::Audit,
        },
        images: read_images(spec.match_.as_ref(), spec.fallback, &field)?,
        namespaces: read_namespaces(spec.match_.as_ref(), &field.key("match").key("namespaceSelector"))?,
        digest,
        requirements,
        notes,
        source: Source::ImagePolicy,
    })
}

fn read_images(match_: Option<&Match>, fallback: bool, spec: &FieldPath) -> Result<ImageScope, PolicyError> {
    let field = spec.key("match");
    let (images, excluded) = match_.map_or((&[][..], &[][..]), |found| (&found.images, &found.exclude_images));
    let include = read_patterns(images, &field.key("images"))?;
    let exclude = read_patterns(excluded, &field.key("excludeImages"))?;
    match (fallback, include.is_empty()) {
        (true, true) => Ok(ImageScope::Fallback { exclude }),
        (false, false) => Ok(ImageScope::Patterns { include, exclude }),
        (true, false) => {
            let why = "a fallback policy covers whatever no other one does; leave out one of the two";
            Err(field.key("images").error(Problem::NotSupported { found: "match.images beside fallback".into(), why }))
        }
        (false, true) if match_.is_none() => {
            Err(spec.error(Problem::Missing("it has neither `match` nor `fallback: true`, so it would cover no image")))
        }
        (false, true) => {
            Err(field.key("images").error(Problem::Empty("the policy would cover no image; `*` is every one")))
        }
    }
}

fn read_patterns(texts: &[String], field: &FieldPath) -> Result<Vec<ImagePattern>, PolicyError> {
    let read = |(at, text): (usize, &String)| ImagePattern::new(text).map_err(|error| field.index(at).error(error));
    texts.iter().enumerate().map(read).collect()
}

fn read_namespaces(match_: Option<&Match>, field: &FieldPath) -> Result<NamespaceScope, PolicyError> {
    let Some(selector) = match_.and_then(|found| found.namespace_selector.as_ref()) else {
        return Ok(NamespaceScope::All);
    };
    let labels = selector.match_labels.iter();
    let mut rules: Vec<_> = labels.map(|(label, value)| LabelRule::In(label.clone(), [value.clone()].into())).collect();
    for (at, expression) in selector.match_expressions.iter().enumerate() {
        rules.push(read_label_rule(expression, &field.key("matchExpressions").index(at))?);
    }
    Ok(if rules.is_empty() { NamespaceScope::All } else { NamespaceScope::Labels(rules) })
}

fn read_label_rule(expression: &LabelExpression, field: &FieldPath) -> Result<LabelRule, PolicyError> {
    let (key, values) = (expression.key.clone(), expression.values.iter().cloned().collect());
    if key.is_empty() {
        return Err(field.key("key").error(Problem::Empty("it takes the name of a label")));
    }
    match (expression.operator, expression.values.is_empty()) {
        (LabelOperator::In, false) => Ok(LabelRule::In(key, values)),
        (LabelOperator::NotIn, false) => Ok(LabelRule::NotIn(key, values)),
        (LabelOperator::Exists, true) => Ok(LabelRule::Exists(key)),
        (LabelOperator::DoesNotExist, true) => Ok(LabelRule::DoesNotExist(key)),
        (LabelOperator::In | LabelOperator::NotIn, true) => {
            Err(field.key("values").error(Problem::Empty("In and NotIn take at least one value")))
        }
        (LabelOperator::Exists | LabelOperator::DoesNotExist, false) => {
            let (found, why) = ("a list of values".to_owned(), "Exists and DoesNotExist take none");
            Err(field.key("values").error(Problem::NotSupported { found, why }))
        }
    }
}

fn read_authorities(written: &[Authority], field: &FieldPath) -> Result<Authorities, PolicyError> {
    let mut read = Authorities::new();
    for (at, authority) in written.iter().enumerate() {
        let field = field.index(at);
        let name = authority.name.clone();
        if name.trim().is_empty() {
            return Err(field.key("name").error(Problem::Empty("requirements have to be able to name it")));
        }
        if read.iter().any(|other| other.name == name) {
            return Err(field.key("name").error(Problem::Twice { what: "authority", name }));
        }
        let kind = match (&authority.keyless, &authority.key) {
            (Some(keyless), None) => AuthorityKind::Keyless(read_identity(keyless, &field.key("keyless"))?),
            (None, Some(key)) => AuthorityKind::Key(
                PublicKey::from_pem(&key.pem).map_err(|error| field.key("key").key("pem").error(error))?,
            ),
            (keyless, key) => {
                let found = usize::from(keyless.is_some()) + usize::from(key.is_some());
                return Err(field.error(Problem::ExactlyOne { fields: "`keyless` and `key`", found }));
            }
        };
        read.push(Arc::new(model::Authority { name, kind }));
    }
    Ok(read)
}

fn read_identity(keyless: &Keyless, field: &FieldPath) -> Result<Identity, PolicyError> {
    let issuer = Choice {
        plain: ("issuer", keyless.issuer.as_deref()),
        read_plain: exact_issuer,
        regex: ("issuerRegex", keyless.issuer_regex.as_deref()),
        both: "`issuer` and `issuerRegex`",
    };
    let subject = Choice {
        plain: ("subject", keyless.subject.as_deref()),
        read_plain: Pattern::glob,
        regex: ("subjectRegex", keyless.subject_regex.as_deref()),
        both: "`subject` and `subjectRegex`",
    };
    Ok(Identity { issuer: issuer.read(field)?, subject: subject.read(field)? })
}

/// An issuer with a wildcard would match no issuer there is: better to say so than to let nobody in.
fn exact_issuer(text: &str) -> Result<Pattern, PatternError> {
    match Pattern::glob(text)? {
        Pattern::Glob(glob) => Err(PatternError::Wildcard { text: glob.as_str().to_owned() }),
        exact => Ok(exact),
    }
}

fn read_requirements(
    written: &[Require],
    authorities: &Authorities,
    field: &FieldPath,
) -> Result<Vec<Arc<Requirement>>, PolicyError> {
    if written.is_empty() {
        return Err(field.error(Problem::Empty("a policy without a requirement would admit every image")));
    }
    let read = |(at, require)| read_requirement(require, authorities, &field.index(at)).map(Arc::new);
    written.iter().enumerate().map(read).collect()
}

fn read_requirement(
    require: &Require,
    authorities: &Authorities,
    field: &FieldPath,
) -> Result<Requirement, PolicyError> {
    let (kind, any_of, count, field) = match (&require.signature, &require.attestation, &require.deny) {
        (Some(signature), None, None) => {
            (RequirementKind::Signature, &signature.any_of, signature.count, field.key("signature"))
        }
        (None, Some(attestation), None) => {
            let field = field.key("attestation");
            let predicate_type: PredicateType =
                attestation.predicate_type.parse().map_err(|error| field.key("predicateType").error(error))?;
            (RequirementKind::Attestation { predicate_type }, &attestation.any_of, attestation.count, field)
        }
        (None, None, Some(deny)) => {
            let field = field.key("deny").key("message");
            if deny.message.trim().is_empty() {
                return Err(field.error(Problem::Empty("say why, and what to do")));
            }
            if deny.message.len() > MAX_MESSAGE_BYTES {
                let (found, why) = (format!("a message of {} bytes", deny.message.len()), "it takes 2048 at most");
                return Err(field.error(Problem::NotSupported { found, why }));
            }
            return Ok(Requirement::deny(deny.message.clone()));
        }
        (signature, attestation, deny) => {
            let found =
                [signature.is_some(), attestation.is_some(), deny.is_some()].into_iter().filter(|&there| there).count();
            return Err(field.error(Problem::ExactlyOne { fields: "`signature`, `attestation` and `deny`", found }));
        }
    };
    let mut named = Authorities::with_capacity(any_of.len());
    for (at, name) in any_of.iter().enumerate() {
        let field = field.key("anyOf").index(at);
        if named.iter().any(|other| other.name == *name) {
            return Err(field.error(Problem::Twice { what: "authority", name: name.clone() }));
        }
        let Some(authority) = authorities.iter().find(|authority| authority.name == *name) else {
            let known = authorities.iter().map(|authority| authority.name.as_str()).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            return Err(field.error(Problem::UnknownAuthority { name: name.clone(), known }));
        };
        named.push(Arc::clone(authority));
    }
    let count = count.map_or(1, |count| usize::try_from(count).unwrap_or(usize::MAX));
    Requirement::new(kind, named, count).map_err(|error| {
        let part = if matches!(error, model::RequirementError::Count { .. }) { "count" } else { "anyOf" };
        field.key(part).error(error)
    })
}
