//! What is left of a process that nobody wanted to end.
//!
//! Each such end leaves one record with everything that is known of it: written to the log, and
//! kept, the last few, for an operator who asks later. Whoever reads it does not have to gather
//! the story from other lines.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use ironhorn_unix::{Exit, Pid, Signal};
use log::kv::Value;

use crate::report::{Reason, Seconds, write_error};

/// How many records are kept.
const KEPT: usize = 32;

/// The last records, the newest last.
#[derive(Debug, Default)]
pub(crate) struct BlackBox(VecDeque<Death>);

impl BlackBox {
    /// Writes the record to the log and keeps it.
    pub(crate) fn record(&mut self, death: Death) {
        death.log();
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(death);
    }

    /// What is kept, the newest last.
    pub(crate) fn deaths(&self) -> impl Iterator<Item = &Death> {
        self.0.iter()
    }
}

/// The record of one end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Death {
    /// When it was reaped.
    pub(crate) at: SystemTime,
    /// Number of the worker's slot; none: a zygote.
    pub(crate) worker: Option<usize>,
    /// Its generation.
    pub(crate) generation: u32,
    /// Its process id.
    pub(crate) pid: Pid,
    /// Why.
    pub(crate) reason: Reason,
    /// How many requests it had served.
    pub(crate) served: u64,
    /// What else the master saw of it.
    pub(crate) remains: Remains,
}

/// What the master saw of a process when it was gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remains {
    /// How it ended.
    pub(crate) exit: Exit,
    /// From its fork.
    pub(crate) age: Duration,
    /// The requests that it was in, the oldest first.
    pub(crate) requests: Vec<Lost>,
    /// What it had written of its stacks; empty: nothing.
    pub(crate) stacks: String,
    /// Its own memory in bytes, when it was last measured; none: it never was.
    pub(crate) memory: Option<u64>,
    /// The most memory that it ever had resident, in bytes; none: unknown.
    pub(crate) peak_memory: Option<u64>,
}

/// A request that ended with its worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Which thread ran it, from 1, if there were several.
    pub(crate) thread: Option<usize>,
    /// "GET /path".
    pub(crate) request: String,
    /// For how long it had made no progress.
    pub(crate) age: Duration,
    /// Whether its client was told 504 before.
    pub(crate) expired: bool,
}

impl Lost {
    /// What its client was told, if it was told anything.
    pub(crate) fn status(&self) -> Option<u16> {
        self.expired.then_some(504)
    }
}

impl Death {
    /// The name of the signal that ended it, if one did.
    pub(crate) fn signal(&self) -> Option<String> {
        match self.remains.exit {
            Exit::Code(_) => None,
            Exit::Signal { signal, .. } => Some(match Signal::try_from(signal) {
                Ok(named) => named.as_str().to_owned(),
                Err(_) => signal.to_string(),
            }),
        }
    }

    fn log(&self) {
        let age = Seconds(self.remains.age);
        let signal = self.signal();
        let lost: Vec<String> = self.remains.requests.iter().map(Lost::to_string).collect();
        let lost = lost.join(", ");
        let mut keys = Vec::new();
        keys.extend(self.worker.map(|nr| ("worker", Value::from(nr))));
        keys.push(("generation", Value::from(self.generation)));
        keys.push(("pid", Value::from_display(&self.pid)));
        keys.push(("reason", Value::from_display(&self.reason)));
        keys.extend(signal.as_deref().map(|signal| ("signal", Value::from(signal))));
        keys.push(("age", Value::from_display(&age)));
        if self.worker.is_some() {
            keys.push(("served", Value::from(self.served)));
        }
        if !lost.is_empty() {
            keys.push(("requests", Value::from(lost.as_str())));
        }
        keys.extend(self.remains.memory.map(|memory| ("memory", Value::from(memory))));
        keys.extend(self.remains.peak_memory.map(|peak| ("peak_memory", Value::from(peak))));
        if !self.remains.stacks.is_empty() {
            keys.push(("stacks", Value::from(self.remains.stacks.as_str())));
        }
        let message = if self.worker.is_some() { "worker died" } else { "zygote died" };
        write_error(message, &keys);
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.request, Seconds(self.age))?;
        match self.thread {
            Some(thread) => write!(f, " in thread {thread}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death(pid: i32, exit: Exit) -> Death {
        let remains = Remains {
            exit,
            age: Duration::ZERO,
            requests: Vec::new(),
            stacks: String::new(),
            memory: None,
            peak_memory: None,
        };
        Death {
            at: SystemTime::UNIX_EPOCH,
            worker: Some(1),
            generation: 1,
            pid: Pid::from_raw(pid),
            reason: Reason::Unasked(exit),
            served: 0,
            remains,
        }
    }

    #[test]
    fn the_newest_are_kept() {
        let mut black_box = BlackBox::default();
        for pid in 1..=40 {
            black_box.record(death(pid, Exit::Code(1)));
        }
        let pids: Vec<i32> = black_box.deaths().map(|death| death.pid.as_raw()).collect();
        assert_eq!(pids, (9..=40).collect::<Vec<_>>());
    }

    #[test]
    fn a_signal_has_its_name() {
        let killed = |signal| death(1, Exit::Signal { signal, core_dumped: true }).signal();
        assert_eq!(killed(11).as_deref(), Some("SIGSEGV"));
        assert_eq!(killed(40).as_deref(), Some("40"));
        assert_eq!(death(1, Exit::Code(9)).signal(), None);
    }

    #[test]
    fn a_request_is_named_with_its_age() {
        let age = Duration::from_millis(1_240);
        let lost = Lost { thread: None, request: "GET /x".to_owned(), age, expired: false };
        assert_eq!(lost.to_string(), "GET /x 1.2s");
        let lost = Lost { thread: Some(3), ..lost };
        assert_eq!(lost.to_string(), "GET /x 1.2s in thread 3");
    }
}
