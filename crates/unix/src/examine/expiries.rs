//! Expired requests that the handler could not tell their clients of: another thread does.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{Answer, EXAMINEE, REQUESTS};

/// Set where there is a thread that runs while the app does; never freed, as the handler uses it.
static EXPIRIES: OnceLock<Expiries> = OnceLock::new();

/// Readable when requests have expired that are to be [answered by a thread](Answer::ByThread), and
/// when the worker is [about to be ended](crate::BoardSlot::announce_end).
///
/// For each that it [takes](Self::take), the thread sends the 504 and says so on the board
/// ([`crate::BoardLane::set_expired`]); after the last it tells the master
/// [`crate::ToMaster::Examined`], which the handler has left to it. The thread that runs the app
/// finds that it may not [answer](super::claim_response), and leaves the connection alone.
#[derive(Debug)]
pub struct Expiries(EventFd);

/// In a worker with a thread that runs while the app does, the loop or another: from now on, for the
/// process's life, requests that are to be answered by a thread are left to it.
pub fn watch_expiries() -> io::Result<&'static Expiries> {
    if let Some(expiries) = EXPIRIES.get() {
        return Ok(expiries);
    }
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let expiries = Expiries(EventFd::from_value_and_flags(0, flags)?);
    Ok(EXPIRIES.get_or_init(|| expiries))
}

/// Has the thread look. False: there is none. Async-signal-safe.
pub(super) fn wake() -> bool {
    // eventfd(2): a write fails only if the counter is full, and then the thread is awake already.
    EXPIRIES.get().inspect(|expiries| _ = expiries.0.write(1)).is_some()
}

impl Expiries {
    /// Waits until there is something to [take](Self::take), for a thread that does nothing else.
    pub fn wait(&self) -> io::Result<()> {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut polled, PollTimeout::NONE) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// The requests that have expired and whose clients nobody has told so far: lane and token.
    /// Nothing is left to read.
    pub fn take(&self) -> impl Iterator<Item = (usize, u32)> {
        // Before they are looked at: what expires from here on is told anew.
        let _ = self.0.read();
        let lanes = EXAMINEE.get().map_or(&[][..], |examinee| examinee.slot.used());
        REQUESTS.iter().zip(lanes).enumerate().filter_map(|(index, (request, lane))| match request
            .expired()
        {
            Some(Answer::ByThread { token }) if !lane.is_expired() => Some((index, token)),
            _ => None,
        })
    }
}

impl AsFd for Expiries {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Expiries {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
