//! Workers that leave, asked or not.

use std::time::Duration;

use ironhorn_unix::{Exit, Monotonic, Signal};

use super::{Fleet, boot::code_at_start};
use crate::{
    ExitCode,
    report::{Reason, Report},
    respawn::HEALTHY,
    slot::{Retirement, Slot, Worker},
};

impl Fleet {
    /// A worker leaves by itself, because it was sent a signal of its own.
    pub(super) fn draining(&mut self, nr: usize, now: Monotonic) {
        let (worker, check_at) = match self.slots[nr - 1] {
            Slot::Booting { worker } => (worker, None),
            Slot::Ready { worker, check_at, .. } => (worker, check_at),
            _ => return,
        };
        let retirement = Retirement { reason: Reason::Asked, since: now };
        self.slots[nr - 1] = Slot::Retiring { worker, retirement, check_at };
        self.at_once += 1;
        let who = self.who(nr, &worker);
        self.report(Report::Draining { who });
    }

    /// Mostly the first sign of an exit. If none follows, the worker cannot be told to leave any
    /// more, and is not left to itself.
    pub(super) fn channel_closed(&mut self, nr: usize, now: Monotonic) {
        if let Some(worker) = self.slots[nr - 1].worker_mut() {
            worker.lost_at.get_or_insert(now);
        }
    }

    pub(super) fn exited(
        &mut self,
        nr: usize,
        exit: Exit,
        requests: u64,
        out_of_memory: bool,
        now: Monotonic,
    ) {
        let slot = self.slots[nr - 1];
        let Some(&worker) = slot.worker() else { return };
        self.expired.retain(|expired| expired.nr != nr);
        let reason = reason(&slot, exit, out_of_memory);
        let owed = matches!(slot, Slot::Booting { .. } | Slot::Ready { .. });
        self.slots[nr - 1] = Slot::Empty { owed: owed.then_some(now) };
        let who = self.who(nr, &worker);
        self.report(Report::Exited { who, reason, after: now.since(worker.forked_at), requests });
        match slot {
            Slot::Booting { .. } => {
                self.boot_failed(nr, &worker, reason, code_at_start(exit), now);
            }
            Slot::Ready { since, .. } => self.died(nr, &worker, since, exit, now),
            _ => {}
        }
    }

    /// A worker that served died unasked.
    fn died(&mut self, nr: usize, worker: &Worker, since: Monotonic, exit: Exit, now: Monotonic) {
        self.crashes(worker.generation).lived(worker.forked_at, since, now);
        let lived = now.since(since);
        if lived >= HEALTHY {
            self.at_once += 1;
            return;
        }
        // SIGKILL comes from outside (an operator, the kernel short of memory) and says little
        // about the new code; other early deaths say that more of it would die too.
        let killed =
            matches!(exit, Exit::Signal { signal, .. } if signal == Signal::SIGKILL as i32);
        if self.is_reloading_to(worker.generation) && !killed {
            self.abandon_reload(format!("worker {nr} died soon after boot: {exit}"));
        } else {
            self.crashed(worker, now);
        }
    }

    /// A worker died during its boot or soon after: its replacement may have to wait.
    pub(super) fn crashed(&mut self, worker: &Worker, now: Monotonic) {
        for index in 0..self.slots.len() {
            if let Slot::Ready { worker: other, since, .. } = self.slots[index]
                && other.generation == worker.generation
            {
                self.crashes(worker.generation).lived(other.forked_at, since, now);
            }
        }
        let delay = self.crashes(worker.generation).failed(worker.forked_at, now);
        if let Some(delay) = delay.filter(|delay| *delay > Duration::ZERO) {
            self.report(Report::RespawnDelayed { delay });
        }
    }
}

fn reason(slot: &Slot, exit: Exit, out_of_memory: bool) -> Reason {
    match (slot, exit) {
        (Slot::Killed { reason, .. }, _) => *reason,
        (Slot::Retiring { retirement, .. } | Slot::Stopping { retirement, .. }, _)
            if retirement.reason == Reason::Timeout || exit == Exit::Code(ExitCode::OK) =>
        {
            retirement.reason
        }
        (_, Exit::Signal { signal, .. }) if out_of_memory && signal == Signal::SIGKILL as i32 => {
            Reason::OutOfMemory
        }
        (Slot::Booting { .. }, Exit::Code(ExitCode::BOOT_FAILED | ExitCode::APP_NOT_FOUND)) => {
            Reason::BootFailure
        }
        _ => Reason::Unasked(exit),
    }
}

#[cfg(test)]
mod tests {
    use ironhorn_unix::ToWorker;

    use super::super::scenario::{GRACEFUL, Scenario};
    use super::*;

    const SEGFAULT: Exit = Exit::Signal { signal: 11, core_dumped: true };

    #[test]
    fn a_dead_worker_is_replaced_at_once_in_its_slot() {
        let mut fleet = Scenario::serving(3);
        fleet.pass(Duration::from_secs(5));
        fleet.take();
        fleet.exit(2, SEGFAULT);
        fleet.assert_forked(&[2]);
    }

    #[test]
    fn one_that_dies_again_soon_after_boot_waits_longer_each_time() {
        let mut fleet = Scenario::serving(2);
        let mut waited = Vec::new();
        for _ in 0..9 {
            fleet.pass(Duration::from_millis(100));
            fleet.exit(1, SEGFAULT);
            let since = fleet.now;
            fleet.wait_for_fork();
            waited.push(fleet.now.since(since).as_millis());
            fleet.boot_all();
        }
        assert_eq!(waited, [0, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
    }

    #[test]
    fn a_healthy_worker_is_replaced_at_once_also_while_others_crash() {
        let mut fleet = Scenario::serving(2);
        for _ in 0..4 {
            fleet.pass(Duration::from_millis(900));
            fleet.exit(1, SEGFAULT);
            fleet.wait_for_fork();
            fleet.boot_all();
        }
        fleet.exit(1, SEGFAULT);
        fleet.assert_forked(&[]);
        fleet.pass(Duration::from_millis(1));
        fleet.exit(2, SEGFAULT);
        fleet.assert_forked(&[2]);
    }

    #[test]
    fn a_worker_that_drains_by_itself_is_replaced_before_it_is_gone() {
        let mut fleet = Scenario::serving(2);
        fleet.draining(1);
        fleet.assert_forked(&[3]);
        fleet.fork_all();
        fleet.exit(1, Exit::Code(0));
        assert_eq!(fleet.last_reason(), Some(Reason::Asked));
        fleet.assert_forked(&[]);
    }

    #[test]
    fn draining_for_too_long_is_ended() {
        let mut fleet = Scenario::serving(2);
        fleet.draining(1);
        fleet.boot_all();
        fleet.pass(GRACEFUL);
        fleet.assert_killed(&[1]);
        fleet.bury();
        assert_eq!(fleet.last_reason(), Some(Reason::GracefulTimeout));
    }

    #[test]
    fn a_worker_that_closed_its_channel_is_ended_and_replaced() {
        let mut fleet = Scenario::serving(2);
        fleet.closed(1);
        assert_eq!(fleet.take(), []);
        fleet.pass(Duration::from_secs(1));
        fleet.assert_killed(&[1]);
        fleet.assert_forked(&[3]);
        fleet.bury();
        assert_eq!(fleet.last_reason(), Some(Reason::ChannelLost));
    }

    #[test]
    fn want_of_memory_is_said_only_where_the_kernel_says_so() {
        const KILLED: Exit = Exit::Signal { signal: 9, core_dumped: false };
        for (exit, counted, reason) in [
            (KILLED, true, Reason::OutOfMemory),
            (KILLED, false, Reason::Unasked(KILLED)),
            (SEGFAULT, true, Reason::Unasked(SEGFAULT)),
            (Exit::Code(1), true, Reason::Unasked(Exit::Code(1))),
        ] {
            let mut fleet = Scenario::serving(2);
            fleet.exit_for_want_of_memory(1, exit, counted);
            assert_eq!(fleet.last_reason(), Some(reason));
        }
        let mut fleet = Scenario::serving(2);
        fleet.closed(1);
        fleet.pass(Duration::from_secs(1));
        fleet.exit_for_want_of_memory(1, KILLED, true);
        assert_eq!(fleet.last_reason(), Some(Reason::ChannelLost), "it was us");
    }

    #[test]
    fn a_retired_worker_that_crashes_says_so() {
        let mut fleet = Scenario::serving(2);
        fleet.command(crate::command::Command::Remove);
        fleet.assert_told(&[(1, ToWorker::Retire)]);
        fleet.exit(1, SEGFAULT);
        assert_eq!(fleet.last_reason(), Some(Reason::Unasked(SEGFAULT)));
        fleet.assert_forked(&[]);
    }
}
