//! The app's side of a response: what it returned, and everything that ends with it.
//!
//! Invariant: once the app has returned an iterable, its `close()` is called exactly once, however
//! the request ends (PEP 3333, "Specification Details"): [`ResponseBody`] calls it when it is
//! closed or dropped, and all that can happen to a request drops it.

use ironhorn_worker::{Chunks, Exchange, Failed, Stream};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyList, PyString, PyTuple};

use crate::errors::ErrorStream;
use crate::forks;
use crate::hooks::Told;
use crate::slots::Lease;
use crate::traceback;

/// A piece of a body: the very bytes object that the app made.
pub(crate) struct Chunk<'py>(Bound<'py, PyBytes>);

impl AsRef<[u8]> for Chunk<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl<'py> Chunk<'py> {
    /// Bytes that aren't the app's.
    pub(crate) fn of(py: Python<'py>, bytes: &[u8]) -> Self {
        Self(PyBytes::new(py, bytes))
    }

    /// Takes what an app has made for a chunk.
    fn new(made: Bound<'py, PyAny>) -> PyResult<Self> {
        match made.cast_into::<PyBytes>() {
            Ok(bytes) => Ok(Self(bytes)),
            Err(wrong) => {
                let found = wrong.into_inner().get_type().name()?;
                Err(PyTypeError::new_err(format!("a response body is made of bytes, not {found}")))
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.0.as_bytes().is_empty()
    }
}

/// The body of a list or tuple of bytes: nothing of the app has to run to know all of it, and
/// nothing of it wants closing. `None` for what has to be iterated over.
pub(crate) fn known_chunks<'py>(
    returned: &Bound<'py, PyAny>,
) -> PyResult<Option<Chunks<Chunk<'py>>>> {
    if let Ok(list) = returned.cast_exact::<PyList>() {
        collect(list.iter()).map(Some)
    } else if let Ok(tuple) = returned.cast_exact::<PyTuple>() {
        collect(tuple.iter()).map(Some)
    } else {
        Ok(None)
    }
}

fn collect<'py>(
    items: impl ExactSizeIterator<Item = Bound<'py, PyAny>>,
) -> PyResult<Chunks<Chunk<'py>>> {
    let mut chunks = Chunks::None;
    for item in items {
        let chunk = Chunk::new(item)?;
        if chunk.is_empty() {
            continue;
        }
        chunks = match chunks {
            Chunks::None => Chunks::One(chunk),
            Chunks::One(first) => Chunks::Many(vec![first, chunk]),
            Chunks::Many(mut many) => {
                many.push(chunk);
                Chunks::Many(many)
            }
        };
    }
    Ok(chunks)
}

/// A request from the call of the app to the end of its response.
pub(crate) struct ResponseBody<'py> {
    lease: Lease<'py>,
    /// Until the end.
    environ: Option<Bound<'py, PyDict>>,
    /// A `wsgi.input` that holds disk space.
    spooled: Option<Bound<'py, PyAny>>,
    /// What the app writes to between requests too.
    errors: Bound<'py, ErrorStream>,
    iterator: Option<Bound<'py, PyIterator>>,
    /// The iterable's `close`, until it is called.
    close: Option<Bound<'py, PyAny>>,
    /// What hooks are told when it is over.
    told: Option<Box<Told<'py>>>,
}

impl<'py> ResponseBody<'py> {
    pub(crate) fn new(
        lease: Lease<'py>,
        environ: Bound<'py, PyDict>,
        spooled: Option<Bound<'py, PyAny>>,
        errors: Bound<'py, ErrorStream>,
        told: Option<Box<Told<'py>>>,
    ) -> Self {
        Self { lease, environ: Some(environ), spooled, errors, iterator: None, close: None, told }
    }

    fn py(&self) -> Python<'py> {
        self.errors.py()
    }

    /// Calls the app.
    pub(crate) fn call(
        &self,
        app: &Bound<'py, PyAny>,
        exchange: &mut dyn Exchange,
    ) -> PyResult<Bound<'py, PyAny>> {
        let args = (self.environ.as_ref(), self.lease.start_response());
        self.lease.slot().during(self.py(), exchange, || app.call1(args))
    }

    /// Gives the head to the worker. Whether the app has made one.
    pub(crate) fn hand_over_head(&mut self, exchange: &mut dyn Exchange) -> bool {
        let handed_over = self.lease.slot().hand_over(self.py(), exchange);
        if handed_over && let Some(told) = &mut self.told {
            told.set_head(exchange.head());
        }
        handed_over
    }

    /// The app has failed: hooks are told of the head that was sent, if one was.
    pub(crate) fn keep_head(&mut self, exchange: &mut dyn Exchange) {
        if let Some(told) = &mut self.told
            && exchange.head_sent()
        {
            told.set_head(exchange.head());
        }
    }

    /// Sees to it that what the app returned will be closed.
    pub(crate) fn adopt(&mut self, returned: &Bound<'py, PyAny>) -> PyResult<()> {
        self.close = returned.getattr_opt(intern!(returned.py(), "close"))?;
        Ok(())
    }

    /// Starts to iterate over what the app returned, up to the first chunk that isn't empty, until
    /// which `start_response` may be called.
    pub(crate) fn start(
        &mut self,
        returned: &Bound<'py, PyAny>,
        exchange: &mut dyn Exchange,
    ) -> PyResult<Option<Chunk<'py>>> {
        let slot = self.lease.slot();
        let iterator = slot.during(self.py(), exchange, || iterate(returned))?;
        self.iterator = Some(iterator);
        self.next_chunk(exchange)
    }

    fn next_chunk(&mut self, exchange: &mut dyn Exchange) -> PyResult<Option<Chunk<'py>>> {
        let py = self.py();
        let Some(iterator) = &mut self.iterator else { return Ok(None) };
        let next = self.lease.slot().during(py, exchange, || {
            for made in iterator {
                let chunk = Chunk::new(made?)?;
                if !chunk.is_empty() {
                    return Ok(Some(chunk));
                }
            }
            Ok(None)
        });
        if forks::is_forked() {
            forks::leave(py, next.as_ref().err());
        }
        if !matches!(next, Ok(Some(_))) {
            self.iterator = None;
        }
        next
    }

    /// Tells the log what the app has raised.
    pub(crate) fn report(&self, error: &PyErr, what: &str) {
        let py = self.py();
        let method = self.environ_text(intern!(py, "REQUEST_METHOD"));
        let target = self.environ_text(intern!(py, "RAW_URI"));
        let path = target.split('?').next().unwrap_or_default();
        if self.lease.slot().client_gone(py) {
            log::debug!(method, path, error:%; "client gone");
        } else {
            log::error!(method, path, traceback = traceback::render(py, error); "{what}");
        }
    }

    /// Tells the access log what it wants to know of the environ, which the app may have added to.
    pub(crate) fn tell_access_log(&self, exchange: &mut dyn Exchange) {
        let Some(environ) = &self.environ else { return };
        for index in 0..exchange.environ_atoms().len() {
            let name = &exchange.environ_atoms()[index];
            if let Ok(Some(value)) = environ.get_item(name) {
                exchange.set_environ_atom(index, value.to_string().into_bytes());
            }
        }
    }

    fn environ_text(&self, key: &Bound<'py, PyString>) -> String {
        let value = self.environ.as_ref().and_then(|environ| environ.get_item(key).ok()?);
        value.map_or_else(String::new, |value| value.to_string())
    }

    fn finish(&mut self) {
        if let Some(close) = self.close.take()
            && let Err(error) = close.call0()
        {
            self.report(&error, "close() failed");
        }
        self.iterator = None;
        if let Some(input) = self.spooled.take()
            && let Err(error) = input.call_method0(intern!(input.py(), "close"))
        {
            self.report(&error, "wsgi.input not closed");
        }
        // Before the lease ends: the environ holds one of its callables.
        if let (Some(environ), Some(told)) = (self.environ.take(), self.told.take()) {
            told.end(&environ);
        }
        self.errors.get().emit(self.py());
    }
}

fn iterate<'py>(returned: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyIterator>> {
    // The first would fail anyway and the other two later, but not in as many words.
    let is_text = returned.is_instance_of::<PyBytes>() || returned.is_instance_of::<PyString>();
    if returned.is_none() || is_text {
        let found = returned.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "the app returned {found}, not an iterable of bytes such as [b\"...\"]"
        )));
    }
    returned.try_iter()
}

impl<'py> Stream for ResponseBody<'py> {
    type Chunk = Chunk<'py>;

    fn next(&mut self, exchange: &mut dyn Exchange) -> Result<Option<Chunk<'py>>, Failed> {
        self.next_chunk(exchange).map_err(|error| {
            self.report(&error, "app failed");
            Failed
        })
    }

    fn close(&mut self) {
        self.finish();
    }
}

impl Drop for ResponseBody<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}
