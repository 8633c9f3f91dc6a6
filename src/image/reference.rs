//! Image references in one canonical form.
//!
//! The grammar is that of the distribution project's `reference` package, which container runtimes
//! use: `[host[:port]/]path[:tag][@digest]`. On top of it names are folded to one spelling: hosts
//! lower-case, port 443 dropped, every Docker Hub alias to `docker.io`, `library/` and `:latest` added.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

use super::{Digest, DigestError, digest::shorten};

/// Longest reference that is read, in bytes. A repository name has at most 255 (distribution-spec),
/// a tag 128, a SHA-512 digest 135, so nothing valid is longer.
const MAX_BYTES: usize = 255 + 255 + 128 + 135 + 3;
const MAX_NAME_BYTES: usize = 255;
const MAX_TAG_BYTES: usize = 128;
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_ALIASES: [&str; 4] =
    [DOCKER_HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];

/// A registry host in canonical form, e.g. `ghcr.io` or `localhost:5000`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Registry(Arc<str>);

/// A repository in a registry, e.g. `ghcr.io` and `zionsworking/app`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Repository {
    registry: Registry,
    path: Arc<str>,
}

/// A tag: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Tag(Box<str>);

/// An image reference in canonical form. It always has a tag or a digest, or both: then the digest
/// decides, as it does for a container runtime, and the tag is carried along for people to read.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reference {
    repository: Repository,
    tag: Option<Tag>,
    digest: Option<Digest>,
    tag_is_implied: bool,
}

/// An image that is named by its digest alone.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PinnedImage {
    /// Where its manifest and its evidence are.
    pub repository: Repository,
    /// What it is.
    pub digest: Digest,
}

/// Why a text is not an image reference.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum ReferenceError {
    /// Empty, too long, or with a character that no reference has.
    #[error("image reference {found:?} is not valid: {why}")]
    Invalid {
        /// What was given, shortened.
        found: String,
        /// Which part is wrong, and how.
        why: &'static str,
    },
    /// The digest part is wrong.
    #[error("image reference {found:?}: {source}")]
    Digest {
        /// What was given, shortened.
        found: String,
        /// What is wrong with the digest.
        source: DigestError,
    },
    /// An image ID, or a bare name that a container runtime also looks up as one: it would run whatever
    /// image already on the node has it, from whatever registry that image came.
    #[error(
        "{found:?} is or may be read as an image ID, which names an image already on the node whatever its registry; \
         write registry/repository:tag or registry/repository@digest"
    )]
    ImageId {
        /// What was given, shortened.
        found: String,
    },
}

impl Registry {
    /// The host, with its port where it has one.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Registry {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        canonical_host(text)
            .map(|host| Self(host.into()))
            .map_err(|why| ReferenceError::Invalid { found: shorten(text), why })
    }
}

impl Repository {
    /// The registry that holds it.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The name within the registry, e.g. `zionsworking/app`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The image in this repository that `digest` names.
    #[must_use]
    pub fn pin(&self, digest: Digest) -> PinnedImage {
        PinnedImage { repository: self.clone(), digest }
    }
}

impl Tag {
    /// The tag's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let mut bytes = text.bytes();
        let starts = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
        let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if !starts || !rest || text.len() > MAX_TAG_BYTES {
            return Err(ReferenceError::Invalid {
                found: shorten(text),
                why: "the tag must be 1 to 128 of letters, digits, `_`, `.`, `-`, and not start with `.` or `-`",
            });
        }
        Ok(Self(text.into()))
    }
}

impl Reference {
    /// The repository.
    #[must_use]
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag, `latest` where the text has neither tag nor digest.
    #[must_use]
    pub const fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest, where there is one.
    #[must_use]
    pub const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Whether the tag was added here (`:latest`) and not written by the user.
    #[must_use]
    pub const fn tag_is_implied(&self) -> bool {
        self.tag_is_implied
    }

    /// This reference without its tag, when it has a digest.
    #[must_use]
    pub fn pinned(&self) -> Option<PinnedImage> {
        self.digest.clone().map(|digest| self.repository.pin(digest))
    }

    /// This reference with `digest` added or replaced, its tag kept.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let invalid = |why| ReferenceError::Invalid { found: shorten(text), why };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        if text.len() > MAX_BYTES {
            return Err(invalid("it is longer than any reference can be"));
        }
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => {
                let digest =
                    digest.parse().map_err(|source| ReferenceError::Digest { found: shorten(text), source })?;
                (named, Some(digest))
            }
            None => (text, None),
        };
        // A colon after the last slash starts a tag; any other belongs to a port.
        let after_slash = named.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match named[after_slash..].find(':') {
            Some(colon) => {
                let (name, tag) = named.split_at(after_slash + colon);
                (name, Some(tag[1..].parse::<Tag>().map_err(|_| invalid("the tag is not valid"))?))
            }
            None => (named, None),
        };
        if is_image_id(name, tag.is_some(), digest.is_some()) {
            return Err(ReferenceError::ImageId { found: shorten(text) });
        }
        let repository = parse_name(name).map_err(invalid)?;
        let tag_is_implied = tag.is_none() && digest.is_none();
        let tag = if tag_is_implied { Some(Tag("latest".into())) } else { tag };
        Ok(Self { repository, tag, digest, tag_is_implied })
    }
}

/// `sha256:<hex>` parses as a name with a tag, and a bare hex name is looked up among the node's image
/// IDs as well: containerd's CRI plugin falls back to a lookup by (truncated) ID.
fn is_image_id(name: &str, has_tag: bool, has_digest: bool) -> bool {
    let bare_algorithm = matches!(name, "sha256" | "sha384" | "sha512" | "blake3") && !has_digest;
    let bare_hex = !has_tag && !has_digest && name.bytes().all(|b| b.is_ascii_hexdigit());
    bare_algorithm || bare_hex
}

fn parse_name(name: &str) -> Result<Repository, &'static str> {
    let (host, path) = match name.split_once('/') {
        Some((first, rest)) if is_host(first) => (canonical_host(first)?, rest.to_owned()),
        _ => (DOCKER_HUB.to_owned(), name.to_owned()),
    };
    let path = if host == DOCKER_HUB && !path.contains('/') { format!("library/{path}") } else { path };
    if !path.split('/').all(is_path_component) {
        return Err("a repository name is components of lower-case letters and digits, \
                    joined by `.`, `_`, `__` or dashes, separated by `/`");
    }
    if host.len() + 1 + path.len() > MAX_NAME_BYTES {
        return Err("the repository name is longer than 255 characters");
    }
    Ok(Repository { registry: Registry(host.into()), path: path.into() })
}

/// The rule by which runtimes tell a host from the first part of a path.
fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let mut separator = 0..0;
    let bytes = component.as_bytes();
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if bytes.first().is_none_or(|&b| !is_word(b)) || bytes.last().is_none_or(|&b| !is_word(b)) {
        return false;
    }
    for (at, &byte) in bytes.iter().enumerate() {
        if is_word(byte) {
            let run = &component[separator.clone()];
            if !(matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-')) {
                return false;
            }
            separator = at + 1..at + 1;
        } else if matches!(byte, b'.' | b'_' | b'-') {
            separator.end = at + 1;
        } else {
            return false;
        }
    }
    true
}

/// `host[:port]`, lower-case, port 443 dropped, Docker Hub's aliases folded.
fn canonical_host(text: &str) -> Result<String, &'static str> {
    let (host, port) = split_port(text)?;
    let host = if let Some(address) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().map_err(|_| "the registry's IPv6 address is not valid")?;
        format!("[{address}]")
    } else {
        canonical_domain(host)?
    };
    let host = if DOCKER_HUB_ALIASES.contains(&host.as_str()) { DOCKER_HUB.to_owned() } else { host };
    Ok(match port {
        None | Some(443) => host,
        Some(port) => format!("{host}:{port}"),
    })
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let colon = match text.rfind(']') {
        Some(bracket) => text[bracket..].find(':').map(|at| bracket + at),
        None => text.find(':'),
    };
    let Some(colon) = colon else { return Ok((text, None)) };
    let digits = &text[colon + 1..];
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err("the registry's port is not a number");
    }
    let significant = digits.trim_start_matches('0');
    match significant.parse::<u16>() {
        Ok(port) => Ok((&text[..colon], Some(port))),
        Err(_) => Err("the registry's port is not between 1 and 65535"),
    }
}

fn canonical_domain(host: &str) -> Result<String, &'static str> {
    let host = host.to_ascii_lowercase();
    let is_label = |label: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() > 253 || !host.split('.').all(is_label) {
        return Err("the registry is not a host name");
    }
    // A host whose last label is a number is an IPv4 address to every URL parser, in forms such as
    // `127.1` or `0x7f.1` too: only the plain form is let through, so that it has one spelling.
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return Err("the registry is not a host name or a plain IPv4 address");
    }
    Ok(host)
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PinnedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn canonical(text: &str) -> String {
        match text.parse::<Reference>() {
            Ok(reference) => reference.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn every_spelling_has_one_name() {
        for text in [
            "nginx",
            "nginx:latest",
            "library/nginx",
            "docker.io/nginx",
            "index.docker.io/library/nginx",
            "registry-1.docker.io/library/nginx",
            "DOCKER.IO/library/nginx",
            "docker.io:443/library/nginx",
            "docker.io:0443/nginx",
            "registry.hub.docker.com/library/nginx:latest",
        ] {
            assert_eq!(canonical(text), "docker.io/library/nginx:latest", "{text}");
        }
        for text in [
            "ghcr.io/zionsworking/app:v1",
            "GHCR.IO/zionsworking/app:v1",
            "ghcr.io:443/zionsworking/app:v1",
            "gHcR.iO:00443/zionsworking/app:v1",
        ] {
            assert_eq!(canonical(text), "ghcr.io/zionsworking/app:v1", "{text}");
        }
        assert_eq!(canonical("localhost:05000/a/b"), "localhost:5000/a/b:latest");
        assert_eq!(canonical("[0:0::1]:5000/a"), "[::1]:5000/a:latest");
        assert_eq!(canonical("127.0.0.1:5000/a__b/c---d.e_f:T"), "127.0.0.1:5000/a__b/c---d.e_f:T");
        assert_eq!(canonical(&format!("a/b@sha256:{HEX}")), format!("docker.io/a/b@sha256:{HEX}"));
        assert_eq!(canonical(&format!("a/b:t@sha256:{HEX}")), format!("docker.io/a/b:t@sha256:{HEX}"));
    }

    #[test]
    fn image_ids_are_told_apart() {
        let id = format!("sha256:{HEX}");
        for text in [id.as_str(), HEX, "sha256:abc123", "sha384:abc123", "sha256", "deadbeef", "ada", "DEADBEEF"] {
            assert!(matches!(text.parse::<Reference>(), Err(ReferenceError::ImageId { .. })), "{text}");
        }
        for text in ["deadbeef:1", "docker.io/library/deadbeef", "sha256/app"] {
            assert!(text.parse::<Reference>().is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_reference_is_an_error() {
        let long = "a/".repeat(400);
        let long_name = format!("ghcr.io/{}", "a".repeat(250));
        for text in [
            "",
            " ",
            "nginx ",
            "a//b",
            "/a",
            "a/",
            "ghcr.io/",
            "ghcr.io/A",
            "a:b:c",
            "a@b",
            "a@",
            "a:",
            "ghcr.io./a",
            "ghcr.io:/a",
            "ghcr.io:65536/a",
            "ghcr.io:x/a",
            "ghcr.io:0/a",
            "-a.io/b",
            "127.1/a",
            "0x7f.1/a",
            "1.2.3.0x4/a",
            "https://ghcr.io/a",
            "ghcr.io/a\n",
            "ghcr.io/ä",
            "a..b",
            "a._b",
            "a___b",
            "[::1/a",
            "a.io/b-",
            "user@ghcr.io/a",
            &long,
            &long_name,
        ] {
            let found = text.parse::<Reference>();
            assert!(
                matches!(found, Err(ReferenceError::Invalid { .. } | ReferenceError::Digest { .. })),
                "{text:?}: {found:?}"
            );
        }
    }
}
