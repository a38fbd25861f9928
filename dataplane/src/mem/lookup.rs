//! Address lookup of one ring: the memory table and the region that was hit last, kept next to the ring's own state.
//!
//! Trust: addresses and lengths come from the guest and are checked here.

use std::sync::Arc;

use super::{GuestMemory, Span};

/// Turns guest-physical addresses into spans; buffers of one ring mostly share a region, so the last one is kept.
#[derive(Debug)]
pub struct Lookup {
    /// Guest-physical start, length and address here of the last region. Invariant: `host .. host + len` lies inside a
    /// mapping of `memory`.
    start: u64,
    len: u64,
    host: *mut u8,
    losses_seen: u32,
    memory: Arc<GuestMemory>,
}

// SAFETY: the pointer is only an address inside a mapping that `memory` keeps; spans made of it may cross threads.
unsafe impl Send for Lookup {}

impl Lookup {
    /// Over this table.
    #[must_use]
    pub fn new(memory: Arc<GuestMemory>) -> Self {
        Self { start: 0, len: 0, host: std::ptr::null_mut(), losses_seen: 0, memory }
    }

    /// The `len` bytes at `address`; `None` when they are not all in one region. `len` 0 gives an empty span.
    #[inline(always)]
    pub fn whole(&mut self, address: u64, len: u32) -> Option<Span> {
        let room = self.len.checked_sub(address.wrapping_sub(self.start));
        if room.is_none_or(|room| u64::from(len) > room) && !self.refill(address, len) {
            return None;
        }
        // SAFETY: `len` bytes from this offset are inside the region (checked above), see the invariant; an empty span
        // may point anywhere.
        Some(unsafe { Span::new(self.host.wrapping_add(address.wrapping_sub(self.start) as usize), len) })
    }

    /// The bytes at `address`, at most `len` and only as far as their region goes; `None` when it is in no region.
    #[inline]
    pub fn span(&mut self, address: u64, len: u32) -> Option<Span> {
        if address.wrapping_sub(self.start) >= self.len && !self.refill(address, 1) {
            return None;
        }
        let len = u64::from(len).min(self.len - (address - self.start)) as u32;
        self.whole(address, len)
    }

    /// Copies the bytes at `address` out, across regions; false when some are in none.
    #[inline]
    #[must_use]
    pub fn read(&mut self, mut address: u64, mut to: &mut [u8]) -> bool {
        while !to.is_empty() {
            let Some(span) = self.span(address, to.len() as u32) else { return false };
            let count = span.read(to);
            to = &mut to[count..];
            address = address.wrapping_add(count as u64);
        }
        true
    }

    /// True once (for each loss) after a file behind the table was truncated.
    #[inline(always)]
    #[must_use]
    pub fn is_lost(&mut self) -> bool {
        self.memory.is_lost(&mut self.losses_seen)
    }

    /// Moves to the region of `address`; true when `len` bytes are there.
    #[cold]
    fn refill(&mut self, address: u64, len: u32) -> bool {
        let Some((start, region_len, host)) = self.memory.window(address) else { return false };
        (self.start, self.len, self.host) = (start, region_len, host);
        u64::from(len) <= region_len - (address - start)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Mapping, Region};
    use super::*;

    #[test]
    fn reads_cross_regions_and_whole_spans_do_not() {
        let region = |start| Region::of_own(Arc::new(Mapping::memfd(c"test", 4096).expect("memfd")), start);
        let memory = GuestMemory::new(vec![region(0x1000), region(0x2000), region(0x8000)]).expect("no overlap");
        let mut lookup = Lookup::new(Arc::new(memory));
        lookup.span(0x1ffe, 2).expect("inside").write(b"ab");
        lookup.span(0x2000, 2).expect("inside").write(b"cd");
        let mut four = [0; 4];
        assert!(lookup.read(0x1ffe, &mut four));
        assert_eq!(&four, b"abcd");
        assert!(lookup.whole(0x1ffe, 4).is_none());
        assert_eq!(lookup.span(0x1ffe, 4).map(|span| span.len()), Some(2));
        assert_eq!(lookup.whole(0x8000, 4096).map(|span| span.len()), Some(4096));
        assert!(!lookup.read(0x2ffe, &mut four), "a hole follows");
        for (address, len) in [(0, 1), (0xfff, 1), (0x3000, 1), (0x8000, 4097), (u64::MAX, 1), (u64::MAX, u32::MAX)] {
            assert!(lookup.whole(address, len).is_none(), "{address:#x}+{len:#x}");
        }
    }
}
