//! Arguments that several commands share.

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;

use crate::{
    image::Registry,
    registry::{
        Caps, OciSource,
        auth::Credentials,
        http::{HttpOptions, HttpSource, Mirror, PrivateAddresses, Proxy},
        layout::LayoutSource,
    },
    server::parse_go_duration,
};

/// What is trusted.
#[derive(Args, Debug)]
#[command(next_help_heading = "Trust")]
pub(super) struct TrustArgs {
    /// A trusted_root.json to trust in place of the embedded public-good instance
    #[arg(long, value_name = "FILE")]
    pub(super) trusted_root: Option<PathBuf>,
}

/// Where images are read from.
#[derive(Args, Debug)]
#[command(next_help_heading = "Registry")]
pub(super) struct RegistryArgs {
    /// Read a registry from another place: a pull-through mirror, or a registry on loopback
    #[arg(long, value_name = "HOST=URL", conflicts_with = "layout")]
    registry_mirror: Vec<Mirror>,
    /// Ask a registry over plain HTTP
    #[arg(long, value_name = "HOST", conflicts_with = "layout")]
    plain_http: Vec<Registry>,
    /// Let a registry, or a host that one redirects to, be at a loopback or link-local address, or at a private one
    /// that a public registry redirects to
    #[arg(long, value_name = "HOST", conflicts_with = "layout")]
    allow_host: Vec<Registry>,
    /// A PEM file with certificate authorities to trust for registries, in addition to the system's
    #[arg(long, value_name = "FILE", conflicts_with = "layout")]
    registry_ca_file: Vec<PathBuf>,
    /// Registry credentials [default: $DOCKER_CONFIG/config.json, ~/.docker/config.json, $REGISTRY_AUTH_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "layout")]
    docker_config: Option<PathBuf>,
    /// Read images from an OCI image layout on disk, and from nowhere else
    #[arg(long, value_name = "DIR")]
    layout: Option<PathBuf>,
    /// Most MiB of one attestation or bundle
    #[arg(long, value_name = "MIB", default_value_t = Caps::DEFAULT.attestation_bytes >> 20, value_parser = clap::value_parser!(u64).range(1..=1_024))]
    max_attestation_mib: u64,
}

impl RegistryArgs {
    /// The caps that these arguments describe. What one image may have in all grows with what one piece may.
    pub(super) fn caps(&self) -> Caps {
        let attestation_bytes = self.max_attestation_mib << 20;
        let evidence_bytes = Caps::DEFAULT.evidence_bytes.max(2 * attestation_bytes);
        Caps { attestation_bytes, evidence_bytes, ..Caps::DEFAULT }
    }

    /// The source that these arguments describe.
    pub(super) fn source(self) -> anyhow::Result<Arc<dyn OciSource>> {
        let caps = self.caps();
        if let Some(folder) = self.layout {
            return Ok(Arc::new(LayoutSource::open(&folder, caps)?));
        }
        let credentials = match self.docker_config {
            Some(path) => Credentials::docker_config(&path),
            None => Credentials::discover(),
        };
        let source = HttpSource::new(&HttpOptions {
            mirrors: self.registry_mirror,
            plain_http: self.plain_http,
            allowed_hosts: self.allow_host,
            private: PrivateAddresses::Allow,
            ca_files: self.registry_ca_file,
            credentials,
            proxy: Proxy::FromEnvironment,
            caps,
            user_agent: concat!("bonafide/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(5),
            idle_connections: 32,
            concurrency: NonZeroUsize::MIN.saturating_add(63),
        })?;
        Ok(Arc::new(source))
    }
}

/// Longest time that a command may be given for one thing.
const MAX_DURATION: Duration = Duration::from_hours(1);

/// `3m0s`, as Go programs write it, or a number of seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    match seconds.or_else(|| parse_go_duration(text)) {
        Some(duration) if !duration.is_zero() && duration <= MAX_DURATION => Ok(duration),
        Some(_) => Err("it must be more than 0 and at most 1h".to_owned()),
        None => Err("expected a duration such as 3m, 90s, 1m30s, or a number of seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_cosign_takes_them() {
        let secs = |secs| Ok(Duration::from_secs(secs));
        assert_eq!(
            [duration("3m0s"), duration("90"), duration("1.5s")],
            [secs(180), secs(90), Ok(Duration::from_millis(1_500))]
        );
        for text in ["", "0", "0s", "2h", "-1s", "x", "9999999999999999999"] {
            assert!(duration(text).is_err_and(|why| why.contains("must be") || why.contains("expected")), "{text}");
        }
    }
}
