//! Bytes of the wire become messages.
//!
//! Trust: everything here is a peer's. A message is at most 64 KiB, nothing is allocated that is not in it, lists in lists
//! are bounded, nothing panics.

use super::error::{NICIRA, ONF};
use super::message::{FlowFormat, SwitchConfig};
use super::message::{Header, Message, PacketInFormat, PortReason, RoleChange, Version};
use super::stats::{Port, QueueDesc};
use super::wire::{Reader, Result, port_of_16, port_of_32};
use super::{
    OfError, flow_mod, groups, kind, kind10, kind13, meters, multipart, nicira, onf, packets, ports, session, tables,
};

impl Header {
    /// Bytes.
    pub const LEN: usize = 8;

    /// The header at the beginning; none while there are fewer bytes. A `len` below [`Header::LEN`] is the peer's mistake.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let &[version, kind, len0, len1, x0, x1, x2, x3] = bytes.first_chunk()?;
        let (len, xid) = (u16::from_be_bytes([len0, len1]), u32::from_be_bytes([x0, x1, x2, x3]));
        Some(Self { version, kind, len, xid })
    }
}

/// Decodes a whole message, header included. `flow_mod_table_id`: the peer asked for [`Message::FlowModTableId`].
///
/// # Errors
/// What to answer.
pub fn decode(message: &[u8], flow_mod_table_id: bool) -> Result<Message> {
    let header = Header::read(message).ok_or(OfError::OFPBRC_BAD_LEN)?;
    if usize::from(header.len) != message.len() {
        return Err(OfError::OFPBRC_BAD_LEN);
    }
    let body = Reader::body(&message[Header::LEN..]);
    match header.kind {
        kind::HELLO => return Ok(Message::Hello { versions: session::read_hello(body, header.version) }),
        kind::ERROR => return Ok(Message::Error(session::read_error(body)?)),
        kind::ECHO_REQUEST => return Ok(Message::EchoRequest(body.rest.to_vec())),
        kind::ECHO_REPLY => return Ok(Message::EchoReply(body.rest.to_vec())),
        _ => {}
    }
    let version = Version::of_wire(header.version).ok_or(OfError::OFPBRC_BAD_VERSION)?;
    match header.kind {
        kind::EXPERIMENTER => experimenter(body, version, header, flow_mod_table_id),
        ..=kind::FLOW_MOD => common(header.kind, body, version, flow_mod_table_id),
        number if version == Version::V10 => only10(number, body),
        number => since13(number, body, version, header),
    }
}

/// A message that has nothing but its header.
fn nothing(body: Reader<'_>, message: Message) -> Result<Message> {
    body.end().map(|()| message)
}

fn config(mut body: Reader<'_>) -> Result<SwitchConfig> {
    let mut config = SwitchConfig::default();
    session::config(&mut body, &mut config)?;
    body.end()?;
    Ok(config)
}

fn packet_in(body: Reader<'_>, format: PacketInFormat, version: Version) -> Result<Message> {
    Ok(Message::PacketIn(Box::new(packets::read_in(body, format, version)?)))
}

/// Messages that have the same number in all versions.
fn common(number: u8, mut body: Reader<'_>, version: Version, table_id: bool) -> Result<Message> {
    Ok(match number {
        kind::FEATURES_REQUEST => nothing(body, Message::FeaturesRequest)?,
        kind::FEATURES_REPLY => Message::FeaturesReply(session::read_features(body, version)?),
        kind::GET_CONFIG_REQUEST => nothing(body, Message::GetConfigRequest)?,
        kind::GET_CONFIG_REPLY => Message::GetConfigReply(config(body)?),
        kind::SET_CONFIG => Message::SetConfig(config(body)?),
        kind::PACKET_IN => packet_in(body, PacketInFormat::Standard, version)?,
        kind::FLOW_REMOVED => Message::FlowRemoved(Box::new(flow_mod::read_removed(body, version, false)?)),
        kind::PORT_STATUS => {
            let reason = match body.u8()? {
                0 => PortReason::Add,
                1 => PortReason::Delete,
                2 => PortReason::Modify,
                _ => return Err(OfError::NXBRC_BAD_REASON),
            };
            body.skip(7)?;
            let port: Port = ports::read(&mut body, version)?;
            Message::PortStatus { reason, port: Box::new(port) }
        }
        kind::PACKET_OUT => Message::PacketOut(Box::new(packets::read_out(body, version)?)),
        _ if version == Version::V10 => Message::FlowMod(Box::new(flow_mod::read10(body, false, table_id, version)?)),
        _ => Message::FlowMod(Box::new(flow_mod::read(body, version)?)),
    })
}

/// The rest of 1.0.
fn only10(number: u8, mut body: Reader<'_>) -> Result<Message> {
    let version = Version::V10;
    Ok(match number {
        kind10::PORT_MOD => Message::PortMod(ports::read_mod(body, version)?),
        kind10::STATS_REQUEST => request(body, version)?,
        kind10::STATS_REPLY => reply(body, version)?,
        kind10::BARRIER_REQUEST => nothing(body, Message::BarrierRequest)?,
        kind10::BARRIER_REPLY => nothing(body, Message::BarrierReply)?,
        kind10::QUEUE_GET_CONFIG_REQUEST => {
            let port = port_of_16(body.u16()?);
            body.skip(2)?;
            nothing(body, Message::QueueGetConfigRequest { port })?
        }
        kind10::QUEUE_GET_CONFIG_REPLY => {
            let port = port_of_16(body.u16()?);
            body.skip(6)?;
            Message::QueueGetConfigReply { port, queues: queues(body, version, port)? }
        }
        _ => return Err(OfError::OFPBRC_BAD_TYPE),
    })
}

fn request(body: Reader<'_>, version: Version) -> Result<Message> {
    let (more, request) = multipart::read_request(body, version)?;
    Ok(Message::MultipartRequest { more, request: Box::new(request) })
}

fn reply(body: Reader<'_>, version: Version) -> Result<Message> {
    let (more, reply) = multipart::read_reply(body, version)?;
    Ok(Message::MultipartReply { more, reply: Box::new(reply) })
}

fn queues(mut body: Reader<'_>, version: Version, port: u32) -> Result<Vec<QueueDesc>> {
    let mut queues = Vec::new();
    while !body.is_empty() {
        queues.push(ports::read_queue_desc(&mut body, version, port)?);
    }
    Ok(queues)
}

/// The rest of 1.3 and later.
fn since13(number: u8, mut body: Reader<'_>, version: Version, header: Header) -> Result<Message> {
    let since14 = version >= Version::V14;
    Ok(match number {
        kind13::GROUP_MOD => Message::GroupMod(Box::new(groups::read_mod(body, version)?)),
        kind13::PORT_MOD => Message::PortMod(ports::read_mod(body, version)?),
        kind13::TABLE_MOD => Message::TableMod(tables::read_mod(body, version)?),
        kind13::MULTIPART_REQUEST => request(body, version)?,
        kind13::MULTIPART_REPLY => reply(body, version)?,
        kind13::BARRIER_REQUEST => nothing(body, Message::BarrierRequest)?,
        kind13::BARRIER_REPLY => nothing(body, Message::BarrierReply)?,
        kind13::QUEUE_GET_CONFIG_REQUEST if !since14 => {
            let port = body.u32()?;
            body.skip(4)?;
            nothing(body, Message::QueueGetConfigRequest { port: queue_port(port)? })?
        }
        kind13::QUEUE_GET_CONFIG_REPLY if !since14 => {
            let port = body.u32()?;
            body.skip(4)?;
            Message::QueueGetConfigReply { port, queues: queues(body, version, port)? }
        }
        kind13::ROLE_REQUEST => Message::RoleRequest(role(body, false, false)?),
        kind13::ROLE_REPLY => Message::RoleReply(role(body, false, true)?),
        kind13::GET_ASYNC_REQUEST => nothing(body, Message::GetAsyncRequest)?,
        kind13::GET_ASYNC_REPLY if since14 => {
            Message::GetAsyncReply(session::only_masks(&session::read_async(body, version, false)?))
        }
        kind13::GET_ASYNC_REPLY => {
            Message::GetAsyncReply(session::only_masks(&session::read_async_old(body, version, false)?))
        }
        kind13::SET_ASYNC if since14 => Message::SetAsync(session::read_async(body, version, false)?),
        kind13::SET_ASYNC => Message::SetAsync(session::read_async_old(body, version, false)?),
        kind13::METER_MOD => Message::MeterMod(meters::read_mod(body)?),
        kind13::ROLE_STATUS if since14 => role_status(body)?,
        kind13::TABLE_STATUS if since14 => {
            let reason = body.u8()?;
            body.skip(7)?;
            Message::TableStatus { reason, table: tables::read_desc(&mut body)? }
        }
        kind13::REQUESTFORWARD if since14 => request_forward(body)?,
        kind13::BUNDLE_CONTROL if since14 => Message::BundleControl(session::read_bundle(body)?),
        kind13::BUNDLE_ADD_MESSAGE if since14 => bundle_add(body, header)?,
        kind13::CONTROLLER_STATUS if version == Version::V15 => {
            Message::ControllerStatus(session::read_controller(&mut body)?)
        }
        _ => return Err(OfError::OFPBRC_BAD_TYPE),
    })
}

/// A port whose queues are asked for.
fn queue_port(port: u32) -> Result<u32> {
    port_of_32(port).map_err(|_| OfError::OFPQOFC_BAD_PORT)
}

fn role(body: Reader<'_>, nicira: bool, reply: bool) -> Result<RoleChange> {
    session::read_role(body, nicira, reply)
}

fn role_status(body: Reader<'_>) -> Result<Message> {
    let (role, reason, generation_id) = session::read_role_status(body)?;
    Ok(Message::RoleStatus { role, reason, generation_id })
}

fn request_forward(body: Reader<'_>) -> Result<Message> {
    let header = Header::read(body.rest).ok_or(OfError::OFPBRC_BAD_LEN)?;
    let group = header.kind == kind13::GROUP_MOD || header.kind == kind::EXPERIMENTER;
    if !group && header.kind != kind13::METER_MOD {
        return Err(OfError::OFPBRC_BAD_TYPE);
    }
    match decode(body.rest, false)? {
        request @ (Message::GroupMod(_) | Message::MeterMod(_)) => {
            Ok(Message::RequestForward { xid: header.xid, request: Box::new(request) })
        }
        _ => Err(OfError::OFPBRC_BAD_TYPE),
    }
}

/// A message for a bundle. Only those that change something or send a packet can be in one.
fn bundle_add(mut body: Reader<'_>, outer: Header) -> Result<Message> {
    let id = body.u32()?;
    body.skip(2)?;
    let flags = body.u16()?;
    let inner = Header::read(body.rest).ok_or(OfError::OFPBFC_MSG_BAD_LEN)?;
    let len = usize::from(inner.len);
    if inner.version != outer.version {
        return Err(OfError::OFPBFC_BAD_VERSION);
    }
    if len < Header::LEN || len > body.rest.len() {
        return Err(OfError::OFPBFC_MSG_BAD_LEN);
    }
    if inner.xid != outer.xid {
        return Err(OfError::OFPBFC_MSG_BAD_XID);
    }
    let allowed = [kind::PACKET_OUT, kind::FLOW_MOD, kind13::GROUP_MOD, kind13::PORT_MOD];
    if !allowed.contains(&inner.kind) {
        return Err(OfError::OFPBFC_MSG_UNSUP);
    }
    let message = Box::new(decode(body.take(len)?, false)?);
    Ok(Message::BundleAdd { id, flags, message })
}

fn experimenter(mut body: Reader<'_>, version: Version, header: Header, table_id: bool) -> Result<Message> {
    let who = body.u32()?;
    match who {
        NICIRA => nicira_message(body.u32()?, body, version, table_id),
        ONF => onf_message(body.u32()?, body, version, header),
        _ => Err(OfError::OFPBRC_BAD_VENDOR),
    }
}

fn nicira_message(number: u32, mut body: Reader<'_>, version: Version, table_id: bool) -> Result<Message> {
    let (v10, v13) = (version == Version::V10, version == Version::V13);

    Ok(match number {
        nicira::ROLE_REQUEST => Message::RoleRequest(role(body, true, false)?),
        nicira::ROLE_REPLY => Message::RoleReply(role(body, true, true)?),
        nicira::SET_FLOW_FORMAT if v10 => match body.u32()? {
            0 => nothing(body, Message::SetFlowFormat(FlowFormat::OpenFlow10))?,
            2 => nothing(body, Message::SetFlowFormat(FlowFormat::Nxm))?,
            _ => return Err(OfError::OFPBRC_EPERM),
        },
        nicira::FLOW_MOD if v10 => Message::FlowMod(Box::new(flow_mod::read10(body, true, table_id, version)?)),
        nicira::FLOW_REMOVED if v10 => Message::FlowRemoved(Box::new(flow_mod::read_removed(body, version, true)?)),
        nicira::FLOW_MOD_TABLE_ID => {
            let on = body.u8()?;
            body.skip(7)?;
            nothing(body, Message::FlowModTableId(on != 0))?
        }
        nicira::SET_PACKET_IN_FORMAT => match body.u32()? {
            0 => nothing(body, Message::SetPacketInFormat(PacketInFormat::Standard))?,
            1 => nothing(body, Message::SetPacketInFormat(PacketInFormat::Nicira))?,
            2 => nothing(body, Message::SetPacketInFormat(PacketInFormat::Nicira2))?,
            _ => return Err(OfError::OFPBRC_EPERM),
        },
        nicira::PACKET_IN => packet_in(body, PacketInFormat::Nicira, version)?,
        nicira::PACKET_IN2 => packet_in(body, PacketInFormat::Nicira2, version)?,
        nicira::RESUME => Message::Resume(Box::new(packets::read_in(body, PacketInFormat::Nicira2, version)?)),
        nicira::FLOW_AGE => nothing(body, Message::FlowAge)?,
        nicira::SET_ASYNC_CONFIG => Message::SetAsync(session::read_async_old(body, version, true)?),
        nicira::SET_ASYNC_CONFIG2 if v10 || v13 => Message::SetAsync(session::read_async(body, version, true)?),
        nicira::SET_CONTROLLER_ID => {
            body.zeros(6, OfError::NXBRC_MUST_BE_ZERO)?;
            Message::SetControllerId(body.u16()?)
        }
        nicira::FLOW_MONITOR_CANCEL if v10 => Message::FlowMonitorCancel { id: body.u32()? },
        nicira::FLOW_MONITOR_PAUSED if v10 => nothing(body, Message::FlowMonitorPaused)?,
        nicira::FLOW_MONITOR_RESUMED if v10 => nothing(body, Message::FlowMonitorResumed)?,
        nicira::TLV_TABLE_MOD => tlv_table_mod(body)?,
        nicira::TLV_TABLE_REQUEST => nothing(body, Message::TlvTableRequest)?,
        nicira::TLV_TABLE_REPLY => Message::TlvTableReply,
        nicira::GROUP_MOD if v10 => Message::GroupMod(Box::new(groups::read_mod(body, version)?)),
        nicira::REQUESTFORWARD if v10 => request_forward(body)?,
        _ => return Err(OfError::OFPBRC_BAD_SUBTYPE),
    })
}

/// Options of tunnels as fields: there are none, so there is room for none.
fn tlv_table_mod(mut body: Reader<'_>) -> Result<Message> {
    let command = body.u16()?;
    body.skip(6)?;
    match command {
        0 => Err(OfError::NXTTMFC_TABLE_FULL),
        // Deleting what is not there is fine, as clearing is.
        1 | 2 => Ok(Message::TlvTableClear),
        _ => Err(OfError::NXTTMFC_BAD_COMMAND),
    }
}

fn onf_message(number: u32, mut body: Reader<'_>, version: Version, header: Header) -> Result<Message> {
    if version != Version::V13 {
        return Err(OfError::OFPBRC_BAD_SUBTYPE);
    }
    Ok(match number {
        onf::FLOW_MONITOR_CANCEL => Message::FlowMonitorCancel { id: body.u32()? },
        onf::FLOW_MONITOR_PAUSED => nothing(body, Message::FlowMonitorPaused)?,
        onf::FLOW_MONITOR_RESUMED => nothing(body, Message::FlowMonitorResumed)?,
        onf::ROLE_STATUS => role_status(body)?,
        onf::BUNDLE_CONTROL => Message::BundleControl(session::read_bundle(body)?),
        onf::BUNDLE_ADD_MESSAGE => bundle_add(body, header)?,
        onf::REQUESTFORWARD => request_forward(body)?,
        _ => return Err(OfError::OFPBRC_BAD_SUBTYPE),
    })
}
