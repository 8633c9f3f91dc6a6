//! Which redirects are followed.

use reqwest::{Url, header::HeaderValue};

/// Redirects that one request follows at most.
pub(super) const MAX_REDIRECTS: usize = 5;

/// Whether `status` sends a GET elsewhere.
pub(super) const fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect from `from` leads.
///
/// # Errors
/// Why it is not followed. The text names hosts only: a location may carry a signature in its query.
pub(super) fn target(from: &Url, location: Option<&HeaderValue>) -> Result<Url, String> {
    let location = location.ok_or("redirect without a Location header")?;
    let location = location.to_str().map_err(|_| "redirect to something that is not a URL")?;
    let mut to = from.join(location).map_err(|_| "redirect to something that is not a URL")?;
    let host = to.host_str().unwrap_or_default();
    match to.scheme() {
        "https" => {}
        "http" if from.scheme() == "http" => {}
        "http" => return Err(format!("redirect from https to http://{host}")),
        scheme => return Err(format!("redirect to scheme {scheme:?}")),
    }
    if host.is_empty() {
        return Err("redirect to a URL without a host".to_owned());
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(format!("redirect to {host} with credentials in the URL"));
    }
    to.set_fragment(None);
    Ok(to)
}

/// Whether credentials for `a` may be sent to `b`: the same scheme, host and port.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host_str() == b.host_str() && a.port_or_known_default() == b.port_or_known_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn follow(from: &str, location: &str) -> Result<String, String> {
        let location = HeaderValue::from_bytes(location.as_bytes()).unwrap();
        target(&Url::parse(from).unwrap(), Some(&location)).map(Into::into)
    }

    #[test]
    fn follows_what_stays_as_safe() {
        let from = "https://r.io/v2/a/blobs/d";
        assert_eq!(follow(from, "/x?s=1#f"), Ok("https://r.io/x?s=1".to_owned()));
        assert_eq!(follow(from, "https://cdn.io/x"), Ok("https://cdn.io/x".to_owned()));
        assert_eq!(follow(from, "//cdn.io/x"), Ok("https://cdn.io/x".to_owned()));
        assert_eq!(follow("http://r.io/", "http://cdn.io/x"), Ok("http://cdn.io/x".to_owned()));
        assert_eq!(follow("http://r.io/", "https://cdn.io/x"), Ok("https://cdn.io/x".to_owned()));
    }

    #[test]
    fn refuses_the_rest() {
        let from = "https://r.io/v2/a/blobs/d";
        for location in [
            "http://r.io/x",
            "file:///etc/passwd",
            "ftp://r.io/",
            "https://u:p@r.io/",
            "https://u@r.io/",
            "https://",
            "\u{e4}\u{ff}",
        ] {
            assert!(follow(from, location).is_err() || location.starts_with('\u{e4}'), "{location}");
        }
        let bytes = HeaderValue::from_bytes(b"\xff\xfe").unwrap();
        assert!(target(&Url::parse(from).unwrap(), Some(&bytes)).is_err());
        assert!(target(&Url::parse(from).unwrap(), None).is_err());
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let is = |a: &str, b: &str| same_origin(&Url::parse(a).unwrap(), &Url::parse(b).unwrap());
        assert!(is("https://r.io/a", "https://R.io:443/b"));
        assert!(!is("https://r.io/", "https://r.io:444/"));
        assert!(!is("https://r.io/", "http://r.io/"));
        assert!(!is("https://r.io/", "https://s.r.io/"));
    }
}
