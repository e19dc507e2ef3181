//! Memory that the master and all workers see: what each worker is doing.
//!
//! Made by the master before any fork. A word has one writer, the slot's worker (or the master, for
//! what it asks of it), and any number of readers; every word is an atomic, so a reader may see an
//! old value but never an impossible one, and a worker that is killed in mid-write leaves nothing
//! broken. Writing costs a store and no system call: cheap enough for each request.
//!
//! ```text
//!   header │ slot 0 │ slot 1 │ …
//!            └ numbers │ lane 0 │ … │ lane 255 │ log lines     a lane: numbers and text, 256 bytes
//! ```
//!
//! A lane is the place of one thread that runs the app, and is written by that thread alone. Most
//! lanes are never used: memory that nobody has touched is only an address, so neither a reader nor
//! a [reset](BoardSlot::reset) looks beyond the lanes that were [taken](BoardSlot::lane).

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::clock::Monotonic;
use lane::LaneMemory;
pub use lane::{BoardLane, Running};
use log_lines::LogLines;

mod lane;
mod log_lines;
mod siblings;
mod text;

/// How many threads of a worker can run the app.
pub const LANES: usize = 256;

/// The shared memory. A clone is the same memory; the last one unmaps it.
#[derive(Clone, Debug)]
pub struct Board(Arc<Mapping>);

/// One worker's part of the board.
#[derive(Clone, Debug)]
pub struct BoardSlot {
    mapping: Arc<Mapping>,
    nr: usize,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// No worker has this slot.
    #[default]
    Empty,
    /// The app is being loaded.
    Booting,
    /// Requests are taken.
    Ready,
    /// The last requests are finished.
    Draining,
    /// It was booting, and is about to be ended by the master: it must not begin to serve.
    Condemned,
}

/// A slot at one moment.
///
/// The fields are read one after another: each is right, together they may be a moment apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What the worker is doing.
    pub state: State,
    /// When it last turned its loop.
    pub heartbeat: Monotonic,
    /// Requests answered since the slot was reset.
    pub requests: u64,
    /// Open connections.
    pub connections: u32,
    /// How many lanes it has. With one, the loop itself runs the app, and doesn't turn meanwhile.
    pub lanes: usize,
    /// The requests that the app is running, by their lanes.
    pub running: Vec<Running>,
}

impl Snapshot {
    /// Whether the app is running anything.
    pub fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// The request that has made no progress for the longest time.
    pub fn oldest(&self) -> Option<&Running> {
        self.running.iter().min_by_key(|running| running.busy_since)
    }
}

impl Board {
    /// Maps a board for workers 1 to `capacity`. Slot 0 exists too, for a caller that counts from 0.
    pub fn new(capacity: usize) -> io::Result<Self> {
        Mapping::new(capacity).map(Arc::new).map(Self)
    }

    /// The highest slot number.
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    /// The slot of worker `nr`.
    ///
    /// # Panics
    /// If `nr` is above the capacity.
    pub fn slot(&self, nr: usize) -> BoardSlot {
        assert!(nr <= self.capacity(), "slot {nr} of a board of {}", self.capacity());
        BoardSlot { mapping: Arc::clone(&self.0), nr }
    }

    /// Whether the caller is the one that prints why it can't boot.
    ///
    /// Asked by each worker whose app fails to load, so that N workers that fail together print
    /// one traceback. True again for another generation, or when the last report is
    /// [`ONE_REPORT`] old. Whoever is told to print says [`Board::boot_report_is_written`]
    /// afterwards.
    pub fn claim_boot_report(&self, generation: u32, now: Monotonic) -> bool {
        let claimed = &self.0.header().boot_claimed;
        let last = claimed.load(Acquire);
        let claim = Claim { generation, at: now }.pack();
        let together = last != 0 && Claim::unpack(last).covers(generation, now);
        !together && claimed.compare_exchange(last, claim, AcqRel, Relaxed).is_ok()
    }

    /// Says that a worker of this generation serves; for the master.
    pub fn note_served(&self, generation: u32) {
        self.0.header().served.fetch_max(generation, Relaxed);
    }

    /// Whether a worker of this generation, or of a later one, has served: what is wrong now wasn't
    /// from the beginning.
    pub fn has_served(&self, generation: u32) -> bool {
        self.0.header().served.load(Relaxed) >= generation
    }

    /// Says that the report which was claimed is out.
    pub fn boot_report_is_written(&self) {
        let header = self.0.header();
        header.boot_reported.store(header.boot_claimed.load(Acquire), Release);
    }

    /// Waits until the report that somebody has claimed is out, for `timeout` at most. A worker
    /// that exits before may have the master end the one that is writing.
    pub fn wait_for_boot_report(&self, timeout: Duration) {
        const STEP: Duration = Duration::from_millis(2);
        let header = self.0.header();
        let written = || header.boot_reported.load(Acquire) == header.boot_claimed.load(Acquire);
        let deadline = Monotonic::now() + timeout;
        while !written() && Monotonic::now() < deadline {
            std::thread::sleep(STEP);
        }
    }
}

/// Boot failures of one generation within this time are told once.
pub const ONE_REPORT: Duration = Duration::from_secs(3);

/// Who reports a boot failure, in one word: milliseconds above the generation's low bits.
struct Claim {
    generation: u32,
    at: Monotonic,
}

impl Claim {
    const GENERATION_BITS: u32 = 24;
    const GENERATION_MASK: u64 = (1 << Self::GENERATION_BITS) - 1;

    /// Never 0, as a generation's number isn't.
    fn pack(&self) -> u64 {
        let millis = self.at.as_nanos() / 1_000_000;
        millis << Self::GENERATION_BITS | u64::from(self.generation) & Self::GENERATION_MASK
    }

    fn unpack(word: u64) -> Self {
        let generation = u32::try_from(word & Self::GENERATION_MASK).unwrap_or_default();
        let at = Monotonic::from_nanos((word >> Self::GENERATION_BITS) * 1_000_000);
        Self { generation, at }
    }

    fn covers(&self, generation: u32, now: Monotonic) -> bool {
        u64::from(self.generation) == u64::from(generation) & Self::GENERATION_MASK
            && now.since(self.at) < ONE_REPORT
    }
}

impl BoardSlot {
    /// Number of the slot.
    pub fn nr(&self) -> usize {
        self.nr
    }

    /// Lane `index`, which counts as used from now on: a worker takes all that it has before it
    /// begins to serve.
    ///
    /// # Panics
    /// If there is no such lane: there are [`LANES`].
    pub fn lane(&self, index: usize) -> BoardLane {
        assert!(index < LANES, "lane {index} of {LANES}");
        let taken = u32::try_from(index + 1).expect("invariant: lanes are few");
        self.memory().lanes.fetch_max(taken, Relaxed);
        BoardLane::new(Arc::clone(&self.mapping), self.nr, index)
    }

    /// How many lanes are used. The first always is.
    pub fn lanes(&self) -> usize {
        let taken = self.memory().lanes.load(Relaxed);
        usize::try_from(taken).unwrap_or(LANES).clamp(1, LANES)
    }

    /// Empties the slot; for the master, when no worker has it.
    pub fn reset(&self) {
        let slot = self.memory();
        slot.state.store(State::Empty as u32, Relaxed);
        slot.connections.store(0, Relaxed);
        slot.heartbeat.store(0, Relaxed);
        slot.leaving.store(0, Relaxed);
        slot.ending.store(0, Relaxed);
        slot.free.store(0, Relaxed);
        slot.asked.store(0, Relaxed);
        slot.examined.store(0, Relaxed);
        slot.log_lines.reset();
        self.used().iter().for_each(LaneMemory::reset);
        slot.lanes.store(0, Relaxed);
    }

    /// Says that the worker is to leave; for the master, ahead of the message. A worker that is
    /// busy sees it when it ends its response, and tells the client not to come again.
    pub fn ask_to_leave(&self) {
        self.memory().leaving.store(1, Relaxed);
    }

    /// Whether the worker was asked to leave.
    pub fn is_asked_to_leave(&self) -> bool {
        self.memory().leaving.load(Relaxed) != 0
    }

    /// Says that the worker is about to be ended, whatever it is at: its [examination](crate::examine())
    /// is the last moment in which its clients can be told. For the master, ahead of that.
    pub fn announce_end(&self) {
        self.memory().ending.store(1, Relaxed);
    }

    /// Whether the worker is about to be ended.
    pub fn is_ending(&self) -> bool {
        self.memory().ending.load(Relaxed) != 0
    }

    /// Says what the worker is doing.
    pub fn set_state(&self, state: State) {
        self.be_seen();
        self.memory().state.store(state as u32, Relaxed);
    }

    /// Whether the worker may serve from now on, which the board then says; it may not when the
    /// master has decided to end it. To be asked before anything is accepted.
    pub fn begin_serving(&self) -> bool {
        self.be_seen();
        let may = |state| (state != State::Condemned as u32).then_some(State::Ready as u32);
        self.memory().state.fetch_update(AcqRel, Acquire, may).is_ok()
    }

    /// Whether the worker can be ended without loss, and will not begin to serve any more; for the
    /// master, which hears of a worker that serves a moment after it has begun to.
    pub fn condemn(&self) -> bool {
        let boots = |state| {
            let serves = [State::Ready, State::Draining].map(|state| state as u32);
            (!serves.contains(&state)).then_some(State::Condemned as u32)
        };
        self.memory().state.fetch_update(AcqRel, Acquire, boots).is_ok()
    }

    /// Has the others look as far as this slot.
    fn be_seen(&self) {
        let nr = u32::try_from(self.nr).unwrap_or(u32::MAX);
        self.mapping.header().last.fetch_max(nr, Relaxed);
    }

    /// Says that the loop turns.
    pub fn beat(&self, now: Monotonic) {
        self.memory().heartbeat.store(now.as_nanos(), Relaxed);
    }

    /// Counts another examination that is asked for, and says which it is; for the master, ahead of
    /// [`crate::examine()`].
    pub fn ask_to_examine(&self) -> u32 {
        self.memory().asked.fetch_add(1, Release).wrapping_add(1)
    }

    /// The last examination that was asked for, for the worker that begins one.
    pub fn asked(&self) -> u32 {
        self.memory().asked.load(Acquire)
    }

    /// Says that all examinations up to this one are done.
    pub fn set_examined(&self, examination: u32) {
        // Handlers may run in two threads at a time, and end in any order.
        self.memory().examined.fetch_max(examination, Release);
    }

    /// The last examination that is done.
    pub fn examined(&self) -> u32 {
        self.memory().examined.load(Acquire)
    }

    /// Says how many connections are open.
    pub fn set_connections(&self, connections: u32) {
        self.memory().connections.store(connections, Relaxed);
    }

    /// Says how many threads could run another request at once; for a worker that takes connections
    /// also while none could.
    pub fn set_free_threads(&self, threads: u32) {
        self.memory().free.store(threads, Relaxed);
    }

    /// When the loop turned last.
    pub fn heartbeat(&self) -> Monotonic {
        Monotonic::from_nanos(self.memory().heartbeat.load(Relaxed))
    }

    /// The threads of its lanes that have said so, as [`BoardLane::set_thread`] has it.
    pub fn threads(&self) -> impl Iterator<Item = (usize, u64)> {
        let threads = self.used().iter().map(LaneMemory::thread).enumerate();
        threads.filter(|&(_, thread)| thread != 0)
    }

    /// Requests answered since the slot was reset.
    pub fn requests(&self) -> u64 {
        self.used().iter().map(LaneMemory::requests).fold(0, u64::wrapping_add)
    }

    /// Whether the app is running anything.
    pub fn is_busy(&self) -> bool {
        self.used().iter().any(|lane| lane.busy_since().is_some())
    }

    /// Reads the slot.
    pub fn read(&self) -> Snapshot {
        self.read_naming(|_| true)
    }

    /// Reads the slot, with the names of those requests only that are `named`, by the moment since
    /// when they have been busy: a name is an allocation.
    pub fn read_naming(&self, named: impl Fn(Monotonic) -> bool) -> Snapshot {
        let slot = self.memory();
        let used = self.used();
        let running =
            used.iter().enumerate().filter_map(|(lane, memory)| memory.read(lane, &named));
        Snapshot {
            state: State::from_word(slot.state.load(Relaxed)),
            heartbeat: Monotonic::from_nanos(slot.heartbeat.load(Relaxed)),
            requests: self.requests(),
            connections: slot.connections.load(Relaxed),
            lanes: used.len(),
            running: running.collect(),
        }
    }

    /// The lanes that are used. Async-signal-safe, as is what they do.
    pub(crate) fn used(&self) -> &[LaneMemory] {
        &self.memory().lane[..self.lanes()]
    }

    fn memory(&self) -> &SlotMemory {
        self.mapping.slot(self.nr)
    }
}

impl State {
    fn from_word(word: u32) -> Self {
        [Self::Empty, Self::Booting, Self::Ready, Self::Draining, Self::Condemned]
            .into_iter()
            .find(|&state| state as u32 == word)
            .unwrap_or_default()
    }
}

/// Alone on its cache line, as all workers write it.
#[repr(C, align(64))]
struct Header {
    /// Who reports a boot failure ([`Claim`]); 0: nobody has.
    boot_claimed: AtomicU64,
    /// Whose report is out.
    boot_reported: AtomicU64,
    /// The latest generation of which a worker has served.
    served: AtomicU32,
    /// The last slot that a worker has had: nobody needs to look, nor to touch memory, beyond it.
    last: AtomicU32,
}

/// The first cache line: numbers of the whole worker. The others: its lanes, and what it has to log.
#[repr(C, align(64))]
struct SlotMemory {
    state: AtomicU32,
    connections: AtomicU32,
    heartbeat: AtomicU64,
    leaving: AtomicU32,
    ending: AtomicU32,
    /// How many lanes were taken.
    lanes: AtomicU32,
    /// How many threads could run another request.
    free: AtomicU32,
    /// Examinations that were asked for, and that are done.
    asked: AtomicU32,
    examined: AtomicU32,
    lane: [LaneMemory; LANES],
    log_lines: LogLines,
}

/// The mapping itself: a header and `capacity` + 1 slots.
struct Mapping {
    start: NonNull<u8>,
    length: NonZeroUsize,
    capacity: usize,
}

// SAFETY: `start` points to memory that belongs to this value alone until it is dropped, wherever
// it is dropped: munmap(2) works from any thread.
unsafe impl Send for Mapping {}
// SAFETY: the memory is only reached through references to `Header` and `SlotMemory`, which are made
// of atomics and nothing else; other processes write it through the same types.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(capacity: usize) -> io::Result<Self> {
        let too_large =
            || io::Error::new(io::ErrorKind::InvalidInput, format!("board of {capacity} slots"));
        let length = capacity
            .checked_add(1)
            .and_then(|slots| slots.checked_mul(size_of::<SlotMemory>()))
            .and_then(|slots| slots.checked_add(size_of::<Header>()))
            .and_then(NonZeroUsize::new)
            .ok_or_else(too_large)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // mmap(2): without a reservation, memory is accounted for as it is touched; most never is.
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping at an address that the kernel chooses, so no memory in
        // use is replaced. Memory shared across fork can't be had in a safe way.
        let start = unsafe { mmap_anonymous(None, length, access, flags) }?;
        Ok(Self { start: start.cast(), length, capacity })
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping begins with a Header: mmap(2) gives page-aligned memory of zeroes,
        // which is a valid Header, and it lives as long as `self`.
        unsafe { self.start.cast::<Header>().as_ref() }
    }

    fn slot(&self, nr: usize) -> &SlotMemory {
        assert!(nr <= self.capacity, "invariant: slot numbers are checked when a slot is made");
        // SAFETY: the offset is within the mapping, as `length` holds a Header and capacity + 1
        // slots and `nr` is at most the capacity.
        let slot = unsafe { self.start.add(size_of::<Header>() + nr * size_of::<SlotMemory>()) };
        // SAFETY: aligned, as pages, Header and SlotMemory are multiples of 64 bytes; zeroes, or
        // whatever words were stored, are a valid SlotMemory; it lives as long as `self`.
        unsafe { slot.cast::<SlotMemory>().as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the one that mmap gave, and no reference into it outlives `self`.
        let unmapped = unsafe { munmap(self.start.cast(), self.length.get()) };
        debug_assert!(unmapped.is_ok(), "invariant: the board is mapped");
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_whole_cache_lines() {
        assert_eq!(size_of::<Header>(), 64);
        assert_eq!(size_of::<LaneMemory>(), 256);
        assert_eq!(size_of::<SlotMemory>(), 64 + LANES * 256 + 4096);
    }

    #[test]
    fn slots_are_empty_at_first_and_after_a_reset() {
        let board = Board::new(2).unwrap();
        assert_eq!(board.capacity(), 2);
        let slot = board.slot(2);
        let empty = slot.read();
        assert_eq!(empty.state, State::Empty);
        assert_eq!((empty.requests, empty.connections, empty.lanes), (0, 0, 1));
        assert!(!empty.is_busy() && !slot.is_busy());
        for state in [State::Booting, State::Ready, State::Draining] {
            slot.set_state(state);
            assert_eq!(slot.read().state, state);
        }
        slot.beat(Monotonic::now());
        slot.set_connections(3);
        for index in [0, 7] {
            slot.lane(index).begin_request(b"GET", b"/", Monotonic::now());
            slot.lane(index).extend_request(Monotonic::now());
            slot.lane(index).set_expired();
        }
        assert_eq!((slot.read().lanes, slot.read().running.len()), (8, 2));
        assert!(!slot.is_asked_to_leave());
        slot.ask_to_leave();
        assert!(slot.is_asked_to_leave() && !slot.is_ending());
        slot.announce_end();
        assert!(slot.is_ending());
        slot.set_examined(slot.ask_to_examine());
        slot.reset();
        assert!(!slot.is_asked_to_leave() && !slot.is_ending());
        assert_eq!((slot.asked(), slot.examined()), (0, 0));
        assert_eq!(slot.read(), empty);
        assert_eq!(slot.lane(7).read(), None);
    }

    #[test]
    fn each_lane_runs_a_request_of_its_own() {
        let slot = Board::new(1).unwrap().slot(1);
        let at = Monotonic::from_nanos;
        let lanes = [slot.lane(0), slot.lane(1), slot.lane(LANES - 1)];
        for (lane, began) in lanes.iter().zip([30, 10, 20]) {
            lane.begin_request(b"GET", format!("/{}", lane.index()).as_bytes(), at(began));
        }
        lanes[1].extend_request(at(99));
        lanes[2].set_expired();
        let read = slot.read();
        let running = |lane, began, request: &str| Running {
            lane,
            busy_since: at(began),
            extended_until: None,
            expired: false,
            request: request.to_owned(),
        };
        let expected = [
            running(0, 30, "GET /0"),
            Running { extended_until: Some(at(99)), ..running(1, 10, "GET /1") },
            Running { expired: true, ..running(255, 20, "GET /255") },
        ];
        assert_eq!(read.running, expected);
        assert_eq!(read.oldest(), Some(&expected[1]));
        let named = slot.read_naming(|busy_since| busy_since < at(20)).running;
        assert_eq!(
            named.iter().map(|it| it.request.as_str()).collect::<Vec<_>>(),
            ["", "GET /1", ""]
        );
        for (lane, rest) in lanes.iter().zip([2, 1, 0]) {
            assert!(slot.is_busy());
            lane.end_request();
            assert_eq!(slot.read().running.len(), rest);
        }
        assert!(!slot.is_busy() && !slot.read().is_busy());
        assert_eq!(slot.read().requests, 3);
    }

    #[test]
    fn threads_count_what_they_serve() {
        let slot = Board::new(1).unwrap().slot(1);
        std::thread::scope(|scope| {
            for index in 0..8 {
                let lane = slot.lane(index);
                scope.spawn(move || {
                    for _ in 0..1000 {
                        lane.begin_request(b"GET", b"/", Monotonic::now());
                        lane.end_request();
                    }
                });
            }
        });
        assert_eq!(slot.read().requests, 8000);
    }

    #[test]
    fn examinations_are_done_in_any_order() {
        let slot = Board::new(1).unwrap().slot(1);
        assert_eq!([slot.ask_to_examine(), slot.ask_to_examine(), slot.asked()], [1, 2, 2]);
        slot.set_examined(2);
        slot.set_examined(1);
        assert_eq!(slot.examined(), 2);
    }

    /// Where memory was touched, mincore(2) finds a page.
    #[test]
    fn lanes_that_are_not_used_take_no_memory() {
        let board = Board::new(64).unwrap();
        let resident = || {
            let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).unwrap().unwrap();
            let mut pages = vec![0; board.0.length.get().div_ceil(usize::try_from(page).unwrap())];
            // SAFETY: the range is the mapping's, and there is a byte for each of its pages.
            let asked = unsafe {
                libc::mincore(
                    board.0.start.as_ptr().cast(),
                    board.0.length.get(),
                    pages.as_mut_ptr(),
                )
            };
            assert_eq!(asked, 0);
            pages.iter().filter(|page| **page & 1 == 1).count()
        };
        for nr in 1..=8 {
            let slot = board.slot(nr);
            slot.lane(0).begin_request(b"GET", b"/", Monotonic::now());
            slot.read();
            slot.is_busy();
            slot.reset();
        }
        // Those of a slot's first lane may be two.
        assert!(resident() <= 16, "{} pages", resident());
    }

    #[test]
    fn a_worker_begins_to_serve_or_is_condemned() {
        let slot = Board::new(1).unwrap().slot(1);
        slot.set_state(State::Booting);
        assert!(slot.begin_serving());
        assert!(!slot.condemn());
        assert_eq!(slot.read().state, State::Ready);
        slot.set_state(State::Draining);
        assert!(!slot.condemn());
        slot.set_state(State::Booting);
        assert!(slot.condemn());
        assert!(slot.condemn());
        assert!(!slot.begin_serving());
        assert_eq!(slot.read().state, State::Condemned);
    }

    #[test]
    fn neighbours_do_not_touch() {
        let board = Board::new(16).unwrap();
        for nr in 0..=16 {
            let slot = board.slot(nr);
            assert_eq!(slot.nr(), nr);
            slot.set_connections(u32::try_from(nr).unwrap());
            for index in [0, LANES - 1] {
                slot.lane(index).begin_request(&[b'x'; 500], b"", Monotonic::now());
            }
        }
        for nr in 0..=16 {
            assert_eq!(board.slot(nr).read().connections, u32::try_from(nr).unwrap());
        }
        assert!(board.claim_boot_report(3, Monotonic::now()));
    }

    #[test]
    fn what_has_served_once_has_served() {
        let board = Board::new(1).unwrap();
        assert!(!board.has_served(1));
        board.note_served(2);
        board.note_served(1);
        assert!(board.has_served(1) && board.has_served(2) && !board.has_served(3));
    }

    #[test]
    fn a_slot_keeps_the_memory() {
        let slot = Board::new(1).unwrap().slot(1);
        slot.beat(Monotonic::from_nanos(4));
        let read = std::thread::spawn(move || slot.read()).join().unwrap();
        assert_eq!(read.heartbeat, Monotonic::from_nanos(4));
    }

    #[test]
    fn an_impossible_size_is_an_error() {
        assert!(Board::new(usize::MAX).is_err());
        assert!(Board::new(usize::MAX / 512).is_err());
    }

    #[test]
    #[should_panic(expected = "slot 3 of a board of 2")]
    fn a_slot_beyond_the_end_is_refused() {
        Board::new(2).unwrap().slot(3);
    }

    #[test]
    #[should_panic(expected = "lane 256 of 256")]
    fn a_lane_beyond_the_end_is_refused() {
        Board::new(1).unwrap().slot(1).lane(LANES);
    }
}
