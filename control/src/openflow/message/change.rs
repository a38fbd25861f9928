//! Changes that controllers ask for: flows, groups, meters, ports, tables, and bundles of those.

use ringswitch_dataplane::flow::{Flow, Group, Mac, Meter};

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
