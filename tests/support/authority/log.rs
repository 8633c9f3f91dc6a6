//! Rekor: a Merkle tree (RFC 6962) with signed entry timestamps and checkpoints.

use std::sync::Mutex;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::key::{EcKey, EdKey, base64, sha256};

/// Name of the Rekor v1 log: host of its URL, origin of its checkpoints.
pub const REKOR_V1: &str = "rekor.sigstore.dev";
/// Name of the Rekor v2 log.
pub const REKOR_V2: &str = "log2026-1.rekor.sigstore.dev";
/// Entries in earlier shards of the v1 log: its entries have two indexes, one per log, one per tree.
const EARLIER_SHARDS: u64 = 121_904_262;

/// The key a log signs with.
pub enum LogKey {
    /// Rekor v1.
    Ec(EcKey),
    /// Rekor v2.
    Ed(EdKey),
}

/// A transparency log.
pub struct Log {
    name: &'static str,
    key: LogKey,
    tree: Mutex<Tree>,
}

/// An entry as the log hands it back.
#[derive(Clone)]
pub struct Entry {
    /// Kind and API version, such as `hashedrekord` and `0.0.1`.
    pub kind: (&'static str, &'static str),
    /// Canonical body.
    pub body: Vec<u8>,
    /// ID of the log.
    pub log_id: [u8; 32],
    /// Index in the log, over all its shards.
    pub log_index: u64,
    /// Time of integration; Rekor v2 has none.
    pub integrated: Option<Timestamp>,
    /// Signed entry timestamp; Rekor v2 has none.
    pub set: Option<Vec<u8>>,
    /// Index in the tree.
    pub tree_index: u64,
    /// Leaves in the tree.
    pub tree_size: u64,
    /// Root of the tree.
    pub root: [u8; 32],
    /// Audit path.
    pub path: Vec<[u8; 32]>,
    /// Signed note over the root.
    pub checkpoint: String,
}

impl Log {
    /// A Rekor v1 log that has been in use for a while.
    pub fn v1() -> Self {
        Self::new(REKOR_V1, LogKey::Ec(EcKey::generate()))
    }

    /// A Rekor v2 log that has been in use for a while.
    pub fn v2() -> Self {
        Self::new(REKOR_V2, LogKey::Ed(EdKey::generate()))
    }

    fn new(name: &'static str, key: LogKey) -> Self {
        let mut tree = Tree::default();
        for n in 0..11_u8 {
            tree.push(leaf_hash(&[n]));
        }
        Self { name, key, tree: Mutex::new(tree) }
    }

    /// ID: SHA-256 of the key (v1), key hash of the signed note (v2).
    pub fn id(&self) -> [u8; 32] {
        match &self.key {
            LogKey::Ec(key) => key.id(),
            LogKey::Ed(key) => key.log_id(self.name),
        }
    }

    /// The key in PEM, if it is an ECDSA one.
    pub fn public_pem(&self) -> Option<String> {
        match &self.key {
            LogKey::Ec(key) => Some(key.public_pem()),
            LogKey::Ed(_) => None,
        }
    }

    /// `TransparencyLogInstance` of a trusted root.
    pub fn trusted_root_json(&self) -> Value {
        let (spki, details) = match &self.key {
            LogKey::Ec(key) => (key.spki(), "PKIX_ECDSA_P256_SHA_256"),
            LogKey::Ed(key) => (key.spki(), "PKIX_ED25519"),
        };
        instance(&format!("https://{}", self.name), &spki, details, self.id())
    }

    /// Appends `body`. A v1 log says that it did so at `time`, a v2 log keeps no time.
    pub fn append(&self, kind: (&'static str, &'static str), body: Vec<u8>, time: Timestamp) -> Entry {
        let mut tree = self.tree.lock().expect("no panic while locked");
        tree.push(leaf_hash(&body));
        let size = tree.size();
        let index = size - 1;
        let mut entry = Entry {
            kind,
            body,
            log_id: self.id(),
            log_index: index,
            integrated: None,
            set: None,
            tree_index: index,
            tree_size: size,
            root: tree.hash(0, size),
            path: tree.path(index, 0, size),
            checkpoint: String::new(),
        };
        drop(tree);
        if let LogKey::Ec(key) = &self.key {
            entry.log_index += EARLIER_SHARDS;
            entry.integrated = Some(time);
            entry.set = Some(key.sign(entry.signed_payload().as_bytes()));
        }
        entry.checkpoint = self.checkpoint(&entry);
        entry
    }

    /// Checkpoint of the tree that `entry` was proven in.
    pub fn checkpoint(&self, entry: &Entry) -> String {
        let origin = match &self.key {
            LogKey::Ec(_) => format!("{} - 1193050959916656506", self.name),
            LogKey::Ed(_) => self.name.to_owned(),
        };
        let text = format!("{origin}\n{}\n{}\n", entry.tree_size, base64(&entry.root));
        let signature = match &self.key {
            LogKey::Ec(key) => key.sign(text.as_bytes()),
            LogKey::Ed(key) => key.sign(text.as_bytes()),
        };
        let signature = [&self.id()[..4], &signature].concat();
        format!("{text}\n\u{2014} {} {}\n", self.name, base64(&signature))
    }

    /// Another log that goes by the same name and ID but has another key.
    pub fn impostor(&self) -> Impostor {
        Impostor { key: EcKey::generate(), id: self.id(), name: self.name }
    }
}

/// Signs in the name of a log whose key it does not have.
pub struct Impostor {
    key: EcKey,
    id: [u8; 32],
    name: &'static str,
}

impl Impostor {
    /// Signs the entry's SET anew.
    pub fn sign_entry(&self, entry: &mut Entry) {
        entry.set = Some(self.key.sign(entry.signed_payload().as_bytes()));
    }

    /// Signs the entry's checkpoint anew.
    pub fn sign_checkpoint(&self, entry: &mut Entry) {
        let text = entry.checkpoint.split("\n\n").next().expect("a body").to_owned() + "\n";
        let signature = [&self.id[..4], &self.key.sign(text.as_bytes())].concat();
        entry.checkpoint = format!("{text}\n\u{2014} {} {}\n", self.name, base64(&signature));
    }
}

impl Entry {
    /// What a SET signs: canonical JSON (RFC 8785).
    pub fn signed_payload(&self) -> String {
        let body = base64(&self.body);
        let time = self.integrated.map_or(0, Timestamp::as_second);
        let (id, index) = (hex::encode(self.log_id), self.log_index);
        format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"{id}","logIndex":{index}}}"#)
    }

    /// cosign's `dev.sigstore.cosign/bundle` annotation.
    pub fn annotation(&self) -> String {
        let set = self.set.as_deref().map_or_else(String::new, base64);
        json!({
            "SignedEntryTimestamp": set,
            "Payload": {
                "body": base64(&self.body),
                "integratedTime": self.integrated.map_or(0, Timestamp::as_second),
                "logIndex": self.log_index,
                "logID": hex::encode(self.log_id),
            }
        })
        .to_string()
    }

    /// `TransparencyLogEntry` of a bundle.
    pub fn bundle_json(&self) -> Value {
        let path: Vec<_> = self.path.iter().map(|hash| base64(hash)).collect();
        let mut entry = json!({
            "logIndex": self.log_index.to_string(),
            "logId": { "keyId": base64(&self.log_id) },
            "kindVersion": { "kind": self.kind.0, "version": self.kind.1 },
            "inclusionProof": {
                "logIndex": self.tree_index.to_string(),
                "rootHash": base64(&self.root),
                "treeSize": self.tree_size.to_string(),
                "hashes": path,
                "checkpoint": { "envelope": self.checkpoint },
            },
            "canonicalizedBody": base64(&self.body),
        });
        if let Some(time) = self.integrated {
            entry["integratedTime"] = json!(time.as_second().to_string());
        }
        if let Some(set) = &self.set {
            entry["inclusionPromise"] = json!({ "signedEntryTimestamp": base64(set) });
        }
        entry
    }
}

/// `TransparencyLogInstance` of a trusted root, valid since 2024.
pub fn instance(url: &str, spki: &[u8], details: &str, id: [u8; 32]) -> Value {
    json!({
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": base64(spki),
            "keyDetails": details,
            "validFor": { "start": "2024-01-01T00:00:00Z" },
        },
        "logId": { "keyId": base64(&id) },
    })
}

/// Hashes of all complete subtrees; level 0 are the leaves.
#[derive(Default)]
struct Tree {
    levels: Vec<Vec<[u8; 32]>>,
}

impl Tree {
    fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    fn push(&mut self, leaf: [u8; 32]) {
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let nodes = &mut self.levels[level];
            nodes.push(hash);
            if nodes.len() % 2 == 1 {
                return;
            }
            hash = node_hash(&nodes[nodes.len() - 2], &nodes[nodes.len() - 1]);
        }
    }

    /// Hash of the subtree of `size` leaves from `start` (RFC 6962, 2.1).
    fn hash(&self, start: u64, size: u64) -> [u8; 32] {
        if size.is_power_of_two() {
            let level = size.trailing_zeros() as usize;
            return self.levels[level][usize::try_from(start / size).expect("a small tree")];
        }
        let left = split(size);
        node_hash(&self.hash(start, left), &self.hash(start + left, size - left))
    }

    /// Audit path of the leaf `index` within that subtree (RFC 6962, 2.1.1).
    fn path(&self, index: u64, start: u64, size: u64) -> Vec<[u8; 32]> {
        if size == 1 {
            return Vec::new();
        }
        let left = split(size);
        let (mut path, sibling) = if index < left {
            (self.path(index, start, left), self.hash(start + left, size - left))
        } else {
            let path = self.path(index - left, start + left, size - left);
            (path, self.hash(start, left))
        };
        path.push(sibling);
        path
    }
}

/// Largest power of two below `size`.
fn split(size: u64) -> u64 {
    size.next_power_of_two() / 2
}

fn leaf_hash(body: &[u8]) -> [u8; 32] {
    sha256(&[&[0], body].concat())
}

fn node_hash(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    sha256(&[&[1][..], left, right].concat())
}
