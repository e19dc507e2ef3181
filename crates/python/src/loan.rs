//! Lends the worker's [`Exchange`] to the app while the app runs.
//!
//! `write()` and `wsgi.early_hints` reach the client, and both are called from Python, through
//! which no Rust borrow can pass. So the exchange is lent for the time of one call into the app,
//! and taken back before that call returns, however it returns: an app that keeps `write` and
//! calls it later finds nothing here.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::ptr::NonNull;

use ironhorn_worker::Exchange;
use pyo3::Python;

use crate::ffi::Attached;

/// The place where a lent exchange lies.
pub(crate) struct Loan(Attached<Option<Lent>>);

/// Where the exchange is, and on which thread.
#[derive(Clone, Copy)]
struct Lent {
    exchange: NonNull<dyn Exchange>,
    thread: ThreadMark,
}

// SAFETY: the pointer may be moved and compared anywhere; it is followed only on the thread that
// lent it, see `Loan::with`.
unsafe impl Send for Lent {}

impl Lent {
    /// Whether the exchange lies above the caller's frame: stacks grow downwards on every platform
    /// that CPython runs greenlets on.
    #[inline(never)]
    fn is_further_up(&self) -> bool {
        let here = 0u8;
        std::ptr::from_ref(&here).addr() < self.exchange.cast::<u8>().addr().get()
    }
}

impl Loan {
    pub(crate) fn new() -> Self {
        Self(Attached::new(None))
    }

    /// Runs `run` with the exchange lent.
    pub(crate) fn during<R>(
        &self,
        py: Python<'_>,
        exchange: &mut dyn Exchange,
        run: impl FnOnce() -> R,
    ) -> R {
        let former = RUNNING.replace(exchange.connection());
        let exchange: NonNull<dyn Exchange + '_> = NonNull::from(exchange);
        // SAFETY: only the lifetime in the type changes. `TakeBack` removes the pointer before
        // this function returns or unwinds, and until then its `exchange` argument is borrowed.
        let exchange = unsafe {
            std::mem::transmute::<NonNull<dyn Exchange + '_>, NonNull<dyn Exchange + 'static>>(
                exchange,
            )
        };
        let lent = Lent { exchange, thread: ThreadMark::current() };
        self.0.with(py, |place| *place = Some(lent));
        let _take_back = TakeBack { loan: self, py, former };
        run()
    }

    /// Uses the exchange; `None` if it isn't lent now, not to this thread, or in use.
    pub(crate) fn with<R>(
        &self,
        py: Python<'_>,
        access: impl FnOnce(&mut dyn Exchange) -> R,
    ) -> Option<R> {
        let here = ThreadMark::current();
        let mut lent = self
            .0
            .with(py, |place| place.take_if(|lent| lent.thread == here && lent.is_further_up()))?;
        // SAFETY: the pointer is from the `&mut` that `during` holds further up on this very
        // stack (the marks of two live threads differ, a loan ends with its thread at the latest,
        // and a greenlet that was begun further up, whose frames may lie where the exchange was,
        // is turned away), so it is valid and nobody else uses what it points to; and it has been
        // taken out of its place, so a call from within `access` finds nothing.
        let result = access(unsafe { lent.exchange.as_mut() });
        self.0.with(py, |place| *place = Some(lent));
        Some(result)
    }
}

/// Ends a loan.
struct TakeBack<'a, 'py> {
    loan: &'a Loan,
    py: Python<'py>,
    /// Whose request's connection was the running one's before.
    former: RawFd,
}

impl Drop for TakeBack<'_, '_> {
    fn drop(&mut self) {
        RUNNING.set(self.former);
        self.loan.0.with(self.py, |place| *place = None);
    }
}

/// No request runs.
const NONE: RawFd = -1;

thread_local! {
    /// The connection of the request whose app runs on this thread. It is open as long as it is
    /// here: whoever has lent the exchange holds it.
    static RUNNING: Cell<RawFd> = const { Cell::new(NONE) };
}

/// The connection of the request whose app runs on this thread, if one does.
pub(crate) fn running_connection() -> Option<RawFd> {
    Some(RUNNING.get()).filter(|&connection| connection != NONE)
}

/// Tells live threads apart by where their thread-local storage lies.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ThreadMark(usize);

impl ThreadMark {
    fn current() -> Self {
        thread_local!(static MARK: u8 = const { 0 });
        MARK.with(|mark| Self(std::ptr::from_ref(mark).addr()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeExchange;

    #[test]
    fn the_exchange_is_there_during_the_loan_only() {
        Python::initialize();
        Python::attach(|py| {
            let loan = Loan::new();
            let mut exchange = FakeExchange::default();
            assert!(loan.with(py, |_| ()).is_none());
            loan.during(py, &mut exchange, || {
                loan.with(py, |exchange| exchange.write(b"one")).unwrap().unwrap();
                loan.with(py, |exchange| exchange.write(b"two")).unwrap().unwrap();
            });
            assert!(loan.with(py, |_| ()).is_none());
            assert_eq!(exchange.written, b"onetwo");
        });
    }

    #[test]
    fn nobody_finds_it_while_it_is_in_use() {
        Python::initialize();
        Python::attach(|py| {
            let loan = Loan::new();
            let mut exchange = FakeExchange::default();
            loan.during(py, &mut exchange, || {
                loan.with(py, |_| assert!(loan.with(py, |_| ()).is_none())).unwrap();
            });
        });
    }

    #[test]
    fn another_thread_finds_nothing() {
        Python::initialize();
        Python::attach(|py| {
            let loan = Loan::new();
            let mut exchange = FakeExchange::default();
            loan.during(py, &mut exchange, || {
                let found = py.detach(|| {
                    std::thread::scope(|scope| {
                        scope
                            .spawn(|| Python::attach(|py| loan.with(py, |_| ()).is_some()))
                            .join()
                            .unwrap()
                    })
                });
                assert!(!found);
                assert!(loan.with(py, |_| ()).is_some());
            });
        });
    }

    #[test]
    fn a_panic_ends_the_loan() {
        Python::initialize();
        Python::attach(|py| {
            let loan = Loan::new();
            let mut exchange = FakeExchange::default();
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                loan.during(py, &mut exchange, || panic!("on purpose"));
            }));
            assert!(panicked.is_err());
            assert!(loan.with(py, |_| ()).is_none());
        });
    }
}
