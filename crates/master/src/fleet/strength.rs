//! How many workers there should be, and what brings their number there.

use std::{cmp::Reverse, time::Duration};

use ironhorn_unix::Monotonic;

use super::{Action, Fleet, Phase};
use crate::{
    report::{Reason, Report},
    slot::Slot,
};

/// How long the others wait at most for those who boot first.
const HEAD_START: Duration = Duration::from_secs(1);

impl Fleet {
    pub(super) fn add(&mut self) {
        self.resize(self.target + 1);
    }

    pub(super) fn remove(&mut self) {
        self.resize(self.target - 1);
    }

    pub(super) fn scale(&mut self, workers: usize) {
        self.resize(workers);
    }

    fn resize(&mut self, workers: usize) {
        if self.is_ending() {
            return;
        }
        let limit = self.limit();
        if workers == 0 || workers > limit {
            self.report(Report::WorkersLimit { count: self.target });
            return;
        }
        if let Some(reload) = &mut self.reload {
            let kept = (reload.fallback + workers).saturating_sub(self.target);
            reload.fallback = kept.clamp(1, limit);
        }
        self.target = workers;
        self.report(Report::Workers { count: workers });
    }

    /// The workers leave and the master stays. Whoever shares the listeners serves on; if nobody
    /// does, what the kernel has queued is served first.
    pub(super) fn retire_all(&mut self) {
        if self.phase != Phase::Serving || self.retired {
            return;
        }
        self.overrule_reload("the workers were told to leave");
        self.retired = true;
        self.report(Report::RetiringAll);
    }

    /// How many should serve or be on their way; a reload has rules of its own.
    pub(super) fn wanted(&self) -> usize {
        if self.retired { 0 } else { self.target + self.extra() }
    }

    /// How many serve or will.
    pub(super) fn active(&self) -> usize {
        self.count(|slot| slot.is_ready() || self.is_wanted_to_come(slot))
    }

    fn is_wanted_to_come(&self, slot: &Slot) -> bool {
        slot.is_coming() && slot.generation().is_some_and(|generation| self.boots(generation))
    }

    /// Takes surplus workers away: first those that do not serve yet, then those of another
    /// generation than the serving one, then the oldest.
    pub(super) fn trim(&mut self, now: Monotonic) {
        if self.reload.is_some() {
            return;
        }
        if self.retired {
            self.kill_booting(|_| true);
        }
        while self.active() > self.wanted() {
            let surplus = self.count(Slot::is_ready) > if self.retired { 0 } else { self.target };
            if let Some(nr) = self.youngest_booting(|_| true) {
                self.kill(nr, Reason::Asked);
            } else if let Some(nr) = self.oldest(|_| true).filter(|_| surplus) {
                self.retire(nr, Reason::Asked, now);
            } else {
                // Forks that have not been answered: their turn comes when they are.
                return;
            }
        }
    }

    /// The ready worker to part with first, among those of generations that are `eligible`.
    pub(super) fn oldest(&self, eligible: impl Fn(u32) -> bool) -> Option<usize> {
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
    pub(super) fn youngest_booting(&self, eligible: impl Fn(u32) -> bool) -> Option<usize> {
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

    pub(super) fn kill_booting(&mut self, of: impl Fn(u32) -> bool) {
        while let Some(nr) = self.youngest_booting(&of) {
            self.kill(nr, Reason::Asked);
        }
    }

    /// Forks what is missing, as far as back-off, zygotes and room allow.
    pub(super) fn fill(&mut self, now: Monotonic) {
        if self.forks.waits_until(now).is_some() {
            return;
        }
        for (generation, missing) in self.missing(now) {
            if !self.is_forkable(generation) {
                continue;
            }
            let allowed = match self.crashes(generation).waits_until(now) {
                None => missing,
                Some(_) => missing.min(self.at_once),
            };
            for _ in 0..allowed {
                let Some(nr) = self.vacancy() else { return };
                self.slots[nr - 1] = Slot::Forking { generation, since: now };
                self.act(Action::Fork { nr, generation });
            }
        }
    }

    /// Whether a worker of `generation` could be forked now.
    pub(super) fn is_forkable(&self, generation: u32) -> bool {
        self.generation(generation).is_some_and(|generation| generation.is_forkable())
    }

    /// How many workers of which generation should be booting and are not.
    fn missing(&self, now: Monotonic) -> Vec<(u32, usize)> {
        match &self.reload {
            None => {
                let wanted = self.wanted().min(self.abreast(now));
                vec![(self.serving, wanted.saturating_sub(self.active()))]
            }
            Some(_) => self.missing_in_reload(),
        }
    }

    /// How many may be on their way. At the start no more than there are CPUs: more of them, each
    /// importing the app, would only be late together, and nobody would answer meanwhile. The
    /// others follow as soon as one serves, or after a while: a boot may also wait for something.
    pub(super) fn abreast(&self, now: Monotonic) -> usize {
        let options = self.options(self.serving);
        // Forks of a zygote's import nothing.
        if self.phase != Phase::Starting || options.preload {
            return usize::MAX;
        }
        let is_over = self.head_start_until().is_some_and(|until| now >= until);
        if is_over { usize::MAX } else { options.boots_abreast }
    }

    /// When those who do not boot with the first are forked, though nobody serves.
    pub(super) fn head_start_until(&self) -> Option<Monotonic> {
        let options = self.options(self.serving);
        let waits = self.phase == Phase::Starting && self.wanted() > options.boots_abreast;
        if !waits || options.preload {
            return None;
        }
        let first = self.slots.iter().filter_map(|slot| match slot {
            Slot::Forking { since, .. } => Some(*since),
            Slot::Booting { worker } => Some(worker.forked_at),
            _ => None,
        });
        first.min().map(|since| since + HEAD_START)
    }

    /// When the back-off lets a missing worker be forked.
    pub(super) fn respawn_at(&self, now: Monotonic) -> Option<Monotonic> {
        if !self.is_kept_up() {
            return None;
        }
        let missing = self.missing(now).into_iter().filter(|(_, missing)| *missing > 0);
        let forks = self.forks.waits_until(now);
        missing
            .filter_map(|(nr, _)| self.generation(nr))
            .filter(|generation| generation.is_forkable())
            .filter_map(|generation| generation.crashes.waits_until(now).max(forks))
            .min()
    }

    /// An empty slot: the one whose worker was the last to leave unasked, else the first.
    pub(super) fn vacancy(&self) -> Option<usize> {
        self.slots()
            .filter_map(|(nr, slot)| match slot {
                Slot::Empty { owed } => Some((Reverse(*owed), nr)),
                _ => None,
            })
            .min()
            .map(|(_, nr)| nr)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ironhorn_unix::{Exit, ToWorker};

    use super::super::{
        State,
        scenario::{CAPACITY, Scenario, options},
    };
    use super::*;
    use crate::{
        Options,
        command::{Command, Stop},
    };

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
        fleet.assert_killed(&[3]);
        fleet.assert_told(&[]);
    }

    #[test]
    fn room_for_a_reload_is_never_taken() {
        let mut fleet = Scenario::serving(2);
        for _ in 0..100 {
            fleet.command(Command::Add);
            fleet.boot_all();
        }
        assert_eq!(fleet.fleet.target(), CAPACITY - 1);
        assert_eq!(fleet.fleet.limit(), CAPACITY - 1);
        assert!(fleet.said(&Report::WorkersLimit { count: CAPACITY - 1 }));
    }

    #[test]
    fn as_many_as_asked_for_within_the_same_limits() {
        let mut fleet = Scenario::serving(2);
        fleet.command(Command::Scale(5));
        fleet.assert_forked(&[3, 4, 5]);
        assert!(fleet.said(&Report::Workers { count: 5 }));
        fleet.boot_all();
        for refused in [0, CAPACITY] {
            fleet.take();
            fleet.command(Command::Scale(refused));
            assert_eq!(fleet.take(), [Action::Report(Report::WorkersLimit { count: 5 })]);
        }
        fleet.command(Command::Scale(1));
        assert_eq!(fleet.ready_count(), 1);
    }

    #[test]
    fn a_number_asked_for_during_a_reload_stays_when_it_fails() {
        let mut fleet = Scenario::serving(2);
        fleet.reload(options(2));
        fleet.fork_all();
        fleet.command(Command::Scale(3));
        fleet.exit(3, Exit::Code(3));
        assert!(fleet.reload_failed());
        assert_eq!(fleet.fleet.target(), 3);
    }

    #[test]
    fn all_leave_on_winch_and_the_master_stays() {
        let mut fleet = Scenario::serving(2);
        fleet.command(Command::Add);
        fleet.fork_all();
        fleet.take();
        fleet.command(Command::RetireAll);
        fleet.assert_killed(&[3]);
        fleet.assert_told(&[(1, ToWorker::RetireLast), (2, ToWorker::RetireLast)]);
        assert!(fleet.said(&Report::RetiringAll));
        assert_eq!(fleet.fleet.state(), State::Retired);
        fleet.exit(1, Exit::Code(0));
        fleet.exit(2, Exit::Code(0));
        fleet.bury();
        fleet.pass(Duration::from_secs(600));
        fleet.assert_forked(&[]);
        assert_eq!(fleet.fleet.target(), 3);
        fleet.command(Command::Scale(2));
        fleet.assert_forked(&[]);
        fleet.command(Command::Stop(Stop::Graceful));
        assert!(fleet.did(&Action::Exit(0)));
    }

    #[test]
    fn winch_gives_a_reload_up_and_nobody_is_forked_for_it() {
        let mut fleet = Scenario::serving(2);
        fleet.reload(options(2));
        fleet.fork_all();
        fleet.command(Command::RetireAll);
        let reason = "the workers were told to leave".to_owned();
        assert!(fleet.said(&Report::ReloadEnded { generation: 2, reason }));
        assert!(!fleet.reload_failed());
        fleet.assert_killed(&[3]);
        fleet.assert_forked(&[]);
    }

    #[test]
    fn a_reload_brings_them_back_first_one_then_the_others() {
        let mut fleet = Scenario::serving(3);
        fleet.command(Command::RetireAll);
        for nr in [1, 2, 3] {
            fleet.exit(nr, Exit::Code(0));
        }
        fleet.reload(options(3));
        assert_eq!(fleet.coming().len(), 1);
        fleet.boot_all();
        assert_eq!(fleet.coming().len(), 2);
        fleet.boot_all();
        assert_eq!(fleet.generations_ready(), [2, 2, 2]);
        fleet.prove();
        assert_eq!(fleet.fleet.state(), State::Serving);
        fleet.pass(Duration::from_secs(5));
        fleet.exit(1, Exit::Code(1));
        assert_eq!(fleet.coming(), [(1, 2)]);
    }

    #[test]
    fn fewer_are_brought_back_if_fewer_are_wanted_meanwhile() {
        let mut fleet = Scenario::serving(4);
        fleet.command(Command::RetireAll);
        for nr in [1, 2, 3, 4] {
            fleet.exit(nr, Exit::Code(0));
        }
        fleet.reload(options(4));
        fleet.boot_all();
        fleet.boot_all();
        fleet.take();
        fleet.command(Command::Scale(2));
        assert_eq!(fleet.generations_ready(), [2, 2]);
        fleet.prove();
        assert!(fleet.said_reloaded());
    }

    #[test]
    fn a_reload_that_fails_brings_back_those_of_before() {
        let mut fleet = Scenario::serving(2);
        fleet.command(Command::RetireAll);
        fleet.exit(1, Exit::Code(0));
        fleet.exit(2, Exit::Code(0));
        fleet.reload(options(2));
        fleet.fork_all();
        fleet.exit(1, Exit::Code(3));
        assert!(fleet.reload_failed());
        assert_eq!(fleet.coming(), [(1, 1), (2, 1)]);

        let mut fleet = Scenario::serving(1);
        fleet.command(Command::RetireAll);
        fleet.command(Command::Reload);
        fleet.refuse("no");
        assert_eq!(fleet.coming(), [(2, 1)]);
    }

    #[test]
    fn nobody_who_serves_goes_for_a_fork_that_is_not_answered() {
        let mut fleet = Scenario::preloaded(2);
        fleet.command(Command::Add);
        fleet.take();
        fleet.command(Command::Remove);
        fleet.assert_told(&[]);
        fleet.fork_all();
        fleet.assert_killed(&[3]);
    }

    #[test]
    fn each_state_has_its_title() {
        let mut fleet = Scenario::serving_with(Options {
            shutdown_delay: Duration::from_secs(5),
            ..options(2)
        });
        let shown = |fleet: &Scenario, state: &str| fleet.did(&Action::Describe(state.to_owned()));
        fleet.command(Command::Add);
        assert!(shown(&fleet, "3 workers, generation 1"));
        fleet.reload(options(3));
        assert!(shown(&fleet, "3 workers, generation 1, reloading to 2"));
        fleet.command(Command::RetireAll);
        assert!(shown(&fleet, "workers retired, generation 1"));
        fleet.reload(options(3));
        fleet.fork_all();
        fleet.exit(fleet.last_forked(), Exit::Code(3));
        fleet.boot_all();
        fleet.command(Command::Stop(Stop::Graceful));
        assert!(shown(&fleet, "shutdown delayed"));
        fleet.command(Command::Stop(Stop::Graceful));
        assert!(shown(&fleet, "stopping"));
    }
}
