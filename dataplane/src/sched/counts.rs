//! What went through a port's queue. Every worker that sends there adds to the same words.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::sys::clock::coarse_ms;

/// A queue's counters.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Count {
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

impl Count {
    pub fn new() -> Self {
        let zero = AtomicU64::default;
        Self { packets: zero(), bytes: zero(), errors: zero(), since_ms: coarse_ms() }
    }

    #[inline]
    pub fn sent(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub fn missed(&self, packets: u64) {
        self.errors.fetch_add(packets, Relaxed);
    }

    pub fn read(&self, id: u32) -> QueueCounts {
        let Self { packets, bytes, errors, since_ms } = self;
        let [packets, bytes, errors] = [packets, bytes, errors].map(|word| word.load(Relaxed));
        QueueCounts { id, packets, bytes, errors, since_ms: *since_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Egress, EgressSpec, Pool, QueueSpec, QueueTotals};

    #[test]
    fn queues_that_stay_count_on_and_new_ones_begin_at_nothing() {
        let spec = |ids: [u32; 2]| EgressSpec {
            max_bytes: None,
            queues: ids.map(|id| QueueSpec { id, ..QueueSpec::default() }).to_vec(),
        };
        let pool = Pool::default();
        let send = |egress: &Egress| egress.charge(3, &pool, QueueTotals { packets: 2, bytes: 200 }, 0);
        let old = Egress::new(spec([0, 3]));
        send(&old);
        let new = Egress::after(spec([3, 5]), &old);
        send(&new);
        // A worker that has not seen the new one yet.
        send(&old);
        new.missed(3, 1);
        let counts: Vec<_> = new.counts().iter().map(|it| (it.id, it.packets, it.bytes, it.errors)).collect();
        assert_eq!(counts[..2], [(3, 6, 600, 1), (5, 0, 0, 0)]);
    }
}
