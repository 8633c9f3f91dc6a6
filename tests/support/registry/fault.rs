//! Faults, and which requests meet them.

use std::sync::Mutex;
use std::time::Duration;

/// Which requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum On {
    /// All of them.
    All,
    /// `/v2/`
    Ping,
    /// `/v2/<name>/manifests/...`
    Manifests,
    /// `/v2/<name>/referrers/...`
    Referrers,
    /// `/v2/<name>/blobs/...`
    Blobs,
    /// `/storage/...`, where blobs are redirected to.
    Storage,
    /// `/token`
    Token,
    /// Paths that contain this text: a repository, a tag, `.sig`.
    Path(String),
}

impl On {
    /// Paths that contain `text`.
    pub fn path(text: &str) -> Self {
        Self::Path(text.into())
    }

    /// Whether it covers requests for `path`.
    pub fn covers(&self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Ping => path == "/v2/",
            Self::Manifests => path.contains("/manifests/"),
            Self::Referrers => path.contains("/referrers/"),
            Self::Blobs => path.contains("/blobs/"),
            Self::Storage => path.starts_with("/storage/"),
            Self::Token => path.starts_with("/token"),
            Self::Path(text) => path.contains(text.as_str()),
        }
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status, with an OCI error body.
    Status(u16),
    /// This status and `Retry-After` in seconds.
    RetryAfter(u16, u64),
    /// The answer comes this much later.
    Delay(Duration),
    /// No answer, the connection stays open.
    Hang,
    /// The connection is closed instead of an answer.
    Drop,
    /// The body breaks off half way, and the connection with it.
    Truncate,
    /// The body never ends; its length is not announced.
    Endless,
    /// The body announces this length, and delivers it, as zeros.
    Huge(u64),
    /// A byte of the body at a time, this far apart.
    Drip(Duration),
    /// One byte of the body is another: it no longer has the digest that was asked for.
    WrongBytes,
    /// The body is this instead.
    Body(Vec<u8>),
    /// The body is no JSON.
    InvalidJson,
    /// `Content-Type` is this instead.
    ContentType(String),
    /// `Docker-Content-Digest` is this instead; left out if empty.
    DigestHeader(String),
    /// 307 to this URL.
    Redirect(String),
    /// Any other header, set.
    Header(String, String),
}

#[derive(Default)]
pub(super) struct Faults(Mutex<Vec<(On, Fault, Option<usize>)>>);

impl Faults {
    pub(super) fn add(&self, on: On, fault: Fault, times: Option<usize>) {
        self.0.lock().expect("no panic while locked").push((on, fault, times));
    }

    pub(super) fn clear(&self) {
        self.0.lock().expect("no panic while locked").clear();
    }

    /// The faults that a request for `path` meets; counts them off.
    pub(super) fn meet(&self, path: &str) -> Vec<Fault> {
        let mut faults = self.0.lock().expect("no panic while locked");
        let mut met = Vec::new();
        faults.retain_mut(|(on, fault, times)| {
            if !on.covers(path) || *times == Some(0) {
                return *times != Some(0);
            }
            met.push(fault.clone());
            match times {
                Some(left) => {
                    *left -= 1;
                    *left > 0
                }
                None => true,
            }
        });
        met
    }
}
