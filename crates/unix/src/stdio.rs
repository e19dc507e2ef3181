//! Where the process's own output goes, and the terminal it was started at.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;

use crate::sink::follow_streams;

/// Makes standard output and standard error write to `to` (dup2(2)).
///
/// Buffers of the language runtimes are not flushed: flush first. The copies stay open across an
/// exec, as standard descriptors do.
pub fn redirect_output(to: BorrowedFd<'_>) -> io::Result<()> {
    nix::unistd::dup2_stdout(to)?;
    nix::unistd::dup2_stderr(to)?;
    follow_streams();
    Ok(())
}

/// Whether the process is in the foreground of a terminal, which sends it signals of its own: for a
/// key such as Ctrl-C, and SIGWINCH when its window changes (signal(7), credentials(7)).
pub fn is_in_foreground() -> bool {
    // The terminal that controls the process, whatever the standard streams are.
    let Ok(terminal) = File::open("/dev/tty") else { return false };
    nix::unistd::tcgetpgrp(&terminal).is_ok_and(|group| group == nix::unistd::getpgrp())
}
