//! Fields on the wire: OXM and NXM headers, values, masks.
//!
//! Source: OpenFlow 1.5.1 section 7.2.3, `ovs-fields(7)`. Trust: a peer's; a payload's length must be that of its field.
//! Neighbours: matches and the actions that name fields; [`FieldId`] knows every field's numbers.

use ringswitch_dataplane::flow::FieldId;

use super::error::ONF;
use super::wire::{Put, Reader, Result};
use super::{OfError, Version};

/// The class of experimenters' fields; the experimenter's number follows.
const EXPERIMENTER: u16 = 0xffff;
/// OpenFlow's own class, and its field that says what kind of packet it is: Ethernet is the only one there is here.
pub(super) const PACKET_TYPE: (u16, u8) = (0x8000, 44);
/// Nicira's way to match on a cookie: a field of eight bytes with the number that another of one byte has too.
pub(super) const COOKIE: (u16, u8) = (1, 30);

/// How fields are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Nicira's numbers where there are any.
    Nxm,
    /// The same, and never longer than 32 bits.
    Short,
    /// OpenFlow's numbers as of this version.
    Oxm(Version),
}

/// A field's header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) class: u16,
    pub(super) number: u8,
    pub(super) masked: bool,
    /// Of value and mask together, without the experimenter's number.
    pub(super) len: usize,
}

impl Header {
    /// Reads one.
    pub(super) fn read(bytes: &mut Reader<'_>) -> Result<Self> {
        bytes.short = OfError::OFPBMC_BAD_LEN;
        let (class, number, mut len) = (bytes.u16()?, bytes.u8()?, usize::from(bytes.u8()?));
        let mut header = Self { class, number: number >> 1, masked: number & 1 != 0, len };
        if class == EXPERIMENTER {
            // Of all experimenters, the ONF's fields are known; 0 is no experimenter's class and no field.
            let experimenter = bytes.u32()?;
            len = len.checked_sub(4).ok_or(OfError::OFPBMC_BAD_LEN)?;
            header.class = if experimenter == ONF { EXPERIMENTER } else { EXPERIMENTER - 1 };
            header.len = len;
        }
        Ok(header)
    }

    /// The field it means, when its length is right for that.
    pub(super) fn field(self) -> Option<FieldId> {
        let id = self.named()?;
        (self.len == usize::from(id.info().bytes) << u32::from(self.masked)).then_some(id)
    }

    /// The field it means, whatever its length.
    pub(super) fn named(self) -> Option<FieldId> {
        match self.class {
            EXPERIMENTER => FieldId::of_onf(self.number),
            class => FieldId::on_wire(class, self.number),
        }
    }
}

/// Class and number of a field; of the experimenter class, the ONF's.
fn numbers(field: FieldId, dialect: Dialect) -> (u16, u8) {
    let info = field.info();
    let onf = info.onf.map(|number| (EXPERIMENTER, number));
    let best = match dialect {
        Dialect::Nxm => info.nxm.or(onf).or(info.oxm),
        Dialect::Short => info.nxm.or(info.oxm),
        Dialect::Oxm(Version::V13 | Version::V14) => onf.or(info.oxm).or(info.nxm),
        Dialect::Oxm(_) => info.oxm.or(info.nxm),
    };
    best.expect("every field has a number")
}

/// Writes a header.
pub(super) fn put_header(out: &mut Vec<u8>, field: FieldId, dialect: Dialect, masked: bool) {
    let (class, number) = numbers(field, dialect);
    let len = field.info().bytes << u8::from(masked);
    out.put16(class);
    out.put8(number << 1 | u8::from(masked));
    out.put8(if class == EXPERIMENTER { len + 4 } else { len });
    if class == EXPERIMENTER {
        out.put32(ONF);
    }
}

/// Writes a value, or a mask, in as many bytes as the field has.
pub(super) fn put_value(out: &mut Vec<u8>, field: FieldId, value: u128) {
    out.extend_from_slice(&value.to_be_bytes()[16 - usize::from(field.info().bytes)..]);
}

/// Reads a value of up to 16 bytes.
pub(super) fn value(bytes: &mut Reader<'_>, len: usize) -> Result<u128> {
    let taken = bytes.take(len)?;
    Ok(taken.iter().fold(0, |value, &byte| value << 8 | u128::from(byte)))
}

/// The bits of the field, as far as its place has them.
pub(super) fn ones(field: FieldId) -> u128 {
    field.ones()
        & (u128::from(u64::MAX >> (64 - field.info().place.bits)) | if field.info().bits > 64 { u128::MAX } else { 0 })
}

/// True when a packet can have this value.
pub(super) fn is_possible(field: FieldId, value: u128) -> bool {
    let port = field == FieldId::IN_PORT || field == FieldId::ACTSET_OUTPUT;
    value & !ones(field) == 0
        && (!port || super::wire::port_of_32(value as u32).is_ok())
        && (field != FieldId::IP_TOS || value & 3 == 0)
}
