//! What holds for all bytes, not only for those of the corpus.

#![allow(clippy::unwrap_used, reason = "tests panic; clippy spares only #[test] functions")]

mod drive;

use drive::{Last, drive};
use ironhorn_http::{BodyEncoder, DateCache, Framing, Limits, ResponseHead, Version, interim};
use proptest::collection::vec;
use proptest::prelude::*;

const CHUNKED: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

proptest! {
    #[test]
    fn cuts_make_no_difference(input in connection_bytes(), ends in vec(0usize..400, 0..20)) {
        let limits = Limits { body: Some(1000), ..Limits::default() };
        let whole = drive(&input, [input.len()], &limits);
        let mut ends: Vec<_> = ends.into_iter().map(|end| end.min(input.len())).collect();
        ends.push(input.len());
        ends.sort_unstable();
        prop_assert_eq!(drive(&input, ends, &limits), whole);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(input in vec(any::<u8>(), 0..200), body in any::<bool>()) {
        let input = if body { [CHUNKED, &input].concat() } else { input };
        drive(&input, [input.len()], &Limits::default());
    }

    #[test]
    fn chunked_decodes_to_what_was_encoded(
        pieces in vec(vec(any::<u8>(), 0..300), 0..10),
        step in 1usize..100,
    ) {
        let mut encoder = BodyEncoder::Chunked;
        let mut input = CHUNKED.to_vec();
        for piece in &pieces {
            let frame = encoder.frame(piece.len());
            input.extend_from_slice(frame.prefix.as_bytes());
            input.extend_from_slice(&piece[..frame.take]);
            input.extend_from_slice(frame.suffix);
        }
        input.extend_from_slice(encoder.finish().unwrap());
        let ends = (0..input.len()).step_by(step).chain([input.len()]);
        let outcome = drive(&input, ends, &Limits::default());
        prop_assert_eq!(outcome.last, Last::Clean);
        prop_assert_eq!(&outcome.requests[0].content, &pieces.concat());
    }

    #[test]
    fn length_sends_what_it_announced(length in 0u64..500, pieces in vec(0usize..200, 0..10)) {
        let mut encoder = BodyEncoder::Length { left: length };
        let sent: usize = pieces.iter().map(|&piece| encoder.frame(piece).take).sum();
        let offered: usize = pieces.iter().sum();
        prop_assert_eq!(sent as u64, length.min(offered as u64));
        prop_assert_eq!(encoder.finish().is_ok(), offered as u64 >= length);
        prop_assert_eq!(encoder.is_complete(), offered as u64 >= length);
    }

    #[test]
    fn no_application_can_inject_a_line(
        status in app_bytes(),
        fields in vec((app_bytes(), app_bytes()), 0..8),
        version in prop_oneof![Just(Version::Http10), Just(Version::Http11)],
        head_request in any::<bool>(),
        persistent in any::<bool>(),
        length in proptest::option::of(0u64..100),
    ) {
        let mut head = ResponseHead::default();
        if head.set_status(&[b"200 ", &status[..]].concat()).is_err() {
            head.set_status(b"200 OK").unwrap();
        }
        let accepted: Vec<_> =
            fields.iter().filter(|(name, value)| head.push_field(name, value).is_ok()).collect();
        let mut dates = DateCache::new();
        let date = dates.at(1);
        let server = b"ironhorn";
        head.finish(&Framing { head_request, version, persistent, length, date, server });
        let lines = lines(head.bytes());
        prop_assert!(lines[0].starts_with(b"HTTP/1.1 200 "));
        let expected: Vec<_> =
            accepted.iter().map(|(name, value)| [&name[..], b": ", value].concat()).collect();
        prop_assert_eq!(&lines[1..=expected.len()], &expected[..]);
        for ours in &lines[expected.len() + 1..] {
            let name = ours.split(|&byte| byte == b':').next().unwrap();
            prop_assert!(
                [&b"Date"[..], b"Server", b"Content-Length", b"Transfer-Encoding", b"Connection"]
                    .contains(&name)
            );
        }
    }

    #[test]
    fn interim_responses_are_as_safe(fields in vec((app_bytes(), app_bytes()), 0..4)) {
        let mut out = Vec::new();
        let pairs = fields.iter().map(|(name, value)| (&name[..], &value[..]));
        if interim(103, pairs, &mut out).is_ok() {
            prop_assert_eq!(lines(&out).len(), fields.len() + 1);
        } else {
            prop_assert!(out.is_empty());
        }
    }
}

/// The lines of a finished head, in which CR and LF only ever end lines.
fn lines(head: &[u8]) -> Vec<Vec<u8>> {
    let head = head.strip_suffix(b"\r\n\r\n").expect("a head ends in an empty line");
    let text: Vec<_> = head.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    let last = text.len() - 1;
    text.into_iter()
        .enumerate()
        .map(|(nr, mut line)| {
            assert!(nr == last || line.pop() == Some(b'\r'), "bare LF");
            assert!(!line.is_empty(), "empty line inside a head");
            assert!(line.iter().all(|&byte| byte == b'\t' || (byte >= 32 && byte != 127)));
            line
        })
        .collect()
}

/// What an application might pass: mostly fit, sometimes hostile.
fn app_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[A-Za-z-]{1,12}".prop_map(String::into_bytes),
        1 => prop::sample::select(vec!["Content-Length", "5", "Connection", "Date", "a\r\nb: c"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..6),
        1 => vec(prop::sample::select(&b"a\r\n\0 :\t\x7f\xff"[..]), 0..6),
    ]
}

/// Bytes that are often nearly requests.
fn connection_bytes() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST /a?b HTTP/1.0\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"X: y\r\n",
        b"\r\n",
        b"hello",
        b"5\r\nhello\r\n",
        b"3;a=b\r\nabc\r\n",
        b"0\r\n\r\n",
        b"0\r\nT: u\r\n\r\n",
        CHUNKED,
    ];
    let piece = prop_oneof![
        20 => prop::sample::select(pieces).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 1..4),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}
