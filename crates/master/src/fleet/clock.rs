//! Time limits: when to look next, and who has run out of time.
//!
//! The master sleeps until the earliest moment at which a limit *can* have passed. A worker that
//! is idle when looked at cannot overrun its timeout before a whole timeout from then; one that is
//! busy cannot before its request's time is up. So an idle fleet costs one wake a timeout, and a
//! stuck request is ended on time.

use std::time::Duration;

use ironhorn_unix::Monotonic;

use super::{Fleet, Glance, earlier};
use crate::{
    ExitCode,
    report::{Reason, Report},
    slot::{Slot, Worker},
};

/// A worker whose channel is closed is reaped within this, or it is not exiting.
const LOST: Duration = Duration::from_secs(1);

impl Fleet {
    /// The next moment at which [`super::Event::Woke`] must come.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.guard.planned()
    }

    /// Never in the past: a master that is told late of what it could have done before has not
    /// slept too long.
    pub(super) fn earliest_deadline(&self, now: Monotonic) -> Option<Monotonic> {
        let of_slots = self.slots.iter().filter_map(|slot| self.deadline(slot));
        of_slots
            .chain(self.stop_deadline())
            .chain(self.respawn_at(now))
            .chain(self.head_start_until().filter(|&until| now < until))
            .chain(self.zygote_deadline(now))
            .chain(self.recycle_deadline(now))
            .chain(self.proof_at())
            .chain(self.forkable_by())
            .min()
            .map(|deadline| deadline.max(now))
    }

    fn deadline(&self, slot: &Slot) -> Option<Monotonic> {
        match slot {
            Slot::Forking { generation, since } => self.fork_deadline(*generation, *since),
            Slot::Booting { worker } => {
                earlier(self.boot_deadline(worker), self.channel_deadline(worker))
            }
            Slot::Ready { worker, check_at, .. } => {
                earlier(*check_at, self.channel_deadline(worker))
            }
            Slot::Retiring { worker, retirement, check_at } => {
                earlier(Some(self.retired_by(worker, retirement)), *check_at)
            }
            Slot::Stopping { check_at, .. } => *check_at,
            Slot::Killed { .. } | Slot::Empty { .. } => None,
        }
    }

    pub(super) fn woke(&mut self, board: &[Glance], now: Monotonic) {
        self.enforce_stop(now);
        self.enforce_zygotes(now);
        self.enforce_forkable(now);
        for nr in 1..=self.slots.len() {
            self.enforce_channel(nr, now);
            self.enforce_retirement(nr, now);
            let slot = self.slots[nr - 1];
            let glance = board.iter().find(|glance| glance.nr == nr);
            match (slot, glance) {
                (Slot::Booting { worker }, _) => self.enforce_boot(nr, &worker, now),
                (Slot::Ready { .. }, Some(glance)) => self.enforce_timeout(nr, glance, now),
                (Slot::Retiring { .. } | Slot::Stopping { .. }, Some(glance)) => {
                    self.enforce_timeout_of_leaving(nr, glance, now);
                }
                _ => {}
            }
        }
        self.look_for_wear(now);
    }

    /// One who is leaving may let go of the channel before it has finished.
    fn enforce_channel(&mut self, nr: usize, now: Monotonic) {
        let slot = self.slots[nr - 1];
        let (Slot::Booting { worker } | Slot::Ready { worker, .. }) = slot else { return };
        if self.channel_deadline(&worker).is_none_or(|deadline| now < deadline) {
            return;
        }
        let who = self.who(nr, &worker);
        self.report(Report::ChannelLost { who });
        self.kill(nr, Reason::ChannelLost);
        if slot.is_ready() {
            self.crashed(&worker, now);
        } else {
            let reason = Reason::ChannelLost;
            self.boot_failed(nr, &worker, reason, ExitCode::BOOT_FAILED, now);
        }
    }

    fn channel_deadline(&self, worker: &Worker) -> Option<Monotonic> {
        Some(self.guard.timed_from(worker.lost_at?) + LOST)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Action,
        scenario::{Scenario, TIMEOUT, options},
    };
    use super::*;
    use crate::{
        Options,
        command::{Command, Stop},
    };

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_idle_fleet_is_looked_at_once_a_timeout() {
        let mut fleet = Scenario::serving(4);
        let wakes = fleet.pass(TIMEOUT * 100);
        assert!(wakes <= 100, "{wakes} wakes");
    }

    #[test]
    fn no_timeout_is_no_wake() {
        let unlimited = Options { timeout: None, boot_timeout: None, ..options(2) };
        let mut fleet = Scenario::with(unlimited.clone());
        fleet.boot_all();
        fleet.busy(1, "GET /");
        assert_eq!(fleet.pass(Duration::from_secs(100_000)), 0);
        let zero = Some(Duration::ZERO);
        let mut fleet = Scenario::with(Options { timeout: zero, boot_timeout: zero, ..unlimited });
        fleet.boot_all();
        assert_eq!(fleet.pass(Duration::from_secs(100_000)), 0);
    }

    #[test]
    fn after_a_suspension_everybody_has_a_whole_timeout_again() {
        let mut fleet = Scenario::serving(2);
        fleet.busy(1, "GET /slow");
        fleet.jump(Duration::from_secs(3600));
        fleet.assert_expired(&[]);
        fleet.pass(TIMEOUT - SECOND);
        fleet.assert_expired(&[]);
        fleet.pass(SECOND);
        fleet.assert_expired(&[1]);
    }

    #[test]
    fn after_a_suspension_boots_and_stops_have_their_time_again() {
        let mut fleet = Scenario::new(1);
        fleet.fork_all();
        fleet.jump(Duration::from_secs(3600));
        fleet.assert_killed(&[]);
        fleet.boot_all();
        fleet.command(Command::Stop(Stop::Graceful));
        fleet.jump(Duration::from_secs(3600));
        fleet.assert_killed(&[]);
    }

    #[test]
    fn after_a_suspension_zygotes_have_their_time_again() {
        let mut fleet = Scenario::with(Options { preload: true, ..options(1) });
        fleet.fork_zygotes();
        fleet.jump(Duration::from_secs(3600));
        assert!(!fleet.did(&Action::KillZygote { generation: 1 }));
    }

    #[test]
    fn nobody_is_late_for_what_nobody_waited_for() {
        let limited = Options { max_memory: Some(1), ..options(1) };
        let mut fleet = Scenario::with(Options { timeout: None, ..limited });
        fleet.boot_all();
        fleet.pass(Duration::from_secs(7));
        fleet.exit(1, ironhorn_unix::Exit::Code(1));
        fleet.fork_all();
        fleet.pass(Duration::from_secs(20));
        fleet.boot_all();
        fleet.take();
        fleet.pass(Duration::from_secs(5));
        assert!(!fleet.woke_late());
    }
}
