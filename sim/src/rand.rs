//! Draws. One seed gives one stream per concern, so that a new fault does not move the draws of the
//! others. Integers only: a float's logarithm differs between libraries, and a seed must not.

use crate::Nanos;
use tenure_core::hash::hash64_after;
use tenure_core::ids::Seed;
use tenure_core::rng::Rng;

/// A million: probabilities are parts of it.
pub const MILLION: u64 = 1_000_000;

/// One stream of draws. What is drawn at one moment does not depend on what was drawn before it
/// (`at`): a fault or a request that is taken out of a run moves no draw of what it did not touch.
#[derive(Clone, Debug)]
pub struct Rand {
    base: u64,
    moment: Option<Nanos>,
    rng: Rng,
}

impl Rand {
    /// The stream of `seed` for one concern.
    pub fn stream(seed: u64, concern: &str) -> Self {
        let base = hash64_after(seed, concern.as_bytes());
        Self {
            base,
            moment: None,
            rng: Rng::new(Seed::new(base)),
        }
    }

    /// From here on the draws of this moment, whatever was drawn at earlier ones.
    pub fn at(&mut self, now: Nanos) -> &mut Self {
        if self.moment != Some(now) {
            self.moment = Some(now);
            let seed = hash64_after(self.base, &now.to_le_bytes());
            self.rng = Rng::new(Seed::new(seed));
        }
        self
    }

    /// The stream of `seed` for the `index`-th of many alike.
    pub fn nth(seed: u64, concern: &str, index: usize) -> Self {
        Self::stream(seed ^ (index as u64).wrapping_mul(0x9e37_79b9), concern)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.rng.next()
    }

    /// A number below `bound`; zero if there is none.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    /// A number from `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// An index into something of `len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// True in `ppm` of a million draws. Draws nothing if that is never, so that a fault that is
    /// off costs nothing.
    pub fn chance(&mut self, ppm: u64) -> bool {
        ppm > 0 && self.below(MILLION) < ppm
    }

    /// A number from `low` to `high` whose size is drawn evenly: 1 to 10 as often as 10 to 100.
    pub fn log_uniform(&mut self, low: u64, high: u64) -> u64 {
        let (from, to) = (log2_16(low.max(1)), log2_16(high.max(1)));
        exp2_16(self.range(from, to.max(from))).clamp(low, high)
    }

    /// A delay with this mean, exponentially distributed.
    pub fn exponential(&mut self, mean: Nanos) -> Nanos {
        // -ln(u) = ln 2 * (64 - log2(x)) for u = x / 2^64; ln 2 is 45426 / 2^16.
        let minus_log2 = (64 << 16) - log2_16(self.any() | 1);
        let scaled = u128::from(mean) * u128::from(minus_log2) * 45_426;
        (scaled >> 32) as Nanos
    }

    /// Puts `items` in any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.index(last + 1);
            items.swap(last, other);
        }
    }
}

/// log2(x) in 1/65536, straight lines between powers of two.
fn log2_16(x: u64) -> u64 {
    let whole = u64::from(63 - x.leading_zeros());
    let fraction = ((x << (63 - whole)) >> 47) & 0xffff;
    (whole << 16) + fraction
}

/// The inverse of `log2_16`.
fn exp2_16(log: u64) -> u64 {
    let (whole, fraction) = (log >> 16, log & 0xffff);
    let mantissa = u128::from(0x1_0000 + fraction);
    ((mantissa << whole) >> 16) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exponential_has_its_mean() {
        let mut rand = Rand::stream(1, "test");
        let sum: u64 = (0..100_000).map(|_| rand.exponential(1_000_000)).sum();
        let mean = sum / 100_000;
        assert!((900_000..1_150_000).contains(&mean), "mean {mean}");
    }

    #[test]
    fn log_uniform_keeps_its_bounds_and_spreads() {
        let mut rand = Rand::stream(2, "test");
        let draws: Vec<u64> = (0..10_000)
            .map(|_| rand.log_uniform(10, 1_000_000))
            .collect();
        assert!(draws.iter().all(|x| (10..=1_000_000).contains(x)));
        let small = draws.iter().filter(|x| **x < 3_162).count();
        assert!(
            (4_500..5_500).contains(&small),
            "{small} of 10000 below the middle"
        );
    }

    #[test]
    fn a_moment_has_its_own_draws() {
        let (mut one, mut other) = (Rand::stream(7, "net"), Rand::stream(7, "net"));
        one.at(5).any();
        one.at(5).any();
        let drawn = (one.at(9).any(), one.at(9).any());
        assert_eq!(drawn, (other.at(9).any(), other.at(9).any()));
        assert_ne!(drawn.0, drawn.1);
        assert_ne!(other.at(10).any(), drawn.0);
    }

    #[test]
    fn streams_of_one_seed_differ() {
        assert_ne!(Rand::stream(7, "net").any(), Rand::stream(7, "disk").any());
        assert_ne!(
            Rand::nth(7, "clock", 0).any(),
            Rand::nth(7, "clock", 1).any()
        );
    }
}
