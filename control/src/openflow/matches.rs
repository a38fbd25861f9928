//! Matches on the wire: OXM (1.2 and later), NXM (Nicira's for 1.0).
//!
//! Trust: a peer's. Order, prerequisites, duplicates, masks and values are checked as OpenFlow 1.5.1 section 7.2.3 says, with
//! Open vSwitch's error values. Reading back what was written gives the same match: fields are told in the order of
//! [`FieldId::ALL`], which is OXM's.

use ringswitch_dataplane::flow::{Field, FieldId, FlowKey, Match, Needs};

use super::oxm::{self, COOKIE, Dialect, Header, PACKET_TYPE};
use super::wire::{Put, Reader, Result, port_of_16, port_to_16};
use super::{OfError, Version};

/// What Nicira's match can hold beside fields: a cookie and which bits of it count.
pub(super) type Cookie = (u64, u64);

/// How strictly a match is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// Of a flow: unknown fields and unmet prerequisites are errors.
    Strict,
    /// Of a packet: they are not.
    Loose,
    /// Of a packet, and only what is no header field.
    Pipeline,
}

/// Reads a match of 1.2 and later with its head and padding.
pub(super) fn read_oxm(bytes: &mut Reader<'_>, rules: Rules) -> Result<Match> {
    let mut head = Reader::new(bytes.rest, OfError::OFPBMC_BAD_LEN);
    let (kind, len) = (head.u16()?, usize::from(head.u16()?));
    let fields = len.checked_sub(4).ok_or(OfError::OFPBMC_BAD_LEN)?;
    if kind != 1 {
        // A match of 1.1, which no version that is spoken here has.
        return Err(if kind == 0 { OfError::OFPBMC_BAD_LEN } else { OfError::OFPBMC_BAD_TYPE });
    }
    let fields = head.part(fields)?;
    head.skip(len.next_multiple_of(8) - len)?;
    bytes.rest = head.rest;
    read_fields(fields, rules, None)
}

/// Reads Nicira's match of that many bytes with its padding.
pub(super) fn read_nxm(bytes: &mut Reader<'_>, len: usize, rules: Rules, cookie: Option<&mut Cookie>) -> Result<Match> {
    let mut all = Reader::new(bytes.rest, OfError::OFPBMC_BAD_LEN);
    let fields = all.part(len)?;
    all.skip(len.next_multiple_of(8) - len)?;
    bytes.rest = all.rest;
    read_fields(fields, rules, cookie)
}

/// Reads a list of fields.
pub(super) fn read_fields(mut bytes: Reader<'_>, rules: Rules, mut cookie: Option<&mut Cookie>) -> Result<Match> {
    bytes.short = OfError::OFPBMC_BAD_LEN;
    let mut matches = Match::default();
    while !bytes.is_empty() {
        let header = Header::read(&mut bytes)?;
        let mut payload = bytes.part(header.len)?;
        let len = header.len >> u32::from(header.masked);
        let numbers = (header.class, header.number);
        if numbers == COOKIE && len == 8 {
            read_cookie(payload, header.masked, cookie.as_deref_mut())?;
            continue;
        }
        if numbers == PACKET_TYPE && len == 4 {
            payload.only_zeros(OfError::OFPBMC_BAD_VALUE)?;
            continue;
        }
        let Some(field) = header.field() else {
            if rules == Rules::Strict { return Err(OfError::OFPBMC_BAD_FIELD) } else { continue }
        };
        let value = oxm::value(&mut payload, len)?;
        let mask = if header.masked { oxm::value(&mut payload, len)? } else { u128::MAX };
        add(&mut matches, field, value, mask, rules)?;
    }
    Ok(matches)
}

fn read_cookie(mut payload: Reader<'_>, masked: bool, cookie: Option<&mut Cookie>) -> Result<()> {
    let value = payload.u64()?;
    let mask = if masked { payload.u64()? } else { u64::MAX };
    let place = cookie.ok_or(OfError::OFPBMC_BAD_FIELD)?;
    if place.1 != 0 {
        return Err(OfError::OFPBMC_DUP_FIELD);
    }
    if value & !mask != 0 {
        return Err(OfError::OFPBMC_BAD_WILDCARDS);
    }
    *place = (value, mask);
    Ok(())
}

/// True for what is not a frame's: metadata, registers, where it came in.
fn is_pipeline(field: FieldId) -> bool {
    let place = field.info().place;
    usize::from(place.word) >= ringswitch_dataplane::flow::FRAME_WORDS || place == Field::IN_PORT
}

fn add(matches: &mut Match, field: FieldId, value: u128, mask: u128, rules: Rules) -> Result<()> {
    let info = field.info();
    let all = u128::MAX >> (128 - 8 * u32::from(info.bytes));
    let (ones, mask) = (oxm::ones(field), mask & all);
    if value & !mask != 0 {
        return Err(OfError::OFPBMC_BAD_WILDCARDS);
    }
    // A mask of all ones is none, and one of all zeros is no match: any field may have those.
    let full = mask & ones == ones;
    if !full && mask != 0 && !info.maskable {
        return Err(OfError::OFPBMC_BAD_MASK);
    }
    if !oxm::is_possible(field, value) {
        return Err(OfError::OFPBMC_BAD_VALUE);
    }
    if rules == Rules::Pipeline && !is_pipeline(field) {
        return Err(OfError::OFPBRC_PIPELINE_FIELDS_ONLY);
    }
    if rules == Rules::Strict && !info.needs.are_met(matches) {
        return Err(OfError::OFPBMC_BAD_PREREQ);
    }
    let (field, value, mask) = match field {
        FieldId::NXM_IN_PORT => (FieldId::IN_PORT, port_of_16(value as u16).into(), mask * 0x1_0001),
        FieldId::IP_TOS => (FieldId::IP_DSCP, value >> 2, mask >> 2),
        _ => (field, value, mask),
    };
    if matches.mask.get(field) != 0 {
        return Err(OfError::OFPBMC_DUP_FIELD);
    }
    let bits = if full { field.ones() } else { mask & field.ones() };
    matches.want_bits(field, value, bits);
    Ok(())
}

/// Writes a match of 1.2 and later with its head and padding.
pub(super) fn put_oxm(out: &mut Vec<u8>, matches: &Match, version: Version) {
    let start = out.len();
    out.put16(1);
    out.put16(0);
    put_fields(out, matches, Dialect::Oxm(version));
    out.set16(start + 2, out.len() - start);
    out.align(start);
}

/// Writes Nicira's match and its padding; returns its length without that.
pub(super) fn put_nxm(out: &mut Vec<u8>, matches: &Match, (cookie, mask): Cookie) -> usize {
    let start = out.len();
    put_fields(out, matches, Dialect::Nxm);
    if mask != 0 {
        let masked = mask != u64::MAX;
        out.put16(COOKIE.0);
        out.put8(COOKIE.1 << 1 | u8::from(masked));
        out.put8(8 << u8::from(masked));
        out.put64(cookie & mask);
        if masked {
            out.put64(mask);
        }
    }
    let len = out.len() - start;
    out.align(start);
    len
}

/// Writes a list of fields.
pub(super) fn put_fields(out: &mut Vec<u8>, matches: &Match, dialect: Dialect) {
    for &field in FieldId::ALL {
        let (ones, mask) = (oxm::ones(field), matches.mask.get(field) & oxm::ones(field));
        if mask == 0 || !is_told(field, dialect) || !is_there(field, matches) {
            continue;
        }
        // Of a field that has no masks, all or nothing can be told.
        let masked = mask != ones && field.info().maskable;
        let mut value = matches.key.get(field) & ones;
        if field == FieldId::NXM_IN_PORT {
            value = port_to_16(matches.key.get(FieldId::IN_PORT) as u32).into();
        }
        let (name, shift) =
            if field == FieldId::IP_DSCP && dialect == Dialect::Nxm { (FieldId::IP_TOS, 2) } else { (field, 0) };
        oxm::put_header(out, name, dialect, masked);
        oxm::put_value(out, name, value << shift);
        if masked {
            oxm::put_value(out, name, mask << shift);
        }
    }
}

/// Several fields lie over each other: which one tells them.
fn is_told(field: FieldId, dialect: Dialect) -> bool {
    use FieldId as F;
    let wide = (F::XREG0..=F::XREG7).contains(&field);
    let narrow = (F::REG0..=F::REG15).contains(&field);
    match field {
        F::IP_TOS | F::XXREG0 | F::XXREG1 | F::XXREG2 | F::XXREG3 => false,
        F::NXM_IN_PORT | F::VLAN_TCI => dialect == Dialect::Nxm,
        F::IN_PORT | F::VLAN_VID | F::VLAN_PCP => dialect != Dialect::Nxm,
        // 1.5 has wide registers of its own.
        _ if wide => dialect == Dialect::Oxm(Version::V15),
        _ if narrow => dialect != Dialect::Oxm(Version::V15),
        _ => true,
    }
}

/// True when the packets that are matched have the field.
fn is_there(field: FieldId, matches: &Match) -> bool {
    let needs = field.info().needs;
    // The fragment bits may be told of any packet when they were given with less than an Ethernet type.
    needs == Needs::Nothing || needs.are_met(matches)
}

/// Writes what a packet brings along that is not in its frame: in_port and whatever is not zero.
pub(super) fn put_metadata(out: &mut Vec<u8>, key: &FlowKey, dialect: Dialect) {
    let mut matches = Match::default();
    for &field in FieldId::ALL.iter().filter(|&&field| is_pipeline(field)) {
        let value = key.get(field);
        // Wide registers are told as the narrow ones that they are made of.
        let twice = field == FieldId::NXM_IN_PORT || (FieldId::XREG0..=FieldId::XXREG3).contains(&field);
        let counts = value != 0 && !twice && field != FieldId::CONJ_ID;
        if field == FieldId::IN_PORT || counts {
            matches.want_bits(field, value, field.ones());
        }
    }
    put_fields(out, &matches, dialect);
}
