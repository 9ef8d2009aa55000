//! The points of a dashboard's panels from one look to the next.

use std::collections::BTreeMap;

use hmsops_model::series::Series;
use hmsops_model::{DashName, Labels, PanelSpec};
use hmsops_wire::api::{PanelPoints, Points, SeriesPoints};

use super::{WITHIN, names, number, read};
use crate::query::{Queries, When};

/// How much a panel shows when it is opened.
const WINDOW: i64 = 15 * 60_000;

/// Between two points of it.
const WINDOW_STEP: i64 = 5_000;

/// Between two points that come after it.
pub(super) const STEP: i64 = 2_000;

/// Samples come late: agents send each second, scrapes take theirs. So much is asked for again, and sent again where
/// it has changed.
const AGAIN: i64 = 5 * STEP;

/// A panel without any point in its window: when it had its last is looked for in so long a time,
const PAST: i64 = 24 * 3_600_000;

/// so finely.
const PAST_STEP: i64 = 5 * 60_000;

/// Points by time; `None`: there was none.
type Line = BTreeMap<i64, Option<f64>>;

/// What was said of one panel so far.
#[derive(Debug, Clone, Default)]
struct Told {
    /// The points of the last moments as they were sent.
    lines: BTreeMap<Labels, Line>,
    /// The last value of all, and when.
    last: Option<(i64, f64)>,
}

/// A dashboard as it was last told.
pub(super) struct Course {
    name: DashName,
    panels: Vec<PanelSpec>,
    told: Vec<Told>,
}

impl Course {
    /// Of these panels; nothing is told yet.
    pub(super) fn new(name: DashName, panels: Vec<PanelSpec>) -> Self {
        let told = vec![Told::default(); panels.len()];
        Self { name, panels, told }
    }

    /// Whether it is of these very panels.
    pub(super) fn is_of(&self, panels: &[PanelSpec]) -> bool {
        self.panels == panels
    }

    /// All points of the window that ends now.
    pub(super) async fn whole(&mut self, queries: &Queries, now: i64) -> Points {
        let to = now.div_euclid(WINDOW_STEP) * WINDOW_STEP;
        let grid = (to - WINDOW, to, WINDOW_STEP);
        let answers = read(queries, &self.panels, When::Range(grid.0, grid.1, grid.2), WITHIN).await;
        self.look_back(queries, &answers, to).await;
        let mut panels = Vec::with_capacity(answers.len());
        for ((spec, told), answer) in self.panels.iter().zip(&mut self.told).zip(answers) {
            told.lines.clear();
            panels.push(told.tell(spec, answer, grid));
            told.lines.values_mut().for_each(Line::clear);
        }
        Points { dash: self.name.to_string(), at: now, reset: true, panels }
    }

    /// Finds when panels that show nothing had their last value.
    async fn look_back(&mut self, queries: &Queries, answers: &[Result<Vec<Series>, String>], to: i64) {
        let is_mute = |answer: &Result<Vec<Series>, String>| answer.as_ref().is_ok_and(Vec::is_empty);
        let mute: Vec<usize> = (0..answers.len()).filter(|index| is_mute(&answers[*index])).collect();
        let panels: Vec<PanelSpec> = mute.iter().map(|index| self.panels[*index].clone()).collect();
        let to = to.div_euclid(PAST_STEP) * PAST_STEP;
        let past = read(queries, &panels, When::Range(to - PAST, to, PAST_STEP), WITHIN).await;
        for (index, answer) in mute.into_iter().zip(past) {
            self.told[index].last = last(&answer.unwrap_or_default());
        }
    }

    /// What is new or has changed since the last look.
    pub(super) async fn next(&mut self, queries: &Queries, now: i64) -> Points {
        let to = now.div_euclid(STEP) * STEP;
        let grid = (to - AGAIN, to, STEP);
        let answers = read(queries, &self.panels, When::Range(grid.0, grid.1, grid.2), WITHIN).await;
        let answers = self.panels.iter().zip(&mut self.told).zip(answers);
        let panels = answers.map(|((spec, told), answer)| told.tell(spec, answer, grid)).collect();
        Points { dash: self.name.to_string(), at: now, reset: false, panels }
    }
}

/// The last value, and when.
fn last(series: &[Series]) -> Option<(i64, f64)> {
    let of = |series: &Series| {
        let samples = &series.samples;
        let at = |index| Some((samples.times()[index], number(&samples.value(index))?));
        (0..samples.len()).rev().find_map(at)
    };
    // Of several at the same moment the first series' value.
    series.iter().filter_map(of).rev().max_by_key(|(at, _)| *at)
}

impl Told {
    /// What has to be told of an answer over a grid of moments (first, last, step).
    fn tell(
        &mut self,
        spec: &PanelSpec,
        answer: Result<Vec<Series>, String>,
        (from, to, step): (i64, i64, i64),
    ) -> PanelPoints {
        let (series, error) = match answer {
            Ok(series) => (series, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let mut told = Vec::new();
        if error.is_none() {
            let mut lines: BTreeMap<Labels, Line> = BTreeMap::new();
            for found in &series {
                let samples = &found.samples;
                let points = (0..samples.len()).map(|at| (samples.times()[at], number(&samples.value(at))));
                lines.insert(found.labels.clone(), points.collect());
            }
            // A series that was there and is not any more has no value, which is told, too.
            for gone in
                self.lines.keys().filter(|labels| !lines.contains_key(labels)).cloned().collect::<Vec<_>>()
            {
                lines.insert(gone, Line::new());
            }
            let all_names = names(lines.keys());
            for ((labels, line), name) in lines.iter_mut().zip(all_names) {
                let before = self.lines.get(labels);
                let first = line.keys().next().copied().filter(|_| before.is_none()).unwrap_or(from);
                for at in (from..=to).step_by(step.unsigned_abs() as usize).filter(|at| *at >= first) {
                    line.entry(at).or_insert(None);
                }
                let is_news = |(at, value): &(&i64, &Option<f64>)| {
                    before.and_then(|before| before.get(at)).is_none_or(|before| before != *value)
                };
                let points: Vec<(i64, Option<f64>)> =
                    line.iter().filter(is_news).map(|(at, value)| (*at, *value)).collect();
                if !points.is_empty() {
                    let labels = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                    told.push(SeriesPoints { labels: labels.collect(), name, points });
                }
            }
            lines.retain(|_, line| line.values().any(Option::is_some));
            self.lines = lines;
            self.last = last(&series).or(self.last);
        }
        let is_fed = self.last.is_some_and(|(at, _)| at > to - step);
        PanelPoints {
            title: spec.title.clone(),
            series: told,
            no_data_since: self.last.filter(|_| error.is_none() && !is_fed).map(|(at, _)| at),
            last: self.last.map(|(_, value)| value),
            error,
        }
    }
}

#[cfg(test)]
mod tests {
    use hmsops_model::{PanelKind, Samples};

    use super::*;

    fn spec() -> PanelSpec {
        PanelSpec { title: "Uploads".into(), query: "up".into(), kind: PanelKind::Line }
    }

    fn series(job: &str, points: &[(i64, f64)]) -> Series {
        let (times, values) = points.iter().copied().unzip();
        Series { labels: Labels::new([("job", job)]), samples: Samples::from_floats(times, values) }
    }

    /// Name and points.
    type Shown = (String, Vec<(i64, Option<f64>)>);

    fn points(told: &PanelPoints) -> Vec<Shown> {
        told.series.iter().map(|series| (series.name.clone(), series.points.clone())).collect()
    }

    /// What was sent is not sent again unless it has changed, and what ends is told to have ended.
    #[test]
    fn only_news_is_told() {
        let mut told = Told::default();
        let first = told.tell(&spec(), Ok(vec![series("a", &[(2, 1.0), (4, 2.0)])]), (0, 4, 2));
        assert_eq!(points(&first), [("value".to_owned(), vec![(2, Some(1.0)), (4, Some(2.0))])]);
        assert_eq!((first.no_data_since, first.last), (None, Some(2.0)));
        let both = vec![series("a", &[(2, 1.0), (4, 2.5), (6, 3.0)]), series("b", &[(6, 9.0)])];
        let next = told.tell(&spec(), Ok(both), (2, 6, 2));
        assert_eq!(
            points(&next),
            [("a".to_owned(), vec![(4, Some(2.5)), (6, Some(3.0))]), ("b".to_owned(), vec![(6, Some(9.0))])]
        );
        let ended = told.tell(&spec(), Ok(vec![series("a", &[(6, 3.0)])]), (6, 10, 2));
        assert_eq!(points(&ended)[0].1, [(8, None), (10, None)]);
        assert_eq!(points(&ended)[1].1, [(6, None), (8, None), (10, None)]);
        assert_eq!((ended.no_data_since, ended.last), (Some(6), Some(3.0)));
        let gone = told.tell(&spec(), Ok(Vec::new()), (12, 14, 2));
        assert_eq!(points(&gone)[0].1, [(12, None), (14, None)]);
        assert!(told.tell(&spec(), Ok(Vec::new()), (16, 18, 2)).series.is_empty(), "once is enough");
        let failed = told.tell(&spec(), Err("query failed: x".into()), (18, 20, 2));
        assert_eq!((failed.error.as_deref(), failed.no_data_since), (Some("query failed: x"), None));
    }
}
