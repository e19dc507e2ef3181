//! Hooks that run in the master.
//!
//! The master has one thread and does nothing else while a hook runs: a slow one is warned of by
//! name, but only its author can make it quick.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ironhorn_master::report::{Report, Who};
use ironhorn_unix::thread_count;
use pyo3::call::PyCallArgs;
use pyo3::prelude::*;

use super::Hooks;
use crate::traceback;

/// How many threads the master has besides its own, if they are more than when this was asked last.
pub(crate) fn new_threads() -> Option<usize> {
    static KNOWN: AtomicUsize = AtomicUsize::new(0);
    let threads = thread_count().ok()?.saturating_sub(1);
    let known = KNOWN.swap(threads, Ordering::Relaxed);
    (threads > known).then_some(threads)
}

impl Hooks {
    /// The server is about to start.
    ///
    /// # Errors
    /// The hook has raised something, which stops the start; the text has the traceback.
    pub(crate) fn on_starting(&self, py: Python<'_>, workers: usize) -> Result<(), String> {
        self.call(py, "nworkers_changed", || (workers,));
        for call in self.calls(py, "on_starting") {
            let began = Instant::now();
            call.try_run(()).map_err(|error| {
                format!(
                    "the hook {} failed: {error}\n{}",
                    call.name(),
                    traceback::render(py, &error)
                )
            })?;
            call.warn_if_slow(began.elapsed());
        }
        self.look_after(py, "on_starting");
        Ok(())
    }

    /// A worker is about to be forked.
    pub(crate) fn pre_fork(&self, py: Python<'_>, nr: usize, generation: u32) {
        self.master(py, "begin", || (nr, generation));
        self.call(py, "pre_fork", || (nr, generation));
    }

    /// Something was reported that concerns a worker or workers of these hooks' generation, or the
    /// generation itself.
    pub(crate) fn observe(&self, py: Python<'_>, report: &Report) {
        match report {
            Report::Serving => self.call(py, "when_ready", || ()),
            Report::Reloading { .. } => self.call(py, "on_reload", || ()),
            Report::ReloadFailed { reason, .. } | Report::ReloadEnded { reason, .. } => {
                self.call(py, "reload_failed", || (reason,));
            }
            Report::Ready { who, .. } => drop(self.know(py, who)),
            Report::RequestTimeout { who, method, path, age, .. } => {
                let worker = self.know(py, who);
                self.call(py, "worker_timeout", || (&worker, method, path, age.as_secs_f64()));
            }
            Report::Exited { who, reason, .. } => {
                let worker = self.know(py, who);
                self.master(py, "lose", || (who.nr,));
                self.call(py, "child_exit", || (&worker, reason.to_string()));
            }
            Report::Workers { count } => self.call(py, "nworkers_changed", || (*count,)),
            _ => {}
        }
    }

    /// A new master is about to be started from disk.
    pub(crate) fn pre_exec(&self, py: Python<'_>) {
        self.call(py, "pre_exec", || ());
    }

    /// The server has ended.
    pub(crate) fn on_exit(&self, py: Python<'_>) {
        self.call(py, "on_exit", || ());
    }

    /// The object for a worker.
    fn know<'py>(&self, py: Python<'py>, who: &Who) -> Option<Bound<'py, PyAny>> {
        self.master(py, "know", || (who.nr, who.generation, who.pid.as_raw()))
    }

    /// Keeps the books that the objects are made from.
    fn master<'py, A: PyCallArgs<'py>>(
        &self,
        py: Python<'py>,
        method: &str,
        arguments: impl FnOnce() -> A,
    ) -> Option<Bound<'py, PyAny>> {
        self.0.as_ref()?;
        let master = py.import("ironhorn._hooks").and_then(|module| module.getattr("MASTER"));
        match master.and_then(|master| master.call_method1(method, arguments())) {
            Ok(known) => Some(known),
            Err(error) => {
                log::error!(traceback = traceback::render(py, &error); "cannot tell hooks");
                None
            }
        }
    }

    fn call<'py, A: PyCallArgs<'py>>(
        &self,
        py: Python<'py>,
        event: &'static str,
        mut arguments: impl FnMut() -> A,
    ) {
        let calls = self.calls(py, event);
        for call in &calls {
            call.run_timed(arguments());
        }
        if !calls.is_empty() {
            self.look_after(py, event);
        }
    }

    /// Sees to it that the master is as it must be.
    fn look_after(&self, py: Python<'_>, event: &'static str) {
        if let Some(threads) = new_threads() {
            log::warn!(hook = event, threads; "the hook has started threads in the master: they don't run, and no worker has them");
        }
        let Some(hooks) = &self.0 else { return };
        match hooks.bind(py).call_method0("keep_app_out").and_then(|out| out.extract::<bool>()) {
            Ok(false) => {}
            Ok(true) => {
                log::error!(hook = event; "the hook has imported the app into the master, which has forgotten it again");
            }
            Err(error) => {
                log::error!(traceback = traceback::render(py, &error); "cannot keep the app out");
            }
        }
    }
}
