//! Where to listen, and what is spoken there.

use std::fmt;
use std::str::FromStr;

use ironhorn_unix::{Address, AddressError};

use super::Kind;

/// A place to listen at: `PROTOCOL://ADDRESS`, or an address alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bind {
    /// What is spoken there; none: what the setting `protocol` says.
    pub protocol: Option<Protocol>,
    /// Where it is.
    pub address: Address,
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/1.1 in TLS.
    Https,
    /// HTTP/1.1, where every request is told to come back over HTTPS.
    Redirect,
    /// The uwsgi protocol.
    Uwsgi,
}

/// Each protocol by its name, which `://` follows before an address.
const PROTOCOLS: [(&str, Protocol); 4] = [
    ("http", Protocol::Http),
    ("https", Protocol::Https),
    ("redirect", Protocol::Redirect),
    ("uwsgi", Protocol::Uwsgi),
];

impl Bind {
    /// An address alone.
    pub fn at(address: Address) -> Self {
        Self { protocol: None, address }
    }
}

impl FromStr for Bind {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let named = PROTOCOLS.into_iter().find_map(|(name, protocol)| {
            Some((protocol, text.strip_prefix(name)?.strip_prefix("://")?))
        });
        match named {
            Some((protocol, address)) => {
                Ok(Self { protocol: Some(protocol), address: address.parse()? })
            }
            None => Ok(Self::at(text.parse()?)),
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            |&(name, protocol): &(_, Protocol)| (Some(protocol) == self.protocol).then_some(name);
        if let Some(name) = PROTOCOLS.iter().find_map(name) {
            write!(f, "{name}://")?;
        }
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
        (is_tcp || bind.protocol != Some(Protocol::Redirect)).then_some(bind)
    }

    fn allowed(&self) -> String {
        "HOST:PORT, [V6]:PORT, unix:PATH, unix:@NAME or fd://N".to_owned()
    }

    fn prefixes(&self) -> Option<Prefixes> {
        Some(Prefixes { what: "protocol", names: &["http", "https", "redirect", "uwsgi"] })
    }
}

/// What may stand before a text, with `://` between them; in YAML, `NAME: TEXT` says the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prefixes {
    /// What they are, one by one.
    pub(crate) what: &'static str,
    /// All there are.
    pub(crate) names: &'static [&'static str],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_alone_or_follow_its_protocol() {
        let address: Address = "[::1]:80".parse().unwrap();
        for (text, protocol) in [
            ("[::1]:80", None),
            ("http://[::1]:80", Some(Protocol::Http)),
            ("https://[::1]:80", Some(Protocol::Https)),
            ("redirect://[::1]:80", Some(Protocol::Redirect)),
            ("uwsgi://[::1]:80", Some(Protocol::Uwsgi)),
        ] {
            let bind: Bind = text.parse().unwrap();
            assert_eq!(bind, Bind { protocol, address: address.clone() }, "{text}");
            assert_eq!(bind.to_string(), text);
        }
        for (text, address) in [
            ("uwsgi://unix:/run/app.sock", Address::Unix("/run/app.sock".into())),
            ("uwsgi://unix:@app", Address::Abstract(b"app".to_vec())),
            ("uwsgi://fd://3", Address::Fd(3)),
        ] {
            assert_eq!(text.parse::<Bind>().unwrap().address, address);
        }
        assert_eq!("http://".parse::<Bind>(), Err(AddressError::Empty));
        assert_eq!("uwsgi://".parse::<Bind>(), Err(AddressError::Empty));
        assert!("scgi://[::1]:80".parse::<Bind>().is_err());
    }

    #[test]
    fn every_protocol_may_be_a_prefix() {
        assert_eq!(Listen.prefixes().unwrap().names, PROTOCOLS.map(|(name, _)| name));
    }

    #[test]
    fn only_a_port_is_redirected_from() {
        assert!(Listen.parse("https://unix:/run/app").is_some());
        assert!(Listen.parse("redirect://:80").is_some());
        assert!(Listen.parse("redirect://fd://3").is_some());
        assert_eq!(Listen.parse("redirect://unix:/run/app"), None);
    }
}
