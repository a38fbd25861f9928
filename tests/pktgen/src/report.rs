//! The result: a table for people, JSON for programs.

use std::error::Error;
use std::fmt::Write as _;

use hdrhistogram::Histogram;
use ringswitch_dataplane::sys::clock;
use serde_json::{Value, json};

use crate::check::Findings;
use crate::traffic::{Counters, Outcome};

/// An error with all its causes, in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// A number with its unit: 1.234 M.
#[must_use]
pub fn human(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.3} G", v / 1e9),
        v if v >= 1e6 => format!("{:.3} M", v / 1e6),
        v if v >= 1e3 => format!("{:.3} k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

/// Everything that one run found.
pub struct Report {
    /// Names of the stations.
    pub names: Vec<String>,
    /// Counters.
    pub outcome: Outcome,
    /// What the checkers found; `None` without checking.
    pub findings: Option<Findings>,
    /// Latencies in cycles, by station that received; empty without stamps.
    pub latencies: Vec<Histogram<u64>>,
    /// The rate that was found, frames per second of each sender; `None` without a search.
    pub lossless_pps: Option<f64>,
}

impl Report {
    /// Frames that were sent and did not arrive (with checking: unharmed).
    #[must_use]
    pub fn lost(&self) -> u64 {
        let total = self.outcome.total();
        total.tx_frames.saturating_sub(self.findings.map_or(total.rx_frames, |findings| findings.good))
    }

    /// Lost frames for each one sent.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.lost() as f64 / self.outcome.total().tx_frames.max(1) as f64
    }

    /// True when nothing that was checked was wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_none_or(|f| self.lost() == 0 && f.duplicate == 0 && f.reordered == 0 && f.corrupt == 0)
    }

    fn seconds(&self) -> f64 {
        self.outcome.sending.as_secs_f64().max(1e-9)
    }

    /// All stations together; `None` without stamps.
    fn latency(&self) -> Option<Histogram<u64>> {
        let mut sum = self.latencies.first()?.clone();
        for latency in &self.latencies[1..] {
            // Same precision everywhere, so this cannot fail.
            let _ = sum.add(latency);
        }
        (!sum.is_empty()).then_some(sum)
    }

    fn counters_json(&self, name: &str, counters: &Counters) -> Value {
        json!({
            "name": name,
            "tx_packets": counters.tx_frames,
            "tx_bytes": counters.tx_bytes,
            "tx_missed": counters.tx_missed,
            "tx_pps": counters.tx_frames as f64 / self.seconds(),
            "tx_cycles_per_packet": per(counters.tx_cycles, counters.tx_frames),
            "rx_packets": counters.rx_frames,
            "rx_bytes": counters.rx_bytes,
            "rx_pps": counters.rx_frames as f64 / self.seconds(),
            "rx_cycles_per_packet": per(counters.rx_cycles, counters.rx_frames),
        })
    }

    /// For programs. Rates are per second, latencies in microseconds.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut stations = Vec::new();
        for ((name, counters), latency) in self.names.iter().zip(&self.outcome.stations).zip(&self.latencies) {
            let mut station = self.counters_json(name, counters);
            if !latency.is_empty() {
                station["latency_us"] = latency_json(latency);
            }
            stations.push(station);
        }
        let mut value = json!({
            "seconds": self.seconds(),
            "interrupted": self.outcome.interrupted,
            "stations": stations,
            "total": self.counters_json("total", &self.outcome.total()),
            "lost": self.lost(),
            "loss": self.loss(),
            "faults": self.outcome.faults,
        });
        if let Some(findings) = self.findings {
            value["check"] = json!({
                "good": findings.good,
                "duplicate": findings.duplicate,
                "reordered": findings.reordered,
                "corrupt": findings.corrupt,
                "stray": findings.stray,
                "foreign": findings.foreign,
            });
        }
        if let Some(latency) = self.latency() {
            value["latency_us"] = latency_json(&latency);
        }
        if let Some(pps) = self.lossless_pps {
            value["lossless_pps"] = json!(pps);
        }
        value
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        _ = writeln!(
            text,
            "{:<12} {:>14} {:>14} {:>12} {:>12} {:>9} {:>9} {:>7} {:>7}",
            "", "sent", "received", "tx pps", "rx pps", "tx Gbit/s", "rx Gbit/s", "tx cyc", "rx cyc"
        );
        for (name, counters) in self.names.iter().zip(&self.outcome.stations) {
            text += &self.row(name, counters);
        }
        text += &self.row("total", &self.outcome.total());
        _ = writeln!(text, "\nlost         {} ({:.6} %) in {:.2} s", self.lost(), self.loss() * 100.0, self.seconds());
        let missed = self.outcome.total().tx_missed;
        if missed > 0 {
            _ = writeln!(text, "not sent     {missed} (the rings were full when they were due)");
        }
        if let Some(found) = self.findings {
            _ = writeln!(
                text,
                "checked      {} good, {} duplicate, {} reordered, {} corrupt, {} for others, {} foreign",
                found.good, found.duplicate, found.reordered, found.corrupt, found.stray, found.foreign
            );
        }
        if let Some(latency) = self.latency() {
            let [p50, p99, p99_9, max] = [0.5, 0.99, 0.999, 1.0].map(|quantile| micros(&latency, quantile));
            let samples = latency.len();
            _ = writeln!(
                text,
                "latency us   p50 {p50:.1}  p99 {p99:.1}  p99.9 {p99_9:.1}  max {max:.1}  ({samples} samples)"
            );
        }
        if let Some(pps) = self.lossless_pps {
            _ = writeln!(text, "without loss {}pps from each sender", human(pps));
        }
        text
    }

    fn row(&self, name: &str, counters: &Counters) -> String {
        let seconds = self.seconds();
        format!(
            "{:<12} {:>14} {:>14} {:>12} {:>12} {:>9.3} {:>9.3} {:>7.1} {:>7.1}\n",
            name,
            counters.tx_frames,
            counters.rx_frames,
            human(counters.tx_frames as f64 / seconds),
            human(counters.rx_frames as f64 / seconds),
            counters.tx_bytes as f64 * 8e-9 / seconds,
            counters.rx_bytes as f64 * 8e-9 / seconds,
            per(counters.tx_cycles, counters.tx_frames),
            per(counters.rx_cycles, counters.rx_frames),
        )
    }
}

fn micros(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 * 1e6 / clock::cycles_per_second() as f64
}

fn latency_json(latency: &Histogram<u64>) -> Value {
    json!({
        "samples": latency.len(),
        "min": micros(latency, 0.0),
        "p50": micros(latency, 0.5),
        "p99": micros(latency, 0.99),
        "p99_9": micros(latency, 0.999),
        "max": micros(latency, 1.0),
    })
}

fn per(sum: u64, count: u64) -> f64 {
    sum as f64 / count.max(1) as f64
}
