//! The end of the server, graceful or quick.

use std::time::Duration;

use ironhorn_unix::{Monotonic, ToWorker};

use super::{Action, Fleet, Phase};
use crate::{
    ExitCode,
    command::Stop,
    report::{Reason, Report},
    slot::{Retirement, Slot},
};

/// What a quick stop gives the workers; the whole of it takes less than a second.
const QUICK: Duration = Duration::from_millis(500);

impl Fleet {
    /// An operator ends the server; asking a second time means at once.
    pub(super) fn stop(&mut self, mode: Stop, now: Monotonic) {
        match self.phase {
            Phase::Serving if mode == Stop::Graceful && !self.shutdown_delay().is_zero() => {
                self.delay_stop(now);
            }
            Phase::Starting | Phase::Waiting | Phase::Serving => self.end(mode, ExitCode::OK, now),
            Phase::Leaving { .. } => self.end(Stop::Quick, ExitCode::OK, now),
            Phase::Stopping { mode: Stop::Graceful, code, .. } => {
                self.end(Stop::Quick, code, now);
            }
            Phase::Stopping { mode: Stop::Quick, .. } | Phase::Stopped => {}
        }
    }

    /// Workers say that they are leaving, and serve on: whoever sends requests has time to send
    /// them elsewhere.
    fn delay_stop(&mut self, now: Monotonic) {
        let delay = self.shutdown_delay();
        self.overrule_reload("the server is stopping");
        self.phase = Phase::Leaving { until: now + delay };
        self.report(Report::ShutdownDelayed { delay });
        self.act(Action::AskToLeave);
    }

    /// Nobody has to be kept for who is not there.
    fn shutdown_delay(&self) -> Duration {
        if self.retired { Duration::ZERO } else { self.options(self.serving).shutdown_delay }
    }

    /// Ends the server with `code`.
    pub(super) fn end(&mut self, mode: Stop, code: i32, now: Monotonic) {
        self.report(Report::Stopping { mode });
        if !self.is_ending() {
            self.act(Action::StopListening);
        }
        self.reload = None;
        self.phase = Phase::Stopping { mode, since: now, code };
        for nr in 1..=self.slots.len() {
            self.send_off(nr, mode, now);
        }
        self.kill_forking_zygotes();
    }

    /// Has the worker in slot `nr` leave, as the server ends.
    fn send_off(&mut self, nr: usize, mode: Stop, now: Monotonic) {
        let (worker, retirement, check_at) = match self.slots[nr - 1] {
            // Nothing to lose.
            Slot::Booting { .. } => return self.kill(nr, Reason::Asked),
            Slot::Ready { worker, check_at, .. } => {
                let retirement = Retirement { reason: Reason::Asked, since: now };
                (worker, retirement, check_at)
            }
            // One who retires has left the kernel's queue to others, who now are leaving too.
            Slot::Retiring { worker, retirement, check_at }
            | Slot::Stopping { worker, retirement, check_at } => (worker, retirement, check_at),
            Slot::Empty { .. } | Slot::Forking { .. } | Slot::Killed { .. } => return,
        };
        self.slots[nr - 1] = Slot::Stopping { worker, retirement, check_at };
        self.tell(
            nr,
            match mode {
                Stop::Graceful => ToWorker::Stop,
                Stop::Quick => ToWorker::Quit,
            },
        );
    }

    /// A worker that was to be killed while it booted serves already: it leaves as those do who
    /// serve.
    pub(super) fn spare(&mut self, nr: usize, now: Monotonic) {
        let Slot::Killed { worker, reason } = self.slots[nr - 1] else { return };
        let check_at = self.timeout(worker.generation).map(|timeout| now + timeout);
        self.slots[nr - 1] = Slot::Ready { worker, since: now, check_at };
        match self.phase {
            Phase::Stopping { mode, .. } => self.send_off(nr, mode, now),
            _ => self.retire(nr, reason, now),
        }
    }

    /// When the stop's time is up.
    pub(super) fn stop_deadline(&self) -> Option<Monotonic> {
        let (mode, since) = match self.phase {
            Phase::Leaving { until } => return Some(until),
            Phase::Stopping { mode, since, .. } => (mode, since),
            _ => return None,
        };
        self.slots.iter().any(|slot| matches!(slot, Slot::Stopping { .. })).then_some(())?;
        Some(match mode {
            Stop::Graceful => self.guard.timed_from(since) + self.graceful_timeout(),
            Stop::Quick => since + QUICK,
        })
    }

    /// Ends a delay, or kills those who have not left in time.
    pub(super) fn enforce_stop(&mut self, now: Monotonic) {
        if self.stop_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let Phase::Stopping { mode, since, .. } = self.phase else {
            return self.end(Stop::Graceful, ExitCode::OK, now);
        };
        for nr in 1..=self.slots.len() {
            let Slot::Stopping { worker, retirement, .. } = self.slots[nr - 1] else { continue };
            let who = self.who(nr, &worker);
            let (report, reason) = match mode {
                Stop::Graceful => (
                    Report::GracefulTimeout { who, age: now.since(since) },
                    Reason::GracefulTimeout,
                ),
                Stop::Quick => (Report::QuickTimeout { who }, Reason::QuickTimeout),
            };
            self.report(report);
            self.kill(nr, retirement.killed(reason));
        }
    }

    /// Leaves when everybody has.
    pub(super) fn finish_stop(&mut self, code: i32) {
        if !self.slots.iter().all(Slot::is_empty) {
            return;
        }
        self.kill_unused_zygotes();
        if self.is_rid_of_zygotes() {
            self.phase = Phase::Stopped;
            self.report(Report::Stopped);
            self.act(Action::Exit(code));
        }
    }

    /// The generation that serves says how long a graceful stop may take.
    fn graceful_timeout(&self) -> Duration {
        self.options(self.serving).graceful_timeout
    }
}

#[cfg(test)]
mod tests {
    use ironhorn_unix::Exit;

    use super::super::{
        Event, State,
        scenario::{GRACEFUL, Scenario, TIMEOUT, options},
    };
    use super::*;
    use crate::{Options, command::Command};

    const DELAY: Duration = Duration::from_secs(5);

    const TERM: Command = Command::Stop(Stop::Graceful);
    const INT: Command = Command::Stop(Stop::Quick);

    #[test]
    fn term_lets_everybody_finish() {
        let mut fleet = Scenario::serving(2);
        fleet.command(TERM);
        assert!(fleet.did(&Action::StopListening));
        fleet.assert_told(&[(1, ToWorker::Stop), (2, ToWorker::Stop)]);
        fleet.exit(2, Exit::Code(0));
        fleet.exit(1, Exit::Code(0));
        assert_eq!(fleet.last_reason(), Some(Reason::Asked));
        assert!(fleet.did(&Action::Exit(0)));
        fleet.assert_killed(&[]);
    }

    #[test]
    fn who_has_not_finished_in_time_is_named_and_killed() {
        let mut fleet = Scenario::serving(2);
        fleet.command(TERM);
        fleet.exit(1, Exit::Code(0));
        fleet.take();
        fleet.pass(GRACEFUL);
        let who = fleet.who(2);
        assert!(fleet.said(&Report::GracefulTimeout { who, age: GRACEFUL }));
        fleet.assert_killed(&[2]);
        fleet.bury();
        assert!(fleet.did(&Action::Exit(0)));
    }

    #[test]
    fn a_second_term_is_quick_and_a_quick_stop_takes_less_than_a_second() {
        let mut fleet = Scenario::serving(2);
        fleet.command(TERM);
        fleet.take();
        fleet.command(TERM);
        fleet.assert_told(&[(1, ToWorker::Quit), (2, ToWorker::Quit)]);
        assert!(!fleet.did(&Action::StopListening));
        fleet.pass(Duration::from_millis(500));
        fleet.assert_killed(&[1, 2]);
        fleet.bury();
        assert!(fleet.did(&Action::Exit(0)));
    }

    #[test]
    fn int_is_quick_and_asking_again_changes_nothing() {
        let mut fleet = Scenario::serving(2);
        fleet.command(INT);
        fleet.assert_told(&[(1, ToWorker::Quit), (2, ToWorker::Quit)]);
        fleet.command(INT);
        fleet.command(TERM);
        fleet.assert_told(&[]);
    }

    #[test]
    fn those_who_boot_are_killed_and_those_who_retire_take_the_queue() {
        let mut fleet = Scenario::serving(2);
        fleet.draining(1);
        fleet.fork_all();
        fleet.take();
        fleet.command(TERM);
        fleet.assert_killed(&[3]);
        fleet.assert_told(&[(1, ToWorker::Stop), (2, ToWorker::Stop)]);
    }

    #[test]
    fn nothing_is_begun_any_more() {
        let mut fleet = Scenario::serving(2);
        fleet.command(TERM);
        fleet.take();
        for command in [Command::Add, Command::Remove, Command::Reload] {
            fleet.command(command);
        }
        fleet.exit(1, Exit::Code(1));
        fleet.assert_forked(&[]);
        assert!(!fleet.did(&Action::Reload { generation: 2 }));
    }

    fn delayed() -> Scenario {
        Scenario::serving_with(Options { shutdown_delay: DELAY, ..options(2) })
    }

    #[test]
    fn load_balancers_have_time_to_learn_of_a_stop() {
        let mut fleet = delayed();
        fleet.command(TERM);
        assert!(fleet.said(&Report::ShutdownDelayed { delay: DELAY }));
        assert!(fleet.did(&Action::AskToLeave));
        assert!(!fleet.did(&Action::StopListening));
        fleet.assert_told(&[]);
        assert_eq!(fleet.fleet.state(), State::Leaving);
        fleet.pass(DELAY - Duration::from_millis(1));
        fleet.assert_told(&[]);
        fleet.pass(Duration::from_millis(1));
        assert!(fleet.did(&Action::StopListening));
        fleet.assert_told(&[(1, ToWorker::Stop), (2, ToWorker::Stop)]);
        fleet.exit(1, Exit::Code(0));
        fleet.exit(2, Exit::Code(0));
        assert!(fleet.did(&Action::Exit(0)));
    }

    #[test]
    fn who_dies_meanwhile_is_replaced_by_one_that_is_told_too() {
        let mut fleet = delayed();
        fleet.pass(DELAY);
        fleet.command(TERM);
        fleet.take();
        fleet.exit(1, Exit::Code(1));
        fleet.assert_forked(&[1]);
        fleet.fork_all();
        assert!(fleet.did(&Action::AskToLeave));
        fleet.boot_all();
        assert_eq!(fleet.ready_count(), 2);
    }

    #[test]
    fn a_second_term_does_not_wait_and_int_never_does() {
        for second in [TERM, INT] {
            let mut fleet = delayed();
            fleet.command(TERM);
            fleet.command(second);
            fleet.assert_told(&[(1, ToWorker::Quit), (2, ToWorker::Quit)]);
        }
        let mut fleet = delayed();
        fleet.command(INT);
        fleet.assert_told(&[(1, ToWorker::Quit), (2, ToWorker::Quit)]);
    }

    #[test]
    fn a_server_that_is_leaving_begins_no_reload() {
        let mut fleet = delayed();
        fleet.reload(Options { shutdown_delay: DELAY, ..options(2) });
        fleet.fork_all();
        fleet.take();
        fleet.command(TERM);
        fleet.assert_killed(&[3]);
        let reason = "the server is stopping".to_owned();
        assert!(fleet.said(&Report::ReloadEnded { generation: 2, reason }));
        assert!(!fleet.reload_failed());
        fleet.take();
        fleet.command(Command::Reload);
        assert!(fleet.reload_failed());
        assert!(!fleet.did(&Action::Reload { generation: 3 }));
    }

    #[test]
    fn nobody_waits_for_who_is_not_there() {
        let mut fleet = delayed();
        fleet.command(Command::RetireAll);
        fleet.take();
        fleet.command(TERM);
        fleet.assert_told(&[(1, ToWorker::Stop), (2, ToWorker::Stop)]);
        let mut fleet = Scenario::with(Options { shutdown_delay: DELAY, ..options(1) });
        fleet.fork_all();
        fleet.command(TERM);
        fleet.assert_killed(&[1]);
    }

    #[test]
    fn who_has_not_finished_in_time_is_looked_at_before_it_is_killed_unless_it_is_quick() {
        let mut fleet = Scenario::serving(1);
        fleet.command(TERM);
        fleet.pass(GRACEFUL);
        assert!(fleet.did(&Action::Kill { nr: 1, examine: true }));
        let mut fleet = Scenario::serving(1);
        fleet.busy(1, "GET /slow");
        fleet.pass(TIMEOUT);
        fleet.command(INT);
        fleet.pass(GRACEFUL);
        assert!(fleet.did(&Action::Kill { nr: 1, examine: false }));
    }

    #[test]
    fn who_serves_already_is_not_killed_as_one_who_boots() {
        let mut fleet = Scenario::serving(2);
        fleet.command(Command::Add);
        fleet.fork_all();
        fleet.take();
        fleet.command(TERM);
        fleet.assert_killed(&[3]);
        fleet.take();
        fleet.handle(Event::Serves { nr: 3 });
        fleet.assert_told(&[(3, ToWorker::Stop)]);
        for nr in 1..=3 {
            fleet.exit(nr, Exit::Code(0));
        }
        assert_eq!(fleet.last_reason(), Some(Reason::Asked));
        assert!(fleet.did(&Action::Exit(0)));
    }

    #[test]
    fn who_was_spared_has_the_time_of_those_who_serve_and_no_more() {
        let mut fleet = Scenario::serving(1);
        fleet.command(Command::Add);
        fleet.fork_all();
        fleet.command(TERM);
        fleet.assert_killed(&[2]);
        fleet.handle(Event::Serves { nr: 2 });
        fleet.exit(1, Exit::Code(0));
        fleet.pass(GRACEFUL);
        fleet.assert_killed(&[2]);
        fleet.bury();
        assert_eq!(fleet.last_reason(), Some(Reason::GracefulTimeout));
        assert!(fleet.did(&Action::Exit(0)));
    }

    #[test]
    fn who_was_spared_after_its_boot_took_too_long_leaves() {
        let mut fleet = Scenario::serving(1);
        fleet.reload(options(1));
        fleet.fork_all();
        fleet.pass(Duration::from_secs(60));
        fleet.assert_killed(&[2]);
        fleet.take();
        fleet.handle(Event::Serves { nr: 2 });
        fleet.assert_told(&[(2, ToWorker::RetireLast)]);
        fleet.pass(GRACEFUL);
        fleet.assert_killed(&[2]);
        fleet.bury();
        fleet.assert_forked(&[]);
        assert_eq!(fleet.generations_ready(), [1]);
    }

    #[test]
    fn a_stop_during_the_start_ends_well() {
        let mut fleet = Scenario::new(2);
        fleet.fork_all();
        fleet.command(TERM);
        fleet.assert_killed(&[1, 2]);
        fleet.bury();
        assert!(fleet.did(&Action::Exit(0)));
    }
}
