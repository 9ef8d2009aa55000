//! Spans of time as people write them: `30s`, `5 min`, `1d12h`, `500ms`, `1.5 s`.

use hmsops_model::Millis;

use crate::diagnostic::TextError;

/// The longest span that is read: a hundred years.
const DURATION_MAX: Millis = Millis(36_525 * 86_400_000);

/// Units from long to short; several names mean one unit.
const UNITS: &[(&[&str], u64)] = &[
    (&["y"], 365 * 86_400_000),
    (&["w"], 7 * 86_400_000),
    (&["d"], 86_400_000),
    (&["h"], 3_600_000),
    (&["min", "m"], 60_000),
    (&["s"], 1000),
    (&["ms"], 1),
];

/// Reads a span of time: numbers with the units `ms`, `s`, `m` or `min`, `h`, `d`, longest unit first, blanks
/// allowed; also `w` and `y` (365 d), and `0` alone, as Prometheus writes them. One number alone may have decimals
/// as long as whole milliseconds come out. At most 100 years.
pub fn parse_duration(text: &str) -> Result<Millis, TextError> {
    let chars: Vec<char> = text.chars().collect();
    let mut at = skip(&chars, 0, |c| c == ' ');
    if at == chars.len() {
        return Err(wrong("a span of time is empty", 0, chars.len()));
    }
    if text.trim_matches(' ') == "0" {
        return Ok(Millis::ZERO);
    }
    let mut total = Millis::ZERO;
    let mut last_unit = None;
    while at < chars.len() {
        let part = read_part(&chars, at)?;
        if last_unit.is_some_and(|last| part.unit <= last) {
            return Err(wrong(
                "units must go from long to short, each once",
                part.start,
                part.end - part.start,
            ));
        }
        if part.decimals && (last_unit.is_some() || part.end < chars.len()) {
            return Err(wrong("decimals go with one unit only", part.start, part.end - part.start));
        }
        last_unit = Some(part.unit);
        total = total + part.span;
        at = part.end;
    }
    if total > DURATION_MAX {
        return Err(wrong(format!("`{}` is longer than 100 years", cut(text)), 0, chars.len()));
    }
    Ok(total)
}

/// One number with its unit.
struct Part {
    start: usize,
    end: usize,
    unit: usize,
    decimals: bool,
    span: Millis,
}

fn read_part(chars: &[char], start: usize) -> Result<Part, TextError> {
    let number_end = skip(chars, start, |c| c.is_ascii_digit() || c == '.');
    let number = collect(chars, start, number_end);
    if number.is_empty() {
        let end = skip(chars, start, |c| c != ' ').max(start + 1);
        let message = format!("`{}` is not a span of time", cut(&collect(chars, start, end)));
        return Err(wrong(message, start, end - start));
    }
    let unit_start = skip(chars, number_end, |c| c == ' ');
    let unit_end = skip(chars, unit_start, |c| !c.is_ascii_digit() && !matches!(c, ' ' | '.'));
    let word = collect(chars, unit_start, unit_end);
    if word.is_empty() {
        return Err(wrong(format!("`{}` has no unit", cut(&number)), start, number_end - start));
    }
    let Some(unit) = UNITS.iter().position(|(names, _)| names.contains(&word.as_str())) else {
        let message = format!("`{}` is not a unit of time", cut(&word));
        return Err(wrong(message, unit_start, unit_end - unit_start));
    };
    let millis = UNITS.get(unit).map_or(1, |(_, millis)| *millis);
    let span = times(&number, millis).map_err(|why| {
        wrong(format!("`{}` {why}", cut(&collect(chars, start, unit_end))), start, unit_end - start)
    })?;
    let end = skip(chars, unit_end, |c| c == ' ');
    Ok(Part { start, end, unit, decimals: number.contains('.'), span })
}

/// A decimal number of units in milliseconds, exactly.
fn times(number: &str, unit_millis: u64) -> Result<Millis, &'static str> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || (number.contains('.') && !digits(decimals)) {
        return Err("is not a number with a unit");
    }
    if whole.len() > 12 || decimals.len() > 6 {
        return Err("has too many digits");
    }
    let scale = 10u64.pow(decimals.len() as u32);
    let parse = |text: &str| if text.is_empty() { 0 } else { text.parse::<u64>().unwrap_or(u64::MAX) };
    let rest = parse(decimals).saturating_mul(unit_millis);
    if !rest.is_multiple_of(scale) {
        return Err("is finer than a millisecond");
    }
    Ok(Millis(parse(whole).saturating_mul(unit_millis).saturating_add(rest / scale)))
}

fn skip(chars: &[char], from: usize, class: impl Fn(char) -> bool) -> usize {
    from + chars.iter().skip(from).take_while(|c| class(**c)).count()
}

fn collect(chars: &[char], from: usize, to: usize) -> String {
    chars.iter().skip(from).take(to.saturating_sub(from)).collect()
}

fn cut(text: &str) -> String {
    crate::diagnostic::shown(text)
}

fn wrong(message: impl Into<String>, offset: usize, width: usize) -> TextError {
    let hint = "write a number and a unit (`ms`, `s`, `min`, `h`, `d`): `30 s`, `5 min`, `1d12h`".to_owned();
    TextError { message: message.into(), hint, offset, width: width.max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_in_every_accepted_form() {
        for (text, ms) in [
            ("30s", 30_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1d12h", 129_600_000),
            ("1 d 12 h", 129_600_000),
            ("1 min 30 s", 90_000),
            ("5 min", 300_000),
            ("60 s", 60_000),
            (" 2 min ", 120_000),
            ("500ms", 500),
            ("1.5 s", 1500),
            ("0.25h", 900_000),
            ("0 s", 0),
            ("0", 0),
            ("1w2d", 777_600_000),
            ("1y", 31_536_000_000),
            ("400d", 34_560_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_we_print_can_be_read() {
        for ms in [1, 300, 1900, 30_000, 90_000, 300_000, 129_600_000] {
            assert_eq!(parse_duration(&Millis(ms).to_string()), Ok(Millis(ms)));
        }
    }

    #[test]
    fn mistakes_name_the_characters_meant() {
        for (text, message, offset, width) in [
            ("60 parsecs", "`parsecs` is not a unit of time", 3, 7),
            ("60", "`60` has no unit", 0, 2),
            ("", "a span of time is empty", 0, 1),
            ("soon", "`soon` is not a span of time", 0, 4),
            ("-5 s", "`-5` is not a span of time", 0, 2),
            ("5 min 2 h", "units must go from long to short, each once", 6, 3),
            ("5s 5s", "units must go from long to short, each once", 3, 2),
            ("1.5 h 2 s", "decimals go with one unit only", 0, 6),
            ("1.0005 s", "`1.0005 s` is finer than a millisecond", 0, 8),
            ("1.2.3 s", "`1.2.3 s` is not a number with a unit", 0, 7),
            ("99999999999999 s", "`99999999999999 s` has too many digits", 0, 16),
            ("999999999999 d", "`999999999999 d` is longer than 100 years", 0, 14),
            ("٣ s", "`٣` is not a span of time", 0, 1),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert_eq!(
                (error.message.as_str(), error.offset, error.width),
                (message, offset, width),
                "{text}"
            );
        }
    }
}
