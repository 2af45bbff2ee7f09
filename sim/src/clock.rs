//! A host's clock: it drifts, jumps, stands still, and never goes back.

use crate::Nanos;
use tenure_core::time::Timestamp;

/// How far a clock in its specification may drift, in parts of a million. Clients count their
/// deadlines with twice this as margin.
pub const DRIFT_PPM_MAX: i64 = 500;

/// One clock.
#[derive(Clone, Debug)]
pub struct Clock {
    anchor_true: Nanos,
    anchor_local: u64,
    rate_ppm: i64,
    read: u64,
}

impl Clock {
    /// Shows `local` at true time `now`, and runs `rate_ppm` too fast.
    pub const fn new(now: Nanos, local: u64, rate_ppm: i64) -> Self {
        Self {
            anchor_true: now,
            anchor_local: local,
            rate_ppm,
            read: local,
        }
    }

    /// Whether it runs too fast or too slow.
    pub const fn drifts(&self) -> bool {
        self.rate_ppm != 0
    }

    fn source(&self, now: Nanos) -> u64 {
        let elapsed = i128::from(now.saturating_sub(self.anchor_true));
        let local = elapsed + elapsed * i128::from(self.rate_ppm) / 1_000_000;
        self.anchor_local
            .saturating_add(u64::try_from(local).unwrap_or(0))
    }

    /// What it shows. A source that went back makes it stand still, as a host's clock must.
    pub fn read(&mut self, now: Nanos) -> Timestamp {
        self.read = self.read.max(self.source(now));
        Timestamp::from_nanos(self.read)
    }

    /// The first moment at which it shows at least `local`, if nothing is done to it before.
    pub fn when(&self, now: Nanos, local: Timestamp) -> Nanos {
        let wanted = local.as_nanos();
        if wanted <= self.read.max(self.source(now)) {
            return now;
        }
        let ahead = i128::from(wanted - self.anchor_local);
        let elapsed = ahead * 1_000_000 / (1_000_000 + i128::from(self.rate_ppm)) + 2;
        self.anchor_true + u64::try_from(elapsed).unwrap_or(0)
    }

    fn anchor(&mut self, now: Nanos) {
        self.anchor_local = self.source(now);
        self.anchor_true = now;
    }

    /// The source jumps forward.
    pub fn jump(&mut self, now: Nanos, by: Nanos) {
        self.anchor(now);
        self.anchor_local = self.anchor_local.saturating_add(by);
    }

    /// The source jumps back.
    pub fn step_back(&mut self, now: Nanos, by: Nanos) {
        self.read(now);
        self.anchor(now);
        self.anchor_local = self.anchor_local.saturating_sub(by);
    }

    /// It shows the same time until then, and goes on from there.
    pub fn freeze(&mut self, now: Nanos, until: Nanos) {
        self.anchor(now);
        self.anchor_true = until;
    }

    /// From now on it keeps its specification: a source that had gone back goes on from what is
    /// shown.
    pub fn mend(&mut self, now: Nanos, rate_ppm: i64) {
        self.anchor(now);
        self.anchor_local = self.anchor_local.max(self.read);
        self.rate_ppm = rate_ppm;
    }

    /// From now on it runs `rate_ppm` too fast.
    pub fn set_rate(&mut self, now: Nanos, rate_ppm: i64) {
        self.anchor(now);
        self.rate_ppm = rate_ppm;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_never_goes_back() {
        let mut clock = Clock::new(0, 1_000, 200);
        let before = clock.read(5_000_000);
        clock.step_back(5_000_000, 1_000_000);
        assert_eq!(clock.read(5_500_000), before);
        assert!(clock.read(7_000_000) > before);
    }

    #[test]
    fn a_frozen_clock_goes_on_from_where_it_stood() {
        let mut clock = Clock::new(0, 1_000, 0);
        clock.freeze(500, 9_000);
        assert_eq!(clock.read(8_999), Timestamp::from_nanos(1_500));
        assert_eq!(clock.when(600, Timestamp::from_nanos(1_502)), 9_004);
        assert_eq!(clock.read(9_004), Timestamp::from_nanos(1_504));
    }

    #[test]
    fn when_is_the_moment_at_which_it_shows_it() {
        let mut clock = Clock::new(100, 5_000_000_000, -300);
        let wanted = Timestamp::from_nanos(5_010_000_000);
        let moment = clock.when(100, wanted);
        assert!(clock.clone().read(moment - 10) < wanted);
        assert!(clock.read(moment) >= wanted);
    }
}
