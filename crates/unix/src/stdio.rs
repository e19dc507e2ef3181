//! Where the process's own output goes.

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
