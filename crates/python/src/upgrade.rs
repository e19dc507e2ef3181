//! One master in the place of another (SIGUSR2): what is handed over, and who cleans up.
//!
//! The new master is a child of the old one, started from the files as they are now. It finds the
//! listeners open and takes connections from the same queues; both serve until one of them is told
//! to stop, whichever that is. A socket file belongs to both: the last of them removes it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ironhorn_config::Control;
use ironhorn_unix::{Address, Listener, ListenerFile, Pid, Program, parent};
use pyo3::prelude::*;

/// The listeners that a new master inherits: a line of [`Listener::bequest`] for each.
pub(crate) const LISTENERS: &str = "IRONHORN_LISTENERS";
/// The process id of the master that has started this one.
pub(crate) const MASTER: &str = "IRONHORN_MASTER";

const SUFFIX: &str = ".oldbin";

/// The masters before and after this one.
#[derive(Debug, Default)]
pub(crate) struct Succession {
    predecessor: Option<Pid>,
    successor: Option<Pid>,
    /// Files of sockets that two masters serve.
    shared: Vec<ListenerFile>,
}

impl Succession {
    /// Reads what the master that started this process says of itself, if one did, and takes over
    /// the listeners that it hands over.
    pub(crate) fn inherit(environment: &[(OsString, OsString)]) -> (Self, Vec<Rc<Listener>>) {
        let mut listeners = Vec::new();
        let bequests = variable(environment, LISTENERS).unwrap_or_default().as_bytes();
        for bequest in bequests.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            match Listener::adopt(OsStr::from_bytes(bequest)) {
                Ok(listener) => listeners.push(Rc::new(listener)),
                Err(error) => log::warn!(error:%; "cannot take over a listener"),
            }
        }
        let shared = listeners.iter().filter_map(|listener| listener.file()).collect();
        let predecessor = variable(environment, MASTER)
            .and_then(|pid| pid.to_str()?.parse().ok())
            .map(Pid::from_raw);
        (Self { predecessor, successor: None, shared }, listeners)
    }

    /// Whether a master has started this process to take its place.
    pub(crate) fn has_begun(environment: &[(OsString, OsString)]) -> bool {
        variable(environment, MASTER).is_some()
    }

    /// The master before this one, while it lives: it is this one's parent.
    pub(crate) fn predecessor(&self) -> Option<Pid> {
        self.predecessor.filter(|&predecessor| predecessor == parent())
    }

    /// The master after this one, while it lives.
    pub(crate) fn successor(&self) -> Option<Pid> {
        self.successor
    }

    /// `successor` has what is handed over, the `listeners`.
    fn begin(&mut self, successor: Pid, listeners: &[Rc<Listener>]) {
        self.successor = Some(successor);
        self.shared = listeners.iter().filter_map(|listener| listener.file()).collect();
    }

    /// The successor is gone.
    pub(crate) fn end(&mut self) {
        self.successor = None;
        self.shared.clear();
    }

    /// Removes the socket file of `listener`, unless another master serves it too.
    pub(crate) fn unlink(&self, listener: &Listener) {
        let Some(file) = listener.file() else { return };
        if self.is_last() || !self.shared.contains(&file) {
            file.remove();
        }
    }

    /// Removes what the predecessor has left to this master and no listener has any more: for the
    /// end of the server.
    pub(crate) fn clean_up(&self) {
        if self.is_last() {
            self.shared.iter().for_each(ListenerFile::remove);
        }
    }

    fn is_last(&self) -> bool {
        self.successor.is_none() && self.predecessor().is_none()
    }
}

/// A file of the predecessor's that this master has another of in its place.
///
/// On drop the predecessor has it back, if it lives; else the file goes.
pub(crate) struct SetAside {
    path: PathBuf,
    aside: PathBuf,
    predecessor: Pid,
}

impl SetAside {
    /// Makes room for a control socket at a path that the settings name.
    pub(crate) fn control(control: &Control, succession: &Succession) -> Option<Self> {
        let Control::Path(path) = control else { return None };
        let path = std::path::absolute(path).ok()?;
        let aside = with_suffix(&path);
        let predecessor = succession.predecessor()?;
        // Nothing was there, or it can't be made room for: then the bind says why.
        fs::rename(&path, &aside).ok()?;
        Some(Self { path, aside, predecessor })
    }
}

impl Drop for SetAside {
    fn drop(&mut self) {
        // Nobody else has anything there, and nobody is left to tell if this fails.
        let _ = if self.predecessor == parent() {
            fs::rename(&self.aside, &self.path)
        } else {
            fs::remove_file(&self.aside)
        };
    }
}

/// The same, whichever directory is the current one later.
pub(crate) fn absolute(control: &Control) -> Control {
    match control {
        Control::Path(path) => {
            Control::Path(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
        }
        other => other.clone(),
    }
}

/// In the old master: if the new one could not give the control socket back, it is taken.
pub(crate) fn restore_control(control: &Control) {
    let Control::Path(path) = control else { return };
    let aside = with_suffix(path);
    if aside.exists()
        && let Err(error) = fs::rename(aside, path)
    {
        log::error!(error:%; "cannot take back the control socket");
    }
}

/// The name that a file of the old master has while a new one has its own in its place.
pub(crate) fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SUFFIX);
    name.into()
}

/// The name that it had before, if it was set aside.
pub(crate) fn without_suffix(path: &Path) -> Option<PathBuf> {
    let name = path.as_os_str().as_bytes().strip_suffix(SUFFIX.as_bytes())?;
    Some(OsStr::from_bytes(name).into())
}

/// The command that this server was started with.
pub(crate) struct Command {
    executable: PathBuf,
    arguments: Vec<OsString>,
}

impl Command {
    /// As Python was given it: with its own options, before the server's.
    pub(crate) fn of_this_process(py: Python<'_>) -> PyResult<Self> {
        let sys = py.import("sys")?;
        let executable = sys.getattr("executable")?.extract()?;
        let arguments: Vec<OsString> = sys.getattr("orig_argv")?.extract()?;
        Ok(Self { executable, arguments: arguments.into_iter().skip(1).collect() })
    }
}

/// How the new master is started.
pub(crate) struct Start<'a> {
    pub(crate) command: Command,
    pub(crate) directory: &'a Path,
    /// As this server found it, but for what was meant for this process alone.
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) umask: u32,
    /// What this server listens on.
    pub(crate) listeners: Vec<Rc<Listener>>,
    /// Descriptors of listeners that this server has inherited itself.
    pub(crate) inherited: Vec<RawFd>,
}

impl Start<'_> {
    /// Starts the new master and shares with it.
    pub(crate) fn run(mut self, succession: &mut Succession) -> Result<Pid, String> {
        // It finds those of fd://N where this server has found them.
        self.listeners.retain(|listener| !matches!(listener.address(), Address::Fd(_)));
        let mut environment = self.environment;
        environment.retain(|(name, _)| name != LISTENERS && name != MASTER);
        let bequests: Vec<_> = self.listeners.iter().map(|listener| listener.bequest()).collect();
        environment.push((LISTENERS.into(), bequests.join(OsStr::new("\n"))));
        environment.push((MASTER.into(), std::process::id().to_string().into()));
        let mut inherits = self.inherited;
        inherits.extend(self.listeners.iter().map(|listener| listener.as_raw_fd()));
        let program = Program {
            file: &self.command.executable,
            arguments: &self.command.arguments,
            directory: self.directory,
            environment: &environment,
            umask: self.umask,
            inherits: &inherits,
        };
        let file = self.command.executable.display();
        let pid = program.spawn().map_err(|error| format!("cannot start {file}: {error}"))?;
        succession.begin(pid, &self.listeners);
        Ok(pid)
    }
}

/// The last value of the variable `name`.
pub(crate) fn variable<'e>(
    environment: &'e [(OsString, OsString)],
    name: &str,
) -> Option<&'e OsStr> {
    environment.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
}
