//! Signals as bytes in a pipe.
//!
//! A handler does nothing but note which signal came and wake the loop that polls the pipe; policy
//! runs there, one signal at a time. Each arrival is one byte, so that signals come out in order
//! and two TTIN are two; [`QUEUED`] of one kind at most, so that the pipe never fills up and no
//! signal is lost behind a storm of another.
//!
//! signal-hook keeps one registry and installs one handler a signal for the whole process, which a
//! fork copies. So a child [rebuilds](Signals::rebuild): it forgets the inherited registrations,
//! closes its copy of the parent's pipe and makes its own. And signal-hook calls the handler that
//! it finds at its first registration (CPython's, for SIGINT), so the signal is reset before that.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use signal_hook::SigId;
use signal_hook::low_level;

use crate::fork::{BlockedSignals, exit_now};
use disposition::Disposition;

mod disposition;
mod unheeded;

pub use unheeded::Unheeded;

/// How many undrained arrivals of one signal are kept; more are one.
const QUEUED: u8 = 32;

/// Room for every standard signal's number.
const NUMBERS: usize = 32;

/// A set of signals that are caught and can be polled for.
///
/// Dropping it restores what was in force before, except where somebody has since put another
/// handler in.
#[derive(Debug)]
pub struct Signals {
    pipe: OwnedFd,
    arrivals: Arc<Arrivals>,
    caught: Vec<Caught>,
    /// Actions of [`Signals::exit_on`] and [`Signals::end_if_unheeded`].
    exits: Vec<SigId>,
}

/// One signal of the set.
#[derive(Debug)]
struct Caught {
    signal: Signal,
    id: SigId,
    /// What signal-hook installed.
    ours: Disposition,
    /// What was there before the first of us.
    previous: Disposition,
}

impl Signals {
    /// Catches `signals`. Handlers found are replaced, not called.
    ///
    /// Err with `InvalidInput` if one of them can't be caught (KILL, STOP) or mustn't be (SEGV,
    /// ILL, FPE); the former ones are then as before.
    pub fn install(signals: &[Signal]) -> io::Result<Self> {
        // While one handler makes room for the next, the default action would be taken.
        let _blocked = BlockedSignals::block()?;
        let (pipe, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let mut installed = Self {
            pipe,
            arrivals: Arc::new(Arrivals::new(write)),
            caught: Vec::new(),
            exits: Vec::new(),
        };
        for &signal in signals {
            installed.catch(signal)?;
        }
        Ok(installed)
    }

    /// In a fork's child: catches `signals` with a pipe of its own.
    ///
    /// The copy of the parent's pipe is closed, and inherited signals that are not in the new set
    /// get their default action. Signals are to be blocked from the fork until this returns
    /// ([`BlockedSignals`]): one that is delivered earlier goes to the
    /// parent's pipe.
    pub fn rebuild(mut self, signals: &[Signal]) -> io::Result<Self> {
        let inherited = std::mem::take(&mut self.caught);
        for caught in &inherited {
            low_level::unregister(caught.id);
            if !signals.contains(&caught.signal) {
                reset(caught.signal)?;
            }
        }
        drop(self);
        let mut rebuilt = Self::install(signals)?;
        for caught in &mut rebuilt.caught {
            if let Some(before) = inherited.iter().find(|before| before.signal == caught.signal) {
                caught.previous = before.previous;
            }
        }
        Ok(rebuilt)
    }

    /// From now on the process ends with `code` when one of `signals` arrives, whatever it is
    /// doing (_exit(2)). For a worker whose app may keep it from ever reading its pipe.
    pub fn exit_on(&mut self, signals: &[Signal], code: i32) -> io::Result<()> {
        for &signal in signals {
            // SAFETY: the action runs in a signal handler and calls nothing but _exit(2), which
            // is async-signal-safe (signal-safety(7)).
            let id = unsafe { low_level::register(signal as i32, move || exit_now(code)) }?;
            self.exits.push(id);
        }
        Ok(())
    }

    /// Takes the signals that have arrived, in the order of their arrival.
    pub fn drain(&mut self) -> Vec<Signal> {
        let mut drained = Vec::new();
        let mut bytes = [0; 64];
        loop {
            match nix::unistd::read(&self.pipe, &mut bytes) {
                Ok(0) | Err(Errno::EAGAIN) => return drained,
                Ok(length) => {
                    drained.extend(bytes[..length].iter().filter_map(|&n| self.arrivals.take(n)));
                }
                Err(Errno::EINTR) => {}
                Err(errno) => panic!("invariant: the signal pipe can be read: {errno}"),
            }
        }
    }

    /// Puts our handlers for `signals` back where somebody replaced them, and returns which those
    /// were.
    ///
    /// For a worker whose app has called `signal.signal` for one of ours. A signal that is only
    /// caught to be without effect may be left to the app.
    pub fn reclaim(&mut self, signals: &[Signal]) -> Vec<Signal> {
        let mut reclaimed = Vec::new();
        for caught in self.caught.iter().filter(|caught| signals.contains(&caught.signal)) {
            let taken =
                Disposition::of(caught.signal).is_ok_and(|now| !now.same_handler(&caught.ours));
            if taken && caught.ours.install(caught.signal).is_ok() {
                reclaimed.push(caught.signal);
            }
        }
        reclaimed
    }

    fn catch(&mut self, signal: Signal) -> io::Result<()> {
        if self.caught.iter().any(|caught| caught.signal == signal) {
            return Ok(());
        }
        let number = signal as i32;
        if signal_hook::consts::FORBIDDEN.contains(&number) {
            let text = format!("{signal} can't be caught");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let previous = Disposition::of(signal)?;
        // What signal-hook finds at its first registration it calls for ever after.
        reset(signal)?;
        let arrivals = Arc::clone(&self.arrivals);
        let index = number.unsigned_abs() as usize;
        let action = move || arrivals.note(index);
        // SAFETY: the action runs in a signal handler: it does atomic updates of memory that it
        // owns and one write(2), both async-signal-safe (signal-safety(7)); it takes no lock,
        // allocates nothing and can't panic, as `index` is within the array. signal-hook keeps
        // errno. Its safe functions give no order of arrival, or want a pipe for each signal.
        let id = unsafe { low_level::register(number, action) }?;
        match disposition::adopt(signal) {
            Ok(ours) => self.caught.push(Caught { signal, id, ours, previous }),
            Err(error) => {
                low_level::unregister(id);
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.exits.drain(..) {
            low_level::unregister(id);
        }
        for caught in &self.caught {
            let still_ours =
                Disposition::of(caught.signal).is_ok_and(|now| now.same_handler(&caught.ours));
            if still_ours {
                // Can't fail for a signal that could be caught; and there is nobody to tell.
                let _ = caught.previous.install(caught.signal);
            }
            low_level::unregister(caught.id);
        }
    }
}

impl AsFd for Signals {
    /// Readable while signals wait to be drained.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.pipe.as_raw_fd()
    }
}

/// Makes the process ignore a signal; programs that it executes ignore it too (signal(7)).
pub fn ignore(signal: Signal) -> io::Result<()> {
    Disposition::IGNORE.install(signal)
}

/// Gives a signal its default action.
pub fn reset(signal: Signal) -> io::Result<()> {
    Disposition::DEFAULT.install(signal)
}

/// What the handlers write and the loop reads.
#[derive(Debug)]
struct Arrivals {
    /// Bytes in the pipe, by signal number.
    queued: [AtomicU8; NUMBERS],
    write: OwnedFd,
    /// Whose pipe it is.
    owner: u32,
}

impl Arrivals {
    fn new(write: OwnedFd) -> Self {
        let owner = std::process::id();
        Self { queued: [const { AtomicU8::new(0) }; NUMBERS], write, owner }
    }

    /// A process that the app has forked shares the handler and the pipe; its signals are not
    /// ours. getpid(2) is async-signal-safe.
    fn are_ours(&self) -> bool {
        std::process::id() == self.owner
    }

    /// Whether one is in the pipe.
    fn has(&self, signal: Signal) -> bool {
        let index = (signal as i32).unsigned_abs() as usize;
        self.queued.get(index).is_some_and(|queued| queued.load(Ordering::Relaxed) > 0)
    }

    /// Runs in the signal handler.
    fn note(&self, index: usize) {
        if !self.are_ours() {
            return;
        }
        let (Some(queued), Ok(byte)) = (self.queued.get(index), u8::try_from(index)) else {
            return;
        };
        let room = |count| (count < QUEUED).then_some(count + 1);
        if queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok() {
            // The pipe holds 4096 bytes at least and there are never more than 32 × 32 in it.
            let _ = nix::unistd::write(&self.write, &[byte]);
        }
    }

    /// The signal of a byte that has left the pipe.
    fn take(&self, byte: u8) -> Option<Signal> {
        self.queued.get(usize::from(byte))?.fetch_sub(1, Ordering::Relaxed);
        Signal::try_from(i32::from(byte)).ok()
    }
}
