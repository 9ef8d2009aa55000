//! A course over time as one line of text.

/// The heights there are: an eighth of a line to all of it (Unicode, block elements).
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Where there is no value. Not a blank: what is not known is never drawn as nothing.
const UNKNOWN: char = '·';

/// One mark for each cell between `from` and `to` (included): the mean of its values, from the least to the greatest
/// mean. Points are when and how much.
pub(crate) fn line(points: &[(f64, f64)], from: f64, to: f64, cells: usize) -> String {
    let width = (to - from).max(f64::MIN_POSITIVE) / cells.max(1) as f64;
    let mut sums = vec![(0.0, 0_u32); cells.max(1)];
    for (at, value) in points.iter().filter(|(_, value)| value.is_finite()) {
        let cell = ((at - from) / width).floor().max(0.0) as usize;
        let last = sums.len() - 1;
        if let Some((sum, count)) = sums.get_mut(cell.min(last)) {
            *sum += value;
            *count += 1;
        }
    }
    let means: Vec<Option<f64>> =
        sums.into_iter().map(|(sum, count)| (count > 0).then(|| sum / f64::from(count))).collect();
    let known = || means.iter().flatten().copied();
    let (least, most) = (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
    let mark = |mean: f64| {
        let height = if most > least { (mean - least) / (most - least) } else { 0.5 };
        let index = (height * HEIGHTS.len() as f64) as usize;
        HEIGHTS.get(index.min(HEIGHTS.len() - 1)).copied().unwrap_or(UNKNOWN)
    };
    means.iter().map(|mean| mean.map_or(UNKNOWN, mark)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_rises_and_what_is_unknown_is_seen() {
        let points: Vec<(f64, f64)> = (0..8).map(|n| (f64::from(n), f64::from(n))).collect();
        assert_eq!(line(&points, 0.0, 8.0, 8), "▁▂▃▄▅▆▇█");
        assert_eq!(line(&points[2..6], 0.0, 8.0, 8), "··▁▃▆█··");
        assert_eq!(line(&[(0.0, 3.0), (1.0, f64::NAN)], 0.0, 2.0, 2), "▅·");
        assert_eq!(line(&[], 0.0, 1.0, 3), "···");
        assert_eq!(line(&points, 0.0, 8.0, 2), "▁█");
    }
}
