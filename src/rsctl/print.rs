//! Results as text, in the format of the Open vSwitch tool whose word was used.

use std::collections::BTreeMap;
use std::fmt::Write;

use ringswitch_control::command::Command as Configure;
use ringswitch_control::report::{
    BridgeReport, Changed, FdbReport, FdbStats, FlowReport, LOCAL, PortStats, QueueConfigReport, QueueStatsReport,
    VersionReport, WorkerReport,
};
use ringswitch_control::rpc::Call;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::workers;

pub type Printed = Result<String, serde_json::Error>;

/// As JSON, for programs.
pub fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

/// What a command of a transaction answered.
pub fn answer(command: &Configure, answer: &Value) -> Printed {
    Ok(match command {
        Configure::ListBr {} | Configure::ListPorts { .. } | Configure::GetController { .. } => {
            read::<Vec<String>>(answer)?.iter().map(|name| format!("{name}\n")).collect()
        }
        Configure::Get { columns, .. } => get(columns, answer),
        Configure::List { .. } => {
            let rows: Vec<String> = answer.as_array().into_iter().flatten().map(|row| get(&[], row)).collect();
            rows.join("\n")
        }
        Configure::Create { .. } => answer.as_str().map(|name| format!("{name}\n")).unwrap_or_default(),
        Configure::GetFailMode { .. } => answer.as_str().map(|mode| format!("{mode}\n")).unwrap_or_default(),
        Configure::GetSsl {} => {
            let files = read::<BTreeMap<String, String>>(answer)?;
            files.iter().map(|(name, file)| format!("{name}: {file}\n")).collect()
        }
        Configure::PoolList {} => super::pools::list(&read::<Vec<_>>(answer)?),
        Configure::Show {} => read::<Vec<BridgeReport>>(answer)?.iter().map(bridge).collect(),
        _ => String::new(),
    })
}

/// What a call returned.
pub fn result(call: &Call, result: &Value) -> Printed {
    Ok(match call {
        Call::DumpPorts { .. } => read::<Vec<PortStats>>(result)?.iter().map(port_stats).collect(),
        Call::QueueStats { .. } => read::<Vec<QueueStatsReport>>(result)?.iter().map(queue_stats).collect(),
        Call::QueueGetConfig { .. } => read::<Vec<QueueConfigReport>>(result)?.iter().map(queue_config).collect(),
        Call::FdbShow { .. } => fdb(&read::<Vec<FdbReport>>(result)?),
        Call::FdbStats { bridge } => fdb_stats(bridge, &read(result)?),
        Call::FdbFlush { .. } => format!("{} addresses forgotten\n", read::<Changed>(result)?.count),
        Call::PoolStats { .. } => super::pools::stats(&read::<Vec<_>>(result)?),
        Call::PoolTrace { .. } => super::pools::trace(&read::<Vec<_>>(result)?),
        Call::WorkerStats {} => workers::stats(&read::<Vec<WorkerReport>>(result)?),
        Call::Rebalance { .. } => workers::rebalance(&read(result)?),
        Call::Version {} => {
            let daemon: VersionReport = read(result)?;
            let own = env!("CARGO_PKG_VERSION");
            format!("rsctl {own}\nringswitchd {} (process {})\n", daemon.version, daemon.pid)
        }
        Call::DumpConfig {} => read(result)?,
        _ => String::new(),
    })
}

pub fn read<T: DeserializeOwned>(value: &Value) -> Result<T, serde_json::Error> {
    T::deserialize(value)
}

/// A line for each column asked for; `name : value` for all of them.
fn get(columns: &[String], row: &Value) -> String {
    let Some(row) = row.as_object() else { return String::new() };
    if columns.is_empty() {
        return row.iter().map(|(name, value)| format!("{name:<20}: {}\n", column(value))).collect();
    }
    columns.iter().filter_map(|name| row.get(name)).map(|value| format!("{}\n", column(value))).collect()
}

/// A value as Open vSwitch prints it: `[10, 20]`, `{mode=client, path="/run/x"}`; text is quoted unless it is a plain word.
fn column(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("[{}]", list.iter().map(column).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            format!(
                "{{{}}}",
                map.iter().map(|(key, value)| format!("{key}={}", column(value))).collect::<Vec<_>>().join(", ")
            )
        }
        Value::String(text) => word(text),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn word(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if plain && text != "true" && text != "false" { text.to_owned() } else { Value::from(text).to_string() }
}

/// `ovs-vsctl show`, with number, link and flows.
fn bridge(bridge: &BridgeReport) -> String {
    let mut text = format!("Bridge {}\n", word(&bridge.name));
    maps(&mut text, "    ", &bridge.columns, |_| true);
    let _ = writeln!(text, "    flows: {}", bridge.flows);
    for port in &bridge.ports {
        let of_port = |name: &str| matches!(name, "tag" | "trunks" | "vlan_mode" | "qos");
        let _ = writeln!(text, "    Port {}", word(&port.name));
        maps(&mut text, "        ", &port.columns, of_port);
        let _ = writeln!(text, "        Interface {}", word(&port.name));
        maps(&mut text, "            ", &port.columns, |name| !of_port(name));
        let number = if port.number == LOCAL { "LOCAL".to_owned() } else { port.number.to_string() };
        let state = if port.link_up { "up" } else { "down" };
        let _ = writeln!(text, "            ofport: {number}");
        let _ = match &port.error {
            Some(why) => writeln!(text, "            error: {}", Value::from(why.as_str())),
            None => writeln!(text, "            link: {state} ({})", port.link),
        };
    }
    text
}

/// A line for each column that is wanted; those of a map (`options:path`) together, as `options: {path="/run/x"}`.
fn maps(text: &mut String, indent: &str, columns: &BTreeMap<String, String>, wanted: impl Fn(&str) -> bool) {
    let mut maps = BTreeMap::<&str, Vec<String>>::new();
    for (name, value) in columns.iter().filter(|(name, _)| wanted(name)) {
        match name.split_once(':') {
            Some((map, key)) => maps.entry(map).or_default().push(format!("{key}={}", word(value))),
            None => drop(writeln!(text, "{indent}{name}: {value}")),
        }
    }
    for (map, pairs) in maps {
        let _ = writeln!(text, "{indent}{map}: {{{}}}", pairs.join(", "));
    }
}

/// `ovs-ofctl [--no-stats] dump-flows`
pub fn flows(flows: &Value, no_stats: bool) -> Printed {
    Ok(read::<Vec<FlowReport>>(flows)?.iter().map(|flow| super::openflow::flow(flow, no_stats)).collect())
}

/// `ovs-ofctl dump-ports`, and why packets were dropped.
fn port_stats(port: &PortStats) -> String {
    let number = if port.number == LOCAL { "LOCAL".to_owned() } else { format!("{:>2}", port.number) };
    let sum = |tx: bool| -> u64 {
        port.drops.iter().filter(|(reason, _)| reason.starts_with("tx_") == tx).map(|(_, count)| count).sum()
    };
    let mut text = format!(
        "  port {number} ({}): rx pkts={}, bytes={}, drop={}, errs=?, frame=?, over=?, crc=?\n           tx pkts={}, \
         bytes={}, drop={}, errs=?, coll=?\n",
        port.name,
        port.rx_packets,
        port.rx_bytes,
        sum(false),
        port.tx_packets,
        port.tx_bytes,
        sum(true)
    );
    for (reason, count) in &port.drops {
        let _ = writeln!(text, "           {reason}={count}");
    }
    text
}

/// `ovs-ofctl queue-stats`
fn queue_stats(stats: &QueueStatsReport) -> String {
    let duration = stats.duration_ms.map_or("?".to_owned(), |ms| format!("{}.{:03}s", ms / 1000, ms % 1000));
    format!(
        "  port {} ({}) queue {}: bytes={}, pkts={}, errors={}, duration={duration}\n",
        number(stats.port),
        stats.name,
        stats.queue,
        stats.tx_bytes,
        stats.tx_packets,
        stats.tx_errors
    )
}

/// Rates in bits per second, which `ovs-ofctl queue-get-config` cannot tell.
fn queue_config(queue: &QueueConfigReport) -> String {
    let mut text = format!("  port {} ({}) queue {}:", number(queue.port), queue.name, queue.queue);
    let given = [("min-rate", queue.min_rate), ("max-rate", queue.max_rate), ("burst", queue.burst)];
    for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        let _ = write!(text, " {name}={value}");
    }
    let _ = writeln!(text, " priority={}", queue.priority);
    text
}

fn number(port: u32) -> String {
    if port == LOCAL { "LOCAL".to_owned() } else { port.to_string() }
}

/// `ovs-appctl fdb/show`
fn fdb(entries: &[FdbReport]) -> String {
    let mut text = " port  VLAN  MAC                Age\n".to_owned();
    for entry in entries {
        let port = if entry.port == LOCAL { "LOCAL".to_owned() } else { entry.port.to_string() };
        let age = entry.age.map_or("static".to_owned(), |age| format!("{age:>3}"));
        let _ = writeln!(text, "{port:>5}  {:>4}  {}  {age}", entry.vlan, entry.mac);
    }
    text
}

/// `ovs-appctl fdb/stats-show`
fn fdb_stats(bridge: &str, stats: &FdbStats) -> String {
    format!(
        "Statistics for bridge \"{bridge}\":\n  Current/maximum MAC entries in the table: {}/{}\n  Current static MAC entries \
         in the table : {}\n  Total number of learned MAC entries     : {}\n  Total number of expired MAC entries     : {}\n  \
         Total number of evicted MAC entries     : {}\n  Total number of port moved MAC entries  : {}\n",
        stats.entries, stats.capacity, stats.static_entries, stats.learned, stats.expired, stats.evicted, stats.moved
    )
}
