//! What the master polls for on behalf of the server around it.
//!
//! The master polls one descriptor of its host's. Whatever has to wake it, such as the watch over
//! source files, adds its own here; [`Host::attend`] then looks at all of them, and leaves none
//! readable.
//!
//! [`Host::attend`]: ironhorn_master::Host::attend

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use ironhorn_unix::ReadableSet;

/// Readable while any descriptor that was added is.
pub(crate) struct Attention(ReadableSet);

impl Attention {
    pub(crate) fn new() -> io::Result<Self> {
        ReadableSet::new().map(Self)
    }

    /// From now on `fd` wakes the master when it is readable.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.0.add(fd)
    }

    /// `fd` wakes nobody any more: before it is closed, as workers may have copies of it.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.0.remove(fd)
    }
}

impl AsFd for Attention {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
