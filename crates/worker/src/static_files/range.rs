//! The field Range (RFC 9110 §14).
//!
//! One range is answered with 206. Several are answered with the whole, as a server may (§14.2):
//! nobody but a few readers of documents asks for them, and they are a way to have the same bytes
//! sent many times over.

/// What of a representation was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ranged {
    /// All of it: that is also what is sent for a field that isn't understood.
    Whole,
    /// From `first` to `last`, both included.
    Part { first: u64, last: u64 },
    /// Nothing that is there.
    Unsatisfiable,
}

/// What `value` asks of a representation of `size` bytes.
pub(super) fn parse(value: &[u8], size: u64) -> Ranged {
    let Some((unit, set)) = split_once(value, b'=') else { return Ranged::Whole };
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return Ranged::Whole;
    }
    // RFC 9110 §5.6.1: empty elements of a list don't count.
    let mut specs = set.split(|&byte| byte == b',').map(trim).filter(|spec| !spec.is_empty());
    let (Some(spec), None) = (specs.next(), specs.next()) else { return Ranged::Whole };
    let Some((first, last)) = split_once(spec, b'-') else { return Ranged::Whole };
    let (Some(first), Some(last)) = (position(first), position(last)) else { return Ranged::Whole };
    match (first, last) {
        (Some(first), Some(last)) if first > last => Ranged::Whole,
        (Some(first), _) if first >= size => Ranged::Unsatisfiable,
        (Some(first), last) => {
            let end = size - 1;
            Ranged::Part { first, last: last.map_or(end, |last| last.min(end)) }
        }
        (None, Some(0)) => Ranged::Unsatisfiable,
        // The last bytes of nothing are nothing, which no Content-Range can say.
        (None, Some(_)) if size == 0 => Ranged::Whole,
        (None, Some(length)) => Ranged::Part { first: size.saturating_sub(length), last: size - 1 },
        (None, None) => Ranged::Whole,
    }
}

/// A number of any length, or none; what is too large is larger than any file.
fn position(digits: &[u8]) -> Option<Option<u64>> {
    if digits.is_empty() {
        return Some(None);
    }
    digits
        .iter()
        .try_fold(0u64, |number, digit| {
            let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
            Some(number.saturating_mul(10).saturating_add(digit.into()))
        })
        .map(Some)
}

fn split_once(bytes: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == mark)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(first: u64, last: u64) -> Ranged {
        Ranged::Part { first, last }
    }

    #[test]
    fn one_range() {
        for (value, size, expected) in [
            ("bytes=0-0", 10, part(0, 0)),
            ("bytes=0-9", 10, part(0, 9)),
            ("bytes=0-10", 10, part(0, 9)),
            ("bytes=9-", 10, part(9, 9)),
            ("bytes=0-", 10, part(0, 9)),
            ("bytes=-1", 10, part(9, 9)),
            ("bytes=-10", 10, part(0, 9)),
            ("bytes=-11", 10, part(0, 9)),
            ("BYTES=2-3", 10, part(2, 3)),
            ("bytes= 2-3 ,", 10, part(2, 3)),
            ("bytes=0-99999999999999999999999", 10, part(0, 9)),
            ("bytes=-99999999999999999999999", 10, part(0, 9)),
            ("bytes=007-8", 10, part(7, 8)),
        ] {
            assert_eq!(parse(value.as_bytes(), size), expected, "{value}");
        }
    }

    #[test]
    fn what_is_not_there() {
        for (value, size) in [
            ("bytes=10-", 10),
            ("bytes=10-20", 10),
            ("bytes=99999999999999999999999-", 10),
            ("bytes=-0", 10),
            ("bytes=0-", 0),
            ("bytes=0-0", 0),
            ("bytes=-0", 0),
        ] {
            assert_eq!(parse(value.as_bytes(), size), Ranged::Unsatisfiable, "{value}");
        }
    }

    #[test]
    fn what_is_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=3-2",
            "bytes=1",
            "bytes=0x1-2",
            "bytes=+1-2",
            "bytes=1--2",
            "bytes=1-2-3",
            "items=0-1",
            "bytes 0-1",
            "bytes=0-1,3-4",
            "bytes=0-1, -1",
            "bytes=1 - 2",
            "0-1",
            "bytes =0-1",
        ] {
            assert_eq!(parse(value.as_bytes(), 10), Ranged::Whole, "{value}");
        }
        assert_eq!(parse(b"bytes=-5", 0), Ranged::Whole);
    }

    proptest! {
        #[test]
        fn a_part_is_in_the_file(value in "(bytes=)?[0-9,\\- ]{0,30}", size in 0..40u64) {
            if let Ranged::Part { first, last } = parse(value.as_bytes(), size) {
                prop_assert!(first <= last && last < size);
            }
        }

        #[test]
        fn no_value_panics(value in any::<Vec<u8>>(), size in any::<u64>()) {
            parse(&value, size);
        }
    }
}
