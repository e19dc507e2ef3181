//! A fleet in a test: brings it into a state, plays the world around it, asks what it did.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use ironhorn_unix::{Exit, Monotonic, Pid, Running, ToWorker};

use super::{Action, Event, Fleet, Glance};
use crate::{
    Options,
    command::Command,
    report::{Reason, Report, Who},
    respawn::HEALTHY,
    slot::Slot,
};

pub(super) const CAPACITY: usize = 12;
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const GRACEFUL: Duration = Duration::from_secs(20);

pub(super) fn options(workers: usize) -> Options {
    Options {
        workers,
        timeout: Some(TIMEOUT),
        graceful_timeout: GRACEFUL,
        boot_timeout: Some(Duration::from_secs(60)),
        boots_abreast: CAPACITY,
        reload_surge: 1,
        max_memory: None,
        max_memory_hard: None,
        max_lifetime: None,
        preload: false,
        shutdown_delay: Duration::ZERO,
        keep_trying: false,
    }
}

pub(super) struct Scenario {
    pub(super) fleet: Fleet,
    pub(super) now: Monotonic,
    actions: Vec<Action>,
    who: HashMap<usize, Who>,
    /// By slot and lane.
    running: BTreeMap<(usize, usize), Running>,
    /// Of those that have more than one.
    lanes: HashMap<usize, usize>,
    silent: HashMap<usize, Monotonic>,
    next_pid: i32,
}

impl Scenario {
    /// Started: all forks were asked for.
    pub(super) fn new(workers: usize) -> Self {
        Self::with(options(workers))
    }

    pub(super) fn with(options: Options) -> Self {
        let mut scenario = Self {
            fleet: Fleet::new(options, CAPACITY),
            now: Monotonic::from_nanos(1_000_000_000_000),
            actions: Vec::new(),
            who: HashMap::new(),
            running: BTreeMap::new(),
            lanes: HashMap::new(),
            silent: HashMap::new(),
            next_pid: 100,
        };
        scenario.handle(Event::Started);
        scenario
    }

    /// All workers are ready.
    pub(super) fn serving(workers: usize) -> Self {
        Self::serving_with(options(workers))
    }

    pub(super) fn serving_with(options: Options) -> Self {
        let mut scenario = Self::with(options);
        scenario.boot_zygotes();
        scenario.boot_all();
        scenario.take();
        scenario
    }

    /// All workers are ready, out of a zygote.
    pub(super) fn preloaded(workers: usize) -> Self {
        Self::serving_with(Options { preload: true, ..options(workers) })
    }

    pub(super) fn handle(&mut self, event: Event) {
        let actions = self.fleet.handle(event, self.now);
        self.actions.extend(actions);
    }

    // The world.

    pub(super) fn command(&mut self, command: Command) {
        self.handle(Event::Commanded(command));
    }

    pub(super) fn fork_all(&mut self) {
        for (nr, generation) in self.forking() {
            self.fork(nr, generation);
        }
    }

    /// The first of those that were asked for is forked, the others not yet.
    pub(super) fn fork_next(&mut self) {
        let (nr, generation) = self.forking()[0];
        self.fork(nr, generation);
    }

    fn fork(&mut self, nr: usize, generation: u32) {
        self.next_pid += 1;
        let pid = Pid::from_raw(self.next_pid);
        self.who.insert(nr, Who { nr, generation, pid });
        self.handle(Event::Forked { nr, pid });
    }

    pub(super) fn fork_fails(&mut self, nr: usize) {
        self.handle(Event::ForkFailed { nr, error: "no".to_owned() });
    }

    pub(super) fn ready(&mut self, nr: usize) {
        self.handle(Event::Ready { nr });
    }

    pub(super) fn boot_all(&mut self) {
        self.fork_all();
        for nr in self.in_state(|slot| matches!(slot, Slot::Booting { .. })) {
            self.ready(nr);
        }
    }

    pub(super) fn draining(&mut self, nr: usize) {
        self.handle(Event::Draining { nr });
    }

    pub(super) fn closed(&mut self, nr: usize) {
        self.handle(Event::ChannelClosed { nr });
    }

    pub(super) fn exit(&mut self, nr: usize, exit: Exit) {
        self.exit_for_want_of_memory(nr, exit, false);
    }

    pub(super) fn exit_for_want_of_memory(&mut self, nr: usize, exit: Exit, out_of_memory: bool) {
        self.running.retain(|(of, _), _| *of != nr);
        self.lanes.remove(&nr);
        self.silent.remove(&nr);
        self.handle(Event::Exited { nr, exit, requests: 0, out_of_memory });
    }

    /// Whoever was killed is reaped.
    pub(super) fn bury(&mut self) {
        for nr in self.in_state(|slot| matches!(slot, Slot::Killed { .. })) {
            self.exit(nr, Exit::Signal { signal: 9, core_dumped: false });
        }
    }

    pub(super) fn busy(&mut self, nr: usize, request: &str) {
        self.busy_in(nr, 0, request);
    }

    /// It runs its app in threads.
    pub(super) fn threads(&mut self, nr: usize, lanes: usize) {
        self.lanes.insert(nr, lanes);
    }

    pub(super) fn busy_in(&mut self, nr: usize, lane: usize, request: &str) {
        let (busy_since, request) = (self.now, request.to_owned());
        let running = Running { lane, busy_since, extended_until: None, expired: false, request };
        self.running.insert((nr, lane), running);
    }

    pub(super) fn idle_in(&mut self, nr: usize, lane: usize) {
        self.running.remove(&(nr, lane));
    }

    /// Its request says that it is long.
    pub(super) fn extend(&mut self, nr: usize, time: Duration) {
        self.extend_in(nr, 0, time);
    }

    pub(super) fn extend_in(&mut self, nr: usize, lane: usize, time: Duration) {
        let running = self.running.get_mut(&(nr, lane)).expect("a request runs there");
        running.extended_until = Some(self.now + time);
    }

    pub(super) fn silence(&mut self, nr: usize) {
        self.silent.insert(nr, self.now);
    }

    pub(super) fn worn(&mut self, nr: usize) {
        self.handle(Event::Worn { nr });
    }

    pub(super) fn measured(&mut self, memory: &[(usize, u64)]) {
        self.handle(Event::Measured { memory: memory.to_vec() });
    }

    /// Each zygote that was asked for is forked. Their generations.
    pub(super) fn fork_zygotes(&mut self) -> Vec<u32> {
        let asked = self.take_zygote_forks();
        for &generation in &asked {
            self.next_pid += 1;
            self.handle(Event::ZygoteForked { generation, pid: Pid::from_raw(self.next_pid) });
        }
        asked
    }

    /// As before, and it imports the app.
    pub(super) fn boot_zygotes(&mut self) {
        for generation in self.fork_zygotes() {
            self.zygote_ready(generation);
        }
    }

    pub(super) fn zygote_fork_fails(&mut self) {
        for generation in self.take_zygote_forks() {
            self.handle(Event::ZygoteForkFailed { generation, error: "no".to_owned() });
        }
    }

    pub(super) fn zygote_ready(&mut self, generation: u32) {
        self.handle(Event::ZygoteReady { generation });
    }

    pub(super) fn zygote_exits(&mut self, generation: u32, exit: Exit) {
        for (nr, of) in self.forking() {
            if of == generation {
                self.fork_fails(nr);
            }
        }
        self.handle(Event::ZygoteExited { generation, exit, out_of_memory: false });
    }

    /// Settings are fine, and every listener stays.
    pub(super) fn reload(&mut self, options: Options) {
        let kept = self.fleet.generations().collect();
        self.accept(options, kept);
    }

    /// Settings are fine, and no listener stays.
    pub(super) fn reload_elsewhere(&mut self, options: Options) {
        self.accept(options, Vec::new());
    }

    fn accept(&mut self, options: Options, kept: Vec<u32>) {
        self.command(Command::Reload);
        let generation = self.asked_to_reload();
        self.handle(Event::Reloaded { generation, result: Ok(options), kept });
    }

    pub(super) fn refuse(&mut self, reason: &str) {
        let generation = self.fleet.latest + 1;
        let result = Err(reason.to_owned());
        self.handle(Event::Reloaded { generation, result, kept: Vec::new() });
    }

    fn asked_to_reload(&self) -> u32 {
        let asked = self.actions.iter().rev().find_map(|action| match action {
            Action::Reload { generation } => Some(*generation),
            _ => None,
        });
        asked.expect("a reload was asked for")
    }

    /// Time passes, the master wakes when it wants to. How often it did.
    pub(super) fn pass(&mut self, time: Duration) -> usize {
        let end = self.now + time;
        let mut wakes = 0;
        while let Some(deadline) = self.fleet.next_deadline().filter(|at| *at <= end) {
            assert!(deadline > self.now || wakes == 0, "woken for nothing at {deadline:?}");
            self.now = self.now.max(deadline);
            self.wake();
            wakes += 1;
        }
        self.now = end;
        wakes
    }

    /// Whoever serves shows that it lives.
    pub(super) fn prove(&mut self) {
        self.pass(HEALTHY);
    }

    /// Time passes, the master sleeps over it.
    pub(super) fn jump(&mut self, time: Duration) {
        self.now = self.now + time;
        self.wake();
    }

    /// Until somebody is to be forked.
    pub(super) fn wait_for_fork(&mut self) {
        while self.forking().is_empty() {
            self.now = self.fleet.next_deadline().expect("something is waited for");
            self.wake();
        }
    }

    /// Until a zygote is to be forked.
    pub(super) fn wait_for_zygote(&mut self) {
        let asked = |it: &Action| matches!(it, Action::ForkZygote { .. });
        while !self.actions.iter().any(asked) {
            self.now = self.fleet.next_deadline().expect("something is waited for");
            self.wake();
        }
    }

    fn wake(&mut self) {
        let board = (1..=CAPACITY)
            .map(|nr| Glance {
                nr,
                heartbeat: self.silent.get(&nr).copied().unwrap_or(self.now),
                lanes: self.lanes.get(&nr).copied().unwrap_or(1),
                running: self
                    .running
                    .range((nr, 0)..(nr + 1, 0))
                    .map(|(_, it)| it.clone())
                    .collect(),
            })
            .collect();
        self.handle(Event::Woke { board });
    }

    // What the fleet did.

    /// All actions since last asked.
    pub(super) fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    pub(super) fn did(&self, action: &Action) -> bool {
        self.actions.contains(action)
    }

    pub(super) fn said(&self, report: &Report) -> bool {
        self.did(&Action::Report(report.clone()))
    }

    pub(super) fn said_preload_failed(&self) -> bool {
        let failed = |it: &Action| matches!(it, Action::Report(Report::PreloadFailed { .. }));
        self.actions.iter().any(failed)
    }

    /// How often memory was to be measured.
    pub(super) fn measurements(&self) -> usize {
        self.actions.iter().filter(|it| matches!(it, Action::Measure { .. })).count()
    }

    pub(super) fn woke_late(&self) -> bool {
        let late = |it: &Action| matches!(it, Action::Report(Report::WokeLate { .. }));
        self.actions.iter().any(late)
    }

    pub(super) fn said_reloaded(&self) -> bool {
        let done = |it: &Action| matches!(it, Action::Report(Report::Reloaded { .. }));
        self.actions.iter().any(done)
    }

    pub(super) fn reload_failed(&self) -> bool {
        let failed =
            |action: &Action| matches!(action, Action::Report(Report::ReloadFailed { .. }));
        self.actions.iter().filter(|action| failed(action)).count() == 1
    }

    #[track_caller]
    pub(super) fn assert_killed(&mut self, expected: &[usize]) {
        let killed = self.actions.extract_if(.., |it| matches!(it, Action::Kill { .. }));
        let killed: Vec<usize> = killed
            .filter_map(|action| match action {
                Action::Kill { nr, .. } => Some(nr),
                _ => None,
            })
            .collect();
        assert_eq!(killed, expected);
    }

    /// Which requests were ended, of what worker: the paths.
    #[track_caller]
    pub(super) fn assert_expired_in(&mut self, nr: usize, expected: &[&str]) {
        let expired = self.actions.extract_if(.., |it| matches!(it, Action::Expire { .. }));
        let mut paths = Vec::new();
        for action in expired {
            let Action::Expire { nr: of, requests } = action else { continue };
            assert_eq!(of, nr);
            paths.extend(requests.into_iter().map(|request| match request.report {
                Report::RequestTimeout { path, .. } => path,
                report => panic!("{report:?}"),
            }));
        }
        assert_eq!(paths, expected);
    }

    /// Whose request was ended.
    #[track_caller]
    pub(super) fn assert_expired(&mut self, expected: &[usize]) {
        let expired = self.actions.extract_if(.., |it| matches!(it, Action::Expire { .. }));
        let expired: Vec<usize> = expired
            .filter_map(|action| match action {
                Action::Expire { nr, .. } => Some(nr),
                _ => None,
            })
            .collect();
        assert_eq!(expired, expected);
    }

    pub(super) fn take_zygote_forks(&mut self) -> Vec<u32> {
        let asked = self.actions.extract_if(.., |it| matches!(it, Action::ForkZygote { .. }));
        asked
            .filter_map(|action| match action {
                Action::ForkZygote { generation } => Some(generation),
                _ => None,
            })
            .collect()
    }

    #[track_caller]
    pub(super) fn assert_told(&mut self, expected: &[(usize, ToWorker)]) {
        let told = self.actions.extract_if(.., |action| matches!(action, Action::Tell { .. }));
        let told: Vec<_> = told
            .filter_map(|action| match action {
                Action::Tell { nr, message } => Some((nr, message)),
                _ => None,
            })
            .collect();
        assert_eq!(told, expected);
    }

    #[track_caller]
    pub(super) fn assert_forked(&self, expected: &[usize]) {
        let forking: Vec<usize> = self.forking().into_iter().map(|(nr, _)| nr).collect();
        assert_eq!(forking, expected);
    }

    fn forking(&self) -> Vec<(usize, u32)> {
        let forking = self.fleet.slots().filter_map(|(nr, slot)| match slot {
            Slot::Forking { generation, .. } => Some((nr, *generation)),
            _ => None,
        });
        forking.collect()
    }

    /// The number of the one that is booting; the last of them.
    pub(super) fn last_forked(&self) -> usize {
        let booting = self.in_state(|slot| matches!(slot, Slot::Booting { .. }));
        *booting.last().expect("somebody boots")
    }

    /// Who became ready last.
    pub(super) fn youngest_ready(&self) -> usize {
        let ready = self.fleet.slots().filter_map(|(nr, slot)| Some((slot.ready_since()?, nr)));
        ready.max().expect("somebody is ready").1
    }

    pub(super) fn ready_count(&self) -> usize {
        self.in_state(Slot::is_ready).len()
    }

    /// Who will serve: number and generation.
    pub(super) fn coming(&self) -> Vec<(usize, u32)> {
        let coming = self.fleet.slots().filter(|(_, slot)| slot.is_coming());
        coming.filter_map(|(nr, slot)| Some((nr, slot.generation()?))).collect()
    }

    /// The generations of those who serve, sorted.
    pub(super) fn generations_ready(&self) -> Vec<u32> {
        let ready = self.fleet.slots().filter(|(_, slot)| slot.is_ready());
        let mut generations: Vec<u32> = ready.filter_map(|(_, slot)| slot.generation()).collect();
        generations.sort_unstable();
        generations
    }

    fn in_state(&self, wanted: impl Fn(&Slot) -> bool) -> Vec<usize> {
        self.fleet.slots().filter(|(_, slot)| wanted(slot)).map(|(nr, _)| nr).collect()
    }

    pub(super) fn last_reason(&self) -> Option<Reason> {
        self.actions.iter().rev().find_map(|action| match action {
            Action::Report(Report::Exited { reason, .. }) => Some(*reason),
            _ => None,
        })
    }

    /// Why the last zygote to go is gone.
    pub(super) fn zygote_reason(&self) -> Option<Reason> {
        self.actions.iter().rev().find_map(|action| match action {
            Action::Report(Report::ZygoteExited { reason, .. }) => Some(*reason),
            _ => None,
        })
    }

    pub(super) fn who(&self, nr: usize) -> Who {
        self.who[&nr]
    }
}
