//! The end of the server, graceful or quick.

use std::time::Duration;

use ironhorn_unix::{Monotonic, ToWorker};

use super::{Action, Fleet, Phase};
use crate::{
    ExitCode,
    command::Stop,
    report::{Reason, Report},
    slot::Slot,
};

/// What a quick stop gives the workers; the whole of it takes less than a second.
const QUICK: Duration = Duration::from_millis(500);

impl Fleet {
    /// An operator ends the server; asking a second time means at once.
    pub(super) fn stop(&mut self, mode: Stop, now: Monotonic) {
        match self.phase {
            Phase::Starting | Phase::Serving => self.end(mode, ExitCode::OK, now),
            Phase::Stopping { mode: Stop::Graceful, code, .. } => {
                self.end(Stop::Quick, code, now);
            }
            Phase::Stopping { mode: Stop::Quick, .. } | Phase::Stopped => {}
        }
    }

    /// Ends the server with `code`.
    pub(super) fn end(&mut self, mode: Stop, code: i32, now: Monotonic) {
        self.report(Report::Stopping { mode });
        if !self.is_ending() {
            self.act(Action::StopListening);
        }
        self.reload = None;
        self.phase = Phase::Stopping { mode, since: now, code };
        let message = match mode {
            Stop::Graceful => ToWorker::Stop,
            Stop::Quick => ToWorker::Quit,
        };
        for nr in 1..=self.slots.len() {
            match self.slots[nr - 1] {
                // Nothing to lose.
                Slot::Booting { .. } => self.kill(nr, Reason::Asked),
                // One who retires has left the kernel's queue to others, who now are leaving too.
                Slot::Ready { worker, .. }
                | Slot::Retiring { worker, .. }
                | Slot::Stopping { worker } => {
                    self.slots[nr - 1] = Slot::Stopping { worker };
                    self.tell(nr, message);
                }
                Slot::Empty { .. } | Slot::Forking { .. } | Slot::Killed { .. } => {}
            }
        }
    }

    /// When the stop's time is up.
    pub(super) fn stop_deadline(&self) -> Option<Monotonic> {
        let Phase::Stopping { mode, since, .. } = self.phase else { return None };
        let stopping = |slot: &Slot| matches!(slot, Slot::Stopping { .. });
        self.slots.iter().any(stopping).then_some(())?;
        Some(match mode {
            Stop::Graceful => self.guard.timed_from(since) + self.graceful_timeout(),
            Stop::Quick => since + QUICK,
        })
    }

    /// Kills those who have not left in time.
    pub(super) fn enforce_stop(&mut self, now: Monotonic) {
        let Phase::Stopping { mode, since, .. } = self.phase else { return };
        if self.stop_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        for nr in 1..=self.slots.len() {
            let Slot::Stopping { worker } = self.slots[nr - 1] else { continue };
            let who = self.who(nr, &worker);
            let (report, reason) = match mode {
                Stop::Graceful => (
                    Report::GracefulTimeout { who, age: now.since(since) },
                    Reason::GracefulTimeout,
                ),
                Stop::Quick => (Report::QuickTimeout { who }, Reason::QuickTimeout),
            };
            self.report(report);
            self.kill(nr, reason);
        }
    }

    /// Leaves when everybody has.
    pub(super) fn finish_stop(&mut self, code: i32) {
        if self.slots.iter().all(Slot::is_empty) {
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

    use super::super::scenario::{GRACEFUL, Scenario};
    use super::*;
    use crate::command::Command;

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
        assert_eq!(fleet.take_killed(), []);
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
        assert_eq!(fleet.take_killed(), [2]);
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
        assert_eq!(fleet.take_killed(), [1, 2]);
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
        assert_eq!(fleet.take_killed(), [3]);
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

    #[test]
    fn a_stop_during_the_start_ends_well() {
        let mut fleet = Scenario::new(2);
        fleet.fork_all();
        fleet.command(TERM);
        assert_eq!(fleet.take_killed(), [1, 2]);
        fleet.bury();
        assert!(fleet.did(&Action::Exit(0)));
    }
}
