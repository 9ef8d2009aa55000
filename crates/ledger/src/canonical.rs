//! One JSON text for one value: the JSON Canonicalization Scheme, RFC 8785. Hashes are of these bytes.
//!
//! One difference: an integer that is beyond 2^53 is written with all its digits, because it must come back as
//! it went in. RFC 8785 would round it to a double.

use serde_json::Value;

/// Deeper values are refused: `serde_json` reads back 128 levels, the envelope is one of them.
pub const DEPTH_MAX: usize = 100;

/// The canonical text of `value`, `None` when it is nested deeper than [`DEPTH_MAX`].
pub fn to_vec(value: &Value) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    write(value, DEPTH_MAX, &mut out).then_some(out)
}

fn write(value: &Value, depth: usize, out: &mut Vec<u8>) -> bool {
    if depth == 0 {
        return false;
    }
    match value {
        Value::Null => out.extend(b"null"),
        Value::Bool(true) => out.extend(b"true"),
        Value::Bool(false) => out.extend(b"false"),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => out.extend(ecmascript(float).as_bytes()),
            None => out.extend(number.to_string().as_bytes()),
        },
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                if !write(item, depth - 1, out) {
                    return false;
                }
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            // By UTF-16 code units, which is not the order of UTF-8 above U+FFFF (RFC 8785 §3.2.3).
            sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push(b'{');
            for (index, (key, item)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_text(key, out);
                out.push(b':');
                if !write(item, depth - 1, out) {
                    return false;
                }
            }
            out.push(b'}');
        }
    }
    true
}

/// RFC 8785 §3.2.2.2: short escapes where JSON has them, `\u00xx` for other controls, all else as it is.
fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend(b"\\\""),
            b'\\' => out.extend(b"\\\\"),
            0x08 => out.extend(b"\\b"),
            0x09 => out.extend(b"\\t"),
            0x0a => out.extend(b"\\n"),
            0x0c => out.extend(b"\\f"),
            0x0d => out.extend(b"\\r"),
            0x00..=0x1f => out.extend(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// A double as ECMAScript writes it (ECMA-262, Number::toString, to which RFC 8785 §3.2.2.3 refers).
fn ecmascript(float: f64) -> String {
    if float == 0.0 {
        return "0".to_owned();
    }
    // Rust's exponent form has the shortest digits that read back to the same double, as ECMAScript's.
    let text = format!("{:e}", float.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = mantissa.replace('.', "");
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let count = digits.len() as i32;
    let sign = if float < 0.0 { "-" } else { "" };
    let zeros = |n: i32| "0".repeat(n.max(0) as usize);
    match point {
        n if count <= n && n <= 21 => format!("{sign}{digits}{}", zeros(n - count)),
        n if 0 < n && n <= 21 => format!("{sign}{}.{}", &digits[..n as usize], &digits[n as usize..]),
        n if -6 < n && n <= 0 => format!("{sign}0.{}{digits}", zeros(-n)),
        n if count == 1 => format!("{sign}{digits}e{:+}", n - 1),
        n => format!("{sign}{}.{}e{:+}", &digits[..1], &digits[1..], n - 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(value: &Value) -> String {
        String::from_utf8(to_vec(value).unwrap()).unwrap()
    }

    /// The sample of RFC 8785 §3.2.2 and §3.2.4.
    #[test]
    fn the_sample_of_the_rfc() {
        let value = json!({
            "numbers": [333_333_333.333_333_3_f64, 1e30, 4.50, 2e-3, 0.000_000_000_000_000_000_000_000_001],
            "string": "\u{20ac}$\u{000f}\u{000a}A'\u{0042}\u{0022}\u{005c}\\\"/",
            "literals": [null, true, false]
        });
        assert_eq!(
            text(&value),
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
             \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
    }

    /// The sorting sample of RFC 8785 §3.2.3: by UTF-16 code units.
    #[test]
    fn keys_sort_by_utf_16() {
        let keys = ["\u{20ac}", "\r", "\u{fb33}", "1", "\u{1f600}", "\u{80}", "\u{f6}"];
        let value = Value::Object(keys.iter().map(|k| ((*k).to_owned(), Value::Null)).collect());
        let order = ["\r", "1", "\u{80}", "\u{f6}", "\u{20ac}", "\u{1f600}", "\u{fb33}"];
        let places = order.map(|k| text(&value).find(&text(&json!(k))).unwrap());
        assert!(places.is_sorted(), "{places:?}");
    }

    /// From RFC 8785, appendix B.
    #[test]
    fn numbers_as_ecmascript_writes_them() {
        for (bits, expected) in [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        ] {
            assert_eq!(ecmascript(f64::from_bits(bits)), expected);
        }
        assert_eq!(text(&json!([u64::MAX, i64::MIN])), "[18446744073709551615,-9223372036854775808]");
    }

    #[test]
    fn too_deep_values_are_refused() {
        let deep = |n| (0..n).fold(json!(1), |value, _| json!([value]));
        assert!(to_vec(&deep(DEPTH_MAX - 1)).is_some());
        assert!(to_vec(&deep(DEPTH_MAX)).is_none());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(bits in any::<u64>(), key in ".*", whole in any::<i64>()) {
            let float = f64::from_bits(bits);
            prop_assume!(float.is_finite());
            let value = json!({key: [float, whole]});
            let written = to_vec(&value).unwrap();
            let read: Value = serde_json::from_slice(&written).unwrap();
            let numbers = read.as_object().unwrap().values().next().unwrap();
            // Adding 0 makes 0 of −0, as RFC 8785 does.
            prop_assert_eq!(numbers[0].as_f64().unwrap().to_bits(), (float + 0.0).to_bits());
            prop_assert_eq!(numbers[1].as_i64().unwrap(), whole);
            prop_assert_eq!(to_vec(&read).unwrap(), written);
        }
    }
}
