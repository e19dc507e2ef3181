//! Whose turn it is to answer the request that the app runs: a state machine in one word.
//!
//! ```text
//!                     open                      look, answer
//!       ┌──────┐ ─────────────► ┌──────┐ ─────────────────► ┌───────────┐ told ┌─────────┐
//!       │ idle │                │ open │                    │ answering │ ───► │ expired │
//!       └──────┘ ◄───────────── └──────┘                    └───────────┘      └─────────┘
//!          ▲       claim, close                                                     │
//!          │                                                                  close │
//!          └────────────────────────────────────────────────────────────────────────┘
//!
//!   63            34 │ 33         3 │    2    │ 1  0
//!     number         │  connection  │ is HEAD │ state
//! ```
//!
//! [`answer`](Request::answer) is the signal handler's, the others are the worker's. Who finds the
//! handler answering, in another thread, waits for it: the connection must not be closed, and its
//! descriptor be another's, under its hands. The number is one that no other request of late has
//! had, so that the handler doesn't take the next request by the same connection for the one that
//! it looked at.

use std::os::fd::RawFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::thread;

/// The request that the app runs, if it runs one.
#[derive(Debug)]
pub(super) struct Request(AtomicU64);

impl Request {
    /// None runs.
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(Word::IDLE.0))
    }

    /// One runs, that came by `connection`.
    pub(super) fn open(&self, connection: RawFd, is_head: bool) {
        // One writer: the worker's thread, and the handler only while the word says open.
        let last = Word(self.0.load(Relaxed));
        self.0.store(last.next(connection, is_head).0, Release);
    }

    /// Takes the right to answer for the app. False: the handler has had it.
    pub(super) fn claim(&self) -> bool {
        loop {
            let word = Word(self.0.load(Acquire));
            match word.state() {
                State::Idle => return true,
                State::Open => {
                    let claimed = word.with(State::Idle).0;
                    if self.0.compare_exchange(word.0, claimed, AcqRel, Relaxed).is_ok() {
                        return true;
                    }
                }
                State::Answering => thread::yield_now(),
                State::Expired => return false,
            }
        }
    }

    /// None runs any more.
    pub(super) fn close(&self) {
        if !self.claim() {
            let word = Word(self.0.load(Relaxed));
            self.0.store(word.with(State::Idle).0, Release);
        }
    }

    /// The request that runs, if it was not answered.
    pub(super) fn look(&self) -> Option<Word> {
        let word = Word(self.0.load(Acquire));
        (word.state() == State::Open).then_some(word)
    }

    /// Has `tell` answer instead of the app, unless `open` is claimed or over by now.
    ///
    /// Async-signal-safe, if `tell` is.
    pub(super) fn answer(&self, open: Word, tell: impl FnOnce(RawFd, bool)) {
        let answering = open.with(State::Answering);
        if self.0.compare_exchange(open.0, answering.0, AcqRel, Relaxed).is_ok() {
            tell(open.connection(), open.is_head());
            self.0.store(open.with(State::Expired).0, Release);
        }
    }
}

/// The state and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(u64);

/// What becomes of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// None runs, or its response is on its way.
    Idle,
    /// The app runs, and nothing was answered.
    Open,
    /// The signal handler uses the connection.
    Answering,
    /// The client was told 504.
    Expired,
}

const STATE: u64 = 0b11;
const HEAD: u64 = 0b100;
const CONNECTION: u32 = 3;
const NUMBER: u32 = 34;

impl Word {
    const IDLE: Self = Self(State::Idle as u64);

    /// The request after this one, open.
    fn next(self, connection: RawFd, is_head: bool) -> Self {
        debug_assert!(connection >= 0, "invariant: an open descriptor");
        let number = (self.0 >> NUMBER).wrapping_add(1) << NUMBER;
        let connection = u64::from(connection.cast_unsigned() & i32::MAX.cast_unsigned());
        let head = if is_head { HEAD } else { 0 };
        Self(number | connection << CONNECTION | head | State::Open as u64)
    }

    /// The same request in another state.
    fn with(self, state: State) -> Self {
        Self(self.0 & !STATE | state as u64)
    }

    fn state(self) -> State {
        match self.0 & STATE {
            0 => State::Idle,
            1 => State::Open,
            2 => State::Answering,
            _ => State::Expired,
        }
    }

    fn is_head(self) -> bool {
        self.0 & HEAD != 0
    }

    fn connection(self) -> RawFd {
        // 31 bits.
        i32::try_from(self.0 >> CONNECTION & 0x7fff_ffff).unwrap_or(-1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn the_app_answers_what_it_has_claimed() {
        let request = Request::new();
        assert!(request.claim());
        assert_eq!(request.look(), None);
        request.open(5, false);
        let open = request.look().unwrap();
        assert!(request.claim());
        request.answer(open, |_, _| panic!("it is claimed"));
        assert_eq!(request.look(), None);
        assert!(request.claim());
        request.close();
        assert!(request.claim());
    }

    #[test]
    fn what_was_answered_cannot_be_claimed() {
        let request = Request::new();
        request.open(5, true);
        let mut told = None;
        request.answer(request.look().unwrap(), |connection, is_head| {
            told = Some((connection, is_head));
        });
        assert_eq!(told, Some((5, true)));
        assert_eq!(request.look(), None);
        assert!(!request.claim());
        assert!(!request.claim());
        request.close();
        assert!(request.claim());
    }

    #[test]
    fn the_next_request_by_the_same_connection_is_another() {
        let request = Request::new();
        request.open(5, false);
        let first = request.look().unwrap();
        request.close();
        request.open(5, false);
        request.answer(first, |_, _| panic!("it is over"));
        assert!(request.claim());
    }

    #[test]
    fn who_finds_it_being_answered_waits() {
        for finder in [Request::claim, |request: &Request| {
            request.close();
            false
        }] {
            let request = Request::new();
            request.open(5, false);
            let (started, told) = (AtomicBool::new(false), AtomicBool::new(false));
            thread::scope(|scope| {
                request.answer(request.look().unwrap(), |_, _| {
                    scope.spawn(|| {
                        started.store(true, Ordering::Relaxed);
                        assert!(!finder(&request));
                        assert!(told.load(Ordering::Relaxed), "it did not wait");
                    });
                    while !started.load(Ordering::Relaxed) {
                        thread::yield_now();
                    }
                    // Time enough to get it wrong.
                    (0..1000).for_each(|_| thread::yield_now());
                    told.store(true, Ordering::Relaxed);
                });
            });
        }
    }

    #[test]
    fn all_parts_are_kept() {
        for connection in [0, 7, i32::MAX] {
            for is_head in [false, true] {
                let open = Word::IDLE.next(connection, is_head);
                for state in [State::Idle, State::Open, State::Answering, State::Expired] {
                    let word = open.with(state);
                    let found = (word.state(), word.connection(), word.is_head());
                    assert_eq!(found, (state, connection, is_head));
                }
                assert_eq!(open.with(State::Idle).with(State::Open), open);
            }
        }
    }

    #[test]
    fn numbers_start_over() {
        let last = Word(u64::MAX);
        assert_eq!(last.next(5, true), Word(5 << CONNECTION | HEAD | State::Open as u64));
    }
}
