//! A process in the background: of a session of its own, without a terminal.
//!
//! Two forks (setsid(2), daemon(7)): the first child is no leader of a process group, so that it can
//! begin a session; the second is no leader of that session, so that no terminal that it opens
//! becomes its own. The process that the user started stays until it is told how the start went.

use std::fs::OpenOptions;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, getpid, setsid};

use crate::child::kill;
use crate::fork::{ForkHooks, Forked, exit_now, fork};
use crate::signals::Signals;
use crate::sink::follow_streams;

/// Which process this is.
#[derive(Debug)]
#[must_use = "both processes would go on as one"]
pub enum Detached {
    /// The one that was started; the other is the server.
    Launcher(Verdict),
    /// The server, in the background.
    Server(Promise),
}

/// What the launcher waits for.
#[derive(Debug)]
pub struct Verdict {
    pipe: PipeReader,
    server: Pid,
}

/// What the server owes to its launcher: an exit code.
#[derive(Debug)]
pub struct Promise {
    pipe: PipeWriter,
}

/// Goes to the background. The standard streams stay as they are until
/// [`leave_terminal`]: whoever started the server reads there why it doesn't start.
///
/// For a process with one thread, like [`fork()`].
pub fn detach(hooks: &dyn ForkHooks) -> io::Result<Detached> {
    let (mut reader, mut writer) = io::pipe()?;
    match fork(hooks)? {
        Forked::Parent { child } => {
            drop(writer);
            // It leaves at once.
            while let Err(errno) = waitpid(child, None) {
                if errno != Errno::EINTR {
                    return Err(errno.into());
                }
            }
            let mut server = [0; 4];
            reader.read_exact(&mut server)?;
            let server = Pid::from_raw(i32::from_ne_bytes(server));
            Ok(Detached::Launcher(Verdict { pipe: reader, server }))
        }
        Forked::Child { mask } => {
            drop(reader);
            mask.unblock();
            hooks.after_in_child();
            let second = setsid().map_err(io::Error::from).and_then(|_| fork(hooks));
            let Ok(Forked::Child { mask }) = second else {
                // The launcher reads an end of file if there is no second child.
                exit_now(0);
            };
            mask.unblock();
            hooks.after_in_child();
            writer.write_all(&getpid().as_raw().to_ne_bytes())?;
            Ok(Detached::Server(Promise { pipe: writer }))
        }
    }
}

impl Verdict {
    /// Waits for the exit code, and passes `signals` on to the server meanwhile: who interrupts the
    /// command means the server. None: the server is gone without a word.
    pub fn wait(mut self, signals: &mut Signals) -> io::Result<Option<i32>> {
        loop {
            let mut polled = [
                PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut polled, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                result => result?,
            };
            if polled[0].any().unwrap_or(false) {
                let mut code = [0];
                let length = self.pipe.read(&mut code)?;
                return Ok((length == 1).then_some(i32::from(code[0])));
            }
            for signal in signals.drain() {
                // It may be gone already: then the pipe says so.
                let _ = kill(self.server, signal);
            }
        }
    }
}

impl Promise {
    /// Has the launcher exit with `code`.
    pub fn keep(mut self, code: i32) {
        // A launcher that was killed waits for nothing.
        let _ = self.pipe.write(&[u8::try_from(code).unwrap_or(u8::MAX)]);
    }
}

/// Makes the three standard streams lead nowhere.
pub fn leave_terminal() -> io::Result<()> {
    let nowhere = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&nowhere)?;
    dup2_stdout(&nowhere)?;
    dup2_stderr(&nowhere)?;
    follow_streams();
    Ok(())
}
