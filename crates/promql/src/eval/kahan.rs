//! Sums that do not lose small parts (Kahan's algorithm in Neumaier's form), and means that do not overflow.

/// A running sum.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    pub(crate) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - total) + value;
        } else {
            self.lost += (value - total) + self.sum;
        }
        self.sum = total;
    }

    pub(crate) fn value(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }
}

/// A running mean: a sum divided at the end, or, once the sum overflows, moved step by step.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mean {
    sum: Sum,
    count: f64,
    is_moving: bool,
    moving: f64,
    lost: f64,
}

impl Mean {
    #[expect(clippy::float_cmp, reason = "counts are whole, and infinities are equal or they are not")]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.is_moving {
            let mut next = self.sum;
            next.add(value);
            if self.count == 1.0 || next.value().is_finite() {
                self.sum = next;
                return;
            }
            self.is_moving = true;
            self.moving = self.sum.sum / (self.count - 1.0);
            self.lost = self.sum.lost / (self.count - 1.0);
        }
        // Infinities stay what they are; moving towards them would give NaN.
        if self.moving.is_infinite() && (value.is_finite() || value == self.moving) {
            return;
        }
        let weight = (self.count - 1.0) / self.count;
        let mut sum = Sum { sum: self.moving * weight, lost: self.lost * weight };
        sum.add(value / self.count);
        self.moving = sum.sum;
        self.lost = sum.lost;
    }

    pub(crate) fn value(self) -> f64 {
        if self.is_moving {
            if self.moving.is_infinite() { self.moving } else { self.moving + self.lost }
        } else if self.sum.sum.is_infinite() {
            self.sum.sum / self.count
        } else {
            self.sum.sum / self.count + self.sum.lost / self.count
        }
    }
}

/// Mean and squared distance from it, updated value by value (Welford).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Variance {
    count: f64,
    mean: Sum,
    squares: Sum,
}

impl Variance {
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        let distance = value - self.mean.value();
        self.mean.add(distance / self.count);
        self.squares.add(distance * (value - self.mean.value()));
    }

    /// Of the whole population.
    pub(crate) fn value(self) -> f64 {
        self.squares.value() / self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_parts_survive_large_ones() {
        let mut sum = Sum::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert_eq!(sum.value().to_bits(), 2.0_f64.to_bits());
    }

    #[test]
    fn a_mean_of_huge_values_is_finite() {
        let mut mean = Mean::default();
        for value in [f64::MAX; 3] {
            mean.add(value);
        }
        assert!((mean.value() / f64::MAX - 1.0).abs() < 1e-12);
        let mut mean = Mean::default();
        for value in [f64::INFINITY, 1.0] {
            mean.add(value);
        }
        assert!(mean.value().is_infinite());
    }
}
