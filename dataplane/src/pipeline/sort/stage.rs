//! The worker's first stage: one look for each run of frames with equal destination and tag.

use super::entry::{NO_SEAT, SortEntry, seat_of_frame};
use super::table::{Seats, SortTable};
use crate::packet::{BATCH, Packet};
use crate::pipeline::cache::Verdict;

/// Entries whose verdicts a worker remembers at once.
const KNOWN: usize = 1024;

/// What a walk found for an entry; it holds in one version of the bridge and one generation of its paths.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::pipeline) struct Holds {
    pub entry: u64,
    pub version: u64,
    pub generation: u64,
}

/// One worker's stage.
pub(in crate::pipeline) struct Stage {
    /// By the entry's number.
    known: Box<[(Holds, Verdict)]>,
}

impl Default for Stage {
    fn default() -> Self {
        // No entry has the number 0.
        Self { known: vec![(Holds::default(), Verdict::UNKNOWN); KNOWN].into() }
    }
}

impl Stage {
    /// Gives every packet of a sorted entry its verdict, and returns a bit for each that has none. `judge` walks with an
    /// entry's key.
    pub fn sort(
        &mut self,
        (table, seats): (&SortTable, &Seats),
        packets: &[Packet],
        lane: usize,
        verdicts: &mut [Verdict; BATCH],
        mut judge: impl FnMut(&mut Self, &SortEntry) -> Verdict,
    ) -> u32 {
        let (mut rest, mut first) = (0, 0);
        let mut seat = packets.first().map_or(NO_SEAT, |packet| seat_of_frame(packet.head()));
        while first < packets.len() {
            let mut next = NO_SEAT;
            // Every frame is looked at itself, whoever sorted it.
            let len = packets[first + 1..].iter().take_while(|packet| {
                next = seat_of_frame(packet.head());
                next == seat
            });
            let run = first..first + 1 + len.count();
            let entry = table.entry(seats, seat);
            let verdict = entry.filter(|entry| entry.is_uniform()).map_or(Verdict::UNKNOWN, |entry| judge(self, entry));
            if let Some(entry) = entry {
                entry.pool.count(lane, run.len() as u64, verdict.is_known());
            }
            verdicts[run.clone()].fill(verdict);
            if !verdict.is_known() {
                rest |= ((1u64 << run.end) - (1u64 << run.start)) as u32;
            }
            (first, seat) = (run.end, next);
        }
        rest
    }

    /// The entry's verdict, which `walk` finds when it is not known.
    #[inline]
    pub fn verdict(&mut self, holds: Holds, walk: impl FnOnce() -> Verdict) -> Verdict {
        let known = &mut self.known[holds.entry as usize % KNOWN];
        if known.0 != holds {
            let found = walk();
            if !found.is_shared() {
                return Verdict::UNKNOWN;
            }
            *known = (holds, found);
        }
        known.1
    }
}
