//! Messages of OpenFlow as data, the same for every version.
//!
//! Neighbours: the codec makes them out of bytes and bytes out of them; the server and the engine act on them. Statistics
//! (multipart messages) are in [`super::stats`].

mod change;
mod event;
mod session;

pub use change::*;
pub use event::*;
pub use session::*;

use super::OfError;
use super::stats::{ControllerStatus, Port, QueueDesc, Reply, Request, TableDesc};

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
        queues: Vec<QueueDesc>,
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
    ControllerStatus(ControllerStatus),
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
