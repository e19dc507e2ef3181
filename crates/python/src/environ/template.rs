//! The part of an environ that is the same for every request of a listener.

use ironhorn_unix::Local;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString};

/// The objects that every environ of a worker shares.
pub(crate) struct Constants<'py> {
    /// `wsgi.errors`
    pub(crate) errors: Bound<'py, PyAny>,
    /// `wsgi.file_wrapper`
    pub(crate) file_wrapper: Bound<'py, PyAny>,
    /// `wsgi.input` of a request without content
    pub(crate) empty_input: Bound<'py, PyAny>,
    /// `ironhorn.extend_timeout`
    pub(crate) extend_timeout: Bound<'py, PyAny>,
    /// `ironhorn.client_disconnected`
    pub(crate) client_disconnected: Bound<'py, PyAny>,
    /// Whether the server may run the app in another process at the same time.
    pub(crate) multiprocess: bool,
    /// Whether it may in another thread.
    pub(crate) multithread: bool,
}

/// The largest number of keys of a dict with 32 slots; see [`with_room`].
const SMALL: usize = 21;

/// Makes the dict that a listener's environs are copies of.
pub(super) fn template<'py>(
    py: Python<'py>,
    local: &Local,
    constants: &Constants<'py>,
) -> PyResult<Bound<'py, PyDict>> {
    let text = |text: &str| PyString::intern(py, text).into_any();
    let flag = |flag: bool| PyBool::new(py, flag).to_owned().into_any();
    let (name, port) = match local {
        Local::Inet(address) => (server_name(address), address.port().to_string()),
        // For what Host doesn't say.
        Local::Unix(_) | Local::Abstract(_) => ("localhost".to_owned(), "80".to_owned()),
    };
    with_room(
        py,
        &[
            ("REQUEST_METHOD", text("GET")),
            ("SCRIPT_NAME", text("")),
            ("QUERY_STRING", text("")),
            ("SERVER_NAME", text(&name)),
            ("SERVER_PORT", text(&port)),
            ("SERVER_PROTOCOL", text("HTTP/1.1")),
            ("SERVER_SOFTWARE", text(concat!("ironhorn/", env!("CARGO_PKG_VERSION")))),
            ("REMOTE_ADDR", text("")),
            ("wsgi.version", (1, 0).into_pyobject(py)?.into_any()),
            ("wsgi.url_scheme", text("http")),
            ("wsgi.input", constants.empty_input.clone()),
            ("wsgi.errors", constants.errors.clone()),
            ("wsgi.multithread", flag(constants.multithread)),
            ("wsgi.multiprocess", flag(constants.multiprocess)),
            ("wsgi.run_once", flag(false)),
            ("wsgi.file_wrapper", constants.file_wrapper.clone()),
            ("wsgi.input_terminated", flag(true)),
            ("ironhorn.client_disconnected", constants.client_disconnected.clone()),
            ("ironhorn.extend_timeout", constants.extend_timeout.clone()),
        ],
    )
}

/// An IPv6 address has brackets in SERVER_NAME (RFC 3875 §4.1.14), so that an app can put a URL
/// together (PEP 3333, "URL Reconstruction").
fn server_name(address: &std::net::SocketAddr) -> String {
    match address {
        std::net::SocketAddr::V4(address) => address.ip().to_string(),
        std::net::SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

/// Makes a dict whose copies have room for a request's fields without being rehashed.
///
/// CPython copies a dict that was not much deleted from as one block of memory, unused slots
/// included, and gives a full dict of `n` keys at least `3 * n` slots. So the dict is filled up to
/// the brim of 32 slots, what filled it is deleted, and the last key makes it grow to 64 slots, of
/// which 42 can be used: the constants, what every request has, and 18 fields beside Host, which is more
/// than a browser behind a proxy sends. Each further constant costs one of these; the next size, 128
/// slots, would have every request copy twice as much, for the few with more fields, whose dict is
/// rehashed once. An interpreter that does it another way only loses the room.
fn with_room<'py>(
    py: Python<'py>,
    items: &[(&str, Bound<'py, PyAny>)],
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let (last, others) = items.split_last().expect("invariant: there are constants");
    for (key, value) in others {
        dict.set_item(PyString::intern(py, key), value)?;
    }
    let fill: Vec<_> =
        (others.len()..SMALL).map(|number| PyString::new(py, &format!("fill.{number}"))).collect();
    for key in &fill {
        dict.set_item(key, intern!(py, ""))?;
    }
    for key in &fill {
        dict.del_item(key)?;
    }
    let (key, value) = last;
    dict.set_item(PyString::intern(py, key), value)?;
    Ok(dict)
}
