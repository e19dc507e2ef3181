//! The service manager: sockets that it passes (sd_listen_fds(3)) and what it is told (sd_notify(3),
//! sd_watchdog_enabled(3)).
//!
//! Any service manager that speaks these protocols will do. What it has put into the environment is
//! meant for the server alone, so the app doesn't see it.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use ironhorn_config::{Bind, Origin, Resolved};
use ironhorn_master::report::Report;
use ironhorn_unix::{Address, Monotonic, Notifier, Pid, set_close_on_exec};
use pyo3::prelude::*;

use crate::upgrade::{LISTENERS, MASTER, variable};

/// The first descriptor that is passed (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;
/// More than any unit passes: a larger number is a mistake.
const AT_MOST: RawFd = 1024;

/// Between two tries to say what the service manager has no room for.
const BETWEEN_TRIES: Duration = Duration::from_millis(100);
/// After so many tries in vain the log says so.
const PATIENCE: u32 = 50;
/// A watchdog that expects more would cost more than it is good for.
const AT_LEAST_BETWEEN_SIGNS: Duration = Duration::from_millis(100);

const LISTEN_PID: &str = "LISTEN_PID";
const LISTEN_FDS: &str = "LISTEN_FDS";
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// What others have said to this process, and not to the app.
const PRIVATE: [&str; 8] = [
    LISTEN_PID,
    LISTEN_FDS,
    "LISTEN_FDNAMES",
    NOTIFY_SOCKET,
    WATCHDOG_USEC,
    WATCHDOG_PID,
    LISTENERS,
    MASTER,
];

type Environment = [(OsString, OsString)];

/// Removes from the environment what is not the app's.
pub(crate) fn clean_environment(py: Python<'_>) -> PyResult<()> {
    let environ = py.import("os")?.getattr("environ")?;
    for name in PRIVATE {
        environ.call_method1("pop", (name, py.None()))?;
    }
    Ok(())
}

/// The descriptors of the sockets that were passed to this process.
///
/// They are closed when the app executes a program.
pub(crate) fn passed_sockets(environment: &Environment) -> Vec<RawFd> {
    let number = |name| variable(environment, name)?.to_str()?.parse::<i32>().ok();
    let own = number(LISTEN_PID).is_some_and(|pid| u32::try_from(pid) == Ok(std::process::id()));
    // A new master has the sockets of the old one, to which they were passed.
    if !own && (number(LISTEN_PID).is_none() || number(LISTEN_PID) != number(MASTER)) {
        return Vec::new();
    }
    let count = number(LISTEN_FDS).unwrap_or(0).clamp(0, AT_MOST);
    let passed = (FIRST..FIRST + count).filter(|&number| set_close_on_exec(number, true).is_ok());
    passed.collect()
}

/// The environment of a new master, which inherits the sockets that were passed to this one.
pub(crate) fn environment_of_successor(
    environment: &Environment,
    sockets: &[RawFd],
) -> Vec<(OsString, OsString)> {
    let mut environment = environment.to_vec();
    environment.retain(|(name, _)| name != LISTEN_PID && name != WATCHDOG_PID);
    if !sockets.is_empty() {
        environment.push((LISTEN_PID.into(), std::process::id().to_string().into()));
    }
    environment
}

/// Listens on the sockets that were passed, where no setting says where to listen.
pub(crate) fn listen_on(sockets: &[RawFd], resolved: &mut Resolved) {
    if sockets.is_empty() {
        return;
    }
    match resolved.origin("bind") {
        None | Some(Origin::Default) => {
            let bind = |&number: &RawFd| Bind::at(Address::Fd(number));
            resolved.settings.bind = sockets.iter().map(bind).collect();
        }
        Some(_) => {}
    }
}

/// What the service manager is told.
#[derive(Debug, Default)]
pub(crate) struct Systemd {
    notifier: Option<Notifier>,
    watchdog: Option<Watchdog>,
    status: String,
    phase: Phase,
    unsent: Unsent,
}

/// What the service manager has no room for now: it would wait for the end of a start or a reload
/// for ever.
#[derive(Debug, Default)]
struct Unsent {
    /// In their order.
    messages: VecDeque<String>,
    /// When the first is tried again.
    next: Option<Monotonic>,
    tries: u32,
}

/// What the service manager believes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Starting,
    Ready,
    Reloading,
    Stopping,
}

#[derive(Debug)]
struct Watchdog {
    interval: Duration,
    next: Monotonic,
}

impl Systemd {
    /// As the environment says. Nobody is told anything if it names no service manager.
    pub(crate) fn new(environment: &Environment) -> Self {
        let Some(address) = variable(environment, NOTIFY_SOCKET) else { return Self::default() };
        match Notifier::new(address) {
            Ok(notifier) => {
                let watchdog = Watchdog::new(environment);
                Self { notifier: Some(notifier), watchdog, ..Self::default() }
            }
            Err(error) => {
                log::warn!(error:%; "cannot tell the service manager anything");
                Self::default()
            }
        }
    }

    /// Tells what has happened. `other` is the master before or after this one, if there is one.
    pub(crate) fn observe(&mut self, report: &Report, other: Other) {
        match report {
            Report::Serving => {
                self.phase = Phase::Ready;
                // Who takes over from another process has become the service.
                self.send(&format!("READY=1\nMAINPID={}", std::process::id()));
            }
            Report::Reloading { .. } => self.reload(),
            Report::Reloaded { .. } => self.reloaded(),
            Report::ReloadFailed { .. } | Report::ReloadEnded { .. } => {
                // Settings that are wrong: the reload has ended before it began.
                if self.phase == Phase::Ready {
                    self.reload();
                }
                self.reloaded();
            }
            Report::ShutdownDelayed { .. } | Report::Stopping { .. } => self.stop(other),
            // It may have become the service, and be gone.
            Report::UpgradeFailed { .. }
                if matches!(self.phase, Phase::Ready | Phase::Reloading) =>
            {
                self.send(&format!(
                    "READY=1\nMAINPID={}\nSTATUS={}",
                    std::process::id(),
                    self.status
                ));
            }
            _ => {}
        }
    }

    /// Shows `state` where the service manager shows the service.
    pub(crate) fn describe(&mut self, state: &str, other: Other) {
        // A line break would begin another word to the service manager.
        let status = state.replace(char::is_control, " ");
        if self.status == status {
            return;
        }
        self.status = status;
        // The successor speaks for the service.
        if !matches!(other, Other::Successor) {
            self.send(&format!("STATUS={}", self.status));
        }
    }

    /// Shows that the master lives, if it is time, and says what could not be said yet; says when
    /// to come again.
    pub(crate) fn attend(&mut self, now: Monotonic) -> Option<Monotonic> {
        if let Some(watchdog) = &mut self.watchdog
            && now >= watchdog.next
        {
            watchdog.next = now + watchdog.interval;
            self.send("WATCHDOG=1");
        }
        if self.unsent.next.is_some_and(|next| now >= next) {
            self.send_unsent();
        }
        self.watchdog
            .as_ref()
            .map(|watchdog| watchdog.next)
            .into_iter()
            .chain(self.unsent.next)
            .min()
    }

    fn reload(&mut self) {
        if matches!(self.phase, Phase::Ready | Phase::Reloading) {
            self.phase = Phase::Reloading;
            let now = Monotonic::now().as_nanos() / 1000;
            self.send(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
        }
    }

    fn reloaded(&mut self) {
        if self.phase == Phase::Reloading {
            self.phase = Phase::Ready;
            self.send("READY=1");
        }
    }

    fn stop(&mut self, other: Other) {
        if self.phase == Phase::Stopping {
            return;
        }
        self.phase = Phase::Stopping;
        match other {
            Other::None => self.send("STOPPING=1"),
            // The service goes on without this process.
            Other::Predecessor(pid) => self.send(&format!("MAINPID={pid}")),
            Other::Successor => {}
        }
    }

    fn send(&mut self, message: &str) {
        self.unsent.add(message);
        self.send_unsent();
    }

    fn send_unsent(&mut self) {
        let Self { notifier: Some(notifier), unsent, .. } = self else {
            self.unsent = Unsent::default();
            return;
        };
        while let Some(message) = unsent.messages.front() {
            match notifier.send(message) {
                Ok(()) => {}
                // Its queue is full (unix(7)).
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    unsent.tries += 1;
                    if unsent.tries == PATIENCE {
                        log::warn!(error:%; "the service manager doesn't listen; it is told again and again");
                    }
                    unsent.next = Some(Monotonic::now() + BETWEEN_TRIES);
                    return;
                }
                Err(error) => log::debug!(error:%; "the service manager doesn't listen"),
            }
            unsent.messages.pop_front();
        }
        *unsent = Unsent::default();
    }
}

impl Unsent {
    /// Takes the place of messages that said no more than this one says anew, so that few wait
    /// however long nobody listens.
    fn add(&mut self, message: &str) {
        let names = |message: &str| -> BTreeSet<String> {
            let lines = message.lines().filter_map(|line| line.split_once('='));
            lines.map(|(name, _)| name.to_owned()).collect()
        };
        let new = names(message);
        self.messages.retain(|old| !names(old).is_subset(&new));
        self.messages.push_back(message.to_owned());
    }
}

/// The master beside this one, while one takes over from the other.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Other {
    None,
    Predecessor(Pid),
    Successor,
}

impl Watchdog {
    /// sd_watchdog_enabled(3): pings are expected within the time given, by the process named.
    fn new(environment: &Environment) -> Option<Self> {
        let number = |name| variable(environment, name)?.to_str()?.parse::<u64>().ok();
        if variable(environment, WATCHDOG_PID).is_some()
            && number(WATCHDOG_PID) != Some(std::process::id().into())
        {
            return None;
        }
        let limit = number(WATCHDOG_USEC).filter(|&limit| limit > 0)?;
        let interval = (Duration::from_micros(limit) / 2).max(AT_LEAST_BETWEEN_SIGNS);
        Some(Self { interval, next: Monotonic::now() })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    type Variables = Vec<(OsString, OsString)>;

    fn manager() -> (UnixDatagram, Variables, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (socket, vec![(NOTIFY_SOCKET.into(), path.into())], directory)
    }

    fn heard(manager: &UnixDatagram) -> Vec<String> {
        let mut message = [0; 256];
        std::iter::from_fn(|| {
            manager
                .recv(&mut message)
                .ok()
                .map(|length| String::from_utf8_lossy(&message[..length]).into_owned())
        })
        .collect()
    }

    #[test]
    fn what_finds_no_room_is_said_later() {
        let (manager, environment, _directory) = manager();
        let filler = Notifier::new(&environment[0].1).unwrap();
        while filler.send("FILLER=1").is_ok() {}
        let mut systemd = Systemd::new(&environment);
        let now = Monotonic::now();
        systemd.observe(&Report::Serving, Other::None);
        systemd.describe("1 worker", Other::None);
        systemd.describe("2 workers", Other::None);
        systemd.observe(&Report::Reloading { generation: 2 }, Other::None);
        systemd.reloaded();
        let again = systemd.attend(now).unwrap();
        assert!(again > now && again <= Monotonic::now() + BETWEEN_TRIES);
        assert!(heard(&manager).iter().all(|message| message == "FILLER=1"));
        assert_eq!(systemd.attend(again), None);
        let mut said = heard(&manager);
        assert!(said[2].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{said:?}");
        said.remove(2);
        let ready = format!("READY=1\nMAINPID={}", std::process::id());
        assert_eq!(said, [ready.as_str(), "STATUS=2 workers", "READY=1"]);
    }

    #[test]
    fn nobody_there_is_not_waited_for() {
        let (manager, environment, directory) = manager();
        drop((manager, directory));
        let mut systemd = Systemd::new(&environment);
        systemd.observe(&Report::Serving, Other::None);
        assert_eq!(systemd.attend(Monotonic::now()), None);
    }

    #[test]
    fn signs_of_life_are_not_endless() {
        let watchdog = Watchdog::new(&[(WATCHDOG_USEC.into(), "1".into())]).unwrap();
        assert_eq!(watchdog.interval, AT_LEAST_BETWEEN_SIGNS);
    }
}
