//! Writes docs/settings.md to stdout.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    io::stdout().write_all(ironhorn_config::reference().as_bytes())
}
