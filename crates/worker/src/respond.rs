//! From a complete request to its response: the app is called, and what comes of it.

use std::mem;
use std::time::Duration;

use ironhorn_http::{FieldStorage, Request as Head};
use ironhorn_unix::{Monotonic, Peer, claim_response, close_request, open_request};

use crate::access_log::Entry;
use crate::application::{Application, Body, Request};
use crate::connection::{Client, Phase, Suspended};
use crate::expiry_thread::ExpiryThread;
use crate::own::Behind;
use crate::response::{Cut, Progress, Response};
use crate::runs::{Complete, Runs};
use crate::serve::{ConnectionOf, Next, Service, parsed_before};
use crate::trust::Believed;
use crate::wire::Wire;

/// What epoll has said of a client is believed for so long.
const FRESH: Duration = Duration::from_millis(5);

/// What the client of an expired request was told.
const GATEWAY_TIMEOUT: u16 = 504;

pub(crate) type ResponseOf<A> = Response<<A as Runs>::Chunk, <A as Runs>::Stream>;
pub(crate) type SuspendedOf<A> = Suspended<<A as Runs>::Chunk, <A as Runs>::Stream>;

/// How a request ended.
pub(crate) enum Served<A: Runs> {
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

impl<A: Application> Service<A> {
    /// Runs the app for one request and sends what can be sent at once.
    pub(crate) fn run_here(
        &mut self,
        connection: &mut ConnectionOf<A>,
        request: Complete<'_>,
    ) -> Option<Next> {
        let Complete { head, believed, bytes, body, more } = request;
        let started = Monotonic::now();
        let client = &connection.client;
        let waited = started.since(self.turn_began);
        let told = connection.served && waited < FRESH;
        if !told && client.stream.is_hung_up() {
            log::debug!(peer:? = client.sender.peer; "client gone before its request was run");
            return Some(Next::Close);
        }
        // The poll told of it before the others ran. Of a new connection nobody knows how long it
        // has been there.
        if connection.served && self.is_overdue(waited) {
            let response = self.response_to(head, self.turn_began, believed.sender.peer, more);
            self.tell_of_overload(waited);
            return self.turn_away(connection, head, bytes, response, more);
        }
        self.around.lane.begin_request(head.method.as_bytes(), head.target.as_ref(), started);
        let Believed { sender, forwarded } = believed;
        let mut response = self.response_to(head, started, sender.peer, more);
        response.wire.ends_at_once = !head.persistent && !more && client.is_plain_tcp();
        let request = Request {
            head,
            sender,
            listener: client.listener,
            tls: client.stream.tls_facts(),
            forwarded: *forwarded,
        };
        self.let_expire(client, head.method == "HEAD");
        let reply = self.app.call(&request, body, &mut response.live(client, &self.around));
        let progress = if self.claim(client) {
            if !response.wire.head_sent() {
                // The worker may have been asked to leave in the meantime.
                response.wire.persistent &= self.keeps(more);
            }
            response.begin(reply, client, &self.around)
        } else {
            // What the app answered goes nowhere; dropping it closes it.
            drop(reply);
            response.cut(Cut::Expired)
        };
        let served = match self.suspends(progress) {
            Some(next) => Self::suspended(bytes, response, next),
            None => self.finish(client, head, &mut response, progress),
        };
        self.settle(connection, served, more)
    }

    /// From here on the client can be told 504 while the app runs.
    fn let_expire(&self, client: &Client, is_head: bool) {
        if let Some(thread) = self.expiry_thread_for(client) {
            thread.lend(&client.stream, is_head);
        }
        open_request(self.around.lane.index(), client.answer(is_head));
    }

    /// Takes the right to answer for the app. False: the client was told 504.
    fn claim(&self, client: &Client) -> bool {
        let is_claimed = claim_response(self.around.lane.index());
        let untold = self.expiry_thread_for(client).and_then(ExpiryThread::reclaim);
        if !is_claimed && let Some(loan) = untold {
            // The app was a moment faster than the thread.
            loan.tell(self.around.head_context());
            self.around.lane.set_expired();
        }
        is_claimed
    }

    fn expiry_thread_for(&self, client: &Client) -> Option<&ExpiryThread> {
        self.expiry_thread.as_ref().filter(|_| client.stream.is_tls())
    }
}

impl<A: Runs> Service<A> {
    /// Has a request answered. `more`: bytes of another request have arrived.
    pub(crate) fn serve(
        &mut self,
        connection: &mut ConnectionOf<A>,
        head: &Head<'_, '_>,
        believed: &Believed<'_>,
        bytes: &[u8],
        body: Body,
        more: bool,
    ) -> Option<Next> {
        if let Some(own) = self.find_own(&connection.client, head) {
            let behind = Behind::whole_request(more);
            return self.answer_own(connection, head, believed, bytes, own, behind);
        }
        A::run(self, connection, Complete { head, believed, bytes, body, more })
    }

    /// A response of which nothing is sent yet.
    pub(crate) fn response_to(
        &mut self,
        head: &Head<'_, '_>,
        started: Monotonic,
        peer: Peer,
        more: bool,
    ) -> ResponseOf<A> {
        let mut wire = Wire::new(mem::take(&mut self.spare_head), head);
        wire.persistent &= !self.around.options.keepalive.is_zero() && self.keeps(more);
        Response::new(wire, started, peer)
    }

    /// A response that waits, to the request whose head was `bytes`.
    pub(crate) fn suspended(bytes: &[u8], response: ResponseOf<A>, next: Next) -> Served<A> {
        Served::Suspended(Box::new(Suspended { head: bytes.to_vec(), response }), next)
    }

    /// Whether a connection is kept. A worker that leaves keeps it for what the client has sent
    /// already: it would be lost otherwise. Who sends on and on meets graceful_timeout.
    pub(crate) fn keeps(&self, more: bool) -> bool {
        // While the app runs, the order to leave waits in the channel; the board tells of it.
        more || !(self.closing || self.around.slot.is_asked_to_leave())
    }

    /// Goes on with a response that waited.
    pub(crate) fn go_on(
        &mut self,
        connection: &mut ConnectionOf<A>,
        mut suspended: Box<SuspendedOf<A>>,
    ) -> Option<Next> {
        let client = &connection.client;
        let response = &mut suspended.response;
        let mut storage = FieldStorage::new();
        let head = parsed_before(&suspended.head, &mut storage, &self.around.options.limits);
        let now = Monotonic::now();
        if A::INLINE && response.is_apps {
            self.around.lane.begin_request(head.method.as_bytes(), head.target.as_ref(), now);
        }
        let progress = response.advance(client, &self.around);
        let is_slow = response.end_wait(now, &self.around.options);
        let progress = match progress {
            Progress::Blocked | Progress::Yielded if is_slow => {
                log::debug!(peer:? = client.sender.peer; "client takes the response too slowly");
                response.cut(Cut::ClientGone)
            }
            progress => progress,
        };
        let served = match self.suspends(progress) {
            Some(next) => Served::Suspended(suspended, next),
            None => self.finish(client, &head, response, progress),
        };
        let more = !connection.buffer.is_empty();
        self.settle(connection, served, more)
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

    /// Whether a response waits, and for what. A request whose client keeps it waiting isn't the
    /// app's to answer for: its time stops.
    pub(crate) fn suspends(&self, progress: Progress) -> Option<Next> {
        let next = match progress {
            Progress::Blocked => Next::Wait,
            Progress::Yielded => Next::Again,
            Progress::Finished | Progress::Cut(_) => return None,
        };
        if A::INLINE {
            self.around.lane.pause_request();
        }
        Some(next)
    }

    /// A response has gone as far as it will; the app's is counted.
    pub(crate) fn finish(
        &mut self,
        client: &Client,
        head: &Head<'_, '_>,
        response: &mut ResponseOf<A>,
        progress: Progress,
    ) -> Served<A> {
        if A::INLINE && response.is_apps {
            self.around.lane.end_request();
            close_request(self.around.lane.index());
        }
        self.conclude(client, head, response, progress)
    }

    /// A response has gone as far as it will: logs it and keeps its memory.
    pub(crate) fn conclude(
        &mut self,
        client: &Client,
        head: &Head<'_, '_>,
        response: &mut ResponseOf<A>,
        progress: Progress,
    ) -> Served<A> {
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
        let expired = progress == Progress::Cut(Cut::Expired);
        let body_bytes = match progress {
            Progress::Finished => wire.body_bytes,
            _ => wire.body_sent(&client.stream),
        };
        if let Some(access_log) = &mut self.access_log {
            access_log.add(&Entry {
                request: Some(head),
                received: b"",
                peer: &response.peer,
                variables: &client.sender.variables,
                status: if expired { GATEWAY_TIMEOUT } else { wire.head.status() },
                response: (!expired).then_some(&wire.head),
                body_bytes,
                elapsed: Monotonic::now().since(response.started),
                environ: &response.environ,
            });
        }
        self.spare_head = mem::take(&mut wire.head);
        match progress {
            Progress::Cut(Cut::Expired) => {
                let after = Monotonic::now().since(response.started).as_secs_f64();
                let after = format_args!("{after:.1}s");
                log::warn!(method = head.method, path:% = path(), after:%;
                    "response dropped: its client was told 504");
                // Which has to reach it first.
                Served::Last { sends_on: head.persistent }
            }
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

    pub(crate) fn settle(
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
            Served::Suspended(mut suspended, next) => {
                if next == Next::Wait {
                    suspended.response.begin_wait(Monotonic::now());
                }
                connection.phase = Phase::Responding(suspended);
                Some(next)
            }
            Served::Cut => Some(Next::Close),
        }
    }
}
