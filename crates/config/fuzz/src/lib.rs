//! What the fuzz targets do, as plain functions, that `tests/fuzz_smoke.rs` can run them without a
//! fuzzer.
//!
//! Each panics when something is wrong with the crate, never when something is wrong with `data`.

use ironhorn_config::{print_config, resolve_text};

/// A settings file: what is accepted can be printed and read again, and what is wrong with another
/// is said in lines that a terminal can be trusted with.
pub fn yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match resolve_text(text, "ironhorn.yaml") {
        Ok(resolved) => {
            let printed = print_config(&resolved);
            match resolve_text(&printed, "printed") {
                Ok(again) => assert_eq!(again.settings, resolved.settings, "printed: {printed}"),
                Err(errors) => panic!("what is printed isn't accepted: {errors}\n{printed}"),
            }
        }
        Err(errors) => {
            assert!(errors.iter().next().is_some(), "refused without a reason");
            for error in errors.iter() {
                let message = error.to_string();
                assert!(!message.is_empty(), "an error without words");
                assert!(!message.chars().any(char::is_control), "control in {message:?}");
            }
        }
    }
}
