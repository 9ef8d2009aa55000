//! Markup that cannot be forgotten to escape: names of elements and attributes are literals, everything else is
//! text. Serves HTML, SVG and Atom alike.

use std::fmt::{Display, Write};

/// Elements that have no content; written so that they are good HTML and good XML.
const VOID: [&str; 6] = ["meta", "link", "input", "br", "hr", "wbr"];

/// Something that can stand inside an element.
pub(super) trait Render {
    /// Writes it as markup.
    fn render(self, out: &mut String);
}

/// An element on its way.
#[derive(Debug, Clone)]
#[must_use]
pub(super) struct Element {
    name: &'static str,
    head: String,
    body: String,
}

/// An element of this name, without attributes and content.
pub(super) fn el(name: &'static str) -> Element {
    Element { name, head: String::new(), body: String::new() }
}

impl Element {
    /// With an attribute.
    pub(super) fn attr(mut self, name: &'static str, value: impl Display) -> Self {
        let _ = write!(self.head, " {name}=\"");
        escape(&value.to_string(), &mut self.head);
        self.head.push('"');
        self
    }

    /// With a class (one call an element).
    pub(super) fn class(self, class: impl Display) -> Self {
        self.attr("class", class)
    }

    /// With an attribute that has no value.
    pub(super) fn flag(mut self, name: &'static str) -> Self {
        let _ = write!(self.head, " {name}");
        self
    }

    /// With this inside, after what is there already.
    pub(super) fn put(mut self, content: impl Render) -> Self {
        content.render(&mut self.body);
        self
    }

    /// The markup.
    pub(super) fn into_markup(self) -> String {
        let mut out = String::new();
        self.render(&mut out);
        out
    }
}

impl Render for Element {
    fn render(self, out: &mut String) {
        let _ = if VOID.contains(&self.name) {
            write!(out, "<{}{}/>", self.name, self.head)
        } else {
            write!(out, "<{}{}>{}</{}>", self.name, self.head, self.body, self.name)
        };
    }
}

impl Render for &str {
    fn render(self, out: &mut String) {
        escape(self, out);
    }
}

impl Render for String {
    fn render(self, out: &mut String) {
        escape(&self, out);
    }
}

impl<T: Render> Render for Option<T> {
    fn render(self, out: &mut String) {
        if let Some(content) = self {
            content.render(out);
        }
    }
}

impl<T: Render> Render for Vec<T> {
    fn render(self, out: &mut String) {
        for content in self {
            content.render(out);
        }
    }
}

impl<A: Render, B: Render> Render for (A, B) {
    fn render(self, out: &mut String) {
        self.0.render(out);
        self.1.render(out);
    }
}

/// The one text that is markup already: our own style sheet, for pages that stand alone.
pub(super) struct StyleSheet(pub(super) &'static str);

impl Render for StyleSheet {
    fn render(self, out: &mut String) {
        out.push_str(self.0);
    }
}

/// Text as markup. Characters that XML 1.0 forbids become the replacement character.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            // Marks that turn the reading direction could make one name look like another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_text_holds_it_stays_text() {
        let hostile = "\"><script>alert('1')</script>&\0\u{1b}[31m\u{202e}";
        let markup = el("a").attr("title", hostile).put(hostile).put(el("br")).into_markup();
        let safe =
            "&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;\u{fffd}\u{fffd}[31m\u{fffd}";
        assert_eq!(markup, format!("<a title=\"{safe}\">{safe}<br/></a>"));
    }
}
