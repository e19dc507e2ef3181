//! The setting `daemon`: a server in the background, and a command that waits until it serves.

use std::sync::atomic::{AtomicBool, Ordering};

use ironhorn_config::{LogFile, Settings};
use ironhorn_master::ExitCode;
use ironhorn_unix::{Detached, ForkHooks, Promise, Signal, Signals, detach, leave_terminal};

use crate::serve::fail;

/// Set in the server and in all that it forks.
static DETACHED: AtomicBool = AtomicBool::new(false);

/// Signals by which somebody at the terminal ends the command that he waits for.
const PASSED_ON: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGHUP];

/// Goes to the background, with a promise to say how the start went.
///
/// # Errors
/// In the command that was started: its exit code. The server serves, or what is wrong was said.
pub(crate) fn launch(hooks: &dyn ForkHooks) -> Result<Promise, i32> {
    match detach(hooks) {
        Ok(Detached::Server(promise)) => {
            DETACHED.store(true, Ordering::Relaxed);
            Ok(promise)
        }
        Ok(Detached::Launcher(verdict)) => {
            let waited =
                Signals::install(&PASSED_ON).and_then(|mut signals| verdict.wait(&mut signals));
            Err(match waited {
                Ok(Some(code)) => code,
                Ok(None) => fail(ExitCode::RUNTIME, "the server ended before it served"),
                Err(error) => {
                    fail(ExitCode::RUNTIME, &format!("cannot wait for the server: {error}"))
                }
            })
        }
        Err(error) => {
            Err(fail(ExitCode::RUNTIME, &format!("cannot go to the background: {error}")))
        }
    }
}

/// The server serves: nobody needs to wait or to watch any more.
pub(crate) fn serves(promise: &mut Option<Promise>) {
    let Some(promise) = promise.take() else { return };
    if let Err(error) = leave_terminal() {
        log::error!(error:%; "cannot leave the terminal");
    }
    promise.keep(ExitCode::OK);
}

/// The server has not started, and its log is a file: who waits at the terminal, where the master's
/// streams still lead, is told why.
pub(crate) fn tell_failure(settings: &Settings, failure: &str) {
    if let LogFile::Path(path) = &settings.error_logfile {
        let path = path.display();
        fail(ExitCode::BOOT_FAILED, &format!("the server did not start: {failure}; see {path}"));
    }
}

/// The server has ended; if it has never served, the command says so.
pub(crate) fn ended(promise: Option<Promise>, code: i32) {
    if let Some(promise) = promise {
        promise.keep(if code == ExitCode::OK { ExitCode::RUNTIME } else { code });
    }
}

/// In a worker or zygote that has booted: what it prints goes nowhere from now on, as with the
/// master, unless a log file takes it.
pub(crate) fn leave_terminal_if_detached(settings: &Settings) {
    let captured = settings.capture_output && matches!(settings.error_logfile, LogFile::Path(_));
    if DETACHED.load(Ordering::Relaxed)
        && !captured
        && let Err(error) = leave_terminal()
    {
        log::error!(error:%; "cannot leave the terminal");
    }
}
