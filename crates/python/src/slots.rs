//! Slots and their callables, used again while nobody else holds them.
//!
//! Making a slot costs five allocations. An app that lets go of `start_response`, `write` and
//! `wsgi.early_hints` with its request, as nearly all do, gets the same ones for the next request;
//! one that keeps any of them keeps it, useless, and the next request gets new ones.

use std::cell::RefCell;
use std::rc::Rc;

use pyo3::intern;
use pyo3::prelude::*;

use crate::ffi::reference_count;
use crate::start_response::Slot;

/// How many idle slots are kept: as many requests as a worker has under way at once, more or less.
const IDLE: usize = 16;

/// The idle slots of a worker.
#[derive(Clone)]
pub(crate) struct Slots<'py> {
    idle: Rc<RefCell<Vec<Callables<'py>>>>,
}

/// A slot and the methods bound to it. `write` is in the slot.
struct Callables<'py> {
    slot: Bound<'py, Slot>,
    start_response: Bound<'py, PyAny>,
    early_hints: Bound<'py, PyAny>,
}

/// A slot for the time of one request.
pub(crate) struct Lease<'py> {
    /// There until the drop.
    callables: Option<Callables<'py>>,
    slots: Slots<'py>,
}

impl<'py> Slots<'py> {
    pub(crate) fn new() -> Self {
        Self { idle: Rc::default() }
    }

    /// Begins a request.
    pub(crate) fn lease(&self, py: Python<'py>) -> PyResult<Lease<'py>> {
        let idle = self.idle.borrow_mut().pop();
        let callables = match idle {
            Some(callables) => callables,
            None => Callables::new(py)?,
        };
        callables.slot.get().begin(py);
        Ok(Lease { callables: Some(callables), slots: self.clone() })
    }

    /// How many slots wait for a request.
    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        self.idle.borrow().len()
    }
}

impl<'py> Callables<'py> {
    fn new(py: Python<'py>) -> PyResult<Self> {
        let slot = Slot::new(py)?;
        Ok(Self {
            start_response: slot.getattr(intern!(py, "start_response"))?,
            early_hints: slot.getattr(intern!(py, "early_hints"))?,
            slot,
        })
    }

    /// Whether there are no references but those made here: each method has one, from here or from
    /// the slot, and the slot has one from here and one from each method.
    fn are_ours_alone(&self) -> bool {
        let py = self.slot.py();
        reference_count(&self.start_response) == 1
            && reference_count(&self.early_hints) == 1
            && self.slot.get().with_write(py, reference_count) == Some(1)
            && reference_count(&self.slot) == 4
    }
}

impl<'py> Lease<'py> {
    fn callables(&self) -> &Callables<'py> {
        self.callables.as_ref().expect("invariant: only the drop takes them")
    }

    pub(crate) fn slot(&self) -> &Slot {
        self.callables().slot.get()
    }

    pub(crate) fn start_response(&self) -> &Bound<'py, PyAny> {
        &self.callables().start_response
    }

    pub(crate) fn early_hints(&self) -> &Bound<'py, PyAny> {
        &self.callables().early_hints
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let Some(callables) = self.callables.take() else { return };
        let py = callables.slot.py();
        callables.slot.get().finish(py);
        let mut idle = self.slots.idle.borrow_mut();
        if idle.len() < IDLE && callables.are_ours_alone() {
            idle.push(callables);
        }
    }
}

impl Drop for Callables<'_> {
    fn drop(&mut self) {
        self.slot.get().retire(self.slot.py());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_unless_something_of_it_was_kept() {
        Python::initialize();
        Python::attach(|py| {
            let slots = Slots::new();
            let lease = slots.lease(py).unwrap();
            let first = lease.callables().slot.as_ptr();
            drop(lease);

            let lease = slots.lease(py).unwrap();
            assert_eq!(lease.callables().slot.as_ptr(), first);
            let status = ("200 OK", pyo3::types::PyList::empty(py));
            let write = lease.start_response().call1(status).unwrap();
            drop(lease);
            assert!(slots.idle.borrow().is_empty(), "write is held");
            let late = write.call1((pyo3::types::PyBytes::new(py, b"late"),)).unwrap_err();
            assert!(late.to_string().contains("after the end of its request"), "{late}");

            for kept in ["start_response", "early_hints"] {
                let lease = slots.lease(py).unwrap();
                let kept = lease.callables().slot.getattr(kept).unwrap();
                drop(lease);
                assert!(slots.idle.borrow().is_empty());
                drop(kept);
            }
        });
    }

    #[test]
    fn a_retired_slot_is_freed() {
        Python::initialize();
        Python::attach(|py| {
            let slots = Slots::new();
            let slot = slots.lease(py).unwrap().callables().slot.clone();
            assert!(slots.idle.borrow().is_empty());
            assert_eq!(reference_count(&slot), 1, "its methods are gone");
        });
    }
}
