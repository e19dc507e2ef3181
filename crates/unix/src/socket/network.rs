//! Who a peer may be: addresses and networks, as settings list them.
//!
//! An IPv4 address that comes in the clothes of IPv6 (`::ffff:192.0.2.1`, RFC 4291 §2.5.5.2), as on
//! a listener for both, is the IPv4 address, in a list as in what is looked for there.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::Peer;

/// An address, or all that begin with the same bits (CIDR, RFC 4632 §3.1; RFC 4291 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// The first of its addresses.
    address: IpAddr,
    /// How many bits they share.
    prefix: u8,
}

/// One item of a list of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerPattern {
    /// Those with an address in this network.
    Network(Network),
    /// Everybody: `*`.
    Any,
    /// Those that come by a unix socket: `unix`.
    Unix,
}

/// Peers that are listed.
///
/// Who comes by a unix socket is in every list but the empty one: the permissions of the socket
/// have let it in already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerList {
    networks: Vec<Network>,
    any: bool,
    unix: bool,
}

/// Why a text is no [`Network`] or [`PeerPattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// What stands for the address is none.
    Address,
    /// What follows the slash is no number of bits that the address has.
    Prefix,
    /// The address has bits beyond the prefix, so that it isn't clear what is meant.
    HostBits,
}

impl Network {
    /// Whether `address` is one of its addresses.
    pub fn contains(&self, address: IpAddr) -> bool {
        bits(address.to_canonical(), self.prefix) == bits(self.address, self.prefix)
    }
}

/// The leading bits of an address, with its family. A prefix of the other family may be longer than
/// the address.
fn bits(address: IpAddr, prefix: u8) -> (bool, u128) {
    let (is_v4, width, value) = match address {
        IpAddr::V4(address) => (true, 32_u32, u128::from(address.to_bits())),
        IpAddr::V6(address) => (false, 128, address.to_bits()),
    };
    (is_v4, value.checked_shr(width.saturating_sub(prefix.into())).unwrap_or(0))
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => parse_prefix(prefix).filter(|&prefix| prefix <= width),
            None => Some(width),
        };
        Self::new(address, prefix.ok_or(NetworkError::Prefix)?)
    }
}

impl Network {
    fn new(address: IpAddr, prefix: u8) -> Result<Self, NetworkError> {
        /// How many bits say that an IPv6 address is one of IPv4.
        const MAPPED: u8 = 96;
        let network = match address.to_canonical() {
            IpAddr::V4(inner) if address.is_ipv6() && prefix >= MAPPED => {
                Self { address: inner.into(), prefix: prefix - MAPPED }
            }
            _ => Self { address, prefix },
        };
        let width = if network.address.is_ipv4() { 32 } else { 128 };
        let (_, all) = bits(network.address, width);
        let (_, shared) = bits(network.address, network.prefix);
        let first = shared.checked_shl(u32::from(width - network.prefix)).unwrap_or(0);
        if first == all { Ok(network) } else { Err(NetworkError::HostBits) }
    }
}

/// Digits only: no sign, no white space.
fn parse_prefix(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        if self.prefix == width { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

impl FromStr for PeerPattern {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        match text {
            "*" => Ok(Self::Any),
            "unix" => Ok(Self::Unix),
            network => network.parse().map(Self::Network),
        }
    }
}

impl fmt::Display for PeerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Any => f.write_str("*"),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl FromIterator<PeerPattern> for PeerList {
    fn from_iter<I: IntoIterator<Item = PeerPattern>>(patterns: I) -> Self {
        let mut list = Self::default();
        for pattern in patterns {
            list.unix = true;
            match pattern {
                PeerPattern::Network(network) => list.networks.push(network),
                PeerPattern::Any => list.any = true,
                PeerPattern::Unix => {}
            }
        }
        list
    }
}

impl PeerList {
    /// Whether a peer is listed.
    pub fn contains(&self, peer: &Peer) -> bool {
        match peer {
            Peer::Inet(address) => self.any || self.names(address.ip()),
            Peer::Unix => self.unix,
            Peer::Unnamed => false,
        }
    }

    /// Whether an address is in one of the networks, `*` apart.
    pub fn names(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[track_caller]
    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_hold_the_addresses_that_begin_alike() {
        for (text, inside, outside) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.0/9", "10.127.255.255", "10.128.0.0"),
            ("192.0.2.4/31", "192.0.2.5", "192.0.2.6"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("::1", "::1", "::2"),
            // A prefix that is longer than the address of the other family.
            ("::1", "::1", "127.0.0.1"),
            ("2001:db8::/33", "2001:db8::1", "32.1.13.184"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "fe80::1", "10.0.0.1"),
        ] {
            assert!(network(text).contains(address(inside)), "{text} {inside}");
            assert!(!network(text).contains(address(outside)), "{text} {outside}");
            assert_eq!(network(text).to_string(), text);
        }
    }

    #[test]
    fn an_address_of_ipv4_is_one_in_any_clothes() {
        for text in ["127.0.0.1", "::ffff:127.0.0.1", "::ffff:127.0.0.0/104", "127.0.0.0/8"] {
            for inside in ["127.0.0.1", "::ffff:127.0.0.1"] {
                assert!(network(text).contains(address(inside)), "{text} {inside}");
            }
            assert!(!network(text).contains(address("::1")), "{text}");
        }
        assert_eq!(network("::ffff:10.0.0.0/104").to_string(), "10.0.0.0/8");
    }

    #[test]
    fn what_is_no_network() {
        for (text, error) in [
            ("", NetworkError::Address),
            ("localhost", NetworkError::Address),
            ("10.0.0", NetworkError::Address),
            ("010.0.0.1", NetworkError::Address),
            ("10.0.0.0/", NetworkError::Prefix),
            ("10.0.0.0/33", NetworkError::Prefix),
            ("::/129", NetworkError::Prefix),
            ("10.0.0.0/+8", NetworkError::Prefix),
            ("10.0.0.0/255.0.0.0", NetworkError::Prefix),
            ("10.0.0.1/8", NetworkError::HostBits),
            ("2001:db8::1/32", NetworkError::HostBits),
            ("fe80::1%lo", NetworkError::Address),
        ] {
            assert_eq!(text.parse::<Network>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_unix_peer_is_in_every_list_but_the_empty_one() {
        let list = |items: &[&str]| -> PeerList {
            items.iter().map(|item| item.parse::<PeerPattern>().unwrap()).collect()
        };
        let inet = Peer::Inet("192.0.2.7:1".parse().unwrap());
        for (items, unix, from_inet) in [
            (&[][..], false, false),
            (&["unix"], true, false),
            (&["127.0.0.1"], true, false),
            (&["127.0.0.1", "192.0.2.0/24"], true, true),
            (&["*"], true, true),
        ] {
            assert_eq!(list(items).contains(&Peer::Unix), unix, "{items:?}");
            assert_eq!(list(items).contains(&inet), from_inet, "{items:?}");
            assert!(!list(items).contains(&Peer::Unnamed), "{items:?}");
        }
        assert!(!list(&["*"]).names(address("192.0.2.7")), "nobody is named by *");
    }

    proptest! {
        #[test]
        fn a_network_holds_exactly_those_with_its_bits(
            first: u128, other: u128, prefix in 0..=128u8, v4: bool
        ) {
            let width = if v4 { 32 } else { 128 };
            let prefix = prefix % (width + 1);
            let of = |value: u128| if v4 {
                IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(value & 0xffff_ffff).unwrap()))
            } else {
                IpAddr::V6(Ipv6Addr::from_bits(value))
            };
            // Not one of those that are IPv4's after all.
            prop_assume!(of(first).to_canonical() == of(first));
            let kept = |value: u128| {
                (0..u32::from(width)).all(|bit| bit >= u32::from(prefix) || {
                    let shift = u32::from(width) - 1 - bit;
                    value >> shift & 1 == first >> shift & 1
                })
            };
            let cut = u32::from(width - prefix);
            let masked = first.checked_shr(cut).and_then(|high| high.checked_shl(cut)).unwrap_or(0);
            let network: Network = format!("{}/{prefix}", of(masked)).parse().unwrap();
            for value in [first, other, first ^ 1, first ^ (1 << (other % u128::from(width)))] {
                prop_assume!(of(value).to_canonical() == of(value));
                prop_assert_eq!(network.contains(of(value)), kept(value));
            }
            prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
        }

        #[test]
        fn no_text_panics(text in "[0-9a-f:./*%]{0,24}") {
            let _ = text.parse::<PeerPattern>();
        }
    }
}
