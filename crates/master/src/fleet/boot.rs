//! From the decision to fork until a worker is ready.

use ironhorn_unix::{Monotonic, Pid};

use super::{Fleet, Phase};
use crate::{
    ExitCode,
    command::Stop,
    report::{Reason, Report},
    slot::{Slot, Worker},
};

impl Fleet {
    pub(super) fn forked(&mut self, nr: usize, pid: Pid, now: Monotonic) {
        let Slot::Forking { generation } = self.slots[nr - 1] else { return };
        let worker = Worker { pid, generation, forked_at: now, lost_at: None };
        self.slots[nr - 1] = Slot::Booting { worker };
        if self.is_ending() || !self.boots(generation) {
            self.kill(nr, Reason::Asked);
        }
    }

    /// Never the end of the server: whatever was lacking (EAGAIN, ENOMEM in fork(2)) may come
    /// back, and meanwhile the others serve.
    pub(super) fn fork_failed(&mut self, nr: usize, error: String, now: Monotonic) {
        if !matches!(self.slots[nr - 1], Slot::Forking { .. }) {
            return;
        }
        self.slots[nr - 1] = Slot::Empty { owed: Some(now) };
        // The first delay is none, for workers that have lived; here one more try at once is
        // pointless.
        let waiting = self.forks.waits_until(now).is_some();
        if !waiting && !self.is_ending() {
            let retry = self.forks.failed_again(now);
            self.report(Report::ForkFailed { nr, error, retry });
        }
    }

    pub(super) fn ready(&mut self, nr: usize, now: Monotonic) {
        let Slot::Booting { worker } = self.slots[nr - 1] else { return };
        let check_at = self.timeout(worker.generation).map(|timeout| now + timeout);
        self.slots[nr - 1] = Slot::Ready { worker, since: now, check_at };
        self.forks = Default::default();
        let who = self.who(nr, &worker);
        self.report(Report::Ready { who, after: now.since(worker.forked_at) });
        if self.phase == Phase::Starting {
            self.phase = Phase::Serving;
        }
    }

    /// A booting worker will not become ready: it exited, or is to be killed now.
    pub(super) fn boot_failed(
        &mut self,
        nr: usize,
        worker: &Worker,
        reason: Reason,
        code: i32,
        now: Monotonic,
    ) {
        if self.phase == Phase::Starting {
            // No loop at start: an operator is watching, and nothing serves that could be saved.
            let who = self.who(nr, worker);
            self.report(Report::StartFailed { who, reason });
            self.end(Stop::Quick, code, now);
        } else if self.is_reloading_to(worker.generation) {
            self.abandon_reload(format!("worker {nr} could not boot: {reason}"));
        } else {
            self.crashed(worker, now);
        }
    }

    /// Whether workers of `generation` are still wanted.
    fn boots(&self, generation: u32) -> bool {
        generation == self.serving || self.is_reloading_to(generation)
    }
}

/// The server's exit code when a worker that exited with `code` could not boot at start.
pub(super) fn code_at_start(code: i32) -> i32 {
    if code == ExitCode::APP_NOT_FOUND { code } else { ExitCode::BOOT_FAILED }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ironhorn_unix::Exit;

    use super::super::{Action, scenario::Scenario};
    use super::*;

    #[test]
    fn all_boot_at_once() {
        let fleet = Scenario::new(3);
        fleet.assert_forked(&[1, 2, 3]);
    }

    #[test]
    fn a_broken_app_ends_the_start() {
        for (exit, code) in [
            (Exit::Code(3), 3),
            (Exit::Code(4), 4),
            (Exit::Code(77), 3),
            (Exit::Signal { signal: 11, core_dumped: false }, 3),
        ] {
            let mut fleet = Scenario::new(2);
            fleet.fork_all();
            fleet.exit(2, exit);
            assert_eq!(fleet.take_killed(), [1]);
            fleet.exit(1, Exit::Signal { signal: 9, core_dumped: false });
            assert!(fleet.did(&Action::Exit(code)), "{exit}");
            fleet.assert_forked(&[]);
        }
    }

    #[test]
    fn a_hung_boot_ends_the_start() {
        let mut fleet = Scenario::new(2);
        fleet.fork_all();
        fleet.pass(Duration::from_secs(60));
        assert_eq!(fleet.take_killed(), [1, 2]);
        fleet.bury();
        assert!(fleet.did(&Action::Exit(3)));
    }

    #[test]
    fn one_ready_worker_makes_a_broken_boot_a_crash() {
        let mut fleet = Scenario::new(2);
        fleet.fork_all();
        fleet.ready(1);
        fleet.exit(2, Exit::Code(3));
        fleet.assert_forked(&[2]);
        fleet.fork_all();
        fleet.exit(2, Exit::Code(3));
        fleet.assert_forked(&[]);
        assert!(fleet.said(&Report::RespawnDelayed { delay: Duration::from_millis(500) }));
        fleet.pass(Duration::from_millis(500));
        fleet.assert_forked(&[2]);
    }

    #[test]
    fn a_failed_fork_is_tried_again_and_said_once() {
        let mut fleet = Scenario::new(2);
        for nr in [1, 2] {
            fleet.fork_fails(nr);
        }
        let said = fleet.take().into_iter().filter(|action| matches!(action, Action::Report(_)));
        assert_eq!(said.count(), 1);
        fleet.pass(Duration::from_millis(500));
        fleet.assert_forked(&[1, 2]);
    }

    #[test]
    fn a_fork_that_is_answered_too_late_is_killed() {
        let mut fleet = Scenario::new(1);
        fleet.command(crate::command::Command::Stop(Stop::Graceful));
        fleet.fork_all();
        assert_eq!(fleet.take_killed(), [1]);
    }
}
