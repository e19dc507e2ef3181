//! A worker that runs its app on several threads.
//!
//! ```text
//!              ┌─────────── Queue ──────────┐
//!  the loop ───┤  Job ─►                    ├──► app thread 1 … N: calls the app, sends
//!  (sockets)   │                            │        │
//!      ▲       └────────────────────────────┘        │
//!      └────────────────── Done ◄────────────────────┘
//!
//!  the main thread: waits for the loop's end; the app's signal handlers run there
//! ```
//!
//! A request belongs to one thread at a time. It is the loop's until it is complete, then it goes
//! through the queue, as a [`Job`], to an app thread, and comes back as [`Done`]: answered, or as far
//! as the socket takes, and then the loop sends the rest. In the meantime the loop doesn't touch the
//! connection's socket; it only remembers what epoll tells of it. So what the two share is the
//! queue, the list of what is done, two counts, three flags, and the [`Transport`](crate::transport::Transport),
//! which only one of them uses at a time and which is closed when both have let it go.
//!
//! The loop never waits for an app thread nor for the interpreter. What only Python can do at the
//! end of a response that the loop has sent goes back through the queue ([`Leftover`]).

mod attend;
mod main_thread;
mod queue;
mod run;
mod seat;
mod siblings;
mod stall;
mod sync;

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use ironhorn_unix::Monotonic;
use mio::{Registry, Token, Waker};

use crate::application::{Application, Body, Exchange, Failed, Stream};
use crate::connection::{Client, Suspended};
use crate::garbage::Garbage;
use crate::overload::Episodes;
use crate::response::Progress;

pub use main_thread::{MainThread, run_on_threads};
use queue::Queue;
pub use seat::Seat;
use siblings::Siblings;
use stall::Stall;
use sync::{Mutex, lock};

/// An app on one of several threads. Its chunks outlive the thread's hold on the interpreter.
pub trait ThreadApplication: Application<Chunk: Send> {
    /// What is to be done at the end of a response that is sent elsewhere.
    type Rest: Send;

    /// The response is sent elsewhere; nothing is left but to end it.
    fn leave(stream: Self::Stream) -> Self::Rest;

    /// Ends a response that any of the threads has [left](Self::leave).
    fn finish(&mut self, rest: Self::Rest);
}

/// A request on its way to an app thread.
pub(crate) struct Job<C, R> {
    /// The connection's.
    token: Token,
    client: Client,
    /// A response of which there is nothing yet.
    suspended: Box<Suspended<C, Leftover<C, R>>>,
    body: Body,
    /// Bytes of another request have arrived.
    more: bool,
    /// When it was complete.
    since: Monotonic,
    /// No thread was free then.
    waits: bool,
    /// Nobody has looked yet whether the client of this connection is still there.
    unseen: bool,
}

/// A request on its way back.
pub(crate) struct Done<C, R> {
    token: Token,
    suspended: Box<Suspended<C, Leftover<C, R>>>,
    outcome: Outcome,
}

/// What became of a request.
enum Outcome {
    /// The app was called, and its response is so far.
    Answered(Progress),
    /// Its client had gone before the app was called.
    Left,
}

/// What the threads of a worker share.
struct Shared<C, R> {
    queue: Queue<Job<C, R>, R>,
    done: Mutex<Vec<Done<C, R>>>,
    /// What chunks were dropped without the interpreter.
    garbage: Arc<Garbage>,
    /// Wakes the loop; there before the first job is.
    waker: OnceLock<Waker>,
    /// Requests that wait, and those that the app is busy with: what it has answered isn't among them
    /// any more when its client can know of it.
    occupied: AtomicUsize,
    /// How often a thread has come by the interpreter with a request.
    entered: AtomicUsize,
    /// No connection is kept any more.
    closing: AtomicBool,
    /// Nothing is finished any more.
    quitting: AtomicBool,
    /// An app thread has panicked.
    failed: AtomicBool,
}

impl<C, R> Shared<C, R> {
    fn new(threads: usize) -> Self {
        Self {
            queue: Queue::new(threads),
            done: Mutex::new(Vec::new()),
            garbage: Arc::default(),
            waker: OnceLock::new(),
            occupied: AtomicUsize::new(0),
            entered: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            quitting: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }
    }

    fn set_waker(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let waker = Waker::new(registry, token)?;
        self.waker.set(waker).map_err(|_| io::ErrorKind::AlreadyExists.into())
    }

    /// One request less waits or is with the app.
    fn leave(&self) {
        self.occupied.fetch_sub(1, Ordering::Relaxed);
    }

    /// Gives a request back to the loop.
    fn give_back(&self, mut done: Done<C, R>) {
        done.suspended.response.wire.leave_to(&self.garbage);
        let mut all = lock(&self.done);
        all.push(done);
        let is_first = all.len() == 1;
        drop(all);
        // The loop takes all that there is.
        if is_first {
            self.wake_loop();
        }
    }

    /// Takes all that was given back; `former` is the memory of what was taken before.
    fn take_done(&self, former: Vec<Done<C, R>>) -> Vec<Done<C, R>> {
        std::mem::replace(&mut *lock(&self.done), former)
    }

    fn wake_loop(&self) {
        if let Some(waker) = self.waker.get()
            && let Err(error) = waker.wake()
        {
            log::error!(error:%; "cannot wake the loop");
        }
    }

    fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.wake_loop();
    }
}

/// What a response leaves behind when it is sent by a thread that doesn't run the app: an app thread
/// finishes it.
pub(crate) struct Leftover<C, R> {
    rest: Option<R>,
    shared: Arc<Shared<C, R>>,
}

impl<C, R> Leftover<C, R> {
    fn new(rest: R, shared: &Arc<Shared<C, R>>) -> Self {
        Self { rest: Some(rest), shared: Arc::clone(shared) }
    }
}

impl<C, R> Stream for Leftover<C, R> {
    type Chunk = C;

    fn next(&mut self, _: &mut dyn Exchange) -> Result<Option<C>, Failed> {
        Ok(None)
    }

    fn close(&mut self) {
        if let Some(rest) = self.rest.take() {
            self.shared.queue.push_rest(rest);
        }
    }
}

impl<C, R> Drop for Leftover<C, R> {
    fn drop(&mut self) {
        self.close();
    }
}

/// The loop's side: how it has its requests run.
pub(crate) struct Pool<C, R> {
    shared: Arc<Shared<C, R>>,
    threads: usize,
    /// Requests that may wait.
    queue: usize,
    /// Connections that may be read again when there is room, in the order of their coming.
    held_back: VecDeque<HeldBack>,
    /// It is their turn.
    releasing: bool,
    /// The memory of what was given back.
    done: Vec<Done<C, R>>,
    /// Of times when nothing more was read.
    full: Episodes,
    siblings: Siblings,
    stall: Stall,
    /// Requests that were handed over and not withdrawn.
    handed_over: usize,
    /// When the first request was handed over for which no thread has been woken yet.
    unannounced: Cell<Option<Monotonic>>,
    /// A thread was woken and hasn't come yet when that was last looked at.
    is_one_woken: bool,
}

/// A connection that is held back.
struct HeldBack {
    token: Token,
    since: Monotonic,
}

impl<C, R> Pool<C, R> {
    fn new(shared: Arc<Shared<C, R>>, threads: usize, queue: usize) -> Self {
        Self {
            shared,
            threads,
            queue,
            siblings: Siblings::default(),
            stall: Stall::default(),
            handed_over: 0,
            unannounced: Cell::new(None),
            is_one_woken: false,
            held_back: VecDeque::new(),
            releasing: false,
            done: Vec::new(),
            full: Episodes::default(),
        }
    }

    /// A request is handed over.
    fn enter(&mut self) {
        self.handed_over = self.handed_over.wrapping_add(1);
        self.shared.occupied.fetch_add(1, Ordering::Relaxed);
    }

    /// Wakes threads for the requests that were handed over.
    fn announce(&self) {
        if self.unannounced.take().is_some() {
            self.shared.queue.wake();
        }
    }

    /// It was withdrawn.
    fn withdrawn(&mut self) {
        self.handed_over = self.handed_over.wrapping_sub(1);
        self.shared.leave();
    }

    /// Takes back the request that has waited longest if it `is_it` and was not begun.
    fn withdraw_first(&mut self, is_it: impl FnOnce(&Job<C, R>) -> bool) -> Option<Job<C, R>> {
        let job = self.shared.queue.withdraw_first(is_it)?;
        self.withdrawn();
        Some(job)
    }

    /// Sees whether threads that are there for a request can run it.
    fn look_for_stall(&mut self, now: Monotonic) {
        let entered = self.shared.entered.load(Ordering::Relaxed);
        let (coming, woken) =
            if self.has_queued() { self.shared.queue.on_their_way() } else { (0, 0) };
        self.is_one_woken = woken > 0;
        self.stall.see(coming > 0, entered, now);
    }

    /// Whether a request may be in the queue still.
    fn has_queued(&self) -> bool {
        self.handed_over != self.shared.entered.load(Ordering::Relaxed)
    }

    /// How many requests wait or are with the app.
    fn occupied(&self) -> usize {
        self.shared.occupied.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        self.occupied() < self.threads + self.queue
    }

    /// How many threads have nothing to do.
    fn free(&self) -> usize {
        self.threads.saturating_sub(self.occupied())
    }
}
