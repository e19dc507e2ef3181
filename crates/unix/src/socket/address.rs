//! Where to listen, as written in settings.

use std::fmt;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::str::FromStr;

/// The port when none is given.
const DEFAULT_PORT: u16 = 8000;

/// Bytes of a unix socket's path: `sun_path` less the NUL at its end (unix(7)).
const PATH_MAX: usize = 107;

/// A place to listen at.
///
/// | Written | Means |
/// |---|---|
/// | `HOST:PORT`, `HOST` | that host's address, port 8000 if none is given |
/// | `:PORT` | all IPv4 addresses |
/// | `[V6]:PORT`, `[V6]` | an IPv6 address; `[::]` is all of them, without IPv4 |
/// | `unix:PATH` | a unix socket |
/// | `unix:@NAME` | a unix socket without a file (abstract, Linux) |
/// | `fd://N` | descriptor N, inherited and listening already |
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host and a port; the host is a name or an address without brackets.
    Tcp {
        /// Name or address.
        host: String,
        /// Port; 0: one that the kernel chooses.
        port: u16,
    },
    /// A path.
    Unix(PathBuf),
    /// A name in the abstract namespace, without the leading NUL.
    Abstract(Vec<u8>),
    /// A descriptor number.
    Fd(RawFd),
}

/// Why a text is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// Nothing.
    Empty,
    /// The port is no number from 0 to 65535.
    Port(String),
    /// Only digits: a port, most likely.
    OnlyPort(String),
    /// An IPv6 address without its brackets.
    Brackets(String),
    /// Brackets around something else, or one of them missing.
    NotV6(String),
    /// Characters that no host name has.
    Host(String),
    /// `unix:` and nothing.
    NoPath,
    /// The path doesn't fit into a socket address, or holds a NUL.
    Path(String),
    /// `fd://` and no number.
    Descriptor(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return parse_unix(path);
        }
        if let Some(number) = text.strip_prefix("fd://") {
            return parse_fd(number);
        }
        let text = text.strip_prefix("tcp://").unwrap_or(text);
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if let Some(rest) = text.strip_prefix('[') {
            return parse_v6(text, rest);
        }
        parse_host(text)
    }
}

fn parse_unix(path: &str) -> Result<Address, AddressError> {
    // Gunicorn takes unix:///run/app.sock too.
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.len() > PATH_MAX || path.contains('\0') {
        return Err(AddressError::Path(path.to_owned()));
    }
    match path.strip_prefix('@') {
        Some("") => Err(AddressError::NoPath),
        Some(name) => Ok(Address::Abstract(name.as_bytes().to_vec())),
        None if path.is_empty() => Err(AddressError::NoPath),
        None => Ok(Address::Unix(PathBuf::from(path))),
    }
}

fn parse_fd(number: &str) -> Result<Address, AddressError> {
    let wrong = || AddressError::Descriptor(number.to_owned());
    if !is_number(number) {
        return Err(wrong());
    }
    number.parse().map(Address::Fd).map_err(|_| wrong())
}

fn parse_v6(text: &str, rest: &str) -> Result<Address, AddressError> {
    let wrong = || AddressError::NotV6(text.to_owned());
    let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
    // A zone ("fe80::1%eth0") is resolved when binding.
    let address = host.split_once('%').map_or(host, |(address, _)| address);
    address.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
    let port = match rest.strip_prefix(':') {
        Some(port) => parse_port(port)?,
        None if rest.is_empty() => DEFAULT_PORT,
        None => return Err(wrong()),
    };
    Ok(Address::Tcp { host: host.to_owned(), port })
}

fn parse_host(text: &str) -> Result<Address, AddressError> {
    if text.matches(':').count() > 1 {
        return Err(AddressError::Brackets(text.to_owned()));
    }
    if is_number(text) {
        return Err(AddressError::OnlyPort(text.to_owned()));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, parse_port(port)?),
        None => (text, DEFAULT_PORT),
    };
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    // RFC 1123 §2.1, and underscores, which container networks use.
    let valid = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !host.chars().all(valid) {
        return Err(AddressError::Host(host.to_owned()));
    }
    Ok(Address::Tcp { host: host.to_owned(), port })
}

fn parse_port(port: &str) -> Result<u16, AddressError> {
    let wrong = || AddressError::Port(port.to_owned());
    if !is_number(port) {
        return Err(wrong());
    }
    port.parse().map_err(|_| wrong())
}

/// Digits only: `parse` alone takes a sign.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{}", String::from_utf8_lossy(name)),
            Self::Fd(number) => write!(f, "fd://{number}"),
        }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an address is missing: HOST:PORT, unix:PATH or fd://N"),
            Self::Port(port) => write!(f, "port \"{port}\" is no number from 0 to 65535"),
            Self::OnlyPort(port) => {
                write!(f, "\"{port}\" is only a port: write :{port} or 127.0.0.1:{port}")
            }
            Self::Brackets(text) => {
                write!(f, "an IPv6 address takes brackets: [::1]:8000, not \"{text}\"")
            }
            Self::NotV6(text) => write!(f, "\"{text}\" is not of the form [IPV6]:PORT"),
            Self::Host(host) => write!(f, "\"{host}\" is no host name or address"),
            Self::NoPath => f.write_str("unix: needs a path, or @ and a name"),
            Self::Path(path) => write!(
                f,
                "socket path \"{}\" is longer than {PATH_MAX} bytes or holds a NUL",
                path.escape_default()
            ),
            Self::Descriptor(number) => {
                write!(f, "fd://{number} needs the number of a descriptor, such as fd://3")
            }
        }
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn forms() {
        let cases = [
            ("127.0.0.1:80", tcp("127.0.0.1", 80), "127.0.0.1:80"),
            ("localhost", tcp("localhost", 8000), "localhost:8000"),
            ("my_host-1.example:0", tcp("my_host-1.example", 0), "my_host-1.example:0"),
            (":8080", tcp("0.0.0.0", 8080), "0.0.0.0:8080"),
            ("tcp://127.0.0.1:1", tcp("127.0.0.1", 1), "127.0.0.1:1"),
            ("[::1]:65535", tcp("::1", 65535), "[::1]:65535"),
            ("[::]", tcp("::", 8000), "[::]:8000"),
            ("[fe80::1%eth0]:1", tcp("fe80::1%eth0", 1), "[fe80::1%eth0]:1"),
            ("unix:run/a.sock", Address::Unix("run/a.sock".into()), "unix:run/a.sock"),
            ("unix:///run/a", Address::Unix("/run/a".into()), "unix:/run/a"),
            ("unix:@name", Address::Abstract(b"name".to_vec()), "unix:@name"),
            ("fd://3", Address::Fd(3), "fd://3"),
        ];
        for (text, address, shown) in cases {
            assert_eq!(text.parse(), Ok(address.clone()), "{text}");
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address), "{shown}");
        }
    }

    #[test]
    fn refusals() {
        let long = format!("unix:/{}", "x".repeat(107));
        let cases = [
            ("", "an address is missing: HOST:PORT, unix:PATH or fd://N"),
            ("8000", "\"8000\" is only a port: write :8000 or 127.0.0.1:8000"),
            ("host:", "port \"\" is no number from 0 to 65535"),
            ("host:+1", "port \"+1\" is no number from 0 to 65535"),
            ("host:65536", "port \"65536\" is no number from 0 to 65535"),
            ("::1", "an IPv6 address takes brackets: [::1]:8000, not \"::1\""),
            ("[::1", "\"[::1\" is not of the form [IPV6]:PORT"),
            ("[::1]8000", "\"[::1]8000\" is not of the form [IPV6]:PORT"),
            ("[127.0.0.1]:1", "\"[127.0.0.1]:1\" is not of the form [IPV6]:PORT"),
            ("http//host:1", "\"http//host\" is no host name or address"),
            ("ho st", "\"ho st\" is no host name or address"),
            ("unix:", "unix: needs a path, or @ and a name"),
            ("unix:@", "unix: needs a path, or @ and a name"),
            ("fd://", "fd:// needs the number of a descriptor, such as fd://3"),
            ("fd://-1", "fd://-1 needs the number of a descriptor, such as fd://3"),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<Address>().unwrap_err().to_string(), message, "{text}");
        }
        assert!(matches!(long.parse::<Address>(), Err(AddressError::Path(_))));
        assert!(matches!("unix:a\0b".parse::<Address>(), Err(AddressError::Path(_))));
    }
}
