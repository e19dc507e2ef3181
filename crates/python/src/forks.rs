//! Processes that the app forks out of a worker.
//!
//! A child of `os.fork` or `multiprocessing` has copies of the worker's signal handlers, listeners
//! and connections. It must not act as a second worker: TERM is to end it, the server's port is
//! not its to hold, and when the app's call returns in it, the answer is not its to send.

use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use ironhorn_master::command::WORKER_SIGNALS;
use ironhorn_unix::{EXAMINE, Listener, exit_now, reset};
use ironhorn_worker::Entrance;
use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

use crate::{interrupts, traceback};

/// Set in a process that the app has forked.
static FORKED: AtomicBool = AtomicBool::new(false);

/// From now on a process that the app forks has signals of its own and no listener of these.
pub(crate) fn watch(py: Python<'_>, entrances: &[Entrance]) -> PyResult<()> {
    // Weak: the worker closes them when it drains, and their numbers become something else's.
    let listeners: Vec<Weak<Listener>> =
        entrances.iter().map(|entrance| Arc::downgrade(&entrance.listener)).collect();
    let after_in_child = PyCFunction::new_closure(py, None, None, move |arguments, _| {
        // A child of the child has nothing left to give up.
        if FORKED.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        for signal in WORKER_SIGNALS.into_iter().chain([EXAMINE]) {
            reset(signal)?;
        }
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            for descriptor in listener.descriptors() {
                // SAFETY: the worker had not dropped the `Listener` when it was copied, so the
                // descriptor is open in the copy. Nobody uses or drops it there again: `leave` ends
                // the process before the worker's loop could go on, and `upgrade` took but a share
                // of it.
                drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
        }
        interrupts::forget(arguments.py())
    })?;
    let hooks = PyDict::new(py);
    hooks.set_item("after_in_child", after_in_child)?;
    py.import("os")?.call_method("register_at_fork", (), Some(&hooks))?;
    Ok(())
}

/// Whether this process is one that the app has forked.
pub(crate) fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// The app's call has come back in a process that it forked: the process ends, as a Python program
/// does that comes to its end, and the worker sends the answer.
pub(crate) fn leave(py: Python<'_>, error: Option<&PyErr>) -> ! {
    let code = match error {
        None => 0,
        Some(error) if error.is_instance_of::<PySystemExit>(py) => {
            let code = error.value(py).getattr("code").ok();
            code.map_or(0, |code| if code.is_none() { 0 } else { code.extract().unwrap_or(1) })
        }
        Some(error) => {
            log::error!(traceback = traceback::render(py, error); "process forked by the app failed");
            1
        }
    };
    for stream in ["stdout", "stderr"] {
        let flushed = py.import("sys").and_then(|sys| sys.getattr(stream)?.call_method0("flush"));
        if let Err(error) = flushed {
            log::debug!(error:%; "cannot flush");
        }
    }
    exit_now(code)
}
