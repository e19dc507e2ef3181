//! TLS on one connection: between the socket's bytes and those of HTTP.
//!
//! ```text
//!            first byte isn't TLS's
//!  Speaking ─────────────────────────► NotTls: bytes pass as they are, for one refusal
//!     │
//!     └─ a rule is broken ───────────► Failed: an alert is sent, then nothing
//! ```
//!
//! What is received goes through the caller's buffer: its upper half takes the socket's bytes, its
//! lower half what they mean, which is never more. What is sent is encrypted as far as the socket
//! takes it, so that rustls holds no more than [`HELD`] of it.
//!
//! One thread may send while another receives: the state is behind a lock.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use ironhorn_unix::Stream;
use rustls::ServerConnection;

use super::config::Tls;
use super::facts::TlsFacts;

/// Plaintext that is encrypted ahead of the socket, at most: two records.
const HELD: usize = 32 * 1024;
/// Plaintext of a record, at most (RFC 8446 section 5.1), and of all but the last of a batch.
const RECORD: usize = 16 * 1024;
/// What HTTP is told by, and not TLS, whose records begin with a number up to 24 (RFC 8446
/// section 5.1).
const FIRST_OF_METHODS: std::ops::RangeInclusive<u8> = b'A'..=b'z';

/// One connection's TLS.
pub(crate) struct Session {
    inner: Mutex<Inner>,
    /// There once the handshake is done.
    facts: OnceLock<TlsFacts>,
}

struct Inner {
    state: State,
    connection: Box<ServerConnection>,
    /// Received, but not taken by `connection` yet.
    ahead: Vec<u8>,
    /// Bytes of HTTP that `connection` still holds.
    left: usize,
    /// The last read has emptied the socket.
    drained: bool,
    /// Bytes that have gone to the socket.
    sent: u64,
    /// Bytes of plaintext that were encrypted last: what was before them has gone to the socket.
    batch: usize,
    /// Records of which something hasn't.
    unsent: usize,
    /// Something was received.
    begun: bool,
    /// The peer has said that it sends no more.
    ended: bool,
    /// The socket's sending side is to be shut once everything is sent.
    shuts: bool,
    /// The peer is to see that the connection isn't whole.
    cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Speaking,
    NotTls,
    Failed,
}

/// The error of [`Session::recv`] for a peer that doesn't speak TLS, but HTTP by the looks of it.
#[derive(Debug)]
pub(crate) struct NotTls {
    /// The first of what it has sent.
    pub(crate) received: Vec<u8>,
}

impl Session {
    /// A connection of which `received` has been received already.
    pub(crate) fn new(tls: &Tls, received: Vec<u8>) -> io::Result<Self> {
        let mut connection = ServerConnection::new(tls.0.clone()).map_err(io::Error::other)?;
        connection.set_buffer_limit(Some(HELD));
        let inner = Inner {
            state: State::Speaking,
            connection: Box::new(connection),
            ahead: received,
            left: 0,
            drained: false,
            sent: 0,
            batch: 0,
            unsent: 0,
            begun: false,
            ended: false,
            shuts: false,
            cut: false,
        };
        Ok(Self { inner: Mutex::new(inner), facts: OnceLock::new() })
    }

    /// What the handshake has agreed on, once it is done.
    pub(crate) fn facts(&self) -> Option<&TlsFacts> {
        self.facts.get()
    }

    /// Receives bytes of HTTP; 0 at the end of what the client sends, with or without a
    /// close_notify: HTTP knows by itself whether a request is whole.
    ///
    /// An error with [`NotTls`] in it: this isn't TLS. `InvalidData`: it is, but breaks a rule.
    pub(crate) fn recv(&self, socket: &Stream, buffer: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.lock();
        if inner.state != State::Speaking {
            return socket.recv(buffer);
        }
        let (plain, sealed) = buffer.split_at_mut(buffer.len() / 2);
        if !inner.ahead.is_empty() || inner.left > 0 {
            let ahead = std::mem::take(&mut inner.ahead);
            let count = self.step(&mut inner, socket, &ahead, plain)?;
            if count > 0 {
                return Ok(count);
            }
        }
        while !inner.ended {
            let received = socket.recv(sealed);
            inner.drained = received.as_ref().map_or(true, |&count| count < sealed.len());
            match received {
                Ok(0) => break,
                Ok(received) => {
                    let count = self.step(&mut inner, socket, &sealed[..received], plain)?;
                    if count > 0 {
                        return Ok(count);
                    }
                }
                Err(error) => {
                    inner.connection.shrink();
                    return Err(error);
                }
            }
        }
        Ok(0)
    }

    /// Opens what was received, and sends what TLS has to say to it: the handshake's answer, or the
    /// alert that ends it.
    fn step(
        &self,
        inner: &mut Inner,
        socket: &Stream,
        sealed: &[u8],
        plain: &mut [u8],
    ) -> io::Result<usize> {
        let taken = inner.take(sealed, plain);
        if !inner.connection.is_handshaking() {
            self.facts.get_or_init(|| TlsFacts::of(&inner.connection));
        }
        let flushed = inner.flush(socket);
        let count = taken?;
        // What came counts, even of a client that has gone since.
        if count == 0 {
            flushed?;
        }
        Ok(count)
    }

    /// Whether more could be received at once.
    pub(crate) fn may_hold_more(&self) -> bool {
        let inner = self.lock();
        inner.state != State::Speaking
            || !inner.drained
            || inner.ended
            || inner.left > 0
            || !inner.ahead.is_empty()
    }

    /// Takes as much as the socket has room for, and up to [`HELD`] more. Nothing is taken while
    /// some of that still waits: [`flush`](Self::flush) says so.
    pub(crate) fn send(&self, socket: &Stream, data: &[u8]) -> io::Result<usize> {
        let mut inner = self.lock();
        match inner.state {
            State::Speaking => {}
            State::NotTls => return socket.send(data),
            State::Failed => return Err(ErrorKind::BrokenPipe.into()),
        }
        let mut taken = 0;
        loop {
            match inner.flush(socket) {
                Ok(true) if taken == data.len() => return Ok(taken),
                Ok(true) => {}
                // What was taken isn't to be sent again; the next attempt fails as this one.
                Err(error) if taken == 0 => return Err(error),
                Ok(false) | Err(_) => break,
            }
            inner.batch = inner.connection.writer().write(&data[taken..])?;
            if inner.batch == 0 {
                break;
            }
            taken += inner.batch;
        }
        some(taken)
    }

    /// Like [`send`](Self::send) for several pieces, which share records.
    pub(crate) fn send_vectored(
        &self,
        socket: &Stream,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let mut inner = self.lock();
        match inner.state {
            State::Speaking => {}
            State::NotTls => return socket.send_vectored(pieces),
            State::Failed => return Err(ErrorKind::BrokenPipe.into()),
        }
        if !inner.flush(socket)? {
            return some(0);
        }
        let taken = inner.connection.writer().write_vectored(pieces)?;
        inner.batch = taken;
        match inner.flush(socket) {
            Err(error) if taken == 0 => Err(error),
            _ => Ok(taken),
        }
    }

    /// Sends what was taken and not sent yet. False: something is left.
    pub(crate) fn flush(&self, socket: &Stream) -> io::Result<bool> {
        self.lock().flush(socket)
    }

    /// How many bytes of plaintext were taken, but are in records that haven't gone to the socket as
    /// a whole.
    pub(crate) fn held(&self) -> usize {
        let inner = self.lock();
        if !inner.connection.wants_write() {
            return 0;
        }
        let whole = inner.batch.div_ceil(RECORD).saturating_sub(inner.unsent);
        inner.batch.saturating_sub(whole * RECORD)
    }

    /// How many bytes have gone to the socket.
    pub(crate) fn sent(&self) -> u64 {
        self.lock().sent
    }

    /// Tells the peer that nothing more comes, once everything is sent.
    pub(crate) fn shutdown_write(&self, socket: &Stream) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.state == State::Speaking && !inner.cut {
            inner.connection.send_close_notify();
        }
        inner.shuts = true;
        inner.flush(socket).map(drop)
    }

    /// The peer isn't told that the connection ends as it should.
    pub(crate) fn cut(&self) {
        self.lock().cut = true;
    }

    /// Says good-bye, if it can be said at once (RFC 8446 section 6.1).
    pub(crate) fn close(&self, socket: &Stream) {
        let mut inner = self.lock();
        let can = inner.state == State::Speaking && !inner.connection.wants_write();
        if can && !inner.cut && self.facts.get().is_some() {
            inner.connection.send_close_notify();
            // To one that has gone, or that reads nothing, there is nothing to say.
            let _ = inner.flush(socket);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Has `sealed` opened into `plain`; keeps what there is no room for.
    fn take(&mut self, mut sealed: &[u8], plain: &mut [u8]) -> io::Result<usize> {
        let begun = self.begun;
        self.begun |= !sealed.is_empty();
        if !begun && sealed.first().is_some_and(|first| FIRST_OF_METHODS.contains(first)) {
            self.state = State::NotTls;
            return Err(io::Error::new(ErrorKind::InvalidData, NotTls { received: sealed.into() }));
        }
        let mut count = self.read(plain)?;
        while !sealed.is_empty() && !self.ended {
            if self.left > 0 {
                // `plain` is full.
                self.ahead = sealed.to_vec();
                break;
            }
            self.connection.read_tls(&mut sealed)?;
            match self.connection.process_new_packets() {
                Ok(io) => {
                    self.left = io.plaintext_bytes_to_read();
                    self.ended = io.peer_has_closed();
                }
                Err(error) => {
                    self.state = State::Failed;
                    return Err(io::Error::new(ErrorKind::InvalidData, error));
                }
            }
            count += self.read(&mut plain[count..])?;
        }
        Ok(count)
    }

    /// Takes what `connection` holds, as far as there is room.
    fn read(&mut self, plain: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        while self.left > 0 && count < plain.len() {
            let more = self.connection.reader().read(&mut plain[count..])?;
            self.left = self.left.saturating_sub(more);
            count += more;
        }
        Ok(count)
    }

    fn flush(&mut self, socket: &Stream) -> io::Result<bool> {
        while self.connection.wants_write() {
            let mut out = Out { socket, unsent: 0 };
            let sent = self.connection.write_tls(&mut out);
            self.unsent = out.unsent;
            match sent {
                Ok(sent) => self.sent += sent as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if std::mem::take(&mut self.shuts) {
            socket.shutdown_write()?;
        }
        Ok(true)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl fmt::Display for NotTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HTTP without TLS on a port for HTTPS")
    }
}

impl std::error::Error for NotTls {}

/// What a send that took so many bytes returns.
fn some(taken: usize) -> io::Result<usize> {
    if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
}

/// Where records go.
struct Out<'a> {
    socket: &'a Stream,
    /// Records that the last write hasn't sent, or not as a whole.
    unsent: usize,
}

impl Write for Out<'_> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(record)])
    }

    /// Each record is a slice of its own.
    fn write_vectored(&mut self, records: &[IoSlice<'_>]) -> io::Result<usize> {
        self.unsent = records.len();
        let sent = self.socket.send_vectored(records)?;
        let mut end = 0;
        let ends = records.iter().map(|record| {
            end += record.len();
            end
        });
        self.unsent = ends.filter(|&end| end > sent).count();
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives memory back.
trait Shrink {
    /// Of the buffer for records, which has grown with the longest: rustls makes it smaller when
    /// it is about to read.
    fn shrink(&mut self);
}

impl Shrink for ServerConnection {
    fn shrink(&mut self) {
        struct Nothing;
        impl Read for Nothing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(ErrorKind::WouldBlock.into())
            }
        }
        // It reads nothing, so the one thing that it can say is that.
        let _ = self.read_tls(&mut Nothing);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use rustls::crypto::ring::default_provider;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::super::{ClientCertificates, Identity, TicketKeys, TlsOptions, TlsVersion};
    use super::*;

    /// A client that hasn't said anything yet, and what it is to talk to.
    fn both() -> (ClientConnection, Tls) {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let key = made.signing_key.serialize_pem();
        let identity = Identity::read(made.cert.pem().as_bytes(), key.as_bytes()).unwrap();
        let tls = Tls::new(&TlsOptions {
            identities: &[identity],
            clients: ClientCertificates::None,
            oldest: TlsVersion::V1_2,
            suites: &[],
            tickets: TicketKeys::new().unwrap(),
        });
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "a.example".try_into().unwrap();
        (ClientConnection::new(Arc::new(config), name).unwrap(), tls.unwrap())
    }

    fn pair() -> (UnixStream, Stream) {
        let (here, there) = UnixStream::pair().unwrap();
        there.set_nonblocking(true).unwrap();
        (here, Stream::from(OwnedFd::from(there)))
    }

    fn is_empty(received: io::Result<usize>) -> bool {
        received.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    #[test]
    fn what_was_received_before_is_taken_first() {
        let (mut client, tls) = both();
        let (mut peer, socket) = pair();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        let session = Session::new(&tls, hello).unwrap();
        let mut buffer = [0; 4096];
        assert!(is_empty(session.recv(&socket, &mut buffer)));
        // The answer has gone out by then: the client can finish, and ask.
        while client.is_handshaking() {
            client.read_tls(&mut peer).unwrap();
            client.process_new_packets().unwrap();
        }
        client.writer().write_all(b"GET /").unwrap();
        while client.wants_write() {
            client.write_tls(&mut peer).unwrap();
        }
        let count = session.recv(&socket, &mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"GET /");
        assert_eq!(session.facts().unwrap().server_name.as_deref(), Some("a.example"));
    }

    #[test]
    fn what_does_not_fit_waits_and_is_known_to() {
        let (mut client, tls) = both();
        let (mut peer, socket) = pair();
        let session = Session::new(&tls, Vec::new()).unwrap();
        let mut buffer = [0; 4096];
        while client.is_handshaking() {
            while client.wants_write() {
                client.write_tls(&mut peer).unwrap();
            }
            assert!(is_empty(session.recv(&socket, &mut buffer)));
            client.read_tls(&mut peer).unwrap();
            client.process_new_packets().unwrap();
        }
        let sent: Vec<u8> = (0..=250).cycle().take(30_000).collect();
        client.writer().write_all(&sent).unwrap();
        client.send_close_notify();
        while client.wants_write() {
            client.write_tls(&mut peer).unwrap();
        }
        let mut received = Vec::new();
        loop {
            // Room for much less than a record.
            match session.recv(&socket, &mut buffer[..1000]) {
                Ok(0) => break,
                Ok(count) => received.extend_from_slice(&buffer[..count]),
                Err(error) => panic!("{error} after {}", received.len()),
            }
            assert!(session.may_hold_more(), "after {}", received.len());
        }
        assert!(received == sent);
    }

    #[test]
    fn no_more_is_held_for_a_socket_that_is_full() {
        let (mut client, tls) = both();
        let (mut peer, socket) = pair();
        let session = Session::new(&tls, Vec::new()).unwrap();
        let mut buffer = [0; 4096];
        while session.facts().is_none() {
            while client.wants_write() {
                client.write_tls(&mut peer).unwrap();
            }
            assert!(is_empty(session.recv(&socket, &mut buffer)));
            if client.is_handshaking() {
                client.read_tls(&mut peer).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        let data = vec![b'x'; 1 << 16];
        let mut taken = 0_u64;
        let full = loop {
            match session.send(&socket, &data) {
                Ok(count) => taken += count as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        assert!(!session.flush(&socket).unwrap());
        assert!(taken < session.sent() + HELD as u64 + 1);
        // And nothing of it is lost.
        session.shutdown_write(&socket).unwrap();
        let mut received = 0;
        loop {
            match client.reader().read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => received += count as u64,
                Err(_) => {
                    client.read_tls(&mut peer).unwrap();
                    client.process_new_packets().unwrap();
                    session.flush(&socket).unwrap();
                }
            }
        }
        assert_eq!(received, taken);
    }
}
