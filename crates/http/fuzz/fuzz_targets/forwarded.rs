//! The value of a field by which proxies speak of a request.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ironhorn_http_fuzz::forwarded(data));
