//! Reading Nicira's actions, and the ONF's one.
//!
//! Numbers and layouts are those of `nicira-ext.h`; what is checked, and what it is called, as in Open vSwitch.

use ringswitch_dataplane::flow::{Action, Bundle, Controller, FieldId, HashFields, LinkAlgorithm, Multipath, Subfield};

use super::super::error::{NICIRA, ONF};
use super::super::oxm::Header;
use super::super::prop;
use super::super::wire::{Reader, Result, port_of_16};
use super::super::{OfError, Version};
use super::read::{copy_field, header, move_field, one_of, read_list, reg_load2};
use super::{IN_PORT, learn, rules};

/// The ONF's copy_field, the only action it has.
const COPY_FIELD: u16 = 3200;
/// `NXM_OF_IN_PORT`, the only kind of a bundle's members.
const MEMBER_TYPE: u32 = 0x0000_0002;
/// Most members of a bundle.
const MEMBERS: usize = 2048;

/// How long an action may be; `None` when there is no such action in this version.
pub(super) fn lengths(vendor: u32, subtype: u16, version: Version) -> Option<std::ops::RangeInclusive<usize>> {
    let any = usize::from(u16::MAX);
    if vendor == ONF {
        let known = subtype == COPY_FIELD && (version == Version::V13 || version == Version::V14);
        return known.then_some(24..=any);
    }
    debug_assert!(vendor == NICIRA);
    Some(match subtype {
        // What 1.1 has of its own.
        4 | 18 | 23 | 24 | 25 | 26 | 30 | 31 | 40 if version != Version::V10 => return None,
        // Since 1.5 these are copy_field and set_field.
        6 | 7 | 33 if version == Version::V15 => return None,
        1 | 2 | 4 | 5 | 14 | 17 | 18 | 19 | 20 | 23 | 24 | 25 | 26 | 30 | 31 | 34 | 39 | 40 => 16..=16,
        8 | 33 | 37 | 42 | 21 => 16..=any,
        6 => 24..=any,
        7 | 9 | 15 | 27 | 28 | 32 => 24..=24,
        49 => 24..=any,
        10 | 22 => 32..=32,
        12 | 13 | 16 => 32..=any,
        45 => 40..=any,
        _ => return None,
    })
}

/// Reads an action whose `body` begins behind its subtype.
pub(super) fn read(subtype: u16, mut body: Reader<'_>, version: Version, depth: u8) -> Result<Action> {
    Ok(match subtype {
        1 => Action::Resubmit { port: in_port(body.u16()?), table: None },
        2 => Action::SetTunnel(aligned32(&mut body)?.into()),
        4 => Action::SetQueue(aligned32(&mut body)?),
        5 => Action::PopQueue,
        6 => {
            let (bits, from, to) = (body.u16()?, body.u16()?, body.u16()?);
            return move_field(body, bits, from, to);
        }
        7 => reg_load(body)?,
        8 => Action::Note(body.rest.to_vec()),
        9 => {
            body.skip(6)?;
            Action::SetTunnel(body.u64()?)
        }
        10 => multipath(body)?,
        12 => bundle(body, false)?,
        13 => bundle(body, true)?,
        14 => {
            let (port, table) = (body.u16()?, body.u8()?);
            body.zeros(3, OfError::OFPBAC_BAD_ARGUMENT)?;
            Action::Resubmit { port: in_port(port), table: (table != 0xff).then_some(table) }
        }
        15 => {
            let (bits, source, max_len) = (body.u16()?, body.u32()?, body.u16()?);
            body.only_zeros(OfError::OFPBAC_BAD_ARGUMENT)?;
            Action::OutputField { source: rules::source(subfield(source, bits)?)?, max_len }
        }
        16 => learn::read(body, false)?,
        17 => Action::Exit,
        18 => Action::DecTtl(Vec::new()),
        19 => Action::FinTimeout { idle: body.u16()?, hard: body.u16()? },
        20 => {
            let (max_len, id, reason) = (body.u16()?, body.u16()?, body.u8()?);
            Action::Controller(Box::new(Controller { max_len, id, reason, ..Controller::default() }))
        }
        21 => dec_ttl(body)?,
        22 => {
            body.zeros(6, OfError::NXBRC_MUST_BE_ZERO)?;
            Action::WriteMetadata { value: body.u64()?, mask: body.u64()? }
        }
        23 => Action::PushMpls(one_of(body.u16()?, &[0x8847, 0x8848])?),
        24 => Action::PopMpls(body.u16()?),
        25 => Action::SetMplsTtl(body.u8()?),
        26 => Action::DecMplsTtl,
        27 => Action::Push(rules::source(stack(body)?)?),
        28 => Action::Pop(rules::target(stack(body)?)?),
        30 => Action::SetMplsLabel(aligned32(&mut body)?),
        31 => Action::SetMplsTc(body.u8()?),
        32 => {
            let (bits, max_len) = (body.u16()?, body.u16()?);
            let field = header(&mut body)?;
            body.only_zeros(OfError::NXBRC_MUST_BE_ZERO)?;
            Action::OutputField { source: rules::source(bits_of(field, bits))?, max_len }
        }
        33 => reg_load2(body)?,
        34 => conjunction(body)?,
        37 => controller(body)?,
        39 => {
            let (port, max_len) = (port_of_16(body.u16()?), body.u32()?);
            if max_len < 14 {
                return Err(OfError::OFPBAC_BAD_ARGUMENT);
            }
            super::output(port, 0)?;
            Action::OutputCut { port, max_len }
        }
        40 => Action::Group(aligned32(&mut body)?),
        42 => {
            body.skip(6)?;
            Action::Clone(read_list(body, version, depth + 1)?)
        }
        45 => learn::read(body, true)?,
        49 => {
            let (len, start) = (body.u16()?, body.u16()?);
            let field = header(&mut body)?;
            body.only_zeros(OfError::NXBRC_MUST_BE_ZERO)?;
            Action::CheckPktLarger { len, target: rules::target(Subfield { field, start, bits: 1 })? }
        }
        _ => {
            // The ONF's, by `lengths`.
            body.skip(2)?;
            copy_field(body)?
        }
    })
}

/// A 32-bit argument, which stands at a multiple of four bytes.
fn aligned32(body: &mut Reader<'_>) -> Result<u32> {
    body.skip(2)?;
    body.u32()
}

/// A port to be looked up with; `None` for the present one.
fn in_port(port: u16) -> Option<u32> {
    (port != IN_PORT).then(|| port_of_16(port))
}

/// First bit and number of bits in one number.
pub(super) fn bits_of(field: FieldId, bits: u16) -> Subfield {
    Subfield { field, start: bits >> 6, bits: (bits & 0x3f) + 1 }
}

/// A field by the 32 bits of its header.
pub(super) fn field(header: u32) -> Result<FieldId> {
    let bytes = header.to_be_bytes();
    let header = Header::read(&mut Reader::new(&bytes, OfError::OFPBAC_BAD_SET_TYPE));
    let known = header.ok().filter(|header| !header.masked).and_then(Header::field);
    known.ok_or(OfError::OFPBAC_BAD_SET_TYPE)
}

fn subfield(header: u32, bits: u16) -> Result<Subfield> {
    Ok(bits_of(field(header)?, bits))
}

fn reg_load(mut body: Reader<'_>) -> Result<Action> {
    let (bits, header, value) = (body.u16()?, body.u32()?, body.u64()?);
    let target = rules::target(subfield(header, bits)?)?;
    if target.bits < 64 && value >> target.bits != 0 {
        return Err(OfError::OFPBAC_BAD_ARGUMENT);
    }
    Ok(Action::Load { value, target })
}

/// A field and how much of it, as the stack's actions have it.
fn stack(mut body: Reader<'_>) -> Result<Subfield> {
    let start = body.u16()?;
    let field = header(&mut body)?;
    let bits = body.u16()?;
    body.only_zeros(OfError::NXBRC_MUST_BE_ZERO)?;
    Ok(Subfield { field, start, bits })
}

fn hash_fields(number: u16) -> Result<HashFields> {
    Ok(match number {
        0 => HashFields::EthSrc,
        1 => HashFields::SymmetricL4,
        2 => HashFields::SymmetricL3L4,
        3 => HashFields::SymmetricL3L4Udp,
        4 => HashFields::NwSrc,
        5 => HashFields::NwDst,
        6 => HashFields::SymmetricL3,
        _ => return Err(OfError::OFPBAC_BAD_ARGUMENT),
    })
}

fn multipath(mut body: Reader<'_>) -> Result<Action> {
    let (fields, basis) = (hash_fields(body.u16()?)?, body.u16()?);
    body.skip(2)?;
    let (algorithm, max_link, argument) = (body.u16()?, body.u16()?, body.u32()?);
    body.skip(2)?;
    let bits = body.u16()?;
    let target = subfield(body.u32()?, bits)?;
    let algorithm = match algorithm {
        0 => LinkAlgorithm::ModuloN,
        1 => LinkAlgorithm::HashThreshold,
        2 => LinkAlgorithm::Hrw,
        3 => LinkAlgorithm::IterHash,
        _ => return Err(OfError::OFPBAC_BAD_ARGUMENT),
    };
    // All links must have a number that fits. 65536 links are one more than there is room for here.
    let links = max_link.checked_add(1).ok_or(OfError::OFPBAC_BAD_ARGUMENT)?;
    if target.bits < 64 && u64::from(max_link) >> target.bits != 0 {
        return Err(OfError::OFPBAC_BAD_ARGUMENT);
    }
    let target = rules::target(target)?;
    Ok(Action::Multipath(Box::new(Multipath { fields, basis, algorithm, links, argument, target })))
}

fn bundle(mut body: Reader<'_>, load: bool) -> Result<Action> {
    let (algorithm, fields, basis) = (one_of(body.u16()?, &[0, 1])?, hash_fields(body.u16()?)?, body.u16()?);
    let (kind, count) = (body.u32()?, usize::from(body.u16()?));
    let (bits, target) = (body.u16()?, body.u32()?);
    body.zeros(4, OfError::OFPBAC_BAD_ARGUMENT)?;
    let nothing_reserved = load || (bits, target) == (0, 0);
    if kind != MEMBER_TYPE || count > MEMBERS || !nothing_reserved {
        return Err(OfError::OFPBAC_BAD_ARGUMENT);
    }
    let target = if load { Some(rules::target(subfield(target, bits)?)?) } else { None };
    if target.is_some_and(|target| target.bits < 16) {
        return Err(OfError::OFPBAC_BAD_ARGUMENT);
    }
    let mut members = Vec::with_capacity(count.min(body.rest.len()));
    for _ in 0..count {
        let port = port_of_16(body.u16()?);
        // "None" is a member that is never up.
        let reserved = (0xff00..0xffff_ffff).contains(&port);
        if reserved && port != 0xffff_fffe {
            return Err(OfError::OFPBAC_BAD_OUT_PORT);
        }
        members.push(port);
    }
    Ok(Action::Bundle(Box::new(Bundle { fields, basis, active_backup: algorithm == 0, members, target })))
}

fn dec_ttl(mut body: Reader<'_>) -> Result<Action> {
    let count = body.u16()?;
    body.zeros(4, OfError::NXBRC_MUST_BE_ZERO)?;
    (0..count).map(|_| body.u16()).collect::<Result<_>>().map(Action::DecTtl)
}

fn conjunction(mut body: Reader<'_>) -> Result<Action> {
    let (clause, clauses, id) = (body.u8()?, body.u8()?, body.u32()?);
    if !(2..=64).contains(&clauses) || clause >= clauses {
        return Err(OfError::NXBAC_BAD_CONJUNCTION);
    }
    Ok(Action::Conjunction { id, clause, clauses })
}

fn controller(mut body: Reader<'_>) -> Result<Action> {
    body.zeros(6, OfError::NXBRC_MUST_BE_ZERO)?;
    let mut controller = Controller::default();
    while !body.is_empty() {
        let mut property = prop::next(&mut body)?;
        match property.kind {
            0 => controller.max_len = property.body.u16()?,
            1 => controller.id = property.body.u16()?,
            2 => controller.reason = property.body.u8()?,
            3 => controller.userdata = property.body.rest.to_vec(),
            4 => controller.pause = true,
            5 => controller.meter = Some(property.value32()?),
            _ => return Err(property.unknown()),
        }
    }
    Ok(Action::Controller(Box::new(controller)))
}
