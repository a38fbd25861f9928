//! Ring memory as arrays of shared words: checked once when the ring is opened, sliced without a check per word.
//!
//! Trust: the peer writes every word at any time, so all are atomics, and each access sees an old or a new word, never half of
//! one. Neighbours: the rings of `port::vhost` keep their descriptors and entries in these.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::{Area, Mapping};
use crate::sys::cpu;

mod shared {
    /// # Safety
    /// Nothing but atomics, and no padding: any bytes are a value, and a peer may change them under a reference.
    pub unsafe trait Shared: Sync {}
}
use shared::Shared;

// SAFETY: an atomic.
unsafe impl Shared for AtomicU16 {}
// SAFETY: two atomics of the same size.
unsafe impl Shared for Slot {}
// SAFETY: as above.
unsafe impl Shared for UsedEntry {}

/// A descriptor of either kind of ring (virtio 1.2, 2.7.5 and 2.8.13), as two words.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct Slot {
    low: AtomicU64,
    high: AtomicU64,
}

impl Slot {
    /// The address.
    #[inline(always)]
    #[must_use]
    pub fn low(&self) -> u64 {
        self.low.load(Ordering::Relaxed)
    }

    /// Length in the lower half; what is above depends on the ring.
    #[inline(always)]
    #[must_use]
    pub fn high(&self, order: Ordering) -> u64 {
        self.high.load(order)
    }

    /// Fetches it ahead of writing.
    #[inline(always)]
    pub fn prefetch_write(&self) {
        cpu::prefetch_write_address(std::ptr::from_ref(self).cast());
    }

    /// Stores the second word.
    #[inline(always)]
    pub fn set_high(&self, value: u64, order: Ordering) {
        self.high.store(value, order);
    }
}

/// An entry of a split ring's used ring (virtio 1.2, 2.7.8).
#[repr(C)]
#[derive(Debug)]
pub struct UsedEntry {
    id: AtomicU32,
    len: AtomicU32,
}

impl UsedEntry {
    /// Writes the entry unless it says so already: traffic of one size often repeats the entries of the last lap, and a line
    /// that is right is not dirtied.
    #[inline(always)]
    pub fn put(&self, id: u32, len: u32) {
        if self.both() != u64::from(id) | u64::from(len) << 32 {
            self.id.store(id, Ordering::Relaxed);
            self.len.store(len, Ordering::Relaxed);
        }
    }

    /// Both words by one load: entries lie four bytes beside what an atomic of eight needs.
    #[inline(always)]
    fn both(&self) -> u64 {
        #[repr(C, packed(4))]
        struct Both(u64);
        // SAFETY: the same eight bytes, with the alignment that both types have; any bytes are a value. The peer only reads the
        // used ring: one that writes it anyway sees an entry kept that it made itself.
        unsafe { std::ptr::from_ref(self).cast::<Both>().read_volatile() }.0
    }
}

/// An array of shared words inside a mapping that it keeps.
#[derive(Debug)]
pub struct Table<T> {
    /// Invariant: aligned for `T`, and `count` of them from here lie inside the mapping.
    start: *mut u8,
    count: usize,
    _mapping: Arc<Mapping>,
    _words: PhantomData<T>,
}

// SAFETY: all access is atomic, and the mapping lives as long as the table.
unsafe impl<T: Shared> Send for Table<T> {}

impl<T: Shared> Table<T> {
    /// `count` words from byte `offset` of the area; `None` when they are not all inside, or not aligned.
    #[must_use]
    pub fn new(area: &Area, offset: usize, count: usize) -> Option<Self> {
        let (start, len, mapping) = area.parts();
        let bytes = count.checked_mul(size_of::<T>())?.checked_add(offset)?;
        let start = start.wrapping_add(offset);
        let fits = bytes <= len && (start as usize).is_multiple_of(align_of::<T>());
        fits.then(|| Self { start, count, _mapping: Arc::clone(mapping), _words: PhantomData })
    }

    /// All words.
    #[inline(always)]
    #[must_use]
    pub fn all(&self) -> &[T] {
        // SAFETY: aligned and inside the mapping (invariant), which lives as long as `self`; `T` may change under a shared
        // reference and has no invalid values (`Shared`).
        unsafe { std::slice::from_raw_parts(self.start.cast::<T>(), self.count) }
    }

    /// The words from `first` on, at most `count`, and only as far as they go.
    #[inline(always)]
    #[must_use]
    pub fn run(&self, first: usize, count: usize) -> &[T] {
        let first = first.min(self.count);
        &self.all()[first..first + count.min(self.count - first)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::{GuestMemory, Region};

    fn area() -> Area {
        let mapping = Arc::new(Mapping::memfd(c"test", 4096).expect("memfd"));
        let memory = GuestMemory::new(vec![Region::of_own(mapping, 0)]).expect("one region");
        memory.area(0, 4096, 16).expect("inside")
    }

    #[test]
    fn a_table_lies_inside_its_area_and_is_aligned() {
        let area = area();
        assert!(Table::<Slot>::new(&area, 0, 256).is_some());
        assert!(Table::<Slot>::new(&area, 0, 257).is_none());
        assert!(Table::<Slot>::new(&area, 8, 1).is_none(), "a slot is aligned to 16");
        assert!(Table::<UsedEntry>::new(&area, 4, 511).is_some());
        assert!(Table::<UsedEntry>::new(&area, 4, 512).is_none());
        assert!(Table::<AtomicU16>::new(&area, usize::MAX, usize::MAX).is_none());
    }

    #[test]
    fn runs_are_cut_to_what_is_there() {
        let area = area();
        area.store_u64(16 * 7 + 8, 77, Ordering::Relaxed);
        let table = Table::<Slot>::new(&area, 0, 8).expect("inside");
        assert_eq!(table.run(7, 3).iter().map(|slot| slot.high(Ordering::Relaxed)).collect::<Vec<_>>(), [77]);
        assert_eq!((table.run(8, 1).len(), table.run(99, 1).len(), table.run(2, 3).len()), (0, 0, 3));
    }
}
