//! How a worker leaves: what still counts once it was asked to.
//!
//! | | Retiring | Stopping |
//! |---|---|---|
//! | new connections | left to the siblings, but for one that came before | what the kernel has queued is accepted |
//! | requests under way | finished | finished |
//! | idle keep-alive connections | serve one more request, answered with `Connection: close`, unless the client is silent for the keep-alive time | closed, unless a request has arrived |
//!
//! The last worker that polls a listener which a reload drops retires, but takes the queue.
//!
//! A client that reuses a connection just when it is closed sees a reset. Retiring avoids that, as
//! nobody waits for a worker that others replace; a server that stops can't have both.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use ironhorn_unix::{Monotonic, Received, Signal, State, ToMaster, ToWorker};

use crate::Left;
use crate::acceptor::{Accepted, Queue, Woken};
use crate::connection::Connection;
use crate::event_loop::Loop;
use crate::runs::Runs;
use crate::timers::Timeout;

/// How long a stopping worker accepts while the queue doesn't run dry. Siblings do likewise, so
/// that the work is shared out; then it takes at once what there is.
const TAKING: Duration = Duration::from_secs(1);

/// Whether the worker is leaving, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    /// It is not.
    Serving,
    /// Others take over.
    Retiring,
    /// Others take over, but not the queues of all the listeners.
    RetiringLast {
        /// When the queues are taken as a whole.
        taking_until: Monotonic,
    },
    /// The server ends.
    Stopping {
        /// When the queues of the listeners are taken as a whole.
        taking_until: Monotonic,
    },
}

impl Drain {
    /// Until when the listeners' queues are taken one by one; `None`: they are left to others.
    fn taking_until(self) -> Option<Monotonic> {
        match self {
            Self::RetiringLast { taking_until } | Self::Stopping { taking_until } => {
                Some(taking_until)
            }
            Self::Serving | Self::Retiring => None,
        }
    }

    /// What a connection that has nothing to do waits for; `None`: it is closed.
    pub(crate) fn awaits<C, S>(self, connection: &Connection<C, S>) -> Option<Timeout> {
        match self {
            Self::Stopping { .. } if connection.is_idle() => {
                (!connection.served).then_some(Timeout::LastCall)
            }
            _ => Some(connection.awaits()),
        }
    }
}

impl<A: Runs> Loop<'_, A> {
    /// `woken`: by a listener, before.
    pub(crate) fn on_channel(&mut self, woken: Woken) -> io::Result<Option<Left>> {
        loop {
            match self.channel.receive()? {
                Received::Message(ToWorker::Retire) => self.retire(woken)?,
                Received::Message(ToWorker::RetireLast) => self.retire_last(),
                Received::Message(ToWorker::Stop) => self.stop(),
                Received::Message(ToWorker::Quit) => return Ok(Some(Left::Quit)),
                Received::Message(ToWorker::ReopenLogs) => self.reopen_logs(),
                Received::Nothing => return Ok(None),
                Received::Closed => return Ok(Some(Left::Orphaned)),
            }
        }
    }

    /// signal(7): a worker can be told by anybody; its master will replace it. `woken`: by a
    /// listener, before.
    pub(crate) fn on_signals(&mut self, woken: Woken) -> io::Result<Option<Left>> {
        for signal in self.signals.drain() {
            match signal {
                Signal::SIGTERM => self.retire(woken)?,
                Signal::SIGINT | Signal::SIGQUIT => return Ok(Some(Left::Quit)),
                Signal::SIGUSR1 => self.reopen_logs(),
                _ => {} // HUP and WINCH are the master's business
            }
        }
        Ok(None)
    }

    /// Whether it has left all that it has to.
    pub(crate) fn is_drained(&self) -> bool {
        self.drain != Drain::Serving && self.acceptor.is_closed() && self.connections.is_empty()
    }

    /// Whether the listeners' queues are to be emptied.
    pub(crate) fn takes_queue(&self) -> bool {
        self.drain.taking_until().is_some() && !self.acceptor.is_closed()
    }

    /// Takes a connection of the listeners' queues, or all that are left, and closes the listeners
    /// once there is none. One that comes later is refused.
    pub(crate) fn take_queue(&mut self) -> io::Result<()> {
        let Some(taking_until) = self.drain.taking_until() else { return Ok(()) };
        let now = Monotonic::now();
        if now < taking_until {
            return match self.acceptor.accept_any(now) {
                Accepted::Client(client) => {
                    self.open(client);
                    Ok(())
                }
                Accepted::Starved => Ok(()),
                Accepted::Nothing => self.close_listeners(),
            };
        }
        // None is served in between, or the queue would fill up again and again.
        let mut clients = Vec::new();
        while let Accepted::Client(client) = self.acceptor.accept_any(now) {
            clients.push(client);
        }
        clients.into_iter().for_each(|client| self.open(client));
        self.close_listeners()
    }

    fn retire(&mut self, woken: Woken) -> io::Result<()> {
        if self.drain != Drain::Serving {
            return Ok(());
        }
        self.begin(Drain::Retiring);
        // The connection may have woken us and nobody else: it is ours. One that comes when we are
        // awake already wakes somebody else (a wake-up takes us out of the queue of those who sleep,
        // since Linux 5.7), and may be from a client that was told 504 here: it is theirs.
        self.accept(woken);
        self.take_passed();
        self.close_listeners()?;
        self.say_draining();
        Ok(())
    }

    /// Takes what was passed on, by this worker too: the others may have other listeners, and would
    /// not see it. What is passed on from now on is theirs.
    fn take_passed(&mut self) {
        let now = Monotonic::now();
        let mut clients = Vec::new();
        for index in 0..self.acceptor.len() {
            while let Accepted::Client(client) = self.acceptor.accept(Queue::Passed, index, now) {
                clients.push(client);
            }
        }
        clients.into_iter().for_each(|client| self.open(client));
    }

    fn retire_last(&mut self) {
        if self.drain == Drain::Serving {
            self.begin(Drain::RetiringLast { taking_until: Monotonic::now() + TAKING });
            self.say_draining();
        }
    }

    /// Stopping outdoes retiring.
    fn stop(&mut self) {
        if !matches!(self.drain, Drain::Stopping { .. }) {
            self.begin(Drain::Stopping { taking_until: Monotonic::now() + TAKING });
            self.say_draining();
            self.close_idle();
        }
    }

    fn begin(&mut self, drain: Drain) {
        log::info!(connections = self.connections.len(); "draining");
        self.drain = drain;
        // Who passes a connection on has to take it back if nobody else does.
        self.end_stand_in();
        self.service.closing = true;
        self.service.app.begin_leaving();
        self.service.retiring = !matches!(drain, Drain::Stopping { .. });
        self.enter(State::Draining);
    }

    fn say_draining(&mut self) {
        // A master that is gone is noticed by the next poll.
        let _ = self.channel.send(ToMaster::Draining);
    }

    /// Gives each idle connection a last look, then closes it; one that hasn't had its request yet
    /// gets a moment.
    fn close_idle(&mut self) {
        let idle: Vec<usize> = self
            .connections
            .iter()
            .filter(|(_, held)| held.connection.is_idle())
            .map(|(key, _)| key)
            .collect();
        for key in idle {
            let connection = &mut self.connections[key].connection;
            connection.readable = true;
            let next = self.service.receive(connection, &mut self.scratch);
            self.carry_out(key, next);
        }
    }

    pub(crate) fn close_listeners(&mut self) -> io::Result<()> {
        self.acceptor.close(self.poll.registry().as_fd())
    }

    fn reopen_logs(&mut self) {
        (self.reopen_logs)();
        if let Some(access_log) = &mut self.service.access_log
            && let Err(error) = access_log.reopen()
        {
            log::error!(error:%; "cannot reopen the access log; lines go to the old file");
        }
    }
}
