//! The four forms of a request target (RFC 9112 §3.2), and what a host may look like.

use std::net::Ipv6Addr;

use crate::error::Refusal;

/// A request target, taken apart. Nothing is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'b> {
    pub(crate) authority: Option<&'b [u8]>,
    pub(crate) path: &'b [u8],
    pub(crate) query: &'b [u8],
}

impl<'b> Target<'b> {
    pub(crate) fn parse(method: &str, target: &'b str) -> Result<Self, Refusal> {
        let bytes = target.as_bytes();
        // A fragment is never sent; another party might cut the target there.
        if bytes.iter().any(|&byte| !byte.is_ascii_graphic() || byte == b'#') {
            return Err(Refusal::TargetByte);
        }
        if method == "CONNECT" {
            return Self::authority_form(bytes);
        }
        match bytes {
            [b'/', ..] => {
                let (path, query) = split_query(bytes);
                Ok(Self { authority: None, path, query })
            }
            b"*" if method == "OPTIONS" => Ok(Self { authority: None, path: bytes, query: b"" }),
            _ => Self::absolute_form(method, bytes),
        }
    }

    /// `http://host:port/path?query`, as for a proxy; its authority counts, not the Host field's.
    fn absolute_form(method: &str, target: &'b [u8]) -> Result<Self, Refusal> {
        let rest = [&b"http://"[..], b"https://"]
            .iter()
            .find_map(|scheme| {
                let (found, rest) = target.split_at_checked(scheme.len())?;
                found.eq_ignore_ascii_case(scheme).then_some(rest)
            })
            .ok_or(Refusal::TargetForm)?;
        let end = rest.iter().position(|&b| b == b'/' || b == b'?').unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        // RFC 9110 §4.2.1: an empty host must be refused; §4.2.4: so should be user information.
        if authority.is_empty() || !is_host_and_port(authority) {
            return Err(Refusal::TargetAuthority);
        }
        let (path, query) = split_query(rest);
        let path = match path {
            // RFC 9112 §3.2.4: this is how `*` is said through a proxy.
            b"" if method == "OPTIONS" && rest.is_empty() => b"*",
            b"" => b"/",
            path => path,
        };
        Ok(Self { authority: Some(authority), path, query })
    }

    /// `host:port`, both of them, and for CONNECT only.
    fn authority_form(target: &'b [u8]) -> Result<Self, Refusal> {
        let has_port = target.last().is_some_and(u8::is_ascii_digit)
            && target.iter().rposition(|&b| b == b':').is_some_and(|colon| {
                colon > 0 && target[colon + 1..].iter().all(u8::is_ascii_digit)
            });
        if !has_port {
            return Err(Refusal::TargetForm);
        }
        if !is_host_and_port(target) {
            return Err(Refusal::TargetAuthority);
        }
        Ok(Self { authority: Some(target), path: b"", query: b"" })
    }
}

/// Whether `value` is `uri-host [ ":" port ]` (RFC 9110 §7.2, RFC 3986 §3.2.2). Empty is: that is
/// what a client must send whose target has no authority (RFC 9112 §3.2).
pub(crate) fn is_host_and_port(value: &[u8]) -> bool {
    if value.is_empty() {
        return true;
    }
    if let [b'[', rest @ ..] = value {
        let Some(end) = rest.iter().position(|&byte| byte == b']') else { return false };
        return is_ipv6(&rest[..end]) && is_port(&rest[end + 1..]);
    }
    let end = value.iter().position(|&byte| byte == b':').unwrap_or(value.len());
    let (name, port) = value.split_at(end);
    !name.is_empty() && is_registered_name(name) && is_port(port)
}

/// No zone and no IPvFuture: neither has a meaning between two hosts.
fn is_ipv6(address: &[u8]) -> bool {
    std::str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// reg-name, of which an IPv4 address is a case.
fn is_registered_name(mut name: &[u8]) -> bool {
    while let [byte, rest @ ..] = name {
        name = match (byte, rest) {
            (b'%', [a, b, rest @ ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
            (b'-' | b'.' | b'_' | b'~', _) => rest,
            (b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=', _) => {
                rest
            }
            (byte, _) if byte.is_ascii_alphanumeric() => rest,
            _ => return false,
        };
    }
    true
}

/// Nothing, or a colon and a number that a port can have; the number may be absent.
fn is_port(port: &[u8]) -> bool {
    match port {
        [] | [b':'] => true,
        [b':', digits @ ..] => {
            digits.len() <= 5 && crate::headers::decimal(digits).is_some_and(|port| port <= 65535)
        }
        _ => false,
    }
}

fn split_query(target: &[u8]) -> (&[u8], &[u8]) {
    match target.iter().position(|&byte| byte == b'?') {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn good(method: &str, target: &str, authority: Option<&str>, path: &str, query: &str) {
        let expected = Target {
            authority: authority.map(str::as_bytes),
            path: path.as_bytes(),
            query: query.as_bytes(),
        };
        assert_eq!(Target::parse(method, target), Ok(expected));
    }

    #[test]
    fn origin_form() {
        good("GET", "/", None, "/", "");
        good("GET", "/a%2fb?x=1?y", None, "/a%2fb", "x=1?y");
        good("GET", "//host/?", None, "//host/", "");
        good("OPTIONS", "/a", None, "/a", "");
    }

    #[test]
    fn absolute_form() {
        good("GET", "http://h", Some("h"), "/", "");
        good("GET", "HTTPS://h:1/a?b", Some("h:1"), "/a", "b");
        good("GET", "http://h?b", Some("h"), "/", "b");
        good("OPTIONS", "http://h", Some("h"), "*", "");
        good("OPTIONS", "http://h/", Some("h"), "/", "");
        for bad in ["http://", "http:///a", "http://u@h/", "http://u:p@h/", "http://h:x/"] {
            assert_eq!(Target::parse("GET", bad), Err(Refusal::TargetAuthority), "{bad}");
        }
    }

    #[test]
    fn asterisk_and_authority_need_their_method() {
        good("OPTIONS", "*", None, "*", "");
        good("CONNECT", "h:443", Some("h:443"), "", "");
        good("CONNECT", "[::1]:443", Some("[::1]:443"), "", "");
        for (method, bad) in [
            ("GET", "*"),
            ("GET", "h:443"),
            ("GET", "ftp://h/"),
            ("GET", "a/b"),
            ("GET", "?a"),
            ("CONNECT", "h"),
            ("CONNECT", "h:"),
            ("CONNECT", ":443"),
            ("CONNECT", "/"),
            ("CONNECT", "http://h:1/"),
            ("options", "*"),
        ] {
            assert_eq!(Target::parse(method, bad), Err(Refusal::TargetForm), "{method} {bad}");
        }
        assert_eq!(Target::parse("CONNECT", "u@h:1"), Err(Refusal::TargetAuthority));
    }

    #[test]
    fn forbidden_bytes() {
        for bad in ["/a#b", "/\u{e9}", "/a\u{7f}", "/a b", "/\u{1}"] {
            assert_eq!(Target::parse("GET", bad), Err(Refusal::TargetByte), "{bad:?}");
        }
    }

    #[test]
    fn hosts() {
        for good in [
            "",
            "a",
            "a.b:80",
            "127.0.0.1:8000",
            "[::1]",
            "[::1]:80",
            "a_b",
            "a:",
            "%41",
            "a:65535",
        ] {
            assert!(is_host_and_port(good.as_bytes()), "{good}");
        }
        for bad in [
            ":80",
            "a b",
            "a/b",
            "u@a",
            "a:b",
            "a:+1",
            "a:99999",
            "[::1",
            "::1",
            "[::1]x",
            "[v1.a]",
            "a?",
            "a#",
            "a\\",
            "%4",
            "%zz",
            "a:1:2",
            "[]",
            "[fe80::1%eth0]",
            "a\"",
            "<a>",
            "a:000080",
        ] {
            assert!(!is_host_and_port(bad.as_bytes()), "{bad}");
        }
    }
}
