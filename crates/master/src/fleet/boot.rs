//! From the decision to fork until a worker is ready.

use ironhorn_unix::{Exit, Monotonic, Pid};

use super::{Action, Fleet, Phase};
use crate::{
    ExitCode,
    command::Stop,
    report::{Reason, Report},
    slot::{Slot, Worker},
};

impl Fleet {
    pub(super) fn forked(&mut self, nr: usize, pid: Pid, now: Monotonic) {
        let Slot::Forking { generation, .. } = self.slots[nr - 1] else { return };
        self.zygote_has_forked(generation, now);
        self.note_forked(generation);
        let worker = Worker { pid, generation, forked_at: now, lost_at: None, worn: None };
        self.slots[nr - 1] = Slot::Booting { worker };
        if !self.boots(generation) {
            self.kill(nr, Reason::Asked);
        } else if matches!(self.phase, Phase::Leaving { .. }) {
            // It could not be told with the others.
            self.act(Action::AskToLeave);
        }
    }

    /// Never the end of the server: whatever was lacking (EAGAIN, ENOMEM in fork(2)) may come
    /// back, and meanwhile the others serve.
    pub(super) fn fork_failed(&mut self, nr: usize, error: String, now: Monotonic) {
        let Slot::Forking { generation, .. } = self.slots[nr - 1] else { return };
        self.slots[nr - 1] = Slot::Empty { owed: Some(now) };
        self.note_unforkable(generation, &error, now);
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
            self.report(Report::Serving);
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
        let cause = format!("worker {nr} could not boot: {reason}");
        if self.phase == Phase::Starting {
            let who = self.who(nr, worker);
            self.report(Report::StartFailed { who, reason });
            self.fail_start(cause, code, now);
        } else if self.is_reloading_to(worker.generation) {
            self.abandon_reload(cause);
        } else {
            self.fail_recycling(cause, now);
            // One more than the fleet needs is no loss to it.
            if self.active() < self.wanted() {
                self.crashed(worker, now);
            }
        }
    }

    /// No loop at start: an operator is watching, and nothing serves that could be saved.
    pub(super) fn fail_start(&mut self, cause: String, code: i32, now: Monotonic) {
        if !self.options(self.serving).keep_trying {
            return self.end(Stop::Quick, code, now);
        }
        self.phase = Phase::Waiting;
        self.failed = Some(cause);
        self.kill_booting(|_| true);
        self.report(Report::WaitingForReload);
    }
}

/// The server's exit code when whoever exited like this could not boot at start.
pub(super) fn code_at_start(exit: Exit) -> i32 {
    match exit {
        Exit::Code(ExitCode::APP_NOT_FOUND) => ExitCode::APP_NOT_FOUND,
        _ => ExitCode::BOOT_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{
        State,
        scenario::{Scenario, options},
    };
    use super::*;
    use crate::{Options, command::Command};

    #[test]
    fn all_boot_at_once() {
        let fleet = Scenario::new(3);
        fleet.assert_forked(&[1, 2, 3]);
    }

    #[test]
    fn no_more_than_there_are_cpus_until_one_serves() {
        let two = Options { boots_abreast: 2, ..options(4) };
        let mut fleet = Scenario::with(two.clone());
        fleet.assert_forked(&[1, 2]);
        fleet.fork_all();
        fleet.ready(2);
        fleet.assert_forked(&[3, 4]);

        let mut fleet = Scenario::with(two.clone());
        fleet.fork_all();
        fleet.take();
        fleet.pass(Duration::from_millis(999));
        fleet.assert_forked(&[]);
        fleet.pass(Duration::from_millis(1));
        fleet.assert_forked(&[3, 4]);
        fleet.fork_all();
        assert_eq!(fleet.pass(Duration::from_secs(50)), 0);

        let mut fleet = Scenario::with(two);
        fleet.fork_all();
        fleet.exit(1, Exit::Code(3));
        fleet.bury();
        assert!(fleet.did(&Action::Exit(3)));
    }

    #[test]
    fn those_who_wait_for_the_first_are_scaled_and_reloaded_like_others() {
        let two = Options { boots_abreast: 2, ..options(4) };
        let begun = || {
            let mut fleet = Scenario::with(two.clone());
            fleet.fork_all();
            fleet.take();
            fleet
        };
        let mut fleet = begun();
        fleet.command(Command::Add);
        fleet.assert_forked(&[]);
        fleet.ready(1);
        fleet.assert_forked(&[3, 4, 5]);

        let mut fleet = begun();
        (0..3).for_each(|_| fleet.command(Command::Remove));
        fleet.assert_killed(&[2]);
        fleet.bury();
        fleet.take();
        fleet.ready(1);
        fleet.assert_forked(&[]);

        let mut fleet = begun();
        fleet.reload(two.clone());
        assert_eq!(fleet.coming(), [(3, 2), (4, 2)]);
        fleet.bury();
        fleet.boot_all();
        assert_eq!(fleet.coming(), [(1, 2), (2, 2)]);
        fleet.boot_all();
        assert_eq!(fleet.generations_ready(), [2; 4]);
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
            fleet.assert_killed(&[1]);
            fleet.exit(1, Exit::Signal { signal: 9, core_dumped: false });
            assert!(fleet.did(&Action::Exit(code)), "{exit}");
            fleet.assert_forked(&[]);
        }
    }

    #[test]
    fn a_start_that_is_to_keep_trying_waits_for_a_reload() {
        let trying = Options { keep_trying: true, ..options(2) };
        for preload in [false, true] {
            let mut fleet = Scenario::with(Options { preload, ..trying.clone() });
            if preload {
                fleet.fork_zygotes();
                fleet.zygote_exits(1, Exit::Code(3));
            } else {
                fleet.fork_all();
                fleet.exit(2, Exit::Code(3));
                fleet.assert_killed(&[1]);
                fleet.bury();
            }
            assert!(fleet.said(&Report::WaitingForReload));
            assert_eq!(fleet.fleet.state(), State::Waiting);
            assert!(fleet.fleet.failed().is_some());
            fleet.pass(Duration::from_secs(600));
            fleet.assert_forked(&[]);
            assert_eq!(fleet.take_zygote_forks().len(), 0);

            fleet.reload(trying.clone());
            assert_eq!(fleet.coming(), [(1, 2), (2, 2)]);
            assert!(fleet.did(&Action::DropGeneration { generation: 1 }));
            fleet.fork_all();
            fleet.exit(1, Exit::Code(4));
            fleet.bury();
            assert_eq!(fleet.fleet.state(), State::Waiting);
            fleet.command(Command::Reload);
            fleet.refuse("no");
            assert_eq!(fleet.fleet.state(), State::Waiting);

            fleet.reload(trying.clone());
            fleet.boot_all();
            assert_eq!(fleet.generations_ready(), [3, 3]);
            assert!(fleet.said(&Report::Serving));
        }
    }

    #[test]
    fn a_start_that_waits_can_be_stopped() {
        let mut fleet = Scenario::with(Options { keep_trying: true, ..options(2) });
        fleet.fork_all();
        fleet.exit(1, Exit::Code(3));
        fleet.command(Command::Stop(Stop::Graceful));
        fleet.bury();
        assert!(fleet.did(&Action::Exit(0)));
    }

    #[test]
    fn the_server_serves_from_its_first_worker_on() {
        let mut fleet = Scenario::new(2);
        fleet.fork_all();
        assert!(!fleet.said(&Report::Serving));
        fleet.ready(2);
        assert!(fleet.said(&Report::Serving));
        fleet.take();
        fleet.ready(1);
        fleet.reload(options(2));
        fleet.boot_all();
        assert!(!fleet.said(&Report::Serving));
    }

    #[test]
    fn a_hung_boot_ends_the_start() {
        let mut fleet = Scenario::new(2);
        fleet.fork_all();
        fleet.pass(Duration::from_secs(60));
        fleet.assert_killed(&[1, 2]);
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
        fleet.assert_killed(&[1]);
    }
}
