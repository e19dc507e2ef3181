//! A connection's bytes on their way in and out, whatever they are wrapped in on the wire.
//!
//! What receives and sends for a connection knows this type only, so that a layer below HTTP has its
//! place here and nowhere else. It is shared by those who serve the connection: the socket is closed
//! when the last of them has let it go, and its number isn't another's before.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::OnceLock;
use std::time::Duration;

use ironhorn_unix::Stream;

use crate::standin::Offer;
use crate::tls::{Session, Tls, TlsFacts};

/// The two directions of one connection. Nothing waits but [`wait_writable`](Self::wait_writable).
///
/// Without TLS, bytes go to the kernel as they are and nothing is held here.
#[derive(Debug)]
pub(crate) struct Transport {
    socket: Stream,
    tls: OnceLock<Box<Session>>,
    offer: Offer,
}

impl Transport {
    /// Bytes as they are.
    pub(crate) fn plain(socket: Stream) -> Self {
        Self { socket, tls: OnceLock::new(), offer: Offer::default() }
    }

    /// Whether it may be passed on while the loop is away.
    pub(crate) fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Another process has the connection: it is no longer this one's.
    pub(crate) fn let_go(&self, instead: BorrowedFd<'_>) -> io::Result<()> {
        self.socket.let_go(instead)
    }

    /// From here on the connection speaks TLS; `received` is what has come of that already.
    pub(crate) fn start_tls(&self, tls: &Tls, received: Vec<u8>) -> io::Result<()> {
        let session = Session::new(tls, received)?;
        self.tls.get_or_init(|| Box::new(session));
        Ok(())
    }

    /// Receives what is there; 0 at the end of what the client sends.
    ///
    /// `InvalidData`: the client breaks a rule of TLS, or doesn't speak it
    /// ([`NotTls`](crate::tls::NotTls)).
    pub(crate) fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.tls.get() {
            None => self.socket.recv(buffer),
            Some(tls) => tls.recv(&self.socket, buffer),
        }
    }

    /// Receives up to `most` bytes behind what `buffer` holds, as [`Stream::recv_behind`] does; `None`
    /// where a layer has to see them first.
    pub(crate) fn recv_behind(
        &self,
        buffer: &mut Vec<u8>,
        most: usize,
    ) -> Option<io::Result<usize>> {
        self.tls.get().is_none().then(|| self.socket.recv_behind(buffer, most))
    }

    /// Whether more could be received at once, after `count` bytes were received into `room`.
    pub(crate) fn may_hold_more(&self, count: usize, room: usize) -> bool {
        match self.tls.get() {
            // A short read has emptied the socket.
            None => count == room,
            Some(tls) => tls.may_hold_more(),
        }
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
        match self.tls.get() {
            None => self.socket.send(data),
            Some(tls) => tls.send(&self.socket, data),
        }
    }

    /// Like [`send`](Self::send), announcing that more follows at once.
    pub(crate) fn send_more(&self, data: &[u8]) -> io::Result<usize> {
        match self.tls.get() {
            None => self.socket.send_more(data),
            Some(tls) => tls.send(&self.socket, data),
        }
    }

    /// Sends the first of several pieces, as many as are taken at once.
    pub(crate) fn send_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.tls.get() {
            None => self.socket.send_vectored(pieces),
            Some(tls) => tls.send_vectored(&self.socket, pieces),
        }
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
        match self.tls.get() {
            None => self.socket.send_file(file, offset, count),
            // The kernel can't encrypt it.
            Some(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Sends what was taken and is held here. False: something is left, which goes out when the
    /// socket has room again and this is called.
    pub(crate) fn flush(&self) -> io::Result<bool> {
        match self.tls.get() {
            None => Ok(true),
            Some(tls) => tls.flush(&self.socket),
        }
    }

    /// How many of the bytes that were taken are held here, because the record that they are in
    /// hasn't gone to the socket as a whole.
    pub(crate) fn held(&self) -> usize {
        self.tls.get().map_or(0, |tls| tls.held())
    }

    /// How many bytes of what was held here have gone to the socket; that grows as long as the
    /// client takes some.
    pub(crate) fn flushed(&self) -> u64 {
        self.tls.get().map_or(0, |tls| tls.sent())
    }

    /// Tells the client that nothing more comes; what it sends can still be received.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        match self.tls.get() {
            None => self.socket.shutdown_write(),
            Some(tls) => tls.shutdown_write(&self.socket),
        }
    }

    /// Makes the end of the connection one by which the client can tell that it isn't whole.
    pub(crate) fn reset_on_close(&self) {
        if let Some(tls) = self.tls.get() {
            tls.cut();
        }
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

    /// Where bytes for the client can be sent to without this type, by a signal handler: nowhere, if
    /// they have to be wrapped.
    pub(crate) fn direct(&self) -> Option<RawFd> {
        self.tls.get().is_none().then(|| self.socket.as_raw_fd())
    }

    /// Whether bytes of HTTP can come: a handshake that had to come before is done.
    pub(crate) fn is_established(&self) -> bool {
        self.tls.get().is_none_or(|tls| tls.facts().is_some())
    }

    /// Whether it speaks TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.get().is_some()
    }

    /// What the handshake has agreed on, if there was one.
    pub(crate) fn tls_facts(&self) -> Option<&TlsFacts> {
        self.tls.get()?.facts()
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Transport {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        if let Some(tls) = self.tls.get() {
            tls.close(&self.socket);
        }
    }
}
