//! Reading OpenFlow's own actions.

use std::net::Ipv4Addr;

use ringswitch_dataplane::flow::{Action, FieldId, Subfield};

use super::super::error::{NICIRA, ONF};
use super::super::oxm::{self, Header};
use super::super::wire::{Reader, Result, port_of_16, port_of_32};
use super::super::{OfError, Version};
use super::{DEPTH, EXPERIMENTER, nicira_read, output, rules};

/// Reads all of `bytes` as a list of actions, which is not the outermost one when `depth` is more than 0.
pub(in super::super) fn read_actions(bytes: Reader<'_>, version: Version, depth: u8) -> Result<Vec<Action>> {
    let actions = read_list(bytes, version, depth)?;
    rules::list(&actions)?;
    Ok(actions)
}

/// The same without a look at what the actions are together.
pub(super) fn read_list(mut bytes: Reader<'_>, version: Version, depth: u8) -> Result<Vec<Action>> {
    if depth > DEPTH {
        return Err(OfError::OFPBAC_TOO_MANY);
    }
    if !bytes.rest.len().is_multiple_of(8) {
        return Err(OfError::OFPBRC_BAD_LEN);
    }
    bytes.short = OfError::OFPBAC_BAD_LEN;
    let mut actions = Vec::new();
    while !bytes.is_empty() {
        actions.push(read_one(&mut bytes, version, depth)?);
    }
    Ok(actions)
}

fn read_one(bytes: &mut Reader<'_>, version: Version, depth: u8) -> Result<Action> {
    let mut head = *bytes;
    let (kind, len) = (head.u16()?, usize::from(head.u16()?));
    let lengths = if kind == EXPERIMENTER {
        let (vendor, subtype) = (head.u32()?, head);
        if vendor != NICIRA && vendor != ONF {
            return Err(OfError::OFPBAC_BAD_VENDOR);
        }
        let mut rest = subtype;
        let subtype = rest.u16()?;
        rest.skip(6)?;
        nicira_read::lengths(vendor, subtype, version).ok_or(OfError::OFPBAC_BAD_VENDOR_TYPE)?
    } else {
        lengths(kind, version).ok_or(OfError::OFPBAC_BAD_TYPE)?
    };
    if !lengths.contains(&len) || !len.is_multiple_of(8) {
        return Err(OfError::OFPBAC_BAD_LEN);
    }
    let mut body = bytes.part(len)?;
    body.skip(4)?;
    if kind == EXPERIMENTER {
        body.skip(4)?;
        let subtype = body.u16()?;
        nicira_read::read(subtype, body, version, depth)
    } else if version == Version::V10 {
        read10(kind, body)
    } else {
        read11(kind, body, version)
    }
}

type Lengths = std::ops::RangeInclusive<usize>;

/// How long an action may be; `None` when there is no such action.
fn lengths(kind: u16, version: Version) -> Option<Lengths> {
    Some(match (version, kind) {
        (Version::V10, 4 | 5 | 11) => 16..=16,
        (Version::V10, 0..=10) => 8..=8,
        (Version::V10, _) => return None,
        (_, 0 | 3 | 4) => 16..=16,
        (_, 1 | 2 | 5..=24 | 26 | 27) => 8..=8,
        (_, 25) => 8..=usize::from(u16::MAX),
        (Version::V15, 28) => 16..=usize::from(u16::MAX),
        (Version::V15, 29) => 8..=8,
        _ => return None,
    })
}

fn read10(kind: u16, mut body: Reader<'_>) -> Result<Action> {
    Ok(match kind {
        0 => return output(port_of_16(body.u16()?), body.u16()?),
        1 => Action::SetVlanVid(below(body.u16()?, 0xfff)?),
        2 => Action::SetVlanPcp(below(body.u8()?, 7)?),
        3 => Action::PopVlan,
        4 => Action::SetDlSrc(body.array()?),
        5 => Action::SetDlDst(body.array()?),
        6 => Action::SetNwSrc(Ipv4Addr::from(body.u32()?)),
        7 => Action::SetNwDst(Ipv4Addr::from(body.u32()?)),
        8 => Action::SetNwTos(tos(body.u8()?)?),
        9 => Action::SetTpSrc(body.u16()?),
        10 => Action::SetTpDst(body.u16()?),
        _ => {
            let port = port_of_16(body.u16()?);
            body.skip(6)?;
            if port >= 0xff00 && port != 0xffff_fff8 && port != 0xffff_fffe {
                return Err(OfError::OFPBAC_BAD_OUT_PORT);
            }
            Action::Enqueue { port, queue: body.u32()? }
        }
    })
}

fn read11(kind: u16, mut body: Reader<'_>, version: Version) -> Result<Action> {
    let set = |field: FieldId, value: u128| Action::SetField { field, value, mask: field.ones() };
    Ok(match kind {
        0 => return output(port_of_32(body.u32()?)?, body.u16()?),
        // 1 to 10, 13 and 14 are 1.1's, which later versions do not forbid. Those for a tag do not push one as 1.0's do.
        1 => set(FieldId::VLAN_VID, u128::from(below(body.u16()?, 0xfff)?) | 0x1000),
        2 => set(FieldId::VLAN_PCP, below(body.u8()?, 7)?.into()),
        3 => Action::SetDlSrc(body.array()?),
        4 => Action::SetDlDst(body.array()?),
        5 => Action::SetNwSrc(Ipv4Addr::from(body.u32()?)),
        6 => Action::SetNwDst(Ipv4Addr::from(body.u32()?)),
        7 => Action::SetNwTos(tos(body.u8()?)?),
        8 => Action::SetNwEcn(below(body.u8()?, 3)?),
        9 => Action::SetTpSrc(body.u16()?),
        10 => Action::SetTpDst(body.u16()?),
        11 => Action::CopyTtlOut,
        12 => Action::CopyTtlIn,
        13 => Action::SetMplsLabel(below(body.u32()?, 0xf_ffff)?),
        14 => Action::SetMplsTc(below(body.u8()?, 7)?),
        15 => Action::SetMplsTtl(body.u8()?),
        16 => Action::DecMplsTtl,
        17 => Action::PushVlan(one_of(body.u16()?, &[0x8100, 0x88a8])?),
        18 => Action::PopVlan,
        19 => Action::PushMpls(one_of(body.u16()?, &[0x8847, 0x8848])?),
        20 => Action::PopMpls(body.u16()?),
        21 => Action::SetQueue(body.u32()?),
        22 => Action::Group(body.u32()?),
        23 => Action::SetNwTtl(body.u8()?),
        24 => Action::DecTtl(Vec::new()),
        25 => set_field(body, version)?,
        26 => Action::PushPbb(one_of(body.u16()?, &[0x88e7])?),
        27 => Action::PopPbb,
        28 => copy_field(body)?,
        _ => Action::Meter(body.u32()?),
    })
}

fn below<T: PartialOrd>(value: T, most: T) -> Result<T> {
    if value <= most { Ok(value) } else { Err(OfError::OFPBAC_BAD_ARGUMENT) }
}

/// A type of service: the lowest two bits are not its own.
fn tos(value: u8) -> Result<u8> {
    if value & 3 == 0 { Ok(value) } else { Err(OfError::OFPBAC_BAD_ARGUMENT) }
}

pub(super) fn one_of(value: u16, allowed: &[u16]) -> Result<u16> {
    if allowed.contains(&value) { Ok(value) } else { Err(OfError::OFPBAC_BAD_ARGUMENT) }
}

/// A field that is set: its header, value, mask, and zeros to the action's end.
struct Entry {
    field: FieldId,
    value: u128,
    mask: u128,
    masked: bool,
}

fn entry(mut body: Reader<'_>) -> Result<Entry> {
    let header = Header::read(&mut body)?;
    let Some(field) = header.field() else {
        let known = header.named().is_some();
        return Err(if known { OfError::OFPBAC_BAD_SET_LEN } else { OfError::OFPBAC_BAD_SET_TYPE });
    };
    let len = usize::from(field.info().bytes);
    let value = oxm::value(&mut body, len)?;
    let mask = if header.masked { oxm::value(&mut body, len)? } else { u128::MAX };
    if value & !mask != 0 {
        return Err(OfError::OFPBMC_BAD_WILDCARDS);
    }
    body.only_zeros(OfError::OFPBAC_BAD_SET_ARGUMENT)?;
    if !field.info().writable {
        return Err(OfError::OFPBAC_BAD_SET_ARGUMENT);
    }
    Ok(Entry { field, value, mask: mask & field.ones(), masked: header.masked })
}

fn set_field(body: Reader<'_>, version: Version) -> Result<Action> {
    let Entry { field, value, mask, masked } = entry(body)?;
    if masked && version != Version::V15 {
        return Err(OfError::OFPBAC_BAD_SET_MASK);
    }
    // A tag's id is set in a tag, so the bit that says so must be there.
    let untagged = field == FieldId::VLAN_VID && (value & mask & 0x1000 == 0);
    if field == FieldId::IN_PORT || untagged || !oxm::is_possible(field, value) {
        return Err(OfError::OFPBAC_BAD_SET_ARGUMENT);
    }
    Ok(Action::SetField { field, value, mask })
}

/// Nicira's form of the same, which always may have a mask.
pub(super) fn reg_load2(body: Reader<'_>) -> Result<Action> {
    let Entry { field, value, mask, .. } = entry(body)?;
    if !oxm::is_possible(field, value) {
        return Err(OfError::OFPBAC_BAD_SET_ARGUMENT);
    }
    Ok(Action::SetField { field, value, mask })
}

/// The ONF's and 1.5's form of a move.
pub(super) fn copy_field(mut body: Reader<'_>) -> Result<Action> {
    let (bits, from, to) = (body.u16()?, body.u16()?, body.u16()?);
    body.skip(2)?;
    move_field(body, bits, from, to)
}

/// A move, of which two headers and zeros are left.
pub(super) fn move_field(mut body: Reader<'_>, bits: u16, from: u16, to: u16) -> Result<Action> {
    let source = Subfield { field: header(&mut body)?, start: from, bits };
    let target = Subfield { field: header(&mut body)?, start: to, bits };
    body.only_zeros(OfError::NXBRC_MUST_BE_ZERO)?;
    Ok(Action::Move { source: rules::source(source)?, target: rules::target(target)? })
}

/// A field's header without a mask.
pub(super) fn header(body: &mut Reader<'_>) -> Result<FieldId> {
    let header = Header::read(body)?;
    let field = header.field().ok_or(OfError::OFPBMC_BAD_FIELD)?;
    if header.masked { Err(OfError::OFPBMC_BAD_MASK) } else { Ok(field) }
}
