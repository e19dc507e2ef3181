//! The policy of supervision: what happened and what time it is go in, what to do comes out.
//!
//! ```text
//!             first Ready                 TERM, INT, QUIT
//!  Starting ───────────────► Serving ───────────────────────► Stopping ─► Stopped
//!     │                       │   ▲ completed, abandoned                 ▲
//!     │ a worker did not      ▼   │                                      │
//!     │ become ready        (reload)                                     │
//!     └──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Pure: no clock, no process, no descriptor, no log. Every [`Event`] changes slots and is
//! followed by one reconciliation of what is with what should be, so that no order of signals,
//! deaths and time-outs needs a path of its own. Invariants ([`Fleet::check_invariants`]) are
//! checked after each step in builds with debug assertions.
//!
//! Actions are carried out in order. Each [`Action::Fork`] is answered by [`Event::Forked`] or
//! [`Event::ForkFailed`], each [`Action::Reload`] by [`Event::Reloaded`], before the next event
//! from outside is told.

mod action;
mod boot;
mod clock;
mod event;
mod exit;
mod invariants;
mod reload;
#[cfg(test)]
mod scenario;
mod stop;

use std::{cmp::Reverse, time::Duration};

use ironhorn_unix::{Monotonic, ToWorker};

use crate::{
    Options,
    command::{Command, Stop},
    report::{Reason, Report, Who},
    respawn::{Backoff, SuspendGuard},
    slot::{Slot, Worker},
};

pub use action::Action;
pub use event::{Event, Glance};

/// A version of settings and code, from its reload until its last worker is gone.
#[derive(Debug)]
struct Generation {
    nr: u32,
    options: Options,
    /// Older generations all of whose listeners this one has.
    keeps: Vec<u32>,
    crashes: Backoff,
}

impl Generation {
    fn new(nr: u32, options: Options, keeps: Vec<u32>) -> Self {
        Self { nr, options, keeps, crashes: Backoff::default() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No worker has been ready yet: a failure to boot ends the server.
    Starting,
    Serving,
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
        match event {
            Event::Started => {}
            Event::Forked { nr, pid } => self.forked(nr, pid, now),
            Event::ForkFailed { nr, error } => self.fork_failed(nr, error, now),
            Event::Ready { nr } => self.ready(nr, now),
            Event::Draining { nr } => self.draining(nr, now),
            Event::ChannelClosed { nr } => self.channel_closed(nr, now),
            Event::Exited { nr, exit, requests } => self.exited(nr, exit, requests, now),
            Event::Commanded(command) => self.commanded(command, now),
            Event::Reloaded { generation, result, kept } => {
                self.reloaded(generation, result, kept, now);
            }
            Event::Woke { board } => self.woke(&board, now),
        }
        self.reconcile(now);
        self.guard.plan(self.earliest_deadline(now));
        if cfg!(debug_assertions) {
            self.check_invariants(now);
        }
        std::mem::take(&mut self.actions)
    }

    /// How many workers should serve.
    #[must_use]
    pub fn target(&self) -> usize {
        self.target
    }

    /// The generation that dead workers are replaced by.
    #[must_use]
    pub fn serving(&self) -> u32 {
        self.serving
    }

    /// Whether a reload is under way.
    #[must_use]
    pub fn is_reloading(&self) -> bool {
        self.reload.is_some()
    }

    /// Each slot with its number.
    pub fn slots(&self) -> impl Iterator<Item = (usize, &Slot)> {
        (1..).zip(&self.slots)
    }

    /// The generations that are in use.
    pub fn generations(&self) -> impl Iterator<Item = u32> {
        self.generations.iter().map(|generation| generation.nr)
    }

    /// What the worker in slot `nr` runs, if there is one.
    #[must_use]
    pub fn generation_of(&self, nr: usize) -> Option<u32> {
        self.slots[nr - 1].generation()
    }

    fn commanded(&mut self, command: Command, now: Monotonic) {
        match command {
            Command::Stop(mode) => self.stop(mode, now),
            Command::Reload => self.begin_reload(),
            Command::Add => self.add(),
            Command::Remove => self.remove(),
            Command::ReopenLogs => self.reopen_logs(),
            Command::Reap => {}
            Command::Unavailable(signal) => self.report(Report::Unavailable { signal }),
        }
    }

    fn add(&mut self) {
        if self.is_ending() {
            return;
        }
        // Room is left for a reload to boot in.
        let limit = self.slots.len() - 1;
        if self.target >= limit {
            self.report(Report::WorkersLimit { count: self.target });
            return;
        }
        self.target += 1;
        if let Some(reload) = &mut self.reload {
            reload.fallback = (reload.fallback + 1).min(limit);
        }
        self.report(Report::Workers { count: self.target });
    }

    fn remove(&mut self) {
        if self.is_ending() {
            return;
        }
        if self.target == 1 {
            self.report(Report::WorkersLimit { count: 1 });
            return;
        }
        self.target -= 1;
        if let Some(reload) = &mut self.reload {
            reload.fallback = (reload.fallback - 1).max(1);
        }
        self.report(Report::Workers { count: self.target });
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
            Phase::Starting | Phase::Serving => {
                self.advance_reload(now);
                self.trim(now);
                self.fill(now);
                self.at_once = 0;
                self.drop_unused();
            }
            Phase::Stopping { code, .. } => self.finish_stop(code),
            Phase::Stopped => {}
        }
        self.describe();
    }

    /// Takes surplus workers away: first those that do not serve yet, then those of another
    /// generation than the serving one, then the oldest.
    fn trim(&mut self, now: Monotonic) {
        if self.reload.is_some() {
            return;
        }
        while self.active() > self.target {
            if let Some(nr) = self.youngest_booting(|_| true) {
                self.kill(nr, Reason::Asked);
            } else if let Some(nr) = self.oldest(|_| true) {
                self.retire(nr, now);
            } else {
                // Forks that have not been answered: their turn comes when they are.
                return;
            }
        }
    }

    /// The ready worker to part with first, among those of generations that are `eligible`.
    fn oldest(&self, eligible: impl Fn(u32) -> bool) -> Option<usize> {
        self.slots()
            .filter_map(|(nr, slot)| match slot {
                Slot::Ready { worker, since, .. } if eligible(worker.generation) => {
                    Some((worker.generation == self.serving, *since, nr))
                }
                _ => None,
            })
            .min()
            .map(|(_, _, nr)| nr)
    }

    /// The booting worker to part with first, among those of generations that are `eligible`.
    fn youngest_booting(&self, eligible: impl Fn(u32) -> bool) -> Option<usize> {
        self.slots()
            .filter_map(|(nr, slot)| match slot {
                Slot::Booting { worker } if eligible(worker.generation) => {
                    Some((worker.forked_at, nr))
                }
                _ => None,
            })
            .max()
            .map(|(_, nr)| nr)
    }

    /// Forks what is missing, as far as back-off and room allow.
    fn fill(&mut self, now: Monotonic) {
        if self.forks.waits_until(now).is_some() {
            return;
        }
        for (generation, missing) in self.missing() {
            let allowed = match self.crashes(generation).waits_until(now) {
                None => missing,
                Some(_) => missing.min(self.at_once),
            };
            for _ in 0..allowed {
                let Some(nr) = self.vacancy() else { return };
                self.slots[nr - 1] = Slot::Forking { generation };
                self.act(Action::Fork { nr, generation });
            }
        }
    }

    /// How many workers of which generation should be booting and are not.
    fn missing(&self) -> Vec<(u32, usize)> {
        match &self.reload {
            None => vec![(self.serving, self.target.saturating_sub(self.active()))],
            Some(_) => self.missing_in_reload(),
        }
    }

    /// An empty slot: the one whose worker was the last to leave unasked, else the first.
    fn vacancy(&self) -> Option<usize> {
        self.slots()
            .filter_map(|(nr, slot)| match slot {
                Slot::Empty { owed } => Some((Reverse(*owed), nr)),
                _ => None,
            })
            .min()
            .map(|(_, nr)| nr)
    }

    /// Drops the generations that nobody runs and nobody will.
    fn drop_unused(&mut self) {
        let unused: Vec<u32> = self
            .generations()
            .filter(|&nr| nr != self.serving)
            .filter(|&nr| self.reload.as_ref().is_none_or(|reload| reload.generation != nr))
            .filter(|&nr| self.slots().all(|(_, slot)| slot.generation() != Some(nr)))
            .collect();
        self.generations.retain(|generation| !unused.contains(&generation.nr));
        for generation in unused {
            self.act(Action::DropGeneration { generation });
        }
    }

    fn describe(&mut self) {
        let workers = if self.target == 1 { "worker" } else { "workers" };
        let mut state = match self.phase {
            Phase::Stopping { .. } | Phase::Stopped => "stopping".to_owned(),
            _ => format!("{} {workers}, generation {}", self.target, self.serving),
        };
        if let (Phase::Serving, Some(reload)) = (self.phase, &self.reload) {
            state.push_str(&format!(", reloading to {}", reload.generation));
        } else if let (Phase::Serving, Some(reason)) = (self.phase, &self.failed) {
            state.push_str(&format!(", reload failed: {reason}"));
        }
        if state != self.described {
            self.described.clone_from(&state);
            self.act(Action::Describe(state));
        }
    }

    /// Asks a ready worker to leave while others serve.
    fn retire(&mut self, nr: usize, now: Monotonic) {
        let Slot::Ready { worker, check_at, .. } = self.slots[nr - 1] else { return };
        self.slots[nr - 1] = Slot::Retiring { worker, since: now, check_at };
        let message =
            if self.has_heirs(worker.generation) { ToWorker::Retire } else { ToWorker::RetireLast };
        self.tell(nr, message);
    }

    /// Whether others poll every listener of `generation`.
    fn has_heirs(&self, generation: u32) -> bool {
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
            self.act(Action::Kill { nr });
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

    /// How many serve or will.
    fn active(&self) -> usize {
        self.count(|slot| slot.is_ready() || slot.is_coming())
    }

    fn generation(&self, nr: u32) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.nr == nr)
    }

    fn options(&self, generation: u32) -> &Options {
        let found = self.generation(generation).map(|generation| &generation.options);
        found.expect("invariant: a worker's generation is kept until the worker is gone")
    }

    fn crashes(&mut self, generation: u32) -> &mut Backoff {
        let found = self.generations.iter_mut().find(|found| found.nr == generation);
        let found = found.expect("invariant: a worker's generation is kept until it is gone");
        &mut found.crashes
    }
}

/// Zero means no limit, as none does.
fn limit(setting: Option<Duration>) -> Option<Duration> {
    setting.filter(|limit| !limit.is_zero())
}

#[cfg(test)]
mod tests {
    use super::{scenario::Scenario, *};
    use ironhorn_unix::Signal;

    #[test]
    fn another_worker_on_ttin() {
        let mut fleet = Scenario::serving(2);
        fleet.command(Command::Add);
        fleet.assert_forked(&[3]);
        assert!(fleet.said(&Report::Workers { count: 3 }));
    }

    #[test]
    fn the_oldest_retires_on_ttou_and_the_last_one_stays() {
        let mut fleet = Scenario::serving(2);
        fleet.command(Command::Remove);
        fleet.assert_told(&[(1, ToWorker::Retire)]);
        fleet.command(Command::Remove);
        fleet.assert_told(&[]);
        assert!(fleet.said(&Report::WorkersLimit { count: 1 }));
    }

    #[test]
    fn one_who_boots_goes_before_one_who_serves() {
        let mut fleet = Scenario::serving(2);
        fleet.command(Command::Add);
        fleet.fork_all();
        fleet.command(Command::Remove);
        assert_eq!(fleet.take_killed(), [3]);
        fleet.assert_told(&[]);
    }

    #[test]
    fn room_for_a_reload_is_never_taken() {
        let mut fleet = Scenario::serving(2);
        for _ in 0..100 {
            fleet.command(Command::Add);
            fleet.boot_all();
        }
        assert_eq!(fleet.fleet.target(), scenario::CAPACITY - 1);
        assert!(fleet.said(&Report::WorkersLimit { count: scenario::CAPACITY - 1 }));
    }

    #[test]
    fn logs_are_reopened_everywhere() {
        let mut fleet = Scenario::serving(2);
        fleet.command(Command::ReopenLogs);
        fleet.assert_told(&[(1, ToWorker::ReopenLogs), (2, ToWorker::ReopenLogs)]);
        assert!(fleet.did(&Action::ReopenLogs));
    }

    #[test]
    fn what_is_not_available_is_said_and_nothing_else_happens() {
        let mut fleet = Scenario::serving(2);
        fleet.command(Command::Unavailable(Signal::SIGUSR2));
        assert_eq!(fleet.take(), [Action::Report(Report::Unavailable { signal: Signal::SIGUSR2 })]);
    }

    #[test]
    fn the_state_is_shown_when_it_changes() {
        let mut fleet = Scenario::serving(2);
        fleet.command(Command::Add);
        assert!(fleet.did(&Action::Describe("3 workers, generation 1".to_owned())));
        fleet.take();
        fleet.command(Command::Reap);
        assert_eq!(fleet.take(), []);
    }
}
