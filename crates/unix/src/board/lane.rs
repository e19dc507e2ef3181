//! What one thread of a worker is doing: the request that the app runs there.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::Mapping;
use super::text::Text;
use crate::clock::Monotonic;

/// One lane of a worker. It is written by one thread at a time, but for what the master asks.
#[derive(Clone, Debug)]
pub struct BoardLane {
    mapping: Arc<Mapping>,
    nr: usize,
    index: usize,
}

/// A request that the app is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Where.
    pub lane: usize,
    /// Since when, or since its last chunk.
    pub busy_since: Monotonic,
    /// Until when it was given time by itself, if it was.
    pub extended_until: Option<Monotonic>,
    /// Whether its client was told 504 in the app's stead.
    pub expired: bool,
    /// "GET /path", truncated, made printable. Empty if nobody wanted to know.
    pub request: String,
}

impl BoardLane {
    pub(super) fn new(mapping: Arc<Mapping>, nr: usize, index: usize) -> Self {
        Self { mapping, nr, index }
    }

    /// Number of the lane, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Says which thread the lane is for, by what pthread_self(3) returns there: that is how
    /// faulthandler names threads.
    pub fn set_thread(&self, thread: u64) {
        self.memory().thread.store(thread, Relaxed);
    }

    /// Says that the app is called for this request.
    pub fn begin_request(&self, method: &[u8], target: &[u8], now: Monotonic) {
        let lane = self.memory();
        lane.text.write(&[method, b" ", target]);
        lane.extended_until.store(0, Relaxed);
        lane.expired.store(0, Relaxed);
        lane.busy_since.store(busy(now), Relaxed);
    }

    /// Says that the running request may go on until `until`, whatever the timeout is.
    pub fn extend_request(&self, until: Monotonic) {
        self.memory().extended_until.store(until.as_nanos(), Relaxed);
    }

    /// Names the request that is to be expired, by the moment since when it has been busy; for the
    /// master, ahead of [`crate::examine()`].
    pub fn ask_to_expire(&self, busy_since: Monotonic) {
        self.memory().expire.store(busy(busy_since), Relaxed);
    }

    /// Whether the running request is the one that is to be expired.
    pub fn is_asked_to_expire(&self) -> bool {
        self.memory().is_asked_to_expire()
    }

    /// Says that the client of the running request was told 504.
    pub fn set_expired(&self) {
        self.memory().set_expired();
    }

    /// Whether the client of the request that runs, or that ran here last, was told 504.
    pub fn is_expired(&self) -> bool {
        self.memory().is_expired()
    }

    /// Says that the running request got on: another chunk came. Time counts from here.
    pub fn progress(&self, now: Monotonic) {
        self.memory().busy_since.store(busy(now), Relaxed);
    }

    /// Says that the request waits for its client, not for the app: no time counts.
    pub fn pause_request(&self) {
        self.memory().busy_since.store(0, Relaxed);
    }

    /// Says that the request is answered, and counts it.
    pub fn end_request(&self) {
        let lane = self.memory();
        lane.busy_since.store(0, Relaxed);
        // One writer: no locked instruction needed.
        lane.requests.store(lane.requests.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// The request that runs here, if one does.
    pub fn read(&self) -> Option<Running> {
        self.memory().read(self.index, &|_| true)
    }

    fn memory(&self) -> &LaneMemory {
        &self.mapping.slot(self.nr).lane[self.index]
    }
}

/// Zero means idle, so a clock that reads zero is moved by a nanosecond.
fn busy(now: Monotonic) -> u64 {
    now.as_nanos().max(1)
}

/// The shared memory of one lane.
#[repr(C, align(64))]
pub(crate) struct LaneMemory {
    busy_since: AtomicU64,
    extended_until: AtomicU64,
    expire: AtomicU64,
    /// How many were answered: each lane counts its own, so that none waits for another.
    requests: AtomicU64,
    /// 0: nobody has said.
    thread: AtomicU64,
    expired: AtomicU32,
    text: Text,
}

impl LaneMemory {
    pub(super) fn reset(&self) {
        self.busy_since.store(0, Relaxed);
        self.extended_until.store(0, Relaxed);
        self.expire.store(0, Relaxed);
        self.requests.store(0, Relaxed);
        self.thread.store(0, Relaxed);
        self.expired.store(0, Relaxed);
        self.text.reset();
    }

    pub(super) fn busy_since(&self) -> Option<Monotonic> {
        let busy_since = self.busy_since.load(Relaxed);
        (busy_since != 0).then(|| Monotonic::from_nanos(busy_since))
    }

    pub(super) fn thread(&self) -> u64 {
        self.thread.load(Relaxed)
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    pub(crate) fn is_asked_to_expire(&self) -> bool {
        let busy_since = self.busy_since.load(Relaxed);
        busy_since != 0 && busy_since == self.expire.load(Relaxed)
    }

    pub(crate) fn set_expired(&self) {
        self.expired.store(1, Relaxed);
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.expired.load(Relaxed) != 0
    }

    /// What runs here, in lane number `lane`, with its name if it is `named`.
    pub(super) fn read(&self, lane: usize, named: &impl Fn(Monotonic) -> bool) -> Option<Running> {
        let busy_since = self.busy_since()?;
        let extended_until = self.extended_until.load(Relaxed);
        let request = if named(busy_since) { self.text.read() } else { String::new() };
        Some(Running {
            lane,
            busy_since,
            extended_until: (extended_until != 0).then(|| Monotonic::from_nanos(extended_until)),
            expired: self.is_expired(),
            request,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Board;

    #[test]
    fn a_request_is_busy_unless_it_waits_for_its_client() {
        let slot = Board::new(1).unwrap().slot(1);
        let lane = slot.lane(3);
        assert_eq!((lane.index(), lane.read()), (3, None));
        lane.begin_request(b"GET", b"/", Monotonic::from_nanos(0));
        let busy_since = || lane.read().map(|running| running.busy_since);
        assert_eq!(busy_since(), Some(Monotonic::from_nanos(1)));
        lane.progress(Monotonic::from_nanos(5));
        assert_eq!(busy_since(), Some(Monotonic::from_nanos(5)));
        lane.pause_request();
        assert_eq!((busy_since(), slot.read().requests), (None, 0));
        lane.end_request();
        assert_eq!((busy_since(), slot.read().requests), (None, 1));
    }

    #[test]
    fn what_is_said_of_a_request_is_not_said_of_the_next() {
        let lane = Board::new(1).unwrap().slot(1).lane(0);
        let at = Monotonic::from_nanos;
        lane.begin_request(b"GET", b"/a", at(5));
        assert!(!lane.is_asked_to_expire());
        lane.ask_to_expire(at(4));
        assert!(!lane.is_asked_to_expire());
        lane.ask_to_expire(at(5));
        assert!(lane.is_asked_to_expire());
        lane.extend_request(at(9));
        lane.set_expired();
        assert_eq!(
            lane.read().map(|it| (it.extended_until, it.expired)),
            Some((Some(at(9)), true))
        );
        lane.end_request();
        assert!(lane.is_expired() && !lane.is_asked_to_expire());
        lane.begin_request(b"PUT", b"/b", at(6));
        assert!(!lane.is_expired() && !lane.is_asked_to_expire());
        let expected = Running {
            lane: 0,
            busy_since: at(6),
            extended_until: None,
            expired: false,
            request: "PUT /b".to_owned(),
        };
        assert_eq!(lane.read(), Some(expected));
    }
}
