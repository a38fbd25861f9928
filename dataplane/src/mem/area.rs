//! A checked run of ring memory, read and written word by word.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::Mapping;

/// Ring memory (descriptors, available and used rings, event words), kept mapped as long as it is held.
///
/// Words are addressed by byte offset. Every access is one atomic load or store, so the peer can change a word but never
/// make us see half of one. All words are little-endian as in virtio 1.x; this host is little-endian.
#[derive(Clone, Debug)]
pub struct Area {
    start: *mut u8,
    len: usize,
    _mapping: Arc<Mapping>,
}

// SAFETY: all access is atomic, and the mapping lives as long as the area.
unsafe impl Send for Area {}

#[cfg(not(target_endian = "little"))]
compile_error!("ring words are read as little-endian");

macro_rules! words {
    ($($load:ident, $store:ident: $word:ty, $atomic:ty;)*) => {$(
        #[doc = concat!("Loads the ", stringify!($word), " at byte `offset`.\n\n# Panics\nWhen it is outside or not aligned.")]
        #[inline(always)]
        #[must_use]
        pub fn $load(&self, offset: usize, order: Ordering) -> $word {
            self.check::<$word>(offset);
            // SAFETY: inside the area and aligned (checked), mapped (held).
            unsafe { &*self.start.add(offset).cast::<$atomic>() }.load(order)
        }

        #[doc = concat!("Stores the ", stringify!($word), " at byte `offset`.\n\n# Panics\nWhen it is outside or not aligned.")]
        #[inline(always)]
        pub fn $store(&self, offset: usize, value: $word, order: Ordering) {
            self.check::<$word>(offset);
            // SAFETY: as in the load.
            unsafe { &*self.start.add(offset).cast::<$atomic>() }.store(value, order);
        }
    )*};
}

impl Area {
    /// # Safety
    /// `start .. start + len` lies inside `mapping`.
    pub(in crate::mem) unsafe fn new(start: *mut u8, len: usize, mapping: Arc<Mapping>) -> Self {
        Self { start, len, _mapping: mapping }
    }

    /// Start, length, and what keeps them mapped.
    pub(in crate::mem) fn parts(&self) -> (*mut u8, usize, &Arc<Mapping>) {
        (self.start, self.len, &self._mapping)
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    words! {
        load_u16, store_u16: u16, AtomicU16;
        load_u32, store_u32: u32, AtomicU32;
        load_u64, store_u64: u64, AtomicU64;
    }

    #[inline(always)]
    fn check<T>(&self, offset: usize) {
        let aligned = (self.start as usize).wrapping_add(offset).is_multiple_of(size_of::<T>());
        assert!(aligned && offset <= self.len && size_of::<T>() <= self.len - offset, "word outside its ring");
    }

    /// Fetches the cache line at byte `offset` ahead of use; out of range is harmless.
    #[inline(always)]
    pub fn prefetch(&self, offset: usize) {
        crate::sys::cpu::prefetch_address(self.start.wrapping_add(offset));
    }
}
