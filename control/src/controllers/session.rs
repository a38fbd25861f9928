//! What is agreed on with one peer: version, role, which messages it wants and how they are written.
//!
//! Neighbours: `requests` answers with it, `deliver` asks it who gets what.

use std::collections::BTreeMap;

use super::bundle::Bundles;
use super::limit::Limit;
use crate::engine::Served;
use crate::openflow::message::{AsyncConfig, AsyncKind, FlowFormat, PacketInFormat, Role, SwitchConfig};
use crate::openflow::stats::MonitorRequest;
use crate::openflow::{Message, Version};

/// Bytes of a packet without a rule that a controller gets unless it asks for more or less.
const MISS_SEND_LEN: u16 = 128;

/// See the file's head.
pub(super) struct Session {
    pub version: Version,
    /// A tool, or whoever came to us: gets what it asks for and nothing else.
    pub service: bool,
    pub role: Role,
    pub config: SwitchConfig,
    pub asyncs: AsyncConfig,
    pub packet_in_format: PacketInFormat,
    pub flow_format: FlowFormat,
    /// Commands of 1.0's flow-mods hold a table's number too.
    pub flow_mod_table_id: bool,
    /// Which packet-ins are meant for it.
    pub controller_id: u16,
    pub bundles: Bundles,
    /// Monitors of flows, by number.
    pub monitors: BTreeMap<u32, MonitorRequest>,
    pub limit: Limit,
}

impl Session {
    pub fn new(version: Version, service: bool, served: &Served) -> Self {
        Self {
            version,
            service,
            role: Role::Equal,
            config: SwitchConfig { flags: 0, miss_send_len: if service { 0 } else { MISS_SEND_LEN } },
            asyncs: default_asyncs(),
            packet_in_format: PacketInFormat::Standard,
            flow_format: FlowFormat::OpenFlow10,
            flow_mod_table_id: false,
            controller_id: 0,
            bundles: Bundles::default(),
            monitors: BTreeMap::new(),
            limit: Limit::new(served.rate, served.burst),
        }
    }

    /// True when the peer gets messages of this kind and reason without asking for each.
    pub fn wants(&self, kind: AsyncKind, reason: u8) -> bool {
        let listens = !self.service || self.config.miss_send_len > 0;
        listens && self.asyncs.wants(self.role, kind, reason)
    }

    /// Writes a message.
    pub fn write(&self, xid: u32, message: &Message, output: &mut Vec<u8>) {
        crate::openflow::encode(self.version, xid, message, output);
    }
}

/// Open vSwitch's defaults: everything but invalid TTLs and other controllers' requests; a slave hears of ports only.
fn default_asyncs() -> AsyncConfig {
    let mut asyncs = AsyncConfig::default();
    asyncs.master[AsyncKind::PacketIn as usize] = 0b11_1011;
    asyncs.master[AsyncKind::FlowRemoved as usize] = 0b11_1111;
    for masks in [&mut asyncs.master, &mut asyncs.slave] {
        masks[AsyncKind::PortStatus as usize] = 0b111;
        masks[AsyncKind::RoleStatus as usize] = 0b111;
    }
    asyncs.master[AsyncKind::TableStatus as usize] = 0b1_1000;
    asyncs
}
