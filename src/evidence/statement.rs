//! In-toto statements (in-toto attestation framework, v0.1 and v1).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::MAX_SUBJECTS;
use crate::{image::Digest, verify::Rejection};

/// The predicate type with which cosign 3 marks a statement as a signature.
pub const COSIGN_SIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
/// The payload type of a DSSE envelope that holds a statement.
pub(super) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// Longest predicate type. It is a URI, and it is repeated in messages.
const MAX_PREDICATE_TYPE_BYTES: usize = 1_024;
const STATEMENT_TYPES: [&str; 2] = ["https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1"];

/// What matters of a statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What the predicate is.
    pub predicate_type: String,
    subjects: Vec<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<WireSubject>,
    predicate_type: String,
    // Named so that it may not come twice; read when a condition asks for it.
    #[serde(borrow, default, rename = "predicate")]
    _predicate: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireSubject {
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

impl Statement {
    /// Reads a statement.
    ///
    /// # Errors
    /// [`Rejection::Malformed`] when it is not one, has no subject or too many.
    pub fn parse(payload: &[u8]) -> Result<Self, Rejection> {
        let wire: Wire<'_> = serde_json::from_slice(payload)
            .map_err(|error| Rejection::Malformed(format!("in-toto statement: {error}")))?;
        if !STATEMENT_TYPES.contains(&wire.statement_type.as_str()) {
            return Err(Rejection::Malformed(format!(
                "in-toto statement has _type {:?}, expected {STATEMENT_TYPES:?}",
                wire.statement_type
            )));
        }
        if wire.subject.is_empty() || wire.subject.len() > MAX_SUBJECTS {
            return Err(Rejection::Malformed(format!(
                "in-toto statement has {} subjects, expected 1 to {MAX_SUBJECTS}",
                wire.subject.len()
            )));
        }
        if wire.predicate_type.len() > MAX_PREDICATE_TYPE_BYTES {
            return Err(Rejection::TooLarge(format!(
                "a predicateType of {} bytes, expected at most {MAX_PREDICATE_TYPE_BYTES}",
                wire.predicate_type.len()
            )));
        }
        let subjects = wire.subject.into_iter().map(|subject| subject.digest).collect();
        Ok(Self { predicate_type: wire.predicate_type, subjects })
    }

    /// Whether a subject has exactly this digest.
    pub(super) fn names(&self, digest: &Digest) -> Result<(), String> {
        let algorithm = digest.algorithm().as_str();
        let mut found = self.subjects.iter().filter_map(|subject| subject.get(algorithm));
        if found.any(|hex| hex == digest.hex()) {
            return Ok(());
        }
        let first = self.subjects.iter().flat_map(|subject| subject.iter()).next();
        Err(first.map_or_else(|| "no digest".to_owned(), |(algorithm, hex)| format!("{algorithm}:{hex}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(kind: &str, hex: &str) -> String {
        format!(
            r#"{{"_type":"{kind}","subject":[{{"name":"x","digest":{{"sha256":"{hex}"}}}}],"predicateType":"p","predicate":{{}}}}"#
        )
    }

    #[test]
    fn names_only_its_subjects() {
        let digest = Digest::of(b"image");
        let read = Statement::parse(statement(STATEMENT_TYPES[0], digest.hex()).as_bytes()).expect("valid");
        assert_eq!(read.names(&digest), Ok(()));
        assert_eq!(read.names(&Digest::of(b"other")), Err(digest.to_string()));
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        let twice = r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{}}],"predicateType":"a","predicateType":"b"}"#;
        let none = r#"{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"a"}"#;
        let other = statement("https://in-toto.io/Statement/v2", "00");
        for text in [twice, none, &other, "[]", ""] {
            assert!(matches!(Statement::parse(text.as_bytes()), Err(Rejection::Malformed(_))), "{text}");
        }
    }
}
