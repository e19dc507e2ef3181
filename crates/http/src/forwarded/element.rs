//! The elements of a `Forwarded` field (RFC 7239 §4).
//!
//! ```text
//! Forwarded: for=192.0.2.43;proto=https, for="[2001:db8::17]:4711";by=_proxy
//!            └────── one hop ─────────┘  └────────── the next ───────────┘
//! ```

use crate::headers::{is_token_byte, trim};

/// What one proxy says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Element<'b> {
    pub(super) r#for: Option<&'b [u8]>,
    pub(super) host: Option<&'b [u8]>,
    pub(super) proto: Option<&'b [u8]>,
    by: bool,
}

/// A field that breaks the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The elements of one field; empty ones are none (RFC 9110 §5.6.1.2). Nothing follows a malformed
/// one.
pub(super) struct Elements<'b> {
    rest: Option<&'b [u8]>,
}

impl<'b> Elements<'b> {
    pub(super) fn of(value: &'b [u8]) -> Self {
        Self { rest: Some(value) }
    }

    /// Parses one element; says what follows its comma.
    fn parse(mut rest: &'b [u8]) -> Result<(Option<Element<'b>>, Option<&'b [u8]>), Malformed> {
        let mut element = Element::default();
        let mut empty = true;
        loop {
            rest = trim(rest);
            rest = match rest {
                [] | [b',' | b';', ..] => rest,
                pair => {
                    empty = false;
                    trim(element.take_pair(pair)?)
                }
            };
            match rest {
                [] => return Ok(((!empty).then_some(element), None)),
                [b',', after @ ..] => return Ok(((!empty).then_some(element), Some(after))),
                [b';', after @ ..] => rest = after,
                _ => return Err(Malformed),
            }
        }
    }
}

impl<'b> Iterator for Elements<'b> {
    type Item = Result<Element<'b>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(rest) = self.rest.take() {
            match Self::parse(rest) {
                Ok((element, after)) => {
                    self.rest = after;
                    if let Some(element) = element {
                        return Some(Ok(element));
                    }
                }
                Err(malformed) => return Some(Err(malformed)),
            }
        }
        None
    }
}

impl<'b> Element<'b> {
    /// Takes `token=value` from the front of `text`.
    fn take_pair(&mut self, text: &'b [u8]) -> Result<&'b [u8], Malformed> {
        let (name, rest) = take_token(text);
        let [b'=', rest @ ..] = rest else { return Err(Malformed) };
        let (value, rest) = match rest {
            [b'"', rest @ ..] => take_quoted(rest)?,
            rest => match take_token(rest) {
                (b"", _) => return Err(Malformed),
                (value, rest) => (Some(value), rest),
            },
        };
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let place = if is(b"for") {
            &mut self.r#for
        } else if is(b"host") {
            &mut self.host
        } else if is(b"proto") {
            &mut self.proto
        } else if name.is_empty() || (is(b"by") && std::mem::replace(&mut self.by, true)) {
            return Err(Malformed);
        } else {
            // What else a proxy says is no matter here.
            return Ok(rest);
        };
        // Each at most once (§4); and nothing that these say is empty or needs a backslash.
        match value {
            Some(value) if place.is_none() && !value.is_empty() => *place = Some(value),
            _ => return Err(Malformed),
        }
        Ok(rest)
    }
}

fn take_token(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(text.len());
    text.split_at(end)
}

/// Takes what is left of a quoted string whose first quote is taken (RFC 9110 §5.6.4); `None` for
/// one with a backslash in it. Controls don't get into field values.
fn take_quoted(text: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Malformed> {
    let mut at = 0;
    let mut plain = true;
    loop {
        match text.get(at) {
            Some(b'"') => return Ok((plain.then_some(&text[..at]), &text[at + 1..])),
            Some(b'\\') => {
                plain = false;
                at += 2;
            }
            Some(_) => at += 1,
            None => return Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(value: &str) -> Result<Vec<(String, String, String)>, Malformed> {
        let text = |part: Option<&[u8]>| String::from_utf8(part.unwrap_or(b"-").to_vec()).unwrap();
        Elements::of(value.as_bytes())
            .map(|element| {
                let element = element?;
                Ok((text(element.r#for), text(element.host), text(element.proto)))
            })
            .collect()
    }

    fn one(r#for: &str, host: &str, proto: &str) -> (String, String, String) {
        (r#for.to_owned(), host.to_owned(), proto.to_owned())
    }

    #[test]
    fn those_of_the_standard() {
        for (value, expected) in [
            ("for=\"_gazonk\"", vec![one("_gazonk", "-", "-")]),
            ("For=\"[2001:db8:cafe::17]:4711\"", vec![one("[2001:db8:cafe::17]:4711", "-", "-")]),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", vec![one("192.0.2.60", "-", "http")]),
            (
                "for=192.0.2.43, for=198.51.100.17",
                vec![one("192.0.2.43", "-", "-"), one("198.51.100.17", "-", "-")],
            ),
            (
                "for=192.0.2.43,for=\"[::17]\";by=203.0.113.60;proto=http;host=example.com",
                vec![one("192.0.2.43", "-", "-"), one("[::17]", "example.com", "http")],
            ),
            ("", vec![]),
            (" , ;, ", vec![]),
            (
                "; PROTO=https ;\tx-own=\"a,b;c\\\"d\\\\\" , host=\"a,b\"",
                vec![one("-", "-", "https"), one("-", "a,b", "-")],
            ),
            ("secret=x", vec![one("-", "-", "-")]),
        ] {
            assert_eq!(elements(value), Ok(expected), "{value}");
        }
    }

    #[test]
    fn malformed_ones() {
        for value in [
            "for",
            "for=",
            "=a",
            "for =a",
            "for= a",
            "for=a b",
            "for=\"\"",
            "for=\"a",
            "for=\"a\\",
            "for=\"a\\\"",
            "for=\"a\"b",
            "for=[::1]",
            "for=192.0.2.1:80",
            "for=a;for=a",
            "by=a;by=b",
            "for=\"\\a\"",
            "192.0.2.1",
            "for=a, proto",
            "for=\u{e9}",
        ] {
            assert_eq!(elements(value), Err(Malformed), "{value}");
        }
    }
}
