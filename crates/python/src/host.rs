//! The server as its master sees it: settings, listeners, and what a worker is made of.

use std::time::Duration;

use ironhorn_config::{Settings, Sources, Stop, resolve};
use ironhorn_master::{ExitCode, Host, Options, WorkerSeat};
use ironhorn_unix::{ForkHooks, Listener, Pidfile, set_process_title, set_umask};
use pyo3::prelude::*;

use crate::fork_hooks::PythonHooks;
use crate::generation::{Generation, Generations, open_access_log};
use crate::{boot, check, logging};

/// Everything that outlives a worker.
pub(crate) struct Server<'py> {
    py: Python<'py>,
    hooks: PythonHooks<'py>,
    launch: Launch,
    generations: Generations,
    /// The generation that the master's own log, directory and pid file follow.
    serving: u32,
    pidfile: Option<Pidfile>,
}

impl<'py> Server<'py> {
    /// A server whose first generation is bound.
    pub(crate) fn new(
        py: Python<'py>,
        launch: Launch,
        first: Generation,
        pidfile: Option<Pidfile>,
    ) -> Self {
        let mut generations = Generations::default();
        generations.insert(FIRST_GENERATION, first);
        let hooks = PythonHooks::new(py);
        Self { py, hooks, launch, generations, serving: FIRST_GENERATION, pidfile }
    }

    fn serving(&self) -> &Settings {
        let serving = self.generations.get(self.serving);
        &serving.expect("invariant: the generation that serves is kept").settings
    }

    /// Settings that are valid and listeners that are bound; nothing else has changed.
    fn prepare(&self) -> Result<Generation, String> {
        let settings = match resolve(&self.launch.sources) {
            Ok(resolved) => resolved.settings,
            Err(Stop::Errors(errors)) => return Err(errors.to_string()),
            Err(Stop::Help(_) | Stop::Version(_)) => {
                return Err("the command line asks for help".to_owned());
            }
        };
        // Relative paths start in the new directory; the master itself stays where it is.
        let prepared = self.launch.enter(&settings).and_then(|()| {
            open_access_log(&settings)?;
            check::pidfile(&settings)?;
            logging::check(&settings.error_logfile)
                .map_err(|error| format!("cannot open the log {error}"))?;
            Generation::bind(settings, &self.generations).map_err(|error| error.to_string())
        });
        self.launch.enter(self.serving())?;
        prepared
    }

    /// The pidfile follows the setting.
    fn move_pidfile(&mut self) {
        let wanted = self.serving().pid.clone();
        if self.pidfile.as_ref().map(Pidfile::path) == wanted.as_deref() {
            return;
        }
        match wanted.as_deref().map(Pidfile::create).transpose() {
            Ok(created) => self.pidfile = created,
            Err(error) => log::error!(error:%; "pidfile not moved"),
        }
    }
}

/// The number of the generation that a server starts with.
pub(crate) const FIRST_GENERATION: u32 = 1;

impl Host for Server<'_> {
    fn reload(&mut self, generation: u32) -> Result<Options, String> {
        let prepared = self.prepare()?;
        prepared.announce_unless_in(&self.generations);
        let options = master_options(&prepared.settings);
        self.generations.insert(generation, prepared);
        Ok(options)
    }

    fn adopt(&mut self, generation: u32) {
        self.serving = generation;
        if let Err(error) = self.launch.enter(self.serving()) {
            log::error!(error; "the master stays in its directory");
        }
        self.move_pidfile();
        self.launch.configure_logging(self.serving());
    }

    fn drop_generation(&mut self, generation: u32) {
        let Some(dropped) = self.generations.remove(generation) else { return };
        dropped.announce_end_unless_in(&self.generations);
        dropped.unlink_unless_in(&self.generations);
    }

    fn keeps_listeners(&self, old: u32, new: u32) -> bool {
        match (self.generations.get(old), self.generations.get(new)) {
            (Some(old), Some(new)) => old.is_covered_by(new),
            _ => false,
        }
    }

    fn run_worker(&mut self, seat: WorkerSeat) -> i32 {
        logging::name_worker(seat.nr, seat.generation);
        if let Some(pidfile) = self.pidfile.take() {
            pidfile.disown();
        }
        let Some(generation) = self.generations.remove(seat.generation) else {
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
        if let Err(error) = self.launch.enter(&settings) {
            log::error!("{error}");
            return ExitCode::RUNTIME;
        }
        self.launch.configure_logging(&settings);
        set_process_title(&format!("ironhorn: worker {} [{}]", seat.nr, name(&settings)));
        boot::run(self.py, &settings, listeners, seat)
    }

    fn fork_hooks(&self) -> &dyn ForkHooks {
        &self.hooks
    }

    fn request_lost(&mut self, generation: u32, request: &str, age: Duration) {
        let Some(generation) = self.generations.get(generation) else { return };
        match open_access_log(&generation.settings) {
            Ok(None) => {}
            Ok(Some(mut access_log)) => access_log.add_lost(request, age),
            Err(error) => log::error!("{error}"),
        }
    }

    fn reopen_logs(&mut self) {
        logging::reopen(self.serving());
    }

    fn stop_listening(&mut self) {
        for generation in self.generations.values_mut() {
            for listener in std::mem::take(&mut generation.listeners) {
                listener.unlink();
            }
        }
    }

    fn describe(&mut self, state: &str) {
        set_process_title(&format!("ironhorn: master [{}] {state}", name(self.serving())));
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

/// How the command was started: what no reload changes.
pub(crate) struct Launch {
    sources: Sources,
    umask: u32,
}

impl Launch {
    pub(crate) fn new(sources: Sources) -> Self {
        // The umask can only be read by setting it.
        let umask = set_umask(0o077);
        set_umask(umask);
        Self { sources, umask }
    }

    /// Goes to the directory that relative paths start from, and sets the umask for what is made.
    pub(crate) fn enter(&self, settings: &Settings) -> Result<(), String> {
        let directory = match &settings.chdir {
            Some(chdir) => self.sources.directory.join(chdir),
            None => self.sources.directory.clone(),
        };
        std::env::set_current_dir(&directory)
            .map_err(|error| format!("cannot change to {}: {error}", directory.display()))?;
        set_umask(settings.umask.unwrap_or(self.umask));
        Ok(())
    }

    /// The value of IRONHORN_LOG.
    pub(crate) fn log_filters(&self) -> Option<&str> {
        let mut variables = self.sources.environment.iter();
        variables.find(|(name, _)| name == "IRONHORN_LOG")?.1.to_str()
    }

    /// Logs as the settings say; if that can't be, as before.
    fn configure_logging(&self, settings: &Settings) {
        if let Err(error) = logging::configure(settings, self.log_filters()) {
            log::error!(error:%; "cannot open the log; lines go where they went before");
        }
    }
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
