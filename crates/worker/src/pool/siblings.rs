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
/// After so long without a free thread or an answer, siblings are as busy as this worker.
const STUCK: Duration = Duration::from_millis(100);

/// What a busy worker knows of its siblings.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    /// None while it isn't busy itself, or has none.
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    looked_at: Monotonic,
    /// How many requests they had answered then.
    answered: u64,
    /// When they last had a free thread, or had answered something.
    got_on_at: Monotonic,
}

impl Siblings {
    /// Whether accepting is left to them.
    pub(super) fn take_connections(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.looked_at.since(seen.got_on_at) < STUCK)
    }

    /// Looks, if it is time to. Whoever is not `busy` doesn't care.
    pub(super) fn look(&mut self, slot: &BoardSlot, is_busy: bool, now: Monotonic) {
        if !is_busy {
            self.seen = None;
            return;
        }
        if self.seen.as_ref().is_some_and(|seen| now.since(seen.looked_at) < LOOKS) {
            return;
        }
        if !slot.has_sibling() {
            self.seen = None;
            return;
        }
        let answered = slot.answered_by_siblings();
        let got_on_at = match &self.seen {
            Some(seen) if seen.answered == answered && !slot.has_free_sibling() => seen.got_on_at,
            _ => now,
        };
        self.seen = Some(Seen { looked_at: now, answered, got_on_at });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironhorn_unix::{Board, State};

    #[test]
    fn siblings_take_connections_while_they_get_on() {
        let at = |millis: u64| Monotonic::from_nanos(millis * 1_000_000);
        let board = Board::new(2).unwrap();
        let (slot, sibling) = (board.slot(1), board.slot(2));
        let mut siblings = Siblings::default();
        siblings.look(&slot, true, at(0));
        assert!(!siblings.take_connections(), "there is none");
        sibling.set_state(State::Ready);
        siblings.look(&slot, true, at(20));
        assert!(siblings.take_connections(), "nobody knows better yet");
        siblings.look(&slot, true, at(119));
        assert!(siblings.take_connections());
        siblings.look(&slot, true, at(140));
        assert!(!siblings.take_connections(), "it is stuck as well");
        sibling.lane(0).end_request();
        siblings.look(&slot, true, at(149));
        assert!(!siblings.take_connections(), "it isn't looked that often");
        siblings.look(&slot, true, at(150));
        assert!(siblings.take_connections());
        siblings.look(&slot, true, at(300));
        assert!(!siblings.take_connections());
        sibling.set_free_threads(1);
        siblings.look(&slot, true, at(310));
        assert!(siblings.take_connections());
        siblings.look(&slot, false, at(311));
        assert!(!siblings.take_connections(), "it can do it itself");
    }
}
