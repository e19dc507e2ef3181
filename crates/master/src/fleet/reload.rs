//! The change from one generation to the next: boot new before retiring old.
//!
//! ```text
//!  HUP ─► settings ─ wrong ─► "reload failed", nothing changes
//!            │
//!            ▼
//!   boot one of the new ──► ready ──► alive a second later ──► retire one of the old ──┐
//!            ▲                                                                         │
//!            │                                    boot the next, ready ◄───────────────┤
//!            │ does not boot, or dies at once                                          │
//!            ▼                                                 until all are new ──► "reloaded"
//!   "reload failed": the new ones that boot go, the old generation is at full strength
//! ```
//!
//! Nothing here waits: a reload is a goal that each reconciliation comes nearer to. Those who
//! retire are not waited for. Until one of the new generation has lived for [`HEALTHY`], the new ones
//! are as many as [`Options::reload_surge`] and displace nobody, and what dies is replaced by the
//! serving generation; from then on by the new one. So code that dies as soon as it serves takes
//! none of the workers away that are known to live.

use ironhorn_unix::Monotonic;

use super::{Action, Fleet, Generation, Phase, Reload, limit, upgrade::Upgrade};
use crate::{
    Options,
    report::{Reason, Report},
    respawn::HEALTHY,
    slot::Slot,
};

/// Where a reload stands.
struct Progress {
    /// Of the new generation.
    new_ready: usize,
    new_coming: usize,
    /// How many of the new generation may be on their way now.
    new_allowed: usize,
    /// All who serve and count, and the old ones who will: new ones count once they are proven.
    ready: usize,
    steady: usize,
    /// How many old ones are missing to full strength.
    missing: usize,
    /// The most that should serve while the reload lasts.
    strength: usize,
}

impl Fleet {
    pub(super) fn begin_reload(&mut self) {
        match self.phase {
            Phase::Stopping { .. } | Phase::Stopped => {}
            Phase::Leaving { .. } => {
                self.refuse_reload(self.latest + 1, "the server is stopping".to_owned());
            }
            Phase::Starting | Phase::Waiting | Phase::Serving => {
                self.asked = true;
                self.act(Action::Reload { generation: self.latest + 1 });
            }
        }
    }

    pub(super) fn reloaded(
        &mut self,
        generation: u32,
        result: Result<Options, String>,
        kept: Vec<u32>,
        now: Monotonic,
    ) {
        self.asked = false;
        match result {
            Err(reason) => self.refuse_reload(generation, reason),
            Ok(_) if self.is_ending() => self.act(Action::DropGeneration { generation }),
            Ok(options) => match self.misfit(&options) {
                Some(reason) => {
                    self.act(Action::DropGeneration { generation });
                    self.refuse_reload(generation, reason);
                }
                None => self.accept_reload(Generation::new(generation, options, kept), now),
            },
        }
    }

    fn refuse_reload(&mut self, generation: u32, reason: String) {
        if !self.is_ending() {
            let serving = self.serving;
            // An operator who wants the workers back is not left without any.
            self.retired &= self.reload.is_some();
            self.failed = Some(reason.clone());
            self.report(Report::ReloadFailed { generation, reason, serving, mixed: 0 });
        }
    }

    /// The board cannot grow: workers that were forked before would not see it.
    fn misfit(&self, options: &Options) -> Option<String> {
        let limit = self.slots.len() - 1;
        let workers = options.workers;
        match workers {
            0 => Some("workers: 0 is less than 1".to_owned()),
            _ if workers > limit => Some(format!(
                "workers: {workers} is more than this master has room for ({limit}): restart it"
            )),
            _ => None,
        }
    }

    fn accept_reload(&mut self, new: Generation, now: Monotonic) {
        let generation = new.nr;
        self.report(Report::Reloading { generation });
        self.latest = generation;
        self.failed = None;
        let superseded = self.reload.take();
        let fallback = superseded.as_ref().map_or(self.target, |reload| reload.fallback);
        // What TTIN and TTOU have made of the number of workers stays, unless the setting changed.
        let unchanged = self.options(self.serving).workers == new.options.workers;
        self.target = if unchanged { fallback } else { new.options.workers };
        // Where somebody edits and looks, an edit is not kept waiting.
        let proven = new.options.keep_trying;
        self.generations.push(new);
        if matches!(self.phase, Phase::Starting | Phase::Waiting) {
            self.phase = Phase::Starting;
            // Nothing serves yet: the start begins anew, with the newest settings.
            self.kill_booting(|_| true);
            self.serving = generation;
            self.act(Action::Adopt { generation });
            return;
        }
        if let Some(superseded) = superseded {
            self.kill_booting(|nr| nr == superseded.generation);
        }
        let (since, unopposed, unforkable) = (now, self.retired, None);
        self.reload = Some(Reload { generation, since, fallback, proven, unopposed, unforkable });
    }

    /// Gives a reload up: the serving generation goes on at full strength.
    pub(super) fn abandon_reload(&mut self, reason: String) {
        let Some(generation) = self.drop_reload() else { return };
        self.failed = Some(reason.clone());
        let is_new = |slot: &Slot| slot.generation() == Some(generation);
        let new = self.count(|slot| slot.is_ready() && is_new(slot));
        // Those who are too many go before the old ones.
        let surplus = self.count(Slot::is_ready).saturating_sub(self.wanted());
        let mixed = new.saturating_sub(surplus);
        let serving = self.serving;
        self.report(Report::ReloadFailed { generation, reason, serving, mixed });
    }

    /// Another order of an operator's ends a reload: nothing has failed.
    pub(super) fn overrule_reload(&mut self, reason: &str) {
        if let Some(generation) = self.drop_reload() {
            self.report(Report::ReloadEnded { generation, reason: reason.to_owned() });
        }
    }

    /// What was to be is no more; its generation, if there was a reload.
    fn drop_reload(&mut self) -> Option<u32> {
        let Reload { generation, fallback, .. } = self.reload.take()?;
        self.target = fallback;
        self.retired &= self.is_better_retired();
        self.kill_booting(|nr| nr == generation);
        Some(generation)
    }

    /// Whether workers that were sent away, for a new master that serves in their place, would
    /// only crash: without a zygote, they run what is on the disk too.
    fn is_better_retired(&self) -> bool {
        let preloaded = self.options(self.serving).preload;
        matches!(self.upgrade, Upgrade::To(_)) && !preloaded
    }

    /// When one of the new generation will have lived for long enough, if one serves.
    pub(super) fn proof_at(&self) -> Option<Monotonic> {
        let reload = self.reload.as_ref().filter(|reload| !reload.proven)?;
        let is_new = |slot: &&Slot| slot.generation() == Some(reload.generation);
        let since = self.slots.iter().filter(is_new).filter_map(Slot::ready_since).min()?;
        Some(since + HEALTHY)
    }

    /// Nothing could be forked: if it is of the new generation, the time for that runs.
    pub(super) fn note_unforkable(&mut self, generation: u32, error: &str, now: Monotonic) {
        if let Some(reload) = self.reload.as_mut().filter(|it| it.generation == generation) {
            let since = reload.unforkable.take().map_or(now, |(since, _)| since);
            reload.unforkable = Some((since, error.to_owned()));
        }
    }

    pub(super) fn note_forked(&mut self, generation: u32) {
        if let Some(reload) = self.reload.as_mut().filter(|it| it.generation == generation) {
            reload.unforkable = None;
        }
    }

    /// By when something of the new generation must have been forked, if that fails.
    pub(super) fn forkable_by(&self) -> Option<Monotonic> {
        let reload = self.reload.as_ref()?;
        let (since, _) = reload.unforkable.as_ref()?;
        let boot_timeout = limit(self.options(reload.generation).boot_timeout)?;
        Some(self.guard.timed_from(*since) + boot_timeout)
    }

    /// A reload that can't fork is one that doesn't boot.
    pub(super) fn enforce_forkable(&mut self, now: Monotonic) {
        if self.forkable_by().is_some_and(|deadline| now >= deadline)
            && let Some((_, error)) = self.reload.as_mut().and_then(|it| it.unforkable.take())
        {
            self.abandon_reload(format!("nothing can be forked: {error}"));
        }
    }

    /// Retires old workers as far as new ones serve.
    pub(super) fn advance_reload(&mut self, now: Monotonic) {
        let proven = self.proof_at().is_some_and(|at| at <= now);
        let opposed = self.slots.iter().any(|slot| {
            let serves = slot.is_ready() || slot.is_coming();
            serves && !slot.generation().is_some_and(|nr| self.is_reloading_to(nr))
        });
        if let Some(reload) = &mut self.reload {
            reload.proven |= proven;
            reload.unopposed &= !opposed;
        }
        loop {
            let Some(Reload { generation, since, proven, .. }) = self.reload else { return };
            let Some(progress) = self.progress() else { return };
            if progress.new_ready >= self.target && proven {
                return self.complete_reload(generation, since, now);
            }
            let old = (progress.steady > progress.strength)
                .then(|| self.youngest_booting(|nr| nr != generation));
            let new = (progress.new_coming > progress.new_allowed)
                .then(|| self.youngest_booting(|nr| nr == generation));
            if let Some(nr) = old.flatten().or(new.flatten()) {
                self.kill(nr, Reason::Asked);
            } else if progress.ready > progress.strength
                // Without any old one, there are to be fewer than there were a moment ago.
                && let Some(nr) = self.oldest(|nr| nr != generation).or_else(|| self.oldest(|_| true))
            {
                self.retire(nr, Reason::Asked, now);
            } else {
                return;
            }
        }
    }

    fn complete_reload(&mut self, generation: u32, since: Monotonic, now: Monotonic) {
        self.reload = None;
        self.retired = false;
        self.serving = generation;
        self.act(Action::Adopt { generation });
        self.kill_booting(|nr| nr != generation);
        while let Some(nr) = self.oldest(|nr| nr != generation) {
            self.retire(nr, Reason::Asked, now);
        }
        self.report(Report::Reloaded { generation, after: now.since(since) });
    }

    /// How many workers of which generation should be booting and are not.
    pub(super) fn missing_in_reload(&self) -> Vec<(u32, usize)> {
        let (Some(reload), Some(progress)) = (&self.reload, self.progress()) else {
            return Vec::new();
        };
        let new = progress.new_allowed.saturating_sub(progress.new_coming);
        // Whom an operator has sent away stays away, unless the reload fails.
        let counts = reload.proven || reload.unopposed;
        let replaced = counts && progress.new_ready > 0 || self.retired;
        let old = if replaced { 0 } else { progress.missing };
        vec![(self.serving, old), (reload.generation, new)]
    }

    fn progress(&self) -> Option<Progress> {
        let reload = self.reload.as_ref()?;
        let is_new = |slot: &Slot| slot.generation() == Some(reload.generation);
        let new_ready = self.count(|slot| slot.is_ready() && is_new(slot));
        let new_coming = self.count(|slot| slot.is_coming() && is_new(slot));
        let counts = reload.proven || reload.unopposed;
        let ready = self.count(|slot| slot.is_ready() && (counts || !is_new(slot)));
        let is_old = |slot: &Slot| slot.generation() == Some(self.serving);
        let steady = ready + self.count(|slot| slot.is_coming() && is_old(slot));
        let missing = reload.fallback.saturating_sub(steady);
        let surge = match new_ready {
            0 => self.surge(),
            _ if counts => self.surge() + missing,
            _ => self.surge().saturating_sub(new_ready),
        };
        let new_allowed = surge.min(self.target.saturating_sub(new_ready));
        let strength = self.target.max(reload.fallback);
        Some(Progress { new_ready, new_coming, new_allowed, ready, steady, missing, strength })
    }

    /// How many workers more than usual a reload may bring.
    pub(super) fn surge(&self) -> usize {
        let options = self.reload.as_ref().map(|reload| self.options(reload.generation));
        options.map_or(0, |options| options.reload_surge.max(1))
    }

    /// How many workers may serve.
    pub(super) fn strength(&self) -> usize {
        self.reload.as_ref().map_or(self.target, |reload| self.target.max(reload.fallback))
    }

    pub(super) fn is_reloading_to(&self, generation: u32) -> bool {
        self.reload.as_ref().is_some_and(|reload| reload.generation == generation)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ironhorn_unix::{Exit, ToWorker};

    use super::super::scenario::{GRACEFUL, Scenario, options};
    use super::*;
    use crate::command::{Command, Stop};

    #[test]
    fn one_is_booted_before_one_is_retired_and_so_on() {
        let mut fleet = Scenario::serving(2);
        fleet.reload(options(2));
        fleet.assert_forked(&[3]);
        fleet.fork_all();
        fleet.assert_told(&[]);
        fleet.ready(3);
        fleet.pass(HEALTHY - Duration::from_millis(1));
        fleet.assert_told(&[]);
        fleet.assert_forked(&[]);
        fleet.pass(Duration::from_millis(1));
        fleet.assert_told(&[(1, ToWorker::Retire)]);
        fleet.assert_forked(&[4]);
        fleet.fork_all();
        fleet.ready(4);
        fleet.assert_told(&[(2, ToWorker::Retire)]);
        fleet.assert_forked(&[]);
        assert!(fleet.said(&Report::Reloaded { generation: 2, after: HEALTHY }));
        assert_eq!(fleet.fleet.serving(), 2);
        fleet.exit(1, Exit::Code(0));
        assert!(!fleet.did(&Action::DropGeneration { generation: 1 }));
        fleet.exit(2, Exit::Code(0));
        assert!(fleet.did(&Action::DropGeneration { generation: 1 }));
    }

    #[test]
    fn several_at_a_time_if_asked_to() {
        let mut fleet = Scenario::serving(3);
        fleet.reload(Options { reload_surge: 2, ..options(3) });
        fleet.assert_forked(&[4, 5]);
        fleet.boot_all();
        fleet.assert_told(&[]);
        fleet.assert_forked(&[]);
        fleet.prove();
        fleet.assert_told(&[(1, ToWorker::Retire), (2, ToWorker::Retire)]);
        fleet.assert_forked(&[6]);
    }

    #[test]
    fn the_last_one_that_polls_a_dropped_listener_takes_its_queue() {
        let mut fleet = Scenario::serving(2);
        fleet.reload_elsewhere(options(2));
        fleet.boot_all();
        fleet.prove();
        fleet.boot_all();
        fleet.assert_told(&[(1, ToWorker::Retire), (2, ToWorker::RetireLast)]);
    }

    #[test]
    fn wrong_settings_change_nothing() {
        let mut fleet = Scenario::serving(2);
        fleet.command(Command::Reload);
        fleet.take();
        fleet.refuse("ironhorn.yaml:3: wrokers: unknown key");
        fleet.assert_forked(&[]);
        let reason = "ironhorn.yaml:3: wrokers: unknown key".to_owned();
        assert!(fleet.said(&Report::ReloadFailed { generation: 2, reason, serving: 1, mixed: 0 }));
        fleet.command(Command::Reload);
        assert!(fleet.did(&Action::Reload { generation: 2 }));
    }

    #[test]
    fn more_workers_than_there_is_room_for_are_wrong_settings() {
        let mut fleet = Scenario::serving(2);
        fleet.reload(options(100));
        fleet.assert_forked(&[]);
        assert!(fleet.did(&Action::DropGeneration { generation: 2 }));
        assert!(!fleet.fleet.is_reloading());
    }

    #[test]
    fn a_new_worker_that_cannot_boot_ends_the_reload() {
        for exit in [Exit::Code(3), Exit::Code(0), Exit::Signal { signal: 11, core_dumped: false }]
        {
            let mut fleet = Scenario::serving(2);
            fleet.reload(options(2));
            fleet.fork_all();
            fleet.exit(3, exit);
            assert!(fleet.reload_failed());
            fleet.assert_forked(&[]);
            fleet.assert_told(&[]);
            assert!(fleet.did(&Action::DropGeneration { generation: 2 }));
            assert_eq!(fleet.fleet.serving(), 1);
        }
    }

    #[test]
    fn a_new_worker_that_hangs_ends_the_reload() {
        let mut fleet = Scenario::serving(2);
        fleet.reload(options(2));
        fleet.fork_all();
        fleet.pass(Duration::from_secs(60));
        fleet.assert_killed(&[3]);
        assert!(fleet.reload_failed());
        fleet.assert_forked(&[]);
        fleet.bury();
        assert_eq!(fleet.last_reason(), Some(Reason::BootTimeout));
    }

    #[test]
    fn a_new_worker_that_dies_at_once_ends_the_reload() {
        let mut fleet = Scenario::serving(2);
        fleet.reload(options(2));
        fleet.boot_all();
        fleet.pass(HEALTHY - Duration::from_millis(1));
        fleet.exit(3, Exit::Code(1));
        assert!(fleet.reload_failed());
        fleet.assert_told(&[]);
        fleet.assert_forked(&[]);
        assert_eq!(fleet.generations_ready(), [1, 1]);
    }

    #[test]
    fn nobody_goes_for_new_ones_that_all_die_at_once() {
        let mut fleet = Scenario::serving(2);
        fleet.reload(Options { reload_surge: 3, ..options(2) });
        fleet.boot_all();
        assert_eq!(fleet.generations_ready(), [1, 1, 2, 2]);
        fleet.exit(3, Exit::Code(1));
        let reason = "worker 3 died soon after boot: exit code 1".to_owned();
        assert!(fleet.said(&Report::ReloadFailed { generation: 2, reason, serving: 1, mixed: 0 }));
        fleet.assert_told(&[(4, ToWorker::RetireLast)]);
        fleet.exit(4, Exit::Code(1));
        fleet.prove();
        fleet.assert_told(&[]);
        assert_eq!(fleet.generations_ready(), [1, 1]);
    }

    #[test]
    fn whoever_edits_sees_the_new_code_at_once() {
        let trying = Options { keep_trying: true, ..options(1) };
        let mut fleet = Scenario::serving_with(trying.clone());
        fleet.reload(trying);
        fleet.boot_all();
        assert!(fleet.said_reloaded());
        fleet.assert_told(&[(1, ToWorker::Retire)]);
    }

    #[test]
    fn what_was_killed_has_shown_nothing_and_another_is_to_show_it() {
        let mut fleet = Scenario::serving(1);
        fleet.reload(options(1));
        fleet.boot_all();
        fleet.pass(HEALTHY / 2);
        fleet.exit(2, Exit::Signal { signal: 9, core_dumped: false });
        fleet.boot_all();
        fleet.pass(HEALTHY / 2);
        assert!(!fleet.said_reloaded());
        fleet.pass(HEALTHY / 2);
        assert!(fleet.said_reloaded());
        fleet.assert_told(&[(1, ToWorker::Retire)]);
    }

    #[test]
    fn who_shows_that_the_new_code_lives_goes_first_when_there_is_newer_code() {
        let mut fleet = Scenario::serving(2);
        fleet.reload(options(2));
        fleet.boot_all();
        fleet.reload(options(2));
        fleet.assert_told(&[(3, ToWorker::Retire)]);
        assert_eq!(fleet.generations_ready(), [1, 1]);
        assert_eq!(fleet.coming(), [(4, 3)]);
    }

    #[test]
    fn a_reload_that_cannot_fork_ends_when_its_boot_time_is_over() {
        let mut fleet = Scenario::serving(2);
        fleet.reload(options(2));
        let end = fleet.now + Duration::from_secs(60);
        while fleet.now < end {
            assert!(!fleet.reload_failed());
            for nr in fleet.coming() {
                fleet.fork_fails(nr.0);
            }
            fleet.pass(Duration::from_millis(500));
        }
        assert!(fleet.said(&Report::ReloadFailed {
            generation: 2,
            reason: "nothing can be forked: no".to_owned(),
            serving: 1,
            mixed: 0,
        }));
        assert_eq!(fleet.generations_ready(), [1, 1]);
    }

    #[test]
    fn a_fork_that_succeeds_gives_the_next_one_its_time() {
        let mut fleet = Scenario::serving(2);
        fleet.reload(options(2));
        fleet.fork_fails(3);
        fleet.pass(Duration::from_secs(1));
        fleet.boot_all();
        fleet.pass(Duration::from_secs(120));
        assert!(!fleet.reload_failed());
    }

    #[test]
    fn a_failure_in_the_middle_leaves_a_mixed_fleet_at_full_strength() {
        let mut fleet = Scenario::serving(3);
        fleet.reload(options(3));
        fleet.boot_all();
        fleet.prove();
        fleet.fork_all();
        fleet.take();
        fleet.exit(5, Exit::Code(3));
        let reason = "worker 5 could not boot: boot failure".to_owned();
        assert!(fleet.said(&Report::ReloadFailed { generation: 2, reason, serving: 1, mixed: 1 }));
        assert_eq!(fleet.generations_ready(), [1, 1, 2]);
        assert_eq!(fleet.coming(), []);
        fleet.pass(Duration::from_secs(5));
        fleet.exit(4, Exit::Code(1));
        assert_eq!(fleet.coming(), [(4, 1)]);
    }

    #[test]
    fn a_failed_reload_gives_the_number_of_workers_back() {
        let mut fleet = Scenario::serving(2);
        fleet.reload(options(4));
        assert_eq!(fleet.fleet.target(), 4);
        fleet.boot_all();
        fleet.prove();
        fleet.fork_all();
        fleet.exit(4, Exit::Code(3));
        assert_eq!(fleet.fleet.target(), 2);
        assert_eq!(fleet.generations_ready(), [1, 1]);
    }

    #[test]
    fn fewer_workers_are_fewer_only_when_the_new_ones_serve() {
        let mut fleet = Scenario::serving(4);
        fleet.reload(options(2));
        fleet.boot_all();
        fleet.prove();
        assert_eq!(fleet.generations_ready(), [1, 1, 1, 2]);
        fleet.boot_all();
        assert_eq!(fleet.generations_ready(), [2, 2]);
    }

    #[test]
    fn a_further_reload_begins_again_with_the_newest_code() {
        let mut fleet = Scenario::serving(2);
        fleet.reload(options(2));
        fleet.boot_all();
        fleet.prove();
        fleet.fork_all();
        fleet.take();
        fleet.reload(options(2));
        fleet.assert_killed(&[4]);
        assert_eq!(fleet.generations_ready(), [1, 2]);
        fleet.boot_all();
        fleet.prove();
        fleet.boot_all();
        assert_eq!(fleet.generations_ready(), [3, 3]);
    }

    #[test]
    fn wrong_settings_do_not_stop_a_reload_under_way() {
        let mut fleet = Scenario::serving(2);
        fleet.reload(options(2));
        fleet.command(Command::Reload);
        fleet.refuse("no");
        fleet.boot_all();
        fleet.prove();
        fleet.boot_all();
        assert_eq!(fleet.generations_ready(), [2, 2]);
    }

    #[test]
    fn what_ttin_did_stays_unless_the_setting_changes() {
        let mut fleet = Scenario::serving(2);
        fleet.command(Command::Add);
        fleet.boot_all();
        fleet.reload(options(2));
        assert_eq!(fleet.fleet.target(), 3);
        fleet.fork_all();
        fleet.reload(options(1));
        assert_eq!(fleet.fleet.target(), 1);
    }

    #[test]
    fn an_old_worker_that_dies_meanwhile_is_replaced_by_what_is_known_to_boot() {
        let mut fleet = Scenario::serving(3);
        fleet.pass(Duration::from_secs(5));
        fleet.reload(options(3));
        fleet.fork_all();
        fleet.exit(1, Exit::Code(1));
        assert_eq!(fleet.coming(), [(1, 1), (4, 2)]);
        fleet.boot_all();
        fleet.prove();
        fleet.fork_all();
        fleet.exit(2, Exit::Code(1));
        assert!(fleet.coming().iter().all(|(_, generation)| *generation == 2));
    }

    #[test]
    fn a_crash_loop_does_not_hold_its_cure_up() {
        let mut fleet = Scenario::serving(1);
        for _ in 0..6 {
            fleet.exit(1, Exit::Code(1));
            fleet.wait_for_fork();
            fleet.boot_all();
        }
        fleet.exit(1, Exit::Code(1));
        assert_eq!(fleet.coming(), []);
        fleet.reload(options(1));
        assert_eq!(fleet.coming(), [(1, 2)]);
        fleet.fork_all();
        fleet.reload(options(1));
        fleet.assert_killed(&[1]);
        assert_eq!(fleet.coming(), [(2, 3)]);
    }

    #[test]
    fn a_reload_before_anybody_serves_starts_over() {
        let mut fleet = Scenario::new(2);
        fleet.fork_all();
        fleet.reload(options(2));
        fleet.assert_killed(&[2, 1]);
        assert_eq!(fleet.coming(), [(3, 2), (4, 2)]);
        fleet.bury();
        assert!(fleet.did(&Action::DropGeneration { generation: 1 }));
        fleet.fork_all();
        fleet.exit(3, Exit::Code(3));
        fleet.bury();
        assert!(fleet.did(&Action::Exit(3)));
    }

    #[test]
    fn a_retired_worker_has_its_time_and_no_more() {
        let mut fleet = Scenario::serving(1);
        fleet.reload(options(1));
        fleet.boot_all();
        fleet.prove();
        fleet.pass(GRACEFUL);
        fleet.assert_killed(&[1]);
        fleet.bury();
        assert_eq!(fleet.last_reason(), Some(Reason::GracefulTimeout));
    }

    #[test]
    fn a_stop_ends_a_reload() {
        let mut fleet = Scenario::serving(2);
        fleet.reload(options(2));
        fleet.fork_all();
        fleet.command(Command::Stop(Stop::Graceful));
        fleet.assert_killed(&[3]);
        fleet.exit(1, Exit::Code(0));
        fleet.exit(2, Exit::Code(0));
        fleet.bury();
        assert!(fleet.did(&Action::Exit(0)));
    }
}
