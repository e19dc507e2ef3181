//! From received bytes to responses: the cycle of a connection, without the polling.
//!
//! Every function here does what can be done at once and says what the connection wants then
//! ([`Next`]). The app is called in [`respond`](crate::respond); how requests are refused and
//! connections closed is in [`refuse`](crate::refuse).

use std::cell::Cell;
use std::io;
use std::mem;
use std::time::{SystemTime, UNIX_EPOCH};

use ironhorn_http::{
    BodyLength, DateCache, FieldStorage, Limits, Received, Refusal, Request as Head, ResponseHead,
};
use ironhorn_unix::{BoardLane, BoardSlot, Monotonic};

use crate::Options;
use crate::access_log::AccessLog;
use crate::application::Body;
use crate::body::{Spool, Storage, Upload};
use crate::connection::{Connection, Phase};
use crate::expiry_thread::ExpiryThread;
use crate::overload::Episodes;
use crate::own::Behind;
use crate::runs::Runs;
use crate::trust::{Believed, Trust};
use crate::wire::HeadContext;

/// Requests of one connection that are served before the others get a turn.
const REQUESTS_A_TURN: usize = 16;
/// Reads of one connection before the others get a turn.
const READS_A_TURN: usize = 16;

/// What a connection wants of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Wait for the socket, within [`Connection::awaits`]'s time.
    Wait,
    /// Come back after the others had a turn.
    Again,
    /// Wait for the app, which has the request or will get it.
    App,
    Close,
}

/// The connections of a loop whose requests `A` runs.
pub(crate) type ConnectionOf<A> = Connection<<A as Runs>::Chunk, <A as Runs>::Stream>;

/// What a response needs beside its connection and the app.
pub(crate) struct Surroundings {
    pub(crate) options: Options,
    pub(crate) slot: BoardSlot,
    /// Where the app runs.
    pub(crate) lane: BoardLane,
    /// Whether that is in the loop, which stands still meanwhile.
    pub(crate) in_loop: bool,
    pub(crate) environ_names: Vec<String>,
    date: [u8; 29],
    dates: DateCache,
}

impl Surroundings {
    pub(crate) fn new(
        options: Options,
        slot: BoardSlot,
        lane: BoardLane,
        environ_names: Vec<String>,
        in_loop: bool,
    ) -> Self {
        let (date, dates) = ([b' '; 29], DateCache::new());
        Self { options, slot, lane, in_loop, environ_names, date, dates }
    }

    /// Looks at the clock on the wall.
    pub(crate) fn look_at_clock(&mut self) {
        let date = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.date = *self.dates.at(date.as_secs());
    }

    pub(crate) fn head_context(&self) -> HeadContext<'_> {
        HeadContext { date: &self.date, server: self.options.server.as_bytes() }
    }
}

/// Everything of a worker but its sockets.
pub(crate) struct Service<A: Runs> {
    pub(crate) app: A,
    pub(crate) around: Surroundings,
    pub(crate) access_log: Option<AccessLog>,
    /// What tells clients 504 while the app runs in the loop, where a signal handler can't.
    pub(crate) expiry_thread: Option<ExpiryThread>,
    /// No connection is kept any more.
    pub(crate) closing: bool,
    /// For that others serve in its place.
    pub(crate) retiring: bool,
    pub(crate) turn_began: Monotonic,
    /// Of requests that were turned away.
    pub(crate) overload: Episodes,
    /// Of request bodies that found no room on the disk.
    pub(crate) out_of_room: Episodes,
    /// Where request bodies are kept.
    bodies: Storage,
    /// Whether it was said that a proxy isn't heeded.
    ignored_told: Cell<bool>,
    /// The memory of the last response's head.
    pub(crate) spare_head: ResponseHead,
    /// Connections of those that may not speak uwsgi here.
    pub(crate) strangers: u64,
}

/// How far a step has brought a connection: how many bytes it consumed, and what is next, `None`
/// being the next request.
pub(crate) type Step = (usize, Option<Next>);

impl<A: Runs> Service<A> {
    pub(crate) fn new(
        app: A,
        options: Options,
        slot: BoardSlot,
        access_log: Option<AccessLog>,
        expiry_thread: Option<ExpiryThread>,
    ) -> Self {
        let environ_names =
            access_log.as_ref().map(|log| log.environ_names().to_vec()).unwrap_or_default();
        let lane = slot.lane(0);
        let bodies = Storage::new(options.spool_limit);
        let around = Surroundings::new(options, slot, lane, environ_names, A::INLINE);
        let now = Monotonic::now();
        let mut service = Self {
            app,
            around,
            access_log,
            expiry_thread,
            closing: false,
            retiring: false,
            turn_began: now,
            overload: Episodes::default(),
            out_of_room: Episodes::default(),
            bodies,
            ignored_told: Cell::new(false),
            spare_head: ResponseHead::default(),
            strangers: 0,
        };
        service.begin_turn(now);
        service
    }

    /// Looks at the clock on the wall once a turn.
    pub(crate) fn begin_turn(&mut self, now: Monotonic) {
        self.turn_began = now;
        self.around.slot.beat(now);
        self.around.look_at_clock();
    }

    /// Reads what there is and does what follows from it. `scratch` is where it is read to.
    pub(crate) fn receive(&mut self, connection: &mut ConnectionOf<A>, scratch: &mut [u8]) -> Next {
        for _ in 0..READS_A_TURN {
            if !connection.readable {
                return Next::Wait;
            }
            if let Phase::Proxy(versions) = connection.phase {
                match self.receive_header(connection, versions, scratch) {
                    Some(next) => return next,
                    None => continue,
                }
            }
            if self.app.is_full() && matches!(connection.phase, Phase::Body(_)) {
                self.app.hold_back(connection);
                return Next::App;
            }
            if let Some(next) = self.receive_straight(connection) {
                if next != Next::Wait || !connection.reads() {
                    return next;
                }
                continue;
            }
            match connection.client.stream.recv(scratch) {
                Ok(0) => return self.end_of_file(connection),
                Ok(count) => {
                    // Once the socket is empty, epoll tells of what comes after.
                    let more = connection.client.stream.may_hold_more(count, scratch.len());
                    connection.readable = more || connection.read_closed;
                    let next = self.take(connection, &scratch[..count]);
                    if next != Next::Wait || !connection.reads() {
                        return next;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.readable = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.broken(connection, error),
            }
        }
        Next::Again
    }

    /// Receives more of a large body to where it stays; `None`: that is to be done in the usual way.
    fn receive_straight(&mut self, connection: &mut ConnectionOf<A>) -> Option<Next> {
        let Phase::Body(upload) = &mut connection.phase else { return None };
        let left = connection.http.body_left()?;
        let count = match upload.spool.receive_straight(left, &connection.client.stream)? {
            Ok(0) => return Some(self.end_of_file(connection)),
            Ok(count) => count,
            // The usual way meets it again; a reset, which is told once, as the end.
            Err(_) => return None,
        };
        connection.readable = count as u64 == left || connection.read_closed;
        upload.spool.note(&mut connection.http, count, &self.around.options.limits);
        Some(self.process(connection, &[]).1)
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
        self.proceed(connection, resumed, scratch)
    }

    /// Goes on with a connection that wants this, `None` being the next request.
    pub(crate) fn proceed(
        &mut self,
        connection: &mut ConnectionOf<A>,
        wanted: Option<Next>,
        scratch: &mut [u8],
    ) -> Next {
        let next = wanted.unwrap_or_else(|| {
            let buffered = mem::take(&mut connection.buffer);
            self.take_buffered(connection, buffered)
        });
        // What arrived in the meantime was told of once, and waits.
        match next {
            Next::Wait if connection.reads() => self.receive(connection, scratch),
            other => other,
        }
    }

    fn end_of_file(&mut self, connection: &ConnectionOf<A>) -> Next {
        let peer = &connection.client.sender.peer;
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
                proxy @ Phase::Proxy(_) => {
                    connection.phase = proxy;
                    (0, Some(Next::Wait))
                }
                Phase::Body(upload) => self.take_body(connection, upload, rest),
                responding @ Phase::Responding(_) => {
                    connection.phase = responding;
                    (0, Some(Next::Wait))
                }
                waiting @ (Phase::WithApp | Phase::HeldBack { .. }) => {
                    connection.phase = waiting;
                    (0, Some(Next::App))
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
        if connection.client.speaks_uwsgi() {
            return self.take_packet(connection, input);
        }
        if self.app.is_full() && self.holds_back(connection, input) {
            return (0, Some(Next::App));
        }
        let mut storage = FieldStorage::new();
        let limits = &self.around.options.limits;
        let head = match connection.http.receive_head(input, &mut storage, limits) {
            Ok(Received::Complete(head)) => head,
            Ok(Received::Incomplete) => return (0, Some(Next::Wait)),
            Err(refusal) => {
                return (input.len(), Some(self.refuse_as(connection, input, refusal)));
            }
        };
        let believed = match self.believe_head(connection, &head) {
            Ok(believed) => believed,
            Err(refusal) => {
                return (input.len(), Some(self.refuse_as(connection, input, refusal)));
            }
        };
        let (bytes, rest) = input.split_at(head.head_len);
        if let Some(port) = connection.client.redirects_to() {
            return self.redirect(connection, &head, bytes, rest, port);
        }
        let (consumed, next) = self.take_request(connection, &head, &believed, bytes, rest);
        (bytes.len() + consumed, next)
    }

    /// One request whose head is there, as `bytes`, and the start of its body in `rest`; returns how
    /// many of these are done with.
    pub(crate) fn take_request(
        &mut self,
        connection: &mut ConnectionOf<A>,
        head: &Head<'_, '_>,
        believed: &Believed<'_>,
        bytes: &[u8],
        rest: &[u8],
    ) -> Step {
        let limits = &self.around.options.limits;
        if matches!(head.body, BodyLength::None) {
            let more = !rest.is_empty();
            return (0, self.serve(connection, head, believed, bytes, Body::Empty, more));
        }
        let mut spool = Spool::new(head.body, self.bodies.clone());
        match spool.receive(&mut connection.http, rest, limits) {
            Ok(arrived) if arrived.whole => {
                let more = arrived.consumed < rest.len();
                let next = self.serve_spooled(connection, head, believed, bytes, spool, more);
                (arrived.consumed, next)
            }
            Ok(arrived) => {
                if let Some(own) = self.find_own(&connection.client, head) {
                    // A body that wouldn't be looked at isn't waited for.
                    let next =
                        self.answer_own(connection, head, believed, bytes, own, Behind::Body);
                    return (rest.len(), next);
                }
                if head.expects_continue && rest.is_empty() {
                    // A socket that can't take 25 bytes now belongs to a client that will learn of
                    // the answer anyway: it may send the body without it (RFC 9110 §10.1.1).
                    let _ = connection.client.stream.send(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                let (head, began) = (bytes.to_vec(), self.turn_began);
                connection.phase = Phase::Body(Box::new(Upload { head, began, spool }));
                (arrived.consumed, Some(Next::Wait))
            }
            Err(error) => (rest.len(), Some(self.refuse_body(connection, bytes, error))),
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
        self.app.before_long();
        match upload.spool.receive(&mut connection.http, input, limits) {
            Ok(arrived) if arrived.whole => {
                let Upload { head: bytes, spool, .. } = *upload;
                let mut storage = FieldStorage::new();
                let head = parsed_before(&bytes, &mut storage, limits);
                let believed = self.around.options.trust.read(&head, &connection.client);
                let believed = believed.expect("invariant: it was believed when the head came");
                let more = arrived.consumed < input.len();
                let next = self.serve_spooled(connection, &head, &believed, &bytes, spool, more);
                (arrived.consumed, next)
            }
            Ok(arrived) => {
                let slow = self.is_too_slow(&upload);
                connection.phase = Phase::Body(upload);
                let next = if slow { self.time_out(connection) } else { Next::Wait };
                (arrived.consumed, Some(next))
            }
            Err(error) => (input.len(), Some(self.refuse_body(connection, &upload.head, error))),
        }
    }

    fn is_too_slow(&self, upload: &Upload) -> bool {
        let Options { body_min_rate, body_timeout, .. } = self.around.options;
        upload.pace(self.turn_began).is_too_slow(body_min_rate, body_timeout)
    }

    /// What to believe of a request whose head has come; what isn't believed is said at debug, and
    /// once where everybody sees it.
    pub(crate) fn believe_head<'b>(
        &self,
        connection: &ConnectionOf<A>,
        head: &Head<'_, 'b>,
    ) -> Result<Believed<'b>, Refusal> {
        let client = &connection.client;
        let peer = &client.sender.peer;
        if !client.trusted
            && (!self.ignored_told.get() || log::log_enabled!(log::Level::Debug))
            && let Some(field) = Trust::proxys_field(head)
        {
            log::debug!(peer:?, field; "field not heeded");
            if !self.ignored_told.replace(true) {
                log::info!(peer:%;
                    "what proxies say is not heeded from this peer, nor from others that forwarded_allow_ips does not list");
            }
        }
        self.around.options.trust.read(head, client)
    }

    fn serve_spooled(
        &mut self,
        connection: &mut ConnectionOf<A>,
        head: &Head<'_, '_>,
        believed: &Believed<'_>,
        bytes: &[u8],
        spool: Spool,
        more: bool,
    ) -> Option<Next> {
        match spool.finish() {
            Ok(body) => self.serve(connection, head, believed, bytes, body, more),
            Err(error) => Some(self.refuse_body(connection, bytes, error)),
        }
    }
}

/// The head of a request that was parsed when it came, and isn't kept in parts.
pub(crate) fn parsed_before<'h, 'b>(
    bytes: &'b [u8],
    storage: &'h mut FieldStorage<'b>,
    limits: &Limits,
) -> Head<'h, 'b> {
    Head::parse(bytes, storage, limits).expect("invariant: parsing depends on nothing but the head")
}
