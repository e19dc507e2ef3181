//! The master's view of its zygotes: processes that have imported the app, which workers are forked
//! from.
//!
//! A worker that a zygote forks is the master's child all the same: the zygote's own child leaves
//! at once, and the master takes orphans in. What the worker shares with the master is made here
//! and passed on.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::ControlFlow::{self, Break, Continue},
    os::fd::AsFd,
    time::Duration,
};

use ironhorn_unix::{
    Forked, FromZygote, MasterEnd, Monotonic, Pid, Received, Signal, StackFile, ToZygote,
    ZygoteMasterEnd, become_subreaper, channel, examine, fork, kill, zygote_channel,
};
use log::{debug, error};

use super::{Born, Outcome, Source, Supervisor, children::Child};
use crate::fleet::Event;

/// A zygote's process.
pub(super) struct Zygote {
    pub(super) pid: Pid,
    pub(super) forked_at: Monotonic,
    pub(super) channel: ZygoteMasterEnd,
    pub(super) stacks: StackFile,
    open: bool,
    /// Whether it has imported the app.
    ready: bool,
    pub(super) killed: bool,
    /// When it is to be killed: it is writing its stacks, or has let go of its channel.
    kill_at: Option<Monotonic>,
    /// What was passed on to workers that the zygote has not said to have forked, by their slots.
    pub(super) unborn: BTreeMap<usize, Unborn>,
}

/// What a zygote that is to be killed has to write its stacks.
const WRITING: Duration = Duration::from_millis(100);

/// What a zygote has to exit once its channel is closed.
const LEAVING: Duration = Duration::from_secs(1);

impl Zygote {
    /// It is not reaped yet, so the process id is its own.
    fn kill_now(&self) {
        if let Err(error) = kill(self.pid, Signal::SIGKILL) {
            error!(pid:% = self.pid, reason:% = error; "cannot kill the zygote");
        }
    }
}

/// The master's part of what it shares with a worker.
pub(super) struct Unborn {
    channel: MasterEnd,
    stacks: StackFile,
}

/// The zygotes by their generation.
#[derive(Default)]
pub(super) struct Zygotes {
    alive: BTreeMap<u32, Zygote>,
    /// The generations whose workers come from a zygote.
    preloaded: BTreeSet<u32>,
    /// Whether the master takes orphans in.
    subreaper: bool,
}

impl Zygotes {
    pub(super) fn generations(&self) -> Vec<u32> {
        self.alive.keys().copied().collect()
    }

    pub(super) fn get_mut(&mut self, generation: u32) -> Option<&mut Zygote> {
        self.alive.get_mut(&generation)
    }

    pub(super) fn remove(&mut self, generation: u32) -> Option<Zygote> {
        self.alive.remove(&generation)
    }

    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        self.alive.values().filter_map(|zygote| zygote.kill_at).min()
    }

    pub(super) fn has(&self, pid: Pid) -> bool {
        self.alive.values().any(|zygote| zygote.pid == pid)
    }

    /// Whether the workers of `generation` come from a zygote.
    pub(super) fn preload(&self, generation: u32) -> bool {
        self.preloaded.contains(&generation)
    }

    pub(super) fn is_subreaper(&self) -> bool {
        self.subreaper
    }

    /// Nobody of `generation` is left.
    pub(super) fn forget(&mut self, generation: u32) {
        self.preloaded.remove(&generation);
    }

    /// Whether a worker is about to be born.
    pub(super) fn are_forking(&self) -> bool {
        self.alive.values().any(|zygote| !zygote.unborn.is_empty())
    }
}

impl Supervisor<'_> {
    pub(super) fn fork_zygote(&mut self, generation: u32) -> ControlFlow<Outcome> {
        let event = match self.try_fork_zygote(generation) {
            Ok(Continue(pid)) => Event::ZygoteForked { generation, pid },
            Ok(Break(born)) => return Break(Outcome::Born(born)),
            Err(error) => Event::ZygoteForkFailed { generation, error: error.to_string() },
        };
        self.answer(event);
        Continue(())
    }

    fn try_fork_zygote(&mut self, generation: u32) -> io::Result<ControlFlow<Born, Pid>> {
        self.zygotes.preloaded.insert(generation);
        if self.zygotes.alive.contains_key(&generation) {
            return Err(io::Error::other("its predecessor has not gone yet"));
        }
        become_subreaper()?;
        self.zygotes.subreaper = true;
        let (ours, theirs) = zygote_channel()?;
        let stacks = StackFile::new()?;
        match fork(self.host.fork_hooks())? {
            Forked::Parent { child: pid } => {
                drop(theirs);
                let open = self.watch(Source::Zygote(generation), &ours);
                let zygote = Zygote {
                    pid,
                    forked_at: Monotonic::now(),
                    channel: ours,
                    stacks,
                    open,
                    ready: false,
                    killed: false,
                    kill_at: None,
                    unborn: BTreeMap::new(),
                };
                self.zygotes.alive.insert(generation, zygote);
                Ok(Continue(pid))
            }
            Forked::Child { mask } => {
                Ok(Break(Born::Zygote { generation, channel: theirs, stacks, mask }))
            }
        }
    }

    /// Kills a zygote; one that imports is asked first where it is.
    pub(super) fn kill_zygote(&mut self, generation: u32) {
        let Some(zygote) = self.zygotes.get_mut(generation) else { return };
        zygote.killed = true;
        if !zygote.ready && examine(zygote.pid).is_ok() {
            // It has no board and no loop, so it can't say when it has written them.
            zygote.kill_at = Some(Monotonic::now() + WRITING);
        } else {
            zygote.kill_now();
        }
    }

    /// Kills those whose time to write their stacks is over.
    pub(super) fn kill_examined_zygotes(&mut self, now: Monotonic) {
        for zygote in self.zygotes.alive.values_mut() {
            if zygote.kill_at.take_if(|kill_at| now >= *kill_at).is_some() {
                zygote.kill_now();
            }
        }
    }

    /// Asks the zygote for a worker; it answers some time later.
    pub(super) fn fork_from_zygote(&mut self, nr: usize, generation: u32) -> io::Result<()> {
        let gone = || io::Error::other("the zygote is gone");
        let zygote =
            self.zygotes.get_mut(generation).filter(|zygote| zygote.open && !zygote.killed);
        let zygote = zygote.ok_or_else(gone)?;
        let (ours, theirs) = channel()?;
        let stacks = StackFile::new()?;
        let slot = u32::try_from(nr).map_err(io::Error::other)?;
        let shared = [theirs.as_fd(), stacks.as_fd()];
        zygote.channel.send_with_fds(ToZygote::Fork { nr: slot }, &shared)?;
        zygote.unborn.insert(nr, Unborn { channel: ours, stacks });
        Ok(())
    }

    /// Reads a zygote's channel until there is nothing more, and reaps whom it has told of: the
    /// SIGCHLD of one that has died already came before it was known.
    pub(super) fn attend_to_zygote(&mut self, generation: u32) -> ControlFlow<Outcome> {
        if self.hear_zygote(generation)? { self.reap_children() } else { Continue(()) }
    }

    /// Whether a worker was born.
    pub(super) fn hear_zygote(&mut self, generation: u32) -> ControlFlow<Outcome, bool> {
        let mut born = false;
        loop {
            let Some(zygote) = self.zygotes.get_mut(generation).filter(|zygote| zygote.open) else {
                return Continue(born);
            };
            match zygote.channel.receive() {
                Ok(Received::Message(FromZygote::Ready)) => {
                    zygote.ready = true;
                    self.tell(Event::ZygoteReady { generation })?;
                }
                Ok(Received::Message(FromZygote::Forked { nr, pid })) => {
                    self.forked_from_zygote(generation, nr as usize, pid)?;
                    born = true;
                }
                Ok(Received::Message(FromZygote::ForkFailed { nr, errno })) => {
                    let nr = nr as usize;
                    if zygote.unborn.remove(&nr).is_some() {
                        self.board.slot(nr).reset();
                        let error = io::Error::from_raw_os_error(errno).to_string();
                        self.tell(Event::ForkFailed { nr, error })?;
                    }
                }
                Ok(Received::Nothing) => return Continue(born),
                Ok(Received::Closed) => {
                    debug!(generation, pid:% = zygote.pid; "the zygote's channel is closed");
                    self.part_with_zygote(generation);
                }
                Err(error) => {
                    error!(generation, pid:% = zygote.pid, reason:% = error; "cannot hear the zygote");
                    self.part_with_zygote(generation);
                }
            }
        }
    }

    /// Mostly the first sign of its end. If none follows, it is of no use.
    fn part_with_zygote(&mut self, generation: u32) {
        if let Some(zygote) = self.zygotes.get_mut(generation) {
            zygote.open = false;
            zygote.kill_at.get_or_insert(Monotonic::now() + LEAVING);
        }
    }

    fn forked_from_zygote(&mut self, generation: u32, nr: usize, pid: Pid) -> ControlFlow<Outcome> {
        let zygote = self.zygotes.get_mut(generation);
        let Some(unborn) = zygote.and_then(|zygote| zygote.unborn.remove(&nr)) else {
            error!(generation, worker = nr, pid:%; "a zygote tells of a worker that nobody asked for");
            return Continue(());
        };
        let open = self.watch(Source::Worker(nr), &unborn.channel);
        if let Err(error) = unborn.channel.welcome() {
            debug!(worker = nr, pid:%, reason:% = error; "cannot welcome");
        }
        let child = Child { open, ..Child::new(pid, unborn.channel, unborn.stacks) };
        self.children.insert(nr, child);
        self.tell(Event::Forked { nr, pid })
    }
}
