//! What is free in a transmit ring that does not empty by itself at once: a NIC's.
//!
//! Senders wait before it is full, so that nothing has to be dropped; but not for one that takes nothing any more. Several
//! workers write here without a lock: a value that is a moment old does no harm. Neighbours: `egress`.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Frames that stay free for bursts that are on their way, floods, and those who had no time to ask.
const RESERVE: u32 = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Room {
    free: AtomicU32,
    /// The most that was ever free.
    most: AtomicU32,
    /// When it last grew, while it is short.
    grew_at: AtomicU64,
    /// Ticks without growth after which the ring is dead.
    patience: u64,
}

impl Room {
    /// Unlimited, until something else is seen.
    pub fn new(patience: u64) -> Self {
        Self { free: u32::MAX.into(), most: 0.into(), grew_at: 0.into(), patience }
    }

    /// So many frames are free; `usize::MAX` where there is no such limit.
    #[inline]
    pub fn saw(&self, free: usize, now: u64) {
        let free = u32::try_from(free).unwrap_or(u32::MAX);
        let before = self.free.load(Relaxed);
        if free == u32::MAX && before == u32::MAX {
            return;
        }
        if free > self.most.load(Relaxed) {
            self.most.store(free, Relaxed);
        }
        if free > before || !self.is_scarce(before) {
            self.grew_at.store(now, Relaxed);
        }
        self.free.store(free, Relaxed);
    }

    /// So many frames are free in one of several rings, after some were sent through it: this tells of less room, not of more.
    #[inline]
    pub fn saw_rest(&self, free: usize, now: u64) {
        let is_more = free >= self.free.load(Relaxed) as usize;
        if !is_more || free != usize::MAX && free > self.most.load(Relaxed) as usize {
            self.saw(free, now);
        }
    }

    fn is_scarce(&self, free: u32) -> bool {
        free < RESERVE.min(self.most.load(Relaxed) / 2)
    }

    /// True when it is better to look again before more is sent.
    #[inline(always)]
    pub fn is_short(&self) -> bool {
        self.is_scarce(self.free.load(Relaxed))
    }

    /// True when nothing more should be sent now: it is short, and there is hope.
    #[inline]
    pub fn must_wait(&self, now: u64) -> bool {
        self.is_short() && now.saturating_sub(self.grew_at.load(Relaxed)) < self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_wait_while_there_is_little_room_and_hope() {
        let room = Room::new(10);
        assert!(!room.must_wait(0), "what tells nothing is unlimited");
        room.saw(2048, 100);
        assert!(!room.is_short());
        room.saw(255, 1000);
        assert!(room.is_short() && room.must_wait(1009));
        assert!(!room.must_wait(1010), "nothing was sent for so long: it is dead");
        room.saw(255, 1011);
        assert!(!room.must_wait(1011), "and stays so");
        room.saw(256, 1012);
        assert!(!room.is_short());
        room.saw(3, 1013);
        room.saw(9, 1022);
        assert!(room.must_wait(1031), "it is slow, not dead");
    }

    #[test]
    fn a_small_ring_keeps_less_in_reserve() {
        let room = Room::new(10);
        room.saw(64, 0);
        assert!(!room.is_short());
        room.saw(32, 0);
        assert!(!room.is_short());
        room.saw(31, 0);
        assert!(room.is_short());
    }
}
