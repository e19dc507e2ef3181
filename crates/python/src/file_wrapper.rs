//! `wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling").
//!
//! An app that returns the wrapper over a real file lets the kernel send it. Only files whose
//! bytes are the descriptor's are taken that way: many file-like objects answer `fileno()` with the
//! descriptor of something that they transform (`gzip.GzipFile`), so the type is asked, not the
//! method. Everything else is read in blocks.

use std::fs::File;
use std::os::fd::{OwnedFd, RawFd};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;

use crate::ffi;

/// How much is read at once if the app doesn't say: what wsgiref has.
const BLOCK_SIZE: usize = 8192;

/// A file-like object as an iterable of its blocks.
#[pyclass(frozen, module = "ironhorn")]
pub(crate) struct FileWrapper {
    filelike: Py<PyAny>,
    block_size: usize,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, blksize = BLOCK_SIZE))]
    fn new(filelike: &Bound<'_, PyAny>, blksize: usize) -> PyResult<Self> {
        if blksize == 0 {
            return Err(PyValueError::new_err("a file wrapper's block size is at least 1"));
        }
        if !filelike.hasattr(intern!(filelike.py(), "read"))? {
            let found = filelike.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "a file wrapper takes an object with read(), not {found}"
            )));
        }
        Ok(Self { filelike: filelike.clone().unbind(), block_size: blksize })
    }

    #[getter]
    fn filelike(&self, py: Python<'_>) -> Py<PyAny> {
        self.filelike.clone_ref(py)
    }

    #[getter]
    fn blksize(&self) -> usize {
        self.block_size
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let block = self.filelike.bind(py).call_method1(intern!(py, "read"), (self.block_size,))?;
        Ok(if block.is_truthy()? { Some(block) } else { None })
    }

    /// Closes the file if it can be closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(close) = self.filelike.bind(py).getattr_opt(intern!(py, "close"))? {
            close.call0()?;
        }
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.filelike)
    }
}

/// A regular file that the kernel can send.
pub(crate) struct PlainFile {
    pub(crate) file: OwnedFd,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl FileWrapper {
    /// The wrapped file from its current position to its end, if it is a plain one.
    pub(crate) fn plain_file(&self, py: Python<'_>) -> Option<PlainFile> {
        // An error means that the file isn't plain; reading it tells the app what is wrong.
        self.find_plain_file(py).ok().flatten()
    }

    fn find_plain_file(&self, py: Python<'_>) -> PyResult<Option<PlainFile>> {
        let filelike = self.filelike.bind(py);
        if !is_plain(filelike)? {
            return Ok(None);
        }
        // What was written and not flushed is not in the file yet.
        filelike.call_method0(intern!(py, "flush"))?;
        let offset: u64 = filelike.call_method0(intern!(py, "tell"))?.extract()?;
        let fd: RawFd = filelike.call_method0(intern!(py, "fileno"))?.extract()?;
        let file = File::from(ffi::duplicate(fd)?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let length = metadata.len().saturating_sub(offset);
        Ok(Some(PlainFile { file: file.into(), offset, length }))
    }
}

/// Whether a file's bytes are those of its descriptor: an `io.FileIO`, or one of the buffers that
/// `open` puts over it.
fn is_plain(filelike: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = filelike.py();
    let io = py.import(intern!(py, "io"))?;
    let file_io = io.getattr(intern!(py, "FileIO"))?;
    if filelike.is_exact_instance(&file_io) {
        return Ok(true);
    }
    let is_buffer = filelike.is_exact_instance(&io.getattr(intern!(py, "BufferedReader"))?)
        || filelike.is_exact_instance(&io.getattr(intern!(py, "BufferedRandom"))?);
    Ok(is_buffer && filelike.getattr(intern!(py, "raw"))?.is_exact_instance(&file_io))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn wrapper<'py>(py: Python<'py>, code: &std::ffi::CStr) -> Bound<'py, FileWrapper> {
        let kind = py.get_type::<FileWrapper>();
        let globals = testing::run_with(py, code, &[("FileWrapper", kind.as_any())]);
        globals.get_item("wrapper").unwrap().unwrap().cast_into().unwrap()
    }

    #[test]
    fn a_wrapper_reads_blocks() {
        Python::initialize();
        Python::attach(|py| {
            wrapper(
                py,
                c"
import io
buffer = io.BytesIO(b'12345')
wrapper = FileWrapper(buffer, 2)
assert iter(wrapper) is wrapper
assert list(wrapper) == [b'12', b'34', b'5']
assert wrapper.filelike is buffer and wrapper.blksize == 2
wrapper.close()
assert buffer.closed
class Endless:
    read = staticmethod(lambda size: b'x' * size)
assert len(next(FileWrapper(Endless()))) == 8192
FileWrapper(Endless()).close()
for wrong in (Endless(), 0), (object(),):
    try:
        FileWrapper(*wrong)
    except (TypeError, ValueError):
        pass
    else:
        raise AssertionError(wrong)
",
            );
        });
    }

    #[test]
    fn a_real_file_is_plain_from_where_it_stands() {
        Python::initialize();
        Python::attach(|py| {
            let wrapper = wrapper(
                py,
                c"
import tempfile
file = tempfile.TemporaryFile()
file.write(b'0123456789')
file.seek(0)
file.read(4)
wrapper = FileWrapper(file)
",
            );
            let plain = wrapper.get().plain_file(py).unwrap();
            assert_eq!((plain.offset, plain.length), (4, 6));
            assert_eq!(File::from(plain.file).metadata().unwrap().len(), 10);
        });
    }

    #[test]
    fn what_only_looks_like_a_file_is_not_plain() {
        Python::initialize();
        Python::attach(|py| {
            for code in [
                c"import io; wrapper = FileWrapper(io.BytesIO(b'x'))",
                c"import gzip, sys; wrapper = FileWrapper(gzip.open(sys.executable or __import__('os').__file__))",
                c"import os; wrapper = FileWrapper(open(os.__file__))",
                c"import os; wrapper = FileWrapper(open('/dev/null', 'rb'))",
                c"import os; r, w = os.pipe(); os.close(w); wrapper = FileWrapper(open(r, 'rb'))",
                c"import os; f = open(os.__file__, 'rb'); f.close(); wrapper = FileWrapper(f)",
            ] {
                assert!(wrapper(py, code).get().plain_file(py).is_none(), "{code:?}");
            }
        });
    }
}
