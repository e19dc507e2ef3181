//! The few calls into CPython's C API and the few promises to the compiler that PyO3 has no safe
//! form of.
//!
//! | What | Why not the safe way |
//! |---|---|
//! | [`latin1`] | `PyString::new` takes UTF-8: two passes over bytes that PEP 3333 calls latin-1 |
//! | [`reference_count`] | PyO3 names `Py_REFCNT` as its own replacement |
//! | [`duplicate`] | a Python file names its descriptor by number |
//! | [`is_disconnected`] | no borrow of the connection can pass through Python code |
//! | [`SentBytes`] | a `Bound` can't be read without the GIL, and a copy costs what is to be saved |
//! | [`Attached`] | a `Mutex` costs two atomic operations where the GIL excludes others already |
//! | [`Loan`](crate::loan::Loan) | a borrow can't pass through Python code |
//!
//! The crate's other unsafe modules are `loan` and `fork_hooks`.

use std::cell::RefCell;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

// `Attached` leans on the GIL. An object's header has twice the size where there is none.
const _: () = assert!(
    size_of::<ffi::PyObject>() == 2 * size_of::<usize>(),
    "free-threaded builds of Python are not supported"
);

/// Makes a str of bytes, each one code point (PEP 3333, "Unicode Issues").
pub(crate) fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let length = ffi::Py_ssize_t::try_from(bytes.len()).expect("invariant: a slice fits isize");
    // SAFETY: `py` proves that this thread is attached; pointer and length are one slice's, which
    // is only read, and only during the call; a null error policy means "strict".
    let text =
        unsafe { ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), length, std::ptr::null()) };
    // SAFETY: the call returns a new reference, or null with an exception set.
    let text = unsafe { Bound::from_owned_ptr_or_err(py, text) }?;
    // SAFETY: what the call returns is an exact str.
    Ok(unsafe { text.cast_into_unchecked() })
}

/// How many references there are to an object.
pub(crate) fn reference_count<T>(object: &Bound<'_, T>) -> isize {
    // SAFETY: a `Bound` points to a live object, and its thread is attached.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

/// Duplicates a descriptor that a Python file has named by number.
pub(crate) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the number isn't -1. The caller holds the file that it is from and the GIL, so
    // nothing closes it meanwhile; if the file lied, the kernel answers EBADF and nothing is read
    // or written through it.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    fd.try_clone_to_owned()
}

/// Whether the peer of a connection sends no more. The number is one of
/// [`running_connection`](crate::loan::running_connection).
pub(crate) fn is_disconnected(connection: RawFd) -> bool {
    if connection < 0 {
        return true;
    }
    // SAFETY: the number isn't -1, and the descriptor is open: whoever runs the app on this thread
    // holds the connection until the app returns, and this is called from within.
    let connection = unsafe { BorrowedFd::borrow_raw(connection) };
    ironhorn_unix::is_disconnected(connection)
}

/// A bytes object that can be read without being attached to the interpreter, on any thread.
#[derive(Debug)]
pub(crate) struct SentBytes {
    /// What keeps the memory; let go of on whatever thread, it is freed by the next that attaches.
    _object: Py<PyBytes>,
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is that of a bytes object, which nobody changes or moves while there is a
// reference to it, and `_object` is one. The reference itself may be dropped on any thread.
unsafe impl Send for SentBytes {}

impl SentBytes {
    pub(crate) fn new(bytes: Bound<'_, PyBytes>) -> Self {
        let content = bytes.as_bytes();
        let (start, length) = (NonNull::from(content).cast(), content.len());
        Self { _object: bytes.unbind(), start, length }
    }
}

impl AsRef<[u8]> for SentBytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: pointer and length are those of the object's content, which stays where and what
        // it is as long as `_object` is there, that is as long as `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

/// A value that is only touched by the thread which is attached to the interpreter.
pub(crate) struct Attached<T>(RefCell<T>);

// SAFETY: the value is reached only through `with`, whose `Python` token proves that the calling
// thread holds the GIL (the assertion above refuses builds without one) and keeps holding it until
// the borrow is over, since a token can't be carried into `Python::detach`. So no two threads are
// in the cell at once, and `T: Send` allows them to be there in turn.
unsafe impl<T: Send> Sync for Attached<T> {}

impl<T> Attached<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    /// Gives access to the value. `access` must run no Python code that could come back here.
    pub(crate) fn with<R>(&self, _py: Python<'_>, access: impl FnOnce(&mut T) -> R) -> R {
        access(&mut self.0.borrow_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latin1_maps_each_byte_to_one_code_point() {
        Python::initialize();
        Python::attach(|py| {
            let all: Vec<u8> = (0..=255).collect();
            let text = latin1(py, &all).unwrap();
            let expected: String = all.iter().map(|&byte| char::from(byte)).collect();
            assert_eq!(text.to_str().unwrap(), expected);
            assert_eq!(latin1(py, b"").unwrap().to_str().unwrap(), "");
        });
    }

    #[test]
    fn reference_count_sees_a_second_reference() {
        Python::initialize();
        Python::attach(|py| {
            let object = PyBytes::new(py, b"neither empty nor one byte");
            assert_eq!(reference_count(&object), 1);
            let second = object.clone();
            assert_eq!(reference_count(&object), 2);
            drop(second);
            assert_eq!(reference_count(&object), 1);
        });
    }

    #[test]
    fn bytes_outlive_the_attachment() {
        Python::initialize();
        let sent = Python::attach(|py| SentBytes::new(PyBytes::new(py, &[b'x'; 1000])));
        let read = std::thread::spawn(move || sent.as_ref().to_vec()).join().unwrap();
        assert_eq!(read, [b'x'; 1000]);
        Python::attach(|py| {
            let bytes = PyBytes::new(py, b"neither empty nor one byte");
            let sent = SentBytes::new(bytes.clone());
            assert_eq!(reference_count(&bytes), 2);
            py.detach(|| drop(sent));
            assert_eq!(reference_count(&bytes), 1);
        });
    }

    #[test]
    fn duplicate_refuses_what_is_no_descriptor() {
        assert!(duplicate(-1).is_err());
        assert!(duplicate(RawFd::MAX).is_err());
        assert!(duplicate(0).is_ok());
    }

    #[test]
    fn attached_gives_access_in_turn() {
        Python::initialize();
        let cell = Attached::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        Python::attach(|py| cell.with(py, |value| *value += 1));
                    }
                });
            }
        });
        Python::attach(|py| cell.with(py, |value| assert_eq!(*value, 400)));
    }
}
