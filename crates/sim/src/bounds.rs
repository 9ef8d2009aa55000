//! How much a count allows to be said.

/// The upper bound of a share at a confidence (0.99), seen `k` times in `n`: Clopper and Pearson, *The use of confidence
/// or fiducial limits illustrated in the case of the binomial* (1934), one-sided. 1 for no trials.
pub fn upper(k: u64, n: u64, confidence: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    // The share at which so few or fewer are seen with chance 1 − confidence.
    bisect(|p| at_most(k, n, p) > 1.0 - confidence)
}

/// The lower bound, likewise.
pub fn lower(k: u64, n: u64, confidence: f64) -> f64 {
    if k == 0 || n == 0 {
        return 0.0;
    }
    bisect(|p| 1.0 - at_most(k - 1, n, p) < 1.0 - confidence)
}

/// The share at which a condition that holds for smaller ones ceases to.
fn bisect(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if holds(middle) { low = middle } else { high = middle }
    }
    high
}

/// The chance of at most `k` of `n` at a share `p`.
fn at_most(k: u64, n: u64, p: f64) -> f64 {
    if p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return f64::from(u8::from(k >= n));
    }
    let mut ln_term = n as f64 * (-p).ln_1p();
    let mut sum = ln_term.exp();
    for i in 1..=k {
        ln_term += ((n - i + 1) as f64 / i as f64).ln() + (p / (1.0 - p)).ln();
        sum += ln_term.exp();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_tables() {
        // None in n: 1 − 0.01^(1/n).
        assert!((upper(0, 20_000, 0.99) - 2.302_3e-4).abs() < 1e-7, "{}", upper(0, 20_000, 0.99));
        // R: qbeta(0.99, 6, 95) and qbeta(0.01, 5, 96).
        assert!((upper(5, 100, 0.99) - 0.126_4).abs() < 1e-3, "{}", upper(5, 100, 0.99));
        assert!((lower(5, 100, 0.99) - 0.012_9).abs() < 1e-3, "{}", lower(5, 100, 0.99));
        assert!(upper(3, 3, 0.99) >= 1.0 && lower(0, 10, 0.99) <= 0.0);
    }
}
