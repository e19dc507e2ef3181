//! Where to listen, and what is spoken there.

use std::fmt;
use std::str::FromStr;

use ironhorn_unix::{Address, AddressError};

use super::Kind;

/// A place to listen at: `PROTOCOL://ADDRESS`, or an address alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bind {
    /// What is spoken there.
    pub protocol: Protocol,
    /// Where it is.
    pub address: Address,
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Nothing was written: HTTPS on TCP if there is a certificate, else HTTP.
    #[default]
    Fitting,
    /// HTTP/1.1.
    Http,
    /// HTTP/1.1 in TLS.
    Https,
    /// HTTP/1.1, where every request is told to come back over HTTPS.
    Redirect,
}

/// Each protocol with what is written before the address.
const PREFIXES: &[(&str, Protocol)] = &[
    ("http://", Protocol::Http),
    ("https://", Protocol::Https),
    ("redirect://", Protocol::Redirect),
];

impl Bind {
    /// What fits at `address`.
    pub fn at(address: Address) -> Self {
        Self { protocol: Protocol::default(), address }
    }
}

impl FromStr for Bind {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (protocol, address) = PREFIXES
            .iter()
            .find_map(|&(prefix, protocol)| Some((protocol, text.strip_prefix(prefix)?)))
            .unwrap_or((Protocol::default(), text));
        Ok(Self { protocol, address: address.parse()? })
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = PREFIXES.iter().find(|&&(_, protocol)| protocol == self.protocol);
        f.write_str(prefix.map_or("", |&(prefix, _)| prefix))?;
        self.address.fmt(f)
    }
}

/// An address to listen on.
pub(crate) struct Listen;

impl Kind for Listen {
    type Value = Bind;

    fn parse(&self, text: &str) -> Option<Bind> {
        let bind: Bind = text.parse().ok()?;
        // A unix socket has no port that anybody could have meant.
        let is_tcp = matches!(bind.address, Address::Tcp { .. } | Address::Fd(_));
        (is_tcp || bind.protocol != Protocol::Redirect).then_some(bind)
    }

    fn allowed(&self) -> String {
        "HOST:PORT, [V6]:PORT, unix:PATH, unix:@NAME or fd://N".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_may_stand_before_an_address() {
        for (text, protocol) in [
            ("[::1]:80", Protocol::Fitting),
            ("http://[::1]:80", Protocol::Http),
            ("https://[::1]:80", Protocol::Https),
            ("redirect://[::1]:80", Protocol::Redirect),
        ] {
            let bind: Bind = text.parse().unwrap();
            assert_eq!(bind, Bind { protocol, address: "[::1]:80".parse().unwrap() }, "{text}");
            assert_eq!(bind.to_string(), text);
        }
        assert_eq!("http://".parse::<Bind>(), Err(AddressError::Empty));
    }

    #[test]
    fn only_a_port_is_redirected_from() {
        assert!(Listen.parse("https://unix:/run/app").is_some());
        assert!(Listen.parse("redirect://:80").is_some());
        assert!(Listen.parse("redirect://fd://3").is_some());
        assert_eq!(Listen.parse("redirect://unix:/run/app"), None);
    }
}
