//! Flow-mods and flow-removed messages, both ways.
//!
//! Source: OpenFlow 1.5.1 sections 7.3.4.2 and 7.4.2, `nicira-ext.h`. Trust: a peer's; what is refused is refused with Open
//! vSwitch's error values. Neighbours: matches, actions; [`super::flow_stats`] has the statistics.

use ringswitch_dataplane::flow::{Flow, FlowFlags, Match, TABLES};

use super::actions::{Packet, check, put_instructions, read_instructions};
use super::match10;
use super::matches::{Rules, put_nxm, put_oxm, read_nxm, read_oxm};
use super::message::{FlowMod, FlowModCommand, FlowRemoved, PORT_ANY, RemovedReason, TABLE_ALL};
use super::oxs::{self, Stats};
use super::wire::{Layout, Put, Reader, Result, port_of_16, port_of_32, port_to_16};
use super::{OfError, Version};

/// "Not buffered."
pub(super) const NO_BUFFER: u32 = u32::MAX;

const SEND_FLOW_REM: u16 = 1 << 0;
const CHECK_OVERLAP: u16 = 1 << 1;
const RESET_COUNTS: u16 = 1 << 2;
const NO_PACKET_COUNTS: u16 = 1 << 3;
const NO_BYTE_COUNTS: u16 = 1 << 4;
/// 1.0's emergency flows, which are nowhere supported.
const EMERGENCY: u16 = 1 << 2;

/// Flags of a flow. 1.0 knows the first two.
pub(super) fn read_flags(bits: u16, version: Version) -> Result<FlowFlags> {
    let known = if version == Version::V10 { 3 } else { 0x1f };
    if bits & !known != 0 {
        return Err(OfError::OFPFMFC_BAD_FLAGS);
    }
    Ok(FlowFlags {
        send_flow_rem: bits & SEND_FLOW_REM != 0,
        check_overlap: bits & CHECK_OVERLAP != 0,
        reset_counts: bits & RESET_COUNTS != 0,
        no_packet_counts: bits & NO_PACKET_COUNTS != 0,
        no_byte_counts: bits & NO_BYTE_COUNTS != 0,
    })
}

pub(super) fn flags(flags: FlowFlags, version: Version) -> u16 {
    let bit = |set: bool, bit: u16| if set { bit } else { 0 };
    let bits = bit(flags.send_flow_rem, SEND_FLOW_REM)
        | bit(flags.check_overlap, CHECK_OVERLAP)
        | bit(flags.reset_counts, RESET_COUNTS)
        | bit(flags.no_packet_counts, NO_PACKET_COUNTS)
        | bit(flags.no_byte_counts, NO_BYTE_COUNTS);
    if version == Version::V10 { bits & 3 } else { bits }
}

fn command(number: u16) -> Result<FlowModCommand> {
    use FlowModCommand as C;
    let all = [C::Add, C::Modify, C::ModifyStrict, C::Delete, C::DeleteStrict];
    all.get(usize::from(number)).copied().ok_or(OfError::OFPFMFC_BAD_COMMAND)
}

fn is_delete(command: FlowModCommand) -> bool {
    matches!(command, FlowModCommand::Delete | FlowModCommand::DeleteStrict)
}

/// A port or group that a filter asks for, out of a number that may mean "any".
pub(super) fn unless_any(number: u32) -> Option<u32> {
    (number != u32::MAX).then_some(number)
}

/// Reads a flow-mod of 1.1 and later.
pub(super) fn read(mut body: Reader<'_>, version: Version) -> Result<FlowMod> {
    let (cookie, cookie_mask) = (body.u64()?, body.u64()?);
    let (table, number) = (body.u8()?, body.u8()?);
    let (idle_timeout, hard_timeout, priority) = (body.u16()?, body.u16()?, body.u16()?);
    let (buffer, out_port, out_group) = (body.u32()?, body.u32()?, body.u32()?);
    let (bits, importance) = (body.u16()?, body.u16()?);
    let matches = read_oxm(&mut body, Rules::Strict)?;
    let delete = number == 3 || number == 4;
    if table == TABLE_ALL && !delete {
        return Err(OfError::OFPFMFC_BAD_TABLE_ID);
    }
    let out_port = unless_any(port_of_32(out_port)?);
    let command = command(number.into())?;
    let add = command == FlowModCommand::Add;
    let flow = Flow {
        table: if table == TABLE_ALL { 0 } else { table },
        priority,
        cookie: if add { cookie } else { 0 },
        idle_timeout,
        hard_timeout,
        importance: if add && version >= Version::V14 { importance } else { 0 },
        matches,
        actions: read_instructions(body, version)?,
        flags: read_flags(bits, version)?,
    };
    let filter = if add { (0, 0) } else { (cookie & cookie_mask, cookie_mask) };
    finish(
        FlowMod {
            command,
            flow,
            table,
            cookie: filter.0,
            cookie_mask: filter.1,
            new_cookie: None,
            buffer_id: unless_any(buffer),
            out_port,
            out_group: unless_any(out_group).filter(|_| delete),
            nxm: false,
        },
        version,
    )
}

/// Reads a flow-mod of 1.0, or Nicira's. `table_id`: the command's upper half is a table's number.
pub(super) fn read10(mut body: Reader<'_>, nxm: bool, table_id: bool, version: Version) -> Result<FlowMod> {
    let (mut matches, mut exact) = if nxm { (Match::default(), false) } else { match10::read(&mut body)? };
    let (new_cookie, number) = (body.u64()?, body.u16()?);
    let (idle_timeout, hard_timeout, mut priority) = (body.u16()?, body.u16()?, body.u16()?);
    let (buffer, out_port, bits) = (body.u32()?, body.u16()?, body.u16()?);
    let mut filter = (0, 0);
    if nxm {
        let len = usize::from(body.u16()?);
        body.skip(6)?;
        matches = read_nxm(&mut body, len, Rules::Strict, Some(&mut filter))?;
        exact = false;
        if number & 0xff == 0 && filter.1 != 0 {
            return Err(OfError::NXBRC_NXM_INVALID);
        }
    }
    if exact {
        priority = u16::MAX;
    }
    let (table, number) = if table_id { ((number >> 8) as u8, number & 0xff) } else { (TABLE_ALL, number) };
    let command = command(number)?;
    if bits & EMERGENCY != 0 && version == Version::V10 {
        return Err(OfError::OFPFMFC_TABLE_FULL);
    }
    let add = command == FlowModCommand::Add;
    let mut flags = read_flags(bits, version)?;
    flags.reset_counts |= add && version == Version::V10;
    let flow = Flow {
        table: if table == TABLE_ALL { 0 } else { table },
        priority,
        cookie: if add { new_cookie } else { 0 },
        idle_timeout,
        hard_timeout,
        importance: 0,
        matches,
        actions: read_instructions(body, version)?,
        flags,
    };
    let modify = !add && !is_delete(command);
    finish(
        FlowMod {
            command,
            flow,
            table,
            cookie: filter.0,
            cookie_mask: filter.1,
            new_cookie: (modify && new_cookie != u64::MAX).then_some(new_cookie),
            buffer_id: unless_any(buffer),
            out_port: unless_any(port_of_16(out_port)).filter(|_| is_delete(command)),
            out_group: None,
            nxm,
        },
        version,
    )
}

/// Checks what can only be checked of the whole.
fn finish(it: FlowMod, version: Version) -> Result<FlowMod> {
    if it.table != TABLE_ALL && it.table >= TABLES {
        return Err(OfError::OFPFMFC_BAD_TABLE_ID);
    }
    check(&it.flow.matches, &it.flow.actions, version, it.flow.table)?;
    Ok(it)
}

/// Writes a flow-mod of 1.1 and later.
pub(super) fn put(out: &mut Vec<u8>, it: &FlowMod, version: Version) {
    let add = it.command == FlowModCommand::Add;
    out.put64(if add { it.flow.cookie } else { it.cookie & it.cookie_mask });
    out.put64(it.cookie_mask);
    out.put8(if it.table == TABLE_ALL && !is_delete(it.command) { 0 } else { it.table });
    out.put8(it.command as u8);
    out.put16(it.flow.idle_timeout);
    out.put16(it.flow.hard_timeout);
    out.put16(it.flow.priority);
    out.put32(it.buffer_id.unwrap_or(NO_BUFFER));
    out.put32(it.out_port.unwrap_or(PORT_ANY));
    out.put32(it.out_group.unwrap_or(u32::MAX));
    out.put16(flags(it.flow.flags, version));
    out.put16(if add && version >= Version::V14 { it.flow.importance } else { 0 });
    put_oxm(out, &it.flow.matches, version);
    put_instructions(out, &it.flow.actions, version, Packet::of(&it.flow.matches));
}

/// Writes a flow-mod of 1.0, or Nicira's.
pub(super) fn put10(out: &mut Vec<u8>, it: &FlowMod) {
    let add = it.command == FlowModCommand::Add;
    if !it.nxm {
        match10::put(out, &it.flow.matches);
    }
    out.put64(if add { it.flow.cookie } else { it.new_cookie.unwrap_or(u64::MAX) });
    let table = if it.table == TABLE_ALL { 0 } else { it.table };
    out.put16(u16::from(table) << 8 | it.command as u16);
    out.put16(it.flow.idle_timeout);
    out.put16(it.flow.hard_timeout);
    out.put16(it.flow.priority);
    out.put32(it.buffer_id.unwrap_or(NO_BUFFER));
    out.put16(port_to_16(it.out_port.unwrap_or(PORT_ANY)));
    out.put16(flags(it.flow.flags, Version::V10));
    if it.nxm {
        let place = out.len();
        out.pad(8);
        let len = put_nxm(out, &it.flow.matches, (it.cookie, it.cookie_mask));
        out.set16(place, len);
    }
    put_instructions(out, &it.flow.actions, Version::V10, Packet::default());
}

pub(super) fn read_reason(number: u8) -> Result<RemovedReason> {
    use RemovedReason as R;
    let all = [R::IdleTimeout, R::HardTimeout, R::Delete, R::GroupDelete, R::MeterDelete, R::Eviction];
    all.get(usize::from(number)).copied().ok_or(OfError::OFPBRC_BAD_LEN)
}

/// A reason that the version knows.
pub(super) fn reason(reason: RemovedReason, version: Version) -> u8 {
    let known = match reason {
        RemovedReason::GroupDelete => version >= Version::V13,
        RemovedReason::MeterDelete | RemovedReason::Eviction => version >= Version::V14,
        _ => true,
    };
    if known { reason as u8 } else { RemovedReason::Delete as u8 }
}

/// The numbers of a flow-removed message before 1.5, as they lie there in every form.
fn numbers(it: &mut FlowRemoved, number: &mut u8, last: &mut u16, wire: &mut impl Layout) -> Result<()> {
    wire.b64(&mut it.flow.cookie)?;
    wire.b16(&mut it.flow.priority)?;
    wire.b8(number)?;
    wire.b8(&mut it.flow.table)?;
    wire.time(&mut it.duration)?;
    wire.b16(&mut it.flow.idle_timeout)?;
    wire.b16(last)?;
    wire.b64(&mut it.packets)?;
    wire.b64(&mut it.bytes)
}

/// Reads a flow-removed message.
pub(super) fn read_removed(mut body: Reader<'_>, version: Version, nxm: bool) -> Result<FlowRemoved> {
    let (mut number, mut last) = (0, 0);
    let mut it = FlowRemoved {
        nxm,
        flow: Flow::default(),
        reason: RemovedReason::Delete,
        duration: std::time::Duration::ZERO,
        packets: 0,
        bytes: 0,
    };
    if version == Version::V15 && !nxm {
        it.flow.table = body.u8()?;
        number = body.u8()?;
        it.flow.priority = body.u16()?;
        (it.flow.idle_timeout, it.flow.hard_timeout) = (body.u16()?, body.u16()?);
        it.flow.cookie = body.u64()?;
        it.flow.matches = read_oxm(&mut body, Rules::Strict)?;
        let stats = oxs::read(&mut body)?;
        it.duration = stats.duration.unwrap_or_default();
        (it.packets, it.bytes) = (stats.packets.unwrap_or(0), stats.bytes.unwrap_or(0));
    } else if version == Version::V10 && !nxm {
        it.flow.matches = match10::read(&mut body)?.0;
        numbers(&mut it, &mut number, &mut last, &mut body)?;
    } else {
        numbers(&mut it, &mut number, &mut last, &mut body)?;
        if nxm {
            // Nicira counts tables from one here, and has no hard time-out.
            it.flow.table = it.flow.table.saturating_sub(1);
            it.flow.matches = read_nxm(&mut body, last.into(), Rules::Strict, None)?;
        } else {
            it.flow.hard_timeout = last;
            it.flow.matches = read_oxm(&mut body, Rules::Strict)?;
        }
    }
    it.reason = read_reason(number)?;
    Ok(it)
}

/// Writes a flow-removed message; in 1.0, Nicira's when the flow says so.
pub(super) fn put_removed(out: &mut Vec<u8>, it: &FlowRemoved, version: Version) {
    let (mut number, mut last) = (reason(it.reason, version), 0);
    let mut it = it.clone();
    match version {
        Version::V15 => {
            out.put8(it.flow.table);
            out.put8(number);
            out.put16(it.flow.priority);
            out.put16(it.flow.idle_timeout);
            out.put16(it.flow.hard_timeout);
            out.put64(it.flow.cookie);
            put_oxm(out, &it.flow.matches, version);
            let stats = Stats {
                duration: Some(it.duration),
                packets: Some(it.packets),
                bytes: Some(it.bytes),
                ..Stats::default()
            };
            oxs::put(out, &stats);
        }
        Version::V10 if it.nxm => {
            let place = out.len() + 22;
            it.flow.table = it.flow.table.wrapping_add(1);
            numbers(&mut it, &mut number, &mut last, out).unwrap_or_default();
            let len = put_nxm(out, &it.flow.matches, (0, 0));
            out.set16(place, len);
        }
        Version::V10 => {
            match10::put(out, &it.flow.matches);
            it.flow.table = 0;
            numbers(&mut it, &mut number, &mut last, out).unwrap_or_default();
        }
        _ => {
            last = it.flow.hard_timeout;
            numbers(&mut it, &mut number, &mut last, out).unwrap_or_default();
            put_oxm(out, &it.flow.matches, version);
        }
    }
}
