//! Wildcards as Kyverno writes them.

use std::fmt;

/// A text with wildcards: `*` stands for any characters, `/` included, and `?` for exactly one.
///
/// There is no escape: a pattern that needs a literal `*` or `?` has to be a regular expression.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Glob(Box<str>);

impl Glob {
    /// The glob that `text` spells. Every text is one.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// What the author wrote.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of `text` fits. Costs at most `text.len() * self.len()` steps.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        matches(self.0.as_bytes(), text.as_bytes())
    }
}

/// Whether `text` has a wildcard.
pub(super) fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Both are UTF-8, so that only `?` has to know where a character ends. On a mismatch the last `*` takes
/// one byte more: an earlier one never needs to, as whatever lies between the two has already fitted.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    loop {
        let fits = match pattern.get(p) {
            Some(b'*') => {
                last_star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(b'?') => text.get(t).copied().and_then(char_len),
            Some(literal) => (text.get(t) == Some(literal)).then_some(1),
            None if t == text.len() => return true,
            None => None,
        };
        if let Some(len) = fits {
            p += 1;
            t += len;
            continue;
        }
        match last_star {
            Some((after, from)) if from < text.len() => {
                last_star = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

/// Bytes of the character that starts with `first`; none when `first` lies within a character.
const fn char_len(first: u8) -> Option<usize> {
    match first {
        0x00..=0x7f => Some(1),
        0x80..=0xbf => None,
        0xc0..=0xdf => Some(2),
        0xe0..=0xef => Some(3),
        0xf0..=0xff => Some(4),
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn a_table_of_fits() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "a/b/c", true),
            ("a*", "a", true),
            ("a*", "b", false),
            ("*a", "ba", true),
            ("*a", "ab", false),
            ("a*c", "abbc/bc", true),
            ("a*c", "abcd", false),
            ("a**c", "ac", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("?", "", false),
            ("?", "a", true),
            ("?", "ab", false),
            ("?", "é", true),
            ("??", "é", false),
            ("*?", "é", true),
            ("*??", "é", false),
            ("a?c", "a/c", true),
            ("*?c", "c", false),
            ("é*", "é!", true),
            ("https://github.com/zionsworking/*", "https://github.com/zionsworking/a/b@refs/heads/main", true),
            ("https://github.com/zionsworking/*", "https://github.com/zionsworking-evil/x", false),
            ("https://github.com/zionsworking/*", "https://github.com/zionsworking", false),
            ("https://github.com/zionsworking/*", "x https://github.com/zionsworking/a", false),
            ("https://github.com/zionsworking/*", "https://github.com/ZIONSWORKING/a", false),
            ("a.c", "abc", false),
            ("[a]", "a", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), fits, "{pattern:?} on {text:?}");
        }
    }

    /// Says in the plainest way what a glob means.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|from| naive(rest, &text[from..])),
            Some(('?', rest)) => !text.is_empty() && naive(rest, &text[1..]),
            Some((literal, rest)) => text.first() == Some(literal) && naive(rest, &text[1..]),
        }
    }

    #[test]
    fn agrees_with_a_naive_matcher() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % 1_000_003).expect("small") % below
        };
        let mut fitting = 0;
        for _ in 0..40_000 {
            let pattern: Vec<char> = (0..next(8)).map(|_| ['a', 'b', 'é', '/', '*', '?'][next(6)]).collect();
            let text: Vec<char> = (0..next(9)).map(|_| ['a', 'b', 'é', '/'][next(4)]).collect();
            let (pattern_text, text_text): (String, String) = (pattern.iter().collect(), text.iter().collect());
            let expected = naive(&pattern, &text);
            fitting += usize::from(expected);
            assert_eq!(Glob::new(&pattern_text).matches(&text_text), expected, "{pattern_text:?} on {text_text:?}");
        }
        assert!(fitting > 1_000, "only {fitting} of the cases fit: the loop proves little");
    }

    #[test]
    fn hostile_patterns_stay_cheap() {
        let pattern = Glob::new(&"a*".repeat(500));
        let text = "a".repeat(499) + &"b".repeat(4_000);
        assert!(!pattern.matches(&text));
        assert!(Glob::new(&"*a".repeat(250)).matches(&"a".repeat(2_000)));
    }
}
