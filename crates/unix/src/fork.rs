//! Makes a child process that starts with every signal blocked.
//!
//! The order in the parent is block all, hooks, fork, hooks, unblock. The child builds its own signal
//! pipe, unblocks, and runs its hook last. Were signals let through earlier, one that reaches the
//! newborn would run the inherited handler, which writes into the pipe it still shares with its
//! parent: a TERM for a worker stops the master. Were the hook run earlier, a thread that the app
//! starts in it, and what that one executes, would have every signal blocked for ever.

use std::io::{self, Read};
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::unistd::{ForkResult, Pid, getppid};

use crate::child::wait_for;
use crate::clock::Monotonic;

/// What an embedded runtime must do around a fork, such as CPython's `PyOS_BeforeFork`.
///
/// Each `before` is followed by exactly one `after_in_parent` in the caller's process (also when
/// the fork fails) and, if there is a child that goes on with the runtime, by one `after_in_child`
/// there, before anything else of the runtime's is used.
pub trait ForkHooks {
    /// Runs just before the fork, signals blocked.
    fn before(&self);
    /// Runs in the parent, signals still blocked.
    fn after_in_parent(&self);
    /// Runs in the child, which calls it itself once it has signals of its own and has let them
    /// through: what it starts inherits the mask.
    fn after_in_child(&self);
}

/// No runtime to prepare.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl ForkHooks for NoHooks {
    fn before(&self) {}
    fn after_in_parent(&self) {}
    fn after_in_child(&self) {}
}

/// Which side of a fork this is.
#[derive(Debug)]
#[must_use = "a child that does not know that it is one runs its parent's program"]
pub enum Forked {
    /// The process that called [`fork`]; its signal mask is as before.
    Parent {
        /// The new process.
        child: Pid,
    },
    /// The new process, with every signal blocked. [`ForkHooks::after_in_child`] is still to be
    /// called, after `mask` is restored.
    Child {
        /// Restores the mask that was in force before the fork.
        mask: BlockedSignals,
    },
}

/// Every signal is blocked in this thread; unblocked on drop.
///
/// Restores the mask found when blocking. Belongs to the thread that made it.
#[derive(Debug)]
#[must_use = "dropping it unblocks the signals at once"]
pub struct BlockedSignals {
    previous: SigSet,
    /// A signal mask belongs to a thread: not `Send`.
    thread: PhantomData<*const ()>,
}

impl BlockedSignals {
    /// Blocks every signal that can be blocked in the calling thread.
    pub fn block() -> io::Result<Self> {
        let previous = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        Ok(Self { previous, thread: PhantomData })
    }

    /// Restores the former mask; pending signals are delivered before this returns.
    pub fn unblock(self) {
        drop(self);
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        self.previous.thread_set_mask().expect("invariant: a mask read from the kernel is valid");
    }
}

/// Forks with all signals blocked and the hooks paired.
///
/// To be called from a process with one thread ([`thread_count`]): only the calling thread exists
/// in the child, and a lock that another thread held at that moment is never released there.
pub fn fork(hooks: &dyn ForkHooks) -> io::Result<Forked> {
    let mask = BlockedSignals::block()?;
    hooks.before();
    // SAFETY: fork(2) itself touches no memory of ours. Its obligation concerns the child of a
    // process with several threads, which may wait for ever on a lock whose owner did not survive:
    // a deadlock, not an access to invalid memory. The master has one thread; a host that preloads
    // an application is told by `thread_count` to warn. std has no safe fork.
    match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Parent { child }) => {
            hooks.after_in_parent();
            mask.unblock();
            Ok(Forked::Parent { child })
        }
        Ok(ForkResult::Child) => Ok(Forked::Child { mask }),
        Err(errno) => {
            hooks.after_in_parent();
            mask.unblock();
            Err(errno.into())
        }
    }
}

/// Like [`fork`], but the child is nobody's here: its parent is who takes orphans in, the nearest
/// [subreaper](become_subreaper) above the caller.
///
/// Two forks with one set of hooks around both: what is in between, a process that makes the other
/// one, says who it is and leaves, runs nothing of the runtime's. The caller has waited for it when
/// this returns. Err: one of the forks failed; there is no child.
///
/// The child starts before its parent has changed: [`wait_for_parent`].
pub fn fork_orphan(hooks: &dyn ForkHooks) -> io::Result<Forked> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let mask = BlockedSignals::block()?;
    hooks.before();
    // SAFETY: as in `fork`; until it forks in turn or leaves, the process in between makes
    // system calls only.
    match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Parent { child: between }) => {
            drop(write);
            let told = hear_of_orphan(read);
            // ECHILD: the caller ignores SIGCHLD, so that it left without a trace (wait(2)).
            let _ = wait_for(between, 0);
            hooks.after_in_parent();
            mask.unblock();
            told.map(|child| Forked::Parent { child })
        }
        Ok(ForkResult::Child) => {
            // SAFETY: as above; this process has one thread.
            let result = unsafe { nix::unistd::fork() };
            match result {
                Ok(ForkResult::Child) => {
                    drop((read, write));
                    Ok(Forked::Child { mask })
                }
                Ok(ForkResult::Parent { child }) => tell_of_orphan(&write, child.as_raw()),
                Err(errno) => tell_of_orphan(&write, -(errno as i32)),
            }
        }
        Err(errno) => {
            hooks.after_in_parent();
            mask.unblock();
            Err(errno.into())
        }
    }
}

/// The process in between: says the child's id, or a failure as a negative number, and leaves.
fn tell_of_orphan(write: &OwnedFd, number: i32) -> ! {
    // pipe(7): up to PIPE_BUF bytes are written whole. If it fails, the end of file says so.
    let _ = nix::unistd::write(write, &number.to_ne_bytes());
    exit_now(0)
}

fn hear_of_orphan(read: OwnedFd) -> io::Result<Pid> {
    let mut number = [0; 4];
    // The child may hold the other end still: not read up to the end of file.
    let told = std::fs::File::from(read).read_exact(&mut number);
    told.map_err(|_| io::Error::other("the process between caller and child has died"))?;
    match i32::from_ne_bytes(number) {
        pid if pid > 0 => Ok(Pid::from_raw(pid)),
        errno => Err(io::Error::from_raw_os_error(-errno)),
    }
}

/// Takes in orphans: processes below this one whose parent ends get this one as parent
/// (`PR_SET_CHILD_SUBREAPER`). Children don't inherit that they do.
pub fn become_subreaper() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// In the child of [`fork_orphan`]: waits until `parent` is its parent. Err with `TimedOut`: it
/// isn't after `patience`; it has gone, or takes in no orphans.
pub fn wait_for_parent(parent: Pid, patience: Duration) -> io::Result<()> {
    const STEP: Duration = Duration::from_micros(100);
    let deadline = Monotonic::now() + patience;
    loop {
        let found = getppid();
        if found == parent {
            return Ok(());
        }
        if Monotonic::now() >= deadline {
            let text = format!("the parent process is {found}, not {parent}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        // Nothing tells of it; who is in between has only its exit to make.
        std::thread::sleep(STEP);
    }
}

/// Number of threads of this process, as the kernel counts them.
pub fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Leaves at once: no `atexit` functions, no destructors, nothing flushed (`_exit(2)`).
///
/// The way out of a forked child, whose stack and buffers are copies of its parent's.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) has no obligation and does not return.
    unsafe { libc::_exit(code) }
}

/// Asks the kernel to send `signal` to this process when its parent dies.
///
/// To be called in the child, with the parent's pid taken before the fork: the request covers only
/// deaths from now on, so it is followed by a look at who the parent is. Err with `NotFound` if
/// `parent` has gone already: the caller leaves.
///
/// prctl(2), `PR_SET_PDEATHSIG`: what counts is the *thread* that forked, and a change of user or
/// group clears the request, so this comes after privileges are dropped.
pub fn die_with_parent(parent: Pid, signal: Signal) -> io::Result<()> {
    prctl::set_pdeathsig(signal)?;
    if getppid() == parent {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("parent process {parent} has gone")))
}
