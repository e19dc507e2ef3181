//! Where to listen, and what is spoken there.

use std::fmt;
use std::str::FromStr;

use ironhorn_unix::{Address, AddressError};

use super::Kind;

/// A place to listen at: `PROTOCOL://ADDRESS`, or an address alone for HTTP.
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
    /// HTTP/1.1.
    #[default]
    Http,
}

/// Each protocol with what is written before the address.
const PREFIXES: &[(&str, Protocol)] = &[("http://", Protocol::Http)];

impl Bind {
    /// HTTP at `address`.
    pub fn http(address: Address) -> Self {
        Self { protocol: Protocol::Http, address }
    }
}

impl FromStr for Bind {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (protocol, address) = PREFIXES
            .iter()
            .find_map(|&(prefix, protocol)| Some((protocol, text.strip_prefix(prefix)?)))
            .unwrap_or((Protocol::Http, text));
        Ok(Self { protocol, address: address.parse()? })
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.protocol != Protocol::default() {
            let prefix = PREFIXES.iter().find(|&&(_, protocol)| protocol == self.protocol);
            f.write_str(prefix.map_or("", |&(prefix, _)| prefix))?;
        }
        self.address.fmt(f)
    }
}

/// An address to listen on.
pub(crate) struct Listen;

impl Kind for Listen {
    type Value = Bind;

    fn parse(&self, text: &str) -> Option<Bind> {
        text.parse().ok()
    }

    fn allowed(&self) -> String {
        "HOST:PORT, [V6]:PORT, unix:PATH, unix:@NAME or fd://N".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_alone_is_http() {
        for text in ["[::1]:80", "http://[::1]:80"] {
            let bind: Bind = text.parse().unwrap();
            assert_eq!(bind, Bind::http("[::1]:80".parse().unwrap()), "{text}");
            assert_eq!(bind.to_string(), "[::1]:80");
        }
        assert_eq!("http://".parse::<Bind>(), Err(AddressError::Empty));
    }
}
