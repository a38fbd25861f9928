//! Messages of OpenFlow as data, the same for every version.
//!
//! Neighbours: the codec makes them out of bytes and bytes out of them; the server and the engine act on them. Statistics
//! (multipart messages) are in [`super::stats`].

use std::time::Duration;

use ringswitch_dataplane::flow::{Action, Flow, FlowKey, Group, Mac, Meter};
use ringswitch_dataplane::pipeline::Continuation;

use super::OfError;
use super::stats::{Port, Reply, Request, TableDesc};

/// "Any port" and "no port", `OFPP_ANY`.
pub const PORT_ANY: u32 = 0xffff_ffff;
/// The controller as a port: where packet-outs of 1.1 and later come from.
pub const PORT_CONTROLLER: u32 = 0xffff_fffd;
/// "All groups", `OFPG_ALL`.
pub const GROUP_ALL: u32 = 0xffff_fffc;
/// "Any group", `OFPG_ANY`.
pub const GROUP_ANY: u32 = 0xffff_ffff;
/// "All meters", `OFPM_ALL`.
pub const METER_ALL: u32 = 0xffff_ffff;
/// "All queues", `OFPQ_ALL`.
pub const QUEUE_ALL: u32 = 0xffff_ffff;
/// "All tables", `OFPTT_ALL`; of a flow-mod that adds: the one the switch likes.
pub const TABLE_ALL: u8 = 0xff;
/// As a command's bucket: the first one, `OFPG_BUCKET_FIRST`.
pub const BUCKET_FIRST: u32 = 0xffff_fffd;
/// As a command's bucket: the last one, `OFPG_BUCKET_LAST`.
pub const BUCKET_LAST: u32 = 0xffff_fffe;
/// As a command's bucket: all of them, `OFPG_BUCKET_ALL`.
pub const BUCKET_ALL: u32 = 0xffff_ffff;
/// Most of a request that an error message has room for.
const ERROR_DATA_MAX: usize = u16::MAX as usize - 12;

/// A version of OpenFlow that is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// OpenFlow 1.0
    V10 = 1,
    /// OpenFlow 1.3
    V13 = 4,
    /// OpenFlow 1.4
    V14 = 5,
    /// OpenFlow 1.5
    V15 = 6,
}

impl Version {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::V10, Self::V13, Self::V14, Self::V15];
    /// As the bitmap of a hello.
    pub const BITMAP: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6;

    /// The one with this number on the wire.
    #[must_use]
    pub fn of_wire(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|version| *version as u8 == number)
    }

    /// The highest one that is in both bitmaps.
    #[must_use]
    pub fn agreed(ours: u32, theirs: u32) -> Option<Self> {
        Self::ALL.into_iter().rev().find(|version| ours & theirs & 1 << (*version as u32) != 0)
    }
}

/// What every message begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// As on the wire: before versions are agreed on it can be anything.
    pub version: u8,
    /// `OFPT_...` of that version.
    pub kind: u8,
    /// Of the whole message, this header included. At least [`Header::LEN`].
    pub len: u16,
    /// Pairs replies with requests.
    pub xid: u32,
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // The specification's names; their contents are documented.
pub enum Message {
    Hello {
        /// Bit n stands for version number n on the wire.
        versions: u32,
    },
    Error(ErrorMessage),
    EchoRequest(Vec<u8>),
    EchoReply(Vec<u8>),
    FeaturesRequest,
    FeaturesReply(Features),
    GetConfigRequest,
    GetConfigReply(SwitchConfig),
    SetConfig(SwitchConfig),
    PacketIn(Box<PacketIn>),
    FlowRemoved(Box<FlowRemoved>),
    PortStatus {
        reason: PortReason,
        port: Box<Port>,
    },
    PacketOut(Box<PacketOut>),
    FlowMod(Box<FlowMod>),
    GroupMod(Box<GroupMod>),
    PortMod(PortMod),
    TableMod(TableMod),
    MeterMod(MeterMod),
    MultipartRequest {
        /// More of the same request follows.
        more: bool,
        request: Box<Request>,
    },
    /// Written as several messages when it does not fit into one.
    MultipartReply {
        /// More of the same reply follows in another message.
        more: bool,
        reply: Box<Reply>,
    },
    BarrierRequest,
    BarrierReply,
    QueueGetConfigRequest {
        port: u32,
    },
    QueueGetConfigReply {
        port: u32,
        queues: Vec<super::stats::QueueDesc>,
    },
    RoleRequest(RoleChange),
    RoleReply(RoleChange),
    /// Not before 1.3.
    RoleStatus {
        role: Role,
        /// `OFPCRR_...`: 0 another controller became master, 1 configuration.
        reason: u8,
        generation_id: u64,
    },
    GetAsyncRequest,
    GetAsyncReply(AsyncConfig),
    SetAsync(AsyncChange),
    BundleControl(BundleControl),
    BundleAdd {
        id: u32,
        /// [`BundleControl::ATOMIC`] and the like.
        flags: u16,
        /// The message that becomes part of it. Its xid is the outer one's.
        message: Box<Message>,
    },
    /// What another controller asked for: a [`Message::GroupMod`] or [`Message::MeterMod`].
    RequestForward {
        /// Of the request.
        xid: u32,
        request: Box<Message>,
    },
    TableStatus {
        /// `OFPTR_...`: 3 vacancy down, 4 vacancy up.
        reason: u8,
        table: TableDesc,
    },
    /// 1.5.
    ControllerStatus(super::stats::ControllerStatus),
    /// Ends a monitor; 1.0 and 1.3 (later versions: a command of the request).
    FlowMonitorCancel {
        id: u32,
    },
    /// 1.0 and 1.3.
    FlowMonitorPaused,
    /// 1.0 and 1.3.
    FlowMonitorResumed,

    // Nicira's.
    SetFlowFormat(FlowFormat),
    /// The command of 1.0's flow-mods holds a table's number in its upper half, or does not.
    FlowModTableId(bool),
    SetPacketInFormat(PacketInFormat),
    SetControllerId(u16),
    /// Deprecated, does nothing.
    FlowAge,
    /// A paused packet goes on.
    Resume(Box<PacketIn>),
    TlvTableRequest,
    TlvTableReply,
    /// Tunnel options: clearing them is all that can be asked for.
    TlvTableClear,
}

/// Something was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorMessage {
    /// Its numbers.
    pub code: super::Code,
    /// The message that it is about, or its beginning; of `OFPET_HELLO_FAILED` a text.
    pub data: Vec<u8>,
}

impl Message {
    /// The error message that answers this request.
    #[must_use]
    pub fn error(version: Version, error: OfError, request: &[u8]) -> Self {
        // The specification asks for 64 bytes at least. Open vSwitch sends all, and `ovs-ofctl` shows what was refused.
        let data = request[..request.len().min(ERROR_DATA_MAX)].to_vec();
        Self::Error(ErrorMessage { code: error.code(version), data })
    }
}

/// What a switch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Number of the datapath.
    pub datapath_id: u64,
    /// Packets it can buffer.
    pub buffers: u32,
    /// Tables it has.
    pub tables: u8,
    /// 0 for the main connection.
    pub auxiliary_id: u8,
    /// Bits of [`Features::FLOW_STATS`] and the like; each version gets those it knows.
    pub capabilities: u32,
    /// Its ports; only 1.0 carries them.
    pub ports: Vec<Port>,
}

#[allow(missing_docs)] // The specification's names.
impl Features {
    pub const FLOW_STATS: u32 = 1 << 0;
    pub const TABLE_STATS: u32 = 1 << 1;
    pub const PORT_STATS: u32 = 1 << 2;
    pub const GROUP_STATS: u32 = 1 << 3;
    pub const IP_REASM: u32 = 1 << 5;
    pub const QUEUE_STATS: u32 = 1 << 6;
    pub const ARP_MATCH_IP: u32 = 1 << 7;
    pub const PORT_BLOCKED: u32 = 1 << 8;
    pub const BUNDLES: u32 = 1 << 9;
    pub const FLOW_MONITORING: u32 = 1 << 10;
}

/// `OFPT_GET_CONFIG`, `OFPT_SET_CONFIG`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwitchConfig {
    /// `OFPC_FRAG_...` (0 normal, 1 drop, 3 match) and bit 2: packets with an invalid TTL go to the controller.
    pub flags: u16,
    /// Bytes of packets without a rule that controllers get.
    pub miss_send_len: u16,
}

/// How packet-ins are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PacketInFormat {
    /// As the version has it.
    #[default]
    Standard,
    /// `NXT_PACKET_IN`
    Nicira,
    /// `NXT_PACKET_IN2`, the only one with userdata and continuations.
    Nicira2,
}

/// How flows are written in 1.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowFormat {
    /// `ofp_match`.
    #[default]
    OpenFlow10,
    /// Nicira's extensible match.
    Nxm,
}

/// A packet for a controller.
#[derive(Clone, Debug, PartialEq)]
pub struct PacketIn {
    /// How to write it.
    pub format: PacketInFormat,
    /// None: not buffered.
    pub buffer_id: Option<u32>,
    /// See [`ringswitch_dataplane::flow::reason`]; versions that do not know it get the closest.
    pub reason: u8,
    /// The table it was in.
    pub table: u8,
    /// The rule's cookie; all ones without one.
    pub cookie: u64,
    /// in_port, metadata, tunnel id, registers, packet mark. A frame's own fields are not looked at.
    pub key: FlowKey,
    /// The whole frame's length.
    pub total_len: usize,
    /// The frame's beginning.
    pub frame: Vec<u8>,
    /// What the action said that comes back.
    pub userdata: Vec<u8>,
    /// Where it stopped.
    pub continuation: Option<Box<Continuation>>,
}

/// A packet from a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketOut {
    /// A buffered packet instead of `frame`.
    pub buffer_id: Option<u32>,
    /// in_port ([`PORT_ANY`] and [`PORT_CONTROLLER`] are possible), and in 1.5 what else the controller set.
    pub key: FlowKey,
    /// What to do with it.
    pub actions: Vec<Action>,
    /// The packet.
    pub frame: Vec<u8>,
}

/// A flow went away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRemoved {
    /// Written with Nicira's match; only in 1.0.
    pub nxm: bool,
    /// The flow; its actions are not told.
    pub flow: Flow,
    /// Why; versions that do not know it get the closest.
    pub reason: RemovedReason,
    /// How long it was there.
    pub duration: Duration,
    /// Packets it decided.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// `OFPRR_...`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The specification's names.
#[repr(u8)]
pub enum RemovedReason {
    IdleTimeout = 0,
    HardTimeout = 1,
    Delete = 2,
    GroupDelete = 3,
    MeterDelete = 4,
    Eviction = 5,
}

/// `OFPPR_...`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The specification's names.
#[repr(u8)]
pub enum PortReason {
    Add = 0,
    Delete = 1,
    Modify = 2,
}

/// `OFPFC_...`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The specification's names.
#[repr(u8)]
pub enum FlowModCommand {
    Add = 0,
    Modify = 1,
    ModifyStrict = 2,
    Delete = 3,
    DeleteStrict = 4,
}

/// A change of flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowMod {
    /// What to do.
    pub command: FlowModCommand,
    /// Its match, priority, actions, time-outs, flags, importance; its cookie when it is added. `flow.table` is `table`,
    /// or 0 when that is [`TABLE_ALL`].
    pub flow: Flow,
    /// Which table; [`TABLE_ALL`] for all, or for none in particular.
    pub table: u8,
    /// Modify and delete: only flows with this cookie in the bits of the mask.
    pub cookie: u64,
    /// The bits of `cookie` that count; 0 for all flows.
    pub cookie_mask: u64,
    /// Modify: the flows get this cookie (1.0).
    pub new_cookie: Option<u64>,
    /// A buffered packet that goes through the flow.
    pub buffer_id: Option<u32>,
    /// Delete: only flows with an output to this port.
    pub out_port: Option<u32>,
    /// Delete: only flows with this group.
    pub out_group: Option<u32>,
    /// Written with Nicira's match; only in 1.0.
    pub nxm: bool,
}

/// `OFPGC_...`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The specification's names; `AddOrMod` is Open vSwitch's.
#[repr(u16)]
pub enum GroupModCommand {
    Add = 0,
    Modify = 1,
    Delete = 2,
    InsertBucket = 3,
    RemoveBucket = 5,
    AddOrMod = 0x8000,
}

/// A change of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMod {
    /// What to do.
    pub command: GroupModCommand,
    /// The group; its number may be [`GROUP_ALL`] when it is deleted.
    pub group: Group,
    /// Where buckets are inserted, or which are removed: a bucket's number or [`BUCKET_FIRST`] and the like.
    pub command_bucket: u32,
}

/// `OFPMC_...`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The specification's names.
#[repr(u16)]
pub enum MeterModCommand {
    Add = 0,
    Modify = 1,
    Delete = 2,
}

/// A change of meters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterMod {
    /// What to do.
    pub command: MeterModCommand,
    /// The meter; its number may be [`METER_ALL`] when it is deleted.
    pub meter: Meter,
}

/// A change of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortMod {
    /// Its number.
    pub port: u32,
    /// Must be its address.
    pub mac: Mac,
    /// Bits of [`Port::PORT_DOWN`] and the like.
    pub config: u32,
    /// Those that change.
    pub mask: u32,
    /// What to advertise, bits of 1.1 and later; 0 for no change.
    pub advertise: u32,
}

/// A change of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableMod {
    /// Its number; [`TABLE_ALL`] for all.
    pub table: u8,
    /// Flows may be evicted (1.4).
    pub eviction: Option<bool>,
    /// Which flows go first, `OFPTMPEF_...` (1.4).
    pub eviction_flags: Option<u32>,
    /// Vacancy events: none for no change, zeros for off (1.4).
    pub vacancy: Option<(u8, u8)>,
}

/// What a controller may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It only asks which one it has.
    NoChange,
    /// Everything.
    #[default]
    Equal,
    /// Everything, and no other is master.
    Master,
    /// It only reads.
    Slave,
}

/// A role wanted or given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// Nicira's form, the only one in 1.0.
    pub nicira: bool,
    /// Which.
    pub role: Role,
    /// Number of the election; none in Nicira's form, or when there was none yet.
    pub generation_id: Option<u64>,
}

/// Which asynchronous messages a controller gets: for each kind of [`AsyncKind`] a bit per reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsyncConfig {
    /// While it is master or equal.
    pub master: [u32; AsyncKind::COUNT],
    /// While it is slave.
    pub slave: [u32; AsyncKind::COUNT],
}

/// Asynchronous messages that can be masked; an index into [`AsyncConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The specification's names.
#[repr(usize)]
pub enum AsyncKind {
    PacketIn = 0,
    PortStatus = 1,
    FlowRemoved = 2,
    RoleStatus = 3,
    TableStatus = 4,
    RequestForward = 5,
}

impl AsyncKind {
    /// How many there are.
    pub const COUNT: usize = 6;
}

/// Changes of an [`AsyncConfig`]: what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsyncChange {
    /// While it is master or equal.
    pub master: [Option<u32>; AsyncKind::COUNT],
    /// While it is slave.
    pub slave: [Option<u32>; AsyncKind::COUNT],
    /// Written in Nicira's form; the only one in 1.0.
    pub nicira: bool,
}

impl AsyncConfig {
    /// Applies a change.
    pub fn change(&mut self, change: &AsyncChange) {
        for (mask, new) in self.master.iter_mut().zip(change.master).chain(self.slave.iter_mut().zip(change.slave)) {
            *mask = new.unwrap_or(*mask);
        }
    }

    /// True when a controller in that role gets messages of this kind and reason.
    #[must_use]
    pub fn wants(&self, role: Role, kind: AsyncKind, reason: u8) -> bool {
        let masks = if role == Role::Slave { &self.slave } else { &self.master };
        reason < 32 && masks[kind as usize] & 1 << reason != 0
    }
}

/// Opens, closes, commits or discards a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleControl {
    /// Its number.
    pub id: u32,
    /// What is asked or answered.
    pub kind: BundleControlKind,
    /// [`BundleControl::ATOMIC`] and the like.
    pub flags: u16,
}

#[allow(missing_docs)] // The specification's names.
impl BundleControl {
    pub const ATOMIC: u16 = 1;
    pub const ORDERED: u16 = 2;
}

/// `OFPBCT_...`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The specification's names.
#[repr(u16)]
pub enum BundleControlKind {
    OpenRequest = 0,
    OpenReply = 1,
    CloseRequest = 2,
    CloseReply = 3,
    CommitRequest = 4,
    CommitReply = 5,
    DiscardRequest = 6,
    DiscardReply = 7,
}
