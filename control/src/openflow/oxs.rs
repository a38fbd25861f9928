//! Statistics of a flow as 1.5 has them: OXS, a list of numbers.
//!
//! Source: OpenFlow 1.5.1 section 7.2.4.3. Trust: a peer's; unknown numbers are skipped.

use std::time::Duration;

use super::OfError;
use super::wire::{Put, Reader, Result};

/// The class of OpenFlow's own numbers.
const CLASS: u16 = 0x8002;
const DURATION: u8 = 0;
const IDLE_TIME: u8 = 1;
const FLOW_COUNT: u8 = 3;
const PACKET_COUNT: u8 = 4;
const BYTE_COUNT: u8 = 5;

/// What can be told; none for what is not.
#[derive(Clone, Copy, Default)]
pub(super) struct Stats {
    pub(super) duration: Option<Duration>,
    pub(super) idle: Option<Duration>,
    pub(super) packets: Option<u64>,
    pub(super) bytes: Option<u64>,
    pub(super) flows: Option<u32>,
}

/// Seconds above, nanoseconds below.
fn time(number: u64) -> Duration {
    Duration::from_secs(number >> 32) + Duration::from_nanos(number & 0xffff_ffff)
}

/// Reads a list with its head and padding.
pub(super) fn read(bytes: &mut Reader<'_>) -> Result<Stats> {
    let mut all = Reader::new(bytes.rest, OfError::OFPBMC_BAD_LEN);
    let mut list = all;
    list.skip(2)?;
    let len = usize::from(list.u16()?);
    let mut list = all.part(len)?;
    all.skip(len.next_multiple_of(8) - len)?;
    bytes.rest = all.rest;
    list.skip(4)?;
    let mut stats = Stats::default();
    while !list.is_empty() {
        let (class, number, len) = (list.u16()?, list.u8()? >> 1, usize::from(list.u8()?));
        let mut value = list.part(len)?;
        match (class, number, len) {
            (CLASS, DURATION, 8) => stats.duration = Some(time(value.u64()?)),
            (CLASS, IDLE_TIME, 8) => stats.idle = Some(Duration::from_secs(value.u64()? >> 32)),
            (CLASS, PACKET_COUNT, 8) => stats.packets = Some(value.u64()?),
            (CLASS, BYTE_COUNT, 8) => stats.bytes = Some(value.u64()?),
            (CLASS, FLOW_COUNT, 4) => stats.flows = Some(value.u32()?),
            _ => {}
        }
    }
    Ok(stats)
}

/// Writes a list with its head and padding.
pub(super) fn put(out: &mut Vec<u8>, stats: &Stats) {
    let start = out.len();
    out.pad(4);
    let seconds = |time: Duration| time.as_secs().min(u64::from(u32::MAX)) << 32;
    let mut put64 = |number: u8, value: Option<u64>| {
        if let Some(value) = value {
            out.put16(CLASS);
            out.put8(number << 1);
            out.put8(8);
            out.put64(value);
        }
    };
    put64(DURATION, stats.duration.map(|time| seconds(time) | u64::from(time.subsec_nanos())));
    put64(IDLE_TIME, stats.idle.map(seconds));
    put64(PACKET_COUNT, stats.packets);
    put64(BYTE_COUNT, stats.bytes);
    if let Some(flows) = stats.flows {
        out.put16(CLASS);
        out.put8(FLOW_COUNT << 1);
        out.put8(4);
        out.put32(flows);
    }
    out.set16(start + 2, out.len() - start);
    out.align(start);
}
