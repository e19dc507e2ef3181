//! The policy of supervision: what happened and what time it is go in, what to do comes out.
//!
//! ```text
//!             first Ready                 TERM                delay over
//!  Starting ───────────────► Serving ──────────────► Leaving ────────────► Stopping ─► Stopped
//!    │   ▲                    │   ▲                                          ▲   ▲
//!    │   │ reload             │   │ completed, abandoned      INT, QUIT,     │   │
//!    │ Waiting                ▼   │                           no delay ──────┘   │
//!    │   ▲                  (reload)                                             │
//!    └───┴─ a worker did not become ready: waits if it is to keep trying, or ends┘
//! ```
//!
//! Pure: no clock, no process, no descriptor, no log. Every [`Event`] changes slots and is
//! followed by one reconciliation of what is with what should be, so that no order of signals,
//! deaths and time-outs needs a path of its own. Invariants ([`Fleet::check_invariants`]) are
//! checked after each step in builds with debug assertions.
//!
//! Actions are carried out in order. Each [`Action::Reload`] is answered by [`Event::Reloaded`],
//! [`Action::ForkZygote`] by [`Event::ZygoteForked`] or [`Event::ZygoteForkFailed`],
//! [`Action::Upgrade`] by [`Event::Upgrading`], before the next event from outside is told. So is
//! [`Action::Fork`] by [`Event::Forked`] or [`Event::ForkFailed`], unless the worker comes out of
//! a zygote: then the answer may take its time.

mod action;
mod boot;
mod clock;
mod event;
mod exit;
mod generation;
mod invariants;
mod recycle;
mod reload;
#[cfg(test)]
mod scenario;
mod state;
mod stop;
mod strength;
mod timeout;
mod upgrade;
mod zygote;

use std::time::Duration;

use ironhorn_unix::{Monotonic, ToWorker};

use crate::{
    Options,
    command::{Command, Stop},
    report::{Reason, Report, Who},
    respawn::{Backoff, SuspendGuard},
    slot::{Retirement, Slot, Worker},
};

use generation::Generation;
use recycle::Recycling;
use timeout::Expired;
use upgrade::Upgrade;

pub use action::{Action, Overdue};
pub use event::{Event, Glance};
pub use state::State;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No worker has been ready yet: a failure to boot ends the server.
    Starting,
    /// A failure to boot has ended the start, and the next reload begins it anew.
    Waiting,
    Serving,
    /// As before, but asked to stop: load balancers learn of it meanwhile.
    Leaving {
        until: Monotonic,
    },
    Stopping {
        mode: Stop,
        since: Monotonic,
        code: i32,
    },
    Stopped,
}

/// A reload that is under way.
#[derive(Debug)]
struct Reload {
    generation: u32,
    since: Monotonic,
    /// The number of workers to go back to.
    fallback: usize,
    /// Whether a worker of the new generation has lived for long enough to be relied on.
    proven: bool,
    /// Whether there is nobody whom the new ones could displace: all had been sent away.
    unopposed: bool,
    /// Since when nothing of the new generation could be forked, and what the kernel says.
    unforkable: Option<(Monotonic, String)>,
}

/// All workers, and what is to become of them.
#[derive(Debug)]
pub struct Fleet {
    /// Slot number `nr` is at index `nr - 1`.
    slots: Vec<Slot>,
    generations: Vec<Generation>,
    /// The generation that workers are replaced by.
    serving: u32,
    latest: u32,
    /// How many workers should serve.
    target: usize,
    phase: Phase,
    reload: Option<Reload>,
    /// A reload was asked for and not answered: what to fork is about to change.
    asked: bool,
    /// Why the last reload failed, if it did.
    failed: Option<String>,
    /// The workers were told to leave, and none is forked until a reload.
    retired: bool,
    recycling: Recycling,
    /// The requests that were expired and that still ran when their workers were looked at last.
    expired: Vec<Expired>,
    upgrade: Upgrade,
    forks: Backoff,
    /// Deaths that are replaced whatever the back-off says: asked for, or after a healthy life.
    at_once: usize,
    guard: SuspendGuard,
    described: String,
    actions: Vec<Action>,
}

impl Fleet {
    /// A fleet that has not started, with room for `capacity` workers, those leaving included.
    ///
    /// # Panics
    /// If there is no worker to start, or no room for the workers and one more.
    #[must_use]
    pub fn new(options: Options, capacity: usize) -> Self {
        assert!(options.workers >= 1, "invariant: settings ask for at least one worker");
        assert!(options.workers < capacity, "invariant: the board has room for a reload");
        Self {
            slots: vec![Slot::EMPTY; capacity],
            target: options.workers,
            generations: vec![Generation::new(1, options, Vec::new())],
            serving: 1,
            latest: 1,
            phase: Phase::Starting,
            reload: None,
            asked: false,
            failed: None,
            retired: false,
            recycling: Recycling::default(),
            expired: Vec::new(),
            upgrade: Upgrade::default(),
            forks: Backoff::default(),
            at_once: 0,
            guard: SuspendGuard::default(),
            described: String::new(),
            actions: Vec::new(),
        }
    }

    /// Decides what `event` leads to.
    pub fn handle(&mut self, event: Event, now: Monotonic) -> Vec<Action> {
        if let Some(late) = self.guard.woke(now) {
            self.report(Report::WokeLate { late });
        }
        self.heed(event, now);
        self.reconcile(now);
        self.guard.plan(self.earliest_deadline(now));
        if cfg!(debug_assertions) {
            self.check_invariants(now);
        }
        std::mem::take(&mut self.actions)
    }

    fn heed(&mut self, event: Event, now: Monotonic) {
        match event {
            Event::Started => {}
            Event::Forked { nr, pid } => self.forked(nr, pid, now),
            Event::ForkFailed { nr, error } => self.fork_failed(nr, error, now),
            Event::Ready { nr } => self.ready(nr, now),
            Event::Serves { nr } => self.spare(nr, now),
            Event::Draining { nr } => self.draining(nr, now),
            Event::ChannelClosed { nr } => self.channel_closed(nr, now),
            Event::Exited { nr, exit, requests, out_of_memory } => {
                self.exited(nr, exit, requests, out_of_memory, now);
            }
            Event::Worn { nr } => self.wear(nr, Reason::MaxRequests),
            Event::Measured { memory } => self.measured(&memory, now),
            Event::ZygoteForked { generation, pid } => self.zygote_forked(generation, pid, now),
            Event::ZygoteForkFailed { generation, error } => {
                self.zygote_fork_failed(generation, error, now);
            }
            Event::ZygoteReady { generation } => self.zygote_ready(generation, now),
            Event::ZygoteExited { generation, exit, out_of_memory } => {
                self.zygote_exited(generation, exit, out_of_memory, now);
            }
            Event::Upgrading { result } => self.upgrading(result),
            Event::UpgradeExited { exit } => self.upgrade_exited(exit),
            Event::Commanded(command) => self.commanded(command, now),
            Event::Reloaded { generation, result, kept } => {
                self.reloaded(generation, result, kept, now);
            }
            Event::Woke { board } => self.woke(&board, now),
        }
    }

    fn commanded(&mut self, command: Command, now: Monotonic) {
        match command {
            Command::Stop(mode) => self.stop(mode, now),
            Command::Reload => self.begin_reload(),
            Command::Add => self.add(),
            Command::Remove => self.remove(),
            Command::Scale(workers) => self.scale(workers),
            Command::ReopenLogs => self.reopen_logs(),
            Command::Reap => {}
            Command::Upgrade => self.begin_upgrade(),
            Command::RetireAll => self.retire_all(),
            Command::Recycle(nr) => self.recycle_as_asked(nr),
        }
    }

    fn reopen_logs(&mut self) {
        self.act(Action::ReopenLogs);
        let told: Vec<usize> = self
            .slots()
            .filter(|(_, slot)| slot.worker().is_some() && !matches!(slot, Slot::Killed { .. }))
            .map(|(nr, _)| nr)
            .collect();
        for nr in told {
            self.tell(nr, ToWorker::ReopenLogs);
        }
    }

    /// Brings what is nearer to what should be.
    fn reconcile(&mut self, now: Monotonic) {
        if self.asked {
            return;
        }
        match self.phase {
            Phase::Starting | Phase::Serving | Phase::Leaving { .. } => {
                self.advance_reload(now);
                self.go_on_recycling(now);
                self.trim(now);
                self.begin_recycling(now);
                self.fork_zygotes(now);
                self.fill(now);
                self.at_once = 0;
                self.drop_unused();
            }
            Phase::Waiting => self.drop_unused(),
            Phase::Stopping { code, .. } => self.finish_stop(code),
            Phase::Stopped => {}
        }
        self.describe();
    }

    /// Asks a ready worker to leave while others serve.
    fn retire(&mut self, nr: usize, reason: Reason, now: Monotonic) {
        let Slot::Ready { worker, check_at, .. } = self.slots[nr - 1] else { return };
        let retirement = Retirement { reason, since: now };
        self.slots[nr - 1] = Slot::Retiring { worker, retirement, check_at };
        let message =
            if self.has_heirs(worker.generation) { ToWorker::Retire } else { ToWorker::RetireLast };
        self.tell(nr, message);
    }

    /// Whether others poll every listener of `generation`.
    fn has_heirs(&self, generation: u32) -> bool {
        if self.retired {
            return false;
        }
        let heir = self.reload.as_ref().map_or(self.serving, |reload| reload.generation);
        let keeps = self.generation(heir).is_some_and(|heir| heir.keeps.contains(&generation));
        let sibling = |slot: &Slot| slot.is_ready() && slot.generation() == Some(generation);
        heir == generation || keeps || self.slots.iter().any(sibling)
    }

    /// Sends SIGKILL, once.
    fn kill(&mut self, nr: usize, reason: Reason) {
        let slot = self.slots[nr - 1];
        let Some(&worker) = slot.worker() else { return };
        if !matches!(slot, Slot::Killed { .. }) {
            self.slots[nr - 1] = Slot::Killed { worker, reason };
            let hurried = matches!(self.phase, Phase::Stopping { mode: Stop::Quick, .. });
            self.act(Action::Kill { nr, examine: is_worth_a_look(reason) && !hurried });
        }
    }

    fn tell(&mut self, nr: usize, message: ToWorker) {
        self.act(Action::Tell { nr, message });
    }

    fn report(&mut self, report: Report) {
        self.act(Action::Report(report));
    }

    fn act(&mut self, action: Action) {
        self.check_action(&action);
        self.actions.push(action);
    }

    /// Whether workers that are missing are forked.
    fn is_kept_up(&self) -> bool {
        let kept_up =
            matches!(self.phase, Phase::Starting | Phase::Serving | Phase::Leaving { .. });
        kept_up && !(self.retired && self.reload.is_none())
    }

    /// Whether the server is on its way out.
    fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. } | Phase::Stopped)
    }

    fn who(&self, nr: usize, worker: &Worker) -> Who {
        Who { nr, generation: worker.generation, pid: worker.pid }
    }

    fn count(&self, counted: impl Fn(&Slot) -> bool) -> usize {
        self.slots.iter().filter(|slot| counted(slot)).count()
    }

    fn generation(&self, nr: u32) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.nr == nr)
    }

    fn generation_mut(&mut self, nr: u32) -> Option<&mut Generation> {
        self.generations.iter_mut().find(|generation| generation.nr == nr)
    }

    fn options(&self, generation: u32) -> &Options {
        let found = self.generation(generation).map(|generation| &generation.options);
        found.expect("invariant: a worker's generation is kept until the worker is gone")
    }

    fn crashes(&mut self, generation: u32) -> &mut Backoff {
        let found = self.generation_mut(generation);
        &mut found.expect("invariant: a worker's generation is kept until it is gone").crashes
    }
}

/// Whether what a worker was doing explains why it is killed.
fn is_worth_a_look(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Timeout
            | Reason::Silent
            | Reason::BootTimeout
            | Reason::GracefulTimeout
            | Reason::ChannelLost
            | Reason::MaxMemoryHard
    )
}

/// Zero means no limit, as none does.
fn limit(setting: Option<Duration>) -> Option<Duration> {
    setting.filter(|limit| !limit.is_zero())
}

/// The earlier of two moments, either of which may never come.
fn earlier(one: Option<Monotonic>, other: Option<Monotonic>) -> Option<Monotonic> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::{scenario::Scenario, *};

    #[test]
    fn logs_are_reopened_everywhere() {
        let mut fleet = Scenario::serving(2);
        fleet.command(Command::ReopenLogs);
        fleet.assert_told(&[(1, ToWorker::ReopenLogs), (2, ToWorker::ReopenLogs)]);
        assert!(fleet.did(&Action::ReopenLogs));
    }

    #[test]
    fn what_needs_nothing_does_nothing() {
        let mut fleet = Scenario::serving(2);
        fleet.command(Command::Reap);
        assert_eq!(fleet.take(), []);
    }
}
