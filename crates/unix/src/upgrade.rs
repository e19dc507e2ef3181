//! Starts another program that takes over descriptors of this one.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;

/// A program to be started, with all that it gets of ours.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// The file.
    pub file: &'a Path,
    /// Its arguments, without its own name.
    pub arguments: &'a [OsString],
    /// Where it starts.
    pub directory: &'a Path,
    /// The whole of its environment.
    pub environment: &'a [(OsString, OsString)],
    /// Its file mode creation mask.
    pub umask: u32,
    /// Descriptors that it finds open, under the same numbers.
    pub inherits: &'a [RawFd],
}

impl Program<'_> {
    /// Starts it as a child of this process; returns once its file runs (execve(2)).
    ///
    /// It shares nothing but the standard streams and what [`inherits`](Self::inherits) names:
    /// every other descriptor of ours is closed on exec. Its signals have their default actions
    /// and none is blocked. The caller reaps it.
    pub fn spawn(&self) -> io::Result<Pid> {
        let mut command = Command::new(self.file);
        command.args(self.arguments).current_dir(self.directory).env_clear().envs(
            self.environment.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str())),
        );
        let (inherits, mask) = (self.inherits.to_vec(), self.umask);
        let before_exec = move || {
            umask(Mode::from_bits_truncate(mask & 0o777));
            inherits.iter().try_for_each(|&number| set_close_on_exec(number, false))
        };
        // SAFETY: the closure runs in the child between fork and exec, where only what is
        // async-signal-safe may be called: it calls umask(2) and fcntl(2), iterates over memory
        // allocated before the fork, and allocates nothing: an error is made of errno alone.
        unsafe { command.pre_exec(before_exec) };
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        // Dropping std's `Child` neither kills nor waits.
        Ok(Pid::from_raw(pid))
    }
}

/// Whether the descriptor `number`, which this process has inherited, is closed when it executes
/// another program.
///
/// # Errors
/// `EBADF`: no such descriptor is open.
pub fn set_close_on_exec(number: RawFd, closed: bool) -> io::Result<()> {
    if number < 0 {
        return Err(nix::errno::Errno::EBADF.into());
    }
    // SAFETY: the number is not -1, and the borrow ends with this function. If no such descriptor
    // is open, fcntl(2) says EBADF and nothing else happens; otherwise one flag of it changes.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = if closed { FdFlag::FD_CLOEXEC } else { FdFlag::empty() };
    fcntl(descriptor, FcntlArg::F_SETFD(flags))?;
    Ok(())
}

/// The process that this one is a child of now. It changes when that process dies.
pub fn parent() -> Pid {
    nix::unistd::getppid()
}
