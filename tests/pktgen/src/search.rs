//! The highest rate without loss (RFC 2544 section 26.1): a binary search, each step a trial.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::traffic::{self, Load, Outcome, Progress, Station};

/// How to search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Time of one trial.
    pub duration: Duration,
    /// Part of the frames that may be lost.
    pub tolerance: f64,
    /// Stop when the rate is known to this part of it.
    pub resolution: f64,
}

/// Frames that were due and did not arrive, for each one that was due.
#[must_use]
pub fn loss(outcome: &Outcome) -> f64 {
    let total = outcome.total();
    let due = total.tx_frames + total.tx_missed;
    due.saturating_sub(total.rx_frames) as f64 / due.max(1) as f64
}

impl Search {
    /// Trials it takes at most, for a progress bar.
    #[must_use]
    pub fn steps(&self) -> u64 {
        (1.0 / self.resolution).log2().ceil() as u64 + 1
    }

    /// Searches. `step` is told each trial's rate (frames per second of each sender) and loss. Returns the best rate
    /// and its trial; the rate is 0 when not even the lowest went through.
    pub fn run(
        &self,
        stations: &mut [Station],
        cores: &[usize],
        stop: &AtomicBool,
        watch: &mut dyn FnMut(&Progress),
        step: &mut dyn FnMut(f64, f64),
    ) -> (f64, Outcome) {
        let senders = stations.iter().filter(|station| station.is_sender()).count().max(1) as f64;
        let mut trial = |pps| {
            let load = Load { pps, duration: Some(self.duration), count: None, window: None };
            let outcome = traffic::run(stations, cores, load, stop, watch);
            step(pps, loss(&outcome));
            outcome
        };
        // What arrives of an unlimited load cannot be exceeded by much.
        let first = trial(f64::INFINITY);
        let reached = first.total().rx_frames as f64 / first.sending.as_secs_f64().max(1e-9) / senders;
        let (mut low, mut high) = (0.0, reached * 1.05);
        let mut best = (0.0, first);
        while !best.1.interrupted && high - low > high * self.resolution && high >= 1.0 {
            let rate = (low + high) / 2.0;
            let outcome = trial(rate);
            if outcome.interrupted {
                best.1.interrupted = true;
            } else if loss(&outcome) <= self.tolerance {
                low = rate;
                best = (rate, outcome);
            } else {
                high = rate;
            }
        }
        best
    }
}
