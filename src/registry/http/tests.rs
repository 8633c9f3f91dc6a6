//! The transport against servers that follow the protocol and servers that do not. What a server sends is
//! written out byte by byte, so that nothing puts it right on the way.

mod auth;
mod bodies;
mod places;
mod server;
mod statuses;
mod tls;

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::image::{Reference, Tag};
use server::Server;

/// Options for a source that reads `ghcr.io` from `server`.
fn options(server: &Server) -> HttpOptions {
    HttpOptions {
        mirrors: vec![format!("ghcr.io=http://{}", server.address).parse().unwrap()],
        plain_http: vec![],
        allowed_hosts: vec![],
        private: PrivateAddresses::Allow,
        ca_files: vec![],
        credentials: Credentials::anonymous(),
        proxy: Proxy::Direct,
        caps: Caps { manifest_bytes: 64 << 10, ..Caps::DEFAULT },
        user_agent: "bonafide-test".to_owned(),
        connect_timeout: Duration::from_secs(5),
        idle_connections: 16,
        concurrency: 64.try_into().unwrap(),
    }
}

fn source(server: &Server) -> HttpSource {
    HttpSource::new(&options(server)).unwrap()
}

fn repository() -> Repository {
    repository_of("ghcr.io/org/app")
}

fn repository_of(name: &str) -> Repository {
    name.parse::<Reference>().unwrap().repository().clone()
}

fn v1() -> Pointer {
    Pointer::Tag("v1".parse::<Tag>().unwrap())
}

fn soon() -> Call {
    Call::until(Instant::now() + Duration::from_secs(10))
}

fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: String::new(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        artifact_type: None,
        annotations: std::collections::BTreeMap::new(),
        data: None,
    }
}

/// The manifest behind `v1`, as every test asks for it.
async fn manifest(source: &HttpSource) -> Result<Option<Manifest>, FetchErrorKind> {
    source.manifest(&repository(), &v1(), &soon()).await.map_err(|error| error.kind)
}

async fn referrers(source: &HttpSource) -> Result<Referrers, FetchErrorKind> {
    source.referrers(&repository(), &Digest::of(b"image"), &soon()).await.map_err(|error| error.kind)
}

async fn blob(source: &HttpSource, descriptor: &Descriptor) -> Result<Bytes, FetchErrorKind> {
    source.blob(&repository(), descriptor, 1 << 20, &soon()).await.map_err(|error| error.kind)
}
