//! The path of a request, as the loop looks for what it answers by itself.
//!
//! Over HTTP that is the target's, percent-encoded. A proxy that speaks the uwsgi protocol says the
//! path that it has come to: decoded, perhaps rewritten, or of the page that it shows in place of what
//! it denies. To go by what its client has asked for would undo all that.

use std::borrow::Cow;

use ironhorn_http::Request as Head;

use crate::connection::Client;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path<'a> {
    /// Percent-encoded.
    Encoded(&'a [u8]),
    /// Decoded by a proxy: what looks like an escape is none.
    Decoded(&'a [u8]),
}

impl<'a> Path<'a> {
    /// The path that a client's request is for.
    pub(crate) fn of(client: &'a Client, head: &Head<'_, 'a>) -> Self {
        match &client.path {
            None => Self::Encoded(head.path()),
            Some(path) => Self::Decoded(path),
        }
    }

    /// As it came.
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Encoded(path) | Self::Decoded(path) => path,
        }
    }

    /// Whether it is `encoded`, in that spelling if it has one.
    pub(crate) fn is(self, encoded: &[u8]) -> bool {
        match self {
            Self::Encoded(path) => path == encoded,
            Self::Decoded(path) => path == &*decode(encoded).0,
        }
    }

    /// Decodes it, once. Also says where the first slash is that was escaped.
    pub(crate) fn decoded(self) -> (Cow<'a, [u8]>, Option<usize>) {
        match self {
            Self::Encoded(path) => decode(path),
            Self::Decoded(path) => (Cow::Borrowed(path), None),
        }
    }
}

/// Decodes percent escapes, once; what is no escape stays as it is. Also says where the first slash
/// is that was escaped.
fn decode(path: &[u8]) -> (Cow<'_, [u8]>, Option<usize>) {
    let Some(first) = path.iter().position(|&byte| byte == b'%') else {
        return (Cow::Borrowed(path), None);
    };
    let mut decoded = path[..first].to_vec();
    let mut escaped_slash = None;
    let mut rest = &path[first..];
    while let [byte, after @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        if escaped == Some(b'/') {
            escaped_slash.get_or_insert(decoded.len());
        }
        decoded.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { &rest[3..] } else { after };
    }
    (Cow::Owned(decoded), escaped_slash)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Encodes what a path can't have as it is (RFC 3986 §3.3); slashes stay.
pub(crate) fn encode(path: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = Vec::with_capacity(path.len());
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            encoded.push(byte);
        } else {
            let digit = |nibble: u8| DIGITS[usize::from(nibble)];
            encoded.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_proxy_has_decoded_is_not_decoded_again() {
        assert!(Path::Encoded(b"/a%20b").is(b"/a%20b"));
        assert!(!Path::Encoded(b"/a%20%62").is(b"/a%20b"));
        assert!(Path::Decoded(b"/a b").is(b"/a%20b"));
        assert!(!Path::Decoded(b"/a%20b").is(b"/a%20b"));
        let decoded = |path: Path<'_>| path.decoded().0.into_owned();
        assert_eq!(decoded(Path::Encoded(b"/%2541")), b"/%41");
        assert_eq!(decoded(Path::Decoded(b"/%2541")), b"/%2541");
    }

    #[test]
    fn encoding() {
        assert_eq!(encode(b"/a b/%41?\\\xe9\r\n~"), b"/a%20b/%2541%3F%5C%E9%0D%0A~");
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(Path::Encoded(&encode(&all)).decoded().0, all);
    }
}
