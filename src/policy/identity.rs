//! Who may have signed: patterns over the issuer and the subject of a certificate.

use std::fmt;

use regex::{Regex, RegexBuilder};

use super::glob::{Glob, has_wildcard};

/// Longest pattern that is read, in bytes.
const MAX_PATTERN_BYTES: usize = 1024;
/// Bytes that a compiled regular expression may take, and its matcher's cache beside it.
const MAX_REGEX_BYTES: usize = 64 * 1024;

/// Texts with nothing in common but that a pattern which accepts them all accepts anybody.
const STRANGERS: [&str; 4] = [
    "https://stranger.invalid/org/repo/.github/workflows/x.yml@refs/heads/main",
    "someone@elsewhere.invalid",
    "spiffe://trust.invalid/ns/a/sa/b",
    "7",
];

/// Whom a keyless authority trusts. Neither half is optional.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The OIDC issuer that vouched for the signer.
    pub issuer: Pattern,
    /// The certificate's subject alternative name.
    pub subject: Pattern,
}

/// What a text has to look like. Case matters, and the whole text has to fit, except for a regular
/// expression that was made with [`Pattern::search`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// This text and no other.
    Exact(String),
    /// A text with wildcards.
    Glob(Glob),
    /// A regular expression.
    Regex(CompiledRegex),
}

/// A regular expression that runs in linear time and within a bound of memory.
#[derive(Clone)]
pub struct CompiledRegex {
    text: String,
    anchored: bool,
    regex: Regex,
}

/// Why a text is not a usable pattern.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum PatternError {
    /// Nothing was written.
    #[error("it is empty; say who is trusted")]
    Empty,
    /// Longer than any identity.
    #[error("it has {found} bytes, and at most {max} are read")]
    TooLong {
        /// Bytes given.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// It has a line break or another control character, which no identity has.
    #[error("{text:?} has a control character")]
    Control {
        /// What was given.
        text: String,
    },
    /// It has a wildcard where none has a meaning.
    #[error(
        "{text:?} has a wildcard, but is taken character by character; a regular expression has a field of its own"
    )]
    Wildcard {
        /// What was given.
        text: String,
    },
    /// It would accept any identity.
    #[error("{text:?} matches anything, so anybody would be trusted")]
    MatchesAnything {
        /// What was given.
        text: String,
    },
    /// It is not a regular expression, or compiles to more than is allowed.
    #[error("{text:?} is not a usable regular expression: {problem}")]
    Regex {
        /// What was given.
        text: String,
        /// What the compiler says, in one line.
        problem: String,
    },
}

impl Pattern {
    /// `text` and no other.
    ///
    /// # Errors
    /// [`PatternError`] where it is empty, too long or has control characters.
    pub fn exact(text: &str) -> Result<Self, PatternError> {
        check_text(text)?;
        Ok(Self::Exact(text.to_owned()))
    }

    /// `text` with `*` and `?` as wildcards; without any it is an exact pattern.
    ///
    /// # Errors
    /// As [`Pattern::exact`], and [`PatternError::MatchesAnything`] where it is nothing but wildcards.
    pub fn glob(text: &str) -> Result<Self, PatternError> {
        if !has_wildcard(text) {
            return Self::exact(text);
        }
        check_text(text)?;
        if text.chars().all(|c| matches!(c, '*' | '?')) {
            return Err(PatternError::MatchesAnything { text: text.to_owned() });
        }
        Ok(Self::Glob(Glob::new(text)))
    }

    /// The regular expression `text`, which the whole of an identity has to fit: `^(?:text)$`.
    ///
    /// # Errors
    /// As [`Pattern::exact`], [`PatternError::Regex`] where it does not compile within the bounds, and
    /// [`PatternError::MatchesAnything`] where it accepts any identity.
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        let regex = CompiledRegex::new(text, true)?;
        if STRANGERS.iter().all(|stranger| regex.is_match(stranger)) {
            return Err(PatternError::MatchesAnything { text: text.to_owned() });
        }
        Ok(Self::Regex(regex))
    }

    /// The regular expression `text` as cosign's flags take it: it may fit anywhere in an identity, and
    /// `.*` is allowed, as scripts depend on both. Never for a policy.
    ///
    /// # Errors
    /// As [`Pattern::exact`], and [`PatternError::Regex`] where it does not compile within the bounds.
    pub fn search(text: &str) -> Result<Self, PatternError> {
        CompiledRegex::new(text, false).map(Self::Regex)
    }

    /// Whether `text` fits.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Glob(glob) => glob.matches(text),
            Self::Regex(regex) => regex.is_match(text),
        }
    }

    /// What the author wrote.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(text) => text,
            Self::Glob(glob) => glob.as_str(),
            Self::Regex(regex) => &regex.text,
        }
    }
}

impl CompiledRegex {
    fn new(text: &str, anchored: bool) -> Result<Self, PatternError> {
        check_text(text)?;
        // The bare text first: `a)|(?:b` is no expression, but would slip out of the anchors.
        let bare = compile(text, text)?;
        let regex = if anchored { compile(text, &format!("^(?:{text})$"))? } else { bare };
        Ok(Self { text: text.to_owned(), anchored, regex })
    }

    /// What the author wrote, without anchors of ours.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole of an identity has to fit.
    #[must_use]
    pub const fn is_anchored(&self) -> bool {
        self.anchored
    }

    /// Whether `text` fits.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

fn check_text(text: &str) -> Result<(), PatternError> {
    if text.trim().is_empty() {
        return Err(PatternError::Empty);
    }
    if text.len() > MAX_PATTERN_BYTES {
        return Err(PatternError::TooLong { found: text.len(), max: MAX_PATTERN_BYTES });
    }
    if text.chars().any(char::is_control) {
        return Err(PatternError::Control { text: text.to_owned() });
    }
    Ok(())
}

fn compile(written: &str, expression: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(expression).size_limit(MAX_REGEX_BYTES).dfa_size_limit(MAX_REGEX_BYTES).build().map_err(|error| {
        let problem = match error {
            regex::Error::CompiledTooBig(limit) => format!("it compiles to more than {limit} bytes"),
            // The compiler draws a picture over several lines; its last one has the words.
            other => other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        };
        PatternError::Regex { text: written.to_owned(), problem }
    })
}

impl PartialEq for CompiledRegex {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.anchored == other.anchored
    }
}

impl Eq for CompiledRegex {}

impl fmt::Debug for CompiledRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.anchored { "Regex" } else { "Search" };
        write!(f, "{kind}({:?})", self.text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subject {} from issuer {}", self.subject, self.issuer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: &str = "https://github.com/zionsworking/app/.github/workflows/release.yml@refs/tags/v1";

    #[test]
    fn near_misses_do_not_fit() {
        let glob = Pattern::glob("https://github.com/zionsworking/*").unwrap();
        let regex = Pattern::regex("https://github\\.com/zionsworking/.*").unwrap();
        let exact = Pattern::exact(SUBJECT).unwrap();
        for pattern in [&glob, &regex, &exact] {
            assert!(pattern.matches(SUBJECT), "{pattern}");
            for near in [
                "https://github.com/zionsworking-evil/x",
                "https://github.com/zionsworking",
                "https://github.com.evil/zionsworking/app",
                "https://GitHub.com/zionsworking/app",
                "https://evil.example/?https://github.com/zionsworking/app",
                "https://github.com/zionsworking-evil/x\nhttps://github.com/zionsworking/app",
                "",
            ] {
                assert!(!pattern.matches(near), "{pattern} on {near}");
            }
        }
        let issuer = Pattern::glob("https://token.actions.githubusercontent.com").unwrap();
        assert!(matches!(issuer, Pattern::Exact(_)));
        for near in [
            "https://token.actions.githubusercontent.com/",
            "https://token.actions.githubusercontent.com.evil.example",
            "https://token.actions.githubusercontent.co",
        ] {
            assert!(!issuer.matches(near), "{near}");
        }
    }

    #[test]
    fn a_policy_expression_is_anchored_and_a_flag_is_not() {
        let policy = Pattern::regex("a|b").unwrap();
        assert!(policy.matches("a") && policy.matches("b"));
        assert!(!policy.matches("ax") && !policy.matches("xb") && !policy.matches("a\n"));
        let flag = Pattern::search("^https://github.com/zionsworking/").unwrap();
        assert!(flag.matches(SUBJECT) && !flag.matches("https://github.com/zionsworking-evil/x"));
        assert!(Pattern::search("hub").unwrap().matches(SUBJECT));
        assert!(Pattern::search(".*").is_ok());
        assert_ne!(Pattern::search("a|b").unwrap(), policy);
        assert!(!Pattern::regex("(?m)a").unwrap().matches("a\nb"));
    }

    #[test]
    fn what_trusts_anybody_is_refused() {
        for text in ["*", "**", "?*", "*?*", "????"] {
            let expected = PatternError::MatchesAnything { text: text.to_owned() };
            assert_eq!(Pattern::glob(text).unwrap_err(), expected);
        }
        for text in [".*", ".+", "^.*$", "(.*)", ".*?", "(?s).*", "[\\s\\S]*", "a|.*", "()|.*", "(?:.*.*)+", "\\PC*"] {
            let expected = PatternError::MatchesAnything { text: text.to_owned() };
            assert_eq!(Pattern::regex(text).unwrap_err(), expected);
        }
        for text in ["", " "] {
            assert_eq!(Pattern::exact(text).unwrap_err(), PatternError::Empty);
            assert_eq!(Pattern::glob(text).unwrap_err(), PatternError::Empty);
            assert_eq!(Pattern::regex(text).unwrap_err(), PatternError::Empty);
            assert_eq!(Pattern::search(text).unwrap_err(), PatternError::Empty);
        }
    }

    #[test]
    fn expressions_that_break_out_or_explode_are_refused() {
        for text in ["a)|(?:b", "a)$|^(?:b", "(", "[", "a{2000}{2000}", "(?x)a #", "\\p{L}{500}"] {
            assert!(matches!(Pattern::regex(text), Err(PatternError::Regex { .. })), "{text}");
        }
        let big = Pattern::regex("(?:[a-z]{100}){100}").unwrap_err();
        let PatternError::Regex { problem, .. } = big else { panic!("{big}") };
        assert_eq!(problem, "it compiles to more than 65536 bytes");
        let unclosed = Pattern::regex("a(").unwrap_err();
        assert_eq!(unclosed.to_string(), "\"a(\" is not a usable regular expression: unclosed group");
        let long = "a".repeat(1025);
        assert_eq!(Pattern::exact(&long).unwrap_err(), PatternError::TooLong { found: 1025, max: 1024 });
        assert!(matches!(Pattern::glob("a*\n"), Err(PatternError::Control { .. })));
        // What people write has to compile within the bounds.
        for text in ["https://github\\.com/\\w+/.+", "[^@]+@example\\.com", "^https://github.com/[a-z0-9-]+/app/.*$"] {
            assert!(Pattern::regex(text).is_ok(), "{text}");
        }
    }
}
