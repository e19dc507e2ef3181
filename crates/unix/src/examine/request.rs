//! Whose turn it is to answer the request that the app runs in one lane: a state machine in one
//! word.
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
//!   63            35 │ 34               4 │    3      │    2    │ 1  0
//!     number         │ connection or token │ by thread │ is HEAD │ state
//! ```
//!
//! [`answer`](Request::answer) is the signal handler's, the others are the thread's that runs the
//! app. Who finds the handler answering, in another thread, waits for it: the connection must not be
//! closed, and its descriptor be another's, under its hands. The number is one that no other request
//! of late has had, so that the handler doesn't take the next request by the same connection for the
//! one that it looked at.

use std::os::fd::RawFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::thread;

use super::Answer;

/// The request that the app runs, if it runs one. Alone on its cache line: each is another thread's.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Request(AtomicU64);

impl Request {
    /// None runs.
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(Word::IDLE.0))
    }

    /// One runs, that may be answered so.
    pub(super) fn open(&self, answer: Answer) {
        // One writer: the lane's thread, and the handler only while the word says open.
        let last = Word(self.0.load(Relaxed));
        self.0.store(last.next(answer).0, Release);
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
    pub(super) fn answer(&self, open: Word, tell: impl FnOnce(Answer)) {
        let answering = open.with(State::Answering);
        if self.0.compare_exchange(open.0, answering.0, AcqRel, Relaxed).is_ok() {
            tell(open.answer());
            self.0.store(open.with(State::Expired).0, Release);
        }
    }

    /// How the request that was expired is answered, if one was and has not been closed.
    pub(super) fn expired(&self) -> Option<Answer> {
        let word = Word(self.0.load(Acquire));
        (word.state() == State::Expired).then(|| word.answer())
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
    /// The client was told 504, or will be by another thread.
    Expired,
}

const STATE: u64 = 0b11;
const HEAD: u64 = 0b100;
const BY_THREAD: u64 = 0b1000;
const WHERE: u32 = 4;
/// 31 bits: a descriptor is not negative.
const WHERE_MASK: u64 = i32::MAX.cast_unsigned() as u64;
const NUMBER: u32 = 35;

impl Word {
    const IDLE: Self = Self(State::Idle as u64);

    /// The request after this one, open.
    fn next(self, answer: Answer) -> Self {
        let number = (self.0 >> NUMBER).wrapping_add(1) << NUMBER;
        let (place, flags) = match answer {
            Answer::Direct { connection, is_head } => {
                debug_assert!(connection >= 0, "invariant: an open descriptor");
                (connection.cast_unsigned(), if is_head { HEAD } else { 0 })
            }
            Answer::ByThread { token } => (token, BY_THREAD),
        };
        let place = u64::from(place);
        debug_assert!(place <= WHERE_MASK, "invariant: a token has 31 bits");
        Self(number | (place & WHERE_MASK) << WHERE | flags | State::Open as u64)
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

    fn answer(self) -> Answer {
        let place = self.0 >> WHERE & WHERE_MASK;
        if self.0 & BY_THREAD != 0 {
            Answer::ByThread { token: u32::try_from(place).unwrap_or_default() }
        } else {
            let connection = RawFd::try_from(place).unwrap_or(-1);
            Answer::Direct { connection, is_head: self.0 & HEAD != 0 }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const DIRECT: Answer = Answer::Direct { connection: 5, is_head: false };

    #[test]
    fn the_app_answers_what_it_has_claimed() {
        let request = Request::new();
        assert!(request.claim());
        assert_eq!(request.look(), None);
        request.open(DIRECT);
        let open = request.look().unwrap();
        assert!(request.claim());
        request.answer(open, |_| panic!("it is claimed"));
        assert_eq!(request.look(), None);
        assert!(request.claim());
        request.close();
        assert!(request.claim());
    }

    #[test]
    fn what_was_answered_cannot_be_claimed() {
        for answer in [DIRECT, Answer::ByThread { token: 9 }] {
            let request = Request::new();
            request.open(answer);
            assert_eq!(request.expired(), None);
            let mut told = None;
            request.answer(request.look().unwrap(), |how| told = Some(how));
            assert_eq!((told, request.expired()), (Some(answer), Some(answer)));
            assert_eq!(request.look(), None);
            assert!(!request.claim());
            assert!(!request.claim());
            request.close();
            assert_eq!(request.expired(), None);
            assert!(request.claim());
        }
    }

    #[test]
    fn the_next_request_by_the_same_connection_is_another() {
        let request = Request::new();
        request.open(DIRECT);
        let first = request.look().unwrap();
        request.close();
        request.open(DIRECT);
        request.answer(first, |_| panic!("it is over"));
        assert!(request.claim());
    }

    #[test]
    fn who_finds_it_being_answered_waits() {
        for finder in [Request::claim, |request: &Request| {
            request.close();
            false
        }] {
            let request = Request::new();
            request.open(DIRECT);
            let (started, told) = (AtomicBool::new(false), AtomicBool::new(false));
            thread::scope(|scope| {
                request.answer(request.look().unwrap(), |_| {
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
        let direct = [0, 7, i32::MAX].into_iter().flat_map(|connection| {
            [false, true].map(|is_head| Answer::Direct { connection, is_head })
        });
        let by_thread = [0, 7, i32::MAX.cast_unsigned()].map(|token| Answer::ByThread { token });
        for answer in direct.chain(by_thread) {
            let open = Word::IDLE.next(answer);
            for state in [State::Idle, State::Open, State::Answering, State::Expired] {
                let word = open.with(state);
                assert_eq!((word.state(), word.answer()), (state, answer));
            }
            assert_eq!(open.with(State::Idle).with(State::Open), open);
        }
    }

    #[test]
    fn numbers_start_over() {
        let last = Word(u64::MAX);
        let first = last.next(Answer::Direct { connection: 5, is_head: true });
        assert_eq!(first, Word(5 << WHERE | HEAD | State::Open as u64));
    }
}
