//! YAML and JSON text as a tree that knows its lines.
//!
//! A policy is decoded from the tree's plain value, so that there is one decoder whatever it came from; the
//! tree is kept to tell on which line a field is that turns out to be wrong.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, MessageFormatter, Options, Spanned, UserMessageFormatter};

use super::field::{FieldPath, Step};

/// Most bytes of one file that are read. An object in a cluster has 1.5 MiB at most.
pub(super) const MAX_BYTES: usize = 8 * 1024 * 1024;

/// A document, or a part of one.
#[derive(Debug)]
pub(super) struct Node {
    /// The line where it starts, from 1.
    pub(super) line: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug)]
struct Key {
    line: u64,
    text: String,
}

/// The text is not YAML, or more than is read.
#[derive(Debug)]
pub(super) struct SyntaxError {
    /// The line, from 1, or 0 where it is not known.
    pub(super) line: u64,
    pub(super) problem: String,
}

/// The documents in `text`, without the empty ones.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, SyntaxError> {
    if text.len() > MAX_BYTES {
        return Err(SyntaxError { line: 0, problem: format!("it has more than {MAX_BYTES} bytes") });
    }
    let documents = serde_saphyr::from_multiple_with_options::<Node>(text, options()).map_err(|error| SyntaxError {
        line: error.location().map_or(0, |location| location.line()),
        problem: UserMessageFormatter.format_message(&error).into_owned(),
    })?;
    documents.iter().try_for_each(Node::check_keys)?;
    Ok(documents)
}

/// Limits that no policy comes near; `yes` and `on` are text, a key that is there twice is an error.
fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 64,
            max_documents: 10_000,
            max_nodes: 1_000_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_merge_keys: 1_000,
            max_total_scalar_bytes: MAX_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 10_000, max_replay_stack_depth: 8 },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        emit_comments: false,
        with_snippet: false,
    }
}

impl Node {
    /// The same without lines.
    pub(super) fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Content::Map(entries) => {
                Value::Object(entries.iter().map(|(key, value)| (key.text.clone(), value.to_value())).collect())
            }
        }
    }

    /// The value under `key`, where this is a map that has it.
    pub(super) fn entry(&self, key: &str) -> Option<&Self> {
        self.find(key).map(|(_, value)| value)
    }

    /// The text, where this is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The items, where this is a list.
    pub(super) fn items(&self) -> Option<&[Self]> {
        match &self.content {
            Content::List(items) => Some(items),
            _ => None,
        }
    }

    /// The line of the field at `path`: of its key where it has one. Where the field is not there, the
    /// line of the nearest thing around it.
    pub(super) fn line_of(&self, path: &FieldPath) -> u64 {
        let (mut node, mut line) = (self, self.line);
        for step in path.steps() {
            let found = match (step, &node.content) {
                (Step::Key(key), Content::Map(_)) => node.find(key).map(|(key, value)| (key.line, value)),
                (Step::Index(index), Content::List(items)) => items.get(*index).map(|item| (item.line, item)),
                _ => None,
            };
            let Some((at, next)) = found else { break };
            (node, line) = (next, at);
        }
        line
    }

    /// `1` and `"1"` are two keys to YAML, and one to us.
    fn check_keys(&self) -> Result<(), SyntaxError> {
        match &self.content {
            Content::Scalar(_) => Ok(()),
            Content::List(items) => items.iter().try_for_each(Self::check_keys),
            Content::Map(entries) => {
                let mut seen = HashSet::new();
                entries.iter().try_for_each(|(key, value)| {
                    if seen.insert(&key.text) {
                        value.check_keys()
                    } else {
                        Err(SyntaxError { line: key.line, problem: format!("key {:?} is there twice", key.text) })
                    }
                })
            }
        }
    }

    fn find(&self, key: &str) -> Option<(&Key, &Self)> {
        let Content::Map(entries) = &self.content else { return None };
        entries.iter().find(|(name, _)| name.text == key).map(|(name, value)| (name, value))
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { line: referenced.line(), content: value })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<String>::deserialize(deserializer)?;
        Ok(Self { line: referenced.line(), text: value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Content, E> {
        serde_json::Number::from_f64(value)
            .map(|number| Content::Scalar(number.into()))
            .ok_or_else(|| E::custom("a number has to be finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<Key, Node>()? {
            entries.push((key, value));
        }
        Ok(Content::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Node {
        let mut found = documents(text).unwrap();
        assert_eq!(found.len(), 1, "{text:?}");
        found.remove(0)
    }

    #[test]
    fn knows_the_line_of_every_field() {
        let node = one("# a comment\na: 1\nb:\n  - c: x\n    d:\n      e: 2\n  -\n    f: &f {g: 3}\nh:\n  *f\n");
        let b = FieldPath::root().key("b");
        for (path, line) in [
            (FieldPath::root(), 2),
            (FieldPath::root().key("a"), 2),
            (b.clone(), 3),
            (b.index(0), 4),
            (b.index(0).key("d"), 5),
            (b.index(0).key("d").key("e"), 6),
            (b.index(0).key("d").key("missing").key("x"), 5),
            (b.index(0).key("missing"), 4),
            (b.index(1).key("f").key("g"), 8),
            (b.index(2), 3),
            (FieldPath::root().key("h"), 9),
            (FieldPath::root().key("h").key("g"), 10),
        ] {
            assert_eq!(node.line_of(&path), line, "{path}");
        }
        let expected = serde_json::json!({"a": 1, "b": [{"c": "x", "d": {"e": 2}}, {"f": {"g": 3}}], "h": {"g": 3}});
        assert_eq!(node.to_value(), expected);
    }

    #[test]
    fn reads_json_and_skips_what_is_empty() {
        let json = "{\n\t\"a\": {\n\t\t\"b\": \"x\\/\\u00e9\"\n\t}\n}";
        let path = FieldPath::root().key("a").key("b");
        assert_eq!((one(json).line_of(&path), one(json).to_value()["a"]["b"].clone()), (3, "x/é".into()));
        assert_eq!(one("---\n---\n# nothing\n---\na: 1\n---\n").line_of(&FieldPath::root().key("a")), 5);
        assert!(documents("").unwrap().is_empty() && documents("---\n# x\n...\n").unwrap().is_empty());
        assert_eq!(one("a: yes\nb: true").to_value(), serde_json::json!({"a": "yes", "b": true}));
    }

    #[test]
    fn says_on_which_line_the_text_is_wrong() {
        for (text, line, problem) in [
            ("a: 1\nb: 2\na: 3\n", 3, "duplicate mapping key `a` is not allowed here"),
            ("a: [1\nb: 2", 2, "illegal placement of ':' indicator"),
            ("b: 1\na: !foo x", 2, "unsupported tag `!foo`"),
            ("a: .inf", 1, "value `.inf` is not a finite number"),
            ("a: *x", 1, "reference to unknown value"),
            ("1: x\n\"1\": y", 2, "key \"1\" is there twice"),
        ] {
            let error = documents(text).unwrap_err();
            assert_eq!((error.line, error.problem.as_str()), (line, problem), "{text:?}");
        }
        assert!(documents(&" ".repeat(MAX_BYTES + 1)).unwrap_err().problem.starts_with("it has more than"));
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
                    c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
                    e: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
        assert!(documents(bomb).is_err());
        assert!(documents(&"[".repeat(1_000)).is_err());
    }
}
