//! Statistics and descriptions.

use ringswitch_dataplane::flow::Rule;
use ringswitch_dataplane::sys::clock::coarse_ms;

use super::monitor;
use super::requests::{Asked, Effect};
use crate::engine::{Dataplane, flow_entry, group_features, meter_features};
use crate::openflow::stats::{ControllerStatus, Desc, FlowEntry, FlowRequest, Reply, Request};
use crate::openflow::{Message, OfError};

/// Flows that are described at once: their descriptions are much larger than they are.
const FLOWS: usize = 512;

impl<D: Dataplane> Asked<'_, D> {
    pub(super) fn multipart(&mut self, request: Request) -> Result<Effect, OfError> {
        let bridge = self.served.index;
        let reply = match request {
            Request::Flow(request) => {
                let nxm = request.nxm;
                self.flows(&request, &|flows| Reply::Flow { nxm, flows })?;
                return Ok(Effect::None);
            }
            Request::FlowStats(request) => {
                self.flows(&request, &Reply::FlowStats)?;
                return Ok(Effect::None);
            }
            Request::Aggregate(request) => {
                let (packets, bytes, flows) = self.engine.aggregate(bridge, &request)?;
                Reply::Aggregate { nxm: request.nxm, packets, bytes, flows }
            }
            Request::FlowMonitor(requests) => {
                let updates = monitor::change(self.engine, bridge, self.session, requests)?;
                self.reply_with(Reply::FlowMonitor(updates));
                return Ok(Effect::Wants);
            }
            Request::Desc => Reply::Desc(desc(&self.served.name)),
            Request::Table => Reply::Table(self.engine.table_stats(bridge)?),
            Request::TableFeatures { change: true } => return Err(OfError::OFPTFFC_EPERM),
            Request::TableFeatures { .. } => Reply::TableFeatures(self.engine.table_features(bridge)?),
            Request::TableDesc => Reply::TableDesc(self.engine.table_descs(bridge)?),
            Request::PortStats { port } => Reply::PortStats(self.engine.port_stats(bridge, port)?),
            Request::PortDesc { port } => Reply::PortDesc(self.engine.ports(bridge, port)?),
            Request::Queue { port, queue } => Reply::Queue(self.engine.queue_stats(bridge, port, queue)?),
            Request::QueueDesc { port, queue } => Reply::QueueDesc(self.engine.queue_descs(bridge, port, queue)?),
            Request::Group { group } => Reply::Group(self.engine.group_stats(bridge, group)?),
            Request::GroupDesc { group } => Reply::GroupDesc(self.engine.groups(bridge, group)?),
            Request::GroupFeatures => Reply::GroupFeatures(group_features()),
            Request::Meter { meter } => Reply::Meter(self.engine.meter_stats(bridge, meter)?),
            Request::MeterConfig { meter } => Reply::MeterConfig(self.engine.meters(bridge, meter)?),
            Request::MeterFeatures => Reply::MeterFeatures(meter_features()),
            // Atomic and ordered.
            Request::BundleFeatures => Reply::BundleFeatures { capabilities: 0b11 },
            Request::ControllerStatus => Reply::ControllerStatus(vec![ControllerStatus {
                short_id: self.session.controller_id,
                role: self.session.role,
                reason: 0,
                up: true,
                uri: String::new(),
            }]),
        };
        self.reply_with(reply);
        Ok(Effect::None)
    }

    fn reply_with(&mut self, reply: Reply) {
        self.reply(&Message::MultipartReply { more: false, reply: Box::new(reply) });
    }

    fn flows(&mut self, request: &FlowRequest, reply: &dyn Fn(Vec<FlowEntry>) -> Reply) -> Result<(), OfError> {
        let now = coarse_ms();
        let rules = self.engine.flows(self.served.index, request)?;
        let entry = |rule: &std::sync::Arc<Rule>| flow_entry(rule, now);
        let mut parts = rules.chunks(FLOWS).peekable();
        if parts.peek().is_none() {
            self.reply_with(reply(Vec::new()));
        }
        while let Some(part) = parts.next() {
            let reply = Box::new(reply(part.iter().map(entry).collect()));
            self.reply(&Message::MultipartReply { more: parts.peek().is_some(), reply });
        }
        Ok(())
    }
}

fn desc(bridge: &str) -> Desc {
    Desc {
        manufacturer: "ringswitch".to_owned(),
        hardware: "userspace switch".to_owned(),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        serial_number: "None".to_owned(),
        datapath: bridge.to_owned(),
    }
}
