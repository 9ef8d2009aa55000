//! New inputs from old ones.

use crate::dice::Dice;

/// The longest input that is made, in bytes: what nests or repeats does so within it.
pub(crate) const INPUT_BYTES_MAX: usize = 64 << 10;

/// Where parsers of numbers and lengths have their edges.
const EDGES: &[&[u8]] = &[
    b"0",
    b"-1",
    b"1e308",
    b"-0",
    b"NaN",
    b"+Inf",
    b"1e-400",
    b"0x7fffffffffffffff",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"18446744073709551616",
    b"4294967295",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x00\x00\x00\x00",
    b"292y",
    b"1ms",
    b"\xc3\xa9",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x92\xa9",
    b"\"",
    b"'",
    b"`",
    b"\\",
    b"\\u0000",
    b"\n",
    b"\0",
    b"{",
    b"}",
    b"(",
    b")",
    b"[",
    b"]",
    b"{{",
    b"}}",
    b":",
    b"- ",
    b"&a",
    b"*a",
];

/// One to a few changes of one input, with another one to take parts from.
pub(crate) fn mutate(dice: &mut Dice, from: &[u8], other: &[u8], words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = from.to_vec();
    for _ in 0..=dice.below(4) {
        change(dice, &mut bytes, other, words);
        bytes.truncate(INPUT_BYTES_MAX);
    }
    bytes
}

fn change(dice: &mut Dice, bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    let at = dice.below(bytes.len() + 1);
    let span = part(dice, bytes);
    match dice.below(10) {
        0 => {
            let bit = 1 << dice.below(8);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= bit;
            }
        }
        1 => {
            let new = dice.roll() as u8;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = new;
            }
        }
        2 => bytes.truncate(at),
        3 => {
            bytes.drain(span);
        }
        4 => {
            let copy = bytes[span].to_vec();
            insert(bytes, at, &copy);
        }
        // Deep nesting and long lists.
        5 => {
            let one = bytes[span].to_vec();
            let one = &one[..one.len().min(16)];
            let times = [3, 30, 300, 3000][dice.below(4)];
            insert(bytes, at, &one.repeat(times));
        }
        6 => insert(bytes, at, &other[part(dice, other)]),
        7 => {
            bytes.truncate(at);
            bytes.extend_from_slice(&other[dice.below(other.len() + 1)..]);
        }
        8 => {
            let edge = EDGES[dice.below(EDGES.len())];
            let end = (at + edge.len() * dice.below(2)).min(bytes.len());
            bytes.splice(at..end, edge.iter().copied());
        }
        _ => match words {
            [] => bytes.reverse(),
            words => insert(bytes, at, words[dice.below(words.len())]),
        },
    }
}

fn part(dice: &mut Dice, bytes: &[u8]) -> std::ops::Range<usize> {
    let from = dice.below(bytes.len() + 1);
    let most = if dice.below(4) == 0 { bytes.len() } else { 12 };
    from..(from + dice.below(most + 1)).min(bytes.len())
}

fn insert(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    bytes.splice(at..at, new.iter().copied());
}
