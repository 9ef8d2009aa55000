//! Queries drawn from a seed: expressions grown from the grammar over the series of `data`.
//!
//! Prometheus 2.42 is the judge here, so that what 3.0 made otherwise is left out (docs/reference/promql.md names it): moments and
//! steps are whole minutes and windows of subqueries are not, so that nothing lies on the edge of a window; `atan2`, dates of what
//! may be no number, `predict_linear` of a window that `@` holds, and what came later are not drawn. Nor is what has no one answer: `topk` among equals.

use crate::dice::Dice;

/// A query, and when it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) text: String,
    /// Unix seconds.
    pub(super) from: i64,
    pub(super) to: i64,
    /// Seconds; 0: one moment.
    pub(super) step: i64,
}

/// The last moment a query is for, and the first.
pub(super) struct Span {
    pub(super) from: i64,
    pub(super) to: i64,
}

const GAUGES: [&str; 6] = ["memory_bytes", "queue_length", "up", "cores", "intermittent", "queue_limit"];
const COUNTERS: [&str; 4] =
    ["cpu_seconds_total", "requests_total", "duration_seconds_count", "duration_seconds_bucket"];
const MATCHERS: [&str; 12] = [
    "job=\"photo\"",
    "job!=\"photo\"",
    "instance=~\"a.*\"",
    "instance=~\"[ab]:8080\"",
    "instance!~\"b.*|c:8080\"",
    "queue=\"\"",
    "queue!=\"\"",
    "status=~\"5..\"",
    "status=~\"200|500|\"",
    "path=\"/\"",
    "mode=~\"(?i)USER|idle\"",
    "none=~\".*\"",
];
const WINDOWS: [&str; 5] = ["1m", "90s", "5m", "17m", "1h"];
const OFFSETS: [&str; 4] = ["7m", "1h", "-3m", "2m"];
const OVER_COUNTERS: [&str; 6] = ["rate", "increase", "irate", "resets", "changes", "delta"];
const OVER_TIME: [&str; 15] = [
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "last_over_time",
    "present_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "delta",
    "idelta",
    "deriv",
    "changes",
    "absent_over_time",
    "quantile_over_time",
];
const OF_NUMBERS: [&str; 21] = [
    "abs",
    "ceil",
    "floor",
    "exp",
    "sqrt",
    "ln",
    "log2",
    "log10",
    "sgn",
    "sin",
    "cos",
    "tan",
    "atan",
    "sinh",
    "tanh",
    "deg",
    "rad",
    "sort",
    "sort_desc",
    "absent",
    "round",
];
const OF_DATES: [&str; 8] =
    ["minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year"];
const AGGREGATIONS: [&str; 8] = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"];
const GROUPINGS: [&str; 7] = [
    "",
    " by (job)",
    " by (job, instance)",
    " without (instance)",
    " without (instance, mode, kind)",
    " by (none)",
    " by ()",
];
const ARITHMETIC: [&str; 6] = ["+", "-", "*", "/", "%", "^"];
const COMPARISONS: [&str; 6] = ["==", "!=", ">", "<", ">=", "<="];
const MATCHINGS: [&str; 5] = [
    "",
    " on (job, instance)",
    " ignoring (mode, kind, status, path, queue)",
    " on (job)",
    " ignoring (instance)",
];

impl Draft {
    pub(super) fn draw(dice: &mut Dice, span: &Span) -> Self {
        let minutes = (span.to - span.from) / 60;
        let moment = |dice: &mut Dice| span.from + dice.below(minutes as u64) as i64 * 60;
        let (from, to) = (moment(dice), moment(dice));
        let (from, to) = (from.min(to), from.max(to));
        let step = if dice.one_in(3) { 0 } else { [60, 120, 300][dice.below(3) as usize] };
        let from = if step == 0 { to } else { from };
        let mut grower = Grower { dice, at: span.from + 3600 };
        let text = if grower.dice.one_in(12) {
            grower.scalar(2)
        } else {
            let depth = 1 + grower.dice.below(3) as u32;
            grower.vector(depth)
        };
        Self { text, from, to, step }
    }
}

struct Grower<'a> {
    dice: &'a mut Dice,
    /// A moment that `@` may name.
    at: i64,
}

impl Grower<'_> {
    fn pick(&mut self, items: &[&str]) -> String {
        self.dice.pick(items).to_owned()
    }

    fn matchers(&mut self) -> String {
        let count = self.dice.below(3);
        let some: Vec<String> = (0..count).map(|_| self.pick(&MATCHERS)).collect();
        if some.is_empty() { String::new() } else { format!("{{{}}}", some.join(", ")) }
    }

    /// What comes after a selector or a subquery.
    fn shift(&mut self) -> String {
        let at = self.at;
        match self.dice.below(10) {
            0 => format!(" offset {}", self.pick(&OFFSETS)),
            1 => format!(" @ {at}"),
            2 => self.pick(&[" @ start()", " @ end()"]),
            3 => format!(" @ {at} offset {}", self.pick(&OFFSETS)),
            _ => String::new(),
        }
    }

    fn gauge(&mut self) -> String {
        let name = if self.dice.one_in(12) { "odd".into() } else { self.pick(&GAUGES) };
        name + &self.matchers()
    }

    fn counter(&mut self) -> String {
        self.pick(&COUNTERS) + &self.matchers()
    }

    fn selector(&mut self) -> String {
        let name = if self.dice.one_in(2) { self.gauge() } else { self.counter() };
        name + &self.shift()
    }

    fn number(&mut self) -> String {
        self.pick(&["0", "1", "2", "-3.5", "100", "1e3", "0.25", "Inf", "-0"])
    }

    fn vector(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.selector();
        }
        match self.dice.below(14) {
            0 => self.selector(),
            1 | 2 => self.over_counter(),
            3 | 4 => self.over_time(depth),
            5 => self.of_number(depth),
            6..=8 => self.aggregation(depth),
            9 | 10 => self.binary(depth),
            11 => self.set(depth),
            12 => self.labelled(depth),
            _ => self.quantile(),
        }
    }

    fn over_counter(&mut self) -> String {
        let (function, counter) = (self.pick(&OVER_COUNTERS), self.counter());
        format!("{function}({counter}[{}]{})", self.pick(&WINDOWS), self.shift())
    }

    fn over_time(&mut self, depth: u32) -> String {
        let range = if self.dice.one_in(3) {
            // 30 s beside the minute, so that no step lies on the window's edge.
            let inner = self.vector(depth - 1);
            let window = self.pick(&["10m30s", "30m30s", "5m30s"]);
            let step = self.pick(&["1m", "2m", ""]);
            let shift = if inner.contains('@') { String::new() } else { self.shift() };
            format!("({inner})[{window}:{step}]{shift}")
        } else {
            format!("{}[{}]{}", self.gauge(), self.pick(&WINDOWS), self.shift())
        };
        match self.pick(&OVER_TIME).as_str() {
            "quantile_over_time" => {
                format!("quantile_over_time({}, {range})", self.pick(&["0", "0.5", "0.9", "1", "-1", "2"]))
            }
            "deriv" if self.dice.one_in(2) => {
                let (gauge, window) = (self.gauge(), self.pick(&WINDOWS));
                format!("predict_linear({gauge}[{window}], {})", self.pick(&["600", "-60", "0"]))
            }
            function => format!("{function}({range})"),
        }
    }

    fn of_number(&mut self, depth: u32) -> String {
        let inner = self.vector(depth - 1);
        match self.dice.below(8) {
            0 => format!("clamp({inner}, {}, {})", self.number(), self.number()),
            1 => format!("clamp_min({inner}, {})", self.number()),
            2 => format!("clamp_max({inner}, {})", self.number()),
            3 => format!("round({inner}, {})", self.pick(&["0.5", "10", "0.3", "3"])),
            4 => {
                let date = self.pick(&OF_DATES);
                format!("{date}(timestamp({}))", self.gauge())
            }
            5 => format!("-({inner})"),
            _ => format!("{}({inner})", self.pick(&OF_NUMBERS)),
        }
    }

    fn aggregation(&mut self, depth: u32) -> String {
        let grouping = self.pick(&GROUPINGS);
        match self.dice.below(8) {
            0 => {
                let (which, most) = (self.pick(&["topk", "bottomk"]), self.pick(&["1", "2", "5", "0"]));
                // Of which no two are equal, as counters are that began anew.
                format!("{which}{grouping} ({most}, memory_bytes{})", self.matchers())
            }
            1 => {
                let share = self.pick(&["0", "0.25", "0.5", "0.99", "1"]);
                format!("quantile{grouping} ({share}, {})", self.vector(depth - 1))
            }
            2 => format!("count_values{grouping} (\"value\", {})", self.gauge()),
            _ => format!("{}{grouping} ({})", self.pick(&AGGREGATIONS), self.vector(depth - 1)),
        }
    }

    fn binary(&mut self, depth: u32) -> String {
        let comparing = self.dice.one_in(3);
        let operator = if comparing { self.pick(&COMPARISONS) } else { self.pick(&ARITHMETIC) };
        let or_not = if comparing && self.dice.one_in(2) { " bool" } else { "" };
        let left = self.vector(depth - 1);
        if self.dice.one_in(2) {
            let right = self.scalar(depth - 1);
            return if self.dice.one_in(2) {
                format!("({left}) {operator}{or_not} {right}")
            } else {
                format!("{right} {operator}{or_not} ({left})")
            };
        }
        // Without it, 2.42 looks for several matches among what is kept alone.
        let or_not = if comparing { " bool" } else { "" };
        if self.dice.one_in(3) {
            return self.many(&operator, or_not);
        }
        let right = if self.dice.one_in(2) { left.clone() } else { self.vector(depth - 1) };
        format!("({left}) {operator}{or_not}{} ({right})", self.pick(&MATCHINGS))
    }

    /// Many to one, as it is written when it is meant to work.
    fn many(&mut self, operator: &str, or_not: &str) -> String {
        let many = self.pick(&[
            "cpu_seconds_total",
            "memory_bytes",
            "rate(requests_total[5m])",
            "sum by (job, instance, mode) (rate(cpu_seconds_total[5m]))",
        ]);
        let one = self.pick(&[
            "up",
            "cores",
            "sum by (job, instance) (memory_bytes)",
            "max without (kind) (memory_bytes)",
        ]);
        let more = self.pick(&["", "", "job"]);
        if self.dice.one_in(2) {
            format!("{many} {operator}{or_not} on (job, instance) group_left ({more}) {one}")
        } else {
            format!("{one} {operator}{or_not} on (job, instance) group_right () {many}")
        }
    }

    fn set(&mut self, depth: u32) -> String {
        let (left, right) = (self.vector(depth - 1), self.vector(depth - 1));
        let operator = self.pick(&["and", "or", "unless"]);
        let matching = self.pick(&["", " on (job)", " on (job, instance)", " ignoring (mode)", " on ()"]);
        format!("({left}) {operator}{matching} ({right})")
    }

    fn labelled(&mut self, depth: u32) -> String {
        let inner = self.vector(depth - 1);
        match self.dice.below(3) {
            0 => format!("label_replace({inner}, \"host\", \"$1-$2\", \"instance\", \"(.*):(80)80\")"),
            1 => format!("label_replace({inner}, \"job\", \"all\", \"none\", \"\")"),
            _ => format!("label_join({inner}, \"target\", \"/\", \"job\", \"instance\", \"none\")"),
        }
    }

    fn quantile(&mut self) -> String {
        let share = self.pick(&["0.5", "0.9", "0.99", "0", "1", "-1", "2"]);
        let grouping = self.pick(&[" by (le)", " by (job, le)", " without (instance)"]);
        let of = self.pick(&["rate", "increase"]);
        let window = self.pick(&["5m", "17m"]);
        let matchers = self.matchers();
        if self.dice.one_in(3) {
            format!("histogram_quantile({share}, duration_seconds_bucket{matchers})")
        } else {
            format!(
                "histogram_quantile({share}, sum{grouping} ({of}(duration_seconds_bucket{matchers}[{window}])))"
            )
        }
    }

    fn scalar(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.number();
        }
        match self.dice.below(6) {
            // Not the seconds themselves: a remainder of what is so large shows the last digits of what it is divided by.
            0 => "(time() / 1e6)".into(),
            1 => format!("scalar({})", self.vector(depth - 1)),
            2 => "scalar(up{job=\"photo\", instance=\"a:8080\"})".into(),
            3 => {
                format!("({} {} {})", self.scalar(depth - 1), self.pick(&ARITHMETIC), self.scalar(depth - 1))
            }
            _ => self.number(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_queries_and_another_others() {
        let span = Span { from: 0, to: 7200 };
        let draw = |seed: u64| {
            (0..20).map(|more| Draft::draw(&mut Dice(seed + more), &span).text).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(1000));
    }
}
