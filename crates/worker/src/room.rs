//! Room for a new connection when a worker holds as many as it may.
//!
//! Who waits for nothing but time must not keep others out: of the connections that are open, the
//! one that is missed least goes. In this order:
//!
//! 1. one that has had its last answer and lingers,
//! 2. the kept one that has been idle for longest: a client may find any kept connection closed
//!    (RFC 9112 §9.3.1),
//! 3. the one that has been in its TLS handshake for longest, if a moment has passed,
//! 4. the one that has been sending its head for longest, likewise,
//! 5. of those that send a body or take a response, the [slowest](crate::slowest), likewise; and only
//!    if no other worker has room.
//!
//! A request that the app has, or that waits for it, doesn't make room: then new connections wait in
//! the kernel's queue, or for another worker.

use std::time::Duration;

use ironhorn_unix::Monotonic;

use crate::event_loop::Loop;
use crate::runs::Runs;
use crate::timers::Timeout;

/// A client has this long for its handshake, for its head, for its body, to take its answer, and to
/// close after its last, however many others wait.
pub(crate) const MOMENT: Duration = Duration::from_secs(1);
/// What those wait for that go after a moment; the first are missed least.
const DISPENSABLE: [Timeout; 3] = [Timeout::Linger, Timeout::Handshake, Timeout::Header];
/// How many connections are looked at once more before it is given up: a kept one may turn out to have
/// sent its next request, and a slow one to be faster. Of the slow ones the last that is looked at
/// goes all the same.
const LOOKS: usize = 8;
/// Between two warnings that there is no room.
const WARNING: Duration = Duration::from_secs(60);

/// What the log was told of a worker that is full, and when that was looked at.
#[derive(Debug, Default)]
pub(crate) struct Room {
    warned_at: Option<Monotonic>,
    /// When it was last seen whether connections can be taken.
    pub(crate) balanced_at: Option<Monotonic>,
}

impl<A: Runs> Loop<'_, A> {
    pub(crate) fn is_full(&self) -> bool {
        self.connections.len() >= self.worker_connections
    }

    /// Whether a connection could be taken now: there is room, or it can be made.
    pub(crate) fn has_room(&mut self, now: Monotonic) -> bool {
        !self.is_full()
            || self.timers.first(Timeout::KeepAlive).is_some()
            || self.dispensable(now).is_some()
            || (self.knows_slow(now) && !self.has_sibling_with_room(now))
    }

    /// Whether another worker can take new connections without giving up any. One that has stood
    /// still for a moment, in the app, may do so for long.
    fn has_sibling_with_room(&self, now: Monotonic) -> bool {
        self.service.around.slot.has_sibling_with_room(self.worker_connections, now, MOMENT)
    }

    /// Until when a full worker waits to be able to make room.
    pub(crate) fn room_at(&self, now: Monotonic) -> Option<Monotonic> {
        if !self.is_full() {
            return None;
        }
        let since = |class| self.timers.first(class).map(|(_, since)| since + MOMENT);
        let slow = match self.slowest.is_known() {
            true => self.has_sibling_with_room(now).then(|| now + MOMENT),
            false => self.slowest.look_at(),
        };
        // What could be closed when that was last looked at, nobody has asked for.
        let is_news = |at: &Monotonic| self.room.balanced_at.is_none_or(|balanced| *at > balanced);
        DISPENSABLE.into_iter().filter_map(since).chain(slow).filter(is_news).min()
    }

    /// Closes connections until there is room for one more, if that can be done.
    pub(crate) fn make_room(&mut self, now: Monotonic) {
        for look in 1..=LOOKS {
            if !self.is_full() {
                return;
            }
            let lingering = self.waited(Timeout::Linger, now);
            if let Some(key) = lingering {
                self.close(key);
            } else if let Some((key, _)) = self.timers.first(Timeout::KeepAlive) {
                self.look_and_close(key);
            } else if let Some(key) = self.dispensable(now) {
                if !self.reclaim(key) {
                    self.close(key);
                    continue;
                }
                let connection = &mut self.connections[key].connection;
                log::debug!(peer:? = connection.client.sender.peer; "closed: others wait");
                self.service.time_out(connection);
                self.close(key);
            } else if !self.give_up_slowest(now, look < LOOKS) {
                return;
            }
        }
    }

    /// Says, now and then, that connections wait because this worker holds as many as it may.
    pub(crate) fn warn_if_full(&mut self, now: Monotonic) {
        let is_due = self.room.warned_at.is_none_or(|at| now.since(at) >= WARNING);
        if is_due && self.is_full() && !self.has_room(now) {
            self.room.warned_at = Some(now);
            log::warn!(worker_connections = self.worker_connections;
                "the worker holds as many connections as it may, new ones wait; if the machine has room, raise worker_connections");
        }
    }

    /// The connection that is missed least of those that aren't kept.
    fn dispensable(&self, now: Monotonic) -> Option<usize> {
        DISPENSABLE.into_iter().find_map(|class| self.waited(class, now))
    }

    /// The one that has been in `class` for longest, if that is long enough.
    fn waited(&self, class: Timeout, now: Monotonic) -> Option<usize> {
        self.timers
            .first(class)
            .filter(|(_, since)| now.since(*since) >= MOMENT)
            .map(|(key, _)| key)
    }

    /// A kept connection goes unless its next request has come.
    fn look_and_close(&mut self, key: usize) {
        if !self.reclaim(key) {
            return self.close(key);
        }
        let connection = &mut self.connections[key].connection;
        // A request that is served now restarts the wait for the next.
        connection.readable = true;
        let next = self.service.receive(connection, &mut self.scratch);
        if connection.is_idle() && !connection.restart_timer {
            log::debug!(peer:? = connection.client.sender.peer; "idle, closed: others wait");
            return self.close(key);
        }
        self.carry_out(key, next);
    }
}
