//! A connection on which the uwsgi protocol is spoken, whole and in pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ironhorn_http_fuzz::uwsgi(data));
