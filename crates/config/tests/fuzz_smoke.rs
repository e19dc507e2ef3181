//! The fuzz targets over their corpus, without a fuzzer; `scripts/fuzz` runs the real thing.
//!
//! Files of the corpus are also cut short at some places: half a document is what a full disk leaves.

#![allow(clippy::unwrap_used, reason = "tests panic; clippy spares only #[test] functions")]

#[allow(unreachable_pub, reason = "a crate root of its own in fuzz/")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::{Path, PathBuf};
use std::{fs, panic};

/// A test for each target, which has its name, and one that none is missing.
macro_rules! targets {
    ($($name:ident;)+) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name), targets::$name);
            }
        )+

        #[test]
        fn every_target_is_run_and_has_a_corpus() {
            let mut run = [$(stringify!($name)),+];
            run.sort_unstable();
            let mut found: Vec<_> = files(&fuzz().join("fuzz_targets"))
                .iter()
                .map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            found.sort();
            assert_eq!(found, run, "fuzz/fuzz_targets and this file");
            for name in run {
                assert!(!files(&fuzz().join("corpus").join(name)).is_empty(), "corpus of {name}");
            }
        }
    };
}

targets! {
    yaml;
}

fn run(name: &str, target: fn(&[u8])) {
    for file in files(&fuzz().join("corpus").join(name)) {
        let input = fs::read(&file).unwrap();
        for end in (0..input.len()).step_by(input.len() / 8 + 1).chain([input.len()]) {
            if panic::catch_unwind(|| target(&input[..end])).is_err() {
                panic!("{name}: the first {end} bytes of {}", file.display());
            }
        }
    }
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
