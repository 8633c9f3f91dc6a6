//! Which policies cover an image: an index over the literal beginnings of their patterns.
//!
//! The beginnings are kept sorted, and each knows the longest other one that it starts with. Whatever beginning an
//! image's name has is then found from the last one that does not sort after the name: it is that one or one
//! that it starts with. So a search costs a binary search and a short walk, whether there are ten
//! policies or ten thousand.

use std::{collections::HashMap, sync::Arc};

use super::{
    ImageScope, Policy, PolicyName,
    pattern::{ImagePattern, Name},
};
use crate::image::Reference;

/// Every policy that is in force, by name and by what it covers. Immutable: a change makes a new one.
#[derive(Debug)]
pub struct PolicySet {
    policies: Vec<Arc<Policy>>,
    by_name: HashMap<PolicyName, usize>,
    beginnings: Vec<Beginning>,
    /// Those that cover what no other one does.
    fallbacks: Vec<usize>,
}

#[derive(Debug)]
struct Beginning {
    text: Box<str>,
    /// Where the longest other beginning is that `text` starts with.
    parent: Option<usize>,
    /// The policies with a pattern that begins so.
    policies: Vec<usize>,
}

/// Two policies have one name.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("policy {name} is there twice")]
pub struct DuplicateName {
    /// The name.
    pub name: PolicyName,
}

impl PolicySet {
    /// The set of `policies`.
    ///
    /// # Errors
    /// [`DuplicateName`] where two have one name: neither of them may silently win.
    pub fn new(policies: Vec<Policy>) -> Result<Self, DuplicateName> {
        let policies: Vec<Arc<Policy>> = policies.into_iter().map(Arc::new).collect();
        let mut by_name = HashMap::with_capacity(policies.len());
        let mut by_beginning: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut fallbacks = Vec::new();
        for (at, policy) in policies.iter().enumerate() {
            if by_name.insert(policy.name.clone(), at).is_some() {
                return Err(DuplicateName { name: policy.name.clone() });
            }
            match &policy.images {
                ImageScope::Fallback { .. } => fallbacks.push(at),
                ImageScope::Patterns { include, .. } => {
                    for beginning in include.iter().flat_map(ImagePattern::literal_prefixes) {
                        let listed = by_beginning.entry(beginning).or_default();
                        if listed.last() != Some(&at) {
                            listed.push(at);
                        }
                    }
                }
            }
        }
        let beginnings = index(by_beginning);
        Ok(Self { policies, by_name, beginnings, fallbacks })
    }

    /// The policies that `image` has to meet in `namespace` (`None` where that is not known), in the order in
    /// which they were given.
    ///
    /// A fallback policy is among them unless an enforcing policy with a signature or an attestation
    /// requirement is, and is in force in `namespace` for certain.
    #[must_use]
    pub fn select(&self, image: &Reference, namespace: Option<&str>) -> Vec<&Arc<Policy>> {
        if self.policies.is_empty() {
            return Vec::new();
        }
        let name = Name::of(image);
        let covers = |at: &usize| self.policies[*at].covers(&name, namespace);
        let mut found: Vec<usize> = self.candidates(name.repository()).filter(covers).collect();
        let stands_in = |policy: &Policy| policy.enforces_evidence() && policy.namespaces.surely_covers(namespace);
        if !found.iter().any(|&at| stands_in(&self.policies[at])) {
            found.extend(self.fallbacks.iter().copied().filter(covers));
        }
        // A policy with several patterns is found once for each.
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|at| &self.policies[at]).collect()
    }

    /// Those that may be in force in `namespace` (`None` where that is not known), whatever images they cover.
    pub fn in_force<'a>(&'a self, namespace: Option<&'a str>) -> impl Iterator<Item = &'a Arc<Policy>> {
        self.policies.iter().filter(move |policy| policy.namespaces.may_cover(namespace))
    }

    /// Whether any policy may be in force in `namespace`.
    #[must_use]
    pub fn any_in_force(&self, namespace: Option<&str>) -> bool {
        self.in_force(namespace).next().is_some()
    }

    /// The policy of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Policy>> {
        self.by_name.get(name).map(|&at| &self.policies[at])
    }

    /// Every policy, in the order in which they were given.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Policy>> {
        self.policies.iter()
    }

    /// How many policies there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// The policies with a pattern that begins as `repository` does.
    fn candidates(&self, repository: &str) -> impl Iterator<Item = usize> {
        let last = self.beginnings.partition_point(|beginning| &*beginning.text <= repository).checked_sub(1);
        std::iter::successors(last, |&at| self.beginnings[at].parent)
            .map(|at| &self.beginnings[at])
            .filter(move |beginning| repository.starts_with(&*beginning.text))
            .flat_map(|beginning| beginning.policies.iter().copied())
    }
}

fn index(by_beginning: HashMap<&str, Vec<usize>>) -> Vec<Beginning> {
    let mut sorted: Vec<_> = by_beginning.into_iter().collect();
    sorted.sort_unstable_by_key(|&(text, _)| text);
    let mut beginnings: Vec<Beginning> = Vec::with_capacity(sorted.len());
    for (text, policies) in sorted {
        // Sorted, the longest one that `text` starts with is the one before it or what that starts with.
        let mut parent = beginnings.len().checked_sub(1);
        while let Some(at) = parent
            && !text.starts_with(&*beginnings[at].text)
        {
            parent = beginnings[at].parent;
        }
        beginnings.push(Beginning { text: text.into(), parent, policies });
    }
    beginnings
}

impl Policy {
    /// Whether the policy's own scope has `image` in `namespace`. For a fallback policy this does not ask what others
    /// cover: that is [`PolicySet::select`].
    fn covers(&self, image: &Name<'_>, namespace: Option<&str>) -> bool {
        let (included, exclude) = match &self.images {
            ImageScope::Fallback { exclude } => (true, exclude),
            ImageScope::Patterns { include, exclude } => {
                (include.iter().any(|pattern| pattern.includes_name(image)), exclude)
            }
        };
        included && !exclude.iter().any(|pattern| pattern.excludes_name(image)) && self.namespaces.may_cover(namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Authority, AuthorityKind, DigestRule, Identity, LabelRule, Mode, NamespaceScope, Pattern, Requirement,
            RequirementKind, Source,
        },
        *,
    };

    fn patterns(texts: &[&str]) -> Vec<ImagePattern> {
        texts.iter().map(|text| ImagePattern::new(text).unwrap()).collect()
    }

    fn signature() -> Requirement {
        let identity = Identity { issuer: Pattern::exact("i").unwrap(), subject: Pattern::exact("s").unwrap() };
        let authority = Authority { name: "a".to_owned(), kind: AuthorityKind::Keyless(identity) };
        Requirement::new(RequirementKind::Signature, vec![Arc::new(authority)], 1).unwrap()
    }

    fn policy(name: &str, images: ImageScope, requirement: Requirement) -> Policy {
        Policy {
            name: PolicyName::new(name).unwrap(),
            mode: Mode::Enforce,
            images,
            namespaces: NamespaceScope::All,
            digest: DigestRule::Pin,
            requirements: vec![Arc::new(requirement)],
            notes: Vec::new(),
            source: Source::ImagePolicy,
        }
    }

    fn signed(name: &str, include: &[&str], exclude: &[&str]) -> Policy {
        let images = ImageScope::Patterns { include: patterns(include), exclude: patterns(exclude) };
        policy(name, images, signature())
    }

    fn fallback(name: &str, exclude: &[&str]) -> Policy {
        let images = ImageScope::Fallback { exclude: patterns(exclude) };
        policy(name, images, Requirement::deny("no".to_owned()))
    }

    fn only_in(mut policy: Policy, namespace: &str) -> Policy {
        let label = "kubernetes.io/metadata.name".to_owned();
        policy.namespaces = NamespaceScope::Labels(vec![LabelRule::In(label, [namespace.to_owned()].into())]);
        policy
    }

    fn names<'a>(set: &'a PolicySet, image: &str, namespace: Option<&str>) -> Vec<&'a str> {
        let image: Reference = image.parse().unwrap();
        set.select(&image, namespace).into_iter().map(|policy| policy.name.as_str()).collect()
    }

    #[test]
    fn fallback_covers_what_no_enforced_evidence_does() {
        let mut warn = signed("warn", &["ghcr.io/warn/*"], &[]);
        warn.mode = Mode::Warn;
        let mut audit = signed("audit", &["ghcr.io/audit/*"], &[]);
        audit.mode = Mode::Audit;
        let images = ImageScope::Patterns { include: patterns(&["ghcr.io/denied/*"]), exclude: Vec::new() };
        let set = PolicySet::new(vec![
            fallback("default-deny", &["registry.k8s.io/*"]),
            signed("signed", &["ghcr.io/signed/*"], &["ghcr.io/signed/test*"]),
            warn,
            audit,
            policy("deny-only", images, Requirement::deny("never".to_owned())),
            only_in(signed("in-prod", &["ghcr.io/prod/*"], &[]), "prod"),
        ])
        .unwrap();
        for (image, namespace, expected) in [
            ("ghcr.io/signed/a", None, &["signed"][..]),
            ("ghcr.io/signed/test-1", None, &["default-deny"]),
            ("ghcr.io/signed-evil/a", None, &["default-deny"]),
            ("nginx", None, &["default-deny"]),
            ("registry.k8s.io/pause", None, &[]),
            ("ghcr.io/warn/a", None, &["default-deny", "warn"]),
            ("ghcr.io/audit/a", None, &["default-deny", "audit"]),
            ("ghcr.io/denied/a", None, &["default-deny", "deny-only"]),
            ("ghcr.io/prod/a", Some("prod"), &["in-prod"]),
            // It may not be in force there, and so does not stand in for the default.
            ("ghcr.io/prod/a", None, &["default-deny", "in-prod"]),
            ("ghcr.io/prod/a", Some("dev"), &["default-deny"]),
        ] {
            assert_eq!(names(&set, image, namespace), expected, "{image} in {namespace:?}");
        }
    }

    #[test]
    fn every_matching_policy_is_found_once_and_in_order() {
        let set = PolicySet::new(vec![
            signed("z", &["ghcr.io/a/*", "ghcr.io/*", "*", "ghcr.io/a/b*"], &[]),
            signed("all", &["*"], &[]),
            signed("exact", &["ghcr.io/a/b"], &[]),
            signed("other", &["ghcr.io/a/bc"], &[]),
            signed("host", &["ghcr.io/*"], &[]),
        ])
        .unwrap();
        assert_eq!(names(&set, "ghcr.io/a/b:v1", None), ["z", "all", "exact", "host"]);
        assert_eq!(names(&set, "quay.io/a/b", None), ["z", "all"]);
        assert_eq!((set.len(), set.is_empty(), set.iter().len()), (5, false, 5));
        assert_eq!(set.get("host").map(|policy| policy.name.as_str()), Some("host"));
        assert!(set.get("nobody").is_none());
    }

    #[test]
    fn one_name_twice_is_refused() {
        let found = PolicySet::new(vec![signed("a", &["*"], &[]), fallback("b", &[]), fallback("a", &[])]);
        assert_eq!(found.unwrap_err().to_string(), "policy a is there twice");
    }

    #[test]
    fn in_force_asks_for_the_namespace_alone() {
        let set = PolicySet::new(vec![only_in(signed("a", &["ghcr.io/a/*"], &[]), "prod")]).unwrap();
        assert!(set.any_in_force(Some("prod")) && set.any_in_force(None) && !set.any_in_force(Some("dev")));
        assert!(!PolicySet::new(Vec::new()).unwrap().any_in_force(None));
    }

    #[test]
    fn the_index_agrees_with_a_linear_scan() {
        let mut policies = Vec::new();
        for at in 0..10_000_usize {
            let org = at % 97;
            let (one, two) = match at % 9 {
                0 => (format!("ghcr.io/org{org}/*"), format!("quay.io/org{at}/app*")),
                1 => (format!("ghcr.io/org{org}/app{at}"), "ghcr.io/org1*/x".to_owned()),
                2 => (format!("ghcr.io/org{org}/app{at}:v*"), format!("app{at}")),
                3 => (format!("h{org}.example/*"), format!("*/app{at}")),
                4 => (format!("org{org}/app*"), format!("nginx{org}*")),
                5 => (format!("gh?r.io/org{org}/a*"), format!("*{at}")),
                6 => (format!("ghcr.io/o*{at}"), format!("ghcr.io/org{org}/a*:v1")),
                7 => (format!("r{org}.example:5000/a/b"), format!("r{org}.example*/a/b")),
                _ => (format!("docker.io/org{org}*"), format!("org{org}*/app{at}")),
            };
            let except = format!("ghcr.io/org{}/app1*", at % 13);
            policies.push(signed(&format!("p{at}"), &[&one, &two], &[&except]));
        }
        policies.push(fallback("fallback", &[]));
        let set = PolicySet::new(policies).unwrap();
        let mut images = vec!["nginx7".to_owned(), "nginx.example/a".to_owned(), "r7.example.com/a/b".to_owned()];
        for at in 0..120_usize {
            let org = at % 101;
            images.push(match at % 5 {
                0 => format!("ghcr.io/org{org}/app{}:v1", at * 31 % 10_000),
                1 => format!("org{org}/app{at}@sha256:{}", "a".repeat(64)),
                2 => format!("h{org}.example/x/y{at}"),
                3 => format!("r{org}.example:5000/a/b:v{at}"),
                _ => format!("quay.io/org{}/app", at * 29 % 10_000),
            });
        }
        let (mut hits, mut fallbacks) = (0, 0);
        for image in &images {
            let reference: Reference = image.parse().unwrap();
            let name = Name::of(&reference);
            let mut scanned: Vec<&str> = set
                .iter()
                .filter(|policy| !matches!(policy.images, ImageScope::Fallback { .. }) && policy.covers(&name, None))
                .map(|policy| policy.name.as_str())
                .collect();
            hits += scanned.len();
            if scanned.is_empty() {
                scanned.push("fallback");
                fallbacks += 1;
            }
            assert_eq!(names(&set, image, None), scanned, "{image}");
        }
        assert!(hits > 1_000 && fallbacks > 10, "{hits} hits and {fallbacks} fallbacks prove little");
    }

    #[test]
    fn other_policies_are_not_even_looked_at() {
        let mut policies: Vec<_> =
            (0..10_000).map(|at| signed(&format!("p{at}"), &[&format!("ghcr.io/org{at}/*")], &[])).collect();
        policies.push(signed("host", &["ghcr.io/*-prod"], &[]));
        let set = PolicySet::new(policies).unwrap();
        let looked_at = |repository: &str| set.candidates(repository).collect::<Vec<_>>();
        assert_eq!(looked_at("ghcr.io/zionsworking/app"), [10_000]);
        assert_eq!(looked_at("ghcr.io/org77/app"), [77, 10_000]);
        assert!(looked_at("quay.io/org77/app").is_empty() && looked_at("a").is_empty());
    }
}
