//! Properties: type, length, contents, padded to eight bytes, as 1.4 and Nicira's newer messages have them.
//!
//! Trust: a peer's; each contents is cut out before it is looked at. An unknown property is refused, as the specification
//! wants, by whoever asked for the list.

use super::wire::{Put, Reader, Result};
use super::{OfError, error};

/// The type of an experimenter's property.
pub(super) const EXPERIMENTER: u16 = 0xffff;

/// A property of a list.
pub(super) struct Prop<'a> {
    pub(super) kind: u16,
    /// Behind type and length; of an experimenter's, behind its two numbers too.
    pub(super) body: Reader<'a>,
    /// Experimenter and its own type.
    pub(super) experimenter: Option<(u32, u32)>,
}

impl Prop<'_> {
    /// What to answer when it is not known.
    pub(super) fn unknown(&self) -> OfError {
        match self.experimenter {
            Some((error::NICIRA | error::ONF, _)) => OfError::OFPBPC_BAD_EXP_TYPE,
            Some(_) => OfError::OFPBPC_BAD_EXPERIMENTER,
            None => OfError::OFPBPC_BAD_TYPE,
        }
    }
}

/// The next one.
pub(super) fn next<'a>(list: &mut Reader<'a>) -> Result<Prop<'a>> {
    let mut bytes = Reader::new(list.rest, OfError::OFPBPC_BAD_LEN);
    let mut head = bytes;
    let (kind, len) = (head.u16()?, usize::from(head.u16()?));
    if len < 4 {
        return Err(OfError::OFPBPC_BAD_LEN);
    }
    let mut body = bytes.part(len)?;
    body.skip(4)?;
    bytes.skip(len.next_multiple_of(8) - len)?;
    list.rest = bytes.rest;
    let experimenter = if kind == EXPERIMENTER { Some((body.u32()?, body.u32()?)) } else { None };
    Ok(Prop { kind, body, experimenter })
}

/// Writes one: `contents` puts what stands behind type and length.
pub(super) fn put(out: &mut Vec<u8>, kind: u16, contents: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put16(kind);
    out.put16(0);
    contents(out);
    out.set16(start + 2, out.len() - start);
    out.align(start);
}

/// Bits 8 wide.
pub(super) fn put8(out: &mut Vec<u8>, kind: u16, value: u8) {
    put(out, kind, |out| out.put8(value));
}

/// Bits 16 wide; their property counts two bytes of padding in, as the specification's all do.
pub(super) fn put16(out: &mut Vec<u8>, kind: u16, value: u16) {
    put(out, kind, |out| {
        out.put16(value);
        out.put16(0);
    });
}

/// Bits 32 wide.
pub(super) fn put32(out: &mut Vec<u8>, kind: u16, value: u32) {
    put(out, kind, |out| out.put32(value));
}

/// Bits 64 wide, at a multiple of eight bytes.
pub(super) fn put64(out: &mut Vec<u8>, kind: u16, value: u64) {
    put(out, kind, |out| {
        out.put32(0);
        out.put64(value);
    });
}

impl<'a> Prop<'a> {
    pub(super) fn value64(mut self) -> Result<u64> {
        self.body.skip(4)?;
        let value = self.body.u64()?;
        self.body.end()?;
        Ok(value)
    }

    pub(super) fn value32(mut self) -> Result<u32> {
        let value = self.body.u32()?;
        self.body.end()?;
        Ok(value)
    }

    /// What is nested in it, which begins at a multiple of eight bytes.
    pub(super) fn nested(mut self) -> Result<Reader<'a>> {
        self.body.skip(4)?;
        Ok(self.body)
    }
}
