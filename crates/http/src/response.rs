//! A response head under construction, and the small responses that the server makes itself.
//!
//! Invariant: the bytes are always whole, checked lines. Nothing an application passes can put a
//! CR, an LF or another control on the wire, nor a field that is the server's to send (PEP 3333,
//! "The start_response() Callable"; RFC 9110 §5.5, §7.6.1).

use std::fmt;

use crate::encoder::BodyEncoder;
use crate::error::reason_phrase;
use crate::headers::{decimal, is_field_value, is_hop_by_hop, is_token, trim};
use crate::request::Version;

/// The head of one response, in one buffer that is used again for the next.
#[derive(Debug, Default)]
pub struct ResponseHead {
    bytes: Vec<u8>,
    /// Where the fields begin, after the status line.
    fields_at: usize,
    /// Where the fields end once the head is finished.
    fields_end: Option<usize>,
    status: u16,
    content_length: Option<u64>,
    has_date: bool,
    has_server: bool,
}

/// What the server knows of the exchange when it finishes a head.
#[derive(Clone, Copy, Debug)]
pub struct Framing<'a> {
    /// The request's method is HEAD.
    pub head_request: bool,
    /// The request's version.
    pub version: Version,
    /// The client wants the connection kept and the server allows it.
    pub persistent: bool,
    /// Length of the body, if the server knows it and the application gave no Content-Length.
    pub length: Option<u64>,
    /// The Date field, as [`DateCache`](crate::DateCache) makes it.
    pub date: &'a [u8],
    /// The Server field; empty: none.
    pub server: &'a [u8],
}

/// How to go on after the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How the body goes out.
    pub encoder: BodyEncoder,
    /// Whether the connection can be used again after this response.
    pub persistent: bool,
}

impl ResponseHead {
    /// Forgets everything but the buffer's room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        *self = Self { bytes: std::mem::take(&mut self.bytes), ..Self::default() };
    }

    /// Whether a status was set.
    pub fn is_set(&self) -> bool {
        self.status != 0
    }

    /// The status; 0 if none was set.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Starts the head with a status such as `200 OK`, and clears a former one.
    pub fn set_status(&mut self, status: &[u8]) -> Result<(), ResponseError> {
        let [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', reason @ ..] = status else {
            return Err(ResponseError::StatusMalformed);
        };
        if !is_field_value(reason) {
            return Err(ResponseError::StatusMalformed);
        }
        let code = [a, b, c].iter().fold(0, |code, &&digit| code * 10 + u16::from(digit - b'0'));
        if !(200..=599).contains(&code) {
            return Err(ResponseError::StatusOutOfRange);
        }
        self.clear();
        self.status = code;
        self.bytes.extend_from_slice(b"HTTP/1.1 ");
        self.bytes.extend_from_slice(status);
        self.bytes.extend_from_slice(b"\r\n");
        self.fields_at = self.bytes.len();
        Ok(())
    }

    /// Adds a field of the application. On an error the head is as before.
    pub fn push_field(&mut self, name: &[u8], value: &[u8]) -> Result<(), ResponseError> {
        if !self.is_set() || self.fields_end.is_some() {
            return Err(ResponseError::NotOpen);
        }
        check_field(name, value)?;
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = decimal(trim(value)).ok_or(ResponseError::LengthMalformed)?;
                if self.content_length.replace(length).is_some() {
                    return Err(ResponseError::LengthRepeated);
                }
                if self.status == 204 {
                    return Ok(()); // RFC 9110 §8.6: none in a 204
                }
            }
            4 if name.eq_ignore_ascii_case(b"date") => self.has_date = true,
            6 if name.eq_ignore_ascii_case(b"server") => self.has_server = true,
            _ => {}
        }
        put_field(&mut self.bytes, name, value);
        Ok(())
    }

    /// The Content-Length that the application gave.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// The value of the first field of this name that is in the head so far.
    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        let end = self.fields_end.unwrap_or(self.bytes.len());
        self.bytes[self.fields_at..end].split(|&byte| byte == b'\n').find_map(|line| {
            let (found, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b": ")?.strip_suffix(b"\r")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Adds Date, Server, framing and Connection and ends the head. A head without a status becomes
    /// a 500.
    pub fn finish(&mut self, exchange: &Framing<'_>) -> Finished {
        debug_assert!(self.fields_end.is_none(), "a head is finished once");
        if !self.is_set() {
            self.bytes.clear();
            self.status = 500;
            self.bytes.extend_from_slice(b"HTTP/1.1 500 Internal Server Error\r\n");
            self.fields_at = self.bytes.len();
        }
        if !self.has_date {
            put_field(&mut self.bytes, b"Date", exchange.date);
        }
        if !self.has_server && !exchange.server.is_empty() {
            put_field(&mut self.bytes, b"Server", exchange.server);
        }
        let encoder = self.put_framing(exchange);
        let persistent = exchange.persistent && encoder != BodyEncoder::UntilClose;
        match (persistent, exchange.version) {
            (false, _) => put_field(&mut self.bytes, b"Connection", b"close"),
            (true, Version::Http10) => put_field(&mut self.bytes, b"Connection", b"keep-alive"),
            (true, Version::Http11) => {}
        }
        self.fields_end = Some(self.bytes.len());
        self.bytes.extend_from_slice(b"\r\n");
        Finished { encoder, persistent }
    }

    /// The head so far; after [`finish`](Self::finish), what goes on the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The buffer, that the first bytes of the body can follow the head in one send.
    pub fn buffer_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Chooses the framing by RFC 9112 §6.3 and writes the field that tells of it.
    fn put_framing(&mut self, exchange: &Framing<'_>) -> BodyEncoder {
        if matches!(self.status, 204 | 304) {
            return BodyEncoder::Nothing;
        }
        if exchange.head_request {
            // An empty body says nothing about the one that GET would get (RFC 9110 §8.6).
            if let (None, Some(length @ 1..)) = (self.content_length, exchange.length) {
                self.put_length(length);
            }
            return BodyEncoder::Nothing;
        }
        if let Some(left) = self.content_length {
            return BodyEncoder::Length { left };
        }
        if let Some(left) = exchange.length {
            self.put_length(left);
            return BodyEncoder::Length { left };
        }
        match exchange.version {
            Version::Http11 => {
                put_field(&mut self.bytes, b"Transfer-Encoding", b"chunked");
                BodyEncoder::Chunked
            }
            Version::Http10 => BodyEncoder::UntilClose,
        }
    }

    fn put_length(&mut self, length: u64) {
        self.bytes.extend_from_slice(b"Content-Length: ");
        put_decimal(&mut self.bytes, length);
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// Appends an interim response (RFC 9110 §15.2): 100 Continue, or 103 Early Hints with its fields.
/// On an error `out` is as before.
pub fn interim<'a>(
    status: u16,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    out: &mut Vec<u8>,
) -> Result<(), ResponseError> {
    // 101 would hand the connection to another protocol.
    if !(100..200).contains(&status) || status == 101 {
        return Err(ResponseError::StatusOutOfRange);
    }
    let start = out.len();
    put_status_line(out, status);
    for (name, value) in fields {
        let checked = check_field(name, value).and_then(|()| {
            // RFC 9110 §8.6: no Content-Length in a 1xx.
            if name.eq_ignore_ascii_case(b"content-length") {
                Err(ResponseError::LengthInInterim)
            } else {
                Ok(())
            }
        });
        if let Err(error) = checked {
            out.truncate(start);
            return Err(error);
        }
        put_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends a whole small response that ends the connection. `text` is the body, followed by LF.
pub fn refusal_response(out: &mut Vec<u8>, status: u16, date: &[u8], server: &[u8], text: &str) {
    put_status_line(out, status);
    put_field(out, b"Date", date);
    if !server.is_empty() {
        put_field(out, b"Server", server);
    }
    put_field(out, b"Content-Type", b"text/plain; charset=utf-8");
    out.extend_from_slice(b"Content-Length: ");
    put_decimal(out, text.len() as u64 + 1);
    out.extend_from_slice(b"\r\nConnection: close\r\n\r\n");
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

/// Why a response head of an application is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// The status is not three digits, a space and a reason without controls.
    StatusMalformed,
    /// The status is not one that may be sent here.
    StatusOutOfRange,
    /// A field before the status or after the end of the head.
    NotOpen,
    /// The name is no token.
    NameInvalid,
    /// The value has a control.
    ValueInvalid,
    /// The field is the server's to send.
    HopByHop,
    /// Content-Length is no plain decimal number.
    LengthMalformed,
    /// A second Content-Length.
    LengthRepeated,
    /// Content-Length in an interim response.
    LengthInInterim,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StatusMalformed => {
                "status is not three digits, a space and a reason without control characters"
            }
            Self::StatusOutOfRange => "status is out of the range that may be sent here",
            Self::NotOpen => "response head takes no field now",
            Self::NameInvalid => "header name is not a token",
            Self::ValueInvalid => "header value has a control character",
            Self::HopByHop => "hop-by-hop header is the server's to send",
            Self::LengthMalformed => "Content-Length is not a decimal number",
            Self::LengthRepeated => "more than one Content-Length",
            Self::LengthInInterim => "Content-Length in an interim response",
        })
    }
}

impl std::error::Error for ResponseError {}

fn check_field(name: &[u8], value: &[u8]) -> Result<(), ResponseError> {
    if !is_token(name) {
        Err(ResponseError::NameInvalid)
    } else if !is_field_value(value) {
        Err(ResponseError::ValueInvalid)
    } else if is_hop_by_hop(name) {
        Err(ResponseError::HopByHop)
    } else {
        Ok(())
    }
}

fn put_status_line(out: &mut Vec<u8>, status: u16) {
    out.extend_from_slice(b"HTTP/1.1 ");
    put_decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn put_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b"0123456789"[usize::try_from(number % 10).unwrap_or(0)];
        number /= 10;
        if number == 0 {
            out.extend_from_slice(&digits[start..]);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXCHANGE: Framing<'_> = Framing {
        head_request: false,
        version: Version::Http11,
        persistent: true,
        length: None,
        date: b"Thu, 01 Jan 1970 00:00:00 GMT",
        server: b"x",
    };

    fn head(status: &str, fields: &[(&str, &str)]) -> ResponseHead {
        let mut head = ResponseHead::default();
        head.set_status(status.as_bytes()).unwrap();
        for (name, value) in fields {
            head.push_field(name.as_bytes(), value.as_bytes()).unwrap();
        }
        head
    }

    /// The head's lines after Date and Server, and how to go on.
    fn finish(mut head: ResponseHead, exchange: &Framing<'_>) -> (String, Finished) {
        let finished = head.finish(exchange);
        let text = String::from_utf8(head.bytes().to_vec()).unwrap();
        let (_, rest) = text.split_once("Server: x\r\n").unwrap();
        (rest.strip_suffix("\r\n").unwrap().to_owned(), finished)
    }

    #[test]
    fn a_whole_head() {
        let mut head = head("404 Not Found", &[("X-a", "b"), ("Content-Length", "3")]);
        assert_eq!((head.status(), head.content_length()), (404, Some(3)));
        let finished = head.finish(&EXCHANGE);
        assert_eq!(
            finished,
            Finished { encoder: BodyEncoder::Length { left: 3 }, persistent: true }
        );
        head.buffer_mut().extend_from_slice(b"abc");
        assert_eq!(
            head.bytes(),
            b"HTTP/1.1 404 Not Found\r\nX-a: b\r\nContent-Length: 3\r\n\
              Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: x\r\n\r\nabc"
        );
        assert_eq!(head.field(b"x-A"), Some(&b"b"[..]));
        assert_eq!(head.field(b"server"), Some(&b"x"[..]));
        assert_eq!(head.field(b"abc"), None);
        assert_eq!(head.push_field(b"a", b"b"), Err(ResponseError::NotOpen));
        head.clear();
        assert!(!head.is_set() && head.bytes().is_empty());
        assert_eq!(head.field(b"x-a"), None);
    }

    #[test]
    fn framing() {
        let close = "Connection: close\r\n";
        let until_close = Finished { encoder: BodyEncoder::UntilClose, persistent: false };
        let http10 = Framing { version: Version::Http10, ..EXCHANGE };
        assert_eq!(
            finish(head("200 OK", &[]), &EXCHANGE),
            (
                "Transfer-Encoding: chunked\r\n".into(),
                Finished { encoder: BodyEncoder::Chunked, persistent: true }
            )
        );
        assert_eq!(finish(head("200 OK", &[]), &http10), (close.into(), until_close));
        assert_eq!(
            finish(head("200 OK", &[]), &Framing { length: Some(0), ..http10 }),
            (
                "Content-Length: 0\r\nConnection: keep-alive\r\n".into(),
                Finished { encoder: BodyEncoder::Length { left: 0 }, persistent: true }
            )
        );
        let closing = Framing { persistent: false, length: Some(1234567890), ..EXCHANGE };
        let (text, finished) = finish(head("200 OK", &[]), &closing);
        assert_eq!(text, format!("Content-Length: 1234567890\r\n{close}"));
        assert!(!finished.persistent);
    }

    #[test]
    fn responses_without_a_body() {
        let kept = Finished { encoder: BodyEncoder::Nothing, persistent: true };
        let plain = |status: &str, fields: &[(&str, &str)], exchange: &Framing<'_>| {
            let mut head = head(status, fields);
            assert_eq!(head.finish(exchange), kept);
            head.field(b"content-length").map(<[u8]>::to_vec)
        };
        let length = [("Content-Length", "5")];
        assert_eq!(plain("204 No Content", &length, &EXCHANGE), None);
        assert_eq!(plain("304 Not Modified", &length, &EXCHANGE), Some(b"5".to_vec()));
        let known = Framing { length: Some(0), ..EXCHANGE };
        assert_eq!(plain("304 Not Modified", &[], &known), None);
        assert_eq!(plain("204 No Content", &[], &known), None);
        let head_request = Framing { head_request: true, ..EXCHANGE };
        assert_eq!(plain("200 OK", &length, &head_request), Some(b"5".to_vec()));
        assert_eq!(plain("200 OK", &[], &head_request), None);
        assert_eq!(plain("200 OK", &[], &Framing { length: Some(0), ..head_request }), None);
        let seven = Framing { length: Some(7), ..head_request };
        assert_eq!(plain("200 OK", &[], &seven), Some(b"7".to_vec()));
    }

    #[test]
    fn date_and_server_of_the_application_stand() {
        let mut head = head("200 OK", &[("date", "then"), ("SERVER", "mine")]);
        head.finish(&EXCHANGE);
        let text = String::from_utf8(head.bytes().to_vec()).unwrap();
        assert!(text.contains("date: then\r\nSERVER: mine\r\n"));
        assert!(!text.contains("Date:") && !text.contains("Server:"));
    }

    #[test]
    fn statuses() {
        let mut head = ResponseHead::default();
        for good in ["200 OK", "599 ", "299 a b\tc \u{e9}"] {
            assert_eq!(head.set_status(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in
            ["", "200", "2000 OK", "20 OK", "abc OK", "200 a\r\nb", "200 \0", " 200 OK", "+20 a"]
        {
            let error = Err(ResponseError::StatusMalformed);
            assert_eq!(head.set_status(bad.as_bytes()), error, "{bad}");
        }
        for bad in ["100 Continue", "101 Switching Protocols", "199 a", "600 a", "000 a", "999 a"] {
            let error = Err(ResponseError::StatusOutOfRange);
            assert_eq!(head.set_status(bad.as_bytes()), error, "{bad}");
        }
        assert_eq!(head.status(), 299, "an error leaves the head as it was");
    }

    #[test]
    fn fields_that_are_refused() {
        let cases = [
            ("", "a", ResponseError::NameInvalid),
            ("a b", "a", ResponseError::NameInvalid),
            ("a:", "a", ResponseError::NameInvalid),
            ("a\r\nb", "a", ResponseError::NameInvalid),
            ("a", "b\r\nc: d", ResponseError::ValueInvalid),
            ("a", "b\n", ResponseError::ValueInvalid),
            ("a", "\0", ResponseError::ValueInvalid),
            ("Connection", "close", ResponseError::HopByHop),
            ("transfer-encoding", "chunked", ResponseError::HopByHop),
            ("Content-Length", "+5", ResponseError::LengthMalformed),
            ("Content-Length", "", ResponseError::LengthMalformed),
        ];
        for (name, value, error) in cases {
            let mut head = head("200 OK", &[]);
            assert_eq!(head.push_field(name.as_bytes(), value.as_bytes()), Err(error), "{name:?}");
            assert_eq!(head.bytes(), b"HTTP/1.1 200 OK\r\n");
        }
        let mut twice = head("200 OK", &[("Content-Length", "5")]);
        assert_eq!(twice.push_field(b"content-length", b"5"), Err(ResponseError::LengthRepeated));
        assert_eq!(ResponseHead::default().push_field(b"a", b"b"), Err(ResponseError::NotOpen));
    }

    #[test]
    fn a_head_without_status_becomes_a_500() {
        let mut head = ResponseHead::default();
        head.finish(&EXCHANGE);
        assert!(head.bytes().starts_with(b"HTTP/1.1 500 Internal Server Error\r\nDate: "));
    }

    #[test]
    fn interim_responses() {
        let mut out = b"x".to_vec();
        interim(100, std::iter::empty(), &mut out).unwrap();
        assert_eq!(out, b"xHTTP/1.1 100 Continue\r\n\r\n");
        let link = [(&b"Link"[..], &b"</a>; rel=preload"[..])];
        out.clear();
        interim(103, link.into_iter(), &mut out).unwrap();
        assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n");
        out.clear();
        for (status, name, value) in [
            (101, "a", "b"),
            (200, "a", "b"),
            (103, "a b", ""),
            (103, "a", "\n"),
            (103, "content-length", "1"),
        ] {
            let fields = [(name.as_bytes(), value.as_bytes())];
            assert!(interim(status, fields.into_iter(), &mut out).is_err());
            assert!(out.is_empty());
        }
    }

    #[test]
    fn a_refusal_on_the_wire() {
        let mut out = Vec::new();
        refusal_response(&mut out, 431, EXCHANGE.date, b"x", "too long");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 431 Request Header Fields Too Large\r\n\
             Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: x\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: 9\r\n\
             Connection: close\r\n\r\ntoo long\n"
        );
    }
}
