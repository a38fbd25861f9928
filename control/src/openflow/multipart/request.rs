//! What is asked for.

use super::super::message::GROUP_ALL;
use super::super::stats::Request;
use super::super::wire::{Put, Reader, Result, port_of_16, port_to_16};
use super::super::{Version, flow_stats, monitor};
use super::{Kind, list, put_head, read_head};

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
pub(in super::super) fn read_request(mut body: Reader<'_>, version: Version) -> Result<(bool, Request)> {
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
pub(in super::super) fn put_request(out: &mut Vec<u8>, request: &Request, version: Version, more: bool) -> bool {
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
