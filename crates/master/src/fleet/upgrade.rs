//! A new master beside this one, started from disk on the same listeners.
//!
//! Nothing else changes here: both serve until an operator stops one of them. One at a time, as
//! the new one is told which listeners and which pid file to take over.

use ironhorn_unix::{Exit, Pid};

use super::{Action, Fleet, Phase};
use crate::report::Report;

/// Where it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Upgrade {
    #[default]
    None,
    /// Asked for and not answered.
    Asked,
    /// The new master lives, as far as is known.
    To(Pid),
}

impl Fleet {
    pub(super) fn begin_upgrade(&mut self) {
        let refused = match (self.phase, self.upgrade) {
            (Phase::Serving, Upgrade::None) => None,
            (Phase::Serving, Upgrade::Asked) => Some("already upgrading".to_owned()),
            (Phase::Serving, Upgrade::To(pid)) => Some(format!("already upgrading to pid {pid}")),
            (Phase::Starting | Phase::Waiting, _) => Some("nothing serves yet".to_owned()),
            (Phase::Leaving { .. } | Phase::Stopping { .. } | Phase::Stopped, _) => {
                Some("the server is stopping".to_owned())
            }
        };
        match refused {
            Some(reason) => self.report(Report::UpgradeFailed { reason }),
            None => {
                self.upgrade = Upgrade::Asked;
                self.act(Action::Upgrade);
            }
        }
    }

    pub(super) fn upgrading(&mut self, result: Result<Pid, String>) {
        match result {
            Ok(pid) => {
                self.upgrade = Upgrade::To(pid);
                self.report(Report::Upgrading { pid });
            }
            Err(reason) => {
                self.upgrade = Upgrade::None;
                self.report(Report::UpgradeFailed { reason });
            }
        }
    }

    pub(super) fn upgrade_exited(&mut self, exit: Exit) {
        if let Upgrade::To(pid) = self.upgrade {
            self.upgrade = Upgrade::None;
            // Whoever sent the workers away relied on those of the new master.
            self.retired = false;
            let reason = format!("the new master, pid {pid}, is gone: {exit}");
            self.report(Report::UpgradeFailed { reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ironhorn_unix::ToWorker;

    use super::super::{
        Event, State,
        scenario::{Scenario, options},
    };
    use super::*;
    use crate::{
        Options,
        command::{Command, Stop},
    };

    const NEW: Pid = Pid::from_raw(4711);

    fn upgrading() -> Scenario {
        let mut fleet = Scenario::serving(2);
        fleet.command(Command::Upgrade);
        assert!(fleet.did(&Action::Upgrade));
        fleet.handle(Event::Upgrading { result: Ok(NEW) });
        fleet
    }

    fn failed(reason: &str) -> Report {
        Report::UpgradeFailed { reason: reason.to_owned() }
    }

    #[test]
    fn workers_that_were_sent_away_come_back_when_the_new_master_is_gone() {
        let mut fleet = upgrading();
        fleet.command(Command::RetireAll);
        fleet.exit(1, Exit::Code(0));
        fleet.exit(2, Exit::Code(0));
        fleet.take();
        fleet.handle(Event::UpgradeExited { exit: Exit::Code(0) });
        fleet.boot_all();
        assert_eq!(fleet.generations_ready(), [1, 1]);
    }

    #[test]
    fn workers_that_would_crash_stay_away_while_the_new_master_serves() {
        let mut fleet = upgrading();
        fleet.command(Command::RetireAll);
        fleet.exit(1, Exit::Code(0));
        fleet.exit(2, Exit::Code(0));
        fleet.reload(options(2));
        fleet.fork_all();
        fleet.exit(1, Exit::Code(3));
        assert!(fleet.reload_failed());
        assert_eq!(fleet.fleet.state(), State::Retired);
        assert_eq!(fleet.coming(), []);
        fleet.handle(Event::UpgradeExited { exit: Exit::Code(0) });
        assert_eq!(fleet.coming(), [(1, 1), (2, 1)]);
    }

    #[test]
    fn a_reload_that_brings_them_back_goes_on_when_the_new_master_is_gone() {
        let mut fleet = upgrading();
        fleet.command(Command::RetireAll);
        fleet.exit(1, Exit::Code(0));
        fleet.exit(2, Exit::Code(0));
        fleet.reload(options(2));
        fleet.boot_all();
        fleet.boot_all();
        fleet.handle(Event::UpgradeExited { exit: Exit::Code(0) });
        fleet.assert_forked(&[]);
        fleet.prove();
        assert!(fleet.said_reloaded());
        assert_eq!(fleet.generations_ready(), [2, 2]);
    }

    #[test]
    fn those_who_come_back_meanwhile_are_not_displaced_by_what_may_die() {
        let mut fleet = upgrading();
        fleet.command(Command::RetireAll);
        fleet.exit(1, Exit::Code(0));
        fleet.exit(2, Exit::Code(0));
        fleet.reload(options(2));
        fleet.handle(Event::UpgradeExited { exit: Exit::Code(0) });
        fleet.boot_all();
        assert_eq!(fleet.generations_ready(), [1, 1, 2]);
        fleet.assert_told(&[(1, ToWorker::RetireLast), (2, ToWorker::RetireLast)]);
        fleet.prove();
        assert_eq!(fleet.generations_ready(), [1, 2]);
    }

    #[test]
    fn those_of_a_zygote_that_lives_come_back() {
        let mut fleet = Scenario::preloaded(1);
        fleet.command(Command::Upgrade);
        fleet.handle(Event::Upgrading { result: Ok(NEW) });
        fleet.command(Command::RetireAll);
        fleet.exit(1, Exit::Code(0));
        fleet.reload(Options { preload: true, ..options(1) });
        fleet.fork_zygotes();
        fleet.zygote_exits(2, Exit::Code(3));
        assert!(fleet.reload_failed());
        assert_eq!(fleet.coming(), [(1, 1)]);
    }

    #[test]
    fn a_new_master_is_started_and_nothing_else_changes() {
        let mut fleet = upgrading();
        assert!(fleet.said(&Report::Upgrading { pid: NEW }));
        assert_eq!(fleet.fleet.upgrading_to(), Some(NEW));
        fleet.assert_told(&[]);
        fleet.assert_forked(&[]);
    }

    #[test]
    fn one_at_a_time() {
        let mut fleet = upgrading();
        fleet.take();
        fleet.command(Command::Upgrade);
        assert!(!fleet.did(&Action::Upgrade));
        assert!(fleet.said(&failed("already upgrading to pid 4711")));
    }

    #[test]
    fn a_new_master_that_is_gone_may_be_tried_again() {
        let mut fleet = upgrading();
        fleet.handle(Event::UpgradeExited { exit: Exit::Code(2) });
        assert!(fleet.said(&failed("the new master, pid 4711, is gone: exit code 2")));
        fleet.take();
        fleet.command(Command::Upgrade);
        assert!(fleet.did(&Action::Upgrade));
        fleet.handle(Event::Upgrading { result: Err("no such file".to_owned()) });
        assert!(fleet.said(&failed("no such file")));
        fleet.take();
        fleet.command(Command::Upgrade);
        assert!(fleet.did(&Action::Upgrade));
    }

    #[test]
    fn who_is_stopping_has_no_successor_to_start() {
        let mut fleet = Scenario::serving(1);
        fleet.command(Command::Stop(Stop::Graceful));
        fleet.command(Command::Upgrade);
        assert!(!fleet.did(&Action::Upgrade));
        assert!(fleet.said(&failed("the server is stopping")));

        let delayed = Options { shutdown_delay: Duration::from_secs(5), ..options(1) };
        let mut fleet = Scenario::serving_with(delayed);
        fleet.command(Command::Stop(Stop::Graceful));
        fleet.command(Command::Upgrade);
        assert!(!fleet.did(&Action::Upgrade));

        let mut fleet = Scenario::new(1);
        fleet.command(Command::Upgrade);
        assert!(fleet.said(&failed("nothing serves yet")));
    }

    #[test]
    fn the_old_master_may_stop_meanwhile() {
        let mut fleet = upgrading();
        fleet.command(Command::Stop(Stop::Graceful));
        fleet.exit(1, Exit::Code(0));
        fleet.exit(2, Exit::Code(0));
        assert!(fleet.did(&Action::Exit(0)));
    }
}
