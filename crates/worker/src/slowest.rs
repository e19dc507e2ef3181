//! The slowest of the clients that send a body or take a response: who goes when a worker is full of
//! them and others wait.
//!
//! A client's rate changes with all that it does, so no order of them is kept, which each piece of
//! each body would pay for. They are looked at when one has to go, and not for one alone: a look
//! finds a share of them, who then go one after another. What a look costs is spread over those.
//!
//! Who has had less than a moment doesn't go, but counts: nobody of the faster half goes because he
//! was there before a crowd that is slower.

use std::cmp::Reverse;
use std::time::Duration;

use ironhorn_unix::Monotonic;
use mio::Token;

use crate::event_loop::Loop;
use crate::overload::Episodes;
use crate::pace::Pace;
use crate::room::MOMENT;
use crate::runs::Runs;
use crate::serve::Next;
use crate::timers::Timeout;

/// One in so many is found by a look.
const SHARE: usize = 16;
/// Between two looks, unless all that the first has found have gone and there were more.
const PAUSE: Duration = Duration::from_millis(100);

/// What is known of them.
#[derive(Debug, Default)]
pub(crate) struct Slowest {
    /// Found by the last look, the slowest last.
    found: Vec<Slow>,
    /// There were more.
    has_more: bool,
    /// When another look may find others: what was found is out of date then.
    look_at: Option<Monotonic>,
    /// How many bodies and responses were under way then.
    seen: (usize, usize),
    given_up: Episodes,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Slow {
    token: Token,
    standing: Standing,
    /// It has had its moment then.
    due: Monotonic,
}

impl Slow {
    fn new(token: Token, pace: Pace, now: Monotonic) -> Self {
        let left = MOMENT.saturating_sub(pace.elapsed);
        let elapsed = pace.elapsed.max(MOMENT);
        Self { token, standing: Standing::of(Pace { elapsed, ..pace }), due: now + left }
    }
}

/// What a client stands for among the others; who is least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    /// Of its rate.
    magnitude: u32,
    /// Of those that are about as fast, the one that loses least goes: the others get done.
    bytes: u64,
}

impl Standing {
    fn of(pace: Pace) -> Self {
        Self { magnitude: pace.magnitude(), bytes: pace.bytes }
    }
}

impl Slowest {
    pub(crate) fn is_known(&self) -> bool {
        !self.found.is_empty()
    }

    fn is_outdated(&self, now: Monotonic) -> bool {
        self.look_at.is_none_or(|at| at <= now)
    }

    /// When it makes sense to look again.
    pub(crate) fn look_at(&self) -> Option<Monotonic> {
        self.look_at
    }

    /// Takes note of what a look at `now` has found of `all`.
    fn note(&mut self, mut all: Vec<Slow>, now: Monotonic) {
        let share = all.len().div_ceil(SHARE);
        let half = all.len().div_ceil(2);
        keep_least(&mut all, half);
        let next = all.iter().map(|slow| slow.due).filter(|due| *due > now).min();
        all.retain(|slow| slow.due <= now);
        self.has_more = all.len() > share;
        keep_least(&mut all, share);
        all.sort_unstable_by_key(|slow| Reverse(slow.standing));
        self.found = all;
        self.look_at = Some(next.unwrap_or(now + MOMENT).max(now + PAUSE));
    }
}

fn keep_least(all: &mut Vec<Slow>, count: usize) {
    if count < all.len() {
        all.select_nth_unstable_by_key(count, |slow| slow.standing);
        all.truncate(count);
    }
}

impl<A: Runs> Loop<'_, A> {
    /// Whether one is slow enough, for long enough, to be given up.
    pub(crate) fn knows_slow(&mut self, now: Monotonic) -> bool {
        while let Some(slow) = self.slowest.found.last() {
            if self.is_slow(*slow, now) {
                return true;
            }
            self.slowest.found.pop();
        }
        if self.slowest.has_more || self.slowest.is_outdated(now) {
            self.look_for_slowest(now);
        }
        self.slowest.is_known()
    }

    /// Gives the slowest up, unless it turns out to be faster than it was, where that `spares` it.
    /// Whether there was one.
    pub(crate) fn give_up_slowest(&mut self, now: Monotonic, spares: bool) -> bool {
        if self.slowest.is_outdated(now) {
            self.look_for_slowest(now);
        }
        if !self.knows_slow(now) {
            return false;
        }
        let Some(mut slow) = self.slowest.found.pop() else { return false };
        let Some(key) = self.key(slow.token) else { return false };
        let next = self.look_once_more(key);
        if !spares {
            slow.standing.magnitude = u32::MAX;
        }
        if next == Next::Wait && self.is_slow(slow, Monotonic::now()) {
            self.give_up(key, now);
        } else {
            self.carry_out(key, next);
        }
        true
    }

    /// What the client has sent or taken since it was last told of counts for it.
    fn look_once_more(&mut self, key: usize) -> Next {
        let connection = &mut self.connections[key].connection;
        if !connection.reads() {
            return self.service.resume(connection, &mut self.scratch);
        }
        if self.service.app.is_full() {
            return Next::Wait; // a body that can't be run isn't read
        }
        connection.readable = true;
        self.service.receive(connection, &mut self.scratch)
    }

    fn give_up(&mut self, key: usize, now: Monotonic) {
        let connection = &mut self.connections[key].connection;
        let pace = connection.pace(now);
        log::debug!(peer:? = connection.client.sender.peer, bytes = pace.map(|pace| pace.bytes),
            elapsed:? = pace.map(|pace| pace.elapsed); "slowest, closed: others wait");
        self.service.time_out(connection);
        self.close(key);
        if let Some(count) = self.slowest.given_up.another(now) {
            let (bodies, responses) = self.slowest.seen;
            log::warn!(count, worker_connections = self.worker_connections, bodies, responses;
                "the worker holds as many connections as it may: of bodies that come in and responses that clients take, the slowest make room for new connections; if the machine has room, raise worker_connections");
        }
    }

    /// Looks at all that wait for their client.
    fn look_for_slowest(&mut self, now: Monotonic) {
        let mut all = std::mem::take(&mut self.slowest.found);
        all.clear();
        let seen = [Timeout::Body, Timeout::Write].map(|class| {
            let mut count = 0;
            for key in self.timers.waiting(class) {
                count += 1;
                let connection = &self.connections[key].connection;
                let pace = connection.pace(now);
                all.extend(pace.map(|pace| Slow::new(connection.token, pace, now)));
            }
            count
        });
        self.slowest.seen = seen.into();
        self.slowest.note(all, now);
    }

    /// Whether it still waits for its client, which is no faster than it was.
    fn is_slow(&self, slow: Slow, now: Monotonic) -> bool {
        let Some(key) = self.key(slow.token) else { return false };
        let waits = matches!(self.timers.armed(key), Some(Timeout::Body | Timeout::Write));
        waits
            && self.connections[key].connection.pace(now).is_some_and(|pace| {
                pace.elapsed >= MOMENT && pace.magnitude() <= slow.standing.magnitude
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Monotonic {
        Monotonic::from_nanos(millis * 1_000_000)
    }

    /// What is seen of it at 1000 s.
    fn slow(token: usize, bytes: u64, millis: u64) -> Slow {
        let pace = Pace { bytes, elapsed: Duration::from_millis(millis) };
        Slow::new(Token(token), pace, at(1_000_000))
    }

    /// Who goes at 1000 s, in this order, and in how many milliseconds it is looked again.
    fn found(all: impl IntoIterator<Item = Slow>) -> (Vec<usize>, u128) {
        let mut slowest = Slowest::default();
        slowest.note(all.into_iter().collect(), at(1_000_000));
        let again = slowest.look_at().unwrap().since(at(1_000_000)).as_millis();
        (slowest.found.iter().rev().map(|slow| slow.token.0).collect(), again)
    }

    fn quick() -> impl Iterator<Item = Slow> {
        (0..30).map(|token| slow(token, 1_000_000, 1000))
    }

    #[test]
    fn the_slowest_go_first_and_of_those_that_are_alike_who_loses_least() {
        let slow = [slow(40, 2600, 10_000), slow(41, 260, 1000), slow(42, 1, 100_000)];
        assert_eq!(found(quick().chain(slow)), (vec![42, 41, 40], 1000));
    }

    #[test]
    fn the_faster_half_waits_with_the_slower_for_its_moment() {
        let crowd = |millis| (40..70).map(move |token| slow(token, 1, millis));
        assert_eq!(found(quick().chain(crowd(300))), (vec![], 700));
        assert_eq!(found(quick().chain(crowd(999))), (vec![], 100));
        assert_eq!(found(quick().chain(crowd(1000))).0.len(), 4);
        assert_eq!(found([slow(1, 1_000_000, 5000), slow(2, 0, 600)]), (vec![], 400));
        assert_eq!(found([slow(1, 1_000_000, 5000), slow(2, 0, 1000)]), (vec![2], 1000));
    }

    #[test]
    fn a_newcomer_that_has_sent_much_is_no_slow_one() {
        let all = [slow(1, 1_000_000, 10), slow(2, 500_000, 1000)];
        assert_eq!(found(all), (vec![2], 1000));
        assert_eq!(found([]), (vec![], 1000));
    }
}
