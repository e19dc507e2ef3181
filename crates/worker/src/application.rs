//! The only door upwards: what the event loop asks of whoever runs the app.
//!
//! The loop hands over one complete request and gets a [`Reply`]; it never learns that there is a
//! Python behind it. Everything that touches a socket stays on this side of the door, so timeouts,
//! back-pressure and framing hold for every app alike.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use ironhorn_http::ResponseHead;
use ironhorn_http::uwsgi::Variables;
use ironhorn_unix::Peer;

use crate::tls::TlsFacts;

/// Runs an app for a worker.
pub trait Application {
    /// A piece of a response body, held alive until it has been sent.
    type Chunk: AsRef<[u8]>;
    /// The rest of a response whose body the app makes as it goes.
    type Stream: Stream<Chunk = Self::Chunk>;

    /// Runs the app for one complete request.
    fn call(
        &mut self,
        request: &Request<'_>,
        body: Body,
        exchange: &mut dyn Exchange,
    ) -> Reply<Self::Chunk, Self::Stream>;

    /// Waits without holding the interpreter: `wait` is the poll.
    fn while_idle<T: Send>(&mut self, wait: impl FnOnce() -> T + Send) -> T;

    /// A descriptor that is readable when [`Application::interrupted`] is to be called.
    fn interrupts(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// A signal that isn't the server's has come: the app's own handlers run.
    fn interrupted(&mut self) {}
}

/// One complete request, as the app's side sees it.
#[derive(Debug)]
pub struct Request<'a> {
    /// The head, borrowed from the receive buffer.
    pub head: &'a ironhorn_http::Request<'a, 'a>,
    /// Who sent it.
    pub sender: &'a Sender,
    /// Which of the worker's listeners it came by, counted from 0.
    pub listener: usize,
    /// How it was encrypted, if it was on its last way.
    pub tls: Option<&'a TlsFacts>,
    /// What a trusted proxy says of it.
    pub forwarded: Forwarded<'a>,
}

/// Who sent a request and how, as far as the server knows or believes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The client. One whose port isn't known has port 0.
    pub peer: Peer,
    /// Whether its way here was encrypted: `https`.
    pub secure: bool,
    /// Who is at the other end of the connection: the client, or a proxy.
    pub connected: Peer,
    /// What the PROXY protocol says of the connection.
    pub proxied: Option<Proxied>,
    /// What a proxy that speaks the uwsgi protocol says of it, for the app as it is.
    pub variables: Variables,
}

impl Sender {
    /// The peer of a connection on which nobody has said anything yet.
    pub fn new(peer: Peer, secure: bool) -> Self {
        Self { peer, secure, connected: peer, proxied: None, variables: Variables::default() }
    }
}

/// What the PROXY protocol says of a connection, but for the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// How the client has come to the proxy: `TCP4` and so on.
    pub protocol: &'static str,
    /// What the client has connected to.
    pub destination: SocketAddr,
}

/// What a trusted proxy says of a request, other than who has sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// Whether the request's sender is such a proxy at all.
    pub trusted: bool,
    /// What the client's request has as Host.
    pub host: Option<&'a [u8]>,
    /// The port that the client has connected to.
    pub port: Option<u16>,
    /// What stands before the app's own paths, percent-encoded.
    pub script_name: Option<&'a [u8]>,
    /// The path without that, where the target's still has it; percent-encoded.
    pub path: Option<&'a [u8]>,
}

impl Forwarded<'_> {
    /// Whether it says nothing.
    pub fn is_silent(&self) -> bool {
        self.host.is_none() && self.port.is_none() && self.script_name.is_none()
    }
}

/// The content of a request, whole.
#[derive(Debug)]
pub enum Body {
    /// None was announced, or it was empty.
    Empty,
    /// Small enough to be kept in memory.
    Memory(Vec<u8>),
    /// Spooled to a file that has no name any more.
    File {
        /// Positioned at its start.
        file: File,
        /// How many bytes it holds.
        length: u64,
    },
}

/// Calls what waits, without holding the interpreter; or doesn't, and nobody waits any more.
pub type Idle<'a> = dyn FnMut(&mut (dyn FnMut() + Send)) + 'a;

/// What an app may do to its client while it is being called.
pub trait Exchange {
    /// The response head, to be filled before [`Application::call`] returns.
    fn head(&mut self) -> &mut ResponseHead;

    /// Sends an interim response such as 103 (RFC 8297). Nothing is sent to an HTTP/1.0 client or
    /// once the head is out.
    fn interim(&mut self, status: u16, fields: &[(Vec<u8>, Vec<u8>)]) -> Result<(), Gone>;

    /// Sends the head if it isn't out yet, then `data`: PEP 3333's `write()`. Waits for a slow
    /// client, within the write timeout.
    fn write(&mut self, data: &[u8]) -> Result<(), Gone> {
        self.write_idling(data, &mut |wait| wait())
    }

    /// Like [`write`](Self::write), with all waiting done in `idle`: for who holds what others need.
    fn write_idling(&mut self, data: &[u8], idle: &mut Idle<'_>) -> Result<(), Gone>;

    /// The connection is not kept after this response.
    fn close_after(&mut self);

    /// Whether the head has been handed to the kernel.
    fn head_sent(&self) -> bool;

    /// The client's socket, for who wants to know whether the client is still there.
    fn connection(&self) -> RawFd;

    /// Names of environ keys that the access log wants, for `%({name}e)s`.
    fn environ_atoms(&self) -> &[String];

    /// Tells the access log the value of [`Exchange::environ_atoms`]`[index]`.
    fn set_environ_atom(&mut self, index: usize, value: Vec<u8>);
}

/// The client is away, or was told 504 in the meantime; nothing more can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// The app raised; whoever ran it has logged why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

/// What the app answered.
#[derive(Debug)]
pub enum Reply<C, S> {
    /// The whole body is known.
    Complete(Chunks<C>),
    /// The app makes its body as it goes.
    Stream {
        /// The first chunk that isn't empty; none if the body ended without one.
        first: Option<C>,
        /// What makes the others.
        rest: S,
    },
    /// A file's bytes, which the kernel can send by itself.
    File {
        /// A regular file.
        file: OwnedFd,
        /// Where to start, in bytes.
        offset: u64,
        /// How many bytes to send.
        length: u64,
        /// Closed when they are sent.
        rest: S,
    },
    /// The app raised: 500 if no head was sent, else the connection is cut.
    Failed,
}

impl<C, S> Reply<C, S> {
    /// The same reply with another kind of rest.
    pub(crate) fn map_rest<T>(self, map: impl FnOnce(S) -> T) -> Reply<C, T> {
        match self {
            Self::Complete(chunks) => Reply::Complete(chunks),
            Self::Stream { first, rest } => Reply::Stream { first, rest: map(rest) },
            Self::File { file, offset, length, rest } => {
                Reply::File { file, offset, length, rest: map(rest) }
            }
            Self::Failed => Reply::Failed,
        }
    }
}

impl<C: AsRef<[u8]>, S> Reply<C, S> {
    /// How many bytes of the app's chunks are in it.
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::Complete(chunks) => chunks.length(),
            Self::Stream { first, .. } => first.as_ref().map_or(0, |chunk| chunk.as_ref().len()),
            Self::File { .. } | Self::Failed => 0,
        }
    }
}

/// The chunks of a body that is known as a whole.
#[derive(Debug)]
pub enum Chunks<C> {
    /// No body.
    None,
    /// The usual case.
    One(C),
    /// In order.
    Many(Vec<C>),
}

impl<C: AsRef<[u8]>> Chunks<C> {
    /// How many bytes they are.
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(chunk) => chunk.as_ref().len(),
            Self::Many(chunks) => chunks.iter().map(|chunk| chunk.as_ref().len()).sum(),
        }
    }
}

/// The rest of a body that the app makes as it goes.
///
/// Dropping it must have the effect of [`Stream::close`] if that wasn't called.
pub trait Stream {
    /// A piece of the body.
    type Chunk;

    /// Makes the next chunk that isn't empty; `None` at the end.
    fn next(&mut self, exchange: &mut dyn Exchange) -> Result<Option<Self::Chunk>, Failed>;

    /// Tells the app that nobody wants more; its `close()` runs exactly once however often this
    /// is called.
    fn close(&mut self);
}
