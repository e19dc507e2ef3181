//! The Date field's value, made once a second.
//!
//! IMF-fixdate (RFC 9110 §5.6.7) from a time that the caller gives, so that there is no clock here.

/// An IMF-fixdate and the second that it stands for.
#[derive(Clone, Debug)]
pub struct DateCache {
    second: u64,
    text: [u8; 29],
}

impl DateCache {
    /// A cache that holds the epoch.
    pub fn new() -> Self {
        Self { second: 0, text: imf_fixdate(0) }
    }

    /// The date of `unix_seconds`, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn at(&mut self, unix_seconds: u64) -> &[u8; 29] {
        if unix_seconds != self.second {
            self.second = unix_seconds;
            self.text = imf_fixdate(unix_seconds);
        }
        &self.text
    }
}

impl Default for DateCache {
    fn default() -> Self {
        Self::new()
    }
}

/// The last second that four digits of a year can name: 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

fn imf_fixdate(unix_seconds: u64) -> [u8; 29] {
    let seconds = unix_seconds.min(LAST_SECOND);
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    // 1970-01-01 was a Thursday.
    let weekday = name::<7>(b"SunMonTueWedThuFriSat", (days + 4) % 7);
    let month = name::<12>(b"JanFebMarAprMayJunJulAugSepOctNovDec", month - 1);

    let mut text = *b"Ddd, 00 Mmm 0000 00:00:00 GMT";
    text[..3].copy_from_slice(weekday);
    two_digits(&mut text[5..7], day);
    text[8..11].copy_from_slice(month);
    two_digits(&mut text[12..14], year / 100);
    two_digits(&mut text[14..16], year % 100);
    two_digits(&mut text[17..19], second_of_day / 3600);
    two_digits(&mut text[20..22], second_of_day / 60 % 60);
    two_digits(&mut text[23..25], second_of_day % 60);
    text
}

/// Year, month 1..=12 and day 1..=31 of a day since the epoch, in the Gregorian calendar.
///
/// Counts years from March, so that the leap day is the last of its year, and in eras of 400 years,
/// after which the calendar repeats.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01 to the epoch
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn two_digits(to: &mut [u8], number: u64) {
    const DIGITS: [u8; 10] = *b"0123456789";
    for (byte, digit) in to.iter_mut().zip([number / 10 % 10, number % 10]) {
        *byte = usize::try_from(digit).map_or(b'0', |digit| DIGITS[digit]);
    }
}

/// The name at `index` of `N` names of three letters.
fn name<const N: usize>(names: &'static [u8], index: u64) -> &'static [u8] {
    let start = usize::try_from(index).unwrap_or(0) % N * 3;
    &names[start..start + 3]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(unix_seconds: u64) -> String {
        String::from_utf8(imf_fixdate(unix_seconds).to_vec()).unwrap()
    }

    #[test]
    fn known_dates() {
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(date(951_868_799), "Tue, 29 Feb 2000 23:59:59 GMT");
        assert_eq!(date(1_709_251_199), "Thu, 29 Feb 2024 23:59:59 GMT");
        assert_eq!(date(1_709_251_200), "Fri, 01 Mar 2024 00:00:00 GMT");
        assert_eq!(date(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
        assert_eq!(date(LAST_SECOND), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(date(u64::MAX), date(LAST_SECOND));
    }

    #[test]
    fn every_day_of_eight_centuries_follows_the_one_before() {
        let (mut year, mut month, mut day) = civil(0);
        for days in 1..292_194 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > last {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
            assert_eq!(civil(days), (year, month, day));
        }
    }

    #[test]
    fn cache_follows_the_second() {
        let mut cache = DateCache::new();
        assert_eq!(&cache.at(0)[..], b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&cache.at(1)[..], b"Thu, 01 Jan 1970 00:00:01 GMT");
        assert_eq!(&cache.at(1)[..], b"Thu, 01 Jan 1970 00:00:01 GMT");
        assert_eq!(&cache.at(0)[..], b"Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
