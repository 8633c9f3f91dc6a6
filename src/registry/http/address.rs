//! Which network addresses may be connected to.
//!
//! An image name is chosen by whoever creates the Pod, and a redirect or token endpoint by whoever runs
//! the registry; neither may make us talk to the cloud's metadata service, to this process's own host or,
//! unless allowed, to the cluster's network. Names are filtered after they are resolved, by the resolver
//! that the connection itself uses, so that a name which changes its address gains nothing.

use std::{
    collections::HashSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// What kind of place an address is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// Routed on the internet.
    Public,
    /// RFC 1918, shared (RFC 6598), unique local (RFC 4193), benchmarking.
    Private,
    /// This host.
    Loopback,
    /// Link-local, and the fixed addresses of cloud metadata services elsewhere.
    LinkLocal,
    /// Unspecified, multicast, broadcast, reserved: nothing that serves images.
    Never,
}

/// How far a connection may go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Reach {
    /// Public addresses alone.
    Public,
    /// Private ones too.
    Private,
    /// Private ones and this host: for the token endpoint of a registry on this host.
    Loopback,
    /// Any: the operator named this host and port.
    Configured,
}

/// An address that must not be connected to.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("{host} is at {address}, {class}, and was not named in the configuration")]
pub(super) struct Refusal {
    host: String,
    address: IpAddr,
    class: Class,
}

impl Class {
    /// The class of `address`; an IPv4 address inside an IPv6 one counts as itself.
    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [0 | 224..=255, ..] => Self::Never,
            [127, ..] => Self::Loopback,
            // 169.254/16; metadata services of Alibaba Cloud, Oracle Cloud (192.0.0.0/24) and Azure.
            [169, 254, ..] | [100, 100, 100, 200] | [192, 0, 0, _] | [168, 63, 129, 16] => Self::LinkLocal,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [198, 18..=19, ..] => Self::Private,
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        const METADATA: [Ipv6Addr; 2] =
            [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];
        if address.is_loopback() {
            return Self::Loopback;
        }
        if METADATA.contains(&address) {
            return Self::LinkLocal;
        }
        if let Some(inner) = embedded_v4(address) {
            return Self::of_v4(inner);
        }
        match address.segments()[0] {
            0xfe80..=0xfebf => Self::LinkLocal,
            0xfc00..=0xfdff | 0xfec0..=0xfeff => Self::Private,
            0xff00..=0xffff => Self::Never,
            _ => Self::Public,
        }
    }
}

/// The IPv4 address that packets to `address` may end up at: mapped and compatible addresses, NAT64
/// (RFC 6052, RFC 8215) and 6to4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0 | 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))),
        _ => None,
    }
}

impl Reach {
    fn allows(self, class: Class) -> bool {
        match class {
            Class::Public => true,
            Class::Private => self != Self::Public,
            Class::Loopback => matches!(self, Self::Loopback | Self::Configured),
            Class::LinkLocal | Class::Never => self == Self::Configured,
        }
    }

    /// Checks the host of `url` where it is an address; a name is checked when it is resolved.
    pub(super) fn check(self, url: &Url) -> Result<(), Refusal> {
        // The host is asked for as text: its type lives in a crate that is not a dependency.
        let host = url.host_str().unwrap_or_default();
        let text = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        match text.parse::<IpAddr>() {
            Ok(address) => self.check_address(host, address),
            Err(_) => Ok(()),
        }
    }

    fn check_address(self, host: &str, address: IpAddr) -> Result<(), Refusal> {
        let class = Class::of(address);
        if self.allows(class) { Ok(()) } else { Err(Refusal { host: host.to_owned(), address, class }) }
    }
}

/// Resolves names with the system's resolver and keeps the addresses that a reach allows.
pub(super) struct Resolver {
    pub(super) reach: Reach,
    /// Names of proxies: the operator set them, and they are looked up here as well.
    pub(super) proxies: Arc<HashSet<String>>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = if self.proxies.contains(name.as_str()) { Reach::Configured } else { self.reach };
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = allowed(reach, name.as_str(), found)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Those of `found` that `reach` allows; the first refusal where it allows none.
fn allowed(reach: Reach, name: &str, found: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, Refusal> {
    let mut refusal = None;
    let mut kept = Vec::new();
    for address in found {
        match reach.check_address(name, address.ip()) {
            Ok(()) => kept.push(address),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    match refusal {
        Some(refusal) if kept.is_empty() => Err(refusal),
        _ => Ok(kept),
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "a public address",
            Self::Private => "a private address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local or metadata address",
            Self::Never => "an address that serves nothing",
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn every_range_has_its_class() {
        let table = [
            (Class::Public, "1.1.1.1 8.8.8.8 172.15.0.1 172.32.0.1 192.167.0.1 100.63.0.1 100.128.0.1 169.253.0.1"),
            (Class::Public, "2606:4700::1111 2002:0101:0101::1 64:ff9b::101:101 ::ffff:1.1.1.1"),
            (Class::Private, "10.0.0.1 10.255.255.255 172.16.0.1 172.31.9.9 192.168.1.1 100.64.0.1 198.18.0.1"),
            (Class::Private, "fc00::1 fd12:3456::1 fec0::1 ::ffff:10.0.0.1 64:ff9b::a00:1 2002:a00:1::"),
            (Class::Loopback, "127.0.0.1 127.255.0.9 ::1 ::ffff:127.0.0.1 ::127.0.0.1 64:ff9b:1::7f00:1"),
            (Class::LinkLocal, "169.254.169.254 169.254.0.1 fe80::1 febf::1 fd00:ec2::254 fd20:ce::254"),
            (Class::LinkLocal, "::ffff:169.254.169.254 ::ffff:0:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1"),
            (Class::LinkLocal, "100.100.100.200 192.0.0.192 168.63.129.16"),
            (Class::Never, "0.0.0.0 0.1.2.3 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 :: ff02::1 ::ffff:0.0.0.0"),
        ];
        for (class, addresses) in table {
            for address in addresses.split(' ') {
                assert_eq!(Class::of(address.parse().unwrap()), class, "{address}");
            }
        }
    }

    #[test]
    fn reach_grows_by_one_class_each() {
        let classes = [Class::Public, Class::Private, Class::Loopback, Class::LinkLocal, Class::Never];
        for (reach, allowed) in [(Reach::Public, 1), (Reach::Private, 2), (Reach::Loopback, 3), (Reach::Configured, 5)]
        {
            for (at, class) in classes.into_iter().enumerate() {
                assert_eq!(reach.allows(class), at < allowed, "{reach:?} {class:?}");
            }
        }
    }

    #[test]
    fn literal_hosts_are_checked_in_every_spelling() {
        for host in ["169.254.169.254", "2852039166", "0xa9.254.169.254", "[::ffff:a9fe:a9fe]", "[fe80::1]"] {
            let url = Url::parse(&format!("https://{host}/v2/")).unwrap();
            let refusal = Reach::Private.check(&url).unwrap_err();
            assert_eq!(refusal.class, Class::LinkLocal, "{host}");
            assert_eq!(Reach::Configured.check(&url), Ok(()));
        }
        assert_eq!(Reach::Public.check(&Url::parse("https://ghcr.io/").unwrap()), Ok(()));
    }

    #[test]
    fn a_name_keeps_only_the_addresses_that_are_allowed() {
        let at = |address: &str| SocketAddr::new(address.parse().unwrap(), 0);
        let mixed = [at("169.254.169.254"), at("1.1.1.1"), at("127.0.0.1")];
        assert_eq!(allowed(Reach::Private, "x", mixed.into_iter()), Ok(vec![at("1.1.1.1")]));
        let refusal = allowed(Reach::Private, "x", [at("169.254.169.254")].into_iter()).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "x is at 169.254.169.254, a link-local or metadata address, and was not named in the configuration"
        );
        assert_eq!(allowed(Reach::Public, "x", [].into_iter()), Ok(vec![]));
    }
}
