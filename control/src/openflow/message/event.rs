//! Packets from and to controllers, and what happened.

use std::time::Duration;

use ringswitch_dataplane::flow::{Action, Flow, FlowKey};
use ringswitch_dataplane::pipeline::Continuation;

/// How packet-ins are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PacketInFormat {
    /// As the version has it.
    #[default]
    Standard,
    /// `NXT_PACKET_IN`
    Nicira,
    /// `NXT_PACKET_IN2`, the only one with userdata and continuations.
    Nicira2,
}

/// How flows are written in 1.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowFormat {
    /// `ofp_match`.
    #[default]
    OpenFlow10,
    /// Nicira's extensible match.
    Nxm,
}

/// A packet for a controller.
#[derive(Clone, Debug, PartialEq)]
pub struct PacketIn {
    /// How to write it.
    pub format: PacketInFormat,
    /// None: not buffered.
    pub buffer_id: Option<u32>,
    /// See [`ringswitch_dataplane::flow::reason`]; versions that do not know it get the closest.
    pub reason: u8,
    /// The table it was in.
    pub table: u8,
    /// The rule's cookie; all ones without one.
    pub cookie: u64,
    /// in_port, metadata, tunnel id, registers, packet mark. A frame's own fields are not looked at.
    pub key: FlowKey,
    /// The whole frame's length.
    pub total_len: usize,
    /// The frame's beginning.
    pub frame: Vec<u8>,
    /// What the action said that comes back.
    pub userdata: Vec<u8>,
    /// Where it stopped.
    pub continuation: Option<Box<Continuation>>,
}

/// A packet from a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketOut {
    /// A buffered packet instead of `frame`.
    pub buffer_id: Option<u32>,
    /// in_port ([`PORT_ANY`] and [`PORT_CONTROLLER`] are possible), and in 1.5 what else the controller set.
    pub key: FlowKey,
    /// What to do with it.
    pub actions: Vec<Action>,
    /// The packet.
    pub frame: Vec<u8>,
}

/// A flow went away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRemoved {
    /// Written with Nicira's match; only in 1.0.
    pub nxm: bool,
    /// The flow; its actions are not told.
    pub flow: Flow,
    /// Why; versions that do not know it get the closest.
    pub reason: RemovedReason,
    /// How long it was there.
    pub duration: Duration,
    /// Packets it decided.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// `OFPRR_...`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The specification's names.
#[repr(u8)]
pub enum RemovedReason {
    IdleTimeout = 0,
    HardTimeout = 1,
    Delete = 2,
    GroupDelete = 3,
    MeterDelete = 4,
    Eviction = 5,
}

/// `OFPPR_...`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The specification's names.
#[repr(u8)]
pub enum PortReason {
    Add = 0,
    Delete = 1,
    Modify = 2,
}
