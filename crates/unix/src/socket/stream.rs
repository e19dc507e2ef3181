//! An accepted connection.
//!
//! Nothing here waits, but for [`wait_writable`](Stream::wait_writable). Nothing here raises
//! SIGPIPE, but for [`send_file`](Stream::send_file), whose system call can't be told not to: the
//! program ignores that signal, as CPython and Rust's own start-up do.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::sendfile::sendfile64;
use nix::sys::socket::{self, MsgFlags, Shutdown};
use nix::unistd::dup3_raw;
use socket2::SockRef;

/// What sendmsg(2) takes at most (`IOV_MAX`); more is an error there, and a short send here.
const SLICES: usize = 1024;

/// Which of the `sockets` have something to read, by their places; waits for one at most `timeout`.
pub fn readable<'a>(
    sockets: impl Iterator<Item = BorrowedFd<'a>>,
    timeout: Duration,
) -> io::Result<Vec<usize>> {
    let mut polled: Vec<_> = sockets.map(|socket| PollFd::new(socket, PollFlags::POLLIN)).collect();
    if polled.is_empty() {
        return Ok(Vec::new());
    }
    poll(&mut polled, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX))?;
    let ready = polled.iter().enumerate().filter(|(_, polled)| polled.any().unwrap_or(false));
    Ok(ready.map(|(index, _)| index).collect())
}

/// A connected socket, nonblocking and closed on exec.
#[derive(Debug)]
pub struct Stream(OwnedFd);

impl Stream {
    /// Receives what is there. 0: the peer sends no more (or `buffer` is empty).
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(socket::recv(self.0.as_raw_fd(), buffer, MsgFlags::empty())?)
    }

    /// Receives what is there, up to `most` bytes, behind what `buffer` holds; it grows to have that
    /// room. 0: the peer sends no more (or `most` is 0).
    pub fn recv_behind(&self, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        buffer.reserve_exact(most);
        let room = &mut buffer.spare_capacity_mut()[..most];
        // SAFETY: recv(2) writes into the room at most, for which a byte needn't be initialised.
        let count = unsafe { libc::recv(self.0.as_raw_fd(), room.as_mut_ptr().cast(), most, 0) };
        let count = usize::try_from(Errno::result(count)?).expect("invariant: it isn't negative");
        // SAFETY: there is room for that many, and recv(2) has written them.
        unsafe { buffer.set_len(buffer.len() + count) };
        Ok(count)
    }

    /// Like [`recv`](Self::recv), but what is received stays to be received (`MSG_PEEK`).
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(socket::recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_PEEK)?)
    }

    /// Sends as much as the kernel takes.
    pub fn send(&self, data: &[u8]) -> io::Result<usize> {
        Ok(socket::send(self.0.as_raw_fd(), data, MsgFlags::MSG_NOSIGNAL)?)
    }

    /// Like [`send`](Self::send), announcing that more follows: on TCP an incomplete segment waits
    /// for it (tcp(7), `MSG_MORE`), up to 200 ms.
    pub fn send_more(&self, data: &[u8]) -> io::Result<usize> {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::from_bits_retain(libc::MSG_MORE);
        Ok(socket::send(self.0.as_raw_fd(), data, flags)?)
    }

    /// Sends several pieces with one system call; those beyond the first 1024 are left.
    pub fn send_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let pieces = &pieces[..pieces.len().min(SLICES)];
        SockRef::from(&self.0).send_vectored_with_flags(pieces, libc::MSG_NOSIGNAL)
    }

    /// Sends up to `count` bytes of `file` from `offset`, which moves on, without copying them
    /// through this process (sendfile(2)). 0: the file ends there.
    ///
    /// `InvalidInput`: this file can't be sent so; read it and send that.
    pub fn send_file(
        &self,
        file: BorrowedFd<'_>,
        offset: &mut u64,
        count: usize,
    ) -> io::Result<usize> {
        let too_far = |_| io::Error::from(Errno::EOVERFLOW);
        let mut position = i64::try_from(*offset).map_err(too_far)?;
        let sent = sendfile64(&self.0, file, Some(&mut position), count)?;
        *offset = position.cast_unsigned();
        Ok(sent)
    }

    /// Tells the peer that nothing more comes; what it sends can still be received.
    pub fn shutdown_write(&self) -> io::Result<()> {
        Ok(socket::shutdown(self.0.as_raw_fd(), Shutdown::Write)?)
    }

    /// Makes closing the connection a reset, by which the peer can tell that what it received
    /// isn't whole (socket(7), `SO_LINGER` of zero). A unix socket's peer can't be told.
    pub fn reset_on_close(&self) {
        // What can't be reset is closed: there is nothing better to do.
        let _ = SockRef::from(&self.0).set_linger(Some(Duration::ZERO));
    }

    /// Waits until something can be sent (or sending fails at once). False: not within `timeout`.
    ///
    /// Signals don't end the wait.
    pub fn wait_writable(&self, timeout: Duration) -> io::Result<bool> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let left = deadline.map(|deadline| deadline.duration_since(Instant::now()));
            // A rest of less than a millisecond is waited for as one, not spun through.
            let left = left.map(|left| left + Duration::from_nanos(999_999));
            let wait = match left {
                Some(left) => PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
                None => PollTimeout::NONE,
            };
            match self.poll(PollFlags::POLLOUT, wait) {
                Ok(events) if !events.is_empty() => return Ok(true),
                Ok(_) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    return Ok(false);
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Lets the connection go, which another process has by now, before its owner is dropped:
    /// `instead` takes its place under the same number.
    pub fn let_go(&self, instead: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: the number that is overwritten is this stream's own, and stays open and its own.
        // Who uses it meanwhile, in another thread, uses one or the other.
        let replaced = unsafe { dup3_raw(instead, self.0.as_raw_fd(), OFlag::O_CLOEXEC) }?;
        // Its owner is this stream.
        let _ = replaced.into_raw_fd();
        Ok(())
    }

    /// Whether the connection is broken or closed in both directions. Asks, doesn't wait.
    ///
    /// A TCP peer that has closed looks, until something is sent to it, like one that will only
    /// send no more and is waiting for its answer: that is no hang-up.
    pub fn is_hung_up(&self) -> bool {
        self.poll(PollFlags::empty(), PollTimeout::ZERO)
            .is_ok_and(|events| events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR))
    }

    fn poll(&self, events: PollFlags, timeout: PollTimeout) -> Result<PollFlags, Errno> {
        let mut polled = [PollFd::new(self.0.as_fd(), events)];
        poll(&mut polled, timeout)?;
        Ok(polled[0].revents().unwrap_or(PollFlags::empty()))
    }
}

/// Whether the peer of a connection sends no more: it has closed, or shut that direction down. Asks,
/// doesn't wait.
pub fn is_disconnected(socket: BorrowedFd<'_>) -> bool {
    // poll(2) has POLLRDHUP for that, nix has no name for it, and so doesn't know the answer.
    let sends_no_more = PollFlags::from_bits_retain(libc::POLLRDHUP);
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
    let mut polled = [PollFd::new(socket, sends_no_more)];
    poll(&mut polled, PollTimeout::ZERO).is_ok()
        && polled[0].revents().is_none_or(|events| events.intersects(gone))
}

impl From<OwnedFd> for Stream {
    /// Takes a connected, nonblocking stream socket.
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl From<Stream> for OwnedFd {
    fn from(stream: Stream) -> Self {
        stream.0
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
