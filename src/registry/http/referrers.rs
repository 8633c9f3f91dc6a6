//! The referrers API (OCI distribution-spec 1.1, "Listing Referrers").

use reqwest::{
    Url,
    header::{CONTENT_TYPE, HeaderMap, LINK},
};
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{
    HttpSource,
    exchange::{Place, Want},
    link,
    redirect::same_origin,
};
use crate::{
    image::{Digest, Repository},
    registry::{Call, Descriptor, FetchError, FetchErrorKind, Referrers},
};

const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// How much all pages together may have, in multiples of one page's cap.
const MAX_PAGES_BYTES: u64 = 4;

impl HttpSource {
    pub(super) async fn fetch_referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
        call: &Call,
    ) -> Result<Referrers, FetchError> {
        let target = self.target(repository).await?;
        let caps = &self.shared.caps;
        let first = target.url("referrers", digest.as_str())?;
        let error = |kind| target.error(&first, kind);
        let protocol = |why: String| error(FetchErrorKind::Protocol(why));
        let mut listed = Vec::new();
        let mut entries = 0;
        let mut bytes = 0;
        let mut url = first.clone();
        for page in 0..caps.referrers_pages {
            let want = Want {
                url: url.clone(),
                accept: INDEX_TYPE,
                max_bytes: caps.referrers_bytes,
                algorithm: None,
                weight: 2,
                call: call.clone(),
            };
            let answer = self.ask(&target, &want).await?;
            let body = match answer.body {
                Some(body) if is_index(&answer.headers) => body,
                // Only the first page tells whether there is such an API.
                None if answer.place == Place::Elsewhere || !matches!(answer.status, 400 | 404 | 405 | 406) => {
                    return Err(error(FetchErrorKind::Status(answer.status)));
                }
                _ if answer.place == Place::Elsewhere => {
                    return Err(protocol("a redirect led to what is not an index".to_owned()));
                }
                _ if page == 0 => return Ok(Referrers::Unsupported),
                _ => return Err(protocol(format!("page {} of the referrers is not an index", page + 1))),
            };
            bytes += body.bytes.len() as u64;
            if bytes > caps.referrers_bytes * MAX_PAGES_BYTES {
                return Err(error(FetchErrorKind::TooLarge { max_bytes: caps.referrers_bytes * MAX_PAGES_BYTES }));
            }
            entries += read_page(&body.bytes, caps.referrers - entries, &mut listed)
                .map_err(|error| protocol(format!("the list of referrers cannot be used: {error}")))?;
            match next_page(&answer.headers, &first, &url).map_err(protocol)? {
                Some(next) => url = next,
                None => return Ok(Referrers::Listed(listed)),
            }
        }
        Err(protocol(format!("more than {} pages of referrers", caps.referrers_pages)))
    }
}

/// Adds the referrers in `json`, at most `room` of them, to `listed`, and says how many there were.
///
/// They are counted while they are read: a page within its cap in bytes can have a million empty ones.
fn read_page(json: &[u8], room: usize, listed: &mut Vec<Descriptor>) -> Result<usize, serde_json::Error> {
    let mut page = Page { room, count: 0, listed };
    let mut reader = serde_json::Deserializer::from_slice(json);
    reader.deserialize_map(&mut page)?;
    reader.end()?;
    Ok(page.count)
}

struct Page<'a> {
    room: usize,
    count: usize,
    listed: &'a mut Vec<Descriptor>,
}

impl<'de> Visitor<'de> for &mut Page<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an image index")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut is_read = false;
        while let Some(key) = map.next_key::<String>()? {
            if key != "manifests" {
                map.next_value::<IgnoredAny>()?;
            } else if is_read {
                return Err(A::Error::duplicate_field("manifests"));
            } else {
                map.next_value_seed(Manifests(&mut *self))?;
                is_read = true;
            }
        }
        Ok(())
    }
}

struct Manifests<'a, 'b>(&'a mut Page<'b>);

impl<'de> DeserializeSeed<'de> for Manifests<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Manifests<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of descriptors")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element()? {
            self.0.count += 1;
            if self.0.count > self.0.room {
                return Err(A::Error::custom(format_args!("more than {} are left to be read", self.0.room)));
            }
            if let Entry::Readable(descriptor) = entry {
                self.0.listed.push(*descriptor);
            }
        }
        Ok(())
    }

    // Go writes an empty list as `null`.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A descriptor that cannot be read (an unknown digest algorithm, say) is somebody's, but not evidence that
/// we can use: it must not take the others away.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Readable(Box<Descriptor>),
    Other(IgnoredAny),
}

fn is_index(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(INDEX_TYPE))
}

/// The next page, which has to be one of the same list.
fn next_page(headers: &HeaderMap, first: &Url, current: &Url) -> Result<Option<Url>, String> {
    for header in headers.get_all(LINK) {
        let text = header.to_str().map_err(|_| "its Link header is not text".to_owned())?;
        let Some(next) = link::next(text) else { continue };
        let mut next = current.join(next).map_err(|_| "its Link header has no URL".to_owned())?;
        if !same_origin(first, &next) || first.path() != next.path() || !next.username().is_empty() {
            return Err("its Link header leads away from the list of referrers".to_owned());
        }
        next.set_fragment(None);
        return Ok(Some(next));
    }
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn page(json: &str, room: usize) -> Result<(usize, usize), String> {
        let mut listed = Vec::new();
        let count = read_page(json.as_bytes(), room, &mut listed).map_err(|error| error.to_string())?;
        Ok((count, listed.len()))
    }

    #[test]
    fn a_page_is_counted_while_it_is_read() {
        let entry = format!(r#"{{"digest":"{}","size":1,"x":[]}}"#, Digest::of(b""));
        let of = |entries: &str| format!(r#"{{"schemaVersion":2,"manifests":[{entries}],"annotations":{{}}}}"#);
        assert_eq!(page("{}", 0), Ok((0, 0)));
        assert_eq!(page(r#"{"manifests":null}"#, 0), Ok((0, 0)));
        assert_eq!(page(&of(&format!("{entry},{{}},1,{entry}")), 4), Ok((4, 2)));
        let million = of(&vec!["{}"; 1_000_000].join(","));
        let deep = of(&"[".repeat(100_000));
        let bad =
            ["", "[]", "1", r#"{"manifests":{}}"#, r#"{"manifests":[],"manifests":[]}"#, "{} {}", "{\"a\":\"\u{1}\"}"];
        for json in bad.into_iter().chain([of(&entry).as_str(), &million, &deep]) {
            assert!(page(json, 0).is_err(), "{}", &json[..json.len().min(40)]);
        }
    }

    #[test]
    fn the_next_page_is_one_of_the_same_list() {
        let first = Url::parse("https://r.io/v2/a/referrers/sha256:0").unwrap();
        let next = |link: &str| {
            let headers = HeaderMap::from_iter([(LINK, link.parse().unwrap())]);
            next_page(&headers, &first, &first).map(|url| url.map(String::from))
        };
        let second = "https://r.io/v2/a/referrers/sha256:0?last=x";
        for link in
            ["<?last=x>; rel=next", "</v2/a/referrers/sha256:0?last=x>; rel=next", &format!("<{second}>; rel=next")]
        {
            assert_eq!(next(link), Ok(Some(second.to_owned())), "{link}");
        }
        assert_eq!(next("<?last=x>; rel=prev"), Ok(None));
        for link in [
            "/v2/b/referrers/sha256:0",
            "http://r.io/v2/a/referrers/sha256:0",
            "//evil.io/v2/a/referrers/sha256:0",
            "../../x",
        ] {
            assert!(next(&format!("<{link}>; rel=next")).is_err(), "{link}");
        }
    }
}
