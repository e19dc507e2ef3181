//! What field names and values may be made of, and the fields that belong to the connection.
//!
//! Names compare without case (RFC 9110 §5.1); values are bytes, never text.

/// Whether `bytes` are a token (RFC 9110 §5.6.2): the form of methods and field names.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// Whether `bytes` may stand as a field value (RFC 9110 §5.5): no control but HTAB.
pub fn is_field_value(bytes: &[u8]) -> bool {
    // Without an early exit the loop is vectorised; values are short.
    bytes.iter().fold(true, |good, &byte| good & is_field_value_byte(byte))
}

/// Whether a field of this name speaks to the next hop only (RFC 9110 §7.6.1), so that it is the
/// server's to send and never an application's (PEP 3333, "Other HTTP Features").
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 9] = [
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ];
    NAMES.iter().any(|hop| name.eq_ignore_ascii_case(hop))
}

/// Whether the comma list `value` has `token` as an element, compared without case.
pub fn list_contains(value: &[u8], token: &[u8]) -> bool {
    list_elements(value).any(|element| element.eq_ignore_ascii_case(token))
}

/// The elements of a comma list, trimmed. Quotes are not looked at: none of the lists read here
/// may hold any.
pub(crate) fn list_elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim)
}

/// Strips optional white space (RFC 9110 §5.6.3) from both ends.
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// `1*DIGIT` as a number; `None` for anything else, also for what does not fit 64 bits. Signs and
/// white space, which `str::parse` and others let pass in part, are how lengths get smuggled.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, &digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES[usize::from(byte)]
}

pub(crate) fn is_field_value_byte(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

const TOKEN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        assert!(is_token(b"X-Forwarded_For.1!#$%&'*+^`|~"));
        for bad in [&b""[..], b"a b", b"a:", b"a\0", b"\xe9", b"a\t", b"(", b"a/b", b"a\x7f"] {
            assert!(!is_token(bad), "{bad:?}");
        }
    }

    #[test]
    fn field_values() {
        for good in [&b""[..], b"a b\tc", b"\xff\x80", b"\"x\", y"] {
            assert!(is_field_value(good), "{good:?}");
        }
        for bad in [&b"\r"[..], b"\n", b"\0", b"\x7f", b"a\x0bb", b"\x1f"] {
            assert!(!is_field_value(bad), "{bad:?}");
        }
    }

    #[test]
    fn hop_by_hop_without_case() {
        assert!(is_hop_by_hop(b"Transfer-ENCODING"));
        assert!(is_hop_by_hop(b"te"));
        assert!(!is_hop_by_hop(b"Content-Length"));
        assert!(!is_hop_by_hop(b"tea"));
    }

    #[test]
    fn lists() {
        assert!(list_contains(b"Keep-Alive , CLOSE\t", b"close"));
        assert!(list_contains(b",,close", b"close"));
        assert!(!list_contains(b"closed, xclose", b"close"));
        assert!(!list_contains(b"", b"close"));
    }

    #[test]
    fn decimals() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"0007"), Some(7));
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b""[..], b"+5", b" 5", b"5 ", b"-1", b"0x5", b"18446744073709551616", b"1,1"] {
            assert_eq!(decimal(bad), None, "{bad:?}");
        }
    }
}
