//! Whom to believe: peers, hops, the header of the PROXY protocol.

use std::num::NonZeroU8;

use ironhorn_unix::PeerPattern;

use super::Kind;

/// An address, a network, `*` or `unix`.
pub(crate) struct Peers;

impl Kind for Peers {
    type Value = PeerPattern;

    fn parse(&self, text: &str) -> Option<PeerPattern> {
        text.parse().ok()
    }

    fn allowed(&self) -> String {
        "an address such as 10.0.0.1 or ::1, a network such as 10.0.0.0/8 with no bits set beyond \
         its prefix, * or unix"
            .to_owned()
    }
}

/// Who the client is that a proxy forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedFor {
    /// Whoever is connected.
    Off,
    /// The first from the right that isn't trusted.
    On,
    /// So many from the right.
    Hops(NonZeroU8),
}

/// More proxies in a row than this is a mistake.
const MOST_HOPS: u8 = 32;

/// `off`, `on` or a number of hops.
pub(crate) struct Forwarding;

impl Kind for Forwarding {
    type Value = ForwardedFor;

    fn parse(&self, text: &str) -> Option<ForwardedFor> {
        match text {
            "off" | "false" => Some(ForwardedFor::Off),
            "on" | "true" => Some(ForwardedFor::On),
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let hops: NonZeroU8 = digits.parse().ok()?;
                (hops.get() <= MOST_HOPS).then_some(ForwardedFor::Hops(hops))
            }
            _ => None,
        }
    }

    fn allowed(&self) -> String {
        format!("off, on or the number of proxies, from 1 to {MOST_HOPS}")
    }
}

/// Which header of the PROXY protocol is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// None.
    Off,
    /// One of version 1.
    V1,
    /// One of version 2.
    V2,
    /// One of either.
    Auto,
}

/// The name of a header field.
pub(crate) struct FieldName;

impl Kind for FieldName {
    type Value = String;

    fn parse(&self, text: &str) -> Option<String> {
        // RFC 9110 section 5.6.2.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&byte);
        (!text.is_empty() && text.bytes().all(allowed)).then(|| text.to_owned())
    }

    fn allowed(&self) -> String {
        "the name of a header field, such as X-Remote-User".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_one_of_hops() {
        let hops = |hops| Some(ForwardedFor::Hops(NonZeroU8::new(hops).unwrap()));
        for (text, value) in [
            ("off", Some(ForwardedFor::Off)),
            ("true", Some(ForwardedFor::On)),
            ("on", Some(ForwardedFor::On)),
            ("1", hops(1)),
            ("32", hops(32)),
            ("0", None),
            ("33", None),
            ("300", None),
            ("+1", None),
            ("yes", None),
            ("", None),
        ] {
            assert_eq!(Forwarding.parse(text), value, "{text}");
        }
    }

    #[test]
    fn peers() {
        for text in ["*", "unix", "::1", "10.0.0.0/8"] {
            assert!(Peers.parse(text).is_some(), "{text}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0.1/8", "localhost", "unix:/run/x"] {
            assert_eq!(Peers.parse(text), None, "{text}");
        }
    }

    #[test]
    fn field_names() {
        assert_eq!(FieldName.parse("SCRIPT_NAME"), Some("SCRIPT_NAME".into()));
        for text in ["", "a b", "a:", "*", "\u{e9}"] {
            assert_eq!(FieldName.parse(text), None, "{text}");
        }
    }
}
