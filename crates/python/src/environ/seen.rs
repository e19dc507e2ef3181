//! Values that one request after another has, as the str objects of the last: one comparison is
//! cheaper than to make and to free an object.

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::known::{self, Known};
use super::values::decimal;
use crate::ffi::latin1;

/// The longest value that is kept, in bytes.
const LONGEST: usize = 256;

/// How many ports are kept, each in its place: a power of two.
const PORTS: usize = 64;

/// The values of one worker.
pub(super) struct Seen<'py> {
    /// The last value of each known field, as on the wire and as an object.
    fields: Vec<Option<(Vec<u8>, Bound<'py, PyString>)>>,
    ports: Vec<Option<(u16, Bound<'py, PyString>)>>,
}

impl<'py> Seen<'py> {
    pub(super) fn new() -> Self {
        Self { fields: vec![None; known::NAMES.len()], ports: vec![None; PORTS] }
    }

    /// The value of a known field. Those that a client proves itself by are made anew: they have no
    /// place in the memory after their request.
    pub(super) fn field(
        &mut self,
        py: Python<'py>,
        known: Known,
        value: &[u8],
    ) -> PyResult<Bound<'py, PyString>> {
        let kept = &mut self.fields[known];
        if let Some((bytes, text)) = kept
            && bytes == value
        {
            return Ok(text.clone());
        }
        let text = latin1(py, value)?;
        if value.len() <= LONGEST && !known::is_secret(known) {
            let (bytes, kept) = kept.get_or_insert_with(|| (Vec::new(), text.clone()));
            bytes.clear();
            bytes.extend_from_slice(value);
            *kept = text.clone();
        }
        Ok(text)
    }

    /// A port in decimal: that of a connection which is kept is the same request after request.
    pub(super) fn port(&mut self, py: Python<'py>, port: u16) -> PyResult<Bound<'py, PyString>> {
        let kept = &mut self.ports[usize::from(port) % PORTS];
        match kept {
            Some((number, text)) if *number == port => Ok(text.clone()),
            _ => {
                let text = decimal(py, port)?;
                *kept = Some((port, text.clone()));
                Ok(text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_once_and_follows_what_is_sent() {
        Python::initialize();
        Python::attach(|py| {
            let mut seen = Seen::new();
            let first = seen.field(py, known::HOST, b"a.example").unwrap();
            assert_eq!(first, "a.example");
            assert!(first.is(seen.field(py, known::HOST, b"a.example").unwrap()));
            assert_eq!(seen.field(py, known::HOST, b"b.exampl\xe9").unwrap(), "b.exampl\u{e9}");
            assert_eq!(seen.field(py, known::HOST, b"").unwrap(), "");
            assert_eq!(seen.field(py, known::HOST, b"a.example").unwrap(), "a.example");
        });
    }

    #[test]
    fn neither_secrets_nor_long_values_are_kept() {
        Python::initialize();
        Python::attach(|py| {
            let mut seen = Seen::new();
            for name in ["authorization", "cookie", "proxy-authorization", "referer", "x-csrftoken"]
            {
                let known = known::find(name.as_bytes()).unwrap();
                assert_eq!(seen.field(py, known, b"secret").unwrap(), "secret");
                assert!(seen.fields[known].is_none(), "{name}");
            }
            seen.field(py, known::HOST, &[b'x'; LONGEST + 1]).unwrap();
            assert!(seen.fields[known::HOST].is_none());
        });
    }

    #[test]
    fn ports_that_share_a_place_are_told_apart() {
        Python::initialize();
        Python::attach(|py| {
            let mut seen = Seen::new();
            let first = seen.port(py, 1).unwrap();
            assert!(first.is(seen.port(py, 1).unwrap()));
            for port in [1, 65, 1, 9, 10, 80, 8000, 64999, 65535] {
                assert_eq!(seen.port(py, port).unwrap(), port.to_string().as_str());
            }
        });
    }
}
