//! The Python extension `ironhorn._ironhorn`: the gateway and the composition root.
//!
//! The only crate that sees both sides: the protocol, the worker's loop and the master on one, the
//! interpreter on the other. The command `ironhorn` is `serve::main`; a worker begins in
//! `boot::run`; a request reaches the app through `gateway::Gateway`.

mod app_loader;
mod apps;
mod attention;
mod boot;
mod boot_errors;
mod check;
mod client_disconnected;
mod control_path;
mod ctl;
mod daemon;
mod ending;
mod environ;
mod errors;
mod extend_timeout;
mod ffi;
mod file_wrapper;
mod fork_hooks;
mod forks;
mod gateway;
mod generation;
mod hooks;
mod host;
mod input;
mod interrupts;
mod loan;
mod logging;
mod notes;
mod privileges;
mod response_body;
mod serve;
mod slots;
mod stacks;
mod start_response;
mod static_files;
mod systemd;
#[cfg(test)]
mod testing;
mod threads;
mod tls;
mod traceback;
mod trust;
mod upgrade;
mod watch;

/// The part of Ironhorn that is not Python.
#[pyo3::pymodule(name = "_ironhorn")]
mod extension {
    use std::ffi::OsString;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    #[pymodule_export]
    use crate::hooks::write_line;

    /// Runs the command with `argv`, the command line without the program's name, and returns the
    /// exit code. In a worker it does not return.
    #[pyfunction]
    fn main(py: Python<'_>, argv: Vec<OsString>) -> i32 {
        crate::serve::main(py, argv)
    }
}
