//! Packet-ins, packet-outs, and packets that wait for a controller, both ways.
//!
//! Source: OpenFlow 1.5.1 sections 7.3.6 and 7.4.1, `nicira-ext.h`. Trust: a peer's. What a paused packet needs to go on
//! travels with it to the controller and back: whoever may send packet-outs can do no more by changing it. Its form is Open
//! vSwitch's, so that its tools can print it, but for lists that hold instructions.

use ringswitch_dataplane::flow::{Action, Field, FlowKey, reason};
use ringswitch_dataplane::pipeline::Continuation;

use super::actions::{Packet, put_actions, put_instructions, read_actions, read_instructions};
use super::flow_mod::{NO_BUFFER, unless_any};
use super::matches::{Rules, put_metadata, read_fields, read_nxm, read_oxm};
use super::message::{PORT_ANY, PORT_CONTROLLER, PacketIn, PacketInFormat, PacketOut};
use super::oxm::Dialect;
use super::prop;
use super::wire::{Put, Reader, Result, port_of_16, port_of_32, port_to_16};
use super::{OfError, Version};

const PACKET: u16 = 0;
const FULL_LEN: u16 = 1;
const BUFFER_ID: u16 = 2;
const TABLE_ID: u16 = 3;
const COOKIE: u16 = 4;
const REASON: u16 = 5;
const METADATA: u16 = 6;
const USERDATA: u16 = 7;
const CONTINUATION: u16 = 8;

const STACK: u16 = 0x8001;
const AT_TABLE: u16 = 0x8004;
const ACTIONS: u16 = 0x8006;
const ACTION_SET: u16 = 0x8007;
/// Ours: a list with instructions in it.
const INSTRUCTIONS: u16 = 0x80f0;

/// Lists that a continuation may have; more than any packet's trip makes.
const LISTS: usize = 256;
/// Values on its stack.
const VALUES: usize = 4096;

fn known_reason(why: u8, version: Version) -> u8 {
    let later = matches!(why, reason::ACTION_SET | reason::GROUP | reason::PACKET_OUT);
    if later && version < Version::V14 { reason::ACTION } else { why }
}

/// Writes a packet-in behind its head, in any format.
pub(super) fn put_in(out: &mut Vec<u8>, it: &PacketIn, version: Version) {
    let why = known_reason(it.reason, version);
    let total = it.total_len.min(0xffff) as u16;
    let buffer = it.buffer_id.unwrap_or(NO_BUFFER);
    match (it.format, version) {
        (PacketInFormat::Nicira2, _) => return put_in2(out, it, version),
        (PacketInFormat::Nicira, _) => {
            let start = out.len();
            out.put32(buffer);
            out.put16(total);
            out.put8(why);
            out.put8(it.table);
            out.put64(it.cookie);
            out.pad(8);
            put_metadata(out, &it.key, Dialect::Nxm);
            out.set16(start + 16, out.len() - start - 24);
            out.align(start);
            out.pad(2);
        }
        (PacketInFormat::Standard, Version::V10) => {
            out.put32(buffer);
            out.put16(total);
            out.put16(port_to_16(it.key.field(Field::IN_PORT) as u32));
            out.put8(why);
            out.put8(0);
        }
        (PacketInFormat::Standard, _) => {
            out.put32(buffer);
            out.put16(total);
            out.put8(why);
            out.put8(it.table);
            out.put64(it.cookie);
            put_key(out, &it.key, version);
            out.pad(2);
        }
    }
    out.extend_from_slice(&it.frame);
}

fn put_in2(out: &mut Vec<u8>, it: &PacketIn, version: Version) {
    prop::put(out, PACKET, |out| out.extend_from_slice(&it.frame));
    if it.total_len != it.frame.len() {
        prop::put32(out, FULL_LEN, it.total_len as u32);
    }
    if let Some(buffer) = it.buffer_id {
        prop::put32(out, BUFFER_ID, buffer);
    }
    prop::put8(out, TABLE_ID, it.table);
    if it.cookie != u64::MAX {
        prop::put64(out, COOKIE, it.cookie);
    }
    prop::put8(out, REASON, known_reason(it.reason, version));
    prop::put(out, METADATA, |out| put_metadata(out, &it.key, Dialect::Oxm(version.max(Version::V13))));
    if !it.userdata.is_empty() {
        prop::put(out, USERDATA, |out| out.extend_from_slice(&it.userdata));
    }
    if let Some(continuation) = &it.continuation {
        prop::put(out, CONTINUATION, |out| {
            out.pad(4);
            put_continuation(out, continuation, version);
        });
    }
}

fn put_continuation(out: &mut Vec<u8>, it: &Continuation, version: Version) {
    for value in it.stack.iter().rev() {
        prop::put(out, STACK, |out| out.extend_from_slice(&value.to_be_bytes()));
    }
    prop::put8(out, AT_TABLE, it.table);
    let is_instruction = |action: &Action| {
        matches!(
            action,
            Action::Meter(_)
                | Action::ClearActions
                | Action::WriteActions(_)
                | Action::WriteMetadata { .. }
                | Action::GotoTable(_)
        )
    };
    for list in &it.actions {
        if list.iter().any(is_instruction) {
            put_nested(out, INSTRUCTIONS, |out| put_instructions(out, list, Version::V13, Packet::default()));
        } else {
            put_nested(out, ACTIONS, |out| put_actions(out, list, version));
        }
    }
    if !it.action_set.is_empty() {
        put_nested(out, ACTION_SET, |out| put_actions(out, &it.action_set, version));
    }
}

/// A property whose contents begin at a multiple of eight bytes.
fn put_nested(out: &mut Vec<u8>, kind: u16, contents: impl FnOnce(&mut Vec<u8>)) {
    prop::put(out, kind, |out| {
        out.pad(4);
        contents(out);
    });
}

/// Reads a packet-in, or in Nicira's second format what goes on.
pub(super) fn read_in(mut body: Reader<'_>, format: PacketInFormat, version: Version) -> Result<PacketIn> {
    if format == PacketInFormat::Nicira2 {
        return read_in2(body, version);
    }
    let (buffer, total_len) = (body.u32()?, body.u16()?.into());
    let mut it = PacketIn { format, buffer_id: unless_any(buffer), total_len, ..empty() };
    if format == PacketInFormat::Standard && version == Version::V10 {
        it.key.set(Field::IN_PORT, port_of_16(body.u16()?).into());
        it.reason = body.u8()?;
        body.skip(1)?;
    } else {
        (it.reason, it.table, it.cookie) = (body.u8()?, body.u8()?, body.u64()?);
        it.key = if format == PacketInFormat::Nicira {
            let len = usize::from(body.u16()?);
            body.skip(6)?;
            read_nxm(&mut body, len, Rules::Loose, None)?.key
        } else {
            read_oxm(&mut body, Rules::Loose)?.key
        };
        body.skip(2)?;
    }
    it.frame = body.rest.to_vec();
    Ok(it)
}

fn empty() -> PacketIn {
    PacketIn {
        format: PacketInFormat::Nicira2,
        buffer_id: None,
        reason: 0,
        table: 0,
        cookie: u64::MAX,
        key: FlowKey::default(),
        total_len: 0,
        frame: Vec::new(),
        userdata: Vec::new(),
        continuation: None,
    }
}

fn read_in2(mut body: Reader<'_>, version: Version) -> Result<PacketIn> {
    let (mut it, mut total) = (empty(), None);
    while !body.is_empty() {
        let mut property = prop::next(&mut body)?;
        match property.kind {
            PACKET => it.frame = property.body.rest.to_vec(),
            FULL_LEN => total = Some(property.value32()? as usize),
            BUFFER_ID => it.buffer_id = unless_any(property.value32()?),
            TABLE_ID => it.table = property.body.u8()?,
            COOKIE => it.cookie = property.value64()?,
            REASON => it.reason = property.body.u8()?,
            METADATA => it.key = read_fields(property.body, Rules::Loose, None)?.key,
            USERDATA => it.userdata = property.body.rest.to_vec(),
            CONTINUATION => it.continuation = Some(Box::new(read_continuation(property.nested()?, version)?)),
            _ => return Err(property.unknown()),
        }
    }
    it.total_len = total.unwrap_or(it.frame.len());
    if it.frame.is_empty() || it.total_len < it.frame.len() {
        return Err(OfError::OFPBRC_BAD_LEN);
    }
    if let Some(continuation) = &mut it.continuation {
        continuation.key = it.key;
    }
    Ok(it)
}

fn read_continuation(mut body: Reader<'_>, version: Version) -> Result<Continuation> {
    let mut it = Continuation {
        key: FlowKey::default(),
        table: 0,
        stack: Vec::new(),
        actions: Vec::new(),
        action_set: Vec::new(),
    };
    while !body.is_empty() {
        let mut property = prop::next(&mut body)?;
        match property.kind {
            STACK => {
                let bytes = property.body.rest;
                if bytes.len() > 16 {
                    return Err(OfError::OFPBPC_BAD_LEN);
                }
                it.stack.push(bytes.iter().fold(0, |value, &byte| value << 8 | u128::from(byte)));
            }
            AT_TABLE => it.table = property.body.u8()?,
            ACTIONS => it.actions.push(read_actions(property.nested()?, version, 0)?),
            INSTRUCTIONS => it.actions.push(read_instructions(property.nested()?, Version::V13)?),
            ACTION_SET => it.action_set = read_actions(property.nested()?, version, 0)?,
            _ => return Err(property.unknown()),
        }
        if it.actions.len() > LISTS || it.stack.len() > VALUES {
            return Err(OfError::OFPBPC_TOO_MANY);
        }
    }
    it.stack.reverse();
    Ok(it)
}

/// Reads a packet-out.
pub(super) fn read_out(mut body: Reader<'_>, version: Version) -> Result<PacketOut> {
    let buffer_id = unless_any(body.u32()?);
    let mut key = FlowKey::default();
    let len = match version {
        Version::V10 => {
            key.set(Field::IN_PORT, port_of_16(body.u16()?).into());
            body.u16()?
        }
        Version::V15 => {
            let len = body.u16()?;
            body.skip(2)?;
            let matches = read_oxm(&mut body, Rules::Pipeline)?;
            if matches.mask.field(Field::IN_PORT) == 0 {
                return Err(OfError::OFPBRC_BAD_PORT);
            }
            key = matches.key;
            len
        }
        _ => {
            key.set(Field::IN_PORT, port_of_32(body.u32()?)?.into());
            let len = body.u16()?;
            body.skip(6)?;
            len
        }
    };
    let port = key.field(Field::IN_PORT) as u32;
    let reserved = port >= 0xff00 && !matches!(port, PORT_ANY | PORT_CONTROLLER | 0xffff_fffe);
    if reserved {
        return Err(OfError::OFPBRC_BAD_PORT);
    }
    let actions = read_actions(body.part(len.into())?, version, 0)?;
    let frame = if buffer_id.is_none() { body.rest.to_vec() } else { Vec::new() };
    Ok(PacketOut { buffer_id, key, actions, frame })
}

/// Writes a packet-out.
pub(super) fn put_out(out: &mut Vec<u8>, it: &PacketOut, version: Version) {
    out.put32(it.buffer_id.unwrap_or(NO_BUFFER));
    let port = it.key.field(Field::IN_PORT) as u32;
    let place = match version {
        Version::V10 => {
            out.put16(port_to_16(port));
            out.put16(0);
            out.len() - 2
        }
        Version::V15 => {
            let place = out.len();
            out.pad(4);
            put_key(out, &it.key, version);
            place
        }
        _ => {
            out.put32(port);
            out.pad(8);
            out.len() - 8
        }
    };
    let start = out.len();
    put_actions(out, &it.actions, version);
    out.set16(place, out.len() - start);
    out.extend_from_slice(&it.frame);
}

/// What comes with a packet, as a match.
fn put_key(out: &mut Vec<u8>, key: &FlowKey, version: Version) {
    let start = out.len();
    out.put16(1);
    out.put16(0);
    put_metadata(out, key, Dialect::Oxm(version));
    out.set16(start + 2, out.len() - start);
    out.align(start);
}
