//! Reads Kyverno's `ClusterPolicy` (`kyverno.io/v1`, `v2beta1`), of which the rules with `verifyImages` are ours.
//!
//! Such a rule becomes a [`Policy`], called `policy/rule`. What it says that can't be expressed here is an error that
//! names the field. Where the two differ in what the same text means:
//!
//! - a keyless entry without an issuer or a subject, or with one that anybody has, is refused: Kyverno takes it for anyone;
//! - `subjectRegExp` and `issuerRegExp` have to fit the whole text: to Kyverno, any part of it;
//! - `rekor.url` asks for inclusion in some log of the trust root: Kyverno looks the entry up there;
//! - what is verified is pinned, also with `mutateDigest: false` and `verifyDigest: false`;
//! - evidence of every format counts: cosign's tags and bundles alike;
//! - `webhookTimeoutSeconds` and `failurePolicy` belong to the webhook configuration here, not to a policy.

mod wire;

use std::sync::Arc;

use serde_json::Value;

use self::wire::{
    Attestation, Attestor, ClusterPolicySpec, Entry, FailureAction, FailurePolicy, ImageVerification, Keyless,
    ResourceMatch, Rule,
};
use super::{
    Authority, AuthorityKind, DigestRule, FieldPath, Identity, ImagePattern, ImageScope, Mode, NamespaceScope, Pattern,
    Policy, PolicyError, PolicyName, PredicateType, Problem, PublicKey, Requirement, RequirementError, RequirementKind,
    Source,
    field::{Choice, decode, object_name},
};

/// What a policy is read against.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadContext {
    /// The base URLs of the transparency logs in the trust root, e.g. `https://rekor.example.com`.
    pub known_logs: Vec<String>,
    /// The time-out of the webhook configuration in seconds, where one is known: a policy that asks for another is
    /// read with a note.
    pub webhook_timeout_seconds: Option<u32>,
}

/// What a `ClusterPolicy` comes to.
#[derive(Clone, Debug)]
pub struct Reading {
    /// One policy for each `verifyImages` entry. What the object says of them all is noted on the first.
    pub policies: Vec<Policy>,
    /// What is not ours and was left out.
    pub left_out: Vec<Note>,
}

/// Something about a field that its author should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// The field.
    pub field: FieldPath,
    /// What there is to know.
    pub text: String,
}

/// The policies that the rules of a `ClusterPolicy` called `name` describe.
///
/// # Errors
/// [`PolicyError`], with the field's path from the object.
pub fn parse(name: &str, spec: Value, context: &ReadContext) -> Result<Reading, PolicyError> {
    let name = object_name(name, &FieldPath::root().key("metadata").key("name"))?;
    let field = FieldPath::root().key("spec");
    let spec: ClusterPolicySpec = decode(spec, &field)?;
    let mut reading = Reading { policies: Vec::new(), left_out: Vec::new() };
    let rules = field.key("rules");
    for (at, rule) in spec.rules.iter().enumerate() {
        let field = rules.index(at);
        if rule.get("verifyImages").is_none_or(Value::is_null) {
            let text = "the rule has no verifyImages and is left out".to_owned();
            reading.left_out.push(Note { field, text });
            continue;
        }
        let rule: Rule = decode(rule.clone(), &field)?;
        check_match(&rule.match_, &field.key("match"))?;
        let images = field.key("verifyImages");
        if rule.verify_images.is_empty() {
            return Err(images.error(Problem::Empty("the rule would verify no image")));
        }
        for (nth, entry) in rule.verify_images.iter().enumerate() {
            let suffix = if nth == 0 { String::new() } else { format!("#{}", nth + 1) };
            let name = rule_name(&name, &rule.name, &suffix, &field.key("name"))?;
            if reading.policies.iter().any(|policy| policy.name == name) {
                return Err(field.key("name").error(Problem::Twice { what: "rule", name: rule.name }));
            }
            let mode = entry.failure_action.or(spec.validation_failure_action);
            reading.policies.push(read_entry(name, mode, entry, context, &images.index(nth))?);
        }
    }
    if let Some(first) = reading.policies.first_mut() {
        first.notes.splice(0..0, spec_notes(&spec, context));
    } else {
        let text = "no rule has verifyImages: the policy says nothing about signatures".to_owned();
        reading.left_out.push(Note { field: rules, text });
    }
    Ok(reading)
}

fn rule_name(policy: &PolicyName, rule: &str, suffix: &str, field: &FieldPath) -> Result<PolicyName, PolicyError> {
    const MAX_RULE_BYTES: usize = 63;
    let fits = !rule.trim().is_empty() && rule.len() <= MAX_RULE_BYTES;
    fits.then(|| PolicyName::new(&format!("{policy}/{rule}{suffix}"))).flatten().ok_or_else(|| {
        let why = "the name of a rule has 1 to 63 characters in one line";
        field.error(Problem::NotSupported { found: format!("{rule:?}"), why })
    })
}

/// Only Pods can be matched: the controllers that make them follow by themselves, as with Kyverno.
fn check_match(match_: &ResourceMatch, field: &FieldPath) -> Result<(), PolicyError> {
    let (filters, field) = match (&match_.any, &match_.all) {
        (Some(any), None) => (any, field.key("any")),
        (None, Some(all)) => (all, field.key("all")),
        (any, _) => {
            let found = if any.is_some() { 2 } else { 0 };
            return Err(field.error(Problem::ExactlyOne { fields: "`any` and `all`", found }));
        }
    };
    if filters.is_empty() {
        return Err(field.error(Problem::Empty("the rule would cover nothing; it takes `resources: {kinds: [Pod]}`")));
    }
    for (at, filter) in filters.iter().enumerate() {
        let field = field.index(at).key("resources").key("kinds");
        if filter.resources.kinds.is_empty() {
            return Err(field.error(Problem::Empty("the rule would cover nothing; it takes `[Pod]`")));
        }
        for (at, kind) in filter.resources.kinds.iter().enumerate() {
            if !matches!(kind.as_str(), "Pod" | "v1/Pod") {
                let why = "it takes Pod, and the pod templates of workloads follow by themselves";
                return Err(field.index(at).error(Problem::NotSupported { found: format!("kind {kind:?}"), why }));
            }
        }
    }
    Ok(())
}

fn read_entry(
    name: PolicyName,
    mode: Option<FailureAction>,
    entry: &ImageVerification,
    context: &ReadContext,
    field: &FieldPath,
) -> Result<Policy, PolicyError> {
    let mut notes = Vec::new();
    let include = read_patterns(&entry.image_references, &field.key("imageReferences"))?;
    if include.is_empty() {
        return Err(field
            .key("imageReferences")
            .error(Problem::Empty("the rule would cover no image; `*` is every one")));
    }
    let exclude = read_patterns(&entry.skip_image_references, &field.key("skipImageReferences"))?;
    if entry.required == Some(false) {
        let why = "an image that was not verified would be admitted; leave it out or say true";
        return Err(field.key("required").error(Problem::NotSupported { found: "required: false".to_owned(), why }));
    }
    let digest = match (entry.mutate_digest.unwrap_or(true), entry.verify_digest.unwrap_or(true)) {
        (true, _) => DigestRule::Pin,
        (false, true) => DigestRule::Require,
        (false, false) => {
            notes.push(
                "mutateDigest and verifyDigest are false, but what is verified is pinned all the same".to_owned(),
            );
            DigestRule::Pin
        }
    };
    let mut reader = Reader { requirements: Vec::new(), notes, context };
    reader.read_attestors(&RequirementKind::Signature, "", &entry.attestors, &field.key("attestors"))?;
    for (at, attestation) in entry.attestations.iter().enumerate() {
        reader.read_attestation(attestation, at, &field.key("attestations").index(at))?;
    }
    if reader.requirements.is_empty() {
        let why = "it has neither attestors nor attestations, so that nobody's signature would be needed; \
                   a rule about digests alone is not supported";
        return Err(field.error(Problem::Missing(why)));
    }
    Ok(Policy {
        name,
        mode: match mode {
            Some(FailureAction::Enforce) => Mode::Enforce,
            None | Some(FailureAction::Audit) => Mode::Audit,
        },
        images: ImageScope::Patterns { include, exclude },
        namespaces: NamespaceScope::All,
        digest,
        requirements: reader.requirements,
        notes: reader.notes,
        source: Source::KyvernoRule,
    })
}

fn read_patterns(texts: &[String], field: &FieldPath) -> Result<Vec<ImagePattern>, PolicyError> {
    let read = |(at, text): (usize, &String)| ImagePattern::new(text).map_err(|error| field.index(at).error(error));
    texts.iter().enumerate().map(read).collect()
}

/// Gathers what one `verifyImages` entry asks for.
struct Reader<'a> {
    requirements: Vec<Arc<Requirement>>,
    notes: Vec<String>,
    context: &'a ReadContext,
}

impl Reader<'_> {
    fn read_attestation(&mut self, written: &Attestation, nth: usize, field: &FieldPath) -> Result<(), PolicyError> {
        let (uri, part) = match (&written.type_, &written.predicate_type) {
            (Some(uri), None) => (uri, "type"),
            (None, Some(uri)) => (uri, "predicateType"),
            (uri, _) => {
                let found = if uri.is_some() { 2 } else { 0 };
                return Err(field.error(Problem::ExactlyOne { fields: "`type` and `predicateType`", found }));
            }
        };
        let predicate_type = PredicateType::uri(uri).map_err(|error| field.key(part).error(error))?;
        if written.attestors.is_empty() {
            let why = "an attestation that nobody has to have signed proves nothing";
            return Err(field.key("attestors").error(Problem::Empty(why)));
        }
        let kind = RequirementKind::Attestation { predicate_type };
        self.read_attestors(&kind, &format!("attestations[{nth}]."), &written.attestors, &field.key("attestors"))
    }

    /// Every attestor is a requirement of its own: all of them have to be met.
    fn read_attestors(
        &mut self,
        kind: &RequirementKind,
        prefix: &str,
        attestors: &[Attestor],
        field: &FieldPath,
    ) -> Result<(), PolicyError> {
        for (nth, attestor) in attestors.iter().enumerate() {
            let field = field.index(nth);
            let mut authorities = Vec::with_capacity(attestor.entries.len());
            for (at, entry) in attestor.entries.iter().enumerate() {
                let name = format!("{prefix}attestors[{nth}].entries[{at}]");
                let kind = self.read_authority(entry, &field.key("entries").index(at))?;
                authorities.push(Arc::new(Authority { name, kind }));
            }
            let count = match attestor.count {
                None => authorities.len(),
                Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
            };
            let requirement = Requirement::new(kind.clone(), authorities, count).map_err(|error| {
                let part = if matches!(error, RequirementError::Count { .. }) { "count" } else { "entries" };
                field.key(part).error(error)
            })?;
            self.requirements.push(Arc::new(requirement));
        }
        Ok(())
    }

    fn read_authority(&mut self, entry: &Entry, field: &FieldPath) -> Result<AuthorityKind, PolicyError> {
        let (kind, rekor, field) = match (&entry.keyless, &entry.keys) {
            (Some(keyless), None) => {
                let field = field.key("keyless");
                (AuthorityKind::Keyless(self.read_identity(keyless, &field)?), &keyless.rekor, field)
            }
            (None, Some(keys)) => {
                let field = field.key("keys");
                let key =
                    PublicKey::from_pem(&keys.public_keys).map_err(|error| field.key("publicKeys").error(error))?;
                (AuthorityKind::Key(key), &keys.rekor, field)
            }
            (keyless, _) => {
                let found = if keyless.is_some() { 2 } else { 0 };
                return Err(field.error(Problem::ExactlyOne { fields: "`keyless` and `keys`", found }));
            }
        };
        if let Some(url) = rekor.as_ref().and_then(|rekor| rekor.url.as_deref()) {
            check_log(url, self.context, &field.key("rekor").key("url"))?;
        }
        Ok(kind)
    }

    fn read_identity(&mut self, keyless: &Keyless, field: &FieldPath) -> Result<Identity, PolicyError> {
        let issuer = Choice {
            plain: ("issuer", keyless.issuer.as_deref()),
            read_plain: Pattern::glob,
            regex: ("issuerRegExp", keyless.issuer_reg_exp.as_deref()),
            both: "`issuer` and `issuerRegExp`",
        };
        let subject = Choice {
            plain: ("subject", keyless.subject.as_deref()),
            read_plain: Pattern::glob,
            regex: ("subjectRegExp", keyless.subject_reg_exp.as_deref()),
            both: "`subject` and `subjectRegExp`",
        };
        let identity = Identity { issuer: issuer.read(field)?, subject: subject.read(field)? };
        for pattern in [&identity.issuer, &identity.subject] {
            if let Pattern::Regex(regex) = pattern {
                self.notes.push(format!("the regular expression {:?} has to fit the whole text", regex.as_str()));
            }
        }
        Ok(identity)
    }
}

/// What the object says of all its rules, and what is different here.
fn spec_notes(spec: &ClusterPolicySpec, context: &ReadContext) -> Vec<String> {
    let mut notes = Vec::new();
    match (spec.webhook_timeout_seconds, context.webhook_timeout_seconds) {
        (Some(asked), Some(running)) if asked != running => notes.push(format!(
            "webhookTimeoutSeconds: {asked} is not followed: the webhook configuration's timeoutSeconds counts, which is {running}"
        )),
        (Some(asked), None) => notes.push(format!(
            "webhookTimeoutSeconds: {asked} is not followed: the webhook configuration's timeoutSeconds counts"
        )),
        _ => {}
    }
    if spec.failure_policy == Some(FailurePolicy::Ignore) {
        notes.push("failurePolicy: Ignore is not followed: the webhook configuration's counts".to_owned());
    }
    if spec.background == Some(true) {
        notes.push("background: true is not followed: running Pods are not checked again".to_owned());
    }
    notes
}

/// A log has to be one that somebody knows; which log of the trust root holds an entry does not matter.
fn check_log(url: &str, context: &ReadContext, field: &FieldPath) -> Result<(), PolicyError> {
    let base = url.trim_end_matches('/');
    if is_public_log(base) || context.known_logs.iter().any(|known| known.trim_end_matches('/') == base) {
        return Ok(());
    }
    let known = if context.known_logs.is_empty() { "none".to_owned() } else { context.known_logs.join(", ") };
    Err(field.error(Problem::UnknownLog { url: url.to_owned(), known }))
}

/// Whether `base` is a log of Sigstore's public or staging instance: the one of Rekor v1, or a shard of Rekor v2, which are
/// called by year: `https://log2025-1.rekor.sigstore.dev`.
fn is_public_log(base: &str) -> bool {
    let Some(host) = base.strip_prefix("https://") else { return false };
    ["rekor.sigstore.dev", "rekor.sigstage.dev"].iter().any(|instance| {
        host.strip_suffix(instance)
            .is_some_and(|shard| shard.is_empty() || shard.strip_suffix('.').is_some_and(is_shard))
    })
}

fn is_shard(label: &str) -> bool {
    let Some((year, number)) = label.strip_prefix("log").and_then(|rest| rest.split_once('-')) else { return false };
    year.len() == 4
        && year.bytes().all(|b| b.is_ascii_digit())
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

#[cfg(test)]
mod tests;
