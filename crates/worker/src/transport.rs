//! A connection's bytes on their way in and out, whatever they are wrapped in on the wire.
//!
//! What receives and sends for a connection knows this type only, so that a layer below HTTP has its
//! place here and nowhere else. It is shared by those who serve the connection: the socket is closed
//! when the last of them has let it go, and its number isn't another's before.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use ironhorn_unix::Stream;

/// The two directions of one connection. Nothing waits but [`wait_writable`](Self::wait_writable).
#[derive(Debug)]
pub(crate) struct Transport {
    socket: Stream,
}

impl Transport {
    /// Bytes as they are.
    pub(crate) fn plain(socket: Stream) -> Self {
        Self { socket }
    }

    /// Receives what is there; 0 at the end of what the client sends.
    pub(crate) fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(buffer)
    }

    /// What is there on the wire, below any layer, and stays there.
    pub(crate) fn peek_wire(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.peek(buffer)
    }

    /// Takes bytes from the wire that were seen there.
    pub(crate) fn take_wire(&self, mut count: usize) -> io::Result<()> {
        let mut taken = [0; 512];
        while count > 0 {
            let room = count.min(taken.len());
            match self.socket.recv(&mut taken[..room])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                received => count -= received,
            }
        }
        Ok(())
    }

    /// Sends as much as is taken at once.
    pub(crate) fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.socket.send(data)
    }

    /// Like [`send`](Self::send), announcing that more follows at once.
    pub(crate) fn send_more(&self, data: &[u8]) -> io::Result<usize> {
        self.socket.send_more(data)
    }

    /// Sends the first of several pieces, as many as are taken at once.
    pub(crate) fn send_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.send_vectored(pieces)
    }

    /// Sends up to `count` bytes of `file` from `offset`, which moves on. 0: the file ends there.
    ///
    /// An error that isn't the socket's: this file can't be sent so; read it and send that.
    pub(crate) fn send_file(
        &self,
        file: BorrowedFd<'_>,
        offset: &mut u64,
        count: usize,
    ) -> io::Result<usize> {
        self.socket.send_file(file, offset, count)
    }

    /// Tells the client that nothing more comes; what it sends can still be received.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.socket.shutdown_write()
    }

    /// Makes the end of the connection one by which the client can tell that it isn't whole.
    pub(crate) fn reset_on_close(&self) {
        self.socket.reset_on_close();
    }

    /// Waits until something can be sent, or sending fails at once. False: not within `timeout`.
    pub(crate) fn wait_writable(&self, timeout: Duration) -> io::Result<bool> {
        self.socket.wait_writable(timeout)
    }

    /// Whether the connection is broken or closed in both directions. Asks, doesn't wait.
    pub(crate) fn is_hung_up(&self) -> bool {
        self.socket.is_hung_up()
    }
}

impl AsRawFd for Transport {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
