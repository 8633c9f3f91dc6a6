//! Bodies that are too large, too slow, or not what they should be.

use super::{
    server::{Reply, Server, answer},
    *,
};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunk(length: usize) -> Vec<u8> {
    [format!("{length:x}\r\n").as_bytes(), &vec![b' '; length], b"\r\n"].concat()
}

#[tokio::test]
async fn an_endless_body_is_cut_off_at_the_cap() {
    let endless = Reply::Forever(CHUNKED.into(), chunk(8192));
    let announced = Reply::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{".to_vec());
    let until_close = Reply::Forever(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'{'; 8192]);
    for reply in [endless, announced, until_close] {
        let server = Server::always(reply).await;
        let expected = FetchErrorKind::TooLarge { max_bytes: 64 << 10 };
        assert_eq!(manifest(&source(&server)).await.unwrap_err(), expected);
    }
}

#[tokio::test]
async fn an_endless_error_body_does_not_hold_us_up() {
    for status in ["404 X", "500 X"] {
        let head = format!("HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n");
        let server = Server::always(Reply::Forever(head.into_bytes(), chunk(10))).await;
        let started = Instant::now();
        let found = manifest(&source(&server)).await;
        assert!(matches!(found, Ok(None) | Err(FetchErrorKind::Status(500))), "{found:?}");
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn no_answer_and_a_slow_one_end_at_the_deadline() {
    let hang = Reply::Keep(Vec::new());
    let half = Reply::Keep(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec());
    let body = Reply::Keep(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{".to_vec());
    let slow = Reply::Slowly(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec(), Duration::from_millis(50));
    for reply in [hang, half, body, slow] {
        let server = Server::always(reply).await;
        let started = Instant::now();
        let deadline = started + Duration::from_millis(200);
        let error = source(&server).manifest(&repository(), &v1(), &Call::until(deadline)).await.unwrap_err();
        let FetchErrorKind::Timeout { waited } = error.kind else { panic!("{error}") };
        assert!(waited >= Duration::from_millis(200) && started.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn a_deadline_that_is_over_sends_nothing() {
    let server = Server::always(answer(200, &[], "{}")).await;
    let error = source(&server).manifest(&repository(), &v1(), &Call::until(Instant::now())).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Timeout { waited: Duration::ZERO });
    assert!(server.targets().is_empty());
}

#[tokio::test]
async fn bytes_hash_to_what_was_asked_for_and_to_what_was_said() {
    let (there, asked) = (Digest::of(b"{}"), Digest::of(b"{ }"));
    let server = Server::always(answer(200, &[], "{}")).await;
    let error = source(&server).manifest(&repository(), &Pointer::Digest(asked.clone()), &soon()).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::DigestMismatch { expected: asked.clone(), found: there.clone() });

    let lie = format!("docker-content-digest: {asked}");
    let truth = format!("Docker-Content-Digest: {there}");
    for headers in [&[lie.as_str()][..], &[&truth, &lie]] {
        let server = Server::always(answer(200, headers, "{}")).await;
        let error = manifest(&source(&server)).await.unwrap_err();
        assert_eq!(error, FetchErrorKind::DigestMismatch { expected: asked.clone(), found: there.clone() });
    }
    for headers in ["docker-content-digest: md5:00", "docker-content-digest:", "docker-content-digest: \u{e4}"] {
        let server = Server::always(answer(200, &[headers], "{}")).await;
        let error = manifest(&source(&server)).await.unwrap_err();
        assert!(matches!(error, FetchErrorKind::Protocol(_)), "{headers}: {error}");
    }
    let long = format!("docker-content-digest: {}", Digest::of_with(Algorithm::Sha512, b"{}"));
    let server = Server::always(answer(200, &[&truth, &long], "{}")).await;
    assert_eq!(manifest(&source(&server)).await.unwrap().unwrap().digest, there);
}

#[tokio::test]
async fn a_manifest_is_a_json_object() {
    for (headers, body) in [
        (&["content-type: text/html"][..], "<html>"),
        (&[], ""),
        (&[], "[]"),
        (&["content-type: application/vnd.docker.distribution.manifest.v1+prettyjws"], "{}"),
    ] {
        let server = Server::always(answer(200, headers, body)).await;
        let error = manifest(&source(&server)).await.unwrap_err();
        assert!(matches!(error, FetchErrorKind::Protocol(_)), "{body}: {error}");
    }
}

#[tokio::test]
async fn an_encoded_body_is_not_read() {
    for encoding in ["gzip", "br", "identity, gzip", "\u{e4}"] {
        let server = Server::always(answer(200, &[&format!("content-encoding: {encoding}")], "{}")).await;
        let error = manifest(&source(&server)).await.unwrap_err();
        assert!(matches!(error, FetchErrorKind::Protocol(_)), "{encoding}: {error}");
    }
    let server = Server::always(answer(200, &["content-encoding: identity"], "{}")).await;
    assert!(manifest(&source(&server)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_blob_has_its_size_and_its_digest() {
    let wanted = descriptor(b"12345");
    let server = Server::always(answer(200, &[], "12345")).await;
    assert_eq!(blob(&source(&server), &wanted).await.unwrap(), "12345");
    assert_eq!(server.targets(), [format!("/v2/org/app/blobs/{}", wanted.digest)]);

    let server = Server::always(answer(200, &[], "1234")).await;
    assert!(matches!(blob(&source(&server), &wanted).await.unwrap_err(), FetchErrorKind::Protocol(_)));
    let server = Server::always(answer(200, &[], "123456")).await;
    assert_eq!(blob(&source(&server), &wanted).await.unwrap_err(), FetchErrorKind::TooLarge { max_bytes: 5 });
    let server = Server::always(Reply::Forever(CHUNKED.into(), chunk(4))).await;
    assert_eq!(blob(&source(&server), &wanted).await.unwrap_err(), FetchErrorKind::TooLarge { max_bytes: 5 });
    let server = Server::always(answer(200, &[], "54321")).await;
    assert_eq!(blob(&source(&server), &wanted).await.unwrap_err().code(), "ContentDigestMismatch");
    let server = Server::always(answer(404, &[], "")).await;
    assert_eq!(blob(&source(&server), &wanted).await.unwrap_err(), FetchErrorKind::Status(404));
}

#[tokio::test]
async fn a_truncated_body_is_a_broken_connection() {
    let length = Reply::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n123".to_vec());
    let chunks = Reply::Close([CHUNKED.as_bytes(), b"3\r\n123\r\n"].concat());
    for reply in [length, chunks] {
        let server = Server::always(reply).await;
        let error = blob(&source(&server), &descriptor(b"12345")).await.unwrap_err();
        assert!(matches!(error, FetchErrorKind::Unreachable(_)), "{error}");
        assert_eq!(server.targets().len(), 2);
    }
}

#[tokio::test]
async fn what_is_too_large_or_already_there_is_not_asked_for() {
    let server = Server::always(answer(200, &[], "12345")).await;
    let source = source(&server);
    let large = Descriptor { size: 2 << 20, ..descriptor(b"12345") };
    assert_eq!(blob(&source, &large).await.unwrap_err(), FetchErrorKind::TooLarge { max_bytes: 1 << 20 });
    let embedded = Descriptor { data: Some("MTIzNDU=".to_owned()), ..descriptor(b"12345") };
    assert_eq!(blob(&source, &embedded).await.unwrap(), "12345");
    assert!(server.targets().is_empty());
    let lying = Descriptor { data: Some("NTQzMjE=".to_owned()), ..descriptor(b"12345") };
    assert_eq!(blob(&source, &lying).await.unwrap(), "12345");
    assert_eq!(server.targets().len(), 1);
}

#[tokio::test]
async fn what_is_not_http_is_a_broken_connection() {
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(10_000));
    let long_header = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(10 << 20));
    for text in [
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\u{1}: x\r\n\r\n",
        &many_headers,
        &long_header,
    ] {
        let server = Server::always(Reply::Close(text.as_bytes().to_vec())).await;
        let error = manifest(&source(&server)).await.unwrap_err();
        assert!(matches!(error, FetchErrorKind::Unreachable(_)), "{}: {error}", &text[..20.min(text.len())]);
    }
}
