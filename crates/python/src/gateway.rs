//! Calls the app: a request becomes an environ, what the app returns becomes a reply.
//!
//! A worker attaches to the interpreter once, for its whole life, and lets go of it only while it
//! waits for events. The gateway's lifetime is that of the attachment, so the references that it
//! and the replies hold need neither counting on the side nor attaching again.
//!
//! No exception leaves the gateway: the app's errors end up in the log, with the traceback, and as
//! [`Reply::Failed`]. That holds for `SystemExit` and `KeyboardInterrupt` too; an app doesn't
//! decide when a worker ends.

use std::os::fd::BorrowedFd;
use std::rc::Rc;

use ironhorn_unix::{BoardLane, Local};
use ironhorn_worker::{Application, Body, Chunks, Exchange, Reply, Request};
use pyo3::exceptions::PyAssertionError;
use pyo3::intern;
use pyo3::prelude::*;

use crate::apps::{Apps, Chosen};
use crate::client_disconnected::ClientDisconnected;
use crate::ending::UnboundEnding;
use crate::environ::{Constants, EnvironError, Environs, HeaderMap, Visible};
use crate::errors::ErrorStream;
use crate::extend_timeout::ExtendTimeout;
use crate::file_wrapper::FileWrapper;
use crate::forks;
use crate::hooks::RequestHooks;
use crate::input::{Input, Inputs};
use crate::interrupts::{self, Interrupts};
use crate::response_body::{Chunk, ResponseBody, known_chunks};
use crate::slots::Slots;
use crate::traceback;

/// What a gateway has to know.
#[derive(Clone, Debug)]
pub(crate) struct GatewayOptions {
    /// Whether other workers may run the app at the same time: `wsgi.multiprocess`.
    pub(crate) multiprocess: bool,
    /// Whether other threads of the worker may: `wsgi.multithread`.
    pub(crate) multithread: bool,
    /// What becomes of fields whose name has an underscore.
    pub(crate) header_map: HeaderMap,
    /// Which fields are hidden from the app.
    pub(crate) visible: Visible,
    /// Where the worker's listeners are bound, in the worker's order.
    pub(crate) listeners: Vec<Local>,
    /// Where the app runs.
    pub(crate) lane: BoardLane,
}

/// The app of one worker, ready to be called.
pub(crate) struct Gateway<'py> {
    py: Python<'py>,
    apps: Apps<'py>,
    environs: Environs<'py>,
    inputs: Inputs<'py>,
    errors: Bound<'py, ErrorStream>,
    slots: Slots<'py>,
    /// None if there are no hooks for requests.
    hooks: Option<Rc<RequestHooks<'py>>>,
    /// None off the main thread, which is the one that signals reach.
    interrupts: Option<Interrupts<'py>>,
}

impl<'py> Gateway<'py> {
    /// Makes everything that requests share, before the first comes.
    pub(crate) fn new(
        py: Python<'py>,
        apps: impl Into<Apps<'py>>,
        options: &GatewayOptions,
    ) -> PyResult<Self> {
        let inputs = Inputs::new(py)?;
        let errors = Bound::new(py, ErrorStream::new())?;
        let constants = Constants {
            errors: errors.as_any().clone(),
            file_wrapper: py.get_type::<FileWrapper>().into_any(),
            empty_input: inputs.empty().as_any().clone(),
            extend_timeout: Bound::new(py, ExtendTimeout::new(options.lane.clone()))?.into_any(),
            client_disconnected: Bound::new(py, ClientDisconnected)?.into_any(),
            multiprocess: options.multiprocess,
            multithread: options.multithread,
        };
        let GatewayOptions { listeners, header_map, visible, .. } = options;
        let environs = Environs::new(py, listeners, *header_map, visible.clone(), &constants)?;
        Ok(Self {
            py,
            apps: apps.into(),
            environs,
            inputs,
            errors,
            slots: Slots::new(),
            hooks: None,
            interrupts: if options.multithread { None } else { Interrupts::watch_here(py)? },
        })
    }

    /// Calls these around each request.
    pub(crate) fn with_hooks(self, hooks: Option<Rc<RequestHooks<'py>>>) -> Self {
        Self { hooks, ..self }
    }

    /// Ends a response that another thread has left.
    pub(crate) fn finish(&self, rest: UnboundEnding) {
        rest.finish(&self.errors, self.hooks.as_ref());
    }

    /// Picks the app and gets everything ready that it is called with.
    fn prepare(
        &mut self,
        request: &Request<'_>,
        body: Body,
    ) -> Result<(Chosen, ResponseBody<'py>), Unprepared> {
        let py = self.py;
        let chosen = self.apps.find(request).ok_or(Unprepared::NoApp)?;
        let content_length = match &body {
            Body::Empty => 0,
            Body::Memory(content) => content.len() as u64,
            Body::File { length, .. } => *length,
        };
        let shifted = self.apps.shifted(chosen)?;
        let environ = self.environs.build(request, content_length, shifted.as_ref())?;
        let spooled = match self.inputs.open(py, body)? {
            Input::Empty => None,
            Input::Memory(input) => {
                environ.set_item(intern!(py, "wsgi.input"), input)?;
                None
            }
            Input::Spooled(input) => {
                environ.set_item(intern!(py, "wsgi.input"), &input)?;
                Some(input)
            }
        };
        let lease = self.slots.lease(py)?;
        environ.set_item(intern!(py, "wsgi.early_hints"), lease.early_hints())?;
        let told = self.hooks.as_ref().map(|hooks| Box::new(hooks.begin(&environ)));
        let response = ResponseBody::new(lease, environ, spooled, self.errors.clone(), told);
        Ok((chosen, response))
    }
}

/// Why no app is called.
enum Unprepared {
    /// None is mounted where the path leads.
    NoApp,
    Environ(EnvironError),
}

impl<E: Into<EnvironError>> From<E> for Unprepared {
    fn from(error: E) -> Self {
        Self::Environ(error.into())
    }
}

impl<'py> Application for Gateway<'py> {
    type Chunk = Chunk<'py>;
    type Stream = ResponseBody<'py>;

    fn call(
        &mut self,
        request: &Request<'_>,
        body: Body,
        exchange: &mut dyn Exchange,
    ) -> Reply<Chunk<'py>, ResponseBody<'py>> {
        let (chosen, mut response) = match self.prepare(request, body) {
            Ok(prepared) => prepared,
            Err(Unprepared::NoApp) => return not_found(self.py, exchange),
            Err(Unprepared::Environ(EnvironError::Underscore)) => return refuse(exchange),
            Err(Unprepared::Environ(EnvironError::Python(error))) => {
                let path = String::from_utf8_lossy(request.head.path());
                let traceback = traceback::render(self.py, &error);
                log::error!(method = request.head.method, path:%, traceback; "request not run");
                return Reply::Failed;
            }
        };
        let answer = run(self.apps.app(chosen), &mut response, exchange);
        if forks::is_forked() {
            forks::leave(self.py, answer.as_ref().err());
        }
        match answer {
            Ok(answer) => {
                response.tell_access_log(exchange);
                answer.into_reply(response)
            }
            Err(error) => {
                response.report(&error, "app failed");
                response.keep_head(exchange);
                response.tell_access_log(exchange);
                Reply::Failed
            }
        }
    }

    fn while_idle<T: Send>(&mut self, wait: impl FnOnce() -> T + Send) -> T {
        self.py.detach(wait)
    }

    fn interrupts(&self) -> Option<BorrowedFd<'_>> {
        self.interrupts.as_ref().map(Interrupts::descriptor)
    }

    fn interrupted(&mut self) {
        interrupts::run_handlers(self.py, self.interrupts.as_mut());
    }
}

/// What the app answered, apart from what ends with the request.
enum Answer<'py> {
    Known(Chunks<Chunk<'py>>),
    File(crate::file_wrapper::PlainFile),
    Iterated(Option<Chunk<'py>>),
}

impl<'py> Answer<'py> {
    fn into_reply(self, rest: ResponseBody<'py>) -> Reply<Chunk<'py>, ResponseBody<'py>> {
        match self {
            Self::Known(chunks) => Reply::Complete(chunks),
            Self::File(plain) => {
                Reply::File { file: plain.file, offset: plain.offset, length: plain.length, rest }
            }
            Self::Iterated(first) => Reply::Stream { first, rest },
        }
    }
}

/// Runs the app until its head and the first of its body are there.
fn run<'py>(
    app: &Bound<'py, PyAny>,
    response: &mut ResponseBody<'py>,
    exchange: &mut dyn Exchange,
) -> PyResult<Answer<'py>> {
    let returned = response.call(app, exchange)?;
    let answer = if let Some(chunks) = known_chunks(&returned)? {
        Answer::Known(chunks)
    } else {
        response.adopt(&returned)?;
        let wrapper = returned.cast_exact::<FileWrapper>();
        match wrapper.ok().and_then(|wrapper| wrapper.get().plain_file(returned.py())) {
            Some(plain) => Answer::File(plain),
            None => Answer::Iterated(response.start(&returned, exchange)?),
        }
    };
    if response.hand_over_head(exchange) {
        Ok(answer)
    } else {
        Err(PyAssertionError::new_err("the app didn't call start_response"))
    }
}

/// Answers a request that no app is there for.
fn not_found<'py>(
    py: Python<'py>,
    exchange: &mut dyn Exchange,
) -> Reply<Chunk<'py>, ResponseBody<'py>> {
    let head = exchange.head();
    head.set_status(b"404 Not Found")
        .and_then(|()| head.push_field(b"Content-Type", b"text/plain; charset=utf-8"))
        .expect("invariant: our own head is well-formed");
    Reply::Complete(Chunks::One(Chunk::of(py, b"Not Found\n")))
}

/// Answers a request that breaks [`HeaderMap::Refuse`].
fn refuse<'py>(exchange: &mut dyn Exchange) -> Reply<Chunk<'py>, ResponseBody<'py>> {
    log::debug!("refused: a field name has an underscore");
    exchange.head().set_status(b"400 Bad Request").expect("invariant: a valid status");
    exchange.close_after();
    Reply::Complete(Chunks::None)
}

/// Sorts what was imported into the generation that is collected last, and keeps it out of the
/// collector's sight: the app lives as long as the worker, and going through it again and again
/// would cost time and, after a fork, memory.
pub(crate) fn freeze(py: Python<'_>) -> PyResult<()> {
    let gc = py.import("gc")?;
    gc.call_method0("collect")?;
    gc.call_method0("freeze")?;
    Ok(())
}

#[cfg(test)]
mod tests;
