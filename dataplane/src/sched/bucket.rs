//! A token bucket in one word: the time at which it would be full again (the "theoretical arrival time" of ITU-T I.371's
//! generic cell rate algorithm). Several workers may take from it; nobody waits for anybody.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Fills with `rate` units per second up to `burst`. What is taken may exceed what is there: the debt is paid first.
#[derive(Debug)]
pub struct Bucket {
    rate: u64,
    burst: u64,
    /// Clock ticks per second.
    second: u64,
    full_at: AtomicU64,
}

impl Bucket {
    /// A full bucket. `rate` and `burst` are at least 1; `second` is how many ticks of the caller's clock make a second.
    #[must_use]
    pub fn new(rate: u64, burst: u64, second: u64) -> Self {
        Self { rate: rate.max(1), burst: burst.max(1), second: second.max(1), full_at: AtomicU64::new(0) }
    }

    /// Units that are there now; below zero when more was taken than was there.
    #[inline]
    #[must_use]
    pub fn level(&self, now: u64) -> i64 {
        let missing = u128::from(self.full_at.load(Relaxed).saturating_sub(now));
        // Rounded up: a unit is there when all of it is.
        let missing = (missing * u128::from(self.rate)).div_ceil(u128::from(self.second));
        self.burst as i64 - i64::try_from(missing).unwrap_or(i64::MAX)
    }

    /// Takes units, whether they are there or not.
    #[inline]
    pub fn take(&self, units: u64, now: u64) {
        let ticks = (u128::from(units) * u128::from(self.second) / u128::from(self.rate)) as u64;
        // The closure never refuses.
        let _ = self.full_at.fetch_update(Relaxed, Relaxed, |full_at| Some(full_at.max(now).saturating_add(ticks)));
    }

    /// When a unit will be there, as a time of the caller's clock; `now` or earlier when there is one.
    #[inline]
    #[must_use]
    pub fn ready_at(&self) -> u64 {
        let burst = u128::from(self.burst - 1) * u128::from(self.second) / u128::from(self.rate);
        self.full_at.load(Relaxed).saturating_sub(u64::try_from(burst).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 2_600_000_000;

    #[test]
    fn it_fills_at_its_rate_and_no_further_than_full() {
        let bucket = Bucket::new(1000, 50, SECOND);
        assert_eq!(bucket.level(SECOND), 50);
        bucket.take(80, SECOND);
        assert_eq!(bucket.level(SECOND), -30);
        assert_eq!(bucket.level(SECOND + SECOND / 100), -20);
        assert_eq!(bucket.level(2 * SECOND), 50);
    }

    #[test]
    fn it_says_when_something_will_be_there() {
        for (rate, burst, taken) in [(1000, 50, 80), (1, 1, 1), (10_000_000_000, 1, 9000), (3, 1500, 64_000)] {
            let bucket = Bucket::new(rate, burst, SECOND);
            bucket.take(taken, SECOND);
            let ready = bucket.ready_at();
            assert!(bucket.level(ready + 1) >= 1, "{rate} {burst} {taken}");
            assert!(ready <= SECOND || bucket.level(ready - SECOND / rate - 1) < 1, "{rate} {burst} {taken}");
        }
    }
}
