//! Reading a body: never more than allowed, hashed on the way.

use aws_lc_rs::digest::{Context, SHA256, SHA512};
use bytes::Bytes;
use reqwest::{Response, header::CONTENT_ENCODING};

use crate::{
    image::{Algorithm, Digest},
    registry::FetchErrorKind,
};

/// How much is set aside before anything has arrived: a header is only a claim.
const FIRST_BYTES: u64 = 64 << 10;
/// How much of an unwanted body is read so that its connection can be used again.
const DRAIN_BYTES: usize = 16 << 10;
/// How long that may take. What an answer consists of usually arrives at once.
const DRAIN_TIME: std::time::Duration = std::time::Duration::from_millis(50);

/// A body, read to its end.
pub(super) struct Body {
    pub bytes: Bytes,
    /// What the bytes hash to, where that was asked for.
    pub digest: Option<Digest>,
}

/// Reads the body of `response`: at most `max_bytes` of it, each part charged when it arrives.
///
/// # Errors
/// `TooLarge` as soon as there is more, `Protocol` when it is encoded, `Unreachable` when it breaks off.
pub(super) async fn read(
    response: &mut Response,
    max_bytes: u64,
    algorithm: Option<Algorithm>,
    mut charge: impl FnMut(u64) -> Result<(), FetchErrorKind>,
) -> Result<Body, FetchErrorKind> {
    let too_large = || FetchErrorKind::TooLarge { max_bytes };
    for encoding in response.headers().get_all(CONTENT_ENCODING) {
        if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
            let encoding = String::from_utf8_lossy(encoding.as_bytes()).chars().take(32).collect::<String>();
            return Err(FetchErrorKind::Protocol(format!("content encoding {encoding:?}, which was not asked for")));
        }
    }
    let announced = response.content_length().unwrap_or(0);
    if announced > max_bytes {
        return Err(too_large());
    }
    let mut hash = algorithm.map(|algorithm| match algorithm {
        Algorithm::Sha256 => (algorithm, Context::new(&SHA256)),
        Algorithm::Sha512 => (algorithm, Context::new(&SHA512)),
    });
    let mut bytes: Vec<u8> = Vec::with_capacity(usize::try_from(announced.min(FIRST_BYTES)).unwrap_or_default());
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        let length = bytes.len() as u64 + chunk.len() as u64;
        if length > max_bytes {
            return Err(too_large());
        }
        charge(chunk.len() as u64)?;
        if bytes.capacity() < bytes.len() + chunk.len() {
            // Twice as much as has arrived, but never more than may arrive.
            let room = (length * 2).min(if announced >= length { announced } else { max_bytes });
            bytes.reserve_exact(usize::try_from(room).unwrap_or_default().saturating_sub(bytes.len()));
        }
        if let Some((_, context)) = &mut hash {
            context.update(&chunk);
        }
        bytes.extend_from_slice(&chunk);
    }
    let digest = match hash {
        None => None,
        Some((algorithm, context)) => {
            let text = format!("{}:{}", algorithm.as_str(), hex::encode(context.finish()));
            Some(text.parse().map_err(|_| FetchErrorKind::Protocol("its digest cannot be written".to_owned()))?)
        }
    };
    Ok(Body { bytes: bytes.into(), digest })
}

/// Reads what is left of an answer whose body does not matter, so that its connection can be used again.
pub(super) async fn drain(mut response: Response) {
    let mut left = DRAIN_BYTES;
    let _ = tokio::time::timeout(DRAIN_TIME, async {
        while let Ok(Some(chunk)) = response.chunk().await {
            match left.checked_sub(chunk.len()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    })
    .await;
}

/// The innermost cause of `error`: the outer ones repeat the URL, whose query may hold a signature.
pub(super) fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn broken(error: &reqwest::Error) -> FetchErrorKind {
    FetchErrorKind::Unreachable(format!("connection broke off: {}", cause(error)))
}
