//! Which arm a client's requests go to: a keyed hash of who the client is, compared with the weight.
//!
//! The hash must be the same over restarts and versions, so it is written down here: SipHash-1-3 (Aumasson and
//! Bernstein, "SipHash: a fast short-input PRF", 2012, with one compression and three finalisation rounds). It
//! is keyed with the release's salt, so that a client can't choose its arm and not always the same users are
//! in the 1 %.

use hmsops_model::Weight;

/// One of the two sides of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The version that users are safe on.
    Stable,
    /// The version under watch.
    Canary,
}

/// The side that the client of this key is on. Monotone: whoever is on the canary at some weight stays there
/// at every higher one. A weight of `b` basis points takes `b` of 10 000 keys.
pub fn side(salt: u64, key: &[u8], weight: Weight) -> Side {
    if bucket(salt, key) < weight.bp() { Side::Canary } else { Side::Stable }
}

/// The place of a key among the 10 000 of a salt. Uneven by at most 2⁻⁵⁰, because 2⁶⁴ is no multiple of 10 000.
pub fn bucket(salt: u64, key: &[u8]) -> u16 {
    (sip_hash_1_3(salt, !salt, key) % u64::from(Weight::ALL.bp())) as u16
}

/// A client's number for counting: the hash of its key under a secret of the gateway process.
pub fn client_hash(secret: u64, key: &[u8]) -> u64 {
    sip_hash_1_3(secret, secret.rotate_left(32), key)
}

fn sip_hash_1_3(k0: u64, k1: u64, bytes: &[u8]) -> u64 {
    sip_hash::<1, 3>(k0, k1, bytes)
}

/// SipHash-C-D as in the paper's section 2.
fn sip_hash<const C: usize, const D: usize>(k0: u64, k1: u64, bytes: &[u8]) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        absorb::<C>(&mut v, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    // The last word carries the length's low byte on top.
    absorb::<C>(&mut v, u64::from_le_bytes(last) | (bytes.len() as u64) << 56);
    v[2] ^= 0xff;
    (0..D).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn absorb<const C: usize>(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    (0..C).for_each(|_| round(v));
    v[0] ^= word;
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use proptest::prelude::*;

    use super::*;

    fn key(i: u64) -> Vec<u8> {
        format!("session-{i}").into_bytes()
    }

    fn share(salt: u64, weight: Weight, n: u64) -> f64 {
        let hits = (0..n).filter(|i| side(salt, &key(*i), weight) == Side::Canary).count();
        hits as f64 / n as f64
    }

    /// The hash is the published one: the paper's appendix A for 2-4, the standard library's for 1-3.
    #[test]
    fn the_hash_is_siphash() {
        let input: Vec<u8> = (0..15).collect();
        let (k0, k1) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        assert_eq!(sip_hash::<2, 4>(k0, k1, &input), 0xa129_ca61_49be_45e5);
        for n in 0..40 {
            let input: Vec<u8> = (0..n).collect();
            #[expect(deprecated, reason = "the only SipHash with a fixed key in the standard library")]
            let mut hasher = std::hash::SipHasher::new_with_keys(k0, k1);
            hasher.write(&input);
            assert_eq!(sip_hash::<2, 4>(k0, k1, &input), hasher.finish());
            let mut hasher = std::collections::hash_map::DefaultHasher::new();
            hasher.write(&input);
            assert_eq!(sip_hash_1_3(0, 0, &input), hasher.finish());
        }
    }

    /// A client keeps its arm over restarts and versions of the gateway.
    #[test]
    fn buckets_never_change() {
        let places = [bucket(0, b""), bucket(42, b"alice"), bucket(42, b"bob"), bucket(u64::MAX, b"alice")];
        assert_eq!(places, PLACES);
    }

    const PLACES: [u16; 4] = [3998, 8649, 1247, 4675];

    #[test]
    fn the_split_is_within_the_999_per_mille_binomial_interval() {
        let n = 100_000;
        for bp in [1, 25, 100, 2500, 5000, 9900] {
            let weight = Weight::from_bp(bp).unwrap();
            let sigma = (weight.share() * (1.0 - weight.share()) / n as f64).sqrt();
            let found = share(7, weight, n);
            assert!((found - weight.share()).abs() <= 3.29 * sigma, "{weight}: {found}");
        }
        assert!(share(7, Weight::NONE, n) <= 0.0);
        assert!(share(7, Weight::ALL, n) >= 1.0);
    }

    /// Who is in the 1 % of one release is in the 1 % of the next no more often than anyone else.
    #[test]
    fn salts_are_independent() {
        let (n, half) = (100_000, Weight::from_bp(5000).unwrap());
        for (a, b) in [(1, 2), (0, u64::MAX), (1 << 40, (1 << 40) + 1)] {
            let both = (0..n)
                .filter(|i| {
                    side(a, &key(*i), half) == Side::Canary && side(b, &key(*i), half) == Side::Canary
                })
                .count();
            let sigma = (0.25 * 0.75 / n as f64).sqrt();
            assert!((both as f64 / n as f64 - 0.25).abs() <= 3.29 * sigma, "{a} {b}: {both}");
        }
    }

    proptest! {
        #[test]
        fn who_is_in_stays_in(salt: u64, key: Vec<u8>, a in 0..=10_000_u16, b in 0..=10_000_u16) {
            let low = Weight::from_bp(a.min(b)).unwrap();
            let high = Weight::from_bp(a.max(b)).unwrap();
            prop_assert!(side(salt, &key, low) == Side::Stable || side(salt, &key, high) == Side::Canary);
        }
    }
}
