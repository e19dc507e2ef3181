//! `environ["ironhorn.client_disconnected"]`: whether anybody still waits for the answer.
//!
//! One callable serves all requests: what it tells of is the one whose app runs on the thread that
//! calls it, so that no request pays for it but those that ask.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::{ffi, loan};

/// The callable.
#[pyclass(frozen, module = "ironhorn")]
pub(crate) struct ClientDisconnected;

#[pymethods]
impl ClientDisconnected {
    /// Whether the client has closed its connection, or at least its sending side: TCP doesn't tell
    /// one from the other until something is sent.
    fn __call__(&self) -> PyResult<bool> {
        loan::running_connection().map(ffi::is_disconnected).ok_or_else(|| {
            PyRuntimeError::new_err(
                "client_disconnected() works on the thread that runs the app, while it runs it",
            )
        })
    }
}
