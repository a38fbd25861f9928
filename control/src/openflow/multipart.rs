//! Multipart messages: which body has which number, and replies that take several messages.
//!
//! Source: OpenFlow 1.5.1 section 7.3.5. 1.0 has the first six; for what it has not, Open vSwitch's tools ask with
//! Nicira's messages. Trust: a peer's.

use super::error::{NICIRA, ONF};
use super::flow_stats::{self, Form};
use super::message::GROUP_ALL;
use super::stats::{Count, Desc, FlowEntry, GroupFeatures, GroupStats, MeterFeatures, Reply, Request, TableStats};
use super::wire::{Layout, Put, Reader, Result, port_of_16, port_to_16};
use super::{OfError, Version, actions, groups, meters, monitor, ports, session, tables};

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
/// Bytes of a message, at most.
const MESSAGE: usize = 0xffff;

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

/// A number behind which nothing comes but padding.
fn one(mut body: Reader<'_>) -> Result<u32> {
    let number = body.u32()?;
    body.skip(4)?;
    body.end()?;
    Ok(number)
}

/// A port and a queue.
fn port_and_queue(mut body: Reader<'_>, version: Version) -> Result<(u32, u32)> {
    let port = if version == Version::V10 {
        let port = body.u16()?;
        body.skip(2)?;
        port_of_16(port)
    } else {
        body.u32()?
    };
    let queue = body.u32()?;
    body.end()?;
    // 1.0 says "all ports" with another of the reserved numbers.
    Ok((if port == 0xffff_fffc { u32::MAX } else { port }, queue))
}

/// Reads a request.
pub(super) fn read_request(mut body: Reader<'_>, version: Version) -> Result<(bool, Request)> {
    let (kind, more) = read_head(&mut body, version)?;
    let nothing = |body: Reader<'_>, request: Request| body.end().map(|()| request);
    let request = match kind {
        Kind::Desc => nothing(body, Request::Desc)?,
        Kind::Flow => Request::Flow(flow_stats::read_request(body, version, false)?),
        Kind::NxFlow => Request::Flow(flow_stats::read_request(body, version, true)?),
        Kind::FlowStats => Request::FlowStats(flow_stats::read_request(body, version, false)?),
        Kind::Aggregate => Request::Aggregate(flow_stats::read_request(body, version, false)?),
        Kind::NxAggregate => Request::Aggregate(flow_stats::read_request(body, version, true)?),
        Kind::Table => nothing(body, Request::Table)?,
        Kind::PortStats if version == Version::V10 => {
            let port = port_of_16(body.u16()?);
            body.skip(6)?;
            nothing(body, Request::PortStats { port })?
        }
        Kind::PortStats => Request::PortStats { port: one(body)? },
        Kind::Queue => {
            let (port, queue) = port_and_queue(body, version)?;
            Request::Queue { port, queue }
        }
        Kind::QueueDesc => {
            let (port, queue) = port_and_queue(body, version)?;
            Request::QueueDesc { port, queue }
        }
        Kind::Group => Request::Group { group: one(body)? },
        Kind::GroupDesc if matches!(version, Version::V10 | Version::V15) => Request::GroupDesc { group: one(body)? },
        Kind::GroupDesc => nothing(body, Request::GroupDesc { group: GROUP_ALL })?,
        Kind::GroupFeatures => nothing(body, Request::GroupFeatures)?,
        Kind::Meter => Request::Meter { meter: one(body)? },
        Kind::MeterConfig => Request::MeterConfig { meter: one(body)? },
        Kind::MeterFeatures => nothing(body, Request::MeterFeatures)?,
        Kind::TableFeatures => Request::TableFeatures { change: !body.is_empty() },
        Kind::PortDesc if version == Version::V15 => Request::PortDesc { port: one(body)? },
        Kind::PortDesc => nothing(body, Request::PortDesc { port: u32::MAX })?,
        Kind::TableDesc => nothing(body, Request::TableDesc)?,
        Kind::FlowMonitor => Request::FlowMonitor(list(body, |body| monitor::read_request(body, version))?),
        Kind::ControllerStatus => nothing(body, Request::ControllerStatus)?,
        // What a controller wants to know about scheduling is in properties; there is none.
        Kind::BundleFeatures => Request::BundleFeatures,
    };
    Ok((more, request))
}

/// Writes a request; false when the version has none such.
pub(super) fn put_request(out: &mut Vec<u8>, request: &Request, version: Version, more: bool) -> bool {
    let put = |out: &mut Vec<u8>, kind: Kind| put_head(out, kind, version, more);
    let number = |out: &mut Vec<u8>, kind: Kind, number: u32| {
        put(out, kind) && {
            out.put32(number);
            out.pad(4);
            true
        }
    };
    let flows = |out: &mut Vec<u8>, kind: Kind, request| {
        put(out, kind) && {
            flow_stats::put_request(out, request, version);
            true
        }
    };
    let queues = |out: &mut Vec<u8>, kind: Kind, port: u32, queue: u32| {
        put(out, kind) && {
            if version == Version::V10 {
                out.put16(if port == u32::MAX { 0xfffc } else { port_to_16(port) });
                out.pad(2);
            } else {
                out.put32(port);
            }
            out.put32(queue);
            true
        }
    };
    match request {
        Request::Desc => put(out, Kind::Desc),
        Request::Flow(it) if it.nxm => flows(out, Kind::NxFlow, it),
        Request::Flow(it) => flows(out, Kind::Flow, it),
        Request::FlowStats(it) => flows(out, Kind::FlowStats, it),
        Request::Aggregate(it) if it.nxm => flows(out, Kind::NxAggregate, it),
        Request::Aggregate(it) => flows(out, Kind::Aggregate, it),
        Request::Table => put(out, Kind::Table),
        Request::PortStats { port } if version == Version::V10 => {
            put(out, Kind::PortStats);
            out.put16(port_to_16(*port));
            out.pad(6);
            true
        }
        Request::PortStats { port } => number(out, Kind::PortStats, *port),
        Request::Queue { port, queue } => queues(out, Kind::Queue, *port, *queue),
        Request::QueueDesc { port, queue } => queues(out, Kind::QueueDesc, *port, *queue),
        Request::Group { group } => number(out, Kind::Group, *group),
        Request::GroupDesc { group } if matches!(version, Version::V10 | Version::V15) => {
            number(out, Kind::GroupDesc, *group)
        }
        Request::GroupDesc { .. } => put(out, Kind::GroupDesc),
        Request::GroupFeatures => put(out, Kind::GroupFeatures),
        Request::Meter { meter } => number(out, Kind::Meter, *meter),
        Request::MeterConfig { meter } => number(out, Kind::MeterConfig, *meter),
        Request::MeterFeatures => put(out, Kind::MeterFeatures),
        Request::TableFeatures { .. } => put(out, Kind::TableFeatures),
        Request::PortDesc { port } if version == Version::V15 => number(out, Kind::PortDesc, *port),
        Request::PortDesc { .. } => put(out, Kind::PortDesc),
        Request::TableDesc => put(out, Kind::TableDesc),
        Request::FlowMonitor(monitors) => {
            put(out, Kind::FlowMonitor) && {
                monitors.iter().for_each(|it| monitor::put_request(out, it, version));
                true
            }
        }
        Request::ControllerStatus => put(out, Kind::ControllerStatus),
        Request::BundleFeatures => {
            put(out, Kind::BundleFeatures) && {
                out.pad(8);
                true
            }
        }
    }
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

/// Reads one that has the same layout in both directions.
fn fixed<T: Default>(body: &mut Reader<'_>, layout: impl Fn(&mut Reader<'_>, &mut T) -> Result<()>) -> Result<T> {
    let mut value = T::default();
    layout(body, &mut value)?;
    Ok(value)
}

fn desc(wire: &mut impl Layout, it: &mut Desc) -> Result<()> {
    wire.text::<256>(&mut it.manufacturer)?;
    wire.text::<256>(&mut it.hardware)?;
    wire.text::<256>(&mut it.software)?;
    wire.text::<32>(&mut it.serial_number)?;
    wire.text::<256>(&mut it.datapath)
}

fn group_features(wire: &mut impl Layout, it: &mut GroupFeatures, version: Version) -> Result<()> {
    wire.b32(&mut it.types)?;
    wire.b32(&mut it.capabilities)?;
    it.max_groups.iter_mut().try_for_each(|most| wire.b32(most))?;
    let actions = actions::supported(version.max(Version::V13));
    (0..4).try_for_each(|_| wire.b32(&mut { actions }))
}

/// A group's counters but for those of its buckets.
fn group_head(wire: &mut impl Layout, it: &mut GroupStats) -> Result<()> {
    wire.gap::<2>()?;
    wire.b32(&mut it.group)?;
    wire.b32(&mut it.references)?;
    wire.gap::<4>()?;
    meters::count(wire, &mut it.count)?;
    wire.time(&mut it.duration)
}

fn read_group_stats(bytes: &mut Reader<'_>) -> Result<GroupStats> {
    let mut head = *bytes;
    let mut body = bytes.part(head.u16()?.into())?;
    body.skip(2)?;
    let mut it = GroupStats::default();
    group_head(&mut body, &mut it)?;
    it.buckets = list(body, |body| fixed(body, |wire, it: &mut Count| meters::count(wire, it)))?;
    Ok(it)
}

fn put_group_stats(out: &mut Vec<u8>, it: &GroupStats) {
    let (start, mut it) = (out.len(), it.clone());
    out.put16(0);
    group_head(out, &mut it).unwrap_or_default();
    it.buckets.iter_mut().for_each(|bucket| meters::count(out, bucket).unwrap_or_default());
    out.set16(start, out.len() - start);
}

/// Reads a reply.
pub(super) fn read_reply(mut body: Reader<'_>, version: Version) -> Result<(bool, Reply)> {
    let (kind, more) = read_head(&mut body, version)?;
    let flows = |body, form| list(body, |body| flow_stats::read_entry(body, form));
    let aggregate = |body, nxm| {
        let (packets, bytes, flows) = flow_stats::read_aggregate(body, version)?;
        Ok(Reply::Aggregate { nxm, packets, bytes, flows })
    };
    let reply = match kind {
        Kind::Desc => Reply::Desc(fixed(&mut body, |wire, it| desc(wire, it))?),
        Kind::Flow => Reply::Flow { nxm: false, flows: flows(body, Form::Standard(version))? },
        Kind::NxFlow => Reply::Flow { nxm: true, flows: flows(body, Form::Nxm)? },
        Kind::FlowStats => Reply::FlowStats(list(body, flow_stats::read_stats_entry)?),
        Kind::Aggregate => aggregate(body, false)?,
        Kind::NxAggregate => aggregate(body, true)?,
        Kind::Table => {
            let read =
                |body: &mut Reader<'_>| fixed(body, |wire, it: &mut TableStats| tables::stats(wire, it, version));
            Reply::Table(list(body, read)?)
        }
        Kind::PortStats => Reply::PortStats(list(body, |body| ports::read_stats(body, version))?),
        Kind::Queue => Reply::Queue(list(body, |body| ports::read_queue(body, version))?),
        Kind::QueueDesc => Reply::QueueDesc(list(body, |body| ports::read_queue_desc(body, version, 0))?),
        Kind::Group => Reply::Group(list(body, read_group_stats)?),
        Kind::GroupDesc => Reply::GroupDesc(list(body, |body| groups::read_desc(body, version))?),
        Kind::GroupFeatures => Reply::GroupFeatures(fixed(&mut body, |wire, it| group_features(wire, it, version))?),
        Kind::Meter => Reply::Meter(list(body, meters::read_stats)?),
        Kind::MeterConfig => Reply::MeterConfig(list(body, meters::read_config)?),
        Kind::MeterFeatures => {
            Reply::MeterFeatures(fixed(&mut body, |wire, it: &mut MeterFeatures| meters::features(wire, it))?)
        }
        Kind::TableFeatures => Reply::TableFeatures(list(body, tables::read_features)?),
        Kind::PortDesc => Reply::PortDesc(list(body, |body| ports::read(body, version))?),
        Kind::TableDesc => Reply::TableDesc(list(body, tables::read_desc)?),
        Kind::FlowMonitor => Reply::FlowMonitor(list(body, |body| monitor::read_update(body, version))?),
        Kind::ControllerStatus => Reply::ControllerStatus(list(body, session::read_controller)?),
        Kind::BundleFeatures => Reply::BundleFeatures { capabilities: body.u16()? },
    };
    Ok((more, reply))
}

/// Where messages of a reply begin and end.
struct Parts<'a, 'b> {
    out: &'a mut Vec<u8>,
    /// Writes a message's header, and sets its length later.
    begin: &'b dyn Fn(&mut Vec<u8>) -> usize,
    kind: Kind,
    version: Version,
    start: usize,
    /// Length of a message without entries.
    empty: usize,
}

impl<'a, 'b> Parts<'a, 'b> {
    /// The first message; none when the version has no such reply.
    fn new(
        out: &'a mut Vec<u8>,
        begin: &'b dyn Fn(&mut Vec<u8>) -> usize,
        kind: Kind,
        version: Version,
    ) -> Option<Self> {
        let start = begin(out);
        if !put_head(out, kind, version, false) {
            out.truncate(start);
            return None;
        }
        let empty = out.len() - start;
        Some(Self { out, begin, kind, version, start, empty })
    }

    /// Writes an entry, in another message when this one is full. One that fits nowhere is left out.
    fn entry(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        let at = self.out.len();
        put(self.out);
        let len = self.out.len() - at;
        if self.empty + len > MESSAGE {
            self.out.truncate(at);
        } else if self.out.len() - self.start > MESSAGE {
            let entry = self.out.split_off(at);
            self.end(true);
            self.start = (self.begin)(self.out);
            put_head(self.out, self.kind, self.version, false);
            self.out.extend(entry);
        }
    }

    fn end(&mut self, more: bool) {
        let len = self.out.len() - self.start;
        self.out.set16(self.start + 2, len);
        self.out.set16(self.start + 10, more.into());
    }
}

/// Writes a reply as one or more messages, each begun by `begin` (which returns where); `more`: others follow.
pub(super) fn put_reply(
    out: &mut Vec<u8>,
    reply: &Reply,
    version: Version,
    more: bool,
    begin: &dyn Fn(&mut Vec<u8>) -> usize,
) {
    let Some(mut parts) = Parts::new(out, begin, kind_of(reply), version) else { return };
    match reply {
        Reply::Desc(it) => parts.entry(|out| desc(out, &mut it.clone()).unwrap_or_default()),
        Reply::Flow { nxm, flows } => {
            let form = if *nxm { Form::Nxm } else { Form::Standard(version) };
            each(&mut parts, flows, |out, it: &FlowEntry| flow_stats::put_entry(out, it, form));
        }
        Reply::FlowStats(flows) => each(&mut parts, flows, flow_stats::put_stats_entry),
        Reply::Aggregate { packets, bytes, flows, .. } => {
            parts.entry(|out| flow_stats::put_aggregate(out, (*packets, *bytes, *flows), version));
        }
        Reply::Table(list) => each(&mut parts, list, |out, it| {
            tables::stats(out, &mut it.clone(), version).unwrap_or_default();
        }),
        Reply::PortStats(list) => each(&mut parts, list, |out, it| ports::put_stats(out, it, version)),
        Reply::Queue(list) => each(&mut parts, list, |out, it| ports::put_queue(out, it, version)),
        Reply::QueueDesc(list) => each(&mut parts, list, |out, it| ports::put_queue_desc(out, it, version)),
        Reply::Group(list) => each(&mut parts, list, put_group_stats),
        Reply::GroupDesc(list) => each(&mut parts, list, |out, it| groups::put_desc(out, it, version)),
        Reply::GroupFeatures(it) => {
            parts.entry(|out| group_features(out, &mut { *it }, version).unwrap_or_default());
        }
        Reply::Meter(list) => each(&mut parts, list, meters::put_stats),
        Reply::MeterConfig(list) => each(&mut parts, list, meters::put_config),
        Reply::MeterFeatures(it) => parts.entry(|out| meters::features(out, &mut { *it }).unwrap_or_default()),
        Reply::TableFeatures(list) => each(&mut parts, list, |out, it| tables::put_features(out, it, version)),
        Reply::PortDesc(list) => each(&mut parts, list, |out, it| ports::put(out, it, version)),
        Reply::TableDesc(list) => each(&mut parts, list, tables::put_desc),
        Reply::FlowMonitor(list) => each(&mut parts, list, |out, it| monitor::put_update(out, it, version)),
        Reply::ControllerStatus(list) => each(&mut parts, list, session::put_controller),
        Reply::BundleFeatures { capabilities } => parts.entry(|out| {
            out.put16(*capabilities);
            out.pad(6);
        }),
    }
    parts.end(more);
}

fn each<T>(parts: &mut Parts<'_, '_>, list: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    list.iter().for_each(|it| parts.entry(|out| put(out, it)));
}

fn kind_of(reply: &Reply) -> Kind {
    match reply {
        Reply::Desc(_) => Kind::Desc,
        Reply::Flow { nxm: true, .. } => Kind::NxFlow,
        Reply::Flow { .. } => Kind::Flow,
        Reply::FlowStats(_) => Kind::FlowStats,
        Reply::Aggregate { nxm: true, .. } => Kind::NxAggregate,
        Reply::Aggregate { .. } => Kind::Aggregate,
        Reply::Table(_) => Kind::Table,
        Reply::PortStats(_) => Kind::PortStats,
        Reply::Queue(_) => Kind::Queue,
        Reply::QueueDesc(_) => Kind::QueueDesc,
        Reply::Group(_) => Kind::Group,
        Reply::GroupDesc(_) => Kind::GroupDesc,
        Reply::GroupFeatures(_) => Kind::GroupFeatures,
        Reply::Meter(_) => Kind::Meter,
        Reply::MeterConfig(_) => Kind::MeterConfig,
        Reply::MeterFeatures(_) => Kind::MeterFeatures,
        Reply::TableFeatures(_) => Kind::TableFeatures,
        Reply::PortDesc(_) => Kind::PortDesc,
        Reply::TableDesc(_) => Kind::TableDesc,
        Reply::FlowMonitor(_) => Kind::FlowMonitor,
        Reply::ControllerStatus(_) => Kind::ControllerStatus,
        Reply::BundleFeatures { .. } => Kind::BundleFeatures,
    }
}
