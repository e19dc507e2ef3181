//! One call of one hook.

use std::time::{Duration, Instant};

use pyo3::call::PyCallArgs;
use pyo3::prelude::*;

use crate::traceback;

/// A hook of the master's that takes longer keeps it from its work, and is warned of.
const LONG: Duration = Duration::from_secs(1);

/// A function and where it comes from.
pub(super) struct Call<'py> {
    event: &'static str,
    of: String,
    function: Bound<'py, PyAny>,
}

impl<'py> Call<'py> {
    /// The functions that `hooks` have for `event`.
    pub(super) fn all(hooks: &Bound<'py, PyAny>, event: &'static str) -> PyResult<Vec<Self>> {
        let calls: Vec<(String, Bound<'py, PyAny>)> =
            hooks.call_method1("calls", (event,))?.extract()?;
        Ok(calls.into_iter().map(|(of, function)| Self { event, of, function }).collect())
    }

    /// The hook's name and its file's, for messages.
    pub(super) fn name(&self) -> String {
        format!("{} of {}", self.event, self.of)
    }

    /// Calls it.
    pub(super) fn try_run(&self, arguments: impl PyCallArgs<'py>) -> PyResult<()> {
        self.function.call1(arguments).map(drop)
    }

    /// Calls it; what it raises is logged and does no harm, `SystemExit` included.
    pub(super) fn run(&self, arguments: impl PyCallArgs<'py>) {
        if let Err(error) = self.try_run(arguments) {
            self.report(&error);
        }
    }

    /// Calls it and looks at the clock.
    pub(super) fn run_timed(&self, arguments: impl PyCallArgs<'py>) {
        let began = Instant::now();
        self.run(arguments);
        self.warn_if_slow(began.elapsed());
    }

    pub(super) fn warn_if_slow(&self, took: Duration) {
        if took > LONG {
            let took = format!("{:.1}s", took.as_secs_f64());
            log::warn!(hook = self.event, of = self.of, took; "slow hook: the master does nothing else meanwhile");
        }
    }

    pub(super) fn report(&self, error: &PyErr) {
        let traceback = traceback::render(self.function.py(), error);
        log::error!(hook = self.event, of = self.of, traceback; "hook failed");
    }
}
