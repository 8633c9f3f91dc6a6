//! In which namespaces a policy is in force.

/// In which namespaces a policy is in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NamespaceScope {
    /// In all of them.
    All,
}
