//! Tokens and credentials: which are asked for, how often, and who gets to see them.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    server::{Reply, Request, Server, answer},
    *,
};
use crate::registry::CredentialsUsed;

fn unauthorized(realm: &str) -> Reply {
    let challenge = format!(
        "www-authenticate: Bearer realm=\"{realm}\",service=\"reg\",scope=\"repository:org/app:pull,push repository:secret:*\""
    );
    answer(401, &[&challenge], r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#)
}

fn host(request: &Request) -> &str {
    request.header("host").unwrap()
}

/// A registry with a token endpoint of its own; tokens are numbered, and `accepts` says which are good.
async fn registry(accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Server {
    let tokens = AtomicUsize::new(0);
    Server::start(move |request| {
        if request.target.starts_with("/token") {
            let number = tokens.fetch_add(1, Ordering::Relaxed);
            return answer(200, &[], &format!(r#"{{"token":"t{number}","expires_in":300}}"#));
        }
        match request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")) {
            Some(token) if accepts(token) => answer(200, &[], "{}"),
            _ => unauthorized(&format!("http://{}/token?a=b", host(request))),
        }
    })
    .await
}

fn with_config(server: &Server, json: &str) -> HttpSource {
    let credentials = Credentials::docker_config_json("test", json.as_bytes()).unwrap();
    source(server).with_credentials(credentials)
}

fn basic(server: &Server) -> HttpSource {
    let config = format!(r#"{{"auths":{{"{}":{{"username":"ada","password":"hunter2"}}}}}}"#, server.address);
    with_config(server, &config)
}

/// `Basic` of `ada:hunter2`.
const ADA: &str = "Basic YWRhOmh1bnRlcjI=";

#[tokio::test]
async fn one_token_serves_many_calls_and_asks_for_no_more_than_it_needs() {
    let server = registry(|_| true).await;
    let source = source(&server);
    for _ in 0..5 {
        assert!(manifest(&source).await.unwrap().is_some());
    }
    let all = futures::future::join_all((0..8).map(|_| manifest(&source))).await;
    assert!(all.iter().all(Result::is_ok));
    let targets = server.targets();
    assert_eq!(targets[1], "/token?a=b&service=reg&scope=repository%3Aorg%2Fapp%3Apull");
    assert_eq!(targets.len(), 1 + 1 + 13);
    let counts = source.stats().counts();
    assert_eq!((counts.tokens, counts.unauthorized, counts.requests), (1, 1, 15));
}

#[tokio::test]
async fn a_further_repository_asks_for_its_token_straight_away() {
    let server = registry(|_| true).await;
    let source = source(&server);
    manifest(&source).await.unwrap();
    let other = repository_of("ghcr.io/org/other");
    source.manifest(&other, &v1(), &soon()).await.unwrap();
    let targets = server.targets();
    assert_eq!(targets[3], "/token?a=b&service=reg&scope=repository%3Aorg%2Fother%3Apull");
    assert_eq!((targets[4].as_str(), targets.len()), ("/v2/org/other/manifests/v1", 5));
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let server = registry(|token| token != "t0").await;
    let source = source(&server);
    let kind = manifest(&source).await.unwrap_err();
    assert_eq!(kind, FetchErrorKind::Unauthorized(CredentialsUsed::Anonymous));
    assert_eq!(server.targets().len(), 3);
    assert!(manifest(&source).await.unwrap().is_some());
    assert_eq!(server.targets().len(), 5);
    assert_eq!(source.stats().counts().tokens, 2);
}

#[tokio::test]
async fn credentials_go_to_the_token_endpoint_and_to_nobody_else() {
    let server = registry(|_| true).await;
    assert!(manifest(&basic(&server)).await.unwrap().is_some());
    let sent: Vec<_> = server.seen().iter().map(|r| r.header("authorization").map(str::to_owned)).collect();
    assert_eq!(sent, [None, Some(ADA.to_owned()), Some("Bearer t0".to_owned())]);
}

#[tokio::test]
async fn tokens_are_kept_apart_by_credential() {
    let server = registry(|_| true).await;
    let anonymous = source(&server);
    manifest(&anonymous).await.unwrap();
    let config = format!(r#"{{"auths":{{"{}":{{"username":"ada","password":"hunter2"}}}}}}"#, server.address);
    let ada = anonymous.with_credentials(Credentials::docker_config_json("test", config.as_bytes()).unwrap());
    manifest(&ada).await.unwrap();
    manifest(&anonymous).await.unwrap();
    let used: Vec<_> = server.seen().iter().filter_map(|r| r.header("authorization").map(str::to_owned)).collect();
    assert_eq!(used, ["Bearer t0", ADA, "Bearer t1", "Bearer t0"]);
}

#[tokio::test]
async fn credentials_of_the_canonical_host_are_not_sent_to_its_mirror() {
    let server = registry(|_| true).await;
    let source = with_config(&server, r#"{"auths":{"ghcr.io":{"username":"ada","password":"hunter2"}}}"#);
    assert!(manifest(&source).await.unwrap().is_some());
    assert!(server.seen().iter().all(|request| request.header("authorization") != Some(ADA)));
}

#[tokio::test]
async fn an_identity_token_is_posted() {
    let server = registry(|_| true).await;
    let config = format!(r#"{{"auths":{{"{}":{{"identitytoken":"id&1"}}}}}}"#, server.address);
    assert!(manifest(&with_config(&server, &config)).await.unwrap().is_some());
    let request = &server.seen()[1];
    assert_eq!((request.method.as_str(), request.header("authorization")), ("POST", None));
    assert_eq!(
        request.body,
        "grant_type=refresh_token&client_id=bonafide&service=reg&scope=repository%3Aorg%2Fapp%3Apull&refresh_token=id%261"
    );
}

#[tokio::test]
async fn basic_is_sent_only_when_asked_for_and_only_where_it_is_known() {
    let server = Server::start(|request| match request.header("authorization") {
        Some(ADA) => answer(200, &[], "{}"),
        _ => answer(401, &["www-authenticate: Basic realm=\"x\""], ""),
    })
    .await;
    let known = basic(&server);
    assert!(manifest(&known).await.unwrap().is_some());
    assert!(manifest(&known).await.unwrap().is_some());
    assert_eq!(server.targets().len(), 3);
    let unknown = manifest(&source(&server)).await.unwrap_err();
    assert_eq!(unknown, FetchErrorKind::Unauthorized(CredentialsUsed::Anonymous));

    let server = Server::always(answer(401, &["www-authenticate: Basic realm=\"x\""], "")).await;
    let wrong = manifest(&basic(&server)).await.unwrap_err();
    assert_eq!(wrong, FetchErrorKind::Unauthorized(CredentialsUsed::From("docker config test".to_owned())));
    assert_eq!(server.targets().len(), 2);
}

#[tokio::test]
async fn a_redirect_to_another_port_carries_no_credentials() {
    let other = Server::always(answer(200, &[], "12345")).await;
    let there = format!("location: http://{}/blob?signature=secret", other.address);
    let server = Server::start(move |request| match request.header("authorization") {
        None => unauthorized(&format!("http://{}/token", host(request))),
        Some(_) if request.target.starts_with("/here") => answer(307, &[&there], ""),
        Some(_) if request.target.starts_with("/token") => answer(200, &[], r#"{"token":"t"}"#),
        Some(_) => answer(307, &["location: /here"], ""),
    })
    .await;
    let mut options = options(&server);
    options.allowed_hosts.push(other.address.to_string().parse().unwrap());
    let config = format!(r#"{{"auths":{{"{}":{{"username":"ada","password":"hunter2"}}}}}}"#, server.address);
    options.credentials = Credentials::docker_config_json("test", config.as_bytes()).unwrap();
    let source = HttpSource::new(&options).unwrap();
    assert_eq!(blob(&source, &descriptor(b"12345")).await.unwrap(), "12345");
    assert_eq!(server.seen().last().unwrap().header("authorization"), Some("Bearer t"));
    assert_eq!(other.seen()[0].header("authorization"), None);
    assert_eq!(other.seen()[0].target, "/blob?signature=secret");
}

#[tokio::test]
async fn whoever_a_redirect_leads_to_gets_no_token_asked_for() {
    let other = Server::start(|request| unauthorized(&format!("http://{}/token", host(request)))).await;
    let there = format!("location: http://{}/x?signature=secret", other.address);
    let server = Server::always(answer(307, &[&there], "")).await;
    let mut options = options(&server);
    options.allowed_hosts.push(other.address.to_string().parse().unwrap());
    let config = r#"{"auths":{"ghcr.io":{"username":"ada","password":"hunter2"}}}"#;
    options.credentials = Credentials::docker_config_json("test", config.as_bytes()).unwrap();
    let source = HttpSource::new(&options).unwrap();
    let error = source.blob(&repository(), &descriptor(b"12345"), 10, &soon()).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Unauthorized(CredentialsUsed::Anonymous));
    assert_eq!(error.endpoint, format!("{}/x", other.address));
    assert_eq!(other.targets().len(), 1);
}

#[tokio::test]
async fn a_token_endpoint_has_to_be_a_place_that_may_be_asked() {
    for realm in [
        "",
        "token",
        "/token",
        "ftp://auth.example/token",
        "file:///etc/passwd",
        "http://169.254.169.254/token",
        "http://[fe80::1]/token",
        "https://0.0.0.0/token",
        "https://ada:hunter2@auth.example/token",
    ] {
        let reply = unauthorized(realm);
        let server = Server::always(reply).await;
        let error = manifest(&basic(&server)).await.unwrap_err();
        assert!(matches!(error, FetchErrorKind::Refused(_)), "{realm}: {error}");
        assert!(!error.to_string().contains("hunter2"));
        assert_eq!(server.targets().len(), 1);
    }
}

#[tokio::test]
async fn a_token_endpoint_that_fails_says_how() {
    let used = || CredentialsUsed::From("docker config test".to_owned());
    let long = format!(r#"{{"token":"{}"}}"#, "x".repeat(70_000));
    for (reply, expected) in [
        (answer(401, &[], ""), FetchErrorKind::Unauthorized(used())),
        (answer(403, &[], ""), FetchErrorKind::Forbidden(used())),
        (answer(429, &[], ""), FetchErrorKind::RateLimited),
        (answer(500, &[], ""), FetchErrorKind::Status(500)),
        (answer(307, &["location: /x"], ""), FetchErrorKind::Refused("redirect of a token endpoint".to_owned())),
        (answer(200, &[], &long), FetchErrorKind::TooLarge { max_bytes: 64 << 10 }),
        (answer(200, &[], "{}"), FetchErrorKind::Protocol("the token answer has no token".to_owned())),
        (answer(200, &[], "<"), FetchErrorKind::Protocol("the token answer is not valid JSON".to_owned())),
    ] {
        let server = Server::start(move |request| {
            if request.target.starts_with("/token") {
                reply.clone()
            } else {
                unauthorized(&format!("http://{}/token", host(request)))
            }
        })
        .await;
        let error = basic(&server).manifest(&repository(), &v1(), &soon()).await.unwrap_err();
        assert_eq!(error.kind, expected);
        assert!(error.endpoint.ends_with("/token (mirror of ghcr.io)"), "{}", error.endpoint);
    }
}

#[tokio::test]
async fn a_challenge_that_cannot_be_answered_is_a_refusal() {
    for challenge in
        ["", "www-authenticate: Negotiate", "www-authenticate: \u{e4}\u{ff}", "www-authenticate: Bearer service=x"]
    {
        let headers: &[&str] = if challenge.is_empty() { &[] } else { &[challenge] };
        let server = Server::always(answer(401, headers, "")).await;
        let error = manifest(&source(&server)).await.unwrap_err();
        assert_eq!(error, FetchErrorKind::Unauthorized(CredentialsUsed::Anonymous), "{challenge}");
    }
}

#[tokio::test]
async fn a_token_endpoint_that_fails_is_looked_up_again() {
    // The registry names /old first and /new from then on; /old stops working.
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| match request.target.split('?').next().unwrap_or_default() {
        "/old" if request.target.contains("other") => answer(500, &[], ""),
        "/old" => answer(200, &[], r#"{"token":"t"}"#),
        "/new" => answer(200, &[], r#"{"token":"n"}"#),
        _ if request.header("authorization").is_some() => answer(200, &[], "{}"),
        _ => {
            let path = if asked.fetch_add(1, Ordering::Relaxed) == 0 { "old" } else { "new" };
            unauthorized(&format!("http://{}/{path}", host(request)))
        }
    })
    .await;
    let source = source(&server);
    assert!(manifest(&source).await.unwrap().is_some());
    let other = repository_of("ghcr.io/org/other");
    let error = source.manifest(&other, &v1(), &soon()).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Status(500));
    assert!(source.manifest(&other, &v1(), &soon()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_token_endpoint_that_hangs_ends_at_the_deadline_and_is_looked_up_again() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        if request.target.starts_with("/token") {
            return match asked.fetch_add(1, Ordering::Relaxed) {
                0 => Reply::Keep(Vec::new()),
                _ => answer(200, &[], r#"{"token":"t"}"#),
            };
        }
        match request.header("authorization") {
            Some(_) => answer(200, &[], "{}"),
            None => unauthorized(&format!("http://{}/token", host(request))),
        }
    })
    .await;
    let source = source(&server);
    let deadline = Instant::now() + Duration::from_millis(200);
    let repository = repository();
    let v1 = v1();
    let call = Call::until(deadline);
    let all = futures::future::join_all((0..4).map(|_| source.manifest(&repository, &v1, &call))).await;
    for found in all {
        assert!(matches!(found.unwrap_err().kind, FetchErrorKind::Timeout { .. }));
    }
    assert!(manifest(&source).await.unwrap().is_some());
}

#[tokio::test]
async fn what_was_forbidden_is_asked_again_with_a_new_token() {
    let server = Server::start({
        let tokens = AtomicUsize::new(0);
        move |request| match request.header("authorization") {
            _ if request.target.starts_with("/token") => {
                answer(200, &[], &format!(r#"{{"token":"t{}"}}"#, tokens.fetch_add(1, Ordering::Relaxed)))
            }
            None => unauthorized(&format!("http://{}/token", host(request))),
            Some("Bearer t0") => answer(403, &[], ""),
            Some(_) => answer(200, &[], "{}"),
        }
    })
    .await;
    let source = source(&server);
    assert_eq!(manifest(&source).await.unwrap_err(), FetchErrorKind::Forbidden(CredentialsUsed::Anonymous));
    assert!(manifest(&source).await.unwrap().is_some());
}

#[tokio::test]
async fn a_cold_registry_is_asked_for_one_token_however_many_calls_there_are() {
    let server = registry(|_| true).await;
    let source = source(&server);
    let all = futures::future::join_all((0..16).map(|_| manifest(&source))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(source.stats().counts().tokens, 1);
}
