//! What the pipeline hands to control, and what control hands to it: packets for and from controllers, flows to learn.
//!
//! Trust: frames are the sender's; how many of them come is limited before they get here. Neighbours: `act` makes upcalls,
//! control answers with [`PacketOut`]s.

use crate::flow::{Action, Controller, Flow, FlowKey};
use crate::port::PortId;

/// Something that control has to do because of a packet.
#[derive(Clone, Debug)]
pub enum Upcall {
    /// A controller gets this packet.
    PacketIn(Box<PacketIn>),
    /// A flow to add, or to refresh when it is there.
    Learn(Box<Learned>),
}

/// A packet for a controller.
#[derive(Clone, Debug, Default)]
pub struct PacketIn {
    /// The bridge's index.
    pub bridge: usize,
    /// Where it came in; none for a packet-out of control's own.
    pub ingress: Option<PortId>,
    /// What the action said: reason, which controllers.
    pub controller: Controller,
    /// The table of the rule that sent it.
    pub table: u8,
    /// That rule's cookie; all ones without a rule.
    pub cookie: u64,
    /// in_port, metadata, tunnel id, registers, packet mark at that point.
    pub key: FlowKey,
    /// The frame's length.
    pub total_len: usize,
    /// All of it: nothing is buffered, so what the action's `max_len` would leave out would be lost.
    pub frame: Vec<u8>,
    /// Where it can go on, when it was paused.
    pub continuation: Option<Box<Continuation>>,
}

/// A paused trip through the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// The fields at that point; a frame's own are read again.
    pub key: FlowKey,
    /// The table it was in.
    pub table: u8,
    /// The stack, lowest first.
    pub stack: Vec<u128>,
    /// Actions still to run, innermost list first.
    pub actions: Vec<Vec<Action>>,
    /// The action set so far.
    pub action_set: Vec<Action>,
}

/// A flow that a packet made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The bridge's index.
    pub bridge: usize,
    /// The flow.
    pub flow: Flow,
    /// At most so many flows of its table and cookie; 0 for any number.
    pub limit: u32,
}

/// A packet that control sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketOut {
    /// Whole.
    pub frame: Vec<u8>,
    /// in_port and what else is set for it: metadata, registers.
    pub key: FlowKey,
    /// What to do with it.
    pub actions: Vec<Action>,
    /// Goes on there, instead of running `actions`.
    pub resume: Option<Box<Continuation>>,
}
