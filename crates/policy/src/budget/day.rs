//! UTC days as numbers. Absent: calendars; a shell that shows a day makes a date of where it begins.

/// Seconds in a UTC day as Unix time counts them.
const SECONDS: u64 = 86_400;

/// A UTC day, counted from 1970-01-01.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Day(u64);

impl Day {
    /// The day of a moment, Unix seconds.
    #[must_use]
    pub const fn of(unix_seconds: u64) -> Day {
        Day(unix_seconds / SECONDS)
    }

    /// As stored.
    #[must_use]
    pub const fn from_number(number: u64) -> Day {
        Day(number)
    }

    /// To be stored.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Its first moment, Unix seconds.
    #[must_use]
    pub const fn begins(self) -> u64 {
        self.0.saturating_mul(SECONDS)
    }

    /// The day after it.
    #[must_use]
    pub const fn next(self) -> Day {
        Day(self.0.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_lasts_from_midnight_to_the_last_second_before_the_next() {
        let day = Day::of(1_795_392_000);
        assert_eq!(day, Day::from_number(20_780));
        assert_eq!([day.begins(), day.next().begins()], [1_795_392_000, 1_795_478_400]);
        assert_eq!(Day::of(day.next().begins() - 1), day);
        assert_eq!(Day::of(day.next().begins()), day.next());
    }

    #[test]
    fn the_last_day_has_no_end_that_wraps() {
        let last = Day::from_number(u64::MAX);
        assert_eq!((last.next(), last.begins()), (last, u64::MAX));
    }
}
