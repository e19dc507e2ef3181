//! A settings file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ironhorn_config_fuzz::yaml(data));
