//! Environ keys of field names: those known in advance, and those met on the way.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::known::{self, Known};
use crate::ffi::latin1;

/// How many names that aren't known in advance are remembered. A client that makes up more makes
/// the server build them each time, and no more than that.
const REMEMBERED: usize = 256;

/// The longest name that is remembered.
const LONGEST: usize = 64;

/// The keys of one worker.
pub(super) struct Names<'py> {
    known: Vec<Bound<'py, PyString>>,
    met: HashMap<Box<[u8]>, Bound<'py, PyString>>,
    /// Keys that a proxy gives as they are.
    variables: HashMap<Box<[u8]>, Bound<'py, PyString>>,
}

impl<'py> Names<'py> {
    pub(super) fn new(py: Python<'py>) -> Self {
        let known = known::NAMES
            .iter()
            .map(|name| PyString::intern(py, &known::key(name.as_bytes())))
            .collect();
        Self { known, met: HashMap::new(), variables: HashMap::new() }
    }

    /// The key of a known name.
    pub(super) fn known(&self, known: Known) -> &Bound<'py, PyString> {
        &self.known[known]
    }

    /// The key of any other name.
    pub(super) fn other(&mut self, py: Python<'py>, name: &[u8]) -> Bound<'py, PyString> {
        if let Some(key) = self.met.get(name) {
            return key.clone();
        }
        let key = known::key(name);
        if name.len() > LONGEST || self.met.len() >= REMEMBERED {
            return PyString::new(py, &key);
        }
        let key = PyString::intern(py, &key);
        self.met.insert(name.into(), key.clone());
        key
    }

    /// The key that a proxy gives.
    pub(super) fn variable(
        &mut self,
        py: Python<'py>,
        name: &[u8],
    ) -> PyResult<Bound<'py, PyString>> {
        if let Some(key) = self.variables.get(name) {
            return Ok(key.clone());
        }
        let key = latin1(py, name)?;
        if name.len() > LONGEST || self.variables.len() >= REMEMBERED {
            return Ok(key);
        }
        // The object that an app's own literal is, if there is one.
        let key = match name.is_ascii() {
            true => PyString::intern(py, key.to_str()?),
            false => key,
        };
        self.variables.insert(name.into(), key.clone());
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_interned_once_and_memory_is_bounded() {
        Python::initialize();
        Python::attach(|py| {
            let mut names = Names::new(py);
            let host = names.known(known::HOST);
            assert!(host.is(PyString::intern(py, "HTTP_HOST")));
            let first = names.other(py, b"X-Mine");
            assert_eq!(first, "HTTP_X_MINE");
            assert!(first.is(names.other(py, b"X-Mine")));
            for number in 0..REMEMBERED * 2 {
                let name = format!("x-{number}");
                assert_eq!(names.other(py, name.as_bytes()), format!("HTTP_X_{number}").as_str());
            }
            names.other(py, &b"x".repeat(LONGEST + 1));
            assert_eq!(names.met.len(), REMEMBERED);
            for number in 0..REMEMBERED * 2 {
                let name = format!("SSL_{number}");
                assert_eq!(names.variable(py, name.as_bytes()).unwrap(), name.as_str());
            }
            let first = names.variable(py, b"SSL_0").unwrap();
            assert!(first.is(PyString::intern(py, "SSL_0")));
            assert_eq!(names.variable(py, b"\xe9").unwrap(), "\u{e9}");
            names.variable(py, &b"x".repeat(LONGEST + 1)).unwrap();
            assert_eq!(names.variables.len(), REMEMBERED);
        });
    }
}
