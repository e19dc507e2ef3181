//! What CPython must do around a fork, as `os.fork` does it: its locks are taken and released, and
//! functions registered with `os.register_at_fork` run.

use std::marker::PhantomData;

use ironhorn_unix::ForkHooks;
use pyo3::prelude::*;

/// The hooks of an attached thread.
pub(crate) struct PythonHooks<'py> {
    /// Proof that this thread is attached, and that it stays so.
    attached: PhantomData<Python<'py>>,
}

impl<'py> PythonHooks<'py> {
    pub(crate) fn new(_py: Python<'py>) -> Self {
        Self { attached: PhantomData }
    }
}

impl ForkHooks for PythonHooks<'_> {
    fn before(&self) {
        // SAFETY: needs an attached thread, of which `attached` is the proof.
        unsafe { pyo3::ffi::PyOS_BeforeFork() }
    }

    fn after_in_parent(&self) {
        // SAFETY: `before` was called by the same, attached thread.
        unsafe { pyo3::ffi::PyOS_AfterFork_Parent() }
    }

    fn after_in_child(&self) {
        // SAFETY: `before` was called by the thread that this one is the copy of; it is the only
        // thread of the process, and attached as that one was.
        unsafe { pyo3::ffi::PyOS_AfterFork_Child() }
    }
}
