//! One generation: the settings and listeners that its workers run with.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use ironhorn_config::{self as config, AccessLogFormat, Bind, LogFile, Settings};
use ironhorn_unix::{Address, BindOptions, Identity, Listener, Local};
use ironhorn_worker::access_log::{Format, FormatError};
use ironhorn_worker::{AccessLog, Protocol};

use crate::hooks::Hooks;
use crate::logging::links;
use crate::tls::ServerTls;

pub(crate) struct Generation {
    pub(crate) settings: Settings,
    /// Who its workers are; none: who the master is.
    pub(crate) identity: Option<Identity>,
    /// In the order of the setting `bind`. A listener that a reload keeps is shared.
    pub(crate) entrances: Vec<Entrance>,
    /// If HTTPS is spoken at one of them.
    pub(crate) tls: Option<ServerTls>,
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
        tls: Option<ServerTls>,
        living: &Generations,
    ) -> Result<Self, String> {
        let owner = identity.as_ref().map(|identity| (identity.uid(), identity.gid()));
        let (backlog, mode) = (settings.backlog, mode(&settings));
        let options = BindOptions { backlog, mode, owner, ..BindOptions::default() };
        let mut seen = HashSet::new();
        let mut generation = Self {
            settings: settings.clone(),
            identity,
            entrances: Vec::new(),
            tls,
            hooks: Hooks::default(),
        };
        let mut redirects = Vec::new();
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
                    if *protocol == Some(config::Protocol::Redirect) {
                        redirects.push(generation.entrances.len());
                    }
                    let protocol = generation.spoken(*protocol, &listener);
                    generation.entrances.push(Entrance { listener, protocol });
                }
                Err(error) => {
                    generation.unlink_unless_in(living);
                    return Err(error.to_string());
                }
            }
        }
        if let Err(error) = generation.aim(&redirects) {
            generation.unlink_unless_in(living);
            return Err(error);
        }
        Ok(generation)
    }

    /// What is spoken on a listener, by what the setting `bind` says.
    fn spoken(&self, written: Option<config::Protocol>, listener: &Listener) -> Protocol {
        use config::Protocol as Written;
        let is_tcp = matches!(listener.local(), Local::Inet(_));
        match (written, self.settings.protocol, &self.tls) {
            (Some(Written::Uwsgi), ..) | (None, Written::Uwsgi, _) => Protocol::Uwsgi,
            (Some(Written::Https), _, Some(tls)) => Protocol::Https(tls.tls.clone()),
            (None, _, Some(tls)) if is_tcp => Protocol::Https(tls.tls.clone()),
            _ => Protocol::Http,
        }
    }

    /// Has the entrances of these indices send their clients to the first that speaks HTTPS.
    fn aim(&mut self, redirects: &[usize]) -> Result<(), String> {
        if redirects.is_empty() {
            return Ok(());
        }
        let https = self.entrances.iter().find_map(|entrance| {
            match (&entrance.protocol, entrance.listener.local()) {
                (Protocol::Https(_), Local::Inet(local)) => Some(local.port()),
                _ => None,
            }
        });
        let Some(port) = https else {
            return Err("bind: redirect:// needs an address where HTTPS is spoken".to_owned());
        };
        for &index in redirects {
            self.entrances[index].protocol = Protocol::Redirect { port };
        }
        Ok(())
    }

    pub(crate) fn with_hooks(self, hooks: Hooks) -> Self {
        Self { hooks, ..self }
    }

    /// Leaves no socket files behind, but for those of listeners that the `living` have too.
    pub(crate) fn unlink_unless_in(&self, living: &Generations) {
        self.listeners_not_in(living).for_each(|listener| listener.unlink());
    }

    /// Says what is not as it should be with the certificates.
    pub(crate) fn warn_of_certificates(&self) {
        for warning in self.tls.iter().flat_map(|tls| &tls.warnings) {
            log::warn!("{warning}");
        }
    }

    /// Says where connections are taken, but for listeners that the `living` have too.
    pub(crate) fn announce_unless_in(&self, living: &Generations) {
        for entrance in self.entrances.iter().filter(|entrance| !living.speak(entrance)) {
            log::info!(address = whereabouts(entrance); "listening");
        }
    }

    /// Says where connections are taken no more, but for listeners that the `living` have too.
    pub(crate) fn announce_end_unless_in(&self, living: &Generations) {
        for entrance in self.entrances.iter().filter(|entrance| !living.speak(entrance)) {
            log::info!(address = whereabouts(entrance); "closed");
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
        let entrance = |listener| Entrance { listener, protocol: Protocol::Http };
        let entrances = listeners.into_iter().map(entrance).collect();
        let inherited =
            Generation { settings: settings.clone(), identity: None, entrances, tls: None, hooks };
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

    /// Whether one of them speaks the same there.
    fn speak(&self, entrance: &Entrance) -> bool {
        self.0.values().flat_map(|generation| &generation.entrances).any(|other| {
            Rc::ptr_eq(&other.listener, &entrance.listener) && other.scheme() == entrance.scheme()
        })
    }

    fn listen(&self, listener: &Rc<Listener>) -> bool {
        self.0.values().any(|generation| generation.listens(listener))
    }
}

impl Entrance {
    /// What stands before its address.
    fn scheme(&self) -> &'static str {
        match self.protocol {
            Protocol::Http => "",
            Protocol::Https(_) => "https://",
            Protocol::Redirect { .. } => "redirect://",
            Protocol::Uwsgi => "uwsgi://",
        }
    }
}

/// Where a server is reached: what was asked for, with the port that the kernel chose.
pub(crate) fn whereabouts(entrance: &Entrance) -> String {
    let scheme = entrance.scheme();
    match (entrance.listener.address(), entrance.listener.local()) {
        (Address::Tcp { .. }, Local::Inet(local)) => format!("{scheme}{local}"),
        (address, _) => format!("{scheme}{address}"),
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
