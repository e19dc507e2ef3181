//! One head, given whole.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ironhorn_http_fuzz::request(data));
