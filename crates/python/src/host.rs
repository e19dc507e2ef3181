//! The server as its master sees it: settings, listeners, and what a worker is made of.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ironhorn_config::{Settings, Sources, Stop, resolve};
use ironhorn_master::{ExitCode, Host, Options, WorkerSeat};
use ironhorn_unix::{ForkHooks, Listener, Pidfile, set_process_title, set_umask};
use pyo3::prelude::*;

use crate::fork_hooks::PythonHooks;
use crate::generation::{Generation, open_access_log, whereabouts};
use crate::{boot, logging};

/// Everything that outlives a worker.
pub(crate) struct Server<'py> {
    py: Python<'py>,
    hooks: PythonHooks<'py>,
    sources: Sources,
    /// By number; the first is 1.
    generations: BTreeMap<u32, Generation>,
    /// The one that new workers are made of.
    pidfile: Option<Pidfile>,
}

impl<'py> Server<'py> {
    /// A server whose first generation is bound.
    pub(crate) fn new(
        py: Python<'py>,
        sources: Sources,
        first: Generation,
        pidfile: Option<Pidfile>,
    ) -> Self {
        let generations = BTreeMap::from([(FIRST_GENERATION, first)]);
        Self { py, hooks: PythonHooks::new(py), sources, generations, pidfile }
    }

    fn newest(&self) -> &Generation {
        let newest = self.generations.last_key_value();
        newest.expect("invariant: a server has a generation until it ends").1
    }

    /// Settings that are valid and can be carried out; nothing has changed if not.
    fn prepare(&self) -> Result<Generation, String> {
        let settings = match resolve(&self.sources) {
            Ok(resolved) => resolved.settings,
            Err(Stop::Errors(errors)) => return Err(errors.to_string()),
            Err(Stop::Help(_) | Stop::Version(_)) => {
                return Err("the command line asks for help".to_owned());
            }
        };
        enter_directory(&self.sources, &settings)?;
        let prepared = open_access_log(&settings).and_then(|_| {
            logging::check(&settings.error_logfile)
                .map_err(|error| format!("cannot open the log {error}"))?;
            Generation::bind(settings, Some(self.newest())).map_err(|error| error.to_string())
        });
        if prepared.is_err() {
            enter_directory(&self.sources, &self.newest().settings)?;
        }
        prepared
    }

    /// The pidfile follows the setting.
    fn move_pidfile(&mut self, wanted: Option<&PathBuf>) {
        let present = self.pidfile.as_ref().map(Pidfile::path);
        if present == wanted.map(PathBuf::as_path) {
            return;
        }
        match wanted.map(|path| Pidfile::create(path)).transpose() {
            Ok(created) => self.pidfile = created,
            Err(error) => log::error!(error:%; "pidfile not moved"),
        }
    }

    /// Closes what no generation listens on any more.
    fn close(dropped: Generation, left: &BTreeMap<u32, Generation>) {
        for listener in dropped.listeners {
            if !left.values().any(|generation| generation.listens(&listener)) {
                log::info!(address = whereabouts(&listener); "closed");
                listener.unlink();
            }
        }
    }
}

/// The number of the generation that a server starts with.
pub(crate) const FIRST_GENERATION: u32 = 1;

impl Host for Server<'_> {
    fn reload(&mut self, generation: u32) -> Result<Options, String> {
        let prepared = self.prepare()?;
        prepared.announce_unless_in(Some(self.newest()));
        let options = master_options(&prepared.settings);
        self.move_pidfile(prepared.settings.pid.as_ref());
        configure_logging(&prepared.settings, &self.sources);
        self.generations.insert(generation, prepared);
        Ok(options)
    }

    fn drop_generation(&mut self, generation: u32) {
        if let Some(dropped) = self.generations.remove(&generation) {
            Self::close(dropped, &self.generations);
        }
    }

    fn keeps_listeners(&self, old: u32, new: u32) -> bool {
        match (self.generations.get(&old), self.generations.get(&new)) {
            (Some(old), Some(new)) => old.is_covered_by(new),
            _ => false,
        }
    }

    fn run_worker(&mut self, seat: WorkerSeat) -> i32 {
        logging::name_worker(seat.nr, seat.generation);
        if let Some(pidfile) = self.pidfile.take() {
            pidfile.disown();
        }
        let Some(generation) = self.generations.remove(&seat.generation) else {
            log::error!("no settings for this generation");
            return ExitCode::RUNTIME;
        };
        let listeners: Result<Vec<Listener>, _> =
            generation.listeners.iter().map(|listener| listener.try_clone()).collect();
        let listeners = match listeners {
            Ok(listeners) => listeners,
            Err(error) => {
                log::error!(error:%; "cannot share the listeners");
                return ExitCode::RUNTIME;
            }
        };
        // The descriptors of other generations would keep their addresses bound.
        self.generations.clear();
        let settings = generation.settings.clone();
        drop(generation);
        configure_logging(&settings, &self.sources);
        set_process_title(&format!("ironhorn: worker {} [{}]", seat.nr, name(&settings)));
        boot::run(self.py, &settings, listeners, seat)
    }

    fn fork_hooks(&self) -> &dyn ForkHooks {
        &self.hooks
    }

    fn reopen_logs(&mut self) {
        logging::reopen(&self.newest().settings);
    }

    fn stop_listening(&mut self) {
        for generation in self.generations.values_mut() {
            for listener in std::mem::take(&mut generation.listeners) {
                listener.unlink();
            }
        }
    }

    fn describe(&mut self, state: &str) {
        set_process_title(&format!("ironhorn: master [{}] {state}", name(&self.newest().settings)));
    }
}

/// What the master needs of the settings.
pub(crate) fn master_options(settings: &Settings) -> Options {
    Options {
        workers: settings.workers,
        timeout: settings.timeout,
        graceful_timeout: settings.graceful_timeout,
        boot_timeout: settings.boot_timeout,
        reload_surge: settings.reload_surge,
    }
}

/// Logs as the settings say; if that can't be, as before.
fn configure_logging(settings: &Settings, sources: &Sources) {
    if let Err(error) = logging::configure(settings, filters(sources).as_deref()) {
        log::error!(error:%; "cannot open the log; lines go where they went before");
    }
}

/// The value of IRONHORN_LOG.
pub(crate) fn filters(sources: &Sources) -> Option<String> {
    let (_, value) = sources.environment.iter().find(|(name, _)| name == "IRONHORN_LOG")?;
    value.to_str().map(str::to_owned)
}

/// Goes to the directory that relative paths start from, and sets the umask for what is made.
pub(crate) fn enter_directory(sources: &Sources, settings: &Settings) -> Result<(), String> {
    let directory = match &settings.chdir {
        Some(chdir) => sources.directory.join(chdir),
        None => sources.directory.clone(),
    };
    std::env::set_current_dir(&directory)
        .map_err(|error| format!("cannot change to {}: {error}", directory.display()))?;
    if let Some(umask) = settings.umask {
        set_umask(umask);
    }
    Ok(())
}

/// What the process titles call the server.
fn name(settings: &Settings) -> &str {
    settings.name.as_deref().unwrap_or(&settings.app)
}

/// How often a worker shows that it lives: well within the timeout that would have it killed.
pub(crate) fn heartbeat(timeout: Option<Duration>) -> Duration {
    const AT_MOST: Duration = Duration::from_secs(10);
    timeout.map_or(AT_MOST, |timeout| (timeout / 3).min(AT_MOST))
}
