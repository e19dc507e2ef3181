//! Bytes of a peer made safe for a line of text.

/// Adds `bytes` with `"`, `\`, control characters and everything beyond ASCII escaped, as in
/// Apache's log: a peer can't forge a line or a field.
pub(super) fn text(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => out.extend([b'\\', b'x', hex(byte >> 4), hex(byte & 15)]),
        }
    }
}

/// Adds `bytes`, taken as latin-1, as the inside of a JSON string (RFC 8259 §7).
pub(super) fn json(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => out.extend([b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]),
        }
    }
}

fn hex(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble)]
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_gets_out_of_a_quoted_field() {
        let mut out = Vec::new();
        super::text(b"a\"b\\c\r\n\x00\xe9", &mut out);
        assert_eq!(out, br#"a\"b\\c\x0d\x0a\x00\xe9"#);
        out.clear();
        super::json(b"a\"b\\c\n\xe9", &mut out);
        assert_eq!(out, br#"a\"b\\c\u000a\u00e9"#);
    }
}
