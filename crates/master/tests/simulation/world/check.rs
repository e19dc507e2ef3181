//! What must never happen, seen from outside.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use ironhorn_master::{
    fleet::{Action, Event, State},
    report::Report,
};
use ironhorn_unix::Monotonic;

use super::{CAPACITY, HEALTHY, World};

impl World {
    pub(super) fn ready(&self) -> usize {
        self.fleet.slots().filter(|(_, slot)| slot.is_ready()).count()
    }

    pub(super) fn leaves_by_itself(&self, event: &Event) -> usize {
        let (Event::Draining { nr } | Event::Exited { nr, .. }) = event else { return 0 };
        usize::from(self.fleet.slots().any(|(at, slot)| at == *nr && slot.is_ready()))
    }

    /// Neither a reload, nor a recycle, nor a smaller number of workers ever takes more than the
    /// surplus away.
    pub(super) fn check_strength(&self, before: usize, actions: &[Action]) {
        let ending = actions.iter().any(|action| matches!(action, Action::StopListening));
        if ending || self.fleet.state() == State::Retired {
            return;
        }
        let serves = |nr: usize| self.processes.values().any(|it| it.nr == nr && it.ready);
        let lost = actions.iter().filter(|action| match action {
            Action::Kill { nr, .. } => serves(*nr),
            // Of those who were leaving, nobody is taken away.
            Action::Expire { nr, .. } => {
                self.processes.values().any(|it| it.nr == *nr && it.ready && !it.told)
            }
            _ => false,
        });
        let left = self.ready() + lost.count();
        let wanted = before.min(self.fleet.target());
        assert!(left >= wanted, "{left} serve after a step, of {before} before it");
    }

    /// Those who run what is known to live: all but the new ones of a reload.
    pub(super) fn old_ready(&self) -> usize {
        let newest = self.fleet.reloading_to();
        let old = self.fleet.slots().filter(|(_, slot)| slot.generation() != newest);
        old.filter(|(_, slot)| slot.is_ready()).count()
    }

    /// A reload takes nobody away for code that has not lived for a second.
    pub(super) fn check_old(
        &mut self,
        before: (Option<u32>, usize),
        gone: usize,
        actions: &[Action],
    ) {
        for process in self.processes.values() {
            if process.ready_since.is_some_and(|since| self.now.since(since) >= HEALTHY) {
                self.proven.insert(process.generation);
            }
        }
        let (reload, before) = before;
        let Some(generation) = reload.filter(|_| self.fleet.reloading_to() == reload) else {
            return;
        };
        let taken =
            actions.iter().any(|it| matches!(it, Action::Kill { .. } | Action::Expire { .. }));
        if taken
            || self.is_edited(generation)
            || self.proven.contains(&generation)
            || self.fleet.state() != State::Serving
        {
            return;
        }
        let wanted = (before - before.min(gone)).min(self.fleet.target());
        let left = self.old_ready();
        assert!(left >= wanted, "{left} of {before} are left for code that may die");
    }

    /// Whether somebody edits the code of this generation, and would rather see it than wait.
    fn is_edited(&self, generation: u32) -> bool {
        self.options[&generation].keep_trying
    }

    /// Workers that leak alike are not killed alike, if they serve.
    pub(super) fn check_memory_kills(&mut self, served: &BTreeSet<i32>, actions: &[Action]) {
        let killed = actions.iter().filter(|action| match action {
            Action::Report(Report::TooMuchMemory { who, .. }) => served.contains(&who.pid.as_raw()),
            _ => false,
        });
        let killed = killed.count();
        assert!(killed <= 1, "{killed} are killed for their memory at a time");
        if self.ready() + killed >= self.fleet.target() {
            self.memory_kill = None;
        }
        if killed == 1 {
            let soon = self.memory_kill.is_some_and(|at| self.now.since(at).as_secs() < 30);
            assert!(!soon, "killed for its memory before the replacement of another serves");
            let missed = self.ready() < self.fleet.target();
            self.memory_kill = missed.then_some(self.now);
        }
    }

    /// The processes in slots of those who serve.
    pub(super) fn serving(&self) -> BTreeSet<i32> {
        let ready = self.fleet.slots().filter(|(_, slot)| slot.is_ready());
        ready.filter_map(|(_, slot)| Some(slot.worker()?.pid.as_raw())).collect()
    }

    pub(super) fn check_reports(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Report(Report::Serving) => {
                    assert!(!self.said_serving, "it serves for the first time twice");
                    self.said_serving = true;
                }
                Action::Report(Report::Recycling { .. }) => {
                    assert!(!self.fleet.is_reloading(), "recycled while a reload runs");
                    assert_eq!(self.fleet.state(), State::Serving, "recycled in vain");
                    let target = self.fleet.target();
                    assert!(self.ready() >= target, "recycled below full strength");
                }
                Action::Report(Report::Reloaded { generation, .. }) => {
                    let proven = self.proven.contains(generation) || self.is_edited(*generation);
                    assert!(proven, "reloaded to code that nobody knows to live");
                }
                Action::Report(Report::ReloadFailed { .. }) => {
                    let retired = self.fleet.state() == State::Retired;
                    let others = self.fleet.upgrading_to().is_some();
                    let back = !retired || self.fleet.is_reloading() || others;
                    assert!(back, "a reload that fails leaves nobody");
                }
                Action::Report(Report::WokeLate { .. }) => {
                    assert!(std::mem::take(&mut self.slept), "woke late and had not slept");
                    self.resumed_at = self.now;
                }
                Action::Report(Report::Silent { who, .. }) => {
                    let process = &self.processes[&who.pid.as_raw()];
                    assert!(process.stopped_since.is_some(), "one who lives is taken for silent");
                    assert!(process.turns(), "one who is in the app is taken for silent");
                }
                Action::Report(Report::RecycleFailed { .. }) => {
                    let most = 8 + self.wishes.count(self.now);
                    let times = self.failed_recycles.note(self.now);
                    assert!(times <= most, "{times} recycles failed in ten seconds");
                }
                _ => {}
            }
        }
        assert_eq!(self.said_serving, self.ever_ready, "it serves and does not say so");
    }

    /// After each step, and whatever followed from it.
    pub(super) fn check_people(&self) {
        let recycled = self.processes.values().filter(|process| process.recycled).count();
        assert!(recycled <= 1, "{recycled} are recycled at a time");
        if self.fleet.state() == State::Leaving {
            for (nr, slot) in self.fleet.slots().filter(|(_, slot)| slot.is_ready()) {
                let pid = slot.worker().expect("who serves is somebody").pid.as_raw();
                let knows = self.asked_to_leave.contains(&pid);
                assert!(knows, "worker {nr} does not know of the stop");
            }
        }
        for process in self.processes.values() {
            let generation = process.generation;
            assert!(!self.dropped.contains(&generation), "generation {generation} was dropped");
        }
    }

    /// In a second, each worker may be forked a few times, and each command may fork some.
    pub(super) fn check_busy_loop(&mut self) {
        let strength = CAPACITY.min(2 * self.fleet.target().max(6));
        let most = 6 * strength + 10 * self.commands.count(self.now);
        let times = self.forks.note(self.now);
        assert!(times <= most, "{times} forks in a second");
    }

    /// Who is killed is killed, unless it turns out to serve, once: whoever is asked for the same
    /// again and again at the same moment never comes to anything else.
    pub(super) fn check_kill(&mut self, pid: i32, spared: bool) {
        assert!(self.killed.insert((pid, spared)), "process {pid} is killed again");
    }

    /// A zygote that is lost again and again has its back-off.
    pub(super) fn check_zygote_loop(&mut self, generation: u32) {
        let forks = self.zygote_forks.entry(generation).or_insert(Window::new(10));
        let times = forks.note(self.now);
        assert!(times <= 8, "{times} zygotes of generation {generation} in ten seconds");
    }
}

/// What has happened lately, to see a busy loop by.
#[derive(Debug)]
pub(super) struct Window {
    length: Duration,
    times: VecDeque<Monotonic>,
}

impl Window {
    pub(super) fn new(seconds: u64) -> Self {
        Self { length: Duration::from_secs(seconds), times: VecDeque::new() }
    }

    /// It has happened once more. How often it has lately.
    pub(super) fn note(&mut self, now: Monotonic) -> usize {
        self.times.push_back(now);
        self.count(now)
    }

    pub(super) fn count(&mut self, now: Monotonic) -> usize {
        while self.times.front().is_some_and(|at| now.since(*at) > self.length) {
            self.times.pop_front();
        }
        self.times.len()
    }
}
