//! Statistics and descriptions: the bodies of multipart messages as data, the same for every version.
//!
//! Neighbours: the codec reads and writes them, the server asks the engine for them.

use std::time::Duration;

use ringswitch_dataplane::flow::{Flow, Group, Mac, Match, Meter};

use super::message::{RemovedReason, Role};

/// What is asked for. Numbers may be those for "all" and "any" of [`super::message`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The specification's names.
pub enum Request {
    Desc,
    Flow(FlowRequest),
    /// 1.5's second form, with statistics and without actions.
    FlowStats(FlowRequest),
    Aggregate(FlowRequest),
    Table,
    PortStats {
        port: u32,
    },
    Queue {
        port: u32,
        queue: u32,
    },
    QueueDesc {
        port: u32,
        queue: u32,
    },
    Group {
        group: u32,
    },
    GroupDesc {
        group: u32,
    },
    GroupFeatures,
    Meter {
        meter: u32,
    },
    MeterConfig {
        meter: u32,
    },
    MeterFeatures,
    TableFeatures {
        /// Features are asked to change.
        change: bool,
    },
    PortDesc {
        port: u32,
    },
    TableDesc,
    FlowMonitor(Vec<MonitorRequest>),
    BundleFeatures,
    ControllerStatus,
}

/// What is answered; in the same order as [`Request`].
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // The specification's names.
pub enum Reply {
    Desc(Desc),
    Flow {
        /// Written with Nicira's match, as the request was; only in 1.0.
        nxm: bool,
        flows: Vec<FlowEntry>,
    },
    FlowStats(Vec<FlowEntry>),
    Aggregate {
        /// As the request was; only in 1.0.
        nxm: bool,
        packets: u64,
        bytes: u64,
        flows: u32,
    },
    Table(Vec<TableStats>),
    PortStats(Vec<PortStats>),
    Queue(Vec<QueueStats>),
    QueueDesc(Vec<QueueDesc>),
    Group(Vec<GroupStats>),
    GroupDesc(Vec<Group>),
    GroupFeatures(GroupFeatures),
    Meter(Vec<MeterStats>),
    MeterConfig(Vec<Meter>),
    MeterFeatures(MeterFeatures),
    TableFeatures(Vec<TableFeatures>),
    PortDesc(Vec<Port>),
    TableDesc(Vec<TableDesc>),
    FlowMonitor(Vec<FlowUpdate>),
    BundleFeatures {
        /// 1.5: bit 0 atomic, bit 1 ordered bundles.
        capabilities: u16,
    },
    ControllerStatus(Vec<ControllerStatus>),
}

/// Which flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRequest {
    /// Asked with Nicira's match; only in 1.0.
    pub nxm: bool,
    /// Its number; [`super::message::TABLE_ALL`] for all.
    pub table: u8,
    /// Only flows with an output to this port.
    pub out_port: Option<u32>,
    /// Only flows with this group.
    pub out_group: Option<u32>,
    /// Only flows with this cookie, in the bits of the mask.
    pub cookie: u64,
    /// Its bits that count.
    pub cookie_mask: u64,
    /// Only flows that match nothing outside this.
    pub matches: Match,
}

/// Who made the switch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The specification's names.
pub struct Desc {
    pub manufacturer: String,
    pub hardware: String,
    pub software: String,
    pub serial_number: String,
    pub datapath: String,
}

/// A flow and what it counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowEntry {
    /// The flow.
    pub flow: Flow,
    /// Since it was installed.
    pub duration: Duration,
    /// Since it last decided a packet; told by Nicira's form and by 1.5.
    pub idle: Option<Duration>,
    /// Since it was last modified; told by Nicira's form.
    pub hard: Option<Duration>,
    /// Packets it decided.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A table's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Its number.
    pub table: u8,
    /// Its name; only 1.0 tells it.
    pub name: String,
    /// Rules it can hold; only 1.0 tells it.
    pub max_entries: u32,
    /// Rules it holds.
    pub active: u32,
    /// Packets looked up.
    pub lookups: u64,
    /// Those that a rule matched.
    pub matched: u64,
}

/// A port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub number: u32,
    /// Its address.
    pub mac: Mac,
    /// Its name; 15 bytes of it are told.
    pub name: String,
    /// Bits of [`Port::PORT_DOWN`] and the like.
    pub config: u32,
    /// Bits of [`Port::LINK_DOWN`] and the like; 1.0 knows the first only.
    pub state: u32,
    /// What it does now, bits of `OFPPF_...` of 1.1 and later.
    pub current: u32,
    /// What it tells its peer.
    pub advertised: u32,
    /// What it can do.
    pub supported: u32,
    /// What its peer tells.
    pub peer: u32,
    /// Kilobits per second; not in 1.0.
    pub current_speed: u32,
    /// Kilobits per second; not in 1.0.
    pub max_speed: u32,
}

#[allow(missing_docs)] // The specification's names.
impl Port {
    pub const PORT_DOWN: u32 = 1 << 0;
    pub const NO_RECV: u32 = 1 << 2;
    /// 1.0 only.
    pub const NO_FLOOD: u32 = 1 << 4;
    pub const NO_FWD: u32 = 1 << 5;
    pub const NO_PACKET_IN: u32 = 1 << 6;
    pub const LINK_DOWN: u32 = 1 << 0;
    pub const BLOCKED: u32 = 1 << 1;
    pub const LIVE: u32 = 1 << 2;
}

/// A port's counters; `u64::MAX` for one that there is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The specification's names.
pub struct PortStats {
    pub number: u32,
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_frame_err: u64,
    pub rx_over_err: u64,
    pub rx_crc_err: u64,
    pub collisions: u64,
    /// Since the port is there; none when nobody knows.
    pub duration: Option<Duration>,
}

/// A queue's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The specification's names.
pub struct QueueStats {
    pub port: u32,
    pub queue: u32,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    /// Since the queue is there; none when nobody knows.
    pub duration: Option<Duration>,
}

/// A queue's settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueDesc {
    /// Its port.
    pub port: u32,
    /// Its number.
    pub queue: u32,
    /// In tenths of a percent of the port's speed.
    pub min_rate: Option<u16>,
    /// In tenths of a percent of the port's speed.
    pub max_rate: Option<u16>,
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // Says it all.
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

/// A group's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupStats {
    /// Its number.
    pub group: u32,
    /// Flows and groups that use it.
    pub references: u32,
    /// Of the group.
    pub count: Count,
    /// Since it is there.
    pub duration: Duration,
    /// Of each bucket.
    pub buckets: Vec<Count>,
}

/// What groups can do. Arrays are indexed by the kind of group: all, select, indirect, fast failover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupFeatures {
    /// A bit per kind.
    pub types: u32,
    /// `OFPGFC_...`: bit 0 select weights, 1 select liveness, 2 chaining, 3 chaining is checked.
    pub capabilities: u32,
    /// Most groups of each kind.
    pub max_groups: [u32; 4],
}

/// A meter's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeterStats {
    /// Its number.
    pub meter: u32,
    /// Flows that use it.
    pub flows: u32,
    /// Packets that it saw.
    pub count: Count,
    /// Since it is there.
    pub duration: Duration,
    /// Packets that each band was applied to.
    pub bands: Vec<Count>,
}

/// What meters can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeterFeatures {
    /// Most meters.
    pub max_meters: u32,
    /// A bit per kind: bit 1 drop, bit 2 dscp_remark.
    pub band_types: u32,
    /// `OFPMF_...`: bit 0 kbps, 1 pktps, 2 burst, 3 stats.
    pub capabilities: u32,
    /// Most bands of a meter.
    pub max_bands: u8,
    /// Most colours.
    pub max_color: u8,
}

/// What a table can do. Instructions, actions and fields are the same for all tables: the codec lists what it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableFeatures {
    /// Its number.
    pub table: u8,
    /// Its name; 31 bytes of it are told.
    pub name: String,
    /// Rules it can hold.
    pub max_entries: u32,
    /// Tables there are: flows can go to those behind this one.
    pub tables: u8,
}

/// A table's settings (1.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableDesc {
    /// Its number.
    pub table: u8,
    /// Flows may be evicted.
    pub eviction: bool,
    /// Which go first, `OFPTMPEF_...`.
    pub eviction_flags: u32,
    /// Vacancy events: the lower and the upper threshold and how much is free, percent.
    pub vacancy: Option<(u8, u8, u8)>,
}

/// A monitor of flows: added, changed, or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorRequest {
    /// Its number.
    pub id: u32,
    /// What to do with it; before 1.4 always [`MonitorCommand::Add`].
    pub command: MonitorCommand,
    /// Bits of [`MonitorRequest::INITIAL`] and the like.
    pub flags: u16,
    /// Only flows with an output to this port.
    pub out_port: Option<u32>,
    /// Only flows with this group.
    pub out_group: Option<u32>,
    /// Its number; [`super::message::TABLE_ALL`] for all.
    pub table: u8,
    /// Only flows that match nothing outside this.
    pub matches: Match,
}

#[allow(missing_docs)] // The specification's names.
impl MonitorRequest {
    pub const INITIAL: u16 = 1 << 0;
    pub const ADD: u16 = 1 << 1;
    pub const REMOVED: u16 = 1 << 2;
    pub const MODIFY: u16 = 1 << 3;
    pub const INSTRUCTIONS: u16 = 1 << 4;
    /// The controller's own changes are told in full too; Nicira's `NXFMF_OWN`.
    pub const NO_ABBREV: u16 = 1 << 5;
    /// 1.4 and later.
    pub const ONLY_OWN: u16 = 1 << 6;
}

/// `OFPFMC_...`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The specification's names.
#[repr(u8)]
pub enum MonitorCommand {
    Add = 0,
    Modify = 1,
    Delete = 2,
}

/// What a monitor saw. Flags and importance of flows are not told, and their actions only where
/// [`MonitorRequest::INSTRUCTIONS`] asked for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowUpdate {
    /// A flow that was there before (1.4 and later; before, it is told as added).
    Initial(Box<Flow>),
    /// A new flow.
    Added(Box<Flow>),
    /// A flow went.
    Removed(Box<Flow>, RemovedReason),
    /// A flow changed.
    Modified(Box<Flow>),
    /// The controller's own change, by the xid of its request.
    Abbreviated {
        /// Of the request.
        xid: u32,
    },
    /// Nothing is told until [`FlowUpdate::Resumed`] (1.4 and later; before, it is a message of its own).
    Paused,
    /// See [`FlowUpdate::Paused`].
    Resumed,
}

/// A connection to a controller (1.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerStatus {
    /// Its number.
    pub short_id: u16,
    /// Its role.
    pub role: Role,
    /// `OFPCSR_...`: 0 asked for, 1 its connection changed, 2 its role, 3 added, 4 its number, 5 removed.
    pub reason: u8,
    /// The connection is up.
    pub up: bool,
    /// Where it is: `tcp:HOST:PORT`.
    pub uri: String,
}
