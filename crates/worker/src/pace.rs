//! How fast a client must be on average, beside what it may pause.
//!
//! A client that sends or takes a byte just before its time is over would hold its connection for
//! ever. So all its time counts too: `patience`, and a second more for each `rate` bytes.

use std::time::Duration;

/// Whether `bytes` in `elapsed` are too few. A rate of 0 is any.
pub(crate) fn is_too_slow(
    bytes: u64,
    elapsed: Duration,
    rate: u32,
    patience: Option<Duration>,
) -> bool {
    let Some(patience) = patience.filter(|_| rate > 0) else { return false };
    // A rate of at least a byte a second: no more seconds than bytes.
    let earned = Duration::from_secs(bytes / u64::from(rate));
    elapsed > patience.saturating_add(earned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));

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
            let elapsed = Duration::from_secs(seconds);
            assert_eq!(is_too_slow(bytes, elapsed, 240, PATIENCE), slow, "{bytes} in {seconds} s");
        }
    }

    #[test]
    fn no_rate_and_no_limit_to_pauses_are_any_rate() {
        let hour = Duration::from_secs(3600);
        assert!(!is_too_slow(0, hour, 0, PATIENCE));
        assert!(!is_too_slow(0, hour, 240, None));
    }
}
