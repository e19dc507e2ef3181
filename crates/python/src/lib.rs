//! The Python extension `ironhorn._ironhorn`: the gateway and the composition root.
//!
//! The only crate that sees both sides: the protocol, the worker's loop and the master on one, the
//! interpreter on the other. The command `ironhorn` is `serve::main`; a worker begins in
//! `boot::run`; a request reaches the app through `gateway::Gateway`.

mod app_loader;
mod boot;
mod check;
mod environ;
mod errors;
mod ffi;
mod file_wrapper;
mod fork_hooks;
mod forks;
mod gateway;
mod generation;
mod host;
mod input;
mod interrupts;
mod loan;
mod logging;
mod response_body;
mod serve;
mod slots;
mod start_response;
#[cfg(test)]
mod testing;
mod traceback;

/// The part of Ironhorn that is not Python.
#[pyo3::pymodule(name = "_ironhorn")]
mod extension {
    use std::ffi::OsString;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// Runs the command with `argv`, the command line without the program's name, and returns the
    /// exit code. In a worker it does not return.
    #[pyfunction]
    fn main(py: Python<'_>, argv: Vec<OsString>) -> i32 {
        crate::serve::main(py, argv)
    }
}
