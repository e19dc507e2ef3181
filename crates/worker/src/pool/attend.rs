//! What the loop does once a turn: takes back what app threads have done, turns away what has waited
//! too long, and reads again where it had stopped.

use std::io;
use std::mem;
use std::sync::atomic::Ordering;

use ironhorn_http::FieldStorage;
use ironhorn_unix::{Monotonic, ToMaster, watch_expiries};

use super::{Done, Job, Leftover, Outcome, Pool};
use crate::connection::{Phase, Suspended};
use crate::event_loop::Loop;
use crate::expiry_thread::tell_504;
use crate::response::Progress;
use crate::serve::{ConnectionOf, Next, Service, parsed_before};

impl<C: AsRef<[u8]> + Send, R: Send> Loop<'_, Pool<C, R>> {
    pub(super) fn attend_to_pool(&mut self) -> io::Result<()> {
        if self.service.app.shared.failed.load(Ordering::Acquire) {
            return Err(io::Error::other("an app thread has panicked"));
        }
        // What is taken back is logged.
        self.service.app.announce();
        self.take_back();
        if self.service.around.options.queue_timeout.is_some() {
            self.turn_away_overdue();
        }
        self.release();
        let (pool, slot) = (&mut self.service.app, &self.service.around.slot);
        pool.announce();
        let now = Monotonic::now();
        pool.look_for_stall(now);
        let free = if pool.stall.lasts() { 0 } else { pool.free() };
        slot.set_free_threads(u32::try_from(free).unwrap_or(u32::MAX));
        pool.siblings.look(slot, free == 0, now);
        Ok(())
    }

    /// Tells the clients of expired requests 504, where a signal handler couldn't because the
    /// connection is encrypted. The app threads leave those connections alone (`claim_response`).
    pub(super) fn tell_expired(&mut self) -> io::Result<()> {
        let Ok(expiries) = watch_expiries() else { return Ok(()) };
        for (lane, token) in expiries.take() {
            let (key, is_head) = ((token >> 1) as usize, token & 1 == 1);
            if let Some(held) = self.connections.get(key)
                && matches!(held.connection.phase, Phase::WithApp)
            {
                let stream = &held.connection.client.stream;
                tell_504(stream, is_head, self.service.around.head_context());
            }
            self.service.around.slot.lane(lane).set_expired();
        }
        if self.service.around.slot.is_ending() {
            self.turn_away_all()?;
        }
        // A master that is gone is noticed by the next poll.
        let _ = self.channel.send(ToMaster::Examined);
        Ok(())
    }

    /// Goes on with the connections whose requests app threads are done with.
    fn take_back(&mut self) {
        let former = mem::take(&mut self.service.app.done);
        let mut done = self.service.app.shared.take_done(former);
        for Done { token, suspended, outcome } in done.drain(..) {
            let Some(key) = self.key(token) else { continue };
            let connection = &mut self.connections[key].connection;
            let next = match outcome {
                Outcome::Answered(progress) => {
                    self.service.take_back(connection, suspended, progress, &mut self.scratch)
                }
                Outcome::Left => {
                    connection.phase = Phase::Head;
                    Next::Close
                }
            };
            self.carry_out(key, next);
        }
        self.service.app.done = done;
    }

    /// Answers 503 to those that have waited longer than they should.
    fn turn_away_overdue(&mut self) {
        // What has come in this turn isn't, however long that lasts.
        let now = self.service.turn_began;
        while let Some(job) = self.withdraw_overdue(now) {
            self.service.tell_of_overload(now.since(job.since));
            self.turn_away_queued(job);
        }
        while let Some(first) = self.service.app.held_back.front() {
            let waited = now.since(first.since);
            if !self.service.is_overdue(waited) {
                break;
            }
            let Some(key) = self.next_held_back() else { continue };
            self.service.tell_of_overload(waited);
            self.turn_away_held_back(key);
        }
    }

    /// Answers 503 to all whose requests were not begun: the worker is about to be ended, and another
    /// can serve them. It takes no more connections, as those would be lost.
    fn turn_away_all(&mut self) -> io::Result<()> {
        self.close_listeners()?;
        self.service.closing = true;
        let mut count = 0;
        while let Some(mut job) = self.service.app.withdraw_first(|_| true) {
            job.suspended.response.wire.persistent = false;
            self.turn_away_queued(job);
            count += 1;
        }
        while let Some(held_back) = self.next_held_back_or_gone() {
            let Some(key) = held_back else { continue };
            self.turn_away_held_back(key);
            count += 1;
        }
        if count > 0 {
            log::warn!(count;
                "the worker is about to be killed; requests that it had not begun were answered 503");
        }
        Ok(())
    }

    fn turn_away_queued(&mut self, job: Job<C, R>) {
        let Some(key) = self.key(job.token) else { return };
        let connection = &mut self.connections[key].connection;
        connection.phase = Phase::Head;
        let next = self.service.turn_away_queued(connection, *job.suspended, &mut self.scratch);
        self.carry_out(key, next);
    }

    fn turn_away_held_back(&mut self, key: usize) {
        let next = self.service.turn_away_held_back(&mut self.connections[key].connection);
        self.carry_out(key, next);
    }

    fn withdraw_overdue(&mut self, now: Monotonic) -> Option<Job<C, R>> {
        let timeout = self.service.around.options.queue_timeout?;
        let app = &mut self.service.app;
        let is_overdue = |job: &Job<C, R>| now.since(job.since) > timeout;
        app.has_queued().then(|| app.withdraw_first(is_overdue)).flatten()
    }

    /// Reads again from those that were held back, as long as there is room.
    fn release(&mut self) {
        self.service.app.releasing = true;
        while self.service.app.has_room()
            && let Some(first) = self.next_held_back_or_gone()
        {
            let Some(key) = first else { continue };
            let connection = &mut self.connections[key].connection;
            connection.resume_phase();
            let next = self.service.resume(connection, &mut self.scratch);
            self.carry_out(key, next);
        }
        self.service.app.releasing = false;
    }

    /// Takes the first of those that are held back. Inside: `None` if it is closed by now.
    fn next_held_back_or_gone(&mut self) -> Option<Option<usize>> {
        let first = self.service.app.held_back.pop_front()?;
        let key = self.key(first.token).filter(|&key| {
            matches!(self.connections[key].connection.phase, Phase::HeldBack { .. })
        });
        Some(key)
    }

    fn next_held_back(&mut self) -> Option<usize> {
        self.next_held_back_or_gone().flatten()
    }

    /// The client of a connection whose request an app thread has, or that waits, sends no more; or
    /// it is away, and nothing reaches it any more.
    ///
    /// TCP says the same of a client that has closed as of one that has shut down its sending side
    /// only and waits for the answer. Those who wait long are mostly the former.
    pub(super) fn client_left(&mut self, key: usize, is_broken: bool) {
        let connection = &self.connections[key].connection;
        let token = connection.token;
        let waited_in_vain = match &connection.phase {
            Phase::WithApp => {
                let queue = &self.service.app.shared.queue;
                let is_it = |job: &Job<C, R>| job.token == token && (job.waits || is_broken);
                let withdrawn = queue.withdraw(is_it).is_some();
                if withdrawn {
                    self.service.app.withdrawn();
                }
                withdrawn
            }
            Phase::HeldBack { upload } => is_broken || upload.is_none(),
            _ => false,
        };
        if waited_in_vain {
            let peer = &self.connections[key].connection.client.sender.peer;
            log::debug!(peer:?; "client gone before its request was run");
            self.close(key);
        }
    }
}

impl<C: AsRef<[u8]> + Send, R: Send> Service<Pool<C, R>> {
    /// Goes on with a connection whose request was answered, or as far as the socket takes it.
    fn take_back(
        &mut self,
        connection: &mut ConnectionOf<Pool<C, R>>,
        mut suspended: Box<Suspended<C, Leftover<C, R>>>,
        progress: Progress,
        scratch: &mut [u8],
    ) -> Next {
        connection.phase = Phase::Head;
        let wanted = match progress {
            // What epoll has told since the socket was full was heard by nobody: it is tried again.
            Progress::Blocked | Progress::Yielded => self.go_on(connection, suspended),
            Progress::Finished | Progress::Cut(_) => {
                let Suspended { head, response } = &mut *suspended;
                let mut storage = FieldStorage::new();
                let head = parsed_before(head, &mut storage, &self.around.options.limits);
                let served = self.finish(&connection.client, &head, response, progress);
                let more = !connection.buffer.is_empty();
                self.settle(connection, served, more)
            }
        };
        self.proceed(connection, wanted, scratch)
    }

    fn turn_away_queued(
        &mut self,
        connection: &mut ConnectionOf<Pool<C, R>>,
        suspended: Suspended<C, Leftover<C, R>>,
        scratch: &mut [u8],
    ) -> Next {
        let Suspended { head: bytes, response } = suspended;
        let mut storage = FieldStorage::new();
        let limits = self.around.options.limits;
        let head = parsed_before(&bytes, &mut storage, &limits);
        let more = !connection.buffer.is_empty();
        let wanted = self.turn_away(connection, &head, &bytes, response, more);
        self.proceed(connection, wanted, scratch)
    }

    /// Its body, if it has one, was not received: the connection can't be used again.
    fn turn_away_held_back(&mut self, connection: &mut ConnectionOf<Pool<C, R>>) -> Next {
        connection.resume_phase();
        let bytes = match mem::replace(&mut connection.phase, Phase::Head) {
            Phase::Body(upload) => upload.head,
            _ => mem::take(&mut connection.buffer),
        };
        let mut storage = FieldStorage::new();
        let limits = self.around.options.limits;
        let head = parsed_before(&bytes, &mut storage, &limits);
        let since = Monotonic::now();
        let believed = self.around.options.trust.read(&head, &connection.client);
        let peer = believed.map_or(connection.client.sender.peer, |believed| believed.sender.peer);
        let mut response = self.response_to(&head, since, peer, true);
        response.wire.persistent = false;
        let bytes = &bytes[..head.head_len];
        let wanted = self.turn_away(connection, &head, bytes, response, true);
        wanted.unwrap_or(Next::Close)
    }
}
