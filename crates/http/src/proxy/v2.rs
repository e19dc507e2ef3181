//! Version 2: binary (proxy-protocol.txt §2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, MAX_HEADER, Origin, ProxyError, Transport, crc32c, differs};
use crate::connection::Received;

pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, length of what follows.
const PREFIX: usize = SIGNATURE.len() + 4;

/// `struct sockaddr_un`'s path, twice.
const UNIX_ADDRESSES: usize = 2 * 108;

const PP2_TYPE_CRC32C: u8 = 0x03;
const PP2_TYPE_SSL: u8 = 0x20;
const PP2_CLIENT_SSL: u8 = 0x01;

/// What the addresses are.
#[derive(Clone, Copy)]
enum Family {
    /// To be skipped.
    Unspecified,
    Inet(Transport),
    Inet6(Transport),
    Unix,
}

pub(super) fn receive(input: &[u8]) -> Result<Received<Header>, ProxyError> {
    if differs(input, &SIGNATURE) {
        return Err(ProxyError::Missing);
    }
    let local = match input.get(12) {
        None => return Ok(Received::Incomplete),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(ProxyError::CommandUnknown),
    };
    let family = match input.get(13) {
        None => return Ok(Received::Incomplete),
        // That of a health check is to be ignored.
        Some(_) if local => Family::Unspecified,
        Some(&byte) => family(byte).ok_or(ProxyError::FamilyUnknown)?,
    };
    let Some(&[high, low]) = input.get(14..PREFIX) else { return Ok(Received::Incomplete) };
    let length = PREFIX + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_HEADER {
        return Err(ProxyError::TooLong);
    }
    let Some(header) = input.get(..length) else { return Ok(Received::Incomplete) };
    let origin = if local { Origin::Proxy } else { Origin::Unknown };
    let mut parsed = Header { origin, secure: false, length };
    if let Family::Unspecified = family {
        return Ok(Received::Complete(parsed));
    }
    let (origin, tlvs) = addresses(family, &header[PREFIX..]).ok_or(ProxyError::AddressesShort)?;
    parsed.origin = origin;
    parsed.secure = read_tlvs(header, tlvs)?;
    Ok(Received::Complete(parsed))
}

fn family(byte: u8) -> Option<Family> {
    Some(match byte {
        0x00 => Family::Unspecified,
        0x11 => Family::Inet(Transport::Tcp4),
        0x12 => Family::Inet(Transport::Udp4),
        0x21 => Family::Inet6(Transport::Tcp6),
        0x22 => Family::Inet6(Transport::Udp6),
        0x31 | 0x32 => Family::Unix,
        _ => return None,
    })
}

/// Takes the addresses from the front of `block`; the rest are TLVs.
fn addresses(family: Family, block: &[u8]) -> Option<(Origin, &[u8])> {
    let (protocol, source, destination, rest) = match family {
        Family::Inet(protocol) => {
            let (source, rest) = block.split_first_chunk::<4>()?;
            let (destination, rest) = rest.split_first_chunk::<4>()?;
            let [source, destination] = [source, destination].map(|bytes| Ipv4Addr::from(*bytes));
            (protocol, IpAddr::V4(source), IpAddr::V4(destination), rest)
        }
        Family::Inet6(protocol) => {
            let (source, rest) = block.split_first_chunk::<16>()?;
            let (destination, rest) = rest.split_first_chunk::<16>()?;
            let [source, destination] = [source, destination].map(|bytes| Ipv6Addr::from(*bytes));
            (protocol, IpAddr::V6(source), IpAddr::V6(destination), rest)
        }
        Family::Unix => return block.get(UNIX_ADDRESSES..).map(|rest| (Origin::Unix, rest)),
        Family::Unspecified => return Some((Origin::Unknown, &[])),
    };
    let (from, rest) = rest.split_first_chunk::<2>()?;
    let (to, rest) = rest.split_first_chunk::<2>()?;
    let origin = Origin::Client {
        protocol,
        source: SocketAddr::new(source, u16::from_be_bytes(*from)),
        destination: SocketAddr::new(destination, u16::from_be_bytes(*to)),
    };
    Some((origin, rest))
}

/// Goes through the TLVs at the end of `header`; returns whether the client's side is encrypted.
fn read_tlvs(header: &[u8], mut tlvs: &[u8]) -> Result<bool, ProxyError> {
    let mut secure = false;
    while let Some((&kind, rest)) = tlvs.split_first() {
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(ProxyError::TlvMalformed)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (value, rest) = rest.split_at_checked(length).ok_or(ProxyError::TlvMalformed)?;
        match kind {
            PP2_TYPE_CRC32C => {
                let expected: [u8; 4] = value.try_into().map_err(|_| ProxyError::TlvMalformed)?;
                let start = header.len() - rest.len() - value.len();
                if checksum(header, start) != u32::from_be_bytes(expected) {
                    return Err(ProxyError::ChecksumWrong);
                }
            }
            // The client's bits, four bytes of verification, and TLVs of its own.
            PP2_TYPE_SSL if value.len() < 5 => return Err(ProxyError::TlvMalformed),
            PP2_TYPE_SSL => secure = value[0] & PP2_CLIENT_SSL != 0,
            _ => {}
        }
        tlvs = rest;
    }
    Ok(secure)
}

/// Over the whole header, with zeros where the checksum stands, at `start` (§2.2.3).
fn checksum(header: &[u8], start: usize) -> u32 {
    crc32c::of([&header[..start], &[0; 4], &header[start + 4..]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block].concat()
    }

    fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[kind][..], &length, value].concat()
    }

    const V4: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];

    #[track_caller]
    fn complete(input: &[u8]) -> Header {
        match receive(input) {
            Ok(Received::Complete(header)) => {
                assert_eq!(header.length, input.len());
                header
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn families() {
        let from_v4 = |protocol| Origin::Client {
            protocol,
            source: "192.0.2.7:56324".parse().unwrap(),
            destination: "198.51.100.1:443".parse().unwrap(),
        };
        assert_eq!(complete(&header(0x21, 0x11, V4)).origin, from_v4(Transport::Tcp4));
        assert_eq!(complete(&header(0x21, 0x12, V4)).origin, from_v4(Transport::Udp4));
        let (client, server) = (Ipv6Addr::from_bits(7 << 96), Ipv6Addr::LOCALHOST);
        let v6 = [&client.octets()[..], &server.octets(), &[0, 1, 0, 2]].concat();
        assert_eq!(
            complete(&header(0x21, 0x21, &v6)).origin,
            Origin::Client {
                protocol: Transport::Tcp6,
                source: SocketAddr::new(client.into(), 1),
                destination: SocketAddr::new(server.into(), 2),
            }
        );
        assert_eq!(complete(&header(0x21, 0x31, &[b'/'; 216])).origin, Origin::Unix);
        assert_eq!(complete(&header(0x21, 0x00, b"")).origin, Origin::Unknown);
        assert_eq!(complete(&header(0x21, 0x00, b"skipped")).origin, Origin::Unknown);
        assert_eq!(complete(&header(0x20, 0x00, b"")).origin, Origin::Proxy);
        assert_eq!(complete(&header(0x20, 0x11, V4)).origin, Origin::Proxy);
        assert_eq!(complete(&header(0x20, 0xff, b"x")).origin, Origin::Proxy);
    }

    #[test]
    fn what_is_refused() {
        for (input, error) in [
            (header(0x11, 0x11, V4), ProxyError::CommandUnknown),
            (header(0x22, 0x11, V4), ProxyError::CommandUnknown),
            (header(0x21, 0x13, V4), ProxyError::FamilyUnknown),
            (header(0x21, 0x41, V4), ProxyError::FamilyUnknown),
            (header(0x21, 0x11, &V4[..11]), ProxyError::AddressesShort),
            (header(0x21, 0x21, &[0; 35]), ProxyError::AddressesShort),
            (header(0x21, 0x31, &[0; 215]), ProxyError::AddressesShort),
            (header(0x21, 0x11, &[V4, &[4]].concat()), ProxyError::TlvMalformed),
            (header(0x21, 0x11, &[V4, &[4, 0, 2, 1]].concat()), ProxyError::TlvMalformed),
            (header(0x21, 0x11, &[V4, &tlv(3, b"abc")].concat()), ProxyError::TlvMalformed),
            (header(0x21, 0x11, &[V4, &tlv(3, b"abcd")].concat()), ProxyError::ChecksumWrong),
            (header(0x21, 0x11, &[V4, &tlv(0x20, b"abcd")].concat()), ProxyError::TlvMalformed),
            (header(0x21, 0x11, &[0; MAX_HEADER]), ProxyError::TooLong),
        ] {
            assert_eq!(receive(&input), Err(error), "{input:?}");
        }
    }

    #[test]
    fn tlvs_are_skipped_but_for_two() {
        let with = |tlvs: &[Vec<u8>]| header(0x21, 0x11, &[V4, &tlvs.concat()].concat());
        let others = [tlv(0x01, b"h2"), tlv(0x04, b""), tlv(0xea, &[7; 300])];
        assert!(!complete(&with(&others)).secure);
        assert!(complete(&with(&[tlv(0x20, &[1, 0, 0, 0, 0, 0x21, 0, 1, b'x'])])).secure);
        assert!(!complete(&with(&[tlv(0x20, &[0, 0, 0, 0, 0])])).secure);
    }

    #[test]
    fn a_checksum_covers_all_of_it() {
        let tlvs = [tlv(0x04, b"pad"), tlv(0x03, &[0; 4]), tlv(0x02, b"shop.example")].concat();
        let mut input = header(0x21, 0x11, &[V4, &tlvs].concat());
        let start = PREFIX + V4.len() + 6 + 3;
        let sum = crc32c::of([&input[..]]);
        input[start..start + 4].copy_from_slice(&sum.to_be_bytes());
        complete(&input);
        // One byte says that there is a checksum at all.
        for at in (16..input.len()).filter(|&at| at != start - 3) {
            let mut changed = input.clone();
            changed[at] ^= 1;
            assert!(!matches!(receive(&changed), Ok(Received::Complete(_))), "byte {at}");
        }
    }
}
