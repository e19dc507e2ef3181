//! How children end.
//!
//! Only processes that the caller names are waited for: `waitpid(-1)` would also take the exit
//! status of children that the application's libraries made and wait for themselves.

use std::fmt;
use std::io;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It left by itself, with this code.
    Code(i32),
    /// A signal killed it.
    Signal {
        /// The signal's number: a plain number, as real-time signals have no name.
        signal: i32,
        /// Whether the kernel wrote a core file.
        core_dumped: bool,
    },
}

/// An end that was taken notice of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ended {
    /// How.
    pub exit: Exit,
    /// The most memory that it had resident, or a child of its own that it waited for (getrusage(2),
    /// `ru_maxrss`), in bytes.
    pub peak_memory: u64,
}

impl Exit {
    fn from_status(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Signal { signal: libc::WTERMSIG(status), core_dumped: libc::WCOREDUMP(status) }
        } else {
            Self::Code(libc::WEXITSTATUS(status))
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal { signal, core_dumped } => {
                match Signal::try_from(signal) {
                    Ok(named) => write!(f, "signal {}", named.as_str())?,
                    Err(_) => write!(f, "signal {signal}")?,
                }
                if core_dumped { f.write_str(" (core dumped)") } else { Ok(()) }
            }
        }
    }
}

/// Takes the exit of child `pid` if it has ended (wait4(2) with `WNOHANG`).
///
/// None: it is still running. Err with `ECHILD`: it is no child of ours, or was reaped before.
pub fn reap(pid: Pid) -> io::Result<Option<Ended>> {
    wait_for(pid, libc::WNOHANG)
}

/// Takes the exit of child `pid`, waiting for it unless the flags say otherwise.
pub(crate) fn wait_for(pid: Pid, flags: i32) -> io::Result<Option<Ended>> {
    let mut status = 0;
    // SAFETY: rusage is a C structure of integers, for which all zeroes is a valid value. It has
    // no constructor.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `status` and `usage` are valid for the kernel to write during the call. nix has
        // no wait4, and its waitpid fails with EINVAL, the child already reaped, when a real-time
        // signal killed it.
        let reaped = unsafe { libc::wait4(pid.as_raw(), &raw mut status, flags, &raw mut usage) };
        match reaped {
            0 => return Ok(None),
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            _ => {
                let kibibytes = u64::try_from(usage.ru_maxrss).unwrap_or(0);
                let exit = Exit::from_status(status);
                return Ok(Some(Ended { exit, peak_memory: kibibytes * 1024 }));
            }
        }
    }
}

/// Reaps ended children that the caller doesn't know and returns how many they were.
///
/// For PID 1 (or a subreaper), which inherits orphans. Call it after the known ones were reaped:
/// it looks at the next ended child without taking it (waitid(2) with `WNOWAIT`) and stops at a
/// known one, whose own `SIGCHLD` brings the caller back.
pub fn reap_orphans(known: &dyn Fn(Pid) -> bool) -> usize {
    let mut reaped = 0;
    while let Some(pid) = next_ended() {
        if known(pid) || !matches!(reap(pid), Ok(Some(_))) {
            break;
        }
        reaped += 1;
    }
    reaped
}

/// A child that has ended and was not reaped; it stays so.
fn next_ended() -> Option<Pid> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    loop {
        // SAFETY: siginfo_t is a C structure of integers and pointers, for which all zeroes is a
        // valid value. It has no public constructor.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is a valid siginfo_t that the kernel writes during the call. nix's safe
        // waitid has the same fault as its waitpid (see `reap`).
        let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) };
        if result == -1 {
            if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return None;
        }
        // SAFETY: after a successful waitid the SIGCHLD fields are the ones in force; with WNOHANG
        // and no ended child they are still zero.
        let pid = unsafe { info.si_pid() };
        return (pid != 0).then(|| Pid::from_raw(pid));
    }
}

/// Sends a signal to one process.
pub fn kill(pid: Pid, signal: Signal) -> io::Result<()> {
    // kill(2) gives 0 and negative numbers a meaning of their own: whole groups of processes.
    if pid.as_raw() <= 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{pid} is no process id")));
    }
    Ok(nix::sys::signal::kill(pid, signal)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_apart() {
        assert_eq!(Exit::from_status(3 << 8), Exit::Code(3));
        assert_eq!(Exit::from_status(9), Exit::Signal { signal: 9, core_dumped: false });
        assert_eq!(Exit::from_status(11 | 0x80), Exit::Signal { signal: 11, core_dumped: true });
    }

    #[test]
    fn reads_well_in_a_log_line() {
        assert_eq!(Exit::Code(3).to_string(), "exit code 3");
        let killed = Exit::Signal { signal: 9, core_dumped: false };
        assert_eq!(killed.to_string(), "signal SIGKILL");
        let segfault = Exit::Signal { signal: 11, core_dumped: true };
        assert_eq!(segfault.to_string(), "signal SIGSEGV (core dumped)");
        let real_time = Exit::Signal { signal: 40, core_dumped: false };
        assert_eq!(real_time.to_string(), "signal 40");
    }

    #[test]
    fn strangers_are_not_reaped_nor_groups_signalled() {
        let error = reap(Pid::from_raw(1)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECHILD));
        for group in [0, -1, -5] {
            let error = kill(Pid::from_raw(group), Signal::SIGTERM).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
