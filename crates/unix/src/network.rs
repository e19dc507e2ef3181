//! Which addresses are meant: one, those of a network, or all.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address, a network, or `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// All addresses: `*`.
    All,
    /// Those whose first bits are these.
    Of {
        /// The rest of its bits is zero.
        address: IpAddr,
        /// How many bits count.
        length: u8,
    },
}

/// What can be wrong with a text that is to be a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// Neither an address nor a network.
    Form,
    /// An address with a length that isn't the network's: it has bits beyond.
    Beyond,
}

impl Network {
    /// Whether an address is of this network. An IPv4 address that a socket of IPv6 has taken is the
    /// IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let Self::Of { address: network, length } = *self else { return true };
        match (network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                bits(network.to_bits().into(), length, 32)
                    == bits(address.to_bits().into(), length, 32)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                bits(network.to_bits(), length, 128) == bits(address.to_bits(), length, 128)
            }
            _ => false,
        }
    }
}

/// The first `length` bits of an address that has `all`.
fn bits(address: u128, length: u8, all: u8) -> u128 {
    address.checked_shr(u32::from(all - length)).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        if text == "*" {
            return Ok(Self::All);
        }
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Form)?;
        let (all, number) = match address {
            IpAddr::V4(address) => (32, address.to_bits().into()),
            IpAddr::V6(address) => (128, address.to_bits()),
        };
        let length = match length {
            None => all,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|length| *length <= all).ok_or(NetworkError::Form)?
            }
            Some(_) => return Err(NetworkError::Form),
        };
        let network = bits(number, length, all).checked_shl(u32::from(all - length)).unwrap_or(0);
        if network == number { Ok(Self::Of { address, length }) } else { Err(NetworkError::Beyond) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Of { address, length: 32 } if address.is_ipv4() => address.fmt(f),
            Self::Of { address, length: 128 } => address.fmt(f),
            Self::Of { address, length } => write!(f, "{address}/{length}"),
        }
    }
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "neither an IP address nor a network such as 10.0.0.0/8",
            Self::Beyond => "the address of a network has no bits beyond its length",
        })
    }
}

impl std::error::Error for NetworkError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn contains(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn what_is_in_a_network() {
        for (network, inside, outside) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.2.128/25", "10.1.2.255", "10.1.2.127"),
            ("0.0.0.0/0", "255.255.255.255", "::"),
            ("::1", "::1", "::2"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
        ] {
            assert!(contains(network, inside), "{inside} in {network}");
            assert!(!contains(network, outside), "{outside} in {network}");
        }
        assert!(contains("*", "192.0.2.1") && contains("*", "2001:db8::1"));
    }

    #[test]
    fn texts() {
        for text in ["*", "127.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "::1", "2001:db8::/32", "::/0"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for text in ["", "localhost", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/+8", "1/8"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Form), "{text}");
        }
        for text in ["10.0.0.1/8", "1.2.3.4/0", "2001:db8::1/64", "::1/0"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Beyond), "{text}");
        }
    }
}
