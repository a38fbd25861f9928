//! A flow as an operator states it, and the same flow installed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::{Action, Field, FlowKey, KEY_WORDS, Mask};

/// Which packets: those whose key equals `key` in the bits of `mask`. Bits of `key` outside `mask` are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Match {
    /// The wanted values.
    pub key: FlowKey,
    /// The bits that count.
    pub mask: Mask,
}

impl Match {
    /// Clears the bits of the key that do not count.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        for (word, mask) in self.key.words.iter_mut().zip(&self.mask.words) {
            *word &= mask;
        }
        self
    }

    /// True when the packet is meant.
    #[must_use]
    pub fn covers(&self, key: &FlowKey) -> bool {
        (0..KEY_WORDS).all(|word| (key.words[word] ^ self.key.words[word]) & self.mask.words[word] == 0)
    }

    /// True when every packet meant here is also meant by `other`.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        let looks_at_all = (0..KEY_WORDS).all(|word| other.mask.words[word] & !self.mask.words[word] == 0);
        looks_at_all && other.covers(&self.key)
    }

    /// Wants the given bits of the field to have this value.
    pub fn want(&mut self, field: Field, value: u64, bits: u64) {
        let counted = self.mask.field(field) | bits;
        self.key.set(field, (self.key.field(field) & !bits) | (value & bits));
        self.mask.add(field, counted);
    }
}

/// A flow: what `add-flow` takes and `dump-flows` prints (without statistics).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Table number, below [`super::TABLES`].
    pub table: u8,
    /// Higher wins.
    pub priority: u16,
    /// The controller's own number.
    pub cookie: u64,
    /// Seconds without a packet after which the flow goes; 0 for never.
    pub idle_timeout: u16,
    /// Seconds after which the flow goes; 0 for never.
    pub hard_timeout: u16,
    /// Rules of lower importance go first when a table is full.
    pub importance: u16,
    /// See [`FlowFlags`].
    pub flags: FlowFlags,
    /// Which packets.
    pub matches: Match,
    /// What to do with them.
    pub actions: Vec<Action>,
}

/// OpenFlow's flags of a flow. Not all of them are a property that stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Five independent bits of the protocol.
pub struct FlowFlags {
    /// `send_flow_rem`: controllers are told when it goes.
    pub send_flow_rem: bool,
    /// `check_overlap`: refused when a rule of the same priority may match the same packets.
    pub check_overlap: bool,
    /// `reset_counts`: counters start again when it is modified.
    pub reset_counts: bool,
    /// `no_packet_counts`
    pub no_packet_counts: bool,
    /// `no_byte_counts`
    pub no_byte_counts: bool,
}

impl FlowFlags {
    /// The words of those that are set, in the order in which they are printed.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = [
            ("send_flow_rem", self.send_flow_rem),
            ("check_overlap", self.check_overlap),
            ("reset_counts", self.reset_counts),
            ("no_packet_counts", self.no_packet_counts),
            ("no_byte_counts", self.no_byte_counts),
        ];
        all.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name)
    }
}

impl Flow {
    /// True when it goes by itself some day.
    #[must_use]
    pub fn times_out(&self) -> bool {
        let ends = |action: &Action| matches!(action, Action::FinTimeout { .. });
        self.idle_timeout > 0 || self.hard_timeout > 0 || self.actions.iter().any(ends)
    }
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
    /// When it was last modified or learned again, in the same clock: hard time-outs count from here. Control's alone.
    pub modified_ms: AtomicU64,
    /// A lane per worker; a rule whose actions were modified shares them with its predecessor.
    pub stats: Arc<[RuleLane]>,
}

/// One worker's count of the packets that a rule decided. Written by that worker only.
#[derive(Debug, Default)]
pub struct RuleLane {
    packets: AtomicU64,
    bytes: AtomicU64,
    used_ms: AtomicU64,
    finished: AtomicBool,
}

impl RuleLane {
    /// Counts packets, at this time.
    #[inline(always)]
    pub fn count(&self, packets: u64, bytes: u64, now_ms: u64) {
        self.packets.store(self.packets.load(Relaxed) + packets, Relaxed);
        self.bytes.store(self.bytes.load(Relaxed) + bytes, Relaxed);
        self.used_ms.store(now_ms, Relaxed);
    }

    /// A connection ended that the rule decided: its `fin_timeout` holds from now on.
    pub fn finish(&self) {
        self.finished.store(true, Relaxed);
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
    /// Its idle and hard time-outs in seconds, 0 for none: those it was given, or shorter ones of `fin_timeout` once a
    /// connection ended.
    #[must_use]
    pub fn timeouts(&self) -> (u16, u16) {
        let mut timeouts = (self.flow.idle_timeout, self.flow.hard_timeout);
        if self.stats.iter().any(|lane| lane.finished.load(Relaxed)) {
            let shorter = |now: u16, fin: u16| if now == 0 || (fin > 0 && fin < now) { fin } else { now };
            for action in &self.flow.actions {
                if let Action::FinTimeout { idle, hard } = *action {
                    timeouts = (shorter(timeouts.0, idle), shorter(timeouts.1, hard));
                }
            }
        }
        timeouts
    }

    /// A rule in the place of this one: another flow with the same table, match and priority, the same age.
    #[must_use]
    pub fn changed(&self, flow: Flow, now_ms: u64, stats: Arc<[RuleLane]>) -> Self {
        Self { id: self.id, flow, created_ms: self.created_ms, modified_ms: now_ms.into(), stats }
    }

    /// Adds the lanes up.
    #[must_use]
    pub fn totals(&self) -> RuleTotals {
        let mut totals = RuleTotals { used_ms: self.created_ms, ..RuleTotals::default() };
        for lane in &*self.stats {
            totals.packets += lane.packets.load(Relaxed);
            totals.bytes += lane.bytes.load(Relaxed);
            totals.used_ms = totals.used_ms.max(lane.used_ms.load(Relaxed));
        }
        totals
    }
}
