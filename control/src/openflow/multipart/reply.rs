//! What is answered, in as many messages as it takes.

use super::super::flow_stats::{self, Form};
use super::super::stats::{Count, Desc, FlowEntry, GroupFeatures, GroupStats, MeterFeatures, Reply, TableStats};
use super::super::wire::{Layout, Put, Reader, Result};
use super::super::{Version, actions, groups, meters, monitor, ports, session, tables};
use super::{Kind, list, put_head, read_head};

/// Bytes of a message, at most.
const MESSAGE: usize = 0xffff;

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
pub(in super::super) fn read_reply(mut body: Reader<'_>, version: Version) -> Result<(bool, Reply)> {
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
pub(in super::super) fn put_reply(
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
