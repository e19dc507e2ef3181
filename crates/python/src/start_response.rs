//! What an app holds of its request: `start_response`, `write` and `wsgi.early_hints` (PEP 3333,
//! "The start_response() Callable").
//!
//! ```text
//!            start_response            write, or the server has the first chunk
//!   Unset ───────────────────► Set ─────────────────────────────────────────────► Sent
//!     ▲   ◄── a bad head ───┘   └┘ start_response with exc_info                     │
//!     └── next request ── Finished ◄────────────────────────────────────────────────┘
//! ```
//!
//! The three callables are methods bound to one [`Slot`]: builtins, which CPython calls without
//! making a tuple of the arguments. The head is checked and serialised as `start_response` gets it,
//! so that the app sees what is wrong with it where it is wrong.

use std::borrow::Cow;

use ironhorn_http::ResponseHead;
use ironhorn_http::headers::{is_field_value, is_hop_by_hop, is_token};
use ironhorn_worker::{Exchange, Gone};
use pyo3::exceptions::{
    PyAssertionError, PyConnectionAbortedError, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::ffi::Attached;
use crate::loan::Loan;

/// The app's side of one request. Used again for the next if the app has let go of it.
#[pyclass(frozen, module = "ironhorn", name = "Exchange")]
pub(crate) struct Slot {
    state: Attached<State>,
    loan: Loan,
}

struct State {
    phase: Phase,
    /// Holds the head while the phase is `Set`; else only room.
    head: ResponseHead,
    /// The slot's own `write`, which `start_response` returns. A reference cycle as long as it is
    /// there; see [`Slot::retire`].
    write: Option<Py<PyAny>>,
    /// The client has gone while the app was writing to it.
    client_gone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No request, or one that is over.
    Finished,
    /// A request whose app hasn't called `start_response`.
    Unset,
    /// There is a head, which can still be replaced.
    Set,
    /// The head has left for the worker.
    Sent,
}

impl State {
    /// Gives the head to the worker. Whether there was one, now or before.
    fn hand_over(&mut self, exchange: &mut dyn Exchange) -> bool {
        if self.phase == Phase::Set {
            std::mem::swap(&mut self.head, exchange.head());
            self.phase = Phase::Sent;
        }
        self.phase == Phase::Sent
    }
}

impl Slot {
    pub(crate) fn new(py: Python<'_>) -> PyResult<Bound<'_, Self>> {
        let state = State {
            phase: Phase::Finished,
            head: ResponseHead::default(),
            write: None,
            client_gone: false,
        };
        let slot = Bound::new(py, Self { state: Attached::new(state), loan: Loan::new() })?;
        let write = slot.getattr(intern!(py, "write"))?.unbind();
        slot.get().state.with(py, |state| state.write = Some(write));
        Ok(slot)
    }

    /// A new request.
    pub(crate) fn begin(&self, py: Python<'_>) {
        self.state.with(py, |state| {
            state.phase = Phase::Unset;
            state.client_gone = false;
        });
    }

    /// Runs a piece of the app, which can reach the client meanwhile.
    pub(crate) fn during<R>(
        &self,
        py: Python<'_>,
        exchange: &mut dyn Exchange,
        run: impl FnOnce() -> R,
    ) -> R {
        self.loan.during(py, exchange, run)
    }

    /// Gives the head to the worker. Whether there was one, now or before.
    pub(crate) fn hand_over(&self, py: Python<'_>, exchange: &mut dyn Exchange) -> bool {
        self.state.with(py, |state| state.hand_over(exchange))
    }

    /// Whether a `write` has told the app that its client is gone.
    pub(crate) fn client_gone(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.client_gone)
    }

    /// The request is over.
    pub(crate) fn finish(&self, py: Python<'_>) {
        self.state.with(py, |state| state.phase = Phase::Finished);
    }

    /// Calls `look` with `write` if the slot still has it.
    pub(crate) fn with_write<R>(
        &self,
        py: Python<'_>,
        look: impl FnOnce(&Bound<'_, PyAny>) -> R,
    ) -> Option<R> {
        self.state.with(py, |state| state.write.as_ref().map(|write| look(write.bind(py))))
    }

    /// No further request: lets go of `write`, which holds the slot.
    pub(crate) fn retire(&self, py: Python<'_>) {
        let write = self.state.with(py, |state| state.write.take());
        drop(write);
    }

    /// Starts the head anew.
    fn set_head(
        &self,
        status: &Bound<'_, PyString>,
        fields: &Bound<'_, PyList>,
        replace: bool,
    ) -> PyResult<Py<PyAny>> {
        let py = status.py();
        // Nothing in here runs Python code: the list and what is in it are looked at, not asked.
        self.state.with(py, |state| {
            match state.phase {
                Phase::Unset => {}
                Phase::Set if replace => {}
                Phase::Set | Phase::Sent => {
                    return Err(PyAssertionError::new_err(
                        "start_response was called already; again only with exc_info",
                    ));
                }
                Phase::Finished => return Err(finished("start_response")),
            }
            // Until the head is whole there is none.
            state.phase = Phase::Unset;
            state.head.set_status(&latin1_bytes(status, "the status")?).map_err(|error| {
                PyValueError::new_err(format!(
                    "start_response: {error}: {:?}",
                    status.to_string_lossy()
                ))
            })?;
            for field in fields {
                let (name, value) = pair(&field)?;
                let name = latin1_bytes(&name, "a header name")?;
                let value = latin1_bytes(&value, "a header value")?;
                state.head.push_field(&name, &value).map_err(|error| {
                    let (name, value) =
                        (String::from_utf8_lossy(&name), String::from_utf8_lossy(&value));
                    PyValueError::new_err(format!("start_response: {error}: {name:?}: {value:?}"))
                })?;
            }
            state.phase = Phase::Set;
            let write = state.write.as_ref().map(|write| write.clone_ref(py));
            write.ok_or_else(|| finished("start_response"))
        })
    }
}

#[pymethods]
impl Slot {
    /// Sets status and headers of the response; returns write(data).
    #[pyo3(signature = (status, headers, exc_info = None))]
    fn start_response(
        &self,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
        exc_info: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = status.py();
        if let Some(exc_info) = exc_info {
            let phase = self.state.with(py, |state| state.phase);
            if phase == Phase::Sent {
                return Err(raised(exc_info)?);
            }
        }
        let Ok(status) = status.cast::<PyString>() else {
            return Err(wrong_type("start_response takes the status as str", status));
        };
        self.set_head(status, &listed(headers)?, exc_info.is_some())
    }

    /// Sends data to the client at once, after the head if that isn't sent yet.
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
        let Ok(data) = data.cast::<PyBytes>() else {
            return Err(wrong_type("write() takes bytes", data));
        };
        match self.state.with(py, |state| state.phase) {
            Phase::Set | Phase::Sent => {}
            Phase::Unset => {
                return Err(PyAssertionError::new_err("write() comes after start_response"));
            }
            Phase::Finished => return Err(finished("write()")),
        }
        // The head waits for the first byte of the body.
        if data.as_bytes().is_empty() {
            return Ok(());
        }
        let written = self.loan.with(py, |exchange| {
            self.state.with(py, |state| state.hand_over(exchange));
            exchange.write_idling(data.as_bytes(), &mut |wait| py.detach(wait))
        });
        match written {
            Some(Ok(())) => Ok(()),
            Some(Err(Gone)) => {
                self.state.with(py, |state| state.client_gone = true);
                Err(PyConnectionAbortedError::new_err("the client has gone"))
            }
            None => Err(PyRuntimeError::new_err(
                "write() works on the thread that runs the app, while it runs it",
            )),
        }
    }

    /// Sends 103 Early Hints (RFC 8297) with these headers, unless the head is sent already or the
    /// client speaks HTTP/1.0.
    fn early_hints(&self, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = headers.py();
        let fields =
            listed(headers)?.iter().map(|field| hint(&field)).collect::<PyResult<Vec<_>>>()?;
        match self.state.with(py, |state| state.phase) {
            Phase::Unset | Phase::Set => {}
            Phase::Sent => return Ok(()),
            Phase::Finished => return Err(finished("early_hints")),
        }
        // Hints are no promise: without a client, or on another thread, there are none.
        let _ = self.loan.with(py, |exchange| exchange.interim(103, &fields));
        Ok(())
    }
}

/// Headers as the list that they should be; other iterables pass, as they do elsewhere.
fn listed<'py>(headers: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    match headers.cast::<PyList>() {
        Ok(list) => Ok(list.clone()),
        Err(_) => Ok(headers.py().get_type::<PyList>().call1((headers,))?.cast_into()?),
    }
}

/// A header as two str.
fn pair<'py>(field: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyString>, Bound<'py, PyString>)> {
    let (name, value) = if let Ok(tuple) = field.cast::<PyTuple>()
        && tuple.len() == 2
    {
        (tuple.get_item(0)?, tuple.get_item(1)?)
    } else if let Ok(list) = field.cast::<PyList>()
        && list.len() == 2
    {
        (list.get_item(0)?, list.get_item(1)?)
    } else {
        return Err(wrong_type("a header is a tuple of two str", field));
    };
    match (name.cast_into::<PyString>(), value.cast_into::<PyString>()) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        (Err(wrong), _) | (_, Err(wrong)) => {
            Err(wrong_type("a header is a tuple of two str", &wrong.into_inner()))
        }
    }
}

/// A field of 103, checked here since the app can be told here.
fn hint(field: &Bound<'_, PyAny>) -> PyResult<(Vec<u8>, Vec<u8>)> {
    let (name, value) = pair(field)?;
    let name = latin1_bytes(&name, "a header name")?.into_owned();
    let value = latin1_bytes(&value, "a header value")?.into_owned();
    let is_allowed = !is_hop_by_hop(&name) && !name.eq_ignore_ascii_case(b"content-length");
    if is_token(&name) && is_field_value(&value) && is_allowed {
        return Ok((name, value));
    }
    let (name, value) = (String::from_utf8_lossy(&name), String::from_utf8_lossy(&value));
    Err(PyValueError::new_err(format!("early_hints: not a header for hints: {name:?}: {value:?}")))
}

/// A native string as the bytes that it stands for (PEP 3333, "Unicode Issues").
fn latin1_bytes<'a>(text: &'a Bound<'_, PyString>, what: &str) -> PyResult<Cow<'a, [u8]>> {
    let not_latin1 = || {
        let shown = text.to_string_lossy().into_owned();
        PyValueError::new_err(format!("{what} is not latin-1: {shown:?}"))
    };
    let utf8 = text.to_str().map_err(|_| not_latin1())?;
    if utf8.is_ascii() {
        return Ok(Cow::Borrowed(utf8.as_bytes()));
    }
    let bytes: Option<Vec<u8>> = utf8.chars().map(|char| u8::try_from(char).ok()).collect();
    bytes.map(Cow::Owned).ok_or_else(not_latin1)
}

/// What exc_info says was raised, with its traceback, to be raised again.
fn raised(exc_info: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let py = exc_info.py();
    let exc_info = exc_info
        .cast::<PyTuple>()
        .map_err(|_| wrong_type("exc_info is a tuple as of sys.exc_info()", exc_info))?;
    let value = exc_info.get_item(1)?;
    if value.is_none() {
        return Err(PyAssertionError::new_err("the head is sent and exc_info has no exception"));
    }
    let traceback = exc_info.get_item(2)?;
    Ok(PyErr::from_value(value.call_method1(intern!(py, "with_traceback"), (traceback,))?))
}

fn wrong_type(expected: &str, found: &Bound<'_, PyAny>) -> PyErr {
    match found.get_type().name() {
        Ok(found) => PyTypeError::new_err(format!("{expected}, not {found}")),
        Err(error) => error,
    }
}

fn finished(what: &str) -> PyErr {
    PyRuntimeError::new_err(format!("{what} was called after the end of its request"))
}
