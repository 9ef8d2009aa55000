//! A service's state as a picture for other pages: it stands alone, so its colours stand in it.

use hmsops_model::ServiceName;

use super::Look;
use super::history::Public;
use super::html::el;

/// The width of a character of 12 px text, about; wide enough for any fallback font.
const CHARACTER: usize = 8;

/// `csac-portal works`, as SVG; `None`: no such service is declared.
pub fn badge_svg(look: &Look<'_>, name: &ServiceName) -> Option<String> {
    let service = look.view.state.services.get(name).filter(|service| !service.retired)?;
    let public = Public::of(&look.outlook(), service);
    // White on each of these has a contrast of 4.5 to 1 or more.
    let (colour, mark) = match public {
        Public::Working => ("#1f7a3d", "●"),
        Public::Failing => ("#b3261e", "■"),
        Public::Unknown(_) => ("#5d5f59", "◌"),
    };
    let word = format!("{mark} {}", public.word());
    let left = name.as_str().len() * CHARACTER + 16;
    let right = word.chars().count() * CHARACTER + 16;
    let words = |at: usize, text: &str| {
        el("text").attr("x", at).attr("y", 16).attr("fill", "#ffffff").attr("text-anchor", "middle").put(text)
    };
    let dashed = matches!(public, Public::Unknown(_)).then(|| {
        let edge = el("rect").attr("x", left + 1).attr("y", 1).attr("width", right - 2).attr("height", 22);
        edge.attr("fill", "none").attr("stroke", "#ffffff").attr("stroke-dasharray", "4 3")
    });
    let picture = el("svg")
        .attr("xmlns", "http://www.w3.org/2000/svg")
        .attr("width", left + right)
        .attr("height", 24)
        .attr("role", "img")
        .attr("aria-label", format!("{name}: {}", public.word()))
        .attr("font-family", "Verdana, DejaVu Sans, sans-serif")
        .attr("font-size", 12)
        .put(el("title").put(format!("{name}: {}", public.word())))
        .put(el("rect").attr("width", left).attr("height", 24).attr("fill", "#33352f"))
        .put(el("rect").attr("x", left).attr("width", right).attr("height", 24).attr("fill", colour))
        .put(dashed)
        .put(words(left / 2, name.as_str()))
        .put(words(left + right / 2, &word));
    Some(picture.into_markup())
}
