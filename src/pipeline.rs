//! The six steps from a request to a decision. `serve` and `apply` both call [`admit`], so that they
//! cannot disagree.

mod cache;
mod flights;
mod work;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{sync::Semaphore, time::Instant};

pub use cache::{CacheStats, Lifetimes};
use cache::{Tags, Verdicts};
use flights::Flights;
use work::{Covered, Work};

use crate::{
    admission::{Phase, Subject},
    decision::{Decision, decide},
    policy::PolicySet,
    registry::{Caps, Memory, OciSource},
    trust::TrustRoot,
};

/// What decisions are made by. Immutable: an edit makes a new one.
#[derive(Debug)]
pub struct Snapshot {
    /// The policies.
    pub policies: PolicySet,
    /// The trust root.
    pub trust: Arc<TrustRoot>,
}

/// Limits and lifetimes of an [`Engine`].
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What one image may make us read.
    pub caps: Caps,
    /// How long things stay in the caches.
    pub lifetimes: Lifetimes,
    /// Most bytes of cached verdicts.
    pub cache_bytes: u64,
    /// Bytes of manifests and evidence that are held at the same time, a quarter of it for one image. Verification may
    /// take sixteen times as much for a moment, of what it looks at just then.
    pub evidence_bytes: u64,
    /// Images that are verified at the same time; more are answered as overload.
    pub max_flights: usize,
    /// How long verification goes on after the request that started it was answered, so that a retry
    /// finds it done.
    pub grace: Duration,
}

impl Settings {
    /// The defaults with other caps. What is held in all grows with what one image may have.
    #[must_use]
    pub fn with_caps(caps: Caps) -> Self {
        Self { caps, evidence_bytes: Self::DEFAULT.evidence_bytes.max(4 * caps.evidence_bytes), ..Self::DEFAULT }
    }

    /// What `serve` uses where nothing else is set.
    pub const DEFAULT: Self = Self {
        caps: Caps::DEFAULT,
        lifetimes: Lifetimes::DEFAULT,
        cache_bytes: 24 << 20,
        evidence_bytes: 128 << 20,
        max_flights: 512,
        grace: Duration::from_secs(5),
    };
}

/// Everything that outlives a request: snapshot, source, caches and the work under way.
pub struct Engine {
    snapshot: ArcSwap<Snapshot>,
    source: Arc<dyn OciSource>,
    settings: Settings,
    verdicts: Verdicts,
    tags: Tags,
    memory: Memory,
    // Of their own, so that large evidence keeps no tag from being looked up.
    lookup_memory: Memory,
    cores: Semaphore,
    turns: Semaphore,
    work: Flights<work::WorkKey, work::WorkResult>,
    lookups: Flights<String, work::Lookup>,
}

impl Engine {
    /// An engine with empty caches.
    #[must_use]
    pub fn new(snapshot: Snapshot, source: Arc<dyn OciSource>, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            source,
            settings,
            verdicts: Verdicts::new(settings.cache_bytes, settings.lifetimes),
            tags: Tags::new(settings.lifetimes.tag),
            memory: Memory::new(settings.evidence_bytes),
            lookup_memory: Memory::new(settings.evidence_bytes / 4),
            turns: Semaphore::new(1),
            cores: Semaphore::new(std::thread::available_parallelism().map_or(2, NonZeroUsize::get)),
            work: Flights::new(settings.max_flights),
            lookups: Flights::new(settings.max_flights),
        })
    }

    /// What decisions are made by now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Replaces what decisions are made by. Decisions under way keep theirs.
    pub fn replace(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Counters of the verdict cache.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        self.verdicts.stats()
    }

    /// Images whose verification is under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.work.len()
    }
}

/// Decides on `subject`, whose images were extracted (step 1), for an object in `namespace`.
///
/// Architecture invariant: the mutating phase never denies on policy grounds; the validating phase decides
/// on the final object. Always returns by `deadline`, give or take the time to write the answer.
pub async fn admit(
    engine: &Arc<Engine>,
    subject: &Subject,
    namespace: Option<&str>,
    phase: Phase,
    deadline: Instant,
) -> Decision {
    let snapshot = engine.snapshot();
    let mut decision = Decision::default();
    // 2. select: which policies cover which image.
    let covered = Covered::select(&snapshot.policies, subject, namespace, &mut decision);
    if phase == Phase::Mutate {
        decision.denials.clear();
        if !subject.is_pod {
            return decision;
        }
    }
    if covered.is_empty() {
        return decision;
    }
    // 3. resolve: once per distinct reference, and all later steps use that digest.
    let mut work = Work::new(engine, &snapshot, subject.is_pod, &covered);
    work.resolve(deadline).await;
    if phase == Phase::Mutate {
        work.pin(&covered, &mut decision);
        work.start(deadline);
        return decision;
    }
    // 4. gather, 5. verify: every distinct image at the same time, once however many containers use it.
    work.verify(deadline).await;
    // 6. decide.
    for case in work.cases(&covered) {
        decide(&case, &mut decision);
    }
    decision
}
