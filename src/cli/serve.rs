//! `bonafide serve`

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, ValueEnum};

use super::{
    Status,
    args::{RegistryArgs, TrustArgs},
    files,
};
use crate::{
    pipeline::{Engine, Lifetimes, Settings, Snapshot},
    policy::ImageScope,
    server::{CertificateSource, Limits, SelfSigned, Server, ServerOptions},
    telemetry::{LogFormat, Metrics, init_logs},
};

/// Serve the admission webhook.
///
/// Answers `POST /mutate` (pins tags to digests) and `POST /validate` (decides) over HTTPS, and `/healthz`, `/readyz`
/// and `/metrics` over plain HTTP. Policies are read from files, no cluster is needed. Stops on SIGTERM
/// after the calls under way were answered.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("certificate").required(true).args(["tls_self_signed", "tls_cert"]))]
pub(super) struct ServeArgs {
    /// A policy file, or a folder with policy files directly in it
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    policy: Vec<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Server")]
struct ServerArgs {
    /// Where to listen for admission requests (HTTPS)
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Where to listen for health checks and metrics (plain HTTP)
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    health_listen: SocketAddr,
    /// Server certificate chain, PEM; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Server key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Make a certificate for this run, valid for a year, and print its CA bundle to standard output
    #[arg(long, conflicts_with = "tls_cert")]
    tls_self_signed: bool,
    /// A further DNS name or IP address for the self-signed certificate, beside localhost, 127.0.0.1 and ::1
    #[arg(long, value_name = "NAME", requires = "tls_self_signed")]
    tls_name: Vec<String>,
    /// Milliseconds for which what a tag points to is remembered; 0 asks the registry every time
    #[arg(long, value_name = "MS", default_value_t = 2_000)]
    tag_cache_ms: u64,
    /// Milliseconds for which a rejection is remembered; 0 looks again every time
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    rejection_cache_ms: u64,
    /// Seconds for which a pass is remembered
    #[arg(long, value_name = "S", default_value_t = 3_600)]
    pass_cache_s: u64,
    /// Most MiB of remembered verdicts
    #[arg(long, value_name = "MIB", default_value_t = Settings::DEFAULT.cache_bytes >> 20, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    cache_mib: u64,
    /// Seconds to answer in where the caller names no time-out
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=30))]
    default_timeout_s: u32,
    /// Seconds to go on taking calls after SIGTERM, until no new ones are sent here
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=600))]
    drain_delay_s: u64,
    /// How to write logs
    #[arg(long, value_enum, default_value_t = Logs::Auto)]
    log_format: Logs,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Logs {
    /// Text on a terminal, else JSON
    Auto,
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

pub(super) async fn run(args: ServeArgs) -> anyhow::Result<Status> {
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let text = args.server.log_format == Logs::Text || (args.server.log_format == Logs::Auto && terminal);
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    init_logs(if text { LogFormat::Text } else { LogFormat::Json }, colour);

    let trust = files::trust_root(args.trust.trusted_root.as_deref())?;
    let files::Read { policies, notes } = files::policies(&args.policy, &trust, args.server.default_timeout_s)?;
    for note in notes {
        tracing::warn!("{note}");
    }
    for policy in policies.iter() {
        tracing::info!(policy = %policy.name, mode = %policy.mode, "policy loaded");
    }
    if policies.is_empty() {
        anyhow::bail!("there is no policy in force in what --policy names: everything would be admitted");
    }
    if !policies.iter().any(|policy| matches!(policy.images, ImageScope::Fallback { .. })) {
        tracing::warn!("no fallback policy is loaded: images that no policy covers are admitted, signed or not");
    }
    let caps = args.registry.caps();
    let source = args.registry.source()?;
    let server = args.server;
    let certificate = if let (Some(certificate), Some(key)) = (server.tls_cert, server.tls_key) {
        CertificateSource::Files { certificate, key }
    } else {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        names.extend(server.tls_name);
        let made = SelfSigned::new(names)?;
        // The one thing that goes to standard output, so that it can be sent to a file.
        print!("{}", made.ca_pem);
        std::io::Write::flush(&mut std::io::stdout())?;
        CertificateSource::SelfSigned(made)
    };
    let settings = Settings {
        lifetimes: Lifetimes {
            pass: Duration::from_secs(server.pass_cache_s),
            rejection: Duration::from_millis(server.rejection_cache_ms),
            tag: Duration::from_millis(server.tag_cache_ms),
        },
        cache_bytes: server.cache_mib << 20,
        ..Settings::with_caps(caps)
    };
    let engine = Engine::new(Snapshot { policies, trust: trust.into() }, source, settings);
    let options = ServerOptions {
        listen: server.listen,
        health_listen: server.health_listen,
        certificate,
        limits: Limits { default_timeout: Duration::from_secs(server.default_timeout_s.into()), ..Limits::DEFAULT },
        drain_delay: Duration::from_secs(server.drain_delay_s),
        drain_timeout: Duration::from_secs(30),
    };
    // Before the ports answer: whoever sees them answer may send the signal.
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let running = Server::start(engine, Metrics::new(), options).await?;
    tracing::info!(address = %running.address, health = %running.health_address, "ready");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tracing::info!("stopping: no longer ready, finishing what is under way");
    running.shut_down().await;
    tracing::info!("stopped");
    Ok(Status::Ok)
}
