//! `wsgi.errors`: a text stream whose lines become records of the log.
//!
//! Text is held back until a call ends a line, so that `print(..., file=environ["wsgi.errors"])`,
//! which writes text and line break apart, makes one record, and so that a text of several lines
//! written at once stays one record. What has no line break is let go at the end of the request.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::ffi::Attached;

/// The log target of what an app writes.
const TARGET: &str = "app";

/// How much text is held back at most, in bytes.
const HELD_BACK: usize = 64 * 1024;

/// The stream that every environ of a worker names as `wsgi.errors`.
#[pyclass(frozen, module = "ironhorn")]
pub(crate) struct ErrorStream {
    held_back: Attached<String>,
}

impl ErrorStream {
    pub(crate) fn new() -> Self {
        Self { held_back: Attached::new(String::new()) }
    }

    /// Lets go what was held back.
    pub(crate) fn emit(&self, py: Python<'_>) {
        let record = self
            .held_back
            .with(py, |text| if text.is_empty() { None } else { Some(std::mem::take(text)) });
        if let Some(record) = record {
            log::error!(target: TARGET, "{}", record.trim_end_matches(['\r', '\n']));
        }
    }

    fn add(&self, text: &Bound<'_, PyAny>) -> PyResult<usize> {
        let Ok(text) = text.cast::<PyString>() else {
            let found = text.get_type().name()?;
            return Err(PyTypeError::new_err(format!("wsgi.errors takes str, not {found}")));
        };
        let py = text.py();
        // Lone surrogates are replaced: no log could hold them.
        let content = text.to_string_lossy();
        let is_whole = self.held_back.with(py, |held_back| {
            held_back.push_str(&content);
            held_back.ends_with('\n') || held_back.len() > HELD_BACK
        });
        if is_whole {
            self.emit(py);
        }
        text.len()
    }
}

#[pymethods]
impl ErrorStream {
    /// Adds text to the log; returns its length, as text files do.
    fn write(&self, text: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.add(text)
    }

    /// Adds each text of an iterable.
    fn writelines(&self, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in lines.try_iter()? {
            self.add(&line?)?;
        }
        Ok(())
    }

    /// Ends the record that is being written.
    fn flush(&self, py: Python<'_>) {
        self.emit(py);
    }

    /// Text files have it; logging handlers and progress bars ask.
    fn isatty(&self) -> bool {
        false
    }

    fn writable(&self) -> bool {
        true
    }

    #[getter]
    fn encoding(&self) -> &'static str {
        "utf-8"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_call_that_ends_a_line_makes_one_record() {
        let records = testing::log_of(|py| {
            let errors = Bound::new(py, ErrorStream::new()).unwrap();
            testing::run_with(
                py,
                cr"
print('printed', 1, file=errors)
errors.write('two\nlines\n')
errors.write('held ')
errors.write('back')
errors.flush()
errors.flush()
errors.writelines(['a', 'b\n'])
assert errors.write(chr(0xe4) + chr(0xd800) + '\n') == 3
",
                &[("errors", errors.as_any())],
            );
        });
        assert_eq!(
            records,
            ["printed 1", "two\nlines", "held back", "ab", "\u{e4}\u{fffd}\u{fffd}\u{fffd}"]
        );
    }

    #[test]
    fn only_str_is_text() {
        Python::initialize();
        Python::attach(|py| {
            let errors = Bound::new(py, ErrorStream::new()).unwrap();
            let refused = errors.call_method1("write", (b"bytes".as_slice(),)).unwrap_err();
            assert_eq!(refused.to_string(), "TypeError: wsgi.errors takes str, not bytes");
        });
    }
}
