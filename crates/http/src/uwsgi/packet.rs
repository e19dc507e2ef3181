//! The packet that a request begins with: its header, and the variables in it.
//!
//! What a packet says of its own size is believed as far as 16 bits go, so no more than 64 KiB are
//! ever waited for; what is in it must fill it exactly.

use std::fmt;

use memchr::memchr;

use crate::connection::Received;
use crate::error::Refusal;

/// The most variables that a packet may have.
pub const MAX_VARIABLES: usize = 1024;

/// Bytes before the variables.
const HEADER: usize = 4;
/// modifier1: a request for WSGI.
const WSGI: u8 = 0;
/// modifier1: likewise, and PATH_INFO begins with SCRIPT_NAME, which is to be taken off.
const MANAGE_PATH_INFO: u8 = 30;

/// One packet, borrowed from the receive buffer. Only one that is whole and breaks no rule becomes
/// one.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'b> {
    /// Whether SCRIPT_NAME is to be taken off PATH_INFO (`uwsgi_modifier1 30`).
    pub manages_path_info: bool,
    /// The size of all of it, header included.
    pub len: usize,
    variables: &'b [u8],
}

impl<'b> Packet<'b> {
    /// Looks for a packet at the start of `input`: everything received and not yet consumed. Once
    /// it is complete, its first [`len`](Self::len) bytes are consumed.
    pub fn receive(input: &'b [u8]) -> Result<Received<Self>, Refusal> {
        let manages_path_info = match input.first() {
            None => return Ok(Received::Incomplete),
            Some(&WSGI) => false,
            Some(&MANAGE_PATH_INFO) => true,
            Some(b'A'..=b'Z') => return Err(Refusal::HttpOnUwsgi),
            Some(_) => return Err(Refusal::ModifierUnknown),
        };
        let &[_, low, high, modifier2, ref rest @ ..] = input else {
            return Ok(Received::Incomplete);
        };
        if modifier2 != 0 {
            return Err(Refusal::ModifierUnknown);
        }
        let size = usize::from(u16::from_le_bytes([low, high]));
        let Some(variables) = rest.get(..size) else { return Ok(Received::Incomplete) };
        check(variables)?;
        Ok(Received::Complete(Self { manages_path_info, len: HEADER + size, variables }))
    }

    /// The variables in order, names and values. A name may be there twice.
    pub fn variables(&self) -> impl Iterator<Item = (&'b [u8], &'b [u8])> + use<'b> {
        Pairs(self.variables)
    }
}

/// Everything that can be wrong with the variables by themselves.
fn check(variables: &[u8]) -> Result<(), Refusal> {
    let mut pairs = Pairs(variables);
    let mut count = 0;
    for (name, value) in &mut pairs {
        count += 1;
        if count > MAX_VARIABLES {
            return Err(Refusal::TooManyVariables);
        }
        if name.is_empty() || memchr(0, name).is_some() {
            return Err(Refusal::VariableName);
        }
        if memchr(0, value).is_some() {
            return Err(Refusal::VariableValue);
        }
    }
    if pairs.0.is_empty() { Ok(()) } else { Err(Refusal::PacketMalformed) }
}

/// Takes variables off its front until what is left is none.
struct Pairs<'b>(&'b [u8]);

impl<'b> Iterator for Pairs<'b> {
    type Item = (&'b [u8], &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = take(self.0)?;
        let (value, rest) = take(rest)?;
        self.0 = rest;
        Some((name, value))
    }
}

/// The text that `bytes` begin with, and what follows it.
fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let &[low, high, ref rest @ ..] = bytes else { return None };
    rest.split_at_checked(usize::from(u16::from_le_bytes([low, high])))
}

/// Variables on their own, in one piece of memory. None take none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables {
    /// As in a packet.
    encoded: Vec<u8>,
}

impl Variables {
    /// Adds one. Names and values come from a packet, so their lengths fit 16 bits.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        for text in [name, value] {
            let length = u16::try_from(text.len()).expect("invariant: a packet has 64 KiB");
            self.encoded.extend_from_slice(&length.to_le_bytes());
            self.encoded.extend_from_slice(text);
        }
    }

    /// Names and values in order. A name may be there twice; the last one counts.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        Pairs(&self.encoded)
    }

    /// The value of the variable of this name.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref();
        self.iter().filter(|(found, _)| *found == name).last().map(|(_, value)| value)
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(name, value): (&[u8], &[u8])| {
            (name.escape_ascii().to_string(), value.escape_ascii().to_string())
        };
        f.debug_map().entries(self.iter().map(shown)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(variables: &[(&str, &str)]) -> Vec<u8> {
        let mut encoded = Variables::default();
        variables.iter().for_each(|(name, value)| encoded.push(name.as_bytes(), value.as_bytes()));
        raw(0, encoded.encoded.len(), 0, &encoded.encoded)
    }

    fn raw(modifier1: u8, size: usize, modifier2: u8, variables: &[u8]) -> Vec<u8> {
        let [low, high] = u16::try_from(size).unwrap().to_le_bytes();
        [&[modifier1, low, high, modifier2], variables].concat()
    }

    #[track_caller]
    fn refused(input: &[u8], refusal: Refusal) {
        assert_eq!(Packet::receive(input).map(|_| ()), Err(refusal), "{}", input.escape_ascii());
    }

    #[test]
    fn a_packet_is_complete_with_its_last_byte() {
        let bytes = packet(&[("REQUEST_METHOD", "GET"), ("EMPTY", "")]);
        for end in 0..bytes.len() {
            assert!(matches!(Packet::receive(&bytes[..end]), Ok(Received::Incomplete)), "{end}");
        }
        let more = [&bytes[..], b"body"].concat();
        let Ok(Received::Complete(packet)) = Packet::receive(&more) else { panic!() };
        assert_eq!(packet.len, bytes.len());
        let variables: Vec<_> = packet.variables().collect();
        assert_eq!(variables, [(&b"REQUEST_METHOD"[..], &b"GET"[..]), (b"EMPTY", b"")]);
        assert!(!packet.manages_path_info);
    }

    #[test]
    fn modifiers() {
        let Ok(Received::Complete(managing)) = Packet::receive(&[30, 0, 0, 0]) else { panic!() };
        assert!(managing.manages_path_info);
        for modifier1 in [1, 5, 9, 22, 29, 31, 72 + 32, 100, 255] {
            // Known at once: nobody need wait for more.
            refused(&[modifier1], Refusal::ModifierUnknown);
        }
        refused(&[0, 0, 0, 1], Refusal::ModifierUnknown);
        for http in [&b"G"[..], b"POST / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n"] {
            refused(http, Refusal::HttpOnUwsgi);
        }
    }

    #[test]
    fn lengths_must_fill_the_packet() {
        for variables in [
            &b"\x01"[..],
            b"\x01\0",
            b"\x01\0A",
            b"\x01\0A\x01",
            b"\x01\0A\x01\0",
            b"\x01\0A\x02\0B",
            b"\xff\xffA\x01\0B",
            b"\x01\0A\x01\0B\x01",
            b"\x01\0A\xff\xffB",
        ] {
            refused(&raw(0, variables.len(), 0, variables), Refusal::PacketMalformed);
        }
    }

    #[test]
    fn names_and_values() {
        refused(&packet(&[("", "x")]), Refusal::VariableName);
        refused(&packet(&[("A\0", "x")]), Refusal::VariableName);
        refused(&packet(&[("A", "x\0")]), Refusal::VariableValue);
        assert!(Packet::receive(&packet(&[("A", "\r\n\u{e9}"), ("A", "")])).is_ok());
    }

    #[test]
    fn the_number_of_variables_is_limited() {
        let many = vec![("A", ""); MAX_VARIABLES + 1];
        assert!(Packet::receive(&packet(&many[1..])).is_ok());
        refused(&packet(&many), Refusal::TooManyVariables);
    }

    #[test]
    fn the_largest_packet() {
        let value = "x".repeat(65535 - 5);
        let bytes = packet(&[("A", &value)]);
        assert_eq!(bytes.len(), 65539);
        let Ok(Received::Complete(packet)) = Packet::receive(&bytes) else { panic!() };
        assert_eq!(packet.variables().next().unwrap().1.len(), value.len());
        assert!(matches!(Packet::receive(&bytes[..65538]), Ok(Received::Incomplete)));
    }

    #[test]
    fn of_equal_names_the_last_counts() {
        let mut variables = Variables::default();
        assert_eq!(variables.get("A"), None);
        variables.push(b"A", b"1");
        variables.push(b"B", b"2");
        variables.push(b"A", b"3");
        assert_eq!(variables.get("A"), Some(&b"3"[..]));
        assert_eq!(format!("{variables:?}"), r#"{"A": "1", "B": "2", "A": "3"}"#);
    }
}
