//! A request head, borrowed from the receive buffer.
//!
//! httparse finds the parts; the rules that it is lenient about are checked before it, in
//! [`lines`](crate::lines), and after it, here. Nothing is allocated and nothing is decoded.

use std::fmt;
use std::mem::MaybeUninit;

use crate::error::Refusal;
use crate::framing::{BodyLength, FramingFields};
use crate::headers::{list_contains, list_elements};
use crate::limits::{Limits, MAX_FIELDS};
use crate::lines::{LineScan, explain};
use crate::target::{Target, is_host_and_port};

/// A field of a request: its name, a token as received, and its value without the white space
/// around it.
pub use httparse::Header as Field;

/// Room for the fields of one head, owned by the caller and best left on the stack: nothing of it
/// is initialised before fields are found.
pub struct FieldStorage<'b> {
    fields: [MaybeUninit<Field<'b>>; MAX_FIELDS],
}

impl FieldStorage<'_> {
    /// Room for [`MAX_FIELDS`].
    #[inline]
    pub fn new() -> Self {
        Self { fields: [const { MaybeUninit::uninit() }; MAX_FIELDS] }
    }
}

impl Default for FieldStorage<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// The version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        })
    }
}

/// A request head. Only a head that breaks no rule becomes one.
#[derive(Clone, Copy, Debug)]
pub struct Request<'h, 'b> {
    /// The method, a token, case as received.
    pub method: &'b str,
    /// The target as received: visible ASCII.
    pub target: &'b str,
    /// The version.
    pub version: Version,
    /// The fields in order.
    pub fields: &'h [Field<'b>],
    /// How long the body is.
    pub body: BodyLength,
    /// Whether the client wants the connection kept. Never for CONNECT, after which the bytes
    /// might not be HTTP.
    pub persistent: bool,
    /// Whether the client waits for 100 Continue before it sends the body.
    pub expects_continue: bool,
    /// Bytes of the head, with its empty line and the one that may precede it.
    pub head_len: usize,
    parts: Target<'b>,
}

impl<'h, 'b> Request<'h, 'b> {
    /// Parses a head that is known to be complete; what follows it is left alone.
    pub fn parse(
        head: &'b [u8],
        storage: &'h mut FieldStorage<'b>,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        match LineScan::default().scan(head, limits)? {
            Some(length) => Self::from_lines(&head[..length], storage, limits),
            None => Err(Refusal::HeadIncomplete),
        }
    }

    /// Parses a head whose lines have passed [`LineScan`].
    pub(crate) fn from_lines(
        head: &'b [u8],
        storage: &'h mut FieldStorage<'b>,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        let mut parsed = httparse::Request::new(&mut []);
        let room = &mut storage.fields[..limits.field_count()];
        let status = parsed.parse_with_uninit_headers(head, room);
        let (Ok(httparse::Status::Complete(head_len)), Some(method), Some(target), Some(minor)) =
            (status, parsed.method, parsed.path, parsed.version)
        else {
            return Err(explain(head).unwrap_or(Refusal::RequestLineMalformed));
        };
        let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
        let parts = Target::parse(method, target)?;
        let fields: &'h [Field<'b>] = parsed.headers;
        let read = FieldsRead::read(fields, version)?;
        if read.host.is_none() && version == Version::Http11 {
            return Err(Refusal::HostMissing);
        }
        let body = read.framing.body_length(version, limits)?;
        Ok(Self {
            method,
            target,
            version,
            fields,
            body,
            persistent: read.persistent(version) && method != "CONNECT",
            expects_continue: read.expects_continue && !body.is_empty(),
            head_len,
            parts,
        })
    }

    /// The path of the target, without query, still percent-encoded. `*` for `OPTIONS *`, empty for
    /// CONNECT, `/` for an absolute target that has none.
    pub fn path(&self) -> &'b [u8] {
        self.parts.path
    }

    /// What follows the first `?` of the target; empty if there is none.
    pub fn query(&self) -> &'b [u8] {
        self.parts.query
    }

    /// Host and port of an absolute target or of CONNECT's: they count, not the Host field
    /// (RFC 9112 §3.2.2).
    pub fn authority(&self) -> Option<&'b [u8]> {
        self.parts.authority
    }

    /// The value of the first field of this name.
    pub fn field(&self, name: impl AsRef<[u8]>) -> Option<&'b [u8]> {
        let name = name.as_ref();
        self.fields
            .iter()
            .find(|field| field.name.as_bytes().eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }
}

/// What the fields say about the message and the connection.
#[derive(Default)]
struct FieldsRead<'b> {
    host: Option<&'b [u8]>,
    framing: FramingFields,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl<'b> FieldsRead<'b> {
    fn read(fields: &[Field<'b>], version: Version) -> Result<Self, Refusal> {
        let mut read = Self::default();
        for field in fields {
            let name = field.name.as_bytes();
            // The length sorts out nearly every other field without comparing a byte.
            match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => {
                    if read.host.replace(field.value).is_some() {
                        return Err(Refusal::HostRepeated);
                    }
                    if !is_host_and_port(field.value) {
                        return Err(Refusal::HostInvalid);
                    }
                }
                6 if name.eq_ignore_ascii_case(b"expect") => read.expect(field.value, version)?,
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    read.close |= list_contains(field.value, b"close");
                    read.keep_alive |= list_contains(field.value, b"keep-alive");
                }
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    read.framing.content_length(field.value)?;
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    read.framing.transfer_encoding(field.value)?;
                }
                _ => {}
            }
        }
        Ok(read)
    }

    /// RFC 9110 §10.1.1: a server must not heed it from HTTP/1.0.
    fn expect(&mut self, value: &[u8], version: Version) -> Result<(), Refusal> {
        if version == Version::Http10 {
            return Ok(());
        }
        if list_elements(value).all(|element| element.eq_ignore_ascii_case(b"100-continue")) {
            self.expects_continue = true;
            Ok(())
        } else {
            Err(Refusal::ExpectationUnknown)
        }
    }

    /// RFC 9112 §9.3.
    fn persistent(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn good(head: &str, check: impl FnOnce(Request<'_, '_>)) {
        let mut storage = FieldStorage::new();
        let request = Request::parse(head.as_bytes(), &mut storage, &Limits::default());
        check(request.unwrap_or_else(|refusal| panic!("{refusal}: {head:?}")));
    }

    #[track_caller]
    fn bad(head: &str, refusal: Refusal) {
        let mut storage = FieldStorage::new();
        let result = Request::parse(head.as_bytes(), &mut storage, &Limits::default());
        assert_eq!(result.map(|_| ()), Err(refusal), "{head:?}");
    }

    fn with(fields: &str) -> String {
        format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
    }

    #[test]
    fn parts() {
        let head = "\r\nget-it /a%20b?c=d HTTP/1.1\r\nHost: a\r\nX-y:  \t v w \t\r\nX-Y:\r\n\r\n";
        good(&format!("{head}rest"), |request| {
            assert_eq!(request.method, "get-it");
            assert_eq!(request.target, "/a%20b?c=d");
            assert_eq!((request.path(), request.query()), (&b"/a%20b"[..], &b"c=d"[..]));
            assert_eq!(request.authority(), None);
            assert_eq!(request.version, Version::Http11);
            assert_eq!(request.fields.len(), 3);
            assert_eq!(request.field("x-y"), Some(&b"v w"[..]));
            assert_eq!(request.fields[2].value, b"");
            assert_eq!(request.field(b"absent"), None);
            assert_eq!(request.body, BodyLength::None);
            assert!(request.persistent && !request.expects_continue);
            assert_eq!(request.head_len, head.len());
        });
    }

    #[test]
    fn an_incomplete_head_is_refused() {
        bad("GET / HTTP/1.1\r\nHost: a\r\n", Refusal::HeadIncomplete);
        bad("", Refusal::HeadIncomplete);
    }

    #[test]
    fn host() {
        bad("GET / HTTP/1.1\r\n\r\n", Refusal::HostMissing);
        bad("GET http://a/ HTTP/1.1\r\n\r\n", Refusal::HostMissing);
        bad(&with("hOST: a\r\n"), Refusal::HostRepeated);
        bad("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", Refusal::HostRepeated);
        bad("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Refusal::HostInvalid);
        good("GET / HTTP/1.0\r\n\r\n", |request| assert_eq!(request.field("host"), None));
        good("GET / HTTP/1.1\r\nHost:\r\n\r\n", |_| {});
    }

    #[test]
    fn persistence() {
        let persistent = |version: &str, fields: &str| {
            let head = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
            let mut storage = FieldStorage::new();
            Request::parse(head.as_bytes(), &mut storage, &Limits::default()).unwrap().persistent
        };
        assert!(persistent("1.1", ""));
        assert!(persistent("1.1", "Connection: Upgrade, keep-alive\r\n"));
        assert!(!persistent("1.1", "Connection: Close\r\n"));
        assert!(!persistent("1.1", "Connection: keep-alive\r\nconnection: x , close\r\n"));
        assert!(!persistent("1.0", ""));
        assert!(persistent("1.0", "Connection: x\r\nConnection: Keep-Alive\r\n"));
        assert!(!persistent("1.0", "Connection: keep-alive, close\r\n"));
    }

    #[test]
    fn connect_ends_the_connection() {
        good("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", |request| {
            assert!(!request.persistent);
            assert_eq!(request.authority(), Some(&b"a:1"[..]));
            assert_eq!(request.path(), b"");
        });
    }

    #[test]
    fn expectation() {
        let body = "Content-Length: 1\r\n";
        good(&with(&format!("Expect: 100-Continue\r\n{body}")), |r| assert!(r.expects_continue));
        good(&with("Expect: 100-continue\r\n"), |r| assert!(!r.expects_continue));
        good(&with("Expect: 100-continue\r\nContent-Length: 0\r\n"), |r| {
            assert!(!r.expects_continue);
        });
        good(&format!("POST / HTTP/1.0\r\nExpect: 100-continue\r\n{body}\r\n"), |r| {
            assert!(!r.expects_continue);
        });
        good("POST / HTTP/1.0\r\nExpect: wonders\r\n\r\n", |_| {});
        bad(&with("Expect: wonders\r\n"), Refusal::ExpectationUnknown);
        bad(&with("Expect: 100-continue, wonders\r\n"), Refusal::ExpectationUnknown);
        bad(&with("Expect:\r\n"), Refusal::ExpectationUnknown);
    }

    #[test]
    fn body_limit() {
        let limits = Limits { body: Some(5), ..Limits::default() };
        let parse = |length: u64| {
            let head = with(&format!("Content-Length: {length}\r\n"));
            Request::parse(head.as_bytes(), &mut FieldStorage::new(), &limits).map(|r| r.body)
        };
        assert_eq!(parse(5), Ok(BodyLength::Length(5)));
        assert_eq!(parse(6), Err(Refusal::BodyTooLarge));
    }

    #[test]
    fn as_many_fields_as_there_is_room_for() {
        let limits = Limits { fields: usize::MAX, ..Limits::default() };
        let parse = |count: usize| {
            let head = format!("GET / HTTP/1.0\r\n{}\r\n", "a:\r\n".repeat(count));
            Request::parse(head.as_bytes(), &mut FieldStorage::new(), &limits)
                .map(|request| request.fields.len())
        };
        assert_eq!(parse(MAX_FIELDS), Ok(MAX_FIELDS));
        assert_eq!(parse(MAX_FIELDS + 1), Err(Refusal::TooManyFields));
    }
}
