//! The command: from arguments to an exit code.

use std::ffi::OsString;
use std::io::Write;

use ironhorn_config::{LogFile, Resolved, Sources, Stop, print_config};
use ironhorn_master::{ExitCode, Inputs, command};
use ironhorn_unix::{Identity, IdentityError, Pidfile, Promise, Signals, raise_open_files};
use pyo3::prelude::*;

use crate::fork_hooks::PythonHooks;
use crate::generation::{Generation, Generations, access_format, open_access_log};
use crate::hooks::Confs;
use crate::host::{Launch, Server, master_options};
use crate::tls::{self, ServerTls};
use crate::upgrade::SetAside;
use crate::{
    check, control_path, ctl, daemon, gateway, hooks, logging, privileges, static_files, systemd,
};

/// The settings or the command line are wrong.
pub(crate) const USAGE: i32 = 2;

/// Runs the command with `args`, the command line without the program's name.
pub(crate) fn main(py: Python<'_>, mut args: Vec<OsString>) -> i32 {
    let directory = match std::env::current_dir() {
        Ok(directory) => directory,
        Err(error) => return fail(USAGE, &format!("the current directory is gone: {error}")),
    };
    let asks = args.first().is_some_and(|first| first == ctl::NAME);
    if asks {
        args.remove(0);
    }
    let environment = std::env::vars_os().collect();
    let confs = Confs::default();
    let importer = (!asks).then(|| confs.importer(&directory));
    let sources = Sources { args, environment, directory, importer };
    if asks {
        return ctl::main(sources);
    }
    if let Err(error) = systemd::clean_environment(py) {
        return fail(ExitCode::RUNTIME, &format!("cannot change the environment: {error}"));
    }
    let launch = Launch::new(sources, confs);
    match launch.resolve() {
        Err(Stop::Help(text) | Stop::Version(text)) => print(&text),
        Err(Stop::Errors(errors)) => fail(USAGE, &errors.to_string()),
        Ok(resolved) => run(py, launch, &resolved),
    }
}

fn run(py: Python<'_>, launch: Launch, resolved: &Resolved) -> i32 {
    if resolved.invocation.print_config {
        return print(&print_config(resolved));
    }
    if let Err(error) = access_format(&resolved.settings) {
        let origin = resolved.origin("access_logformat").map(ToString::to_string);
        let message = format!("{}: access_logformat: {error}", origin.unwrap_or_default());
        return fail(USAGE, &message);
    }
    let identity = match privileges::identity(&resolved.settings) {
        Ok(identity) => identity,
        // Who deploys need not be root to check what root will start.
        Err(IdentityError::Forbidden(_)) if resolved.invocation.check_config => None,
        Err(error) => return refuse(resolved, &error),
    };
    if let Err(error) = launch.enter(&resolved.settings) {
        return fail(USAGE, &error);
    }
    let tls = match tls::read(&resolved.settings, None) {
        Ok(tls) => tls,
        Err(problem) => return fail(USAGE, &tls::blame(resolved, &problem)),
    };
    if resolved.invocation.check_config {
        let ineffective = resolved.warnings().into_iter().map(|warning| warning.to_string());
        let of_tls = tls.iter().flat_map(|tls| tls.warnings.iter().cloned());
        for warning in ineffective.chain(of_tls) {
            fail(ExitCode::OK, &format!("warning: {warning}"));
        }
        return check::run(py, &launch, resolved, identity.as_ref());
    }
    if let Err(error) = static_files::check(resolved) {
        return fail(USAGE, &error);
    }
    let mut promise = None;
    // What takes over from a server in the background is there already.
    if resolved.settings.daemon && !launch.is_upgrade() {
        match daemon::launch(&PythonHooks::new(py)) {
            Ok(given) => promise = Some(given),
            Err(code) => return code,
        }
    }
    let code = match start(py, launch, resolved, identity, tls, &mut promise) {
        Ok(code) => code,
        Err(message) => fail(ExitCode::RUNTIME, &message),
    };
    daemon::ended(promise, code);
    code
}

/// Says which setting names a user or group that can't be.
fn refuse(resolved: &Resolved, error: &IdentityError) -> i32 {
    match error.setting().and_then(|key| resolved.origin(key)) {
        Some(origin) => fail(USAGE, &format!("{origin}: {error}")),
        None => fail(ExitCode::RUNTIME, &error.to_string()),
    }
}

/// Listens, then supervises until told to stop.
fn start(
    py: Python<'_>,
    launch: Launch,
    resolved: &Resolved,
    identity: Option<Identity>,
    tls: Option<ServerTls>,
    promise: &mut Option<Promise>,
) -> Result<i32, String> {
    let settings = resolved.settings.clone();
    logging::configure(&settings, launch.log_filters())
        .map_err(|error| format!("cannot open the log {error}"))?;
    open_access_log(&settings)?;
    privileges::give_logs(&settings, identity.as_ref())?;
    if promise.is_some() && settings.error_logfile == LogFile::Standard {
        log::warn!("what is logged in the background is lost: set error_logfile");
    }
    raise_open_files();
    // What is here is every process's: none has it again because its collector went through it. Not
    // so the modules of hooks, which are let go after a reload.
    gateway::freeze(py).map_err(|error| format!("cannot freeze what was loaded: {error}"))?;
    let loaded = match launch.load_hooks(py, resolved) {
        Ok(loaded) => loaded,
        Err(error) => return Ok(fail(USAGE, &error.text())),
    };
    let options = master_options(&settings);
    // Ahead of the listeners: a hook may make the directory that a socket is to be in.
    loaded.on_starting(py, options.workers)?;
    let (pid, control) = (settings.pid.clone(), settings.control.clone());
    let none = Generations::default();
    // Addresses first: a second server by mistake must end before it touches anything.
    let (succession, listeners) = launch.inherit();
    let inherited = Generations::of_inherited(&settings, listeners);
    let generation = Generation::bind(settings, identity, tls, &inherited)?.with_hooks(loaded);
    let pidfile = pid.as_deref().map(Pidfile::create).transpose().map_err(|error| {
        generation.unlink_unless_in(&inherited);
        error.to_string()
    })?;
    let mut signals = Signals::install(&command::master_signals())
        .map_err(|error| format!("cannot install the signal handlers: {error}"))?;
    signals
        .end_if_unheeded(&command::ENDING, ExitCode::RUNTIME)
        .map_err(|error| error.to_string())
        .and_then(|unheeded| hooks::watch(py, unheeded).map_err(|error| error.to_string()))
        .map_err(|error| format!("cannot limit what hooks take: {error}"))?;
    if let Some(threads) = hooks::new_threads() {
        log::warn!(threads;
            "the master has threads of its own, which workers will not have: what starts them at Python's start-up?");
    }
    log::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), workers = options.workers; "starting");
    launch.warn_of_unused(&generation.settings);
    generation.warn_of_certificates();
    generation.announce_unless_in(&none);
    let _aside = SetAside::control(&control, &succession);
    let opened = control_path::open(&control, launch.environment())
        .inspect_err(|_| generation.unlink_unless_in(&inherited))?;
    // What the settings no longer ask for is closed.
    drop(inherited);
    let (control, file) = opened.unzip();
    let mut server = Server::new(py, launch, generation, pidfile, succession)
        .map_err(|error| format!("cannot watch for what concerns the master: {error}"))?;
    server.promise = promise.take();
    server.control = file;
    let code = ironhorn_master::run(&mut server, options, Inputs { signals, control });
    // Nobody answers there any more.
    server.control = None;
    if server.promise.is_some()
        && let Some(failure) = &server.start_failure
    {
        daemon::tell_failure(&resolved.settings, failure);
    }
    *promise = server.promise.take();
    server.on_exit();
    Ok(code)
}

/// Says on stderr what is wrong; the log may not be there yet.
pub(crate) fn fail(code: i32, message: &str) -> i32 {
    let mut stderr = std::io::stderr().lock();
    for line in message.lines() {
        // Nobody is left to tell if this fails.
        let _ = writeln!(stderr, "ironhorn: {line}");
    }
    code
}

pub(crate) fn print(text: &str) -> i32 {
    let mut stdout = std::io::stdout().lock();
    // A reader that has seen enough, such as head(1), is no error.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    ExitCode::OK
}
