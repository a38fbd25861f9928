//! What went through a port's queues. Every worker that sends there adds to the same words.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::EgressSpec;
use crate::sys::clock::coarse_ms;

/// A queue's counters.
#[derive(Debug)]
#[repr(align(64))]
struct Count {
    packets: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
    since_ms: u64,
}

/// What a queue counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueCounts {
    /// OpenFlow's number of it.
    pub id: u32,
    /// Packets that were sent.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that the port did not take.
    pub errors: u64,
    /// When the queue came, milliseconds of `sys::clock::coarse_ms`.
    pub since_ms: u64,
}

/// The counters of a port's queues. Packets for a queue that is not there are in the first one.
#[derive(Debug, Default)]
pub struct AllCounts(Vec<(u32, Arc<Count>)>);

impl AllCounts {
    /// Counters for these queues; those that were there before count on.
    #[must_use]
    pub fn new(spec: &EgressSpec, before: Option<&Self>) -> Self {
        let kept = |id| before?.0.iter().find(|(known, _)| *known == id).map(|(_, count)| Arc::clone(count));
        let new = || {
            let zero = AtomicU64::default;
            Arc::new(Count { packets: zero(), bytes: zero(), errors: zero(), since_ms: coarse_ms() })
        };
        Self(spec.queues.iter().map(|queue| (queue.id, kept(queue.id).unwrap_or_else(new))).collect())
    }

    /// Counts what was sent through the queue in this place of the specification, and what the port did not take.
    #[inline]
    pub fn sent(&self, place: usize, packets: u64, bytes: u64, errors: u64) {
        let Some((_, count)) = self.0.get(place) else { return };
        count.packets.fetch_add(packets, Relaxed);
        count.bytes.fetch_add(bytes, Relaxed);
        if errors > 0 {
            count.errors.fetch_add(errors, Relaxed);
        }
    }

    /// What all of them counted.
    #[must_use]
    pub fn totals(&self) -> Vec<QueueCounts> {
        let totals = |(id, count): &(u32, Arc<Count>)| QueueCounts {
            id: *id,
            packets: count.packets.load(Relaxed),
            bytes: count.bytes.load(Relaxed),
            errors: count.errors.load(Relaxed),
            since_ms: count.since_ms,
        };
        self.0.iter().map(totals).collect()
    }
}
