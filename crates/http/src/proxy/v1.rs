//! Version 1: a line (proxy-protocol.txt §2.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Header, Origin, ProxyError, Transport, differs};
use crate::connection::Received;

pub(super) const START: &[u8] = b"PROXY ";

/// The longest line, with its CRLF.
const LONGEST: usize = 107;

pub(super) fn receive(input: &[u8]) -> Result<Received<Header>, ProxyError> {
    if differs(input, START) {
        return Err(ProxyError::Missing);
    }
    let looked_at = &input[..input.len().min(LONGEST)];
    let line = match looked_at.iter().position(|&byte| matches!(byte, b'\r' | b'\n')) {
        None if input.len() < LONGEST => return Ok(Received::Incomplete),
        None => return Err(ProxyError::TooLong),
        Some(end) => match looked_at[end..] {
            [b'\r', b'\n', ..] => &looked_at[..end],
            [b'\r'] if input.len() < LONGEST => return Ok(Received::Incomplete),
            [b'\r'] => return Err(ProxyError::TooLong),
            _ => return Err(ProxyError::LineMalformed),
        },
    };
    let origin = line.get(START.len()..).and_then(parse).ok_or(ProxyError::LineMalformed)?;
    Ok(Received::Complete(Header { origin, secure: false, length: line.len() + 2 }))
}

/// Parses what follows `PROXY `.
fn parse(rest: &[u8]) -> Option<Origin> {
    let mut words = rest.split(|&byte| byte == b' ');
    let protocol = match words.next()? {
        b"TCP4" => Transport::Tcp4,
        b"TCP6" => Transport::Tcp6,
        // What follows it must be ignored.
        b"UNKNOWN" => return Some(Origin::Unknown),
        _ => return None,
    };
    let mut address = || -> Option<IpAddr> {
        match protocol {
            Transport::Tcp4 => parsed::<Ipv4Addr>(words.next()?).map(Into::into),
            _ => parsed::<Ipv6Addr>(words.next()?).map(Into::into),
        }
    };
    let (source, destination) = (address()?, address()?);
    let (from, to) = (port(words.next()?)?, port(words.next()?)?);
    let ended = words.next().is_none();
    ended.then_some(Origin::Client {
        protocol,
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
    })
}

fn parsed<T: FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Digits without leading zeros.
fn port(word: &[u8]) -> Option<u16> {
    let plain =
        word.iter().all(u8::is_ascii_digit) && (word.len() == 1 || word.first() != Some(&b'0'));
    if plain { parsed(word) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn whole(line: &str) -> Result<Origin, ProxyError> {
        match receive(line.as_bytes())? {
            Received::Complete(header) => {
                assert_eq!(header.length, line.len());
                Ok(header.origin)
            }
            Received::Incomplete => panic!("incomplete: {line:?}"),
        }
    }

    #[test]
    fn lines() {
        assert_eq!(
            whole("PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"),
            Ok(Origin::Client {
                protocol: Transport::Tcp4,
                source: "192.0.2.7:56324".parse().unwrap(),
                destination: "198.51.100.1:443".parse().unwrap(),
            })
        );
        assert_eq!(
            whole("PROXY TCP6 2001:db8::7 ::1 65535 0\r\n"),
            Ok(Origin::Client {
                protocol: Transport::Tcp6,
                source: "[2001:db8::7]:65535".parse().unwrap(),
                destination: "[::1]:0".parse().unwrap(),
            })
        );
        for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 x \t y\r\n"] {
            assert_eq!(whole(line), Ok(Origin::Unknown), "{line:?}");
        }
        // The longest there can be.
        let address = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let line = format!("PROXY UNKNOWN {address} {address} 65535 65535\r\n");
        assert_eq!(line.len(), LONGEST);
        assert_eq!(whole(&line), Ok(Origin::Unknown));
    }

    #[test]
    fn malformed_lines() {
        for line in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP5 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY tcp4 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
            "PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1  2\r\n",
            "PROXY TCP4 192.0.2 198.51.100.1 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY TCP6 [::1] [::1] 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\rX",
        ] {
            assert_eq!(receive(line.as_bytes()), Err(ProxyError::LineMalformed), "{line:?}");
        }
    }

    #[test]
    fn a_line_that_does_not_end() {
        let line = format!("PROXY UNKNOWN {}", "x".repeat(LONGEST));
        assert_eq!(receive(&line.as_bytes()[..LONGEST - 1]), Ok(Received::Incomplete));
        assert_eq!(receive(&line.as_bytes()[..LONGEST]), Err(ProxyError::TooLong));
        let line = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST - 15));
        assert_eq!(line.len(), LONGEST + 1);
        assert_eq!(receive(line.as_bytes()), Err(ProxyError::TooLong));
    }
}
