//! What the switch tells about itself: the results of commands, in the shape that `--json` prints.
//!
//! Neighbours: `engine` fills these, `rpc` carries them, `rsctl` prints them.

mod workers;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use workers::{Bucket, MoveReport, QueueReport, RebalanceReport, WorkerLoad, WorkerReport};

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
    /// Flows of lower importance go first when a table is full.
    pub importance: u16,
    /// Of send_flow_rem, no_packet_counts, no_byte_counts those that are set.
    pub flags: Vec<String>,
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

/// What a queue of a port's QoS counted, for `queue-stats`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStatsReport {
    /// OpenFlow number of the port.
    pub port: u32,
    /// That port's name.
    pub name: String,
    /// The queue's number.
    pub queue: u32,
    /// Packets that went out.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Packets that the port did not take.
    pub tx_errors: u64,
    /// Since the queue is there; none while its port is closed.
    pub duration_ms: Option<u64>,
}

/// How a queue of a port's QoS is set up, for `queue-get-config`. Rates are bits per second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueConfigReport {
    /// OpenFlow number of the port.
    pub port: u32,
    /// That port's name.
    pub name: String,
    /// The queue's number.
    pub queue: u32,
    /// Its record in table Queue; none for queue 0 that nobody set up.
    pub record: Option<String>,
    /// What it gets before others.
    pub min_rate: Option<u64>,
    /// The most that it gets.
    pub max_rate: Option<u64>,
    /// Bits that it may send at once above that.
    pub burst: Option<u64>,
    /// A smaller one is served first.
    pub priority: u64,
    /// Of all queues of the port together.
    pub port_rate: Option<u64>,
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

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountReport {
    /// Packets.
    pub packet_count: u64,
    /// Their bytes.
    pub byte_count: u64,
}

/// A group, for `dump-groups`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Its number.
    pub group_id: u32,
    /// How a bucket is chosen: all, select, indirect, ff.
    #[serde(rename = "type")]
    pub kind: String,
    /// How `select` hashes, when that is not the default.
    pub selection_method: Option<String>,
    /// Its lists of actions.
    pub buckets: Vec<BucketReport>,
    /// All of it as `add-group` takes it.
    pub text: String,
}

/// A bucket of a [`GroupReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketReport {
    /// Its number in the group.
    pub bucket_id: u32,
    /// Its share.
    pub weight: u16,
    /// Alive while this port is.
    pub watch_port: Option<u32>,
    /// Alive while this group is.
    pub watch_group: Option<u32>,
    /// What it does.
    pub actions: String,
}

/// A group's counters, for `dump-group-stats`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatsReport {
    /// Its number.
    pub group_id: u32,
    /// Since it was installed.
    pub duration_ms: u64,
    /// Flows and groups that use it.
    pub ref_count: u32,
    /// In all.
    #[serde(flatten)]
    pub count: CountReport,
    /// Of each bucket.
    pub buckets: Vec<CountReport>,
}

/// A meter, for `dump-meters`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterReport {
    /// Its number.
    pub meter_id: u32,
    /// Of its rates: kbps or pktps.
    pub unit: String,
    /// Its limits.
    pub bands: Vec<BandReport>,
    /// All of it as `add-meter` takes it.
    pub text: String,
}

/// A band of a [`MeterReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BandReport {
    /// What happens above the rate: drop or dscp_remark.
    #[serde(rename = "type")]
    pub kind: String,
    /// The rate.
    pub rate: u32,
    /// What may come at once, when that was said.
    pub burst_size: Option<u32>,
    /// By how much a drop precedence grows.
    pub prec_level: Option<u8>,
}

/// A meter's counters, for `meter-stats`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterStatsReport {
    /// Its number.
    pub meter_id: u32,
    /// Since it was installed.
    pub duration_ms: u64,
    /// Flows that use it.
    pub flow_count: u32,
    /// What came to it.
    #[serde(flatten)]
    pub count: CountReport,
    /// What each band dealt with.
    pub bands: Vec<CountReport>,
}

/// A table's counters, for `dump-tables`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    /// Its number.
    pub table: u8,
    /// Flows in it.
    pub active: u32,
    /// Packets looked up in it.
    pub lookups: u64,
    /// Those that matched a flow.
    pub matched: u64,
}

/// Sums over flows, for `dump-aggregate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregateReport {
    /// Packets.
    pub packet_count: u64,
    /// Their bytes.
    pub byte_count: u64,
    /// Flows.
    pub flow_count: usize,
}

/// A flow that two sides do not have in common, for `diff-flows`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// As the first side has it.
    pub one: Option<String>,
    /// As the second side has it.
    pub other: Option<String>,
}

/// What would become of a packet, for `trace`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceReport {
    /// The packet's fields.
    pub flow: String,
    /// What happened, in order.
    pub steps: Vec<TraceStep>,
    /// Its fields at the end.
    pub final_flow: String,
    /// The fields that mattered: packets that agree in them go the same way.
    pub megaflow: String,
    /// Where it goes: ports, `flood`, `all but PORT`, `controller`.
    pub outputs: Vec<String>,
    /// Why it goes to no port, when it does not; a drop reason.
    pub dropped: Option<String>,
}

/// A step of a [`TraceReport`]. `depth` counts resubmits, clones and buckets that it is inside of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceStep {
    /// A table was asked.
    Table {
        /// See above.
        depth: u32,
        /// Which one.
        table: u8,
        /// What the rule matches, its priority and cookie; none when no rule matched.
        rule: Option<String>,
    },
    /// An action is run.
    Action {
        /// See above.
        depth: u32,
        /// Which one.
        action: String,
    },
    /// What it led to.
    Note {
        /// See above.
        depth: u32,
        /// In words.
        note: String,
    },
}

/// A pool, for `pool-list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolReport {
    /// Its name.
    pub name: String,
    /// It is a port that was put into no pool.
    pub implicit: bool,
    /// Its ports' names.
    pub ports: Vec<String>,
    /// The addresses it is reached by, oldest first.
    pub filters: Vec<AddressReport>,
    /// Its part of what several pools want.
    pub weight: u32,
    /// Its strict class.
    pub priority: u64,
    /// Bits per second that it is promised.
    pub min_rate: Option<u64>,
    /// Most bits per second.
    pub max_rate: Option<u64>,
    /// Most packets per second.
    pub max_packet_rate: Option<u64>,
    /// Who sorts for it, on each uplink of its bridges.
    pub sorting: Vec<SortingReport>,
}

/// An address of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressReport {
    /// `MAC`, or `MAC,VLAN`.
    pub address: String,
    /// How it is known: config, static, flow, learned.
    pub origin: String,
}

/// Who sorts frames of an uplink for a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SortingReport {
    /// The uplink's name.
    pub uplink: String,
    /// nic, xdp, software; none when nobody does.
    pub sorter: String,
    /// Through which queues or sockets; why nobody does.
    pub queues: String,
    /// Why the better sorters do not.
    pub why_not: BTreeMap<String, String>,
    /// Frames that came sorted.
    pub frames: u64,
}

/// A pool's counters, for `pool-stats`. Received is what the VM sent, sent what it got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PoolStatsReport {
    /// Its name.
    pub name: String,
    /// Its ports' names.
    pub ports: Vec<String>,
    /// Packets from the VM, dropped ones included.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets to the VM.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Drops at its ports by reason; only those that happened.
    pub drops: BTreeMap<String, u64>,
    /// Frames that came in for its addresses, by who sorted them.
    pub sorted: SortedReport,
    /// Those of them whose way was known from the address.
    pub direct: u64,
    /// The others: they went through the tables.
    pub walked: u64,
    /// Cycles spent on what came from the VM.
    pub cycles: u64,
    /// The same as a part of all ports' cycles, 0 to 1.
    pub cycles_share: f64,
}

/// Frames by who sorted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SortedReport {
    /// The NIC.
    pub nic: u64,
    /// The XDP program.
    pub xdp: u64,
    /// The worker.
    pub software: u64,
}

/// How frames to an address travel on a bridge, for `pool-trace`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolTraceReport {
    /// The bridge's name.
    pub bridge: String,
    /// `MAC`, or `MAC,VLAN`.
    pub address: String,
    /// The pool; none when it is no one's.
    pub pool: Option<String>,
    /// How that is known: config, static, flow, learned.
    pub origin: Option<String>,
    /// Why it is no pool's.
    pub why: Option<String>,
    /// From each uplink.
    pub uplinks: Vec<UplinkTraceReport>,
}

/// The same from one uplink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkTraceReport {
    /// Who sorts.
    #[serde(flatten)]
    pub sorting: SortingReport,
    /// All such frames go the same way, so they need no table.
    pub fast_path: bool,
    /// Which way that is; why there is none, otherwise.
    pub verdict: String,
}
