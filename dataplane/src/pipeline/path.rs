//! What becomes of a packet, as a flat list of steps: what a walk through the tables found, without the tables.
//!
//! Each worker keeps the paths of a bridge beside its cache, in room that is there from the beginning; paths that are equal
//! are one. Trust: packets choose which paths are made. When there is no room left, cache and paths are emptied and fill
//! again. Neighbours: `walk` emits steps, `run` takes them, `cache` keeps the paths.

use std::cell::Cell;

use crate::flow::{Action, RuleId};
use crate::packet::DropReason;
use crate::port::PortId;

/// A path among those of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathId(pub u32);

/// Most steps of a path.
pub(super) const MAX_STEPS: usize = 4096;

/// One thing to do with a packet.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// A rule of this table matched.
    Rule { table: u8, rule: RuleId },
    /// No rule of this table matched.
    Miss { table: u8 },
    /// The frame is changed; an action without anything on the heap.
    Change(Action),
    /// The TTL (or that of the MPLS label) goes down; at zero the packet ends, and request `nth` is made.
    DecTtl { mpls: bool, nth: u16 },
    /// Cut to so many bytes.
    Truncate(u32),
    /// To a port.
    Output(PortId),
    /// To all ports but the one with this number; `all` includes those set to no-flood.
    Flood { from: u32, all: bool },
    /// As a learning switch would, come in at the port with this number.
    Normal { from: u32 },
    /// What is output from here on leaves through the port's queue with this number; 0 when none was set.
    Queue(u32),
    /// A group is counted.
    Group(u32),
    /// A bucket of a group is counted, by its place.
    Bucket { group: u32, bucket: u16 },
    /// A meter is asked.
    Meter(u32),
    /// The walk's request `nth` to a controller is made; the packet is for nobody else when `ends`.
    Controller { nth: u16 },
    /// The walk's request `nth` to learn is made, not before this time.
    Learn { nth: u16, due_ms: Cell<u64> },
    /// A connection ended: the rule has other time-outs now.
    Finish { table: u8, rule: RuleId },
    /// What follows is done to a copy.
    Save,
    /// Back to what was saved last, by the step with this place.
    Restore { save: u32 },
    /// Why the packet goes nowhere, when it does not.
    Drop(DropReason),
    /// Nothing.
    Nothing,
}

impl Step {
    /// True when the packet may be another one afterwards.
    fn changes(&self) -> bool {
        matches!(self, Self::Change(_) | Self::DecTtl { .. } | Self::Truncate(_) | Self::Meter(_))
    }
}

/// Ends what the last [`Step::Save`] without an end began. Takes it back when nothing was changed since.
pub(super) fn close(steps: &mut Vec<Step>, save: usize) {
    if steps[save..].iter().any(Step::changes) {
        steps.push(Step::Restore { save: save as u32 });
    } else {
        steps[save] = Step::Nothing;
    }
}

/// The list is complete: what nobody looks at any more is not restored.
pub(super) fn finish(steps: &mut Vec<Step>) {
    loop {
        match steps.last() {
            Some(&Step::Restore { save }) => steps[save as usize] = Step::Nothing,
            Some(Step::Queue(_)) => {}
            _ => break,
        }
        steps.pop();
    }
    steps.retain({
        // Places of saves are not used any more.
        |step| *step != Step::Nothing
    });
}

/// Where the steps of a path lie.
#[derive(Clone, Copy)]
struct Place {
    start: u32,
    end: u32,
    copies: bool,
}

/// A path to take.
pub(super) struct Path<'a> {
    pub steps: &'a [Step],
    /// Some steps work on copies: one packet at a time.
    pub copies: bool,
}

/// The paths of one bridge in one worker.
pub(super) struct Paths {
    steps: Vec<Step>,
    ranges: Vec<Place>,
    /// Numbers of paths by a hash of their steps.
    known: Box<[u32]>,
    /// Counts how often it was emptied.
    generation: u64,
}

/// No path.
const NONE: u32 = u32::MAX;

impl Paths {
    /// Room for the paths of so many flows.
    pub fn new(flows: usize) -> Self {
        let count = flows.clamp(64, 1 << 18);
        Self {
            steps: Vec::with_capacity((count * 4).max(2 * MAX_STEPS)),
            ranges: Vec::with_capacity(count),
            known: vec![NONE; count.next_power_of_two()].into(),
            generation: 0,
        }
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn clear(&mut self) {
        if !self.ranges.is_empty() {
            self.steps.clear();
            self.ranges.clear();
            self.known.fill(NONE);
        }
        self.generation += 1;
    }

    /// A path.
    pub fn path(&self, PathId(path): PathId) -> Path<'_> {
        let Place { start, end, copies } = self.ranges[path as usize];
        Path { steps: &self.steps[start as usize..end as usize], copies }
    }

    /// Takes a path in; `None` when there is no room.
    pub fn add(&mut self, steps: &[Step]) -> Option<PathId> {
        let place = place_of(steps) & (self.known.len() - 1);
        // A path that learns is for one flow: it remembers when it did.
        let is_own = steps.iter().any(|step| matches!(step, Step::Learn { .. }));
        let known = self.known[place];
        if !is_own && known != NONE && self.path(PathId(known)).steps == steps {
            return Some(PathId(known));
        }
        if self.ranges.len() == self.ranges.capacity() || self.steps.len() + steps.len() > self.steps.capacity() {
            return None;
        }
        let start = self.steps.len();
        self.steps.extend_from_slice(steps);
        let path = self.ranges.len() as u32;
        let copies = steps.contains(&Step::Save);
        self.ranges.push(Place { start: start as u32, end: self.steps.len() as u32, copies });
        if !is_own {
            self.known[place] = path;
        }
        Some(PathId(path))
    }
}

/// A hash over which rules are passed and where the packet goes; equal lists have equal ones.
fn place_of(steps: &[Step]) -> usize {
    let word = |step: &Step| match step {
        Step::Rule { table, rule } => u64::from(*table) << 32 | u64::from(rule.0),
        Step::Output(port) => 1 << 40 | u64::from(port.0),
        Step::Bucket { group, bucket } => 1 << 41 | u64::from(*group) << 16 ^ u64::from(*bucket),
        Step::Normal { from } | Step::Flood { from, .. } => 1 << 42 | u64::from(*from),
        _ => 1 << 43,
    };
    let mix = |hash: u64, step: &Step| (hash ^ word(step)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    steps.iter().fold(steps.len() as u64, mix) as usize
}
