//! A page of memory that the master and all workers see: what each worker is doing.
//!
//! Made by the master before any fork. A word has one writer, the slot's worker (or the master, for
//! what it asks of it), and any number of readers; every word is an atomic, so a reader may see an old value but never an impossible one,
//! and a worker that is killed in mid-write leaves nothing broken. Writing costs a store and no
//! system call: cheap enough for each request.
//!
//! ```text
//!   header │ slot 0 │ slot 1 │ …        a slot: one cache line of numbers, three of text
//! ```

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
use text::Text;

mod text;

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
    /// Since when the app has been running, or since its last chunk; None: it isn't.
    pub busy_since: Option<Monotonic>,
    /// Until when the running request was given time by itself, if it was.
    pub extended_until: Option<Monotonic>,
    /// Whether the client of the running request was told 504 in its stead.
    pub expired: bool,
    /// "GET /path" of the running request, truncated, made printable; empty if there is none.
    pub request: String,
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

    /// Empties the slot; for the master, when no worker has it.
    pub fn reset(&self) {
        let slot = self.memory();
        slot.state.store(State::Empty as u32, Relaxed);
        slot.connections.store(0, Relaxed);
        slot.heartbeat.store(0, Relaxed);
        slot.requests.store(0, Relaxed);
        slot.busy_since.store(0, Relaxed);
        slot.leaving.store(0, Relaxed);
        slot.extended_until.store(0, Relaxed);
        slot.expire.store(0, Relaxed);
        slot.expired.store(0, Relaxed);
        slot.text.reset();
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

    /// Says what the worker is doing.
    pub fn set_state(&self, state: State) {
        self.memory().state.store(state as u32, Relaxed);
    }

    /// Whether the worker may serve from now on, which the board then says; it may not when the
    /// master has decided to end it. To be asked before anything is accepted.
    pub fn begin_serving(&self) -> bool {
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

    /// Says that the loop turns.
    pub fn beat(&self, now: Monotonic) {
        self.memory().heartbeat.store(now.as_nanos(), Relaxed);
    }

    /// Says that the app is called for this request.
    pub fn begin_request(&self, method: &[u8], target: &[u8], now: Monotonic) {
        let slot = self.memory();
        slot.text.write(&[method, b" ", target]);
        slot.extended_until.store(0, Relaxed);
        slot.expired.store(0, Relaxed);
        slot.busy_since.store(busy(now), Relaxed);
    }

    /// Says that the running request may go on until `until`, whatever the timeout is.
    pub fn extend_request(&self, until: Monotonic) {
        self.memory().extended_until.store(until.as_nanos(), Relaxed);
    }

    /// Names the request that is to be expired, by the moment since when it has been busy; for the
    /// master, ahead of [`crate::examine()`].
    pub fn ask_to_expire(&self, busy_since: Monotonic) {
        self.memory().expire.store(busy(busy_since), Relaxed);
    }

    /// Whether the running request is the one that is to be expired.
    pub fn is_asked_to_expire(&self) -> bool {
        let slot = self.memory();
        let busy_since = slot.busy_since.load(Relaxed);
        busy_since != 0 && busy_since == slot.expire.load(Relaxed)
    }

    /// Says that the client of the running request was told 504.
    pub fn set_expired(&self) {
        self.memory().expired.store(1, Relaxed);
    }

    /// Says that the running request got on: another chunk came. Time counts from here.
    pub fn progress(&self, now: Monotonic) {
        self.memory().busy_since.store(busy(now), Relaxed);
    }

    /// Says that the request waits for its client, not for the app: no time counts.
    pub fn pause_request(&self) {
        self.memory().busy_since.store(0, Relaxed);
    }

    /// Says that the request is answered, and counts it.
    pub fn end_request(&self) {
        let slot = self.memory();
        slot.busy_since.store(0, Relaxed);
        // One writer: no locked instruction needed.
        slot.requests.store(slot.requests.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Says how many connections are open.
    pub fn set_connections(&self, connections: u32) {
        self.memory().connections.store(connections, Relaxed);
    }

    /// Reads the slot.
    pub fn read(&self) -> Snapshot {
        let slot = self.memory();
        let busy_since = slot.busy_since.load(Relaxed);
        let extended_until = slot.extended_until.load(Relaxed);
        Snapshot {
            state: State::from_word(slot.state.load(Relaxed)),
            heartbeat: Monotonic::from_nanos(slot.heartbeat.load(Relaxed)),
            requests: slot.requests.load(Relaxed),
            connections: slot.connections.load(Relaxed),
            busy_since: (busy_since != 0).then(|| Monotonic::from_nanos(busy_since)),
            extended_until: (extended_until != 0 && busy_since != 0)
                .then(|| Monotonic::from_nanos(extended_until)),
            expired: busy_since != 0 && slot.expired.load(Relaxed) != 0,
            request: if busy_since == 0 { String::new() } else { slot.text.read() },
        }
    }

    fn memory(&self) -> &SlotMemory {
        self.mapping.slot(self.nr)
    }
}

/// Zero means idle, so a clock that reads zero is moved by a nanosecond.
fn busy(now: Monotonic) -> u64 {
    now.as_nanos().max(1)
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
}

/// The first cache line: numbers. The others: text.
#[repr(C, align(64))]
struct SlotMemory {
    state: AtomicU32,
    connections: AtomicU32,
    heartbeat: AtomicU64,
    requests: AtomicU64,
    busy_since: AtomicU64,
    extended_until: AtomicU64,
    expire: AtomicU64,
    leaving: AtomicU32,
    expired: AtomicU32,
    text: Text,
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
// SAFETY: the memory is only reached through references to `Header` and `SlotMemory`, whose every
// field is an atomic; other processes write it through the same types.
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
        // SAFETY: a new anonymous mapping at an address that the kernel chooses, so no memory in
        // use is replaced. Memory shared across fork can't be had in a safe way.
        let start = unsafe { mmap_anonymous(None, length, access, MapFlags::MAP_SHARED) }?;
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
        assert_eq!(size_of::<SlotMemory>(), 256);
    }

    #[test]
    fn slots_are_empty_at_first_and_after_a_reset() {
        let board = Board::new(2).unwrap();
        assert_eq!(board.capacity(), 2);
        let slot = board.slot(2);
        let empty = slot.read();
        assert_eq!(empty.state, State::Empty);
        assert_eq!((empty.requests, empty.connections, empty.busy_since), (0, 0, None));
        for state in [State::Booting, State::Ready, State::Draining] {
            slot.set_state(state);
            assert_eq!(slot.read().state, state);
        }
        slot.beat(Monotonic::now());
        slot.set_connections(3);
        slot.begin_request(b"GET", b"/", Monotonic::now());
        slot.end_request();
        assert_eq!((slot.read().requests, slot.read().request.as_str()), (1, ""));
        slot.begin_request(b"GET", b"/", Monotonic::from_nanos(0));
        assert_eq!(slot.read().busy_since, Some(Monotonic::from_nanos(1)));
        slot.pause_request();
        assert_eq!((slot.read().requests, slot.read().busy_since), (1, None));
        assert!(!slot.is_asked_to_leave());
        slot.ask_to_leave();
        assert!(slot.is_asked_to_leave());
        slot.reset();
        assert!(!slot.is_asked_to_leave());
        assert_eq!(slot.read(), empty);
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
            slot.begin_request(&[b'x'; 500], b"", Monotonic::now());
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
}
