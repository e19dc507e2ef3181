//! A header of the PROXY protocol, whole and in pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ironhorn_http_fuzz::proxy(data));
