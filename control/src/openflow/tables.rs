//! Tables: counters, settings, and what each can do, both ways.
//!
//! Source: OpenFlow 1.5.1 sections 7.3.4.1 and 7.3.5.16 to 7.3.5.18. What a table can do is the same for all tables: the
//! codec lists the instructions, actions and fields that it reads. Trust: a peer's.

use ringswitch_dataplane::flow::FieldId;

use super::actions;
use super::message::TableMod;
use super::oxm::{self, Dialect};
use super::prop;
use super::stats::{TableDesc, TableFeatures, TableStats};
use super::wire::{Layout, Put, Reader, Result};
use super::{OfError, Version};

const EVICTION: u16 = 2;
const VACANCY: u16 = 3;
/// Config bits of 1.4.
const MAY_EVICT: u32 = 1 << 2;
const VACANCY_EVENTS: u32 = 1 << 3;
/// Every wildcard of 1.0.
const WILDCARDS_10: u32 = (1 << 22) - 1;

/// A table's counters.
pub(super) fn stats(wire: &mut impl Layout, it: &mut TableStats, version: Version) -> Result<()> {
    wire.b8(&mut it.table)?;
    wire.gap::<3>()?;
    if version == Version::V10 {
        wire.text::<32>(&mut it.name)?;
        wire.b32(&mut { WILDCARDS_10 })?;
        wire.b32(&mut it.max_entries)?;
    }
    wire.b32(&mut it.active)?;
    wire.b64(&mut it.lookups)?;
    wire.b64(&mut it.matched)
}

/// Reads a change of a table.
pub(super) fn read_mod(mut body: Reader<'_>, version: Version) -> Result<TableMod> {
    let mut it = TableMod { table: body.u8()?, eviction: None, eviction_flags: None, vacancy: None };
    body.skip(3)?;
    let config = body.u32()?;
    if version < Version::V14 {
        return Ok(it);
    }
    it.eviction = Some(config & MAY_EVICT != 0);
    let mut thresholds = None;
    while !body.is_empty() {
        let property = prop::next(&mut body)?;
        match property.kind {
            EVICTION => it.eviction_flags = Some(property.value32()?),
            VACANCY => thresholds = Some(read_thresholds(property.body)?),
            _ => return Err(OfError::OFPBRC_BAD_TYPE),
        }
    }
    it.vacancy = Some(thresholds.filter(|_| config & VACANCY_EVENTS != 0).unwrap_or((0, 0)));
    Ok(it)
}

fn read_thresholds(mut body: Reader<'_>) -> Result<(u8, u8)> {
    let (down, up, now) = (body.u8()?, body.u8()?, body.u8()?);
    body.skip(1)?;
    body.end()?;
    if down > up || up > 100 || now != 0 { Err(OfError::OFPBPC_BAD_VALUE) } else { Ok((down, up)) }
}

/// Writes a change of a table.
pub(super) fn put_mod(out: &mut Vec<u8>, it: &TableMod, version: Version) {
    out.put8(it.table);
    out.pad(3);
    if version < Version::V14 {
        return out.put32(0);
    }
    let vacancy = it.vacancy.filter(|thresholds| *thresholds != (0, 0));
    out.put32(config(it.eviction == Some(true), vacancy.is_some()));
    if let Some(flags) = it.eviction_flags {
        prop::put32(out, EVICTION, flags);
    }
    if let Some((down, up)) = vacancy {
        prop::put(out, VACANCY, |out| out.extend([down, up, 0, 0]));
    }
}

fn config(eviction: bool, vacancy: bool) -> u32 {
    (if eviction { MAY_EVICT } else { 0 }) | (if vacancy { VACANCY_EVENTS } else { 0 })
}

/// Reads a table's settings.
pub(super) fn read_desc(bytes: &mut Reader<'_>) -> Result<TableDesc> {
    let mut head = *bytes;
    let mut body = bytes.part(head.u16()?.into())?;
    body.skip(2)?;
    let mut it = TableDesc { table: body.u8()?, ..TableDesc::default() };
    body.skip(1)?;
    it.eviction = body.u32()? & MAY_EVICT != 0;
    while !body.is_empty() {
        let mut property = prop::next(&mut body)?;
        match property.kind {
            EVICTION => it.eviction_flags = property.value32()?,
            VACANCY => it.vacancy = Some((property.body.u8()?, property.body.u8()?, property.body.u8()?)),
            _ => {}
        }
    }
    Ok(it)
}

/// Writes a table's settings.
pub(super) fn put_desc(out: &mut Vec<u8>, it: &TableDesc) {
    let start = out.len();
    out.put16(0);
    out.put8(it.table);
    out.put8(0);
    out.put32(config(it.eviction, it.vacancy.is_some()));
    if it.eviction_flags != 0 {
        prop::put32(out, EVICTION, it.eviction_flags);
    }
    if let Some((down, up, now)) = it.vacancy {
        prop::put(out, VACANCY, |out| out.extend([down, up, now, 0]));
    }
    out.set16(start, out.len() - start);
}

/// Reads the head of what a table can do; the lists are not looked at.
pub(super) fn read_features(bytes: &mut Reader<'_>) -> Result<TableFeatures> {
    let mut head = *bytes;
    let mut body = bytes.part(head.u16()?.into())?;
    body.skip(2)?;
    let mut it = TableFeatures { table: body.u8()?, ..TableFeatures::default() };
    body.skip(5)?;
    body.text::<32>(&mut it.name)?;
    body.skip(20)?;
    it.max_entries = body.u32()?;
    while !body.is_empty() {
        let property = prop::next(&mut body)?;
        if property.kind == NEXT_TABLES {
            let last = property.body.rest.last().copied().unwrap_or(it.table);
            it.tables = last.saturating_add(1);
        }
    }
    Ok(it)
}

const INSTRUCTIONS: u16 = 0;
const NEXT_TABLES: u16 = 2;
const WRITE_ACTIONS: u16 = 4;
const APPLY_ACTIONS: u16 = 6;
const MATCH: u16 = 8;
const WILDCARDS: u16 = 10;
const WRITE_SETFIELD: u16 = 12;
const APPLY_SETFIELD: u16 = 14;

/// Writes what a table can do.
pub(super) fn put_features(out: &mut Vec<u8>, it: &TableFeatures, version: Version) {
    let start = out.len();
    out.put16(0);
    out.put8(it.table);
    out.pad(5);
    out.text::<32>(&mut it.name.clone()).unwrap_or_default();
    out.put64(u64::MAX);
    out.put64(u64::MAX);
    out.put32(if version >= Version::V14 { MAY_EVICT } else { 0 });
    out.put32(it.max_entries);
    // First for flows, then, one higher, for the table-miss flow.
    for miss in [0, 1] {
        put_abilities(out, it, version, miss);
    }
    let known = || fields(version);
    put_fields(out, MATCH, known(), version, true);
    put_fields(out, WILDCARDS, known(), version, false);
    out.set16(start, out.len() - start);
}

fn put_abilities(out: &mut Vec<u8>, it: &TableFeatures, version: Version, miss: u16) {
    let instructions = if version == Version::V15 { 0x3e } else { 0x7e };
    put_bitmap(out, INSTRUCTIONS + miss, instructions);
    prop::put(out, NEXT_TABLES + miss, |out| out.extend(it.table.saturating_add(1)..it.tables));
    let writable = || fields(version).filter(|field| field.info().writable && *field != FieldId::IN_PORT);
    let numbers = actions::supported(version) | if version == Version::V15 { 1 << 28 | 1 << 29 } else { 0 };
    put_bitmap(out, WRITE_ACTIONS + miss, numbers & !(1 << 29));
    put_fields(out, WRITE_SETFIELD + miss, writable(), version, false);
    put_bitmap(out, APPLY_ACTIONS + miss, numbers);
    put_fields(out, APPLY_SETFIELD + miss, writable(), version, false);
}

/// The fields of a version, in OXM's numbers where it has any.
fn fields(version: Version) -> impl Iterator<Item = FieldId> {
    let wide = |field: FieldId| (FieldId::XREG0..=FieldId::XREG7).contains(&field);
    let told = move |field: &FieldId| match *field {
        FieldId::NXM_IN_PORT | FieldId::VLAN_TCI | FieldId::IP_TOS => false,
        field => version == Version::V15 || !wide(field),
    };
    FieldId::ALL.iter().copied().filter(told)
}

/// Types of instructions or actions, each with its head of four bytes.
fn put_bitmap(out: &mut Vec<u8>, kind: u16, bits: u32) {
    prop::put(out, kind, |out| {
        for number in (0..32).filter(|number| bits & 1 << number != 0) {
            out.put16(number);
            out.put16(4);
        }
    });
}

fn put_fields(out: &mut Vec<u8>, kind: u16, fields: impl Iterator<Item = FieldId>, version: Version, masks: bool) {
    prop::put(out, kind, |out| {
        fields.for_each(|field| {
            oxm::put_header(out, field, Dialect::Oxm(version), masks && field.info().maskable);
        });
    });
}
