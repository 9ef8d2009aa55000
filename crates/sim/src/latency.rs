//! How long answers take: log-normal, as measured web services nearly are, with what the process adds.

/// Above this share of its answers a service's answers are drawn one by one; below, they are counted in bulk.
pub const TAIL: f64 = 0.97;

/// The quantiles that answers in bulk have: four equal parts of what is below [`TAIL`].
pub const BULK: [f64; 4] = [0.12, 0.36, 0.61, 0.85];

/// A log-normal distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Half of the answers take at most so many milliseconds.
    pub median_ms: f64,
    /// Standard deviation of the logarithm.
    pub sigma: f64,
}

impl Shape {
    /// The latency in microseconds that a share `u` (above 0, below 1) of answers does not exceed.
    pub fn at(self, u: f64) -> u64 {
        (self.median_ms * 1000.0 * (self.sigma * normal_quantile(u)).exp()) as u64
    }
}

/// The quantile of the standard normal distribution, with an absolute error below 4.5·10⁻⁴: Abramowitz and Stegun,
/// *Handbook of Mathematical Functions*, 26.2.23.
pub fn normal_quantile(u: f64) -> f64 {
    let u = u.clamp(1e-12, 1.0 - 1e-12);
    let t = (-2.0 * u.min(1.0 - u).ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let z = t - above / below;
    if u < 0.5 { -z } else { z }
}

/// The chance that a standard normal number exceeds `z`: Abramowitz and Stegun 26.2.17, absolute error below
/// 7.5·10⁻⁸.
pub fn normal_tail(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let poly = t
        * (0.319_381_530
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt() * poly;
    if z >= 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_tails_are_those_of_the_tables() {
        for (u, z) in
            [(0.5, 0.0), (0.975, 1.959_964), (0.99, 2.326_348), (0.01, -2.326_348), (0.999, 3.090_232)]
        {
            assert!((normal_quantile(u) - z).abs() < 5e-4, "{u}");
            assert!((normal_tail(z) - (1.0 - u)).abs() < 1e-6, "{z}");
        }
        let shape = Shape { median_ms: 10.0, sigma: 0.5 };
        assert!((9_990..=10_010).contains(&shape.at(0.5)));
        assert!((31_900..=32_100).contains(&shape.at(0.99)), "{}", shape.at(0.99));
    }
}
