//! The shell around the fleet: waits, tells it what happened, does what it says. No policy.
//!
//! One thread, one poll over the signal pipe and the workers' channels. Whatever a turn finds is
//! handed over in this order: signals, messages, exits, time. A worker's channel is read to its
//! end before its exit is told, so that a worker that was ready and died was ready.
//!
//! A fork returns twice. The child leaves the loop by the same way as the master's end does, up to
//! [`run`], which owns everything and can let go of what is the master's: an epoll descriptor is
//! the same kernel object on both sides of a fork, and a forgotten copy of a channel's end keeps
//! it open.

use std::{
    collections::VecDeque,
    io,
    ops::ControlFlow::{self, Break, Continue},
    os::fd::AsRawFd,
    panic::{AssertUnwindSafe, catch_unwind},
};

use ironhorn_unix::{
    BlockedSignals, Board, Exit, Forked, MasterEnd, Monotonic, Pid, Received, Signal, Signals,
    State, ToMaster, ToWorker, WorkerEnd, channel, die_with_parent, exit_now, fork, ignore, kill,
    reap, reap_orphans,
};
use log::{debug, error, warn};
use mio::{Events, Interest, Poll, Token, unix::SourceFd};

use crate::{
    ExitCode, Host, Options, WorkerSeat,
    command::{Command, WORKER_SIGNALS, master_signals},
    fleet::{Action, Event, Fleet, Glance},
};

/// Slots that the board has at least: room for the workers, for those that are booted before old
/// ones retire, and for those that still finish something after several reloads.
const CAPACITY: usize = 256;

/// The signal pipe. Other tokens are numbers of slots, from 1.
const SIGNALS: Token = Token(0);

/// Supervises workers until told to stop; returns the exit code.
///
/// `signals` are those of [`crate::command::master_signals`], installed by the host before it
/// announced itself: so no signal can come too early.
///
/// In a worker it does not return: the process ends with the code of [`Host::run_worker`].
pub fn run(host: &mut dyn Host, options: Options, signals: Signals) -> i32 {
    let supervisor = match Supervisor::new(host, options, signals) {
        Ok(supervisor) => supervisor,
        Err(error) => {
            error!(reason:% = error; "cannot supervise");
            return ExitCode::RUNTIME;
        }
    };
    supervisor.run()
}

/// A signal that comes after the end must not change the exit code.
fn ignore_late_signals() {
    for signal in master_signals() {
        if let Err(error) = ignore(signal) {
            debug!(signal:% = signal, reason:% = error; "cannot ignore");
        }
    }
}

/// The master's view of a worker's process.
struct Child {
    pid: Pid,
    channel: MasterEnd,
    /// Cleared when the other end is closed.
    open: bool,
    /// From now on the process id may be another process's.
    reaped: bool,
}

/// Why the loop was left.
enum Outcome {
    /// The server has ended.
    Exit(i32),
    /// This process is a new worker.
    Born { nr: usize, generation: u32, channel: WorkerEnd, mask: BlockedSignals },
}

struct Supervisor<'h> {
    host: &'h mut dyn Host,
    fleet: Fleet,
    signals: Signals,
    board: Board,
    poll: Poll,
    /// The child in slot `nr` is at index `nr - 1`.
    children: Vec<Option<Child>>,
    /// Actions that were decided and not yet carried out, in their order.
    actions: VecDeque<Action>,
    pid: Pid,
}

impl<'h> Supervisor<'h> {
    fn new(host: &'h mut dyn Host, options: Options, signals: Signals) -> io::Result<Self> {
        let capacity = CAPACITY.max(4 * options.workers + options.reload_surge);
        let poll = Poll::new()?;
        let fd = signals.as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), SIGNALS, Interest::READABLE)?;
        Ok(Self {
            host,
            fleet: Fleet::new(options, capacity),
            signals,
            board: Board::new(capacity)?,
            poll,
            children: (0..capacity).map(|_| None).collect(),
            actions: VecDeque::new(),
            pid: Pid::this(),
        })
    }

    fn run(mut self) -> i32 {
        let outcome = match self.supervise() {
            Break(outcome) => outcome,
            Continue(never) => match never {},
        };
        match outcome {
            Outcome::Exit(code) => {
                ignore_late_signals();
                code
            }
            Outcome::Born { nr, generation, channel, mask } => {
                let Self { host, fleet, signals, board, poll, children, actions, pid } = self;
                drop((poll, children, fleet, actions));
                let birth = Birth { nr, generation, channel, mask, signals, board, master: pid };
                exit_now(birth.live(host))
            }
        }
    }

    fn supervise(&mut self) -> ControlFlow<Outcome, Never> {
        let mut events = Events::with_capacity(64);
        self.tell(Event::Started)?;
        loop {
            self.wait(&mut events)?;
            let ready: Vec<usize> = events.iter().map(|event| event.token().0).collect();
            if ready.contains(&SIGNALS.0) {
                self.hear_signals()?;
            }
            for nr in ready.into_iter().filter(|nr| *nr != SIGNALS.0) {
                self.hear_worker(nr)?;
            }
            self.look_at_clock()?;
        }
    }

    /// Sleeps until something happens or a deadline passes.
    fn wait(&mut self, events: &mut Events) -> ControlFlow<Outcome> {
        let now = Monotonic::now();
        let timeout = self.fleet.next_deadline().map(|deadline| deadline.since(now));
        match self.poll.poll(events, timeout) {
            Ok(()) => Continue(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Continue(())
            }
            // A master that is deaf is worse than none: without it the workers end too, and
            // whoever supervises the server starts it again.
            Err(error) => {
                error!(reason:% = error; "cannot poll");
                Break(Outcome::Exit(ExitCode::RUNTIME))
            }
        }
    }

    fn hear_signals(&mut self) -> ControlFlow<Outcome> {
        let mut reaping = false;
        for signal in self.signals.drain() {
            match Command::of(signal) {
                Some(Command::Reap) => reaping = true,
                Some(command) => self.tell(Event::Commanded(command))?,
                None => debug!(signal:%; "signal without a meaning"),
            }
        }
        // Exits that come close together are one SIGCHLD: each known child is asked.
        if reaping { self.reap_children() } else { Continue(()) }
    }

    fn reap_children(&mut self) -> ControlFlow<Outcome> {
        for nr in 1..=self.children.len() {
            let Some(child) = &mut self.children[nr - 1] else { continue };
            let exit = match reap(child.pid) {
                Ok(Some(exit)) => exit,
                Ok(None) => continue,
                // Somebody else has reaped it. It is gone, and nobody can say how.
                Err(error) => {
                    error!(worker = nr, pid:% = child.pid, reason:% = error; "cannot reap");
                    Exit::Code(ExitCode::RUNTIME)
                }
            };
            child.reaped = true;
            self.hear_worker(nr)?;
            let seen = self.board.slot(nr).read();
            self.board.slot(nr).reset();
            let lost = seen.busy_since.map(|since| Monotonic::now().since(since));
            if let Some((age, generation)) = lost.zip(self.fleet.generation_of(nr)) {
                warn!(worker = nr, generation, request = seen.request, age:? = age; "request lost");
                self.host.request_lost(generation, &seen.request, age);
            }
            let requests = seen.requests;
            if let Some(child) = self.children[nr - 1].take() {
                self.unwatch(&child.channel);
            }
            self.tell(Event::Exited { nr, exit, requests })?;
        }
        if self.pid.as_raw() == 1 {
            let children = &self.children;
            reap_orphans(&|pid| children.iter().flatten().any(|child| child.pid == pid));
        }
        Continue(())
    }

    /// Reads a worker's channel until there is nothing more: the poll tells of each arrival once.
    fn hear_worker(&mut self, nr: usize) -> ControlFlow<Outcome> {
        loop {
            let Some(child) = self.children[nr - 1].as_mut().filter(|child| child.open) else {
                return Continue(());
            };
            let event = match child.channel.receive() {
                Ok(Received::Message(ToMaster::Ready)) => Event::Ready { nr },
                Ok(Received::Message(ToMaster::Draining)) => Event::Draining { nr },
                Ok(Received::Nothing) => return Continue(()),
                Ok(Received::Closed) => {
                    child.open = false;
                    Event::ChannelClosed { nr }
                }
                Err(error) => {
                    error!(worker = nr, pid:% = child.pid, reason:% = error; "cannot hear");
                    child.open = false;
                    Event::ChannelClosed { nr }
                }
            };
            self.tell(event)?;
        }
    }

    fn look_at_clock(&mut self) -> ControlFlow<Outcome> {
        let now = Monotonic::now();
        if self.fleet.next_deadline().is_none_or(|deadline| now < deadline) {
            return Continue(());
        }
        let glances = self.children.iter().zip(1..).filter_map(|(child, nr)| {
            child.as_ref()?;
            let seen = self.board.slot(nr).read();
            Some(Glance {
                nr,
                heartbeat: seen.heartbeat,
                busy_since: seen.busy_since,
                request: seen.request,
            })
        });
        let board = glances.collect();
        self.tell(Event::Woke { board })
    }

    /// Tells the fleet what happened and does what follows.
    fn tell(&mut self, event: Event) -> ControlFlow<Outcome> {
        self.actions.extend(self.fleet.handle(event, Monotonic::now()));
        // Ahead of the log line that says so: a response that ends after it tells its client.
        for action in &self.actions {
            if let Action::Tell { nr, message } = action
                && *message != ToWorker::ReopenLogs
            {
                self.board.slot(*nr).ask_to_leave();
            }
        }
        while let Some(action) = self.actions.pop_front() {
            self.carry_out(action)?;
        }
        Continue(())
    }

    fn carry_out(&mut self, action: Action) -> ControlFlow<Outcome> {
        match action {
            Action::Fork { nr, generation } => return self.fork(nr, generation),
            Action::Tell { nr, message } => {
                if let Some(child) = &self.children[nr - 1]
                    && let Err(error) = child.channel.send(message)
                {
                    // It is exiting, or so stuck that its time limit will end it.
                    debug!(worker = nr, pid:% = child.pid, reason:% = error; "cannot tell");
                }
            }
            Action::Kill { nr } => {
                if let Some(child) = self.children[nr - 1].as_ref().filter(|child| !child.reaped)
                    && let Err(error) = kill(child.pid, Signal::SIGKILL)
                {
                    error!(worker = nr, pid:% = child.pid, reason:% = error; "cannot kill");
                }
            }
            Action::Reload { generation } => self.reload(generation),
            Action::Adopt { generation } => self.host.adopt(generation),
            Action::DropGeneration { generation } => self.host.drop_generation(generation),
            Action::ReopenLogs => self.host.reopen_logs(),
            Action::StopListening => self.host.stop_listening(),
            Action::Describe(state) => self.host.describe(&state),
            Action::Report(report) => report.log(),
            Action::Exit(code) => return Break(Outcome::Exit(code)),
        }
        Continue(())
    }

    fn reload(&mut self, generation: u32) {
        let result = self.host.reload(generation);
        let kept = match result {
            Ok(_) => {
                let alive = self.fleet.generations();
                alive.filter(|&old| self.host.keeps_listeners(old, generation)).collect()
            }
            Err(_) => Vec::new(),
        };
        self.answer(Event::Reloaded { generation, result, kept });
    }

    fn fork(&mut self, nr: usize, generation: u32) -> ControlFlow<Outcome> {
        self.board.slot(nr).set_state(State::Booting);
        let event = match self.try_fork(nr) {
            Ok(Fork::Parent(pid)) => Event::Forked { nr, pid },
            Ok(Fork::Child { channel, mask }) => {
                return Break(Outcome::Born { nr, generation, channel, mask });
            }
            Err(error) => {
                self.board.slot(nr).reset();
                Event::ForkFailed { nr, error: error.to_string() }
            }
        };
        self.answer(event);
        Continue(())
    }

    fn try_fork(&mut self, nr: usize) -> io::Result<Fork> {
        let (ours, theirs) = channel()?;
        match fork(self.host.fork_hooks())? {
            Forked::Parent { child: pid } => {
                drop(theirs);
                let open = self.watch(nr, &ours);
                self.children[nr - 1] = Some(Child { pid, channel: ours, open, reaped: false });
                Ok(Fork::Parent(pid))
            }
            Forked::Child { mask } => Ok(Fork::Child { channel: theirs, mask }),
        }
    }

    /// The fleet is told of what an action led to; what follows comes after what was decided.
    fn answer(&mut self, event: Event) {
        self.actions.extend(self.fleet.handle(event, Monotonic::now()));
    }

    fn watch(&self, nr: usize, channel: &MasterEnd) -> bool {
        let fd = channel.as_raw_fd();
        let watched =
            self.poll.registry().register(&mut SourceFd(&fd), Token(nr), Interest::READABLE);
        if let Err(error) = &watched {
            error!(worker = nr, reason:% = error; "cannot watch");
        }
        watched.is_ok()
    }

    /// Closing would not do: a worker forked in between may not have closed its copy yet.
    fn unwatch(&self, channel: &MasterEnd) {
        let fd = channel.as_raw_fd();
        if let Err(error) = self.poll.registry().deregister(&mut SourceFd(&fd)) {
            debug!(reason:% = error; "cannot stop watching");
        }
    }
}

enum Never {}

enum Fork {
    Parent(Pid),
    Child { channel: WorkerEnd, mask: BlockedSignals },
}

/// What a new worker keeps of its master.
struct Birth {
    nr: usize,
    generation: u32,
    channel: WorkerEnd,
    mask: BlockedSignals,
    signals: Signals,
    board: Board,
    master: Pid,
}

impl Birth {
    /// Is the worker; returns its exit code.
    fn live(self, host: &mut dyn Host) -> i32 {
        let Self { nr, generation, channel, mask, signals, board, master } = self;
        // Signals are blocked since before the fork and reach the pipe that is built here: one
        // that was let through earlier would be written into the master's.
        let signals = match signals.rebuild(&WORKER_SIGNALS) {
            Ok(signals) => signals,
            Err(error) => {
                error!(worker = nr, generation, reason:% = error; "cannot take signals");
                return ExitCode::RUNTIME;
            }
        };
        // The end of file on the channel says the same, but only to a worker that reads it.
        if let Err(error) = die_with_parent(master, Signal::SIGKILL) {
            error!(worker = nr, generation, reason:% = error; "the master is gone");
            return ExitCode::RUNTIME;
        }
        let slot = board.slot(nr);
        let seat = WorkerSeat { nr, generation, channel, signals, slot, board, mask, master };
        // A panic must not unwind into frames that are copies of the master's.
        catch_unwind(AssertUnwindSafe(|| host.run_worker(seat))).unwrap_or(ExitCode::RUNTIME)
    }
}
