//! Go's `fmt`: `printf`, as far as templates can reach it.

use std::fmt::Write as _;

use super::human;
use super::value::Val;

/// The widest that a verb may ask for.
const WIDTH_MAX: usize = 1000;

/// What stands between `%` and the verb.
#[derive(Debug, Default, Clone, Copy)]
struct Flags {
    /// A plus, or else a blank, stands before what is not negative.
    sign: Option<char>,
    is_left: bool,
    is_zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `printf`.
pub(super) fn printf(format: &str, args: &[Val]) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(c) = chars.peek() {
            match c {
                '+' => flags.sign = Some('+'),
                '-' => flags.is_left = true,
                '#' => {}
                ' ' => flags.sign = flags.sign.or(Some(' ')),
                '0' => flags.is_zero = true,
                _ => break,
            }
            chars.next();
        }
        flags.width = digits(&mut chars);
        if chars.next_if_eq(&'.').is_some() {
            flags.precision = Some(digits(&mut chars).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match args.get(next) {
                None => drop(write!(out, "%!{verb}(MISSING)")),
                Some(arg) => {
                    next += 1;
                    out.push_str(&one(verb, flags, arg));
                }
            },
        }
    }
    if next < args.len() {
        let extra: Vec<String> =
            args[next..].iter().map(|arg| format!("{}={}", arg.kind(), arg.print())).collect();
        let _ = write!(out, "%!(EXTRA {})", extra.join(", "));
    }
    out
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number: Option<usize> = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        number = Some((number.unwrap_or(0) * 10 + digit as usize).min(WIDTH_MAX));
    }
    number
}

fn one(verb: char, flags: Flags, arg: &Val) -> String {
    match (verb, arg) {
        ('v', Val::Float(value)) => number(signed(*value, flags, float('g', *value, flags)), flags),
        ('v' | 'd', Val::Int(value)) => number(signed(*value as f64, flags, value.abs().to_string()), flags),
        ('v', other) => padded(other.print(), flags),
        ('T', other) => padded(other.kind().to_owned(), flags),
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Val::Float(value)) => {
            number(signed(*value, flags, float(verb, *value, flags)), flags)
        }
        ('s', Val::Text(text) | Val::Histogram(text)) => padded(cut(text, flags), flags),
        ('s', other @ (Val::Time(_) | Val::Span(_) | Val::Map(_) | Val::List(_))) => {
            padded(other.print(), flags)
        }
        ('q', Val::Text(text)) => padded(crate::quote::quote(&cut(text, flags)), flags),
        ('x', Val::Text(text)) => padded(hex(text), flags),
        ('X', Val::Text(text)) => padded(hex(text).to_uppercase(), flags),
        ('t', Val::Bool(is)) => padded(is.to_string(), flags),
        ('x', Val::Int(value)) => {
            number(signed(*value as f64, flags, format!("{:x}", value.unsigned_abs())), flags)
        }
        ('X', Val::Int(value)) => {
            number(signed(*value as f64, flags, format!("{:X}", value.unsigned_abs())), flags)
        }
        ('o', Val::Int(value)) => {
            number(signed(*value as f64, flags, format!("{:o}", value.unsigned_abs())), flags)
        }
        ('b', Val::Int(value)) => {
            number(signed(*value as f64, flags, format!("{:b}", value.unsigned_abs())), flags)
        }
        ('c', Val::Int(value)) => {
            let c = u32::try_from(*value).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            padded(c.to_string(), flags)
        }
        (verb, Val::Nil) => format!("%!{verb}(<nil>)"),
        (verb, other) => format!("%!{verb}({}={})", other.kind(), other.print()),
    }
}

/// Its bytes.
fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The digits of a float without its sign.
fn float(verb: char, value: f64, flags: Flags) -> String {
    let size = value.abs();
    if !size.is_finite() {
        return if size.is_nan() { "NaN".into() } else { "Inf".into() };
    }
    match verb {
        'f' | 'F' => format!("{size:.*}", flags.precision.unwrap_or(6)),
        'e' | 'E' => {
            let text = format!("{size:.*e}", flags.precision.unwrap_or(6));
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let text = format!("{mantissa}{}", human::exponent_text(exponent.parse().unwrap_or(0)));
            if verb == 'E' { text.to_uppercase() } else { text }
        }
        'G' => human::general(size, flags.precision).to_uppercase(),
        _ => human::general(size, flags.precision),
    }
}

/// With its sign, which infinity shows only when asked.
fn signed(value: f64, flags: Flags, digits: String) -> String {
    let is_minus = value.is_sign_negative() && !value.is_nan();
    let is_infinite = value.is_infinite();
    if is_minus {
        format!("-{digits}")
    } else if let Some(sign) = flags.sign.or(is_infinite.then_some('+')) {
        format!("{sign}{digits}")
    } else {
        digits
    }
}

fn cut(text: &str, flags: Flags) -> String {
    match flags.precision {
        Some(most) => text.chars().take(most).collect(),
        None => text.to_owned(),
    }
}

/// Padded with zeroes after the sign, when that was asked for.
fn number(text: String, flags: Flags) -> String {
    let width = flags.width.unwrap_or(0);
    let is_number = text.ends_with(|c: char| c.is_ascii_hexdigit());
    if flags.is_zero && !flags.is_left && is_number && text.len() < width {
        let (sign, digits) = match text.strip_prefix(['-', '+', ' ']) {
            Some(digits) => (&text[..1], digits),
            None => ("", text.as_str()),
        };
        return format!("{sign}{}{digits}", "0".repeat(width - text.len()));
    }
    padded(text, flags)
}

fn padded(text: String, flags: Flags) -> String {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    match (missing, flags.is_left) {
        (0, _) => text,
        (missing, true) => text + &" ".repeat(missing),
        (missing, false) => " ".repeat(missing) + &text,
    }
}
