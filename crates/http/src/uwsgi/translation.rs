//! A packet's variables as an HTTP request.
//!
//! | Variable | Becomes |
//! |---|---|
//! | REQUEST_METHOD, REQUEST_URI | the request line |
//! | CONTENT_LENGTH, CONTENT_TYPE, `HTTP_*` | fields, unless the length and type are empty |
//! | HTTP_CONTENT_LENGTH, HTTP_CONTENT_TYPE, HTTP_TRANSFER_ENCODING | nothing: the two above say it, and the body has no coding |
//! | HTTP_PROXY, `UWSGI_*`, `wsgi.*`, `ironhorn.*` | nothing; of them, UWSGI_SCHEME alone is looked at |
//! | SERVER_NAME, SERVER_PORT, if empty | nothing: an application needs both (PEP 3333, "environ Variables") |
//! | all others | variables of the application, as they are |
//!
//! In uWSGI a variable of the first kind is an order to the server: to import a module, to change
//! the directory, to set its environment. Here a request says what is asked for, never how to
//! serve it.
//!
//! A proxy repeats what its configuration repeats (`include uwsgi_params` and a line of one's own
//! for the same name is usual), and the last one counts, as in uWSGI. But fields are a client's to
//! repeat, and nginx before 1.23 passes them so: they stay, and the rules of HTTP say what it means.
//! No proxy passes two Host fields of a client, so that is its configuration. CONTENT_LENGTH frames
//! the body: never twice.

use std::net::{IpAddr, SocketAddr};

use memchr::memchr2;

use super::packet::{Packet, Variables};
use crate::error::Refusal;
use crate::headers::{is_field_value, is_token};

/// Fields, as in variables, that are none here.
const DROPPED: [&str; 4] = ["CONTENT_LENGTH", "CONTENT_TYPE", "TRANSFER_ENCODING", "PROXY"];
/// What the names of variables begin with that are the server's business.
const ORDERS: [&str; 3] = ["UWSGI_", "wsgi.", "ironhorn."];

/// What a packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The request as a head of HTTP/1.0, complete; not checked beyond that it has the lines that
    /// it is meant to have.
    pub head: Vec<u8>,
    /// The path that the sender asks for, decoded: PATH_INFO before SCRIPT_NAME is taken off it. It
    /// need not be that of the head, which is what the client has asked for; none if it is.
    pub path: Option<Vec<u8>>,
    /// What the application gets as it is. PATH_INFO is what follows SCRIPT_NAME.
    pub variables: Variables,
    /// The client, as the sender of the packet saw it; none if it wasn't an IP address.
    pub client: Option<SocketAddr>,
    /// Whether the client's way to the sender was encrypted.
    pub secure: bool,
}

/// Variables that are looked at, the last of each name.
#[derive(Default)]
struct Seen<'b> {
    method: Option<&'b [u8]>,
    uri: Option<&'b [u8]>,
    content_type: Option<&'b [u8]>,
    content_length: Option<&'b [u8]>,
    host: Option<&'b [u8]>,
    script_name: Option<&'b [u8]>,
    path_info: Option<&'b [u8]>,
    address: Option<&'b [u8]>,
    port: Option<&'b [u8]>,
    https: Option<&'b [u8]>,
    request_scheme: Option<&'b [u8]>,
    uwsgi_scheme: Option<&'b [u8]>,
}

impl Translation {
    /// Translates a packet.
    pub fn of(packet: &Packet<'_>) -> Result<Self, Refusal> {
        let mut seen = Seen::default();
        let mut fields = Vec::new();
        let mut variables = Variables::default();
        for (name, value) in packet.variables() {
            match name {
                b"REQUEST_METHOD" => seen.method = Some(value),
                b"CONTENT_TYPE" => seen.content_type = Some(value),
                b"CONTENT_LENGTH" => match seen.content_length.replace(value) {
                    None => {}
                    Some(_) => return Err(Refusal::LengthRepeated),
                },
                b"SCRIPT_NAME" => seen.script_name = Some(value),
                b"PATH_INFO" => seen.path_info = Some(value),
                b"UWSGI_SCHEME" => seen.uwsgi_scheme = Some(value),
                [b'H', b'T', b'T', b'P', b'_', field @ ..] => {
                    let is = |other: &&str| is_same_field(field, other);
                    if is(&"HOST") {
                        seen.host = Some(value);
                    } else if is(&"CONNECTION") {
                        variables.push(name, value);
                    } else if !DROPPED.iter().any(is) {
                        put_field(&mut fields, field, value)?;
                    }
                }
                b"SERVER_NAME" | b"SERVER_PORT" if value.is_empty() => {}
                _ if ORDERS.iter().any(|start| name.starts_with(start.as_bytes())) => {}
                _ => {
                    match name {
                        b"REQUEST_URI" => seen.uri = Some(value),
                        b"REMOTE_ADDR" => seen.address = Some(value),
                        b"REMOTE_PORT" => seen.port = Some(value),
                        b"HTTPS" => seen.https = Some(value),
                        b"REQUEST_SCHEME" => seen.request_scheme = Some(value),
                        _ => {}
                    }
                    variables.push(name, value);
                }
            }
        }
        // Who doesn't say it has rewritten nothing.
        let path = seen.path_info.map_or_else(|| seen.asked().collect(), <[u8]>::to_vec);
        let (script_name, path_info) = seen.split(&path, packet.manages_path_info);
        variables.push(b"SCRIPT_NAME", script_name);
        variables.push(b"PATH_INFO", path_info);
        Ok(Self {
            head: seen.head(&fields)?,
            path: seen.path_info.is_some().then_some(path),
            variables,
            client: seen.client(),
            secure: seen.secure(),
        })
    }
}

impl<'b> Seen<'b> {
    fn head(&self, fields: &[u8]) -> Result<Vec<u8>, Refusal> {
        let (Some(method), Some(uri)) = (self.method, self.uri) else {
            return Err(Refusal::VariableMissing);
        };
        if !is_token(method) {
            return Err(Refusal::MethodInvalid);
        }
        if memchr2(b'\r', b'\n', uri).is_some() {
            return Err(Refusal::TargetByte);
        }
        let mut head = Vec::with_capacity(method.len() + uri.len() + fields.len() + 128);
        for piece in [method, b" ", uri, b" HTTP/1.0\r\n"] {
            head.extend_from_slice(piece);
        }
        if let Some(host) = self.host {
            put_field(&mut head, b"HOST", host)?;
        }
        let given = |value: Option<&'b [u8]>| value.filter(|value| !value.is_empty());
        if let Some(kind) = given(self.content_type) {
            put_field(&mut head, b"CONTENT_TYPE", kind)?;
        }
        if let Some(length) = given(self.content_length) {
            put_field(&mut head, b"CONTENT_LENGTH", length)?;
        }
        head.extend_from_slice(fields);
        head.extend_from_slice(b"\r\n");
        Ok(head)
    }

    /// The path that the client has asked for, decoded.
    fn asked(&self) -> impl Iterator<Item = u8> {
        decoded(path_of(self.uri.unwrap_or_default()))
    }

    /// Splits a path into SCRIPT_NAME and PATH_INFO as what follows it.
    ///
    /// A proxy that says SCRIPT_NAME either has taken it off PATH_INFO, or leaves that to us. It is
    /// known to have done so if both together are the path that the client asked for: that may
    /// begin with the name twice.
    fn split<'p>(&self, path: &'p [u8], manages: bool) -> (&'b [u8], &'p [u8]) {
        let mut script_name = self.script_name.unwrap_or_default();
        while let [shorter @ .., b'/'] = script_name {
            script_name = shorter;
        }
        let is_off = !manages
            && self.path_info.is_some()
            && self.asked().eq(script_name.iter().chain(path).copied());
        match path.strip_prefix(script_name) {
            Some(rest @ ([] | [b'/', ..])) if !is_off => (script_name, rest),
            _ => (script_name, path),
        }
    }

    fn client(&self) -> Option<SocketAddr> {
        let text = |value: Option<&'b [u8]>| std::str::from_utf8(value?).ok();
        let address: IpAddr = text(self.address)?.parse().ok()?;
        let port = text(self.port).and_then(|port| port.parse().ok());
        Some(SocketAddr::new(address, port.unwrap_or(0)))
    }

    /// Who sets HTTPS or UWSGI_SCHEME knows more than REQUEST_SCHEME, which says what the proxy
    /// itself spoke.
    fn secure(&self) -> bool {
        let is = |value: Option<&[u8]>, wanted: &str| {
            value.is_some_and(|value| value.eq_ignore_ascii_case(wanted.as_bytes()))
        };
        match self.uwsgi_scheme {
            scheme if is(scheme, "https") => true,
            scheme if is(scheme, "http") => false,
            _ => is(self.https, "on") || is(self.https, "1") || is(self.request_scheme, "https"),
        }
    }
}

/// Whether a variable's name would make a field of this name.
fn is_same_field(name: &[u8], other: &str) -> bool {
    let same =
        |(a, b): (&u8, u8)| *a == b || a.to_ascii_uppercase() == b || (*a, b) == (b'-', b'_');
    name.len() == other.len() && name.iter().zip(other.bytes()).all(same)
}

/// Adds a field that is one line, whatever is in the variable.
fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
    if !is_token(name) {
        return Err(Refusal::FieldNameInvalid);
    }
    if !is_field_value(value) {
        return Err(Refusal::FieldValueInvalid);
    }
    out.extend(name.iter().map(|&byte| if byte == b'_' { b'-' } else { byte }));
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The path of a URI, still encoded.
fn path_of(uri: &[u8]) -> &[u8] {
    uri.split(|&byte| byte == b'?').next().unwrap_or_default()
}

/// What percent escapes stand for; what is no escape stays as it is.
fn decoded(encoded: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = encoded;
    std::iter::from_fn(move || {
        let (byte, after) = match rest {
            [b'%', high, low, after @ ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', &rest[1..]),
            },
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        rest = after;
        Some(byte)
    })
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' | b'A'..=b'F' => Some((digit | 0x20) - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
