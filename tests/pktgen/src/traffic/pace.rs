//! How many frames are due.

use ringswitch_dataplane::sys::clock;

/// What a sender may be behind before it gives frames up: 200 microseconds' worth, but at least this many.
const MIN_BACKLOG: f64 = 64.0;

/// A sender's clock.
#[derive(Debug)]
pub struct Pace {
    /// Frames per cycle; infinite for as fast as it goes.
    rate: f64,
    /// Frames still to be sent.
    left: u64,
    start: u64,
    /// Sent or given up since `start`.
    done: f64,
    backlog: f64,
    /// Frames that were due but could not be sent in time.
    pub missed: u64,
}

impl Pace {
    /// `pps` frames per second (infinite: no limit) until `count` are sent.
    pub fn new(pps: f64, count: u64) -> Self {
        let rate = pps / clock::cycles_per_second() as f64;
        let backlog = (pps * 200e-6).max(MIN_BACKLOG);
        Self { rate, left: count, start: clock::cycles(), done: 0.0, backlog, missed: 0 }
    }

    /// True when there is no limit.
    pub fn is_unlimited(&self) -> bool {
        self.rate.is_infinite()
    }

    /// How many frames are to be sent now, at most `max`.
    #[inline(always)]
    pub fn due(&mut self, now: u64, max: usize) -> usize {
        let max = max.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if self.is_unlimited() {
            return max;
        }
        let due = now.saturating_sub(self.start) as f64 * self.rate - self.done;
        if due > self.backlog {
            let missed = (due - self.backlog) as u64;
            self.missed += missed;
            self.done += missed as f64;
            return (self.backlog as usize).min(max);
        }
        (due.max(0.0) as usize).min(max)
    }

    /// So many were sent.
    #[inline(always)]
    pub fn sent(&mut self, count: usize) {
        self.left -= (count as u64).min(self.left);
        self.done += count as f64;
    }

    /// True when all are sent.
    pub fn is_over(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_cannot_be_sent_in_time_are_given_up_and_counted() {
        let mut pace = Pace::new(1e6, u64::MAX);
        let second = clock::cycles_per_second();
        // Half a frame more than ten, so that rounding does not matter.
        let soon = pace.start + second * 105 / 10_000_000;
        assert_eq!(pace.due(soon, 32), 10);
        pace.sent(10);
        assert_eq!(pace.due(soon, 32), 0);
        // 10 ms later 10 000 frames were due; 200 us' worth can still be caught up with.
        let late = pace.due(pace.start + second / 100, 1000);
        assert!((9_780..=9_800).contains(&pace.missed), "{} missed", pace.missed);
        assert!((199..=201).contains(&late), "{late} due");
    }

    #[test]
    fn a_count_ends_it() {
        let mut pace = Pace::new(f64::INFINITY, 40);
        assert_eq!(pace.due(0, 32), 32);
        pace.sent(32);
        assert_eq!(pace.due(0, 32), 8);
        pace.sent(8);
        assert!(pace.is_over());
    }
}
