//! What one request has to find out: which digests its references stand for, and a verdict for each
//! distinct image and requirement.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::join_all};
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use super::{Engine, Snapshot};
use crate::{
    admission::{ImageSite, Subject},
    decision::{Case, Class, Decision, Denial, Pin, Unknown, Verdict, Vouch, printable, reference_code},
    image::{Digest, PinnedImage, Reference},
    policy::{DigestRule, Mode, Policy, PolicySet, Requirement, RequirementId},
    registry::{BoxFuture, Call, FetchError, FetchErrorKind, Gathered, gather, resolve},
    verify::Docket,
};

/// Distinct images of one request that are looked up or verified at the same time, so that one Pod cannot use
/// up what is there for all.
const MAX_AT_ONCE: usize = 16;

/// How long to wait before memory for evidence is asked for again.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// An image field that at least one policy covers.
pub(super) struct Covered<'a> {
    site: &'a ImageSite,
    image: &'a Reference,
    policies: Vec<&'a Arc<Policy>>,
}

impl<'a> Covered<'a> {
    /// The covered images of `subject`. What is no reference, or an image ID, is denied here wherever any
    /// policy is in force: it could be anything.
    pub(super) fn select(
        policies: &'a PolicySet,
        subject: &'a Subject,
        namespace: Option<&str>,
        decision: &mut Decision,
    ) -> Vec<Self> {
        let mut covered = Vec::with_capacity(subject.images.len());
        for site in &subject.images {
            match &site.image {
                Ok(image) => {
                    let policies = policies.select(image, namespace);
                    if policies.is_empty() {
                        decision.uncovered.push(image.to_string());
                    } else {
                        decision.covered += 1;
                        covered.push(Self { site, image, policies });
                    }
                }
                Err(error) => {
                    let Some(mode) = strictest_mode(policies, namespace) else { continue };
                    let denial = Denial {
                        site: format!("{site} ({})", site.pointer),
                        image: site.written.chars().take(160).collect(),
                        digest: None,
                        policy: String::new(),
                        requirement: String::new(),
                        class: Class::Invalid,
                        code: reference_code(error),
                        message: error.to_string(),
                    };
                    decision.record(mode, denial);
                }
            }
        }
        covered
    }

    /// Whether some policy asks for evidence: then the digest that has it must be the one that runs.
    fn needs_evidence(&self) -> bool {
        self.policies.iter().any(|policy| policy.requires_evidence())
    }

    /// Whether its tag is replaced here. Not where an enforcing policy denies tags: its author has to write the
    /// digest. One that only warns or audits must not keep the others from pinning.
    fn is_pinned(&self) -> bool {
        let denies_tags =
            |policy: &&'a Arc<Policy>| policy.mode == Mode::Enforce && policy.digest == DigestRule::Require;
        self.needs_evidence() && !self.policies.iter().any(denies_tags)
    }
}

/// The strictest mode of the policies that may be in force in `namespace`, `None` where there are none.
fn strictest_mode(policies: &PolicySet, namespace: Option<&str>) -> Option<Mode> {
    let rank = |mode: &Mode| match mode {
        Mode::Enforce => 2,
        Mode::Warn => 1,
        Mode::Audit => 0,
    };
    policies.in_force(namespace).map(|policy| policy.mode).max_by_key(rank)
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct WorkKey {
    image: String,
    requirements: Vec<RequirementId>,
    trust: Digest,
}

pub(super) type WorkResult = Arc<HashMap<RequirementId, Verdict>>;
pub(super) type Lookup = Result<Digest, FetchError>;

pub(super) struct Work<'a> {
    engine: &'a Arc<Engine>,
    snapshot: &'a Arc<Snapshot>,
    is_pod: bool,
    started: Instant,
    digests: HashMap<&'a Reference, Result<Digest, Arc<Unknown>>>,
    requirements: HashMap<&'a Reference, Vec<&'a Arc<Requirement>>>,
    verdicts: HashMap<PinnedImage, HashMap<RequirementId, Verdict>>,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        engine: &'a Arc<Engine>,
        snapshot: &'a Arc<Snapshot>,
        is_pod: bool,
        covered: &[Covered<'a>],
    ) -> Self {
        let mut requirements: HashMap<&Reference, Vec<&Arc<Requirement>>> = HashMap::new();
        let mut digests = HashMap::new();
        for covered in covered {
            let wanted = requirements.entry(covered.image).or_default();
            let all = covered.policies.iter().flat_map(|policy| &policy.requirements);
            for requirement in all.filter(|requirement| requirement.kind().is_evidence()) {
                if !wanted.iter().any(|known| known.id() == requirement.id()) {
                    wanted.push(requirement);
                }
            }
            // Whoever verifies needs the digest; a mere denial does not.
            if covered.needs_evidence() {
                let pending = Err(Arc::new(Unknown::Internal("the reference was not resolved".to_owned())));
                digests.insert(covered.image, covered.image.digest().cloned().map_or(pending, Ok));
            }
        }
        let verdicts = HashMap::new();
        Self { engine, snapshot, is_pod, started: Instant::now(), digests, requirements, verdicts }
    }

    /// Step 3: every distinct reference once.
    pub(super) async fn resolve(&mut self, deadline: Instant) {
        let pending: Vec<&Reference> = self.digests.keys().copied().filter(|image| image.digest().is_none()).collect();
        if pending.is_empty() {
            return;
        }
        for some in pending.chunks(MAX_AT_ONCE) {
            let found = join_all(some.iter().map(|image| self.lookup(image, deadline))).await;
            self.digests.extend(some.iter().copied().zip(found));
        }
    }

    async fn lookup(&self, image: &Reference, deadline: Instant) -> Result<Digest, Arc<Unknown>> {
        let key = image.to_string();
        if let Some(digest) = self.engine.tags.find(&key) {
            return Ok(digest);
        }
        // A flight that was joined may have begun long ago: where it gave no answer, one more is worth a try.
        let mut tries = 0;
        loop {
            tries += 1;
            let engine = Arc::clone(self.engine);
            let (owned, until) = (image.clone(), deadline + self.engine.settings.grace);
            let task = move || -> BoxFuture<'static, Lookup> {
                Box::pin(async move {
                    let held = engine.lookup_memory.share(engine.settings.caps.manifest_bytes * 2);
                    let found = resolve(&*engine.source, &owned, &Call { deadline: until, held }).await;
                    if let Ok(digest) = &found {
                        engine.tags.keep(&owned, digest);
                    }
                    found
                })
            };
            let flight = self.engine.lookups.join(key.clone(), task).ok_or(Unknown::Overloaded)?;
            match timeout_at(deadline, flight.outcome).await {
                Ok(Some(Ok(digest))) => return Ok(digest),
                Ok(Some(Err(error))) if flight.joined && tries == 1 && error.kind.may_pass() => {}
                Ok(Some(Err(error))) => return Err(Arc::new(error.into())),
                Ok(None) => return Err(Arc::new(Unknown::Internal("the look-up died".to_owned()))),
                Err(_) => return Err(Arc::new(self.timeout())),
            }
        }
    }

    fn timeout(&self) -> Unknown {
        Unknown::Timeout { millis: self.started.elapsed().as_millis() }
    }

    /// The mutating call's part of step 6: pins what could be resolved. A failed look-up is left for the
    /// validating call to deny; here it is a warning.
    pub(super) fn pin(&self, covered: &[Covered<'_>], decision: &mut Decision) {
        for covered in covered.iter().filter(|covered| covered.is_pinned() && covered.image.digest().is_none()) {
            match self.digests.get(covered.image) {
                Some(Ok(digest)) => decision.pins.push(Pin {
                    pointer: covered.site.pointer.clone(),
                    from: covered.site.written.clone(),
                    to: covered.image.with_digest(digest.clone()).to_string(),
                }),
                Some(Err(error)) => {
                    let error = format!("{}: {}: {error}", covered.site, error.code());
                    decision.warnings.push(printable(&error).into_owned());
                }
                None => {}
            }
        }
    }

    /// Starts verification without waiting for it, so that the validating call finds it under way or done.
    pub(super) fn start(&self, deadline: Instant) {
        for (image, wanted) in self.images().into_iter().take(MAX_AT_ONCE) {
            if !wanted.is_empty() && self.cached(&image, &wanted).is_none() {
                drop(self.fly(&image, &wanted, deadline));
            }
        }
    }

    /// Steps 4 and 5, for every distinct image at the same time.
    pub(super) async fn verify(&mut self, deadline: Instant) {
        let mut pending = Vec::new();
        for (image, wanted) in self.images() {
            match self.cached(&image, &wanted) {
                Some(verdicts) => {
                    self.verdicts.insert(image, verdicts);
                }
                None => pending.push((image, wanted)),
            }
        }
        for some in pending.chunks(MAX_AT_ONCE) {
            let decided = some.iter().map(|(image, wanted)| self.decided(image, wanted, deadline));
            let decided = join_all(decided).await;
            self.verdicts.extend(some.iter().map(|(image, _)| image.clone()).zip(decided));
        }
    }

    /// Every distinct resolved image with everything that is asked of it.
    fn images(&self) -> Vec<(PinnedImage, Vec<&'a Arc<Requirement>>)> {
        let mut images: Vec<(PinnedImage, Vec<&Arc<Requirement>>)> = Vec::new();
        for (image, digest) in &self.digests {
            let Ok(digest) = digest else { continue };
            let pinned = image.repository().pin(digest.clone());
            let wanted = self.requirements.get(image).map(Vec::as_slice).unwrap_or_default();
            match images.iter_mut().find(|(known, _)| *known == pinned) {
                // Two spellings of one image, `:tag` and `@digest`: they share the work.
                Some((_, known)) => {
                    for requirement in wanted {
                        if !known.iter().any(|known| known.id() == requirement.id()) {
                            known.push(requirement);
                        }
                    }
                }
                None => images.push((pinned, wanted.to_vec())),
            }
        }
        images
    }

    /// The verdicts, if the cache has all of them.
    fn cached(&self, image: &PinnedImage, wanted: &[&Arc<Requirement>]) -> Option<HashMap<RequirementId, Verdict>> {
        let trust = self.snapshot.trust.generation();
        let find = |requirement: &&Arc<Requirement>| {
            let verdict = self.engine.verdicts.find(image, requirement.id(), trust)?;
            Some((requirement.id(), verdict))
        };
        wanted.iter().map(find).collect()
    }

    async fn decided(
        &self,
        image: &PinnedImage,
        wanted: &[&Arc<Requirement>],
        deadline: Instant,
    ) -> HashMap<RequirementId, Verdict> {
        let all_unknown = |unknown: Unknown| {
            let unknown = Arc::new(unknown);
            wanted.iter().map(|requirement| (requirement.id(), Verdict::Unknown(Arc::clone(&unknown)))).collect()
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let Some(flight) = self.fly(image, wanted, deadline) else { return all_unknown(Unknown::Overloaded) };
            match timeout_at(deadline, flight.outcome).await {
                Ok(Some(verdicts)) => {
                    if flight.joined && tries == 1 && verdicts.values().any(Verdict::may_pass) {
                        continue;
                    }
                    return (*verdicts).clone();
                }
                Ok(None) => return all_unknown(Unknown::Internal("verification died".to_owned())),
                Err(_) => return all_unknown(self.timeout()),
            }
        }
    }

    fn fly(
        &self,
        image: &PinnedImage,
        wanted: &[&Arc<Requirement>],
        deadline: Instant,
    ) -> Option<super::flights::Flight<WorkResult>> {
        let mut requirements: Vec<RequirementId> = wanted.iter().map(|requirement| requirement.id()).collect();
        requirements.sort_unstable();
        let trust = self.snapshot.trust.generation().clone();
        let key = WorkKey { image: image.to_string(), requirements, trust };
        self.engine.work.join(key, || {
            let (engine, snapshot) = (Arc::clone(self.engine), Arc::clone(self.snapshot));
            let wanted: Vec<Arc<Requirement>> = wanted.iter().map(|requirement| Arc::clone(requirement)).collect();
            examine(engine, snapshot, image.clone(), wanted, deadline).boxed()
        })
    }

    /// What is known of each covered image, for step 6.
    pub(super) fn cases<'b>(&'b self, covered: &'b [Covered<'a>]) -> impl Iterator<Item = Case<'b>> {
        covered.iter().map(move |covered| {
            let digest = self.digests.get(covered.image);
            let pinned = digest.and_then(|digest| digest.as_ref().ok());
            let pinned = pinned.map(|digest| covered.image.repository().pin(digest.clone()));
            let verdicts = pinned.as_ref().and_then(|image| self.verdicts.get(image));
            Case {
                site: covered.site,
                image: covered.image,
                policies: &covered.policies,
                resolved: digest.map(|digest| digest.as_ref().map_err(Arc::clone)),
                verdicts,
                // A template keeps its tag; the Pods made from it are pinned.
                must_be_pinned: self.is_pod && covered.image.digest().is_none() && covered.needs_evidence(),
            }
        })
    }
}

/// Steps 4 and 5 for one image, in a task of its own, which goes on for a while after `deadline`.
async fn examine(
    engine: Arc<Engine>,
    snapshot: Arc<Snapshot>,
    image: PinnedImage,
    wanted: Vec<Arc<Requirement>>,
    deadline: Instant,
) -> WorkResult {
    let until = deadline + engine.settings.grace;
    let mut turn = None;
    let verdicts = loop {
        let gathered = gather(&*engine.source, &image, &engine.settings.caps, &engine.memory, until).await;
        let is_busy = gathered.failures.iter().any(|failure| failure.kind == FetchErrorKind::Busy);
        let verdicts = judge(&engine, &snapshot, &image, &wanted, gathered).await;
        let passed = verdicts.values().all(|verdict| matches!(verdict, Verdict::Passed(_)));
        if passed || !is_busy || Instant::now() + BUSY_PAUSE >= deadline {
            break verdicts;
        }
        // Memory is waited for with nothing held, so that two searches cannot wait for each other, and one
        // after another, so that each finds some.
        tokio::time::sleep(BUSY_PAUSE).await;
        if turn.is_none() {
            turn = engine.turns.acquire().await.ok();
        }
    };
    for (requirement, verdict) in &verdicts {
        engine.verdicts.keep(&image, *requirement, snapshot.trust.generation(), verdict);
    }
    Arc::new(verdicts)
}

/// Step 5 on what step 4 found.
async fn judge(
    engine: &Engine,
    snapshot: &Snapshot,
    image: &PinnedImage,
    wanted: &[Arc<Requirement>],
    gathered: Gathered,
) -> HashMap<RequirementId, Verdict> {
    let (image, wanted, trust) = (image.clone(), wanted.to_vec(), Arc::clone(&snapshot.trust));
    // As many at a time as there are cores: more would only take more memory.
    let _core = engine.cores.acquire().await;
    // Milliseconds of cryptography, or more where there is much evidence: not on the threads that answer.
    let verdicts = tokio::task::spawn_blocking(move || {
        let docket = Docket::new(&image, &gathered.evidence, &gathered.unreadable, &trust, Timestamp::now());
        let mut verdicts = HashMap::new();
        for requirement in &wanted {
            let verdict = match docket.verify(requirement) {
                Ok(verified) => Verdict::Passed(verified.iter().map(Vouch::from).collect()),
                // Some place gave no answer: what is missing may be there.
                Err(_) if !gathered.failures.is_empty() => {
                    Verdict::Unknown(Arc::new(Unknown::Fetch(gathered.failures[0].clone())))
                }
                Err(rejections) => Verdict::Rejected(rejections.into()),
            };
            verdicts.insert(requirement.id(), verdict);
        }
        verdicts
    });
    verdicts.await.unwrap_or_default()
}
