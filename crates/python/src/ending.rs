//! What ends with a response, whoever has sent it: the app's `close()`, a spooled body, the hooks.

use std::rc::Rc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::errors::ErrorStream;
use crate::hooks::{RequestHooks, Told, UnboundTold};
use crate::traceback;

/// All that is left to be done at the end of a response. Each part is done once.
pub(crate) struct Ending<'py> {
    /// Until the end.
    environ: Option<Bound<'py, PyDict>>,
    /// A `wsgi.input` that holds disk space.
    spooled: Option<Bound<'py, PyAny>>,
    /// What the app writes to between requests too.
    errors: Bound<'py, ErrorStream>,
    /// The iterable's `close`, until it is called.
    close: Option<Bound<'py, PyAny>>,
    /// What hooks are told when it is over.
    told: Option<Box<Told<'py>>>,
}

impl<'py> Ending<'py> {
    pub(crate) fn new(
        environ: Bound<'py, PyDict>,
        spooled: Option<Bound<'py, PyAny>>,
        errors: Bound<'py, ErrorStream>,
        told: Option<Box<Told<'py>>>,
    ) -> Self {
        Self { environ: Some(environ), spooled, errors, close: None, told }
    }

    pub(crate) fn py(&self) -> Python<'py> {
        self.errors.py()
    }

    /// None at the end.
    pub(crate) fn environ(&self) -> Option<&Bound<'py, PyDict>> {
        self.environ.as_ref()
    }

    /// What hooks are told, if there are any.
    pub(crate) fn told(&mut self) -> Option<&mut Told<'py>> {
        self.told.as_deref_mut()
    }

    /// Sees to it that what the app returned will be closed.
    pub(crate) fn adopt(&mut self, returned: &Bound<'py, PyAny>) -> PyResult<()> {
        self.close = returned.getattr_opt(intern!(returned.py(), "close"))?;
        Ok(())
    }

    /// All that is left to do; nothing is, here.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            environ: self.environ.take(),
            spooled: self.spooled.take(),
            errors: self.errors.clone(),
            close: self.close.take(),
            told: self.told.take(),
        }
    }

    /// Calls what the app wants to be called.
    pub(crate) fn close(&mut self, client_gone: bool) {
        if let Some(close) = self.close.take()
            && let Err(error) = close.call0()
        {
            self.report(&error, "close() failed", client_gone);
        }
    }

    /// Does the rest.
    pub(crate) fn end(&mut self, client_gone: bool) {
        if let Some(input) = self.spooled.take()
            && let Err(error) = input.call_method0(intern!(input.py(), "close"))
        {
            self.report(&error, "wsgi.input not closed", client_gone);
        }
        if let (Some(environ), Some(told)) = (self.environ.take(), self.told.take()) {
            told.end(&environ);
        }
        self.errors.get().emit(self.py());
    }

    /// Tells the log what the app has raised.
    pub(crate) fn report(&self, error: &PyErr, what: &str, client_gone: bool) {
        let py = self.py();
        let method = self.environ_text(intern!(py, "REQUEST_METHOD"));
        let target = self.environ_text(intern!(py, "RAW_URI"));
        let path = target.split('?').next().unwrap_or_default();
        if client_gone {
            log::debug!(method, path, error:%; "client gone");
        } else {
            log::error!(method, path, traceback = traceback::render(py, error); "{what}");
        }
    }

    fn environ_text(&self, key: &Bound<'py, PyString>) -> String {
        let value = self.environ.as_ref().and_then(|environ| environ.get_item(key).ok()?);
        value.map_or_else(String::new, |value| value.to_string())
    }

    /// For another thread.
    pub(crate) fn unbind(mut self) -> UnboundEnding {
        UnboundEnding {
            environ: self.environ.take().map(Bound::unbind),
            spooled: self.spooled.take().map(Bound::unbind),
            close: self.close.take().map(Bound::unbind),
            told: self.told.take().map(|told| told.unbind()),
        }
    }
}

/// An [`Ending`] on its way from one thread to another.
pub(crate) struct UnboundEnding {
    environ: Option<Py<PyDict>>,
    spooled: Option<Py<PyAny>>,
    close: Option<Py<PyAny>>,
    told: Option<UnboundTold>,
}

impl UnboundEnding {
    /// Does all that is left, with what the thread has for its own requests.
    pub(crate) fn finish<'py>(
        self,
        errors: &Bound<'py, ErrorStream>,
        hooks: Option<&Rc<RequestHooks<'py>>>,
    ) {
        let py = errors.py();
        let told = self.told.zip(hooks).map(|(told, hooks)| Box::new(told.bind(hooks)));
        let mut ending = Ending {
            environ: self.environ.map(|environ| environ.into_bound(py)),
            spooled: self.spooled.map(|spooled| spooled.into_bound(py)),
            errors: errors.clone(),
            close: self.close.map(|close| close.into_bound(py)),
            told,
        };
        // Whoever has sent the response has noticed, and said so.
        ending.close(false);
        ending.end(false);
    }
}
