//! Workers that are asked for their stacks: what is to happen when they have answered.
//!
//! ```text
//!  Expire, Kill, an operator ─► SIGURG ─► ToMaster::Examined ─┐
//!                                         patience is over ───┼─► a line, SIGKILL, an answer
//!                                         the worker exits ───┘
//! ```
//!
//! Whoever asks is answered once, by whatever comes first, with what is in the worker's file then.
//! Several who ask at a time share one text.

use std::{mem, time::Duration};

use ironhorn_unix::{Monotonic, Signal, examine, kill};
use log::{debug, error};
use serde_json::json;

use super::Supervisor;
use crate::{
    control::{ClientId, refused},
    fleet::Event,
    report::{Findings, Report},
};

/// What the stacks are for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// To be logged with this report.
    Log(Report),
    /// The record of the worker's death: then it is killed.
    Kill,
    /// An operator asked.
    Show(ClientId),
}

impl Purpose {
    /// How long the worker has for an answer.
    fn patience(&self) -> Duration {
        match self {
            Self::Log(_) | Self::Show(_) => Duration::from_secs(1),
            Self::Kill => Duration::from_millis(500),
        }
    }
}

#[derive(Debug)]
struct Examination {
    nr: usize,
    purpose: Purpose,
    until: Monotonic,
}

/// Those that have not been answered.
#[derive(Debug, Default)]
pub(super) struct Examinations(Vec<Examination>);

impl Examinations {
    fn begin(&mut self, nr: usize, purpose: Purpose, now: Monotonic) {
        let until = now + purpose.patience();
        self.0.push(Examination { nr, purpose, until });
    }

    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        self.0.iter().map(|examination| examination.until).min()
    }

    /// What waits for the stacks of worker `nr`.
    fn take(&mut self, nr: usize) -> Vec<Purpose> {
        let (of_it, others) = mem::take(&mut self.0).into_iter().partition(|it| it.nr == nr);
        self.0 = others;
        let of_it: Vec<Examination> = of_it;
        of_it.into_iter().map(|examination| examination.purpose).collect()
    }

    /// Workers for which somebody has waited long enough.
    fn overdue(&self, now: Monotonic) -> Vec<usize> {
        self.0.iter().filter(|it| now >= it.until).map(|it| it.nr).collect()
    }
}

impl Supervisor<'_> {
    /// Has the worker's client told 504; logs `report` when it has been.
    pub(super) fn expire(&mut self, nr: usize, busy_since: Monotonic, report: Report) {
        self.board.slot(nr).lane(0).ask_to_expire(busy_since);
        self.examine(nr, Purpose::Log(report));
    }

    /// Kills a worker, now or when it has been `examined`.
    pub(super) fn kill(&mut self, nr: usize, examined: bool) {
        if let Some(child) = self.children.get_mut(nr) {
            // Decided while it was booting, as far as was known: perhaps it has a client by now.
            if !child.ready && !self.board.slot(nr).condemn() {
                return self.answer(Event::Serves { nr });
            }
            child.killed = true;
        }
        if examined {
            self.examine(nr, Purpose::Kill);
        } else {
            self.kill_now(nr);
        }
    }

    fn kill_now(&self, nr: usize) {
        if let Some(child) = self.children.living(nr)
            && let Err(error) = kill(child.pid, Signal::SIGKILL)
        {
            error!(worker = nr, pid:% = child.pid, reason:% = error; "cannot kill");
        }
    }

    pub(super) fn examine(&mut self, nr: usize, purpose: Purpose) {
        self.examinations.begin(nr, purpose, Monotonic::now());
        let Some(child) = self.children.living(nr) else { return self.conclude(nr) };
        if let Err(error) = examine(child.pid) {
            debug!(worker = nr, pid:% = child.pid, reason:% = error; "cannot examine");
            self.conclude(nr);
        }
    }

    /// The worker has answered, or is not waited for any longer.
    pub(super) fn conclude(&mut self, nr: usize) {
        let purposes = self.examinations.take(nr);
        if purposes.is_empty() {
            return;
        }
        let stacks = self.take_stacks(nr);
        for purpose in purposes {
            match purpose {
                Purpose::Log(report) => {
                    let expired = self.board.slot(nr).lane(0).is_expired();
                    let findings =
                        Findings { stacks: stacks.clone(), status: expired.then_some(504) };
                    self.say(&report, &findings);
                }
                Purpose::Kill => {
                    if let Some(child) = self.children.get_mut(nr) {
                        child.last_words.clone_from(&stacks);
                    }
                    self.kill_now(nr);
                }
                Purpose::Show(client) => self.show_stacks(client, nr, &stacks),
            }
        }
    }

    pub(super) fn conclude_overdue(&mut self, now: Monotonic) {
        for nr in self.examinations.overdue(now) {
            self.conclude(nr);
        }
    }

    fn take_stacks(&self, nr: usize) -> String {
        let Some(child) = self.children.get(nr) else { return String::new() };
        child.stacks.take().unwrap_or_else(|error| {
            debug!(worker = nr, reason:% = error; "cannot read its stacks");
            String::new()
        })
    }

    /// All that a worker that has ended left of its stacks.
    pub(super) fn last_stacks(&mut self, nr: usize) -> String {
        let mut stacks = match self.children.get_mut(nr) {
            Some(child) => mem::take(&mut child.last_words),
            None => String::new(),
        };
        stacks.push_str(&self.take_stacks(nr));
        stacks
    }

    fn show_stacks(&mut self, client: ClientId, nr: usize, stacks: &str) {
        let answer = match self.children.get(nr) {
            Some(child) if !stacks.is_empty() => {
                json!({ "ok": true, "worker": nr, "pid": child.pid.as_raw(), "stack": stacks })
            }
            Some(child) if child.reaped => refused(&format!("worker {nr} has exited")),
            _ => refused(&format!("worker {nr} wrote no stacks: it is stopped, or boots")),
        };
        self.reply(client, &answer);
    }
}
