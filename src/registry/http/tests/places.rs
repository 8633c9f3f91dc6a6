//! Where requests may lead: redirects and addresses.

use super::{
    server::{Server, answer},
    *,
};

fn location(url: &str) -> String {
    format!("location: {url}")
}

#[tokio::test]
async fn redirects_are_followed_a_few_times() {
    let server = Server::start(|request| match request.target.as_str() {
        "/v2/org/app/manifests/v1" => answer(307, &["location: /1"], "moved"),
        "/1" => answer(301, &["location: 2?x=1"], ""),
        "/2?x=1" => answer(302, &["location: /3#y"], ""),
        "/3" => answer(303, &["location: /4"], ""),
        "/4" => answer(308, &["location: /5"], ""),
        _ => answer(200, &[], "{}"),
    })
    .await;
    assert!(manifest(&source(&server)).await.unwrap().is_some());
    assert_eq!(server.targets(), ["/v2/org/app/manifests/v1", "/1", "/2?x=1", "/3", "/4", "/5"]);
    let server = Server::always(answer(307, &["location: /again"], "")).await;
    assert!(matches!(manifest(&source(&server)).await.unwrap_err(), FetchErrorKind::Refused(_)));
    assert_eq!(server.targets().len(), 6);
}

#[tokio::test]
async fn a_redirect_leads_to_no_address_that_was_not_configured() {
    let inside = Server::always(answer(200, &[], "{}")).await;
    for place in [
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[fd00:ec2::254]/".to_owned(),
        "http://[::ffff:169.254.169.254]/".to_owned(),
        "http://0/".to_owned(),
        format!("http://{}/", inside.address),
        format!("http://localhost:{}/", inside.address.port()),
        format!("http://[::ffff:127.0.0.1]:{}/", inside.address.port()),
        "file:///etc/passwd".to_owned(),
        format!("http://user:secret@{}/", inside.address),
    ] {
        let server = Server::always(answer(307, &[&location(&place)], "")).await;
        let error = manifest(&source(&server)).await.unwrap_err();
        assert!(matches!(error, FetchErrorKind::Refused(_)), "{place}: {error}");
        assert!(!error.to_string().contains("secret"));
    }
    assert!(inside.targets().is_empty());
}

#[tokio::test]
async fn a_redirect_leads_to_a_host_that_was_configured() {
    let inside = Server::always(answer(200, &[], "12345")).await;
    let server = Server::always(answer(307, &[&location(&format!("http://{}/x", inside.address))], "")).await;
    let mut options = options(&server);
    options.allowed_hosts.push(inside.address.to_string().parse().unwrap());
    let source = HttpSource::new(&options).unwrap();
    assert_eq!(blob(&source, &descriptor(b"12345")).await.unwrap(), "12345");
}

#[tokio::test]
async fn an_image_name_leads_to_no_address_that_was_not_configured() {
    let inside = Server::always(answer(200, &[], "{}")).await;
    let port = inside.address.port();
    let elsewhere = Server::always(answer(200, &[], "{}")).await;
    let source = source(&elsewhere);
    for name in [
        "169.254.169.254/x".to_owned(),
        "0.0.0.0/x".to_owned(),
        format!("127.0.0.1:{port}/x"),
        format!("localhost:{port}/x"),
        format!("[::1]:{port}/x"),
        format!("[::ffff:7f00:1]:{port}/x"),
        "[fe80::1]/x".to_owned(),
    ] {
        let error = source.manifest(&repository_of(&name), &v1(), &soon()).await.unwrap_err();
        assert!(matches!(error.kind, FetchErrorKind::Refused(_)), "{name}: {error}");
    }
    assert!(inside.targets().is_empty());
}

#[tokio::test]
async fn private_addresses_are_for_the_registries_that_may_have_them() {
    let server = Server::always(answer(200, &[], "{}")).await;
    let mut options = options(&server);
    options.connect_timeout = Duration::from_millis(50);
    options.private = PrivateAddresses::Only(["10.255.255.1:5000".parse().unwrap()].into());
    let source = HttpSource::new(&options).unwrap();
    let ask = async |name: &str| {
        let deadline = Instant::now() + Duration::from_millis(500);
        source.manifest(&repository_of(name), &v1(), &Call::until(deadline)).await.unwrap_err().kind
    };
    for name in ["10.255.255.1/x", "192.168.255.1:5000/x", "[fd12::1]/x"] {
        assert!(matches!(ask(name).await, FetchErrorKind::Refused(_)), "{name}");
    }
    assert!(!matches!(ask("10.255.255.1:5000/x").await, FetchErrorKind::Refused(_)));
}

#[tokio::test]
async fn plain_http_is_for_the_registries_that_were_named() {
    let server = Server::always(answer(200, &[], "{}")).await;
    let mut options = options(&server);
    options.mirrors.clear();
    options.plain_http.push(server.address.to_string().parse().unwrap());
    let source = HttpSource::new(&options).unwrap();
    let repository = repository_of(&format!("{}/org/app", server.address));
    assert!(source.manifest(&repository, &v1(), &soon()).await.unwrap().is_some());
    options.plain_http.clear();
    options.connect_timeout = Duration::from_millis(100);
    options.allowed_hosts.push(server.address.to_string().parse().unwrap());
    let source = HttpSource::new(&options).unwrap();
    let error = source.manifest(&repository, &v1(), &soon()).await.unwrap_err();
    assert!(matches!(error.kind, FetchErrorKind::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn a_mirror_may_have_a_path() {
    let server = Server::always(answer(200, &[], "{}")).await;
    let mut options = options(&server);
    for (path, expected) in [
        ("/ghcr", "/v2/ghcr/org/app/manifests/v1"),
        ("/v2/ghcr/", "/v2/ghcr/org/app/manifests/v1"),
        ("/api/docker/ghcr/v2", "/api/docker/ghcr/v2/org/app/manifests/v1"),
    ] {
        options.mirrors = vec![format!("ghcr.io=http://{}{path}", server.address).parse().unwrap()];
        assert!(manifest(&HttpSource::new(&options).unwrap()).await.unwrap().is_some());
        assert_eq!(server.targets().last().map(String::as_str), Some(expected));
    }
    options.mirrors.push("ghcr.io:443=http://127.0.0.1:1".parse().unwrap());
    assert!(matches!(HttpSource::new(&options), Err(HttpOptionsError::TwoMirrors(_))));
}

#[tokio::test]
async fn a_registry_has_so_many_requests_at_a_time() {
    let server = Server::start(|_| {
        std::thread::sleep(Duration::from_millis(1));
        answer(200, &[], "{}")
    })
    .await;
    let mut options = options(&server);
    options.concurrency = 1.try_into().unwrap();
    let source = HttpSource::new(&options).unwrap();
    let all = futures::future::join_all((0..20).map(|_| manifest(&source))).await;
    assert!(all.iter().all(Result::is_ok));
}
