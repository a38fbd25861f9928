//! Meters, both ways.
//!
//! Source: OpenFlow 1.5.1 sections 7.3.4.5 and 7.3.5.12 to 7.3.5.14. Bands stay exactly as they were given. Trust: a peer's.

use ringswitch_dataplane::flow::{Band, BandKind, Meter};

use super::OfError;
use super::message::{MeterMod, MeterModCommand};
use super::stats::{Count, MeterFeatures, MeterStats};
use super::wire::{Layout, Put, Reader, Result};

const KBPS: u16 = 1 << 0;
const PKTPS: u16 = 1 << 1;
const BURST: u16 = 1 << 2;
const STATS: u16 = 1 << 3;
const DROP: u16 = 1;
const DSCP_REMARK: u16 = 2;
/// Bytes of a band of either kind.
const BAND_LEN: u16 = 16;

/// Reads a change of meters.
pub(super) fn read_mod(mut body: Reader<'_>) -> Result<MeterMod> {
    let command = match body.u16()? {
        0 => MeterModCommand::Add,
        1 => MeterModCommand::Modify,
        2 => MeterModCommand::Delete,
        _ => return Err(OfError::OFPMMFC_BAD_COMMAND),
    };
    if command == MeterModCommand::Delete {
        body.skip(2)?;
        let meter = Meter { id: body.u32()?, pktps: false, burst: false, stats: false, bands: Vec::new() };
        return Ok(MeterMod { command, meter });
    }
    Ok(MeterMod { command, meter: read(body)? })
}

/// Flags, number, and bands to the end.
fn read(mut body: Reader<'_>) -> Result<Meter> {
    let (flags, id) = (body.u16()?, body.u32()?);
    let both = KBPS | PKTPS;
    if flags & both == both || flags & !(both | BURST | STATS) != 0 {
        return Err(OfError::OFPMMFC_BAD_FLAGS);
    }
    let mut bands = Vec::new();
    while !body.is_empty() {
        let (kind, len) = (body.u16()?, body.u16()?);
        if len != BAND_LEN {
            return Err(OfError::OFPBRC_BAD_LEN);
        }
        let (rate, burst_size, level) = (body.u32()?, body.u32()?, body.u8()?);
        body.skip(3)?;
        let kind = match kind {
            DROP => BandKind::Drop,
            DSCP_REMARK => BandKind::DscpRemark(level),
            _ => return Err(OfError::OFPMMFC_BAD_BAND),
        };
        bands.push(Band { kind, rate, burst_size });
    }
    Ok(Meter { id, pktps: flags & PKTPS != 0, burst: flags & BURST != 0, stats: flags & STATS != 0, bands })
}

/// Writes a change of meters.
pub(super) fn put_mod(out: &mut Vec<u8>, it: &MeterMod) {
    out.put16(it.command as u16);
    put(out, &it.meter);
}

fn put(out: &mut Vec<u8>, meter: &Meter) {
    let rate = if meter.pktps { PKTPS } else { KBPS };
    let bit = |set: bool, bit: u16| if set { bit } else { 0 };
    out.put16(rate | bit(meter.burst, BURST) | bit(meter.stats, STATS));
    out.put32(meter.id);
    for band in &meter.bands {
        let (kind, level) = match band.kind {
            BandKind::Drop => (DROP, 0),
            BandKind::DscpRemark(level) => (DSCP_REMARK, level),
        };
        out.put16(kind);
        out.put16(BAND_LEN);
        out.put32(band.rate);
        out.put32(band.burst_size);
        out.put8(level);
        out.pad(3);
    }
}

/// Reads a meter as it is described.
pub(super) fn read_config(bytes: &mut Reader<'_>) -> Result<Meter> {
    let mut head = *bytes;
    let mut body = bytes.part(head.u16()?.into())?;
    body.skip(2)?;
    read(body)
}

/// Writes a meter as it is described.
pub(super) fn put_config(out: &mut Vec<u8>, meter: &Meter) {
    let start = out.len();
    out.put16(0);
    put(out, meter);
    out.set16(start, out.len() - start);
}

/// What stands before the counters of the bands.
fn head(wire: &mut impl Layout, stats: &mut MeterStats, len: &mut u16) -> Result<()> {
    wire.b32(&mut stats.meter)?;
    wire.b16(len)?;
    wire.gap::<6>()?;
    wire.b32(&mut stats.flows)?;
    count(wire, &mut stats.count)?;
    wire.time(&mut stats.duration)
}

/// Packets and bytes.
pub(super) fn count(wire: &mut impl Layout, count: &mut Count) -> Result<()> {
    wire.b64(&mut count.packets)?;
    wire.b64(&mut count.bytes)
}

/// Reads a meter's counters.
pub(super) fn read_stats(bytes: &mut Reader<'_>) -> Result<MeterStats> {
    let mut at = *bytes;
    at.skip(4)?;
    let mut body = bytes.part(at.u16()?.into())?;
    let mut stats = MeterStats::default();
    head(&mut body, &mut stats, &mut 0)?;
    while !body.is_empty() {
        let mut band = Count::default();
        count(&mut body, &mut band)?;
        stats.bands.push(band);
    }
    Ok(stats)
}

/// Writes a meter's counters.
pub(super) fn put_stats(out: &mut Vec<u8>, stats: &MeterStats) {
    let (start, mut stats) = (out.len(), stats.clone());
    head(out, &mut stats, &mut 0).unwrap_or_default();
    stats.bands.iter_mut().for_each(|band| count(out, band).unwrap_or_default());
    out.set16(start + 4, out.len() - start);
}

/// What meters can do. (1.5 puts a word behind it, which Open vSwitch and its tools do not.)
pub(super) fn features(wire: &mut impl Layout, it: &mut MeterFeatures) -> Result<()> {
    wire.b32(&mut it.max_meters)?;
    wire.b32(&mut it.band_types)?;
    wire.b32(&mut it.capabilities)?;
    wire.b8(&mut it.max_bands)?;
    wire.b8(&mut it.max_color)?;
    wire.gap::<2>()
}
