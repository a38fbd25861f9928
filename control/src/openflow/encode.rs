//! Messages become bytes of the wire.
//!
//! What a version has no message for is said in the ONF's or in Nicira's, and left out when there is none either: the server
//! need not know which version it speaks.

use super::error::{NICIRA, ONF};
use super::message::{FlowFormat, Message, PacketInFormat, Version};
use super::wire::{Put, port_to_16};
use super::{flow_mod, groups, kind, kind10, kind13, meters, multipart, nicira, onf, packets, ports, session, tables};

/// Appends the message to `out`, as one message or, of a reply that does not fit, as several. Nothing is appended when the
/// version cannot say it in any way, or when it would be longer than messages can be.
pub fn encode(version: Version, xid: u32, message: &Message, out: &mut Vec<u8>) {
    let start = out.len();
    if let Message::MultipartReply { more, reply } = message {
        let number = if version == Version::V10 { kind10::STATS_REPLY } else { kind13::MULTIPART_REPLY };
        let begin = |out: &mut Vec<u8>| {
            let start = out.len();
            header(out, version, number, xid);
            start
        };
        multipart::put_reply(out, reply, version, *more, &begin);
        return;
    }
    header(out, version, 0, xid);
    let written = put(out, version, xid, message);
    let len = out.len() - start;
    match written {
        Some(number) if len <= usize::from(u16::MAX) => {
            out[start + 1] = number;
            out.set16(start + 2, len);
        }
        _ => out.truncate(start),
    }
}

fn header(out: &mut Vec<u8>, version: Version, number: u8, xid: u32) {
    out.put8(version as u8);
    out.put8(number);
    out.put16(0);
    out.put32(xid);
}

/// The head of Nicira's message.
fn nx(out: &mut Vec<u8>, number: u32) -> u8 {
    out.put32(NICIRA);
    out.put32(number);
    kind::EXPERIMENTER
}

/// The head of the ONF's message.
fn on(out: &mut Vec<u8>, number: u32) -> u8 {
    out.put32(ONF);
    out.put32(number);
    kind::EXPERIMENTER
}

/// OpenFlow's own number since 1.4, the ONF's message in 1.3.
fn since14(out: &mut Vec<u8>, version: Version, number: u8, onf: u32) -> Option<u8> {
    match version {
        Version::V10 => None,
        Version::V13 => Some(on(out, onf)),
        Version::V14 | Version::V15 => Some(number),
    }
}

/// A message of 1.3 that 1.0 has with another number.
fn since10(version: Version, number10: u8, number13: u8) -> Option<u8> {
    Some(if version == Version::V10 { number10 } else { number13 })
}

/// Writes what follows the header; the message's number, or none when it cannot be written.
fn put(out: &mut Vec<u8>, version: Version, xid: u32, message: &Message) -> Option<u8> {
    match message {
        Message::Hello { versions } => {
            session::put_hello(out, *versions);
            Some(kind::HELLO)
        }
        Message::Error(it) => {
            session::put_error(out, it);
            Some(kind::ERROR)
        }
        Message::EchoRequest(data) => {
            out.extend_from_slice(data);
            Some(kind::ECHO_REQUEST)
        }
        Message::EchoReply(data) => {
            out.extend_from_slice(data);
            Some(kind::ECHO_REPLY)
        }
        Message::FeaturesRequest => Some(kind::FEATURES_REQUEST),
        Message::FeaturesReply(it) => {
            session::put_features(out, it, version);
            Some(kind::FEATURES_REPLY)
        }
        Message::GetConfigRequest => Some(kind::GET_CONFIG_REQUEST),
        Message::GetConfigReply(it) => {
            session::config(out, &mut { *it }).ok()?;
            Some(kind::GET_CONFIG_REPLY)
        }
        Message::SetConfig(it) => {
            session::config(out, &mut { *it }).ok()?;
            Some(kind::SET_CONFIG)
        }
        Message::BarrierRequest => since10(version, kind10::BARRIER_REQUEST, kind13::BARRIER_REQUEST),
        Message::BarrierReply => since10(version, kind10::BARRIER_REPLY, kind13::BARRIER_REPLY),
        Message::MultipartRequest { more, request } => {
            let number = since10(version, kind10::STATS_REQUEST, kind13::MULTIPART_REQUEST);
            number.filter(|_| multipart::put_request(out, request, version, *more))
        }
        Message::QueueGetConfigRequest { .. } | Message::QueueGetConfigReply { .. } => {
            put_queues(out, version, message)
        }
        Message::PacketIn(_)
        | Message::Resume(_)
        | Message::PacketOut(_)
        | Message::FlowRemoved(_)
        | Message::PortStatus { .. } => put_event(out, version, message),
        Message::FlowMod(_)
        | Message::GroupMod(_)
        | Message::PortMod(_)
        | Message::TableMod(_)
        | Message::MeterMod(_)
        | Message::BundleControl(_)
        | Message::BundleAdd { .. }
        | Message::RequestForward { .. } => put_change(out, version, xid, message),
        Message::RoleRequest(_)
        | Message::RoleReply(_)
        | Message::RoleStatus { .. }
        | Message::GetAsyncRequest
        | Message::GetAsyncReply(_)
        | Message::SetAsync(_)
        | Message::TableStatus { .. }
        | Message::ControllerStatus(_) => put_role(out, version, message),
        _ => put_nicira(out, version, message),
    }
}

fn put_queues(out: &mut Vec<u8>, version: Version, message: &Message) -> Option<u8> {
    let v10 = version == Version::V10;
    let put_port = |out: &mut Vec<u8>, port: u32| if v10 { out.put16(port_to_16(port)) } else { out.put32(port) };
    match message {
        _ if version >= Version::V14 => None,
        Message::QueueGetConfigRequest { port } => {
            put_port(out, *port);
            out.pad(if v10 { 2 } else { 4 });
            since10(version, kind10::QUEUE_GET_CONFIG_REQUEST, kind13::QUEUE_GET_CONFIG_REQUEST)
        }
        Message::QueueGetConfigReply { port, queues } => {
            put_port(out, *port);
            out.pad(if v10 { 6 } else { 4 });
            queues.iter().for_each(|queue| ports::put_queue_desc(out, queue, version));
            since10(version, kind10::QUEUE_GET_CONFIG_REPLY, kind13::QUEUE_GET_CONFIG_REPLY)
        }
        _ => None,
    }
}

fn put_event(out: &mut Vec<u8>, version: Version, message: &Message) -> Option<u8> {
    match message {
        Message::PacketIn(it) => {
            let number = match it.format {
                PacketInFormat::Standard => kind::PACKET_IN,
                PacketInFormat::Nicira => nx(out, nicira::PACKET_IN),
                PacketInFormat::Nicira2 => nx(out, nicira::PACKET_IN2),
            };
            packets::put_in(out, it, version);
            Some(number)
        }
        Message::Resume(it) => {
            let number = nx(out, nicira::RESUME);
            packets::put_in(out, it, version);
            Some(number)
        }
        Message::PacketOut(it) => {
            packets::put_out(out, it, version);
            Some(kind::PACKET_OUT)
        }
        Message::FlowRemoved(it) => {
            let nxm = version == Version::V10 && it.nxm;
            let number = if nxm { nx(out, nicira::FLOW_REMOVED) } else { kind::FLOW_REMOVED };
            flow_mod::put_removed(out, it, version);
            Some(number)
        }
        Message::PortStatus { reason, port } => {
            out.put8(*reason as u8);
            out.pad(7);
            ports::put(out, port, version);
            Some(kind::PORT_STATUS)
        }
        _ => None,
    }
}

fn put_change(out: &mut Vec<u8>, version: Version, xid: u32, message: &Message) -> Option<u8> {
    let v10 = version == Version::V10;
    match message {
        Message::FlowMod(it) if v10 => {
            let number = if it.nxm { nx(out, nicira::FLOW_MOD) } else { kind::FLOW_MOD };
            flow_mod::put10(out, it);
            Some(number)
        }
        Message::FlowMod(it) => {
            flow_mod::put(out, it, version);
            Some(kind::FLOW_MOD)
        }
        Message::GroupMod(it) => {
            let number = if v10 { nx(out, nicira::GROUP_MOD) } else { kind13::GROUP_MOD };
            groups::put_mod(out, it, version);
            Some(number)
        }
        Message::PortMod(it) => {
            ports::put_mod(out, it, version);
            since10(version, kind10::PORT_MOD, kind13::PORT_MOD)
        }
        Message::TableMod(it) if !v10 => {
            tables::put_mod(out, it, version);
            Some(kind13::TABLE_MOD)
        }
        Message::MeterMod(it) if !v10 => {
            meters::put_mod(out, it);
            Some(kind13::METER_MOD)
        }
        Message::BundleControl(it) => {
            let number = since14(out, version, kind13::BUNDLE_CONTROL, onf::BUNDLE_CONTROL)?;
            session::put_bundle(out, it);
            Some(number)
        }
        Message::BundleAdd { id, flags, message } => {
            let number = since14(out, version, kind13::BUNDLE_ADD_MESSAGE, onf::BUNDLE_ADD_MESSAGE)?;
            out.put32(*id);
            out.put16(0);
            out.put16(*flags);
            encode(version, xid, message, out);
            Some(number)
        }
        Message::RequestForward { xid, request } => {
            let number = match version {
                Version::V10 => nx(out, nicira::REQUESTFORWARD),
                _ => since14(out, version, kind13::REQUESTFORWARD, onf::REQUESTFORWARD)?,
            };
            let start = out.len();
            encode(version, *xid, request, out);
            (out.len() > start).then_some(number)
        }
        _ => None,
    }
}

fn put_role(out: &mut Vec<u8>, version: Version, message: &Message) -> Option<u8> {
    let v10 = version == Version::V10;
    match message {
        Message::RoleRequest(it) | Message::RoleReply(it) => {
            let request = matches!(message, Message::RoleRequest(_));
            let number = match (it.nicira, request) {
                (true, true) => nx(out, nicira::ROLE_REQUEST),
                (true, false) => nx(out, nicira::ROLE_REPLY),
                (false, _) if v10 => return None,
                (false, true) => kind13::ROLE_REQUEST,
                (false, false) => kind13::ROLE_REPLY,
            };
            session::put_role(out, it);
            Some(number)
        }
        Message::RoleStatus { role, reason, generation_id } => {
            let number = since14(out, version, kind13::ROLE_STATUS, onf::ROLE_STATUS)?;
            session::put_role_status(out, *role, *reason, *generation_id);
            Some(number)
        }
        Message::GetAsyncRequest => (!v10).then_some(kind13::GET_ASYNC_REQUEST),
        Message::GetAsyncReply(it) => {
            match version {
                Version::V10 => return None,
                Version::V13 => session::put_async_old(out, it, version),
                _ => session::put_async(out, &session::all_masks(it), version),
            }
            Some(kind13::GET_ASYNC_REPLY)
        }
        Message::SetAsync(it) if version >= Version::V14 => {
            session::put_async(out, it, version);
            Some(kind13::SET_ASYNC)
        }
        Message::SetAsync(it) => {
            let number = nx(out, nicira::SET_ASYNC_CONFIG2);
            session::put_async(out, it, version);
            Some(number)
        }
        Message::TableStatus { reason, table } if version >= Version::V14 => {
            out.put8(*reason);
            out.pad(7);
            tables::put_desc(out, table);
            Some(kind13::TABLE_STATUS)
        }
        Message::ControllerStatus(it) if version == Version::V15 => {
            session::put_controller(out, it);
            Some(kind13::CONTROLLER_STATUS)
        }
        _ => None,
    }
}

fn put_nicira(out: &mut Vec<u8>, version: Version, message: &Message) -> Option<u8> {
    let monitor = |out: &mut Vec<u8>, nicira: u32, onf: u32| match version {
        Version::V10 => Some(nx(out, nicira)),
        Version::V13 => Some(on(out, onf)),
        _ => None,
    };
    match message {
        Message::FlowMonitorCancel { id } => {
            let number = monitor(out, nicira::FLOW_MONITOR_CANCEL, onf::FLOW_MONITOR_CANCEL);
            out.put32(*id);
            number
        }
        Message::FlowMonitorPaused => monitor(out, nicira::FLOW_MONITOR_PAUSED, onf::FLOW_MONITOR_PAUSED),
        Message::FlowMonitorResumed => monitor(out, nicira::FLOW_MONITOR_RESUMED, onf::FLOW_MONITOR_RESUMED),
        Message::SetFlowFormat(format) if version == Version::V10 => {
            let number = nx(out, nicira::SET_FLOW_FORMAT);
            out.put32(if *format == FlowFormat::Nxm { 2 } else { 0 });
            Some(number)
        }
        Message::FlowModTableId(on) => {
            let number = nx(out, nicira::FLOW_MOD_TABLE_ID);
            out.put8((*on).into());
            out.pad(7);
            Some(number)
        }
        Message::SetPacketInFormat(format) => {
            let number = nx(out, nicira::SET_PACKET_IN_FORMAT);
            out.put32(match format {
                PacketInFormat::Standard => 0,
                PacketInFormat::Nicira => 1,
                PacketInFormat::Nicira2 => 2,
            });
            Some(number)
        }
        Message::SetControllerId(id) => {
            let number = nx(out, nicira::SET_CONTROLLER_ID);
            out.pad(6);
            out.put16(*id);
            Some(number)
        }
        Message::FlowAge => Some(nx(out, nicira::FLOW_AGE)),
        Message::TlvTableRequest => Some(nx(out, nicira::TLV_TABLE_REQUEST)),
        Message::TlvTableReply => {
            let number = nx(out, nicira::TLV_TABLE_REPLY);
            out.pad(16);
            Some(number)
        }
        Message::TlvTableClear => {
            let number = nx(out, nicira::TLV_TABLE_MOD);
            out.put16(2);
            out.pad(6);
            Some(number)
        }
        _ => None,
    }
}
