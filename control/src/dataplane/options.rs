//! Settings, in the words of the dataplane.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use ringswitch_dataplane::pipeline::{DEFAULT_ENTRIES, Native, VlanMode, VlanSet};
use ringswitch_dataplane::port::tap::{TapOptions, TapStatus};
use ringswitch_dataplane::port::vhost::{FeatureSwitches, Mode, VhostOptions, VhostStatus};
use ringswitch_dataplane::port::xdp::{AttachMode, PassFilter, SorterChoice, XdpMode, XdpOptions, XdpStatus};
use ringswitch_dataplane::sched::{Rate, Rates as Limited};
use ringswitch_dataplane::worker::{AutoBalance, IdlePolicy, WorkersConfig};

use crate::model::{NativeTag, Port, PortType, Rates, Settings, Vlan};

/// Transmit slots of a port that is not asked for a number of queues.
const TX_QUEUES: u64 = 64;

/// What the workers are started with.
pub fn workers(settings: &Settings, allowed_cpus: &[usize]) -> WorkersConfig {
    let cpus: Vec<usize> = match settings.numbers("cpus") {
        Some(cpus) => cpus.iter().map(|&cpu| cpu as usize).collect(),
        None => allowed_cpus.last().copied().into_iter().collect(),
    };
    let spin = settings.number("spin-us").map_or(IdlePolicy::default().spin, |us| Some(Duration::from_micros(us)));
    let idle = IdlePolicy { spin: if settings.text("idle") == Some("spin") { None } else { spin } };
    WorkersConfig {
        cpus,
        cache_entries: settings.number("cache-entries").map_or(DEFAULT_ENTRIES, |entries| entries as usize),
        idle,
    }
}

/// How many microseconds the workers' CPUs may take to resume from idle.
pub fn resume_latency(settings: &Settings) -> Option<u32> {
    settings.number("resume-latency-us").map(|us| us as u32)
}

/// When queues are moved without being told to; `None` for never.
pub fn auto_balance(settings: &Settings) -> Option<AutoBalance> {
    let number = |name, default: u64| settings.number(name).unwrap_or(default);
    settings.flag("pmd-auto-lb").filter(|&on| on).map(|_| AutoBalance {
        load_threshold: number("pmd-auto-lb-load-threshold", 95) as f64 / 100.0,
        improvement_threshold: number("pmd-auto-lb-improvement-threshold", 25) as f64,
        interval_ms: number("pmd-auto-lb-rebal-interval", 1).max(1) * 60_000,
    })
}

/// Transmit slots that the port may ever need.
pub fn tx_queues(port: &Port) -> usize {
    let queues = match port.port_type() {
        Some(PortType::VhostUser) => queue_pairs(&port.settings),
        Some(PortType::AfXdp) => port.settings.number("n_rxq").unwrap_or(TX_QUEUES),
        _ => 1,
    };
    queues as usize
}

fn queue_pairs(settings: &Settings) -> u64 {
    settings.number("queues").unwrap_or(1)
}

/// A vhost-user port's options.
pub fn vhost(settings: &Settings) -> Result<VhostOptions, String> {
    let mut options = VhostOptions::new(settings.text("path").unwrap_or_default());
    if settings.text("mode") == Some("client") {
        options.mode = Mode::Client;
    }
    options.owner = settings.text("owner").map(|owner| id_of(owner, "/etc/passwd", "user")).transpose()?;
    options.group = settings.text("group").map(|group| id_of(group, "/etc/group", "group")).transpose()?;
    options.socket_mode = settings.text("permissions").and_then(|octal| u32::from_str_radix(octal, 8).ok());
    options.queue_pairs = queue_pairs(settings) as u16;
    let all = FeatureSwitches::default();
    options.features = FeatureSwitches {
        packed: settings.flag("packed").unwrap_or(all.packed),
        mrg_rxbuf: settings.flag("mrg-rxbuf").unwrap_or(all.mrg_rxbuf),
        indirect: settings.flag("indirect").unwrap_or(all.indirect),
        event_idx: settings.flag("event-idx").unwrap_or(all.event_idx),
        in_order: settings.flag("in-order").unwrap_or(all.in_order),
    };
    Ok(options)
}

/// An AF_XDP port's options.
pub fn xdp(name: &str, settings: &Settings) -> Result<XdpOptions, String> {
    let mut options = XdpOptions::new(settings.text("netdev").unwrap_or(name));
    options.queues = settings.number("n_rxq").map(|queues| queues as u16);
    (options.mode, options.zero_copy) = match settings.text("xdp-mode") {
        Some("native-with-zerocopy") => (XdpMode::Native, Some(true)),
        Some("native") => (XdpMode::Native, Some(false)),
        Some("generic") => (XdpMode::Generic, Some(false)),
        _ => (XdpMode::Auto, None),
    };
    options.busy_poll_us = settings.number("busy-poll").map(|us| us as u32);
    let pass = settings.text("pass").into_iter().flat_map(|list| list.split(',')).map(str::trim);
    options.pass =
        pass.map(|test| test.parse::<PassFilter>().map_err(|error| error.to_string())).collect::<Result<_, _>>()?;
    options.sorter = sorter(settings);
    if let Some(frames) = settings.number("frames") {
        (options.rx_frames, options.tx_frames) = (frames as u32, frames as u32);
    }
    Ok(options)
}

/// Which sorters an AF_XDP port may use.
pub fn sorter(settings: &Settings) -> SorterChoice {
    match settings.text("sorter") {
        Some("nic") => SorterChoice::Nic,
        Some("xdp") => SorterChoice::Xdp,
        Some("software") => SorterChoice::Software,
        _ => SorterChoice::Auto,
    }
}

/// A tap's options.
pub fn tap(name: &str, settings: &Settings) -> TapOptions {
    let mut options = TapOptions::new(settings.text("netdev").unwrap_or(name));
    if let Some(mtu) = settings.number("mtu_request") {
        options.mtu = mtu as u32;
    }
    options
}

/// What `get interface NAME status` shows of an AF_XDP port.
pub fn xdp_status(status: &XdpStatus) -> BTreeMap<String, String> {
    let mode = match status.mode {
        None => "none",
        Some(AttachMode::Native) => "native",
        Some(AttachMode::Generic) => "generic",
    };
    let counters = &status.counters;
    BTreeMap::from([
        ("xdp_mode".to_owned(), mode.to_owned()),
        ("zero_copy".to_owned(), status.zero_copy.to_string()),
        ("queues".to_owned(), status.queue_count.to_string()),
        ("mtu".to_owned(), status.mtu.to_string()),
        ("rx_dropped".to_owned(), counters.rx_dropped.to_string()),
        ("rx_ring_full".to_owned(), counters.rx_ring_full.to_string()),
        ("fill_ring_empty".to_owned(), counters.fill_ring_empty.to_string()),
        ("invalid_descs".to_owned(), counters.invalid_descs.to_string()),
    ])
}

/// What `get interface NAME status` shows of a tap.
pub fn tap_status(status: &TapStatus) -> BTreeMap<String, String> {
    BTreeMap::from([("netdev".to_owned(), status.netdev.clone()), ("mtu".to_owned(), status.mtu.to_string())])
}

/// The number of a user or group: itself, or looked up by name in the system's file.
fn id_of(name: &str, file: &str, what: &str) -> Result<u32, String> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let line = text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name);
    let id = line.and_then(|fields| fields.get(2)?.parse().ok());
    id.ok_or_else(|| format!("no {what} named {name}"))
}

/// What `get interface NAME status` shows of a vhost-user port.
pub fn vhost_status(status: &VhostStatus) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::from([
        ("connected".to_owned(), status.connected.to_string()),
        ("connections".to_owned(), status.connections.to_string()),
        ("requests".to_owned(), status.requests.to_string()),
        ("features".to_owned(), bit_names(status.features, FEATURES)),
        ("protocol_features".to_owned(), bit_names(status.protocol_features, PROTOCOL_FEATURES)),
        ("memory_regions".to_owned(), status.memory_regions.to_string()),
        ("memory_bytes".to_owned(), status.memory_bytes.to_string()),
    ]);
    for ring in &status.rings {
        let words = [(ring.enabled, "enabled"), (ring.live, "live"), (ring.kick, "kick"), (ring.call, "call")];
        let words: Vec<_> = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        shown.insert(format!("ring_{}", ring.index), format!("{} descriptors: {}", ring.size, words.join(" ")));
    }
    if !status.rings.is_empty() {
        let is_packed = status.features >> 34 & 1 != 0;
        shown.insert("ring_type".to_owned(), if is_packed { "packed" } else { "split" }.to_owned());
    }
    if !status.problem.is_empty() {
        shown.insert("problem".to_owned(), status.problem.clone());
    }
    shown
}

/// Features that a front-end may have accepted, by bit: virtio 1.2, 5.1.3 and 6.
const FEATURES: &[(u32, &str)] = &[
    (15, "mrg_rxbuf"),
    (22, "mq"),
    (26, "log_all"),
    (28, "indirect_desc"),
    (29, "event_idx"),
    (30, "protocol_features"),
    (32, "version_1"),
    (34, "ring_packed"),
    (35, "in_order"),
];
/// The same of the vhost-user protocol.
const PROTOCOL_FEATURES: &[(u32, &str)] =
    &[(0, "mq"), (1, "log_shmfd"), (3, "reply_ack"), (15, "configure_mem_slots"), (16, "status")];

/// The names of the bits that are set; a bit without a name by its number.
fn bit_names(bits: u64, names: &[(u32, &str)]) -> String {
    let name = |bit| match names.iter().find(|(known, _)| *known == bit) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("bit_{bit}"),
    };
    (0..u64::BITS).filter(|bit| bits >> bit & 1 != 0).map(name).collect::<Vec<_>>().join(" ")
}

/// Bursts of Open vSwitch where none is given: kilobits and 1000 packets.
const POLICING_BURST: u64 = 8000;
const POLICING_BURST_KPKTS: u64 = 16;

/// A port's rates; none when nothing limits it.
pub fn limits(rates: &Rates) -> Option<Limited> {
    let kilobits: fn(u64) -> u64 = |kilobits| kilobits * 1000 / 8;
    let police = |rate: Option<u64>, burst: Option<u64>, default: u64, unit: fn(u64) -> u64| {
        rate.map(|rate| Rate { per_second: unit(rate), burst: unit(burst.unwrap_or(default)) })
    };
    let limited = Limited {
        shape_bytes: rates.max_rate.map(|bits| Limited::shaped_bytes(bits.div_ceil(8))),
        shape_packets: rates.max_packet_rate.map(Limited::shaped_packets),
        police_bytes: police(rates.policing_kbps, rates.policing_burst_kb, POLICING_BURST, kilobits),
        police_packets: police(rates.policing_kpkts, rates.policing_burst_kpkts, POLICING_BURST_KPKTS, |k| k * 1000),
    };
    (limited != Limited::default()).then_some(limited)
}

/// The VLANs of a port.
pub fn vlan(vlan: &Vlan) -> VlanMode {
    match vlan {
        Vlan::Access(0) => VlanMode::Trunk { allowed: VlanSet::of([0]), native: Native::None },
        Vlan::Access(vid) => VlanMode::Access(*vid),
        Vlan::Trunk { allowed, native } => VlanMode::Trunk {
            allowed: if allowed.is_empty() { VlanSet::all() } else { VlanSet::of(allowed.iter().copied()) },
            native: match native {
                None => Native::None,
                Some((vid, NativeTag::Tagged)) => Native::Tagged(*vid),
                Some((vid, NativeTag::Untagged)) => Native::Untagged(*vid),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_shown_by_name() {
        assert_eq!(bit_names(0x5_4000_0000, FEATURES), "protocol_features version_1 ring_packed");
        assert_eq!(bit_names(0x9, PROTOCOL_FEATURES), "mq reply_ack");
        assert_eq!(bit_names(1 << 63, FEATURES), "bit_63");
        assert_eq!(bit_names(0, FEATURES), "");
    }
}
