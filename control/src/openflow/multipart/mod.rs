//! Multipart messages: which body has which number, and replies that take several messages.
//!
//! Source: OpenFlow 1.5.1 section 7.3.5. 1.0 has the first six; for what it has not, Open vSwitch's tools ask with
//! Nicira's messages. Trust: a peer's.

mod reply;
mod request;

pub(super) use reply::{put_reply, read_reply};
pub(super) use request::{put_request, read_request};

use super::error::{NICIRA, ONF};
use super::wire::{Put, Reader, Result};
use super::{OfError, Version};

/// A body's number: OpenFlow's, or an experimenter's own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Number {
    Standard(u16),
    Nicira(u32),
    Onf(u32),
}

use Number::{Nicira, Onf, Standard};

/// The type that says that a number of an experimenter follows.
const EXPERIMENTER: u16 = 0xffff;
/// What monitors are asked for with in 1.3.
const ONF_MONITOR: u32 = 1870;
/// Which body a number stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Desc,
    Flow,
    NxFlow,
    FlowStats,
    Aggregate,
    NxAggregate,
    Table,
    PortStats,
    Queue,
    Group,
    GroupDesc,
    GroupFeatures,
    Meter,
    MeterConfig,
    MeterFeatures,
    TableFeatures,
    PortDesc,
    TableDesc,
    QueueDesc,
    FlowMonitor,
    ControllerStatus,
    BundleFeatures,
}

/// Kind, number, and the versions that have it.
const KINDS: &[(Kind, Number, Version, Version)] = &[
    (Kind::Desc, Standard(0), Version::V10, Version::V15),
    (Kind::Flow, Standard(1), Version::V10, Version::V15),
    (Kind::NxFlow, Nicira(0), Version::V10, Version::V10),
    (Kind::Aggregate, Standard(2), Version::V10, Version::V15),
    (Kind::NxAggregate, Nicira(1), Version::V10, Version::V10),
    (Kind::Table, Standard(3), Version::V10, Version::V15),
    (Kind::PortStats, Standard(4), Version::V10, Version::V15),
    (Kind::Queue, Standard(5), Version::V10, Version::V15),
    (Kind::Group, Nicira(7), Version::V10, Version::V10),
    (Kind::Group, Standard(6), Version::V13, Version::V15),
    (Kind::GroupDesc, Nicira(8), Version::V10, Version::V10),
    (Kind::GroupDesc, Standard(7), Version::V13, Version::V15),
    (Kind::GroupFeatures, Nicira(9), Version::V10, Version::V10),
    (Kind::GroupFeatures, Standard(8), Version::V13, Version::V15),
    (Kind::Meter, Standard(9), Version::V13, Version::V15),
    (Kind::MeterConfig, Standard(10), Version::V13, Version::V15),
    (Kind::MeterFeatures, Standard(11), Version::V13, Version::V15),
    (Kind::TableFeatures, Standard(12), Version::V13, Version::V15),
    (Kind::PortDesc, Standard(13), Version::V10, Version::V15),
    (Kind::TableDesc, Standard(14), Version::V14, Version::V15),
    (Kind::QueueDesc, Standard(15), Version::V14, Version::V15),
    (Kind::FlowMonitor, Nicira(2), Version::V10, Version::V10),
    (Kind::FlowMonitor, Onf(ONF_MONITOR), Version::V13, Version::V13),
    (Kind::FlowMonitor, Standard(16), Version::V14, Version::V15),
    (Kind::FlowStats, Standard(17), Version::V15, Version::V15),
    (Kind::ControllerStatus, Standard(18), Version::V15, Version::V15),
    (Kind::BundleFeatures, Standard(19), Version::V15, Version::V15),
];

fn number(kind: Kind, version: Version) -> Option<Number> {
    let found = KINDS.iter().find(|(known, _, first, last)| *known == kind && (*first..=*last).contains(&version));
    found.map(|(_, number, ..)| *number)
}

/// Reads the head; the result's second part says that more messages follow.
fn read_head(body: &mut Reader<'_>, version: Version) -> Result<(Kind, bool)> {
    let (kind, flags) = (body.u16()?, body.u16()?);
    if version != Version::V10 {
        body.skip(4)?;
    }
    let mut found = Standard(kind);
    if kind == EXPERIMENTER {
        let who = body.u32()?;
        found = match who {
            NICIRA => Nicira(body.u32()?),
            ONF if version != Version::V10 => Onf(body.u32()?),
            _ => return Err(OfError::OFPBRC_BAD_VENDOR),
        };
        if version == Version::V10 {
            body.skip(4)?;
        }
    }
    let known = KINDS.iter().find(|(_, number, first, last)| *number == found && (*first..=*last).contains(&version));
    let unknown = if kind == EXPERIMENTER { OfError::OFPBRC_BAD_SUBTYPE } else { OfError::OFPBRC_BAD_STAT };
    known.map(|(kind, ..)| (*kind, flags & 1 != 0)).ok_or(unknown)
}

fn put_head(out: &mut Vec<u8>, kind: Kind, version: Version, more: bool) -> bool {
    let Some(number) = number(kind, version) else { return false };
    let (standard, who, experimenters) = match number {
        Standard(number) => (number, 0, 0),
        Nicira(number) => (EXPERIMENTER, NICIRA, number),
        Onf(number) => (EXPERIMENTER, ONF, number),
    };
    out.put16(standard);
    out.put16(more.into());
    if version != Version::V10 {
        out.pad(4);
    }
    if standard == EXPERIMENTER {
        out.put32(who);
        out.put32(experimenters);
        if version == Version::V10 {
            out.pad(4);
        }
    }
    true
}

/// Everything up to the end, one after the other. An entry takes at least a byte, so it ends.
fn list<'a, T>(mut body: Reader<'a>, read: impl Fn(&mut Reader<'a>) -> Result<T>) -> Result<Vec<T>> {
    let mut list = Vec::new();
    while !body.is_empty() {
        let before = body.rest.len();
        list.push(read(&mut body)?);
        if body.rest.len() == before {
            return Err(OfError::OFPBRC_BAD_LEN);
        }
    }
    Ok(list)
}
