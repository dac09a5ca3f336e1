//! Which addresses may be called, and which URLs may be given for a webhook.
//!
//! Tidings calls URLs that its users choose, from inside the operator's network. An address is refused unless it is
//! global unicast; what is refused are whole blocks of the address space, never spellings, because a list of spellings
//! (decimal, octal, IPv4 inside IPv6 …) has never been complete. An operator opens blocks with
//! `delivery.allow_networks`.
//!
//! A name says nothing about where it leads. [`check_url`] settles literal addresses; names are settled by the same
//! [`AddressPolicy`] each time they are resolved for a connection, in the sender.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use url::{Host, Url};

/// Which addresses may be called: global unicast, and what the operator allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    allow: AllowList,
    /// Whether 64:ff9b::/96 is judged by the IPv4 address it carries, for networks behind NAT64. Otherwise refused.
    nat64: bool,
}

/// Networks that may be called although they are not public: the setting [`ALLOW_NETWORKS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Vec<Network>);

/// One block of addresses, as text `10.1.0.0/16`, `fd00:12::/32`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

/// An address that must not be called. Its text is fit for customers and tells operators the setting; it does not
/// repeat the address, which may be one that only the operator's resolver knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the host's address is not public ({block}) and must not be called; an operator can permit its network with {ALLOW_NETWORKS}"
)]
pub struct Blocked {
    /// What the block is for.
    pub block: &'static str,
}

/// What a URL must satisfy besides its form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UrlRules {
    /// Whether plain `http` is permitted: the setting [`ALLOW_HTTP`].
    pub allow_http: bool,
    pub addresses: AddressPolicy,
}

/// Why a URL is refused. Never repeats the URL, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    #[error("a URL of {0} bytes; 1 to {MAX_URL} are allowed")]
    Length(usize),
    #[error("{0:?} in the URL; spaces, control characters and backslashes are not allowed")]
    Character(char),
    #[error("not a URL: {0}")]
    Syntax(url::ParseError),
    #[error("scheme {0:?}; allowed are https and http")]
    Scheme(String),
    #[error("plain http is not permitted; use https, or an operator can permit it with {ALLOW_HTTP}")]
    PlainHttp,
    #[error("the URL names no host")]
    NoHost,
    #[error("a host of {0} bytes; at most {MAX_HOST} are allowed")]
    HostLength(usize),
    #[error(
        "port {0}; allowed are 80, 443 and 1024 to 65535 but for ports of well-known services that are no webhooks"
    )]
    Port(u16),
    #[error("the URL has a fragment (#…), which is never sent")]
    Fragment,
    #[error(transparent)]
    Address(#[from] Blocked),
}

/// Why a text is no [`Network`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{ALLOW_NETWORKS}: {text:?} is no network: {reason}")]
pub struct NetworkFault {
    pub text: String,
    pub reason: &'static str,
}

/// The setting that holds an [`AllowList`].
pub const ALLOW_NETWORKS: &str = "delivery.allow_networks";
/// The setting that permits plain http.
pub const ALLOW_HTTP: &str = "delivery.allow_http";
/// The longest URL, in bytes.
pub const MAX_URL: usize = 2048;
/// The longest host, in bytes: what DNS can carry.
pub const MAX_HOST: usize = 253;

/// Services above port 1023 that are no webhooks and obey, or are upset by, an HTTP request: SQL Server, Oracle, NFS,
/// ZooKeeper, Docker, etcd, MySQL, PostgreSQL, AMQP, Redis, Cassandra, Kafka, Elasticsearch, memcached, MongoDB.
const REFUSED_PORTS: [u16; 19] = [
    1433, 1521, 2049, 2181, 2375, 2376, 2379, 2380, 3306, 5432, 5672, 6379, 9042, 9092, 9200, 9300, 11211, 27017, 27018,
];

/// IPv4 blocks that are not global unicast (IANA special-purpose registry, and everything from 224.0.0.0 up).
const REFUSED_V4: [(Ipv4Addr, u8, &str); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "carrier-grade NAT"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "protocol assignments"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(255, 255, 255, 255), 32, "broadcast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// The only IPv6 block that is handed out as global unicast; all outside is refused.
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What within [`GLOBAL_V6`] is nevertheless special, above all what carries IPv4 addresses inside.
const REFUSED_V6: [(Ipv6Addr, u8, &str); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "protocol assignments (Teredo, ORCHID)"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
];

/// Carries an IPv4 address in its low 32 bits (RFC 6052).
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Checks form, scheme, host, port, and the address if the host is a literal one or `localhost`.
pub fn check_url(text: &str, rules: &UrlRules) -> Result<Url, UrlFault> {
    let url = parse_url(text)?;
    rules.check(&url)?;
    Ok(url)
}

/// What of [`check_url`] needs no settings: the same for every installation, so a fold may rely on it.
///
/// User info is accepted: it becomes an `Authorization` header when the webhook is sent.
pub fn parse_url(text: &str) -> Result<Url, UrlFault> {
    if text.is_empty() || text.len() > MAX_URL {
        return Err(UrlFault::Length(text.len()));
    }
    // The parser would drop or rewrite these, and one URL must not mean two things to two readers.
    if let Some(c) = text.chars().find(|c| c.is_control() || c.is_whitespace() || *c == '\\') {
        return Err(UrlFault::Character(c));
    }
    let url = Url::parse(text).map_err(UrlFault::Syntax)?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(UrlFault::Scheme(url.scheme().to_owned()));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(UrlFault::NoHost)?;
    if host.len() > MAX_HOST {
        return Err(UrlFault::HostLength(host.len()));
    }
    if let Some(port) = url.port_or_known_default().filter(|port| !may_call_port(*port)) {
        return Err(UrlFault::Port(port));
    }
    match url.fragment() {
        Some(_) => Err(UrlFault::Fragment),
        None => Ok(url),
    }
}

/// The part of a URL that may be shown, and whether there was more: user info or a query, which are secrets.
pub fn split_secret(url: &Url) -> (String, bool) {
    let has_secret = !url.username().is_empty() || url.password().is_some() || url.query().is_some();
    let mut public = url.clone();
    // Only a URL without host refuses to change its user info, and such a URL has none.
    let _ = public.set_username("");
    let _ = public.set_password(None);
    public.set_query(None);
    public.set_fragment(None);
    (public.into(), has_secret)
}

/// The address a URL names without any resolver: a literal, or loopback for `localhost` (RFC 6761).
///
/// Clients connect to literals without asking a resolver, so this must be checked before every send.
pub fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            let local = name == "localhost" || name.ends_with(".localhost");
            local.then_some(Ipv4Addr::LOCALHOST.into())
        }
    }
}

fn may_call_port(port: u16) -> bool {
    matches!(port, 80 | 443 | 1024..) && !REFUSED_PORTS.contains(&port)
}

// === impl UrlRules ===

impl UrlRules {
    /// What of [`check_url`] needs settings. These may change after a URL was accepted, so it is asked before every send.
    pub fn check(&self, url: &Url) -> Result<(), UrlFault> {
        if url.scheme() == "http" && !self.allow_http {
            return Err(UrlFault::PlainHttp);
        }
        match literal_address(url) {
            Some(address) => Ok(self.addresses.check(address)?),
            None => Ok(()),
        }
    }
}

// === impl AddressPolicy ===

impl AddressPolicy {
    pub fn new(allow: AllowList, nat64: bool) -> AddressPolicy {
        AddressPolicy { allow, nat64 }
    }

    /// Whether this address may be called. The allow-list is asked first, with the address as it is written.
    pub fn check(&self, address: IpAddr) -> Result<(), Blocked> {
        if self.allow.contains(address) {
            return Ok(());
        }
        match address {
            IpAddr::V4(v4) => check_v4(v4),
            IpAddr::V6(v6) if self.nat64 && within_v6(v6, NAT64.0, NAT64.1) => {
                self.check(Ipv4Addr::from_bits(v6.to_bits() as u32).into())
            }
            IpAddr::V6(v6) => check_v6(v6),
        }
    }
}

fn check_v4(address: Ipv4Addr) -> Result<(), Blocked> {
    let refused = REFUSED_V4.iter().find(|(base, prefix, _)| within_v4(address, *base, *prefix));
    refused.map_or(Ok(()), |(_, _, block)| Err(Blocked { block }))
}

fn check_v6(address: Ipv6Addr) -> Result<(), Blocked> {
    if !within_v6(address, GLOBAL_V6.0, GLOBAL_V6.1) {
        return Err(Blocked { block: "not global unicast" });
    }
    let refused = REFUSED_V6.iter().find(|(base, prefix, _)| within_v6(address, *base, *prefix));
    refused.map_or(Ok(()), |(_, _, block)| Err(Blocked { block }))
}

fn within_v4(address: Ipv4Addr, base: Ipv4Addr, prefix: u8) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    (address.to_bits() ^ base.to_bits()) & mask == 0
}

fn within_v6(address: Ipv6Addr, base: Ipv6Addr, prefix: u8) -> bool {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    (address.to_bits() ^ base.to_bits()) & mask == 0
}

// === impl AllowList ===

impl AllowList {
    /// Reads every network; all that are wrong are told at once.
    pub fn parse<T: AsRef<str>>(networks: &[T]) -> Result<AllowList, Vec<NetworkFault>> {
        let mut faults = Vec::new();
        let mut list = Vec::new();
        for text in networks {
            match text.as_ref().parse() {
                Ok(network) => list.push(network),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() { Ok(AllowList(list)) } else { Err(faults) }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

// === impl Network ===

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => within_v4(address, base, self.prefix),
            (IpAddr::V6(base), IpAddr::V6(address)) => within_v6(address, base, self.prefix),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkFault;

    fn from_str(text: &str) -> Result<Network, NetworkFault> {
        let fault = |reason| NetworkFault { text: text.to_owned(), reason };
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let base: IpAddr =
            address.parse().map_err(|_| fault("write an address and a prefix length, as 10.1.0.0/16"))?;
        let width = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= width && digits.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| fault("the prefix length is 0 to 32 for IPv4, 0 to 128 for IPv6"))?,
        };
        let network = Network { base, prefix };
        // 10.1.2.3/8 is more likely a slip than a wish for all of 10.0.0.0/8.
        let aligned = match base {
            IpAddr::V4(v4) => v4.to_bits() & u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0) == 0,
            IpAddr::V6(v6) => v6.to_bits() & u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0) == 0,
        };
        if aligned { Ok(network) } else { Err(fault("the address has bits beyond its prefix length")) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allowed(address: impl Into<IpAddr>) -> bool {
        AddressPolicy::default().check(address.into()).is_ok()
    }

    #[test]
    fn public_addresses_may_be_called() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "93.184.216.34",
            "172.15.255.255",
            "172.32.0.0",
            "100.128.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001::200e",
            "2001:4860:4860::8888",
        ] {
            assert!(allowed(address.parse::<IpAddr>().unwrap()), "{address}");
        }
    }

    #[test]
    fn edges_of_blocks_are_refused() {
        for address in [
            "0.0.0.0",
            "0.255.255.255",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "::ffff:0:8.8.8.8",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1ff:ffff::",
            "2001:db8::1",
            "2002:808:808::1",
            "3fff::1",
            "4000::",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!allowed(address.parse::<IpAddr>().unwrap()), "{address}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn whole_v4_blocks_are_refused_in_every_v6_dress(block in 0..REFUSED_V4.len(), low: u32, high: u64) {
            let (base, prefix, _) = REFUSED_V4[block];
            let host = low & u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            let v4 = base.to_bits() | host;
            prop_assert!(!allowed(Ipv4Addr::from_bits(v4)));
            let (v4, high) = (u128::from(v4), u128::from(high));
            for (dress, bits) in [
                ("compatible", v4),
                ("mapped", 0xffff << 32 | v4),
                ("translated", 0xffff << 48 | v4),
                ("NAT64", NAT64.0.to_bits() | v4),
                ("local NAT64", 0x0064_ff9b_0001 << 80 | high << 32 & (0xffff_ffff_ffff << 32) | v4),
                ("6to4", 0x2002 << 112 | v4 << 80 | high),
                ("Teredo", 0x2001_0000 << 96 | (v4 ^ 0xffff_ffff)),
                ("ISATAP", 0xfe80 << 112 | 0x5efe << 32 | v4),
            ] {
                prop_assert!(!allowed(Ipv6Addr::from_bits(bits)), "{dress}");
            }
            let nat64 = AddressPolicy::new(AllowList::default(), true);
            prop_assert!(nat64.check(Ipv6Addr::from_bits(NAT64.0.to_bits() | v4).into()).is_err());
        }

        #[test]
        fn whole_v6_blocks_are_refused(block in 0..REFUSED_V6.len(), low: u128) {
            let (base, prefix, _) = REFUSED_V6[block];
            let host = low & (u128::MAX >> prefix);
            prop_assert!(!allowed(Ipv6Addr::from_bits(base.to_bits() | host)));
        }

        #[test]
        fn all_outside_global_unicast_is_refused(bits: u128) {
            prop_assume!(bits >> 125 != 1);
            prop_assert!(!allowed(Ipv6Addr::from_bits(bits)));
        }

        #[test]
        fn an_allowed_v4_address_is_in_no_refused_block(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            // The standard library's own words, as a second opinion.
            let special = address.is_private() || address.is_loopback() || address.is_link_local() || address.is_broadcast()
                || address.is_documentation() || address.is_unspecified() || address.is_multicast();
            prop_assert!(!(allowed(address) && special));
        }

        #[test]
        fn no_text_makes_the_url_check_panic(text in ".{0,80}") {
            let _ = check_url(&text, &UrlRules::default());
            let _ = check_url(&format!("https://{text}/"), &UrlRules::default());
        }
    }

    #[test]
    fn the_allow_list_opens_what_it_names_and_no_more() {
        let allow = AllowList::parse(&["127.0.0.0/8", "10.1.2.3", "fd12::/16", "0.0.0.0/32"]).unwrap();
        let policy = AddressPolicy::new(allow, false);
        let check = |text: &str| policy.check(text.parse().unwrap()).is_ok();
        assert!(check("127.9.9.9") && check("10.1.2.3") && check("fd12:1::1") && check("0.0.0.0"));
        assert!(!check("10.1.2.4") && !check("fd13::1") && !check("::1") && !check("::ffff:127.0.0.1"));
        assert!(
            AddressPolicy::new(AllowList::parse(&["0.0.0.0/0"]).unwrap(), false)
                .check("192.168.1.1".parse().unwrap())
                .is_ok()
        );
    }

    #[test]
    fn wrong_networks_are_all_told_with_the_setting() {
        let faults = AllowList::parse(&["10.0.0.0/8", "10.0.0.1/8", "::1/129", "localhost", "1.2.3.4/+8", "1.2.3.4/"])
            .unwrap_err();
        assert_eq!(faults.len(), 5);
        assert_eq!(
            faults[0].to_string(),
            "delivery.allow_networks: \"10.0.0.1/8\" is no network: the address has bits beyond its prefix length"
        );
    }

    #[test]
    fn nat64_is_judged_by_what_it_carries_only_if_switched_on() {
        let policy = AddressPolicy::new(AllowList::default(), true);
        assert!(policy.check("64:ff9b::808:808".parse().unwrap()).is_ok());
        assert!(policy.check("64:ff9b::a9fe:a9fe".parse().unwrap()).is_err());
        assert!(policy.check("64:ff9b:1::808:808".parse().unwrap()).is_err());
    }

    #[test]
    fn urls_that_lead_inside_are_refused() {
        let refused = |text: &str, class: &str| {
            let fault = check_url(text, &UrlRules { allow_http: true, ..UrlRules::default() }).unwrap_err();
            let found = format!("{fault:?}");
            assert!(found.starts_with(class), "{text}: {found}");
        };
        for literal in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "１２７.０.０.１",
            "127。0。0。1",
            "169.254.169.254",
            "0xA9FEA9FE",
            "0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:7f00:1::1]",
            "[2001::1]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "loc\u{ad}alhost",
            "user:pass@127.0.0.1",
            "1.1.1.1@127.0.0.1",
            "1%32%37.0.0.1@10.0.0.1",
            "%31%32%37.0.0.1",
        ] {
            refused(&format!("http://{literal}/"), "Address");
            refused(&format!("https://{literal}:8443/hook"), "Address");
        }
        refused("http://1.1.1.1 &@2.2.2.2# @3.3.3.3/", "Character");
        refused("http://1.1.1.1\\@127.0.0.1/", "Character");
        refused("http://1.1.1.1\t/", "Character");
        refused("http://[::1%25lo]/", "Syntax");
        refused("http://127.0.0.1:99999/", "Syntax");
        refused("https://", "Syntax");
        refused("hooks.example.com", "Syntax");
        refused("file:///etc/passwd", "Scheme");
        refused("gopher://example.com/", "Scheme");
        refused("", "Length");
        refused(&format!("https://example.com/{}", "a".repeat(MAX_URL)), "Length");
        refused(&format!("https://{}com/", "abcdefgh.".repeat(29)), "HostLength");
        refused("https://example.com/#part", "Fragment");
        for port in [0, 22, 25, 465, 587, 1023, 2375, 5432, 6379, 9092, 11211] {
            refused(&format!("https://example.com:{port}/"), "Port");
        }
    }

    #[test]
    fn urls_of_receivers_pass() {
        let strict = UrlRules::default();
        for text in [
            "https://hooks.example.com/a?b=c",
            "https://user:pass@example.com:8443/",
            "https://1.1.1.1/",
            "https://bücher.example/",
            "https://[2606:4700::1111]/",
        ] {
            assert!(check_url(text, &strict).is_ok(), "{text}");
        }
        assert_eq!(check_url("http://example.com/", &strict), Err(UrlFault::PlainHttp));
        // Where these lead only a resolver knows; it is asked, and judged, whenever a connection is made.
        assert!(check_url("https://127.0.0.1.nip.io/", &strict).is_ok());
    }

    #[test]
    fn literals_pass_once_their_network_is_allowed() {
        let addresses = AddressPolicy::new(AllowList::parse(&["127.0.0.0/8"]).unwrap(), false);
        let rules = UrlRules { allow_http: true, addresses };
        assert!(check_url("http://127.0.0.1:18080/hook", &rules).is_ok());
        assert!(check_url("http://localhost:18080/hook", &rules).is_ok());
        let fault = check_url("http://10.0.0.1/", &rules).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "the host's address is not public (private) and must not be called; an operator can permit its network with delivery.allow_networks"
        );
    }

    #[test]
    fn user_info_and_query_are_split_off() {
        let split = |text: &str| split_secret(&Url::parse(text).unwrap());
        assert_eq!(split("https://u:p@example.com:8443/a?token=x"), ("https://example.com:8443/a".to_owned(), true));
        assert_eq!(split("https://u@example.com/"), ("https://example.com/".to_owned(), true));
        assert_eq!(split("https://example.com/?"), ("https://example.com/".to_owned(), true));
        assert_eq!(split("https://example.com/a"), ("https://example.com/a".to_owned(), false));
    }
}
