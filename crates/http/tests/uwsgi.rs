//! Every file of tests/requests/uwsgi, cut everywhere, and what holds for all packets.

#![allow(clippy::unwrap_used, reason = "tests panic; clippy spares only #[test] functions")]

mod packet;

use std::fs;
use std::path::{Path, PathBuf};

use ironhorn_http::uwsgi::{MAX_VARIABLES, Packet, Translation};
use ironhorn_http::{FieldStorage, Limits, Received, Request, Version};
use packet::{Packed, outcome};
use proptest::collection::vec;
use proptest::prelude::*;

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/requests/uwsgi");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "uwsgi"))
        .collect();
    files.sort();
    assert!(files.len() >= 30, "{} files in {}", files.len(), folder.display());
    files
}

#[test]
fn corpus() {
    for file in files() {
        let name = file.display();
        let input = fs::read(&file).unwrap();
        let expected = fs::read_to_string(file.with_extension("expect"))
            .unwrap_or_else(|error| panic!("cannot read what is expected of {name}: {error}"));
        let whole = outcome(&input, [input.len()]);
        assert_eq!(whole, expected, "{name}");
        assert_eq!(outcome(&input, 0..=input.len()), whole, "{name}, byte by byte");
        for cut in 0..=input.len().min(1000) {
            assert_eq!(outcome(&input, [cut, input.len()]), whole, "{name}, cut at {cut}");
        }
    }
}

/// Names of variables that mean something, and others.
fn name() -> impl Strategy<Value = Vec<u8>> {
    const KNOWN: [&str; 18] = [
        "REQUEST_METHOD",
        "REQUEST_URI",
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "PATH_INFO",
        "SCRIPT_NAME",
        "REMOTE_ADDR",
        "REMOTE_PORT",
        "HTTPS",
        "UWSGI_SCHEME",
        "UWSGI_FILE",
        "HTTP_HOST",
        "HTTP_CONNECTION",
        "HTTP_CONTENT_LENGTH",
        "HTTP_TRANSFER_ENCODING",
        "HTTP_X",
        "SERVER_NAME",
        "wsgi.input",
    ];
    prop_oneof![
        3 => prop::sample::select(&KNOWN[..]).prop_map(|name| name.as_bytes().to_vec()),
        1 => "HTTP_[A-Z_\r\n: -]{0,5}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..8),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => prop::sample::select(&["", "GET", "HEAD", "/", "/a?b", "5", "chunked", "a", "on"][..])
            .prop_map(|value| value.as_bytes().to_vec()),
        1 => "(/|a|%41|%|\r\n|\t| |HTTP/1.1){0,5}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #[test]
    fn what_was_packed_is_found(
        variables in vec(("[^\0]{1,20}", "[^\0]{0,40}"), 0..50),
        body in vec(any::<u8>(), 0..20),
    ) {
        let packed = Packed::of(variables.iter().map(|(name, value)| (&**name, &**value)));
        let bytes = [packed.bytes(), &body].concat();
        let Ok(Received::Complete(packet)) = Packet::receive(&bytes) else { panic!() };
        prop_assert_eq!(packet.len, bytes.len() - body.len());
        let found: Vec<_> = packet.variables().collect();
        let given = variables.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        prop_assert_eq!(found, given.collect::<Vec<_>>());
    }

    #[test]
    fn a_translation_is_one_request_and_no_more(
        variables in vec((name(), value()), 0..20),
        method in any::<bool>(),
    ) {
        let given = [(&b"REQUEST_METHOD"[..], &b"POST"[..]), (b"REQUEST_URI", b"/")];
        let given = given.into_iter().filter(|_| method);
        let all = given.chain(variables.iter().map(|(name, value)| (&**name, &**value)));
        let packed = Packed::of(all);
        let Ok(Received::Complete(packet)) = Packet::receive(packed.bytes()) else {
            return Ok(()); // refused
        };
        let Ok(translation) = Translation::of(&packet) else { return Ok(()) };
        let head = &translation.head;
        // One line for the request, one for each field, one that is empty.
        prop_assert!(head.ends_with(b"\r\n\r\n"));
        let ends = head.windows(2).filter(|pair| pair == b"\r\n").count();
        for byte in [b'\r', b'\n'] {
            prop_assert_eq!(head.iter().filter(|&&found| found == byte).count(), ends);
        }
        prop_assert_eq!(head.windows(4).position(|end| end == b"\r\n\r\n"), Some(head.len() - 4));
        let mut storage = FieldStorage::new();
        if let Ok(request) = Request::parse(head, &mut storage, &Limits::default()) {
            prop_assert_eq!(request.version, Version::Http10);
            prop_assert_eq!((request.head_len, request.fields.len()), (head.len(), ends - 2));
            prop_assert!(!request.persistent && !request.expects_continue);
            prop_assert!(request.field("transfer-encoding").is_none());
        }
        for (name, _) in translation.variables.iter() {
            for order in ["UWSGI_", "wsgi.", "ironhorn."] {
                prop_assert!(!name.starts_with(order.as_bytes()));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(
        start in vec(any::<u8>(), 0..300),
        size in any::<u16>(),
        raw in any::<bool>(),
        end in any::<prop::sample::Index>(),
    ) {
        let [low, high] = size.to_le_bytes();
        let input = if raw { start } else { [&[0, low, high, 0], &start[..]].concat() };
        let cut = end.index(input.len() + 1);
        prop_assert_eq!(outcome(&input, [cut, input.len()]), outcome(&input, [input.len()]));
    }

    #[test]
    fn the_number_of_variables_is_limited(count in MAX_VARIABLES - 3..MAX_VARIABLES + 3) {
        let packed = Packed::of((0..count).map(|_| ("A", "")));
        prop_assert_eq!(Packet::receive(packed.bytes()).is_ok(), count <= MAX_VARIABLES);
    }
}
