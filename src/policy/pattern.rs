//! Image patterns, canonical like the names that they are held against.
//!
//! A pattern is `[host[:port]/]path[:tag][@digest]` with `*` (any characters, `/` included) and `?` (one
//! character) anywhere but in the digest. Its literal host is folded as a reference's is, a name without
//! a host belongs to Docker Hub.
//!
//! The two uses differ in which mistake is safe. An *including* pattern is held against everything that an
//! author may have meant: `bitnami*` covers `docker.io/library/bitnami*`, `docker.io/bitnami*` and hosts that
//! start with `bitnami`. An *excluding* one has the narrowest meaning only, `docker.io/library/bitnami*`.

use std::fmt;

use super::glob::{Glob, has_wildcard};
use crate::image::{Digest, DigestError, Reference};

/// Longest pattern that is read, in bytes.
const MAX_BYTES: usize = 1024;
const DOCKER_HUB: &str = "docker.io/";

/// A pattern over image names.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ImagePattern {
    text: Box<str>,
    /// The first is the narrowest reading; the others count for including only.
    readings: Vec<Reading>,
    digest: Option<Digest>,
}

/// One way to read a pattern, without its digest.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Reading {
    /// The part before the tag.
    repository: Glob,
    tag: Option<Glob>,
    /// Repository and tag in one: a `*` in the repository part may reach into the tag.
    whole: Glob,
}

/// Why a text is not an image pattern.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ImagePatternError {
    /// Nothing was written.
    #[error("the image pattern is empty; `*` is every image")]
    Empty,
    /// It could not match any image.
    #[error("image pattern {found:?} can match no image: {why}")]
    Never {
        /// What was given, shortened.
        found: String,
        /// Which part is wrong, and how.
        why: &'static str,
    },
    /// The digest is not one.
    #[error("image pattern {found:?}: {source}")]
    Digest {
        /// What was given, shortened.
        found: String,
        /// What is wrong with it.
        source: DigestError,
    },
}

/// A canonical name, made once for many patterns.
pub(super) struct Name<'a> {
    /// `registry/repository[:tag]`.
    text: String,
    repository_len: usize,
    digest: Option<&'a Digest>,
}

impl ImagePattern {
    /// The pattern that `text` spells.
    ///
    /// # Errors
    /// [`ImagePatternError`] where no image could match it.
    pub fn new(text: &str) -> Result<Self, ImagePatternError> {
        let never = |why| ImagePatternError::Never { found: text.chars().take(160).collect(), why };
        if text.is_empty() {
            return Err(ImagePatternError::Empty);
        }
        if text.len() > MAX_BYTES {
            return Err(never("it is longer than any name"));
        }
        let (named, digest) = match text.split_once('@') {
            None => (text, None),
            Some((named, digest)) => match digest.parse::<Digest>() {
                Ok(digest) => (named, Some(digest)),
                Err(source) => {
                    return Err(ImagePatternError::Digest { found: text.chars().take(160).collect(), source });
                }
            },
        };
        // A colon after the last slash starts a tag; any other belongs to a port.
        let after_slash = named.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match named[after_slash..].find(':') {
            Some(colon) => (&named[..after_slash + colon], Some(&named[after_slash + colon + 1..])),
            None => (named, None),
        };
        if let Some(tag) = tag {
            check_tag(tag).map_err(never)?;
        }
        let spellings = canonical_names(name).map_err(never)?;
        let mut readings: Vec<_> = spellings.iter().map(|name| Reading::new(name, tag)).collect();
        if !named.contains('/') && tag.is_some_and(has_wildcard) {
            // `localhost:5*`: the colon may be a port's.
            readings.push(Reading::new(named, None));
        }
        Ok(Self { text: text.into(), readings, digest })
    }

    /// Whether a list of covered images that has this pattern covers `image`.
    ///
    /// Where the image has a digest, a tag in the pattern does not count: the runtime ignores the tag beside a
    /// digest. A digest in the pattern covers that digest, and an image without one, which may be it.
    #[must_use]
    pub fn includes(&self, image: &Reference) -> bool {
        self.includes_name(&Name::of(image))
    }

    /// Whether a list of exceptions that has this pattern excepts `image`.
    ///
    /// Where the image has a digest, a pattern with a tag excepts nothing; a pattern with a digest
    /// excepts that digest and nothing else.
    #[must_use]
    pub fn excludes(&self, image: &Reference) -> bool {
        self.excludes_name(&Name::of(image))
    }

    pub(super) fn includes_name(&self, name: &Name<'_>) -> bool {
        if let (Some(asked), Some(found)) = (&self.digest, name.digest)
            && asked != found
        {
            return false;
        }
        self.readings.iter().any(|reading| {
            let tag_counts = reading.tag.is_some() && name.digest.is_none();
            (!tag_counts && reading.repository.matches(name.repository())) || reading.whole.matches(&name.text)
        })
    }

    pub(super) fn excludes_name(&self, name: &Name<'_>) -> bool {
        let Some(reading) = self.readings.first() else { return false };
        let rest = match (&self.digest, &reading.tag, name.digest) {
            (Some(asked), _, found) => found == Some(asked),
            (None, None, _) => true,
            (None, Some(_), Some(_)) => false,
            (None, Some(tag), None) => tag.matches(name.tag()),
        };
        rest && reading.repository.matches(name.repository())
    }

    /// What a repository has to start with for [`ImagePattern::includes`] to cover an image of it: one text
    /// for each way to read the pattern.
    pub fn literal_prefixes(&self) -> impl Iterator<Item = &str> {
        self.readings.iter().map(|reading| {
            let repository = reading.repository.as_str();
            &repository[..repository.find(['*', '?']).unwrap_or(repository.len())]
        })
    }

    /// What the author wrote.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Reading {
    fn new(name: &str, tag: Option<&str>) -> Self {
        let whole = tag.map_or_else(|| name.to_owned(), |tag| format!("{name}:{tag}"));
        Self { repository: Glob::new(name), tag: tag.map(Glob::new), whole: Glob::new(&whole) }
    }
}

impl<'a> Name<'a> {
    pub(super) fn of(image: &'a Reference) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(96);
        // Writing to a string can't fail.
        let _ = write!(text, "{}", image.repository());
        let repository_len = text.len();
        if let Some(tag) = image.tag() {
            text.push(':');
            text.push_str(tag.as_str());
        }
        Self { text, repository_len, digest: image.digest() }
    }

    /// `registry/repository`.
    pub(super) fn repository(&self) -> &str {
        &self.text[..self.repository_len]
    }

    fn tag(&self) -> &str {
        self.text[self.repository_len..].trim_start_matches(':')
    }
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let tag_char = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'*' | b'?');
    if tag.is_empty() {
        return Err("the tag is empty");
    }
    if !tag.bytes().all(tag_char) {
        return Err("the tag has a character that no tag has");
    }
    Ok(())
}

/// The canonical names that `name`, without tag and digest, may mean, the narrowest first.
fn canonical_names(name: &str) -> Result<Vec<String>, &'static str> {
    let Some((first, rest)) = name.split_once('/') else {
        check_path(name)?;
        return Ok(if name.starts_with(['*', '?']) {
            vec![name.to_owned()]
        } else if has_wildcard(name) {
            vec![format!("{DOCKER_HUB}library/{name}"), format!("{DOCKER_HUB}{name}"), name.to_owned()]
        } else {
            vec![format!("{DOCKER_HUB}library/{name}")]
        });
    };
    check_path(rest)?;
    if has_wildcard(first) {
        let raw = format!("{}/{rest}", check_wild_host(first)?);
        let on_docker_hub = (!first.starts_with('*')).then(|| format!("{DOCKER_HUB}{raw}"));
        return Ok([Some(raw), on_docker_hub].into_iter().flatten().collect());
    }
    let host = canonical_start(first)?;
    let narrow_hub = format!("{DOCKER_HUB}library/{rest}");
    let name = format!("{host}/{rest}");
    Ok(match rest {
        _ if format!("{host}/") != DOCKER_HUB || rest.contains('/') || rest.starts_with(['*', '?']) => vec![name],
        _ if has_wildcard(rest) => vec![narrow_hub, name],
        _ => vec![narrow_hub],
    })
}

/// What a reference that starts with `first/` starts with in canonical form.
fn canonical_start(first: &str) -> Result<String, &'static str> {
    const REST: &str = "/a/b";
    let reference: Reference =
        format!("{first}{REST}").parse().map_err(|_| "the part before the first `/` is neither a host nor a name")?;
    let canonical = reference.repository().to_string();
    Ok(canonical.strip_suffix(REST).unwrap_or(&canonical).to_owned())
}

fn check_wild_host(first: &str) -> Result<String, &'static str> {
    let host_char = |b: u8| b.is_ascii_alphanumeric() || b"._-*?:[]".contains(&b);
    if first.bytes().all(host_char) {
        Ok(first.to_ascii_lowercase())
    } else {
        Err("the part before the first `/` has a character that no host and no name has")
    }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    let path_char = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-*?".contains(&b);
    if path.split('/').any(str::is_empty) {
        return Err("a part between slashes is empty; everything below a name is `name/*`");
    }
    if !path.bytes().all(|b| b == b'/' || path_char(b)) {
        return Err("a repository has lower-case letters, digits, `.`, `_`, `-` and `/` only");
    }
    Ok(())
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImagePattern({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    /// `(includes, excludes)`. `@A` and `@B` stand for digests.
    fn fits(pattern: &str, image: &str) -> (bool, bool) {
        let full = |text: &str| text.replace("@A", &format!("@{A}")).replace("@B", &format!("@{B}"));
        let pattern = ImagePattern::new(&full(pattern)).unwrap();
        let image: Reference = full(image).parse().unwrap();
        (pattern.includes(&image), pattern.excludes(&image))
    }

    #[test]
    fn no_spelling_escapes() {
        for pattern in [
            "ghcr.io/zionsworking/*",
            "GHCR.IO/zionsworking/*",
            "ghcr.io:443/zionsworking/*",
            "gHcR.io:0443/zionsworking/*",
        ] {
            for image in [
                "ghcr.io/zionsworking/a",
                "ghcr.io/zionsworking/a/b:v1",
                "GHCR.IO/zionsworking/a:v1",
                "ghcr.io:443/zionsworking/a",
                "ghcr.io:00443/zionsworking/a@A",
            ] {
                assert_eq!(fits(pattern, image), (true, true), "{pattern} on {image}");
            }
            for image in [
                "ghcr.io/zionsworking-evil/x",
                "ghcr.io/zionsworking",
                "ghcr.io:5000/zionsworking/a",
                "ghcr.io.evil.example/zionsworking/a",
                "evil.example/ghcr.io/zionsworking/a",
                "zionsworking/a",
            ] {
                assert_eq!(fits(pattern, image), (false, false), "{pattern} on {image}");
            }
        }
        for pattern in
            ["nginx", "library/nginx", "docker.io/nginx", "index.docker.io/library/nginx", "registry-1.docker.io/nginx"]
        {
            for image in ["nginx", "nginx:1.27", "docker.io/nginx@A", "registry.hub.docker.com/library/nginx:x"] {
                assert_eq!(fits(pattern, image), (true, true), "{pattern} on {image}");
            }
            for image in ["nginx2", "org/nginx", "ghcr.io/library/nginx"] {
                assert_eq!(fits(pattern, image), (false, false), "{pattern} on {image}");
            }
        }
        assert_eq!(fits("localhost:05000/a/*", "localhost:5000/a/b"), (true, true));
        assert_eq!(fits("[0:0::1]:5000/*", "[::1]:5000/a"), (true, true));
    }

    #[test]
    fn wildcards_in_short_names_include_widely_and_except_narrowly() {
        for (pattern, image, expected) in [
            ("nginx*", "nginx", (true, true)),
            ("nginx*", "nginx-unprivileged:1", (true, true)),
            ("nginx*", "nginxinc/app", (true, false)),
            ("nginx*", "nginx.example.com/app", (true, false)),
            ("nginx*", "other", (false, false)),
            ("nginx:*", "nginx:1", (true, true)),
            ("nginx:*", "nginx@A", (true, false)),
            ("localhost:5*", "localhost:5000/app", (true, false)),
            ("ghcr.io*", "ghcr.io/x/y", (true, false)),
            ("docker.io/bitnami*", "bitnami/redis", (true, false)),
            ("docker.io/bitnami*", "bitnamix", (true, true)),
            ("docker.io/*", "bitnami/redis", (true, true)),
            ("docker.io/*", "nginx", (true, true)),
            ("docker.io/*", "ghcr.io/a/b", (false, false)),
            ("org/app*", "org/app2", (true, true)),
            ("org/app*", "docker.io/org/app2:x", (true, true)),
            ("org/app*", "ghcr.io/org/app", (false, false)),
            ("org*/app", "docker.io/org1/app", (true, false)),
            ("org*/app", "org.example/app", (true, true)),
            ("*.example.com/*", "a.example.com/b", (true, true)),
            ("*.EXAMPLE.com/*", "a.example.com/b", (true, true)),
            ("*.example.com/*", "example.com/b", (false, false)),
            ("*/app", "ghcr.io/a/b/app:1", (true, true)),
            ("*", "anything.example:5000/a/b@A", (true, true)),
            ("*", "nginx", (true, true)),
            ("*nginx", "ghcr.io/a/nginx:1", (true, true)),
            ("ghcr.io:*/a", "ghcr.io:5000/a", (true, true)),
        ] {
            assert_eq!(fits(pattern, image), expected, "{pattern} on {image}");
        }
    }

    #[test]
    fn tags_and_digests() {
        for (pattern, image, expected) in [
            // No tag in the pattern: any tag.
            ("ghcr.io/a/b", "ghcr.io/a/b:v1", (true, true)),
            ("ghcr.io/a/b", "ghcr.io/a/b:v1@A", (true, true)),
            // A tag: it counts, unless there is a digest.
            ("ghcr.io/a/b:v1", "ghcr.io/a/b:v1", (true, true)),
            ("ghcr.io/a/b:v1", "ghcr.io/a/b:v2", (false, false)),
            ("ghcr.io/a/b:v1", "ghcr.io/a/b:v1@A", (true, false)),
            ("ghcr.io/a/b:v1", "ghcr.io/a/b:v2@A", (true, false)),
            ("ghcr.io/a/b:v1", "ghcr.io/a/b@A", (true, false)),
            ("ghcr.io/a/*:v?", "ghcr.io/a/b/c:v2", (true, true)),
            ("ghcr.io/a/*:v?", "ghcr.io/a/b:v10", (false, false)),
            ("ghcr.io/a/*:V1", "ghcr.io/a/b:V1", (true, true)),
            ("ghcr.io/a/*:V1", "ghcr.io/a/b:v1", (false, false)),
            ("ghcr.io/a/b:latest", "ghcr.io/a/b", (true, true)),
            ("*:latest", "nginx", (true, true)),
            ("*:latest", "nginx:1", (false, false)),
            ("*:latest", "nginx:1@A", (true, false)),
            // A wildcard may reach into the tag, to include but not to except.
            ("ghcr.io/a/*v1", "ghcr.io/a/b:v1", (true, false)),
            ("ghcr.io/a/*v1", "ghcr.io/a/b:v2", (false, false)),
            ("ghcr.io/a/*-prod", "ghcr.io/a/app-dev:v1@A", (false, false)),
            // A digest in the pattern.
            ("ghcr.io/a/b@A", "ghcr.io/a/b@A", (true, true)),
            ("ghcr.io/a/b@A", "ghcr.io/a/b@B", (false, false)),
            ("ghcr.io/a/b@A", "ghcr.io/a/c@A", (false, false)),
            ("ghcr.io/a/b@A", "ghcr.io/a/b:v1", (true, false)),
            ("ghcr.io/a/b:v1@A", "ghcr.io/a/b:v2@A", (true, true)),
            ("*@A", "nginx@A", (true, true)),
        ] {
            assert_eq!(fits(pattern, image), expected, "{pattern} on {image}");
        }
    }

    #[test]
    fn what_can_match_nothing_is_refused() {
        assert_eq!(ImagePattern::new(""), Err(ImagePatternError::Empty));
        for text in [
            "https://ghcr.io/a",
            "ghcr.io/",
            "ghcr.io/a/",
            "/a",
            "a//b",
            "ghcr.io/A/*",
            "NGINX*",
            "*Foo",
            "a b",
            " nginx",
            "nginx\n",
            "nginx:",
            "nginx:a/b/",
            "nginx:a$",
            "ghcr.io:port/a",
            "ghcr.io/a:b:c",
            "ghcr.io/ä*",
            "ä*/b",
            "sha256:abc/x",
        ] {
            let found = ImagePattern::new(text);
            assert!(matches!(found, Err(ImagePatternError::Never { .. })), "{text:?}: {found:?}");
        }
        for text in ["*@sha256:*", "nginx@", "nginx@sha256:00"] {
            assert!(matches!(ImagePattern::new(text), Err(ImagePatternError::Digest { .. })), "{text:?}");
        }
    }

    #[test]
    fn every_covered_repository_starts_with_a_literal_prefix() {
        for (text, expected) in [
            ("ghcr.io/zionsworking/*", &["ghcr.io/zionsworking/"][..]),
            ("GHCR.io/a?/b:v1", &["ghcr.io/a"]),
            ("nginx:v*", &["docker.io/library/nginx", "nginx:v"]),
            ("ngin*", &["docker.io/library/ngin", "docker.io/ngin", "ngin"]),
            ("*", &[""]),
            ("g*/a", &["g", "docker.io/g"]),
        ] {
            assert_eq!(ImagePattern::new(text).unwrap().literal_prefixes().collect::<Vec<_>>(), expected, "{text}");
        }
    }
}
