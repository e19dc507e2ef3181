//! Points in time that mean the same in every process.
//!
//! `std::time::Instant` can't be written into shared memory; nanoseconds of `CLOCK_MONOTONIC` can,
//! and are comparable across a fork. Only differences mean anything.

use std::ops::Add;
use std::time::Duration;

use nix::time::ClockId;

/// A point on `CLOCK_MONOTONIC`, in nanoseconds since an arbitrary start (on Linux: boot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(u64);

impl Monotonic {
    /// Reads the clock.
    pub fn now() -> Self {
        let time = ClockId::CLOCK_MONOTONIC
            .now()
            .expect("invariant: every supported kernel has CLOCK_MONOTONIC");
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The point that many nanoseconds after the clock's start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Monotonic {
    type Output = Self;

    /// Saturates: a deadline beyond the clock's range never comes.
    fn add(self, rest: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back() {
        let first = Monotonic::now();
        let second = Monotonic::now();
        assert!(second >= first);
        assert!(first.as_nanos() > 0);
    }

    #[test]
    fn differences_saturate() {
        let early = Monotonic::from_nanos(5);
        let late = early + Duration::from_nanos(7);
        assert_eq!(late.since(early), Duration::from_nanos(7));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early + Duration::MAX, Monotonic::from_nanos(u64::MAX));
    }
}
