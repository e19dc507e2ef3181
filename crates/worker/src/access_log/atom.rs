//! What an access line is made of, and where each part comes from.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use ironhorn_http::{DateCache, Request, Version};
use ironhorn_unix::Peer;

use super::Entry;

/// One `%(…)s` of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Atom {
    RemoteAddress,
    Dash,
    User,
    Time,
    IsoTime,
    RequestLine,
    Method,
    Path,
    Query,
    Protocol,
    Status,
    /// `B`: a number always.
    BodyBytes,
    /// `b`: a dash for none.
    BodyBytesOrDash,
    Referer,
    UserAgent,
    Seconds,
    Milliseconds,
    Microseconds,
    DecimalSeconds,
    /// `p`: in angle brackets, as Gunicorn has it.
    ProcessId,
    ProcessNumber,
    RequestField(Vec<u8>),
    ResponseField(Vec<u8>),
    /// Index into the names that the format asks for.
    Environ(usize),
}

impl Atom {
    /// The atom called `name`; a new environ key is added to `environ_names`.
    pub(super) fn parse(name: &str, environ_names: &mut Vec<String>) -> Option<Self> {
        Some(match name {
            "h" => Self::RemoteAddress,
            "l" => Self::Dash,
            "u" => Self::User,
            "t" => Self::Time,
            "r" => Self::RequestLine,
            "m" => Self::Method,
            "U" => Self::Path,
            "q" => Self::Query,
            "H" => Self::Protocol,
            "s" => Self::Status,
            "B" => Self::BodyBytes,
            "b" => Self::BodyBytesOrDash,
            "f" => Self::Referer,
            "a" => Self::UserAgent,
            "T" => Self::Seconds,
            "M" => Self::Milliseconds,
            "D" => Self::Microseconds,
            "L" => Self::DecimalSeconds,
            "p" => Self::ProcessId,
            _ => return Self::parse_named(name, environ_names),
        })
    }

    fn parse_named(name: &str, environ_names: &mut Vec<String>) -> Option<Self> {
        let (key, kind) = name.strip_prefix('{')?.split_once('}')?;
        match kind {
            _ if key.is_empty() => None,
            "i" => Some(Self::RequestField(key.as_bytes().to_vec())),
            "o" => Some(Self::ResponseField(key.as_bytes().to_vec())),
            "e" => {
                let known = environ_names.iter().position(|name| name == key);
                Some(Self::Environ(known.unwrap_or_else(|| {
                    environ_names.push(key.to_owned());
                    environ_names.len() - 1
                })))
            }
            _ => None,
        }
    }
}

/// One entry at the time it is written.
pub(super) struct Context<'a> {
    pub(super) entry: &'a Entry<'a>,
    pub(super) now: SystemTime,
}

impl Context<'_> {
    /// Adds the atom's value, escaped if it comes from a peer or an app; `-` if there is none.
    pub(super) fn write(&self, atom: &Atom, escape: fn(&[u8], &mut Vec<u8>), out: &mut Vec<u8>) {
        let entry = self.entry;
        let elapsed = entry.elapsed;
        let before = out.len();
        match atom {
            Atom::Dash => {}
            Atom::RemoteAddress => {
                if let Peer::Inet(address) = entry.peer {
                    number(out, address.ip());
                }
            }
            Atom::User => escape(&self.user().unwrap_or_default(), out),
            Atom::Time => self.common_time(out),
            Atom::IsoTime => self.iso_time(out),
            Atom::RequestLine => self.request_line(escape, out),
            Atom::Method => escape(self.of_request(|request| request.method.as_bytes()), out),
            Atom::Path => escape(self.of_request(|request| request.path()), out),
            Atom::Query => {
                escape(self.of_request(|request| request.query()), out);
                return; // an empty query is empty, not a dash
            }
            Atom::Protocol => self.protocol(escape, out),
            Atom::Status => number(out, entry.status),
            Atom::BodyBytes => number(out, entry.body_bytes),
            Atom::BodyBytesOrDash if entry.body_bytes == 0 => {}
            Atom::BodyBytesOrDash => number(out, entry.body_bytes),
            Atom::Referer => escape(self.request_field(b"referer"), out),
            Atom::UserAgent => escape(self.request_field(b"user-agent"), out),
            Atom::RequestField(name) => escape(self.request_field(name), out),
            Atom::ResponseField(name) => {
                let value = entry.response.and_then(|response| response.field(name));
                escape(value.unwrap_or_default(), out);
            }
            Atom::Environ(index) => {
                let value = entry.environ.get(*index).and_then(Option::as_deref);
                escape(value.unwrap_or_default(), out);
            }
            Atom::Seconds => number(out, elapsed.as_secs()),
            Atom::Milliseconds => number(out, elapsed.as_millis()),
            Atom::Microseconds => number(out, elapsed.as_micros()),
            Atom::DecimalSeconds => {
                number(out, format_args!("{}.{:06}", elapsed.as_secs(), elapsed.subsec_micros()));
            }
            Atom::ProcessId => number(out, format_args!("<{}>", std::process::id())),
            Atom::ProcessNumber => number(out, std::process::id()),
        }
        if out.len() == before {
            out.push(b'-');
        }
    }

    fn of_request<'s>(&'s self, part: impl Fn(&'s Request<'s, 's>) -> &'s [u8]) -> &'s [u8] {
        self.entry.request.map(part).unwrap_or_default()
    }

    fn request_field(&self, name: &[u8]) -> &[u8] {
        self.entry.request.and_then(|request| request.field(name)).unwrap_or_default()
    }

    /// The request line; of a refused request what came of its first line, if anything did.
    fn request_line(&self, escape: fn(&[u8], &mut Vec<u8>), out: &mut Vec<u8>) {
        /// A line that was refused for its length isn't worth more.
        const SHOWN: usize = 256;
        let Some(request) = self.entry.request else {
            let line = self.entry.received.split(|&byte| byte == b'\n').next().unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            return escape(&line[..line.len().min(SHOWN)], out);
        };
        escape(request.method.as_bytes(), out);
        out.push(b' ');
        escape(request.target.as_ref(), out);
        out.push(b' ');
        self.protocol(escape, out);
    }

    /// What the client spoke, which a proxy may know better than our side of it.
    fn protocol(&self, escape: fn(&[u8], &mut Vec<u8>), out: &mut Vec<u8>) {
        match self.variable("SERVER_PROTOCOL") {
            Some(protocol) => escape(protocol, out),
            None => out.extend_from_slice(self.of_request(|request| protocol(request.version))),
        }
    }

    /// A variable of the uwsgi protocol, if it isn't empty.
    fn variable(&self, name: &str) -> Option<&[u8]> {
        self.entry.variables.get(name).filter(|value| !value.is_empty())
    }

    /// The user that the proxy knows, or of Basic authentication (RFC 7617 §2), unverified.
    fn user(&self) -> Option<Vec<u8>> {
        if let Some(user) = self.variable("REMOTE_USER") {
            return Some(user.to_vec());
        }
        let value = self.request_field(b"authorization");
        let (scheme, credentials) = value.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let mut decoded = decode_base64(credentials.trim_ascii())?;
        let colon = decoded.iter().position(|&byte| byte == b':')?;
        decoded.truncate(colon);
        Some(decoded)
    }

    /// `[22/Nov/2026:19:16:09 +0000]`
    fn common_time(&self, out: &mut Vec<u8>) {
        let mut cache = DateCache::new();
        let date = cache.at(self.unix_time().0);
        out.push(b'[');
        out.extend_from_slice(&date[5..7]);
        out.push(b'/');
        out.extend_from_slice(&date[8..11]);
        out.push(b'/');
        out.extend_from_slice(&date[12..16]);
        out.push(b':');
        out.extend_from_slice(&date[17..25]);
        out.extend_from_slice(b" +0000]");
    }

    /// `2026-11-22T19:16:09.123Z`
    fn iso_time(&self, out: &mut Vec<u8>) {
        const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        let (seconds, millis) = self.unix_time();
        let mut cache = DateCache::new();
        let date = cache.at(seconds);
        let month = MONTHS.chunks(3).position(|name| name == &date[8..11]).map_or(0, |at| at + 1);
        out.extend_from_slice(&date[12..16]);
        number(out, format_args!("-{month:02}-"));
        out.extend_from_slice(&date[5..7]);
        out.push(b'T');
        out.extend_from_slice(&date[17..25]);
        number(out, format_args!(".{millis:03}Z"));
    }

    /// Seconds since 1970, and milliseconds of the second.
    fn unix_time(&self) -> (u64, u32) {
        let since = self.now.duration_since(UNIX_EPOCH).unwrap_or_default();
        (since.as_secs(), since.subsec_millis())
    }
}

fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
    }
}

fn number(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("invariant: writing to a vector does not fail");
}

/// Standard base64 with or without its padding (RFC 4648 §4).
fn decode_base64(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(encoded.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0u32, 0);
    for &byte in encoded.strip_suffix(b"==").or(encoded.strip_suffix(b"=")).unwrap_or(encoded) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count & 0xff) as u8);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::Format;
    use ironhorn_http::uwsgi::{Packet, Translation, Variables};
    use ironhorn_http::{FieldStorage, Limits, Received, ResponseHead};
    use std::net::SocketAddr;
    use std::time::Duration;

    const HEAD: &[u8] = b"GET /a%20b?x=\"1 HTTP/1.1\r\nHost: h\r\nReferer: http://r/\r\n\
        User-Agent: a\"b\\c\xe9\r\nAuthorization: Basic YWxhZGRpbjpvcGVuc2VzYW1l\r\nX-Id: 7\r\n\r\n";

    fn line(format: &str) -> String {
        line_with(format, Variables::default())
    }

    fn line_with(format: &str, variables: Variables) -> String {
        let mut storage = FieldStorage::new();
        let request = Request::parse(HEAD, &mut storage, &Limits::default()).unwrap();
        let mut response = ResponseHead::default();
        response.set_status(b"404 Not Found").unwrap();
        response.push_field(b"X-Answer", b"42").unwrap();
        let peer = Peer::Inet(SocketAddr::from(([10, 0, 0, 1], 4711)));
        let entry = Entry {
            request: Some(&request),
            received: HEAD,
            peer: &peer,
            variables: &variables,
            status: 404,
            response: Some(&response),
            body_bytes: 1234,
            elapsed: Duration::from_micros(93_784_005_600),
            environ: &[None, Some(b"bob".to_vec())],
        };
        let now = UNIX_EPOCH + Duration::from_millis(784_111_777_042);
        let mut out = Vec::new();
        Format::parse(format).unwrap().write(&entry, now, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// Of a packet with these beside the method and URI.
    fn variables(more: &[(&str, &str)]) -> Variables {
        let given = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/")];
        let texts = given.iter().chain(more).flat_map(|(name, value)| [*name, *value]);
        let encoded: Vec<u8> = texts
            .flat_map(|text| {
                [&u16::try_from(text.len()).unwrap().to_le_bytes(), text.as_bytes()].concat()
            })
            .collect();
        let [low, high] = u16::try_from(encoded.len()).unwrap().to_le_bytes();
        let bytes = [&[0, low, high, 0], &encoded[..]].concat();
        let Ok(Received::Complete(packet)) = Packet::receive(&bytes) else { panic!() };
        Translation::of(&packet).unwrap().variables
    }

    #[test]
    fn what_a_proxy_says_of_protocol_and_user_is_shown() {
        let shown = |more: &[(&str, &str)]| line_with("%(u)s %(H)s %(r)s", variables(more));
        assert_eq!(
            shown(&[("REMOTE_USER", "a b"), ("SERVER_PROTOCOL", "HTTP/2.0\n")]),
            r#"a b HTTP/2.0\x0a GET /a%20b?x=\"1 HTTP/2.0\x0a"#
        );
        assert_eq!(
            shown(&[("REMOTE_USER", ""), ("SERVER_PROTOCOL", "")]),
            r#"aladdin HTTP/1.1 GET /a%20b?x=\"1 HTTP/1.1"#
        );
    }

    #[test]
    fn the_combined_preset_is_the_usual_line() {
        assert_eq!(
            line("combined"),
            r#"10.0.0.1 - aladdin [06/Nov/1994:08:49:37 +0000] "GET /a%20b?x=\"1 HTTP/1.1" 404 1234 "http://r/" "a\"b\\c\xe9""#
        );
    }

    #[test]
    fn every_atom_has_its_value() {
        assert_eq!(
            line("%(m)s %(U)s %(q)s %(H)s %(s)s %(B)s"),
            "GET /a%20b x=\\\"1 HTTP/1.1 404 1234"
        );
        assert_eq!(line("%(T)s %(M)s %(D)s %(L)s"), "93784 93784005 93784005600 93784.005600");
        assert_eq!(line("%({X-ID}i)s %({x-answer}o)s %({none}i)s"), "7 42 -");
        assert_eq!(line("%({A}e)s %({B}e)s"), "- bob");
        assert_eq!(line("%(p)s"), format!("<{}>", std::process::id()));
        assert_eq!(line("100%%"), "100%");
    }

    #[test]
    fn the_json_preset_is_one_object() {
        let pid = std::process::id();
        assert_eq!(
            line("json"),
            format!(
                r#"{{"time":"1994-11-06T08:49:37.042Z","remote_addr":"10.0.0.1","method":"GET","path":"/a%20b","query":"x=\"1","protocol":"HTTP/1.1","referer":"http://r/","user_agent":"a\"b\\c\u00e9","status":404,"body_bytes":1234,"duration_us":93784005600,"pid":{pid}}}"#
            )
        );
    }
}
