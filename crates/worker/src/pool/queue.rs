//! What waits for an app thread: requests, and what responses have left behind.
//!
//! A thread takes in two steps. It waits, without the interpreter, until there is something that no
//! other is coming for; then it comes by the interpreter, which may take for ever while C code holds
//! the lock; only then it takes the first that there is. So what no thread can run is still here, and
//! can be withdrawn.
//!
//! One lock over everything, and a condition for each thread, so that exactly one is woken: the one
//! that fell asleep last, whose memory is still in the caches. A thread that comes back for more
//! while another is being woken comes for what there is; the other finds nothing and sleeps on.
//! Nothing is lost by that: who is about to sleep looks under the same lock under which work is added.
//!
//! Requests are added first and threads [woken](Queue::wake) later, for all of them: in the meantime
//! threads that are awake take some, which costs nothing, and a thread that is woken doesn't take the
//! core from who adds the next.
//!
//! Nothing else is locked while this lock is held but the interpreter's, and it is never held over a
//! call of the app, a system call or a log line.

use std::collections::VecDeque;

use super::sync::{Condvar, Mutex, MutexGuard, lock, wait};

/// The queue. `J` is a request, `R` what a response has left behind.
#[derive(Debug)]
pub(crate) struct Queue<J, R> {
    state: Mutex<State<J, R>>,
    /// What each thread waits on.
    wakes: Vec<Condvar>,
}

#[derive(Debug)]
struct State<J, R> {
    /// The first has waited longest.
    requests: VecDeque<J>,
    rests: VecDeque<R>,
    /// The last fell asleep last.
    asleep: Vec<usize>,
    /// How many threads were woken and have not noticed yet.
    woken: usize,
    /// How many threads have done with waiting and have not taken anything yet.
    coming: usize,
    /// Somebody is to look up, for no more than that.
    nudged: bool,
    stopped: bool,
}

/// What a thread does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Work<J, R> {
    Request(J),
    Rest(R),
    /// It was withdrawn, or to have been awake was all.
    Nothing,
    /// There won't be any more.
    Stop,
}

impl<J, R> Queue<J, R> {
    /// For so many threads.
    pub(crate) fn new(threads: usize) -> Self {
        let state = State {
            requests: VecDeque::new(),
            rests: VecDeque::new(),
            asleep: Vec::with_capacity(threads),
            woken: 0,
            coming: 0,
            nudged: false,
            stopped: false,
        };
        Self { state: Mutex::new(state), wakes: (0..threads).map(|_| Condvar::new()).collect() }
    }

    /// Adds a request. Who adds it is to [wake](Self::wake) a thread for it before they wait for
    /// anything.
    pub(crate) fn push(&self, request: J) {
        self.lock().requests.push_back(request);
    }

    /// Wakes a thread for each request that no other comes for.
    pub(crate) fn wake(&self) {
        while let Some(thread) = self.next_to_wake() {
            self.wakes[thread].notify_one();
        }
    }

    fn next_to_wake(&self) -> Option<usize> {
        let mut state = self.lock();
        let wanted = state.requests.len() + state.rests.len() > state.coming + state.woken;
        if wanted { state.wake_one() } else { None }
    }

    /// Adds what a response has left behind. It goes first: it is what others may wait for.
    pub(crate) fn push_rest(&self, rest: R) {
        self.add(|state| state.rests.push_back(rest));
    }

    /// Has a thread look up if one sleeps.
    pub(crate) fn nudge(&self) {
        self.add(|state| state.nudged = true);
    }

    fn add(&self, add: impl FnOnce(&mut State<J, R>)) {
        let mut state = self.lock();
        add(&mut state);
        let woken = state.wake_one();
        drop(state);
        if let Some(thread) = woken {
            self.wakes[thread].notify_one();
        }
    }

    /// Waits until there is something for thread number `thread` to do, which it is to
    /// [take](Self::take) then.
    pub(crate) fn wait(&self, thread: usize) {
        let mut state = self.lock();
        while !state.wants_another() {
            state.asleep.push(thread);
            state = wait(&self.wakes[thread], state);
            // It may have woken by itself.
            match state.asleep.iter().position(|&asleep| asleep == thread) {
                Some(position) => _ = state.asleep.remove(position),
                None => state.woken -= 1,
            }
        }
        state.come();
    }

    /// Has a thread [take](Self::take) what there may be, without waiting.
    pub(crate) fn come(&self) {
        self.lock().come();
    }

    /// Takes what there is for a thread that has [waited](Self::wait) or [come](Self::come).
    pub(crate) fn take(&self) -> Work<J, R> {
        let mut state = self.lock();
        state.coming -= 1;
        state.next()
    }

    /// How many threads have done with waiting and have not taken anything yet, and how many were
    /// woken and have not noticed yet.
    pub(crate) fn on_their_way(&self) -> (usize, usize) {
        let state = self.lock();
        (state.coming, state.woken)
    }

    /// Takes back the first request that `is_it`, if no thread has taken it yet.
    pub(crate) fn withdraw(&self, is_it: impl FnMut(&J) -> bool) -> Option<J> {
        let mut state = self.lock();
        let position = state.requests.iter().position(is_it)?;
        state.requests.remove(position)
    }

    /// Takes back the request that has waited longest if it is `overdue`.
    pub(crate) fn withdraw_first(&self, overdue: impl FnOnce(&J) -> bool) -> Option<J> {
        let mut state = self.lock();
        if state.requests.front().is_some_and(overdue) { state.requests.pop_front() } else { None }
    }

    /// Looks at the request that has waited longest.
    pub(crate) fn look_at_first<T>(&self, look: impl FnOnce(&J) -> T) -> Option<T> {
        self.lock().requests.front().map(look)
    }

    /// Takes what a response has left behind and no thread has taken.
    pub(crate) fn take_rest(&self) -> Option<R> {
        self.lock().rests.pop_front()
    }

    /// Sends all threads home, once they have done what waits.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.wakes.iter().for_each(Condvar::notify_one);
    }

    fn lock(&self) -> MutexGuard<'_, State<J, R>> {
        lock(&self.state)
    }
}

impl<J, R> State<J, R> {
    /// Whether there is more to do than threads are coming for.
    fn wants_another(&self) -> bool {
        let nudged = self.nudged && self.coming == 0;
        self.requests.len() + self.rests.len() > self.coming || nudged || self.stopped
    }

    /// Has a thread count as woken; inside: which is to be notified.
    fn wake_one(&mut self) -> Option<usize> {
        let thread = self.asleep.pop()?;
        self.woken += 1;
        Some(thread)
    }

    /// A thread comes by the interpreter from here on, which is all that a nudge is for. One that
    /// it gets later is for another time.
    fn come(&mut self) {
        self.coming += 1;
        self.nudged = false;
    }

    fn next(&mut self) -> Work<J, R> {
        if let Some(rest) = self.rests.pop_front() {
            return Work::Rest(rest);
        }
        if let Some(request) = self.requests.pop_front() {
            return Work::Request(request);
        }
        if self.stopped { Work::Stop } else { Work::Nothing }
    }
}
