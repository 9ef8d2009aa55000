//! The values of one series at all steps.

use std::sync::Arc;

use hmsops_model::labels::{Labels, METRIC_NAME};
use hmsops_model::sample::{Histogram, STALE_NAN_BITS};

/// No result is ever the stale mark (selectors drop it), so its bits say that a step has no float.
const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// One series.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) labels: Labels,
    /// The name goes when the answer is made; until then `label_replace` may still read it.
    pub(crate) is_name_dropped: bool,
    pub(crate) column: Column,
}

impl Row {
    /// The metric's name, for notes.
    pub(crate) fn name(&self) -> &str {
        self.labels.name().unwrap_or_default()
    }
}

/// Without name, type and unit: what they said of the metric is not true of the result.
pub(crate) fn without_metadata(labels: &Labels) -> Labels {
    if !labels.iter().any(|(name, _)| is_metadata(name)) {
        return labels.clone();
    }
    labels.filter(|name| !is_metadata(name))
}

fn is_metadata(label: &str) -> bool {
    matches!(label, METRIC_NAME | "__type__" | "__unit__")
}

/// What one step holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Absent,
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// Floats by step, and histograms where there are any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Column {
    floats: Vec<f64>,
    histograms: Option<Vec<Option<Arc<Histogram>>>>,
}

impl Column {
    /// With nothing at any step.
    pub(crate) fn absent(count: usize) -> Self {
        Self { floats: vec![ABSENT; count], histograms: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.floats.len()
    }

    pub(crate) fn cell(&self, index: usize) -> Cell {
        if let Some(Some(histogram)) = self.histograms.as_ref().map(|all| &all[index]) {
            return Cell::Histogram(histogram.clone());
        }
        let value = self.floats[index];
        if value.to_bits() == STALE_NAN_BITS { Cell::Absent } else { Cell::Float(value) }
    }

    /// The float at a step.
    pub(crate) fn float(&self, index: usize) -> Option<f64> {
        let value = self.floats[index];
        (value.to_bits() != STALE_NAN_BITS).then_some(value)
    }

    pub(crate) fn histogram(&self, index: usize) -> Option<&Arc<Histogram>> {
        self.histograms.as_ref()?[index].as_ref()
    }

    pub(crate) fn is_present(&self, index: usize) -> bool {
        self.float(index).is_some() || self.histogram(index).is_some()
    }

    /// Whether there is nothing at any step.
    pub(crate) fn is_absent(&self) -> bool {
        (0..self.len()).all(|index| !self.is_present(index))
    }

    pub(crate) fn set(&mut self, index: usize, cell: Cell) {
        let (float, histogram) = match cell {
            Cell::Absent => (ABSENT, None),
            Cell::Float(value) => (value, None),
            Cell::Histogram(histogram) => (ABSENT, Some(histogram)),
        };
        self.floats[index] = float;
        if let Some(all) = &mut self.histograms {
            all[index] = histogram;
        } else if histogram.is_some() {
            let mut all = vec![None; self.floats.len()];
            all[index] = histogram;
            self.histograms = Some(all);
        }
    }

    pub(crate) fn set_float(&mut self, index: usize, value: f64) {
        self.set(index, Cell::Float(value));
    }

    pub(crate) fn clear(&mut self, index: usize) {
        self.set(index, Cell::Absent);
    }

    /// Replaces every float.
    pub(crate) fn map(&mut self, change: impl Fn(f64) -> f64) {
        for value in &mut self.floats {
            if value.to_bits() != STALE_NAN_BITS {
                *value = change(*value);
            }
        }
    }

    /// Replaces every histogram.
    pub(crate) fn map_histograms(&mut self, change: impl Fn(&Histogram) -> Option<Histogram>) {
        for slot in self.histograms.iter_mut().flatten() {
            *slot = slot.as_ref().and_then(|histogram| change(histogram)).map(Arc::new);
        }
    }

    /// Only the floats.
    pub(crate) fn drop_histograms(&mut self) {
        self.histograms = None;
    }
}
