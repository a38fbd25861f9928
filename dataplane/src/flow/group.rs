//! Groups: several lists of actions under one number.
//!
//! Source: OpenFlow 1.5.1 section 5.10. Neighbours: control keeps and changes them, the pipeline runs and counts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::reads::group_reads;
use super::{Action, Mask};

/// Highest number of a group; above are reserved ones.
pub const GROUP_MAX: u32 = 0xffff_ff00;
/// "No port" or "no group" to watch.
pub const WATCH_ANY: u32 = u32::MAX;

/// A group as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub id: u32,
    /// How a bucket is chosen.
    pub kind: GroupKind,
    /// How `select` hashes; `None` for the default.
    pub selection: Option<Selection>,
    /// Lists of actions.
    pub buckets: Vec<Bucket>,
}

/// How buckets are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    /// Every bucket gets a copy.
    All,
    /// One, by hash and weight.
    Select,
    /// The only one.
    Indirect,
    /// The first one that is alive.
    FastFailover,
}

/// `selection_method=...` of a `select` group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// `hash` or `dp_hash`.
    pub method: String,
    /// Its parameter.
    pub parameter: u64,
    /// Fields and their masks for `hash`; empty for the default.
    pub fields: Vec<(super::FieldId, u128)>,
}

/// A list of actions in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its number in the group.
    pub id: u32,
    /// Its share in a `select` group.
    pub weight: u16,
    /// Alive while this port is; [`WATCH_ANY`] for none.
    pub watch_port: u32,
    /// Alive while this group is; [`WATCH_ANY`] for none.
    pub watch_group: u32,
    /// What it does, as an action set.
    pub actions: Vec<Action>,
}

/// An installed group.
#[derive(Debug)]
pub struct GroupEntry {
    /// What was asked for.
    pub group: Group,
    /// When it was installed, milliseconds of `sys::clock::coarse_ms`.
    pub created_ms: u64,
    /// A lane per worker.
    pub stats: Arc<[GroupLane]>,
    /// What it looks at.
    pub reads: Mask,
}

/// One worker's counts of a group. Written by that worker only.
#[derive(Debug, Default)]
pub struct GroupLane {
    /// Of the group.
    pub total: CountLane,
    /// Of each bucket.
    pub buckets: Box<[CountLane]>,
}

/// Packets and bytes counted by one worker.
#[derive(Debug, Default)]
pub struct CountLane {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl CountLane {
    /// Counts packets.
    #[inline(always)]
    pub fn count(&self, packets: u64, bytes: u64) {
        self.packets.store(self.packets.load(Relaxed) + packets, Relaxed);
        self.bytes.store(self.bytes.load(Relaxed) + bytes, Relaxed);
    }

    /// Packets and bytes.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        (self.packets.load(Relaxed), self.bytes.load(Relaxed))
    }
}

impl GroupEntry {
    /// A new one, with `lanes` workers to count.
    #[must_use]
    pub fn new(group: Group, created_ms: u64, lanes: usize) -> Self {
        let lane = || GroupLane {
            total: CountLane::default(),
            buckets: group.buckets.iter().map(|_| CountLane::default()).collect(),
        };
        let stats = (0..lanes).map(|_| lane()).collect();
        Self { reads: group_reads(&group), group, created_ms, stats }
    }

    /// True when which buckets packets go through depends on which ports' links are up.
    #[must_use]
    pub fn watches_links(&self) -> bool {
        self.group.buckets.iter().any(|bucket| bucket.watch_port != WATCH_ANY)
    }
}

/// The groups of a bridge by number: cheap to clone and to change.
pub type Groups = imbl::OrdMap<u32, Arc<GroupEntry>>;
