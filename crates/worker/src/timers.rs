//! Deadlines of connections, by injected time.
//!
//! Every class of timeout has one duration, so a connection that is armed now expires after all
//! that were armed before it in its class: a class is a queue, not a heap. The queues are linked
//! through an array indexed by the connection's key, so arming, moving and cancelling cost a few
//! stores and allocate nothing once the array has grown to the number of connections.

use std::iter;
use std::time::Duration;

use ironhorn_unix::Monotonic;

/// What a connection is waiting for, and so which setting limits the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timeout {
    /// The TLS handshake, counted from the accept.
    Handshake,
    /// The rest of a request head, counted from its first byte or from the time that
    /// it could come.
    Header,
    /// The next bytes of a request body.
    Body,
    /// The next request on a connection that has served one.
    KeepAlive,
    /// Room in the socket for more of a response.
    Write,
    /// The client's end of file after the last response.
    Linger,
    /// The request of a connection that was accepted when the server was already stopping.
    LastCall,
}

/// How many classes there are.
const CLASSES: usize = 7;
const NONE: u32 = u32::MAX;

/// One duration a class; `None` waits for ever.
pub(crate) type Durations = [Option<Duration>; CLASSES];

/// Up to which moment everything that happened has been told of, so that deadlines up to it have
/// passed in vain.
///
/// What a poll had no room for comes with the next ones, in the order of its happening: epoll(7)
/// puts a descriptor behind all the others once it has told of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// A moment of which more is to be told.
    moment: Monotonic,
    /// At most how much.
    left: usize,
}

impl Told {
    pub(crate) fn new(now: Monotonic) -> Self {
        Self { moment: now, left: 0 }
    }

    /// A poll that has ended at `now` told of `count` events, with room for `room`, of `polled`
    /// descriptors.
    pub(crate) fn until(
        &mut self,
        now: Monotonic,
        count: usize,
        room: usize,
        polled: usize,
    ) -> Option<Monotonic> {
        self.left = self.left.saturating_sub(count);
        if count < room {
            *self = Self::new(now);
            return Some(now);
        }
        let told = (self.left == 0).then_some(self.moment);
        if told.is_some() {
            *self = Self { moment: now, left: polled };
        }
        told
    }
}

#[derive(Debug)]
pub(crate) struct Timers {
    durations: Durations,
    queues: [Queue; CLASSES],
    links: Vec<Link>,
}

#[derive(Clone, Copy, Debug)]
struct Queue {
    first: u32,
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    class: Option<Timeout>,
    armed_at: Monotonic,
    previous: u32,
    next: u32,
}

impl Timers {
    pub(crate) fn new(durations: Durations) -> Self {
        Self { durations, queues: [Queue { first: NONE, last: NONE }; CLASSES], links: Vec::new() }
    }

    /// Which class connection `key` waits in.
    pub(crate) fn armed(&self, key: usize) -> Option<Timeout> {
        self.links.get(key).and_then(|link| link.class)
    }

    /// Connection `key` waits in `class` from `now` on, and in no other.
    pub(crate) fn arm(&mut self, key: usize, class: Timeout, now: Monotonic) {
        self.cancel(key);
        if self.links.len() <= key {
            let free = Link {
                class: None,
                armed_at: Monotonic::from_nanos(0),
                previous: NONE,
                next: NONE,
            };
            self.links.resize(key + 1, free);
        }
        let index = to_index(key);
        let queue = &mut self.queues[class as usize];
        self.links[key] =
            Link { class: Some(class), armed_at: now, previous: queue.last, next: NONE };
        match queue.last {
            NONE => queue.first = index,
            last => self.links[last as usize].next = index,
        }
        queue.last = index;
    }

    /// Connection `key` waits for nothing.
    pub(crate) fn cancel(&mut self, key: usize) {
        let Some(link) = self.links.get(key).copied() else { return };
        let Some(class) = link.class else { return };
        let queue = &mut self.queues[class as usize];
        match link.previous {
            NONE => queue.first = link.next,
            previous => self.links[previous as usize].next = link.next,
        }
        match link.next {
            NONE => queue.last = link.previous,
            next => self.links[next as usize].previous = link.previous,
        }
        self.links[key].class = None;
    }

    /// Who has been waiting in `class` for longest, and since when.
    pub(crate) fn first(&self, class: Timeout) -> Option<(usize, Monotonic)> {
        let first = self.queues[class as usize].first;
        (first != NONE).then(|| (first as usize, self.links[first as usize].armed_at))
    }

    /// All that wait in `class`, who has waited for longest first.
    pub(crate) fn waiting(&self, class: Timeout) -> impl Iterator<Item = usize> + '_ {
        let at = |index: u32| (index != NONE).then_some(index as usize);
        let first = at(self.queues[class as usize].first);
        iter::successors(first, move |&key| at(self.links[key].next))
    }

    /// How long until the nearest deadline; `None` if nothing has one.
    pub(crate) fn until_next(&self, now: Monotonic) -> Option<Duration> {
        self.heads().map(|(_, deadline)| deadline.since(now)).min()
    }

    /// Takes one connection whose deadline has passed, and what it had been waiting for.
    pub(crate) fn expire(&mut self, now: Monotonic) -> Option<(usize, Timeout)> {
        let (key, _) = self.heads().find(|&(_, deadline)| deadline <= now)?;
        let class = self.links[key].class?;
        self.cancel(key);
        Some((key, class))
    }

    /// The first of every queue, with its deadline.
    fn heads(&self) -> impl Iterator<Item = (usize, Monotonic)> + '_ {
        self.queues.iter().zip(self.durations).filter_map(|(queue, duration)| {
            if queue.first == NONE {
                return None;
            }
            let key = queue.first as usize;
            Some((key, self.links[key].armed_at + duration?))
        })
    }
}

fn to_index(key: usize) -> u32 {
    u32::try_from(key).expect("invariant: a process has fewer descriptors than u32::MAX")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATIONS: Durations = [
        Some(Duration::from_secs(10)),
        Some(Duration::from_secs(10)),
        Some(Duration::from_secs(30)),
        Some(Duration::from_secs(5)),
        None,
        Some(Duration::from_secs(2)),
        None,
    ];

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn expires_in_the_order_of_deadlines_across_classes() {
        let mut timers = Timers::new(DURATIONS);
        timers.arm(0, Timeout::Header, at(0));
        timers.arm(1, Timeout::KeepAlive, at(1));
        timers.arm(2, Timeout::KeepAlive, at(2));
        assert_eq!(timers.until_next(at(2)), Some(Duration::from_secs(4)));
        assert_eq!(timers.expire(at(5)), None);
        assert_eq!(timers.expire(at(6)), Some((1, Timeout::KeepAlive)));
        assert_eq!(timers.expire(at(6)), None);
        assert_eq!(timers.expire(at(7)), Some((2, Timeout::KeepAlive)));
        assert_eq!(timers.expire(at(10)), Some((0, Timeout::Header)));
        assert_eq!(timers.until_next(at(10)), None);
    }

    #[test]
    fn arming_again_moves_to_the_end_of_the_new_class() {
        let mut timers = Timers::new(DURATIONS);
        for key in 0..3 {
            timers.arm(key, Timeout::KeepAlive, at(0));
        }
        timers.arm(1, Timeout::Body, at(0));
        timers.arm(0, Timeout::KeepAlive, at(1));
        assert_eq!(timers.first(Timeout::KeepAlive), Some((2, at(0))));
        assert_eq!(timers.first(Timeout::Write), None);
        assert_eq!(timers.armed(1), Some(Timeout::Body));
        assert!(timers.waiting(Timeout::KeepAlive).eq([2, 0]));
        assert!(timers.waiting(Timeout::Write).eq([]));
        assert_eq!(timers.expire(at(9)), Some((2, Timeout::KeepAlive)));
        assert_eq!(timers.expire(at(9)), Some((0, Timeout::KeepAlive)));
        assert_eq!(timers.expire(at(9)), None);
        timers.cancel(1);
        assert_eq!(timers.expire(at(99)), None);
    }

    #[test]
    fn a_class_without_a_duration_never_expires() {
        let mut timers = Timers::new(DURATIONS);
        timers.arm(7, Timeout::Write, at(0));
        assert_eq!(timers.until_next(at(0)), None);
        assert_eq!(timers.expire(at(1_000_000)), None);
    }

    #[test]
    fn a_full_poll_defers_deadlines_and_never_for_ever() {
        let mut told = Told::new(at(0));
        assert_eq!(told.until(at(1), 3, 10, 25), Some(at(1)));
        // The poll before had told of everything.
        assert_eq!(told.until(at(2), 10, 10, 25), Some(at(1)));
        // At most 25 descriptors had more to tell when it ended.
        assert_eq!(told.until(at(3), 10, 10, 25), None);
        assert_eq!(told.until(at(4), 10, 10, 25), None);
        assert_eq!(told.until(at(5), 10, 10, 25), Some(at(2)));
        assert_eq!(told.until(at(6), 10, 10, 25), None);
        assert_eq!(told.until(at(7), 9, 10, 25), Some(at(7)));
    }
}
