//! One request and what it takes to get its answer: credentials, redirects, waiting, a second try.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::Engine as _;
use reqwest::{
    Method, Response, Url,
    header::{
        ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER,
        WWW_AUTHENTICATE,
    },
};
use tokio::{sync::SemaphorePermit, time::Instant};

use super::{
    HttpSource,
    address::{Class, Reach, Refusal},
    body::{self, Body, cause, drain},
    host::{Host, Scheme, TokenEndpoint},
    redirect::{self, MAX_REDIRECTS, is_redirect, same_origin},
};
use crate::{
    image::Algorithm,
    registry::{
        Call, CredentialsUsed, FetchError, FetchErrorKind,
        auth::{Challenge, Credential, Found, Token, TokenKey, challenges, parse_answer},
    },
};

/// How often one request waits because the registry asks it to.
const MAX_WAITS: usize = 2;

/// A repository and who we are to it.
pub(super) struct Target {
    pub host: Arc<Host>,
    /// The repository's name at that host.
    pub path: String,
    pub found: Found,
}

/// What is asked for.
#[derive(Clone)]
pub(super) struct Want {
    pub url: Url,
    pub accept: &'static str,
    pub max_bytes: u64,
    /// What the body is hashed with, on the way.
    pub algorithm: Option<Algorithm>,
    /// Bytes of memory that one byte of the body is charged as.
    pub weight: u64,
    pub call: Call,
}

/// An answer whose status is neither 401, 403 nor 429. The body is there only with status 200.
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Option<Body>,
    /// Who gave it.
    pub place: Place,
}

/// Who gave an answer. What a place that the registry redirected to says of the same question is the registry's word
/// (`registry.k8s.io` answers nothing itself); a maintenance page says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// The registry.
    Registry,
    /// Another host, asked for the same thing. With 404, whether it said so as a registry does.
    SameQuestion { not_found: bool },
    /// Something else.
    Elsewhere,
}

/// What one request carries.
struct Outgoing<'a> {
    method: Method,
    url: &'a Url,
    reach: Reach,
    accept: Option<&'static str>,
    authorization: Option<&'a HeaderValue>,
    form: Option<String>,
}

/// The `Authorization` of a request, and the token in it.
struct Authorization {
    header: HeaderValue,
    token: Option<Arc<Token>>,
}

/// An answer, at the end of its redirects.
struct Hop<'a> {
    response: Response,
    url: Url,
    left_registry: bool,
    permit: SemaphorePermit<'a>,
}

impl HttpSource {
    /// Asks for `want`, once more if the connection breaks.
    pub(super) async fn ask(&self, target: &Target, want: &Want) -> Result<Answer, FetchError> {
        match self.ask_once(target, want).await {
            Err(FetchError { kind: FetchErrorKind::Unreachable(_), .. }) => {
                self.shared.stats.sent_again();
                self.ask_once(target, want).await
            }
            answer => answer,
        }
    }

    async fn ask_once(&self, target: &Target, want: &Want) -> Result<Answer, FetchError> {
        let mut hop = self.authorized(target, want).await?;
        let status = hop.response.status().as_u16();
        let place = match hop.left_registry {
            false => Place::Registry,
            true if last_segments(&hop.url) == last_segments(&want.url) => {
                Place::SameQuestion { not_found: status == 404 && says_not_found(&mut hop.response).await }
            }
            true => Place::Elsewhere,
        };
        if status != 200 {
            let headers = std::mem::take(hop.response.headers_mut());
            drain(hop.response).await;
            return Ok(Answer { status, headers, body: None, place });
        }
        let mut reading = want.call.held.reading();
        let charge = |bytes| reading.arrived(bytes * want.weight);
        let body = body::read(&mut hop.response, want.max_bytes, want.algorithm, charge)
            .await
            .map_err(|kind| target.error(&hop.url, kind))?;
        reading.keep();
        self.shared.stats.received(body.bytes.len());
        Ok(Answer { status, headers: std::mem::take(hop.response.headers_mut()), body: Some(body), place })
    }

    /// Sends the request with what the registry asks for: at first what it asked for last time.
    async fn authorized<'a>(&self, target: &'a Target, want: &Want) -> Result<Hop<'a>, FetchError> {
        let mut is_second_try = false;
        let mut waits = 0;
        loop {
            let authorization = self.authorization(target).await?;
            let hop = self.follow(target, want, authorization.as_ref().map(|a| &a.header)).await?;
            let used = || if hop.left_registry { CredentialsUsed::Anonymous } else { target.found.used.clone() };
            let status = hop.response.status().as_u16();
            if matches!(status, 401 | 403)
                && !hop.left_registry
                && let Some(token) = authorization.as_ref().and_then(|a| a.token.as_ref())
            {
                // Also with 403: what was forbidden when the token was made may be allowed by now.
                token.refuse();
            }
            let sent_itself = authorization.as_ref().is_some_and(|authorization| authorization.token.is_none());
            if status == 401 && sent_itself && !hop.left_registry {
                // A helper is asked again next time: the credential may have been renewed.
                self.credentials.refused(&target.host.credentials);
            }
            match status {
                401 if !is_second_try && !hop.left_registry => {
                    self.learn(target, &hop, authorization.is_some())?;
                    is_second_try = true;
                    drain(hop.response).await;
                }
                401 => return Err(target.error(&hop.url, FetchErrorKind::Unauthorized(used()))),
                403 => return Err(target.error(&hop.url, FetchErrorKind::Forbidden(used()))),
                429 => {
                    let pause = retry_after(hop.response.headers())
                        .filter(|&pause| waits < MAX_WAITS && Instant::now() + pause < want.call.deadline)
                        .ok_or_else(|| target.error(&hop.url, FetchErrorKind::RateLimited))?;
                    waits += 1;
                    drain(hop.response).await;
                    drop(hop.permit);
                    tokio::time::sleep(pause).await;
                }
                _ => return Ok(hop),
            }
        }
    }

    /// Remembers how the registry wants to be asked.
    ///
    /// # Errors
    /// `Unauthorized` where it asks for something that we do not have, `Refused` for a token endpoint that
    /// must not be asked.
    fn learn(&self, target: &Target, hop: &Hop<'_>, sent: bool) -> Result<(), FetchError> {
        let mut basic = false;
        let mut bearer = None;
        for header in hop.response.headers().get_all(WWW_AUTHENTICATE) {
            for challenge in challenges(&String::from_utf8_lossy(header.as_bytes())) {
                match challenge {
                    Challenge::Basic => basic = true,
                    Challenge::Bearer { realm, service } => bearer = bearer.or(Some((realm, service))),
                }
            }
        }
        let scheme = if let Some((realm, service)) = bearer {
            let endpoint = self
                .token_endpoint(target, hop, &realm, service)
                .map_err(|why| target.error(&hop.url, FetchErrorKind::Refused(why)))?;
            Scheme::Bearer(endpoint)
        } else if basic && !sent && matches!(target.found.credential, Some(Credential::Basic { .. })) {
            Scheme::Basic
        } else {
            let used = target.found.used.clone();
            return Err(target.error(&hop.url, FetchErrorKind::Unauthorized(used)));
        };
        if target.host.scheme.load().as_deref() != Some(&scheme) {
            target.host.scheme.store(Some(Arc::new(scheme)));
        }
        Ok(())
    }

    /// Checks the token endpoint that the registry names: it will be sent credentials.
    fn token_endpoint(
        &self,
        target: &Target,
        hop: &Hop<'_>,
        realm: &str,
        service: Option<String>,
    ) -> Result<TokenEndpoint, String> {
        let mut realm = Url::parse(realm).map_err(|_| "token endpoint is not a URL".to_owned())?;
        let host = realm.host_str().unwrap_or_default().to_owned();
        match realm.scheme() {
            "https" => {}
            "http" if target.host.is_plain() => {}
            "http" => return Err(format!("token endpoint http://{host} of a registry on https")),
            scheme => return Err(format!("token endpoint with scheme {scheme:?}")),
        }
        if host.is_empty() || !realm.username().is_empty() || realm.password().is_some() {
            return Err(format!("token endpoint {host:?} without a host or with credentials in the URL"));
        }
        realm.set_fragment(None);
        let reach = if target.host.holds(&realm) || self.shared.directory.is_configured(&realm) {
            self.shared.directory.reach(&target.host, &realm)
        } else {
            // No further than where the registry itself is.
            match hop.response.remote_addr().map(|address| Class::of(address.ip())) {
                Some(Class::Private) => Reach::Private,
                Some(Class::Loopback) if !self.shared.clients.may_be_proxied(&hop.url) => Reach::Loopback,
                _ => Reach::Public,
            }
        };
        reach.check(&realm).map_err(|refusal| format!("token endpoint {refusal}"))?;
        Ok(TokenEndpoint { realm, service, reach })
    }

    async fn authorization(&self, target: &Target) -> Result<Option<Authorization>, FetchError> {
        match target.host.scheme.load_full().as_deref() {
            None => Ok(None),
            Some(Scheme::Basic) => {
                let header = target.found.credential.as_ref().and_then(basic_header);
                Ok(header.map(|header| Authorization { header, token: None }))
            }
            Some(Scheme::Bearer(endpoint)) => {
                let key = TokenKey {
                    registry: target.host.registry.clone(),
                    path: target.path.as_str().into(),
                    credential: target.found.credential.as_ref().map_or([0; 32], Credential::fingerprint),
                };
                let token = self.shared.tokens.get(key, self.fetch_token(target, endpoint)).await?;
                Ok(Some(Authorization { header: token.header.clone(), token: Some(token) }))
            }
        }
    }

    /// Asks the token endpoint for read access to the repository, and to nothing else.
    async fn fetch_token(&self, target: &Target, endpoint: &TokenEndpoint) -> Result<Token, FetchError> {
        let error = |kind| target.error(&endpoint.realm, kind);
        // An endpoint that gives no token may have moved: unless this ends well, the registry is asked anew.
        let remembered = Remembered(Some(&target.host));
        let mut response = match self.send_token_request(target, endpoint).await {
            Err(FetchErrorKind::Unreachable(_)) => {
                self.shared.stats.sent_again();
                self.send_token_request(target, endpoint).await
            }
            response => response,
        }
        .map_err(error)?;
        let used = || target.found.used.clone();
        match response.status().as_u16() {
            200 => {}
            401 => {
                self.credentials.refused(&target.host.credentials);
                remembered.keep();
                return Err(error(FetchErrorKind::Unauthorized(used())));
            }
            // What it says of one repository is no reason to ask anew for all.
            403 => {
                remembered.keep();
                return Err(error(FetchErrorKind::Forbidden(used())));
            }
            429 => {
                remembered.keep();
                return Err(error(FetchErrorKind::RateLimited));
            }
            status if is_redirect(status) => {
                return Err(error(FetchErrorKind::Refused("redirect of a token endpoint".to_owned())));
            }
            status => return Err(error(FetchErrorKind::Status(status))),
        }
        let body = body::read(&mut response, self.shared.caps.token_bytes, None, |_| Ok(())).await.map_err(error)?;
        let token =
            parse_answer(&body.bytes, Instant::now()).map_err(|why| error(FetchErrorKind::Protocol(why.to_owned())))?;
        remembered.keep();
        Ok(token)
    }

    async fn send_token_request(&self, target: &Target, endpoint: &TokenEndpoint) -> Result<Response, FetchErrorKind> {
        self.shared.stats.token_sent();
        let scope = format!("repository:{}:pull", target.path);
        let mut url = endpoint.realm.clone();
        let (method, form, header) = match &target.found.credential {
            Some(Credential::IdentityToken(token)) => {
                // The pairs are encoded by a URL that is not sent.
                let mut form = endpoint.realm.clone();
                form.set_query(None);
                form.query_pairs_mut()
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", "bonafide")
                    .append_pair("service", endpoint.service.as_deref().unwrap_or_default())
                    .append_pair("scope", &scope)
                    .append_pair("refresh_token", token.expose());
                (Method::POST, form.query().map(str::to_owned), None)
            }
            credential => {
                if let Some(service) = &endpoint.service {
                    url.query_pairs_mut().append_pair("service", service);
                }
                url.query_pairs_mut().append_pair("scope", &scope);
                (Method::GET, None, credential.as_ref().and_then(basic_header))
            }
        };
        let outgoing = Outgoing {
            method,
            url: &url,
            reach: endpoint.reach,
            accept: Some("application/json"),
            authorization: header.as_ref(),
            form,
        };
        self.send(outgoing).await
    }

    /// Sends a GET and follows its redirects, without credentials as soon as they lead elsewhere.
    async fn follow<'a>(
        &self,
        target: &'a Target,
        want: &Want,
        authorization: Option<&HeaderValue>,
    ) -> Result<Hop<'a>, FetchError> {
        let mut authorization = authorization;
        let mut url = want.url.clone();
        let mut left_registry = false;
        let mut from_public = false;
        let permit = target
            .host
            .permits
            .acquire()
            .await
            .map_err(|error| target.error(&url, FetchErrorKind::Unreachable(error.to_string())))?;
        for _ in 0..=MAX_REDIRECTS {
            let outgoing = Outgoing {
                method: Method::GET,
                url: &url,
                reach: if left_registry && from_public && !self.shared.directory.is_configured(&url) {
                    // A public registry leads nowhere into a private network.
                    Reach::Public
                } else {
                    self.shared.directory.reach(&target.host, &url)
                },
                accept: Some(want.accept),
                authorization,
                form: None,
            };
            let response = self.send(outgoing).await.map_err(|kind| target.error(&url, kind))?;
            if !is_redirect(response.status().as_u16()) {
                return Ok(Hop { response, url, left_registry, permit });
            }
            let next = redirect::target(&url, response.headers().get(LOCATION))
                .map_err(|why| target.error(&url, FetchErrorKind::Refused(why)))?;
            from_public |=
                response.remote_addr().is_some_and(|address| matches!(Class::of(address.ip()), Class::Public));
            if !same_origin(&url, &next) {
                authorization = None;
                left_registry = true;
            }
            drain(response).await;
            url = next;
        }
        let why = format!("more than {MAX_REDIRECTS} redirects");
        Err(target.error(&want.url, FetchErrorKind::Refused(why)))
    }

    async fn send(&self, outgoing: Outgoing<'_>) -> Result<Response, FetchErrorKind> {
        outgoing.reach.check(outgoing.url).map_err(|refusal| FetchErrorKind::Refused(refusal.to_string()))?;
        let client = self.shared.clients.of(outgoing.url, outgoing.reach).await.map_err(FetchErrorKind::Unreachable)?;
        let mut request = client
            .request(outgoing.method, outgoing.url.clone())
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(accept) = outgoing.accept {
            request = request.header(ACCEPT, HeaderValue::from_static(accept));
        }
        if let Some(authorization) = outgoing.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(form) = outgoing.form {
            let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
            request = request.header(CONTENT_TYPE, form_type).body(form);
        }
        let started = Instant::now();
        self.shared.stats.sent();
        let answer = request.send().await;
        let ms = started.elapsed().as_millis();
        let host = outgoing.url.host_str().unwrap_or_default();
        match answer {
            Ok(response) => {
                let status = response.status().as_u16();
                self.shared.stats.answered(status);
                tracing::debug!(host, path = outgoing.url.path(), status, ms, "registry answered");
                Ok(response)
            }
            Err(error) => {
                self.shared.stats.not_answered();
                let kind = not_answered(&error);
                tracing::debug!(host, path = outgoing.url.path(), error = %kind, ms, "registry did not answer");
                Err(kind)
            }
        }
    }
}

impl Target {
    /// The URL of `what` (`manifests`, `blobs`, `referrers`) called `name` in this repository.
    pub(super) fn url(&self, what: &str, name: &str) -> Result<Url, FetchError> {
        self.host.url(&self.path, what, name).ok_or_else(|| FetchError {
            endpoint: format!("{}/{}", self.host.registry, self.path),
            kind: FetchErrorKind::Refused("no URL can be made of it".to_owned()),
        })
    }

    /// An error about `url`.
    pub(super) fn error(&self, url: &Url, kind: FetchErrorKind) -> FetchError {
        FetchError { endpoint: self.host.endpoint(url), kind }
    }
}

/// The last two segments of a path: `manifests` and the name, `referrers` and the digest.
fn last_segments(url: &Url) -> Option<(&str, &str)> {
    let (rest, name) = url.path().rsplit_once('/')?;
    let (_, what) = rest.rsplit_once('/')?;
    Some((what, name))
}

/// Whether a 404 has the body with which a registry says that it has no such thing (distribution-spec, "Error Codes").
async fn says_not_found(response: &mut Response) -> bool {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<Error>,
    }
    #[derive(serde::Deserialize)]
    struct Error {
        code: String,
    }
    const MAX_BYTES: u64 = 16 << 10;
    let Ok(body) = body::read(response, MAX_BYTES, None, |_| Ok(())).await else { return false };
    serde_json::from_slice::<Errors>(&body.bytes).is_ok_and(|body| {
        let known = |error: &Error| matches!(error.code.as_str(), "MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "NOT_FOUND");
        body.errors.iter().any(known)
    })
}

/// Makes a host forget how it asked for credentials, unless told to keep it: also when a deadline ends the
/// call half-way.
struct Remembered<'a>(Option<&'a Host>);

impl Remembered<'_> {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Remembered<'_> {
    fn drop(&mut self) {
        if let Some(host) = self.0 {
            host.scheme.store(None);
        }
    }
}

/// Why there is no answer: refused by the resolver, or no connection.
fn not_answered(error: &reqwest::Error) -> FetchErrorKind {
    let mut cause_: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause_ {
        if let Some(refusal) = inner.downcast_ref::<Refusal>() {
            return FetchErrorKind::Refused(refusal.to_string());
        }
        cause_ = inner.source();
    }
    FetchErrorKind::Unreachable(cause(error))
}

fn basic_header(credential: &Credential) -> Option<HeaderValue> {
    let Credential::Basic { username, password } = credential else { return None };
    let pair = format!("{username}:{}", password.expose());
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    let mut header = HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// How long the registry asks us to wait: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let date = SystemTime::from(date);
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}
