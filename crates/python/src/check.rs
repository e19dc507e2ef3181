//! `--check-config`: everything that a start would need, tried without serving.

use std::path::Path;

use ironhorn_config::{Control, Resolved, Settings};
use ironhorn_master::ExitCode;
use ironhorn_unix::{Address, BindError, Identity, Listener};
use pyo3::prelude::*;

use crate::hooks::Hooks;
use crate::host::Launch;
use crate::serve::{USAGE, fail, print};
use crate::{boot, logging, static_files};

/// Checks what the settings name: the addresses, the files, the app. Says all that is wrong.
pub(crate) fn run(
    py: Python<'_>,
    launch: &Launch,
    resolved: &Resolved,
    identity: Option<&Identity>,
) -> i32 {
    let settings = &resolved.settings;
    let mut code = ExitCode::OK;
    let conf = launch.take_conf();
    for (_, line) in conf.iter().flat_map(|conf| conf.lines(resolved)) {
        fail(ExitCode::OK, &format!("note: {line}"));
    }
    match Hooks::load(py, settings, conf.as_ref()) {
        Ok((_, warnings)) => {
            for warning in warnings {
                fail(ExitCode::OK, &format!("note: {warning}"));
            }
        }
        Err(error) => code = fail(USAGE, &error.text()),
    }
    let control = match &settings.control {
        Control::Path(path) => Some(Address::Unix(path.clone())),
        Control::Auto | Control::None => None,
    };
    for address in settings.bind.iter().map(|bind| &bind.address).chain(&control) {
        match Listener::check(address) {
            Ok(()) => {}
            // A deployment is checked beside the server that it will replace.
            Err(error @ BindError::InUse { .. }) => {
                fail(ExitCode::OK, &format!("note: {error} (no fault if that is this server)"));
            }
            Err(error) => code = fail(ExitCode::RUNTIME, &error.to_string()),
        }
    }
    let access_logfile = settings.access_logfile.as_ref();
    for file in access_logfile.into_iter().chain([&settings.error_logfile]) {
        if let Err(error) = logging::check(file, settings) {
            code = fail(ExitCode::RUNTIME, &format!("cannot open the log {error}"));
        }
    }
    if let Err(message) = pidfile(settings) {
        code = fail(ExitCode::RUNTIME, &message);
    }
    // The app may read what this user can read, and leaves no files behind that it can't.
    if let Some(Err(error)) = identity.map(Identity::assume) {
        let message = format!("cannot change to the user of the workers: {error}");
        code = fail(ExitCode::RUNTIME, &message);
    }
    if let Err(message) = static_files::check(resolved) {
        code = fail(USAGE, &message);
    }
    match boot::load(py, settings) {
        Ok(_) if code == ExitCode::OK => print("configuration is valid\n"),
        Ok(_) => code,
        Err(error) => {
            let text = error.traceback().map_or_else(
                || error.to_string(),
                |traceback| format!("{error}\n{}", traceback.trim_end()),
            );
            fail(boot::load_code(&error), &text)
        }
    }
}

/// Whether the pidfile could be written.
pub(crate) fn pidfile(settings: &Settings) -> Result<(), String> {
    let Some(directory) = settings.pid.as_deref().and_then(Path::parent) else { return Ok(()) };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    tempfile::tempfile_in(directory)
        .map(drop)
        .map_err(|error| format!("cannot write the pidfile in {}: {error}", directory.display()))
}
