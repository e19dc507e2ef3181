//! Everything around the fleet: time, processes, an operator with a heavy hand.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    io::{self, Write},
    time::Duration,
};

use ironhorn_master::{
    Options,
    command::Command,
    fleet::{Action, Event, Fleet, Glance},
    slot::Slot,
};
use ironhorn_unix::{Exit, Monotonic, Pid, Signal, ToWorker};

use crate::{
    process::{Code, Happening, Process},
    random::Random,
};

pub(crate) const GRACEFUL: Duration = Duration::from_secs(20);
const CAPACITY: usize = 24;
const KILLED: Exit = Exit::Signal { signal: 9, core_dumped: false };

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) trouble: bool,
    /// What is on the disk.
    pub(crate) code: Code,
    pub(crate) settings_are_wrong: bool,
    pub(crate) exited: Option<i32>,
    pub(crate) ever_ready: bool,
    fleet: Fleet,
    now: Monotonic,
    processes: BTreeMap<i32, Process>,
    /// What will happen when, to whom; in order of time, then of decision.
    agenda: BinaryHeap<Reverse<(Monotonic, u64, i32, Happening)>>,
    decisions: u64,
    actions: VecDeque<Action>,
    next_pid: i32,
    next_trouble: Monotonic,
    /// When the fleet forked, and when it was commanded: a busy loop would show here.
    forks: VecDeque<Monotonic>,
    commands: VecDeque<Monotonic>,
    workers: usize,
    latest: u32,
    verbose: bool,
}

impl World {
    pub(crate) fn new(seed: u64, verbose: bool) -> Self {
        let mut random = Random::new(seed);
        let workers = usize::try_from(random.between(1, 6)).expect("a small number");
        let code = if random.chance(80) { Code::GOOD } else { Code::any(&mut random) };
        let now = Monotonic::from_nanos(1_000_000_000_000);
        Self {
            trouble: false,
            code,
            settings_are_wrong: false,
            exited: None,
            ever_ready: false,
            fleet: Fleet::new(options(workers, &mut random), CAPACITY),
            now,
            processes: BTreeMap::new(),
            agenda: BinaryHeap::new(),
            decisions: 0,
            actions: VecDeque::new(),
            next_pid: 100,
            next_trouble: now,
            forks: VecDeque::new(),
            commands: VecDeque::new(),
            workers,
            latest: 1,
            verbose,
            random,
        }
    }

    pub(crate) fn start(&mut self) {
        self.tell(Event::Started);
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.commands.push_back(self.now);
        self.tell(Event::Commanded(command));
    }

    pub(crate) fn living(&self) -> usize {
        self.processes.len()
    }

    /// As many serve as should, and nobody else is there.
    pub(crate) fn is_at_rest(&self) -> bool {
        let ready = self.processes.values().filter(|process| process.ready).count();
        !self.fleet.is_reloading()
            && ready == self.fleet.target()
            && self.living() == ready
            && self.ready() == ready
    }

    /// Whoever serves is of the newest generation, and the older ones are forgotten.
    pub(crate) fn is_up_to_date(&self) -> bool {
        self.fleet.serving() == self.latest
            && self.fleet.generations().all(|generation| generation == self.latest)
            && self
                .fleet
                .slots()
                .all(|(_, slot)| slot.generation().unwrap_or(self.latest) == self.latest)
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.exited.is_none() && self.step(end) {}
        self.now = self.now.max(end);
    }

    /// Whether `wanted` came true in `time`.
    pub(crate) fn run_until(&mut self, time: Duration, wanted: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + time;
        while self.exited.is_none() && !wanted(self) {
            if !self.step(end) {
                return false;
            }
        }
        wanted(self)
    }

    /// Goes to the next moment at which something happens; false if none is left before `end`.
    fn step(&mut self, end: Monotonic) -> bool {
        let due = self.agenda.peek().map(|Reverse((at, ..))| *at);
        let deadline = self.fleet.next_deadline();
        let trouble = self.trouble.then_some(self.next_trouble);
        let next = [due, deadline, trouble].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next <= end) else { return false };
        self.now = self.now.max(next);
        if trouble == Some(next) {
            self.make_trouble();
        } else if due == Some(next) {
            if let Some(Reverse((_, _, pid, happening))) = self.agenda.pop() {
                self.happen(pid, happening);
            }
        } else {
            self.wake();
        }
        true
    }

    fn wake(&mut self) {
        let board = self.processes.values().map(|process| Glance {
            nr: process.nr,
            heartbeat: process.stopped_since.unwrap_or(self.now),
            busy_since: process.stuck_since,
            request: "GET /".to_owned(),
        });
        self.tell(Event::Woke { board: board.collect() });
        let deadline = self.fleet.next_deadline();
        assert!(deadline.is_none_or(|at| at > self.now), "woken and to be woken again at once");
    }

    /// An operator or a machine does something.
    fn make_trouble(&mut self) {
        let pause = if self.random.chance(30) { 50 } else { 10_000 };
        self.next_trouble = self.now + Duration::from_millis(self.random.between(1, pause));
        match self.random.below(12) {
            0..=2 => {
                self.settings_are_wrong = self.random.chance(20);
                self.command(Command::Reload);
            }
            3..=5 => self.code = Code::any(&mut self.random),
            6 => self.command(Command::Add),
            7 => self.command(Command::Remove),
            8 => self.command(Command::ReopenLogs),
            9 => self.command(Command::Unavailable(Signal::SIGUSR2)),
            10 => {
                let slept = Duration::from_secs(self.random.between(1, 7_200));
                self.now = self.now + slept;
                self.note(&format!("slept {slept:?}"));
            }
            _ => {
                let workers = self.random.between(1, 6);
                self.workers = usize::try_from(workers).expect("a small number");
            }
        }
    }

    fn happen(&mut self, pid: i32, happening: Happening) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let nr = process.nr;
        let now = self.now;
        // A process that is stopped does nothing but die.
        if process.stopped_since.is_some() && !matches!(happening, Happening::Dies { .. }) {
            return;
        }
        match happening {
            Happening::BecomesReady => {
                process.ready = true;
                self.ever_ready |= self.slot_is_booting(nr);
                self.tell(Event::Ready { nr });
            }
            Happening::Dies { code, signal } => {
                self.processes.remove(&pid);
                let exit = match signal {
                    0 => Exit::Code(code),
                    signal => Exit::Signal { signal, core_dumped: false },
                };
                if self.random.chance(50) {
                    self.tell(Event::ChannelClosed { nr });
                }
                self.tell(Event::Exited { nr, exit, requests: 0 });
            }
            Happening::DrainsByItself => {
                self.leave(pid);
                self.tell(Event::Draining { nr });
            }
            Happening::ClosesItsChannel => self.tell(Event::ChannelClosed { nr }),
            Happening::GetsStuck => {
                process.stuck_since = Some(now);
                process.deaf = true;
            }
            Happening::IsStopped => {
                process.stopped_since = Some(now);
                process.deaf = true;
            }
            Happening::TurnsDeaf => process.deaf = true,
        }
    }

    fn slot_is_booting(&self, nr: usize) -> bool {
        self.fleet.slots().any(|(at, slot)| at == nr && matches!(slot, Slot::Booting { .. }))
    }

    fn plan(&mut self, after: Duration, pid: i32, happening: Happening) {
        self.decisions += 1;
        self.agenda.push(Reverse((self.now + after, self.decisions, pid, happening)));
    }

    /// Finishes what it has and exits.
    fn leave(&mut self, pid: i32) {
        let after = Duration::from_millis(self.random.between(0, 3_000));
        self.plan(after, pid, Happening::dies(Exit::Code(0)));
    }

    /// Tells the fleet, does what it says, and checks what must never happen.
    fn tell(&mut self, event: Event) {
        assert!(self.exited.is_none(), "told something after its end");
        self.note(&format!("{event:?}"));
        let mut before = self.ready();
        let mut next = Some(event);
        loop {
            if let Some(event) = next.take() {
                let gone = self.leaves_by_itself(&event);
                let actions = self.fleet.handle(event, self.now);
                self.fleet.check_invariants(self.now);
                self.check_strength(before - gone, &actions);
                self.actions.extend(actions);
                before = self.ready();
            }
            let Some(action) = self.actions.pop_front() else { return };
            self.note(&format!("    {action:?}"));
            next = self.carry_out(action);
        }
    }

    fn ready(&self) -> usize {
        self.fleet.slots().filter(|(_, slot)| slot.is_ready()).count()
    }

    fn leaves_by_itself(&self, event: &Event) -> usize {
        let (Event::Draining { nr } | Event::Exited { nr, .. }) = event else { return 0 };
        usize::from(self.fleet.slots().any(|(at, slot)| at == *nr && slot.is_ready()))
    }

    /// Neither a reload nor a smaller number of workers ever takes more than the surplus away.
    fn check_strength(&self, before: usize, actions: &[Action]) {
        let ending = actions.iter().any(|action| matches!(action, Action::StopListening));
        let killed = actions.iter().filter(|action| match action {
            Action::Kill { nr } => self.processes.values().any(|it| it.nr == *nr && it.ready),
            _ => false,
        });
        let left = self.ready() + killed.count();
        let wanted = before.min(self.fleet.target());
        assert!(ending || left >= wanted, "{left} serve after a step, of {before} before it");
    }

    fn carry_out(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Fork { nr, .. } => return Some(self.fork(nr)),
            Action::Tell { nr, message } => self.hear(nr, message),
            Action::Kill { nr } => {
                let pid = self.pid_in(nr).expect("a worker that is killed is there");
                let after = Duration::from_millis(self.random.between(0, 20));
                self.plan(after, pid, Happening::dies(KILLED));
            }
            Action::Reload { generation } => return Some(self.reload(generation)),
            Action::Exit(code) => {
                assert_eq!(self.living(), 0, "the master leaves its workers behind");
                self.exited = Some(code);
            }
            Action::Adopt { generation } => {
                let known = self.fleet.generations().any(|living| living == generation);
                assert!(known, "generation {generation} is adopted and gone");
            }
            Action::DropGeneration { .. }
            | Action::ReopenLogs
            | Action::StopListening
            | Action::Describe(_)
            | Action::Report(_) => {}
        }
        None
    }

    fn fork(&mut self, nr: usize) -> Event {
        self.check_busy_loop();
        assert_eq!(self.pid_in(nr), None, "two workers in slot {nr}");
        if self.trouble && self.random.chance(10) {
            return Event::ForkFailed { nr, error: "resource temporarily unavailable".to_owned() };
        }
        self.next_pid += 1;
        let pid = self.next_pid;
        self.processes.insert(
            pid,
            Process { nr, ready: false, stuck_since: None, stopped_since: None, deaf: false },
        );
        self.boot(pid);
        Event::Forked { nr, pid: Pid::from_raw(pid) }
    }

    fn boot(&mut self, pid: i32) {
        let within = if let Code::Boots { within } = self.code { within } else { 1_000 };
        let booted = Duration::from_millis(self.random.between(1, within));
        match self.code {
            Code::Boots { .. } => {
                self.plan(booted, pid, Happening::BecomesReady);
                if self.trouble && self.random.chance(60) {
                    let (after, happening) = Happening::any(&mut self.random);
                    self.plan(booted + after, pid, happening);
                }
            }
            Code::Fails(exit) => self.plan(booted, pid, Happening::dies(exit)),
            Code::Hangs => {}
            Code::DiesSoon => {
                let lives = Duration::from_millis(self.random.between(0, 900));
                self.plan(booted, pid, Happening::BecomesReady);
                self.plan(booted + lives, pid, Happening::dies(Exit::Code(1)));
            }
        }
    }

    fn hear(&mut self, nr: usize, message: ToWorker) {
        let pid = self.pid_in(nr).expect("a worker that is told something is there");
        if self.processes[&pid].deaf {
            return;
        }
        match message {
            ToWorker::Retire | ToWorker::RetireLast | ToWorker::Stop => self.leave(pid),
            ToWorker::Quit => {
                let after = Duration::from_millis(self.random.between(0, 50));
                self.plan(after, pid, Happening::dies(Exit::Code(0)));
            }
            ToWorker::ReopenLogs => {}
        }
    }

    fn reload(&mut self, generation: u32) -> Event {
        if self.settings_are_wrong {
            let result = Err("wrong".to_owned());
            return Event::Reloaded { generation, result, kept: Vec::new() };
        }
        self.latest = generation;
        let kept = self.fleet.generations().filter(|_| self.random.chance(80)).collect();
        let result = Ok(options(self.workers, &mut self.random));
        Event::Reloaded { generation, result, kept }
    }

    fn pid_in(&self, nr: usize) -> Option<i32> {
        self.processes.iter().find(|(_, process)| process.nr == nr).map(|(pid, _)| *pid)
    }

    /// In a second, each worker may be forked a few times, and each command may fork some.
    fn check_busy_loop(&mut self) {
        self.forks.push_back(self.now);
        for times in [&mut self.forks, &mut self.commands] {
            while times.front().is_some_and(|at| self.now.since(*at) > Duration::from_secs(1)) {
                times.pop_front();
            }
        }
        let strength = CAPACITY.min(2 * self.fleet.target().max(6));
        let most = 6 * strength + 10 * self.commands.len();
        assert!(self.forks.len() <= most, "{} forks in a second", self.forks.len());
    }

    fn note(&self, text: &str) {
        if self.verbose {
            let at = self.now.since(Monotonic::from_nanos(0)).as_secs_f64();
            let _ = writeln!(io::stderr(), "{at:>12.3} {text}");
        }
    }
}

fn options(workers: usize, random: &mut Random) -> Options {
    Options {
        workers,
        timeout: Some(Duration::from_secs(30)),
        graceful_timeout: GRACEFUL,
        boot_timeout: Some(Duration::from_secs(60)),
        reload_surge: usize::try_from(random.between(1, 3)).expect("a small number"),
    }
}
