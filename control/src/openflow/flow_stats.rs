//! Flows in multipart messages: who is asked for, what is told, both ways.
//!
//! Source: OpenFlow 1.5.1 sections 7.3.5.2 to 7.3.5.4, `nicira-ext.h`. Trust: a peer's.

use std::time::Duration;

use ringswitch_dataplane::flow::Flow;

use super::Version;
use super::actions::{Packet, put_instructions, read_instructions};
use super::flow_mod::{flags, read_flags, unless_any};
use super::match10;
use super::matches::{Rules, put_nxm, put_oxm, read_nxm, read_oxm};
use super::message::PORT_ANY;
use super::oxs::{self, Stats};
use super::stats::{FlowEntry, FlowRequest};
use super::wire::{Layout, Put, Reader, Result, port_of_16, port_of_32, port_to_16};

/// Reads a request for flows, their statistics, or their sum.
pub(super) fn read_request(mut body: Reader<'_>, version: Version, nxm: bool) -> Result<FlowRequest> {
    let mut filter = (0, 0);
    let mut out_group = u32::MAX;
    let (matches, table, out_port) = match version {
        _ if nxm => {
            let (port, len, table) = (port_of_16(body.u16()?), body.u16()?, body.u8()?);
            body.skip(3)?;
            (read_nxm(&mut body, len.into(), Rules::Strict, Some(&mut filter))?, table, port)
        }
        Version::V10 => {
            let matches = match10::read(&mut body)?.0;
            let table = body.u8()?;
            body.skip(1)?;
            (matches, table, port_of_16(body.u16()?))
        }
        _ => {
            let table = body.u8()?;
            body.skip(3)?;
            let port = port_of_32(body.u32()?)?;
            out_group = body.u32()?;
            body.skip(4)?;
            filter = (body.u64()?, body.u64()?);
            (read_oxm(&mut body, Rules::Strict)?, table, port)
        }
    };
    body.end()?;
    let (cookie, cookie_mask) = filter;
    let out_group = unless_any(out_group);
    Ok(FlowRequest {
        nxm,
        table,
        out_port: unless_any(out_port),
        out_group,
        cookie: cookie & cookie_mask,
        cookie_mask,
        matches,
    })
}

/// Writes a request.
pub(super) fn put_request(out: &mut Vec<u8>, it: &FlowRequest, version: Version) {
    let port = it.out_port.unwrap_or(PORT_ANY);
    match version {
        Version::V10 if it.nxm => {
            let start = out.len();
            out.put16(port_to_16(port));
            out.put16(0);
            out.put8(it.table);
            out.pad(3);
            let len = put_nxm(out, &it.matches, (it.cookie, it.cookie_mask));
            out.set16(start + 2, len);
        }
        Version::V10 => {
            match10::put(out, &it.matches);
            out.put8(it.table);
            out.put8(0);
            out.put16(port_to_16(port));
        }
        _ => {
            out.put8(it.table);
            out.pad(3);
            out.put32(port);
            out.put32(it.out_group.unwrap_or(u32::MAX));
            out.pad(4);
            out.put64(it.cookie);
            out.put64(it.cookie_mask);
            put_oxm(out, &it.matches, version);
        }
    }
}

/// How a flow with its statistics is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As the version has it.
    Standard(Version),
    /// Nicira's in 1.0.
    Nxm,
}

/// The numbers behind a flow's match, or before it, in the forms before 1.5.
#[derive(Default)]
struct Numbers {
    flags: u16,
    match_len: u16,
    idle_age: u16,
    hard_age: u16,
}

fn numbers(it: &mut FlowEntry, more: &mut Numbers, form: Form, wire: &mut impl Layout) -> Result<()> {
    wire.time(&mut it.duration)?;
    wire.b16(&mut it.flow.priority)?;
    wire.b16(&mut it.flow.idle_timeout)?;
    wire.b16(&mut it.flow.hard_timeout)?;
    match form {
        Form::Nxm => {
            wire.b16(&mut more.match_len)?;
            wire.b16(&mut more.idle_age)?;
            wire.b16(&mut more.hard_age)?;
        }
        Form::Standard(Version::V10) => wire.gap::<6>()?,
        Form::Standard(_) => {
            wire.b16(&mut more.flags)?;
            wire.b16(&mut it.flow.importance)?;
            wire.gap::<2>()?;
        }
    }
    wire.b64(&mut it.flow.cookie)?;
    wire.b64(&mut it.packets)?;
    wire.b64(&mut it.bytes)
}

/// Reads a flow with its statistics.
pub(super) fn read_entry(bytes: &mut Reader<'_>, form: Form) -> Result<FlowEntry> {
    let mut head = *bytes;
    let mut body = bytes.part(head.u16()?.into())?;
    body.skip(2)?;
    let mut it = FlowEntry::default();
    let mut more = Numbers::default();
    let version = match form {
        Form::Nxm => Version::V10,
        Form::Standard(version) => version,
    };
    if version == Version::V15 {
        body.skip(2)?;
        read_head15(&mut body, &mut it)?;
        it.flow.matches = read_oxm(&mut body, Rules::Strict)?;
        read_stats(&mut body, &mut it)?;
    } else {
        it.flow.table = body.u8()?;
        body.skip(1)?;
        if form == Form::Standard(Version::V10) {
            it.flow.matches = match10::read(&mut body)?.0;
        }
        numbers(&mut it, &mut more, form, &mut body)?;
        it.flow.matches = match form {
            Form::Nxm => read_nxm(&mut body, more.match_len.into(), Rules::Strict, None)?,
            Form::Standard(Version::V10) => it.flow.matches,
            Form::Standard(_) => read_oxm(&mut body, Rules::Strict)?,
        };
        it.flow.flags = read_flags(more.flags, Version::V13)?;
        let age = |number: u16| number.checked_sub(1).map(|seconds| Duration::from_secs(seconds.into()));
        (it.idle, it.hard) = (age(more.idle_age), age(more.hard_age));
    }
    it.flow.actions = read_instructions(body, version)?;
    Ok(it)
}

fn read_head15(body: &mut Reader<'_>, it: &mut FlowEntry) -> Result<()> {
    it.flow.table = body.u8()?;
    body.skip(1)?;
    it.flow.priority = body.u16()?;
    (it.flow.idle_timeout, it.flow.hard_timeout) = (body.u16()?, body.u16()?);
    it.flow.flags = read_flags(body.u16()?, Version::V15)?;
    it.flow.importance = body.u16()?;
    it.flow.cookie = body.u64()?;
    Ok(())
}

fn read_stats(body: &mut Reader<'_>, it: &mut FlowEntry) -> Result<()> {
    let stats = oxs::read(body)?;
    it.duration = stats.duration.unwrap_or_default();
    it.idle = stats.idle;
    (it.packets, it.bytes) = (stats.packets.unwrap_or(0), stats.bytes.unwrap_or(0));
    Ok(())
}

fn stats_of(it: &FlowEntry) -> Stats {
    Stats { duration: Some(it.duration), idle: it.idle, packets: Some(it.packets), bytes: Some(it.bytes), flows: None }
}

/// Writes a flow with its statistics.
pub(super) fn put_entry(out: &mut Vec<u8>, it: &FlowEntry, form: Form) {
    let start = out.len();
    out.put16(0);
    match form {
        Form::Standard(Version::V15) => put_entry15(out, it),
        _ => put_entry10(out, it, form),
    }
    out.set16(start, out.len() - start);
}

fn put_entry15(out: &mut Vec<u8>, it: &FlowEntry) {
    let flow = &it.flow;
    out.pad(2);
    out.put8(flow.table);
    out.put8(0);
    out.put16(flow.priority);
    out.put16(flow.idle_timeout);
    out.put16(flow.hard_timeout);
    out.put16(flags(flow.flags, Version::V15));
    out.put16(flow.importance);
    out.put64(flow.cookie);
    put_oxm(out, &flow.matches, Version::V15);
    oxs::put(out, &stats_of(it));
    put_instructions(out, &flow.actions, Version::V15, Packet::of(&flow.matches));
}

fn put_entry10(out: &mut Vec<u8>, it: &FlowEntry, form: Form) {
    let (version, flow) = match form {
        Form::Nxm => (Version::V10, &it.flow),
        Form::Standard(version) => (version, &it.flow),
    };
    out.put8(flow.table);
    out.put8(0);
    if form == Form::Standard(Version::V10) {
        match10::put(out, &flow.matches);
    }
    // Zero says that nobody knows, so ages count from one.
    let age = |time: Option<Duration>| time.map_or(0, |time| time.as_secs().saturating_add(1).min(0xffff) as u16);
    let mut more =
        Numbers { flags: flags(flow.flags, version), idle_age: age(it.idle), hard_age: age(it.hard), match_len: 0 };
    let place = out.len() + 14;
    let Flow { priority, cookie, idle_timeout, hard_timeout, .. } = *flow;
    let importance = if version >= Version::V14 { flow.importance } else { 0 };
    let numbers_of = Flow { priority, cookie, idle_timeout, hard_timeout, importance, ..Flow::default() };
    let mut told = FlowEntry { flow: numbers_of, ..*it };
    numbers(&mut told, &mut more, form, out).unwrap_or_default();
    match form {
        Form::Nxm => {
            let len = put_nxm(out, &flow.matches, (0, 0));
            out.set16(place, len);
        }
        Form::Standard(Version::V10) => {}
        Form::Standard(version) => put_oxm(out, &flow.matches, version),
    }
    put_instructions(out, &flow.actions, version, Packet::of(&flow.matches));
}

/// Reads 1.5's statistics of a flow.
pub(super) fn read_stats_entry(bytes: &mut Reader<'_>) -> Result<FlowEntry> {
    let mut head = *bytes;
    let mut body = bytes.part(head.u16()?.into())?;
    body.skip(4)?;
    let mut it = FlowEntry { flow: Flow { table: body.u8()?, ..Flow::default() }, ..FlowEntry::default() };
    body.skip(1)?;
    it.flow.priority = body.u16()?;
    it.flow.matches = read_oxm(&mut body, Rules::Strict)?;
    read_stats(&mut body, &mut it)?;
    body.end()?;
    Ok(it)
}

/// Writes 1.5's statistics of a flow.
pub(super) fn put_stats_entry(out: &mut Vec<u8>, it: &FlowEntry) {
    let start = out.len();
    out.pad(4);
    out.put8(it.flow.table);
    // Why: because it was asked for.
    out.put8(0);
    out.put16(it.flow.priority);
    put_oxm(out, &it.flow.matches, Version::V15);
    oxs::put(out, &stats_of(it));
    out.set16(start, out.len() - start);
}

/// A sum over flows: packets, bytes, flows.
pub(super) fn read_aggregate(mut body: Reader<'_>, version: Version) -> Result<(u64, u64, u32)> {
    if version == Version::V15 {
        let stats = oxs::read(&mut body)?;
        return Ok((stats.packets.unwrap_or(0), stats.bytes.unwrap_or(0), stats.flows.unwrap_or(0)));
    }
    let sum = (body.u64()?, body.u64()?, body.u32()?);
    body.skip(4)?;
    body.end()?;
    Ok(sum)
}

/// Writes it.
pub(super) fn put_aggregate(out: &mut Vec<u8>, (packets, bytes, flows): (u64, u64, u32), version: Version) {
    if version == Version::V15 {
        let sum = Stats { packets: Some(packets), bytes: Some(bytes), flows: Some(flows), ..Stats::default() };
        return oxs::put(out, &sum);
    }
    out.put64(packets);
    out.put64(bytes);
    out.put32(flows);
    out.pad(4);
}
