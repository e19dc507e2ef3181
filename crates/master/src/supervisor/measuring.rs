//! Looks at workers' memory, one a turn of the loop.
//!
//! The kernel walks all pages of a process to say how much is its own: with many large workers in
//! one go, signals and time limits would have to wait for seconds.

use std::{collections::VecDeque, ops::ControlFlow};

use ironhorn_unix::{Memory, Monotonic, Pid};
use log::debug;

use super::{Outcome, Supervisor};
use crate::fleet::Event;

/// A round of measurements, if one is under way.
#[derive(Default)]
pub(super) struct Measuring {
    /// The slots whose turn is still to come.
    next: VecDeque<usize>,
    /// What was found: another worker may be in the slot by the end.
    found: Vec<(usize, Pid, u64)>,
}

impl Measuring {
    /// One round after another: who is asked again before the end is answered once.
    pub(super) fn begin(&mut self, nrs: Vec<usize>) {
        if self.next.is_empty() {
            self.next = nrs.into();
        }
    }

    pub(super) fn next_deadline(&self, now: Monotonic) -> Option<Monotonic> {
        (!self.next.is_empty()).then_some(now)
    }
}

impl Supervisor<'_> {
    /// Measures one worker, and tells of all after the last.
    pub(super) fn measure_next(&mut self) -> ControlFlow<Outcome> {
        let Some(nr) = self.measuring.next.pop_front() else { return ControlFlow::Continue(()) };
        if let Some(child) = self.children.get_mut(nr).filter(|child| !child.reaped) {
            match Memory::of(child.pid) {
                Ok(measured) => {
                    child.memory = Some(measured.private);
                    self.measuring.found.push((nr, child.pid, measured.private));
                }
                Err(error) => {
                    debug!(worker = nr, pid:% = child.pid, reason:% = error; "cannot measure");
                }
            }
        }
        if !self.measuring.next.is_empty() {
            return ControlFlow::Continue(());
        }
        let found = std::mem::take(&mut self.measuring.found).into_iter();
        let living = |&(nr, pid, _): &(usize, Pid, u64)| {
            self.children.living(nr).is_some_and(|child| child.pid == pid)
        };
        let memory = found.filter(living).map(|(nr, _, memory)| (nr, memory)).collect();
        self.tell(Event::Measured { memory })
    }
}
