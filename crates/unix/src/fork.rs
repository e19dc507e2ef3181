//! Makes a child process that starts with every signal blocked.
//!
//! The order is block all, hooks, fork, hooks; the child then builds its own signal pipe and only
//! after that unblocks. Without it, a signal that reaches the newborn runs the inherited handler,
//! which writes into the pipe it still shares with its parent: a TERM for a worker stops the
//! master.

use std::io;
use std::marker::PhantomData;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::unistd::{ForkResult, Pid, getppid};

/// What an embedded runtime must do around a fork, such as CPython's `PyOS_BeforeFork`.
///
/// Each `before` is followed by exactly one `after_in_parent` in the caller's process (also when
/// the fork fails) and, if there is a child, by one `after_in_child` there.
pub trait ForkHooks {
    /// Runs just before the fork, signals blocked.
    fn before(&self);
    /// Runs in the parent, signals still blocked.
    fn after_in_parent(&self);
    /// Runs in the child, signals still blocked.
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
    /// The new process, with every signal blocked.
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
        Ok(ForkResult::Child) => {
            hooks.after_in_child();
            Ok(Forked::Child { mask })
        }
        Err(errno) => {
            hooks.after_in_parent();
            mask.unblock();
            Err(errno.into())
        }
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
