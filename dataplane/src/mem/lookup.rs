//! Address lookup of one ring: the memory table and the region that was hit last, kept next to the ring's own state.
//!
//! Trust: addresses and lengths come from the guest and are checked here.

use std::sync::Arc;

use super::{GuestMemory, Span};

/// Buffers are hardly ever longer: those that are, and those that begin less than this before their region's end, are found too,
/// but not by [`Lookup::whole`]'s first two comparisons.
const ORDINARY: u32 = 16 * 1024;

/// Turns guest-physical addresses into spans; buffers of one ring mostly share a region, so the last one is kept.
#[derive(Debug)]
pub struct Lookup {
    /// Guest-physical start, length and address here of the last region. Invariant: `host .. host + len` lies inside a
    /// mapping of `memory`.
    start: u64,
    len: u64,
    host: *mut u8,
    /// Bytes of it that have [`ORDINARY`] others behind them.
    inner: u64,
    losses_seen: u32,
    memory: Arc<GuestMemory>,
}

// SAFETY: the pointer is only an address inside a mapping that `memory` keeps; spans made of it may cross threads.
unsafe impl Send for Lookup {}

impl Lookup {
    /// Over this table.
    #[must_use]
    pub fn new(memory: Arc<GuestMemory>) -> Self {
        Self { start: 0, len: 0, host: std::ptr::null_mut(), inner: 0, losses_seen: 0, memory }
    }

    /// The `len` bytes at `address`; `None` when they are not all in one region. `len` 0 gives an empty span.
    #[inline(always)]
    pub fn whole(&mut self, address: u64, len: u32) -> Option<Span> {
        let offset = address.wrapping_sub(self.start);
        if offset >= self.inner || len > ORDINARY {
            return self.find(address, len);
        }
        // SAFETY: `ORDINARY` bytes from this offset are inside the region (just checked), see the invariant.
        Some(unsafe { Span::new(self.host.wrapping_add(offset as usize), len) })
    }

    /// The same for any address and length.
    #[cold]
    fn find(&mut self, address: u64, len: u32) -> Option<Span> {
        if address.wrapping_sub(self.start) >= self.len && !self.move_to(address) {
            return None;
        }
        let offset = address - self.start;
        let inside = u64::from(len) <= self.len - offset;
        // SAFETY: `len` bytes from this offset are inside the region (just checked), see the invariant.
        inside.then(|| unsafe { Span::new(self.host.wrapping_add(offset as usize), len) })
    }

    /// The bytes at `address`, at most `len` and only as far as their region goes; `None` when it is in no region.
    #[inline]
    pub fn span(&mut self, address: u64, len: u32) -> Option<Span> {
        if address.wrapping_sub(self.start) >= self.len && !self.move_to(address) {
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

    /// Moves to the region of `address`; false when it is in none.
    #[cold]
    fn move_to(&mut self, address: u64) -> bool {
        let Some(region) = self.memory.window(address) else { return false };
        (self.start, self.len, self.host) = region;
        self.inner = self.len.saturating_sub(ORDINARY.into());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Mapping, Region};
    use super::*;

    #[test]
    fn every_address_and_length_is_told_apart() {
        let len = 4 * u64::from(ORDINARY);
        let region = |start| Region::of_own(Arc::new(Mapping::memfd(c"test", len).expect("memfd")), start);
        let (first, second) = (0x10_0000, 0x20_0000);
        let memory = GuestMemory::new(vec![region(first), region(second)]).expect("no overlap");
        let mut lookup = Lookup::new(Arc::new(memory));
        let offsets = [0, 1, len - u64::from(ORDINARY) - 1, len - u64::from(ORDINARY), len - 1, len, u64::MAX];
        let lengths = [1, 64, ORDINARY, ORDINARY + 1, 2 * ORDINARY, 4 * ORDINARY, 4 * ORDINARY + 1, u32::MAX];
        for offset in offsets {
            for wanted in lengths {
                // The other region was hit last, then the same.
                for start in [first, second, second, first] {
                    let address = u64::wrapping_add(start, offset);
                    let inside = offset.checked_add(wanted.into()).is_some_and(|end| end <= len);
                    let got = lookup.whole(address, wanted).map(|span| span.len());
                    assert_eq!(got, inside.then_some(wanted as usize), "{address:#x}+{wanted:#x}");
                }
            }
        }
    }

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
