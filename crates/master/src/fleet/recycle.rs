//! Workers that are replaced because of what they have become: old, large, worn.
//!
//! ```text
//!  worn ─► boot one extra ─► ready ─► the worn one retires ─► gone ─► the next
//!              │ cannot boot
//!              ▼
//!          "recycle failed": the worn one goes on; again after a back-off
//! ```
//!
//! One at a time, and only while the fleet is at full strength and at peace: a replacement that
//! dies at once must not take the others with it. A reload replaces everybody anyway.

use std::{cmp::Reverse, time::Duration};

use ironhorn_unix::{Monotonic, Pid};

use super::{Action, Fleet, Phase, limit};
use crate::{
    report::{Reason, Report},
    respawn::{Backoff, HEALTHY},
    slot::Slot,
};

/// How often memory is measured, where it has a limit.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// For so long at most, one who is far too large waits for the replacement of another.
const HARD_PATIENCE: Duration = Duration::from_secs(30);

/// What is known of worn workers.
#[derive(Debug, Default)]
pub(super) struct Recycling {
    current: Option<Recycle>,
    failures: Backoff,
    measured_at: Option<Monotonic>,
    /// When one who served was killed for its memory, until as many serve as should.
    killed_at: Option<Monotonic>,
}

/// A worker that is being replaced.
#[derive(Debug, Clone, Copy)]
struct Recycle {
    nr: usize,
    pid: Pid,
    reason: Reason,
    /// Its replacement serves and it was told to leave.
    retired: bool,
}

/// In bytes.
struct MemoryLimits {
    /// Above it, a worker is worn.
    soft: Option<u64>,
    /// Above it, it is killed.
    hard: Option<u64>,
}

impl Fleet {
    /// The worker in slot `nr` is to be replaced when its turn comes.
    pub(super) fn wear(&mut self, nr: usize, reason: Reason) {
        if let Some(Slot::Ready { worker, .. }) = self.slots.get_mut(nr - 1)
            && (worker.worn.is_none() || reason == Reason::Recycled)
        {
            worker.worn = Some(reason);
        }
    }

    /// An operator does not wait for a back-off.
    pub(super) fn recycle_as_asked(&mut self, nr: usize) {
        if (1..=self.slots.len()).contains(&nr) {
            self.recycling.failures = Backoff::default();
            self.wear(nr, Reason::Recycled);
        }
    }

    /// Retires a worn worker whose replacement serves; forgets one that is gone.
    pub(super) fn go_on_recycling(&mut self, now: Monotonic) {
        if self.count(Slot::is_ready) >= self.target {
            self.recycling.killed_at = None;
        }
        let Some(current) = self.recycling.current else { return };
        let Recycle { nr, pid, reason, retired } = current;
        let slot = &self.slots[nr - 1];
        let is_there = slot.worker().is_some_and(|worker| worker.pid == pid);
        let goes_on = retired || slot.is_ready() && self.may_recycle();
        if !is_there || !goes_on {
            self.recycling.current = None;
        } else if !retired && self.count(Slot::is_ready) > self.target {
            self.recycling.failures = Backoff::default();
            self.retire(nr, reason, now);
            self.recycling.current = Some(Recycle { retired: true, ..current });
        }
    }

    /// Lets the next worn worker have its replacement, if it is time.
    pub(super) fn begin_recycling(&mut self, now: Monotonic) {
        if self.recycle_at(now).is_none_or(|at| at > now) {
            return;
        }
        let Some(nr) = self.most_worn() else { return };
        let Slot::Ready { worker, .. } = self.slots[nr - 1] else { return };
        let Some(reason) = worker.worn else { return };
        self.recycling.current = Some(Recycle { nr, pid: worker.pid, reason, retired: false });
        let who = self.who(nr, &worker);
        self.report(Report::Recycling { who, reason });
    }

    /// A worker could not boot: it may have been the replacement.
    pub(super) fn fail_recycling(&mut self, cause: String, now: Monotonic) {
        let Some(Recycle { nr, reason, retired: false, .. }) = self.recycling.current else {
            return;
        };
        self.recycling.current = None;
        let Some(&worker) = self.slots[nr - 1].worker() else { return };
        let who = self.who(nr, &worker);
        let retry = self.recycling.failures.failed_again(now);
        self.report(Report::RecycleFailed { who, reason, cause, retry });
    }

    /// Who is replaced for being worn, if somebody is.
    pub(super) fn recycled(&self) -> Option<usize> {
        self.recycling.current.as_ref().map(|current| current.nr)
    }

    /// How many more workers than usual a recycle needs.
    pub(super) fn extra(&self) -> usize {
        usize::from(self.recycling.current.is_some_and(|current| !current.retired))
    }

    fn may_recycle(&self) -> bool {
        self.phase == Phase::Serving && self.reload.is_none() && !self.retired
    }

    /// When the next recycle may begin: never, as long as something else must happen first.
    fn recycle_at(&self, now: Monotonic) -> Option<Monotonic> {
        let ready = self.count(Slot::is_ready);
        let at_strength = ready == self.target && self.active() == self.target;
        if self.recycling.current.is_some() || !self.may_recycle() || !at_strength {
            return None;
        }
        self.most_worn()?;
        self.vacancy()?;
        let serving = self.generation(self.serving).filter(|serving| serving.is_forkable())?;
        let youngest = self.slots.iter().filter_map(Slot::ready_since).max()?;
        let waits = [&self.recycling.failures, &self.forks, &serving.crashes];
        let waits = waits.into_iter().filter_map(|backoff| backoff.waits_until(now));
        waits.chain([youngest + HEALTHY, now]).max()
    }

    /// Whose turn it is: an operator's wish first, then the oldest.
    fn most_worn(&self) -> Option<usize> {
        self.slots()
            .filter_map(|(nr, slot)| match slot {
                Slot::Ready { worker, since, .. } => {
                    worker.worn.map(|reason| (reason != Reason::Recycled, *since, nr))
                }
                _ => None,
            })
            .min()
            .map(|(_, _, nr)| nr)
    }

    pub(super) fn recycle_deadline(&self, now: Monotonic) -> Option<Monotonic> {
        if self.is_ending() {
            return None;
        }
        let lifetimes = self.slots().filter_map(|(nr, slot)| self.outlived_at(nr, slot));
        lifetimes.chain(self.measure_at()).chain(self.recycle_at(now)).min()
    }

    /// Looks who has lived long enough, and has memory measured.
    pub(super) fn look_for_wear(&mut self, now: Monotonic) {
        if self.is_ending() {
            return;
        }
        for nr in 1..=self.slots.len() {
            if self.outlived_at(nr, &self.slots[nr - 1]).is_some_and(|at| at <= now) {
                self.wear(nr, Reason::MaxLifetime);
            }
        }
        if self.measure_at().is_some_and(|at| at <= now) {
            self.recycling.measured_at = Some(now);
            let nrs = self.measured_slots().map(|(nr, _)| nr).collect();
            self.act(Action::Measure { nrs });
        }
    }

    /// When the worker in slot `nr` has lived long enough. Workers that were forked together end
    /// apart: those of higher numbers up to a tenth earlier.
    fn outlived_at(&self, nr: usize, slot: &Slot) -> Option<Monotonic> {
        let Slot::Ready { worker, since, .. } = slot else { return None };
        if worker.worn.is_some() {
            return None;
        }
        let lifetime = limit(self.options(worker.generation).max_lifetime)?;
        let hundredths = u32::try_from((nr - 1) % 10).unwrap_or_default();
        Some(*since + (lifetime - lifetime / 100 * hundredths))
    }

    /// When memory is to be measured next.
    fn measure_at(&self) -> Option<Monotonic> {
        let first = self.measured_slots().map(|(_, since)| since).min()?;
        Some(self.recycling.measured_at.map_or(first, |at| at.max(first)) + MEASURE_EVERY)
    }

    /// Whose memory has a limit, and since when they serve or leave.
    fn measured_slots(&self) -> impl Iterator<Item = (usize, Monotonic)> {
        self.slots().filter_map(|(nr, slot)| match slot {
            Slot::Ready { worker, since, .. } => {
                let limits = self.memory_limits(worker.generation);
                limits.soft.or(limits.hard).map(|_| (nr, *since))
            }
            Slot::Retiring { worker, retirement, .. } => {
                self.memory_limits(worker.generation).hard.map(|_| (nr, retirement.since))
            }
            _ => None,
        })
    }

    fn memory_limits(&self, generation: u32) -> MemoryLimits {
        let options = self.options(generation);
        let set = |limit: Option<u64>| limit.filter(|bytes| *bytes > 0);
        MemoryLimits { soft: set(options.max_memory), hard: set(options.max_memory_hard) }
    }

    /// Workers leak alike: of those who serve only one is killed at a time, the largest, and the
    /// next when its replacement serves.
    pub(super) fn measured(&mut self, memory: &[(usize, u64)], now: Monotonic) {
        if self.is_ending() {
            return;
        }
        let mut memory = memory.to_vec();
        memory.sort_unstable_by_key(|&(_, memory)| Reverse(memory));
        for (nr, memory) in memory {
            let slot = self.slots[nr - 1];
            let (Slot::Ready { worker, .. } | Slot::Retiring { worker, .. }) = slot else {
                continue;
            };
            let limits = self.memory_limits(worker.generation);
            if limits.hard.is_some_and(|most| memory > most) {
                if slot.is_ready() {
                    if self.recycling.killed_at.is_some_and(|at| now < at + HARD_PATIENCE) {
                        continue;
                    }
                    self.recycling.killed_at = Some(now);
                }
                let who = self.who(nr, &worker);
                self.report(Report::TooMuchMemory { who, memory });
                self.at_once += usize::from(slot.is_ready());
                self.kill(nr, Reason::MaxMemoryHard);
            } else if limits.soft.is_some_and(|most| memory > most) {
                self.wear(nr, Reason::MaxMemory);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ironhorn_unix::{Exit, ToWorker};

    use super::super::{
        Event,
        scenario::{CAPACITY, GRACEFUL, Scenario, TIMEOUT, options},
    };
    use super::*;
    use crate::{
        Options,
        command::{Command, Stop},
    };

    const SECOND: Duration = Duration::from_secs(1);
    const SEGFAULT: Exit = Exit::Signal { signal: 11, core_dumped: true };
    const SOFT: u64 = 1_000;
    const HARD: u64 = 2_000;

    /// Long enough for nobody to be suspected of dying soon.
    fn settled(workers: usize) -> Scenario {
        settled_with(options(workers))
    }

    fn settled_with(options: Options) -> Scenario {
        let mut fleet = Scenario::serving_with(options);
        fleet.pass(SECOND);
        fleet.take();
        fleet
    }

    fn limited(workers: usize) -> Options {
        Options { max_memory: Some(SOFT), max_memory_hard: Some(HARD), ..options(workers) }
    }

    fn recycling(fleet: &Scenario, nr: usize, reason: Reason) -> bool {
        fleet.said(&Report::Recycling { who: fleet.who(nr), reason })
    }

    #[test]
    fn the_replacement_serves_before_the_worn_one_leaves() {
        let mut fleet = settled(2);
        fleet.worn(1);
        assert!(recycling(&fleet, 1, Reason::MaxRequests));
        assert_eq!(fleet.fleet.recycling(), Some(1));
        fleet.assert_forked(&[3]);
        fleet.fork_all();
        fleet.assert_told(&[]);
        fleet.ready(3);
        fleet.assert_told(&[(1, ToWorker::Retire)]);
        fleet.exit(1, Exit::Code(0));
        assert_eq!(fleet.last_reason(), Some(Reason::MaxRequests));
        assert_eq!(fleet.fleet.recycling(), None);
        fleet.assert_forked(&[]);
        assert_eq!(fleet.ready_count(), 2);
    }

    #[test]
    fn one_at_a_time_until_it_is_gone() {
        let mut fleet = settled(3);
        for nr in [1, 2, 3] {
            fleet.worn(nr);
        }
        for nr in [1, 2, 3] {
            fleet.pass(SECOND);
            assert_eq!(fleet.coming().len(), 1, "the turn of {nr}");
            fleet.boot_all();
            fleet.assert_told(&[(nr, ToWorker::Retire)]);
            fleet.pass(GRACEFUL - SECOND);
            assert_eq!(fleet.coming(), [], "{nr} has not gone yet");
            fleet.exit(nr, Exit::Code(0));
        }
        fleet.pass(SECOND);
        assert_eq!(fleet.coming(), []);
    }

    #[test]
    fn the_next_one_waits_until_the_replacement_has_lived_a_while() {
        let mut fleet = settled(2);
        fleet.worn(1);
        fleet.worn(2);
        fleet.boot_all();
        fleet.exit(1, Exit::Code(0));
        fleet.assert_forked(&[]);
        fleet.pass(SECOND - Duration::from_millis(1));
        fleet.assert_forked(&[]);
        fleet.pass(Duration::from_millis(1));
        fleet.assert_forked(&[1]);
    }

    #[test]
    fn code_that_dies_at_once_takes_one_worn_worker_and_no_more() {
        let mut fleet = settled(3);
        for nr in [1, 2, 3] {
            fleet.worn(nr);
        }
        fleet.boot_all();
        fleet.exit(1, Exit::Code(0));
        for _ in 0..20 {
            fleet.pass(SECOND / 2);
            fleet.exit(fleet.youngest_ready(), SEGFAULT);
            fleet.wait_for_fork();
            fleet.boot_all();
        }
        assert_eq!(fleet.ready_count(), 3);
        fleet.assert_told(&[(1, ToWorker::Retire)]);
    }

    #[test]
    fn a_replacement_that_cannot_boot_leaves_the_worn_one_where_it_is() {
        let mut fleet = settled(2);
        fleet.worn(1);
        let mut waited = Vec::new();
        for _ in 0..8 {
            fleet.fork_all();
            fleet.exit(3, Exit::Code(3));
            let since = fleet.now;
            fleet.wait_for_fork();
            waited.push(fleet.now.since(since).as_millis());
        }
        assert_eq!(waited, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        let (who, reason) = (fleet.who(1), Reason::MaxRequests);
        let cause = "worker 3 could not boot: boot failure".to_owned();
        let retry = Duration::from_millis(500);
        assert!(fleet.said(&Report::RecycleFailed { who, reason, cause, retry }));
        fleet.assert_told(&[]);
        assert_eq!(fleet.ready_count(), 2);
        assert!(!fleet.said(&Report::RespawnDelayed { delay: retry }));
    }

    #[test]
    fn its_failure_is_no_crash_of_the_healthy() {
        let mut fleet = settled(2);
        fleet.worn(1);
        for _ in 0..4 {
            fleet.fork_all();
            fleet.exit(3, Exit::Code(3));
            fleet.wait_for_fork();
        }
        fleet.fork_all();
        fleet.take();
        fleet.exit(2, SEGFAULT);
        assert_eq!(fleet.coming().len(), 2);
    }

    #[test]
    fn a_replacement_that_hangs_fails_too() {
        let mut fleet = settled(1);
        fleet.worn(1);
        fleet.fork_all();
        fleet.pass(Duration::from_secs(60));
        fleet.assert_killed(&[2]);
        let (who, reason) = (fleet.who(1), Reason::MaxRequests);
        let cause = "worker 2 could not boot: boot timeout".to_owned();
        let retry = Duration::from_millis(500);
        assert!(fleet.said(&Report::RecycleFailed { who, reason, cause, retry }));
        assert_eq!(fleet.ready_count(), 1);
    }

    #[test]
    fn a_worn_one_that_dies_has_its_replacement_already() {
        let mut fleet = settled(2);
        fleet.worn(1);
        fleet.fork_all();
        fleet.exit(1, SEGFAULT);
        assert_eq!(fleet.coming(), [(3, 1)]);
        fleet.ready(3);
        assert_eq!(fleet.coming(), []);
        assert_eq!(fleet.fleet.recycling(), None);
        fleet.assert_told(&[]);
    }

    #[test]
    fn another_that_dies_meanwhile_is_replaced_too() {
        let mut fleet = settled(2);
        fleet.worn(1);
        fleet.fork_all();
        fleet.exit(2, SEGFAULT);
        assert_eq!(fleet.coming(), [(2, 1), (3, 1)]);
        fleet.fork_all();
        fleet.ready(2);
        fleet.assert_told(&[]);
        fleet.ready(3);
        fleet.assert_told(&[(1, ToWorker::Retire)]);
    }

    #[test]
    fn a_reload_replaces_everybody_anyway() {
        let mut fleet = settled(2);
        fleet.worn(1);
        fleet.fork_all();
        fleet.reload(options(2));
        fleet.assert_killed(&[3]);
        assert_eq!(fleet.fleet.recycling(), None);
        fleet.worn(2);
        assert_eq!(fleet.coming().len(), 1);
        fleet.fork_all();
        fleet.exit(fleet.last_forked(), Exit::Code(3));
        assert!(fleet.reload_failed());
        assert!(recycling(&fleet, 1, Reason::MaxRequests));
    }

    #[test]
    fn nobody_is_replaced_on_the_way_out() {
        for command in [Command::Stop(Stop::Graceful), Command::RetireAll] {
            let mut fleet = settled(2);
            fleet.worn(1);
            fleet.fork_all();
            fleet.command(command);
            fleet.assert_killed(&[3]);
            fleet.assert_forked(&[]);
        }
        let delayed = Options { shutdown_delay: SECOND, ..options(2) };
        let mut fleet = settled_with(delayed);
        fleet.command(Command::Stop(Stop::Graceful));
        fleet.worn(1);
        fleet.assert_forked(&[]);
    }

    #[test]
    fn one_worker_less_is_the_worn_one() {
        let mut fleet = settled(3);
        fleet.worn(2);
        fleet.fork_all();
        fleet.command(Command::Remove);
        fleet.assert_killed(&[4]);
        fleet.assert_told(&[(2, ToWorker::Retire)]);
        fleet.exit(2, Exit::Code(0));
        assert_eq!(fleet.last_reason(), Some(Reason::MaxRequests));
    }

    #[test]
    fn an_operators_wish_goes_first_and_does_not_wait() {
        let mut fleet = settled(2);
        fleet.worn(1);
        for _ in 0..5 {
            fleet.wait_for_fork();
            fleet.fork_all();
            fleet.exit(3, Exit::Code(3));
        }
        fleet.take();
        fleet.command(Command::Recycle(2));
        assert!(recycling(&fleet, 2, Reason::Recycled));
        fleet.boot_all();
        fleet.assert_told(&[(2, ToWorker::Retire)]);
        fleet.exit(2, Exit::Code(0));
        assert_eq!(fleet.last_reason(), Some(Reason::Recycled));
        for nobody in [0, 2, CAPACITY, CAPACITY + 1] {
            fleet.take();
            fleet.command(Command::Recycle(nobody));
        }
    }

    #[test]
    fn memory_is_measured_only_where_it_has_a_limit() {
        let mut fleet = settled(2);
        fleet.pass(Duration::from_secs(60));
        assert_eq!(fleet.measurements(), 0);
        let mut fleet = settled_with(limited(2));
        fleet.pass(Duration::from_secs(60));
        assert_eq!(fleet.measurements(), 12);
        assert!(fleet.did(&Action::Measure { nrs: vec![1, 2] }));
        let zero = Options { max_memory: Some(0), max_memory_hard: Some(0), ..options(2) };
        let mut fleet = settled_with(zero);
        fleet.pass(Duration::from_secs(60));
        assert_eq!(fleet.measurements(), 0);
    }

    #[test]
    fn one_who_is_large_is_recycled() {
        let mut fleet = settled_with(limited(2));
        fleet.measured(&[(1, SOFT), (2, SOFT + 1)]);
        assert!(recycling(&fleet, 2, Reason::MaxMemory));
        fleet.boot_all();
        fleet.exit(2, Exit::Code(0));
        assert_eq!(fleet.last_reason(), Some(Reason::MaxMemory));
    }

    #[test]
    fn one_who_is_far_too_large_is_killed_and_replaced_at_once() {
        let mut fleet = settled_with(limited(2));
        fleet.measured(&[(1, HARD + 1), (2, HARD)]);
        assert!(fleet.said(&Report::TooMuchMemory { who: fleet.who(1), memory: HARD + 1 }));
        assert!(fleet.did(&Action::Kill { nr: 1, examine: true }));
        fleet.assert_killed(&[1]);
        assert_eq!(fleet.coming(), [(3, 1)]);
        fleet.bury();
        assert_eq!(fleet.last_reason(), Some(Reason::MaxMemoryHard));
    }

    #[test]
    fn of_many_who_are_far_too_large_one_is_killed_at_a_time() {
        let mut fleet = settled_with(limited(3));
        let large = [(1, HARD + 1), (2, HARD + 3), (3, HARD + 2)];
        fleet.measured(&large);
        fleet.assert_killed(&[2]);
        fleet.measured(&large);
        fleet.assert_killed(&[]);
        fleet.exit(2, Exit::Signal { signal: 9, core_dumped: false });
        fleet.boot_all();
        fleet.take();
        fleet.measured(&[(1, HARD + 1), (3, HARD + 2)]);
        fleet.assert_killed(&[3]);
        assert_eq!(fleet.ready_count(), 2);
    }

    #[test]
    fn one_who_is_far_too_large_does_not_wait_for_ever_for_the_replacement_of_another() {
        let mut fleet = settled_with(limited(2));
        fleet.measured(&[(1, HARD + 2), (2, HARD + 1)]);
        fleet.assert_killed(&[1]);
        fleet.pass(HARD_PATIENCE);
        fleet.measured(&[(2, HARD + 1)]);
        fleet.assert_killed(&[2]);
    }

    #[test]
    fn one_who_leaves_must_not_grow_for_ever() {
        let mut fleet = settled_with(limited(2));
        fleet.measured(&[(1, SOFT + 1)]);
        fleet.boot_all();
        fleet.pass(Duration::from_secs(5));
        assert!(fleet.did(&Action::Measure { nrs: vec![1, 2, 3] }));
        fleet.measured(&[(1, HARD + 1)]);
        fleet.assert_killed(&[1]);
        fleet.assert_forked(&[]);
    }

    #[test]
    fn what_is_said_of_nobody_is_nothing() {
        let mut fleet = settled_with(limited(1));
        fleet.measured(&[(7, HARD + 1)]);
        fleet.worn(7);
        assert_eq!(fleet.take(), []);
        fleet.command(Command::Stop(Stop::Graceful));
        fleet.take();
        fleet.measured(&[(1, HARD + 1)]);
        fleet.handle(Event::Worn { nr: 1 });
        assert_eq!(fleet.take(), []);
    }

    #[test]
    fn one_who_has_lived_long_enough_is_recycled_and_not_all_at_a_time() {
        let mortal = Options { max_lifetime: Some(SECOND * 1000), ..options(2) };
        let mut fleet = Scenario::serving_with(mortal);
        fleet.pass(SECOND * 989);
        fleet.assert_forked(&[]);
        fleet.pass(SECOND);
        assert!(recycling(&fleet, 2, Reason::MaxLifetime));
        fleet.boot_all();
        fleet.exit(2, Exit::Code(0));
        assert_eq!(fleet.last_reason(), Some(Reason::MaxLifetime));
        fleet.pass(SECOND * 9);
        fleet.assert_forked(&[]);
        fleet.pass(SECOND);
        assert!(recycling(&fleet, 1, Reason::MaxLifetime));
    }

    #[test]
    fn a_worn_one_whose_request_is_stuck_has_timed_out() {
        let mut fleet = settled(2);
        fleet.busy(1, "GET /slow");
        fleet.worn(1);
        fleet.fork_all();
        fleet.pass(TIMEOUT);
        fleet.assert_expired(&[1]);
        fleet.boot_all();
        assert_eq!(fleet.ready_count(), 2);
        assert_eq!(fleet.fleet.recycling(), None);
        fleet.exit(1, Exit::Code(0));
        assert_eq!(fleet.last_reason(), Some(Reason::Timeout));
    }
}
