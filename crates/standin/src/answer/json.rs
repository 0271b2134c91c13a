//! JSON text and times as Go's encoder writes them.
//!
//! Invariant: what it writes is valid JSON for any input string.
//! Absent: structures; the dialects write their few fixed shapes with `format_args`.

use std::fmt;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// A string with quotes, escaped as Go does with its HTML-safe default.
pub(crate) fn string(text: &str) -> Escaped<'_> {
    Escaped(text)
}

/// See [`string`].
pub(crate) struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        let mut plain = 0;
        for (at, c) in self.0.char_indices() {
            let escape = match c {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                '\u{8}' => "\\b",
                '\u{c}' => "\\f",
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => "",
                _ => continue,
            };
            f.write_str(self.0.get(plain..at).unwrap_or_default())?;
            if escape.is_empty() {
                write!(f, "\\u{:04x}", u32::from(c))?;
            } else {
                f.write_str(escape)?;
            }
            plain = at + c.len_utf8();
        }
        f.write_str(self.0.get(plain..).unwrap_or_default())?;
        f.write_char('"')
    }
}

/// Seconds since 1970.
pub(crate) fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// UTC with nanoseconds, trailing zeros cut, as Go's `RFC3339Nano`.
pub(crate) fn rfc3339(time: SystemTime) -> Stamp {
    Stamp(time)
}

/// See [`rfc3339`].
pub(crate) struct Stamp(SystemTime);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        // Days to a date in the proleptic Gregorian calendar, by eras of 400 years from 0000-03-01.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        let (mut fraction, mut width) = (since.subsec_nanos(), 9);
        if fraction > 0 {
            while fraction % 10 == 0 {
                fraction /= 10;
                width -= 1;
            }
            write!(f, ".{fraction:0width$}")?;
        }
        f.write_char('Z')
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn strings_survive_a_json_parser() {
        let hard = "a\"b\\c\n\r\t\u{1}\u{8}\u{c}<>&\u{2028}ß川🜁";
        let back: String = serde_json::from_str(&string(hard).to_string()).unwrap();
        assert_eq!(back, hard);
        assert_eq!(string("a<b").to_string(), "\"a\\u003cb\"");
    }

    #[test]
    fn times_read_as_go_writes_them() {
        let at = |secs, nanos| rfc3339(UNIX_EPOCH + Duration::new(secs, nanos)).to_string();
        assert_eq!(at(1_795_378_658, 541_426_130), "2026-11-22T20:17:38.54142613Z");
        assert_eq!(at(951_782_400, 0), "2000-02-29T00:00:00Z");
    }
}
