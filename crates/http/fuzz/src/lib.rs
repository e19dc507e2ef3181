//! What the fuzz targets do, as plain functions, that `tests/fuzz_smoke.rs` can run them without a
//! fuzzer.
//!
//! Each panics when something is wrong with the parser, never when something is wrong with `data`.

#[path = "../../tests/drive/mod.rs"]
mod drive;
#[path = "../../tests/packet/mod.rs"]
mod packet;

use drive::drive;
use ironhorn_http::forwarded::{Claims, ClientFrom, Policy};
use ironhorn_http::proxy::{self, Versions};
use ironhorn_http::uwsgi::{Packet, Translation};
use ironhorn_http::{FieldStorage, Limits, Received, Request, Version, headers};

/// One head: whatever is accepted must be as strict as promised.
pub fn request(data: &[u8]) {
    for limits in [Limits::default(), tight()] {
        let mut storage = FieldStorage::new();
        let Ok(request) = Request::parse(data, &mut storage, &limits) else { continue };
        let head = &data[..request.head_len];
        assert!(head.len() <= limits.head && head.ends_with(b"\r\n\r\n"), "length of the head");
        let lines = head.windows(2).filter(|pair| pair == b"\r\n").count();
        for (byte, name) in [(b'\r', "CR"), (b'\n', "LF")] {
            let count = head.iter().filter(|&&found| found == byte).count();
            assert_eq!(count, lines, "bare {name}");
        }
        assert!(headers::is_token(request.method.as_bytes()), "method");
        assert!(request.target.bytes().all(|byte| byte.is_ascii_graphic()), "target");
        assert!(!request.target.contains('#') && !request.path().contains(&b'?'), "target");
        for field in request.fields {
            assert!(headers::is_token(field.name.as_bytes()), "field name");
            assert!(headers::is_field_value(field.value), "field value");
            assert_eq!(field.value.trim_ascii(), field.value, "white space around a field value");
        }
        assert!(request.fields.len() <= limits.fields, "number of fields");
        assert!(request.version == Version::Http10 || request.field("host").is_some(), "Host");
        let framing = ["content-length", "transfer-encoding"].map(|name| {
            request.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count()
        });
        assert!(matches!(framing, [0, 0] | [1, 0] | [0, 1]), "framing fields");
    }
}

/// A chunked body and what follows it, in pieces.
pub fn chunked(data: &[u8]) {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    cut_up(&[head, data].concat(), head.len());
}

/// A connection's bytes, in pieces.
pub fn connection(data: &[u8]) {
    cut_up(data, 0);
}

/// A connection on which uwsgi is spoken, in pieces: what is accepted is one head.
pub fn uwsgi(data: &[u8]) {
    let whole = packet::outcome(data, [data.len()]);
    assert_eq!(packet::outcome(data, 0..=data.len()), whole, "byte by byte");
    assert_eq!(packet::outcome(data, cuts(data, 0)), whole, "in pieces");
    let Ok(Received::Complete(packet)) = Packet::receive(data) else { return };
    let Ok(translation) = Translation::of(&packet) else { return };
    let head = &translation.head;
    let end = head.windows(4).position(|end| end == b"\r\n\r\n");
    assert_eq!(end, Some(head.len() - 4), "end of the head");
    for (name, _) in translation.variables.iter() {
        assert!(!name.starts_with(b"UWSGI_") && !name.starts_with(b"wsgi."), "orders");
    }
    request(head);
}

/// A header of the PROXY protocol: the outcome must not depend on what has arrived behind it, nor
/// change when more arrives.
pub fn proxy(data: &[u8]) {
    let whole = proxy::receive(data, Versions::Any);
    for cut in (0..data.len()).take(200) {
        match (proxy::receive(&data[..cut], Versions::Any), whole) {
            (Ok(Received::Incomplete), Ok(Received::Complete(header))) => {
                assert!(cut < header.length, "incomplete at {cut}");
            }
            (Ok(Received::Incomplete), _) => {}
            (part, whole) => assert_eq!(part, whole, "at {cut}"),
        }
    }
    if let Ok(Received::Complete(header)) = whole {
        assert!(header.length <= data.len() && header.length <= proxy::MAX_HEADER);
        assert!(proxy::begins_header(data));
    }
}

/// The value of a field by which proxies speak, whose name the first byte chooses.
pub fn forwarded(data: &[u8]) {
    const NAMES: [&str; 7] = [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Proto",
        "X-Forwarded-Prefix",
        "SCRIPT_NAME",
    ];
    let Some((first, value)) = data.split_first() else { return };
    let name = NAMES[usize::from(*first) % NAMES.len()];
    let head = [b"GET /a HTTP/1.1\r\nHost: a\r\n", name.as_bytes(), b": ", value, b"\r\n\r\n"];
    let head = head.concat();
    let mut storage = FieldStorage::new();
    let Ok(request) = Request::parse(&head, &mut storage, &Limits::default()) else { return };
    for client in [ClientFrom::Peer, ClientFrom::Untrusted, ClientFrom::Hops(2.try_into().unwrap())]
    {
        let policy = Policy { client, host: true, script_name: true, prefix: true };
        let Ok(claims) = Claims::read(&request, &policy, &|address| address.is_loopback()) else {
            continue;
        };
        assert!(claims.client.is_none() || client != ClientFrom::Peer, "a client nobody asked for");
        assert!(claims.host.is_none_or(|host| !host.is_empty()), "an empty host");
        assert!(claims.port != Some(0), "port 0");
    }
}

/// The outcome must not depend on how the bytes after the first `start` are cut up.
fn cut_up(data: &[u8], start: usize) {
    for limits in [Limits::default(), tight()] {
        let whole = drive(data, [data.len()], &limits);
        assert_eq!(drive(data, start..=data.len(), &limits), whole, "byte by byte");
        assert_eq!(drive(data, cuts(data, start), &limits), whole, "in pieces");
    }
}

/// Limits that short inputs can exceed.
fn tight() -> Limits {
    Limits { request_line: 40, fields: 4, field: 40, head: 120, body: Some(20) }
}

/// Ends of pieces, which the last byte chooses.
fn cuts(data: &[u8], start: usize) -> impl Iterator<Item = usize> {
    let seed = usize::from(data.last().copied().unwrap_or(0));
    let mut end = start;
    let mut turn = 0usize;
    std::iter::from_fn(move || {
        turn += 1;
        end += 1 + (seed * turn) % 23;
        (end < data.len()).then_some(end)
    })
    .chain([data.len()])
}
