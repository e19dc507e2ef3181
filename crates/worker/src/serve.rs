//! From received bytes to responses: the cycle of a connection, without the polling.
//!
//! Every function here does what can be done at once and says what the connection wants then
//! ([`Next`]). How requests are refused and connections closed is in [`refuse`](crate::refuse).

use std::io;
use std::mem;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ironhorn_http::{
    BodyLength, DateCache, FieldStorage, Limits, Received, Request as Head, ResponseHead,
};
use ironhorn_unix::{BoardSlot, Monotonic};

use crate::Options;
use crate::access_log::{AccessLog, Entry};
use crate::application::{Application, Body, Request};
use crate::body::{Spool, Upload};
use crate::connection::{Client, Connection, Phase, Suspended};
use crate::response::{Cut, Progress, Response};
use crate::wire::{HeadContext, Wire};

/// Requests of one connection that are served before the others get a turn.
const REQUESTS_A_TURN: usize = 16;
/// Reads of one connection before the others get a turn.
const READS_A_TURN: usize = 16;
/// What epoll has said of a client is believed for so long.
const FRESH: Duration = Duration::from_millis(5);

/// What a connection wants of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Wait for the socket, within [`Connection::awaits`]'s time.
    Wait,
    /// Come back after the others had a turn.
    Again,
    Close,
}

/// The connections of an application `A`.
pub(crate) type ConnectionOf<A> = Connection<<A as Application>::Chunk, <A as Application>::Stream>;
type ResponseOf<A> = Response<<A as Application>::Chunk, <A as Application>::Stream>;
type SuspendedOf<A> = Suspended<<A as Application>::Chunk, <A as Application>::Stream>;

/// What a response needs beside its connection and the app.
pub(crate) struct Surroundings {
    pub(crate) options: Options,
    pub(crate) slot: BoardSlot,
    pub(crate) environ_names: Vec<String>,
    date: [u8; 29],
}

impl Surroundings {
    pub(crate) fn head_context(&self) -> HeadContext<'_> {
        HeadContext { date: &self.date, server: self.options.server.as_bytes() }
    }
}

/// Everything of a worker but its sockets.
pub(crate) struct Service<A: Application> {
    pub(crate) app: A,
    pub(crate) around: Surroundings,
    pub(crate) access_log: Option<AccessLog>,
    /// No connection is kept any more.
    pub(crate) closing: bool,
    turn_began: Monotonic,
    dates: DateCache,
    /// The memory of the last response's head.
    spare_head: ResponseHead,
}

/// How a request ended.
enum Served<A: Application> {
    /// The connection is ready for the next one.
    Kept,
    /// The response was the last one.
    Last {
        /// The client didn't ask for that, and may be sending the next request.
        sends_on: bool,
    },
    Suspended(Box<SuspendedOf<A>>, Next),
    /// It was cut short.
    Cut,
}

/// How far a step has brought a connection: how many bytes it consumed, and what is next, `None`
/// being the next request.
type Step = (usize, Option<Next>);

impl<A: Application> Service<A> {
    pub(crate) fn new(
        app: A,
        options: Options,
        slot: BoardSlot,
        access_log: Option<AccessLog>,
    ) -> Self {
        let environ_names =
            access_log.as_ref().map(|log| log.environ_names().to_vec()).unwrap_or_default();
        let around = Surroundings { options, slot, environ_names, date: [b' '; 29] };
        let now = Monotonic::now();
        let mut service = Self {
            app,
            around,
            access_log,
            closing: false,
            turn_began: now,
            dates: DateCache::new(),
            spare_head: ResponseHead::default(),
        };
        service.begin_turn(now);
        service
    }

    /// Looks at the clock on the wall once a turn.
    pub(crate) fn begin_turn(&mut self, now: Monotonic) {
        self.turn_began = now;
        self.around.slot.beat(now);
        let date = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.around.date = *self.dates.at(date.as_secs());
    }

    /// Reads what there is and does what follows from it. `scratch` is where it is read to.
    pub(crate) fn receive(&mut self, connection: &mut ConnectionOf<A>, scratch: &mut [u8]) -> Next {
        for _ in 0..READS_A_TURN {
            if !connection.readable {
                return Next::Wait;
            }
            match connection.client.stream.recv(scratch) {
                Ok(0) => return self.end_of_file(connection),
                Ok(count) => {
                    // A short read has emptied the socket; epoll tells of what comes after it.
                    connection.readable = count == scratch.len() || connection.read_closed;
                    let next = self.take(connection, &scratch[..count]);
                    if next != Next::Wait || !connection.reads() {
                        return next;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.readable = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.lost(connection),
            }
        }
        Next::Again
    }

    /// Goes on with a connection that had more to do, or whose socket has room again.
    pub(crate) fn resume(&mut self, connection: &mut ConnectionOf<A>, scratch: &mut [u8]) -> Next {
        let resumed = match mem::replace(&mut connection.phase, Phase::Head) {
            Phase::Responding(suspended) => self.go_on(connection, suspended),
            other => {
                connection.phase = other;
                None
            }
        };
        let next = resumed.unwrap_or_else(|| {
            let buffered = mem::take(&mut connection.buffer);
            self.take_buffered(connection, buffered)
        });
        // What arrived in the meantime was told of once, and waits.
        match next {
            Next::Wait if connection.reads() => self.receive(connection, scratch),
            other => other,
        }
    }

    /// Tries a last time to send something of a response that waits. poll(2) calls a socket
    /// writable only when a good part of its buffer is free; a slow client frees it bit by bit.
    pub(crate) fn try_once_more(
        &mut self,
        connection: &mut ConnectionOf<A>,
        scratch: &mut [u8],
    ) -> Next {
        if let Phase::Responding(suspended) = &mut connection.phase {
            suspended.response.progressed = false;
        }
        let next = self.resume(connection, scratch);
        match &connection.phase {
            Phase::Responding(waiting) if !waiting.response.progressed => self.lost(connection),
            _ => next,
        }
    }

    /// The client is away: the app's close() runs, the log gets its line.
    pub(crate) fn lost(&mut self, connection: &mut ConnectionOf<A>) -> Next {
        if let Phase::Responding(mut suspended) = mem::replace(&mut connection.phase, Phase::Head) {
            let mut storage = FieldStorage::new();
            let limits = &self.around.options.limits;
            let head = parsed_before(&suspended.head, &mut storage, limits);
            let progress = suspended.response.cut(Cut::ClientGone);
            self.finish(&connection.client, &head, &mut suspended.response, progress);
        }
        Next::Close
    }

    fn end_of_file(&mut self, connection: &ConnectionOf<A>) -> Next {
        let peer = &connection.client.peer;
        match &connection.phase {
            Phase::Body(_) => log::debug!(peer:?; "request body cut short"),
            Phase::Head if !connection.is_idle() => log::debug!(peer:?; "request head cut short"),
            _ => {}
        }
        Next::Close
    }

    /// Takes newly received bytes behind what waits already.
    fn take(&mut self, connection: &mut ConnectionOf<A>, received: &[u8]) -> Next {
        if connection.buffer.is_empty() {
            let (consumed, next) = self.process(connection, received);
            connection.buffer.extend_from_slice(&received[consumed..]);
            return next;
        }
        let mut buffered = mem::take(&mut connection.buffer);
        buffered.extend_from_slice(received);
        self.take_buffered(connection, buffered)
    }

    /// Processes `buffered` and keeps what isn't consumed.
    fn take_buffered(&mut self, connection: &mut ConnectionOf<A>, mut buffered: Vec<u8>) -> Next {
        let (consumed, next) = self.process(connection, &buffered);
        if consumed < buffered.len() {
            buffered.drain(..consumed);
            connection.buffer = buffered;
        }
        next
    }

    /// Serves the requests at the start of `input`; returns how many of its bytes are done with.
    fn process(&mut self, connection: &mut ConnectionOf<A>, input: &[u8]) -> (usize, Next) {
        let mut consumed = 0;
        for _ in 0..REQUESTS_A_TURN {
            let rest = &input[consumed..];
            let (count, next) = match mem::replace(&mut connection.phase, Phase::Head) {
                Phase::Head => self.take_head(connection, rest),
                Phase::Body(upload) => self.take_body(connection, upload, rest),
                responding @ Phase::Responding(_) => {
                    connection.phase = responding;
                    (0, Some(Next::Wait))
                }
                Phase::Lingering { until } => {
                    connection.phase = Phase::Lingering { until };
                    let next = if Monotonic::now() < until { Next::Wait } else { Next::Close };
                    (rest.len(), Some(next))
                }
            };
            consumed += count;
            if let Some(next) = next {
                return if connection.is_lingering() {
                    (input.len(), next)
                } else {
                    (consumed, next)
                };
            }
        }
        (consumed, Next::Again)
    }

    /// One request from its head on.
    fn take_head(&mut self, connection: &mut ConnectionOf<A>, input: &[u8]) -> Step {
        let mut storage = FieldStorage::new();
        let limits = &self.around.options.limits;
        let head = match connection.http.receive_head(input, &mut storage, limits) {
            Ok(Received::Complete(head)) => head,
            Ok(Received::Incomplete) => return (0, Some(Next::Wait)),
            Err(refusal) => {
                return (input.len(), Some(self.refuse_as(connection, input, refusal)));
            }
        };
        let (bytes, rest) = input.split_at(head.head_len);
        if matches!(head.body, BodyLength::None) {
            let next = self.serve(connection, &head, bytes, Body::Empty, !rest.is_empty());
            return (bytes.len(), next);
        }
        if head.expects_continue && rest.is_empty() {
            // A socket that can't take 25 bytes now belongs to a client that will learn of the
            // answer anyway: it may send the body without it (RFC 9110 §10.1.1).
            let _ = connection.client.stream.send(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let mut spool = Spool::new(head.body);
        match spool.receive(&mut connection.http, rest, limits) {
            Ok(arrived) if arrived.whole => {
                let more = arrived.consumed < rest.len();
                let next = self.serve_spooled(connection, &head, bytes, spool, more);
                (bytes.len() + arrived.consumed, next)
            }
            Ok(arrived) => {
                connection.phase = Phase::Body(Box::new(Upload { head: bytes.to_vec(), spool }));
                (bytes.len() + arrived.consumed, Some(Next::Wait))
            }
            Err(error) => (input.len(), Some(self.refuse_body(connection, bytes, error))),
        }
    }

    /// More of a body that didn't come with its head.
    fn take_body(
        &mut self,
        connection: &mut ConnectionOf<A>,
        mut upload: Box<Upload>,
        input: &[u8],
    ) -> Step {
        let limits = &self.around.options.limits;
        match upload.spool.receive(&mut connection.http, input, limits) {
            Ok(arrived) if arrived.whole => {
                let Upload { head: bytes, spool } = *upload;
                let mut storage = FieldStorage::new();
                let head = parsed_before(&bytes, &mut storage, limits);
                let more = arrived.consumed < input.len();
                let next = self.serve_spooled(connection, &head, &bytes, spool, more);
                (arrived.consumed, next)
            }
            Ok(arrived) => {
                connection.phase = Phase::Body(upload);
                (arrived.consumed, Some(Next::Wait))
            }
            Err(error) => (input.len(), Some(self.refuse_body(connection, &upload.head, error))),
        }
    }

    fn serve_spooled(
        &mut self,
        connection: &mut ConnectionOf<A>,
        head: &Head<'_, '_>,
        bytes: &[u8],
        spool: Spool,
        more: bool,
    ) -> Option<Next> {
        match spool.finish() {
            Ok(body) => self.serve(connection, head, bytes, body, more),
            Err(error) => Some(self.refuse_body(connection, bytes, error)),
        }
    }

    /// Runs the app for one request and sends what can be sent at once. `more`: bytes of another
    /// request have arrived.
    fn serve(
        &mut self,
        connection: &mut ConnectionOf<A>,
        head: &Head<'_, '_>,
        bytes: &[u8],
        body: Body,
        more: bool,
    ) -> Option<Next> {
        let started = Monotonic::now();
        let client = &connection.client;
        let told = connection.served && started.since(self.turn_began) < FRESH;
        if !told && client.stream.is_hung_up() {
            log::debug!(peer:? = client.peer; "client gone before its request was run");
            return Some(Next::Close);
        }
        self.around.slot.begin_request(head.method.as_bytes(), head.target.as_ref(), started);
        let mut wire = Wire::new(mem::take(&mut self.spare_head), head);
        // What has been sent already is answered; who sends on and on meets graceful_timeout.
        wire.persistent &= !self.around.options.keepalive.is_zero() && (!self.closing || more);
        let mut response: ResponseOf<A> = Response::new(wire, started);
        let request = Request { head, peer: &client.peer, listener: client.listener };
        let reply = self.app.call(&request, body, &mut response.live(client, &self.around));
        if self.around.slot.is_asked_to_leave() && !response.wire.head_sent() {
            // The message waits in the channel; the client need not come again for it.
            response.wire.persistent &= more;
        }
        let progress = response.begin(reply, client, &self.around);
        let served = match self.suspends(progress) {
            Some(next) => {
                let suspended = Suspended { head: bytes.to_vec(), response };
                Served::Suspended(Box::new(suspended), next)
            }
            None => self.finish(client, head, &mut response, progress),
        };
        self.settle(connection, served, more)
    }

    /// Goes on with a response that waited.
    fn go_on(
        &mut self,
        connection: &mut ConnectionOf<A>,
        mut suspended: Box<SuspendedOf<A>>,
    ) -> Option<Next> {
        let client = &connection.client;
        let response = &mut suspended.response;
        let mut storage = FieldStorage::new();
        let head = parsed_before(&suspended.head, &mut storage, &self.around.options.limits);
        let now = Monotonic::now();
        self.around.slot.begin_request(head.method.as_bytes(), head.target.as_ref(), now);
        let progress = response.advance(client, &self.around);
        let served = match self.suspends(progress) {
            Some(next) => Served::Suspended(suspended, next),
            None => self.finish(client, &head, response, progress),
        };
        let more = !connection.buffer.is_empty();
        self.settle(connection, served, more)
    }

    /// Whether a response waits, and for what. A request whose client keeps it waiting isn't the
    /// app's to answer for: its time stops.
    fn suspends(&self, progress: Progress) -> Option<Next> {
        let next = match progress {
            Progress::Blocked => Next::Wait,
            Progress::Yielded => Next::Again,
            Progress::Finished | Progress::Cut(_) => return None,
        };
        self.around.slot.pause_request();
        Some(next)
    }

    /// The response has gone as far as it will: logs it and keeps its memory.
    fn finish(
        &mut self,
        client: &Client,
        head: &Head<'_, '_>,
        response: &mut ResponseOf<A>,
        progress: Progress,
    ) -> Served<A> {
        self.around.slot.end_request();
        let wire = &mut response.wire;
        let path = || head.path().escape_ascii();
        if wire.excess > 0 {
            log::warn!(method = head.method, path:% = path(), excess = wire.excess;
                "response longer than its Content-Length; the rest was dropped");
        }
        if wire.missing > 0 {
            log::warn!(method = head.method, path:% = path(), missing = wire.missing;
                "response shorter than its Content-Length; connection closed");
        }
        if let Some(access_log) = &mut self.access_log {
            access_log.add(&Entry {
                request: Some(head),
                received: b"",
                peer: &client.peer,
                status: wire.head.status(),
                response: Some(&wire.head),
                body_bytes: wire.body_bytes,
                elapsed: Monotonic::now().since(response.started),
                environ: &response.environ,
            });
        }
        self.spare_head = mem::take(&mut wire.head);
        match progress {
            Progress::Cut(why) => {
                log::debug!(method = head.method, path:% = path(), why:?; "response cut short");
                // A client that is still there sees by its framing that the response isn't whole,
                // unless that is to end with the connection. To one that isn't, the kernel should
                // not go on sending what it holds.
                if why == Cut::ClientGone || wire.ends_with_connection() {
                    client.stream.reset_on_close();
                }
                Served::Cut
            }
            _ if wire.persistent => Served::Kept,
            _ => Served::Last { sends_on: head.persistent },
        }
    }

    fn settle(
        &mut self,
        connection: &mut ConnectionOf<A>,
        served: Served<A>,
        more: bool,
    ) -> Option<Next> {
        match served {
            Served::Kept => {
                connection.next_cycle();
                None
            }
            Served::Last { sends_on } => Some(self.close(connection, more || sends_on)),
            Served::Suspended(suspended, next) => {
                connection.phase = Phase::Responding(suspended);
                Some(next)
            }
            Served::Cut => Some(Next::Close),
        }
    }
}

/// The head of a request that was parsed when it came, and isn't kept in parts.
fn parsed_before<'h, 'b>(
    bytes: &'b [u8],
    storage: &'h mut FieldStorage<'b>,
    limits: &Limits,
) -> Head<'h, 'b> {
    Head::parse(bytes, storage, limits).expect("invariant: parsing depends on nothing but the head")
}
