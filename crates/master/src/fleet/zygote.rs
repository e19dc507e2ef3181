//! The processes from which workers of a generation with `preload` are forked.
//!
//! ```text
//!          fork               ready
//!  None ─────────► Booting ─────────► Ready ──┐ its generation is left, the server ends,
//!   ▲                 │ too slow              │ a fork is not answered
//!   │                 └──────► Killed ◄───────┘
//!   └── exited (from any of them)
//! ```
//!
//! One a generation, as long as workers of it are wanted: so the serving generation can replace
//! what dies with the code that is known to boot, while a newer one is still being imported or
//! has failed. A zygote that cannot boot is a generation that cannot; one that is lost later is
//! forked anew, with a back-off, while the workers go on.

use std::time::Duration;

use ironhorn_unix::{Exit, Monotonic, Pid, Signal};

use super::{Action, Fleet, Phase, boot::code_at_start, limit};
use crate::{
    ExitCode,
    report::{Reason, Report},
    respawn::HEALTHY,
    slot::Slot,
};

/// A zygote that forks answers within this, after it was asked or has answered another. Whoever
/// does not is stopped, or hangs in what the app has registered to run before a fork.
const ANSWER: Duration = Duration::from_secs(5);

/// The zygote of one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zygote {
    /// There is none.
    None,
    /// A fork was asked for and has not been answered.
    Forking,
    /// It imports the app.
    Booting { pid: Pid, forked_at: Monotonic },
    /// Workers can be forked from it. It was heard of at `heard_at`.
    Ready { pid: Pid, forked_at: Monotonic, since: Monotonic, heard_at: Monotonic },
    /// Sent SIGKILL; will be reaped soon.
    Killed { pid: Pid, reason: Reason },
}

impl Zygote {
    pub(super) fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. })
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        match self {
            Self::None | Self::Forking => None,
            Self::Booting { pid, .. } | Self::Ready { pid, .. } | Self::Killed { pid, .. } => {
                Some(*pid)
            }
        }
    }

    fn living(&self) -> Option<(Pid, Monotonic)> {
        match self {
            Self::Booting { pid, forked_at } | Self::Ready { pid, forked_at, .. } => {
                Some((*pid, *forked_at))
            }
            Self::None | Self::Forking | Self::Killed { .. } => None,
        }
    }
}

impl Fleet {
    /// Forks the zygotes that are missing, as far as the back-off allows.
    pub(super) fn fork_zygotes(&mut self, now: Monotonic) {
        let missing: Vec<u32> = self
            .missing_zygotes()
            .filter(|(_, waits)| waits.is_none_or(|until| until <= now))
            .map(|(generation, _)| generation)
            .collect();
        for generation in missing {
            self.set_zygote(generation, Zygote::Forking);
            self.act(Action::ForkZygote { generation });
        }
    }

    /// Each generation that lacks its zygote, and until when it has to wait.
    fn missing_zygotes(&self) -> impl Iterator<Item = (u32, Option<Monotonic>)> {
        self.generations
            .iter()
            .filter(|generation| generation.options.preload && generation.zygote == Zygote::None)
            .filter(|generation| self.wants_zygote(generation.nr))
            .map(|generation| (generation.nr, generation.losses.not_before()))
    }

    /// Workers that were told to leave may be wanted again, with the code that they ran.
    fn wants_zygote(&self, generation: u32) -> bool {
        let resting = self.retired && self.phase == Phase::Serving;
        self.boots(generation) || resting && generation == self.serving
    }

    pub(super) fn kill_unused_zygotes(&mut self) {
        let forking = |nr: u32| {
            let of_it = move |slot: &Slot| matches!(slot, Slot::Forking { generation, .. } if *generation == nr);
            self.slots.iter().any(of_it)
        };
        let unused: Vec<u32> = self
            .generations()
            .filter(|&nr| !self.wants_zygote(nr))
            // The answer to a fork would be lost with it.
            .filter(|&nr| !forking(nr))
            .collect();
        for generation in unused {
            self.kill_zygote(generation, Reason::Asked);
        }
    }

    /// Sends SIGKILL, once. Who is killed, and when it was forked.
    fn kill_zygote(&mut self, generation: u32, reason: Reason) -> Option<(Pid, Monotonic)> {
        let (pid, forked_at) = self.generation(generation)?.zygote.living()?;
        self.set_zygote(generation, Zygote::Killed { pid, reason });
        self.act(Action::KillZygote { generation });
        Some((pid, forked_at))
    }

    /// The server ends: a worker that is not born yet has nothing to lose, and who was asked for it
    /// may never answer.
    pub(super) fn kill_forking_zygotes(&mut self) {
        for index in 0..self.slots.len() {
            if let Slot::Forking { generation, .. } = self.slots[index] {
                self.kill_zygote(generation, Reason::Asked);
            }
        }
    }

    /// A zygote has forked: the others that it was asked for are next.
    pub(super) fn zygote_has_forked(&mut self, generation: u32, now: Monotonic) {
        if let Some(found) = self.generation_mut(generation)
            && let Zygote::Ready { heard_at, .. } = &mut found.zygote
        {
            *heard_at = now;
        }
    }

    pub(super) fn is_rid_of_zygotes(&self) -> bool {
        self.generations.iter().all(|generation| generation.zygote == Zygote::None)
    }

    pub(super) fn zygote_forked(&mut self, generation: u32, pid: Pid, now: Monotonic) {
        self.set_zygote(generation, Zygote::Booting { pid, forked_at: now });
        self.note_forked(generation);
    }

    pub(super) fn zygote_fork_failed(&mut self, generation: u32, error: String, now: Monotonic) {
        self.set_zygote(generation, Zygote::None);
        self.note_unforkable(generation, &error, now);
        let ending = self.is_ending();
        if let Some(found) = self.generation_mut(generation).filter(|_| !ending) {
            let retry = found.losses.failed_again(now);
            self.report(Report::ZygoteForkFailed { generation, error, retry });
        }
    }

    pub(super) fn zygote_ready(&mut self, generation: u32, now: Monotonic) {
        let Some(found) = self.generation_mut(generation) else { return };
        let Zygote::Booting { pid, forked_at } = found.zygote else { return };
        found.zygote = Zygote::Ready { pid, forked_at, since: now, heard_at: now };
        self.report(Report::ZygoteReady { generation, pid, after: now.since(forked_at) });
    }

    pub(super) fn zygote_exited(
        &mut self,
        generation: u32,
        exit: Exit,
        out_of_memory: bool,
        now: Monotonic,
    ) {
        let Some(found) = self.generation_mut(generation) else { return };
        let zygote = std::mem::replace(&mut found.zygote, Zygote::None);
        let Some(pid) = zygote.pid() else { return };
        let reason = match (zygote, exit) {
            (Zygote::Killed { reason, .. }, _) => reason,
            (_, Exit::Signal { .. }) if out_of_memory => Reason::OutOfMemory,
            (
                Zygote::Booting { .. },
                Exit::Code(ExitCode::BOOT_FAILED | ExitCode::APP_NOT_FOUND),
            ) => Reason::BootFailure,
            _ => Reason::Unasked(exit),
        };
        self.report(Report::ZygoteExited { generation, pid, reason });
        match zygote {
            Zygote::Booting { forked_at, .. } => {
                let dead = Dead { generation, pid, forked_at, reason, exit: Some(exit) };
                self.zygote_failed(dead, now);
            }
            Zygote::Ready { forked_at, since, .. } => {
                let dead = Dead { generation, pid, forked_at, reason, exit: Some(exit) };
                self.zygote_died(dead, since, now);
            }
            Zygote::Killed { .. } | Zygote::Forking | Zygote::None => {}
        }
    }

    /// Without its zygote a generation cannot boot.
    fn zygote_failed(&mut self, dead: Dead, now: Monotonic) {
        let Dead { generation, pid, reason, exit, .. } = dead;
        if !self.wants_zygote(generation) {
            return;
        }
        let cause = format!("the app could not be preloaded: {reason}");
        if self.phase == Phase::Starting {
            self.report(Report::PreloadFailed { generation, pid, reason });
            self.fail_start(cause, exit.map_or(ExitCode::BOOT_FAILED, code_at_start), now);
        } else if self.is_reloading_to(generation) {
            self.abandon_reload(cause);
        } else {
            self.fail_recycling(cause, now);
            self.zygote_lost(&dead, now);
        }
    }

    /// A zygote that workers could be forked from is gone.
    fn zygote_died(&mut self, dead: Dead, since: Monotonic, now: Monotonic) {
        // As with workers, SIGKILL says little about the code.
        let killed = matches!(
            dead.exit,
            Some(Exit::Signal { signal, .. }) if signal == Signal::SIGKILL as i32
        );
        let soon = now.since(since) < HEALTHY && !killed;
        let reloading = self.is_reloading_to(dead.generation);
        if self.phase == Phase::Starting || soon && reloading {
            self.zygote_failed(dead, now);
        } else {
            if let Some(found) = self.generation_mut(dead.generation) {
                found.losses.lived(dead.forked_at, since, now);
            }
            self.zygote_lost(&dead, now);
        }
    }

    /// A zygote that workers were forked from is about to go: long life ends the back-off.
    fn note_life(&mut self, generation: u32, now: Monotonic) {
        if let Some(found) = self.generation_mut(generation)
            && let Zygote::Ready { forked_at, since, .. } = found.zygote
        {
            found.losses.lived(forked_at, since, now);
        }
    }

    fn zygote_lost(&mut self, dead: &Dead, now: Monotonic) {
        if !self.wants_zygote(dead.generation) {
            return;
        }
        let Some(found) = self.generation_mut(dead.generation) else { return };
        let delay = found.losses.failed(dead.forked_at, now);
        if let Some(delay) = delay.filter(|delay| *delay > Duration::ZERO) {
            self.report(Report::RespawnDelayed { delay });
        }
    }

    /// The next moment at which a zygote is late, or one may be forked.
    pub(super) fn zygote_deadline(&self, now: Monotonic) -> Option<Monotonic> {
        let late = self.generations.iter().filter_map(|generation| match generation.zygote {
            Zygote::Booting { forked_at, .. } => self.boot_limit(generation.nr, forked_at),
            _ => None,
        });
        let missing = self.missing_zygotes().filter_map(|(_, waits)| waits);
        late.chain(missing.filter(|until| *until > now)).min()
    }

    /// When a fork that was asked for at `since` should have been answered.
    pub(super) fn fork_deadline(&self, generation: u32, since: Monotonic) -> Option<Monotonic> {
        let Zygote::Ready { heard_at, .. } = self.generation(generation)?.zygote else {
            return None;
        };
        Some(self.guard.timed_from(since.max(heard_at)) + ANSWER)
    }

    fn boot_limit(&self, generation: u32, since: Monotonic) -> Option<Monotonic> {
        let boot_timeout = limit(self.options(generation).boot_timeout)?;
        Some(self.guard.timed_from(since) + boot_timeout)
    }

    /// Ends zygotes that take too long to boot or to answer.
    pub(super) fn enforce_zygotes(&mut self, now: Monotonic) {
        let booting = self.generations.iter().filter_map(|generation| match generation.zygote {
            Zygote::Booting { forked_at, .. } => {
                let deadline = self.boot_limit(generation.nr, forked_at);
                Some((generation.nr, deadline, Reason::BootTimeout))
            }
            _ => None,
        });
        let forking = self.slots.iter().filter_map(|slot| match slot {
            Slot::Forking { generation, since } => {
                let deadline = self.fork_deadline(*generation, *since);
                Some((*generation, deadline, Reason::Silent))
            }
            _ => None,
        });
        let late: Vec<(u32, Reason)> = booting
            .chain(forking)
            .filter(|(_, deadline, _)| deadline.is_some_and(|deadline| deadline <= now))
            .map(|(generation, _, reason)| (generation, reason))
            .collect();
        for (generation, reason) in late {
            self.note_life(generation, now);
            if let Some((pid, forked_at)) = self.kill_zygote(generation, reason) {
                let dead = Dead { generation, pid, forked_at, reason, exit: None };
                self.zygote_failed(dead, now);
            }
        }
    }

    fn set_zygote(&mut self, generation: u32, zygote: Zygote) {
        if let Some(found) = self.generation_mut(generation) {
            found.zygote = zygote;
        }
    }
}

/// A zygote that is gone, or as good as.
struct Dead {
    generation: u32,
    pid: Pid,
    forked_at: Monotonic,
    reason: Reason,
    /// None: it was killed just now.
    exit: Option<Exit>,
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{Scenario, options};
    use super::*;
    use crate::{
        Options,
        command::{Command, Stop},
    };

    const SECOND: Duration = Duration::from_secs(1);
    const SEGFAULT: Exit = Exit::Signal { signal: 11, core_dumped: true };
    const SIGKILL: Exit = Exit::Signal { signal: 9, core_dumped: false };

    fn preload(workers: usize) -> Options {
        Options { preload: true, ..options(workers) }
    }

    fn killed_zygote(fleet: &Scenario, generation: u32) -> bool {
        fleet.did(&Action::KillZygote { generation })
    }

    #[test]
    fn workers_wait_for_their_zygote() {
        let mut fleet = Scenario::with(preload(2));
        assert_eq!(fleet.fork_zygotes(), [1]);
        fleet.assert_forked(&[]);
        fleet.pass(SECOND * 59);
        fleet.zygote_ready(1);
        assert_eq!(fleet.fleet.zygotes().map(|(nr, _, ready)| (nr, ready)).next(), Some((1, true)));
        fleet.assert_forked(&[1, 2]);
        fleet.boot_all();
        assert_eq!(fleet.ready_count(), 2);
        assert!(fleet.said(&Report::Serving));
    }

    #[test]
    fn an_app_that_cannot_be_preloaded_ends_the_start() {
        for (exit, code) in [(Exit::Code(3), 3), (Exit::Code(4), 4), (SEGFAULT, 3), (SIGKILL, 3)] {
            let mut fleet = Scenario::with(preload(2));
            fleet.fork_zygotes();
            fleet.zygote_exits(1, exit);
            assert!(fleet.said_preload_failed());
            assert!(fleet.did(&Action::Exit(code)), "{exit}");
        }
    }

    #[test]
    fn an_import_that_hangs_ends_the_start() {
        let mut fleet = Scenario::with(preload(2));
        fleet.fork_zygotes();
        fleet.pass(SECOND * 60);
        assert!(killed_zygote(&fleet, 1));
        assert!(!fleet.did(&Action::Exit(3)));
        fleet.zygote_exits(1, SIGKILL);
        assert_eq!(fleet.zygote_reason(), Some(Reason::BootTimeout));
        assert!(fleet.did(&Action::Exit(3)));
    }

    #[test]
    fn a_zygote_that_is_lost_before_anybody_serves_ends_the_start() {
        let mut fleet = Scenario::with(preload(1));
        fleet.boot_zygotes();
        fleet.zygote_exits(1, SIGKILL);
        assert!(fleet.did(&Action::Exit(3)));
    }

    #[test]
    fn a_zygote_that_cannot_be_forked_is_tried_again() {
        let mut fleet = Scenario::with(preload(1));
        fleet.zygote_fork_fails();
        assert!(fleet.take_zygote_forks().is_empty());
        fleet.pass(SECOND / 2);
        assert_eq!(fleet.fork_zygotes(), [1]);
    }

    #[test]
    fn forks_may_take_their_time() {
        let mut fleet = Scenario::with(preload(2));
        fleet.boot_zygotes();
        fleet.pass(SECOND * 4);
        fleet.assert_forked(&[1, 2]);
        fleet.fork_next();
        fleet.pass(SECOND * 4);
        assert!(!killed_zygote(&fleet, 1));
        fleet.boot_all();
        assert_eq!(fleet.ready_count(), 2);
    }

    #[test]
    fn a_zygote_that_does_not_answer_is_replaced() {
        let mut fleet = Scenario::preloaded(2);
        fleet.pass(SECOND * 11);
        fleet.exit(1, SEGFAULT);
        fleet.assert_forked(&[1]);
        fleet.pass(ANSWER - SECOND);
        assert!(!killed_zygote(&fleet, 1));
        fleet.pass(SECOND);
        assert!(killed_zygote(&fleet, 1));
        fleet.zygote_exits(1, SIGKILL);
        assert_eq!(fleet.zygote_reason(), Some(Reason::Silent));
        fleet.boot_zygotes();
        fleet.pass(SECOND);
        fleet.assert_forked(&[1]);
        fleet.boot_all();
        assert_eq!(fleet.ready_count(), 2);
    }

    #[test]
    fn a_zygote_that_is_lost_is_forked_anew_with_a_back_off_while_the_workers_go_on() {
        let mut fleet = Scenario::preloaded(2);
        let mut waited = Vec::new();
        for _ in 0..6 {
            fleet.zygote_exits(1, SEGFAULT);
            let since = fleet.now;
            fleet.wait_for_zygote();
            waited.push(fleet.now.since(since).as_millis());
            fleet.boot_zygotes();
            fleet.pass(SECOND);
        }
        assert_eq!(waited, [0, 500, 1000, 2000, 4000, 8000]);
        assert_eq!(fleet.ready_count(), 2);
        fleet.pass(SECOND * 10);
        fleet.zygote_exits(1, SEGFAULT);
        assert_eq!(fleet.fork_zygotes(), [1], "it lived long enough");
    }

    #[test]
    fn one_that_cannot_boot_again_is_tried_less_and_less_often() {
        let mut fleet = Scenario::preloaded(2);
        fleet.zygote_exits(1, SEGFAULT);
        let mut waited = Vec::new();
        for _ in 0..8 {
            fleet.fork_zygotes();
            fleet.zygote_exits(1, Exit::Code(3));
            let since = fleet.now;
            fleet.wait_for_zygote();
            waited.push(fleet.now.since(since).as_millis());
        }
        assert_eq!(waited, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(fleet.ready_count(), 2);
    }

    #[test]
    fn one_that_falls_silent_after_a_long_life_is_replaced_at_once() {
        let mut fleet = Scenario::preloaded(1);
        for _ in 0..3 {
            fleet.zygote_exits(1, SEGFAULT);
            fleet.wait_for_zygote();
            fleet.boot_zygotes();
        }
        fleet.pass(SECOND * 60);
        fleet.command(Command::Add);
        fleet.take();
        fleet.pass(ANSWER);
        assert!(killed_zygote(&fleet, 1));
        fleet.zygote_exits(1, SIGKILL);
        assert_eq!(fleet.take_zygote_forks(), [1]);
    }

    #[test]
    fn a_reload_brings_a_zygote_and_the_old_one_goes_with_its_generation() {
        let mut fleet = Scenario::preloaded(2);
        fleet.reload(preload(2));
        assert_eq!(fleet.fork_zygotes(), [2]);
        fleet.assert_forked(&[]);
        fleet.zygote_ready(2);
        assert_eq!(fleet.coming(), [(3, 2)]);
        fleet.boot_all();
        fleet.prove();
        assert!(!killed_zygote(&fleet, 1));
        fleet.boot_all();
        assert_eq!(fleet.generations_ready(), [2, 2]);
        assert!(killed_zygote(&fleet, 1));
        fleet.exit(1, Exit::Code(0));
        fleet.exit(2, Exit::Code(0));
        assert!(!fleet.did(&Action::DropGeneration { generation: 1 }));
        fleet.zygote_exits(1, SIGKILL);
        assert_eq!(fleet.zygote_reason(), Some(Reason::Asked));
        assert!(fleet.did(&Action::DropGeneration { generation: 1 }));
    }

    #[test]
    fn the_last_good_zygote_serves_respawns_while_the_next_one_boots_or_fails() {
        let mut fleet = Scenario::preloaded(2);
        fleet.pass(SECOND * 5);
        fleet.reload(preload(2));
        fleet.fork_zygotes();
        fleet.exit(1, SEGFAULT);
        assert_eq!(fleet.coming(), [(1, 1)]);
        fleet.boot_all();
        fleet.zygote_exits(2, Exit::Code(3));
        assert!(fleet.reload_failed());
        assert!(fleet.did(&Action::DropGeneration { generation: 2 }));
        fleet.pass(SECOND * 5);
        fleet.exit(2, SEGFAULT);
        assert_eq!(fleet.coming(), [(2, 1)]);
        assert!(fleet.take_zygote_forks().is_empty());
    }

    #[test]
    fn a_zygote_that_can_never_be_forked_ends_the_reload() {
        let mut fleet = Scenario::preloaded(2);
        fleet.reload(preload(2));
        for _ in 0..7 {
            fleet.wait_for_zygote();
            fleet.zygote_fork_fails();
        }
        fleet.pass(SECOND * 60);
        assert!(fleet.said(&Report::ReloadFailed {
            generation: 2,
            reason: "nothing can be forked: no".to_owned(),
            serving: 1,
            mixed: 0,
        }));
        assert!(fleet.did(&Action::DropGeneration { generation: 2 }));
    }

    #[test]
    fn an_import_that_hangs_ends_the_reload() {
        let mut fleet = Scenario::preloaded(2);
        fleet.reload(preload(2));
        fleet.fork_zygotes();
        fleet.pass(SECOND * 60);
        assert!(fleet.reload_failed());
        assert!(killed_zygote(&fleet, 2));
        fleet.zygote_exits(2, SIGKILL);
        assert!(fleet.did(&Action::DropGeneration { generation: 2 }));
    }

    #[test]
    fn a_worker_that_cannot_boot_ends_the_reload_and_its_zygote() {
        let mut fleet = Scenario::preloaded(2);
        fleet.reload(preload(2));
        fleet.boot_zygotes();
        fleet.fork_all();
        fleet.exit(3, Exit::Code(3));
        assert!(fleet.reload_failed());
        assert!(killed_zygote(&fleet, 2));
    }

    #[test]
    fn a_zygote_that_dies_at_once_ends_the_reload_unless_somebody_killed_it() {
        for (exit, fails) in [(SEGFAULT, true), (Exit::Code(0), true), (SIGKILL, false)] {
            let mut fleet = Scenario::preloaded(2);
            fleet.reload(preload(2));
            fleet.boot_zygotes();
            fleet.zygote_exits(2, exit);
            assert_eq!(fleet.reload_failed(), fails, "{exit}");
        }
    }

    #[test]
    fn a_further_reload_begins_again_with_a_zygote_of_its_own() {
        let mut fleet = Scenario::preloaded(2);
        fleet.reload(preload(2));
        fleet.fork_zygotes();
        fleet.reload(preload(2));
        assert!(killed_zygote(&fleet, 2));
        assert_eq!(fleet.fork_zygotes(), [3]);
        fleet.zygote_exits(2, SIGKILL);
        assert!(!fleet.reload_failed());
        fleet.zygote_ready(3);
        fleet.boot_all();
        fleet.prove();
        fleet.boot_all();
        assert_eq!(fleet.generations_ready(), [3, 3]);
    }

    #[test]
    fn a_fork_that_is_not_answered_keeps_its_zygote_until_it_is() {
        let mut fleet = Scenario::preloaded(2);
        fleet.reload(preload(2));
        fleet.boot_zygotes();
        fleet.assert_forked(&[3]);
        fleet.reload(preload(2));
        assert!(!killed_zygote(&fleet, 2));
        fleet.fork_all();
        fleet.assert_killed(&[3]);
        assert!(killed_zygote(&fleet, 2));
    }

    #[test]
    fn who_is_not_wanted_any_more_is_not_counted_on() {
        let mut fleet = Scenario::preloaded(2);
        fleet.pass(SECOND * 5);
        fleet.reload(preload(2));
        fleet.boot_zygotes();
        fleet.assert_forked(&[3]);
        fleet.reload(preload(2));
        fleet.exit(1, SEGFAULT);
        assert_eq!(fleet.coming(), [(1, 1), (3, 2)]);
    }

    #[test]
    fn too_many_new_ones_go_whatever_of_the_old_is_not_answered() {
        let mut fleet = Scenario::preloaded(4);
        fleet.pass(SECOND * 5);
        fleet.reload(Options { reload_surge: 3, ..options(4) });
        fleet.fork_all();
        fleet.exit(1, SEGFAULT);
        assert_eq!(fleet.coming(), [(1, 1), (5, 2), (6, 2), (7, 2)]);
        fleet.ready(5);
        fleet.prove();
        fleet.take();
        fleet.command(Command::Scale(2));
        fleet.assert_killed(&[7, 6]);
    }

    #[test]
    fn preload_may_come_and_go_with_a_reload() {
        let mut fleet = Scenario::serving(1);
        fleet.reload(preload(1));
        fleet.boot_zygotes();
        fleet.boot_all();
        fleet.prove();
        assert_eq!(fleet.generations_ready(), [2]);
        fleet.reload(options(1));
        assert!(fleet.take_zygote_forks().is_empty());
        fleet.boot_all();
        fleet.prove();
        assert_eq!(fleet.generations_ready(), [3]);
        assert!(killed_zygote(&fleet, 2));
    }

    #[test]
    fn a_recycle_waits_for_a_zygote_and_fails_with_it() {
        let mut fleet = Scenario::preloaded(2);
        fleet.pass(SECOND);
        fleet.worn(1);
        fleet.assert_forked(&[3]);
        fleet.take();
        fleet.zygote_exits(1, SEGFAULT);
        fleet.assert_forked(&[]);
        fleet.fork_zygotes();
        fleet.zygote_exits(1, Exit::Code(3));
        assert_eq!(fleet.fleet.recycling(), None);
        fleet.wait_for_zygote();
        fleet.boot_zygotes();
        fleet.pass(SECOND);
        assert_eq!(fleet.fleet.recycling(), Some(1));
        fleet.boot_all();
        fleet.exit(1, Exit::Code(0));
        assert_eq!(fleet.last_reason(), Some(Reason::MaxRequests));
    }

    #[test]
    fn the_workers_go_first_when_the_server_stops() {
        for mode in [Stop::Graceful, Stop::Quick] {
            let mut fleet = Scenario::preloaded(1);
            fleet.command(Command::Stop(mode));
            assert!(!killed_zygote(&fleet, 1));
            fleet.exit(1, Exit::Code(0));
            assert!(killed_zygote(&fleet, 1));
            assert!(!fleet.did(&Action::Exit(0)));
            fleet.zygote_exits(1, SIGKILL);
            assert!(fleet.did(&Action::Exit(0)));
        }
    }

    #[test]
    fn a_zygote_that_hangs_does_not_hold_the_end_up() {
        for mode in [Stop::Graceful, Stop::Quick] {
            let mut fleet = Scenario::preloaded(2);
            fleet.pass(SECOND * 5);
            fleet.exit(1, SEGFAULT);
            fleet.assert_forked(&[1]);
            fleet.command(Command::Stop(mode));
            assert!(killed_zygote(&fleet, 1));
            fleet.exit(2, Exit::Code(0));
            fleet.zygote_exits(1, SIGKILL);
            assert!(fleet.did(&Action::Exit(0)));
        }
    }

    #[test]
    fn who_was_sent_away_comes_back_out_of_the_zygote_that_is_known_to_boot() {
        let mut fleet = Scenario::preloaded(2);
        fleet.command(Command::RetireAll);
        fleet.exit(1, Exit::Code(0));
        fleet.exit(2, Exit::Code(0));
        fleet.pass(SECOND * 600);
        assert!(!killed_zygote(&fleet, 1));
        fleet.reload(preload(2));
        fleet.fork_zygotes();
        fleet.zygote_exits(2, Exit::Code(3));
        assert!(fleet.reload_failed());
        assert_eq!(fleet.coming(), [(1, 1), (2, 1)]);
    }
}
