//! `rsctl top`: what goes through the ports right now, again and again.
//!
//! Trust: counters are the daemon's; a port that comes, goes or starts anew between two looks is shown from the next on.
//! Neighbours: `main` starts it, `print` has the other commands' texts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use ringswitch_control::command::Command as Configure;
use ringswitch_control::report::PortStats;
use ringswitch_control::rpc::{Call, Client, ClientError};
use serde::Deserialize;
use serde_json::{Value, json};

/// How often to look, and how to show it.
pub struct Looks {
    /// Between two looks.
    pub interval: Duration,
    /// Stop after so many looks.
    pub count: Option<u64>,
    /// A line of JSON per look instead of a table.
    pub json: bool,
}

impl Looks {
    /// Shows what happened between two looks, until the count is reached or nobody reads any more. `show` gets both, the seconds
    /// between them, and which turn it is.
    ///
    /// # Errors
    /// What the daemon refuses, and when it goes away.
    pub fn run<T>(
        &self,
        mut look: impl FnMut() -> Result<T, ClientError>,
        show: impl Fn(&T, &T, f64, u64) -> String,
    ) -> Result<(), ClientError> {
        let redraw = std::io::stdout().is_terminal() && !self.json;
        let (mut before, mut at) = (look()?, Instant::now());
        let mut lines = 0;
        for turn in (1..).take_while(|&turn| self.count.is_none_or(|count| turn <= count)) {
            std::thread::sleep(self.interval.saturating_sub(at.elapsed()));
            let (now, seconds) = (look()?, at.elapsed().as_secs_f64());
            at = Instant::now();
            let mut text = String::new();
            if redraw && lines > 0 {
                // Back to where the last table began, and clear from there.
                let _ = write!(text, "\x1b[{lines}A\x1b[J");
            }
            let table = show(&before, &now, seconds, turn);
            lines = table.lines().count();
            text += &table;
            let mut out = std::io::stdout().lock();
            if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
                break;
            }
            before = now;
        }
        Ok(())
    }
}

/// A port of a bridge.
type Key = (String, String);

/// Shows the rates of this bridge's ports, or of all.
///
/// # Errors
/// What the daemon refuses, and when it goes away.
pub fn run(socket: &Path, bridge: Option<&str>, looks: &Looks) -> Result<(), ClientError> {
    let mut client = Client::connect(socket)?;
    let show = |before: &BTreeMap<Key, PortStats>, now: &BTreeMap<Key, PortStats>, seconds, turn| {
        let rates: Vec<_> =
            now.iter().filter_map(|(key, now)| Some((key, Rates::between(before.get(key)?, now, seconds)))).collect();
        if looks.json { objects(&rates) } else { table(&rates, turn, looks.count) }
    };
    looks.run(|| look(&mut client, bridge), show)
}

/// The counters of all ports in question.
fn look(client: &mut Client, bridge: Option<&str>) -> Result<BTreeMap<Key, PortStats>, ClientError> {
    let bridges = match bridge {
        Some(bridge) => vec![bridge.to_owned()],
        None => {
            let lists: Vec<Vec<String>> = read(client.call(&Call::Transact { commands: vec![Configure::ListBr {}] })?)?;
            lists.into_iter().flatten().collect()
        }
    };
    let mut ports = BTreeMap::new();
    for name in bridges {
        let call = Call::DumpPorts { bridge: name.clone(), port: None };
        let stats: Vec<PortStats> = match client.call(&call) {
            // It was removed since it was listed.
            Err(ClientError::Refused(_)) if bridge.is_none() => continue,
            answer => read(answer?)?,
        };
        ports.extend(stats.into_iter().map(|port| ((name.clone(), port.name.clone()), port)));
    }
    Ok(ports)
}

pub fn read<T: for<'de> Deserialize<'de>>(answer: Value) -> Result<T, ClientError> {
    T::deserialize(answer).map_err(|_| ClientError::Garbled)
}

/// Per second.
struct Rates {
    rx_pps: f64,
    rx_bps: f64,
    tx_pps: f64,
    tx_bps: f64,
    drops: f64,
}

impl Rates {
    fn between(before: &PortStats, now: &PortStats, seconds: f64) -> Self {
        let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
        let drops = |stats: &PortStats| stats.drops.values().sum();
        Self {
            rx_pps: rate(before.rx_packets, now.rx_packets),
            rx_bps: rate(before.rx_bytes, now.rx_bytes) * 8.0,
            tx_pps: rate(before.tx_packets, now.tx_packets),
            tx_bps: rate(before.tx_bytes, now.tx_bytes) * 8.0,
            drops: rate(drops(before), drops(now)),
        }
    }
}

fn objects(rates: &[(&Key, Rates)]) -> String {
    let object = |((bridge, port), rates): &(&Key, Rates)| {
        json!({
            "bridge": bridge, "port": port, "rx_pps": rates.rx_pps, "rx_bps": rates.rx_bps, "tx_pps": rates.tx_pps,
            "tx_bps": rates.tx_bps, "drops_per_second": rates.drops,
        })
    };
    format!("{}\n", Value::from(rates.iter().map(object).collect::<Vec<_>>()))
}

/// How many of the looks that were asked for are done.
pub fn progress(turn: u64, count: Option<u64>) -> String {
    const BAR: u64 = 30;
    let Some(count) = count else { return String::new() };
    let done = (turn * BAR / count.max(1)) as usize;
    format!("[{:<30}] {turn} of {count}\n", "#".repeat(done))
}

fn table(rates: &[(&Key, Rates)], turn: u64, count: Option<u64>) -> String {
    let mut text = progress(turn, count);
    let _ = writeln!(
        text,
        "{:<12} {:<12} {:>12} {:>14} {:>12} {:>14} {:>12}",
        "bridge", "port", "rx pps", "rx bit/s", "tx pps", "tx bit/s", "drop/s"
    );
    for ((bridge, port), rates) in rates {
        let _ = writeln!(
            text,
            "{bridge:<12} {port:<12} {:>12} {:>14} {:>12} {:>14} {:>12}",
            human(rates.rx_pps),
            human(rates.rx_bps),
            human(rates.tx_pps),
            human(rates.tx_bps),
            human(rates.drops)
        );
    }
    text
}

/// Three digits that count and a unit.
fn human(value: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.iter().find(|(unit, _)| value >= *unit) {
        Some((unit, name)) => format!("{:.2} {name}", value / unit),
        None => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(packets: u64) -> PortStats {
        PortStats {
            name: "vm1".into(),
            number: 1,
            rx_packets: packets,
            rx_bytes: packets * 60,
            tx_packets: packets / 2,
            tx_bytes: packets * 30,
            copies: 0,
            drops: BTreeMap::from([("tx_full".into(), packets / 4)]),
        }
    }

    #[test]
    fn rates_are_what_came_between_two_looks() {
        let key = ("br0".to_owned(), "vm1".to_owned());
        let rates = [(&key, Rates::between(&stats(1_000), &stats(4_001_000), 2.0))];
        let shown = table(&rates, 1, Some(2));
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(shown.lines().next(), Some("[###############               ] 1 of 2"));
        assert_eq!(lines[2].join(" "), "br0 vm1 2.00 M 960.00 M 1.00 M 480.00 M 500.00 k");
        let object: Value = serde_json::from_str(&objects(&rates)).expect("JSON");
        assert_eq!(object[0]["rx_pps"], 2_000_000.0);
        // Deleted and made again: it counts from zero.
        assert_eq!(Rates::between(&stats(1_000), &stats(0), 1.0).rx_pps, 0.0);
    }
}
