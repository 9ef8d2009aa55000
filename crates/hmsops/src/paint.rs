//! Colour: only on a terminal, and never alone.

use std::io::{self, IsTerminal as _};

/// Whether stdout takes colour.
pub(crate) fn data() -> bool {
    wanted() && io::stdout().is_terminal()
}

/// Whether stderr takes colour.
pub(crate) fn errors() -> bool {
    wanted() && io::stderr().is_terminal()
}

/// <https://no-color.org>
fn wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A text in an SGR colour (ECMA-48, §8.3.117), when coloured.
pub(crate) fn text(code: &str, text: &str, coloured: bool) -> String {
    if coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}
