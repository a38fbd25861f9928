//! Ports, their counters, their queues, both ways.
//!
//! Source: OpenFlow 1.5.1 sections 7.2.1, 7.3.4.4, 7.3.5.5 to 7.3.5.7; 1.0's bits are kept where later versions have none.
//! Trust: a peer's.

use super::Version;
use super::message::PortMod;
use super::prop;
use super::stats::{Port, PortStats, QueueDesc, QueueStats};
use super::wire::{Layout, Put, Reader, Result, port_of_32};

/// Of a port's description and counters: Ethernet's.
const ETHERNET: u16 = 0;
const MIN_RATE: u16 = 1;
const MAX_RATE: u16 = 2;
/// Config bits that 1.0 and all later versions know.
const CONFIG_10: u32 = 0x7f;
const CONFIG_11: u32 = Port::PORT_DOWN | Port::NO_RECV | Port::NO_FWD | Port::NO_PACKET_IN;

/// 1.0 has five features less, between the others.
fn features_to_10(features: u32) -> u32 {
    features & 0x7f | (features >> 11 & 0x1f) << 7
}

fn features_of_10(features: u32) -> u32 {
    features & 0x7f | (features >> 7 & 0x1f) << 11
}

/// Four words of features, in the version's bits.
fn features(wire: &mut impl Layout, port: &mut Port, version: Version) -> Result<()> {
    for word in [&mut port.current, &mut port.advertised, &mut port.supported, &mut port.peer] {
        if version == Version::V10 {
            let mut bits = features_to_10(*word);
            wire.b32(&mut bits)?;
            *word = features_of_10(bits);
        } else {
            wire.b32(word)?;
        }
    }
    Ok(())
}

/// A port before 1.4.
fn layout(wire: &mut impl Layout, port: &mut Port, version: Version) -> Result<()> {
    if version == Version::V10 {
        port.config &= CONFIG_10;
        port.state &= Port::LINK_DOWN;
        wire.port16(&mut port.number)?;
        wire.mac(&mut port.mac)?;
        wire.text::<16>(&mut port.name)?;
        wire.b32(&mut port.config)?;
        wire.b32(&mut port.state)?;
        // Above the first bit is the state of spanning trees, which there are not.
        port.state &= Port::LINK_DOWN;
        return features(wire, port, version);
    }
    port.config &= CONFIG_11;
    wire.b32(&mut port.number)?;
    wire.gap::<4>()?;
    wire.mac(&mut port.mac)?;
    wire.gap::<2>()?;
    wire.text::<16>(&mut port.name)?;
    wire.b32(&mut port.config)?;
    wire.b32(&mut port.state)?;
    features(wire, port, version)?;
    wire.b32(&mut port.current_speed)?;
    wire.b32(&mut port.max_speed)
}

/// Reads a port.
pub(super) fn read(bytes: &mut Reader<'_>, version: Version) -> Result<Port> {
    let mut port = Port::default();
    if version < Version::V14 {
        layout(bytes, &mut port, version)?;
        return Ok(port);
    }
    let mut head = *bytes;
    head.skip(4)?;
    let mut body = bytes.part(head.u16()?.into())?;
    port.number = body.u32()?;
    body.skip(4)?;
    port.mac = body.array()?;
    body.skip(2)?;
    body.text::<16>(&mut port.name)?;
    (port.config, port.state) = (body.u32()?, body.u32()?);
    while !body.is_empty() {
        let mut property = prop::next(&mut body)?;
        if property.kind == ETHERNET {
            property.body.skip(4)?;
            features(&mut property.body, &mut port, version)?;
            (port.current_speed, port.max_speed) = (property.body.u32()?, property.body.u32()?);
        }
    }
    Ok(port)
}

/// Writes a port.
pub(super) fn put(out: &mut Vec<u8>, port: &Port, version: Version) {
    let mut port = port.clone();
    if version < Version::V14 {
        return layout(out, &mut port, version).unwrap_or_default();
    }
    let start = out.len();
    out.put32(port.number);
    out.pad(4);
    out.extend_from_slice(&port.mac);
    out.pad(2);
    out.text::<16>(&mut port.name).unwrap_or_default();
    out.put32(port.config & CONFIG_11);
    out.put32(port.state);
    prop::put(out, ETHERNET, |out| {
        out.pad(4);
        features(out, &mut port, version).unwrap_or_default();
        out.put32(port.current_speed);
        out.put32(port.max_speed);
    });
    out.set16(start + 4, out.len() - start);
}

/// Reads a change of a port.
pub(super) fn read_mod(mut body: Reader<'_>, version: Version) -> Result<PortMod> {
    let mut it = PortMod { port: 0, mac: [0; 6], config: 0, mask: 0, advertise: 0 };
    if version == Version::V10 {
        body.port16(&mut it.port)?;
        it.mac = body.array()?;
        (it.config, it.mask) = (body.u32()? & CONFIG_10, body.u32()? & CONFIG_10);
        it.advertise = features_of_10(body.u32()?);
    } else {
        it.port = port_of_32(body.u32()?)?;
        body.skip(4)?;
        it.mac = body.array()?;
        body.skip(2)?;
        (it.config, it.mask) = (body.u32()? & CONFIG_11, body.u32()? & CONFIG_11);
        if version < Version::V14 {
            it.advertise = body.u32()?;
        } else {
            while !body.is_empty() {
                let property = prop::next(&mut body)?;
                match property.kind {
                    ETHERNET => it.advertise = property.value32()?,
                    _ => return Err(property.unknown()),
                }
            }
        }
    }
    it.config &= it.mask;
    Ok(it)
}

/// Writes a change of a port.
pub(super) fn put_mod(out: &mut Vec<u8>, it: &PortMod, version: Version) {
    let mut it = *it;
    if version == Version::V10 {
        out.port16(&mut it.port).unwrap_or_default();
        out.extend_from_slice(&it.mac);
        out.put32(it.config & CONFIG_10);
        out.put32(it.mask & CONFIG_10);
        out.put32(features_to_10(it.advertise));
        return out.pad(4);
    }
    out.put32(it.port);
    out.pad(4);
    out.extend_from_slice(&it.mac);
    out.pad(2);
    out.put32(it.config & CONFIG_11);
    out.put32(it.mask & CONFIG_11);
    if version < Version::V14 {
        out.put32(it.advertise);
        out.pad(4);
    } else if it.advertise != 0 {
        prop::put32(out, ETHERNET, it.advertise);
    }
}

fn counters(wire: &mut impl Layout, stats: &mut PortStats) -> Result<()> {
    for counter in [
        &mut stats.rx_packets,
        &mut stats.tx_packets,
        &mut stats.rx_bytes,
        &mut stats.tx_bytes,
        &mut stats.rx_dropped,
        &mut stats.tx_dropped,
        &mut stats.rx_errors,
        &mut stats.tx_errors,
    ] {
        wire.b64(counter)?;
    }
    Ok(())
}

fn ethernet_counters(wire: &mut impl Layout, stats: &mut PortStats) -> Result<()> {
    wire.b64(&mut stats.rx_frame_err)?;
    wire.b64(&mut stats.rx_over_err)?;
    wire.b64(&mut stats.rx_crc_err)?;
    wire.b64(&mut stats.collisions)
}

/// A port's counters before 1.4.
fn stats_layout(wire: &mut impl Layout, stats: &mut PortStats, version: Version) -> Result<()> {
    if version == Version::V10 {
        wire.port16(&mut stats.number)?;
        wire.gap::<6>()?;
    } else {
        wire.b32(&mut stats.number)?;
        wire.gap::<4>()?;
    }
    counters(wire, stats)?;
    ethernet_counters(wire, stats)?;
    if version == Version::V10 { Ok(()) } else { wire.time_maybe(&mut stats.duration) }
}

/// Reads a port's counters.
pub(super) fn read_stats(bytes: &mut Reader<'_>, version: Version) -> Result<PortStats> {
    let mut stats = PortStats::default();
    if version < Version::V14 {
        stats_layout(bytes, &mut stats, version)?;
        return Ok(stats);
    }
    let mut head = *bytes;
    let mut body = bytes.part(head.u16()?.into())?;
    body.skip(4)?;
    stats.number = body.u32()?;
    body.time_maybe(&mut stats.duration)?;
    counters(&mut body, &mut stats)?;
    while !body.is_empty() {
        let mut property = prop::next(&mut body)?;
        if property.kind == ETHERNET {
            property.body.skip(4)?;
            ethernet_counters(&mut property.body, &mut stats)?;
        }
    }
    Ok(stats)
}

/// Writes a port's counters.
pub(super) fn put_stats(out: &mut Vec<u8>, stats: &PortStats, version: Version) {
    let mut stats = *stats;
    if version < Version::V14 {
        return stats_layout(out, &mut stats, version).unwrap_or_default();
    }
    let start = out.len();
    out.pad(4);
    out.put32(stats.number);
    out.time_maybe(&mut stats.duration).unwrap_or_default();
    counters(out, &mut stats).unwrap_or_default();
    prop::put(out, ETHERNET, |out| {
        out.pad(4);
        ethernet_counters(out, &mut stats).unwrap_or_default();
    });
    out.set16(start, out.len() - start);
}

/// A queue's counters, but for the head that 1.4 puts before them.
fn queue_layout(wire: &mut impl Layout, stats: &mut QueueStats, version: Version) -> Result<()> {
    if version == Version::V10 {
        wire.port16(&mut stats.port)?;
        wire.gap::<2>()?;
    } else {
        wire.b32(&mut stats.port)?;
    }
    wire.b32(&mut stats.queue)?;
    wire.b64(&mut stats.tx_bytes)?;
    wire.b64(&mut stats.tx_packets)?;
    wire.b64(&mut stats.tx_errors)?;
    if version == Version::V10 { Ok(()) } else { wire.time_maybe(&mut stats.duration) }
}

/// Reads a queue's counters.
pub(super) fn read_queue(bytes: &mut Reader<'_>, version: Version) -> Result<QueueStats> {
    let mut stats = QueueStats::default();
    if version < Version::V14 {
        queue_layout(bytes, &mut stats, version)?;
    } else {
        let mut head = *bytes;
        let mut body = bytes.part(head.u16()?.into())?;
        body.skip(8)?;
        queue_layout(&mut body, &mut stats, version)?;
    }
    Ok(stats)
}

/// Writes a queue's counters.
pub(super) fn put_queue(out: &mut Vec<u8>, stats: &QueueStats, version: Version) {
    if version >= Version::V14 {
        out.put16(48);
        out.pad(6);
    }
    queue_layout(out, &mut stats.clone(), version).unwrap_or_default();
}

/// Reads a queue's settings; `port` is what 1.0 tells before all of them.
pub(super) fn read_queue_desc(bytes: &mut Reader<'_>, version: Version, port: u32) -> Result<QueueDesc> {
    let mut head = *bytes;
    let mut desc = QueueDesc { port, ..QueueDesc::default() };
    let len = match version {
        Version::V10 => {
            desc.queue = head.u32()?;
            head.u16()?
        }
        Version::V13 => {
            (desc.queue, desc.port) = (head.u32()?, head.u32()?);
            head.u16()?
        }
        _ => {
            (desc.port, desc.queue) = (head.u32()?, head.u32()?);
            head.u16()?
        }
    };
    let mut body = bytes.part(len.into())?;
    body.skip(if version == Version::V10 { 8 } else { 16 })?;
    while !body.is_empty() {
        let mut property = prop::next(&mut body)?;
        if version < Version::V14 {
            property.body.skip(4)?;
        }
        match property.kind {
            MIN_RATE => desc.min_rate = Some(property.body.u16()?),
            MAX_RATE => desc.max_rate = Some(property.body.u16()?),
            _ => {}
        }
    }
    Ok(desc)
}

/// Writes a queue's settings.
pub(super) fn put_queue_desc(out: &mut Vec<u8>, desc: &QueueDesc, version: Version) {
    let start = out.len();
    let (first, second) = if version < Version::V14 { (desc.queue, desc.port) } else { (desc.port, desc.queue) };
    out.put32(first);
    if version != Version::V10 {
        out.put32(second);
    }
    let place = out.len();
    out.pad(if version == Version::V10 { 4 } else { 8 });
    for (kind, rate) in [(MIN_RATE, desc.min_rate), (MAX_RATE, desc.max_rate)] {
        match rate {
            Some(rate) if version < Version::V14 => prop::put(out, kind, |out| {
                out.pad(4);
                out.put16(rate);
                out.pad(6);
            }),
            Some(rate) => prop::put16(out, kind, rate),
            None => {}
        }
    }
    out.set16(place, out.len() - start);
}
