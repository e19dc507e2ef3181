//! A worker from its fork to its end: load the app, serve, say goodbye to the interpreter.

use std::time::Duration;

use ironhorn_config::Settings;
use ironhorn_http::Limits;
use ironhorn_master::command::WORKER_COMMANDS;
use ironhorn_master::{ExitCode, WorkerSeat};
use ironhorn_unix::{Listener, Local, Monotonic, Signal};
use ironhorn_worker::{Context, Left, Options};
use pyo3::prelude::*;

use crate::app_loader::{self, LoadError};
use crate::environ::HeaderMap;
use crate::gateway::{self, Gateway, GatewayOptions};
use crate::generation::open_access_log;
use crate::host::heartbeat;
use crate::{forks, logging, traceback};

/// How long a worker that can't boot waits for the one that says why.
const REPORT_PATIENCE: Duration = Duration::from_secs(1);

/// Is the worker; returns its exit code.
pub(crate) fn run(
    py: Python<'_>,
    settings: &Settings,
    listeners: Vec<Listener>,
    seat: WorkerSeat,
) -> i32 {
    let WorkerSeat { generation, channel, mut signals, slot, board, mask, .. } = seat;
    // An import or a request may take long: a quick stop doesn't wait for it.
    if let Err(error) = signals.exit_on(&[Signal::SIGINT, Signal::SIGQUIT], ExitCode::OK) {
        log::error!(error:%; "cannot install the signal handlers");
        return ExitCode::RUNTIME;
    }
    mask.unblock();
    if let Err(error) = forks::watch(py, &listeners) {
        log::error!(traceback = traceback::render(py, &error); "cannot watch the app's forks");
        return ExitCode::RUNTIME;
    }
    let app = match load(py, settings) {
        Ok(app) => app,
        Err(error) => {
            // Every worker of a generation fails alike: one tells why.
            if board.claim_boot_report(generation, Monotonic::now()) {
                report(&error);
                board.boot_report_is_written();
            } else {
                board.wait_for_boot_report(REPORT_PATIENCE);
            }
            return load_code(&error);
        }
    };
    for signal in signals.reclaim(&WORKER_COMMANDS) {
        log::warn!(signal:% = signal; "the app's handler for this signal is not used: it is the server's");
    }
    let access_log = match open_access_log(settings) {
        Ok(access_log) => access_log,
        Err(error) => {
            log::error!("{error}");
            return ExitCode::RUNTIME;
        }
    };
    let options = GatewayOptions {
        multiprocess: settings.workers > 1,
        header_map: header_map(settings.header_map),
        listeners: listeners.iter().map(Listener::local).cloned().collect::<Vec<Local>>(),
    };
    let gateway = match gateway::freeze(py).and_then(|()| Gateway::new(app, &options)) {
        Ok(gateway) => gateway,
        Err(error) => {
            log::error!(traceback = traceback::render(py, &error); "cannot set up the gateway");
            return ExitCode::RUNTIME;
        }
    };
    let context = Context {
        options: worker_options(settings),
        listeners,
        channel,
        signals: &mut signals,
        slot,
        access_log,
        reopen_logs: &mut || logging::reopen(settings),
    };
    match ironhorn_worker::run(context, gateway) {
        Ok(Left::Drained) => {
            run_exit_functions(py);
            ExitCode::OK
        }
        Ok(Left::Quit | Left::Orphaned) => ExitCode::OK,
        Err(error) => {
            log::error!(error:%; "event loop failed");
            ExitCode::RUNTIME
        }
    }
}

/// Imports the app as the settings say.
pub(crate) fn load<'py>(
    py: Python<'py>,
    settings: &Settings,
) -> Result<Bound<'py, PyAny>, LoadError> {
    let directory = std::env::current_dir().unwrap_or_else(|_| "/".into());
    app_loader::extend_path(py, &directory, &settings.pythonpath)
        .and_then(|()| set_environment(py, &settings.env))
        .map_err(|error| LoadError::Broken {
            doing: "preparing the interpreter".to_owned(),
            error: error.to_string(),
            traceback: traceback::render(py, &error),
        })?;
    app_loader::load(py, &settings.app)
}

/// The exit code for an app that can't be served.
pub(crate) fn load_code(error: &LoadError) -> i32 {
    if error.is_not_found() { ExitCode::APP_NOT_FOUND } else { ExitCode::BOOT_FAILED }
}

fn report(error: &LoadError) {
    match error.traceback() {
        Some(traceback) => log::error!(reason:% = error, traceback; "boot failed"),
        None => log::error!(reason:% = error; "boot failed"),
    }
}

/// The setting `env`, through `os.environ` so that both Python and C code see it.
fn set_environment(py: Python<'_>, variables: &[(String, String)]) -> PyResult<()> {
    let environ = py.import("os")?.getattr("environ")?;
    variables.iter().try_for_each(|(name, value)| environ.set_item(name, value))
}

/// What CPython does when a program ends: waits for threads that are no daemons, then runs what
/// was registered with `atexit`. The process ends without finalizing the interpreter.
fn run_exit_functions(py: Python<'_>) {
    let run = || -> PyResult<()> {
        py.import("threading")?.call_method0("_shutdown")?;
        py.import("atexit")?.call_method0("_run_exitfuncs")?;
        let sys = py.import("sys")?;
        for stream in ["stdout", "stderr"] {
            sys.getattr(stream)?.call_method0("flush")?;
        }
        Ok(())
    };
    if let Err(error) = run() {
        log::warn!(traceback = traceback::render(py, &error); "exit function failed");
    }
}

fn worker_options(settings: &Settings) -> Options {
    Options {
        header_timeout: Some(settings.header_timeout),
        body_timeout: Some(settings.body_timeout),
        keepalive: settings.keepalive.unwrap_or_default(),
        write_timeout: Some(settings.write_timeout),
        worker_connections: settings.worker_connections,
        limits: Limits {
            request_line: settings.limit_request_line,
            fields: settings.limit_request_fields,
            field: settings.limit_request_field_size,
            head: settings.limit_request_head,
            body: settings.limit_request_body,
        },
        server: "ironhorn".to_owned(),
        heartbeat: heartbeat(settings.timeout),
    }
}

fn header_map(setting: ironhorn_config::HeaderMap) -> HeaderMap {
    match setting {
        ironhorn_config::HeaderMap::Drop => HeaderMap::Drop,
        ironhorn_config::HeaderMap::Refuse => HeaderMap::Refuse,
        ironhorn_config::HeaderMap::Allow => HeaderMap::Allow,
    }
}
