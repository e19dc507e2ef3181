//! The command: from arguments to an exit code.

use std::ffi::OsString;
use std::io::Write;

use ironhorn_config::{Resolved, Settings, Sources, Stop, print_config, resolve};
use ironhorn_master::{ExitCode, command};
use ironhorn_unix::{Pidfile, Signals, raise_open_files, thread_count};
use pyo3::prelude::*;

use crate::generation::{Generation, Generations, access_format, open_access_log};
use crate::host::{Launch, Server, master_options};
use crate::{check, logging};

/// The settings or the command line are wrong.
pub(crate) const USAGE: i32 = 2;

/// Runs the command with `args`, the command line without the program's name.
pub(crate) fn main(py: Python<'_>, args: Vec<OsString>) -> i32 {
    let directory = match std::env::current_dir() {
        Ok(directory) => directory,
        Err(error) => return fail(USAGE, &format!("the current directory is gone: {error}")),
    };
    let sources = Sources { args, environment: std::env::vars_os().collect(), directory };
    match resolve(&sources) {
        Err(Stop::Help(text) | Stop::Version(text)) => print(&text),
        Err(Stop::Errors(errors)) => fail(USAGE, &errors.to_string()),
        Ok(resolved) => run(py, sources, resolved),
    }
}

fn run(py: Python<'_>, sources: Sources, resolved: Resolved) -> i32 {
    if resolved.invocation.print_config {
        return print(&print_config(&resolved));
    }
    if let Err(error) = access_format(&resolved.settings) {
        let origin = resolved.origin("access_logformat").map(ToString::to_string);
        let message = format!("{}: access_logformat: {error}", origin.unwrap_or_default());
        return fail(USAGE, &message);
    }
    let settings = resolved.settings;
    let launch = Launch::new(sources);
    if let Err(error) = launch.enter(&settings) {
        return fail(USAGE, &error);
    }
    if resolved.invocation.check_config {
        return check::run(py, &settings);
    }
    match start(py, launch, settings) {
        Ok(code) => code,
        Err(message) => fail(ExitCode::RUNTIME, &message),
    }
}

/// Listens, then supervises until told to stop.
fn start(py: Python<'_>, launch: Launch, settings: Settings) -> Result<i32, String> {
    logging::configure(&settings, launch.log_filters())
        .map_err(|error| format!("cannot open the log {error}"))?;
    open_access_log(&settings)?;
    raise_open_files();
    let options = master_options(&settings);
    let pid = settings.pid.clone();
    let none = Generations::default();
    // Addresses first: a second server by mistake must end before it touches anything.
    let generation = Generation::bind(settings, &none).map_err(|error| error.to_string())?;
    let pidfile = pid.as_deref().map(Pidfile::create).transpose().map_err(|error| {
        generation.unlink_unless_in(&none);
        error.to_string()
    })?;
    let signals = Signals::install(&command::master_signals())
        .map_err(|error| format!("cannot install the signal handlers: {error}"))?;
    match thread_count() {
        Ok(1) => {}
        counted => log::warn!(threads:? = counted.ok();
            "the master has threads of its own, which workers will not have: what starts them at Python's start-up?"),
    }
    log::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), workers = options.workers; "starting");
    generation.announce_unless_in(&none);
    let mut server = Server::new(py, launch, generation, pidfile);
    Ok(ironhorn_master::run(&mut server, options, signals))
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
