//! `learn`, both ways: a fixed head, then what the new flow matches on and does, bit by bit.

use ringswitch_dataplane::flow::{Action, FieldId, Learn, LearnSource, LearnSpec, LearnTarget, Match, Subfield};

use super::super::OfError;
use super::super::oxm::{Dialect, put_header};
use super::super::wire::{Put, Reader, Result};
use super::nicira_read::field;
use super::read::header;
use super::rules;

const SEND_FLOW_REM: u16 = 1;
const DELETE_LEARNED: u16 = 2;
const WRITE_RESULT: u16 = 4;

/// In the head of a part: its bits are a number, not a field's.
const IMMEDIATE: u16 = 1 << 13;
const TARGET_MATCH: u16 = 0 << 11;
const TARGET_LOAD: u16 = 1 << 11;
const TARGET_OUTPUT: u16 = 2 << 11;
const TARGET: u16 = 3 << 11;
const BITS: u16 = 0x3ff;
/// Bits that mean something.
const KNOWN: u16 = IMMEDIATE | TARGET | BITS;

/// Reads it; `second` for its second form, which has a limit and a result.
pub(super) fn read(mut body: Reader<'_>, second: bool) -> Result<Action> {
    let mut learn = Learn {
        idle_timeout: body.u16()?,
        hard_timeout: body.u16()?,
        priority: body.u16()?,
        cookie: body.u64()?,
        ..Learn::default()
    };
    let flags = body.u16()?;
    learn.table = body.u8()?;
    body.zeros(1, OfError::OFPBAC_BAD_ARGUMENT)?;
    (learn.fin_idle_timeout, learn.fin_hard_timeout) = (body.u16()?, body.u16()?);
    learn.send_flow_rem = flags & SEND_FLOW_REM != 0;
    learn.delete_learned = flags & DELETE_LEARNED != 0;
    let known = SEND_FLOW_REM | DELETE_LEARNED | if second { WRITE_RESULT } else { 0 };
    if learn.table == 0xff || flags & !known != 0 {
        return Err(OfError::OFPBAC_BAD_ARGUMENT);
    }
    if second {
        learn.limit = body.u32()?;
        let start = body.u16()?;
        body.zeros(2, OfError::NXBAC_MUST_BE_ZERO)?;
        if flags & WRITE_RESULT != 0 {
            let target = Subfield { field: header(&mut body)?, start, bits: 1 };
            learn.result = Some(rules::target(target)?);
        } else if start != 0 {
            return Err(OfError::OFPBAC_BAD_ARGUMENT);
        }
    }
    body.short = OfError::OFPBAC_BAD_LEN;
    learn.specs = specs(body)?;
    Ok(Action::Learn(Box::new(learn)))
}

fn specs(mut body: Reader<'_>) -> Result<Vec<LearnSpec>> {
    let mut specs = Vec::new();
    let mut made = Match::default();
    while body.rest.len() >= 2 {
        let head = body.u16()?;
        if head == 0 {
            break;
        }
        let (bits, immediate, target) = (head & BITS, head & IMMEDIATE != 0, head & TARGET);
        let possible = matches!((target, immediate), (TARGET_MATCH | TARGET_LOAD, _) | (TARGET_OUTPUT, false));
        if head & !KNOWN != 0 || !possible {
            return Err(OfError::OFPBAC_BAD_ARGUMENT);
        }
        let source = if immediate {
            value(&mut body, bits)?
        } else {
            LearnSource::Field(rules::source(part(&mut body, bits)?)?)
        };
        let target = match target {
            TARGET_MATCH => LearnTarget::Match(rules::source(part(&mut body, bits)?)?),
            TARGET_LOAD => LearnTarget::Load(rules::target(part(&mut body, bits)?)?),
            _ => LearnTarget::Output,
        };
        let spec = LearnSpec { source, target, bits };
        follow(&mut made, &spec)?;
        specs.push(spec);
    }
    body.only_zeros(OfError::OFPBAC_BAD_ARGUMENT)?;
    Ok(specs)
}

/// What is matched on must be there by what was matched on before.
fn follow(made: &mut Match, spec: &LearnSpec) -> Result<()> {
    let target = match spec.target {
        LearnTarget::Match(target) | LearnTarget::Load(target) => target,
        LearnTarget::Output => return Ok(()),
    };
    if !target.field.info().needs.are_met(made) {
        return Err(OfError::OFPBAC_MATCH_INCONSISTENT);
    }
    if let (LearnTarget::Match(target), LearnSource::Value(value)) = (spec.target, spec.source) {
        made.want_bits(target.field, value << target.start, target.mask());
    }
    Ok(())
}

/// A number in as many 16-bit words as its bits take.
fn value(body: &mut Reader<'_>, bits: u16) -> Result<LearnSource> {
    let bytes = body.take(2 * usize::from(bits).div_ceil(16))?;
    if bits > 128 {
        return Err(OfError::OFPBAC_BAD_SET_LEN);
    }
    let value = bytes.iter().fold(0, |value: u128, &byte| value << 8 | u128::from(byte));
    // Bits above those that are asked for are none of its own.
    Ok(LearnSource::Value(if bits == 0 { 0 } else { value & u128::MAX >> (128 - bits) }))
}

/// A field and where in it.
fn part(body: &mut Reader<'_>, bits: u16) -> Result<Subfield> {
    Ok(Subfield { field: field(body.u32()?)?, start: body.u16()?, bits })
}

/// True when only the second form can say it.
pub(super) fn needs_second(learn: &Learn) -> bool {
    learn.limit != 0 || learn.result.is_some()
}

/// Writes what stands behind the subtype.
pub(super) fn put(out: &mut Vec<u8>, learn: &Learn) {
    out.put16(learn.idle_timeout);
    out.put16(learn.hard_timeout);
    out.put16(learn.priority);
    out.put64(learn.cookie);
    let flag = |set: bool, bit: u16| if set { bit } else { 0 };
    out.put16(
        flag(learn.send_flow_rem, SEND_FLOW_REM)
            | flag(learn.delete_learned, DELETE_LEARNED)
            | flag(learn.result.is_some(), WRITE_RESULT),
    );
    out.put8(learn.table);
    out.put8(0);
    out.put16(learn.fin_idle_timeout);
    out.put16(learn.fin_hard_timeout);
    if needs_second(learn) {
        out.put32(learn.limit);
        out.put16(learn.result.map_or(0, |result| result.start));
        out.put16(0);
        if let Some(result) = learn.result {
            put_header(out, result.field, Dialect::Nxm, false);
        }
    }
    for spec in &learn.specs {
        put_spec(out, spec);
    }
}

fn put_spec(out: &mut Vec<u8>, spec: &LearnSpec) {
    let source = if matches!(spec.source, LearnSource::Value(_)) { IMMEDIATE } else { 0 };
    let (target, place) = match spec.target {
        LearnTarget::Match(place) => (TARGET_MATCH, Some(place)),
        LearnTarget::Load(place) => (TARGET_LOAD, Some(place)),
        LearnTarget::Output => (TARGET_OUTPUT, None),
    };
    out.put16(spec.bits | source | target);
    match spec.source {
        LearnSource::Field(place) => put_part(out, place.field, place.start),
        LearnSource::Value(value) => {
            let len = 2 * usize::from(spec.bits).div_ceil(16).min(8);
            out.extend_from_slice(&value.to_be_bytes()[16 - len..]);
        }
    }
    if let Some(place) = place {
        put_part(out, place.field, place.start);
    }
}

fn put_part(out: &mut Vec<u8>, field: FieldId, start: u16) {
    put_header(out, field, Dialect::Short, false);
    out.put16(start);
}
