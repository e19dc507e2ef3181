//! A thread that stands in for the loop while the app keeps it.
//!
//! A loop that runs the app itself doesn't turn meanwhile: the clients whose connections it holds
//! wait, however idle its siblings are. The stand-in passes such connections on, through the
//! listener's passage ([`ironhorn_unix::Listener::pass`]), to whichever worker is free first; that
//! may be its own. It knows nothing of HTTP nor of Python, and touches only connections that wait
//! for a request of which nothing has been read.
//!
//! It also writes the lines of the access log that would wait for the end of the turn.
//!
//! Who may touch such a connection is settled by one word, the [`Offer`]:
//!
//! ```text
//!            loop: it is idle               stand-in                 it is in the passage
//!   Kept ───────────────────────► Open ─────────────────► Passing ────────────────────────► Passed
//!     ▲                            │                         │
//!     └── loop: it has an event ───┘◄── the passage is full ─┘
//! ```

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fs, io, mem};

use ironhorn_unix::{
    BlockedSignals, BoardSlot, Listener, Monotonic, Passed, name_thread, readable, remove,
};
use mio::Token;

use crate::Protocol;
use crate::access_log::{AccessLog, Outlet};
use crate::connection::Client;
use crate::drain::Drain;
use crate::event_loop::{Loop, to_u32};
use crate::runs::Runs;
use crate::serve::Service;
use crate::transport::Transport;

/// A turn of the loop that takes longer has the stand-in look after its connections.
pub(crate) const PATIENCE: Duration = Duration::from_millis(5);
/// After so many looks at an idle loop, the stand-in sleeps until it is woken.
const IDLE_LOOKS: u32 = 200;
/// After being passed on so often a connection stays: an idle worker with few may take none.
const MOST_PASSED: u8 = 8;
/// However it was missed, it wakes by itself.
const SLEEP: Duration = Duration::from_secs(1);

/// Who may touch a connection.
#[derive(Debug, Default)]
pub(crate) struct Offer(AtomicU8);

impl Offer {
    const KEPT: u8 = 0;
    const OPEN: u8 = 1;
    const PASSING: u8 = 2;
    const PASSED: u8 = 3;

    /// The loop leaves it to the stand-in.
    fn open(&self) {
        self.0.store(Self::OPEN, Ordering::Release);
    }

    /// The loop wants it back. False: it is another worker's.
    fn take_back(&self) -> bool {
        loop {
            match self.exchange(Self::OPEN, Self::KEPT) {
                Ok(_) | Err(Self::KEPT) => return true,
                Err(Self::PASSED) => return false,
                // Three system calls, and it is decided.
                Err(_) => thread::yield_now(),
            }
        }
    }

    fn exchange(&self, from: u8, to: u8) -> Result<u8, u8> {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
    }
}

/// The thread, as the loop has it. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct StandIn {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    slot: BoardSlot,
    /// The loop's.
    epoll: OwnedFd,
    /// What takes the place of a socket that was passed on.
    nothing: fs::File,
    listeners: Vec<Weak<Listener>>,
    /// The access log, if there is one.
    log: Option<Outlet>,
    /// The connections that have been offered once, and by which listener they have come.
    offered: Mutex<HashMap<Token, Offered>>,
    /// Those that were passed on, for the loop to forget.
    passed: Mutex<Vec<Token>>,
    has_passed: AtomicBool,
    asleep: AtomicBool,
    ended: AtomicBool,
}

#[derive(Clone, Debug)]
struct Offered {
    stream: Arc<Transport>,
    listener: usize,
}

impl StandIn {
    pub(crate) fn start(
        slot: BoardSlot,
        epoll: OwnedFd,
        listeners: Vec<Weak<Listener>>,
        log: Option<Outlet>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            slot,
            epoll,
            nothing: fs::File::open("/dev/null")?,
            listeners,
            log,
            offered: Mutex::default(),
            passed: Mutex::default(),
            has_passed: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let its = Arc::clone(&shared);
        // A thread begins with the mask of the one that starts it: the main thread, which runs the
        // app, is the one to be interrupted.
        let _blocked = BlockedSignals::block()?;
        let thread = thread::Builder::new().spawn(move || its.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Offers a connection that nobody has offered yet.
    pub(crate) fn introduce(&self, token: Token, stream: &Arc<Transport>, listener: usize) {
        let offered = Offered { stream: Arc::clone(stream), listener };
        lock(&self.shared.offered).insert(token, offered);
        stream.offer().open();
    }

    /// The loop is about to have something to do.
    pub(crate) fn wake(&self) {
        if self.shared.asleep.load(Ordering::SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
    }

    /// A connection is about to be closed.
    pub(crate) fn forget(&self, token: Token, stream: &Transport) {
        stream.offer().take_back();
        lock(&self.shared.offered).remove(&token);
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It has no way to panic that would matter here.
            let _ = thread.join();
        }
    }
}

impl<A: Runs> Service<A> {
    /// Whether another worker would know all of a connection that this one does.
    fn may_pass(&self, client: &Client) -> bool {
        matches!(client.protocol, Protocol::Http)
            // What a proxy has said at its start would be lost.
            && self.around.options.trust.proxy_protocol.is_none()
    }
}

/// The loop's side of it.
impl<A: Runs> Loop<'_, A> {
    /// Starts the stand-in if there are others who could serve this worker's connections: with the
    /// first connection beside them, or when the app has kept the loop for long.
    pub(crate) fn have_stand_in(&mut self, now: Monotonic) {
        if !A::INLINE || self.standin.is_some() || self.connections.is_empty() {
            return;
        }
        let was_long = now.since(self.service.turn_began) >= PATIENCE;
        let slot = &self.service.around.slot;
        if (self.had_siblings && !was_long) || self.drain != Drain::Serving || !slot.has_sibling() {
            return;
        }
        self.had_siblings = true;
        let epoll = self.poll.registry().as_fd().try_clone_to_owned();
        let log = self.service.access_log.as_ref().map(|log| log.gather(slot));
        let started = epoll
            .and_then(|epoll| StandIn::start(slot.clone(), epoll, self.acceptor.listeners(), log));
        match started {
            Ok(standin) => self.standin = Some(standin),
            // Clients wait for the app then, as they do where there is but one worker.
            Err(error) => {
                log::debug!(error:%; "no stand-in");
                self.service.access_log.iter().for_each(AccessLog::stop_gathering);
            }
        }
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.offer(key));
    }

    /// Leaves a connection that waits for a request to the stand-in.
    pub(crate) fn offer(&mut self, key: usize) {
        let Some(standin) = &self.standin else { return };
        let held = &mut self.connections[key];
        if !held.connection.is_idle() || !held.polled || held.queued {
            return;
        }
        let client = &held.connection.client;
        if held.introduced {
            client.stream.offer().open();
        } else if self.service.may_pass(client) {
            held.introduced = true;
            standin.introduce(held.token, &client.stream, client.listener);
        }
    }

    /// Whether a connection that comes beside so many others is better off with an idle sibling: one
    /// that is kept stays where it is, so who has more of them than others lets its clients wait
    /// while those are idle.
    pub(crate) fn leaves_to_sibling(&self, client: &Client, others: usize) -> bool {
        A::INLINE
            && self.drain == Drain::Serving
            && client.passed.times < MOST_PASSED
            && self.service.may_pass(client)
            && self.service.around.slot.has_too_many(to_u32(others + 1))
    }

    /// Takes a connection back. False: another worker has it, and it will be forgotten.
    pub(crate) fn reclaim(&self, key: usize) -> bool {
        let held = &self.connections[key];
        !held.introduced || held.connection.client.stream.offer().take_back()
    }

    /// From here on nothing is passed on.
    pub(crate) fn end_stand_in(&mut self) {
        let Some(standin) = self.standin.take() else { return };
        let shared = Arc::clone(&standin.shared);
        drop(standin);
        self.service.access_log.iter().for_each(AccessLog::stop_gathering);
        self.close_all(shared.take_passed());
    }

    fn close_all(&mut self, tokens: Vec<Token>) {
        for token in tokens {
            if let Some(key) = self.key(token) {
                self.close(key);
            }
        }
    }

    /// Closes what other workers have.
    pub(crate) fn forget_passed(&mut self) {
        if let Some(standin) = &self.standin {
            self.close_all(standin.shared.take_passed());
        }
    }
}

impl Shared {
    /// The connections that were passed on since this was asked last.
    fn take_passed(&self) -> Vec<Token> {
        if !self.has_passed.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut passed = lock(&self.passed);
        self.has_passed.store(false, Ordering::Relaxed);
        mem::take(&mut passed)
    }

    fn run(&self) {
        name_thread("stand-in");
        let mut idle_looks = 0;
        while !self.ended.load(Ordering::SeqCst) {
            // Not only of the app: the disk may keep the loop too.
            if self.is_late() {
                self.log.iter().for_each(Outlet::flush);
            }
            if self.slot.is_busy() {
                idle_looks = 0;
                if !self.is_wanted() || !self.relieve() {
                    thread::park_timeout(PATIENCE);
                }
            } else if idle_looks < IDLE_LOOKS {
                idle_looks += 1;
                thread::park_timeout(PATIENCE);
            } else {
                idle_looks = 0;
                self.sleep();
            }
        }
    }

    /// Until the loop has something to do.
    fn sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        if !self.slot.is_busy() {
            thread::park_timeout(SLEEP);
        }
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Whether the loop has been away for long, and somebody else isn't.
    fn is_wanted(&self) -> bool {
        let now = Monotonic::now();
        self.is_late_at(now) && self.slot.has_turning_sibling(now, PATIENCE)
    }

    fn is_late(&self) -> bool {
        self.is_late_at(Monotonic::now())
    }

    fn is_late_at(&self, now: Monotonic) -> bool {
        now.since(self.slot.heartbeat()) >= PATIENCE
    }

    /// Waits a moment for a request on any connection that is offered, and passes those on that have
    /// one. False: there is nothing to wait for.
    fn relieve(&self) -> bool {
        let offered: Vec<(Token, Offered)> = lock(&self.offered)
            .iter()
            .filter(|(_, offered)| offered.stream.offer().0.load(Ordering::Relaxed) == Offer::OPEN)
            .map(|(&token, offered)| (token, offered.clone()))
            .collect();
        let sockets = offered.iter().map(|(_, offered)| offered.stream.as_fd());
        let Ok(ready) = readable(sockets, PATIENCE) else { return false };
        ready.into_iter().all(|index| {
            let (token, offered) = &offered[index];
            self.is_wanted() && self.pass(*token, offered)
        }) && !offered.is_empty()
    }

    /// False: it can't be passed on now.
    fn pass(&self, token: Token, offered: &Offered) -> bool {
        let Some(listener) = self.listeners[offered.listener].upgrade() else { return false };
        let Offered { stream, .. } = offered;
        if stream.offer().exchange(Offer::OPEN, Offer::PASSING).is_err() {
            return true; // The loop is back.
        }
        if let Err(error) = listener.pass(stream.as_fd(), Passed::default().again(self.slot.nr())) {
            log::debug!(error:%; "cannot pass a connection on");
            stream.offer().open();
            return false;
        }
        // An epoll set holds a connection as long as anybody does. And as long as we did, closing it
        // over there would not end it.
        let _ = remove(self.epoll.as_fd(), stream.as_fd());
        if let Err(error) = stream.let_go(self.nothing.as_fd()) {
            log::debug!(error:%; "a connection stays open until the loop is back");
        }
        let mut passed = lock(&self.passed);
        passed.push(token);
        self.has_passed.store(true, Ordering::Relaxed);
        drop(passed);
        stream.offer().0.store(Offer::PASSED, Ordering::Release);
        true
    }
}

/// A thread that has panicked has left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
