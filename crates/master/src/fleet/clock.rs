//! Time limits: when to look next, and who has run out of time.
//!
//! The master sleeps until the earliest moment at which a limit *can* have passed. A worker that
//! is idle when looked at cannot overrun its timeout before a whole timeout from then; one that is
//! busy cannot before its request's time is up. So an idle fleet costs one wake a timeout, and a
//! stuck request is ended on time.

use std::time::Duration;

use ironhorn_unix::Monotonic;

use super::{Fleet, Glance, limit};
use crate::{
    ExitCode,
    report::{Reason, Report, Who},
    slot::{Slot, Worker},
};

/// A worker outside a request must show itself within `timeout` and this.
const SILENCE: Duration = Duration::from_secs(5);

/// A worker whose channel is closed is reaped within this, or it is not exiting.
const LOST: Duration = Duration::from_secs(1);

impl Fleet {
    /// The next moment at which [`super::Event::Woke`] must come.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.guard.planned()
    }

    pub(super) fn earliest_deadline(&self, now: Monotonic) -> Option<Monotonic> {
        let of_slots = self.slots.iter().filter_map(|slot| self.deadline(slot));
        of_slots.chain(self.stop_deadline()).chain(self.respawn_at(now)).min()
    }

    fn deadline(&self, slot: &Slot) -> Option<Monotonic> {
        match slot {
            Slot::Booting { worker } => {
                earlier(self.boot_deadline(worker), self.channel_deadline(worker))
            }
            Slot::Ready { worker, check_at, .. } => {
                earlier(*check_at, self.channel_deadline(worker))
            }
            Slot::Retiring { worker, since, check_at } => {
                earlier(Some(self.retired_by(worker, *since)), *check_at)
            }
            Slot::Stopping { .. }
            | Slot::Killed { .. }
            | Slot::Empty { .. }
            | Slot::Forking { .. } => None,
        }
    }

    /// When the back-off lets a missing worker be forked.
    pub(super) fn respawn_at(&self, now: Monotonic) -> Option<Monotonic> {
        if self.is_ending() {
            return None;
        }
        let missing = self.missing().into_iter().filter(|(_, missing)| *missing > 0);
        let forks = self.forks.waits_until(now);
        missing
            .filter_map(|(nr, _)| {
                self.generation(nr).and_then(|found| found.crashes.waits_until(now)).max(forks)
            })
            .min()
    }

    pub(super) fn woke(&mut self, board: &[Glance], now: Monotonic) {
        self.enforce_stop(now);
        for nr in 1..=self.slots.len() {
            self.enforce_channel(nr, now);
            match self.slots[nr - 1] {
                Slot::Booting { worker } => self.enforce_boot(nr, &worker, now),
                Slot::Ready { worker, since, .. } => {
                    if let Some(glance) = board.iter().find(|glance| glance.nr == nr) {
                        self.enforce_timeout(nr, &worker, since, glance, now);
                    }
                }
                Slot::Retiring { worker, since, .. } if now >= self.retired_by(&worker, since) => {
                    let who = self.who(nr, &worker);
                    self.report(Report::GracefulTimeout { who, age: now.since(since) });
                    self.kill(nr, Reason::GracefulTimeout);
                }
                Slot::Retiring { worker, since, .. } => {
                    if let Some(glance) = board.iter().find(|glance| glance.nr == nr) {
                        self.enforce_timeout_of_retiring(nr, &worker, since, glance, now);
                    }
                }
                _ => {}
            }
        }
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

    fn enforce_boot(&mut self, nr: usize, worker: &Worker, now: Monotonic) {
        if self.boot_deadline(worker).is_some_and(|deadline| now >= deadline) {
            let reason = Reason::BootTimeout;
            self.kill(nr, reason);
            self.boot_failed(nr, worker, reason, ExitCode::BOOT_FAILED, now);
        }
    }

    fn enforce_timeout(
        &mut self,
        nr: usize,
        worker: &Worker,
        since: Monotonic,
        glance: &Glance,
        now: Monotonic,
    ) {
        let Some(timeout) = self.timeout(worker.generation) else { return };
        let who = self.who(nr, worker);
        let (expires_at, look_at) = match glance.busy_since {
            Some(busy_since) => {
                let expires_at = self.guard.timed_from(busy_since) + timeout;
                (expires_at, expires_at)
            }
            None => {
                let alive_at = self.guard.timed_from(glance.heartbeat.max(since));
                let expires_at = alive_at + timeout + SILENCE;
                (expires_at, expires_at.min(now + timeout))
            }
        };
        if now < expires_at {
            self.slots[nr - 1] = Slot::Ready { worker: *worker, since, check_at: Some(look_at) };
            return;
        }
        let reason = match glance.busy_since {
            Some(busy_since) => {
                self.report_timeout(who, glance, now.since(busy_since));
                Reason::Timeout
            }
            None => {
                self.report(Report::Silent { who, age: now.since(glance.heartbeat.max(since)) });
                Reason::Silent
            }
        };
        self.at_once += 1;
        self.kill(nr, reason);
    }

    /// Others serve in its place already; only its request's time is looked at.
    fn enforce_timeout_of_retiring(
        &mut self,
        nr: usize,
        worker: &Worker,
        since: Monotonic,
        glance: &Glance,
        now: Monotonic,
    ) {
        let Some(timeout) = self.timeout(worker.generation) else { return };
        let expires_at = match glance.busy_since {
            Some(busy_since) => self.guard.timed_from(busy_since) + timeout,
            None => now + timeout,
        };
        if now < expires_at {
            let check_at = Some(expires_at);
            self.slots[nr - 1] = Slot::Retiring { worker: *worker, since, check_at };
            return;
        }
        let age = glance.busy_since.map_or(timeout, |busy_since| now.since(busy_since));
        self.report_timeout(self.who(nr, worker), glance, age);
        self.kill(nr, Reason::Timeout);
    }

    fn report_timeout(&mut self, who: Who, glance: &Glance, age: Duration) {
        let (method, path) = glance.request.split_once(' ').unwrap_or(("", &glance.request));
        let (method, path) = (method.to_owned(), path.to_owned());
        self.report(Report::RequestTimeout { who, method, path, age });
    }

    fn boot_deadline(&self, worker: &Worker) -> Option<Monotonic> {
        let boot_timeout = limit(self.options(worker.generation).boot_timeout)?;
        Some(self.guard.timed_from(worker.forked_at) + boot_timeout)
    }

    fn channel_deadline(&self, worker: &Worker) -> Option<Monotonic> {
        Some(self.guard.timed_from(worker.lost_at?) + LOST)
    }

    fn retired_by(&self, worker: &Worker, since: Monotonic) -> Monotonic {
        self.guard.timed_from(since) + self.options(worker.generation).graceful_timeout
    }

    pub(super) fn timeout(&self, generation: u32) -> Option<Duration> {
        limit(self.options(generation).timeout)
    }
}

fn earlier(one: Option<Monotonic>, other: Option<Monotonic>) -> Option<Monotonic> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{Scenario, TIMEOUT, options};
    use super::*;
    use crate::Options;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_stuck_request_is_ended_on_time_and_its_worker_replaced() {
        let mut fleet = Scenario::serving(2);
        fleet.pass(Duration::from_secs(7));
        fleet.busy(1, "GET /slow");
        fleet.pass(TIMEOUT - SECOND);
        assert_eq!(fleet.take_killed(), []);
        fleet.pass(SECOND);
        assert_eq!(fleet.take_killed(), [1]);
        let who = fleet.who(1);
        let (method, path) = ("GET".to_owned(), "/slow".to_owned());
        assert!(fleet.said(&Report::RequestTimeout { who, method, path, age: TIMEOUT }));
        fleet.assert_forked(&[3]);
        fleet.bury();
        assert_eq!(fleet.last_reason(), Some(Reason::Timeout));
    }

    #[test]
    fn a_worker_that_retires_is_held_to_the_timeout_too() {
        let mut fleet = Scenario::serving(2);
        fleet.busy(1, "GET /slow");
        fleet.pass(TIMEOUT - SECOND);
        fleet.command(crate::command::Command::Remove);
        fleet.assert_told(&[(1, ironhorn_unix::ToWorker::Retire)]);
        assert_eq!(fleet.take_killed(), []);
        fleet.pass(SECOND);
        assert_eq!(fleet.take_killed(), [1]);
        fleet.bury();
        assert_eq!(fleet.last_reason(), Some(Reason::Timeout));
    }

    #[test]
    fn progress_is_time_gained() {
        let mut fleet = Scenario::serving(1);
        for _ in 0..10 {
            fleet.busy(1, "GET /stream");
            fleet.pass(TIMEOUT - SECOND);
        }
        assert_eq!(fleet.take_killed(), []);
    }

    #[test]
    fn an_idle_fleet_is_looked_at_once_a_timeout() {
        let mut fleet = Scenario::serving(4);
        let wakes = fleet.pass(TIMEOUT * 100);
        assert!(wakes <= 100, "{wakes} wakes");
    }

    #[test]
    fn a_worker_that_shows_no_life_is_ended() {
        let mut fleet = Scenario::serving(1);
        fleet.silence(1);
        fleet.pass(TIMEOUT + SILENCE - SECOND);
        assert_eq!(fleet.take_killed(), []);
        fleet.pass(SECOND);
        assert_eq!(fleet.take_killed(), [1]);
        fleet.bury();
        assert_eq!(fleet.last_reason(), Some(Reason::Silent));
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
        assert_eq!(fleet.take_killed(), []);
        fleet.pass(TIMEOUT - SECOND);
        assert_eq!(fleet.take_killed(), []);
        fleet.pass(SECOND);
        assert_eq!(fleet.take_killed(), [1]);
    }

    #[test]
    fn after_a_suspension_boots_and_stops_have_their_time_again() {
        let mut fleet = Scenario::new(1);
        fleet.fork_all();
        fleet.jump(Duration::from_secs(3600));
        assert_eq!(fleet.take_killed(), []);
        fleet.boot_all();
        fleet.command(crate::command::Command::Stop(crate::command::Stop::Graceful));
        fleet.jump(Duration::from_secs(3600));
        assert_eq!(fleet.take_killed(), []);
    }

    #[test]
    fn a_boot_that_hangs_later_is_a_crash() {
        let mut fleet = Scenario::serving(2);
        fleet.pass(Duration::from_secs(5));
        fleet.exit(1, ironhorn_unix::Exit::Code(1));
        fleet.fork_all();
        fleet.pass(Duration::from_secs(60));
        assert_eq!(fleet.take_killed(), [1]);
        fleet.assert_forked(&[3]);
    }
}
