//! Finds the end of a head in bytes that arrive piece by piece, and what is wrong with one.
//!
//! Each byte is looked at once, however the head is cut up, and what can be refused is refused at
//! the first byte that shows it. The outcome depends on the bytes alone, not on the cuts: every
//! check is made at the same byte whether it comes alone or with the rest.
//!
//! httparse takes LF for CRLF and any number of empty lines before a request line, as RFC 9112 §2.2
//! allows; other parties do not, so both are refused here before it sees the head.

use memchr::memchr;

use crate::error::Refusal;
use crate::headers::{is_field_value_byte, is_token, is_token_byte};
use crate::limits::Limits;

/// How far a head has been looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LineScan {
    scanned: usize,
    line_start: usize,
    fields: u16,
    part: Part,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// Nothing yet: one CRLF may come (RFC 9112 §2.2).
    #[default]
    Start,
    /// In the method: only a token can be refused before its line ends.
    Method,
    /// After the method.
    RequestLine,
    Fields,
}

impl LineScan {
    /// Looks at what is new in `input`, which begins where it did in the former calls. Returns the
    /// length of the head once its empty line is there.
    pub(crate) fn scan(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        // One byte more than allowed is enough to know that the head is too long.
        let input = &input[..input.len().min(limits.head.saturating_add(1))];
        let end = self.scan_lines(input, limits)?;
        if end.unwrap_or(input.len()) > limits.head {
            return Err(Refusal::HeadTooLong);
        }
        Ok(end)
    }

    fn scan_lines(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        if self.part == Part::Start && !self.skip_empty_line(input)? {
            return Ok(None);
        }
        if self.part == Part::Method {
            self.scan_method(input, limits)?;
        }
        while let Some(at) = memchr(b'\n', &input[self.scanned..]) {
            let end = self.scanned + at;
            let line = &input[self.line_start..end];
            let content = line.strip_suffix(b"\r");
            self.check_length(content.map_or(line.len(), <[u8]>::len), limits)?;
            let Some(content) = content else { return Err(Refusal::BareLf) };
            self.scanned = end + 1;
            self.line_start = end + 1;
            if self.part != Part::Fields {
                self.part = Part::Fields;
            } else if content.is_empty() {
                return Ok(Some(end + 1));
            } else {
                self.fields += 1;
                if usize::from(self.fields) > limits.field_count() {
                    return Err(Refusal::TooManyFields);
                }
            }
        }
        self.scanned = input.len();
        // A CR at the end may be half of the line's end.
        let line = &input[self.line_start..];
        self.check_length(line.strip_suffix(b"\r").unwrap_or(line).len(), limits)?;
        Ok(None)
    }

    /// Returns whether it is known if there is one.
    fn skip_empty_line(&mut self, input: &[u8]) -> Result<bool, Refusal> {
        match input {
            [] | [b'\r'] => return Ok(false),
            [b'\r', b'\n', ..] => {
                self.scanned = 2;
                self.line_start = 2;
            }
            [b'\r', ..] => return Err(Refusal::BareCr),
            _ => {}
        }
        self.part = Part::Method;
        Ok(true)
    }

    fn scan_method(&mut self, input: &[u8], limits: &Limits) -> Result<(), Refusal> {
        let most = self.line_start.saturating_add(limits.request_line).saturating_add(1);
        let unseen = &input[self.scanned..input.len().min(most)];
        match unseen.iter().position(|&byte| !is_token_byte(byte)) {
            None => Ok(()),
            Some(at) if unseen[at] == b' ' && self.scanned + at > self.line_start => {
                self.part = Part::RequestLine;
                Ok(())
            }
            Some(_) => Err(Refusal::MethodInvalid),
        }
    }

    fn check_length(&self, length: usize, limits: &Limits) -> Result<(), Refusal> {
        if self.part == Part::Fields {
            if length > limits.field {
                return Err(Refusal::FieldTooLong);
            }
        } else if length > limits.request_line {
            return Err(Refusal::RequestLineTooLong);
        }
        Ok(())
    }
}

/// Why httparse did not take a head whose lines have passed [`LineScan`]: its own errors do not
/// tell the rules apart.
pub(crate) fn explain(head: &[u8]) -> Option<Refusal> {
    let mut lines = head
        .split_inclusive(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r\n").unwrap_or(line))
        .skip_while(|line| line.is_empty());
    lines.next().and_then(explain_request_line).or_else(|| lines.find_map(explain_field))
}

fn explain_request_line(line: &[u8]) -> Option<Refusal> {
    if line.contains(&b'\r') {
        return Some(Refusal::BareCr);
    }
    let mut parts = line.split(|&byte| byte == b' ');
    let (method, target, version) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(method), Some(target), Some(version), None) => (method, target, version),
        _ => return Some(Refusal::RequestLineMalformed),
    };
    if !is_token(method) {
        return Some(Refusal::MethodInvalid);
    }
    if target.is_empty() {
        return Some(Refusal::RequestLineMalformed);
    }
    if !target.iter().all(u8::is_ascii_graphic) {
        return Some(Refusal::TargetByte);
    }
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => None,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Some(Refusal::VersionUnsupported)
        }
        _ => Some(Refusal::VersionMalformed),
    }
}

fn explain_field(line: &[u8]) -> Option<Refusal> {
    if matches!(line, [b' ' | b'\t', ..]) {
        return Some(Refusal::LineFolded);
    }
    if line.is_empty() {
        return None;
    }
    let Some(colon) = memchr(b':', line) else {
        return Some(Refusal::ColonMissing);
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if is_token(name) {
        match value.iter().find(|&&byte| !is_field_value_byte(byte)) {
            None => None,
            Some(b'\r') => Some(Refusal::BareCr),
            Some(_) => Some(Refusal::FieldValueInvalid),
        }
    } else if matches!(name, [.., b' ' | b'\t']) {
        Some(Refusal::SpaceBeforeColon)
    } else {
        Some(Refusal::FieldNameInvalid)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::request::{FieldStorage, Request};

    /// Scans whole, byte by byte and in two, and wants the same each time.
    #[track_caller]
    fn scan(input: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        let whole = LineScan::default().scan(input, limits);
        for cut in 0..=input.len() {
            let mut scan = LineScan::default();
            let first = scan.scan(&input[..cut], limits);
            let both = if first == Ok(None) { scan.scan(input, limits) } else { first };
            assert_eq!(both, whole, "cut at {cut}");
        }
        let mut scan = LineScan::default();
        let each = (0..=input.len()).map(|end| scan.scan(&input[..end], limits));
        let bytewise = each.into_iter().find(|result| *result != Ok(None)).unwrap_or(Ok(None));
        assert_eq!(bytewise, whole, "byte by byte");
        whole
    }

    #[test]
    fn finds_the_end() {
        let limits = Limits::default();
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(scan(head, &limits), Ok(Some(head.len())));
        assert_eq!(scan(b"\r\nA\x20\r\n\r\nrest", &limits), Ok(Some(8)));
        assert_eq!(scan(b"GET / HTTP/1.1\r\nHost: a\r\n\r", &limits), Ok(None));
    }

    #[test]
    fn looks_at_each_byte_once() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n";
        let mut lines = LineScan::default();
        for end in 2..=head.len() {
            assert_eq!(lines.scan(&head[..end], &Limits::default()), Ok(None));
            assert_eq!(lines.scanned, end);
        }
    }

    #[test]
    fn refuses_early() {
        let limits = Limits::default();
        assert_eq!(scan(b"\x16\x03\x01\x02", &limits), Err(Refusal::MethodInvalid));
        assert_eq!(scan(b"\r\n\r\n", &limits), Err(Refusal::MethodInvalid));
        assert_eq!(scan(b"\n", &limits), Err(Refusal::MethodInvalid));
        assert_eq!(scan(b" GET", &limits), Err(Refusal::MethodInvalid));
        assert_eq!(scan(b"GET\r", &limits), Err(Refusal::MethodInvalid));
        assert_eq!(scan(b"\rGET", &limits), Err(Refusal::BareCr));
        assert_eq!(scan(b"GET / HTTP/1.1\n", &limits), Err(Refusal::BareLf));
        assert_eq!(scan(b"GET / HTTP/1.1\r\na: b\n", &limits), Err(Refusal::BareLf));
    }

    #[test]
    fn limits_are_exact() {
        let limits = Limits { request_line: 7, field: 5, fields: 2, head: 24, ..Limits::default() };
        assert_eq!(scan(b"GET /aa\r\na:bcd\r\ne:\r\n\r\n", &limits), Ok(Some(22)));
        assert_eq!(scan(b"GET /aaa\r\n", &limits), Err(Refusal::RequestLineTooLong));
        assert_eq!(scan(b"GETGETGE", &limits), Err(Refusal::RequestLineTooLong));
        assert_eq!(scan(b"GET /aa\r\r\n", &limits), Err(Refusal::RequestLineTooLong));
        assert_eq!(scan(b"G /\r\na:bcde\r\n", &limits), Err(Refusal::FieldTooLong));
        assert_eq!(scan(b"G /\r\na:\r\nb:\r\nc:\r\n", &limits), Err(Refusal::TooManyFields));
        assert_eq!(scan(b"GET /aa\r\na:bcd\r\ne:fg\r\n\r\n", &limits), Ok(Some(24)));
        assert_eq!(scan(b"GET /aa\r\na:bcd\r\ne:fgh\r\n\r\n", &limits), Err(Refusal::HeadTooLong));
    }

    #[test]
    fn names_the_broken_rule() {
        let cases: [(&[u8], Refusal); 20] = [
            (b"GET /\r\n\r\n", Refusal::RequestLineMalformed),
            (b"GET  / HTTP/1.1\r\n\r\n", Refusal::RequestLineMalformed),
            (b"GET / HTTP/1.1 \r\n\r\n", Refusal::RequestLineMalformed),
            (b"GET /a\rb HTTP/1.1\r\n\r\n", Refusal::BareCr),
            (b"GET /\x01 HTTP/1.1\r\n\r\n", Refusal::TargetByte),
            (b"GET /\xff HTTP/1.1\r\n\r\n", Refusal::TargetByte),
            (b"GET / HTTP/2.0\r\n\r\n", Refusal::VersionUnsupported),
            (b"GET / HTTP/1.2\r\n\r\n", Refusal::VersionUnsupported),
            (b"GET / HTTP/0.9\r\n\r\n", Refusal::VersionUnsupported),
            (b"GET / HTTP/11\r\n\r\n", Refusal::VersionMalformed),
            (b"GET / http/1.1\r\n\r\n", Refusal::VersionMalformed),
            (b"GET / HTTP/1.1\r\n a: b\r\n\r\n", Refusal::LineFolded),
            (b"GET / HTTP/1.1\r\na: b\r\n\tc\r\n\r\n", Refusal::LineFolded),
            (b"GET / HTTP/1.1\r\na : b\r\n\r\n", Refusal::SpaceBeforeColon),
            (b"GET / HTTP/1.1\r\n: b\r\n\r\n", Refusal::FieldNameInvalid),
            (b"GET / HTTP/1.1\r\na b: c\r\n\r\n", Refusal::FieldNameInvalid),
            (b"GET / HTTP/1.1\r\nab\r\n\r\n", Refusal::ColonMissing),
            (b"GET / HTTP/1.1\r\na: b\0\r\n\r\n", Refusal::FieldValueInvalid),
            (b"GET / HTTP/1.1\r\na: b\rc\r\n\r\n", Refusal::BareCr),
            (b"GET / HTTP/1.1\r\n\xe9: b\r\n\r\n", Refusal::FieldNameInvalid),
        ];
        for (head, refusal) in cases {
            let mut storage = FieldStorage::new();
            let result = Request::parse(head, &mut storage, &Limits::default());
            assert_eq!(result.map(|_| ()), Err(refusal), "{}", head.escape_ascii());
        }
    }

    /// Bytes that the grammar of a head is made of.
    fn head_bytes() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop_oneof![
            8 => prop::sample::select(&["\r\n", "a", ":", " ", "GET ", "/", "HTTP/1.1", "a: b\r\n"][..])
                .prop_map(|piece| piece.as_bytes().to_vec()),
            1 => any::<u8>().prop_map(|byte| vec![byte]),
        ];
        (any::<bool>(), prop::collection::vec(pieces, 0..12)).prop_map(|(good_line, pieces)| {
            let start: &[u8] = if good_line { b"GET / HTTP/1.1\r\n" } else { b"" };
            [start, &pieces.concat(), b"\r\n\r\n"].concat()
        })
    }

    proptest! {
        #[test]
        fn cuts_make_no_difference(head in head_bytes(), most in 0usize..40) {
            let limits = Limits { request_line: most, field: most / 2, fields: 3, head: most * 2, body: None };
            let _ = scan(&head, &limits);
            let _ = scan(&head, &Limits::default());
        }

        #[test]
        fn explains_exactly_what_httparse_refuses(head in head_bytes()) {
            if let Ok(Some(length)) = LineScan::default().scan(&head, &Limits::default()) {
                let head = &head[..length];
                let mut fields = [httparse::EMPTY_HEADER; 100];
                let mut parsed = httparse::Request::new(&mut fields);
                let complete = parsed.parse(head) == Ok(httparse::Status::Complete(length));
                let ascii = parsed.path.is_none_or(str::is_ascii);
                prop_assert_eq!(complete && ascii, explain(head).is_none());
            }
        }
    }
}
