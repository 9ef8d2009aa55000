//! Dates of Unix times in seconds, in UTC.

use crate::ast::{Call, Span};
use crate::error::EvalError;
use crate::eval::{Column, Evaluated, Evaluator, Grid, Row};
use hmsops_model::labels::Labels;

/// A day of the proleptic Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Day {
    year: i64,
    month: i64,
    of_month: i64,
    /// Since 1970-01-01.
    number: i64,
}

/// The day of a Unix time (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn day(seconds: i64) -> Day {
    let number = seconds.div_euclid(86_400);
    let shifted = number + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let of_month = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    Day { year: year_of_era + era * 400 + i64::from(month <= 2), month, of_month, number }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn apply(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
    read: fn(i64) -> i64,
) -> Result<Evaluated, EvalError> {
    let mut rows = if let Some(arg) = call.args.first() {
        evaluator.vector(arg, grid)?
    } else {
        let mut column = Column::absent(grid.count);
        grid.times().enumerate().for_each(|(index, time)| column.set_float(index, time as f64 / 1000.0));
        vec![Row { labels: Labels::empty(), is_name_dropped: false, column }]
    };
    for row in &mut rows {
        row.is_name_dropped = true;
        row.column.drop_histograms();
        // Far times would overflow; the calendar is not defined there anyway.
        row.column.map(|value| if value.abs() < 1e15 { read(value as i64) as f64 } else { f64::NAN });
    }
    Ok(Evaluated::Vector(rows))
}

macro_rules! parts {
    ($($(#[$doc:meta])* $name:ident: $read:expr;)*) => {$(
        $(#[$doc])*
        pub(super) fn $name(
            evaluator: &mut Evaluator<'_>,
            call: &Call,
            _: Span,
            grid: Grid,
        ) -> Result<Evaluated, EvalError> {
            apply(evaluator, call, grid, $read)
        }
    )*};
}

parts! {
    /// The year.
    year: |seconds| day(seconds).year;
    /// 1 to 12.
    month: |seconds| day(seconds).month;
    /// 1 to 31.
    day_of_month: |seconds| day(seconds).of_month;
    /// 0 (Sunday) to 6.
    day_of_week: |seconds| (day(seconds).number + 4).rem_euclid(7);
    /// 1 to 366.
    day_of_year: |seconds| {
        let today = day(seconds);
        (1..today.month).map(|month| month_length(today.year, month)).sum::<i64>() + today.of_month
    };
    /// 28 to 31.
    days_in_month: |seconds| month_length(day(seconds).year, day(seconds).month);
    /// 0 to 23.
    hour: |seconds| seconds.rem_euclid(86_400) / 3600;
    /// 0 to 59.
    minute: |seconds| seconds.rem_euclid(3600) / 60;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_found_before_and_after_1970_and_in_leap_years() {
        for (seconds, expected) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (951_782_400, (2000, 2, 29)),
            (4_107_542_400, (2100, 3, 1)),
            (7_258_118_400, (2200, 1, 1)),
        ] {
            let found = day(seconds);
            assert_eq!((found.year, found.month, found.of_month), expected);
        }
    }
}
