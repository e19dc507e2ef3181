//! One generation: the settings and listeners that its workers run with.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use ironhorn_config::{AccessLogFormat, Bind, LogFile, Protocol, Settings};
use ironhorn_unix::{Address, BindError, BindOptions, Identity, Listener, Local};
use ironhorn_worker::AccessLog;
use ironhorn_worker::access_log::{Format, FormatError};

use crate::hooks::Hooks;
use crate::logging::links;

pub(crate) struct Generation {
    pub(crate) settings: Settings,
    /// Who its workers are; none: who the master is.
    pub(crate) identity: Option<Identity>,
    /// In the order of the setting `bind`. A listener that a reload keeps is shared.
    pub(crate) entrances: Vec<Entrance>,
    /// What is called when something happens to its workers.
    pub(crate) hooks: Hooks,
}

/// A listener, and what is spoken there.
pub(crate) struct Entrance {
    pub(crate) listener: Rc<Listener>,
    pub(crate) protocol: Protocol,
}

impl Generation {
    /// Listens where the settings say; what one of the `living` listens on already is kept.
    pub(crate) fn bind(
        settings: Settings,
        identity: Option<Identity>,
        living: &Generations,
    ) -> Result<Self, BindError> {
        let owner = identity.as_ref().map(|identity| (identity.uid(), identity.gid()));
        let (backlog, mode) = (settings.backlog, mode(&settings));
        let options = BindOptions { backlog, mode, owner, ..BindOptions::default() };
        let mut seen = HashSet::new();
        let mut generation = Self {
            settings: settings.clone(),
            identity,
            entrances: Vec::new(),
            hooks: Hooks::default(),
        };
        for Bind { protocol, address } in &settings.bind {
            if !seen.insert(address) {
                log::warn!(address:%; "listed more than once in bind");
                continue;
            }
            let bound = match living.listener(address) {
                Some(listener) => Ok(Rc::clone(listener)),
                None => Listener::bind(address, &options).map(Rc::new),
            };
            match bound {
                Ok(listener) => {
                    let protocol = protocol.unwrap_or(settings.protocol);
                    generation.entrances.push(Entrance { listener, protocol });
                }
                Err(error) => {
                    generation.unlink_unless_in(living);
                    return Err(error);
                }
            }
        }
        Ok(generation)
    }

    pub(crate) fn with_hooks(self, hooks: Hooks) -> Self {
        Self { hooks, ..self }
    }

    /// Leaves no socket files behind, but for those of listeners that the `living` have too.
    pub(crate) fn unlink_unless_in(&self, living: &Generations) {
        self.listeners_not_in(living).for_each(|listener| listener.unlink());
    }

    /// Says where connections are taken, but for listeners that the `living` have too.
    pub(crate) fn announce_unless_in(&self, living: &Generations) {
        for listener in self.listeners_not_in(living) {
            log::info!(address = whereabouts(listener); "listening");
        }
    }

    /// Says where connections are taken no more, but for listeners that the `living` have too.
    pub(crate) fn announce_end_unless_in(&self, living: &Generations) {
        for listener in self.listeners_not_in(living) {
            log::info!(address = whereabouts(listener); "closed");
        }
    }

    /// Whether everything that this one listens on is also `other`'s.
    pub(crate) fn is_covered_by(&self, other: &Self) -> bool {
        self.listeners().all(|listener| other.listens(listener))
    }

    /// The listeners that the `living` don't have.
    pub(crate) fn listeners_not_in(
        &self,
        living: &Generations,
    ) -> impl Iterator<Item = &Rc<Listener>> {
        self.listeners().filter(|listener| !living.listen(listener))
    }

    fn listens(&self, listener: &Rc<Listener>) -> bool {
        self.listeners().any(|other| Rc::ptr_eq(other, listener))
    }

    pub(crate) fn listeners(&self) -> impl Iterator<Item = &Rc<Listener>> {
        self.entrances.iter().map(|entrance| &entrance.listener)
    }
}

/// The generations that have workers or are to have them, by number.
#[derive(Default)]
pub(crate) struct Generations(BTreeMap<u32, Generation>);

impl Generations {
    /// As if `listeners`, of the master before this one, were a generation's of this one.
    pub(crate) fn of_inherited(settings: &Settings, listeners: Vec<Rc<Listener>>) -> Self {
        let hooks = Hooks::default();
        // What was spoken there, the master before this one knew.
        let entrance = |listener| Entrance { listener, protocol: Protocol::default() };
        let entrances = listeners.into_iter().map(entrance).collect();
        let inherited = Generation { settings: settings.clone(), identity: None, entrances, hooks };
        Self(BTreeMap::from([(0, inherited)]))
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Generation> {
        self.0.get(&number)
    }

    pub(crate) fn insert(&mut self, number: u32, generation: Generation) {
        self.0.insert(number, generation);
    }

    pub(crate) fn remove(&mut self, number: u32) -> Option<Generation> {
        self.0.remove(&number)
    }

    pub(crate) fn keep_only(&mut self, number: u32) {
        self.0.retain(|&kept, _| kept == number);
    }

    /// Every listener, once.
    pub(crate) fn listeners(&self) -> Vec<Rc<Listener>> {
        let mut all: Vec<Rc<Listener>> = Vec::new();
        for listener in self.0.values().flat_map(Generation::listeners) {
            if !all.iter().any(|other| Rc::ptr_eq(other, listener)) {
                all.push(Rc::clone(listener));
            }
        }
        all
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Generation> {
        self.0.values_mut()
    }

    /// The listener of this address, whichever generation bound it.
    fn listener(&self, address: &Address) -> Option<&Rc<Listener>> {
        // The same relative path is another socket in another directory.
        let path = match address {
            Address::Unix(path) => Some(Local::Unix(std::path::absolute(path).ok()?)),
            _ => None,
        };
        let is_it = |listener: &&Rc<Listener>| match &path {
            Some(path) => listener.local() == path,
            None => listener.address() == address,
        };
        self.0.values().rev().flat_map(Generation::listeners).find(is_it)
    }

    fn listen(&self, listener: &Rc<Listener>) -> bool {
        self.0.values().any(|generation| generation.listens(listener))
    }
}

/// Where a listener is reached: what was asked for, with the port that the kernel chose.
pub(crate) fn whereabouts(listener: &Listener) -> String {
    match (listener.address(), listener.local()) {
        (Address::Tcp { .. }, Local::Inet(local)) => local.to_string(),
        (address, _) => address.to_string(),
    }
}

/// A unix socket's permissions: what a umask that was set leaves, else the listener's default.
fn mode(settings: &Settings) -> Option<u32> {
    settings.umask.map(|umask| 0o666 & !umask)
}

/// The compiled format of the access log; checked even where no log is written.
pub(crate) fn access_format(settings: &Settings) -> Result<Format, FormatError> {
    Format::parse(match &settings.access_logformat {
        AccessLogFormat::Combined => "combined",
        AccessLogFormat::Json => "json",
        AccessLogFormat::Atoms(atoms) => atoms,
    })
}

/// The access log of a worker whose generation has served before, if there is to be one: if it can't
/// be opened any more, requests are served without.
pub(crate) fn open_access_log_or_none(settings: &Settings) -> Option<AccessLog> {
    let error = match open_access_log(settings) {
        Ok(access_log) => return access_log,
        Err(error) => error,
    };
    log::error!("{error}; nothing is written to it until SIGUSR1 has it opened again");
    let Some(LogFile::Path(path)) = &settings.access_logfile else { return None };
    AccessLog::to_missing_file(access_format(settings).ok()?, path, links(settings)).ok()
}

/// The access log, if there is to be one.
pub(crate) fn open_access_log(settings: &Settings) -> Result<Option<AccessLog>, String> {
    let format = access_format(settings).map_err(|error| format!("access_logformat: {error}"))?;
    match &settings.access_logfile {
        None => Ok(None),
        Some(LogFile::Standard) => Ok(Some(AccessLog::to_stdout(format))),
        Some(LogFile::Path(path)) => AccessLog::to_file(format, path, links(settings))
            .map(Some)
            .map_err(|error| format!("cannot open the access log {}: {error}", path.display())),
    }
}
