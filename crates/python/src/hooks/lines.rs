//! Lines that hooks write to the server's log.

use log::Level;
use pyo3::prelude::*;

/// Writes a line with the level of Python's `logging`, and a traceback under it.
#[pyfunction]
#[pyo3(name = "log", signature = (level, message, traceback = None))]
pub(crate) fn write_line(level: u32, message: &str, traceback: Option<&str>) {
    // logging.CRITICAL is 50, and every ten less is a level down.
    let level = match level {
        40.. => Level::Error,
        30..40 => Level::Warn,
        20..30 => Level::Info,
        10..20 => Level::Debug,
        _ => Level::Trace,
    };
    // A hook may well log what a peer sent: it makes no line of its own.
    let message = message.trim_end().replace(|c: char| c.is_control(), " ");
    match traceback {
        Some(traceback) => log::log!(target: "ironhorn::hooks", level, traceback; "{message}"),
        None => log::log!(target: "ironhorn::hooks", level, "{message}"),
    }
}
