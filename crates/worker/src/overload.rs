//! Overload: requests that have waited longer than `queue_timeout` are answered 503, and not run.
//!
//! Who has waited that long has perhaps given up, and to run the request then only makes the next
//! ones wait longer. A load balancer that is answered soon can ask another server.

use std::time::Duration;

use ironhorn_http::Request as Head;
use ironhorn_unix::Monotonic;

use crate::respond::ResponseOf;
use crate::runs::Runs;
use crate::serve::{ConnectionOf, Next, Service};

/// After so long without it, what happens again is a new episode,
const QUIET: Duration = Duration::from_secs(10);
/// and one that lasts is told of this often.
const REPEAT: Duration = Duration::from_secs(60);

/// Something that is told of once while it happens again and again.
#[derive(Debug, Default)]
pub(crate) struct Episodes {
    last: Option<Monotonic>,
    told: Option<Monotonic>,
    untold: u64,
}

impl Episodes {
    /// It happens. How often since it was last told of, if it is to be told of now.
    pub(crate) fn another(&mut self, now: Monotonic) -> Option<u64> {
        let is_new = self.last.is_none_or(|last| now.since(last) >= QUIET);
        let lasts = self.told.is_none_or(|told| now.since(told) >= REPEAT);
        self.last = Some(now);
        self.untold += 1;
        if !(is_new || lasts) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

impl<A: Runs> Service<A> {
    /// Whether a request that has waited so long is not to be run any more.
    pub(crate) fn is_overdue(&self, waited: Duration) -> bool {
        self.around.options.queue_timeout.is_some_and(|timeout| waited > timeout)
    }

    /// Answers 503 to a request that was received as a whole.
    pub(crate) fn turn_away(
        &mut self,
        connection: &mut ConnectionOf<A>,
        head: &Head<'_, '_>,
        bytes: &[u8],
        mut response: ResponseOf<A>,
        more: bool,
    ) -> Option<Next> {
        let progress = response.turn_away(&connection.client, &self.around);
        let served = match self.suspends(progress) {
            Some(next) => Self::suspended(bytes, response, next),
            None => self.conclude(&connection.client, head, &mut response, progress),
        };
        self.settle(connection, served, more)
    }

    /// Says that a request was turned away, once an episode.
    pub(crate) fn tell_of_overload(&mut self, waited: Duration) {
        let Some(count) = self.overload.another(Monotonic::now()) else { return };
        let options = &self.around.options;
        let waiting = self.app.waiting();
        log::warn!(count, waited:?, waiting, threads = options.threads,
            queue_timeout:? = options.queue_timeout.unwrap_or_default();
            "requests waited longer than queue_timeout and were answered 503; \
             raise threads or workers, or queue_timeout");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_is_told_of_when_it_begins_and_once_a_minute() {
        let at = |seconds: u64| Monotonic::from_nanos(seconds * 1_000_000_000);
        let mut episodes = Episodes::default();
        assert_eq!(episodes.another(at(100)), Some(1));
        assert_eq!(episodes.another(at(101)), None);
        assert_eq!(episodes.another(at(110)), None);
        assert_eq!(episodes.another(at(120)), Some(3), "it had been over");
        let told: Vec<_> = (121..=240).filter_map(|second| episodes.another(at(second))).collect();
        assert_eq!(told, [60, 60]);
    }
}
