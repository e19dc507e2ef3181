//! The directory that relative paths start in.

use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::fchdir;

/// A directory to come back to, by whatever name or none.
#[derive(Debug)]
pub struct WorkingDirectory(OwnedFd);

impl WorkingDirectory {
    /// Where the process is now.
    pub fn current() -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(open(".", flags, Mode::empty())?))
    }

    /// Makes the process work there.
    pub fn enter(&self) -> io::Result<()> {
        Ok(fchdir(&self.0)?)
    }
}
