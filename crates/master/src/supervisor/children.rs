//! The master's view of its workers' processes.

use ironhorn_unix::{MasterEnd, Monotonic, Pid, StackFile};

/// A worker's process.
pub(super) struct Child {
    pub(super) pid: Pid,
    pub(super) forked_at: Monotonic,
    pub(super) channel: MasterEnd,
    /// Where it writes its stacks; the master keeps what it writes in its last moment.
    pub(super) stacks: StackFile,
    /// Cleared when the other end is closed.
    pub(super) open: bool,
    /// From now on the process id may be another process's.
    pub(super) reaped: bool,
    /// Whether it has said that it serves.
    pub(super) ready: bool,
    /// Whether it has said that it takes no more connections.
    pub(super) draining: bool,
    /// Whether the master has decided that it is to be killed.
    pub(super) killed: bool,
    /// Its own memory in bytes, when it was last measured.
    pub(super) memory: Option<u64>,
    /// The stacks that it wrote when it was asked before it was killed.
    pub(super) last_words: String,
}

impl Child {
    pub(super) fn new(pid: Pid, channel: MasterEnd, stacks: StackFile) -> Self {
        Self {
            pid,
            forked_at: Monotonic::now(),
            channel,
            stacks,
            open: true,
            reaped: false,
            ready: false,
            draining: false,
            killed: false,
            memory: None,
            last_words: String::new(),
        }
    }
}

/// The workers by the number of their slot.
pub(super) struct Children(Vec<Option<Child>>);

impl Children {
    pub(super) fn new(capacity: usize) -> Self {
        Self((0..capacity).map(|_| None).collect())
    }

    pub(super) fn get(&self, nr: usize) -> Option<&Child> {
        self.0[nr - 1].as_ref()
    }

    pub(super) fn get_mut(&mut self, nr: usize) -> Option<&mut Child> {
        self.0[nr - 1].as_mut()
    }

    /// One that can be sent a signal: its process id is its own.
    pub(super) fn living(&self, nr: usize) -> Option<&Child> {
        self.get(nr).filter(|child| !child.reaped)
    }

    pub(super) fn insert(&mut self, nr: usize, child: Child) {
        self.0[nr - 1] = Some(child);
    }

    pub(super) fn remove(&mut self, nr: usize) -> Option<Child> {
        self.0[nr - 1].take()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Child)> {
        (1..).zip(&self.0).filter_map(|(nr, child)| Some((nr, child.as_ref()?)))
    }

    /// The slot of the worker whose process this is.
    pub(super) fn find(&self, pid: Pid) -> Option<usize> {
        self.iter().find(|(_, child)| child.pid == pid).map(|(nr, _)| nr)
    }

    pub(super) fn capacity(&self) -> usize {
        self.0.len()
    }
}
