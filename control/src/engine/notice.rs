//! What controllers are told without having asked: collected while the switch changes, taken by the OpenFlow server.

use std::sync::Arc;
use std::time::Duration;

use ringswitch_dataplane::flow::Rule;
use ringswitch_dataplane::pipeline::PacketIn;

use crate::openflow::message::{FlowRemoved, PortReason, RemovedReason};
use crate::openflow::stats::Port;

/// Something happened on a bridge.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The bridge's index.
    pub bridge: usize,
    /// Whose request it was; none for the switch's own doing.
    pub origin: Option<Origin>,
    /// What.
    pub event: Event,
}

/// A request of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The connection.
    pub connection: usize,
    /// The request.
    pub xid: u32,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A flow went that controllers want to hear of.
    FlowRemoved(Box<FlowRemoved>),
    /// A flow changed, on a bridge whose flows are monitored.
    FlowChanged(FlowChange, Arc<Rule>),
    /// A port came, went, or changed.
    Port(PortReason, Box<Port>),
    /// A packet for controllers.
    PacketIn(Box<PacketIn>),
}

/// How a flow changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowChange {
    /// It is new.
    Added,
    /// It does something else, or was added again.
    Modified,
    /// It is gone.
    Removed(RemovedReason),
}

/// The flow's last words.
pub(super) fn flow_removed(rule: &Rule, reason: RemovedReason, now_ms: u64) -> FlowRemoved {
    let totals = rule.totals();
    FlowRemoved {
        nxm: false,
        flow: rule.flow.clone(),
        reason,
        duration: Duration::from_millis(now_ms.saturating_sub(rule.created_ms)),
        packets: totals.packets,
        bytes: totals.bytes,
    }
}
