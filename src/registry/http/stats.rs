//! Counts of what was sent to registries and token endpoints, for metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters since the start. They only ever grow.
#[derive(Default, Debug)]
pub struct HttpStats {
    requests: AtomicU64,
    tokens: AtomicU64,
    success: AtomicU64,
    redirect: AtomicU64,
    unauthorized: AtomicU64,
    not_found: AtomicU64,
    rate_limited: AtomicU64,
    client_error: AtomicU64,
    server_error: AtomicU64,
    unreachable: AtomicU64,
    retries: AtomicU64,
    body_bytes: AtomicU64,
}

/// The values of [`HttpStats`] at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HttpCounts {
    /// Requests of any kind, each redirect hop and each token request included.
    pub requests: u64,
    /// Requests to token endpoints.
    pub tokens: u64,
    /// Answers 2xx.
    pub success: u64,
    /// Answers 3xx.
    pub redirect: u64,
    /// Answers 401.
    pub unauthorized: u64,
    /// Answers 404.
    pub not_found: u64,
    /// Answers 429.
    pub rate_limited: u64,
    /// Other answers 4xx, and what has no class.
    pub client_error: u64,
    /// Answers 5xx.
    pub server_error: u64,
    /// Requests without an answer: no connection, or one that broke.
    pub unreachable: u64,
    /// Requests sent again after the connection broke.
    pub retries: u64,
    /// Bytes of the bodies that were kept.
    pub body_bytes: u64,
}

impl HttpStats {
    /// The values now.
    #[must_use]
    pub fn counts(&self) -> HttpCounts {
        HttpCounts {
            requests: self.requests.load(Relaxed),
            tokens: self.tokens.load(Relaxed),
            success: self.success.load(Relaxed),
            redirect: self.redirect.load(Relaxed),
            unauthorized: self.unauthorized.load(Relaxed),
            not_found: self.not_found.load(Relaxed),
            rate_limited: self.rate_limited.load(Relaxed),
            client_error: self.client_error.load(Relaxed),
            server_error: self.server_error.load(Relaxed),
            unreachable: self.unreachable.load(Relaxed),
            retries: self.retries.load(Relaxed),
            body_bytes: self.body_bytes.load(Relaxed),
        }
    }

    pub(super) fn sent(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(super) fn token_sent(&self) {
        self.tokens.fetch_add(1, Relaxed);
    }

    pub(super) fn answered(&self, status: u16) {
        let counter = match status {
            200..=299 => &self.success,
            300..=399 => &self.redirect,
            401 => &self.unauthorized,
            404 => &self.not_found,
            429 => &self.rate_limited,
            500..=599 => &self.server_error,
            _ => &self.client_error,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn not_answered(&self) {
        self.unreachable.fetch_add(1, Relaxed);
    }

    pub(super) fn sent_again(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.body_bytes.fetch_add(bytes as u64, Relaxed);
    }
}
