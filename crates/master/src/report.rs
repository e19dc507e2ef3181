//! What the master tells its operator: every log line that it writes, as data.
//!
//! The fleet reports as it decides, by an action like any other: so a test can ask for a line
//! without a logger, and the words that operators grep for stand in one place.

use std::{fmt, time::Duration};

use ironhorn_unix::{Exit, Pid, Signal};
use log::{error, info, warn};

use crate::command::Stop;

/// Why a worker is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It was asked to leave, by the master or by a signal of its own.
    Asked,
    /// A request ran longer than `timeout`.
    Timeout,
    /// It showed no sign of life outside a request.
    Silent,
    /// It was not ready within `boot_timeout`.
    BootTimeout,
    /// It said that it could not boot.
    BootFailure,
    /// It did not leave within `graceful_timeout`.
    GracefulTimeout,
    /// It did not leave within the time of a quick stop.
    QuickTimeout,
    /// It closed its end of the channel and stayed.
    ChannelLost,
    /// Nobody asked it.
    Unasked(Exit),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "asked",
            Self::Timeout => "timeout",
            Self::Silent => "silent",
            Self::BootTimeout => "boot timeout",
            Self::BootFailure => "boot failure",
            Self::GracefulTimeout => "graceful timeout",
            Self::QuickTimeout => "quick timeout",
            Self::ChannelLost => "channel lost",
            Self::Unasked(exit) => return exit.fmt(f),
        })
    }
}

/// Which worker a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who {
    /// Number of its slot, from 1.
    pub nr: usize,
    /// Its generation.
    pub generation: u32,
    /// Its process id.
    pub pid: Pid,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A worker serves.
    Ready {
        /// Which.
        who: Who,
        /// How long it took to boot.
        after: Duration,
    },
    /// A worker began to leave by itself.
    Draining {
        /// Which.
        who: Who,
    },
    /// A worker is gone.
    Exited {
        /// Which.
        who: Who,
        /// Why.
        reason: Reason,
        /// Its age.
        after: Duration,
        /// How many requests it served.
        requests: u64,
    },
    /// The server cannot start: a worker of the first generation did not become ready.
    StartFailed {
        /// Which.
        who: Who,
        /// Why.
        reason: Reason,
    },
    /// A worker was killed because a request ran too long.
    RequestTimeout {
        /// Which.
        who: Who,
        /// The method of the request.
        method: String,
        /// Its path.
        path: String,
        /// For how long it had made no progress.
        age: Duration,
    },
    /// A worker was killed because it gave no sign of life.
    Silent {
        /// Which.
        who: Who,
        /// For how long.
        age: Duration,
    },
    /// A worker was killed because it took too long to leave.
    GracefulTimeout {
        /// Which.
        who: Who,
        /// How long it had been leaving.
        age: Duration,
    },
    /// A worker was killed because it took too long to leave at once.
    QuickTimeout {
        /// Which.
        who: Who,
    },
    /// A worker was killed because it can no longer be told anything.
    ChannelLost {
        /// Which.
        who: Who,
    },
    /// A worker could not be forked; it will be tried again.
    ForkFailed {
        /// Number of the slot.
        nr: usize,
        /// What the kernel said.
        error: String,
        /// When it will be tried again.
        retry: Duration,
    },
    /// Workers die early: the next one waits.
    RespawnDelayed {
        /// For how long.
        delay: Duration,
    },
    /// New settings are valid, a new generation boots.
    Reloading {
        /// Its number.
        generation: u32,
    },
    /// Every worker is of the new generation.
    Reloaded {
        /// Its number.
        generation: u32,
        /// How long it took.
        after: Duration,
    },
    /// The reload was abandoned, or refused from the start.
    ReloadFailed {
        /// The number of the generation that was to be.
        generation: u32,
        /// Why.
        reason: String,
        /// The generation that goes on.
        serving: u32,
        /// How many workers of the failed generation are ready and go on too.
        mixed: usize,
    },
    /// The number of workers was changed by a signal.
    Workers {
        /// To how many.
        count: usize,
    },
    /// The number of workers cannot be changed further.
    WorkersLimit {
        /// It stays so many.
        count: usize,
    },
    /// The server ends.
    Stopping {
        /// How.
        mode: Stop,
    },
    /// The server has ended.
    Stopped,
    /// A signal asks for something that this version cannot do.
    Unavailable {
        /// Which.
        signal: Signal,
    },
    /// The master was stopped or suspended; time limits start anew.
    WokeLate {
        /// For how long.
        late: Duration,
    },
}

impl Report {
    /// Writes the line.
    pub fn log(&self) {
        match self {
            Self::Ready { who: Who { nr, generation, pid }, after } => {
                info!(worker = nr, generation, pid:%, after:% = Seconds(*after); "ready");
            }
            Self::Draining { who: Who { nr, generation, pid } } => {
                info!(worker = nr, generation, pid:%; "draining");
            }
            Self::Exited {
                who: Who { nr, generation, pid },
                reason: reason @ Reason::Asked,
                after,
                requests,
            } => {
                info!(worker = nr, generation, pid:%, reason:%, after:% = Seconds(*after), requests; "exited");
            }
            Self::Exited { who: Who { nr, generation, pid }, reason, after, requests } => {
                warn!(worker = nr, generation, pid:%, reason:%, after:% = Seconds(*after), requests; "exited");
            }
            Self::StartFailed { who: Who { nr, generation, pid }, reason } => {
                error!(worker = nr, generation, pid:%, reason:%; "start failed");
            }
            Self::RequestTimeout { who: Who { nr, generation, pid }, method, path, age } => {
                error!(worker = nr, generation, pid:%, method, path, age:% = Seconds(*age); "request timeout");
            }
            Self::Silent { who: Who { nr, generation, pid }, age } => {
                error!(worker = nr, generation, pid:%, age:% = Seconds(*age); "silent");
            }
            Self::GracefulTimeout { who: Who { nr, generation, pid }, age } => {
                error!(worker = nr, generation, pid:%, age:% = Seconds(*age); "graceful timeout");
            }
            Self::QuickTimeout { who: Who { nr, generation, pid } } => {
                warn!(worker = nr, generation, pid:%; "quick timeout");
            }
            Self::ChannelLost { who: Who { nr, generation, pid } } => {
                error!(worker = nr, generation, pid:%; "channel lost");
            }
            Self::ForkFailed { nr, error, retry } => {
                error!(worker = nr, reason = error, retry:% = Seconds(*retry); "fork failed");
            }
            Self::RespawnDelayed { delay } => {
                warn!(delay:% = Seconds(*delay); "respawn delayed");
            }
            Self::Reloading { generation } => info!(generation; "reloading"),
            Self::Reloaded { generation, after } => {
                info!(generation, after:% = Seconds(*after); "reloaded");
            }
            Self::ReloadFailed { generation, reason, serving, mixed: 0 } => {
                error!(generation, reason, serving; "reload failed");
            }
            Self::ReloadFailed { generation, reason, serving, mixed } => {
                error!(generation, reason, serving, mixed; "reload failed");
            }
            Self::Workers { count } => info!(workers = count; "workers changed"),
            Self::WorkersLimit { count } => warn!(workers = count; "workers at their limit"),
            Self::Stopping { mode: Stop::Graceful } => info!(mode = "graceful"; "stopping"),
            Self::Stopping { mode: Stop::Quick } => info!(mode = "quick"; "stopping"),
            Self::Stopped => info!("stopped"),
            Self::Unavailable { signal } => {
                warn!(signal:%; "not available in this version");
            }
            Self::WokeLate { late } => {
                warn!(late:% = Seconds(*late); "woke late, time limits start anew");
            }
        }
    }
}

/// A duration for people: `0.41s`, `4.1s`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        if seconds < 1.0 { write!(f, "{seconds:.2}s") } else { write!(f, "{seconds:.1}s") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_times_keep_two_digits() {
        assert_eq!(Seconds(Duration::from_millis(414)).to_string(), "0.41s");
        assert_eq!(Seconds(Duration::from_millis(4_120)).to_string(), "4.1s");
    }

    #[test]
    fn a_reason_names_the_code_or_the_signal() {
        assert_eq!(Reason::Unasked(Exit::Code(7)).to_string(), "exit code 7");
        let killed = Exit::Signal { signal: 9, core_dumped: false };
        assert_eq!(Reason::Unasked(killed).to_string(), "signal SIGKILL");
        assert_eq!(Reason::BootFailure.to_string(), "boot failure");
    }
}
