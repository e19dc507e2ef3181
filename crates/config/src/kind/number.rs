//! Numbers: counts, seconds, bytes and permission bits.
//!
//! Plain decimal digits only. No sign, no exponent, no digit separators: what a number means must not
//! depend on which of YAML's versions, or which shell, has had it in hand.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use super::Kind;

fn whole(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// A whole number within bounds, both included.
pub(crate) struct Whole<T> {
    pub min: T,
    pub max: T,
}

impl<T: TryFrom<u64> + PartialOrd + Display> Kind for Whole<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Option<T> {
        let number = T::try_from(whole(text)?).ok()?;
        (number >= self.min && number <= self.max).then_some(number)
    }

    fn allowed(&self) -> String {
        format!("a number from {} to {}", self.min, self.max)
    }
}

/// A whole number, or 0 for none.
pub(crate) struct WholeOrOff {
    pub max: u64,
}

impl Kind for WholeOrOff {
    type Value = Option<u64>;

    fn parse(&self, text: &str) -> Option<Option<u64>> {
        let number = Whole { min: 0, max: self.max }.parse(text)?;
        Some((number > 0).then_some(number))
    }

    fn allowed(&self) -> String {
        format!("{}, or 0 for off", Whole { min: 1, max: self.max }.allowed())
    }
}

/// A number of workers, or `auto`: what this process may use of the machine.
pub(crate) struct WorkerCount {
    pub max: usize,
}

impl Kind for WorkerCount {
    type Value = usize;

    fn parse(&self, text: &str) -> Option<usize> {
        if text == "auto" {
            // Honours the CPU quota of the cgroup and sched_setaffinity(2). It fails only where
            // neither can be read, and one worker is right for an unknown machine.
            return Some(thread::available_parallelism().map_or(1, NonZeroUsize::get));
        }
        Whole { min: 1, max: self.max }.parse(text)
    }

    fn allowed(&self) -> String {
        format!("a number from 1 to {} or auto", self.max)
    }
}

/// The shortest time that can be asked for, in seconds; less is a mistake in the unit.
const SHORTEST: f64 = 0.001;

fn seconds(text: &str) -> Option<f64> {
    // Rules out what `f64` reads besides: signs, exponents, inf and nan.
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    plain.then(|| text.parse().ok())?
}

/// A time in seconds, with or without a fraction.
pub(crate) struct Seconds {
    pub min: f64,
    pub max: f64,
}

impl Seconds {
    /// From a millisecond to `max`.
    pub(crate) const fn up_to(max: f64) -> Seconds {
        Seconds { min: SHORTEST, max }
    }
}

impl Kind for Seconds {
    type Value = Duration;

    fn parse(&self, text: &str) -> Option<Duration> {
        let seconds = seconds(text)?;
        let allowed = (self.min..=self.max).contains(&seconds);
        allowed.then(|| Duration::try_from_secs_f64(seconds).ok())?
    }

    fn allowed(&self) -> String {
        format!("a number of seconds from {} to {}", self.min, self.max)
    }
}

/// A time in seconds, or 0 for none.
pub(crate) struct SecondsOrOff {
    pub max: f64,
}

impl Kind for SecondsOrOff {
    type Value = Option<Duration>;

    fn parse(&self, text: &str) -> Option<Option<Duration>> {
        if seconds(text)? == 0.0 {
            return Some(None);
        }
        Seconds::up_to(self.max).parse(text).map(Some)
    }

    fn allowed(&self) -> String {
        format!("{}, or 0 for off", Seconds::up_to(self.max).allowed())
    }
}

/// A number of bytes, or `unlimited`.
pub(crate) struct Bytes {
    pub min: u64,
}

impl Kind for Bytes {
    type Value = Option<u64>;

    fn parse(&self, text: &str) -> Option<Option<u64>> {
        if text == "unlimited" {
            return Some(None);
        }
        let (digits, unit) = match text.as_bytes().last()?.to_ascii_lowercase() {
            b'k' => (&text[..text.len() - 1], 1 << 10),
            b'm' => (&text[..text.len() - 1], 1 << 20),
            b'g' => (&text[..text.len() - 1], 1 << 30),
            _ => (text, 1),
        };
        let bytes = whole(digits)?.checked_mul(unit)?;
        (bytes >= self.min).then_some(Some(bytes))
    }

    fn allowed(&self) -> String {
        let min = match self.min {
            min if min >= 1 << 20 && min.is_multiple_of(1 << 20) => format!("{}m", min >> 20),
            min => min.to_string(),
        };
        format!("a number of bytes from {min}, with k, m or g for KiB, MiB or GiB, or unlimited")
    }
}

/// Permission bits in octal, with a leading zero so that nobody's decimal passes for octal.
pub(crate) struct Octal;

impl Kind for Octal {
    type Value = u32;

    fn parse(&self, text: &str) -> Option<u32> {
        let digits = text.strip_prefix('0')?;
        let digits = digits.strip_prefix('o').unwrap_or(digits);
        let octal = digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let bits = match digits {
            "" if text == "0" => 0,
            digits if octal => u32::from_str_radix(digits, 8).ok()?,
            _ => return None,
        };
        (bits <= 0o777).then_some(bits)
    }

    fn allowed(&self) -> String {
        "an octal number from 0 to 0777 with a leading 0, as in 0027 or 0o027".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_plain_and_within_bounds() {
        let kind = Whole { min: 1, max: 1024_usize };
        assert_eq!(kind.parse("1"), Some(1));
        assert_eq!(kind.parse("1024"), Some(1024));
        for text in ["", "0", "1025", "-1", "+1", "1.0", "1e2", "0x10", " 1", "1_0", "٣"] {
            assert_eq!(kind.parse(text), None, "{text:?}");
        }
        assert_eq!(Whole { min: 0, max: i32::MAX }.parse("2147483648"), None);
    }

    #[test]
    fn auto_is_at_least_one_worker() {
        assert!(WorkerCount { max: 1024 }.parse("auto").unwrap() >= 1);
        assert_eq!(WorkerCount { max: 1024 }.parse("Auto"), None);
    }

    #[test]
    fn seconds_may_have_a_fraction() {
        let kind = Seconds::up_to(60.0);
        assert_eq!(kind.parse("2.5"), Some(Duration::from_millis(2500)));
        assert_eq!(kind.parse("60"), Some(Duration::from_secs(60)));
        for text in ["", ".", "0", "0.0001", "60.1", "-1", "+1", "inf", "NaN", "1e1", "1.2.3"] {
            assert_eq!(kind.parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn zero_seconds_is_off_where_there_is_an_off() {
        let kind = SecondsOrOff { max: 60.0 };
        assert_eq!(kind.parse("0"), Some(None));
        assert_eq!(kind.parse("0.0"), Some(None));
        assert_eq!(kind.parse("5"), Some(Some(Duration::from_secs(5))));
        assert_eq!(kind.parse("off"), None);
        assert_eq!(Seconds { min: 0.0, max: 60.0 }.parse("0"), Some(Duration::ZERO));
    }

    #[test]
    fn bytes_have_suffixes() {
        let kind = Bytes { min: 1 };
        assert_eq!(kind.parse("1"), Some(Some(1)));
        assert_eq!(kind.parse("8k"), Some(Some(8 << 10)));
        assert_eq!(kind.parse("10M"), Some(Some(10 << 20)));
        assert_eq!(kind.parse("2g"), Some(Some(2 << 30)));
        assert_eq!(kind.parse("unlimited"), Some(None));
        for text in ["", "0", "0k", "k", "1kb", "1 k", "-1", "99999999999g", "1é"] {
            assert_eq!(kind.parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_limit_in_the_wrong_unit_is_told() {
        let kind = Bytes { min: 1 << 20 };
        assert_eq!(kind.parse("300"), None);
        assert_eq!(kind.parse("1024k"), Some(Some(1 << 20)));
        assert!(kind.allowed().starts_with("a number of bytes from 1m, with"));
    }

    #[test]
    fn zero_is_off_where_there_is_an_off() {
        let kind = WholeOrOff { max: 9 };
        assert_eq!(kind.parse("0"), Some(None));
        assert_eq!(kind.parse("9"), Some(Some(9)));
        assert_eq!(kind.parse("10"), None);
        assert_eq!(kind.allowed(), "a number from 1 to 9, or 0 for off");
    }

    #[test]
    fn permission_bits_are_octal_and_say_so() {
        assert_eq!(Octal.parse("0"), Some(0));
        assert_eq!(Octal.parse("022"), Some(0o22));
        assert_eq!(Octal.parse("0o022"), Some(0o22));
        assert_eq!(Octal.parse("0777"), Some(0o777));
        for text in ["", "22", "18", "0o", "09", "01000", "0x1f", "-022", "0o+7"] {
            assert_eq!(Octal.parse(text), None, "{text:?}");
        }
    }
}
