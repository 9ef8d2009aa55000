//! What a heal has printed, as text for people: in messages, pages and terminals.

use std::path::Path;

use crate::shim::{self, Ends};

/// First and last of what the folder keeps. `printed` is how many bytes there were in all, once that is known.
pub(super) fn read(folder: &Path, printed: Option<u64>, bytes_max: usize) -> std::io::Result<String> {
    Ok(join(&shim::ends(folder, bytes_max)?, printed))
}

fn join(ends: &Ends, printed: Option<u64>) -> String {
    let head = plain(&ends.head);
    let shown = (ends.head.len() + ends.tail.len()) as u64;
    let missing = match printed {
        // The files may hold all of it although there are several.
        Some(printed) if printed <= shown => None,
        Some(printed) => Some(format!("[{} bytes left out]", printed - shown)),
        None => ends.cut.then(|| "[some of it left out]".to_owned()),
    };
    match missing {
        None => head + &plain(&ends.tail),
        Some(missing) => {
            let gap = if head.is_empty() || head.ends_with('\n') { "" } else { "\n" };
            format!("{head}{gap}{missing}\n{}", plain(&ends.tail))
        }
    }
}

/// Text that changes nothing where it is shown: no terminal's colours, no bells, no writing from right to left.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    text.chars().map(|c| if changes_display(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Control characters, and those that turn the direction of what stands after them (Unicode Annex 9, "Explicit
/// Directional Formatting Characters").
fn changes_display(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\n' && c != '\t') || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_for_people_holds_nothing_that_moves_a_cursor() {
        let bytes = b"caf\xc3\xa9\tok\r\n\x1b[31mred\x07 \xff \xe2\x80\xaetxt.exe\n";
        assert_eq!(plain(bytes), "caf\u{e9}\tok\n\u{fffd}[31mred\u{fffd} \u{fffd} \u{fffd}txt.exe\n");
    }

    #[test]
    fn what_is_left_out_is_said_between_the_ends() {
        let ends = Ends { head: b"first".to_vec(), tail: b"last\n".to_vec(), cut: true };
        assert_eq!(join(&ends, Some(1010)), "first\n[1000 bytes left out]\nlast\n");
        assert_eq!(join(&ends, None), "first\n[some of it left out]\nlast\n");
        assert_eq!(join(&ends, Some(10)), "firstlast\n");
    }
}
