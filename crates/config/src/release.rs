//! `dev/cd/canary.yaml` → [`ReleaseSpec`].

use hmsops_model::limits::{BAKE_DEFAULT, START_TIMEOUT_DEFAULT, STEP_HOLD_DEFAULT, STEPS_MAX};
use hmsops_model::release::{Image, Inconclusive, ReleaseSpec, Step};
use hmsops_model::{Millis, ServiceName, Weight};

use crate::diagnostic::{Checked, Findings, Refused, Span, shown};
use crate::fields::{Fields, Key, Shape};
use crate::health;
use crate::image::parse_image;
use crate::nearest::nearest;
use crate::scalar;
use crate::yaml::{self, Entry, Node};

pub(crate) static RELEASE: Shape = Shape {
    what: "a release",
    keys: &[
        Key::needed("service", "service: csac-portal", "a release says which service it is of"),
        Key::needed("image", "image: csac-portal:1.8.0", "a release says what to run"),
        Key::needed(
            "strategy",
            "strategy: {type: canary, steps: [{weight: 1}, {weight: 100}]}",
            "a release says how traffic moves",
        ),
        Key::needed(
            "healthChecks",
            "healthChecks: [{path: /health, threshold: 3 fails/60 s}]",
            "nothing could judge this release",
        )
        .also("health_checks"),
        Key::optional("bake", "bake: 30 min"),
        Key::optional("start_timeout", "start_timeout: 20 s"),
        Key::optional("shield_after", "shield_after: auto"),
        Key::optional("irreversible", "irreversible: true"),
        Key::optional("after", "after: [dmv-photo]"),
        Key::optional("margin", "margin: 1 %"),
        Key::optional("inconclusive", "inconclusive: extend"),
    ],
};

pub(crate) static STRATEGY: Shape = Shape {
    what: "a strategy",
    keys: &[
        Key::needed("type", "type: canary", "a strategy says its kind"),
        Key::needed("steps", "steps: [{weight: 1}, {weight: 100}]", "a canary moves traffic in steps"),
    ],
};

pub(crate) static STEP: Shape = Shape {
    what: "a step",
    keys: &[
        Key::needed("weight", "weight: 25", "a step says how much traffic the new version gets"),
        Key::optional("for", "for: 5 min"),
    ],
};

/// The longest a step, or the old version after the last one, may last.
const HOLD_MAX: Millis = Millis::from_mins(30 * 24 * 60);

/// Reads a release.
pub fn parse_release(text: &str) -> Checked<ReleaseSpec> {
    let mut out = Findings::new(text);
    let root = yaml::parse_filled(
        text,
        false,
        "a release has `service`, `image`, `strategy` and `healthChecks`",
        &mut out,
    );
    let spec = root.and_then(|root| release(&root, &mut out));
    out.finish(spec)
}

fn release(root: &Node, out: &mut Findings) -> Option<ReleaseSpec> {
    let fields = Fields::open(root, root.at, &RELEASE, out)?;
    let service = fields.get("service").and_then(|entry| scalar::service(&entry.value, out));
    let image = fields.get("image").and_then(|entry| image(entry, out));
    let steps = fields.get("strategy").and_then(|entry| strategy(entry, out));
    let checks = fields.get("healthChecks").and_then(|entry| health::checks(entry, out));
    let span = |name, least, most, default, out: &mut Findings| match fields.get(name) {
        Some(entry) => scalar::span(entry, least, most, out),
        None => Some(default),
    };
    let bake = span("bake", Millis::ZERO, HOLD_MAX, BAKE_DEFAULT, out);
    let start_timeout = span("start_timeout", Millis(100), Millis::from_mins(60), START_TIMEOUT_DEFAULT, out);
    let shield_after = fields.get("shield_after").map_or(Ok(None), |entry| shield_after(entry, out));
    let irreversible = fields.get("irreversible").map_or(Ok(None), |entry| irreversible(entry, out));
    let after = fields.get("after").map_or(Some(Vec::new()), |entry| after(entry, out));
    let margin_bp = fields.get("margin").map_or(Ok(None), |entry| margin(entry, out));
    let inconclusive =
        fields.get("inconclusive").map_or(Some(Inconclusive::default()), |entry| inconclusive(entry, out));
    Some(ReleaseSpec {
        service: service?,
        image: image?,
        steps: steps?,
        checks: checks?,
        bake: bake?,
        start_timeout: start_timeout?,
        shield_after: shield_after.ok()?,
        irreversible: irreversible.ok()?,
        after: after?,
        margin_bp: margin_bp.ok()?,
        inconclusive: inconclusive?,
    })
}

/// `true` (from the first traffic on), `false`, or the share from which on there is no way back.
fn irreversible(entry: &Entry, out: &mut Findings) -> Result<Option<Weight>, Refused> {
    let example = "irreversible: true";
    match scalar::text(&entry.value, "`irreversible`", example, out).ok_or(Refused)? {
        "true" | "True" | "TRUE" => Ok(Some(Weight::NONE)),
        "false" | "False" | "FALSE" => Ok(None),
        written if written.starts_with(|c: char| c.is_ascii_digit()) => {
            weight(&entry.value, out).map(Some).ok_or(Refused)
        }
        written => {
            let message = format!("`{}` does not say from where on there is no way back", shown(written));
            out.error(entry.value.at, message, "write `true`: from the first traffic on; or a share: `25`");
            Err(Refused)
        }
    }
}

/// The services whose releases go before this one's.
fn after(entry: &Entry, out: &mut Findings) -> Option<Vec<ServiceName>> {
    let nodes = scalar::list(entry, "after: [dmv-photo]", out)?;
    if nodes.len() > STEPS_MAX {
        out.error(entry.at, format!("{} services are more than {STEPS_MAX}", nodes.len()), "leave some out");
        return None;
    }
    scalar::each(nodes, |node| scalar::service(node, out))
}

/// `auto`, or a span of time.
fn shield_after(entry: &Entry, out: &mut Findings) -> Result<Option<Millis>, Refused> {
    let written = scalar::text(&entry.value, "`shield_after`", "shield_after: auto", out).ok_or(Refused)?;
    if written == "auto" {
        return Ok(None);
    }
    scalar::span(entry, Millis(10), Millis::from_secs(60), out).map(Some).ok_or(Refused)
}

/// `auto`, or per cent of answers with at most two decimals.
fn margin(entry: &Entry, out: &mut Findings) -> Result<Option<u32>, Refused> {
    let written = scalar::text(&entry.value, "`margin`", "margin: 1 %", out).ok_or(Refused)?;
    if written == "auto" {
        return Ok(None);
    }
    let number = written.strip_suffix('%').map_or(written, str::trim_end);
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let sound = (1..=3).contains(&whole.len()) && decimals.len() <= 2 && digits(whole) && digits(decimals);
    let bp = format!("{whole}{decimals:0<2}").parse::<u32>().ok();
    let Some(bp) = bp.filter(|bp| sound && !number.ends_with('.') && (1..=10_000).contains(bp)) else {
        let message = format!("margin `{}` is not a share of answers", shown(written));
        out.error(entry.value.at, message, "margins are per cent, 0.01 to 100, or `auto`");
        return Err(Refused);
    };
    Ok(Some(bp))
}

fn inconclusive(entry: &Entry, out: &mut Findings) -> Option<Inconclusive> {
    const KNOWN: [&str; 3] = ["extend", "hold", "ask"];
    let written = scalar::text(&entry.value, "`inconclusive`", "inconclusive: extend", out)?;
    match written {
        "extend" => Some(Inconclusive::Extend),
        "hold" => Some(Inconclusive::Hold),
        "ask" => Some(Inconclusive::Ask),
        _ => {
            let hint = match nearest(written, KNOWN) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "an inconclusive step may `extend`, `hold` or `ask`".to_owned(),
            };
            out.error(entry.value.at, format!("`{}` is not known here", shown(written)), hint);
            None
        }
    }
}

fn image(entry: &Entry, out: &mut Findings) -> Option<Image> {
    let written = scalar::text(&entry.value, "`image`", "image: csac-portal:1.8.0", out)?;
    parse_image(written)
        .map_err(|error| {
            let whole = error.width == written.chars().count();
            let at = if whole { entry.value.at } else { entry.value.part(error.offset, error.width, out) };
            out.error(at, error.message, error.hint);
        })
        .ok()
}

fn strategy(entry: &Entry, out: &mut Findings) -> Option<Vec<Step>> {
    let fields = Fields::open(&entry.value, entry.at, &STRATEGY, out)?;
    let known = fields.get("type").and_then(|entry| strategy_type(entry, out));
    let steps = fields.get("steps").and_then(|entry| steps(entry, out));
    known.and(steps)
}

fn strategy_type(entry: &Entry, out: &mut Findings) -> Option<()> {
    let written = scalar::text(&entry.value, "`type`", "type: canary", out)?;
    if written == "canary" {
        return Some(());
    }
    let hint = match nearest(written, ["canary"]) {
        Some(_) => "did you mean `canary`?",
        None => "`canary` is supported; for all at once use one step: `steps: [{weight: 100}]`",
    };
    out.error(entry.value.at, format!("the strategy `{}` is not supported", shown(written)), hint);
    None
}

/// Steps with strictly rising weights, the last one 100 %.
fn steps(entry: &Entry, out: &mut Findings) -> Option<Vec<Step>> {
    let nodes = scalar::list(entry, "steps: [{weight: 1}, {weight: 100}]", out)?;
    if nodes.len() > STEPS_MAX {
        out.error(entry.at, format!("{} steps are more than {STEPS_MAX}", nodes.len()), "leave some out");
        return None;
    }
    let mut steps = Vec::new();
    let mut sound = true;
    let mut before: Option<Weight> = None;
    for (index, node) in nodes.iter().enumerate() {
        let last = index + 1 == nodes.len();
        let Some((weight, at, hold)) = step(node, last, out) else {
            sound = false;
            continue;
        };
        // One wrong weight is one error: what follows is compared with the weight it could have had.
        let Some(weight) = weight else {
            sound = false;
            continue;
        };
        if let Some(before) = before.filter(|before| weight <= *before) {
            let message = format!("weight {weight} is not more than the {before} of the step before");
            out.error(at, message, "each step gives the new version more than the one before, up to 100");
            sound = false;
        } else if last && weight != Weight::ALL {
            let message = format!("the last step's weight is {weight}, not 100 %");
            out.error(at, message, "add a step `- weight: 100`: a release ends with all traffic");
            sound = false;
        }
        before = Some(weight);
        match hold {
            Some(hold) => steps.push(Step { weight, hold }),
            None => sound = false,
        }
    }
    sound.then_some(steps)
}

/// A step's weight (if it is one) and where it stands, and how long it lasts.
fn step(node: &Node, last: bool, out: &mut Findings) -> Option<(Option<Weight>, Span, Option<Millis>)> {
    let fields = Fields::open(node, node.at, &STEP, out)?;
    let hold = match fields.get("for") {
        Some(entry) if last => {
            let hold = scalar::span(entry, Millis(100), HOLD_MAX, out);
            if hold.is_some() {
                let hint = "say with `bake:` how long the old version stays warm";
                out.warning(entry.at, "the last step is not waited for", hint);
            }
            hold
        }
        Some(entry) => scalar::span(entry, Millis(100), HOLD_MAX, out),
        None => Some(STEP_HOLD_DEFAULT),
    };
    let entry = fields.get("weight")?;
    Some((weight(&entry.value, out), entry.value.at, hold))
}

const WEIGHTS: &str = "weights are per cent of users, 0.01 to 100";

/// Per cent with at most two decimals, with or without `%`.
fn weight(node: &Node, out: &mut Findings) -> Option<Weight> {
    let written = scalar::text(node, "`weight`", "weight: 25", out)?;
    let number_end = written.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(written.len());
    let (number, unit) = written.split_at(number_end);
    let wrong = |message: String, out: &mut Findings| {
        out.error(node.at, message, WEIGHTS);
        None
    };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || decimals.contains('.') || (number.contains('.') && decimals.is_empty()) {
        return wrong(format!("weight `{}` is not a number", shown(written)), out);
    }
    let unit_word = unit.trim();
    if !matches!(unit_word, "" | "%") {
        let gap = unit.chars().take_while(|c| c.is_whitespace()).count();
        let at = node.part(number.chars().count() + gap, unit_word.chars().count(), out);
        out.error(at, format!("`{}` is not a unit of weight", shown(unit_word)), WEIGHTS);
        return None;
    }
    let decimals = decimals.trim_end_matches('0');
    if decimals.len() > 2 {
        return wrong(format!("weight {} is finer than 0.01 %", shown(number)), out);
    }
    let hundreds: u64 = whole.parse().unwrap_or(u64::MAX);
    let fraction = format!("{decimals:0<2}").parse().unwrap_or(0);
    let points = hundreds.saturating_mul(100).saturating_add(fraction);
    match u16::try_from(points).ok().and_then(Weight::from_bp) {
        Some(Weight::NONE) => wrong("weight 0 sends no traffic".to_owned(), out),
        Some(weight) => Some(weight),
        None => wrong(format!("weight {} is more than 100 %", shown(number)), out),
    }
}
