//! Hooks: functions of the operator's that are called when something happens to the server.
//!
//! ```text
//!  Host::observe, before_fork ─► MasterHooks ─┐                    ┌─► a module of hooks
//!  boot, gateway, loop ────────► WorkerHooks ─┴─► call::Call ─► Python: _hooks ─┴─► gunicorn.conf.py
//! ```
//!
//! A generation has its own, loaded in the master before its first worker is forked; so a worker
//! runs those of its generation, however old. Which functions there are and what they are given is
//! Python's part, in `ironhorn._hooks` and `ironhorn._gunicorn_hooks`. Here they are found, called,
//! timed, and what they raise is logged.
//!
//! Invariant: the master never has the app among its modules. It could not get rid of it, and each
//! worker of each later generation would begin with that version of it.

mod call;
mod conf;
mod guard;
mod lines;
mod master;
mod settings;
mod worker;

use std::fmt;

use ironhorn_config::Settings;
use pyo3::prelude::*;

pub(crate) use conf::{Conf, Confs};
pub(crate) use guard::watch;
pub(crate) use lines::write_line;
pub(crate) use master::new_threads;
pub(crate) use worker::{RequestHooks, Told, UnboundTold, WorkerHooks};

use crate::traceback;
use call::Call;

/// The hooks of one generation; most have none.
#[derive(Default)]
pub(crate) struct Hooks(Option<Py<PyAny>>);

impl Hooks {
    /// Loads the hooks that the settings name and those of the configuration file, with what is
    /// worth a warning.
    pub(crate) fn load(
        py: Python<'_>,
        settings: &Settings,
        conf: Option<&Conf>,
    ) -> Result<(Self, Vec<String>), HooksError> {
        if settings.hooks.is_none() && conf.is_none() {
            return Ok((Self(None), Vec::new()));
        }
        let module = settings.main_app().split(':').next().unwrap_or_default();
        let load = || -> PyResult<_> {
            let shown = settings::shown(py, settings)?;
            let has_hooks = settings.hooks.is_some() || conf.is_some_and(|conf| conf.has_hooks);
            let conf = conf.map(|conf| conf.python.bind(py));
            let load = py.import("ironhorn._hooks")?.getattr("load")?;
            let hooks = load.call1((settings.hooks.as_deref(), conf, shown, module))?;
            let warnings = hooks.getattr("warnings")?.extract()?;
            Ok((Self(has_hooks.then(|| hooks.unbind())), warnings))
        };
        load().map_err(|error| HooksError::of(py, &error))
    }

    /// What is to be called for `event`, in order.
    fn calls<'py>(&self, py: Python<'py>, event: &'static str) -> Vec<Call<'py>> {
        let Some(hooks) = &self.0 else { return Vec::new() };
        Call::all(hooks.bind(py), event).unwrap_or_else(|error| {
            log::error!(hook = event, traceback = traceback::render(py, &error); "hook not called");
            Vec::new()
        })
    }
}

/// Why there are no hooks.
#[derive(Debug)]
pub(crate) struct HooksError {
    /// In a line.
    pub(crate) reason: String,
    /// Of the hooks' own code, if it has raised something.
    pub(crate) traceback: Option<String>,
}

impl HooksError {
    fn of(py: Python<'_>, error: &PyErr) -> Self {
        let is_ours = py
            .import("ironhorn._hooks")
            .and_then(|module| error.value(py).is_instance(&module.getattr("HooksError")?));
        if is_ours.unwrap_or(false) {
            Self { reason: error.value(py).to_string(), traceback: None }
        } else {
            let reason = format!("loading the hooks failed: {error}");
            Self { reason, traceback: Some(traceback::render(py, error)) }
        }
    }
}

impl HooksError {
    /// The reason with the traceback under it.
    pub(crate) fn text(&self) -> String {
        match &self.traceback {
            Some(traceback) => format!("{}\n{traceback}", self.reason),
            None => self.reason.clone(),
        }
    }
}

impl fmt::Display for HooksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for HooksError {}
