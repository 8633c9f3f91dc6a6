//! The accept loop: TLS handshakes, limits on slow and many clients, and draining.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::repoll::Repoll;

/// Time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Time for the head of a request, which on a kept connection runs from the end of the one before. API servers
/// call over HTTP/1.1 and give idle connections up after 90 s (Kubernetes' `SetTransportDefaults`): they must be
/// the ones who close, for a call that crosses our close on its way is not sent again, and fails.
const HEADERS: Duration = Duration::from_mins(2);
/// Most connections at a time. An API server uses a handful.
const MAX_CONNECTIONS: usize = 4_096;
/// Most streams of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 128;
/// Bytes that are read from a connection at once: TLS alone would read a Pod of usual size in two parts.
const READ_AHEAD: usize = 8 << 10;
/// Most bytes of a request's headers.
const MAX_HEADER_BYTES: u32 = 32 << 10;

/// How to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    /// How long to go on taking calls.
    pub(super) delay: Duration,
    /// How long calls under way may take after that.
    pub(super) timeout: Duration,
}

/// Serves `router` on `listener` until `stopped` says so, then drains.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    router: Router,
    stopped: watch::Receiver<bool>,
    drain: Drain,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut signal = stopped;
    let stop = async {
        let _ = signal.wait_for(|stop| *stop).await;
        sleep(drain.delay).await;
    };
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors, most likely: wait for some to be given back.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::warn!(%peer, "connection refused: there are {MAX_CONNECTIONS} already");
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (acceptor, router, watcher) = (acceptor.clone(), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _slot = slot;
            if let Some(acceptor) = acceptor {
                match timeout(HANDSHAKE, acceptor.accept(BufReader::with_capacity(READ_AHEAD, stream))).await {
                    Ok(Ok(stream)) => {
                        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        talk(stream, is_http2, router, watcher).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                    Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
                }
            } else {
                talk::<TcpStream>(stream, false, router, watcher).await;
            }
        });
    }
    drop(listener);
    if timeout(drain.timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections did not end within {} s", drain.timeout.as_secs());
    }
}

/// The protocol is known, so that the time for a request's head runs from the first moment.
async fn talk<S>(stream: S, is_http2: bool, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = Builder::new(TokioExecutor::new());
    let mut builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS).max_headers(128);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(Duration::from_secs(30));
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).into_owned();
    if let Err(error) = Repoll::new(watcher.watch(connection)).await {
        tracing::debug!(%error, "connection ended");
    }
}
