//! Instructions (1.1 and later): a rule's list of actions in up to six parts.
//!
//! Source: OpenFlow 1.5.1 section 7.2.4. Trust: a peer's; each instruction at most once.

use ringswitch_dataplane::flow::Action;

use super::super::wire::{Put, Reader, Result};
use super::super::{OfError, Version};
use super::Packet;
use super::put::put_one;
use super::read::read_list;
use super::rules;

const GOTO_TABLE: u16 = 1;
const WRITE_METADATA: u16 = 2;
const WRITE_ACTIONS: u16 = 3;
const APPLY_ACTIONS: u16 = 4;
const CLEAR_ACTIONS: u16 = 5;
const METER: u16 = 6;
const EXPERIMENTER: u16 = 0xffff;

/// Reads all of `bytes`: instructions, or 1.0's list of actions.
pub(in super::super) fn read_instructions(mut bytes: Reader<'_>, version: Version) -> Result<Vec<Action>> {
    if version == Version::V10 {
        return read_list(bytes, version, 0);
    }
    bytes.short = OfError::OFPBIC_BAD_LEN;
    let mut found: [Option<Reader<'_>>; 7] = [None; 7];
    while !bytes.is_empty() {
        let mut head = bytes;
        let (kind, len) = (head.u16()?, usize::from(head.u16()?));
        let mut body = bytes.part(len)?;
        body.skip(4)?;
        let right = match kind {
            GOTO_TABLE | CLEAR_ACTIONS => len == 8,
            METER if version < Version::V15 => len == 8,
            WRITE_METADATA => len == 24,
            WRITE_ACTIONS | APPLY_ACTIONS => len >= 8 && len.is_multiple_of(8),
            EXPERIMENTER => return Err(OfError::OFPBIC_BAD_EXPERIMENTER),
            _ => return Err(OfError::OFPBIC_UNKNOWN_INST),
        };
        if !right {
            return Err(OfError::OFPBIC_BAD_LEN);
        }
        if found[usize::from(kind)].replace(body).is_some() {
            return Err(OfError::OFPBIC_DUP_INST);
        }
    }
    join(found, version)
}

/// Makes one list of them.
fn join(mut found: [Option<Reader<'_>>; 7], version: Version) -> Result<Vec<Action>> {
    let mut instruction = |kind: u16| found[usize::from(kind)].take();
    let mut actions = Vec::new();
    if let Some(mut body) = instruction(METER) {
        actions.push(Action::Meter(body.u32()?));
    }
    if let Some(mut body) = instruction(APPLY_ACTIONS) {
        body.skip(4)?;
        actions.extend(read_list(body, version, 0)?);
    }
    if instruction(CLEAR_ACTIONS).is_some() {
        actions.push(Action::ClearActions);
    }
    if let Some(mut body) = instruction(WRITE_ACTIONS) {
        body.skip(4)?;
        let set = read_list(body, version, 1)?;
        rules::set(&set)?;
        actions.push(Action::WriteActions(set));
    }
    if let Some(mut body) = instruction(WRITE_METADATA) {
        body.skip(4)?;
        actions.push(Action::WriteMetadata { value: body.u64()?, mask: body.u64()? });
    }
    if let Some(mut body) = instruction(GOTO_TABLE) {
        actions.push(Action::GotoTable(body.u8()?));
    }
    Ok(actions)
}

/// Writes a rule's list as instructions, or as 1.0's list of actions.
pub(in super::super) fn put_instructions(out: &mut Vec<u8>, actions: &[Action], version: Version, mut packet: Packet) {
    if version == Version::V10 {
        actions.iter().for_each(|action| put_one(out, action, version, &mut packet));
        return;
    }
    let mut rest = actions;
    while let Some((first, behind)) = rest.split_first() {
        if rules::is_applied(first, version) {
            let end = rest.iter().position(|action| !rules::is_applied(action, version)).unwrap_or(rest.len());
            put_nested(out, APPLY_ACTIONS, &rest[..end], version, &mut packet);
            rest = &rest[end..];
        } else {
            put_instruction(out, first, version, &mut packet);
            rest = behind;
        }
    }
}

fn put_nested(out: &mut Vec<u8>, kind: u16, actions: &[Action], version: Version, packet: &mut Packet) {
    let start = out.len();
    out.put16(kind);
    out.pad(6);
    actions.iter().for_each(|action| put_one(out, action, version, packet));
    out.set16(start + 2, out.len() - start);
}

fn put_instruction(out: &mut Vec<u8>, action: &Action, version: Version, packet: &mut Packet) {
    match action {
        Action::Meter(id) => {
            out.put16(METER);
            out.put16(8);
            out.put32(*id);
        }
        Action::ClearActions => {
            out.put16(CLEAR_ACTIONS);
            out.put16(8);
            out.pad(4);
        }
        Action::WriteActions(set) => put_nested(out, WRITE_ACTIONS, set, version, &mut packet.clone()),
        Action::WriteMetadata { value, mask } => {
            out.put16(WRITE_METADATA);
            out.put16(24);
            out.pad(4);
            out.put64(*value);
            out.put64(*mask);
        }
        Action::GotoTable(table) => {
            out.put16(GOTO_TABLE);
            out.put16(8);
            out.put8(*table);
            out.pad(3);
        }
        _ => {}
    }
}
