//! The line between the master and one process of its own: a worker, or a zygote.
//!
//! ```text
//!         MasterEnd = Channel<ToWorker, ToMaster>    ◄── SOCK_SEQPACKET ──►  WorkerEnd = Channel<ToMaster, ToWorker>
//!   ZygoteMasterEnd = Channel<ToZygote, FromZygote>  ◄── SOCK_SEQPACKET ──►  ZygoteEnd = Channel<FromZygote, ToZygote>
//! ```
//!
//! The type parameters are what this end sends and receives; [`channel`] and [`zygote_channel`]
//! swap them, so that talking in the wrong direction does not compile. Each message is one packet
//! of [`FRAME`] bytes, with the descriptors that go with it: it arrives whole or not at all. End of
//! file means that the other process has died or let go of its end, which is why a child must drop
//! every end that is not its own: a forgotten copy of an end keeps it open.

use std::io::{self, IoSlice, IoSliceMut};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType};

use message::{FRAME, ToNewborn, message, packet};
pub use message::{Frame, FromZygote, ToMaster, ToWorker, ToZygote};

mod message;

/// The most descriptors that go with a message.
const DESCRIPTORS: usize = 4;

/// One end of the line: sends `S`, receives `R`. Nonblocking, closed on exec.
#[derive(Debug)]
pub struct Channel<S, R> {
    socket: OwnedFd,
    messages: PhantomData<fn(S) -> R>,
}

/// The master's end of a worker's channel.
pub type MasterEnd = Channel<ToWorker, ToMaster>;
/// The worker's end of its channel.
pub type WorkerEnd = Channel<ToMaster, ToWorker>;
/// The master's end of a zygote's channel.
pub type ZygoteMasterEnd = Channel<ToZygote, FromZygote>;
/// The zygote's end of its channel.
pub type ZygoteEnd = Channel<FromZygote, ToZygote>;

/// What [`Channel::receive`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<R> {
    /// A message.
    Message(R),
    /// No message now.
    Nothing,
    /// No message any more: the other end is closed.
    Closed,
}

/// Makes the two ends of a worker's channel.
pub fn channel() -> io::Result<(MasterEnd, WorkerEnd)> {
    pair()
}

/// Makes the two ends of a zygote's channel.
pub fn zygote_channel() -> io::Result<(ZygoteMasterEnd, ZygoteEnd)> {
    pair()
}

fn pair<S, R>() -> io::Result<(Channel<S, R>, Channel<R, S>)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (one, other) = socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    Ok((Channel::from_fd(one), Channel::from_fd(other)))
}

impl<S, R> Channel<S, R> {
    /// The end behind a descriptor that was passed on; it knows what it sends and receives.
    pub fn from_fd(socket: OwnedFd) -> Self {
        Self { socket, messages: PhantomData }
    }

    /// Another handle of the same end.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.socket.try_clone().map(Self::from_fd)
    }
}

impl<S: Frame, R: Frame> Channel<S, R> {
    /// Sends a message without waiting.
    ///
    /// `BrokenPipe` (or `ConnectionReset`): the other end is closed. `WouldBlock`: it has not read
    /// the last ones (the kernel queues at least ten packets).
    pub fn send(&self, message: S) -> io::Result<()> {
        self.send_packet(packet(message))
    }

    fn send_packet(&self, packet: [u8; FRAME]) -> io::Result<()> {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        loop {
            match socket::send(self.socket.as_raw_fd(), &packet, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Like [`send`](Self::send), with copies of up to four descriptors (unix(7), `SCM_RIGHTS`).
    pub fn send_with_fds(&self, message: S, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if fds.len() > DESCRIPTORS {
            let text = format!("{} descriptors with a message", fds.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let packet = packet(message);
        let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let control = if fds.is_empty() { &[][..] } else { &rights };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let slices = [IoSlice::new(&packet)];
        loop {
            match socket::sendmsg::<()>(self.socket.as_raw_fd(), &slices, control, flags, None) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Takes the next message, if there is one. `InvalidData`: something else came.
    ///
    /// Descriptors that came with it are closed.
    pub fn receive(&self) -> io::Result<Received<R>> {
        self.receive_packet()
    }

    fn receive_packet<M: Frame>(&self) -> io::Result<Received<M>> {
        // One byte more than a frame, so that a packet too long isn't taken for its beginning.
        let mut packet = [0; FRAME + 1];
        loop {
            match socket::recv(self.socket.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Ok(Received::Closed),
                Ok(length) => return decode(&packet[..length]),
                Err(Errno::EAGAIN) => return Ok(Received::Nothing),
                // unix(7): the other side died with messages of ours unread. The error is reported
                // once, ahead of what it sent before: that is read next, then the end of file.
                Err(Errno::ECONNRESET | Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Like [`receive`](Self::receive), with the descriptors that came with the message, closed on
    /// exec.
    ///
    /// In place of the descriptors, an error if not all of them could be taken, as the process has
    /// too many open (EMFILE); those that could are closed.
    pub fn receive_with_fds(&self) -> io::Result<(Received<R>, io::Result<Vec<OwnedFd>>)> {
        let mut packet = [0; FRAME + 1];
        let mut space = cmsg_space!([RawFd; DESCRIPTORS]);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let (length, is_cut) = loop {
            let mut slices = [IoSliceMut::new(&mut packet)];
            let fd = self.socket.as_raw_fd();
            match socket::recvmsg::<()>(fd, &mut slices, Some(&mut space), flags) {
                Ok(received) => {
                    break (received.bytes, received.flags.contains(MsgFlags::MSG_CTRUNC));
                }
                Err(Errno::EAGAIN) => return Ok((Received::Nothing, Ok(Vec::new()))),
                // As in `receive`.
                Err(Errno::ECONNRESET | Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        // Ahead of all else, so that they are closed if it is an error.
        let fds = owned(&space);
        let fds = if is_cut { Err(Errno::EMFILE.into()) } else { Ok(fds) };
        match length {
            0 => Ok((Received::Closed, Ok(Vec::new()))),
            _ => decode(&packet[..length]).map(|received| (received, fds)),
        }
    }

    /// Waits until there is something to receive, if only the end of file. For a process that has
    /// nothing else to do.
    pub fn wait(&self) -> io::Result<()> {
        let mut polled = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut polled, PollTimeout::NONE) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl MasterEnd {
    /// Tells a worker that came out of a zygote that the master knows of it.
    pub fn welcome(&self) -> io::Result<()> {
        self.send_packet(packet(ToNewborn::Welcome))
    }
}

impl WorkerEnd {
    /// In a worker that came out of a zygote: waits until the master knows of it. False: it never
    /// will; the zygote died before it could say so, or the master has gone.
    pub fn is_welcome(&self) -> io::Result<bool> {
        loop {
            self.wait()?;
            match self.receive_packet()? {
                Received::Message(ToNewborn::Welcome) => return Ok(true),
                Received::Nothing => {}
                Received::Closed => return Ok(false),
            }
        }
    }
}

/// The descriptors in what recvmsg(2) has written behind a message: one header, then their numbers
/// (cmsg(3)). nix reads nothing of it if it is cut (`MSG_CTRUNC`), and those that came would leak.
fn owned(control: &[u8]) -> Vec<OwnedFd> {
    const LENGTH: usize = size_of::<usize>();
    const NUMBER: usize = size_of::<RawFd>();
    const HEADER: usize = LENGTH + 2 * NUMBER;
    let number = |bytes: &[u8]| bytes.try_into().ok().map(RawFd::from_ne_bytes);
    let Some((length, rest)) = control.split_first_chunk::<LENGTH>() else { return Vec::new() };
    let kind = [number(&rest[..NUMBER]), number(&rest[NUMBER..2 * NUMBER])];
    let end = usize::from_ne_bytes(*length);
    if kind != [Some(libc::SOL_SOCKET), Some(libc::SCM_RIGHTS)]
        || !(HEADER..=control.len()).contains(&end)
    {
        return Vec::new();
    }
    let numbers = control[HEADER..end].chunks_exact(NUMBER).filter_map(number);
    // SAFETY: recvmsg(2) has just made these descriptors, and nobody else owns them.
    numbers.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}

fn decode<R: Frame>(packet: &[u8]) -> io::Result<Received<R>> {
    message(packet).map(Received::Message).ok_or_else(|| {
        let text = format!("unknown message {} on the channel", packet.escape_ascii());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

impl<S, R> AsFd for Channel<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<S, R> AsRawFd for Channel<S, R> {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_welcome_hears_the_rest() {
        let (master, worker) = channel().unwrap();
        master.welcome().unwrap();
        master.send(ToWorker::Stop).unwrap();
        assert!(worker.is_welcome().unwrap());
        assert_eq!(worker.receive().unwrap(), Received::Message(ToWorker::Stop));
        drop(master);
        assert!(!worker.is_welcome().unwrap());
    }

    #[test]
    fn messages_keep_their_order_in_both_directions() {
        let (master, worker) = channel().unwrap();
        let orders = [
            ToWorker::ReopenLogs,
            ToWorker::Retire,
            ToWorker::RetireLast,
            ToWorker::Stop,
            ToWorker::Quit,
        ];
        for order in orders {
            master.send(order).unwrap();
        }
        worker.send(ToMaster::Ready).unwrap();
        worker.send(ToMaster::Draining).unwrap();
        for order in orders {
            assert_eq!(worker.receive().unwrap(), Received::Message(order));
        }
        assert_eq!(worker.receive().unwrap(), Received::Nothing);
        assert_eq!(master.receive().unwrap(), Received::Message(ToMaster::Ready));
        assert_eq!(master.receive().unwrap(), Received::Message(ToMaster::Draining));
        assert_eq!(master.receive().unwrap(), Received::Nothing);
    }

    #[test]
    fn a_dropped_end_is_closed_after_its_last_message() {
        let (master, worker) = channel().unwrap();
        master.send(ToWorker::Quit).unwrap();
        worker.send(ToMaster::Ready).unwrap();
        drop(worker);
        assert_eq!(master.receive().unwrap(), Received::Message(ToMaster::Ready));
        assert_eq!(master.receive().unwrap(), Received::Closed);
        assert_eq!(master.receive().unwrap(), Received::Closed);
        assert_eq!(master.send(ToWorker::Quit).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn garbage_is_an_error() {
        let (master, worker) = channel().unwrap();
        for garbage in [&b"W"[..], b"Wz", b"Mr!", b"\0\0\0\0\0\0", b"Ws"] {
            socket::send(worker.as_raw_fd(), garbage, MsgFlags::empty()).unwrap();
            let error = master.receive().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{garbage:?}");
        }
        worker.send(ToMaster::Ready).unwrap();
        assert_eq!(master.receive().unwrap(), Received::Message(ToMaster::Ready));
    }

    #[test]
    fn a_full_channel_does_not_block() {
        let (master, _worker) = channel().unwrap();
        let sent = (0..100_000).find_map(|_| master.send(ToWorker::ReopenLogs).err());
        assert_eq!(sent.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
