//! The server as its master sees it: settings, listeners, and what a worker is made of.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use ironhorn_config::{Control, Resolved, Settings, Sources, Stop, resolve};
use ironhorn_master::report::{Reason, Report};
use ironhorn_master::{About, Attended, ExitCode, Host, Options, WorkerSeat, ZygoteSeat};
use ironhorn_unix::{
    Address, ForkHooks, Listener, Monotonic, Pid, Pidfile, Promise, SocketFile, State,
    WorkingDirectory, set_process_title, set_umask,
};
use ironhorn_worker::AccessLog;
use log::Level;
use pyo3::prelude::*;

use crate::attention::Attention;
use crate::boot::Preloaded;
use crate::boot_errors::BootErrors;
use crate::fork_hooks::PythonHooks;
use crate::generation::{Generation, Generations, open_access_log, whereabouts};
use crate::hooks::{Conf, Confs, Hooks, HooksError};
use crate::systemd::{Other, Systemd};
use crate::upgrade::{self, Succession, with_suffix, without_suffix};
use crate::watch::{Plan, SourceWatch};
use crate::{boot, check, daemon, hooks, logging, privileges, static_files, systemd, tls};

/// Everything that outlives a worker.
pub(crate) struct Server<'py> {
    py: Python<'py>,
    hooks: PythonHooks<'py>,
    launch: Launch,
    generations: Generations,
    /// The generation that the master's own log, directory and pid file follow.
    serving: u32,
    pidfile: Option<Pidfile>,
    /// In a zygote and in a worker that was forked from one.
    preloaded: Option<Preloaded>,
    succession: Succession,
    systemd: Systemd,
    /// What wakes the master, whose it is alone.
    attention: Option<Attention>,
    /// Where the control socket was asked for at start, whatever the settings say since.
    control_setting: Control,
    /// What processes that could not boot have told.
    boot_errors: BootErrors,
    /// Why the server did not start, if it did not.
    pub(crate) start_failure: Option<String>,
    /// Over the sources, with the setting `reload`.
    watch: Option<SourceWatch>,
    /// While the command that was started waits for this server in the background.
    pub(crate) promise: Option<Promise>,
    /// Where operators ask the master.
    pub(crate) control: Option<SocketFile>,
}

impl<'py> Server<'py> {
    /// A server whose first generation is bound.
    pub(crate) fn new(
        py: Python<'py>,
        launch: Launch,
        first: Generation,
        pidfile: Option<Pidfile>,
        succession: Succession,
    ) -> io::Result<Self> {
        let mut generations = Generations::default();
        generations.insert(FIRST_GENERATION, first);
        let mut server = Self {
            py,
            hooks: PythonHooks::new(py),
            systemd: Systemd::new(&launch.sources.environment),
            launch,
            generations,
            serving: FIRST_GENERATION,
            pidfile,
            preloaded: None,
            succession,
            attention: Some(Attention::new()?),
            control_setting: Control::None,
            boot_errors: BootErrors::expect()?,
            start_failure: None,
            watch: None,
            promise: None,
            control: None,
        };
        server.control_setting = upgrade::absolute(&server.serving().control);
        server.watch_sources();
        Ok(server)
    }

    /// The watch over the sources follows the settings; the current directory is theirs.
    fn watch_sources(&mut self) {
        let plan = Plan::of(self.serving());
        if matches!(&plan, Ok(plan) if plan.as_ref() == self.watch.as_ref().map(SourceWatch::plan))
        {
            return;
        }
        let Some(attention) = &self.attention else { return };
        let forgotten = self.watch.take().map_or(Ok(()), |old| attention.remove(old.as_fd()));
        let begun = forgotten.and(plan).and_then(|plan| plan.map(SourceWatch::begin).transpose());
        match begun {
            Ok(watch) => self.watch = watch,
            Err(error) => return log::error!(error:%; "cannot watch the sources"),
        }
        if let Some(watch) = &self.watch
            && let Err(error) = attention.add(watch.as_fd())
        {
            log::error!(error:%; "cannot watch the sources");
        }
    }

    fn serving(&self) -> &Settings {
        let serving = self.generations.get(self.serving);
        &serving.expect("invariant: the generation that serves is kept").settings
    }

    /// Those of `generation`, or of the one that serves if it is gone already.
    fn hooks_of(&self, generation: u32) -> &Hooks {
        let known = self.generations.get(generation).or_else(|| self.generations.get(self.serving));
        &known.expect("invariant: the generation that serves is kept").hooks
    }

    /// The server has ended.
    pub(crate) fn on_exit(&self) {
        self.hooks_of(self.serving).on_exit(self.py);
    }

    /// Settings that are valid and listeners that are bound; nothing else has changed.
    fn prepare(&self) -> Result<Generation, String> {
        let resolved = match self.launch.resolve() {
            Ok(resolved) => resolved,
            Err(Stop::Errors(errors)) => return Err(errors.to_string()),
            Err(Stop::Help(_) | Stop::Version(_)) => {
                return Err("the command line asks for help".to_owned());
            }
        };
        let settings = resolved.settings.clone();
        let identity = privileges::identity(&settings).map_err(|error| error.to_string())?;
        // Relative paths start in the new directory; the master itself stays where it is, even if
        // that has no name any more.
        let here = WorkingDirectory::current().map_err(|error| error.to_string())?;
        let prepared = self.launch.enter(&settings).and_then(|()| {
            open_access_log(&settings)?;
            check::pidfile(&settings)?;
            static_files::check(&resolved)?;
            logging::check(&settings.error_logfile, &settings)
                .map_err(|error| format!("cannot open the log {error}"))?;
            let hooks = self.launch.load_hooks(self.py, &resolved).map_err(|error| {
                if let Some(traceback) = &error.traceback {
                    log::error!(traceback; "hooks not loaded");
                }
                error.reason
            })?;
            privileges::give_logs(&settings, identity.as_ref())?;
            let former = self.generations.get(self.serving).and_then(|kept| kept.tls.as_ref());
            let tls =
                tls::read(&settings, former).map_err(|problem| tls::blame(&resolved, &problem))?;
            let bound = Generation::bind(settings, identity, tls, &self.generations);
            bound.map(|generation| generation.with_hooks(hooks))
        });
        here.enter().map_err(|error| error.to_string())?;
        self.launch.set_umask_of(self.serving());
        prepared
    }

    /// In a process forked from the master: leaves the others' things alone, and logs and works
    /// where its generation does.
    fn settle(&mut self, generation: u32) -> Result<Settings, i32> {
        if let Some(pidfile) = self.pidfile.take() {
            pidfile.disown();
        }
        self.promise = None;
        self.control = None;
        self.watch = None;
        self.attention = None;
        self.systemd = Systemd::default();
        // The descriptors of other generations would keep their addresses bound.
        self.generations.keep_only(generation);
        let Some(generation) = self.generations.get(generation) else {
            log::error!("no settings for this generation");
            return Err(ExitCode::RUNTIME);
        };
        let settings = generation.settings.clone();
        // A zygote is there already, and its workers with it, whatever has become of the name.
        if self.preloaded.is_none() {
            self.launch.enter(&settings).map_err(|error| {
                log::error!("{error}");
                ExitCode::RUNTIME
            })?;
        }
        self.launch.configure_logging(&settings);
        Ok(settings)
    }

    /// In a process forked from the master that has settled: becomes the user that is to run the
    /// app.
    fn drop_privileges(&self, generation: u32, master: Pid) -> Result<(), i32> {
        let identity = self.generations.get(generation).and_then(|kept| kept.identity.as_ref());
        privileges::drop(identity, master)
    }

    /// The master that takes over from this one or from which this one takes over, while both live.
    fn other(&self) -> Other {
        match (self.succession.successor(), self.succession.predecessor()) {
            (Some(_), _) => Other::Successor,
            (None, Some(pid)) => Other::Predecessor(pid),
            (None, None) => Other::None,
        }
    }

    /// Makes room for the successor's.
    fn set_pidfile_aside(&mut self) -> Result<(), String> {
        let Some(pidfile) = &mut self.pidfile else { return Ok(()) };
        let aside = with_suffix(pidfile.path());
        pidfile.rename(&aside).map_err(|error| error.to_string())
    }

    /// Gives it its name again.
    fn restore_pidfile(&mut self) {
        let Some(pidfile) = &mut self.pidfile else { return };
        let Some(path) = without_suffix(pidfile.path()) else { return };
        if let Err(error) = pidfile.rename(&path) {
            log::error!(error:%; "cannot take back the pidfile");
        }
    }

    /// The pidfile follows the setting.
    fn move_pidfile(&mut self) {
        // The successor's, meanwhile.
        if self.succession.successor().is_some() {
            return;
        }
        let wanted = self.serving().pid.clone();
        if self.pidfile.as_ref().map(Pidfile::path) == wanted.as_deref() {
            return;
        }
        match wanted.as_deref().map(Pidfile::create).transpose() {
            Ok(created) => self.pidfile = created,
            Err(error) => log::error!(error:%; "pidfile not moved"),
        }
    }

    /// Has something added to the access log of a generation, if it has one.
    fn add_to_access_log(&self, generation: u32, add: impl FnOnce(&mut AccessLog)) {
        let Some(generation) = self.generations.get(generation) else { return };
        match open_access_log(&generation.settings) {
            Ok(None) => {}
            Ok(Some(mut access_log)) => add(&mut access_log),
            Err(error) => log::error!("{error}"),
        }
    }
}

/// The number of the generation that a server starts with.
pub(crate) const FIRST_GENERATION: u32 = 1;

impl Host for Server<'_> {
    fn reload(&mut self, generation: u32) -> Result<Options, String> {
        let prepared = self.prepare()?;
        if upgrade::absolute(&prepared.settings.control) != self.control_setting {
            log::warn!("control has changed: the socket stays as it is until a restart");
        }
        prepared.announce_unless_in(&self.generations);
        prepared.warn_of_certificates();
        let options = master_options(&prepared.settings);
        self.generations.insert(generation, prepared);
        Ok(options)
    }

    fn adopt(&mut self, generation: u32) {
        self.serving = generation;
        if let Err(error) = self.launch.enter(self.serving()) {
            log::error!(error; "the master stays in its directory");
        }
        self.watch_sources();
        self.move_pidfile();
        self.launch.configure_logging(self.serving());
    }

    fn drop_generation(&mut self, generation: u32) {
        let Some(dropped) = self.generations.remove(generation) else { return };
        dropped.announce_end_unless_in(&self.generations);
        for listener in dropped.listeners_not_in(&self.generations) {
            self.succession.unlink(listener);
        }
    }

    fn keeps_listeners(&self, old: u32, new: u32) -> bool {
        match (self.generations.get(old), self.generations.get(new)) {
            (Some(old), Some(new)) => old.is_covered_by(new),
            _ => false,
        }
    }

    fn run_worker(&mut self, seat: WorkerSeat) -> i32 {
        logging::name_worker(seat.nr, seat.generation);
        let settings = match self.settle(seat.generation) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        show_worker(&settings, seat.nr, seat.generation, State::Booting);
        if self.preloaded.is_none()
            && let Err(code) = self.drop_privileges(seat.generation, seat.master)
        {
            return code;
        }
        let Some(generation) = self.generations.remove(seat.generation) else {
            return ExitCode::RUNTIME;
        };
        // No copies: the worker closes its listeners long before it ends.
        let Generation { entrances, hooks, .. } = generation;
        let entrances = entrances.into_iter().map(boot::entrance).collect::<Option<Vec<_>>>();
        let entrances = entrances.expect("invariant: this process has no other generation");
        boot::run(self.py, &settings, entrances, seat, self.preloaded.take(), hooks)
    }

    fn fork_hooks(&self) -> &dyn ForkHooks {
        &self.hooks
    }

    fn preload(&mut self, seat: &ZygoteSeat) -> Result<(), i32> {
        logging::name_zygote(seat.generation);
        let settings = self.settle(seat.generation)?;
        let name = name(&settings);
        set_process_title(&format!("ironhorn: zygote [{name}] generation {}", seat.generation));
        self.drop_privileges(seat.generation, seat.master)?;
        self.preloaded = Some(boot::preload(self.py, &settings, seat)?);
        daemon::leave_terminal_if_detached(&settings);
        Ok(())
    }

    fn request_lost(&mut self, generation: u32, request: &str, age: Duration, status: Option<u16>) {
        self.add_to_access_log(generation, |access_log| {
            access_log.add_lost(request, age, status.unwrap_or_default());
        });
    }

    fn log_lines_left(&mut self, generation: u32, lines: &[u8]) {
        self.add_to_access_log(generation, |access_log| access_log.add_left(lines));
    }

    fn before_fork(&mut self, nr: usize, generation: u32) {
        self.hooks_of(generation).pre_fork(self.py, nr, generation);
    }

    fn observe(&mut self, report: &Report) {
        if let Some(watch) = &mut self.watch {
            watch.look_at_loaded(Monotonic::now());
        }
        self.systemd.observe(report, self.other());
        if *report == Report::Serving {
            daemon::serves(&mut self.promise);
        }
        if let Report::Exited { reason: Reason::BootFailure, .. }
        | Report::ZygoteExited { reason: Reason::BootFailure, .. } = report
        {
            self.boot_errors.collect();
        }
        if let Report::StartFailed { reason, .. } | Report::PreloadFailed { reason, .. } = report {
            let error = self.boot_errors.take(self.serving);
            let parts = [Some(reason.to_string()), error];
            self.start_failure = Some(parts.into_iter().flatten().collect::<Vec<_>>().join(": "));
        }
        let concerned = concerned(report).unwrap_or(self.serving);
        self.hooks_of(concerned).observe(self.py, report);
    }

    fn upgrade(&mut self) -> Result<Pid, String> {
        if let Some(pid) = self.succession.predecessor() {
            return Err(format!("the master that this one takes over from, {pid}, still runs"));
        }
        let command = upgrade::Command::of_this_process(self.py)
            .map_err(|error| format!("cannot tell how this server was started: {error}"))?;
        self.hooks_of(self.serving).pre_exec(self.py);
        // The new master writes a file of its own there.
        self.set_pidfile_aside()?;
        let started = self.launch.again(command, &self.generations).run(&mut self.succession);
        if started.is_err() {
            self.restore_pidfile();
        }
        started
    }

    fn take_back(&mut self) {
        self.succession.end();
        self.restore_pidfile();
        self.move_pidfile();
        upgrade::restore_control(&self.control_setting);
    }

    fn boot_error(&mut self, generation: u32) -> Option<String> {
        self.boot_errors.take(generation)
    }

    fn about(&self) -> About {
        let serving = self.generations.get(self.serving);
        let entrances = serving.iter().flat_map(|generation| &generation.entrances);
        About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            app: self.serving().main_app().to_owned(),
            directory: std::env::current_dir().unwrap_or_default().display().to_string(),
            listeners: entrances.map(whereabouts).collect(),
        }
    }

    fn attention(&self) -> Option<BorrowedFd<'_>> {
        self.attention.as_ref().map(Attention::as_fd)
    }

    fn attend(&mut self, now: Monotonic) -> Attended {
        let (changing, reload) =
            self.watch.as_mut().map_or((None, false), |watch| watch.attend(now));
        let again = self.systemd.attend(now).into_iter().chain(changing).min();
        Attended { again, reload }
    }

    fn reopen_logs(&mut self) {
        let identity = self.generations.get(self.serving).and_then(|kept| kept.identity.as_ref());
        // First, so that workers find files that they may write to.
        if let Err(error) = privileges::give_logs(self.serving(), identity) {
            log::error!("{error}");
        }
        logging::reopen(self.serving());
    }

    fn stop_listening(&mut self) {
        for generation in self.generations.values_mut() {
            for entrance in std::mem::take(&mut generation.entrances) {
                self.succession.unlink(&entrance.listener);
            }
        }
        self.succession.clean_up();
    }

    fn has_heirs(&self) -> bool {
        !matches!(self.other(), Other::None)
    }

    fn describe(&mut self, state: &str) {
        set_process_title(&format!("ironhorn: master [{}] {state}", name(self.serving())));
        self.systemd.describe(state, self.other());
    }
}

/// The generation whose hooks are called: a worker's, or the one that a reload is to bring.
fn concerned(report: &Report) -> Option<u32> {
    match report {
        Report::Ready { who, .. }
        | Report::Exited { who, .. }
        | Report::RequestTimeout { who, .. } => Some(who.generation),
        Report::Reloading { generation } => Some(*generation),
        _ => None,
    }
}

/// What the master needs of the settings.
pub(crate) fn master_options(settings: &Settings) -> Options {
    Options {
        workers: settings.workers,
        timeout: settings.timeout,
        graceful_timeout: settings.graceful_timeout,
        boot_timeout: settings.boot_timeout,
        boots_abreast: thread::available_parallelism().map_or(1, NonZeroUsize::get),
        reload_surge: settings.reload_surge,
        max_memory: settings.max_memory,
        max_memory_hard: settings.max_memory_hard,
        max_lifetime: settings.max_lifetime,
        preload: settings.preload,
        shutdown_delay: settings.shutdown_delay,
        keep_trying: settings.reload,
    }
}

/// How the command was started: what no reload changes.
pub(crate) struct Launch {
    sources: Sources,
    umask: u32,
    /// Descriptors of listeners that the service manager has passed.
    sockets: Vec<RawFd>,
    confs: Confs,
    /// What was said of configuration files, which reloads don't say again.
    said: RefCell<Vec<String>>,
}

impl Launch {
    /// `confs` is what the sources' importer leaves.
    pub(crate) fn new(sources: Sources, confs: Confs) -> Self {
        // The umask can only be read by setting it.
        let umask = set_umask(0o077);
        set_umask(umask);
        let sockets = systemd::passed_sockets(&sources.environment);
        Self { sources, umask, sockets, confs, said: RefCell::default() }
    }

    /// The settings as they are now.
    pub(crate) fn resolve(&self) -> Result<Resolved, Stop> {
        let mut resolved = resolve(&self.sources)?;
        systemd::listen_on(&self.sockets, &mut resolved);
        Ok(resolved)
    }

    /// Whether a running master has started this one, to take its place.
    pub(crate) fn is_upgrade(&self) -> bool {
        Succession::has_begun(&self.sources.environment)
    }

    /// What a running master hands over.
    pub(crate) fn inherit(&self) -> (Succession, Vec<Rc<Listener>>) {
        Succession::inherit(&self.sources.environment)
    }

    /// Sockets that were passed and are not listened on are a mistake in the unit or the settings.
    pub(crate) fn warn_of_unused(&self, settings: &Settings) {
        let used = |socket: &&RawFd| {
            settings.bind.iter().any(|bind| bind.address == Address::Fd(**socket))
        };
        let unused = self.sockets.len() - self.sockets.iter().filter(used).count();
        if unused > 0 {
            log::warn!(sockets = unused; "sockets that were passed are not used: bind says otherwise");
        }
    }

    /// What starts this server once more, with the listeners that it has now.
    fn again(&self, command: upgrade::Command, generations: &Generations) -> upgrade::Start<'_> {
        let listeners = generations.listeners();
        let numbers = listeners.iter().filter_map(|listener| match listener.address() {
            Address::Fd(number) => Some(*number),
            _ => None,
        });
        upgrade::Start {
            command,
            directory: &self.sources.directory,
            environment: systemd::environment_of_successor(
                &self.sources.environment,
                &self.sockets,
            ),
            umask: self.umask,
            inherited: numbers.chain(self.sockets.iter().copied()).collect(),
            listeners,
        }
    }

    /// Goes to the directory that relative paths start from, and sets the umask for what is made.
    pub(crate) fn enter(&self, settings: &Settings) -> Result<(), String> {
        let directory = match &settings.chdir {
            Some(chdir) => self.sources.directory.join(chdir),
            None => self.sources.directory.clone(),
        };
        std::env::set_current_dir(&directory)
            .map_err(|error| format!("cannot change to {}: {error}", directory.display()))?;
        self.set_umask_of(settings);
        Ok(())
    }

    fn set_umask_of(&self, settings: &Settings) {
        set_umask(settings.umask.unwrap_or(self.umask));
    }

    /// The environment as it was at start.
    pub(crate) fn environment(&self) -> &[(OsString, OsString)] {
        &self.sources.environment
    }

    /// The configuration file that the settings were read from last, if it is Python.
    pub(crate) fn take_conf(&self) -> Option<Conf> {
        self.confs.take()
    }

    /// Loads the hooks of a generation and says what its settings make worth saying, once.
    pub(crate) fn load_hooks(
        &self,
        py: Python<'_>,
        resolved: &Resolved,
    ) -> Result<Hooks, HooksError> {
        let conf = self.take_conf();
        if let Some(threads) = hooks::new_threads() {
            log::warn!(threads;
                "what is read of the configuration has started threads in the master: they don't run, and no worker has them");
        }
        let (hooks, warnings) = Hooks::load(py, &resolved.settings, conf.as_ref())?;
        if let Some(threads) = hooks::new_threads() {
            log::warn!(threads;
                "loading the hooks has started threads in the master: they don't run, and no worker has them");
        }
        let lines = conf.iter().flat_map(|conf| conf.lines(resolved));
        let ineffective = resolved.warnings().into_iter().map(|warning| warning.to_string());
        let warnings = warnings.into_iter().chain(ineffective).map(|line| (Level::Warn, line));
        let mut said = self.said.borrow_mut();
        for (level, line) in lines.chain(warnings) {
            if !said.contains(&line) {
                log::log!(level, "{line}");
                said.push(line);
            }
        }
        Ok(hooks)
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

/// Shows what a worker is doing as its title.
pub(crate) fn show_worker(settings: &Settings, nr: usize, generation: u32, state: State) {
    let name = name(settings);
    let state = match state {
        State::Empty | State::Booting => "booting",
        State::Ready => "ready",
        State::Draining => "draining",
        State::Condemned => "ending",
    };
    set_process_title(&format!("ironhorn: worker {nr} [{name}] generation {generation}, {state}"));
}

/// What the process titles call the server.
fn name(settings: &Settings) -> &str {
    settings.name.as_deref().unwrap_or_else(|| settings.main_app())
}

/// How often a worker shows that it lives: well within the timeout that would have it killed.
pub(crate) fn heartbeat(timeout: Option<Duration>) -> Duration {
    const AT_MOST: Duration = Duration::from_secs(10);
    timeout.map_or(AT_MOST, |timeout| (timeout / 3).min(AT_MOST))
}
