//! What limits the code of the operator's that runs in the master: see `ironhorn._limits`.

use ironhorn_unix::Unheeded;
use pyo3::prelude::*;

/// Knows of the signals that ask the master to stop.
#[pyclass(frozen, module = "ironhorn._ironhorn")]
struct Guard(Unheeded);

#[pymethods]
impl Guard {
    fn begin(&self) {
        self.0.begin();
    }

    fn end(&self) {
        self.0.end();
    }

    fn is_asked(&self) -> bool {
        self.0.is_asked()
    }
}

/// From now on configuration files and hooks have their limits in this process, the master.
pub(crate) fn watch(py: Python<'_>, unheeded: Unheeded) -> PyResult<()> {
    py.import("ironhorn._limits")?.call_method1("watch", (Guard(unheeded),)).map(drop)
}
