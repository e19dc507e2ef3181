//! Processes that have ended: each known one is asked, and its remains are put on record.

use std::{
    ops::ControlFlow,
    time::{Duration, SystemTime},
};

use ironhorn_unix::{Ended, Exit, Monotonic, OomKills, Pid, Signal, Snapshot, reap, reap_orphans};
use log::{error, warn};

use super::{Outcome, Supervisor};
use crate::{
    ExitCode,
    black_box::{Death, Lost, Remains},
    fleet::Event,
    report::{Reason, Report, Seconds, Who, thread},
};

/// A process that the kernel has killed is reaped within this, once the counter was seen to move.
const DYING: Duration = Duration::from_secs(1);

/// How often the counter is looked at, where there is one: what it says explains the exit that is
/// found together with it, if only little time has passed since the last look.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Watches the kernel's counter of processes that it killed for want of memory.
pub(super) struct OomWatch {
    kills: OomKills,
    seen: u64,
    /// Kills that no exit has been put down to; others of the group than workers are killed too.
    unexplained: u64,
    moved_at: Monotonic,
    /// None: there is no counter.
    look_at: Option<Monotonic>,
}

impl OomWatch {
    pub(super) fn new() -> Self {
        let kills = OomKills::new();
        let seen = kills.count();
        let now = Monotonic::now();
        let look_at = seen.map(|_| now + LOOK_EVERY);
        Self { kills, seen: seen.unwrap_or_default(), unexplained: 0, moved_at: now, look_at }
    }

    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        self.look_at
    }

    pub(super) fn look_at_clock(&mut self, now: Monotonic) {
        if self.look_at.is_some_and(|look_at| now >= look_at) {
            self.look(now);
        }
    }

    /// To be called when exits are looked at, and now and then: the more often, the less likely
    /// is one who was killed by somebody else taken for one whom the kernel killed.
    fn look(&mut self, now: Monotonic) {
        self.look_at = self.look_at.map(|_| now + LOOK_EVERY);
        let Some(count) = self.kills.count() else { return };
        if now.since(self.moved_at) > DYING {
            self.unexplained = 0;
        }
        if count > self.seen {
            self.unexplained += count - self.seen;
            self.moved_at = now;
        }
        self.seen = count;
    }

    /// Whether the kernel says that this end, which nobody here wanted, was for want of memory.
    fn explains(&mut self, exit: Exit) -> bool {
        let killed =
            matches!(exit, Exit::Signal { signal, .. } if signal == Signal::SIGKILL as i32);
        if !killed || self.unexplained == 0 {
            return false;
        }
        self.unexplained -= 1;
        true
    }
}

impl Supervisor<'_> {
    /// Exits that come close together are one SIGCHLD: each known child is asked.
    pub(super) fn reap_children(&mut self) -> ControlFlow<Outcome> {
        self.oom.look(Monotonic::now());
        // First, as workers that they have forked are known by what they say.
        for generation in self.zygotes.generations() {
            self.hear_zygote(generation)?;
            self.reap_zygote(generation)?;
        }
        for nr in 1..=self.children.capacity() {
            self.reap_worker(nr)?;
        }
        self.reap_successor()?;
        self.reap_orphans();
        ControlFlow::Continue(())
    }

    fn reap_worker(&mut self, nr: usize) -> ControlFlow<Outcome> {
        let Some(child) = self.children.get_mut(nr) else { return ControlFlow::Continue(()) };
        let Some(ended) = ended(child.pid) else { return ControlFlow::Continue(()) };
        child.reaped = true;
        let (pid, killed) = (child.pid, child.killed);
        self.hear_worker(nr)?;
        let seen = self.board.slot(nr).read();
        let (requests, lost) = (seen.requests, lost(seen));
        self.take_log_lines(nr);
        for lost in &lost {
            self.lose(nr, lost);
        }
        self.conclude(nr);
        let stacks = self.last_stacks(nr);
        self.board.slot(nr).reset();
        let Some(child) = self.children.remove(nr) else { return ControlFlow::Continue(()) };
        self.unwatch(&child.channel);
        let remains = Remains {
            exit: ended.exit,
            age: Monotonic::now().since(child.forked_at),
            requests: lost,
            stacks,
            memory: child.memory,
            peak_memory: (ended.peak_memory > 0).then_some(ended.peak_memory),
        };
        let out_of_memory = !killed && self.oom.explains(ended.exit);
        self.remains = Some((pid, remains));
        self.tell(Event::Exited { nr, exit: ended.exit, requests, out_of_memory })?;
        self.remains = None;
        ControlFlow::Continue(())
    }

    /// What the worker has answered before comes before what it was at.
    fn take_log_lines(&mut self, nr: usize) {
        let Some(generation) = self.fleet.generation_of(nr) else { return };
        let lines = self.board.slot(nr).log_lines();
        if !lines.is_empty() {
            self.host.log_lines_left(generation, &lines);
        }
    }

    fn lose(&mut self, nr: usize, lost: &Lost) {
        let Some(generation) = self.fleet.generation_of(nr) else { return };
        let Lost { thread, request, age, .. } = lost;
        let age = Seconds(*age);
        match thread {
            _ if lost.expired => {}
            None => warn!(worker = nr, generation, request, age:%; "request lost"),
            Some(thread) => {
                warn!(worker = nr, generation, thread, request, age:%; "request lost");
            }
        }
        self.host.request_lost(generation, request, lost.age, lost.status());
    }

    fn reap_zygote(&mut self, generation: u32) -> ControlFlow<Outcome> {
        let Some(zygote) = self.zygotes.get_mut(generation) else {
            return ControlFlow::Continue(());
        };
        let Some(ended) = ended(zygote.pid) else { return ControlFlow::Continue(()) };
        self.hear_zygote(generation)?;
        let Some(zygote) = self.zygotes.remove(generation) else {
            return ControlFlow::Continue(());
        };
        self.unwatch(&zygote.channel);
        for nr in zygote.unborn.keys().copied() {
            self.board.slot(nr).reset();
            let error = "the zygote is gone".to_owned();
            self.tell(Event::ForkFailed { nr, error })?;
        }
        let remains = Remains {
            exit: ended.exit,
            age: Monotonic::now().since(zygote.forked_at),
            requests: Vec::new(),
            stacks: zygote.stacks.take().unwrap_or_default(),
            memory: None,
            peak_memory: (ended.peak_memory > 0).then_some(ended.peak_memory),
        };
        let out_of_memory = !zygote.killed && self.oom.explains(ended.exit);
        self.remains = Some((zygote.pid, remains));
        self.tell(Event::ZygoteExited { generation, exit: ended.exit, out_of_memory })?;
        self.remains = None;
        ControlFlow::Continue(())
    }

    fn reap_successor(&mut self) -> ControlFlow<Outcome> {
        let Some(ended) = self.successor.and_then(ended) else {
            return ControlFlow::Continue(());
        };
        self.successor = None;
        // Ahead of the log line: who waits for that finds the pid file back.
        self.host.take_back();
        self.tell(Event::UpgradeExited { exit: ended.exit })
    }

    /// As PID 1, or above zygotes, the master is who orphans are left to.
    fn reap_orphans(&self) {
        // Who was just forked by a zygote may not be known yet, and its exit would be taken for
        // an orphan's.
        if (self.pid.as_raw() == 1 || self.zygotes.is_subreaper()) && !self.zygotes.are_forking() {
            reap_orphans(&|pid| self.is_known(pid));
        }
    }

    fn is_known(&self, pid: Pid) -> bool {
        self.children.find(pid).is_some() || self.zygotes.has(pid) || self.successor == Some(pid)
    }

    /// The record of the end that `report` is about, if nobody wanted it.
    pub(super) fn death(&mut self, report: &Report) -> Option<Death> {
        let (worker, generation, pid, reason, served) = match report {
            Report::Exited { who: Who { nr, generation, pid }, reason, requests, .. } => {
                (Some(*nr), *generation, *pid, *reason, *requests)
            }
            Report::ZygoteExited { generation, pid, reason } => {
                (None, *generation, *pid, *reason, 0)
            }
            _ => return None,
        };
        let (_, remains) = self.remains.take_if(|(of, _)| *of == pid)?;
        // After a timeout too, a worker may leave as it was told to.
        let left = reason == Reason::Timeout && remains.exit == Exit::Code(ExitCode::OK);
        if left || reason.is_expected() {
            return None;
        }
        let at = SystemTime::now();
        Some(Death { at, worker, generation, pid, reason, served, remains })
    }
}

/// The requests that a worker was in, the oldest first.
fn lost(seen: Snapshot) -> Vec<Lost> {
    let now = Monotonic::now();
    let Snapshot { lanes, mut running, .. } = seen;
    running.sort_by_key(|running| running.busy_since);
    let lost = running.into_iter().map(|running| Lost {
        thread: thread(running.lane, lanes),
        request: running.request,
        age: now.since(running.busy_since),
        expired: running.expired,
    });
    lost.collect()
}

/// How a child has ended, if it has.
fn ended(pid: Pid) -> Option<Ended> {
    match reap(pid) {
        Ok(ended) => ended,
        // Somebody else has reaped it. It is gone, and nobody can say how.
        Err(error) => {
            error!(pid:%, reason:% = error; "cannot reap");
            Some(Ended { exit: Exit::Code(ExitCode::RUNTIME), peak_memory: 0 })
        }
    }
}
