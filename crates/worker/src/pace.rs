//! How fast a client must be on average, beside what it may pause.
//!
//! A client that sends or takes a byte just before its time is over would hold its connection for
//! ever. So all its time counts too: `patience`, and a second more for each `rate` bytes.

use std::time::Duration;

/// How much a client has sent or taken, and in what time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) bytes: u64,
    pub(crate) elapsed: Duration,
}

impl Pace {
    /// Whether that is too little. A rate of 0 is any.
    pub(crate) fn is_too_slow(self, rate: u32, patience: Option<Duration>) -> bool {
        let Some(patience) = patience.filter(|_| rate > 0) else { return false };
        // A rate of at least a byte a second: no more seconds than bytes.
        let earned = Duration::from_secs(self.bytes / u64::from(rate));
        self.elapsed > patience.saturating_add(earned)
    }

    /// How many binary digits its bytes a second have.
    pub(crate) fn magnitude(self) -> u32 {
        let millis = self.elapsed.as_millis().max(1);
        let rate = u128::from(self.bytes) * 1000 / millis;
        u128::BITS - rate.leading_zeros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));

    fn pace(bytes: u64, seconds: u64) -> Pace {
        Pace { bytes, elapsed: Duration::from_secs(seconds) }
    }

    #[test]
    fn each_byte_earns_time() {
        let cases = [
            (0, 30, false),
            (0, 31, true),
            (239, 31, true),
            (240, 31, false),
            (240 * 3600, 3630, false),
            (240 * 3600, 3631, true),
            (u64::MAX, u64::MAX, true),
            (u64::MAX, 1 << 40, false),
        ];
        for (bytes, seconds, slow) in cases {
            let is_too_slow = pace(bytes, seconds).is_too_slow(240, PATIENCE);
            assert_eq!(is_too_slow, slow, "{bytes} in {seconds} s");
        }
    }

    #[test]
    fn no_rate_and_no_limit_to_pauses_are_any_rate() {
        assert!(!pace(0, 3600).is_too_slow(0, PATIENCE));
        assert!(!pace(0, 3600).is_too_slow(240, None));
    }

    #[test]
    fn a_magnitude_is_that_of_the_bytes_a_second() {
        let cases = [(0, 0, 0), (0, 9, 0), (9, 10, 0), (10, 10, 1), (2600, 10, 9), (5110, 10, 9)];
        for (bytes, seconds, magnitude) in cases {
            assert_eq!(pace(bytes, seconds).magnitude(), magnitude, "{bytes} in {seconds} s");
        }
        assert_eq!(pace(u64::MAX, 0).magnitude(), 74);
    }
}
