//! The one source of randomness: xoshiro256++ (Blackman and Vigna, *Scrambled linear pseudorandom number
//! generators*, 2019), seeded by SplitMix64 as its authors advise.

/// A seeded stream of numbers.
#[derive(Debug, Clone)]
pub struct Dice {
    state: [u64; 4],
}

impl Dice {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        let mut z = seed;
        let state = std::array::from_fn(|_| {
            z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut x = z;
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ (x >> 31)
        });
        Self { state }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A stream of its own for a purpose: what one purpose draws does not move another's.
    #[must_use]
    pub fn branch(&self, purpose: u64) -> Self {
        Self::new(self.state[0] ^ self.state[3].rotate_left(17) ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Even in 0 to 1.
    pub fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Even in 0 to `n` − 1; 0 for `n` = 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.bits() % n }
    }

    /// True with this chance.
    pub fn chance(&mut self, p: f64) -> bool {
        self.share() < p
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len() as u64) as usize).copied()
    }

    /// A Poisson number of this mean: Knuth's product below 30, above it Hörmann's transformed rejection (*The
    /// transformed rejection method for generating Poisson random variables*, 1993, algorithm PTRS).
    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean < 30.0 { self.poisson_small(mean) } else { self.poisson_large(mean) }
    }

    fn poisson_small(&mut self, mean: f64) -> u64 {
        if mean <= 0.0 {
            return 0;
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.share(), 0);
        while product > limit {
            count += 1;
            product *= self.share();
        }
        count
    }

    fn poisson_large(&mut self, mean: f64) -> u64 {
        let width = 0.931 + 2.53 * mean.sqrt();
        let slope = -0.059 + 0.024_83 * width;
        let certain = 0.9277 - 3.6224 / (width - 2.0);
        loop {
            let (u, v) = (self.share() - 0.5, 1.0 - self.share());
            let us = 0.5 - u.abs();
            let k = ((2.0 * slope / us + width) * u + mean + 0.43).floor();
            if us >= 0.07 && v <= certain {
                return k as u64;
            }
            if k < 0.0 || (us < 0.013 && v > us) {
                continue;
            }
            let inverse_alpha = 1.1239 + 1.1328 / (width - 3.4);
            let left = (v * inverse_alpha / (slope / (us * us) + width)).ln();
            if left <= k * mean.ln() - mean - ln_factorial(k) {
                return k as u64;
            }
        }
    }
}

/// ln k! by Stirling's series, exact to 10⁻¹⁰ from 10 on; below by its product.
fn ln_factorial(k: f64) -> f64 {
    if k < 10.0 {
        return (2..=k as u32).map(|i| f64::from(i).ln()).sum();
    }
    let x = k + 1.0;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3))
        + 1.0 / (1260.0 * x.powi(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways of drawing have the mean and the variance that they must have, within five standard errors.
    #[test]
    fn poisson_numbers_have_their_mean_and_variance() {
        let mut dice = Dice::new(7);
        for mean in [0.01, 0.7, 12.0, 29.9, 30.1, 250.0, 1000.0] {
            let n = 20_000;
            let drawn: Vec<f64> = (0..n).map(|_| dice.poisson(mean) as f64).collect();
            let found = drawn.iter().sum::<f64>() / f64::from(n);
            let variance = drawn.iter().map(|x| (x - found).powi(2)).sum::<f64>() / f64::from(n - 1);
            let error = (mean / f64::from(n)).sqrt();
            assert!((found - mean).abs() < 5.0 * error, "{mean}: mean {found}");
            let error = ((mean + 2.0 * mean * mean) / f64::from(n)).sqrt();
            assert!((variance - mean).abs() < 5.0 * error, "{mean}: variance {variance}");
        }
    }
}
