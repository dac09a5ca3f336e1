//! `{"cidr": "10.0.0.0/8"}`: addresses of a network, IPv4 or IPv6.

use std::{fmt, net::IpAddr};

/// The addresses that share their first bits with one.
///
/// An IPv4 address that is written as IPv6 (`::ffff:10.0.0.1`) is the IPv4 address; else the two kinds are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

/// The longest text that can be an address, in bytes.
const MAX_ADDRESS: usize = 45;

// === impl Network ===

impl Network {
    /// An address, `/`, and how many bits count.
    pub fn read(text: &str) -> Option<Network> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let plain = (1..=3).contains(&prefix.len()) && prefix.bytes().all(|digit| digit.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|prefix| plain && *prefix <= width(address))?;
        match address.to_canonical() {
            // The bits of the mapping itself are those before an IPv4 address's.
            canonical if width(canonical) < width(address) => {
                let prefix = u32::checked_sub(prefix, width(address) - width(canonical))?;
                Some(Network { address: canonical, prefix })
            }
            address => Some(Network { address, prefix }),
        }
    }

    /// Of a text that has been [read](read_address).
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        let ignored = width(self.address) - self.prefix;
        width(address) == width(self.address)
            && (bits(address) ^ bits(self.address)).checked_shr(ignored).unwrap_or(0) == 0
    }
}

/// An address; `::ffff:10.0.0.1` is the IPv4 one.
pub(super) fn read_address(text: &str) -> Option<IpAddr> {
    if text.len() > MAX_ADDRESS {
        return None;
    }
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn width(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => u32::BITS,
        IpAddr::V6(_) => u128::BITS,
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses() {
        let check = |network: &str, address: &str, expected: bool| {
            let network_read = Network::read(network).unwrap();
            let found = read_address(address).is_some_and(|address| network_read.holds(address));
            assert_eq!(found, expected, "{address} in {network}");
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("10.1.2.3/8", "10.9.9.9", true);
        check("10.0.0.1/32", "10.0.0.1", true);
        check("10.0.0.1/32", "10.0.0.2", false);
        check("0.0.0.0/0", "255.1.2.3", true);
        check("0.0.0.0/0", "::1", false);
        check("0.0.0.0/0", "::ffff:1.2.3.4", true);
        check("::ffff:10.0.0.0/104", "10.1.1.1", true);
        check("::/0", "2001:db8::1", true);
        check("::/0", "1.2.3.4", false);
        check("2001:db8::/33", "2001:db8:7fff::", true);
        check("2001:db8::/33", "2001:db8:8000::", false);
        check("2001:db8::1/128", "2001:DB8:0:0:0:0:0:1", true);
        check("10.0.0.0/8", "10.0.0.1/32", false);
        check("10.0.0.0/8", "", false);
        check("10.0.0.0/8", "10.0.0.01", false);
        check("10.0.0.0/8", &"1".repeat(1000), false);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "10.0.0.0",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "x/8",
            "/8",
            "",
        ] {
            assert_eq!(Network::read(text), None, "{text}");
        }
    }
}
