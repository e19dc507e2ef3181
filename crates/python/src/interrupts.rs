//! How a signal that the app handles wakes the main thread, which is the loop's unless others run the
//! app.
//!
//! CPython's handler only sets a flag; Python code runs at the next chance, and a worker that goes
//! to sleep right after the flag was set would give it none. `signal.set_wakeup_fd` closes that
//! gap: the handler also writes a byte here, and the thread polls for it.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::traceback;

/// The pipe that CPython's signal handler writes to.
pub(crate) struct Interrupts<'py> {
    py: Python<'py>,
    reader: PipeReader,
    /// Open as long as CPython may write to it.
    writer: PipeWriter,
}

impl<'py> Interrupts<'py> {
    /// Has CPython write to a new pipe. For the main thread, when no fork follows.
    pub(crate) fn watch(py: Python<'py>) -> PyResult<Self> {
        let (reader, writer) = io::pipe()?;
        let os = py.import("os")?;
        for descriptor in [reader.as_raw_fd(), writer.as_raw_fd()] {
            os.call_method1("set_blocking", (descriptor, false))?;
        }
        set_wakeup_fd(py, writer.as_raw_fd())?;
        Ok(Self { py, reader, writer })
    }

    /// The same, if this is the main thread. Signals reach Python code on that one only, and CPython
    /// alone knows which it is: the module `threading` takes the one that has imported it for it.
    pub(crate) fn watch_here(py: Python<'py>) -> PyResult<Option<Self>> {
        match Self::watch(py) {
            Ok(interrupts) => Ok(Some(interrupts)),
            Err(error) if error.is_instance_of::<PyValueError>(py) => {
                log::debug!(error:%; "signal handlers of the app wait for a request");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Readable after a signal.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// Forgets the signals that were told; their handlers run next.
    pub(crate) fn clear(&mut self) {
        let mut signals = [0; 64];
        while matches!(self.reader.read(&mut signals), Ok(count) if count == signals.len()) {}
    }
}

/// A signal has come: the app's handlers run, if they are to run on this thread.
pub(crate) fn run_handlers(py: Python<'_>, interrupts: Option<&mut Interrupts<'_>>) {
    if let Some(interrupts) = interrupts {
        interrupts.clear();
    }
    if let Err(error) = py.check_signals() {
        let traceback = traceback::render(py, &error);
        log::error!(traceback; "signal handler failed");
    }
}

impl Drop for Interrupts<'_> {
    /// Before the descriptor is closed, and its number perhaps another file's.
    fn drop(&mut self) {
        if let Err(error) = set_wakeup_fd(self.py, -1) {
            log::debug!(error:%, descriptor = self.writer.as_raw_fd(); "still told of signals");
        }
    }
}

/// In a process that the app has forked: its signals are no business of the worker's loop.
pub(crate) fn forget(py: Python<'_>) -> PyResult<()> {
    set_wakeup_fd(py, -1)
}

fn set_wakeup_fd(py: Python<'_>, descriptor: RawFd) -> PyResult<()> {
    // A full pipe wakes the loop as well as one byte more would.
    let options = PyDict::new(py);
    options.set_item("warn_on_full_buffer", false)?;
    // The module in C: `signal` would bring `enum` along, which an app may not need.
    py.import("_signal")?.call_method("set_wakeup_fd", (descriptor,), Some(&options))?;
    Ok(())
}
