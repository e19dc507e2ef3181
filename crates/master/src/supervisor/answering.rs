//! What operators ask on the control socket, and what they are answered.

use std::{
    ops::ControlFlow::{self, Continue},
    time::Duration,
};

use ironhorn_unix::{Memory, Monotonic, Pid, Snapshot};
use serde_json::{Value, json};

use super::{Outcome, Supervisor, children::Child, chronicle::End, examination::Purpose};
use crate::{
    black_box::Death,
    command::{Command, Stop},
    control::{ClientId, Request, refused, timestamp},
    fleet::{Event, State},
    report::thread,
    slot::Slot,
};

/// An operator who is answered when a reload has ended.
#[derive(Debug)]
pub(super) struct Waiter {
    client: ClientId,
    /// The reload that it asked for; a later one will do.
    generation: u32,
    /// What it is told once the code before takes no more requests.
    answer: Option<Value>,
}

impl Supervisor<'_> {
    /// Something came from an operator, or it can be written to.
    pub(super) fn hear_client(&mut self, index: usize, hung_up: bool) -> ControlFlow<Outcome> {
        let now = Monotonic::now();
        let heard = self.control.as_mut().and_then(|control| control.hear(index, hung_up, now));
        let Some((client, request)) = heard else { return Continue(()) };
        let answer = match request {
            Request::Status {} => self.status(now),
            Request::Workers {} => self.workers(now),
            Request::Requests {} => self.requests(now),
            Request::Deaths {} => json!({
                "ok": true,
                "deaths": self.black_box.deaths().map(death).collect::<Vec<_>>(),
            }),
            Request::Stack { pid } => match self.children.find(Pid::from_raw(pid)) {
                Some(nr) => {
                    self.examine(nr, Purpose::Show(client));
                    return Continue(());
                }
                None => refused(&nobody(pid)),
            },
            Request::Stop {} => return self.stop(client, Stop::Graceful),
            Request::Quit {} => return self.stop(client, Stop::Quick),
            _ if self.is_ending() => refused(STOPPING),
            Request::Reload { wait } => return self.reload_for(client, wait),
            Request::Scale { workers } => {
                self.tell(Event::Commanded(Command::Scale(workers)))?;
                let target = self.fleet.target();
                if target == workers {
                    json!({ "ok": true, "workers": target })
                } else {
                    let limit = self.fleet.limit();
                    refused(&format!(
                        "workers stay {target}: {workers} is not between 1 and {limit}"
                    ))
                }
            }
            Request::Recycle { pid } => self.recycle(pid)?,
            Request::Reopen {} => {
                self.tell(Event::Commanded(Command::ReopenLogs))?;
                json!({ "ok": true })
            }
        };
        self.reply(client, &answer);
        Continue(())
    }

    pub(super) fn reply(&mut self, client: ClientId, answer: &Value) {
        if let Some(control) = &mut self.control {
            control.reply(client, answer, Monotonic::now());
        }
    }

    /// Answers first: the end may come sooner than the answer could be sent.
    fn stop(&mut self, client: ClientId, mode: Stop) -> ControlFlow<Outcome> {
        self.reply(client, &json!({ "ok": true }));
        self.tell(Event::Commanded(Command::Stop(mode)))
    }

    fn reload_for(&mut self, client: ClientId, wait: bool) -> ControlFlow<Outcome> {
        self.chronicle.expect_answer();
        self.tell(Event::Commanded(Command::Reload))?;
        match self.chronicle.answer() {
            Some(Ok(generation)) if wait => {
                self.waiters.push(Waiter { client, generation, answer: None });
            }
            Some(Ok(generation)) => {
                self.reply(client, &json!({ "ok": true, "generation": generation }));
            }
            Some(Err(reason)) => self.reply(client, &refused(&reason)),
            None => self.reply(client, &refused("the server does not reload now")),
        }
        Continue(())
    }

    fn recycle(&mut self, pid: i32) -> ControlFlow<Outcome, Value> {
        let Some(nr) = self.children.find(Pid::from_raw(pid)) else {
            return Continue(refused(&nobody(pid)));
        };
        let slot = self.fleet.slots().find(|(at, _)| *at == nr).map(|(_, slot)| *slot);
        match slot {
            Some(Slot::Ready { .. }) => {
                self.tell(Event::Commanded(Command::Recycle(nr)))?;
                Continue(json!({ "ok": true, "worker": nr, "pid": pid }))
            }
            Some(slot) => Continue(refused(&format!("worker {nr} is {}", slot.name()))),
            None => Continue(refused(&nobody(pid))),
        }
    }

    /// A reload has ended: those who wait for it, or for an earlier one, are to be answered.
    pub(super) fn settle_waiters(&mut self, end: &End) {
        let End { generation, result } = end;
        let answer = match result {
            Ok(after) => json!({ "ok": true, "generation": generation, "after": seconds(*after) }),
            Err(reason) => refused(reason),
        };
        for waiter in &mut self.waiters {
            if waiter.generation <= *generation {
                waiter.answer.get_or_insert_with(|| answer.clone());
            }
        }
        self.release_waiters();
    }

    /// Answers those who waited. A success is told when no worker of the code before takes
    /// connections any more, so that whoever asks next is answered by the new code.
    pub(super) fn release_waiters(&mut self) {
        if self.waiters.iter().all(|waiter| waiter.answer.is_none()) || self.old_code_serves() {
            return;
        }
        for Waiter { client, generation, answer } in std::mem::take(&mut self.waiters) {
            match answer {
                Some(answer) => self.reply(client, &answer),
                None => self.waiters.push(Waiter { client, generation, answer: None }),
            }
        }
    }

    /// Whether a worker that retires for a newer generation may still take a connection.
    fn old_code_serves(&self) -> bool {
        let serving = self.fleet.serving();
        self.fleet.slots().any(|(nr, slot)| {
            let is_old = slot.generation().is_some_and(|generation| generation < serving);
            let takes = |child: &Child| child.open && !child.draining;
            is_old
                && matches!(slot, Slot::Retiring { .. })
                && self.children.get(nr).is_some_and(takes)
        })
    }

    /// The server ends: nobody waits any longer.
    pub(super) fn dismiss_waiters(&mut self) {
        for waiter in std::mem::take(&mut self.waiters) {
            self.reply(waiter.client, &refused(STOPPING));
        }
    }

    fn is_ending(&self) -> bool {
        matches!(self.fleet.state(), State::Leaving | State::Stopping(_) | State::Stopped)
    }

    fn status(&self, now: Monotonic) -> Value {
        let about = self.host.about();
        let count = |counted: fn(&Slot) -> bool| {
            self.fleet.slots().filter(|(_, slot)| counted(slot)).count()
        };
        let state = match self.fleet.state() {
            State::Serving if self.fleet.is_reloading() => "reloading",
            state => state.name(),
        };
        json!({
            "ok": true,
            "version": about.version,
            "pid": self.pid.as_raw(),
            "uptime": seconds(now.since(self.started_at)),
            "state": state,
            "generation": self.fleet.serving(),
            "workers": {
                "target": self.fleet.target(),
                "ready": count(Slot::is_ready),
                "booting": count(Slot::is_coming),
                "retiring": count(|slot| {
                    matches!(slot, Slot::Retiring { .. } | Slot::Stopping { .. } | Slot::Killed { .. })
                }),
            },
            "last_reload": self.last_reload(),
            "upgrade": self.successor.map(Pid::as_raw),
            "listeners": about.listeners,
            "app": about.app,
            "directory": about.directory,
        })
    }

    fn last_reload(&self) -> Value {
        use super::chronicle::Outcome;
        let Some(last) = &self.chronicle.last_reload else { return json!({ "state": "none" }) };
        let reason = match &last.outcome {
            Outcome::Failed(reason) => Some(reason),
            Outcome::Running | Outcome::Done => None,
        };
        json!({
            "state": last.outcome.name(),
            "generation": last.generation,
            "reason": reason,
            "at": timestamp(last.at),
        })
    }

    fn workers(&self, now: Monotonic) -> Value {
        let workers = self.fleet.slots().filter_map(|(nr, slot)| {
            let worker = slot.worker()?;
            let seen = self.board.slot(nr).read();
            let memory = self.children.living(nr).and_then(|child| Memory::of(child.pid).ok());
            let request = seen.oldest().map(|oldest| {
                let (method, path) = method_and_path(&oldest.request);
                let age = seconds(now.since(oldest.busy_since));
                json!({ "method": method, "path": path, "age": age })
            });
            Some(json!({
                "worker": nr,
                "pid": worker.pid.as_raw(),
                "generation": worker.generation,
                "state": slot.name(),
                "age": seconds(now.since(worker.forked_at)),
                "requests": seen.requests,
                "connections": seen.connections,
                "running": seen.running.len(),
                "memory": memory.map(|memory| memory.private),
                "pss": memory.map(|memory| memory.proportional),
                "request": request,
            }))
        });
        json!({ "ok": true, "workers": workers.collect::<Vec<_>>() })
    }

    fn requests(&self, now: Monotonic) -> Value {
        let workers = self.fleet.slots().filter_map(|(nr, slot)| Some((nr, slot.worker()?.pid)));
        let requests = workers.flat_map(|(nr, pid)| {
            let Snapshot { lanes, running, .. } = self.board.slot(nr).read();
            running.into_iter().map(move |running| {
                let (method, path) = method_and_path(&running.request);
                json!({
                    "worker": nr,
                    "pid": pid.as_raw(),
                    "thread": thread(running.lane, lanes),
                    "method": method,
                    "path": path,
                    "age": seconds(now.since(running.busy_since)),
                    "expired": running.expired,
                })
            })
        });
        json!({ "ok": true, "requests": requests.collect::<Vec<_>>() })
    }
}

const STOPPING: &str = "the server is stopping";

fn nobody(pid: i32) -> String {
    format!("no worker has the process id {pid}")
}

/// Of what the board says: "GET /path".
fn method_and_path(request: &str) -> (&str, &str) {
    request.split_once(' ').unwrap_or(("", request))
}

fn death(death: &Death) -> Value {
    let remains = &death.remains;
    let requests = remains.requests.iter().map(|lost| {
        let (method, path) = method_and_path(&lost.request);
        let age = seconds(lost.age);
        json!({
            "method": method,
            "path": path,
            "age": age,
            "thread": lost.thread,
            "status": lost.status(),
        })
    });
    json!({
        "at": timestamp(death.at),
        "worker": death.worker,
        "generation": death.generation,
        "pid": death.pid.as_raw(),
        "reason": death.reason.to_string(),
        "signal": death.signal(),
        "age": seconds(remains.age),
        "served": death.served,
        "requests": requests.collect::<Vec<_>>(),
        "memory": remains.memory,
        "peak_memory": remains.peak_memory,
        "stacks": (!remains.stacks.is_empty()).then_some(&remains.stacks),
    })
}

/// To the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
