//! What a worker did: written by the worker with plain stores, read by control.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::packet::BATCH;
use crate::pipeline::Lookups;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One worker's counters.
        #[derive(Debug, Default)]
        #[repr(align(64))]
        pub(super) struct WorkerCounters { $(pub(super) $name: Counter,)* }

        /// The same, read.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct WorkerTotals { $($(#[$doc])* pub $name: u64,)* }

        impl WorkerTotals {
            /// What was counted since `before`.
            pub(super) fn since(self, before: Self) -> Self {
                Self { $($name: self.$name.saturating_sub(before.$name),)* }
            }
        }

        impl WorkerCounters {
            pub(super) fn totals(&self) -> WorkerTotals {
                WorkerTotals { $($name: self.$name.0.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Passes over all queues.
    passes,
    /// Batches that held at least one packet.
    batches,
    /// Packets received.
    packets,
    /// Cycles of passes that found packets.
    busy_cycles,
    /// Cycles of passes that found none (sleep not counted).
    idle_cycles,
    /// Times it went to sleep.
    sleeps,
    /// Packets whose verdict was known for all traffic of their port.
    port_hits,
    /// Packets whose verdict was known for all with their destination.
    sorted_hits,
    /// Packets whose rule was found by comparing with a few.
    shortlist_hits,
    /// Packets whose verdict was in the cache.
    cache_hits,
    /// Packets that needed a walk through the tables.
    walks,
    /// Batches with walks, whose price holds their pool back for a while when others want the time.
    holds,
    /// Queues that came from other workers; counted by control.
    moved_in,
    /// Queues that went to other workers; counted by control.
    moved_out,
}

/// Kinds of batches by how many packets they hold: 0, 1, 2 to 3, 4 to 7, 8 to 15, 16 to 31, 32.
pub const BATCH_SIZES: usize = 7;
/// Kinds of batches by cycles: below 128, below 256, and so on; the last one has no upper end.
pub const BATCH_CYCLES: usize = 16;
/// The first kind of [`BATCH_CYCLES`] ends here, as a power of two.
const LEAST_CYCLES_LOG2: usize = 7;

/// A receive queue's counters, as it was served. They go with it from worker to worker.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct QueueCounters {
    packets: Counter,
    batches: Counter,
    /// Cycles of the clock that were spent on its batches, from receiving to sending.
    cycles: Counter,
    port_hits: Counter,
    sorted_hits: Counter,
    shortlist_hits: Counter,
    cache_hits: Counter,
    walks: Counter,
    sizes: [Counter; BATCH_SIZES],
    batch_cycles: [Counter; BATCH_CYCLES],
}

impl QueueCounters {
    /// A look at the queue found nothing.
    #[inline(always)]
    pub(super) fn found_nothing(&self) {
        self.sizes[0].add(1);
    }

    /// A batch was served.
    #[inline(always)]
    pub(super) fn served(&self, packets: usize, lookups: Lookups, cycles: u64) {
        self.packets.add(packets as u64);
        self.batches.add(1);
        self.cycles.add(cycles);
        self.port_hits.add(lookups.port_hits);
        self.sorted_hits.add(lookups.sorted_hits);
        self.shortlist_hits.add(lookups.shortlist_hits);
        self.cache_hits.add(lookups.cache_hits);
        self.walks.add(lookups.walks);
        self.sizes[size_kind(packets)].add(1);
        self.batch_cycles[cycles_kind(cycles)].add(1);
    }

    pub(super) fn totals(&self) -> QueueTotals {
        QueueTotals {
            packets: self.packets.read(),
            batches: self.batches.read(),
            cycles: self.cycles.read(),
            port_hits: self.port_hits.read(),
            sorted_hits: self.sorted_hits.read(),
            shortlist_hits: self.shortlist_hits.read(),
            cache_hits: self.cache_hits.read(),
            walks: self.walks.read(),
            sizes: self.sizes.each_ref().map(Counter::read),
            batch_cycles: self.batch_cycles.each_ref().map(Counter::read),
        }
    }

    /// Cycles spent so far.
    pub(super) fn cycles(&self) -> u64 {
        self.cycles.read()
    }
}

#[inline(always)]
fn size_kind(packets: usize) -> usize {
    ((usize::BITS - packets.leading_zeros()) as usize).min(BATCH_SIZES - 1)
}

#[inline(always)]
fn cycles_kind(cycles: u64) -> usize {
    ((u64::BITS - cycles.leading_zeros()) as usize).saturating_sub(LEAST_CYCLES_LOG2).min(BATCH_CYCLES - 1)
}

/// What a receive queue counted since it was attached, or since its counters were cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueTotals {
    /// Packets received.
    pub packets: u64,
    /// In so many batches.
    pub batches: u64,
    /// Cycles of the clock spent on them, from receiving to sending.
    pub cycles: u64,
    /// Packets whose verdict was known for all traffic of their port.
    pub port_hits: u64,
    /// Packets whose verdict was known for all with their destination.
    pub sorted_hits: u64,
    /// Packets whose rule was found by comparing with a few.
    pub shortlist_hits: u64,
    /// Packets whose verdict was in the cache.
    pub cache_hits: u64,
    /// Packets that needed a walk through the tables.
    pub walks: u64,
    /// Looks by what they found, see [`BATCH_SIZES`].
    pub sizes: [u64; BATCH_SIZES],
    /// Batches by what they cost, see [`BATCH_CYCLES`].
    pub batch_cycles: [u64; BATCH_CYCLES],
}

impl QueueTotals {
    /// Packets of the batches of this kind, from and to; see [`BATCH_SIZES`].
    #[must_use]
    pub fn sizes_of(kind: usize) -> (u64, u64) {
        match kind {
            0 => (0, 0),
            kind if kind == BATCH_SIZES - 1 => (BATCH as u64, BATCH as u64),
            kind => (1 << (kind - 1), (1 << kind) - 1),
        }
    }

    /// Cycles of the batches of this kind, from and to; see [`BATCH_CYCLES`].
    #[must_use]
    pub fn cycles_of(kind: usize) -> (u64, Option<u64>) {
        let end = |kind: usize| 1 << (kind + LEAST_CYCLES_LOG2);
        let from = if kind == 0 { 0 } else { end(kind - 1) };
        (from, (kind < BATCH_CYCLES - 1).then(|| end(kind) - 1))
    }

    /// What was counted since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        let less = u64::saturating_sub;
        Self {
            packets: less(self.packets, before.packets),
            batches: less(self.batches, before.batches),
            cycles: less(self.cycles, before.cycles),
            port_hits: less(self.port_hits, before.port_hits),
            sorted_hits: less(self.sorted_hits, before.sorted_hits),
            shortlist_hits: less(self.shortlist_hits, before.shortlist_hits),
            cache_hits: less(self.cache_hits, before.cache_hits),
            walks: less(self.walks, before.walks),
            sizes: std::array::from_fn(|kind| less(self.sizes[kind], before.sizes[kind])),
            batch_cycles: std::array::from_fn(|kind| less(self.batch_cycles[kind], before.batch_cycles[kind])),
        }
    }
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    #[inline(always)]
    pub(super) fn add(&self, by: u64) {
        self.0.store(self.0.load(Relaxed) + by, Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_sorted_by_size_and_cost() {
        let kinds: Vec<usize> = [0, 1, 2, 3, 4, 7, 8, 15, 16, 31, BATCH].map(size_kind).to_vec();
        assert_eq!(kinds, [0, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]);
        let kinds: Vec<usize> = [0, 127, 128, 255, 256, (1 << 21) - 1, 1 << 21, u64::MAX].map(cycles_kind).to_vec();
        assert_eq!(kinds, [0, 0, 1, 1, 2, 14, 15, 15]);
        for kind in 0..BATCH_SIZES {
            let (from, to) = QueueTotals::sizes_of(kind);
            assert_eq!([size_kind(from as usize), size_kind(to as usize)], [kind; 2]);
        }
        for kind in 0..BATCH_CYCLES {
            let (from, to) = QueueTotals::cycles_of(kind);
            assert_eq!([cycles_kind(from), cycles_kind(to.unwrap_or(u64::MAX))], [kind; 2]);
        }
    }

    #[test]
    fn what_is_cleared_counts_from_there() {
        let counters = QueueCounters::default();
        let lookups = Lookups { cache_hits: 2, walks: 1, ..Lookups::default() };
        counters.served(3, lookups, 1000);
        let before = counters.totals();
        counters.served(1, Lookups { port_hits: 1, ..Lookups::default() }, 300);
        counters.found_nothing();
        let now = counters.totals().since(before);
        assert_eq!((now.packets, now.batches, now.cycles), (1, 1, 300));
        assert_eq!((now.port_hits, now.cache_hits, now.walks), (1, 0, 0));
        assert_eq!(now.sizes, [1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(now.batch_cycles.iter().sum::<u64>(), 1);
    }
}
