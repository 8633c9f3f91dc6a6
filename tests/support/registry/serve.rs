//! The OCI distribution API, pull side.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream::{self, StreamExt as _};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LINK, LOCATION, RETRY_AFTER,
    USER_AGENT, WWW_AUTHENTICATE,
};
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::super::store::OCI_INDEX;
use super::{Blobs, Fault, Referrers, Request, State};

/// An answer before faults.
struct Answer {
    status: u16,
    headers: Vec<(HeaderName, String)>,
    body: Vec<u8>,
}

/// The connection is to be closed without an answer.
#[derive(Debug)]
pub(super) struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is dropped on purpose")
    }
}

impl std::error::Error for Dropped {}

/// Answers one request.
pub(super) async fn serve(state: Arc<State>, request: hyper::Request<Incoming>) -> Result<Response<Body>, Dropped> {
    let head = record(&state, &request);
    let faults = state.faults.meet(&head.path);
    let delay = Duration::from_nanos(state.delay_nanos.load(Ordering::Relaxed));
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    for fault in &faults {
        match fault {
            Fault::Delay(duration) => tokio::time::sleep(*duration).await,
            Fault::Hang => std::future::pending().await,
            Fault::Drop => return Err(Dropped),
            _ => {}
        }
    }
    let mut answer = answer(&state, &head);
    for fault in &faults {
        spoil(&mut answer, fault);
    }
    Ok(respond(answer, &faults, *request.method() == Method::HEAD))
}

fn record(state: &State, request: &hyper::Request<Incoming>) -> Request {
    let header = |name: HeaderName| {
        let value = request.headers().get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let authority = request.uri().authority().map(ToString::to_string);
    let head = Request {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        host: header(HOST).or(authority).unwrap_or_default(),
        authorization: header(AUTHORIZATION),
        user_agent: header(USER_AGENT),
    };
    state.requests.lock().expect("no panic while locked").push(head.clone());
    head
}

fn answer(state: &State, request: &Request) -> Answer {
    if request.method != "GET" && request.method != "HEAD" {
        return Answer::error(405, "UNSUPPORTED");
    }
    let authorization = request.authorization.as_deref();
    let options = &state.options;
    if request.path == "/token" {
        return match options.auth.token(authorization, &request.query, &state.tokens) {
            Some(body) => Answer::json(body.into_bytes()),
            None => Answer::error(401, "UNAUTHORIZED"),
        };
    }
    if let Some(rest) = request.path.strip_prefix("/storage/") {
        // Object storage: the URL is the permission.
        return rest
            .rsplit_once('/')
            .map_or_else(Answer::not_found, |(repository, digest)| blob(state, repository, digest));
    }
    let Some(rest) = request.path.strip_prefix("/v2/") else { return Answer::not_found() };
    let mut parts = rest.rsplitn(3, '/');
    let (reference, kind, repository) = (parts.next(), parts.next(), parts.next());
    let challenge = options.auth.challenge(authorization, repository, &state.base, &state.tokens);
    if let Some(challenge) = challenge {
        return Answer::error(401, "UNAUTHORIZED").with(WWW_AUTHENTICATE, challenge);
    }
    match (repository, kind, reference) {
        _ if rest.is_empty() => Answer::json(b"{}".to_vec()),
        (Some(repository), Some("manifests"), Some(reference)) => manifest(state, repository, reference),
        (Some(repository), Some("blobs"), Some(digest)) => match &options.blobs {
            Blobs::Direct => blob(state, repository, digest),
            Blobs::Redirect => redirect(&format!("{}/storage/{repository}/{digest}", state.base)),
            Blobs::RedirectTo(base) => redirect(&format!("{base}/storage/{repository}/{digest}")),
        },
        (Some(repository), Some("referrers"), Some(digest)) => referrers(state, repository, digest, &request.query),
        _ => Answer::not_found(),
    }
}

fn manifest(state: &State, repository: &str, reference: &str) -> Answer {
    let mut store = state.store.lock();
    let found = store.repositories.get_mut(repository).and_then(|r| r.resolve(reference));
    let Some((digest, manifest)) = found else { return Answer::error(404, "MANIFEST_UNKNOWN") };
    Answer { status: 200, headers: Vec::new(), body: manifest.bytes }
        .with(CONTENT_TYPE, manifest.media_type)
        .with(DOCKER_CONTENT_DIGEST, digest)
}

fn blob(state: &State, repository: &str, digest: &str) -> Answer {
    let store = state.store.lock();
    let found = store.repositories.get(repository).and_then(|r| r.blobs.get(digest));
    let Some(bytes) = found else { return Answer::error(404, "BLOB_UNKNOWN") };
    Answer { status: 200, headers: Vec::new(), body: bytes.clone() }
        .with(CONTENT_TYPE, "application/octet-stream".into())
        .with(DOCKER_CONTENT_DIGEST, digest.into())
}

fn redirect(url: &str) -> Answer {
    Answer { status: 307, headers: Vec::new(), body: Vec::new() }.with(LOCATION, url.into())
}

/// `?artifactType=` filters; `?page=` is where the `Link` of the page before leads.
fn referrers(state: &State, repository: &str, digest: &str, query: &str) -> Answer {
    let (page, lie) = match state.options.referrers {
        Referrers::On { page, lie } => (page, lie),
        Referrers::Off { status } => return Answer::error(status, "UNSUPPORTED"),
    };
    let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let store = state.store.lock();
    let mut entries = store.repositories.get(repository).map_or_else(Vec::new, |r| r.referrers(digest));
    drop(store);
    let filter = parameter("artifactType").map(|kind| kind.replace("%2F", "/").replace("%2B", "+"));
    if let Some(kind) = &filter {
        entries.retain(|entry| entry["artifactType"] == kind.as_str());
    }
    if lie {
        for entry in &mut entries {
            entry["artifactType"] = "application/vnd.oci.empty.v1+json".into();
            entry.as_object_mut().expect("a descriptor").remove("annotations");
        }
    }
    let number: usize = parameter("page").and_then(|text| text.parse().ok()).unwrap_or(0);
    let (from, to) = (number * page, (number + 1) * page);
    let more = to < entries.len();
    let entries: Vec<Value> = entries.into_iter().skip(from).take(page).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
    let mut answer = Answer { status: 200, headers: Vec::new(), body: index.to_string().into_bytes() }
        .with(CONTENT_TYPE, OCI_INDEX.into());
    if more {
        let mut next = format!("/v2/{repository}/referrers/{digest}?page={}", number + 1);
        if let Some(kind) = parameter("artifactType") {
            next.push_str(&format!("&artifactType={kind}"));
        }
        answer = answer.with(LINK, format!(r#"<{next}>; rel="next""#));
    }
    match filter {
        Some(_) => answer.with(HeaderName::from_static("oci-filters-applied"), "artifactType".into()),
        None => answer,
    }
}

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

impl Answer {
    fn json(body: Vec<u8>) -> Self {
        Self { status: 200, headers: Vec::new(), body }.with(CONTENT_TYPE, "application/json".into())
    }

    fn error(status: u16, code: &str) -> Self {
        let body = json!({ "errors": [{ "code": code, "message": code.to_lowercase() }] });
        Self { status, ..Self::json(body.to_string().into_bytes()) }
    }

    fn not_found() -> Self {
        Self::error(404, "NAME_UNKNOWN")
    }

    fn with(mut self, name: HeaderName, value: String) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value));
        self
    }
}

/// Applies the faults that change an answer's head or bytes.
fn spoil(answer: &mut Answer, fault: &Fault) {
    let taken = std::mem::replace(answer, Answer::not_found());
    *answer = match fault {
        Fault::Status(status) => Answer::error(*status, "INJECTED"),
        Fault::RetryAfter(status, seconds) => {
            Answer::error(*status, "TOOMANYREQUESTS").with(RETRY_AFTER, seconds.to_string())
        }
        Fault::WrongBytes => {
            let mut answer = taken;
            match answer.body.last_mut() {
                Some(byte) => *byte = byte.wrapping_add(1),
                None => answer.body.push(b'!'),
            }
            answer
        }
        Fault::Body(bytes) => Answer { body: bytes.clone(), ..taken },
        Fault::InvalidJson => Answer { body: b"{\"schemaVersion\": 2, ".to_vec(), ..taken },
        Fault::ContentType(kind) => taken.with(CONTENT_TYPE, kind.clone()),
        Fault::DigestHeader(digest) if digest.is_empty() => {
            let mut answer = taken;
            answer.headers.retain(|(name, _)| *name != DOCKER_CONTENT_DIGEST);
            answer
        }
        Fault::DigestHeader(digest) => taken.with(DOCKER_CONTENT_DIGEST, digest.clone()),
        Fault::Redirect(url) => redirect(url),
        Fault::Header(name, value) => taken.with(name.parse().expect("a header name"), value.clone()),
        _ => taken,
    };
}

/// Sends an answer, with the faults that are in how its body comes.
fn respond(answer: Answer, faults: &[Fault], head: bool) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(answer.status).expect("a status");
    for (name, value) in answer.headers {
        let value = HeaderValue::from_str(&value).expect("a header value");
        response.headers_mut().insert(name, value);
    }
    let length = answer.body.len();
    let fault =
        faults.iter().find(|fault| matches!(fault, Fault::Truncate | Fault::Endless | Fault::Huge(_) | Fault::Drip(_)));
    let (announced, body) = match fault {
        Some(Fault::Truncate) => {
            let half = Bytes::copy_from_slice(&answer.body[..length / 2]);
            let rest = stream::once(async {
                // What has been written so far goes out while the body makes the server wait.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(Dropped)
            });
            let parts = stream::iter([Ok(half)]).chain(rest);
            (Some(length as u64), Body::from_stream(parts))
        }
        Some(Fault::Endless) => (None, Body::from_stream(zeros())),
        Some(Fault::Huge(size)) => {
            let chunk = CHUNK as u64;
            let chunks = usize::try_from(size.div_ceil(chunk)).expect("fits");
            let last = usize::try_from((size + chunk - 1) % chunk + 1).expect("fits");
            let body = zeros().take(chunks).enumerate().map(move |(n, bytes)| {
                let end = if n + 1 == chunks { last } else { CHUNK };
                bytes.map(|bytes| bytes.slice(..end))
            });
            (Some(*size), Body::from_stream(body))
        }
        Some(Fault::Drip(pause)) => {
            let pause = *pause;
            let bytes = stream::iter(answer.body).then(move |byte| async move {
                tokio::time::sleep(pause).await;
                Ok::<_, Infallible>(Bytes::from(vec![byte]))
            });
            (Some(length as u64), Body::from_stream(bytes))
        }
        _ => (Some(length as u64), Body::from(answer.body)),
    };
    if let Some(announced) = announced {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(announced));
    }
    if !head {
        *response.body_mut() = body;
    }
    response
}

const CHUNK: usize = 64 * 1024;

fn zeros() -> impl futures::Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    let chunk = Bytes::from(vec![0; CHUNK]);
    stream::repeat_with(move || Ok(chunk.clone()))
}
