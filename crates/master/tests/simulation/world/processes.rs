//! What becomes of the processes, by themselves or because they are told.

use std::time::Duration;

use ironhorn_master::{fleet::Event, slot::Slot};
use ironhorn_unix::{Exit, Pid, ToWorker};

use super::World;
use crate::process::{Code, Happening, Process};

impl World {
    pub(super) fn happen(&mut self, pid: i32, happening: Happening) {
        if self.processes.contains_key(&pid) {
            self.happen_to_worker(pid, happening);
        } else if self.zygotes.contains_key(&pid) {
            self.happen_to_zygote(pid, happening);
        } else if self.successor == Some(pid)
            && let Happening::Dies { code, signal } = happening
        {
            self.successor = None;
            self.tell(Event::UpgradeExited { exit: exit(code, signal) });
        }
    }

    fn happen_to_worker(&mut self, pid: i32, happening: Happening) {
        let now = self.now;
        let stays = self.random.chance(50);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let nr = process.nr;
        // A process that is stopped does nothing but die.
        if process.stopped_since.is_some() && !matches!(happening, Happening::Dies { .. }) {
            return;
        }
        match happening {
            Happening::BecomesReady => {
                process.ready = true;
                process.ready_since = Some(now);
                self.ever_ready |= self.slot_is_booting(nr);
                self.tell(Event::Ready { nr });
            }
            Happening::Dies { code, signal } => {
                // It hears nothing any more, and the master may not know that yet.
                process.deaf = true;
                if stays {
                    self.tell(Event::ChannelClosed { nr });
                }
                self.processes.remove(&pid);
                let exit = exit(code, signal);
                let out_of_memory = signal == 9 && stays;
                self.tell(Event::Exited { nr, exit, requests: 0, out_of_memory });
            }
            Happening::DrainsByItself => {
                self.leave(pid);
                self.tell(Event::Draining { nr });
            }
            Happening::ClosesItsChannel => self.tell(Event::ChannelClosed { nr }),
            Happening::RequestBegins { lane, takes } => self.begin_request(pid, lane, takes),
            Happening::RequestExtends { number } => self.extend_request(pid, number),
            Happening::RequestProgresses { number } => self.progress(pid, number),
            Happening::RequestEnds { number } => self.end_request(pid, number),
            Happening::IsStopped => {
                process.stopped_since = Some(now);
                process.deaf = true;
            }
            Happening::TurnsDeaf => process.deaf = true,
            Happening::WearsOut => self.tell(Event::Worn { nr }),
            Happening::Forks => {}
        }
    }

    fn happen_to_zygote(&mut self, pid: i32, happening: Happening) {
        let Some(zygote) = self.zygotes.get_mut(&pid) else { return };
        let generation = zygote.generation;
        match happening {
            Happening::Dies { code, signal } => {
                let unanswered = std::mem::take(&mut zygote.asked);
                for nr in unanswered {
                    self.tell(Event::ForkFailed { nr, error: "the zygote is gone".to_owned() });
                }
                self.zygotes.remove(&pid);
                let exit = exit(code, signal);
                self.tell(Event::ZygoteExited { generation, exit, out_of_memory: false });
            }
            _ if zygote.stopped => {}
            Happening::BecomesReady => {
                zygote.ready = true;
                self.tell(Event::ZygoteReady { generation });
            }
            Happening::IsStopped => zygote.stopped = true,
            Happening::Forks => {
                let code = zygote.code;
                if let Some(nr) = zygote.asked.pop_front() {
                    let event = self.fork(nr, generation, code);
                    self.tell(event);
                }
            }
            _ => {}
        }
    }

    /// Everybody at a time, as after a restart of all of them.
    pub(super) fn wear_everybody(&mut self) {
        let ready: Vec<usize> =
            self.processes.values().filter(|process| process.ready).map(|it| it.nr).collect();
        for nr in ready {
            self.tell(Event::Worn { nr });
        }
    }

    fn slot_is_booting(&self, nr: usize) -> bool {
        self.fleet.slots().any(|(at, slot)| at == nr && matches!(slot, Slot::Booting { .. }))
    }

    /// Finishes what it has and exits.
    pub(super) fn leave(&mut self, pid: i32) {
        let after = self.millis(0, 3_000);
        self.plan(after, pid, Happening::dies(Exit::Code(0)));
    }

    pub(super) fn fork(&mut self, nr: usize, generation: u32, code: Code) -> Event {
        if self.trouble && (self.unforkable || self.random.chance(10)) {
            return Event::ForkFailed { nr, error: "resource temporarily unavailable".to_owned() };
        }
        self.next_pid += 1;
        let pid = self.next_pid;
        let grows = self.trouble && self.random.chance(30);
        let lanes = self.some_lanes();
        let process = Process {
            nr,
            generation,
            born: self.now,
            ready: false,
            lanes,
            ready_since: None,
            stopped_since: None,
            deaf: false,
            told: false,
            recycled: false,
            growth: if grows { self.random.between(0, 300_000) } else { 0 },
        };
        self.processes.insert(pid, process);
        self.boot(pid, code);
        Event::Forked { nr, pid: Pid::from_raw(pid) }
    }

    fn boot(&mut self, pid: i32, code: Code) {
        let within = if let Code::Boots { within } = code { within } else { 1_000 };
        let booted = self.millis(1, within);
        match code {
            Code::Boots { .. } => {
                self.plan(booted, pid, Happening::BecomesReady);
                if self.trouble {
                    self.plan_requests(pid, booted);
                }
                if self.trouble && self.random.chance(60) {
                    let (after, happening) = Happening::any(&mut self.random);
                    self.plan(booted + after, pid, happening);
                }
            }
            Code::Fails(exit) => self.plan(booted, pid, Happening::dies(exit)),
            Code::Hangs => {}
            Code::DiesSoon => {
                let lives = self.millis(0, 900);
                self.plan(booted, pid, Happening::BecomesReady);
                self.plan(booted + lives, pid, Happening::dies(Exit::Code(1)));
            }
        }
    }

    pub(super) fn hear(&mut self, nr: usize, message: ToWorker) {
        let pid = self.pid_in(nr).expect("a worker that is told something is there");
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let retires = matches!(message, ToWorker::Retire | ToWorker::RetireLast);
        assert!(!(retires && process.told), "one who leaves is told to retire");
        process.told |= message != ToWorker::ReopenLogs;
        let waits = process.is_busy() && (message != ToWorker::Quit || !process.turns());
        if process.deaf || waits {
            return;
        }
        match message {
            ToWorker::Retire | ToWorker::RetireLast | ToWorker::Stop => self.leave(pid),
            ToWorker::Quit => {
                let after = self.millis(0, 50);
                self.plan(after, pid, Happening::dies(Exit::Code(0)));
            }
            ToWorker::ReopenLogs => {}
        }
    }

    pub(super) fn pid_in(&self, nr: usize) -> Option<i32> {
        self.processes.iter().find(|(_, process)| process.nr == nr).map(|(pid, _)| *pid)
    }

    pub(super) fn zygote_of(&self, generation: u32) -> Option<i32> {
        let of_it = |(_, zygote): &(&i32, &crate::process::Zygote)| zygote.generation == generation;
        self.zygotes.iter().find(of_it).map(|(pid, _)| *pid)
    }

    pub(super) fn dies_within(&mut self, pid: i32, most: u64) {
        let after: Duration = self.millis(0, most);
        self.plan(after, pid, Happening::dies(super::KILLED));
    }
}

fn exit(code: i32, signal: i32) -> Exit {
    match signal {
        0 => Exit::Code(code),
        signal => Exit::Signal { signal, core_dumped: false },
    }
}
