//! A table of 16-byte descriptors, loaded and stored as two 64-bit words.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Area, Mapping};

/// Bytes of a slot.
const SLOT: usize = 16;

/// Descriptors of a ring. A slot is two words, each one atomic access: `low` is the address, `high` the rest.
#[derive(Debug)]
pub struct Slots {
    /// Invariant: aligned to a slot, and `count` slots from here lie inside the mapping.
    start: *mut u8,
    count: usize,
    _mapping: Arc<Mapping>,
}

// SAFETY: all access is atomic, and the mapping lives as long as the table.
unsafe impl Send for Slots {}

impl Slots {
    /// All whole slots of `area`; `None` when it is not aligned to a slot.
    #[must_use]
    pub fn new(area: &Area) -> Option<Self> {
        let (start, len, mapping) = area.parts();
        let aligned = (start as usize).is_multiple_of(SLOT);
        aligned.then(|| Self { start, count: len / SLOT, _mapping: Arc::clone(mapping) })
    }

    /// The low word of a slot; `None` when there is no such slot.
    #[inline(always)]
    #[must_use]
    pub fn low(&self, index: usize) -> Option<u64> {
        // SAFETY: inside and aligned (invariant, and `index` is checked), mapped (held).
        (index < self.count).then(|| unsafe { self.word(index * SLOT) }.load(Ordering::Relaxed))
    }

    /// The high word of a slot; `None` when there is no such slot.
    #[inline(always)]
    #[must_use]
    pub fn high(&self, index: usize, order: Ordering) -> Option<u64> {
        // SAFETY: as in `low`; the high word is inside the slot.
        (index < self.count).then(|| unsafe { self.word(index * SLOT + 8) }.load(order))
    }

    /// Stores the high word of a slot; nothing happens when there is no such slot.
    #[inline(always)]
    pub fn set_high(&self, index: usize, value: u64, order: Ordering) {
        if index < self.count {
            // SAFETY: as in `high`.
            unsafe { self.word(index * SLOT + 8) }.store(value, order);
        }
    }

    /// # Safety
    /// `offset` is a multiple of 8 below `count` slots.
    #[inline(always)]
    unsafe fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: the caller's promise and the type's invariant.
        unsafe { &*self.start.add(offset).cast::<AtomicU64>() }
    }
}
