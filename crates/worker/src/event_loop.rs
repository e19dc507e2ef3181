//! The loop: poll, serve what is ready, accept, let deadlines pass, again.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use ironhorn_unix::{Monotonic, Signals, State, ToMaster, WorkerEnd};
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::acceptor::{Accepted, Acceptor, Woken};
use crate::access_log::AccessLog;
use crate::connection::Client;
use crate::drain::Drain;
use crate::expiry_thread::ExpiryThread;
use crate::room::Room;
use crate::runs::Runs;
use crate::serve::{ConnectionOf, Next, Service};
use crate::slowest::Slowest;
use crate::standin::StandIn;
use crate::timers::{Timeout, Timers, Told};
use crate::{Context, Left};

/// Tokens with this bit are not connections.
const RESERVED: usize = 1 << 63;
const _: () = assert!(usize::BITS == 64, "a token holds a key, how often it was used, and a bit");
const CHANNEL: Token = Token(RESERVED);
const SIGNALS: Token = Token(RESERVED + 1);
const INTERRUPTS: Token = Token(RESERVED + 2);
const APP: Token = Token(RESERVED + 3);
const EXPIRIES: Token = Token(RESERVED + 4);
const FIRST_LISTENER: usize = RESERVED + OTHERS;
/// Descriptors that are neither connections nor listeners.
const OTHERS: usize = 5;

/// Where a connection's token holds how often its key was used before, so that a late event of a
/// closed connection isn't taken for one of its successor.
const USE_SHIFT: u32 = 32;
const USE_MASK: usize = (1 << 31) - 1;

const EVENTS_A_TURN: usize = 1024;
/// Bytes of one read.
const SCRATCH: usize = 64 * 1024;
/// How long a client that was told to close is read from.
const LINGER: Duration = Duration::from_secs(2);
/// How long a stopping worker waits for the request of a connection that has had none.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Serves until told to leave.
///
/// # Errors
/// The poll itself fails, which has no remedy.
pub fn run<A: crate::Application>(context: Context<'_>, app: A) -> io::Result<Left> {
    Loop::new(context, app)?.run()
}

pub(crate) struct Loop<'a, A: Runs> {
    pub(crate) poll: Poll,
    events: Events,
    pub(crate) connections: Slab<Held<A>>,
    /// How often each key was used.
    uses: Vec<usize>,
    pub(crate) timers: Timers,
    /// How far the deadlines are due.
    told: Told,
    /// Connections that have more to do without an event, each once.
    again: VecDeque<Token>,
    pub(crate) acceptor: Acceptor,
    /// Accepted, not yet opened; empty but for its memory between two turns.
    accepted: Vec<Client>,
    pub(crate) service: Service<A>,
    pub(crate) scratch: Box<[u8]>,
    pub(crate) channel: WorkerEnd,
    pub(crate) signals: &'a mut Signals,
    pub(crate) drain: Drain,
    pub(crate) worker_connections: usize,
    pub(crate) room: Room,
    pub(crate) standin: Option<StandIn>,
    /// Whether the stand-in has had somebody to pass connections to.
    pub(crate) had_siblings: bool,
    pub(crate) slowest: Slowest,
    heartbeat: Duration,
    /// Until the master was told that the worker is worn.
    max_requests: Option<u64>,
    pub(crate) reopen_logs: &'a mut (dyn FnMut() + Send),
    enters: &'a mut dyn FnMut(State),
}

/// A connection, and what the loop knows of it.
pub(crate) struct Held<A: Runs> {
    pub(crate) connection: ConnectionOf<A>,
    pub(crate) token: Token,
    /// Whether epoll knows it: a connection that ends with its first response never is.
    pub(crate) polled: bool,
    /// Whether it is in [`Loop::again`].
    pub(crate) queued: bool,
    /// Whether the stand-in knows it.
    pub(crate) introduced: bool,
}

impl<'a, A: Runs> Loop<'a, A> {
    pub(crate) fn new(context: Context<'a>, mut app: A) -> io::Result<Self> {
        let Context { options, entrances, channel, signals, slot, access_log, reopen_logs, enters } =
            context;
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(&mut SourceFd(&channel.as_raw_fd()), CHANNEL, Interest::READABLE)?;
        registry.register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)?;
        if let Some(interrupts) = app.interrupts() {
            let interrupts = interrupts.as_raw_fd();
            registry.register(&mut SourceFd(&interrupts), INTERRUPTS, Interest::READABLE)?;
        }
        app.wakes(registry, APP, EXPIRIES)?;
        let expiry_thread = match A::INLINE {
            true => ExpiryThread::start_if_needed(&options, &entrances, &slot, &channel)?,
            false => None,
        };
        let timers = Timers::new([
            options.handshake_timeout,
            options.header_timeout,
            options.body_timeout,
            Some(options.keepalive),
            options.write_timeout,
            Some(LINGER),
            Some(LAST_CALL),
        ]);
        Ok(Self {
            events: Events::with_capacity(EVENTS_A_TURN),
            connections: Slab::new(),
            uses: Vec::new(),
            timers,
            told: Told::new(Monotonic::now()),
            again: VecDeque::new(),
            acceptor: Acceptor::new(entrances, FIRST_LISTENER),
            accepted: Vec::new(),
            worker_connections: options.worker_connections,
            room: Room::default(),
            standin: None,
            had_siblings: false,
            slowest: Slowest::default(),
            heartbeat: options.heartbeat,
            max_requests: options.max_requests,
            service: Service::new(app, options, slot, access_log, expiry_thread),
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            channel,
            signals,
            drain: Drain::Serving,
            reopen_logs,
            enters,
            poll,
        })
    }

    pub(crate) fn run(mut self) -> io::Result<Left> {
        self.acceptor.poll(self.poll.registry().as_fd(), true)?;
        if !A::INLINE
            && let Some(access_log) = &self.service.access_log
        {
            // The app doesn't keep this loop.
            access_log.gather(&self.service.around.slot);
        }
        // While the worker still counts as booting: what its owner does then may never end, and
        // who is ended for that has no client.
        (self.enters)(State::Ready);
        if !self.service.around.slot.begin_serving() {
            return Ok(Left::Quit);
        }
        // A master that is gone is noticed by the first poll.
        let _ = self.channel.send(ToMaster::Ready);
        loop {
            if let Some(left) = self.turn()? {
                self.leave();
                return Ok(left);
            }
        }
    }

    fn turn(&mut self) -> io::Result<Option<Left>> {
        self.wait()?;
        let now = Monotonic::now();
        self.service.begin_turn(now);

        // Those that join them in this turn wait for the next: others are to be polled first.
        let again = self.again.len();
        let mut woken = Woken::default();
        let mut left = None;
        let events = mem::replace(&mut self.events, Events::with_capacity(0));
        let mut count = 0;
        let polled = self.connections.len() + 2 * self.acceptor.len() + OTHERS;
        for event in &events {
            count += 1;
            let token = event.token();
            if matches!(token, CHANNEL | SIGNALS) {
                self.service.app.before_long();
            }
            match token {
                CHANNEL => left = left.or(self.on_channel(woken)?),
                SIGNALS => left = left.or(self.on_signals(woken)?),
                INTERRUPTS => self.service.app.interrupted(),
                APP => {} // it is attended to in each turn
                EXPIRIES => A::answer_expired(self)?,
                Token(token) if token & RESERVED != 0 => self.acceptor.note(token, &mut woken),
                token => self.on_connection(token, event),
            }
        }
        self.events = events;
        if left.is_some() {
            return Ok(left);
        }
        for _ in 0..again {
            if let Some(token) = self.again.pop_front() {
                self.on_again(token);
            }
        }
        // Before others come: they have left room.
        self.forget_passed();
        if self.takes_queue() {
            self.take_queue()?;
        } else {
            self.accept(woken);
        }
        A::attend(self)?;
        // Not up to this moment: what has come since the poll isn't told of yet.
        if let Some(told) = self.told.until(now, count, EVENTS_A_TURN, polled) {
            self.expire(told);
        }
        self.service.around.slot.set_connections(to_u32(self.connections.len()));
        self.report_wear();
        self.balance_accepting()?;
        Ok(self.is_drained().then_some(Left::Drained))
    }

    /// Says what the worker is doing, on the board and to its owner.
    pub(crate) fn enter(&mut self, state: State) {
        self.service.around.slot.set_state(state);
        (self.enters)(state);
    }

    /// A worker that has served enough says so once; when it is to leave is for the master to say.
    fn report_wear(&mut self) {
        let Some(max_requests) = self.max_requests else { return };
        let is_worn = self.service.around.slot.requests() >= max_requests;
        if is_worn && self.channel.send(ToMaster::Worn).is_ok() {
            self.max_requests = None;
        }
    }

    /// Sleeps until something happens, without holding the interpreter.
    fn wait(&mut self) -> io::Result<()> {
        self.service.app.before_long();
        self.service.access_log.iter().for_each(AccessLog::flush);
        let timeout = self.sleep();
        let (poll, events) = (&mut self.poll, &mut self.events);
        let waited = self.service.app.while_idle(|| poll.poll(events, Some(timeout)));
        if let Some(standin) = &self.standin
            && !self.events.is_empty()
        {
            standin.wake();
        }
        match waited {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                self.service.app.interrupted();
                Ok(())
            }
            result => result,
        }
    }

    /// How long there is nothing to do but wait.
    fn sleep(&mut self) -> Duration {
        let now = Monotonic::now();
        if !self.again.is_empty() || (self.takes_queue() && self.acceptor.may_accept(now)) {
            return Duration::ZERO;
        }
        let mut sleep = self.heartbeat;
        let room = self.room_at(now).map(|at| at.since(now));
        let app = A::sleep_at_most(&self.service, now);
        for until in [self.timers.until_next(now), self.acceptor.pause_left(now), room, app] {
            sleep = sleep.min(until.unwrap_or(sleep));
        }
        sleep
    }

    fn on_connection(&mut self, token: Token, event: &Event) {
        let Some(key) = self.key(token) else { return };
        if !self.reclaim(key) {
            return;
        }
        let held = &mut self.connections[key];
        let connection = &mut held.connection;
        connection.read_closed |= event.is_read_closed();
        connection.readable |= event.is_readable();
        if event.is_writable() {
            // What goes wrong here goes wrong again where something comes of it.
            let _ = connection.client.stream.flush();
        }
        let is_broken = event.is_error() || event.is_write_closed();
        if !A::INLINE && connection.waits_for_app() {
            if is_broken || connection.read_closed {
                connection.readable = true;
                A::leave(self, key, is_broken);
            }
            return;
        }
        let next = if is_broken && !connection.is_lingering() {
            // Both directions are shut or the connection was reset: nobody reads an answer.
            self.service.lost(connection)
        } else if held.queued {
            return; // its turn comes
        } else if event.is_writable() && self.timers.armed(key) == Some(Timeout::Write) {
            self.service.resume(connection, &mut self.scratch)
        } else if connection.readable && connection.reads() {
            self.service.receive(connection, &mut self.scratch)
        } else {
            return self.offer(key);
        };
        self.carry_out(key, next);
    }

    fn on_again(&mut self, token: Token) {
        let Some(key) = self.key(token) else { return };
        self.connections[key].queued = false;
        let next = self.service.resume(&mut self.connections[key].connection, &mut self.scratch);
        self.carry_out(key, next);
    }

    /// Does what a connection wants.
    pub(crate) fn carry_out(&mut self, key: usize, next: Next) {
        let held = &mut self.connections[key];
        match next {
            Next::Wait => match self.drain.awaits(&held.connection) {
                Some(class) => {
                    self.arm(key, class);
                    self.offer(key);
                }
                None => self.close(key),
            },
            Next::Again => {
                held.queued = true;
                self.again.push_back(held.token);
                self.timers.cancel(key);
            }
            Next::App => {
                self.timers.cancel(key);
                self.watch(key);
            }
            Next::Close => self.close(key),
        }
        self.service.app.dealt_with();
    }

    fn arm(&mut self, key: usize, class: Timeout) {
        let held = &mut self.connections[key];
        let restart = mem::take(&mut held.connection.restart_timer);
        // A head has one deadline however it drips in, and so has a handshake.
        let keep = matches!(class, Timeout::Handshake | Timeout::Header | Timeout::LastCall)
            && !restart
            && self.timers.armed(key) == Some(class);
        if !keep {
            self.timers.arm(key, class, Monotonic::now());
        }
        self.watch(key);
    }

    /// Has epoll tell of the connection, from the first time that it waits.
    fn watch(&mut self, key: usize) {
        let held = &mut self.connections[key];
        if !held.polled {
            let descriptor = held.connection.client.stream.as_raw_fd();
            let interest = Interest::READABLE | Interest::WRITABLE;
            let mut source = SourceFd(&descriptor);
            match self.poll.registry().register(&mut source, held.token, interest) {
                Ok(()) => held.polled = true,
                Err(error) => {
                    log::warn!(error:%; "cannot poll a connection");
                    self.service.lost(&mut held.connection);
                    self.close(key);
                }
            }
        }
    }

    /// Closing the descriptor takes it out of the epoll set too.
    pub(crate) fn close(&mut self, key: usize) {
        self.timers.cancel(key);
        let held = self.connections.remove(key);
        if let Some(standin) = &self.standin
            && held.introduced
        {
            standin.forget(held.token, &held.connection.client.stream);
        }
        drop(held);
        self.acceptor.descriptor_freed();
        self.step_back();
    }

    /// Who has stepped aside and hasn't too many connections any more accepts again.
    fn step_back(&mut self) {
        if self.acceptor.is_aside() {
            let others = to_u32(self.connections.len());
            if !self.service.around.slot.has_too_many(others + 1) {
                self.acceptor.step_back();
            }
        }
    }

    /// Every listener that may have woken us gets its attempt, even if that is one connection too
    /// many: its siblings sleep on. Opening a connection runs the app, so that comes after.
    pub(crate) fn accept(&mut self, woken: Woken) {
        let mut accepted = mem::take(&mut self.accepted);
        for queue in woken.queues() {
            for index in 0..self.acceptor.len() {
                let now = Monotonic::now();
                let Accepted::Client(client) = self.acceptor.accept(queue, index, now) else {
                    continue;
                };
                let others = self.connections.len() + accepted.len();
                let is_left = self.leaves_to_sibling(&client, others)
                    && self.acceptor.pass(&client, self.service.around.slot.nr(), now);
                if !is_left {
                    accepted.push(client);
                }
            }
        }
        for client in accepted.drain(..) {
            self.make_room(Monotonic::now());
            self.open(client);
        }
        self.accepted = accepted;
    }

    /// A new connection is read from at once: its request has often arrived already.
    pub(crate) fn open(&mut self, client: Client) {
        if !self.service.admits(&client) {
            return;
        }
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        if self.uses.len() <= key {
            self.uses.push(0);
        }
        self.uses[key] = (self.uses[key] + 1) & USE_MASK;
        let token = Token(self.uses[key] << USE_SHIFT | key);
        let connection = self.service.admit(client, token);
        let held = entry.insert(Held {
            connection,
            token,
            polled: false,
            queued: false,
            introduced: false,
        });
        let next = self.service.receive(&mut held.connection, &mut self.scratch);
        self.carry_out(key, next);
    }

    /// A worker that is full and can make no room lets its siblings have the connections.
    fn balance_accepting(&mut self) -> io::Result<()> {
        let now = Monotonic::now();
        self.have_stand_in(now);
        self.room.balanced_at = Some(now);
        self.warn_if_full(now);
        let wanted = self.acceptor.may_accept(now)
            && self.drain == Drain::Serving
            && self.has_room(now)
            && !A::leaves_accepting(&self.service);
        self.acceptor.poll(self.poll.registry().as_fd(), wanted)
    }

    fn expire(&mut self, now: Monotonic) {
        while let Some((key, class)) = self.timers.expire(now) {
            if !self.reclaim(key) {
                continue; // it will be forgotten
            }
            let connection = &mut self.connections[key].connection;
            let next = match class {
                Timeout::Write => self.service.try_once_more(connection, &mut self.scratch),
                _ => self.service.time_out(connection),
            };
            log::trace!(class:?, peer:? = connection.client.sender.peer; "time out");
            self.carry_out(key, next);
        }
    }

    fn leave(&mut self) {
        // What is done by now is no loss.
        if let Err(error) = A::attend(self) {
            log::debug!(error:%; "leaving");
        }
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.reclaim(key);
            self.service.app.abandon(&self.connections[key].connection);
            self.service.lost(&mut self.connections[key].connection);
            self.close(key);
        }
        self.service.access_log.iter().for_each(AccessLog::flush);
    }

    /// The connection that `token` names, unless it is closed by now.
    pub(crate) fn key(&self, token: Token) -> Option<usize> {
        let key = key_of(token) as usize;
        self.connections.get(key).filter(|held| held.token == token).map(|_| key)
    }
}

/// The key in a connection's token.
pub(crate) fn key_of(token: Token) -> u32 {
    u32::try_from(token.0 & ((1 << USE_SHIFT) - 1)).unwrap_or_default()
}

pub(crate) fn to_u32(connections: usize) -> u32 {
    u32::try_from(connections).unwrap_or(u32::MAX)
}
