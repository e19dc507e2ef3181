//! One connection as the event loop keeps it between two turns.
//!
//! ```text
//!                     ┌──────────── next request ────────────┐
//!                     ▼                                      │
//!      (Proxy) ──►  Head ──► Body ──► (the app runs) ──► Responding
//!         │           │        │            │                │
//!         └──refused──┴────────┴────────────┴──────► Lingering ──► closed
//! ```
//!
//! A request that comes in one piece and whose response the socket takes at once passes from
//! `Head` to `Head` without leaving anything here. With a pool of app threads it passes through
//! `WithApp`, and comes back when a thread has answered, or has answered as far as the socket takes.

use std::mem;
use std::sync::Arc;

use ironhorn_http::proxy::Versions;
use ironhorn_unix::{Answer, Monotonic, Passed, Peer};
use mio::Token;

use crate::Protocol;
use crate::application::{Sender, Stream};
use crate::body::Upload;
use crate::pace::Pace;
use crate::response::Response;
use crate::timers::Timeout;
use crate::transport::Transport;

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) stream: Arc<Transport>,
    /// What is known of its requests before they come.
    pub(crate) sender: Sender,
    /// The path that it asks for by uwsgi, decoded, if it says another than the target's.
    pub(crate) path: Option<Box<[u8]>>,
    /// What it is to speak.
    pub(crate) protocol: Protocol,
    /// Where the loop holds its connection.
    pub(crate) key: u32,
    /// Index of the listener it came by.
    pub(crate) listener: usize,
    /// Whether it is a proxy whose word on its requests is taken.
    pub(crate) trusted: bool,
    /// How it came here. What comes next of one that was passed on is a request.
    pub(crate) passed: Passed,
}

impl Client {
    /// How it is told that its request has expired.
    pub(crate) fn answer(&self, is_head: bool) -> Answer {
        match self.stream.direct() {
            Some(connection) => Answer::Direct { connection, is_head },
            // A signal handler can't encrypt.
            None => Answer::ByThread { token: self.key << 1 | u32::from(is_head) },
        }
    }

    /// Whether HTTP goes to TCP as it is.
    pub(crate) fn is_plain_tcp(&self) -> bool {
        matches!(self.protocol, Protocol::Http)
            && !self.stream.is_tls()
            && matches!(self.sender.connected, Peer::Inet(_))
    }

    pub(crate) fn speaks_uwsgi(&self) -> bool {
        matches!(self.protocol, Protocol::Uwsgi)
    }

    /// The port that its requests are sent to, if that is all that they get.
    pub(crate) fn redirects_to(&self) -> Option<u16> {
        match self.protocol {
            Protocol::Redirect { port } => Some(port),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Connection<C, S> {
    pub(crate) client: Client,
    /// How far the request that is being received has come.
    pub(crate) http: ironhorn_http::Connection,
    /// Received and not consumed: a part of a head, or pipelined requests.
    pub(crate) buffer: Vec<u8>,
    pub(crate) phase: Phase<C, S>,
    /// The socket may hold more to read: epoll tells only of news.
    pub(crate) readable: bool,
    /// The client has sent its last byte. That is told once, so however little a read brings, there
    /// is another to do: the one that finds the end.
    pub(crate) read_closed: bool,
    /// Whether a request has been served: what comes next is kept alive for.
    pub(crate) served: bool,
    /// A new wait begins even if its class is the one that is armed.
    pub(crate) restart_timer: bool,
    /// What the loop knows it by.
    pub(crate) token: Token,
}

#[derive(Debug)]
pub(crate) enum Phase<C, S> {
    /// A header of the PROXY protocol comes first.
    Proxy(Versions),
    /// Between requests, or a part of a head is in the buffer.
    Head,
    /// The body is on its way.
    Body(Box<Upload>),
    /// The request is an app thread's, or waits for one; the loop leaves the socket alone.
    WithApp,
    /// What it has sent, or is about to, can't be run at present: nothing more is read until it can.
    HeldBack {
        /// A body that was on its way.
        upload: Option<Box<Upload>>,
    },
    /// The response waits for the socket or for its turn.
    Responding(Box<Suspended<C, S>>),
    /// Nothing more is sent; what the client still sends is thrown away so that the last response
    /// isn't lost to a reset (RFC 9112 §9.6).
    Lingering {
        /// When patience ends, however much still comes.
        until: Monotonic,
    },
}

/// A response that waits, with the head of its request for the log.
#[derive(Debug)]
pub(crate) struct Suspended<C, S> {
    pub(crate) head: Vec<u8>,
    pub(crate) response: Response<C, S>,
}

impl<C, S> Connection<C, S> {
    pub(crate) fn new(client: Client, token: Token) -> Self {
        Self {
            client,
            http: ironhorn_http::Connection::new(),
            buffer: Vec::new(),
            phase: Phase::Head,
            readable: true,
            read_closed: false,
            served: false,
            restart_timer: false,
            token,
        }
    }

    /// What of its client it waits for if nothing can be done now.
    pub(crate) fn awaits(&self) -> Timeout {
        match &self.phase {
            Phase::Head if !self.client.stream.is_established() => Timeout::Handshake,
            Phase::Head if self.served && self.buffer.is_empty() => Timeout::KeepAlive,
            Phase::Proxy(_) | Phase::Head => Timeout::Header,
            Phase::Body(_) => Timeout::Body,
            Phase::Responding(_) => Timeout::Write,
            Phase::Lingering { .. } => Timeout::Linger,
            Phase::WithApp | Phase::HeldBack { .. } => {
                unreachable!("invariant: its client isn't waited for")
            }
        }
    }

    /// Whether what the client sends is of interest now.
    pub(crate) fn reads(&self) -> bool {
        !matches!(self.phase, Phase::Responding(_)) && !self.waits_for_app()
    }

    /// Whether its request is an app thread's, or waits for one or for a place among those that do.
    pub(crate) fn waits_for_app(&self) -> bool {
        matches!(self.phase, Phase::WithApp | Phase::HeldBack { .. })
    }

    /// Whether it waits for a request of which nothing has come.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Proxy(_) | Phase::Head) && self.buffer.is_empty()
    }

    pub(crate) fn is_lingering(&self) -> bool {
        matches!(self.phase, Phase::Lingering { .. })
    }

    /// What was held back is read on.
    pub(crate) fn resume_phase(&mut self) {
        self.phase = match mem::replace(&mut self.phase, Phase::Head) {
            Phase::HeldBack { upload: Some(upload) } => Phase::Body(upload),
            Phase::HeldBack { upload: None } => Phase::Head,
            other => other,
        };
    }

    /// The response is sent: the next request may come.
    pub(crate) fn next_cycle(&mut self) {
        self.http.next_cycle();
        self.phase = Phase::Head;
        self.served = true;
        self.restart_timer = true;
    }
}

impl<C: AsRef<[u8]>, S: Stream<Chunk = C>> Connection<C, S> {
    /// How its client has been sending the body, or taking the response, that is under way.
    pub(crate) fn pace(&self, now: Monotonic) -> Option<Pace> {
        match &self.phase {
            Phase::Body(upload) => Some(upload.pace(now)),
            Phase::Responding(suspended) => Some(suspended.response.pace(now)),
            _ => None,
        }
    }
}
