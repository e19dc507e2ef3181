//! Where a process that is stuck, or crashes, shows what it is doing.
//!
//! CPython's faulthandler writes the stack of every thread from within the signal handler, without
//! taking the GIL: so it does also while C code holds that, or in the midst of a crash. It writes to
//! a file that the master made and reads ([`StackFile`]).

use std::os::fd::AsRawFd;

use ironhorn_unix::{BoardSlot, EXAMINE, StackFile, WorkerEnd, answer_examinations};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// In a worker, before anything of the app runs: its stacks go to `file` when it crashes, and when
/// it is asked for them, which it answers then.
pub(crate) fn arrange_in_worker(
    py: Python<'_>,
    file: &StackFile,
    slot: &BoardSlot,
    channel: &WorkerEnd,
    crashes: Crashes,
) -> PyResult<()> {
    // In a worker of a zygote the handler is there, and this only changes its file.
    show_when_asked(py, file)?;
    // On top of it: the answer says that the stacks are written. (faulthandler's own chaining would
    // let the signal interrupt system calls of C code that doesn't expect it.)
    answer_examinations(slot, channel)?;
    show_when_crashing(py, file, crashes)
}

/// In a zygote: its stacks go to `file`. Says whose a crash's are, for the workers.
pub(crate) fn arrange_in_zygote(py: Python<'_>, file: &StackFile) -> PyResult<Crashes> {
    let crashes = Crashes::found(py)?;
    show_when_asked(py, file)?;
    show_when_crashing(py, file, crashes)?;
    Ok(crashes)
}

/// Who is shown the stacks of a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crashes {
    /// The master.
    Ours,
    /// Whoever reads standard error: Python was started with `PYTHONFAULTHANDLER` or the like.
    Theirs,
}

impl Crashes {
    /// As it was before anything was arranged here.
    pub(crate) fn found(py: Python<'_>) -> PyResult<Self> {
        let enabled = py.import("faulthandler")?.call_method0("is_enabled")?;
        Ok(if enabled.is_truthy()? { Self::Theirs } else { Self::Ours })
    }
}

fn show_when_asked(py: Python<'_>, file: &StackFile) -> PyResult<()> {
    let options = options(py, file)?;
    py.import("faulthandler")?.call_method("register", (EXAMINE as i32,), Some(&options))?;
    Ok(())
}

/// SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT.
fn show_when_crashing(py: Python<'_>, file: &StackFile, crashes: Crashes) -> PyResult<()> {
    if crashes == Crashes::Ours {
        py.import("faulthandler")?.call_method("enable", (), Some(&options(py, file)?))?;
    }
    Ok(())
}

fn options<'py>(py: Python<'py>, file: &StackFile) -> PyResult<Bound<'py, PyDict>> {
    let options = PyDict::new(py);
    options.set_item(intern!(py, "file"), file.as_raw_fd())?;
    options.set_item(intern!(py, "all_threads"), true)?;
    Ok(options)
}
