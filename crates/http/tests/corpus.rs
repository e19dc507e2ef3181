//! Every file of tests/requests, whole, byte by byte and cut in two at every byte.

#![allow(clippy::unwrap_used, reason = "tests panic; clippy spares only #[test] functions")]

mod drive;
mod expectation;

use std::fs;
use std::path::{Path, PathBuf};

use drive::{Last, drive};
use expectation::Expectation;

fn requests(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/requests").join(kind);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "http"))
        .collect();
    files.sort();
    assert!(files.len() >= 60, "{} files in {}", files.len(), folder.display());
    files
}

/// Runs one file every way and returns how its bytes ended.
fn run(file: &Path) -> Last {
    let name = file.display();
    let input = fs::read(file).unwrap();
    let expected = fs::read_to_string(file.with_extension("expect"))
        .unwrap_or_else(|error| panic!("cannot read what is expected of {name}: {error}"));
    let expected = Expectation::parse(&expected).unwrap_or_else(|error| panic!("{name}: {error}"));
    let whole = drive(&input, [input.len()], &expected.limits);
    if let Err(difference) = expected.compare(&whole) {
        panic!("{name}: {difference}\n{whole:#?}");
    }
    let bytewise = drive(&input, 0..=input.len(), &expected.limits);
    assert_eq!(bytewise, whole, "{name}, byte by byte");
    for cut in 0..=input.len() {
        let halves = drive(&input, [cut, input.len()], &expected.limits);
        assert_eq!(halves, whole, "{name}, cut at {cut}");
    }
    whole.last
}

#[test]
fn valid() {
    for file in requests("valid") {
        let last = run(&file);
        assert!(!matches!(last, Last::Refused(_)), "{} is refused", file.display());
    }
}

#[test]
fn invalid() {
    for file in requests("invalid") {
        let last = run(&file);
        assert!(matches!(last, Last::Refused(_)), "{} is not refused", file.display());
    }
}
