//! Hooks that run in a worker.

use std::rc::Rc;
use std::time::Instant;

use ironhorn_http::ResponseHead;
use pyo3::call::PyCallArgs;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::Hooks;
use super::call::Call;
use crate::app_loader::LoadError;
use crate::ffi::latin1;
use crate::traceback;

/// The hooks of the worker that this process is.
pub(crate) struct WorkerHooks<'py> {
    py: Python<'py>,
    hooks: Hooks,
}

impl<'py> WorkerHooks<'py> {
    /// This process is the worker `nr`; `of_zygote` says that it is no copy of the master.
    pub(crate) fn enter(
        py: Python<'py>,
        hooks: Hooks,
        nr: usize,
        generation: u32,
        of_zygote: bool,
    ) -> PyResult<Self> {
        if let Some(hooks) = &hooks.0 {
            hooks.bind(py).call_method1("serve", (nr, generation, of_zygote))?;
        }
        Ok(Self { py, hooks })
    }

    /// Whether there are any.
    pub(crate) fn are_some(&self) -> bool {
        self.hooks.0.is_some()
    }

    /// The worker was forked; the app is not loaded, unless a zygote has.
    pub(crate) fn post_fork(&self) -> Result<(), LoadError> {
        self.must("post_fork", || ())
    }

    /// The app is loaded.
    pub(crate) fn post_worker_init(&self, app: &Bound<'py, PyAny>) -> Result<(), LoadError> {
        self.must("post_worker_init", || (app,))
    }

    /// The worker begins to serve.
    pub(crate) fn worker_ready(&self) {
        self.may("worker_ready", || ());
    }

    /// The worker is leaving at once.
    pub(crate) fn worker_int(&self) {
        self.may("worker_int", || ());
    }

    /// The worker is leaving, after so many requests.
    pub(crate) fn worker_exit(&self, requests: u64) {
        self.may("worker_exit", || (requests,));
    }

    /// What is called for each request; none costs nothing.
    pub(crate) fn around_requests(&self) -> Option<Rc<RequestHooks<'py>>> {
        RequestHooks::of(self.py, &self.hooks)
    }

    /// The same hooks for another thread of the worker.
    pub(crate) fn for_thread(&self) -> Hooks {
        Hooks(self.hooks.0.as_ref().map(|hooks| hooks.clone_ref(self.py)))
    }

    /// Calls what the boot depends on.
    fn must<A: PyCallArgs<'py>>(
        &self,
        event: &'static str,
        arguments: impl Fn() -> A,
    ) -> Result<(), LoadError> {
        for call in self.hooks.calls(self.py, event) {
            call.try_run(arguments()).map_err(|error| LoadError::Broken {
                doing: format!("the hook {}", call.name()),
                error: error.to_string(),
                traceback: traceback::render(self.py, &error),
            })?;
        }
        Ok(())
    }

    fn may<A: PyCallArgs<'py>>(&self, event: &'static str, arguments: impl Fn() -> A) {
        for call in self.hooks.calls(self.py, event) {
            call.run(arguments());
        }
    }
}

/// What is called before the app and after its response.
pub(crate) struct RequestHooks<'py> {
    pre: Vec<Call<'py>>,
    post: Vec<Call<'py>>,
}

impl<'py> RequestHooks<'py> {
    /// Those that are called for each request; none costs nothing.
    pub(crate) fn of(py: Python<'py>, hooks: &Hooks) -> Option<Rc<Self>> {
        let pre = hooks.calls(py, "pre_request");
        let post = hooks.calls(py, "post_request");
        (!pre.is_empty() || !post.is_empty()).then(|| Rc::new(Self { pre, post }))
    }

    /// The app is about to be called; the answer is to be told when it is over.
    pub(crate) fn begin(self: &Rc<Self>, environ: &Bound<'py, PyDict>) -> Told<'py> {
        for call in &self.pre {
            call.run((environ,));
        }
        Told { hooks: Rc::clone(self), began: Instant::now(), head: Vec::new() }
    }
}

/// A request that post_request will be told of.
pub(crate) struct Told<'py> {
    hooks: Rc<RequestHooks<'py>>,
    began: Instant,
    /// Empty until there is one.
    head: Vec<u8>,
}

/// What is known of such a request, on its way from one thread to another, which has the same hooks.
pub(crate) struct UnboundTold {
    began: Instant,
    head: Vec<u8>,
}

impl UnboundTold {
    /// It is told to the hooks of this thread.
    pub(crate) fn bind<'py>(self, hooks: &Rc<RequestHooks<'py>>) -> Told<'py> {
        Told { hooks: Rc::clone(hooks), began: self.began, head: self.head }
    }
}

impl<'py> Told<'py> {
    /// Another thread's hooks will be told.
    pub(crate) fn unbind(self) -> UnboundTold {
        UnboundTold { began: self.began, head: self.head }
    }

    /// The app has made its head.
    pub(crate) fn set_head(&mut self, head: &ResponseHead) {
        if !self.hooks.post.is_empty() {
            self.head = head.bytes().to_vec();
        }
    }

    /// The response is over: the app's part of it is closed.
    pub(crate) fn end(self, environ: &Bound<'py, PyDict>) {
        if self.hooks.post.is_empty() {
            return;
        }
        let py = environ.py();
        let seconds = self.began.elapsed().as_secs_f64();
        let (status, fields) = match parse(py, &self.head) {
            Ok(parsed) => parsed,
            Err(error) => {
                log::error!(traceback = traceback::render(py, &error); "cannot tell post_request");
                return;
            }
        };
        for call in &self.hooks.post {
            call.run((environ, &status, &fields, seconds));
        }
    }
}

/// The status line and the fields of a head, which may have more behind it; without one, what the
/// worker answers in its place.
fn parse<'py>(py: Python<'py>, head: &[u8]) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyList>)> {
    let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
    let status = lines.next().and_then(|line| line.strip_prefix(b"HTTP/1.1 "));
    let fields = PyList::empty(py);
    for line in lines.take_while(|line| !line.is_empty()) {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default().trim_ascii();
        fields.append((latin1(py, &line[..colon])?, latin1(py, value)?))?;
    }
    let status = latin1(py, status.unwrap_or(b"500 Internal Server Error"))?;
    Ok((status.into_any(), fields))
}
