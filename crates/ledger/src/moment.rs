//! Moments as people and auditors write them: RFC 3339 in UTC with milliseconds.

use hmsops_model::UnixMillis;

const DAY_MS: i64 = 86_400_000;

/// 0000-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z: what four digits of a year can say.
const RANGE: (i64, i64) = (-62_167_219_200_000, 253_402_300_799_999);

/// `2026-11-22T14:02:07.100Z`. Moments outside the years 0000 to 9999 become the nearest one inside.
pub fn rfc3339(at: UnixMillis) -> String {
    let at = at.0.clamp(RANGE.0, RANGE.1);
    let (year, month, day) = civil(at.div_euclid(DAY_MS));
    let ms = at.rem_euclid(DAY_MS);
    let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar: Howard Hinnant,
/// “chrono-Compatible Low-Level Date Algorithms”, `civil_from_days`. Years begin in March, so that the leap
/// day is the last one; an era has 400 years, 146 097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_as_rfc_3339() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_234_567_890_123, "2009-02-13T23:31:30.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (RANGE.0, "0000-01-01T00:00:00.000Z"),
            (RANGE.1, "9999-12-31T23:59:59.999Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
            (i64::MIN, "0000-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(UnixMillis(ms)), text);
        }
    }

    /// Each day follows the one before it, over leap years and centuries.
    #[test]
    fn no_day_is_missing_or_double() {
        let month_days = |y: i64, m: i64| match m {
            2 if y % 4 == 0 && (y % 100 != 0 || y % 400 == 0) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let (mut y, mut m, mut d) = (1900, 1, 1);
        for days in -25_567..60_000 {
            assert_eq!(civil(days), (y, m, d));
            (y, m, d) = match (m, d) {
                (12, 31) => (y + 1, 1, 1),
                (m, d) if d == month_days(y, m) => (y, m + 1, 1),
                (m, d) => (y, m, d + 1),
            };
        }
    }
}
