//! The header of the PROXY protocol, by which a proxy that passes on bytes says whose they are.
//!
//! It stands before everything else on a connection, TLS included, and is there or is not: a
//! receiver that guessed would let anybody say who he is (proxy-protocol.txt §2). Who may send one is
//! not decided here.
//!
//! ```text
//! version 1   PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 CRLF
//! version 2   signature, command, family, length, addresses, TLVs
//! ```

mod crc32c;
mod v1;
mod v2;

use std::fmt;
use std::net::SocketAddr;

use crate::connection::Received;

/// The longest header that is taken, in bytes. Version 2 could announce 65,551; what proxies send is
/// a few hundred, or a few thousand with a client's certificate in it.
pub const MAX_HEADER: usize = 16 * 1024;

/// Which versions of the header are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// Version 1 only.
    V1,
    /// Version 2 only.
    V2,
    /// Either.
    Any,
}

/// A header that is complete and valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose connection it is.
    pub origin: Origin,
    /// Whether the proxy says that the client's side of it is encrypted (`PP2_CLIENT_SSL`).
    pub secure: bool,
    /// How many bytes it has.
    pub length: usize,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The proxy's own: a health check (`LOCAL`).
    Proxy,
    /// A client's, of whom nothing is told (`UNKNOWN`, `AF_UNSPEC`).
    Unknown,
    /// A client's that came to the proxy by a unix socket.
    Unix,
    /// A client's.
    Client {
        /// How it came to the proxy.
        protocol: Transport,
        /// The client.
        source: SocketAddr,
        /// What it has connected to.
        destination: SocketAddr,
    },
}

/// How a client came to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over IPv4, as in HTTP/3.
    Udp4,
    /// UDP over IPv6.
    Udp6,
}

impl Transport {
    /// Its name, as version 1 has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp4 => "TCP4",
            Self::Tcp6 => "TCP6",
            Self::Udp4 => "UDP4",
            Self::Udp6 => "UDP6",
        }
    }
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyError {
    /// There is none: something else comes.
    Missing,
    /// It is of the version that isn't taken.
    OtherVersion,
    /// It is longer than [`MAX_HEADER`], or of version 1 and longer than 107 bytes.
    TooLong,
    /// Version 1: not the words, addresses and ports that there have to be, each one space apart.
    LineMalformed,
    /// Version 2: neither `LOCAL` nor `PROXY`, or a version after 2.
    CommandUnknown,
    /// Version 2: a family or transport that there is none of.
    FamilyUnknown,
    /// Version 2: the addresses are cut short.
    AddressesShort,
    /// Version 2: a TLV is cut short.
    TlvMalformed,
    /// Version 2: the checksum is wrong.
    ChecksumWrong,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no PROXY header where one is required",
            Self::OtherVersion => "PROXY header of a version that proxy_protocol does not allow",
            Self::TooLong => "PROXY header is too long",
            Self::LineMalformed => "malformed PROXY line",
            Self::CommandUnknown => "unknown command in the PROXY header",
            Self::FamilyUnknown => "unknown address family in the PROXY header",
            Self::AddressesShort => "addresses of the PROXY header are cut short",
            Self::TlvMalformed => "malformed TLV in the PROXY header",
            Self::ChecksumWrong => "wrong checksum in the PROXY header",
        })
    }
}

impl std::error::Error for ProxyError {}

/// Looks for a header at the start of `input`: everything received on a connection so far.
///
/// What can't become a header any more is refused with the byte that shows it.
pub fn receive(input: &[u8], versions: Versions) -> Result<Received<Header>, ProxyError> {
    let (received, other) = match input.first() {
        None => return Ok(Received::Incomplete),
        Some(b'P') => (v1::receive(input)?, Versions::V2),
        Some(b'\r') => (v2::receive(input)?, Versions::V1),
        Some(_) => return Err(ProxyError::Missing),
    };
    match received {
        Received::Complete(_) if versions == other => Err(ProxyError::OtherVersion),
        received => Ok(received),
    }
}

/// Whether `input` begins as a header does, whatever its version.
pub fn begins_header(input: &[u8]) -> bool {
    input.starts_with(v1::START) || input.starts_with(&v2::SIGNATURE)
}

/// Whether `input` differs from `expected` within the length of both.
fn differs(input: &[u8], expected: &[u8]) -> bool {
    input.iter().zip(expected).any(|(found, expected)| found != expected)
}
