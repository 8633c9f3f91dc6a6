//! Caches: verdicts by digest, and what tags point to for a moment.
//!
//! Architecture invariant: the key of a pass is digest, requirement and trust root; a tag is never part of
//! it, and what is not a pass is also keyed by the repository that it came from. `Unknown` is never kept.

use std::{
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use quick_cache::{Weighter, sync::Cache};
use tokio::time::Instant;

use crate::{
    decision::{Verdict, Vouch},
    image::{Digest, PinnedImage, Reference, Repository},
    policy::RequirementId,
    verify::{Rejection, Signer},
};

/// How long things stay in the caches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetimes {
    /// A requirement that is met by a digest.
    pub pass: Duration,
    /// One that is not: its owner may be about to sign.
    pub rejection: Duration,
    /// What a tag points to.
    pub tag: Duration,
}

impl Lifetimes {
    /// What applies where nothing else is set.
    pub const DEFAULT: Self =
        Self { pass: Duration::from_hours(1), rejection: Duration::from_secs(10), tag: Duration::from_secs(2) };
}

/// Counters of the verdict cache.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct CacheStats {
    /// Verdicts that were found.
    pub hits: u64,
    /// Verdicts that were not.
    pub misses: u64,
    /// Bytes in use, estimated.
    pub bytes: u64,
    /// Verdicts in it.
    pub entries: usize,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    digest: Digest,
    requirement: RequirementId,
    trust: Digest,
    // `None` for a pass, which is true wherever the evidence was found.
    repository: Option<Repository>,
}

#[derive(Clone)]
enum Kept {
    Pass(Arc<[Vouch]>),
    Rejection(Arc<[Rejection]>),
}

#[derive(Clone)]
struct Entry {
    kept: Kept,
    expires: Instant,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Entry> for Bytes {
    /// Estimated bytes of an entry, its bookkeeping included.
    fn weight(&self, _: &Key, entry: &Entry) -> u64 {
        const FIXED: usize = 512;
        let text = |signer: &Signer| match signer {
            Signer::Certificate { issuer, subject } => issuer.len() + subject.len(),
            Signer::Key { fingerprint } => fingerprint.len(),
        };
        let more: usize = match &entry.kept {
            Kept::Pass(vouches) => vouches.iter().map(|vouch| 96 + text(vouch.signer())).sum(),
            Kept::Rejection(rejections) => rejections.iter().map(|rejection| 256 + rejection.to_string().len()).sum(),
        };
        (FIXED + more) as u64
    }
}

pub(super) struct Verdicts {
    cache: Cache<Key, Entry, Bytes>,
    lifetimes: Lifetimes,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Verdicts {
    pub(super) fn new(max_bytes: u64, lifetimes: Lifetimes) -> Self {
        // The estimate only sizes the first allocation.
        let cache = Cache::with_weighter(1_024, max_bytes, Bytes);
        Self { cache, lifetimes, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    pub(super) fn find(&self, image: &PinnedImage, requirement: RequirementId, trust: &Digest) -> Option<Verdict> {
        let now = Instant::now();
        let mut key = Key { digest: image.digest.clone(), requirement, trust: trust.clone(), repository: None };
        let fresh = |key: &Key| self.cache.get(key).filter(|entry| entry.expires > now);
        let found = fresh(&key).or_else(|| {
            key.repository = Some(image.repository.clone());
            fresh(&key)
        });
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found.map(|entry| match entry.kept {
            Kept::Pass(vouches) => Verdict::Passed(vouches),
            Kept::Rejection(rejections) => Verdict::Rejected(rejections),
        })
    }

    pub(super) fn keep(&self, image: &PinnedImage, requirement: RequirementId, trust: &Digest, verdict: &Verdict) {
        let (kept, lifetime, repository) = match verdict {
            Verdict::Passed(vouches) => (Kept::Pass(Arc::clone(vouches)), self.lifetimes.pass, None),
            Verdict::Rejected(rejections) => {
                let repository = Some(image.repository.clone());
                (Kept::Rejection(Arc::clone(rejections)), self.lifetimes.rejection, repository)
            }
            Verdict::Unknown(_) => return,
        };
        if lifetime.is_zero() {
            return;
        }
        let key = Key { digest: image.digest.clone(), requirement, trust: trust.clone(), repository };
        self.cache.insert(key, Entry { kept, expires: Instant::now() + lifetime });
    }

    pub(super) fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            bytes: self.cache.weight(),
            entries: self.cache.len(),
        }
    }
}

/// What tags pointed to a moment ago.
pub(super) struct Tags {
    cache: Cache<String, (Digest, Instant)>,
    lifetime: Duration,
}

impl Tags {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self { cache: Cache::new(4_096), lifetime }
    }

    pub(super) fn find(&self, reference: &str) -> Option<Digest> {
        if self.lifetime.is_zero() {
            return None;
        }
        let (digest, expires) = self.cache.get(reference)?;
        (expires > Instant::now()).then_some(digest)
    }

    pub(super) fn keep(&self, reference: &Reference, digest: &Digest) {
        if !self.lifetime.is_zero() {
            self.cache.insert(reference.to_string(), (digest.clone(), Instant::now() + self.lifetime));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decision::Unknown, policy::Requirement};

    fn image(repository: &str) -> PinnedImage {
        let reference: Reference = repository.parse().expect("a reference");
        reference.repository().pin(Digest::of(b"image"))
    }

    #[test]
    fn a_pass_is_of_the_digest_and_a_rejection_also_of_its_source() {
        let verdicts = Verdicts::new(1 << 20, Lifetimes::DEFAULT);
        let requirement = Requirement::deny("x".to_owned()).id();
        let trust = Digest::of(b"trust");
        let (here, there) = (image("ghcr.io/a/b"), image("ghcr.io/c/d"));
        verdicts.keep(&here, requirement, &trust, &Verdict::Rejected(Arc::new([Rejection::IdentityMissing])));
        assert!(matches!(verdicts.find(&here, requirement, &trust), Some(Verdict::Rejected(_))));
        assert!(verdicts.find(&there, requirement, &trust).is_none());
        verdicts.keep(&here, requirement, &trust, &Verdict::Passed(Arc::new([])));
        assert!(matches!(verdicts.find(&there, requirement, &trust), Some(Verdict::Passed(_))));
        assert!(verdicts.find(&here, requirement, &Digest::of(b"other trust")).is_none());
        assert!(verdicts.find(&here, Requirement::deny("y".to_owned()).id(), &trust).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_outlives_its_time_and_unknown_is_never_kept() {
        let verdicts = Verdicts::new(1 << 20, Lifetimes::DEFAULT);
        let requirement = Requirement::deny("x".to_owned()).id();
        let trust = Digest::of(b"trust");
        let image = image("ghcr.io/a/b");
        verdicts.keep(&image, requirement, &trust, &Verdict::Unknown(Arc::new(Unknown::Overloaded)));
        assert!(verdicts.find(&image, requirement, &trust).is_none());
        verdicts.keep(&image, requirement, &trust, &Verdict::Passed(Arc::new([])));
        tokio::time::advance(Lifetimes::DEFAULT.pass.saturating_sub(Duration::from_secs(1))).await;
        assert!(verdicts.find(&image, requirement, &trust).is_some());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(verdicts.find(&image, requirement, &trust).is_none());
    }

    #[test]
    fn is_bounded_in_bytes() {
        let verdicts = Verdicts::new(64 << 10, Lifetimes::DEFAULT);
        let trust = Digest::of(b"trust");
        for n in 0..1_000_u32 {
            let reference: Reference = "ghcr.io/a/b".parse().expect("a reference");
            let image = reference.repository().pin(Digest::of(&n.to_be_bytes()));
            verdicts.keep(&image, Requirement::deny("x".to_owned()).id(), &trust, &Verdict::Passed(Arc::new([])));
        }
        let stats = verdicts.stats();
        assert!(stats.bytes <= 64 << 10 && stats.entries > 10, "{stats:?}");
    }
}
