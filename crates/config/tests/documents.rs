//! What the repository says about settings is what they are.

#[allow(dead_code)]
mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::Start;
use ironhorn_config::{Sources, reference, resolve};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_reference_is_current() {
    let written = fs::read_to_string(root().join("docs/settings.md")).unwrap_or_default();
    assert!(
        written == reference(),
        "docs/settings.md is not what crates/config/src/settings.rs says; run\n    \
         cargo run -p ironhorn-config --example settings > docs/settings.md"
    );
}

#[test]
fn the_example_loads() {
    let resolved = resolve(&Sources {
        args: Vec::new(),
        environment: Vec::new(),
        directory: root().join("examples"),
        importer: None,
    })
    .unwrap();
    assert_eq!(resolved.settings.name.as_deref(), Some("shop"));
    assert_eq!(resolved.settings.umask, Some(0o007));
    assert_eq!(resolved.settings.bind.len(), 2);
}

/// The errors shown in the introduction are real.
#[test]
fn the_errors_in_the_reference_are_real() {
    let start = Start::new(
        Some("app: shop\n\nwrokers: 4\ntimeout: 1h\n"),
        &[("IRONHORN_LOG_LEVEL", "loud")],
        &["--bind", "fd://x"],
    );
    let reference = reference();
    for error in start.errors().lines() {
        assert!(reference.lines().any(|line| line == error), "{error}");
    }
}
