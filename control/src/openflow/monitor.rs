//! Monitors of flows, both ways: Nicira's in 1.0, the ONF's in 1.3, OpenFlow's own since 1.4.
//!
//! Source: OpenFlow 1.5.1 section 7.3.5.19, `nicira-ext.h`. Trust: a peer's.

use ringswitch_dataplane::flow::Flow;

use super::actions::{Packet, put_instructions, read_instructions};
use super::flow_mod::{read_reason, reason, unless_any};
use super::matches::{Rules, put_nxm, put_oxm, read_nxm, read_oxm};
use super::message::{PORT_ANY, RemovedReason};
use super::stats::{FlowUpdate, MonitorCommand, MonitorRequest};
use super::wire::{Put, Reader, Result, port_of_16, port_of_32, port_to_16};
use super::{OfError, Version};

const EVENTS: u16 = MonitorRequest::ADD | MonitorRequest::REMOVED | MonitorRequest::MODIFY;
/// Flags before 1.4.
const FLAGS_10: u16 = EVENTS | MonitorRequest::INITIAL | MonitorRequest::INSTRUCTIONS | MonitorRequest::NO_ABBREV;

/// Reads a request for one monitor.
pub(super) fn read_request(bytes: &mut Reader<'_>, version: Version) -> Result<MonitorRequest> {
    let id = bytes.u32()?;
    let mut it = MonitorRequest {
        id,
        command: MonitorCommand::Add,
        flags: 0,
        out_port: None,
        out_group: None,
        table: 0,
        matches: Default::default(),
    };
    match version {
        Version::V10 => {
            it.flags = bytes.u16()?;
            let (port, len) = (bytes.u16()?, bytes.u16()?);
            it.out_port = unless_any(port_of_16(port));
            it.table = bytes.u8()?;
            check_flags(it.flags, FLAGS_10)?;
            bytes.zeros(5, OfError::NXBRC_MUST_BE_ZERO)?;
            it.matches = read_nxm(bytes, len.into(), Rules::Strict, None)?;
        }
        Version::V13 => {
            it.flags = bytes.u16()?;
            bytes.skip(2)?;
            let port = bytes.u32()?;
            it.table = bytes.u8()?;
            check_flags(it.flags, FLAGS_10)?;
            bytes.zeros(3, OfError::NXBRC_MUST_BE_ZERO)?;
            it.out_port = unless_any(port_of_32(port)?);
            it.matches = read_oxm(bytes, Rules::Strict)?;
        }
        _ => {
            let (port, group) = (bytes.u32()?, bytes.u32()?);
            it.flags = bytes.u16()?;
            it.table = bytes.u8()?;
            it.command = match bytes.u8()? {
                0 => MonitorCommand::Add,
                1 => MonitorCommand::Modify,
                2 => MonitorCommand::Delete,
                _ => return Err(OfError::OFPMOFC_BAD_COMMAND),
            };
            it.matches = read_oxm(bytes, Rules::Strict)?;
            if it.command != MonitorCommand::Delete {
                check_flags(it.flags, FLAGS_10 | MonitorRequest::ONLY_OWN)?;
                it.out_port = unless_any(port_of_32(port)?);
                it.out_group = unless_any(group);
            }
        }
    }
    Ok(it)
}

fn check_flags(flags: u16, known: u16) -> Result<()> {
    if flags & EVENTS == 0 || flags & !known != 0 { Err(OfError::OFPMOFC_BAD_FLAGS) } else { Ok(()) }
}

/// Writes a request for one monitor.
pub(super) fn put_request(out: &mut Vec<u8>, it: &MonitorRequest, version: Version) {
    out.put32(it.id);
    let port = it.out_port.unwrap_or(PORT_ANY);
    match version {
        Version::V10 => {
            out.put16(it.flags & FLAGS_10);
            out.put16(port_to_16(port));
            let place = out.len();
            out.put16(0);
            out.put8(it.table);
            out.pad(5);
            let len = put_nxm(out, &it.matches, (0, 0));
            out.set16(place, len);
        }
        Version::V13 => {
            out.put16(it.flags & FLAGS_10);
            let place = out.len();
            out.put16(0);
            out.put32(port);
            out.put8(it.table);
            out.pad(3);
            let start = out.len();
            put_oxm(out, &it.matches, version);
            out.set16(place, out.len() - start);
        }
        _ => {
            out.put32(port);
            out.put32(it.out_group.unwrap_or(u32::MAX));
            out.put16(it.flags);
            out.put8(it.table);
            out.put8(it.command as u8);
            put_oxm(out, &it.matches, version);
        }
    }
}

/// Reads what a monitor saw.
pub(super) fn read_update(bytes: &mut Reader<'_>, version: Version) -> Result<FlowUpdate> {
    let mut head = *bytes;
    let mut body = bytes.part(head.u16()?.into())?;
    body.skip(2)?;
    // Before 1.4 there was no event for flows that were there already.
    let event = body.u16()?.saturating_add(u16::from(version < Version::V14));
    let event = match event {
        4 => return Ok(FlowUpdate::Abbreviated { xid: body.u32()? }),
        5 if version >= Version::V14 => return Ok(FlowUpdate::Paused),
        6 if version >= Version::V14 => return Ok(FlowUpdate::Resumed),
        0..=3 => event,
        _ => return Err(OfError::NXBRC_FM_BAD_EVENT),
    };
    let (flow, why) = read_flow(body, version)?;
    let flow = Box::new(flow);
    Ok(match event {
        0 => FlowUpdate::Initial(flow),
        1 => FlowUpdate::Added(flow),
        2 => FlowUpdate::Removed(flow, why),
        _ => FlowUpdate::Modified(flow),
    })
}

fn read_flow(mut body: Reader<'_>, version: Version) -> Result<(Flow, RemovedReason)> {
    let mut flow = Flow::default();
    let why;
    if version < Version::V14 {
        why = body.u16()? as u8;
        flow.priority = body.u16()?;
        (flow.idle_timeout, flow.hard_timeout) = (body.u16()?, body.u16()?);
        let len = body.u16()?;
        flow.table = body.u8()?;
        body.skip(1)?;
        flow.cookie = body.u64()?;
        flow.matches = match version {
            Version::V10 => read_nxm(&mut body, len.into(), Rules::Strict, None)?,
            _ => read_oxm(&mut body, Rules::Strict)?,
        };
    } else {
        (flow.table, why) = (body.u8()?, body.u8()?);
        (flow.idle_timeout, flow.hard_timeout) = (body.u16()?, body.u16()?);
        flow.priority = body.u16()?;
        body.skip(4)?;
        flow.cookie = body.u64()?;
        flow.matches = read_oxm(&mut body, Rules::Strict)?;
    }
    flow.actions = read_instructions(body, version)?;
    Ok((flow, read_reason(why)?))
}

/// Writes what a monitor saw.
pub(super) fn put_update(out: &mut Vec<u8>, update: &FlowUpdate, version: Version) {
    let start = out.len();
    out.put16(0);
    let old = version < Version::V14;
    let put_event = |out: &mut Vec<u8>, event: u16| out.put16(if old { event.saturating_sub(1) } else { event });
    match update {
        FlowUpdate::Abbreviated { xid } => {
            put_event(out, 4);
            out.put32(*xid);
        }
        // Messages of their own before 1.4.
        FlowUpdate::Paused | FlowUpdate::Resumed if old => return out.truncate(start),
        FlowUpdate::Paused => {
            put_event(out, 5);
            out.pad(4);
        }
        FlowUpdate::Resumed => {
            put_event(out, 6);
            out.pad(4);
        }
        FlowUpdate::Initial(flow) => {
            put_event(out, 0);
            put_flow(out, flow, 0, version);
        }
        FlowUpdate::Added(flow) => {
            put_event(out, 1);
            put_flow(out, flow, 0, version);
        }
        FlowUpdate::Removed(flow, why) => {
            put_event(out, 2);
            put_flow(out, flow, reason(*why, version), version);
        }
        FlowUpdate::Modified(flow) => {
            put_event(out, 3);
            put_flow(out, flow, 0, version);
        }
    }
    out.set16(start, out.len() - start);
}

fn put_flow(out: &mut Vec<u8>, flow: &Flow, why: u8, version: Version) {
    if version < Version::V14 {
        out.put16(why.into());
        out.put16(flow.priority);
        out.put16(flow.idle_timeout);
        out.put16(flow.hard_timeout);
        let place = out.len();
        out.put16(0);
        out.put8(flow.table);
        out.put8(0);
        out.put64(flow.cookie);
        let start = out.len();
        let len = if version == Version::V10 {
            put_nxm(out, &flow.matches, (0, 0))
        } else {
            put_oxm(out, &flow.matches, version);
            out.len() - start
        };
        out.set16(place, len);
    } else {
        out.put8(flow.table);
        out.put8(why);
        out.put16(flow.idle_timeout);
        out.put16(flow.hard_timeout);
        out.put16(flow.priority);
        out.pad(4);
        out.put64(flow.cookie);
        put_oxm(out, &flow.matches, version);
    }
    put_instructions(out, &flow.actions, version, Packet::of(&flow.matches));
}
