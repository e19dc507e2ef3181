//! An app on several threads: what each of them is given, and what the main thread does meanwhile.
//!
//! Every thread has a gateway of its own, so that nothing of a request is shared: its environs,
//! slots, caches and hooks are its own, and only what is made for another thread (the bytes of a
//! response, and what is left to do at its end) leaves it, in a form that can.

use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use ironhorn_unix::BoardSlot;
use ironhorn_worker::{
    Application, Body, Chunks, Exchange, Failed, MainThread, Reply, Request, Seat, Stream,
    ThreadApplication,
};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

use crate::apps::Apps;
use crate::ending::UnboundEnding;
use crate::errors::ErrorStream;
use crate::ffi::SentBytes;
use crate::gateway::{Gateway, GatewayOptions};
use crate::hooks::{Hooks, RequestHooks};
use crate::interrupts::{self, Interrupts};
use crate::response_body::{Chunk, ResponseBody};
use crate::traceback;

/// What every app thread of a worker is made from.
pub(crate) struct Plan {
    /// With the prefixes of their paths.
    pub(crate) apps: Vec<(String, Py<PyAny>)>,
    /// But for the lane, which is the thread's own.
    pub(crate) options: GatewayOptions,
    pub(crate) slot: BoardSlot,
    pub(crate) hooks: Hooks,
}

impl Plan {
    /// Is an app thread, to its end.
    fn enter(&self, py: Python<'_>, seat: Seat<SentBytes, UnboundEnding>) {
        match self.gateway(py, seat.index()) {
            Ok(gateway) => seat.serve(ThreadGateway(gateway)),
            Err(error) => {
                log::error!(traceback = traceback::render(py, &error); "cannot set up the gateway");
                seat.give_up(format!("no gateway: {error}"));
            }
        }
    }

    fn gateway<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Gateway<'py>> {
        let options = GatewayOptions { lane: self.slot.lane(index), ..self.options.clone() };
        let loaded = self.apps.iter().map(|(prefix, app)| (prefix.clone(), app.bind(py).clone()));
        let gateway = Gateway::new(py, Apps::new(loaded.collect())?, &options)?;
        Ok(gateway.with_hooks(RequestHooks::of(py, &self.hooks)))
    }
}

/// A gateway whose responses can be sent without the interpreter.
struct ThreadGateway<'py>(Gateway<'py>);

impl<'py> Application for ThreadGateway<'py> {
    type Chunk = SentBytes;
    type Stream = ThreadBody<'py>;

    fn call(
        &mut self,
        request: &Request<'_>,
        body: Body,
        exchange: &mut dyn Exchange,
    ) -> Reply<SentBytes, ThreadBody<'py>> {
        match self.0.call(request, body, exchange) {
            Reply::Complete(chunks) => Reply::Complete(match chunks {
                Chunks::None => Chunks::None,
                Chunks::One(chunk) => Chunks::One(chunk.sent()),
                Chunks::Many(chunks) => Chunks::Many(chunks.into_iter().map(Chunk::sent).collect()),
            }),
            Reply::Stream { first, rest } => {
                Reply::Stream { first: first.map(Chunk::sent), rest: ThreadBody(rest) }
            }
            Reply::File { file, offset, length, rest } => {
                Reply::File { file, offset, length, rest: ThreadBody(rest) }
            }
            Reply::Failed => Reply::Failed,
        }
    }

    fn while_idle<T: Send>(&mut self, wait: impl FnOnce() -> T + Send) -> T {
        self.0.while_idle(wait)
    }
}

impl<'py> ThreadApplication for ThreadGateway<'py> {
    type Rest = UnboundEnding;

    fn leave(ThreadBody(body): ThreadBody<'py>) -> UnboundEnding {
        body.into_ending().unbind()
    }

    fn finish(&mut self, rest: UnboundEnding) {
        self.0.finish(rest);
    }
}

/// A body whose chunks can be sent without the interpreter.
struct ThreadBody<'py>(ResponseBody<'py>);

impl Stream for ThreadBody<'_> {
    type Chunk = SentBytes;

    fn next(&mut self, exchange: &mut dyn Exchange) -> Result<Option<SentBytes>, Failed> {
        Ok(self.0.next(exchange)?.map(Chunk::sent))
    }

    fn close(&mut self) {
        self.0.close();
    }
}

/// The main thread of a worker whose app others run: the app's signal handlers do run here.
pub(crate) struct Main<'py> {
    py: Python<'py>,
    plan: Arc<Plan>,
    interrupts: Option<Interrupts<'py>>,
    errors: Bound<'py, ErrorStream>,
    hooks: Option<Rc<RequestHooks<'py>>>,
}

impl<'py> Main<'py> {
    pub(crate) fn new(py: Python<'py>, plan: Plan) -> PyResult<Self> {
        let errors = Bound::new(py, ErrorStream::new())?;
        let hooks = RequestHooks::of(py, &plan.hooks);
        let interrupts = Interrupts::watch_here(py)?;
        Ok(Self { py, plan: Arc::new(plan), interrupts, errors, hooks })
    }

    /// Starts a thread as Python has it: what the app asks of `threading`, and a process that it
    /// forks there, find all that belongs to one. At its end nobody waits for it but the worker.
    fn start_thread(&self, seat: Seat<SentBytes, UnboundEnding>) -> PyResult<()> {
        let py = self.py;
        let options = PyDict::new(py);
        options.set_item("name", seat.name())?;
        options.set_item("daemon", true)?;
        let (plan, seat) = (Arc::clone(&self.plan), Mutex::new(Some(seat)));
        let target = PyCFunction::new_closure(py, None, None, move |arguments, _| {
            let seat = seat.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(seat) = seat {
                plan.enter(arguments.py(), seat);
            }
        })?;
        options.set_item("target", target)?;
        let thread = py.import("threading")?.call_method("Thread", (), Some(&options))?;
        thread.call_method0("start").map(drop)
    }
}

impl MainThread<SentBytes, UnboundEnding> for Main<'_> {
    fn start(&mut self, seat: Seat<SentBytes, UnboundEnding>) -> io::Result<()> {
        self.start_thread(seat).map_err(|error| io::Error::other(error.to_string()))
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

    fn finish(&mut self, rest: UnboundEnding) {
        rest.finish(&self.errors, self.hooks.as_ref());
    }
}
