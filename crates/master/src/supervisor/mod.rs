//! The shell around the fleet: waits, tells it what happened, does what it says. No policy.
//!
//! One thread, one poll over the signal pipe, the channels of workers and zygotes, the control
//! socket and what the host wants to be called for. Whatever a turn finds is handed over in this
//! order: messages, signals, exits, time. A worker's channel is read to its end before its exit is
//! told, so that a worker that was ready and died was ready.
//!
//! A fork returns twice. The child leaves the loop by the same way as the master's end does, up to
//! [`run`], which owns everything and can let go of what is the master's: an epoll descriptor is
//! the same kernel object on both sides of a fork, and a forgotten copy of a channel's end keeps
//! it open.

mod answering;
mod children;
mod chronicle;
mod examination;
mod measuring;
mod reaping;
mod source;
mod zygotes;

use std::{
    collections::VecDeque,
    io,
    ops::ControlFlow::{self, Break, Continue},
    os::fd::AsRawFd,
};

use ironhorn_unix::{
    BlockedSignals, Board, Forked, Monotonic, Pid, Received, Signal, Signals, StackFile, State,
    ToMaster, ToWorker, WorkerEnd, ZygoteEnd, channel, exit_now, fork, ignore, is_in_foreground,
    kill,
};
use log::{debug, error, info, warn};
use mio::{Events, Interest, Poll, unix::SourceFd};

use crate::{
    ExitCode, Host, Inputs, Options,
    birth::Birth,
    black_box::{BlackBox, Remains},
    command::{Command, ENDING, master_signals},
    control::{Control, Tokens},
    fleet::{Action, Event, Fleet, Glance},
    report::{Findings, Report},
    zygote::Zygote,
};
use answering::Waiter;
use children::{Child, Children};
use chronicle::Chronicle;
use examination::Examinations;
use measuring::Measuring;
use reaping::OomWatch;
use source::Source;
use zygotes::Zygotes;

/// Slots that the board has at least: room for the workers, for those that are booted before old
/// ones retire, and for those that still finish something after several reloads.
const CAPACITY: usize = 256;

/// Supervises workers until told to stop; returns the exit code.
///
/// In a worker or zygote it does not return: the process ends with the code of
/// [`Host::run_worker`] or [`Host::preload`].
pub fn run(host: &mut dyn Host, options: Options, inputs: Inputs) -> i32 {
    let supervisor = match Supervisor::new(host, options, inputs) {
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

/// Why the loop was left.
enum Outcome {
    /// The server has ended.
    Exit(i32),
    /// This process is a new one.
    Born(Born),
}

enum Born {
    Worker {
        nr: usize,
        generation: u32,
        channel: WorkerEnd,
        stacks: StackFile,
        mask: BlockedSignals,
    },
    Zygote {
        generation: u32,
        channel: ZygoteEnd,
        stacks: StackFile,
        mask: BlockedSignals,
    },
}

struct Supervisor<'h> {
    host: &'h mut dyn Host,
    fleet: Fleet,
    signals: Signals,
    board: Board,
    poll: Poll,
    control: Option<Control>,
    children: Children,
    zygotes: Zygotes,
    /// The new master that this one has started.
    successor: Option<Pid>,
    examinations: Examinations,
    oom: OomWatch,
    measuring: Measuring,
    /// What is known of the process whose exit is being told.
    remains: Option<(Pid, Remains)>,
    black_box: BlackBox,
    chronicle: Chronicle,
    waiters: Vec<Waiter>,
    /// When the host is to be called next.
    attend_at: Option<Monotonic>,
    /// Whether workers that boot are to be unready, as the server is about to end.
    leaving: bool,
    /// Actions that were decided and not yet carried out, in their order.
    actions: VecDeque<Action>,
    pid: Pid,
    started_at: Monotonic,
}

/// What a child keeps of its master.
struct Heritage<'h> {
    host: &'h mut dyn Host,
    signals: Signals,
    board: Board,
    master: Pid,
}

impl<'h> Supervisor<'h> {
    fn new(host: &'h mut dyn Host, options: Options, inputs: Inputs) -> io::Result<Self> {
        let Inputs { signals, control } = inputs;
        let capacity = CAPACITY.max(4 * options.workers + options.reload_surge);
        let poll = Poll::new()?;
        let tokens = Tokens {
            listener: Source::Control.token(),
            client: |index| Source::Client(index).token(),
        };
        let control = control.map(|listener| Control::new(listener, poll.registry(), tokens));
        let supervisor = Self {
            host,
            fleet: Fleet::new(options, capacity),
            signals,
            board: Board::new(capacity)?,
            poll,
            control: control.transpose()?,
            children: Children::new(capacity),
            zygotes: Zygotes::default(),
            successor: None,
            examinations: Examinations::default(),
            oom: OomWatch::new(),
            measuring: Measuring::default(),
            remains: None,
            black_box: BlackBox::default(),
            chronicle: Chronicle::default(),
            waiters: Vec::new(),
            attend_at: None,
            leaving: false,
            actions: VecDeque::new(),
            pid: Pid::this(),
            started_at: Monotonic::now(),
        };
        supervisor.register(Source::Signals, &supervisor.signals)?;
        if let Some(attention) = supervisor.host.attention() {
            supervisor.register(Source::Attention, &attention)?;
        }
        Ok(supervisor)
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
            Outcome::Born(born) => {
                let Heritage { host, signals, board, master } = self.let_go();
                exit_now(match born {
                    Born::Worker { nr, generation, channel, stacks, mask } => {
                        Birth { nr, generation, channel, stacks, mask, signals, board, master }
                            .live(host)
                    }
                    Born::Zygote { generation, channel, stacks, mask } => {
                        Zygote { generation, channel, stacks, mask, signals, board, master }
                            .live(host)
                    }
                })
            }
        }
    }

    /// In a child: what is the master's is closed, the rest is kept.
    fn let_go(self) -> Heritage<'h> {
        let Self { host, signals, board, pid, .. } = self;
        Heritage { host, signals, board, master: pid }
    }

    fn supervise(&mut self) -> ControlFlow<Outcome, Never> {
        let mut events = Events::with_capacity(64);
        self.attend()?;
        self.tell(Event::Started)?;
        loop {
            self.wait(&mut events)?;
            let ready: Vec<(Source, bool)> = events
                .iter()
                .map(|event| (Source::of(event.token()), event.is_write_closed()))
                .collect();
            for (source, _) in &ready {
                match *source {
                    Source::Worker(nr) => self.hear_worker(nr)?,
                    Source::Zygote(generation) => self.attend_to_zygote(generation)?,
                    _ => {}
                }
            }
            if ready.iter().any(|(source, _)| *source == Source::Signals) {
                self.hear_signals()?;
            }
            for (source, hung_up) in ready {
                match source {
                    Source::Signals | Source::Worker(_) | Source::Zygote(_) => {}
                    Source::Attention => self.attend()?,
                    Source::Control => self.admit_clients(),
                    Source::Client(index) => self.hear_client(index, hung_up)?,
                }
            }
            self.look_at_clock()?;
        }
    }

    /// Sleeps until something happens or a deadline passes.
    fn wait(&mut self, events: &mut Events) -> ControlFlow<Outcome> {
        let now = Monotonic::now();
        let deadlines = [
            self.fleet.next_deadline(),
            self.examinations.next_deadline(),
            self.zygotes.next_deadline(),
            self.control.as_ref().and_then(Control::next_deadline),
            self.oom.next_deadline(),
            self.measuring.next_deadline(now),
            self.attend_at,
        ];
        let timeout = deadlines.into_iter().flatten().min().map(|deadline| deadline.since(now));
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
        let signals = self.signals.drain();
        let stops = signals.iter().any(|signal| ENDING.contains(signal));
        for signal in signals {
            match Command::of(signal) {
                Some(Command::Reap) => reaping = true,
                // It would be given up at once, and might hold the stop up until then.
                Some(Command::Reload) if stops => debug!(signal:%; "the server is to stop"),
                // A window that changes its size is no operator.
                Some(Command::RetireAll) if is_in_foreground() => {
                    info!(signal:%; "ignored in the foreground of a terminal");
                }
                Some(command) => self.tell(Event::Commanded(command))?,
                None => debug!(signal:%; "signal without a meaning"),
            }
        }
        if reaping { self.reap_children() } else { Continue(()) }
    }

    /// Reads a worker's channel until there is nothing more: the poll tells of each arrival once.
    fn hear_worker(&mut self, nr: usize) -> ControlFlow<Outcome> {
        loop {
            let Some(child) = self.children.get_mut(nr).filter(|child| child.open) else {
                return Continue(());
            };
            let event = match child.channel.receive() {
                Ok(Received::Message(ToMaster::Ready)) => {
                    child.ready = true;
                    Event::Ready { nr }
                }
                Ok(Received::Message(ToMaster::Draining)) => {
                    child.draining = true;
                    Event::Draining { nr }
                }
                Ok(Received::Message(ToMaster::Worn)) => Event::Worn { nr },
                Ok(Received::Message(ToMaster::Examined)) => {
                    self.conclude_examined(nr);
                    continue;
                }
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

    fn admit_clients(&mut self) {
        if let Some(control) = &mut self.control {
            control.admit(Monotonic::now());
        }
    }

    /// Calls the host for what it waits for.
    fn attend(&mut self) -> ControlFlow<Outcome> {
        let attended = self.host.attend(Monotonic::now());
        self.attend_at = attended.again;
        if attended.reload {
            self.tell(Event::Commanded(Command::Reload))?;
        }
        Continue(())
    }

    fn look_at_clock(&mut self) -> ControlFlow<Outcome> {
        let now = Monotonic::now();
        self.conclude_overdue(now);
        self.kill_examined_zygotes(now);
        self.oom.look_at_clock(now);
        self.measure_next()?;
        self.release_waiters();
        if let Some(control) = &mut self.control {
            control.look_at_clock(now);
        }
        if self.attend_at.is_some_and(|attend_at| now >= attend_at) {
            self.attend()?;
        }
        if self.fleet.next_deadline().is_none_or(|deadline| now < deadline) {
            return Continue(());
        }
        // Which requests are named and which are overdue is judged by one clock.
        let now = Monotonic::now();
        let glances = self.children.iter().map(|(nr, _)| {
            let can_be_overdue = |busy_since| self.fleet.can_be_overdue(nr, busy_since, now);
            let seen = self.board.slot(nr).read_naming(can_be_overdue);
            Glance { nr, heartbeat: seen.heartbeat, lanes: seen.lanes, running: seen.running }
        });
        let board = glances.collect();
        self.tell_at(now, Event::Woke { board })
    }

    /// Tells the fleet what happened and does what follows.
    fn tell(&mut self, event: Event) -> ControlFlow<Outcome> {
        self.tell_at(Monotonic::now(), event)
    }

    fn tell_at(&mut self, now: Monotonic, event: Event) -> ControlFlow<Outcome> {
        self.answer_at(now, event);
        while let Some(action) = self.actions.pop_front() {
            self.carry_out(action)?;
        }
        Continue(())
    }

    /// The fleet is told of what an action led to; what follows comes after what was decided.
    fn answer(&mut self, event: Event) {
        self.answer_at(Monotonic::now(), event);
    }

    fn answer_at(&mut self, now: Monotonic, event: Event) {
        let actions = self.fleet.handle(event, now);
        // Ahead of the log line that says so: a response that ends after it tells its client.
        for action in &actions {
            if let Action::Tell { nr, message } = action
                && *message != ToWorker::ReopenLogs
            {
                self.board.slot(*nr).ask_to_leave();
            }
        }
        self.actions.extend(actions);
    }

    fn carry_out(&mut self, action: Action) -> ControlFlow<Outcome> {
        match action {
            Action::Fork { nr, generation } => return self.fork(nr, generation),
            Action::Tell { nr, message } => {
                let message = match message {
                    ToWorker::Stop if self.host.has_heirs() => ToWorker::RetireLast,
                    message => message,
                };
                if let Some(child) = self.children.get(nr)
                    && let Err(error) = child.channel.send(message)
                {
                    // It is exiting, or so stuck that its time limit will end it.
                    debug!(worker = nr, pid:% = child.pid, reason:% = error; "cannot tell");
                }
            }
            Action::Kill { nr, examine } => self.kill(nr, examine),
            Action::Expire { nr, requests } => self.expire(nr, requests),
            Action::AskToLeave => self.ask_all_to_leave(),
            Action::Measure { nrs } => self.measuring.begin(nrs),
            Action::ForkZygote { generation } => return self.fork_zygote(generation),
            Action::KillZygote { generation } => self.kill_zygote(generation),
            Action::Upgrade => self.upgrade(),
            Action::Reload { generation } => self.reload(generation),
            Action::Adopt { generation } => self.host.adopt(generation),
            Action::DropGeneration { generation } => {
                self.zygotes.forget(generation);
                self.host.drop_generation(generation);
            }
            Action::ReopenLogs => self.host.reopen_logs(),
            Action::StopListening => self.host.stop_listening(),
            Action::Describe(state) => {
                self.host.describe(&state);
                self.attend_at = Some(Monotonic::now());
            }
            Action::Report(mut report) => {
                self.explain(&mut report);
                self.say(&report, &Findings::default());
            }
            Action::Exit(code) => return Break(Outcome::Exit(code)),
        }
        Continue(())
    }

    /// Adds to the reason why a reload has failed what the app has to say of it.
    fn explain(&mut self, report: &mut Report) {
        if let Report::ReloadFailed { generation, reason, .. } = report
            && let Some(error) = self.host.boot_error(*generation)
        {
            *reason = format!("{reason}: {error}");
        }
    }

    /// Writes a line, and has everybody hear of it who listens.
    fn say(&mut self, report: &Report, findings: &Findings) {
        match self.death(report) {
            Some(death) => self.black_box.record(death),
            None => report.log_findings(findings),
        }
        if let Report::Ready { who, .. } = report {
            self.board.note_served(who.generation);
        }
        let under_way = self.fleet.reloading_to();
        let end = match report {
            Report::Serving => self.chronicle.started(self.fleet.serving()),
            report => self.chronicle.note(report, under_way),
        };
        if let Some(end) = end {
            self.settle_waiters(&end);
        }
        if let Report::Stopping { .. } | Report::ShutdownDelayed { .. } = report {
            self.dismiss_waiters();
        }
        self.host.observe(report);
        self.reclaim_signals();
        // It may want to be called at another time now.
        self.attend_at = Some(Monotonic::now());
    }

    fn reload(&mut self, generation: u32) {
        let result = self.host.reload(generation);
        self.reclaim_signals();
        let kept = match result {
            Ok(_) => {
                let alive = self.fleet.generations();
                alive.filter(|&old| self.host.keeps_listeners(old, generation)).collect()
            }
            Err(_) => Vec::new(),
        };
        self.answer(Event::Reloaded { generation, result, kept });
    }

    fn upgrade(&mut self) {
        let result = self.host.upgrade();
        self.reclaim_signals();
        self.successor = result.as_ref().ok().copied().or(self.successor);
        self.answer(Event::Upgrading { result });
    }

    /// Whatever code of the operator's the host has run may have taken a signal.
    fn reclaim_signals(&mut self) {
        for signal in self.signals.reclaim(&master_signals()) {
            warn!(signal:%; "the master's hooks and configuration can't have this signal: it is the server's");
            // Who has exited meanwhile was not told of.
            if signal == Signal::SIGCHLD
                && let Err(error) = kill(self.pid, signal)
            {
                error!(reason:% = error; "cannot look for exits");
            }
        }
    }

    fn ask_all_to_leave(&mut self) {
        self.leaving = true;
        for (nr, _) in self.children.iter() {
            self.board.slot(nr).ask_to_leave();
        }
    }

    fn fork(&mut self, nr: usize, generation: u32) -> ControlFlow<Outcome> {
        let slot = self.board.slot(nr);
        slot.set_state(State::Booting);
        if self.leaving {
            slot.ask_to_leave();
        }
        self.host.before_fork(nr, generation);
        self.reclaim_signals();
        let forked = if self.zygotes.preload(generation) {
            self.fork_from_zygote(nr, generation).map(|()| Continue(None))
        } else {
            self.fork_here(nr, generation)
        };
        match forked {
            Ok(Break(born)) => return Break(Outcome::Born(born)),
            Ok(Continue(Some(pid))) => self.answer(Event::Forked { nr, pid }),
            // The zygote will say so.
            Ok(Continue(None)) => {}
            Err(error) => {
                slot.reset();
                self.answer(Event::ForkFailed { nr, error: error.to_string() });
            }
        }
        Continue(())
    }

    fn fork_here(
        &mut self,
        nr: usize,
        generation: u32,
    ) -> io::Result<ControlFlow<Born, Option<Pid>>> {
        let (ours, theirs) = channel()?;
        let stacks = StackFile::new()?;
        match fork(self.host.fork_hooks())? {
            Forked::Parent { child: pid } => {
                drop(theirs);
                let open = self.watch(Source::Worker(nr), &ours);
                self.children.insert(nr, Child { open, ..Child::new(pid, ours, stacks) });
                Ok(Continue(Some(pid)))
            }
            Forked::Child { mask } => {
                Ok(Break(Born::Worker { nr, generation, channel: theirs, stacks, mask }))
            }
        }
    }

    /// Whether `fd` is polled from now on.
    fn watch(&self, source: Source, fd: &impl AsRawFd) -> bool {
        let watched = self.register(source, fd);
        if let Err(error) = &watched {
            error!(source:?, reason:% = error; "cannot watch");
        }
        watched.is_ok()
    }

    fn register(&self, source: Source, fd: &impl AsRawFd) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&fd), source.token(), Interest::READABLE)
    }

    /// Closing would not do: a process forked in between may not have closed its copy yet.
    fn unwatch(&self, channel: &impl AsRawFd) {
        let fd = channel.as_raw_fd();
        if let Err(error) = self.poll.registry().deregister(&mut SourceFd(&fd)) {
            debug!(reason:% = error; "cannot stop watching");
        }
    }
}

enum Never {}
