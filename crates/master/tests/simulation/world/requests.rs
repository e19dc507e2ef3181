//! What the workers are busy with: requests in one lane or many, short, long, extended and stuck.

use std::time::Duration;

use ironhorn_master::{fleet::Overdue, report::Report, slot::Slot};
use ironhorn_unix::{Monotonic, Running};

use super::World;
use crate::process::{Happening, Process, Request, some_time};

/// A worker whose loop should turn may be without a sign of life for its timeout and this.
const SILENCE: Duration = Duration::from_secs(5);

/// What the board says of a process.
pub(super) fn running(process: &Process) -> Vec<Running> {
    let running = process.lanes.iter().enumerate().filter_map(|(lane, request)| {
        request.map(|request| Running {
            lane,
            busy_since: request.since,
            extended_until: request.extended_until,
            expired: request.expired,
            request: format!("GET /{}", request.number),
        })
    });
    running.collect()
}

impl World {
    /// Half of the workers run the app in threads.
    pub(super) fn some_lanes(&mut self) -> Vec<Option<Request>> {
        let lanes = if self.random.chance(50) { 1 } else { self.random.between(2, 6) };
        (0..lanes).map(|_| None).collect()
    }

    /// The requests of a life: some are long, few get stuck.
    pub(super) fn plan_requests(&mut self, pid: i32, booted: Duration) {
        let lanes = self.processes[&pid].lanes.len();
        let last = u64::try_from(lanes).expect("a small number") - 1;
        for _ in 0..self.random.below(4) * (last + 1) {
            let lane = usize::try_from(self.random.between(0, last)).expect("a small number");
            let takes = match self.random.below(100) {
                0..=2 => None,
                3..=20 => Some(self.random.between(0, 100_000)),
                _ => Some(self.random.between(0, 2_000)),
            };
            let after = booted + some_time(&mut self.random);
            self.plan(after, pid, Happening::RequestBegins { lane, takes });
        }
    }

    /// Where a lane is busy, the request waits elsewhere. One who leaves still has some.
    pub(super) fn begin_request(&mut self, pid: i32, lane: usize, takes: Option<u64>) {
        let since = self.now;
        let leaves = self.random.chance(80);
        let process = self.processes.get_mut(&pid).expect("it was just found");
        let refuses = process.told && (leaves || !process.is_busy());
        if process.lanes[lane].is_some() || refuses {
            return;
        }
        self.requests += 1;
        let number = self.requests;
        process.lanes[lane] = Some(Request {
            number,
            since,
            extended_until: None,
            hurried_at: None,
            ended: false,
            expired: false,
        });
        if let Some(takes) = takes {
            let takes = Duration::from_millis(takes);
            self.plan(takes, pid, Happening::RequestEnds { number });
        }
        if self.random.chance(30) {
            self.extend_request(pid, number);
            let later = self.millis(0, 20_000);
            self.plan(later, pid, Happening::RequestExtends { number });
        }
        if self.random.chance(20) {
            let later = self.millis(0, 40_000);
            self.plan(later, pid, Happening::RequestProgresses { number });
        }
    }

    pub(super) fn extend_request(&mut self, pid: i32, number: u64) {
        let now = self.now;
        let until = now + self.millis(0, 100_000);
        if let Some(request) = self.request(pid, number) {
            if request.extended_until.is_some_and(|before| before > until) {
                request.hurried_at = Some(now);
            }
            request.extended_until = Some(until);
        }
    }

    /// A chunk, if the app may still answer.
    pub(super) fn progress(&mut self, pid: i32, number: u64) {
        let now = self.now;
        if let Some(request) = self.request(pid, number).filter(|request| !request.expired) {
            request.since = now;
            request.ended = false;
        }
    }

    /// Who was told to leave does so when it has nothing left to do.
    pub(super) fn end_request(&mut self, pid: i32, number: u64) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let is_it = |request: &mut Request| request.number == number;
        let ended = process.lanes.iter_mut().any(|lane| lane.take_if(is_it).is_some());
        if ended && process.told && !process.is_busy() && !process.deaf {
            self.leave(pid);
        }
    }

    fn request(&mut self, pid: i32, number: u64) -> Option<&mut Request> {
        let lanes = &mut self.processes.get_mut(&pid)?.lanes;
        lanes.iter_mut().flatten().find(|request| request.number == number)
    }

    /// The fleet ends requests: it is right to, and hasn't before.
    pub(super) fn expire(&mut self, nr: usize, overdue: &[Overdue]) {
        assert!(!overdue.is_empty(), "nothing is ended");
        let pid = self.pid_in(nr).expect("a worker whose requests are ended is there");
        for Overdue { lane, busy_since, report } in overdue {
            let back = self.random.chance(50).then(|| self.millis(0, 10_000));
            let told = self.random.chance(80);
            let expires_at = self.expires_at(pid, *lane).expect("an innocent request is ended");
            assert!(expires_at <= self.now, "a request is ended before its time");
            let process = self.processes.get_mut(&pid).expect("it was just found");
            let thread = (process.lanes.len() > 1).then_some(lane + 1);
            let request = process.lanes[*lane].as_mut().expect("it was just found");
            assert_eq!(request.since, *busy_since, "another request is ended");
            assert!(!request.ended && !request.expired, "a request is ended twice");
            request.ended = true;
            request.expired = told;
            let number = request.number;
            let Report::RequestTimeout { path, thread: said, age, .. } = report else {
                panic!("{report:?}");
            };
            assert_eq!((path, *said), (&format!("/{number}"), thread), "another one is named");
            assert_eq!(*age, self.now.since(*busy_since));
            if let Some(after) = back {
                self.plan(after, pid, Happening::RequestEnds { number });
            }
        }
    }

    /// When the time of the request in a lane is up, if there is one that has not been ended.
    fn expires_at(&self, pid: i32, lane: usize) -> Option<Monotonic> {
        let process = &self.processes[&pid];
        let request = process.lanes[lane].filter(|request| !request.ended && !request.expired)?;
        let timeout = self.options[&process.generation].timeout?;
        let expires_at = request.since.max(self.resumed_at) + timeout;
        Some(request.extended_until.map_or(expires_at, |until| until.max(expires_at)))
    }

    /// After each step: nobody is over its time and let be.
    pub(super) fn check_requests(&self) {
        for (nr, slot) in self.fleet.slots() {
            let supervised =
                matches!(slot, Slot::Ready { .. } | Slot::Retiring { .. } | Slot::Stopping { .. });
            let Some(worker) = slot.worker().filter(|_| supervised) else { continue };
            let pid = worker.pid.as_raw();
            let Some(process) = self.processes.get(&pid) else { continue };
            let Some(timeout) = self.options[&process.generation].timeout else { continue };
            let late = |due: Monotonic| self.now > due.max(self.awake_since);
            for (lane, request) in process.lanes.iter().enumerate() {
                let Some(expires_at) = self.expires_at(pid, lane) else { continue };
                // Who is hurried is looked at as soon as anybody would be.
                let hurried = request.and_then(|request| request.hurried_at);
                let due = hurried.map_or(expires_at, |at| expires_at.max(at + timeout));
                assert!(!late(due), "a request in lane {lane} of worker {nr} is over its time");
            }
            let silent_since = process.stopped_since.filter(|_| process.turns());
            if let (Some(ready), Some(silent)) = (slot.ready_since(), silent_since) {
                let due = silent.max(ready).max(self.resumed_at) + timeout + SILENCE;
                assert!(!late(due), "worker {nr} shows no life and is let be");
            }
        }
    }
}
