//! Logs and metrics.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    admission::{Phase, Request},
    decision::Decision,
    pipeline::Engine,
    verify::Signer,
};

/// Upper bounds of the duration histograms, in seconds.
const BUCKETS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RequestLabels {
    phase: &'static str,
    decision: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct CodeLabels {
    class: &'static str,
    code: &'static str,
}

/// The metrics of a server. Labels are closed sets: no name of an image, policy or namespace is one.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<PhaseLabels, Histogram>,
    denials: Family<CodeLabels, Counter>,
    cache_hits: Gauge,
    cache_misses: Gauge,
    cache_bytes: Gauge,
    cache_entries: Gauge,
    in_flight: Gauge,
    policies: Gauge,
}

impl Metrics {
    /// Registers every metric.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("bonafide");
        let requests = Family::<RequestLabels, Counter>::default();
        let seconds = Family::<PhaseLabels, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let denials = Family::<CodeLabels, Counter>::default();
        registry.register("admission_requests", "Admission requests by call and decision", requests.clone());
        registry.register("admission_duration_seconds", "Time to answer an admission request", seconds.clone());
        registry.register("denials", "Denials of an image by reason code", denials.clone());
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let cache_hits = gauge("verdict_cache_hits", "Verdicts found in the cache since the start");
        let cache_misses = gauge("verdict_cache_misses", "Verdicts not found in the cache since the start");
        let cache_bytes = gauge("verdict_cache_bytes", "Estimated bytes of the verdict cache");
        let cache_entries = gauge("verdict_cache_entries", "Verdicts in the cache");
        let in_flight = gauge("verifications_in_flight", "Images whose verification is under way");
        let policies = gauge("policies", "Policies in force");
        Arc::new(Self {
            registry,
            requests,
            seconds,
            denials,
            cache_hits,
            cache_misses,
            cache_bytes,
            cache_entries,
            in_flight,
            policies,
        })
    }

    /// Records one answered request.
    pub fn record(&self, phase: Phase, decision: &Decision, elapsed: Duration) {
        let word = if decision.allowed() { "allow" } else { "deny" };
        self.requests.get_or_create(&RequestLabels { phase: phase.as_str(), decision: word }).inc();
        self.seconds.get_or_create(&PhaseLabels { phase: phase.as_str() }).observe(elapsed.as_secs_f64());
        for denial in &decision.denials {
            self.denials.get_or_create(&CodeLabels { class: denial.class.as_str(), code: denial.code }).inc();
        }
    }

    /// All metrics in the `OpenMetrics` text format.
    #[must_use]
    pub fn encode(&self, engine: &Engine) -> String {
        let stats = engine.cache_stats();
        let as_i64 = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.cache_hits.set(as_i64(stats.hits));
        self.cache_misses.set(as_i64(stats.misses));
        self.cache_bytes.set(as_i64(stats.bytes));
        self.cache_entries.set(as_i64(stats.entries as u64));
        self.in_flight.set(as_i64(engine.in_flight() as u64));
        self.policies.set(as_i64(engine.snapshot().policies.len() as u64));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// How logs are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people, coloured on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends logs to standard error. `RUST_LOG` sets what is written, `info` where it does not.
pub fn init_logs(format: LogFormat, colour: bool) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second call, as tests may make it, changes nothing.
    let _ = match format {
        LogFormat::Text => logs.with_ansi(colour).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
}

/// One line a decision. A mutating call that changes nothing decides nothing: its line is for `debug`.
pub fn log_decision(phase: Phase, request: &Request<'_>, decision: &Decision, elapsed: Duration) {
    if !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    if phase == Phase::Mutate && decision.pins.is_empty() && decision.warnings.is_empty() && decision.allowed() {
        tracing::debug!(uid = &*request.uid, kind = &*request.kind.kind, "nothing to change");
        return;
    }
    let ms = elapsed.as_secs_f64() * 1e3;
    let (phase, uid, kind) = (phase.as_str(), &*request.uid, &*request.kind.kind);
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let name = request.name.as_deref().unwrap_or_default();
    for denial in &decision.audited {
        tracing::warn!(phase, code = denial.code, namespace, kind, name, uid, denial = %denial, "audit");
    }
    if !decision.allowed() {
        let denial = decision.message();
        tracing::info!(phase, code = decision.code(), namespace, kind, name, uid, ms, denial, "denied");
        return;
    }
    let vouched = decision.vouched.first();
    let image = vouched.map(|vouched| vouched.image.to_string()).unwrap_or_default();
    let policy = vouched.map_or("", |vouched| &vouched.policy);
    let identity = match vouched.map(|vouched| &vouched.signer) {
        Some(Signer::Certificate { subject, .. }) => subject,
        Some(Signer::Key { fingerprint }) => fingerprint,
        None => "",
    };
    tracing::info!(
        phase,
        code = "Allowed",
        namespace,
        kind,
        name,
        uid,
        ms,
        image,
        policy,
        identity,
        covered = decision.covered,
        pinned = decision.pins.len(),
        "allowed"
    );
}
