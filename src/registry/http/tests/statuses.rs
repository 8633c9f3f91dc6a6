//! What each status and each referrers answer means.

use super::{
    server::{Reply, Server, answer},
    *,
};
use crate::registry::CredentialsUsed;

const INDEX: &str = "content-type: application/vnd.oci.image.index.v1+json";

fn entry(name: &str) -> String {
    format!(r#"{{"mediaType":"x","digest":"{}","size":1}}"#, Digest::of(name.as_bytes()))
}

#[tokio::test]
async fn a_manifest_is_read_by_tag_and_by_digest() {
    let server = Server::always(answer(200, &[], "{}")).await;
    let source = source(&server);
    let by_tag = manifest(&source).await.unwrap().unwrap();
    assert_eq!((by_tag.digest.clone(), &by_tag.bytes[..]), (Digest::of(b"{}"), &b"{}"[..]));
    let by_digest = source.manifest(&repository(), &Pointer::Digest(Digest::of(b"{}")), &soon()).await.unwrap();
    assert_eq!(by_digest.unwrap().digest, by_tag.digest);
    let requests = server.seen();
    assert_eq!(requests[0].target, "/v2/org/app/manifests/v1");
    assert_eq!(requests[1].target, format!("/v2/org/app/manifests/{}", by_tag.digest));
    assert_eq!(requests[0].header("accept"), Some(MANIFEST_TYPES));
    assert_eq!(requests[0].header("accept-encoding"), Some("identity"));
    assert_eq!(requests[0].header("user-agent"), Some("bonafide-test"));
    assert_eq!((requests[0].header("authorization"), requests[0].header("referer")), (None, None));
    assert_eq!(source.stats().counts().success, 2);
}

#[tokio::test]
async fn not_found_is_none_and_every_other_status_an_error() {
    let anonymous = CredentialsUsed::Anonymous;
    for (status, expected) in [
        (401, FetchErrorKind::Unauthorized(anonymous.clone())),
        (403, FetchErrorKind::Forbidden(anonymous)),
        (429, FetchErrorKind::RateLimited),
        (400, FetchErrorKind::Status(400)),
        (204, FetchErrorKind::Status(204)),
        (206, FetchErrorKind::Status(206)),
        (304, FetchErrorKind::Status(304)),
        (500, FetchErrorKind::Status(500)),
        (503, FetchErrorKind::Status(503)),
    ] {
        let server = Server::always(answer(status, &[], "")).await;
        assert_eq!(manifest(&source(&server)).await.unwrap_err(), expected, "{status}");
    }
    let server = Server::always(answer(404, &[], r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#)).await;
    assert!(matches!(manifest(&source(&server)).await, Ok(None)));
}

#[tokio::test]
async fn referrers_are_unsupported_only_where_there_is_no_such_api() {
    let html = answer(200, &["content-type: text/html"], "<html>");
    let no_type = answer(200, &[], r#"{"manifests":[]}"#);
    for reply in [answer(404, &[], ""), answer(400, &[], ""), answer(405, &[], ""), answer(406, &[], ""), html, no_type]
    {
        let server = Server::always(reply).await;
        assert!(matches!(referrers(&source(&server)).await, Ok(Referrers::Unsupported)));
    }
    for (status, code) in [
        (401, "RegistryUnauthorized"),
        (403, "RegistryForbidden"),
        (429, "RegistryRateLimited"),
        (500, "RegistryError"),
        (302, "RegistryRefused"),
    ] {
        let server = Server::always(answer(status, &[], "")).await;
        assert_eq!(referrers(&source(&server)).await.unwrap_err().code(), code, "{status}");
    }
    let server = Server::always(answer(200, &[INDEX], "{")).await;
    assert_eq!(referrers(&source(&server)).await.unwrap_err().code(), "RegistryProtocolError");
}

#[tokio::test]
async fn referrers_are_read_over_all_pages_and_a_strange_one_does_not_hide_the_others() {
    let server = Server::start(|request| {
        let page = |link: &[&str], entries: &[String]| {
            let body = format!(r#"{{"manifests":[{}]}}"#, entries.join(","));
            answer(200, &[&[INDEX], link].concat(), &body)
        };
        match request.target.split_once('?').map(|(_, query)| query) {
            None => {
                page(&["link: <?page=2>; rel=\"next\""], &[entry("a"), r#"{"digest":"blake3:00","size":1}"#.to_owned()])
            }
            Some("page=2") => page(&["link: </v2/org/app/referrers/elsewhere>; rel=prev, <?page=3>; rel=next"], &[]),
            Some(_) => page(&[], &[entry("b")]),
        }
    })
    .await;
    let Referrers::Listed(listed) = referrers(&source(&server)).await.unwrap() else { panic!("unsupported") };
    let digests: Vec<_> = listed.into_iter().map(|descriptor| descriptor.digest).collect();
    assert_eq!(digests, [Digest::of(b"a"), Digest::of(b"b")]);
    assert_eq!(server.targets().len(), 3);
}

#[tokio::test]
async fn referrers_keep_to_the_caps() {
    let many = vec![entry("a"); 1001].join(",");
    let many = Server::always(answer(200, &[INDEX], &format!(r#"{{"manifests":[{many}]}}"#))).await;
    let endless = Server::always(answer(200, &[INDEX, "link: <?again>; rel=next"], r#"{"manifests":[]}"#)).await;
    let away = Server::always(answer(200, &[INDEX, "link: </v2/x>; rel=next"], r#"{"manifests":[]}"#)).await;
    for server in [&many, &endless, &away] {
        assert!(matches!(referrers(&source(server)).await.unwrap_err(), FetchErrorKind::Protocol(_)));
    }
    assert_eq!((many.targets().len(), endless.targets().len(), away.targets().len()), (1, 64, 1));
    let mut small = options(&many);
    small.caps.referrers_bytes = 1000;
    let source = HttpSource::new(&small).unwrap();
    assert_eq!(referrers(&source).await.unwrap_err(), FetchErrorKind::TooLarge { max_bytes: 1000 });
    small.mirrors = options(&endless).mirrors;
    small.caps.referrers_bytes = 20;
    let source = HttpSource::new(&small).unwrap();
    assert_eq!(referrers(&source).await.unwrap_err(), FetchErrorKind::TooLarge { max_bytes: 80 });
}

#[tokio::test]
async fn a_later_page_that_fails_is_an_error_not_the_end() {
    let first = answer(200, &[INDEX, "link: <?page=2>; rel=next"], r#"{"manifests":[]}"#);
    for status in [404, 500] {
        let first = first.clone();
        let server =
            Server::start(
                move |request| {
                    if request.target.contains("page=2") { answer(status, &[], "") } else { first.clone() }
                },
            )
            .await;
        let code = referrers(&source(&server)).await.unwrap_err().code();
        assert!(matches!(code, "RegistryProtocolError" | "RegistryError"), "{status}: {code}");
    }
}

#[tokio::test]
async fn a_wait_that_fits_the_deadline_is_kept() {
    for (after, deadline_ms, expected) in
        [("0", 10_000, None), ("1", 10_000, None), ("7", 500, Some(())), ("x", 10_000, Some(()))]
    {
        let header = format!("retry-after: {after}");
        let server = Server::start({
            let asked = std::sync::atomic::AtomicUsize::new(0);
            move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => answer(429, &[&header], ""),
                _ => answer(200, &[], "{}"),
            }
        })
        .await;
        let deadline = Instant::now() + Duration::from_millis(deadline_ms);
        let found =
            source(&server).manifest(&repository(), &v1(), &Call::until(deadline)).await.map_err(|error| error.kind);
        match expected {
            None => assert!(found.unwrap().is_some(), "{after}"),
            Some(()) => assert_eq!(found.unwrap_err(), FetchErrorKind::RateLimited, "{after}"),
        }
    }
    let server = Server::always(answer(429, &["retry-after: 0"], "")).await;
    assert_eq!(manifest(&source(&server)).await.unwrap_err(), FetchErrorKind::RateLimited);
    assert_eq!(server.targets().len(), 3);
}

#[tokio::test]
async fn a_connection_that_breaks_is_tried_once_more() {
    let server = Server::start({
        let asked = std::sync::atomic::AtomicUsize::new(0);
        move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Reply::Reset,
            _ => answer(200, &[], "{}"),
        }
    })
    .await;
    assert!(manifest(&source(&server)).await.unwrap().is_some());
    let server = Server::always(Reply::Reset).await;
    let source = source(&server);
    assert_eq!(manifest(&source).await.unwrap_err().code(), "RegistryUnreachable");
    assert_eq!(source.stats().counts().retries, 1);
}

#[tokio::test]
async fn an_error_names_the_place_that_was_asked() {
    let server = Server::always(answer(500, &[], "")).await;
    let error = source(&server).manifest(&repository(), &v1(), &soon()).await.unwrap_err();
    let expected = format!("{}/v2/org/app/manifests/v1 (mirror of ghcr.io): answered status 500", server.address);
    assert_eq!(error.to_string(), expected);
}
