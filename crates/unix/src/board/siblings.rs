//! What a worker learns of the others.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{BoardSlot, State};
use crate::clock::Monotonic;

impl BoardSlot {
    /// Whether there is another worker that takes connections.
    pub fn has_sibling(&self) -> bool {
        self.siblings().next().is_some()
    }

    /// How many requests the other workers have answered, of those that take connections.
    pub fn answered_by_siblings(&self) -> u64 {
        self.siblings().map(|sibling| sibling.requests()).fold(0, u64::wrapping_add)
    }

    fn siblings(&self) -> impl Iterator<Item = Self> {
        let last = self.mapping.header().last.load(Relaxed) as usize;
        let others = (0..=last.min(self.mapping.capacity)).filter(|&nr| {
            nr != self.nr
                && State::from_word(self.mapping.slot(nr).state.load(Relaxed)) == State::Ready
        });
        others.map(|nr| Self { mapping: Arc::clone(&self.mapping), nr })
    }

    /// Whether another worker takes connections and has said that it could run a request at once.
    pub fn has_free_sibling(&self) -> bool {
        self.siblings().any(|sibling| sibling.memory().free.load(Relaxed) > 0)
    }

    /// Whether another worker takes connections that runs the app in its loop and gets to take one:
    /// the app is idle, or the loop has turned within `moment`, so that it will again.
    pub fn has_turning_sibling(&self, now: Monotonic, moment: Duration) -> bool {
        self.siblings().any(|sibling| {
            sibling.lanes() == 1 && (!sibling.is_busy() || sibling.has_turned(now, moment))
        })
    }

    fn has_turned(&self, now: Monotonic, moment: Duration) -> bool {
        now.since(self.heartbeat()) < moment
    }

    /// Whether this worker, with so many connections, has over one more than an even share of those
    /// of all that take some, and an idle one has at least two fewer. Who has more than this worker
    /// counts as having as many: it is among those who have fewer that the new ones are shared.
    pub fn has_too_many(&self, connections: u32) -> bool {
        if connections < 2 {
            return false;
        }
        let (mut workers, mut all, mut least) = (1, u64::from(connections), u32::MAX);
        for sibling in self.siblings() {
            let theirs = sibling.memory().connections.load(Relaxed);
            (workers, all) = (workers + 1, all + u64::from(theirs.min(connections)));
            if !sibling.is_busy() {
                least = least.min(theirs);
            }
        }
        u64::from(connections) * workers > all + workers && least.saturating_add(2) <= connections
    }

    /// Whether another worker takes connections, has fewer of them than so many, and gets to take one:
    /// it isn't busy, or not with all its threads, or it has shown within `moment` that it lives.
    pub fn has_sibling_with_room(&self, most: usize, now: Monotonic, moment: Duration) -> bool {
        self.siblings().any(|sibling| {
            let slot = sibling.memory();
            (slot.connections.load(Relaxed) as usize) < most
                && (!sibling.is_busy()
                    || slot.free.load(Relaxed) > 0
                    || sibling.has_turned(now, moment))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Board;

    #[test]
    fn a_sibling_is_free_while_it_serves_and_says_so() {
        let board = Board::new(2).unwrap();
        let (one, other) = (board.slot(1), board.slot(2));
        let at = Monotonic::from_nanos;
        one.set_state(State::Ready);
        one.set_free_threads(3);
        assert!(!one.has_free_sibling() && !one.has_sibling(), "it is none of its own");
        other.set_free_threads(1);
        assert!(!one.has_free_sibling(), "it is booting");
        other.set_state(State::Ready);
        assert!(one.has_free_sibling() && other.has_free_sibling());
        other.set_free_threads(0);
        assert!(!one.has_free_sibling() && one.has_sibling());
        other.set_connections(4);
        other.beat(at(7));
        let moment = Duration::from_nanos(3);
        let has_room = |most, now| one.has_sibling_with_room(most, at(now), moment);
        assert!(!has_room(4, 7), "it is full");
        assert!(has_room(5, 10));
        other.lane(0).begin_request(b"GET", b"/", at(7));
        assert!(has_room(5, 9));
        assert!(!has_room(5, 10), "it may stand still");
        other.set_free_threads(1);
        assert!(has_room(5, 10));
        other.set_free_threads(0);
        other.lane(1).end_request();
        one.lane(0).end_request();
        assert_eq!(one.answered_by_siblings(), 1);
        one.reset();
        one.set_state(State::Ready);
        assert!(!other.has_free_sibling());
    }

    #[test]
    fn a_sibling_that_turns_takes_what_is_passed_on() {
        let board = Board::new(2).unwrap();
        let (one, other) = (board.slot(1), board.slot(2));
        let at = Monotonic::from_nanos;
        let turns = |now| one.has_turning_sibling(at(now), Duration::from_nanos(3));
        assert!(!turns(7), "nobody is there");
        other.set_state(State::Ready);
        assert!(turns(7));
        other.beat(at(7));
        other.lane(0).begin_request(b"GET", b"/", at(7));
        assert!(turns(9));
        assert!(!turns(10), "it may stand still");
        other.lane(0).end_request();
        assert!(turns(10));
    }

    #[test]
    fn nobody_looks_beyond_the_last_slot_in_use() {
        let board = Board::new(256).unwrap();
        let looked = || board.0.header().last.load(Relaxed);
        board.slot(2).set_state(State::Booting);
        assert!(board.slot(1).begin_serving());
        assert_eq!(looked(), 2);
        assert!(!board.slot(1).has_sibling() && board.slot(2).has_sibling());
        assert!(board.slot(256).begin_serving());
        assert_eq!(looked(), 256);
        assert!(board.slot(1).has_sibling());
    }

    #[test]
    fn too_many_is_over_one_more_than_a_share_while_an_idle_sibling_has_fewer() {
        let board = Board::new(3).unwrap();
        let [one, two, three] = [1, 2, 3].map(|nr| board.slot(nr));
        one.set_state(State::Ready);
        assert!(!one.has_too_many(100), "nobody else takes any");
        two.set_state(State::Ready);
        assert!(!one.has_too_many(2));
        assert!(one.has_too_many(3));
        two.set_connections(10);
        assert!(!one.has_too_many(12));
        assert!(one.has_too_many(13));
        three.set_state(State::Ready);
        three.set_connections(4);
        // An even share of 10, 4 and 9 is less than 8.
        assert!(one.has_too_many(9));
        three.lane(0).begin_request(b"GET", b"/", Monotonic::from_nanos(1));
        assert!(!one.has_too_many(9), "who has fewer is busy");
        three.lane(0).end_request();
        // Another that has come with it and has none, beside one of many.
        two.set_connections(100);
        three.set_connections(0);
        assert!(!one.has_too_many(3));
        assert!(one.has_too_many(4));
    }
}
