//! What a signal asks of the master: the whole table.
//!
//! What the control socket asks for is a [`Command`] too.

use ironhorn_unix::Signal;

/// How the server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Queued and running requests are finished first.
    Graceful,
    /// At once.
    Quick,
}

/// What an operator asks of the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// End the server.
    Stop(Stop),
    /// Replace every worker by one with the newest settings and code.
    Reload,
    /// One worker more.
    Add,
    /// One worker less.
    Remove,
    /// Open the log files again.
    ReopenLogs,
    /// Look which children have exited.
    Reap,
    /// Start a new master from disk, on the same listeners.
    Upgrade,
    /// Let the workers leave and stay; a reload brings them back.
    RetireAll,
    /// So many workers.
    Scale(usize),
    /// Replace the worker in this slot.
    Recycle(usize),
}

/// Each signal that the master takes, and what it asks for.
pub const SIGNALS: [(Signal, Command); 10] = [
    (Signal::SIGTERM, Command::Stop(Stop::Graceful)),
    (Signal::SIGINT, Command::Stop(Stop::Quick)),
    (Signal::SIGQUIT, Command::Stop(Stop::Quick)),
    (Signal::SIGHUP, Command::Reload),
    (Signal::SIGTTIN, Command::Add),
    (Signal::SIGTTOU, Command::Remove),
    (Signal::SIGUSR1, Command::ReopenLogs),
    (Signal::SIGUSR2, Command::Upgrade),
    (Signal::SIGWINCH, Command::RetireAll),
    (Signal::SIGCHLD, Command::Reap),
];

/// Those that end the server.
pub const ENDING: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];

/// The signals that a worker acts on. An app can't have them.
pub const WORKER_COMMANDS: [Signal; 4] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGUSR1];

/// The signals that a worker takes. Those that are not [`WORKER_COMMANDS`] are taken so that a
/// signal sent to the whole process group does not kill or stop it; an app may have handlers of its
/// own for them. SIGCHLD is the app's.
pub const WORKER_SIGNALS: [Signal; 9] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGHUP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// The signals to install in the master.
#[must_use]
pub fn master_signals() -> [Signal; SIGNALS.len()] {
    SIGNALS.map(|(signal, _)| signal)
}

impl Command {
    /// What `signal` asks for; none if the master does not take it.
    #[must_use]
    pub fn of(signal: Signal) -> Option<Self> {
        SIGNALS.iter().find(|(taken, _)| *taken == signal).map(|(_, command)| *command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_is_in_the_table_once() {
        for (signal, command) in SIGNALS {
            assert_eq!(SIGNALS.iter().filter(|(other, _)| *other == signal).count(), 1);
            assert_eq!(Command::of(signal), Some(command));
        }
        assert_eq!(Command::of(Signal::SIGSEGV), None);
    }

    #[test]
    fn a_worker_takes_what_the_master_takes_but_for_its_children() {
        for signal in master_signals() {
            assert_eq!(WORKER_SIGNALS.contains(&signal), signal != Signal::SIGCHLD, "{signal}");
        }
    }
}
