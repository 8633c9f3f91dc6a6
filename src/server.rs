//! The webhook server: HTTPS for `/mutate` and `/validate`, plain HTTP for health and metrics.

mod accept;
mod repoll;
mod routes;
mod tls;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch};

pub use routes::Limits;
pub(crate) use routes::parse_go_duration;
pub use tls::{CertificateSource, SelfSigned, TlsError};

use crate::{pipeline::Engine, telemetry::Metrics};

/// How a server is to run.
#[derive(Debug)]
pub struct ServerOptions {
    /// Where HTTPS listens.
    pub listen: SocketAddr,
    /// Where plain HTTP for health and metrics listens.
    pub health_listen: SocketAddr,
    /// Where the certificate comes from.
    pub certificate: CertificateSource,
    /// Limits of one request and of all together.
    pub limits: Limits,
    /// How long to go on serving after the signal to stop, until no new calls are sent here.
    pub drain_delay: Duration,
    /// How long calls under way may take after that.
    pub drain_timeout: Duration,
}

/// Whether calls are to be sent here.
#[derive(Debug, Default)]
pub struct Readiness(AtomicBool);

impl Readiness {
    /// Sets it.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Reads it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// Where HTTPS listens.
    pub address: SocketAddr,
    /// Where plain HTTP listens.
    pub health_address: SocketAddr,
    tasks: tokio::task::JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Starts serving. On return both ports answer and `/readyz` says yes.
    ///
    /// # Errors
    /// When a port cannot be had or the certificate not be loaded.
    pub async fn start(engine: Arc<Engine>, metrics: Arc<Metrics>, options: ServerOptions) -> Result<Self, ServeError> {
        let bind = async |address: SocketAddr| {
            TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })
        };
        let tls = tls::server_config(options.certificate)?;
        let (https, health) = (bind(options.listen).await?, bind(options.health_listen).await?);
        let local = |listener: &TcpListener, address| {
            listener.local_addr().map_err(|source| ServeError::Bind { address, source })
        };
        let address = local(&https, options.listen)?;
        let health_address = local(&health, options.health_listen)?;
        let readiness = Arc::new(Readiness::default());
        let (stop, stopped) = watch::channel(false);
        let webhook = routes::webhook(Arc::clone(&engine), Arc::clone(&metrics), options.limits);
        let plain = routes::health(engine, metrics, Arc::clone(&readiness));
        readiness.set(true);
        let drain = accept::Drain { delay: options.drain_delay, timeout: options.drain_timeout };
        let tasks = tokio::spawn(async move {
            let gate = Arc::clone(&readiness);
            let mut signal = stopped.clone();
            tokio::spawn(async move {
                let _ = signal.wait_for(|stop| *stop).await;
                gate.set(false);
            });
            let webhook = accept::serve(https, Some(tls), webhook, stopped.clone(), drain);
            // Health is answered until the last call is.
            let (done, finished) = watch::channel(false);
            let at_once = accept::Drain { delay: Duration::ZERO, timeout: Duration::from_secs(1) };
            let plain = tokio::spawn(accept::serve(health, None, plain, finished, at_once));
            webhook.await;
            let _ = done.send(true);
            let _ = plain.await;
        });
        Ok(Self { address, health_address, tasks, stop })
    }

    /// Stops taking calls, finishes those under way, and returns.
    pub async fn shut_down(self) {
        let _ = self.stop.send(true);
        let _ = self.tasks.await;
    }
}

/// Why a server could not start.
#[derive(thiserror::Error, Debug)]
pub enum ServeError {
    /// The port cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}
