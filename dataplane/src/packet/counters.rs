//! What went through a port, one lane per worker: a worker writes its own lane with plain stores, control adds lanes up.
//!
//! Over all ports: received + copies = sent + dropped.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::DropReason;

/// One worker's counters of one port. Written by that worker only.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct PortCounters {
    rx_packets: AtomicU64,
    rx_bytes: AtomicU64,
    tx_packets: AtomicU64,
    tx_bytes: AtomicU64,
    copies: AtomicU64,
    drops: [AtomicU64; DropReason::COUNT],
}

/// Adds without a locked instruction: the lane has one writer.
#[inline(always)]
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed) + by, Relaxed);
}

impl PortCounters {
    /// Counts what came in, dropped frames included.
    #[inline]
    pub fn received(&self, packets: u64, bytes: u64) {
        bump(&self.rx_packets, packets);
        bump(&self.rx_bytes, bytes);
    }

    /// Counts what went out.
    #[inline]
    pub fn sent(&self, packets: u64, bytes: u64) {
        bump(&self.tx_packets, packets);
        bump(&self.tx_bytes, bytes);
    }

    /// Counts outputs beyond the first of packets that came in here.
    #[inline]
    pub fn copied(&self, copies: u64) {
        bump(&self.copies, copies);
    }

    /// Counts dropped packets.
    #[inline]
    pub fn dropped(&self, reason: DropReason, packets: u64) {
        bump(&self.drops[reason as usize], packets);
    }

    /// Adds what a queue tallied while it filled or emptied a batch.
    pub fn add_tally(&self, tally: &Tally) {
        for (&reason, &count) in DropReason::ALL.iter().zip(&tally.drops) {
            if count > 0 {
                self.dropped(reason, u64::from(count));
            }
        }
    }

    /// Adds this lane to `totals`.
    pub fn add_to(&self, totals: &mut PortTotals) {
        totals.rx_packets += self.rx_packets.load(Relaxed);
        totals.rx_bytes += self.rx_bytes.load(Relaxed);
        totals.tx_packets += self.tx_packets.load(Relaxed);
        totals.tx_bytes += self.tx_bytes.load(Relaxed);
        totals.copies += self.copies.load(Relaxed);
        for (total, lane) in totals.drops.iter_mut().zip(&self.drops) {
            *total += lane.load(Relaxed);
        }
    }
}

/// A port's counters, all workers together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortTotals {
    /// Packets that came in, dropped ones included.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets that went out.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Outputs beyond the first of packets that came in here.
    pub copies: u64,
    /// Packets dropped, by [`DropReason`].
    pub drops: [u64; DropReason::COUNT],
}

impl PortTotals {
    /// All dropped packets.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.drops.iter().sum()
    }
}

/// Drops noted by a queue during one burst, added to the port's counters when it ends.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    drops: [u32; DropReason::COUNT],
    total: u32,
}

impl Tally {
    /// Notes one dropped packet.
    #[inline]
    pub fn drop(&mut self, reason: DropReason) {
        self.drop_many(reason, 1);
    }

    /// Notes several.
    #[inline]
    pub fn drop_many(&mut self, reason: DropReason, count: u32) {
        self.drops[reason as usize] += count;
        self.total += count;
    }

    /// All that was noted.
    #[inline]
    #[must_use]
    pub fn total(&self) -> u32 {
        self.total
    }

    /// How often this reason was noted.
    #[must_use]
    pub fn count(&self, reason: DropReason) -> u32 {
        self.drops[reason as usize]
    }

    /// Forgets everything.
    #[inline]
    pub fn clear(&mut self) {
        if self.total > 0 {
            *self = Self::default();
        }
    }
}
