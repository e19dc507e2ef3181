//! What the unit tests share: an exchange without a socket, and Python code run from strings.

use std::cell::RefCell;
use std::ffi::CStr;
use std::os::fd::RawFd;

use ironhorn_http::{FieldStorage, Limits, ResponseHead};
use ironhorn_unix::Peer;
use ironhorn_worker::{Exchange, Forwarded, Gone, Idle, Request, Sender};
use pyo3::prelude::*;
use pyo3::types::PyDict;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// A client that takes everything until it goes.
#[derive(Default)]
pub(crate) struct FakeExchange {
    pub(crate) head: ResponseHead,
    pub(crate) head_sent: bool,
    pub(crate) written: Vec<u8>,
    pub(crate) interims: Vec<(u16, Fields)>,
    pub(crate) gone: bool,
    pub(crate) closes: bool,
    pub(crate) atoms: Vec<String>,
    pub(crate) atom_values: Vec<(usize, Vec<u8>)>,
}

impl Exchange for FakeExchange {
    fn head(&mut self) -> &mut ResponseHead {
        &mut self.head
    }

    fn interim(&mut self, status: u16, fields: &[(Vec<u8>, Vec<u8>)]) -> Result<(), Gone> {
        self.interims.push((status, fields.to_vec()));
        Ok(())
    }

    fn write_idling(&mut self, data: &[u8], _: &mut Idle<'_>) -> Result<(), Gone> {
        if self.gone {
            return Err(Gone);
        }
        self.head_sent = true;
        self.written.extend_from_slice(data);
        Ok(())
    }

    fn close_after(&mut self) {
        self.closes = true;
    }

    fn head_sent(&self) -> bool {
        self.head_sent
    }

    fn connection(&self) -> RawFd {
        -1
    }

    fn environ_atoms(&self) -> &[String] {
        &self.atoms
    }

    fn set_environ_atom(&mut self, index: usize, value: Vec<u8>) {
        self.atom_values.push((index, value));
    }
}

/// Parses a request and lends it.
pub(crate) fn with_request<R>(wire: &[u8], peer: &Peer, run: impl FnOnce(&Request<'_>) -> R) -> R {
    let mut storage = FieldStorage::new();
    let head = ironhorn_http::Request::parse(wire, &mut storage, &Limits::default())
        .unwrap_or_else(|refusal| panic!("refused: {refusal}"));
    let sender = Sender::new(*peer, false);
    let forwarded = Forwarded::default();
    run(&Request { head: &head, sender: &sender, listener: 0, tls: None, forwarded })
}

/// Runs code with some names bound; returns its globals.
#[track_caller]
pub(crate) fn run_with<'py>(
    py: Python<'py>,
    code: &CStr,
    names: &[(&str, &Bound<'py, PyAny>)],
) -> Bound<'py, PyDict> {
    let globals = PyDict::new(py);
    for (name, object) in names {
        globals.set_item(name, object).unwrap();
    }
    if let Err(error) = py.run(code, Some(&globals), None) {
        panic!("{}", crate::traceback::render(py, &error));
    }
    globals
}

/// Runs a test attached and returns the messages that it logged above debug, each followed by its
/// traceback if it has one.
pub(crate) fn log_of(test: impl FnOnce(Python<'_>)) -> Vec<String> {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        log::set_logger(&ThreadLog).unwrap();
        log::set_max_level(log::LevelFilter::Info);
    });
    RECORDS.with_borrow_mut(Vec::clear);
    Python::initialize();
    Python::attach(test);
    RECORDS.take()
}

thread_local!(static RECORDS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) });

/// Keeps records apart by thread, as the test runner does with tests.
struct ThreadLog;

impl log::Log for ThreadLog {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut text = record.args().to_string();
        if let Some(traceback) = record.key_values().get("traceback".into()) {
            text = format!("{text}\n{traceback}");
        }
        RECORDS.with_borrow_mut(|records| records.push(text));
    }

    fn flush(&self) {}
}
