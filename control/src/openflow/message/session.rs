//! What sets a connection up, and what it wants to be told.

use super::super::stats::Port;

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
