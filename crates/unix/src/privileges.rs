//! Rights that new files get.

use nix::sys::stat::{Mode, umask};

/// Sets the file mode creation mask of the process and returns the former one (umask(2)).
///
/// Only the nine permission bits count.
pub fn set_umask(mask: u32) -> u32 {
    umask(Mode::from_bits_truncate(mask & 0o777)).bits()
}
