//! Values that one request after another has, as the str objects of the last: one comparison is
//! cheaper than to make and to free an object.

use std::net::IpAddr;

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
pub(super) struct Repeated<'py> {
    /// The last value of each known field, as on the wire and as an object.
    fields: Vec<Option<(Vec<u8>, Bound<'py, PyString>)>>,
    ports: Vec<Option<(u16, Bound<'py, PyString>)>>,
    /// The last peer's address: behind a proxy it is the same one request after request.
    address: Option<(IpAddr, Bound<'py, PyString>)>,
}

impl<'py> Repeated<'py> {
    pub(super) fn new() -> Self {
        let fields = vec![None; known::NAMES.len()];
        Self { fields, ports: vec![None; PORTS], address: None }
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

    /// A peer's address, an IPv4 address in IPv6 as the IPv4 address.
    pub(super) fn address(&mut self, py: Python<'py>, address: IpAddr) -> Bound<'py, PyString> {
        match &self.address {
            Some((last, text)) if *last == address => text.clone(),
            _ => {
                let text = PyString::new(py, &address.to_canonical().to_string());
                self.address = Some((address, text.clone()));
                text
            }
        }
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
            let mut repeated = Repeated::new();
            let first = repeated.field(py, known::HOST, b"a.example").unwrap();
            assert_eq!(first, "a.example");
            assert!(first.is(repeated.field(py, known::HOST, b"a.example").unwrap()));
            assert_eq!(repeated.field(py, known::HOST, b"b.exampl\xe9").unwrap(), "b.exampl\u{e9}");
            assert_eq!(repeated.field(py, known::HOST, b"").unwrap(), "");
            assert_eq!(repeated.field(py, known::HOST, b"a.example").unwrap(), "a.example");
        });
    }

    #[test]
    fn neither_secrets_nor_long_values_are_kept() {
        Python::initialize();
        Python::attach(|py| {
            let mut repeated = Repeated::new();
            for name in ["authorization", "cookie", "proxy-authorization", "referer", "x-csrftoken"]
            {
                let known = known::find(name.as_bytes()).unwrap();
                assert_eq!(repeated.field(py, known, b"secret").unwrap(), "secret");
                assert!(repeated.fields[known].is_none(), "{name}");
            }
            repeated.field(py, known::HOST, &[b'x'; LONGEST + 1]).unwrap();
            assert!(repeated.fields[known::HOST].is_none());
        });
    }

    #[test]
    fn ports_that_share_a_place_are_told_apart() {
        Python::initialize();
        Python::attach(|py| {
            let mut repeated = Repeated::new();
            let first = repeated.port(py, 1).unwrap();
            assert!(first.is(repeated.port(py, 1).unwrap()));
            for port in [1, 65, 1, 9, 10, 80, 8000, 64999, 65535] {
                assert_eq!(repeated.port(py, port).unwrap(), port.to_string().as_str());
            }
        });
    }
}
