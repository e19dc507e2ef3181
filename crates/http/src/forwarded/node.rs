//! Who a proxy says that it was sent by: an address, or a name that tells nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A node identifier (RFC 7239 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// An address, and the port if it is told. IPv4 in IPv6's clothes is IPv4.
    Address(IpAddr, Option<u16>),
    /// `unknown`, or a name that the proxy has made up.
    Unnamed,
}

impl Node {
    /// The value of `for` in `Forwarded`, without its quotes.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (name, port) = if let [b'[', rest @ ..] = text {
            let end = rest.iter().position(|&byte| byte == b']')?;
            let address: Ipv6Addr = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
            (Some(IpAddr::V6(address).to_canonical()), &rest[end + 1..])
        } else {
            let end = text.iter().position(|&byte| byte == b':').unwrap_or(text.len());
            let (name, port) = text.split_at(end);
            (if is_made_up(name) { None } else { Some(v4(name)?) }, port)
        };
        let port = match port {
            [] => None,
            [b':', port @ ..] if is_obfuscated(port) => None,
            [b':', port @ ..] => Some(parse_port(port)?),
            _ => return None,
        };
        Some(name.map_or(Self::Unnamed, |address| Self::Address(address, port)))
    }

    /// An entry of `X-Forwarded-For`, which no standard defines: addresses with or without a port,
    /// and those of IPv6 with or without brackets, are what proxies send.
    pub(super) fn parse_entry(text: &[u8]) -> Option<Self> {
        let bare = std::str::from_utf8(text).ok()?.parse::<Ipv6Addr>();
        match bare {
            Ok(address) => Some(Self::Address(IpAddr::V6(address).to_canonical(), None)),
            Err(_) => Self::parse(text),
        }
    }

    /// Its address.
    pub(super) fn address(self) -> Option<IpAddr> {
        match self {
            Self::Address(address, _) => Some(address),
            Self::Unnamed => None,
        }
    }
}

fn v4(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

fn is_made_up(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"unknown") || is_obfuscated(name)
}

/// RFC 7239 §6.3.
fn is_obfuscated(text: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    matches!(text, [b'_', rest @ ..] if !rest.is_empty() && rest.iter().all(allowed))
}

/// `1*5DIGIT`, and a port.
pub(super) fn parse_port(digits: &[u8]) -> Option<u16> {
    let port = crate::headers::decimal(digits)?;
    (digits.len() <= 5).then(|| u16::try_from(port).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str, port: Option<u16>) -> Option<Node> {
        Some(Node::Address(text.parse().unwrap(), port))
    }

    #[test]
    fn nodes() {
        for (text, node) in [
            ("192.0.2.43", address("192.0.2.43", None)),
            ("192.0.2.43:80", address("192.0.2.43", Some(80))),
            ("192.0.2.43:_gazonk", address("192.0.2.43", None)),
            ("[2001:db8::17]", address("2001:db8::17", None)),
            ("[2001:db8::17]:4711", address("2001:db8::17", Some(4711))),
            ("[::ffff:192.0.2.1]", address("192.0.2.1", None)),
            ("unknown", Some(Node::Unnamed)),
            ("Unknown:80", Some(Node::Unnamed)),
            ("_SEVKISEK", Some(Node::Unnamed)),
            ("_a.b-c_1:_p", Some(Node::Unnamed)),
        ] {
            assert_eq!(Node::parse(text.as_bytes()), node, "{text}");
            assert_eq!(Node::parse_entry(text.as_bytes()), node, "{text}");
        }
        assert_eq!(Node::parse_entry(b"2001:db8::17"), address("2001:db8::17", None));
        assert_eq!(Node::parse(b"2001:db8::17"), None, "RFC 7239 wants brackets");
    }

    #[test]
    fn what_is_no_node() {
        for text in [
            "",
            ":80",
            "192.0.2",
            "192.0.2.01",
            "192.0.2.1:",
            "192.0.2.1:65536",
            "192.0.2.1:+80",
            "192.0.2.1:000080",
            "192.0.2.1:80:80",
            " 192.0.2.1",
            "[192.0.2.1]",
            "[::1",
            "[::1]80",
            "[fe80::1%eth0]",
            "fe80::1%eth0",
            "_",
            "_a!",
            "client.example",
            "\u{e9}",
        ] {
            assert_eq!(Node::parse(text.as_bytes()), None, "{text}");
            assert_eq!(Node::parse_entry(text.as_bytes()), None, "{text}");
        }
    }
}
