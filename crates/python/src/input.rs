//! `wsgi.input`: the request's content, which is whole before the app is called.
//!
//! Three kinds, all with read, readline, readlines and iteration (PEP 3333, "Input and Error
//! Streams") and `b""` at the end: nothing at all is one shared object that can't be dirtied; what
//! is in memory is an `io.BytesIO` over one bytes object, which it shares until it is written to;
//! what was spooled is a buffered reader over the unlinked file.

use std::fs::File;
use std::os::fd::{AsRawFd, IntoRawFd};

use ironhorn_worker::Body;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyType};

/// Makes the `wsgi.input` of requests.
pub(crate) struct Inputs<'py> {
    empty: Bound<'py, EmptyInput>,
    bytes_io: Bound<'py, PyAny>,
    open: Bound<'py, PyAny>,
}

/// The `wsgi.input` of one request.
pub(crate) enum Input<'py> {
    /// The shared one, see [`Inputs::empty`].
    Empty,
    /// In memory.
    Memory(Bound<'py, PyAny>),
    /// Over a file, to be closed when the request is over: its space is freed then and not when
    /// the garbage collector finds the environ.
    Spooled(Bound<'py, PyAny>),
}

impl<'py> Inputs<'py> {
    pub(crate) fn new(py: Python<'py>) -> PyResult<Self> {
        let io = py.import("io")?;
        Ok(Self {
            empty: Bound::new(py, EmptyInput)?,
            bytes_io: io.getattr("BytesIO")?,
            open: io.getattr("open")?,
        })
    }

    /// The input of every request without content.
    pub(crate) fn empty(&self) -> &Bound<'py, EmptyInput> {
        &self.empty
    }

    pub(crate) fn open(&self, py: Python<'py>, body: Body) -> PyResult<Input<'py>> {
        match body {
            Body::Empty => Ok(Input::Empty),
            Body::Memory(content) => {
                let content = PyBytes::new(py, &content);
                self.bytes_io.call1((content,)).map(Input::Memory)
            }
            Body::File { file, .. } => self.open_file(py, file).map(Input::Spooled),
        }
    }

    fn open_file(&self, py: Python<'py>, file: File) -> PyResult<Bound<'py, PyAny>> {
        let reader = self.open.call1((file.as_raw_fd(), intern!(py, "rb")))?;
        // The reader owns the descriptor now; had `open` failed, `file` would still close it.
        let _ = file.into_raw_fd();
        Ok(reader)
    }
}

/// A stream that is at its end and stays there whatever is done to it.
#[pyclass(frozen, module = "ironhorn")]
pub(crate) struct EmptyInput;

#[pymethods]
impl EmptyInput {
    #[pyo3(signature = (_size = None, /))]
    fn read<'py>(&self, py: Python<'py>, _size: Option<&Bound<'py, PyAny>>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, b"")
    }

    #[pyo3(signature = (_size = None, /))]
    fn read1<'py>(
        &self,
        py: Python<'py>,
        _size: Option<&Bound<'py, PyAny>>,
    ) -> Bound<'py, PyBytes> {
        PyBytes::new(py, b"")
    }

    #[pyo3(signature = (_size = None, /))]
    fn readline<'py>(
        &self,
        py: Python<'py>,
        _size: Option<&Bound<'py, PyAny>>,
    ) -> Bound<'py, PyBytes> {
        PyBytes::new(py, b"")
    }

    #[pyo3(signature = (_hint = None, /))]
    fn readlines<'py>(
        &self,
        py: Python<'py>,
        _hint: Option<&Bound<'py, PyAny>>,
    ) -> Bound<'py, PyList> {
        PyList::empty(py)
    }

    /// io.BufferedReader reads by it.
    fn readinto(&self, _buffer: &Bound<'_, PyAny>) -> usize {
        0
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self) -> Option<Py<PyBytes>> {
        None
    }

    fn __enter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __exit__(
        &self,
        _kind: Option<&Bound<'_, PyType>>,
        _value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) {
    }

    /// Does nothing: the next request without content has the same object.
    fn close(&self) {}

    #[getter]
    fn closed(&self) -> bool {
        false
    }

    fn readable(&self) -> bool {
        true
    }

    fn writable(&self) -> bool {
        false
    }

    fn seekable(&self) -> bool {
        false
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;
    use crate::testing;

    fn check(body: Body, code: &std::ffi::CStr) {
        Python::initialize();
        Python::attach(|py| {
            let inputs = Inputs::new(py).unwrap();
            let input = match inputs.open(py, body).unwrap() {
                Input::Empty => inputs.empty().as_any().clone(),
                Input::Memory(input) | Input::Spooled(input) => input,
            };
            testing::run_with(py, code, &[("input", &input)]);
        });
    }

    const EMPTY: &std::ffi::CStr = c"
import io
for _ in range(2):
    assert input.read() == input.read(10) == input.read(-1) == b''
    assert input.readline() == input.readline(10) == b''
    assert input.readlines() == input.readlines(10) == []
    assert list(input) == []
    input.close()
assert io.BufferedReader(input).read() == b''
try:
    input.cache = 1
except AttributeError:
    pass
else:
    raise AssertionError('dirtied')
";

    const TWO_LINES: &std::ffi::CStr = c"
assert input.read(2) == b'on'
assert input.readline() == b'e\\n'
assert input.readline(1) == b't'
assert input.readlines() == [b'wo']
assert input.read() == input.read(5) == input.readline() == b''
assert list(input) == []
input.close()
";

    #[test]
    fn empty_input_stays_empty() {
        check(Body::Empty, EMPTY);
    }

    #[test]
    fn memory_input_reads() {
        check(Body::Memory(b"one\ntwo".to_vec()), TWO_LINES);
    }

    #[test]
    fn spooled_input_reads() {
        let path = std::env::temp_dir().join(format!("ironhorn-input-{}", std::process::id()));
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(b"one\ntwo").unwrap();
        file.rewind().unwrap();
        check(Body::File { file, length: 7 }, TWO_LINES);
    }
}
