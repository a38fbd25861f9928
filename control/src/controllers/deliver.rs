//! What happened, told to whoever wants to know: packets for controllers, flows that went, ports, other controllers'
//! requests.

use ringswitch_dataplane::flow::{Field, reason};
use ringswitch_dataplane::pipeline::PacketIn;
use ringswitch_dataplane::sys::clock::coarse_ms;

use super::monitor;
use super::requests::is_nxm;
use super::session::Session;
use crate::engine::{Event, Notice};
use crate::openflow::message::{self, AsyncKind, FlowRemoved, PacketInFormat, Role};
use crate::openflow::stats::Reply;
use crate::openflow::{Message, Version};

/// The cookie of a packet that no rule decided about.
const NO_COOKIE: u64 = u64::MAX;

/// The message for this peer (the connection with this number), if it gets one.
pub(super) fn message_of(notice: &Notice, session: &mut Session, connection: usize) -> Option<(u32, Message)> {
    let message = match &notice.event {
        Event::Port(reason, port) => {
            let wanted = session.wants(AsyncKind::PortStatus, *reason as u8);
            wanted.then(|| Message::PortStatus { reason: *reason, port: port.clone() })?
        }
        Event::FlowRemoved(removed) => {
            if !session.wants(AsyncKind::FlowRemoved, removed.reason as u8) {
                return None;
            }
            Message::FlowRemoved(Box::new(FlowRemoved { nxm: is_nxm(session), ..(**removed).clone() }))
        }
        Event::FlowChanged(change, rule) => {
            let own = notice.origin.filter(|origin| origin.connection == connection).map(|origin| origin.xid);
            let update = monitor::update(session, *change, rule, own)?;
            Message::MultipartReply { more: false, reply: Box::new(Reply::FlowMonitor(vec![update])) }
        }
        Event::PacketIn(packet) => packet_in(packet, session)?,
    };
    Some((0, message))
}

/// True when the peer gets packets for which there is no rule: 1.0 says so, later versions say it with a rule.
pub(super) fn wants_misses(session: &Session) -> bool {
    session.version == Version::V10
        && session.controller_id == 0
        && session.wants(AsyncKind::PacketIn, reason::NO_MATCH)
}

fn packet_in(packet: &PacketIn, session: &mut Session) -> Option<Message> {
    let controller = &packet.controller;
    let is_miss = packet.cookie == NO_COOKIE && controller.reason == reason::NO_MATCH;
    let reason = match controller.reason {
        // A rule for packets that nothing else matches: 1.0 knows no such thing.
        reason::NO_MATCH if !is_miss && session.version == Version::V10 => reason::ACTION,
        reason::ACTION_SET | reason::GROUP | reason::PACKET_OUT if session.version < Version::V14 => reason::ACTION,
        reason => reason,
    };
    let is_meant = controller.id == session.controller_id && (!is_miss || wants_misses(session));
    if !is_meant || !session.wants(AsyncKind::PacketIn, reason) {
        return None;
    }
    if packet.continuation.is_some() && session.packet_in_format != PacketInFormat::Nicira2 {
        return None;
    }
    let in_port = packet.key.field(Field::IN_PORT) as u32;
    if !session.limit.allows(in_port, coarse_ms()) {
        return None;
    }
    let mut frame = packet.frame.clone();
    if is_miss {
        frame.truncate(usize::from(session.config.miss_send_len));
    }
    Some(Message::PacketIn(Box::new(message::PacketIn {
        format: session.packet_in_format,
        buffer_id: None,
        reason,
        table: packet.table,
        cookie: if is_miss { 0 } else { packet.cookie },
        key: packet.key,
        total_len: packet.total_len,
        frame,
        userdata: controller.userdata.clone(),
        continuation: packet.continuation.clone(),
    })))
}

/// What another controller asked for, for this one.
pub(super) fn forwarded(session: &Session, xid: u32, request: &Message) -> Option<Message> {
    let kind = if matches!(request, Message::GroupMod(_)) { 0 } else { 1 };
    let wanted = session.version >= Version::V14 && session.wants(AsyncKind::RequestForward, kind);
    wanted.then(|| Message::RequestForward { xid, request: Box::new(request.clone()) })
}

/// Another controller became the master, and this one is a slave now.
pub(super) fn demoted(session: &Session, generation_id: Option<u64>) -> Option<Message> {
    let wanted = session.version >= Version::V14 && session.wants(AsyncKind::RoleStatus, 0);
    let generation_id = generation_id.unwrap_or(u64::MAX);
    wanted.then_some(Message::RoleStatus { role: Role::Slave, reason: 0, generation_id })
}
