//! The line between the master and one worker.
//!
//! ```text
//!   MasterEnd = Channel<ToWorker, ToMaster>  ◄── SOCK_SEQPACKET ──►  WorkerEnd = Channel<ToMaster, ToWorker>
//! ```
//!
//! The type parameters are what this end sends and receives; [`channel`] swaps them, so that
//! talking in the wrong direction does not compile. Each message is one packet of [`FRAME`] bytes:
//! it arrives whole or not at all. End of file means that the other process has died or let go of
//! its end, which is why a child must drop every end that is not its own: a forgotten copy of an
//! end keeps it open.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType};

/// Bytes of a packet: who it is for, and what it says.
const FRAME: usize = 2;

/// What the master tells a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToWorker {
    /// Others take over: accept no more; idle keep-alive connections get one more request answered.
    Retire,
    /// Like `Retire`, but nobody else polls all of this worker's listeners: accept what the kernel
    /// has queued there.
    RetireLast,
    /// The server ends: accept what the kernel has queued, finish, close idle connections.
    Stop,
    /// Leave at once.
    Quit,
    /// Open the log files anew.
    ReopenLogs,
}

/// What a worker tells the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToMaster {
    /// The app is loaded and the listeners are polled.
    Ready,
    /// No more connections are accepted.
    Draining,
}

/// A message that fits into a packet. Implemented by [`ToWorker`] and [`ToMaster`] only.
pub trait Frame: Copy + sealed::Sealed {
    /// The packet for this message.
    #[doc(hidden)]
    fn encode(self) -> [u8; FRAME];
    /// The message of a packet, if it is one.
    #[doc(hidden)]
    fn decode(packet: &[u8]) -> Option<Self>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::ToWorker {}
    impl Sealed for super::ToMaster {}
}

impl Frame for ToWorker {
    fn encode(self) -> [u8; FRAME] {
        let kind = match self {
            Self::Retire => b'r',
            Self::RetireLast => b't',
            Self::Stop => b's',
            Self::Quit => b'q',
            Self::ReopenLogs => b'l',
        };
        [b'W', kind]
    }

    fn decode(packet: &[u8]) -> Option<Self> {
        match packet {
            b"Wr" => Some(Self::Retire),
            b"Wt" => Some(Self::RetireLast),
            b"Ws" => Some(Self::Stop),
            b"Wq" => Some(Self::Quit),
            b"Wl" => Some(Self::ReopenLogs),
            _ => None,
        }
    }
}

impl Frame for ToMaster {
    fn encode(self) -> [u8; FRAME] {
        let kind = match self {
            Self::Ready => b'r',
            Self::Draining => b'd',
        };
        [b'M', kind]
    }

    fn decode(packet: &[u8]) -> Option<Self> {
        match packet {
            b"Mr" => Some(Self::Ready),
            b"Md" => Some(Self::Draining),
            _ => None,
        }
    }
}

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

/// Makes the two ends of a channel.
pub fn channel() -> io::Result<(MasterEnd, WorkerEnd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (master, worker) =
        socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    Ok((Channel::over(master), Channel::over(worker)))
}

impl<S: Frame, R: Frame> Channel<S, R> {
    fn over(socket: OwnedFd) -> Self {
        Self { socket, messages: PhantomData }
    }

    /// Sends a message without waiting.
    ///
    /// `BrokenPipe` (or `ConnectionReset`): the other end is closed. `WouldBlock`: it has not read
    /// the last ones (the kernel queues at least ten packets).
    pub fn send(&self, message: S) -> io::Result<()> {
        loop {
            match socket::send(
                self.socket.as_raw_fd(),
                &message.encode(),
                MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
            ) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Takes the next message, if there is one. `InvalidData`: something else came.
    pub fn receive(&self) -> io::Result<Received<R>> {
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
}

fn decode<R: Frame>(packet: &[u8]) -> io::Result<Received<R>> {
    R::decode(packet).map(Received::Message).ok_or_else(|| {
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
