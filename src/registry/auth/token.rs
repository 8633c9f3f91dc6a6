//! Bearer tokens: the answer of a token endpoint, and the cache in front of it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use quick_cache::sync::Cache;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use tokio::time::Instant;

use crate::{image::Registry, registry::FetchError};

/// How long a token is used when its answer does not say (distribution's token specification).
const DEFAULT_LIFETIME: Duration = Duration::from_mins(1);
/// How long any token is used, whatever its answer says.
const MAX_LIFETIME: Duration = Duration::from_hours(1);
/// How long before its end a token is no longer used.
const MARGIN: Duration = Duration::from_secs(5);
/// Tokens kept at a time.
const CAPACITY: usize = 4096;

/// A bearer token, ready to be sent.
pub(in crate::registry) struct Token {
    /// The value of the `Authorization` header.
    pub header: HeaderValue,
    expires: Instant,
    refused: AtomicBool,
}

/// What a token is good for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(in crate::registry) struct TokenKey {
    /// The registry, by its canonical name.
    pub registry: Registry,
    /// The repository in the scope.
    pub path: Arc<str>,
    /// The credential that it was asked for with; all zero for none.
    pub credential: [u8; 32],
}

/// All tokens. Each is fetched by one caller at a time.
pub(in crate::registry) struct Tokens(Cache<TokenKey, Arc<Slot>>);

#[derive(Default)]
struct Slot {
    token: ArcSwapOption<Token>,
    turn: tokio::sync::Mutex<()>,
    /// The last failure, for those who waited for their turn while it happened.
    failure: Mutex<Option<(Instant, FetchError)>>,
}

impl Token {
    /// A token from its text, usable for `lifetime` from `now` on.
    pub(in crate::registry) fn new(text: &str, lifetime: Duration, now: Instant) -> Option<Self> {
        let mut header = HeaderValue::try_from(format!("Bearer {text}")).ok()?;
        header.set_sensitive(true);
        let lifetime = lifetime.min(MAX_LIFETIME);
        // Half of a short lifetime is kept back at most, so that such a token is of some use.
        let expires = now + lifetime.saturating_sub(MARGIN.min(lifetime / 2));
        Some(Self { header, expires, refused: AtomicBool::new(false) })
    }

    /// Says that the registry did not take it: nobody uses it again.
    pub(in crate::registry) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    fn is_usable(&self) -> bool {
        !self.refused.load(Ordering::Relaxed) && Instant::now() < self.expires
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([redacted])")
    }
}

impl Tokens {
    pub(in crate::registry) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// The token for `key`: the cached one unless it is over or was refused, else what `fetch` gives.
    ///
    /// # Errors
    /// That of `fetch`, also where another caller's fetch failed while this one waited for it.
    pub(in crate::registry) async fn get(
        &self,
        key: TokenKey,
        fetch: impl Future<Output = Result<Token, FetchError>>,
    ) -> Result<Arc<Token>, FetchError> {
        let slot = match self.0.get(&key) {
            Some(slot) => slot,
            None => match self.0.get_or_insert_with(&key, || Ok::<_, FetchError>(Arc::new(Slot::default()))) {
                Ok(slot) => slot,
                Err(error) => return Err(error),
            },
        };
        if let Some(token) = slot.usable() {
            return Ok(token);
        }
        let arrived = Instant::now();
        let _turn = slot.turn.lock().await;
        if let Some(token) = slot.usable() {
            return Ok(token);
        }
        if let Some((at, error)) = &*slot.failure.lock().unwrap_or_else(PoisonError::into_inner)
            && *at >= arrived
        {
            return Err(error.clone());
        }
        let fetched = fetch.await;
        let mut failure = slot.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match fetched {
            Ok(token) => {
                *failure = None;
                let token = Arc::new(token);
                slot.token.store(Some(Arc::clone(&token)));
                Ok(token)
            }
            Err(error) => {
                *failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

impl Slot {
    fn usable(&self) -> Option<Arc<Token>> {
        self.token.load_full().filter(|token| token.is_usable())
    }
}

/// A token from the body of a token endpoint's answer.
///
/// # Errors
/// What is wrong with it; the text does not repeat the body.
pub(in crate::registry) fn parse_answer(body: &[u8], now: Instant) -> Result<Token, &'static str> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        token: Option<String>,
        #[serde(default)]
        access_token: Option<String>,
        #[serde(default)]
        expires_in: serde_json::Value,
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| "the token answer is not valid JSON")?;
    let text = answer.token.filter(|token| !token.is_empty()).or(answer.access_token).unwrap_or_default();
    if text.is_empty() {
        return Err("the token answer has no token");
    }
    let lifetime = answer.expires_in.as_u64().filter(|&s| s > 0).map_or(DEFAULT_LIFETIME, Duration::from_secs);
    Token::new(&text, lifetime, now).ok_or("the token has characters that no header can carry")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::registry::FetchErrorKind;

    fn key(path: &str) -> TokenKey {
        TokenKey { registry: "ghcr.io".parse().unwrap(), path: path.into(), credential: [0; 32] }
    }

    fn lifetime(body: &str, now: Instant) -> Duration {
        parse_answer(body.as_bytes(), now).unwrap().expires - now
    }

    #[test]
    fn reads_what_token_endpoints_send() {
        let now = Instant::now();
        assert_eq!(lifetime(r#"{"token":"a","expires_in":300,"issued_at":"x"}"#, now), Duration::from_secs(295));
        assert_eq!(lifetime(r#"{"access_token":"a"}"#, now), Duration::from_secs(55));
        assert_eq!(lifetime(r#"{"token":"a","expires_in":-1}"#, now), Duration::from_secs(55));
        assert_eq!(lifetime(r#"{"token":"a","expires_in":"x"}"#, now), Duration::from_secs(55));
        assert_eq!(lifetime(r#"{"token":"a","expires_in":2}"#, now), Duration::from_secs(1));
        assert_eq!(lifetime(r#"{"token":"a","expires_in":18446744073709551615}"#, now), Duration::from_secs(3595));
        let token = parse_answer(br#"{"token":"","access_token":"b"}"#, now).unwrap();
        assert_eq!(token.header, "Bearer b");
        assert_eq!(format!("{token:?} {:?}", token.header), "Token([redacted]) Sensitive");
        for body in ["", "[]", "{}", r#"{"token":1}"#, r#"{"token":""}"#, r#"{"token":"a\nb"}"#, "\u{ff}"] {
            assert!(parse_answer(body.as_bytes(), now).is_err(), "{body}");
        }
    }

    #[tokio::test]
    async fn a_token_is_fetched_once_and_again_when_over_or_refused() {
        let tokens = Tokens::new();
        let fetched = AtomicUsize::new(0);
        let fetch = || async {
            fetched.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(30)).await;
            Ok(Token::new("t", Duration::from_mins(1), Instant::now()).unwrap())
        };
        let all = futures::future::join_all((0..8).map(|_| tokens.get(key("a"), fetch()))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(fetched.load(Ordering::Relaxed), 1);
        let first = tokens.get(key("a"), fetch()).await.unwrap();
        tokens.get(key("b"), fetch()).await.unwrap();
        assert_eq!(fetched.load(Ordering::Relaxed), 2);
        first.refuse();
        let second = tokens.get(key("a"), fetch()).await.unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        first.refuse();
        tokens.get(key("a"), fetch()).await.unwrap();
        assert_eq!(fetched.load(Ordering::Relaxed), 3);
        let over = async { Ok(Token::new("t", Duration::ZERO, Instant::now()).unwrap()) };
        tokens.get(key("c"), over).await.unwrap();
        tokens.get(key("c"), fetch()).await.unwrap();
        assert_eq!(fetched.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn those_who_waited_share_a_failure_and_the_next_tries_again() {
        let tokens = Tokens::new();
        let fetched = AtomicUsize::new(0);
        let fail = || async {
            fetched.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(30)).await;
            Err(FetchError { endpoint: "auth".to_owned(), kind: FetchErrorKind::Status(500) })
        };
        let all = futures::future::join_all((0..8).map(|_| tokens.get(key("a"), fail()))).await;
        assert!(all.iter().all(|result| matches!(result, Err(error) if error.kind == FetchErrorKind::Status(500))));
        assert_eq!(fetched.load(Ordering::Relaxed), 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(tokens.get(key("a"), fail()).await.is_err());
        assert_eq!(fetched.load(Ordering::Relaxed), 2);
    }
}
