//! What a worker did: written by the worker with plain stores, read by control.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One worker's counters.
        #[derive(Debug, Default)]
        #[repr(align(64))]
        pub(super) struct WorkerCounters { $(pub(super) $name: Counter,)* }

        /// The same, read.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct WorkerTotals { $($(#[$doc])* pub $name: u64,)* }

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
    /// Packets whose verdict was in the cache.
    cache_hits,
    /// Packets that needed a walk through the tables.
    walks,
    /// Batches with walks, whose price holds their pool back for a while when others want the time.
    holds,
}

/// A receive queue's counters, as it was served. They go with it from worker to worker.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct QueueCounters {
    pub(super) packets: Counter,
    pub(super) batches: Counter,
    /// Cycles of the clock that were spent on its batches, from receiving to sending.
    pub(super) cycles: Counter,
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
