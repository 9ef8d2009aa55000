//! The style sheet, and the live parts where they are built; each by its content's hash in its address, so that
//! browsers may keep it for ever.

use std::fmt::Write;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// The style sheet.
pub(super) const CSS: &str = include_str!("assets/tower.css");

/// Its address, with the content's hash: `/assets/tower.css?v=3f2a91c04d77`.
pub(super) static CSS_PATH: LazyLock<String> = LazyLock::new(|| address("tower.css", CSS.as_bytes()));

/// The script and the style sheet of the live parts, if they were built before the tower was.
const LIVE: Option<(&[u8], &[u8])> = include!(concat!(env!("OUT_DIR"), "/live.rs"));

/// The addresses of the live parts' script and style sheet.
pub(super) static LIVE_PATHS: LazyLock<Option<(String, String)>> =
    LazyLock::new(|| LIVE.map(|(js, css)| (address("live.js", js), address("live.css", css))));

fn address(name: &str, content: &[u8]) -> String {
    format!("/assets/{name}?v={}", hash(content))
}

/// By which a browser asks whether an asset is still the same (RFC 9110, § 8.8.3).
pub fn tag(content: &[u8]) -> String {
    format!("\"{}\"", hash(content))
}

fn hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().take(6).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What is served under `/assets/`: the content type and the bytes of a file, named alone or by its whole path
/// without the query. It may be cached for ever, because pages name it with its hash.
pub fn asset(path: &str) -> Option<(&'static str, &'static [u8])> {
    match path.strip_prefix("/assets/").unwrap_or(path) {
        "tower.css" => Some(("text/css; charset=utf-8", CSS.as_bytes())),
        "live.js" => LIVE.map(|(js, _)| ("text/javascript; charset=utf-8", js)),
        "live.css" => LIVE.map(|(_, css)| ("text/css; charset=utf-8", css)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Custom properties with a six-digit colour, of the light theme and of the dark one laid over it.
    fn themes() -> [BTreeMap<&'static str, [f64; 3]>; 2] {
        let dark_at = CSS.find("prefers-color-scheme: dark").unwrap();
        let light = colours(&CSS[..dark_at]);
        let mut dark = light.clone();
        dark.extend(colours(&CSS[dark_at..]));
        [light, dark]
    }

    fn colours(css: &'static str) -> BTreeMap<&'static str, [f64; 3]> {
        let declarations = css.split([';', '{', '}']).filter_map(|part| part.trim().split_once(':'));
        declarations
            .filter_map(|(name, value)| {
                let hex = value.trim().strip_prefix('#').filter(|hex| hex.len() == 6)?;
                let channel = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).ok().map(f64::from);
                Some((name.trim().strip_prefix("--")?, [channel(0)?, channel(2)?, channel(4)?]))
            })
            .collect()
    }

    /// Relative luminance and contrast of WCAG 2.2.
    fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
        let luminance = |rgb: [f64; 3]| {
            let linear = rgb.map(|channel| {
                let c = channel / 255.0;
                if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
            });
            0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        };
        let (high, low) = (luminance(a).max(luminance(b)), luminance(a).min(luminance(b)));
        (high + 0.05) / (low + 0.05)
    }

    /// Text has a contrast of 4.5 to 1 (AA) on each ground it stands on, in both themes; marks, lines and the
    /// borders of what can be pressed 3 to 1.
    #[test]
    fn contrast_is_aa_in_both_themes() {
        let text = ["text", "muted", "faint", "accent", "ok", "warn", "bad", "unknown", "stable", "canary"];
        let grounds = ["bg", "surface", "sunken"];
        for (theme, colours) in ["light", "dark"].iter().zip(themes()) {
            let pairs = text.iter().flat_map(|text| grounds.map(|ground| (*text, ground, 4.5)));
            let softs = ["ok", "warn", "bad", "unknown", "accent"].map(|name| (name, 4.5));
            let edges = grounds.map(|ground| ("edge", ground, 3.0));
            for (front, back, least) in pairs.chain(edges) {
                let ratio = contrast(colours[front], colours[back]);
                assert!(ratio >= least, "{theme}: {front} on {back} is {ratio:.2}");
            }
            for (name, least) in softs {
                let soft = colours[format!("{name}-soft").as_str()];
                let ratio = contrast(colours[name], soft).min(contrast(colours["text"], soft));
                assert!(ratio >= least, "{theme}: {name} or text on its soft ground is {ratio:.2}");
            }
        }
    }

    #[test]
    fn no_text_is_smaller_than_12_px() {
        for part in CSS.split("font-size:").skip(1).chain(CSS.split("--t-").skip(1)) {
            let size = part.split([';', '}']).next().unwrap();
            let size = size.rsplit(':').next().unwrap().trim();
            let px = size.strip_suffix("px").and_then(|n| n.parse::<f64>().ok());
            assert!(px.is_none_or(|px| px >= 12.0), "{size}");
        }
    }

    #[test]
    fn the_sheet_asks_nothing_of_other_places() {
        assert!(!CSS.contains("url(") && !CSS.contains("@import") && !CSS.contains("</"));
        assert_eq!(asset("/assets/tower.css").unwrap().1, CSS.as_bytes());
        assert_eq!(asset("tower.css"), asset("/assets/tower.css"));
        assert!(asset("/assets/../Cargo.toml").is_none() && CSS_PATH.len() > "/assets/tower.css?v=".len());
    }
}
