//! The loop hands requests over, and holds connections back while it can't.

use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ironhorn_http::{FieldStorage, Request as Head};
use ironhorn_unix::{Monotonic, watch_expiries};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::siblings::LOOKS;
use super::{HeldBack, Job, Leftover, Pool, Shared};
use crate::connection::{Phase, Suspended};
use crate::event_loop::Loop;
use crate::runs::{Complete, Runs};
use crate::serve::{ConnectionOf, Next, Service};

/// Threads are woken for a request after this and the connection that is at hand then, even if the
/// turn in which it came isn't over: a few handshakes, say, take longer.
const A_LONG_TURN: Duration = Duration::from_micros(100);

impl<C: AsRef<[u8]> + Send, R: Send> Runs for Pool<C, R> {
    type Chunk = C;
    type Stream = Leftover<C, R>;

    const INLINE: bool = false;

    fn run(
        service: &mut Service<Self>,
        connection: &mut ConnectionOf<Self>,
        request: Complete<'_>,
    ) -> Option<Next> {
        let Complete { head, believed, bytes, body, more } = request;
        let waits = service.app.free() == 0;
        if waits && connection.read_closed {
            // As if the end had been seen while it waits, which it would be in a moment.
            log::debug!(peer:? = connection.client.sender.peer;
                "client gone before its request was run");
            return Some(Next::Close);
        }
        let since = Monotonic::now();
        let response = service.response_to(head, since, believed.sender.peer, more);
        let suspended = Box::new(Suspended { head: bytes.to_vec(), response });
        let (token, client, unseen) =
            (connection.token, connection.client.clone(), !connection.served);
        service.app.enter();
        let job = Job { token, client, suspended, body, more, since, waits, unseen };
        service.app.shared.queue.push(job);
        let unannounced = &service.app.unannounced;
        unannounced.set(unannounced.get().or(Some(since)));
        connection.phase = Phase::WithApp;
        Some(Next::App)
    }

    /// Before each poll, and so after all that a turn may have dropped.
    fn while_idle<T: Send>(&mut self, wait: impl FnOnce() -> T + Send) -> T {
        let Shared { garbage, queue, .. } = &*self.shared;
        if garbage.is_much() {
            garbage.forget();
            queue.nudge();
        }
        wait()
    }

    fn before_long(&self) {
        self.announce();
    }

    fn dealt_with(&self) {
        if let Some(since) = self.unannounced.get()
            && Monotonic::now().since(since) >= A_LONG_TURN
        {
            self.announce();
        }
    }

    fn is_full(&self) -> bool {
        !self.has_room() || (!self.held_back.is_empty() && !self.releasing)
    }

    fn waiting(&self) -> usize {
        self.occupied().saturating_sub(self.threads) + self.held_back.len()
    }

    fn hold_back(&mut self, connection: &mut ConnectionOf<Self>) {
        let upload = match mem::replace(&mut connection.phase, Phase::Head) {
            Phase::Body(upload) => Some(upload),
            _ => None,
        };
        connection.phase = Phase::HeldBack { upload };
        let now = Monotonic::now();
        self.held_back.push_back(HeldBack { token: connection.token, since: now });
        if let Some(count) = self.full.another(now) {
            log::warn!(count, waiting = self.waiting(), threads = self.threads, queue = self.queue;
                "all threads are busy and the queue is full; raise threads or workers");
        }
    }

    fn wakes(&mut self, registry: &Registry, token: Token, expiries: Token) -> io::Result<()> {
        let expired = watch_expiries()?.as_raw_fd();
        registry.register(&mut SourceFd(&expired), expiries, Interest::READABLE)?;
        self.shared.set_waker(registry, token)
    }

    fn answer_expired(worker: &mut Loop<'_, Self>) -> io::Result<()> {
        worker.tell_expired()
    }

    fn attend(worker: &mut Loop<'_, Self>) -> io::Result<()> {
        worker.attend_to_pool()
    }

    fn leave(worker: &mut Loop<'_, Self>, key: usize, is_broken: bool) {
        worker.client_left(key, is_broken);
    }

    fn sleep_at_most(service: &Service<Self>, now: Monotonic) -> Option<Duration> {
        let pool = &service.app;
        let overdue = service.around.options.queue_timeout.and_then(|timeout| {
            let queued = if pool.has_queued() {
                pool.shared.queue.look_at_first(|job| job.since)
            } else {
                None
            };
            let held_back = pool.held_back.front().map(|first| first.since);
            // It has to be over, not reached.
            let first = queued.into_iter().chain(held_back).min()?;
            Some((first + timeout).since(now) + Duration::from_millis(1))
        });
        let looks = pool.siblings.take_connections() || pool.stall.may_last() || pool.is_one_woken;
        let looks = looks.then_some(LOOKS);
        overdue.into_iter().chain(looks).min()
    }

    /// While no thread comes by the interpreter, what it accepted could be lost with it, and the
    /// kernel's queue is whoever's can serve it: a sibling's, a successor's, or its own, later.
    fn leaves_accepting(service: &Service<Self>) -> bool {
        service.app.stall.lasts() || service.app.siblings.take_connections()
    }

    /// Its response must not look whole; what is still sent of it, nobody keeps up.
    fn abandon(&self, connection: &ConnectionOf<Self>) {
        self.shared.quitting.store(true, Ordering::Release);
        if matches!(connection.phase, Phase::WithApp) {
            connection.client.stream.reset_on_close();
        }
    }

    fn begin_leaving(&self) {
        self.shared.closing.store(true, Ordering::Release);
    }
}

impl<A: Runs> Service<A> {
    /// Whether what has come of `connection` is a request that can't be run at present: it stays
    /// where it is then. What the loop answers itself isn't held up by what the app is busy with.
    pub(crate) fn holds_back(&mut self, connection: &mut ConnectionOf<A>, input: &[u8]) -> bool {
        let mut storage = FieldStorage::new();
        match Head::parse(input, &mut storage, &self.around.options.limits) {
            Ok(head) if !self.is_the_loops(connection, &head) => {
                self.app.hold_back(connection);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Whether the loop answers a request itself.
    fn is_the_loops(&self, connection: &ConnectionOf<A>, head: &Head<'_, '_>) -> bool {
        let client = &connection.client;
        client.redirects_to().is_some() || self.find_own(client, head).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn requests_wait_for_those_of_the_same_turn_but_not_for_long() {
        let pool = Pool::<Vec<u8>, ()>::new(Arc::new(Shared::new(1)), 1, 4);
        let now = Monotonic::now();
        pool.unannounced.set(Some(now + Duration::from_secs(3600)));
        pool.dealt_with();
        assert!(pool.unannounced.get().is_some());
        pool.unannounced.set(Some(Monotonic::from_nanos(0)));
        pool.dealt_with();
        assert_eq!(pool.unannounced.get(), None);
        pool.unannounced.set(Some(now));
        pool.before_long();
        assert_eq!(pool.unannounced.get(), None);
    }
}
