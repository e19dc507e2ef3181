//! A Python exception as the text that Python itself would print, for the log.

use pyo3::prelude::*;
use pyo3::types::PyList;

/// Renders an exception with its traceback and causes, without a line break at the end.
pub(crate) fn render(py: Python<'_>, error: &PyErr) -> String {
    let lines = py.import("traceback").and_then(|traceback| {
        traceback.call_method1(
            "format_exception",
            (error.get_type(py), error.value(py), error.traceback(py)),
        )
    });
    let text = lines.and_then(|lines| {
        lines.cast::<PyList>()?.iter().map(|line| line.extract::<String>()).collect()
    });
    // An exception whose own __str__ fails, or an interpreter that is coming down.
    let text: String = text.unwrap_or_else(|_| error.to_string());
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn render_has_frames_and_causes() {
        Python::initialize();
        Python::attach(|py| {
            let code = c"
try:
    1 / 0
except ZeroDivisionError as error:
    raise ValueError('no') from error
";
            let error = py.run(code, None, None).unwrap_err();
            let text = render(py, &error);
            assert!(text.starts_with("Traceback (most recent call last):\n"), "{text}");
            assert!(text.contains("ZeroDivisionError: division by zero"), "{text}");
            assert!(text.ends_with("ValueError: no"), "{text}");
        });
    }
}
