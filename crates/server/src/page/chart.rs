//! Charts as inline SVG. Lines stretch with the page, text does not: the outer picture has no view box, so that
//! its text keeps its size, and what is drawn lies in an inner one that is stretched.

use std::fmt::Write;

use super::html::{Element, el};

/// The width of the inner picture; x goes from 0 to this.
pub(super) const WIDTH: f64 = 1000.0;

/// Room above what is drawn, in pixels, for the words of a line at the top.
const ABOVE: f64 = 18.0;

/// And below it, for words under a line at the bottom.
const BELOW: f64 = 20.0;

/// One chart: 0 is at the bottom, 1 at the top, both in x and y.
pub(super) struct Chart {
    height: f64,
    inner: Element,
    outer: Element,
    /// Words lie over everything.
    words: Vec<Element>,
}

impl Chart {
    /// An empty chart of so many pixels in height, with what it shows in words.
    pub(super) fn new(height: f64, label: &str) -> Self {
        let outer =
            el("svg").class("chart").attr("height", height).attr("role", "img").attr("aria-label", label);
        let inner = el("svg")
            .attr("width", "100%")
            .attr("height", height)
            .attr("viewBox", format!("0 0 {WIDTH} {height}"))
            .attr("preserveAspectRatio", "none");
        Self { height, inner, outer, words: Vec::new() }
    }

    fn y(&self, share: f64) -> f64 {
        self.height - BELOW - share.clamp(0.0, 1.0) * (self.height - ABOVE - BELOW)
    }

    /// A level line with its words.
    pub(super) fn level(mut self, at: f64, words: &str, class: &str) -> Self {
        let y = round(self.y(at));
        let line = el("line").class(class).attr("x1", 0).attr("x2", "100%").attr("y1", y).attr("y2", y);
        self.outer = self.outer.put(line);
        self.words
            .push(el("text").class(format!("t-{class}")).attr("x", 0).attr("y", round(y - 4.0)).put(words));
        self
    }

    /// A span of time, shaded; at least so wide that it is seen.
    pub(super) fn span(mut self, (from, to): (f64, f64), class: &str) -> Self {
        let width = (to - from).max(0.002);
        self.inner = self.inner.put(
            el("rect")
                .class(class)
                .attr("x", round(from * WIDTH))
                .attr("y", 0)
                .attr("width", round(width * WIDTH))
                .attr("height", self.height),
        );
        self
    }

    /// A moment.
    pub(super) fn moment(mut self, at: f64, class: &str) -> Self {
        let x = round(at * WIDTH);
        self.inner = self
            .inner
            .put(el("line").class(class).attr("x1", x).attr("x2", x).attr("y1", 0).attr("y2", self.height));
        self
    }

    /// A line through points from left to right; it breaks where there is no value.
    pub(super) fn line(mut self, points: &[(f64, Option<f64>)], class: &str) -> Self {
        let mut path = String::new();
        let mut pen_down = false;
        for (x, y) in points {
            match y {
                Some(y) => {
                    let letter = if pen_down { 'L' } else { 'M' };
                    let _ = write!(path, "{letter}{} {}", round(x * WIDTH), round(self.y(*y)));
                    // A lone point is still a dot.
                    if !pen_down {
                        path.push_str("h.01");
                    }
                    pen_down = true;
                }
                None => pen_down = false,
            }
        }
        self.inner = self.inner.put(el("path").class(format!("line {class}")).attr("d", path));
        self
    }

    /// Words at a point, on the side where there is room; `below` the point or above it.
    pub(super) fn label(mut self, (x, y): (f64, f64), words: &str, class: &str, below: bool) -> Self {
        let (anchor, shift) = if x > 0.5 { ("end", -8) } else { ("start", 8) };
        let top = if below { self.y(y) + 15.0 } else { self.y(y) - 6.0 };
        self.words.push(
            el("text")
                .class(class)
                .attr("x", format!("{}%", round(x * 100.0)))
                .attr("dx", shift)
                .attr("y", round(top.clamp(12.0, self.height - 3.0)))
                .attr("text-anchor", anchor)
                .put(words),
        );
        self
    }

    /// The picture.
    pub(super) fn draw(self) -> Element {
        self.outer.put(self.inner).put(self.words)
    }
}

/// One second of a spark line: requests and bad answers; `None`: nothing was heard.
pub(super) type Spark = Option<(u64, u64)>;

/// Sixty seconds of requests as bars, the newest at the right, with bad answers marked at the foot.
pub(super) fn spark(seconds: &[Spark]) -> Element {
    const HEIGHT: f64 = 36.0;
    let most = seconds.iter().flatten().map(|(requests, _)| *requests).max().unwrap_or(0).max(1) as f64;
    let bar = |class: &str, x: usize, height: f64| {
        el("rect")
            .class(class)
            .attr("x", x)
            .attr("y", round(HEIGHT - height))
            .attr("width", "0.8")
            .attr("height", round(height))
    };
    let mut picture = el("svg")
        .class("spark")
        .attr("viewBox", format!("0 0 {} {HEIGHT}", seconds.len().max(1)))
        .attr("preserveAspectRatio", "none")
        .attr("aria-hidden", "true");
    // What is not drawn over stays hatched: seconds of which nothing was heard.
    let known: Vec<bool> = seconds.iter().map(Option::is_some).collect();
    picture = picture.put(heard(&known, HEIGHT));
    for (x, second) in seconds.iter().enumerate() {
        picture = match second {
            None => picture,
            Some((requests, bad)) => {
                let height =
                    (*requests as f64 / most * (HEIGHT - 4.0)).max(if *requests > 0 { 1.5 } else { 0.0 });
                let bad_height = (*bad as f64 / most * (HEIGHT - 4.0)).clamp(9.0, HEIGHT);
                let marked = (*bad > 0).then(|| bar("s-bad", x, bad_height));
                picture.put(bar("s-req", x, height)).put(marked)
            }
        };
    }
    picture
}

/// The ground of the columns of which something is known; the picture's own ground is the hatching.
pub(super) fn heard(known: &[bool], height: f64) -> Vec<Element> {
    let mut grounds = Vec::new();
    let mut at = 0;
    for run in known.chunk_by(|a, b| a == b) {
        if run.first() == Some(&true) {
            let ground = el("rect").class("heard").attr("x", at).attr("width", run.len());
            grounds.push(ground.attr("y", 0).attr("height", height));
        }
        at += run.len();
    }
    grounds
}

/// To two decimals: finer than a screen.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_breaks_where_nothing_is_known() {
        let points = [(0.0, Some(0.0)), (0.5, Some(1.0)), (0.6, None), (1.0, Some(0.0))];
        let picture = Chart::new(120.0, "x").line(&points, "canary").draw().into_markup();
        assert!(picture.contains("M0 100h.01L500 18M1000 100h.01"), "{picture}");
    }

    #[test]
    fn one_bad_answer_among_thousands_is_still_seen() {
        let picture = spark(&[Some((9000, 1)), None]).into_markup();
        let heard = "class=\"heard\" x=\"0\" width=\"1\" ";
        assert!(picture.contains("height=\"9\"") && picture.contains(heard), "{picture}");
    }
}
