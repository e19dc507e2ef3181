//! A listener that tells its clients to come back over HTTPS.
//!
//! The loop answers by itself, as soon as it has a head: no body is taken in, no app is asked. The
//! answer is 308 whatever the method, which nobody may change on the way (RFC 9110 section 15.4.9).

use ironhorn_http::{BodyLength, Request as Head};
use ironhorn_unix::Monotonic;

use crate::runs::Runs;
use crate::serve::{ConnectionOf, Service, Step};

impl<A: Runs> Service<A> {
    /// Answers the request whose head is `bytes`, with `rest` received after it.
    pub(crate) fn redirect(
        &mut self,
        connection: &mut ConnectionOf<A>,
        head: &Head<'_, '_>,
        bytes: &[u8],
        rest: &[u8],
        port: u16,
    ) -> Step {
        let has_body = !matches!(head.body, BodyLength::None);
        let more = !rest.is_empty();
        let client = &connection.client;
        let peer = connection.client.sender.peer;
        let mut response = self.response_to(head, Monotonic::now(), peer, more);
        response.wire.persistent &= !has_body;
        let progress = match location(head, port) {
            Some(location) => response.redirect(location.as_bytes(), client, &self.around),
            None => {
                response.wire.persistent = false;
                let body = b"the Host isn't one to be redirected to\n";
                response.answer(b"400 Bad Request", body, client, &self.around)
            }
        };
        let served = match self.suspends(progress) {
            Some(next) => Self::suspended(bytes, response, next),
            None => self.conclude(client, head, &mut response, progress),
        };
        let next = self.settle(connection, served, more || has_body);
        // A body is not a request.
        let consumed = if has_body { bytes.len() + rest.len() } else { bytes.len() };
        (consumed, next)
    }
}

/// The same resource over HTTPS; `None` if the request doesn't say where that would be.
fn location(head: &Head<'_, '_>, port: u16) -> Option<String> {
    let host = head.authority().or_else(|| head.field("host"))?;
    let host = name(host)?;
    // The target of OPTIONS may be no path (RFC 9112 section 3.2.4).
    let path = std::str::from_utf8(head.path()).ok().filter(|path| path.starts_with('/'));
    let path = path.unwrap_or("/");
    let query = std::str::from_utf8(head.query()).ok()?;
    let mark = if query.is_empty() { "" } else { "?" };
    let location = match port {
        443 => format!("https://{host}{path}{mark}{query}"),
        port => format!("https://{host}:{port}{path}{mark}{query}"),
    };
    // What a URL can't have (RFC 3986 section 2), a field may not have either.
    location.bytes().all(|byte| byte.is_ascii_graphic()).then_some(location)
}

/// The host in a value of Host, without the port (RFC 3986 section 3.2.2): a name or an address of
/// characters that mean nothing else in a URL.
fn name(host: &[u8]) -> Option<&str> {
    let host = std::str::from_utf8(host).ok()?;
    let (name, port) = match host.find(']') {
        Some(end) => host.split_at(end + 1),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let is_port = port.is_empty() || port.starts_with(':');
    if !is_port || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let is_allowed = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            !name.is_empty() && name.bytes().all(letter)
        }
    };
    is_allowed.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironhorn_http::{FieldStorage, Limits};

    #[test]
    fn hosts() {
        for (host, expected) in [
            ("a.example", Some("a.example")),
            ("a.example:80", Some("a.example")),
            ("a.example:", Some("a.example")),
            ("[::1]:80", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("127.0.0.1:8000", Some("127.0.0.1")),
            ("", None),
            (":80", None),
            ("[::1", None),
            ("[x]", None),
            ("[::1]x", None),
            ("a.example:8x", None),
            ("a@b", None),
            ("a/b", None),
            ("a\\b", None),
            ("a?b", None),
            ("a%20b", None),
            ("é", None),
        ] {
            assert_eq!(name(host.as_bytes()), expected, "{host}");
        }
    }

    #[test]
    fn targets() {
        for (line, port, expected) in [
            ("GET /a%20b?c=d HTTP/1.1", 443, "https://h/a%20b?c=d"),
            ("POST / HTTP/1.1", 8443, "https://h:8443/"),
            ("GET http://other:8/x?y HTTP/1.1", 443, "https://other/x?y"),
            ("OPTIONS * HTTP/1.1", 443, "https://h/"),
            ("GET //evil.example/ HTTP/1.1", 443, "https://h//evil.example/"),
        ] {
            let bytes = format!("{line}\r\nHost: h:80\r\n\r\n");
            let mut storage = FieldStorage::new();
            let head = Head::parse(bytes.as_bytes(), &mut storage, &Limits::default()).unwrap();
            assert_eq!(location(&head, port).as_deref(), Some(expected), "{line}");
        }
    }
}
