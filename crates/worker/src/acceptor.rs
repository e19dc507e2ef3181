//! Accepting: one connection a listener and turn, only while there is room.
//!
//! Listeners are polled level-triggered and exclusively ([`ironhorn_unix::add_exclusive`]): a
//! connection wakes one worker that sleeps, the one that was first to poll. Taking one at a time
//! keeps a worker from hoarding connections that it can't start; but each wake-up must be answered
//! by an attempt to accept, as nobody else is told of that connection.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ironhorn_unix::{Listener, Monotonic, Passed, add_exclusive, remove};

use crate::application::Sender;
use crate::connection::Client;
use crate::transport::Transport;
use crate::{Entrance, Protocol};

/// How long nothing is accepted after the process ran out of descriptors, unless one is freed.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a worker leaves it to the others to accept that has left them a connection.
const ASIDE: Duration = Duration::from_millis(2);
/// After taking back so often what it had left, a worker keeps what it accepts for a while: those
/// who look idle may stand still. Once means little, as a busy machine wakes nobody within 2 ms.
const IN_VAIN: u8 = 4;
/// How long that while is.
const ALONE: Duration = Duration::from_millis(20);
/// After so many connections a worker takes its place behind its siblings, or the first would get
/// all that come while everybody sleeps.
const A_ROUND: u32 = 16;

#[derive(Debug)]
pub(crate) struct Acceptor {
    entrances: Vec<Entrance>,
    first_token: usize,
    /// Whether the listeners are in the epoll set.
    polled: bool,
    /// Connections since the listeners were put there.
    taken: u32,
    /// Nothing is accepted before, for want of descriptors or as accepting fails.
    paused_until: Option<Monotonic>,
    /// Nothing is accepted before, as others are to.
    aside_until: Option<Monotonic>,
    /// Nothing is left to others before.
    alone_until: Option<Monotonic>,
    /// Whether the want of descriptors has been reported.
    starved: bool,
}

/// Where a listener's connections come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// The kernel.
    New,
    /// A sibling that has accepted them, and can't serve them now or has too many.
    Passed,
}

/// Which of the listeners' queues have woken the loop.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Woken {
    new: bool,
    passed: bool,
}

impl Woken {
    /// Who has been accepted once has waited for longer.
    pub(crate) fn queues(self) -> impl Iterator<Item = Queue> {
        let passed = self.passed.then_some(Queue::Passed);
        passed.into_iter().chain(self.new.then_some(Queue::New))
    }
}

/// What came of an attempt to accept.
#[derive(Debug)]
pub(crate) enum Accepted {
    Client(Client),
    /// The queue is empty.
    Nothing,
    /// There are no descriptors to be had; it will be tried again.
    Starved,
}

impl Acceptor {
    /// An event of listener `n` comes with the token `first_token + 2 * n`, one of the connections
    /// that were passed on with the next.
    pub(crate) fn new(entrances: Vec<Entrance>, first_token: usize) -> Self {
        Self {
            entrances,
            first_token,
            polled: false,
            taken: 0,
            paused_until: None,
            aside_until: None,
            alone_until: None,
            starved: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entrances.len()
    }

    /// Notes which queue an event tells of.
    pub(crate) fn note(&self, token: usize, woken: &mut Woken) {
        let is_new = (token - self.first_token).is_multiple_of(2);
        *(if is_new { &mut woken.new } else { &mut woken.passed }) = true;
    }

    /// The listeners, for who doesn't keep them open.
    pub(crate) fn listeners(&self) -> Vec<Weak<Listener>> {
        self.entrances.iter().map(|entrance| Arc::downgrade(&entrance.listener)).collect()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.entrances.is_empty()
    }

    /// Lets the listeners wake the loop, or not.
    pub(crate) fn poll(&mut self, epoll: BorrowedFd<'_>, wanted: bool) -> io::Result<()> {
        let round_over = self.taken >= A_ROUND;
        if self.polled && (!wanted || round_over) {
            for Entrance { listener, .. } in &self.entrances {
                remove(epoll, listener.as_fd())?;
                remove(epoll, listener.passed())?;
            }
            self.polled = false;
        }
        if wanted && !self.polled {
            for (index, Entrance { listener, .. }) in self.entrances.iter().enumerate() {
                add_exclusive(epoll, listener.as_fd(), self.first_token + 2 * index)?;
                add_exclusive(epoll, listener.passed(), self.first_token + 2 * index + 1)?;
            }
            self.polled = true;
            self.taken = 0;
        }
        Ok(())
    }

    /// Whether accepting makes sense now; ends a pause that is over.
    pub(crate) fn may_accept(&mut self, now: Monotonic) -> bool {
        for until in [&mut self.paused_until, &mut self.aside_until] {
            until.take_if(|until| *until <= now);
        }
        self.resumes_at().is_none() && !self.is_closed()
    }

    /// How long the present pause lasts.
    pub(crate) fn pause_left(&self, now: Monotonic) -> Option<Duration> {
        self.resumes_at().map(|until| until.since(now))
    }

    fn resumes_at(&self) -> Option<Monotonic> {
        self.paused_until.max(self.aside_until)
    }

    /// Whether it is left to others to accept.
    pub(crate) fn is_aside(&self) -> bool {
        self.aside_until.is_some()
    }

    pub(crate) fn step_back(&mut self) {
        self.aside_until = None;
    }

    /// A descriptor was freed: a pause for want of them is over, stepping aside is not.
    pub(crate) fn descriptor_freed(&mut self) {
        self.paused_until = None;
    }

    /// Takes one connection from a queue of a listener.
    pub(crate) fn accept(&mut self, queue: Queue, index: usize, now: Monotonic) -> Accepted {
        let Entrance { listener, protocol } = &self.entrances[index];
        let accepted = match queue {
            Queue::New => listener.accept().map(|(stream, peer)| (stream, peer, Passed::default())),
            Queue::Passed => listener.take_passed(),
        };
        match accepted {
            Ok((stream, peer, passed)) => {
                self.taken += 1;
                if std::mem::take(&mut self.starved) {
                    log::info!("accepting again");
                }
                let stream = Transport::plain(stream);
                // What is passed on has begun with plain HTTP, whatever a reload has changed since.
                let protocol = if passed.times > 0 { &Protocol::Http } else { protocol };
                if let Protocol::Https(tls) = protocol
                    && let Err(error) = stream.start_tls(tls, Vec::new())
                {
                    log::error!(error:%; "cannot start TLS; connection closed");
                    return Accepted::Nothing;
                }
                Accepted::Client(Client {
                    sender: Sender::new(peer, stream.is_tls()),
                    path: None,
                    stream: Arc::new(stream),
                    protocol: protocol.clone(),
                    key: 0,
                    listener: index,
                    trusted: false,
                    passed,
                })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Accepted::Nothing,
            Err(error) if is_want_of_resources(&error) => {
                self.paused_until = Some(now + PAUSE);
                if !std::mem::replace(&mut self.starved, true) {
                    log::warn!(error:%;
                        "cannot accept; raise the limit of open files (ulimit -n) or lower worker_connections");
                }
                Accepted::Starved
            }
            Err(error) => {
                log::error!(error:%, address:% = listener.address(); "cannot accept");
                self.paused_until = Some(now + PAUSE);
                Accepted::Nothing
            }
        }
    }

    /// Leaves a new connection to a sibling that waits for one, and the next to come as well: worker
    /// `nr` would be back before a sibling has woken up, and take what it has just left. False: it
    /// has to be served here.
    pub(crate) fn pass(&mut self, client: &Client, nr: usize, now: Monotonic) -> bool {
        if client.passed.is_by(nr) && client.passed.times >= IN_VAIN {
            self.alone_until = Some(now + ALONE);
        }
        if self.alone_until.is_some_and(|until| now < until) {
            return false;
        }
        let listener = &self.entrances[client.listener].listener;
        match listener.pass(client.stream.as_fd(), client.passed.again(nr)) {
            Ok(()) => {
                self.aside_until = Some(now + ASIDE);
                true
            }
            Err(error) => {
                log::debug!(error:%; "cannot pass a connection on");
                false
            }
        }
    }

    /// Takes one connection from the queue of any listener.
    pub(crate) fn accept_any(&mut self, now: Monotonic) -> Accepted {
        for queue in [Queue::Passed, Queue::New] {
            for index in 0..self.len() {
                match self.accept(queue, index, now) {
                    Accepted::Nothing => {}
                    accepted => return accepted,
                }
            }
        }
        Accepted::Nothing
    }

    /// Lets the listeners go; siblings and the master keep theirs.
    pub(crate) fn close(&mut self, epoll: BorrowedFd<'_>) -> io::Result<()> {
        self.poll(epoll, false)?;
        self.entrances.clear();
        (self.paused_until, self.aside_until) = (None, None);
        Ok(())
    }
}

/// EMFILE, ENFILE, ENOBUFS or ENOMEM of accept(2): waiting helps, trying again at once does not.
fn is_want_of_resources(error: &io::Error) -> bool {
    let wants = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    error.raw_os_error().is_some_and(|number| wants.contains(&number))
}
