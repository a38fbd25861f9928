//! A flow as an operator states it, and the same flow installed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Action, FlowKey, Mask};

/// Which packets: those whose key equals `key` in the bits of `mask`. Bits of `key` outside `mask` are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Match {
    /// The wanted values.
    pub key: FlowKey,
    /// The bits that count.
    pub mask: Mask,
}

/// A flow: what `add-flow` takes and `dump-flows` prints (without statistics).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Table number; only 0 for now.
    pub table: u8,
    /// Higher wins.
    pub priority: u16,
    /// The controller's own number.
    pub cookie: u64,
    /// Seconds without a packet after which the flow goes; 0 for never.
    pub idle_timeout: u16,
    /// Seconds after which the flow goes; 0 for never.
    pub hard_timeout: u16,
    /// Which packets.
    pub matches: Match,
    /// What to do with them.
    pub actions: Vec<Action>,
}

/// OpenFlow's default priority.
pub const DEFAULT_PRIORITY: u16 = 0x8000;

/// An installed rule's place in its table: dense, reused after the rule is gone. Caches keep these instead of pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u32);

/// An installed flow. Immutable but for its counters.
#[derive(Debug)]
pub struct Rule {
    /// Given by the table on insertion.
    pub id: RuleId,
    /// What was asked for.
    pub flow: Flow,
    /// When it was installed, milliseconds of `sys::clock::coarse_ms`.
    pub created_ms: u64,
    /// A lane per worker.
    pub stats: Box<[RuleLane]>,
}

/// One worker's count of the packets that a rule decided. Written by that worker only.
#[derive(Debug, Default)]
pub struct RuleLane {
    packets: AtomicU64,
    bytes: AtomicU64,
    used_ms: AtomicU64,
}

impl RuleLane {
    /// Counts packets, at this time.
    #[inline(always)]
    pub fn count(&self, packets: u64, bytes: u64, now_ms: u64) {
        self.packets.store(self.packets.load(Relaxed) + packets, Relaxed);
        self.bytes.store(self.bytes.load(Relaxed) + bytes, Relaxed);
        self.used_ms.store(now_ms, Relaxed);
    }
}

/// A rule's counters, all workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleTotals {
    /// Packets it decided.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When it last decided one; its creation when never.
    pub used_ms: u64,
}

impl Rule {
    /// Adds the lanes up.
    #[must_use]
    pub fn totals(&self) -> RuleTotals {
        let mut totals = RuleTotals { used_ms: self.created_ms, ..RuleTotals::default() };
        for lane in &self.stats {
            totals.packets += lane.packets.load(Relaxed);
            totals.bytes += lane.bytes.load(Relaxed);
            totals.used_ms = totals.used_ms.max(lane.used_ms.load(Relaxed));
        }
        totals
    }
}
