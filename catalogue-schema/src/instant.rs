//! Instants in documents: RFC 3339 text in, seconds since 1970-01-01 UTC out. [`crate::revision::rfc3339`] prints them.
//!
//! Never reads a clock: what time it is comes from the caller.

use crate::error::ParseError;

/// Reads an instant in UTC to the second, `2026-05-04T12:00:00Z`: one spelling, so that texts compare like instants.
///
/// **Errors**: `input.time` for any other form and for days that no calendar has.
pub fn parse(text: &str) -> Result<i64, ParseError> {
    let refused = || ParseError::new("input.time", "an instant in UTC such as 2026-05-04T12:00:00Z", text);
    let shape = b"0000-00-00T00:00:00Z";
    let fits = |(byte, form): (u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == *form };
    if text.len() != shape.len() || !text.bytes().zip(shape).all(fits) {
        return Err(refused());
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u32>().unwrap_or_default();
    let civil = Civil {
        year: number(0, 4),
        month: number(5, 7),
        day: number(8, 10),
        hour: number(11, 13),
        minute: number(14, 16),
        second: number(17, 19),
    };
    civil.seconds().ok_or_else(refused)
}

/// A date and a time of day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// 0 to 9999.
    pub year: u32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59: a leap second has no number of its own.
    pub second: u32,
}

impl Civil {
    /// Returns the seconds since 1970-01-01 UTC; `None` where no calendar has that instant.
    pub fn seconds(&self) -> Option<i64> {
        let Civil { year, month, day, hour, minute, second } = *self;
        let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            2 => 28 + u32::from(is_leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        if year > 9999 || !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        // Years start in March here, so that a leap day is the last day of one; 400 years are one cycle.
        let (years, month) = match month {
            1 | 2 => (i64::from(year) - 1, i64::from(month) + 9),
            _ => (i64::from(year), i64::from(month) - 3),
        };
        let (cycle, years) = (years.div_euclid(400), years.rem_euclid(400));
        let in_cycle = 365 * years + years / 4 - years / 100 + (153 * month + 2) / 5 + i64::from(day) - 1;
        let days = cycle * 146_097 + in_cycle - 719_468;
        Some(days * 86_400 + i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revision::rfc3339;

    #[test]
    fn an_instant_is_read_as_it_is_printed() {
        for seconds in (-62_167_219_200..253_402_300_800).step_by(86_399 * 7).chain([951_782_400, -1, 0]) {
            assert_eq!(parse(&rfc3339(seconds)).ok(), Some(seconds), "{}", rfc3339(seconds));
        }
    }

    #[test]
    fn another_spelling_and_another_calendar_are_refused() {
        for text in [
            "",
            "2026-05-04",
            "2026-05-04T12:00:00",
            "2026-05-04T12:00:00z",
            "2026-05-04 12:00:00Z",
            "2026-05-04T12:00:00.0Z",
            "2026-05-04T12:00:00+00:00",
            "+026-05-04T12:00:00Z",
            "2026-00-04T12:00:00Z",
            "2026-13-04T12:00:00Z",
            "2026-02-29T12:00:00Z",
            "1900-02-29T12:00:00Z",
            "2026-04-31T12:00:00Z",
            "2026-05-00T12:00:00Z",
            "2026-05-04T24:00:00Z",
            "2026-05-04T12:60:00Z",
            "2026-12-31T23:59:60Z",
        ] {
            assert_eq!(parse(text).expect_err(text).reason, "input.time", "{text}");
        }
    }
}
