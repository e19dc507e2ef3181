//! Requests that run too long, workers that show no life, boots that hang.
//!
//! A request that is over its time ends for its client, at once; its worker is replaced at once
//! and has `graceful_timeout` for whatever else it is serving. A worker that shows no life has
//! nobody to spare.

use std::time::Duration;

use ironhorn_unix::Monotonic;

use super::{Action, Fleet, Glance, limit};
use crate::{
    ExitCode,
    report::{Reason, Report},
    slot::{Retirement, Slot, Worker},
};

/// A worker outside a request must show itself within `timeout` and this.
pub(super) const SILENCE: Duration = Duration::from_secs(5);

impl Fleet {
    /// Looks at a worker that serves.
    pub(super) fn enforce_timeout(&mut self, nr: usize, glance: &Glance, now: Monotonic) {
        let Slot::Ready { worker, since, .. } = self.slots[nr - 1] else { return };
        let Some(timeout) = self.timeout(worker.generation) else { return };
        let look_at = match glance.busy_since {
            Some(busy_since) => {
                let expires_at = self.expires_at(busy_since, glance.extended_until, timeout);
                if now >= expires_at {
                    self.at_once += 1;
                    self.expire(nr, &worker, busy_since, glance, now);
                    self.retire(nr, Reason::Timeout, now);
                    return self.remember_expired(nr, busy_since, now + timeout);
                }
                expires_at
            }
            None => {
                let alive_at = self.guard.timed_from(glance.heartbeat.max(since));
                let expires_at = alive_at + timeout + SILENCE;
                if now >= expires_at {
                    return self.silent(nr, &worker, glance.heartbeat.max(since), now);
                }
                expires_at.min(now + timeout)
            }
        };
        self.slots[nr - 1] = Slot::Ready { worker, since, check_at: Some(look_at) };
    }

    /// Looks at a worker that leaves: others serve in its place already, so only its request's
    /// time counts.
    pub(super) fn enforce_timeout_of_leaving(
        &mut self,
        nr: usize,
        glance: &Glance,
        now: Monotonic,
    ) {
        let slot = self.slots[nr - 1];
        let (Slot::Retiring { worker, retirement, .. } | Slot::Stopping { worker, retirement, .. }) =
            slot
        else {
            return;
        };
        let Some(timeout) = self.timeout(worker.generation) else { return };
        let told = glance.expired || retirement.expired == glance.busy_since;
        let look_at = match glance.busy_since.filter(|_| !told) {
            Some(busy_since) => {
                let expires_at = self.expires_at(busy_since, glance.extended_until, timeout);
                if now >= expires_at {
                    self.expire(nr, &worker, busy_since, glance, now);
                    return self.remember_expired(nr, busy_since, now + timeout);
                }
                expires_at
            }
            None => now + timeout,
        };
        if let Slot::Retiring { check_at, .. } | Slot::Stopping { check_at, .. } =
            &mut self.slots[nr - 1]
        {
            *check_at = Some(look_at);
        }
    }

    fn expires_at(
        &self,
        busy_since: Monotonic,
        extended_until: Option<Monotonic>,
        timeout: Duration,
    ) -> Monotonic {
        let expires_at = self.guard.timed_from(busy_since) + timeout;
        extended_until.map_or(expires_at, |until| until.max(expires_at))
    }

    fn expire(
        &mut self,
        nr: usize,
        worker: &Worker,
        busy_since: Monotonic,
        glance: &Glance,
        now: Monotonic,
    ) {
        let (method, path) = glance.request.split_once(' ').unwrap_or(("", &glance.request));
        let (method, path) = (method.to_owned(), path.to_owned());
        let (who, age) = (self.who(nr, worker), now.since(busy_since));
        let report = Report::RequestTimeout { who, method, path, age };
        self.act(Action::Expire { nr, busy_since, report });
    }

    /// One request is expired once.
    fn remember_expired(&mut self, nr: usize, busy_since: Monotonic, look_at: Monotonic) {
        if let Slot::Retiring { retirement, check_at, .. }
        | Slot::Stopping { retirement, check_at, .. } = &mut self.slots[nr - 1]
        {
            *retirement =
                Retirement { reason: Reason::Timeout, expired: Some(busy_since), ..*retirement };
            *check_at = Some(look_at);
        }
    }

    fn silent(&mut self, nr: usize, worker: &Worker, alive_at: Monotonic, now: Monotonic) {
        let who = self.who(nr, worker);
        self.report(Report::Silent { who, age: now.since(alive_at) });
        self.at_once += 1;
        self.kill(nr, Reason::Silent);
    }

    pub(super) fn enforce_boot(&mut self, nr: usize, worker: &Worker, now: Monotonic) {
        if self.boot_deadline(worker).is_some_and(|deadline| now >= deadline) {
            let reason = Reason::BootTimeout;
            self.kill(nr, reason);
            self.boot_failed(nr, worker, reason, ExitCode::BOOT_FAILED, now);
        }
    }

    pub(super) fn enforce_retirement(&mut self, nr: usize, now: Monotonic) {
        let Slot::Retiring { worker, retirement, .. } = self.slots[nr - 1] else { return };
        if now >= self.retired_by(&worker, &retirement) {
            let who = self.who(nr, &worker);
            self.report(Report::GracefulTimeout { who, age: now.since(retirement.since) });
            self.kill(nr, retirement.killed(Reason::GracefulTimeout));
        }
    }

    pub(super) fn boot_deadline(&self, worker: &Worker) -> Option<Monotonic> {
        let boot_timeout = limit(self.options(worker.generation).boot_timeout)?;
        Some(self.guard.timed_from(worker.forked_at) + boot_timeout)
    }

    pub(super) fn retired_by(&self, worker: &Worker, retirement: &Retirement) -> Monotonic {
        let graceful_timeout = self.options(worker.generation).graceful_timeout;
        self.guard.timed_from(retirement.since) + graceful_timeout
    }

    pub(super) fn timeout(&self, generation: u32) -> Option<Duration> {
        limit(self.options(generation).timeout)
    }
}

#[cfg(test)]
mod tests {
    use ironhorn_unix::{Exit, ToWorker};

    use super::super::scenario::{GRACEFUL, Scenario, TIMEOUT, options};
    use super::*;
    use crate::{
        Options,
        command::{Command, Stop},
        report::Who,
    };

    const SECOND: Duration = Duration::from_secs(1);

    fn timed_out(who: Who, path: &str, age: Duration) -> Report {
        let (method, path) = ("GET".to_owned(), path.to_owned());
        Report::RequestTimeout { who, method, path, age }
    }

    #[test]
    fn a_stuck_request_is_ended_on_time_and_its_worker_replaced_at_once() {
        let mut fleet = Scenario::serving(2);
        fleet.pass(Duration::from_secs(7));
        fleet.busy(1, "GET /slow");
        let busy_since = fleet.now;
        fleet.pass(TIMEOUT - SECOND);
        fleet.assert_expired(&[]);
        fleet.pass(SECOND);
        let report = timed_out(fleet.who(1), "/slow", TIMEOUT);
        assert!(fleet.did(&Action::Expire { nr: 1, busy_since, report }));
        fleet.assert_told(&[(1, ToWorker::Retire)]);
        fleet.assert_killed(&[]);
        fleet.assert_forked(&[3]);
    }

    #[test]
    fn the_others_in_its_worker_have_their_time_and_no_more() {
        let mut fleet = Scenario::serving(2);
        fleet.busy(1, "GET /slow");
        fleet.pass(TIMEOUT);
        fleet.boot_all();
        fleet.take();
        fleet.pass(GRACEFUL - SECOND);
        fleet.assert_killed(&[]);
        fleet.pass(SECOND);
        assert!(fleet.did(&Action::Kill { nr: 1, examine: true }));
        fleet.bury();
        assert_eq!(fleet.last_reason(), Some(Reason::Timeout));
        fleet.assert_forked(&[]);
    }

    #[test]
    fn it_timed_out_however_it_ends() {
        for exit in [Exit::Code(0), Exit::Code(1), Exit::Signal { signal: 9, core_dumped: false }] {
            for stop in [false, true] {
                let mut fleet = Scenario::serving(2);
                fleet.busy(1, "GET /slow");
                fleet.pass(TIMEOUT);
                fleet.boot_all();
                if stop {
                    fleet.command(Command::Stop(Stop::Graceful));
                }
                fleet.exit(1, exit);
                assert_eq!(fleet.last_reason(), Some(Reason::Timeout), "{exit}");
            }
        }
    }

    #[test]
    fn a_request_is_ended_once() {
        let patient = Options { graceful_timeout: TIMEOUT * 10, ..options(2) };
        let mut fleet = Scenario::serving_with(patient);
        fleet.busy(1, "GET /slow");
        fleet.pass(TIMEOUT);
        fleet.assert_expired(&[1]);
        fleet.boot_all();
        fleet.pass(TIMEOUT * 3);
        fleet.assert_expired(&[]);
        fleet.busy(1, "GET /another");
        fleet.pass(TIMEOUT * 2);
        fleet.assert_expired(&[1]);
    }

    #[test]
    fn a_worker_that_retires_is_held_to_the_timeout_too() {
        let patient = Options { graceful_timeout: TIMEOUT * 10, ..options(2) };
        let mut fleet = Scenario::serving_with(patient);
        fleet.busy(1, "GET /slow");
        fleet.pass(TIMEOUT - SECOND);
        fleet.command(Command::Remove);
        fleet.assert_told(&[(1, ToWorker::Retire)]);
        fleet.assert_expired(&[]);
        fleet.pass(SECOND);
        fleet.assert_expired(&[1]);
        fleet.assert_forked(&[]);
        fleet.assert_told(&[]);
        fleet.exit(1, Exit::Code(0));
        assert_eq!(fleet.last_reason(), Some(Reason::Timeout));
    }

    #[test]
    fn a_worker_that_stops_is_held_to_the_timeout_too() {
        let patient = Options { graceful_timeout: TIMEOUT * 10, ..options(2) };
        let mut fleet = Scenario::serving_with(patient);
        fleet.busy(1, "GET /slow");
        fleet.command(Command::Stop(Stop::Graceful));
        fleet.pass(TIMEOUT);
        fleet.assert_expired(&[1]);
    }

    #[test]
    fn the_last_one_is_replaced_before_it_is_gone_too() {
        let mut fleet = Scenario::serving(1);
        fleet.busy(1, "GET /slow");
        fleet.pass(TIMEOUT);
        fleet.assert_told(&[(1, ToWorker::Retire)]);
        fleet.assert_forked(&[2]);
    }

    #[test]
    fn all_stuck_at_a_time_are_all_replaced_at_once() {
        let mut fleet = Scenario::serving(3);
        for nr in [1, 2, 3] {
            fleet.busy(nr, "GET /slow");
        }
        fleet.pass(TIMEOUT);
        fleet.assert_expired(&[1, 2, 3]);
        fleet.assert_forked(&[4, 5, 6]);
    }

    #[test]
    fn progress_is_time_gained() {
        let mut fleet = Scenario::serving(1);
        for _ in 0..10 {
            fleet.busy(1, "GET /stream");
            fleet.pass(TIMEOUT - SECOND);
        }
        fleet.assert_expired(&[]);
    }

    #[test]
    fn a_request_may_ask_for_more_time_and_has_its_timeout_in_any_case() {
        let mut fleet = Scenario::serving(1);
        fleet.busy(1, "GET /report");
        fleet.extend(1, Duration::from_secs(300));
        fleet.pass(Duration::from_secs(299));
        fleet.assert_expired(&[]);
        fleet.extend(1, Duration::from_secs(100));
        fleet.pass(Duration::from_secs(99));
        fleet.assert_expired(&[]);
        fleet.pass(SECOND);
        fleet.assert_expired(&[1]);

        let mut fleet = Scenario::serving(1);
        fleet.busy(1, "GET /report");
        fleet.extend(1, SECOND);
        fleet.pass(TIMEOUT - SECOND);
        fleet.assert_expired(&[]);
        fleet.pass(SECOND);
        fleet.assert_expired(&[1]);
    }

    #[test]
    fn a_worker_that_shows_no_life_is_ended() {
        let mut fleet = Scenario::serving(1);
        fleet.silence(1);
        fleet.pass(TIMEOUT + SILENCE - SECOND);
        fleet.assert_killed(&[]);
        fleet.pass(SECOND);
        assert!(fleet.did(&Action::Kill { nr: 1, examine: true }));
        fleet.assert_forked(&[2]);
        fleet.bury();
        assert_eq!(fleet.last_reason(), Some(Reason::Silent));
    }

    #[test]
    fn a_boot_that_hangs_later_is_a_crash() {
        let mut fleet = Scenario::serving(2);
        fleet.pass(Duration::from_secs(5));
        fleet.exit(1, Exit::Code(1));
        fleet.fork_all();
        fleet.pass(Duration::from_secs(60));
        assert!(fleet.did(&Action::Kill { nr: 1, examine: true }));
        fleet.assert_forked(&[3]);
    }
}
