//! The walk of one packet through the tables of its bridge: what its rules say, one after the other, becomes steps.
//!
//! A walk works on the packet's key and never on the packet. Who asked for it gets the steps ([`Sink`]): `record` makes a path
//! of them that holds for every packet with the same key under the bridge's mask, `live` does them at once, `trace` tells
//! them. Where a walk has to know what the key does not hold (what is behind a label that was popped), it asks the sink.
//! Sources: OpenFlow 1.5.1 section 5, `ovs-actions(7)`. Trust: keys are the packets', actions are a controller's: both depths and
//! lengths are bounded, and table lookups have a budget.

mod fields;
mod group;
mod hash;
mod learn;
mod list;
mod set;

pub(super) use learn::learned;
pub(super) use set::ActionSet;

use std::sync::Arc;

use super::path::{MAX_STEPS, Step};
use super::snapshot::BridgeView;
use crate::flow::{Action, Controller, Dimension, Field, FlowKey, Learn, Rule, reason};
use crate::packet::DropReason;

/// Resubmits, clones and groups inside each other; as in Open vSwitch.
const MAX_DEPTH: u32 = 64;
/// Resubmits, clones and buckets in all; as in Open vSwitch.
const MAX_TURNS: u32 = 4096;
/// Values on the stack.
const MAX_STACK: usize = 1024;

/// Port numbers with a meaning of their own; OpenFlow 1.3's.
pub(super) mod port {
    pub const IN_PORT: u32 = 0xffff_fff8;
    pub const TABLE: u32 = 0xffff_fff9;
    pub const NORMAL: u32 = 0xffff_fffa;
    pub const FLOOD: u32 = 0xffff_fffb;
    pub const ALL: u32 = 0xffff_fffc;
    pub const CONTROLLER: u32 = 0xffff_fffd;
    pub const LOCAL: u32 = 0xffff_fffe;
    /// No port, as an `in_port`.
    pub const NONE: u32 = 0xffff_ffff;
}

/// Why a walk did not end as rules have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The port's budget of lookups is spent.
    Budget,
    /// Too deep, or too long.
    TooComplex,
    /// It depends on bytes that the key does not hold, and there are none at hand.
    NeedsFrame,
}

/// Something for control.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    /// A packet-in, with its reason.
    Controller(&'a Controller, u8),
    /// The same, where the packet's trip is to go on later.
    Pause(&'a Controller, u8),
    /// Its TTL (or the MPLS label's) goes down; when it is used up, packet-ins for these controllers.
    Expired(&'a [u16], bool),
    /// A flow to learn.
    Learn(&'a Learn),
}

/// What is known of the packet at some point of its trip.
pub(super) struct State<'a> {
    /// Its fields as they are there.
    pub key: FlowKey,
    /// The table it is in.
    pub table: u8,
    /// The rule it follows.
    pub rule: Option<&'a Arc<Rule>>,
    /// Its action set.
    pub set: ActionSet<'a>,
}

impl State<'_> {
    /// OpenFlow number of the port where it came in, as far as rules know.
    pub fn in_port(&self) -> u32 {
        self.key.field(Field::IN_PORT) as u32
    }
}

/// Lists of actions that are not at their end, innermost first.
pub(super) struct Outer<'a, 'o> {
    pub rest: &'a [Action],
    pub outer: Option<&'o Outer<'a, 'o>>,
}

/// Who takes a walk's steps.
pub(super) trait Sink<'a> {
    /// The next step.
    fn step(&mut self, step: Step);
    /// Request number `nth` of this walk. For [`Request::Expired`]: made when the TTL is used up, which this step finds out.
    fn request(&mut self, nth: u16, request: Request<'a>, state: &State<'a>, stack: &[u128], outer: &Outer<'a, '_>);
    /// What follows is done to a copy; the result goes to [`close`](Self::close).
    fn save(&mut self) -> usize;
    /// The copy is done with.
    fn close(&mut self, save: usize);
    /// Puts the frame's fields into the key as they are after all steps so far; false when there is no frame.
    fn read(&mut self, key: &mut FlowKey) -> bool;
    /// The frame's length now; `None` when there is no frame.
    fn frame_len(&mut self) -> Option<usize>;
    /// A rule was found, or none, with this key; tracing only.
    fn found(&mut self, _table: u8, _rule: Option<&'a Arc<Rule>>, _key: &FlowKey, _depth: u32) {}
    /// An action is about to be run; tracing only.
    fn action(&mut self, _action: &'a Action, _depth: u32) {}
    /// The trip is over, with this key; tracing only.
    fn end(&mut self, _key: &FlowKey) {}
}

/// Room that walks use again and again.
#[derive(Default)]
pub(super) struct Room {
    pub stack: Vec<u128>,
    pub dimensions: Vec<Dimension>,
}

/// See the file's head.
pub(super) struct Walk<'a, 's> {
    pub bridge: &'a BridgeView,
    pub sink: &'s mut dyn Sink<'a>,
    pub room: &'s mut Room,
    pub state: State<'a>,
    /// Lookups left.
    pub budget: &'s mut u32,
    /// What a packet-in says when its action does not.
    pub reason: u8,
    /// Of ports: the queue that packets leave through.
    queue: u32,
    /// Fields of the frame that the key does not know any more.
    stale: bool,
    depth: u32,
    turns: u32,
    steps: usize,
    requests: u16,
    /// No more actions.
    exit: bool,
    /// The trip goes on when a controller says so.
    paused: bool,
}

/// What a lookup that finds nothing leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnMiss {
    /// The bridge's default.
    Default,
    /// Nothing, as for resubmit.
    Ignore,
}

static MISS: Controller =
    Controller { max_len: u16::MAX, reason: reason::NO_MATCH, id: 0, userdata: Vec::new(), pause: false, meter: None };

impl<'a, 's> Walk<'a, 's> {
    pub fn new(
        bridge: &'a BridgeView,
        key: FlowKey,
        sink: &'s mut dyn Sink<'a>,
        room: &'s mut Room,
        budget: &'s mut u32,
    ) -> Self {
        room.stack.clear();
        let state = State { key, table: 0, rule: None, set: ActionSet::default() };
        let (queue, depth, turns, steps, requests) = (0, 0, 0, 0, 0);
        let (stale, exit, paused) = (false, false, false);
        let reason = reason::ACTION;
        Self { bridge, sink, room, state, budget, reason, queue, stale, depth, turns, steps, requests, exit, paused }
    }

    /// From table 0 on, to the end.
    pub fn start(mut self) -> Result<(), Stop> {
        self.enter(0, OnMiss::Default, &Outer { rest: &[], outer: None })?;
        self.end()
    }

    /// Runs lists of actions, innermost first, to the end.
    pub fn lists(mut self, lists: impl Iterator<Item = &'a [Action]>) -> Result<(), Stop> {
        for list in lists {
            if let Some(table) = self.list(list, &Outer { rest: &[], outer: None })? {
                self.enter(table, OnMiss::Default, &Outer { rest: &[], outer: None })?;
            }
        }
        self.end()
    }

    /// The action set, at the very end; an `exit` before does not keep it from that.
    fn end(mut self) -> Result<(), Stop> {
        if self.paused {
            return Ok(());
        }
        self.exit = false;
        self.reason = reason::ACTION_SET;
        let set = std::mem::take(&mut self.state.set);
        self.run_set(&set, &Outer { rest: &[], outer: None })?;
        self.sink.end(&self.state.key);
        Ok(())
    }

    /// Looks up in a table, runs what is found, and follows goto_table.
    fn enter(&mut self, mut table: u8, on_miss: OnMiss, outer: &Outer<'a, '_>) -> Result<(), Stop> {
        loop {
            self.fresh()?;
            *self.budget = self.budget.checked_sub(1).ok_or(Stop::Budget)?;
            self.turn()?;
            let found = match self.bridge.program.tables.table(table) {
                Some(rules) => {
                    let found = rules.decide(&self.state.key, self.budget, &mut self.room.dimensions);
                    found.map_err(|_| Stop::Budget)?
                }
                None => None,
            };
            self.sink.found(table, found, &self.state.key, self.depth);
            let Some(rule) = found else { return self.miss(table, on_miss, outer) };
            self.step(Step::Rule { table, rule: rule.id })?;
            (self.state.table, self.state.rule) = (table, Some(rule));
            match self.list(&rule.flow.actions, outer)? {
                Some(next) => table = next,
                None => return Ok(()),
            }
        }
    }

    fn miss(&mut self, table: u8, on_miss: OnMiss, outer: &Outer<'a, '_>) -> Result<(), Stop> {
        self.step(Step::Miss { table })?;
        if on_miss == OnMiss::Ignore {
            return Ok(());
        }
        self.step(Step::Drop(DropReason::NoRule))?;
        if self.bridge.program.miss_to_controller {
            (self.state.table, self.state.rule) = (table, None);
            self.request(Request::Controller(&MISS, reason::NO_MATCH), outer)?;
        }
        Ok(())
    }

    /// Runs `inner` one level deeper.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        self.turn()?;
        if self.depth == MAX_DEPTH {
            return Err(Stop::TooComplex);
        }
        self.depth += 1;
        let outcome = inner(self);
        self.depth -= 1;
        outcome
    }

    fn turn(&mut self) -> Result<(), Stop> {
        self.turns += 1;
        if self.turns > MAX_TURNS { Err(Stop::TooComplex) } else { Ok(()) }
    }

    fn step(&mut self, step: Step) -> Result<(), Stop> {
        self.steps += 1;
        if self.steps > MAX_STEPS / 2 {
            return Err(Stop::TooComplex);
        }
        self.sink.step(step);
        Ok(())
    }

    fn set_queue(&mut self, queue: u32) -> Result<(), Stop> {
        if self.queue == queue {
            return Ok(());
        }
        self.queue = queue;
        self.step(Step::Queue(queue))
    }

    fn request(&mut self, request: Request<'a>, outer: &Outer<'a, '_>) -> Result<(), Stop> {
        self.steps += 1;
        if self.steps > MAX_STEPS / 2 {
            return Err(Stop::TooComplex);
        }
        self.sink.request(self.requests, request, &self.state, &self.room.stack, outer);
        self.requests += 1;
        Ok(())
    }

    /// What `inner` does is done to a copy: afterwards the packet and all that is known of it are what they were before.
    fn on_copy(&mut self, inner: impl FnOnce(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        let (key, stale, queue, set) = (self.state.key, self.stale, self.queue, self.state.set.clone());
        let stack = self.room.stack.len();
        let save = self.sink.save();
        self.steps += 2;
        inner(self)?;
        self.sink.close(save);
        (self.state.key, self.stale, self.state.set) = (key, stale, set);
        self.set_queue(queue)?;
        // What was pushed is gone; what was popped below is not asked for by anybody who writes clones.
        self.room.stack.truncate(stack);
        self.exit = self.paused;
        Ok(())
    }

    /// Makes the key say what the frame is.
    fn fresh(&mut self) -> Result<(), Stop> {
        if self.stale && !self.sink.read(&mut self.state.key) {
            return Err(Stop::NeedsFrame);
        }
        self.stale = false;
        Ok(())
    }
}
