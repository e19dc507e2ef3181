//! What the master tells its operator: every log line that it writes, as data.
//!
//! The fleet reports as it decides, by an action like any other: so a test can ask for a line
//! without a logger, and the words that operators grep for stand in one place.

use std::{fmt, time::Duration};

use ironhorn_unix::{Exit, Pid};
use log::{Level, Record, error, info, kv::Value, warn};

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
    /// It had served `max_requests`.
    MaxRequests,
    /// Its memory was above `max_memory`.
    MaxMemory,
    /// Its memory was above `max_memory_hard`.
    MaxMemoryHard,
    /// It had lived for `max_lifetime`.
    MaxLifetime,
    /// An operator had it replaced.
    Recycled,
    /// The kernel killed it for want of memory: its cgroup's counters say so.
    OutOfMemory,
    /// Nobody asked it.
    Unasked(Exit),
}

impl Reason {
    /// Whether it is an end that somebody wanted: nothing to look into.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        match self {
            Self::Asked
            | Self::MaxRequests
            | Self::MaxMemory
            | Self::MaxLifetime
            | Self::Recycled => true,
            Self::Timeout
            | Self::Silent
            | Self::BootTimeout
            | Self::BootFailure
            | Self::GracefulTimeout
            | Self::QuickTimeout
            | Self::ChannelLost
            | Self::MaxMemoryHard
            | Self::OutOfMemory
            | Self::Unasked(_) => false,
        }
    }
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
            Self::MaxRequests => "max_requests",
            Self::MaxMemory => "max_memory",
            Self::MaxMemoryHard => "max_memory_hard",
            Self::MaxLifetime => "max_lifetime",
            Self::Recycled => "recycled",
            Self::OutOfMemory => "out of memory",
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

/// What people call a lane: the number of its thread, from 1. None where there is only one, for
/// `lanes` of a worker.
pub(crate) fn thread(lane: usize, lanes: usize) -> Option<usize> {
    (lanes > 1).then_some(lane + 1)
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
    /// A request ran longer than `timeout`.
    RequestTimeout {
        /// Which.
        who: Who,
        /// Which of its threads, from 1, if it runs the app in several.
        thread: Option<usize>,
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
    /// Another order of an operator's ended the reload.
    ReloadEnded {
        /// The number of the generation that was to be.
        generation: u32,
        /// Which order.
        reason: String,
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
    /// The first worker serves: the server does.
    Serving,
    /// A worker is to be replaced; it goes on until its replacement serves.
    Recycling {
        /// Which.
        who: Who,
        /// Why.
        reason: Reason,
    },
    /// A worker that was to be replaced goes on, as its replacement could not boot.
    RecycleFailed {
        /// The worker that goes on.
        who: Who,
        /// Why it was to be replaced.
        reason: Reason,
        /// What happened to the replacement.
        cause: String,
        /// When it will be tried again.
        retry: Duration,
    },
    /// A worker uses more memory than it may at all; it is killed.
    TooMuchMemory {
        /// Which.
        who: Who,
        /// How much it uses, in bytes.
        memory: u64,
    },
    /// A zygote has imported the app.
    ZygoteReady {
        /// Of which generation.
        generation: u32,
        /// Its process id.
        pid: Pid,
        /// How long it took.
        after: Duration,
    },
    /// A zygote is gone.
    ZygoteExited {
        /// Of which generation.
        generation: u32,
        /// Its process id.
        pid: Pid,
        /// Why.
        reason: Reason,
    },
    /// A zygote could not be forked; it will be tried again.
    ZygoteForkFailed {
        /// Of which generation.
        generation: u32,
        /// What the kernel said.
        error: String,
        /// When it will be tried again.
        retry: Duration,
    },
    /// The server cannot start: the zygote of the first generation did not become ready.
    PreloadFailed {
        /// Of which generation.
        generation: u32,
        /// Its process id.
        pid: Pid,
        /// Why.
        reason: Reason,
    },
    /// The start failed and the server stays: a reload begins anew.
    WaitingForReload,
    /// A new master was started from disk.
    Upgrading {
        /// Its process id.
        pid: Pid,
    },
    /// No new master could be started, or the new one is gone: this one goes on.
    UpgradeFailed {
        /// Why.
        reason: String,
    },
    /// The workers leave and the master stays.
    RetiringAll,
    /// A graceful stop waits, so that load balancers learn of it.
    ShutdownDelayed {
        /// For how long.
        delay: Duration,
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
            // One that nobody wanted has a record of its own, by `black_box`.
            Self::Exited { who: Who { nr, generation, pid }, reason, after, requests } => {
                info!(worker = nr, generation, pid:%, reason:%, after:% = Seconds(*after), requests; "exited");
            }
            Self::StartFailed { who: Who { nr, generation, pid }, reason } => {
                error!(worker = nr, generation, pid:%, reason:%; "start failed");
            }
            Self::RequestTimeout { .. } => self.log_findings(&Findings::default()),
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
            Self::ReloadEnded { generation, reason } => {
                warn!(generation, reason; "reload ended");
            }
            Self::Workers { count } => info!(workers = count; "workers changed"),
            Self::WorkersLimit { count } => warn!(workers = count; "workers at their limit"),
            Self::Stopping { mode: Stop::Graceful } => info!(mode = "graceful"; "stopping"),
            Self::Stopping { mode: Stop::Quick } => info!(mode = "quick"; "stopping"),
            Self::Stopped => info!("stopped"),
            Self::Serving => info!("serving"),
            Self::Recycling { who: Who { nr, generation, pid }, reason } => {
                info!(worker = nr, generation, pid:%, reason:%; "recycling");
            }
            Self::RecycleFailed { who: Who { nr, generation, pid }, reason, cause, retry } => {
                error!(worker = nr, generation, pid:%, reason:%, cause, retry:% = Seconds(*retry); "recycle failed, the worker goes on");
            }
            Self::TooMuchMemory { who: Who { nr, generation, pid }, memory } => {
                error!(worker = nr, generation, pid:%, memory; "too much memory");
            }
            Self::ZygoteReady { generation, pid, after } => {
                info!(generation, pid:%, after:% = Seconds(*after); "zygote ready");
            }
            Self::ZygoteExited { generation, pid, reason } => {
                info!(generation, pid:%, reason:%; "zygote exited");
            }
            Self::ZygoteForkFailed { generation, error, retry } => {
                error!(generation, reason = error, retry:% = Seconds(*retry); "zygote not forked");
            }
            Self::PreloadFailed { generation, pid, reason } => {
                error!(generation, pid:%, reason:%; "start failed");
            }
            Self::WaitingForReload => info!("waiting for a reload"),
            Self::Upgrading { pid } => info!(pid:%; "upgrading"),
            Self::UpgradeFailed { reason } => {
                error!(reason; "upgrade failed, this master goes on");
            }
            Self::RetiringAll => info!("workers leave, the master stays"),
            Self::ShutdownDelayed { delay } => {
                info!(delay:% = Seconds(*delay); "shutdown delayed");
            }
            Self::WokeLate { late } => {
                warn!(late:% = Seconds(*late); "woke late, time limits start anew");
            }
        }
    }
}

/// What an examination of the worker has brought to light.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Its stacks; empty: none were written.
    pub(crate) stacks: String,
    /// What the client was told in the app's stead, if it was.
    pub(crate) status: Option<u16>,
}

impl Report {
    /// Writes the line, with what was found out for it.
    pub(crate) fn log_findings(&self, findings: &Findings) {
        let Self::RequestTimeout { who: Who { nr, generation, pid }, thread, method, path, age } =
            self
        else {
            return self.log();
        };
        let age = Seconds(*age);
        let mut keys = vec![
            ("worker", Value::from(*nr)),
            ("generation", Value::from(*generation)),
            ("pid", Value::from_display(pid)),
        ];
        keys.extend(thread.map(|thread| ("thread", Value::from(thread))));
        keys.extend([
            ("method", Value::from(method.as_str())),
            ("path", Value::from(path.as_str())),
            ("age", Value::from_display(&age)),
        ]);
        keys.extend(findings.status.map(|status| ("status", Value::from(status))));
        if !findings.stacks.is_empty() {
            keys.push(("stacks", Value::from(findings.stacks.as_str())));
        }
        write_error("request timeout", &keys);
    }
}

/// A line some of whose keys may be missing, which the macros have no way to say.
pub(crate) fn write_error(message: &str, keys: &[(&str, Value<'_>)]) {
    if log::max_level() < Level::Error {
        return;
    }
    log::logger().log(
        &Record::builder()
            .level(Level::Error)
            .target(module_path!())
            .module_path_static(Some(module_path!()))
            .key_values(&keys)
            .args(format_args!("{message}"))
            .build(),
    );
}

/// A duration for people: `0.41s`, `4.1s`.
pub(crate) struct Seconds(pub(crate) Duration);

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
