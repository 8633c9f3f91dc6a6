//! What is answered on which path.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody as _},
    extract::{RawQuery, State},
    http::{
        HeaderValue, StatusCode,
        header::{CONNECTION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::BytesMut;
use futures::StreamExt as _;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::Readiness;
use crate::{
    admission::{ExtractError, Operation, Phase, Review, ReviewError, respond},
    decision::{Class, Decision, Denial, Unknown},
    pipeline::{Engine, admit},
    telemetry::{Metrics, log_decision},
};

/// Limits of one admission request and of all together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Largest body, in bytes. An object is at most 1.5 MiB in etcd, and an update carries two.
    pub body_bytes: usize,
    /// The time to answer in where the caller does not say.
    pub default_timeout: Duration,
    /// Requests that are worked on at the same time.
    pub concurrent: usize,
}

impl Limits {
    /// What applies where nothing else is set.
    pub const DEFAULT: Self = Self { body_bytes: 8 << 20, default_timeout: Duration::from_secs(10), concurrent: 1_024 };
}

/// The longest time that an API server waits for a webhook.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);

struct Webhook {
    engine: Arc<Engine>,
    metrics: Arc<Metrics>,
    limits: Limits,
    slots: Semaphore,
    bodies: [Semaphore; 2],
}

/// KiB of bodies that are held at the same time, so that callers cannot fill the memory: for what is small of them,
/// and for what is not.
const BODIES_KIB: usize = 48 << 10;
/// Reviews of real Pods have a few KiB.
const SMALL_BODY: usize = 256 << 10;

/// Time for a body to arrive, whatever time the caller gives for the answer.
const BODY_TIME: Duration = Duration::from_secs(3);

/// Why a body was not read.
enum NoBody {
    TooLarge,
    NoRoom,
    Broken(axum::Error),
}

/// The router of the HTTPS port.
pub(super) fn webhook(engine: Arc<Engine>, metrics: Arc<Metrics>, limits: Limits) -> Router {
    let webhook = Arc::new(Webhook {
        engine,
        metrics,
        limits,
        slots: Semaphore::new(limits.concurrent),
        bodies: [Semaphore::new(BODIES_KIB), Semaphore::new(BODIES_KIB)],
    });
    let call = |phase| {
        post(move |State(webhook): State<Arc<Webhook>>, RawQuery(query): RawQuery, body: Body| async move {
            webhook.answer(phase, query.as_deref().unwrap_or_default(), body).await
        })
    };
    Router::new().route("/mutate", call(Phase::Mutate)).route("/validate", call(Phase::Validate)).with_state(webhook)
}

/// The router of the plain port.
pub(super) fn health(engine: Arc<Engine>, metrics: Arc<Metrics>, readiness: Arc<Readiness>) -> Router {
    let snapshot = Arc::clone(&engine);
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || async move {
                let policies = snapshot.snapshot().policies.len();
                if readiness.is_ready() {
                    (StatusCode::OK, format!("ok: {policies} policies\n"))
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned())
                }
            }),
        )
        .route(
            "/metrics",
            get(move || async move {
                let text = metrics.encode(&engine);
                ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            }),
        )
}

impl Webhook {
    async fn answer(&self, phase: Phase, query: &str, body: Body) -> Response {
        let started = Instant::now();
        let timeout = call_timeout(query).unwrap_or(self.limits.default_timeout);
        let deadline = started + timeout.saturating_sub(margin(timeout));
        let most = self.limits.body_bytes as u64;
        if body.size_hint().lower() > most {
            // Read to its end first, as far as that is bearable: a caller that is still sending may not see the answer.
            let _ = timeout_at(deadline, discard(body, 4 * most)).await;
            return self.too_large();
        }
        let in_time = deadline.min(started + BODY_TIME);
        let Ok(read) = timeout_at(in_time, self.read(body)).await else {
            return refuse(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
        };
        let (body, _held) = match read {
            Ok(read) => read,
            Err(NoBody::TooLarge) => return self.too_large(),
            Err(NoBody::NoRoom) => {
                return refuse(StatusCode::SERVICE_UNAVAILABLE, "the server holds more requests than it has room for");
            }
            Err(NoBody::Broken(error)) => {
                let why = format!("the body could not be read: {error}");
                return refuse(StatusCode::BAD_REQUEST, &why);
            }
        };
        match Review::parse(&body) {
            Ok(review) => self.decide(phase, &review, started, deadline).await,
            Err(error) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
        }
    }

    fn too_large(&self) -> Response {
        let max = self.limits.body_bytes;
        refuse(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is larger than {max} bytes"))
    }

    /// The body, and the room that it takes: taken as it arrives, so that a caller who sends nothing holds nothing, and
    /// from two stores, so that large bodies leave room for small ones.
    async fn read(&self, body: Body) -> Result<(Bytes, [Option<SemaphorePermit<'_>>; 2]), NoBody> {
        let mut chunks = body.into_data_stream();
        let mut read = BytesMut::new();
        let mut held = [None, None];
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(NoBody::Broken)?;
            if read.len() + chunk.len() > self.limits.body_bytes {
                return Err(NoBody::TooLarge);
            }
            let kib = u32::try_from(chunk.len().div_ceil(1_024)).unwrap_or(u32::MAX);
            let store = usize::from(read.len() + chunk.len() > SMALL_BODY);
            let more = if read.is_empty() {
                // Who holds nothing may wait; who does could wait for one who waits for it.
                self.bodies[store].acquire_many(kib).await.map_err(|_| NoBody::NoRoom)?
            } else {
                self.bodies[store].try_acquire_many(kib).map_err(|_| NoBody::NoRoom)?
            };
            match &mut held[store] {
                Some(held) => SemaphorePermit::merge(held, more),
                empty => *empty = Some(more),
            }
            if read.is_empty() {
                // Nearly always the whole of it, and then it is not copied.
                read = chunk.into();
            } else {
                read.extend_from_slice(&chunk);
            }
        }
        Ok((read.freeze(), held))
    }

    async fn decide(&self, phase: Phase, review: &Review<'_>, started: Instant, deadline: Instant) -> Response {
        let request = &review.request;
        let decision = if matches!(request.operation, Operation::Create | Operation::Update) {
            match review.subject() {
                Ok(subject) => match timeout_at(deadline, self.slots.acquire()).await {
                    Ok(_slot) => admit(&self.engine, &subject, request.namespace.as_deref(), phase, deadline).await,
                    Err(_) => denied(phase, Class::Unknown, Unknown::Overloaded.code(), &Unknown::Overloaded),
                },
                Err(error @ ExtractError::NoObject) => {
                    return refuse(StatusCode::BAD_REQUEST, &ReviewError::from(error).to_string());
                }
                Err(error) => denied(phase, Class::Invalid, "ObjectUnreadable", &error),
            }
        } else {
            // Nothing starts to run by a deletion or a connection.
            Decision::default()
        };
        let elapsed = started.elapsed();
        self.metrics.record(phase, &decision, elapsed);
        log_decision(phase, request, &decision, elapsed);
        let body = respond(&request.uid, &decision);
        if body.is_empty() {
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written");
        }
        ([(CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// Reads at most `max_bytes` and keeps none of them.
async fn discard(body: Body, max_bytes: u64) {
    let mut left = max_bytes;
    let mut chunks = body.into_data_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        left = left.saturating_sub(chunk.len() as u64);
        if left == 0 {
            return;
        }
    }
}

/// A denial of the object as a whole. The mutating call leaves it to the validating one.
fn denied(phase: Phase, class: Class, code: &'static str, message: &dyn std::fmt::Display) -> Decision {
    let mut decision = Decision::default();
    if phase == Phase::Validate {
        decision.denials.push(Denial::of_object(class, code, message.to_string()));
    }
    decision
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    tracing::warn!(status = status.as_u16(), reason, "request refused");
    let mut response = (status, format!("{reason}\n")).into_response();
    if matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
        // The rest of the body is not read: the caller must not send its next request behind it.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What is kept back for writing the answer and getting it to the API server.
fn margin(timeout: Duration) -> Duration {
    (timeout / 10).clamp(Duration::from_millis(50), Duration::from_millis(500))
}

/// The API server's `?timeout=10s`. What cannot be read counts as not given.
fn call_timeout(query: &str) -> Option<Duration> {
    let text = query.split('&').find_map(|pair| pair.strip_prefix("timeout="))?;
    let timeout = parse_go_duration(text)?;
    (!timeout.is_zero()).then(|| timeout.min(MAX_TIMEOUT))
}

/// Go's `Duration.String`: `10s`, `1m30s`, `1.5s`, `500ms`.
pub(crate) fn parse_go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let unit = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..unit].parse().ok()?;
        let after = &rest[unit..];
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let seconds = match &after[..end] {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &after[end..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_an_api_server_sends() {
        let ms = |millis| Some(Duration::from_millis(millis));
        assert_eq!(call_timeout("timeout=10s"), ms(10_000));
        assert_eq!(call_timeout("a=b&timeout=1m30s"), ms(30_000));
        assert_eq!(call_timeout("timeout=1.5s"), ms(1_500));
        assert_eq!(call_timeout("timeout=500ms"), ms(500));
        for query in [
            "",
            "timeout=",
            "timeout=0s",
            "timeout=x",
            "timeout=-1s",
            "timeout=5",
            "timeout=99999999999999999999h",
            "timeout=5000000000000000h5000000000000000h",
        ] {
            assert_eq!(call_timeout(query), None, "{query}");
        }
    }
}
