//! The queue of the pool, in every order in which its threads can be run.
//!
//! It is the same code with the locks of [loom](https://docs.rs/loom) in place of the standard
//! library's.

#![allow(clippy::unwrap_used, reason = "tests panic; clippy spares only #[test] functions")]

mod sync {
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap()
    }

    pub(crate) fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        condition.wait(guard).unwrap()
    }
}

#[path = "../src/pool/queue.rs"]
mod queue;

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use loom::thread::{self, JoinHandle};

use queue::{Queue, Work};

/// What a thread of the pool has done until it was sent home.
#[derive(Debug, Default, PartialEq, Eq)]
struct Did {
    requests: Vec<u32>,
    rests: Vec<char>,
}

/// A thread of the pool.
fn seat(queue: &Arc<Queue<u32, char>>, index: usize) -> JoinHandle<Did> {
    let queue = Arc::clone(queue);
    thread::spawn(move || {
        let mut did = Did::default();
        loop {
            queue.wait(index);
            match queue.take() {
                Work::Request(request) => did.requests.push(request),
                Work::Rest(rest) => did.rests.push(rest),
                Work::Nothing => {}
                Work::Stop => return did,
            }
        }
    })
}

/// Runs `test` in every order with at most three switches where none is needed.
fn check(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

#[test]
fn everything_is_done_once_and_nobody_sleeps_on() {
    check(|| {
        let queue = Arc::new(Queue::new(2));
        let seats = [seat(&queue, 0), seat(&queue, 1)];
        queue.push(1);
        queue.push_rest('a');
        queue.push(2);
        queue.wake();
        queue.stop();
        let [mut did, other] = seats.map(|seat| seat.join().unwrap());
        did.requests.extend(other.requests);
        did.requests.sort_unstable();
        did.rests.extend(other.rests);
        assert_eq!(did, Did { requests: vec![1, 2], rests: vec!['a'] });
    });
}

#[test]
fn requests_are_begun_in_their_order() {
    check(|| {
        let queue = Arc::new(Queue::new(1));
        let seat = seat(&queue, 0);
        (1..=3).for_each(|request| queue.push(request));
        queue.wake();
        queue.stop();
        assert_eq!(seat.join().unwrap().requests, [1, 2, 3]);
    });
}

#[test]
fn who_does_not_wait_takes_what_there_is() {
    check(|| {
        let queue = Arc::new(Queue::new(1));
        let seat = seat(&queue, 0);
        queue.push(1);
        queue.wake();
        queue.push_rest('a');
        let mut did = Did::default();
        for _ in 0..2 {
            queue.come();
            match queue.take() {
                Work::Request(request) => did.requests.push(request),
                Work::Rest(rest) => did.rests.push(rest),
                Work::Nothing | Work::Stop => {}
            }
        }
        queue.stop();
        let other = seat.join().unwrap();
        did.requests.extend(other.requests);
        did.rests.extend(other.rests);
        assert_eq!(did, Did { requests: vec![1], rests: vec!['a'] });
    });
}

#[test]
fn a_nudge_has_somebody_come_by_after_it() {
    check(|| {
        let queue = Arc::new(Queue::<u32, char>::new(1));
        let (dropped, freed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seat = thread::spawn({
            let (queue, dropped, freed) =
                (Arc::clone(&queue), Arc::clone(&dropped), Arc::clone(&freed));
            move || {
                loop {
                    queue.wait(0);
                    // What is there when it comes by the interpreter.
                    freed.store(dropped.load(SeqCst), SeqCst);
                    if queue.take() == Work::Stop {
                        return;
                    }
                }
            }
        });
        queue.push(1);
        queue.wake();
        dropped.store(1, SeqCst);
        queue.nudge();
        while freed.load(SeqCst) == 0 {
            thread::yield_now();
        }
        queue.stop();
        seat.join().unwrap();
    });
}

#[test]
fn a_request_is_withdrawn_or_run() {
    check(|| {
        let queue = Arc::new(Queue::new(1));
        let seat = seat(&queue, 0);
        queue.push(1);
        queue.push(2);
        queue.wake();
        let withdrawn = queue.withdraw(|&request| request == 2);
        queue.nudge();
        let first = queue.withdraw_first(|&request| request == 1);
        queue.stop();
        let mut all = seat.join().unwrap().requests;
        all.extend(withdrawn);
        all.extend(first);
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
        assert_eq!((queue.look_at_first(|_| ()), queue.take_rest()), (None, None));
    });
}

/// However many threads are awake at that moment, or about to fall asleep.
#[test]
fn what_was_added_together_runs_at_the_same_time() {
    check(|| {
        let queue = Arc::new(Queue::<u32, char>::new(2));
        let running = Arc::new(AtomicUsize::new(0));
        let seats = [0, 1].map(|index| {
            let (queue, running) = (Arc::clone(&queue), Arc::clone(&running));
            thread::spawn(move || {
                loop {
                    queue.wait(index);
                    if let Work::Request(_) = queue.take() {
                        break;
                    }
                }
                running.fetch_add(1, SeqCst);
                while running.load(SeqCst) < 2 {
                    thread::yield_now();
                }
            })
        });
        queue.push(1);
        queue.push(2);
        queue.wake();
        seats.into_iter().for_each(|seat| seat.join().unwrap());
    });
}

#[test]
fn one_thread_is_woken_for_each_request_that_no_other_comes_for() {
    check(|| {
        let queue = Arc::new(Queue::<u32, char>::new(2));
        let other = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                queue.wait(1);
                let work = queue.take();
                // It doesn't come back, as the app keeps it.
                assert!(matches!(work, Work::Request(_)));
            })
        };
        queue.push(1);
        queue.wake();
        queue.push(2);
        queue.wake();
        queue.wait(0);
        assert!(matches!(queue.take(), Work::Request(_)));
        other.join().unwrap();
        assert_eq!(queue.on_their_way(), (0, 0));
    });
}

/// As one does that waits for the interpreter.
#[test]
fn a_request_can_be_withdrawn_until_it_is_taken_and_another_is_run() {
    check(|| {
        let queue = Arc::new(Queue::<u32, char>::new(2));
        queue.push(1);
        queue.wait(0);
        assert_eq!(queue.on_their_way(), (1, 0));
        let other = seat(&queue, 1);
        assert_eq!(queue.withdraw(|_| true), Some(1));
        queue.push(2);
        queue.wake();
        let taken = queue.take();
        queue.stop();
        let did = other.join().unwrap().requests;
        // Who came for the first takes the second, unless there was somebody else for it.
        let expected: &[u32] = if taken == Work::Request(2) { &[] } else { &[2] };
        assert_eq!(did, expected);
        assert_eq!(queue.on_their_way(), (0, 0));
    });
}
