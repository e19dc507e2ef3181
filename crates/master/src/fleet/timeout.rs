//! Requests that run too long, workers that show no life, boots that hang.
//!
//! A request that is over its time ends for its client, at once; its worker is replaced at once
//! and has `graceful_timeout` for whatever else it is serving. Meanwhile each of its other requests
//! has its own time, and no more. A worker that shows no life has nobody to spare.
//!
//! Life is a loop that turns. Where the loop itself runs the app, it doesn't turn as long as a
//! request runs, whose time is its limit. Where the app has threads of its own, the loop turns
//! whatever they do: if it doesn't, then nobody is accepted or answered there any more, however
//! busy the threads are, and however much time their requests have asked for.

use std::time::Duration;

use ironhorn_unix::{Monotonic, Running};

use super::{Action, Fleet, Glance, Overdue, limit};
use crate::{
    ExitCode,
    report::{Reason, Report, Who, thread},
    slot::{Retirement, Slot, Worker},
};

/// A worker whose loop should turn must show itself within `timeout` and this.
pub(super) const SILENCE: Duration = Duration::from_secs(5);

/// A request that was expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expired {
    pub(super) nr: usize,
    lane: usize,
    busy_since: Monotonic,
}

impl Fleet {
    /// Whether a request of worker `nr`, busy since then, can be over its time: it is, unless it has
    /// asked for more.
    #[must_use]
    pub fn can_be_overdue(&self, nr: usize, busy_since: Monotonic, now: Monotonic) -> bool {
        let timeout = self.generation_of(nr).and_then(|generation| self.timeout(generation));
        timeout.is_some_and(|timeout| now >= busy_since + timeout)
    }

    /// Looks at a worker that serves.
    pub(super) fn enforce_timeout(&mut self, nr: usize, glance: &Glance, now: Monotonic) {
        let Slot::Ready { worker, since, .. } = self.slots[nr - 1] else { return };
        let Some(timeout) = self.timeout(worker.generation) else { return };
        let (overdue, look_at) = self.take_overdue(nr, &worker, glance, timeout, now);
        if self.has_expired(nr) {
            self.at_once += 1;
            // In this order: a client that is told 504 may come again at once, and not here.
            self.retire(nr, Reason::Timeout, now);
            self.expire(nr, overdue);
            return self.look_again(nr, look_at);
        }
        let alive_at = glance.heartbeat.max(since);
        let silent_at = self.guard.timed_from(alive_at) + timeout + SILENCE;
        if !is_in_app(glance) && now >= silent_at {
            return self.silent(nr, &worker, alive_at, now);
        }
        let silent_at = Some(silent_at).filter(|_| !is_in_app(glance));
        self.look_again(nr, silent_at.map_or(look_at, |silent_at| silent_at.min(look_at)));
    }

    /// Looks at a worker that leaves: others serve in its place already, so only its requests'
    /// time counts.
    pub(super) fn enforce_timeout_of_leaving(
        &mut self,
        nr: usize,
        glance: &Glance,
        now: Monotonic,
    ) {
        let (Slot::Retiring { worker, .. } | Slot::Stopping { worker, .. }) = self.slots[nr - 1]
        else {
            return;
        };
        let Some(timeout) = self.timeout(worker.generation) else { return };
        let (overdue, look_at) = self.take_overdue(nr, &worker, glance, timeout, now);
        self.expire(nr, overdue);
        let is_late = self.has_expired(nr);
        if let Slot::Retiring { retirement, .. } | Slot::Stopping { retirement, .. } =
            &mut self.slots[nr - 1]
            && is_late
        {
            retirement.reason = Reason::Timeout;
        }
        self.look_again(nr, look_at);
    }

    /// Those requests of a worker that are over their time, each once. When to look again: at the
    /// next one's time, and no later than a request could be over its own that begins now.
    fn take_overdue(
        &mut self,
        nr: usize,
        worker: &Worker,
        glance: &Glance,
        timeout: Duration,
        now: Monotonic,
    ) -> (Vec<Overdue>, Monotonic) {
        self.expired.retain(|it| it.nr != nr || glance.running.iter().any(|of| it.is(nr, of)));
        let mut look_at = now + timeout;
        let mut requests = Vec::new();
        for running in &glance.running {
            if running.expired || self.expired.iter().any(|it| it.is(nr, running)) {
                continue;
            }
            let expires_at = self.expires_at(running, timeout);
            if now < expires_at {
                look_at = look_at.min(expires_at);
                continue;
            }
            let Running { lane, busy_since, .. } = *running;
            let who = self.who(nr, worker);
            let report = request_timeout(who, running, glance.lanes, now);
            requests.push(Overdue { lane, busy_since, report });
            self.expired.push(Expired { nr, lane, busy_since });
        }
        (requests, look_at)
    }

    fn expire(&mut self, nr: usize, requests: Vec<Overdue>) {
        if !requests.is_empty() {
            self.act(Action::Expire { nr, requests });
        }
    }

    fn expires_at(&self, running: &Running, timeout: Duration) -> Monotonic {
        let expires_at = self.guard.timed_from(running.busy_since) + timeout;
        running.extended_until.map_or(expires_at, |until| until.max(expires_at))
    }

    /// Whether a request of this worker was expired and has not got on since.
    fn has_expired(&self, nr: usize) -> bool {
        self.expired.iter().any(|expired| expired.nr == nr)
    }

    fn look_again(&mut self, nr: usize, at: Monotonic) {
        if let Slot::Ready { check_at, .. }
        | Slot::Retiring { check_at, .. }
        | Slot::Stopping { check_at, .. } = &mut self.slots[nr - 1]
        {
            *check_at = Some(at);
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

impl Expired {
    fn is(&self, nr: usize, running: &Running) -> bool {
        (self.nr, self.lane, self.busy_since) == (nr, running.lane, running.busy_since)
    }
}

/// Whether a worker shows no sign of life because it runs the app where its loop would turn.
fn is_in_app(glance: &Glance) -> bool {
    glance.lanes == 1 && !glance.running.is_empty()
}

fn request_timeout(who: Who, running: &Running, lanes: usize, now: Monotonic) -> Report {
    let (method, path) = running.request.split_once(' ').unwrap_or(("", &running.request));
    Report::RequestTimeout {
        who,
        thread: thread(running.lane, lanes),
        method: method.to_owned(),
        path: path.to_owned(),
        age: now.since(running.busy_since),
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
        Report::RequestTimeout { who, thread: None, method, path, age }
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
        let requests = vec![Overdue { lane: 0, busy_since, report }];
        assert!(fleet.did(&Action::Expire { nr: 1, requests }));
        fleet.assert_told(&[(1, ToWorker::Retire)]);
        fleet.assert_killed(&[]);
        fleet.assert_forked(&[3]);
    }

    /// Its client may come again the moment that it is told 504.
    #[test]
    fn a_worker_takes_no_more_connections_before_a_client_is_told_of_its_timeout() {
        let mut fleet = Scenario::serving(2);
        fleet.threads(1, 8);
        fleet.busy_in(1, 3, "GET /slow");
        fleet.pass(TIMEOUT);
        let actions = fleet.take();
        let position = |wanted: fn(&Action) -> bool| actions.iter().position(wanted);
        let told = position(|it| matches!(it, Action::Tell { nr: 1, message: ToWorker::Retire }));
        let expired = position(|it| matches!(it, Action::Expire { nr: 1, .. }));
        assert!(told.is_some() && told < expired, "{actions:?}");
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

    /// However much it has asked for: what is there after it may be stuck.
    #[test]
    fn who_comes_after_a_long_request_has_the_timeout() {
        let mut fleet = Scenario::serving(1);
        fleet.busy(1, "GET /report");
        fleet.extend(1, TIMEOUT * 100);
        fleet.pass(TIMEOUT + SECOND);
        fleet.busy(1, "GET /slow");
        fleet.pass(TIMEOUT);
        fleet.assert_expired_in(1, &["/slow"]);
    }

    #[test]
    fn each_request_of_a_worker_has_its_own_time() {
        let patient = Options { graceful_timeout: TIMEOUT * 10, ..options(2) };
        let mut fleet = Scenario::serving_with(patient);
        fleet.threads(1, 8);
        fleet.busy_in(1, 5, "GET /long");
        fleet.extend_in(1, 5, TIMEOUT * 3);
        fleet.busy_in(1, 2, "GET /first");
        fleet.busy_in(1, 3, "GET /first-too");
        fleet.pass(SECOND);
        fleet.busy_in(1, 0, "GET /second");
        fleet.busy_in(1, 7, "GET /quick");
        fleet.pass(SECOND);
        fleet.idle_in(1, 7);
        fleet.pass(TIMEOUT - SECOND * 3);
        fleet.assert_expired(&[]);
        fleet.pass(SECOND);
        fleet.assert_expired_in(1, &["/first", "/first-too"]);
        fleet.assert_told(&[(1, ToWorker::Retire)]);
        fleet.boot_all();
        fleet.take();
        fleet.pass(SECOND);
        fleet.assert_expired_in(1, &["/second"]);
        // What it still takes while it leaves, and one in a lane that has had its own.
        fleet.busy_in(1, 2, "GET /third");
        fleet.pass(TIMEOUT);
        fleet.assert_expired_in(1, &["/third"]);
        fleet.pass(TIMEOUT * 2);
        fleet.assert_expired_in(1, &["/long"]);
        fleet.assert_told(&[]);
        fleet.assert_forked(&[]);
        fleet.exit(1, Exit::Code(0));
        assert_eq!(fleet.last_reason(), Some(Reason::Timeout));
    }

    #[test]
    fn the_record_names_the_thread_where_there_are_several() {
        let mut fleet = Scenario::serving(2);
        fleet.threads(1, 4);
        fleet.busy_in(1, 2, "GET /slow");
        let busy_since = fleet.now;
        fleet.pass(TIMEOUT);
        let (method, path) = ("GET".to_owned(), "/slow".to_owned());
        let who = fleet.who(1);
        let report = Report::RequestTimeout { who, thread: Some(3), method, path, age: TIMEOUT };
        let requests = vec![Overdue { lane: 2, busy_since, report }];
        assert!(fleet.did(&Action::Expire { nr: 1, requests }));
    }

    #[test]
    fn the_successor_in_a_slot_is_not_taken_for_the_one_before() {
        let mut fleet = Scenario::serving(1);
        fleet.busy(1, "GET /slow");
        let busy_since = fleet.now;
        fleet.pass(TIMEOUT);
        fleet.assert_expired(&[1]);
        fleet.exit(1, Exit::Code(0));
        fleet.boot_all();
        fleet.exit(2, Exit::Code(1));
        fleet.fork_all();
        assert_eq!(fleet.last_forked(), 2);
        fleet.boot_all();
        assert!(fleet.fleet.expired.is_empty());
        assert!(fleet.fleet.can_be_overdue(2, busy_since, fleet.now));
        assert!(!fleet.fleet.can_be_overdue(2, fleet.now, fleet.now));
        assert!(!fleet.fleet.can_be_overdue(1, busy_since, fleet.now), "nobody is there");
    }

    #[test]
    fn busy_threads_are_no_sign_of_life() {
        let mut fleet = Scenario::serving(1);
        fleet.threads(1, 2);
        fleet.silence(1);
        fleet.pass(SECOND * 10);
        fleet.busy_in(1, 1, "GET /long");
        fleet.extend_in(1, 1, TIMEOUT * 100);
        fleet.pass(TIMEOUT + SILENCE - SECOND * 11);
        fleet.assert_killed(&[]);
        fleet.pass(SECOND);
        assert!(fleet.did(&Action::Kill { nr: 1, examine: true }));
        fleet.bury();
        assert_eq!(fleet.last_reason(), Some(Reason::Silent));
    }

    #[test]
    fn a_loop_that_runs_the_app_need_not_turn() {
        let mut fleet = Scenario::serving(1);
        fleet.silence(1);
        fleet.busy(1, "GET /long");
        fleet.extend(1, TIMEOUT * 100);
        fleet.pass(TIMEOUT * 50);
        fleet.assert_killed(&[]);
        fleet.assert_expired(&[]);
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
