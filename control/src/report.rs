//! What the switch tells about itself: the results of commands, in the shape that `--json` prints.
//!
//! Neighbours: `engine` fills these, `rpc` carries them, `rsctl` prints them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// OpenFlow's number of a bridge's own port.
pub const LOCAL: u32 = 0xffff_fffe;

/// A bridge, for `show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeReport {
    /// Its name.
    pub name: String,
    /// Columns that are not at their default.
    pub columns: BTreeMap<String, String>,
    /// Its ports by number, its own port last.
    pub ports: Vec<PortReport>,
    /// Flows installed.
    pub flows: usize,
}

/// A port, for `show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReport {
    /// Its name.
    pub name: String,
    /// OpenFlow number.
    pub number: u32,
    /// Columns that are not at their default, `type` among them; options with `options:`.
    pub columns: BTreeMap<String, String>,
    /// Is the peer there?
    pub link_up: bool,
    /// How it is attached, or why it is not.
    pub link: String,
    /// What is wrong with it, when something is: it cannot be opened, or its peer broke the rules.
    pub error: Option<String>,
}

/// A flow with its statistics, for `dump-flows`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowReport {
    /// The controller's number.
    pub cookie: u64,
    /// Since it was installed.
    pub duration_ms: u64,
    /// Its table.
    pub table: u8,
    /// Packets it decided.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Seconds; 0 for never.
    pub idle_timeout: u16,
    /// Seconds; 0 for never.
    pub hard_timeout: u16,
    /// Since its last packet.
    pub idle_ms: u64,
    /// Its priority.
    pub priority: u16,
    /// What it matches, without the priority; empty for everything.
    pub matches: String,
    /// What it does.
    pub actions: String,
}

/// A port's counters, for `dump-ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStats {
    /// Its name.
    pub name: String,
    /// OpenFlow number.
    pub number: u32,
    /// Packets that came in, dropped ones included.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets that went out.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Outputs beyond the first of packets that came in here.
    pub copies: u64,
    /// Drops by reason; only those that happened.
    pub drops: BTreeMap<String, u64>,
}

/// A learned or static address, for `fdb-show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbReport {
    /// OpenFlow number of the port it is behind.
    pub port: u32,
    /// That port's name.
    pub name: String,
    /// Its VLAN.
    pub vlan: u16,
    /// The address.
    pub mac: String,
    /// Seconds since it was last seen; none when it is static.
    pub age: Option<u64>,
}

/// A bridge's learning, for `fdb-stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbStats {
    /// Addresses in the table.
    pub entries: u64,
    /// Most that fit.
    pub capacity: u64,
    /// Static ones among them.
    pub static_entries: u64,
    /// Ever learned.
    pub learned: u64,
    /// Forgotten because they were silent.
    pub expired: u64,
    /// Forgotten to make room.
    pub evicted: u64,
    /// Seen behind another port than before.
    pub moved: u64,
}

/// A worker, for `worker-stats`. Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// The CPU it runs on.
    pub cpu: usize,
    /// Passes over its queues.
    pub passes: u64,
    /// Batches that held packets.
    pub batches: u64,
    /// Packets received.
    pub packets: u64,
    /// Cycles of passes that found something.
    pub busy_cycles: u64,
    /// Cycles of passes that found nothing.
    pub idle_cycles: u64,
    /// Times it went to sleep.
    pub sleeps: u64,
    /// Packets whose verdict was known for all traffic of their port.
    pub port_hits: u64,
    /// Packets whose verdict was in the cache.
    pub cache_hits: u64,
    /// Packets that needed a walk through the table.
    pub walks: u64,
    /// Batches whose walks held their port back, so that others had their part of the worker.
    pub holds: u64,
}

/// A receive queue and who polls it, for `queue-show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueReport {
    /// The worker, from 0.
    pub worker: usize,
    /// Its CPU.
    pub cpu: usize,
    /// The port's name.
    pub port: String,
    /// The queue, from 0.
    pub queue: u16,
    /// Packets received from it.
    pub packets: u64,
}

/// The programs' version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionReport {
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
}

/// How many of something a command changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// How many.
    pub count: usize,
}
