//! Values that are not on the wire as PEP 3333 wants them.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::ffi::latin1;

/// Decodes percent escapes; what is no escape stays as it is, as `urllib.parse.unquote` has it.
/// `None` if there is nothing to decode.
pub(crate) fn percent_decode<'a>(encoded: &[u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let first = encoded.iter().position(|&byte| byte == b'%')?;
    scratch.clear();
    scratch.extend_from_slice(&encoded[..first]);
    let mut rest = &encoded[first..];
    loop {
        match rest {
            [b'%', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                scratch.push(hex_value(*high) << 4 | hex_value(*low));
                rest = after;
            }
            [byte, after @ ..] => {
                scratch.push(*byte);
                rest = after;
            }
            [] => return Some(scratch),
        }
    }
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Splits the value of Host into name and port; either may be empty.
pub(super) fn split_host(host: &[u8]) -> (&[u8], &[u8]) {
    let name_end = match host.iter().rposition(|&byte| byte == b']') {
        Some(bracket) => bracket + 1,
        None => host.iter().position(|&byte| byte == b':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(name_end);
    (name, port.strip_prefix(b":").unwrap_or_default())
}

/// An authority without the user information that it may start with (RFC 9110 §4.2.4 tells
/// recipients to distrust it, and Host never has it).
pub(super) fn without_user(authority: &[u8]) -> &[u8] {
    match authority.iter().rposition(|&byte| byte == b'@') {
        Some(at) => &authority[at + 1..],
        None => authority,
    }
}

/// A port as a str, without going through a `String`.
pub(super) fn decimal(py: Python<'_>, mut number: u16) -> PyResult<Bound<'_, PyString>> {
    const DIGITS: &[u8; 10] = b"0123456789";
    let mut digits = [0; 5];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = DIGITS[usize::from(number % 10)];
        number /= 10;
        if number == 0 {
            return latin1(py, &digits[start..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_escapes() {
        let mut scratch = b"left over".to_vec();
        assert_eq!(percent_decode(b"/plain", &mut scratch), None);
        for (encoded, decoded) in [
            (&b"/a%20b"[..], &b"/a b"[..]),
            (b"%2F%2f", b"//"),
            (b"/%C3%A9", b"/\xc3\xa9"),
            (b"/%25%32%30", b"/%20"),
            (b"/%00", b"/\0"),
            (b"/%zz%4", b"/%zz%4"),
            (b"%", b"%"),
            (b"%%41", b"%A"),
        ] {
            assert_eq!(percent_decode(encoded, &mut scratch), Some(decoded), "{encoded:?}");
        }
    }

    #[test]
    fn hosts() {
        for (host, name, port) in [
            (&b"example.org"[..], &b"example.org"[..], &b""[..]),
            (b"example.org:8080", b"example.org", b"8080"),
            (b"[::1]:80", b"[::1]", b"80"),
            (b"[::1]", b"[::1]", b""),
            (b"", b"", b""),
            (b"h:", b"h", b""),
        ] {
            assert_eq!(split_host(host), (name, port), "{host:?}");
        }
    }

    #[test]
    fn user_information_is_dropped() {
        assert_eq!(without_user(b"user:pass@host:1"), b"host:1");
        assert_eq!(without_user(b"host:1"), b"host:1");
    }
}
