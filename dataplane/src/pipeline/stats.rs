//! How often each table of a bridge was asked, and found something. One lane per worker, kept as long as the bridge is there.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::flow::TABLES;

/// See the file's head.
#[derive(Debug)]
pub struct TableStats {
    lanes: Box<[Lane]>,
}

#[derive(Debug)]
#[repr(align(64))]
struct Lane([Counts; TABLES as usize]);

#[derive(Debug, Default)]
struct Counts {
    lookups: AtomicU64,
    matches: AtomicU64,
}

/// What a table was asked, all workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableTotals {
    /// Packets looked up.
    pub lookups: u64,
    /// Packets that a rule matched.
    pub matches: u64,
}

impl TableStats {
    /// For so many workers.
    #[must_use]
    pub fn new(lanes: usize) -> Self {
        Self { lanes: (0..lanes).map(|_| Lane(std::array::from_fn(|_| Counts::default()))).collect() }
    }

    /// Counts packets of worker `lane` that a rule of this table matched, or none.
    #[inline]
    pub fn count(&self, lane: usize, table: u8, packets: u64, matched: bool) {
        let Some(counts) = self.lanes.get(lane).and_then(|lane| lane.0.get(usize::from(table))) else { return };
        counts.lookups.store(counts.lookups.load(Relaxed) + packets, Relaxed);
        if matched {
            counts.matches.store(counts.matches.load(Relaxed) + packets, Relaxed);
        }
    }

    /// One table's.
    #[must_use]
    pub fn totals(&self, table: u8) -> TableTotals {
        let counts = self.lanes.iter().filter_map(|lane| lane.0.get(usize::from(table)));
        counts.fold(TableTotals::default(), |totals, counts| TableTotals {
            lookups: totals.lookups + counts.lookups.load(Relaxed),
            matches: totals.matches + counts.matches.load(Relaxed),
        })
    }
}
