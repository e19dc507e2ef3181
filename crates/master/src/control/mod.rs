//! The control socket: where operators ask, and the master answers.
//!
//! One request a connection: a JSON object on a line in, one on a line out, with `"ok"` in it.
//! Nothing here waits, and nothing that a client does costs more than a bounded amount of time
//! and memory: supervision goes on whoever connects. What is asked for is a [`Request`] to the
//! supervisor, which replies now or later, to the [`ClientId`] that asked; if that one is gone,
//! to nobody.

mod client;
mod request;
mod timestamp;

use std::{
    io,
    os::{
        fd::AsRawFd,
        unix::net::{UnixListener, UnixStream},
    },
    time::Duration,
};

use ironhorn_unix::{Monotonic, peer_uid};
use log::{debug, warn};
use mio::{Interest, Registry, Token, unix::SourceFd};
use serde_json::{Value, json};

use client::{Client, Heard, Stage};
pub(crate) use request::Request;
pub(crate) use timestamp::timestamp;

/// How many are listened to at a time; others are sent away.
const CLIENTS: usize = 16;

/// After a failure to accept, such as for want of descriptors.
const RETRY: Duration = Duration::from_secs(1);

/// Root may do anything to the server in any case.
const ROOT: u32 = 0;

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientId {
    index: usize,
    serial: u64,
}

/// The tokens under which the control socket is polled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tokens {
    pub(crate) listener: Token,
    pub(crate) client: fn(usize) -> Token,
}

/// The socket and those who are connected.
pub(crate) struct Control {
    listener: UnixListener,
    tokens: Tokens,
    registry: Registry,
    /// Whose server it is.
    uid: u32,
    clients: [Option<Client>; CLIENTS],
    next_serial: u64,
    retry_at: Option<Monotonic>,
}

impl Control {
    /// Listens on `listener`, polled by the `registry`.
    pub(crate) fn new(
        listener: UnixListener,
        registry: &Registry,
        tokens: Tokens,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let registry = registry.try_clone()?;
        let fd = listener.as_raw_fd();
        registry.register(&mut SourceFd(&fd), tokens.listener, Interest::READABLE)?;
        // Whoever makes a pair of sockets is the peer on both ends of it.
        let uid = peer_uid(UnixStream::pair()?.0)?;
        Ok(Self {
            listener,
            tokens,
            registry,
            uid,
            clients: Default::default(),
            next_serial: 0,
            retry_at: None,
        })
    }

    /// Accepts those who have connected: as many as there is room for, or the next one, to send it
    /// away. Whoever has a place is heard before others are sent away.
    pub(crate) fn admit(&mut self, now: Monotonic) {
        self.retry_at = None;
        let free = self.clients.iter().filter(|client| client.is_none()).count();
        for _ in 0..free.max(1) {
            match self.listener.accept() {
                Ok((stream, _)) => self.welcome(stream, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    warn!(reason:% = error; "cannot accept on the control socket");
                    self.retry_at = Some(now + RETRY);
                    return;
                }
            }
        }
        // More may have connected: others first, then again.
        let fd = self.listener.as_raw_fd();
        let again = Interest::READABLE;
        if let Err(error) =
            self.registry.reregister(&mut SourceFd(&fd), self.tokens.listener, again)
        {
            debug!(reason:% = error; "cannot watch the control socket");
            self.retry_at = Some(now + RETRY);
        }
    }

    fn welcome(&mut self, stream: UnixStream, now: Monotonic) {
        let serial = self.next_serial;
        self.next_serial += 1;
        let refusal = self.refusal(&stream);
        let mut client = match Client::new(stream, serial, now) {
            Ok(client) => client,
            Err(error) => return debug!(reason:% = error; "cannot listen to an operator"),
        };
        let place = self.clients.iter().position(Option::is_none);
        match (refusal, place) {
            (Some(reason), _) => {
                warn!(reason; "operator refused");
                client.answer(&refused(&reason), now);
            }
            (None, None) => {
                client.answer(&refused(&format!("{CLIENTS} others are connected")), now);
            }
            (None, Some(index)) => {
                let fd = client.as_raw_fd();
                let both = Interest::READABLE | Interest::WRITABLE;
                let token = (self.tokens.client)(index);
                match self.registry.register(&mut SourceFd(&fd), token, both) {
                    Ok(()) => self.clients[index] = Some(client),
                    Err(error) => debug!(reason:% = error; "cannot watch an operator"),
                }
            }
        }
    }

    /// Why whoever connected may ask nothing. The file's mode keeps others out too, unless
    /// somebody has changed it.
    fn refusal(&self, stream: &UnixStream) -> Option<String> {
        match peer_uid(stream) {
            Ok(uid) if uid == self.uid || uid == ROOT => None,
            Ok(uid) => Some(format!("user {uid} is not the server's")),
            Err(error) => Some(format!("cannot tell whose process it is: {error}")),
        }
    }

    /// Something came from the client at `index`, or it can be written to: what it asks, if that
    /// is complete. `hung_up`: it is gone for good.
    pub(crate) fn hear(
        &mut self,
        index: usize,
        hung_up: bool,
        now: Monotonic,
    ) -> Option<(ClientId, Request)> {
        let client = self.clients[index].as_mut()?;
        let id = ClientId { index, serial: client.serial };
        let done = match client.stage {
            Stage::Asking => match client.read() {
                Heard::Nothing => hung_up,
                Heard::Gone => true,
                Heard::TooLong => client.answer(&refused("the request is too long"), now),
                Heard::Line(line) => match Request::parse(&line) {
                    Ok(request) => {
                        client.stage = Stage::Waiting;
                        client.until = None;
                        return Some((id, request));
                    }
                    Err(reason) => client.answer(&refused(&reason), now),
                },
            },
            Stage::Waiting => hung_up,
            Stage::Answering => client.write(now),
        };
        if done {
            self.part(index);
        }
        None
    }

    /// Answers what was asked.
    pub(crate) fn reply(&mut self, to: ClientId, answer: &Value, now: Monotonic) {
        let asked = self.clients[to.index].as_mut().filter(|client| client.serial == to.serial);
        if asked.is_some_and(|client| client.answer(answer, now)) {
            self.part(to.index);
        }
    }

    /// When [`Control::look_at_clock`] is to be called, if nothing happens before.
    pub(crate) fn next_deadline(&self) -> Option<Monotonic> {
        self.clients.iter().flatten().filter_map(|client| client.until).chain(self.retry_at).min()
    }

    /// Drops those who have been too slow.
    pub(crate) fn look_at_clock(&mut self, now: Monotonic) {
        for index in 0..CLIENTS {
            let until = self.clients[index].as_ref().and_then(|client| client.until);
            if until.is_some_and(|until| now >= until) {
                debug!("a slow operator is dropped");
                self.part(index);
            }
        }
        if self.retry_at.is_some_and(|retry_at| now >= retry_at) {
            self.admit(now);
        }
    }

    fn part(&mut self, index: usize) {
        let Some(client) = self.clients[index].take() else { return };
        let fd = client.as_raw_fd();
        // Closing would not do: a process forked in between may not have closed its copy yet.
        if let Err(error) = self.registry.deregister(&mut SourceFd(&fd)) {
            debug!(reason:% = error; "cannot stop watching");
        }
    }
}

/// The answer to what cannot be, with the reason.
pub(crate) fn refused(reason: &str) -> Value {
    json!({ "ok": false, "error": reason })
}
