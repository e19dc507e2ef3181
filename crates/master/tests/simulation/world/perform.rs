//! What the fleet wants done, done.

use std::collections::VecDeque;

use ironhorn_master::{
    fleet::{Action, Event, State},
    report::Reason,
    slot::Slot,
};
use ironhorn_unix::{Exit, Pid, ToWorker};

use super::{World, trouble::options};
use crate::process::{Code, Happening, Zygote};

impl World {
    /// The answer, where there is one at once.
    pub(super) fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Fork { nr, generation } => return self.fork_worker(nr, generation),
            Action::Tell { nr, message } => {
                self.mark_recycled(nr, message);
                self.hear(nr, message);
            }
            Action::Kill { nr, examine } => {
                let pid = self.pid_in(nr).expect("a worker that is killed is there");
                let spared = self.has_just_begun_to_serve(pid);
                self.check_kill(pid, spared);
                if spared {
                    return Some(Event::Serves { nr });
                }
                self.dies_within(pid, if examine { 500 } else { 20 });
            }
            Action::Expire { nr, requests } => self.expire(nr, &requests),
            Action::Measure { nrs } => {
                let measured = self.processes.values().filter(|it| nrs.contains(&it.nr));
                let memory = measured.map(|it| (it.nr, it.memory(self.now))).collect();
                return Some(Event::Measured { memory });
            }
            Action::AskToLeave => {
                assert_eq!(self.fleet.state(), State::Leaving, "who stays is told of a stop");
                self.asked_to_leave.extend(self.processes.keys());
            }
            Action::ForkZygote { generation } => return Some(self.fork_zygote(generation)),
            Action::KillZygote { generation } => {
                let pid = self.zygote_of(generation).expect("a zygote that is killed is there");
                self.dies_within(pid, 20);
            }
            Action::Upgrade => return Some(self.upgrade()),
            Action::Reload { generation } => return Some(self.reload(generation)),
            Action::Exit(code) => {
                assert_eq!(self.living(), 0, "the master leaves its children behind");
                self.exited = Some(code);
            }
            Action::Adopt { generation } => {
                let known = self.fleet.generations().any(|living| living == generation);
                assert!(known, "generation {generation} is adopted and gone");
                self.keeps_trying = self.options[&generation].keep_trying;
            }
            Action::DropGeneration { generation } => self.drop_generation(generation),
            Action::ReopenLogs
            | Action::StopListening
            | Action::Describe(_)
            | Action::Report(_) => {}
        }
        None
    }

    /// Whether a worker that is to be killed serves, and the master has not heard of it.
    fn has_just_begun_to_serve(&mut self, pid: i32) -> bool {
        let unheard = self.trouble && self.random.chance(20);
        let Some(process) = self.processes.get_mut(&pid) else { return false };
        let serves = unheard && !process.ready && process.stopped_since.is_none() && !process.deaf;
        process.ready |= serves;
        serves
    }

    fn fork_worker(&mut self, nr: usize, generation: u32) -> Option<Event> {
        self.check_busy_loop();
        assert_eq!(self.pid_in(nr), None, "two workers in slot {nr}");
        let options = self.options.get(&generation).expect("who is forked has settings");
        if !options.preload {
            return Some(self.fork(nr, generation, self.code));
        }
        let pid = self.zygote_of(generation).expect("a worker is forked from a zygote");
        let slow = self.trouble && self.random.chance(10);
        let after = self.millis(0, if slow { 90_000 } else { 30 });
        self.plan(after, pid, Happening::Forks);
        let zygote = self.zygotes.get_mut(&pid).expect("it was just found");
        assert!(zygote.ready, "a worker is forked from a zygote that is not ready");
        zygote.asked.push_back(nr);
        None
    }

    fn fork_zygote(&mut self, generation: u32) -> Event {
        self.check_zygote_loop(generation);
        assert_eq!(self.zygote_of(generation), None, "two zygotes of generation {generation}");
        assert!(self.options[&generation].preload, "a zygote that nobody asked for");
        if self.trouble && (self.unforkable || self.random.chance(10)) {
            let error = "resource temporarily unavailable".to_owned();
            return Event::ZygoteForkFailed { generation, error };
        }
        self.next_pid += 1;
        let pid = self.next_pid;
        let code = self.code;
        let (ready, stopped, asked) = (false, false, VecDeque::new());
        self.zygotes.insert(pid, Zygote { generation, code, ready, stopped, asked });
        let within = if let Code::Boots { within } = code { within } else { 1_000 };
        let booted = self.millis(1, within);
        match code {
            Code::Fails(exit) => self.plan(booted, pid, Happening::dies(exit)),
            Code::Hangs => {}
            Code::Boots { .. } | Code::DiesSoon => {
                self.plan(booted, pid, Happening::BecomesReady);
                if self.trouble && self.random.chance(30) {
                    let (after, happening) = Happening::any_to_zygote(&mut self.random);
                    self.plan(booted + after, pid, happening);
                }
            }
        }
        Event::ZygoteForked { generation, pid: Pid::from_raw(pid) }
    }

    fn upgrade(&mut self) -> Event {
        assert_eq!(self.successor, None, "two new masters at a time");
        let state = self.fleet.state();
        assert!(matches!(state, State::Serving | State::Retired), "a new master while {state:?}");
        if self.random.chance(20) {
            return Event::Upgrading { result: Err("no such file".to_owned()) };
        }
        self.next_pid += 1;
        let pid = self.next_pid;
        self.successor = Some(pid);
        if self.random.chance(70) {
            let after = self.millis(0, 20_000);
            self.plan(after, pid, Happening::dies(Exit::Code(2)));
        }
        Event::Upgrading { result: Ok(Pid::from_raw(pid)) }
    }

    fn reload(&mut self, generation: u32) -> Event {
        if self.settings_are_wrong {
            let result = Err("wrong".to_owned());
            return Event::Reloaded { generation, result, kept: Vec::new() };
        }
        self.latest = generation;
        let kept = self.fleet.generations().filter(|_| self.random.chance(80)).collect();
        let options = options(self.workers, &mut self.random);
        self.options.insert(generation, options.clone());
        Event::Reloaded { generation, result: Ok(options), kept }
    }

    fn drop_generation(&mut self, generation: u32) {
        let left = self.processes.values().filter(|it| it.generation == generation).count();
        assert_eq!(left, 0, "generation {generation} is dropped and runs");
        assert_eq!(self.zygote_of(generation), None, "generation {generation} leaves its zygote");
        assert!(self.dropped.insert(generation), "generation {generation} is dropped twice");
        self.options.remove(&generation);
    }

    /// Notes who has to leave because it was worn.
    fn mark_recycled(&mut self, nr: usize, message: ToWorker) {
        let slot = self.fleet.slots().find(|(at, _)| *at == nr).map(|(_, slot)| *slot);
        let Some(Slot::Retiring { retirement, .. }) = slot else { return };
        let worn = matches!(
            retirement.reason,
            Reason::MaxRequests | Reason::MaxMemory | Reason::MaxLifetime | Reason::Recycled
        );
        let pid = self.pid_in(nr).expect("a worker that is told something is there");
        if let Some(process) = self.processes.get_mut(&pid).filter(|process| !process.told) {
            process.recycled |= worn && message != ToWorker::ReopenLogs;
        }
    }
}
