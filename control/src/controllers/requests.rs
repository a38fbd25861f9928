//! What a peer asks for, and what it is answered.
//!
//! Trust: the codec checked a message's shape; whether it makes sense is the engine's to say. Neighbours: `connection` calls
//! [`Asked::answer`] with one message after the other; whatever concerns other connections it hands back as an [`Effect`].

use ringswitch_dataplane::flow::TABLES;

use super::bundle::Kept;
use super::session::Session;
use crate::engine::{Dataplane, Engine, Origin, Served};
use crate::openflow::message::{
    AsyncKind, BundleControl, BundleControlKind, Features, FlowFormat, PORT_ANY, QUEUE_ALL, Role, RoleChange,
};
use crate::openflow::{Message, OfError, Version};

/// Something that is not this connection's alone.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// Nothing of the kind.
    None,
    /// It is the master now, and nobody else.
    Master,
    /// A barrier: the reply waits until every worker uses this epoch, and so does everything behind it.
    Barrier(u64),
    /// Others may want to know that this was asked for.
    Forward(Box<Message>),
    /// Which flows or packets somebody wants may have changed.
    Wants,
}

/// One message and where it came from.
pub(super) struct Asked<'a, D> {
    pub engine: &'a mut Engine<D>,
    pub served: &'a Served,
    /// The election that all connections of the bridge know of.
    pub generation_id: &'a mut Option<u64>,
    pub session: &'a mut Session,
    pub output: &'a mut Vec<u8>,
    /// The connection's number.
    pub connection: usize,
    pub xid: u32,
    /// The whole message.
    pub bytes: &'a [u8],
}

impl<D: Dataplane> Asked<'_, D> {
    pub fn reply(&mut self, message: &Message) {
        self.session.write(self.xid, message, self.output);
    }

    /// Does what the message says, and answers it.
    pub fn answer(&mut self, message: Message) -> Result<Effect, OfError> {
        self.engine.set_origin(Some(Origin { connection: self.connection, xid: self.xid }));
        if self.session.role == Role::Slave && changes_something(&message) {
            return Err(OfError::OFPBRC_IS_SECONDARY);
        }
        let bridge = self.served.index;
        match message {
            Message::Hello { .. } | Message::EchoReply(_) | Message::FlowAge => {}
            Message::Error(error) => tracing::debug!("a controller says {error:?}"),
            Message::EchoRequest(data) => self.reply(&Message::EchoReply(data)),
            Message::FeaturesRequest => {
                let features = self.features()?;
                self.reply(&Message::FeaturesReply(features));
            }
            Message::FlowMod(request) => drop(self.engine.flow_mod(bridge, *request)?),
            Message::GroupMod(request) => {
                self.engine.group_mod(bridge, (*request).clone())?;
                return Ok(Effect::Forward(Box::new(Message::GroupMod(request))));
            }
            Message::MeterMod(request) => {
                self.engine.meter_mod(bridge, request.clone())?;
                return Ok(Effect::Forward(Box::new(Message::MeterMod(request))));
            }
            Message::PortMod(request) => self.engine.port_mod(bridge, &request)?,
            Message::TableMod(request) => self.engine.table_mod(bridge, request)?,
            Message::PacketOut(packet) => self.engine.packet_out(bridge, *packet)?,
            Message::Resume(packet) => self.engine.resume(bridge, *packet)?,
            Message::BarrierRequest => return Ok(Effect::Barrier(self.engine.flush())),
            Message::MultipartRequest { request, .. } => return self.multipart(*request),
            Message::QueueGetConfigRequest { port } => {
                let queues = self.engine.queue_descs(bridge, port, QUEUE_ALL)?;
                self.reply(&Message::QueueGetConfigReply { port, queues });
            }
            Message::RoleRequest(change) => return self.role(&change),
            Message::BundleControl(control) => self.bundle(&control)?,
            Message::BundleAdd { id, flags, message } => self.bundle_add(id, flags, *message)?,
            other => return self.settings(other),
        }
        Ok(Effect::None)
    }

    /// Messages about the connection itself.
    fn settings(&mut self, message: Message) -> Result<Effect, OfError> {
        match message {
            Message::GetConfigRequest => self.reply(&Message::GetConfigReply(self.session.config)),
            Message::SetConfig(config) => {
                if config.flags & 0b11 > 1 {
                    return Err(OfError::OFPSCFC_BAD_FLAGS);
                }
                let invalid_ttl = 1 << ringswitch_dataplane::flow::reason::INVALID_TTL;
                let masks = &mut self.session.asyncs.master[AsyncKind::PacketIn as usize];
                match (config.flags & 0b100 != 0, self.session.config.flags & 0b100 != 0) {
                    (true, false) => *masks |= invalid_ttl,
                    (false, true) => *masks &= !invalid_ttl,
                    _ => {}
                }
                self.session.config = config;
                return Ok(Effect::Wants);
            }
            Message::GetAsyncRequest => self.reply(&Message::GetAsyncReply(self.session.asyncs)),
            Message::SetAsync(change) => {
                self.session.asyncs.change(&change);
                return Ok(Effect::Wants);
            }
            Message::FlowMonitorCancel { id } => {
                self.session.monitors.remove(&id).ok_or(OfError::OFPMOFC_UNKNOWN_MONITOR)?;
                return Ok(Effect::Wants);
            }
            Message::SetFlowFormat(format) => self.session.flow_format = format,
            Message::FlowModTableId(on) => self.session.flow_mod_table_id = on,
            Message::SetPacketInFormat(format) => self.session.packet_in_format = format,
            Message::SetControllerId(id) => {
                self.session.controller_id = id;
                return Ok(Effect::Wants);
            }
            Message::TlvTableRequest => self.reply(&Message::TlvTableReply),
            Message::TlvTableClear => {}
            _ => return Err(OfError::OFPBRC_BAD_TYPE),
        }
        Ok(Effect::None)
    }

    fn features(&self) -> Result<Features, OfError> {
        Ok(Features {
            datapath_id: self.served.datapath_id,
            buffers: 0,
            tables: TABLES,
            auxiliary_id: 0,
            capabilities: Features::FLOW_STATS
                | Features::TABLE_STATS
                | Features::PORT_STATS
                | Features::GROUP_STATS
                | Features::QUEUE_STATS
                | Features::ARP_MATCH_IP
                | Features::BUNDLES
                | Features::FLOW_MONITORING,
            ports: self.engine.ports(self.served.index, PORT_ANY)?,
        })
    }

    fn role(&mut self, change: &RoleChange) -> Result<Effect, OfError> {
        let elects = matches!(change.role, Role::Master | Role::Slave);
        if let (true, Some(proposed)) = (elects, change.generation_id) {
            // Numbers go around: the difference tells which one is older.
            if self.generation_id.is_some_and(|known| (proposed.wrapping_sub(known) as i64) < 0) {
                return Err(OfError::OFPRRFC_STALE);
            }
            *self.generation_id = Some(proposed);
        }
        let was = self.session.role;
        if change.role != Role::NoChange {
            self.session.role = change.role;
        }
        let (role, generation_id) = (self.session.role, *self.generation_id);
        self.reply(&Message::RoleReply(RoleChange { nicira: change.nicira, role, generation_id }));
        Ok(match role {
            Role::Master => Effect::Master,
            role if role != was => Effect::Wants,
            _ => Effect::None,
        })
    }

    fn bundle(&mut self, control: &BundleControl) -> Result<(), OfError> {
        let requests = self.session.bundles.control(control)?;
        let reply = match control.kind {
            BundleControlKind::OpenRequest => BundleControlKind::OpenReply,
            BundleControlKind::CloseRequest => BundleControlKind::CloseReply,
            BundleControlKind::DiscardRequest => BundleControlKind::DiscardReply,
            _ => {
                self.commit(requests)?;
                BundleControlKind::CommitReply
            }
        };
        self.reply(&Message::BundleControl(BundleControl { kind: reply, ..*control }));
        Ok(())
    }

    fn commit(&mut self, requests: Vec<Kept>) -> Result<(), OfError> {
        let about: Vec<_> = requests.iter().map(|kept| (kept.xid, kept.head.clone())).collect();
        let origin = |xid| Some(Origin { connection: self.connection, xid });
        let requests = requests.into_iter().map(|kept| (origin(kept.xid), kept.message)).collect();
        self.engine.commit(self.served.index, requests).map_err(|(place, why)| {
            // Which one it was, and then that the whole is refused.
            let (xid, head) = &about[place];
            let error = Message::error(self.session.version, why, head);
            self.session.write(*xid, &error, self.output);
            OfError::OFPBFC_MSG_FAILED
        })
    }

    fn bundle_add(&mut self, id: u32, flags: u16, message: Message) -> Result<(), OfError> {
        // What stands in front of the request: the header and the bundle's number and flags, 1.3's as an experimenter's.
        let start = if self.session.version >= Version::V14 { 16 } else { 24 };
        let inner = self.bytes.get(start..).unwrap_or_default();
        let head = inner[..inner.len().min(64)].to_vec();
        self.session.bundles.add(id, flags, Kept { xid: self.xid, message, head }, self.bytes.len())
    }
}

/// A slave must not do this.
fn changes_something(message: &Message) -> bool {
    matches!(
        message,
        Message::FlowMod(_)
            | Message::GroupMod(_)
            | Message::MeterMod(_)
            | Message::PortMod(_)
            | Message::TableMod(_)
            | Message::PacketOut(_)
            | Message::Resume(_)
            | Message::BundleControl(_)
            | Message::BundleAdd { .. }
    )
}

/// How flows are written to this peer: 1.0 has two ways.
pub(super) fn is_nxm(session: &Session) -> bool {
    session.flow_format == FlowFormat::Nxm
}
