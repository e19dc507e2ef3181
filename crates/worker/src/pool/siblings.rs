//! Whether new connections are better off with another worker of the same server.
//!
//! A worker whose threads are all busy could still accept; but what it accepts is bound to it, and
//! would wait there though a sibling has a thread that is free, or one that is so every moment. So it
//! leaves accepting to them, and looks again and again, as they might all have become busy for long
//! in the meantime: then it takes its share of what has to wait, so that it is known of.

use std::time::Duration;

use ironhorn_unix::{BoardSlot, Monotonic};

/// How long it isn't looked again.
pub(super) const LOOKS: Duration = Duration::from_millis(10);

/// What a busy worker knows of its siblings.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    /// When it last looked, while it was busy.
    looked_at: Option<Monotonic>,
    /// How many requests they had answered then.
    answered: u64,
    /// Whether they can do with more.
    are_free: bool,
}

impl Siblings {
    /// Whether accepting is left to them, by a worker that is `busy` or not.
    pub(super) fn take_connections(&self) -> bool {
        self.are_free
    }

    /// Looks, if it is time to.
    pub(super) fn look(&mut self, slot: &BoardSlot, is_busy: bool, now: Monotonic) {
        if !is_busy {
            *self = Self::default();
            return;
        }
        if self.looked_at.is_some_and(|looked_at| now.since(looked_at) < LOOKS) {
            return;
        }
        let answered = slot.answered_by_siblings();
        let get_on = self.looked_at.is_none() || answered != self.answered;
        self.are_free = slot.has_free_sibling() || (get_on && slot.has_sibling());
        self.answered = answered;
        self.looked_at = Some(now);
    }
}
