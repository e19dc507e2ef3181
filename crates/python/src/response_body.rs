//! The app's side of a response: what it returned, and everything that ends with it.
//!
//! Invariant: once the app has returned an iterable, its `close()` is called exactly once, however
//! the request ends (PEP 3333, "Specification Details"): [`ResponseBody`] calls it when it is
//! closed or dropped, and all that can happen to a request drops it.

use ironhorn_worker::{Chunks, Exchange, Failed, Stream};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyList, PyString, PyTuple};

use crate::ending::Ending;
use crate::errors::ErrorStream;
use crate::ffi::SentBytes;
use crate::forks;
use crate::hooks::Told;
use crate::slots::Lease;

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

    /// For who sends it without the interpreter.
    pub(crate) fn sent(self) -> SentBytes {
        SentBytes::new(self.0)
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
    iterator: Option<Bound<'py, PyIterator>>,
    ending: Ending<'py>,
}

impl<'py> ResponseBody<'py> {
    pub(crate) fn new(
        lease: Lease<'py>,
        environ: Bound<'py, PyDict>,
        spooled: Option<Bound<'py, PyAny>>,
        errors: Bound<'py, ErrorStream>,
        told: Option<Box<Told<'py>>>,
    ) -> Self {
        Self { lease, iterator: None, ending: Ending::new(environ, spooled, errors, told) }
    }

    fn py(&self) -> Python<'py> {
        self.ending.py()
    }

    /// What is left to be done when all that the app has made is sent.
    pub(crate) fn into_ending(mut self) -> Ending<'py> {
        self.ending.take()
    }

    /// Calls the app.
    pub(crate) fn call(
        &self,
        app: &Bound<'py, PyAny>,
        exchange: &mut dyn Exchange,
    ) -> PyResult<Bound<'py, PyAny>> {
        let args = (self.ending.environ(), self.lease.start_response());
        self.lease.slot().during(self.py(), exchange, || app.call1(args))
    }

    /// Gives the head to the worker. Whether the app has made one.
    pub(crate) fn hand_over_head(&mut self, exchange: &mut dyn Exchange) -> bool {
        let handed_over = self.lease.slot().hand_over(self.py(), exchange);
        if handed_over && let Some(told) = self.ending.told() {
            told.set_head(exchange.head());
        }
        handed_over
    }

    /// The app has failed: hooks are told of the head that was sent, if one was.
    pub(crate) fn keep_head(&mut self, exchange: &mut dyn Exchange) {
        if exchange.head_sent()
            && let Some(told) = self.ending.told()
        {
            told.set_head(exchange.head());
        }
    }

    /// Sees to it that what the app returned will be closed.
    pub(crate) fn adopt(&mut self, returned: &Bound<'py, PyAny>) -> PyResult<()> {
        self.ending.adopt(returned)
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
        self.ending.report(error, what, self.client_gone());
    }

    fn client_gone(&self) -> bool {
        self.lease.slot().client_gone(self.py())
    }

    /// Tells the access log what it wants to know of the environ, which the app may have added to.
    pub(crate) fn tell_access_log(&self, exchange: &mut dyn Exchange) {
        let Some(environ) = self.ending.environ() else { return };
        for index in 0..exchange.environ_atoms().len() {
            let name = &exchange.environ_atoms()[index];
            if let Ok(Some(value)) = environ.get_item(name) {
                exchange.set_environ_atom(index, value.to_string().into_bytes());
            }
        }
    }

    fn finish(&mut self) {
        let client_gone = self.client_gone();
        self.ending.close(client_gone);
        self.iterator = None;
        // Before the lease ends: the environ holds one of its callables.
        self.ending.end(client_gone);
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
