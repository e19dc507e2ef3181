//! Passing connections from one worker to another.
//!
//! Each listener has a passage beside it: a pair of connected sockets that all workers inherit, as
//! they do the listener. A worker that can't serve a connection of the listener's now, or has too many
//! of them, puts its descriptor in (`SCM_RIGHTS`, unix(7)), and the first that is free takes it out, as
//! it would a new connection. So who gets it needn't be decided by who gives it, and nothing is lost
//! if nobody is free: it stays until somebody is.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};

/// A queue of connections, shared by those who inherit it.
#[derive(Debug)]
pub(super) struct Passage {
    entry: OwnedFd,
    exit: OwnedFd,
}

/// How a connection came to who has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// How often it was passed on since it was accepted or served; 0: it has just been accepted.
    pub times: u8,
    /// The worker that passed it on last, if one has, as bytes: every connection has this.
    by: [u8; 2],
}

impl Passed {
    /// Once more, by worker `nr`.
    #[must_use]
    pub fn again(self, nr: usize) -> Self {
        Self { times: self.times.saturating_add(1), by: Self::name(nr) }
    }

    /// Whether worker `nr` was the last to pass it on.
    pub fn is_by(self, nr: usize) -> bool {
        self.times > 0 && self.by == Self::name(nr)
    }

    fn name(nr: usize) -> [u8; 2] {
        u16::try_from(nr).unwrap_or(u16::MAX).to_le_bytes()
    }
}

impl Passage {
    pub(super) fn new() -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        // With SOCK_SEQPACKET what is in is bounded by its size; with datagrams it would be ten
        // (net.unix.max_dgram_qlen).
        let (entry, exit) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok(Self { entry, exit })
    }

    /// Puts a copy of a connection in. `WouldBlock`: the passage is full.
    pub(super) fn put(&self, connection: BorrowedFd<'_>, passed: Passed) -> io::Result<()> {
        let descriptors = [connection.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        // A message without bytes would look like the end.
        let bytes = [passed.times, passed.by[0], passed.by[1]];
        sendmsg::<()>(self.entry.as_raw_fd(), &[IoSlice::new(&bytes)], &rights, flags, None)?;
        Ok(())
    }

    /// Takes a connection out. `WouldBlock`: there is none. `EMFILE`: there may be one, but no
    /// descriptor for it.
    pub(super) fn take(&self) -> io::Result<(OwnedFd, Passed)> {
        // Where there is no descriptor to be had, recvmsg(2) would take the message and drop the
        // connection: so one is had before.
        drop(self.exit.try_clone()?);
        let mut bytes = [0; 3];
        let mut pieces = [IoSliceMut::new(&mut bytes)];
        let mut space = cmsg_space!(RawFd);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let exit = self.exit.as_raw_fd();
        let message = recvmsg::<()>(exit, &mut pieces, Some(&mut space), flags)?;
        let connection = message
            .cmsgs()?
            .find_map(|control| match control {
                // SAFETY: descriptors that the kernel has just made for this process, and that
                // nobody else knows of. There is one, as `put` sends one and there is room for one.
                ControlMessageOwned::ScmRights(descriptors) => descriptors
                    .first()
                    .map(|&descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) }),
                _ => None,
            })
            .ok_or(Errno::EMFILE)?;
        let [times, by @ ..] = bytes;
        Ok((connection, Passed { times, by }))
    }

    /// Readable while there is something to take.
    pub(super) fn exit(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }

    pub(super) fn descriptors(&self) -> [RawFd; 2] {
        [self.entry.as_raw_fd(), self.exit.as_raw_fd()]
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { entry: self.entry.try_clone()?, exit: self.exit.try_clone()? })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    const SOME: Passed = Passed { times: 7, by: [1, 2] };

    #[test]
    fn what_is_put_in_comes_out_in_order() {
        let passage = Passage::new().unwrap();
        assert_eq!(passage.take().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut pairs: Vec<_> = (0..3).map(|_| UnixStream::pair().unwrap()).collect();
        for (near, _) in &pairs {
            passage.put(near.as_fd(), SOME).unwrap();
        }
        for (number, (_, far)) in pairs.iter_mut().enumerate() {
            let (taken, passed) = passage.try_clone().unwrap().take().unwrap();
            assert_eq!(passed, SOME);
            write!(UnixStream::from(taken), "{number}").unwrap();
            let mut read = [0];
            far.read_exact(&mut read).unwrap();
            assert_eq!(read, [b'0' + u8::try_from(number).unwrap()]);
        }
        assert_eq!(passage.take().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn one_that_is_full_says_so_and_loses_nothing() {
        let passage = Passage::new().unwrap();
        let (near, _far) = UnixStream::pair().unwrap();
        let mut count = 0;
        let error = loop {
            match passage.put(near.as_fd(), SOME) {
                Ok(()) => count += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(count > 100, "{count}");
        assert!((0..count).all(|_| passage.take().is_ok()));
    }
}
