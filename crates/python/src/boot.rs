//! A worker from its fork to its end: load the app, serve, say goodbye to the interpreter.
//!
//! With the setting `preload` the first part is a zygote's, which loads the app once; its workers
//! begin with what it has loaded.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ironhorn_config::Settings;
use ironhorn_http::Limits;
use ironhorn_master::command::WORKER_COMMANDS;
use ironhorn_master::{ExitCode, WorkerSeat, ZygoteSeat};
use ironhorn_unix::{Board, Monotonic, StackFile, State, limit_arenas, reuse_blocks, thread_count};
use ironhorn_worker::{Context, Entrance, Left, Options};
use pyo3::prelude::*;

use crate::app_loader::{self, LoadError};
use crate::apps::Apps;
use crate::environ::HeaderMap;
use crate::gateway::{self, Gateway, GatewayOptions};
use crate::generation::{self, open_access_log, open_access_log_or_none};
use crate::hooks::{Hooks, WorkerHooks};
use crate::host::{heartbeat, show_worker};
use crate::stacks::{self, Crashes};
use crate::threads::{Main, Plan};
use crate::watch::loaded as watch;
use crate::{boot_errors, daemon, forks, logging, static_files, traceback, trust};

/// How long a worker that can't boot waits for the one that says why.
const REPORT_PATIENCE: Duration = Duration::from_secs(1);

/// What malloc is to have at hand: a request body in memory is up to 1 MiB, and the app gets a copy.
const BLOCKS: usize = 4 << 20;

/// How many arenas of malloc the app threads share. With eight threads that make 5 MB of JSON each, two
/// arenas hold two thirds of the memory that one for each thread does, and are no slower.
const ARENAS: u8 = 2;

/// How many requests wait for each thread, unless the setting `queue` says another number.
const QUEUE_A_THREAD: usize = 4;

/// What a zygote has loaded, for its workers.
pub(crate) struct Preloaded {
    apps: Vec<(String, Py<PyAny>)>,
    crashes: Crashes,
    /// Open for as long as the zygote's stacks may be written to it.
    _stacks: StackFile,
}

/// Is the zygote, as far as it runs Python: loads the app.
///
/// # Errors
/// The process's exit code; the reason is logged.
pub(crate) fn preload(
    py: Python<'_>,
    settings: &Settings,
    seat: &ZygoteSeat,
) -> Result<Preloaded, i32> {
    let stacks = seat.stacks.try_clone().map_err(|error| {
        log::error!(error:%; "cannot share the file of the stacks");
        ExitCode::RUNTIME
    })?;
    let crashes = stacks::arrange_in_zygote(py, &stacks)
        .map_err(|error| give_up(py, &error, "cannot arrange for stacks"))?;
    let loaded = load_or_report(py, settings, &seat.board, seat.generation)?;
    let apps = loaded.into_iter().map(|(prefix, app)| (prefix, app.unbind())).collect();
    warn_of_threads(py);
    gateway::freeze(py).map_err(|error| give_up(py, &error, "cannot freeze what was loaded"))?;
    Ok(Preloaded { apps, crashes, _stacks: stacks })
}

/// A worker's own of what it shares with nobody in its process; else `None`.
pub(crate) fn entrance(shared: generation::Entrance) -> Option<Entrance> {
    let listener = Arc::new(Rc::into_inner(shared.listener)?);
    Some(Entrance { listener, protocol: shared.protocol })
}

/// Is the worker; returns its exit code.
pub(crate) fn run(
    py: Python<'_>,
    settings: &Settings,
    entrances: Vec<Entrance>,
    seat: WorkerSeat,
    preloaded: Option<Preloaded>,
    hooks: Hooks,
) -> i32 {
    let (nr, generation, slot) = (seat.nr, seat.generation, seat.slot.clone());
    let hooks = match WorkerHooks::enter(py, hooks, nr, generation, preloaded.is_some()) {
        Ok(hooks) => hooks,
        Err(error) => return give_up(py, &error, "cannot call hooks"),
    };
    serve(py, settings, entrances, seat, preloaded, &hooks).unwrap_or_else(|code| {
        hooks.worker_exit(slot.requests());
        code
    })
}

fn serve(
    py: Python<'_>,
    settings: &Settings,
    entrances: Vec<Entrance>,
    seat: WorkerSeat,
    preloaded: Option<Preloaded>,
    hooks: &WorkerHooks<'_>,
) -> Result<i32, i32> {
    let WorkerSeat { nr, generation, channel, mut signals, slot, board, stacks, .. } = seat;
    match &preloaded {
        Some(preloaded) => Ok(preloaded.crashes),
        None => Crashes::found(py),
    }
    .and_then(|crashes| stacks::arrange_in_worker(py, &stacks, &slot, &channel, crashes))
    .map_err(|error| give_up(py, &error, "cannot arrange for stacks"))?;
    forks::watch(py, &entrances)
        .map_err(|error| give_up(py, &error, "cannot watch the app's forks"))?;
    if hooks.are_some() {
        set_environment(py, &settings.env)
            .map_err(|error| give_up(py, &error, "cannot set the environment"))?;
    }
    hooks.post_fork().map_err(|error| report_once(&error, &board, generation))?;
    let loaded = match preloaded {
        Some(preloaded) => {
            let apps = preloaded.apps.into_iter();
            apps.map(|(prefix, app)| (prefix, app.into_bound(py))).collect()
        }
        None => {
            let loaded = load_or_report(py, settings, &board, generation)?;
            gateway::freeze(py)
                .map_err(|error| give_up(py, &error, "cannot freeze what was loaded"))?;
            loaded
        }
    };
    let (_, main) = loaded.first().expect("invariant: settings name an app");
    hooks.post_worker_init(main).map_err(|error| report_once(&error, &board, generation))?;
    for signal in signals.reclaim(&WORKER_COMMANDS) {
        log::warn!(signal:% = signal; "the app's handler for this signal is not used: it is the server's");
    }
    let access_log = match board.has_served(generation) {
        true => open_access_log_or_none(settings),
        false => open_access_log(settings).map_err(|error| {
            log::error!("{error}");
            ExitCode::RUNTIME
        })?,
    };
    let static_files = match board.has_served(generation) {
        true => static_files::open_what_is_left(settings),
        false => static_files::open(settings).map_err(|error| {
            log::error!("{error}");
            ExitCode::RUNTIME
        })?,
    };
    let options = GatewayOptions {
        multiprocess: settings.workers > 1,
        multithread: settings.threads > 1,
        header_map: header_map(settings.header_map),
        visible: trust::visible(settings),
        listeners: entrances.iter().map(|entrance| entrance.listener.local().clone()).collect(),
        lane: slot.lane(0),
    };
    let cannot_set_up = |error: PyErr| give_up(py, &error, "cannot set up the gateway");
    let requests = slot.clone();
    let context = Context {
        options: Options { static_files: static_files.map(Arc::new), ..worker_options(settings) },
        entrances,
        channel,
        signals: &mut signals,
        slot,
        access_log,
        reopen_logs: &mut || logging::reopen(settings),
        enters: &mut |state| {
            show_worker(settings, nr, generation, state);
            if state == State::Ready {
                daemon::leave_terminal_if_detached(settings);
                hooks.worker_ready();
            }
        },
    };
    reuse_blocks(BLOCKS);
    let left = if options.multithread {
        limit_arenas(ARENAS);
        let apps = loaded.into_iter().map(|(prefix, app)| (prefix, app.unbind())).collect();
        let (slot, hooks) = (requests.clone(), hooks.for_thread());
        let plan = Plan { apps, options, slot, hooks };
        let mut main = Main::new(py, plan).map_err(cannot_set_up)?;
        ironhorn_worker::run_on_threads(context, &mut main)
    } else {
        let gateway = Apps::new(loaded)
            .and_then(|apps| Gateway::new(py, apps, &options))
            .map_err(cannot_set_up)?;
        ironhorn_worker::run(context, gateway.with_hooks(hooks.around_requests()))
    };
    if matches!(left, Ok(Left::Quit)) {
        hooks.worker_int();
    }
    if left.is_ok() {
        hooks.worker_exit(requests.requests());
    }
    match left {
        Ok(Left::Drained) => {
            run_exit_functions(py);
            Ok(ExitCode::OK)
        }
        Ok(Left::Quit | Left::Orphaned) => Ok(ExitCode::OK),
        Err(error) => {
            log::error!(error:%; "event loop failed");
            Err(ExitCode::RUNTIME)
        }
    }
}

/// Says what is wrong; returns the exit code.
fn give_up(py: Python<'_>, error: &PyErr, what: &str) -> i32 {
    log::error!(traceback = traceback::render(py, error); "{what}");
    ExitCode::RUNTIME
}

/// Imports the app; if that fails, says why, unless another process of the generation does.
fn load_or_report<'py>(
    py: Python<'py>,
    settings: &Settings,
    board: &Board,
    generation: u32,
) -> Result<Vec<(String, Bound<'py, PyAny>)>, i32> {
    let loaded = load(py, settings);
    watch::tell(py, loaded.as_ref().err().and_then(LoadError::traceback));
    loaded.map_err(|error| report_once(&error, board, generation))
}

/// Says why a worker can't boot; returns the exit code.
fn report_once(error: &LoadError, board: &Board, generation: u32) -> i32 {
    // Every worker of a generation fails alike: one tells why.
    if board.claim_boot_report(generation, Monotonic::now()) {
        report(error);
        boot_errors::tell(generation, error);
        board.boot_report_is_written();
    } else {
        board.wait_for_boot_report(REPORT_PATIENCE);
    }
    load_code(error)
}

/// Imports the apps as the settings say, each with the prefix of its paths.
pub(crate) fn load<'py>(
    py: Python<'py>,
    settings: &Settings,
) -> Result<Vec<(String, Bound<'py, PyAny>)>, LoadError> {
    let directory = std::env::current_dir().unwrap_or_else(|_| "/".into());
    app_loader::extend_path(py, &directory, &settings.pythonpath)
        .and_then(|()| set_environment(py, &settings.env))
        .map_err(|error| LoadError::Broken {
            doing: "preparing the interpreter".to_owned(),
            error: error.to_string(),
            traceback: traceback::render(py, &error),
        })?;
    let load = |(prefix, app): (&str, &str)| match app_loader::load(py, app) {
        Ok(app) => Ok((prefix.to_owned(), app)),
        Err(error) => Err(error.mounted_at(prefix)),
    };
    settings.apps().into_iter().map(load).collect()
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

/// Threads don't survive a fork: what those of a zygote do, no worker does.
fn warn_of_threads(py: Python<'_>) {
    let others = thread_count().unwrap_or(1).saturating_sub(1);
    if others == 0 {
        return;
    }
    let names = thread_names(py).unwrap_or_default();
    let unnamed = others.saturating_sub(names.len());
    log::warn!(threads = names.join(", "), unnamed;
        "the import has started threads, which no worker has: start them after the fork, with os.register_at_fork");
}

/// Of the threads that Python knows, but for the main one.
fn thread_names(py: Python<'_>) -> PyResult<Vec<String>> {
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?;
    let threads = threading.call_method0("enumerate")?.try_iter()?.collect::<PyResult<Vec<_>>>()?;
    let others = threads.iter().filter(|thread| !thread.is(&main));
    others.map(|thread| thread.getattr("name")?.extract()).collect()
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
        handshake_timeout: Some(settings.handshake_timeout),
        header_timeout: Some(settings.header_timeout),
        body_timeout: Some(settings.body_timeout),
        body_min_rate: settings.body_min_rate,
        keepalive: settings.keepalive.unwrap_or_default(),
        write_timeout: Some(settings.write_timeout),
        write_min_rate: settings.write_min_rate,
        worker_connections: settings.worker_connections,
        spool_limit: settings.spool_limit,
        limits: Limits {
            request_line: settings.limit_request_line,
            fields: settings.limit_request_fields,
            field: settings.limit_request_field_size,
            head: settings.limit_request_head,
            body: settings.limit_request_body,
        },
        server: "ironhorn".to_owned(),
        heartbeat: heartbeat(settings.timeout),
        expires: settings.timeout.is_some(),
        max_requests: settings.max_requests.map(|least| drawn(least, settings.max_requests_jitter)),
        threads: settings.threads,
        queue: settings.queue.unwrap_or(settings.threads * QUEUE_A_THREAD),
        queue_timeout: settings.queue_timeout,
        health_path: settings.health_path.clone(),
        static_files: None,
        uwsgi_allow_from: settings.uwsgi_allow_from.iter().copied().collect(),
        trust: trust::trust(settings),
    }
}

/// A number from `least` up, by `jitter` at most: so that workers don't wear out together.
fn drawn(least: u64, jitter: u64) -> u64 {
    // The keys are random but a fork copies them: what differs between workers goes in too.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.write_u64(Monotonic::now().as_nanos());
    least.saturating_add(hasher.finish() % jitter.saturating_add(1))
}

fn header_map(setting: ironhorn_config::HeaderMap) -> HeaderMap {
    match setting {
        ironhorn_config::HeaderMap::Drop => HeaderMap::Drop,
        ironhorn_config::HeaderMap::Refuse => HeaderMap::Refuse,
        ironhorn_config::HeaderMap::Allow => HeaderMap::Allow,
    }
}

#[cfg(test)]
mod tests {
    use super::drawn;
    use std::collections::BTreeSet;

    #[test]
    fn the_limit_is_drawn_from_all_that_the_jitter_allows() {
        let limits: BTreeSet<u64> = (0..10_000).map(|_| drawn(100, 3)).collect();
        assert_eq!(limits, BTreeSet::from([100, 101, 102, 103]));
        assert_eq!(drawn(100, 0), 100);
        assert!(drawn(u64::MAX, u64::MAX) >= 1);
    }
}
