//! Workers that are asked for their stacks: what is to happen when they have answered.
//!
//! ```text
//!  Expire, Kill, an operator ─► SIGURG ─► ToMaster::Examined ─┐
//!                                         patience is over ───┼─► a line, SIGKILL, an answer
//!                                         the worker exits ───┘
//! ```
//!
//! Whoever asks is answered once, by whatever comes first, with what is in the worker's file then.
//! Each examination has a number that the worker gives back by the board: an answer to an earlier
//! one is none to it. Signals that come together are one; then several share one text, which of
//! several log lines only the first has.

use std::{mem, time::Duration};

use ironhorn_unix::{Monotonic, Signal, examine, kill};
use log::{debug, error};
use serde_json::json;

use super::Supervisor;
use crate::{
    control::{ClientId, refused},
    fleet::{Event, Overdue},
    report::{Findings, Report},
};

/// What the stacks are for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// To be logged with this report, which is about a request in this lane.
    Log { lane: usize, report: Report },
    /// The record of the worker's death: then it is killed.
    Kill,
    /// An operator asked.
    Show(ClientId),
}

impl Purpose {
    /// How long the worker has for an answer.
    fn patience(&self) -> Duration {
        match self {
            Self::Log { .. } | Self::Show(_) => Duration::from_secs(1),
            Self::Kill => Duration::from_millis(500),
        }
    }
}

#[derive(Debug)]
struct Examination {
    nr: usize,
    /// Its number: one that the worker was asked for.
    asked: u32,
    purpose: Purpose,
    until: Monotonic,
}

/// Those that have not been answered.
#[derive(Debug, Default)]
pub(super) struct Examinations(Vec<Examination>);

impl Examinations {
    fn begin(&mut self, nr: usize, asked: u32, purpose: Purpose, now: Monotonic) {
        let until = now + purpose.patience();
        self.0.push(Examination { nr, asked, purpose, until });
    }

    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        self.0.iter().map(|examination| examination.until).min()
    }

    /// What waits for the stacks of worker `nr`, if it was asked for them by then.
    fn take(&mut self, nr: usize, examined: u32) -> Vec<Purpose> {
        let is_done = |it: &mut Examination| it.nr == nr && it.asked <= examined;
        self.0.extract_if(.., is_done).map(|examination| examination.purpose).collect()
    }

    /// Workers for which somebody has waited long enough, and which examination that was.
    fn overdue(&self, now: Monotonic) -> Vec<(usize, u32)> {
        self.0.iter().filter(|it| now >= it.until).map(|it| (it.nr, it.asked)).collect()
    }
}

impl Supervisor<'_> {
    /// Has the clients of these requests told 504; logs their reports when they have been.
    pub(super) fn expire(&mut self, nr: usize, requests: Vec<Overdue>) {
        let slot = self.board.slot(nr);
        for request in &requests {
            slot.lane(request.lane).ask_to_expire(request.busy_since);
        }
        let asked = slot.ask_to_examine();
        let now = Monotonic::now();
        for Overdue { lane, report, .. } in requests {
            self.examinations.begin(nr, asked, Purpose::Log { lane, report }, now);
        }
        self.signal_examination(nr);
    }

    /// Kills a worker, now or when it has been `examined`.
    pub(super) fn kill(&mut self, nr: usize, examined: bool) {
        if let Some(child) = self.children.get_mut(nr) {
            // Decided while it was booting, as far as was known: perhaps it has a client by now.
            // That is known from here on: who is spared once is not spared again.
            if !child.ready && !self.board.slot(nr).condemn() {
                child.ready = true;
                return self.answer(Event::Serves { nr });
            }
            child.killed = true;
        }
        if examined {
            self.board.slot(nr).announce_end();
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
        let asked = self.board.slot(nr).ask_to_examine();
        self.examinations.begin(nr, asked, purpose, Monotonic::now());
        self.signal_examination(nr);
    }

    fn signal_examination(&mut self, nr: usize) {
        let Some(child) = self.children.living(nr) else { return self.conclude(nr) };
        if let Err(error) = examine(child.pid) {
            debug!(worker = nr, pid:% = child.pid, reason:% = error; "cannot examine");
            self.conclude(nr);
        }
    }

    /// The worker has answered.
    pub(super) fn conclude_examined(&mut self, nr: usize) {
        self.conclude_up_to(nr, self.board.slot(nr).examined());
    }

    /// The worker is not waited for any longer.
    pub(super) fn conclude(&mut self, nr: usize) {
        self.conclude_up_to(nr, u32::MAX);
    }

    pub(super) fn conclude_overdue(&mut self, now: Monotonic) {
        for (nr, asked) in self.examinations.overdue(now) {
            self.conclude_up_to(nr, asked);
        }
    }

    fn conclude_up_to(&mut self, nr: usize, examined: u32) {
        let purposes = self.examinations.take(nr, examined);
        if purposes.is_empty() {
            return;
        }
        let stacks = self.take_stacks(nr);
        let mut logged = stacks.clone();
        for purpose in purposes {
            match purpose {
                Purpose::Log { lane, report } => {
                    let is_expired = self.board.slot(nr).lane(lane).is_expired();
                    let stacks = mem::take(&mut logged);
                    let findings = Findings { stacks, status: is_expired.then_some(504) };
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

    fn take_stacks(&self, nr: usize) -> String {
        let Some(child) = self.children.get(nr) else { return String::new() };
        let stacks = child.stacks.take().unwrap_or_else(|error| {
            debug!(worker = nr, reason:% = error; "cannot read its stacks");
            String::new()
        });
        name_threads(stacks, self.board.slot(nr).threads())
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

/// Names the threads that run the app, as in `Thread 0x00007f0b0d4c96c0 (ironhorn-app-2)`: older
/// versions of faulthandler only number them.
fn name_threads(mut stacks: String, threads: impl Iterator<Item = (usize, u64)>) -> String {
    for (lane, thread) in threads {
        let number = format!("hread {thread:#018x} ");
        let named = format!("{number}(ironhorn-app-{}) ", lane + 1);
        stacks = stacks.replace(&number, &named);
    }
    stacks
}

#[cfg(test)]
mod tests {
    use super::name_threads;

    #[test]
    fn threads_that_run_the_app_have_a_name() {
        let stacks = "Thread 0x00007f0b0d4c96c0 (most recent call first):\n  File \"a\"\n\n\
                      Current thread 0x00007f0b0fbc4b80 (most recent call first):\n";
        let threads = [(0, 0x7f0b_0d4c_96c0), (1, 0x7f0b_0fbc_4b80), (2, 1)];
        assert_eq!(
            name_threads(stacks.to_owned(), threads.into_iter()),
            "Thread 0x00007f0b0d4c96c0 (ironhorn-app-1) (most recent call first):\n  File \"a\"\n\n\
             Current thread 0x00007f0b0fbc4b80 (ironhorn-app-2) (most recent call first):\n"
        );
    }
}
