//! When a dead worker may be replaced.
//!
//! A crash loop must neither spin nor be given up: the first early death is replaced at once, and
//! each further one doubles a delay, from half a second to 30 s, until a worker has lived long
//! enough to show that the cause is gone.

use std::time::Duration;

use ironhorn_unix::Monotonic;

/// A worker that served at least this long and then died did not die of its boot.
pub(crate) const HEALTHY: Duration = Duration::from_secs(1);

/// A worker that served this long ends a crash loop.
const SETTLED: Duration = Duration::from_secs(10);

const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Back-off of one cause of failure.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// The delay of the last step; none: no step since the last reset.
    delay: Option<Duration>,
    stepped_at: Option<Monotonic>,
    not_before: Option<Monotonic>,
}

impl Backoff {
    /// A worker forked at `forked_at` failed early. The delay that this imposes; none if it
    /// belongs to a wave that already has been counted: workers forked together die together.
    pub(crate) fn failed(&mut self, forked_at: Monotonic, now: Monotonic) -> Option<Duration> {
        if self.stepped_at.is_some_and(|stepped_at| forked_at < stepped_at) {
            return None;
        }
        let delay = match self.delay {
            None => Duration::ZERO,
            Some(Duration::ZERO) => FIRST_DELAY,
            Some(delay) => (delay * 2).min(LONGEST_DELAY),
        };
        self.delay = Some(delay);
        self.stepped_at = Some(now);
        self.not_before = Some(now + delay);
        Some(delay)
    }

    /// Something failed that would fail again at once: the delay that this imposes.
    pub(crate) fn failed_again(&mut self, now: Monotonic) -> Duration {
        self.delay.get_or_insert(Duration::ZERO);
        self.failed(now, now).unwrap_or(FIRST_DELAY)
    }

    /// A worker forked at `forked_at` has been ready since `ready_at`: if it is newer than the
    /// last failure and has lived long, the failures are over.
    pub(crate) fn lived(&mut self, forked_at: Monotonic, ready_at: Monotonic, now: Monotonic) {
        if self.stepped_at.is_some_and(|stepped_at| forked_at >= stepped_at)
            && now.since(ready_at) >= SETTLED
        {
            *self = Self::default();
        }
    }

    /// When the next fork is allowed, if that was ever put off.
    pub(crate) fn not_before(&self) -> Option<Monotonic> {
        self.not_before
    }

    /// When the next fork is allowed, if that is still to come.
    pub(crate) fn waits_until(&self, now: Monotonic) -> Option<Monotonic> {
        self.not_before.filter(|not_before| *not_before > now)
    }
}

/// Notices that the master was stopped, or its machine suspended, and excuses what seems to have
/// expired meanwhile: nobody could work, so nobody is late.
#[derive(Debug, Default)]
pub(crate) struct SuspendGuard {
    planned: Option<Monotonic>,
    resumed_at: Option<Monotonic>,
}

/// Waking this much later than planned is no matter of scheduling.
const LATE: Duration = Duration::from_secs(2);

impl SuspendGuard {
    /// The master is awake. How late, if it is far too late.
    pub(crate) fn woke(&mut self, now: Monotonic) -> Option<Duration> {
        let late = now.since(self.planned.take()?);
        if late < LATE {
            return None;
        }
        self.resumed_at = Some(now);
        Some(late)
    }

    /// The master will look again at `planned` at the latest.
    pub(crate) fn plan(&mut self, planned: Option<Monotonic>) {
        self.planned = planned;
    }

    /// What was planned.
    pub(crate) fn planned(&self) -> Option<Monotonic> {
        self.planned
    }

    /// From when on something that began at `start` is to be timed.
    pub(crate) fn timed_from(&self, start: Monotonic) -> Monotonic {
        self.resumed_at.map_or(start, |resumed_at| start.max(resumed_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Monotonic {
        Monotonic::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let mut now = at(0);
        let mut delays = Vec::new();
        for _ in 0..9 {
            let delay = backoff.failed(now, now).expect("a step");
            delays.push(delay.as_millis());
            now = now + delay + Duration::from_millis(1);
        }
        assert_eq!(delays, [0, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
    }

    #[test]
    fn a_wave_of_deaths_is_one_step() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.failed(at(0), at(10)), Some(Duration::ZERO));
        assert_eq!(backoff.failed(at(0), at(11)), None);
        assert_eq!(backoff.failed(at(12), at(20)), Some(FIRST_DELAY));
        assert_eq!(backoff.failed(at(12), at(21)), None);
        assert_eq!(backoff.waits_until(at(21)), Some(at(520)));
        assert_eq!(backoff.waits_until(at(520)), None);
    }

    #[test]
    fn only_a_long_life_begun_after_the_failure_resets() {
        let mut backoff = Backoff::default();
        backoff.failed(at(0), at(10));
        backoff.failed(at(10), at(20));
        backoff.lived(at(0), at(1), at(60_000));
        backoff.lived(at(600), at(700), at(9_000));
        assert_eq!(backoff.delay, Some(FIRST_DELAY));
        backoff.lived(at(600), at(700), at(10_700));
        assert_eq!(backoff.delay, None);
    }

    #[test]
    fn waking_far_too_late_excuses_what_began_before() {
        let mut guard = SuspendGuard::default();
        guard.plan(Some(at(1_000)));
        assert_eq!(guard.woke(at(1_500)), None);
        assert_eq!(guard.timed_from(at(500)), at(500));
        guard.plan(Some(at(2_000)));
        assert_eq!(guard.woke(at(60_000)), Some(Duration::from_secs(58)));
        assert_eq!(guard.timed_from(at(500)), at(60_000));
        assert_eq!(guard.timed_from(at(61_000)), at(61_000));
    }
}
