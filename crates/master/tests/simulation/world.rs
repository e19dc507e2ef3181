//! Everything around the fleet: time, processes, an operator with a heavy hand.

mod check;
mod perform;
mod processes;
mod requests;
mod trouble;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    io::{self, Write},
    time::Duration,
};

use ironhorn_master::{
    Options,
    command::Command,
    fleet::{Action, Event, Fleet, Glance, State},
};
use ironhorn_unix::{Exit, Monotonic};

use crate::{
    process::{Code, Happening, Process, Zygote},
    random::Random,
};
use check::Window;

pub(crate) const GRACEFUL: Duration = Duration::from_secs(20);
pub(crate) const LONGEST_DELAY: Duration = Duration::from_secs(10);
const CAPACITY: usize = 24;
/// Who has served for so long did not die of its code.
const HEALTHY: Duration = Duration::from_secs(1);
const KILLED: Exit = Exit::Signal { signal: 9, core_dumped: false };

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) trouble: bool,
    /// What is on the disk.
    pub(crate) code: Code,
    pub(crate) settings_are_wrong: bool,
    pub(crate) exited: Option<i32>,
    pub(crate) ever_ready: bool,
    pub(crate) keeps_trying: bool,
    pub(crate) fleet: Fleet,
    now: Monotonic,
    processes: BTreeMap<i32, Process>,
    zygotes: BTreeMap<i32, Zygote>,
    /// The new master that this one has started.
    successor: Option<i32>,
    /// What will happen when, to whom; in order of time, then of decision.
    agenda: BinaryHeap<Reverse<(Monotonic, u64, i32, Happening)>>,
    decisions: u64,
    actions: VecDeque<Action>,
    next_pid: i32,
    next_trouble: Monotonic,
    /// When the fleet forked, and when it was commanded: a busy loop would show here.
    forks: Window,
    commands: Window,
    zygote_forks: BTreeMap<u32, Window>,
    failed_recycles: Window,
    /// When an operator wanted somebody recycled.
    wishes: Window,
    /// Of the generations that were not dropped.
    options: BTreeMap<u32, Options>,
    dropped: BTreeSet<u32>,
    /// Whether the machine was suspended, and the fleet has not noticed yet.
    slept: bool,
    /// When it was awake again, and when the fleet noticed.
    awake_since: Monotonic,
    resumed_at: Monotonic,
    /// How many requests were begun.
    requests: u64,
    /// Whether the server has said that it serves.
    said_serving: bool,
    /// Those who leave a delayed stop's time to load balancers.
    asked_to_leave: BTreeSet<i32>,
    /// Generations of which somebody has lived for long enough.
    proven: BTreeSet<u32>,
    /// Whether nothing can be forked at present.
    unforkable: bool,
    /// Who was killed, and who was not, as it had just begun to serve.
    killed: BTreeSet<(i32, bool)>,
    /// When one who served was killed for its memory, until its replacement serves.
    memory_kill: Option<Monotonic>,
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
        let first = trouble::options(workers, &mut random);
        Self {
            trouble: false,
            code,
            settings_are_wrong: false,
            exited: None,
            ever_ready: false,
            keeps_trying: first.keep_trying,
            fleet: Fleet::new(first.clone(), CAPACITY),
            now,
            processes: BTreeMap::new(),
            zygotes: BTreeMap::new(),
            successor: None,
            agenda: BinaryHeap::new(),
            decisions: 0,
            actions: VecDeque::new(),
            next_pid: 100,
            next_trouble: now,
            forks: Window::new(1),
            commands: Window::new(1),
            zygote_forks: BTreeMap::new(),
            failed_recycles: Window::new(10),
            wishes: Window::new(10),
            options: BTreeMap::from([(1, first)]),
            dropped: BTreeSet::new(),
            slept: false,
            awake_since: now,
            resumed_at: now,
            requests: 0,
            said_serving: false,
            asked_to_leave: BTreeSet::new(),
            proven: BTreeSet::new(),
            unforkable: false,
            killed: BTreeSet::new(),
            memory_kill: None,
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
        self.commands.note(self.now);
        if let Command::Recycle(_) = command {
            self.wishes.note(self.now);
        }
        self.tell(Event::Commanded(command));
    }

    /// Workers and zygotes.
    pub(crate) fn living(&self) -> usize {
        self.processes.len() + self.zygotes.len()
    }

    /// As many serve as should, and nobody else is there.
    pub(crate) fn is_at_rest(&self) -> bool {
        let ready = self.processes.values().filter(|process| process.ready).count();
        let wanted = if self.fleet.state() == State::Retired { 0 } else { self.fleet.target() };
        let preloads = self.options[&self.fleet.serving()].preload;
        !self.fleet.is_reloading()
            && ready == wanted
            && self.processes.len() == ready
            && self.ready() == ready
            && self.zygotes.len() == usize::from(preloads)
            && self.zygotes.values().all(|zygote| zygote.ready)
    }

    /// Whoever serves is of the newest generation, and the older ones are forgotten.
    pub(crate) fn is_up_to_date(&self) -> bool {
        self.fleet.serving() == self.latest
            && self.fleet.generations().all(|generation| generation == self.latest)
            && self
                .fleet
                .slots()
                .all(|(_, slot)| slot.generation().unwrap_or(self.latest) == self.latest)
            && self.zygotes.values().all(|zygote| zygote.generation == self.latest)
    }

    /// What a zygote has imported, only a reload can replace.
    pub(crate) fn is_bound_to_bad_code(&self) -> bool {
        self.zygotes.values().any(|zygote| zygote.code == Code::DiesSoon)
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
        // Who has slept over the end has still to do what was due before it.
        let end = end.max(self.now);
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
            heartbeat: process.heartbeat(self.now),
            lanes: process.lanes.len(),
            running: requests::running(process),
        });
        self.tell(Event::Woke { board: board.collect() });
        let deadline = self.fleet.next_deadline();
        assert!(deadline.is_none_or(|at| at > self.now), "woken and to be woken again at once");
    }

    fn plan(&mut self, after: Duration, pid: i32, happening: Happening) {
        self.decisions += 1;
        self.agenda.push(Reverse((self.now + after, self.decisions, pid, happening)));
    }

    /// Between two numbers of milliseconds.
    fn millis(&mut self, first: u64, last: u64) -> Duration {
        Duration::from_millis(self.random.between(first, last))
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
                let served = self.serving();
                let old = (self.fleet.reloading_to(), self.old_ready());
                let actions = self.fleet.handle(event, self.now);
                self.fleet.check_invariants(self.now);
                self.check_strength(before - gone, &actions);
                self.check_old(old, gone, &actions);
                self.check_memory_kills(&served, &actions);
                self.check_reports(&actions);
                self.actions.extend(actions);
                before = self.ready();
            }
            let Some(action) = self.actions.pop_front() else { break };
            self.note(&format!("    {action:?}"));
            next = self.perform(action);
        }
        self.check_people();
        self.check_requests();
    }

    fn note(&self, text: &str) {
        if self.verbose {
            let at = self.now.since(Monotonic::from_nanos(0)).as_secs_f64();
            let _ = writeln!(io::stderr(), "{at:>12.3} {text}");
        }
    }
}
