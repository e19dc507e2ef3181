//! What mio's poll has no words for: several descriptors as one, and listeners that several
//! workers poll without a thundering herd.
//!
//! epoll(7): a listener in the epoll sets of N workers wakes all of them for each connection,
//! unless it was added with `EPOLLEXCLUSIVE`. mio can't say that, so the listener is added to mio's
//! epoll descriptor here, and the event comes out of `mio::Poll` with the token given.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

/// Several descriptors that are polled as one: it is readable while any of them is (epoll(7)).
#[derive(Debug)]
pub struct ReadableSet(Epoll);

impl ReadableSet {
    /// A set of none, closed on exec.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// From now on `fd` counts.
    pub fn add(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        // Level-triggered: who polls the set looks at each of them, and needs no event of it.
        Ok(self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, 0))?)
    }

    /// `fd` counts no more. Closing it is not enough where a process forked in between has a copy.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(self.0.delete(fd)?)
    }
}

impl AsFd for ReadableSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

/// Adds `fd` to an epoll set: level-triggered, readable only, waking one waiter.
///
/// Level-triggered, so that a worker may leave connections in the queue for another. A kernel that
/// refuses `EPOLLEXCLUSIVE` (before 4.5) gets the plain form, which is only slower.
pub fn add_exclusive(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, token: usize) -> io::Result<()> {
    let exclusive = libc::EPOLLIN | libc::EPOLLEXCLUSIVE;
    match control(epoll, libc::EPOLL_CTL_ADD, fd, exclusive, token) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            control(epoll, libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN, token)
        }
        result => result,
    }
}

/// Takes `fd` out of an epoll set.
pub fn remove(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    control(epoll, libc::EPOLL_CTL_DEL, fd, 0, 0)
}

fn control(
    epoll: BorrowedFd<'_>,
    operation: i32,
    fd: BorrowedFd<'_>,
    events: i32,
    token: usize,
) -> io::Result<()> {
    let mut event = libc::epoll_event { events: events.cast_unsigned(), u64: token as u64 };
    // SAFETY: both descriptors are open while borrowed, and `event` is a valid epoll_event that
    // the kernel only reads during the call. nix's safe wrapper wants to own the epoll descriptor,
    // which belongs to mio.
    let result =
        unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, fd.as_raw_fd(), &raw mut event) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
