//! In which namespaces a policy is in force.

use std::collections::BTreeSet;

/// The label that the API server sets on every namespace: the namespace's own name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// In which namespaces a policy is in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NamespaceScope {
    /// In all of them.
    All,
    /// In those whose labels meet every one of these.
    Labels(Vec<LabelRule>),
}

/// What a label of a namespace has to be (Kubernetes' label selectors).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LabelRule {
    /// The label has one of these values.
    In(String, BTreeSet<String>),
    /// The label has none of these values, or is not there.
    NotIn(String, BTreeSet<String>),
    /// The label is there.
    Exists(String),
    /// The label is not there.
    DoesNotExist(String),
}

impl NamespaceScope {
    /// Whether the policy may be in force in `namespace`, `None` where that is not known. What is not known counts
    /// as a match, so that ignorance never lets an image pass: only a rule about the namespace's
    /// name can say no.
    #[must_use]
    pub fn may_cover(&self, namespace: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Labels(rules) => rules.iter().all(|rule| rule.meets(namespace) != Some(false)),
        }
    }
}

impl NamespaceScope {
    /// Whether the policy is in force in `namespace` for certain. What is not known counts against it here: a
    /// policy that may not be in force must not stand in for another.
    #[must_use]
    pub fn surely_covers(&self, namespace: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Labels(rules) => rules.iter().all(|rule| rule.meets(namespace) == Some(true)),
        }
    }
}

impl LabelRule {
    /// Whether the label's value is right; `None` where it is not known.
    fn meets(&self, namespace: Option<&str>) -> Option<bool> {
        let known = |label: &str| namespace.filter(|_| label == NAME_LABEL);
        match self {
            Self::In(label, values) => known(label).map(|name| values.contains(name)),
            Self::NotIn(label, values) => known(label).map(|name| !values.contains(name)),
            Self::Exists(label) => known(label).map(|_| true),
            Self::DoesNotExist(label) => known(label).map(|_| false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_can_say_no() {
        let set = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect::<BTreeSet<_>>();
        let (name, team) = (|| NAME_LABEL.to_owned(), || "team".to_owned());
        let scope = |rules: Vec<LabelRule>| NamespaceScope::Labels(rules);
        for (scope, prod, dev, unknown) in [
            (NamespaceScope::All, true, true, true),
            (scope(vec![]), true, true, true),
            (scope(vec![LabelRule::In(name(), set(&["prod"]))]), true, false, true),
            (scope(vec![LabelRule::NotIn(name(), set(&["prod"]))]), false, true, true),
            (scope(vec![LabelRule::Exists(name())]), true, true, true),
            (scope(vec![LabelRule::DoesNotExist(name())]), false, false, true),
            (scope(vec![LabelRule::In(team(), set(&["a"]))]), true, true, true),
            (scope(vec![LabelRule::NotIn(team(), set(&["a"]))]), true, true, true),
            (scope(vec![LabelRule::Exists(team())]), true, true, true),
            (scope(vec![LabelRule::DoesNotExist(team())]), true, true, true),
            (scope(vec![LabelRule::Exists(team()), LabelRule::In(name(), set(&["prod"]))]), true, false, true),
        ] {
            let found = [Some("prod"), Some("dev"), None].map(|namespace| scope.may_cover(namespace));
            assert_eq!(found, [prod, dev, unknown], "{scope:?}");
            let of_name = matches!(&scope, NamespaceScope::Labels(rules) if !format!("{rules:?}").contains("team"));
            let surely = [Some("prod"), Some("dev"), None].map(|namespace| scope.surely_covers(namespace));
            let expected = match scope {
                NamespaceScope::All => [true; 3],
                NamespaceScope::Labels(ref rules) if rules.is_empty() => [true; 3],
                NamespaceScope::Labels(_) if of_name => [prod, dev, false],
                NamespaceScope::Labels(_) => [false; 3],
            };
            assert_eq!(surely, expected, "{scope:?}");
        }
    }
}
