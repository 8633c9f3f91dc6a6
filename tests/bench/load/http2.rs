//! The same load over HTTP/2, to compare.

use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use hyper::{Method, Request, client::conn::http2, header::CONTENT_TYPE};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{
    client::{Call, Run, admits, server_name, tls},
    report::Latencies,
    webhook::Webhook,
};

/// Every stream of one connection admits as fast as it gets answers, for `time`.
pub fn closed_loop(webhook: &Webhook, review: &str, streams: usize, time: Duration) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let socket = TcpStream::connect(webhook.address).await.expect("bonafide listens");
        socket.set_nodelay(true).expect("a socket");
        let connector = TlsConnector::from(tls(webhook, "h2"));
        let stream = connector.connect(server_name(), socket).await.expect("a TLS session");
        let (sender, connection) =
            http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        let body = Bytes::copy_from_slice(review.as_bytes());
        let started = Instant::now();
        let tasks: Vec<_> =
            (0..streams).map(|_| tokio::spawn(stream_of_calls(sender.clone(), body.clone(), started + time))).collect();
        let mut parts = Vec::new();
        for task in tasks {
            parts.push(task.await.expect("every answer admits"));
        }
        let latencies = Latencies::of(parts);
        Run { admissions: latencies.len() / 2, elapsed: started.elapsed(), latencies }
    })
}

async fn stream_of_calls(mut sender: http2::SendRequest<Body>, body: Bytes, until: Instant) -> Vec<Duration> {
    let mut latencies = Vec::with_capacity(1 << 14);
    while Instant::now() < until {
        for call in [Call::Mutate, Call::Validate] {
            let request = Request::builder()
                .method(Method::POST)
                .uri(format!("https://localhost{}", call.path()))
                .header(CONTENT_TYPE, "application/json")
                .body(Body::from(body.clone()))
                .expect("a request");
            let sent = Instant::now();
            sender.ready().await.expect("an open connection");
            let response = sender.send_request(request).await.expect("an answer");
            let answer = axum::body::to_bytes(Body::new(response.into_body()), 1 << 20).await.expect("an answer");
            assert!(admits(&answer), "not admitted: {}", String::from_utf8_lossy(&answer));
            latencies.push(sent.elapsed());
        }
    }
    latencies
}
