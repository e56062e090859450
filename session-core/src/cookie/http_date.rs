//! Dates as HTTP writes them (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.

/// The end of the year 9999, in Unix seconds: the format has four digits for the year.
pub(crate) const LAST_DATE: u64 = 253_402_300_799;

const DAY: u64 = 24 * 60 * 60;

/// Returns the time `unix_seconds` after the start of 1970. Times after the year 9999 are capped at
/// its end.
///
/// Most Set-Cookie headers need a date. With the crate `httpdate` it would take about as many
/// instructions as the rest of the header.
pub(super) fn http_date(unix_seconds: u64) -> [u8; 29] {
    let seconds = unix_seconds.min(LAST_DATE);
    // The cap keeps both in range.
    let days = u32::try_from(seconds / DAY).unwrap_or(u32::MAX);
    let time = u32::try_from(seconds % DAY).unwrap_or(u32::MAX);
    let (year, month, day) = year_month_day(days);
    let mut date = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    date[..4].copy_from_slice(&WEEKDAYS[(days % 7) as usize]);
    date[5..7].copy_from_slice(&two_digits(day));
    date[7..11].copy_from_slice(&MONTHS[month as usize]);
    date[12..14].copy_from_slice(&two_digits(year / 100));
    date[14..16].copy_from_slice(&two_digits(year % 100));
    date[17..19].copy_from_slice(&two_digits(time / 3600));
    date[20..22].copy_from_slice(&two_digits(time / 60 % 60));
    date[23..25].copy_from_slice(&two_digits(time % 60));
    date
}

/// Returns the year, the month (March is 0, February is 11) and the day of the month of the date
/// `days` after 1 January 1970.
///
/// Years begin in March here, so that the leap day is the last day of a year. The function counts
/// quarters of days: a year has 1,461 of them on average, and a century 146,097.
fn year_month_day(days: u32) -> (u32, u32, u32) {
    const DAYS_BEFORE_1970: u32 = 719_468; // since 1 March of the year 0
    let quarters = 4 * (days + DAYS_BEFORE_1970) + 3;
    // `| 3` goes to the last quarter of the day.
    let (century, quarters) = (quarters / 146_097, (quarters % 146_097) | 3);
    let (year, day_of_year) = (quarters / 1461, quarters % 1461 / 4);
    // March to July have 153 days, and so have August to December.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    // January and February belong to the next year of the calendar.
    let year = 100 * century + year + u32::from(month >= 10);
    (year, month, day)
}

/// Returns `number`, which is below 100, as two decimal digits.
fn two_digits(number: u32) -> [u8; 2] {
    TWO_DIGITS[number as usize]
}

/// 1 January 1970 was a Thursday.
const WEEKDAYS: [[u8; 4]; 7] = [
    *b"Thu,", *b"Fri,", *b"Sat,", *b"Sun,", *b"Mon,", *b"Tue,", *b"Wed,",
];

const MONTHS: [[u8; 4]; 12] = [
    *b" Mar", *b" Apr", *b" May", *b" Jun", *b" Jul", *b" Aug", *b" Sep", *b" Oct", *b" Nov",
    *b" Dec", *b" Jan", *b" Feb",
];

const TWO_DIGITS: [[u8; 2]; 100] = {
    let mut table = [*b"00"; 100];
    let mut number = 0;
    while number < 100_u8 {
        table[number as usize] = [b'0' + number / 10, b'0' + number % 10];
        number += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

    use super::*;

    /// Formats with the crate `httpdate`.
    fn reference(seconds: u64) -> String {
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
    }

    fn ours(seconds: u64) -> String {
        String::from_utf8(http_date(seconds).to_vec()).unwrap()
    }

    #[test]
    fn a_known_date_is_written_as_the_rfc_has_it() {
        assert_eq!(ours(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(ours(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn every_day_of_400_years_is_as_httpdate_writes_it() {
        for day in 0..=146_097 {
            // Another time each day, the last second of a day included.
            let seconds = day * DAY + (day * 7_919 + DAY - 1) % DAY;
            assert_eq!(ours(seconds), reference(seconds));
        }
    }

    #[test]
    fn times_after_the_year_9999_are_capped() {
        let last = "Fri, 31 Dec 9999 23:59:59 GMT";
        assert_eq!(reference(LAST_DATE), last);
        for seconds in [LAST_DATE, LAST_DATE + 1, u64::MAX] {
            assert_eq!(ours(seconds), last);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(2_000)
        })]

        #[test]
        fn any_date_is_as_httpdate_writes_it(seconds in 0..=LAST_DATE) {
            prop_assert_eq!(ours(seconds), reference(seconds));
        }

        #[test]
        fn any_number_of_seconds_is_a_date(seconds in any::<u64>()) {
            prop_assert_eq!(ours(seconds), reference(seconds.min(LAST_DATE)));
        }
    }
}
