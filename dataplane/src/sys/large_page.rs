//! Memory on a page of two megabytes: tables that are read at random places cost fewer address translations there.

use std::alloc::{Layout, alloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};

const BYTES: usize = 1 << 21;
/// Words of a [`LargePage`].
pub const WORDS: usize = BYTES / size_of::<u64>();

/// Two megabytes that are one page where the kernel has one to give, which it does without any being reserved (transparent huge
/// pages); elsewhere they are many, and as good.
#[repr(C, align(0x20_0000))]
pub struct LargePage([u64; WORDS]);

const _: () = assert!(size_of::<LargePage>() == BYTES && align_of::<LargePage>() == BYTES);

impl LargePage {
    /// All zeros, and all of it in memory.
    #[must_use]
    pub fn zeroed() -> Box<Self> {
        let layout = Layout::new::<Self>();
        // SAFETY: the layout is not empty.
        let page = unsafe { alloc(layout) };
        if page.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: the allocation is ours and consists of whole pages; the advice changes neither contents nor access. It counts
        // only for pages that were not written yet. Where it is refused, nothing is lost.
        unsafe { libc::madvise(page.cast(), BYTES, libc::MADV_HUGEPAGE) };
        // SAFETY: allocated with the layout of this type, by the allocator that boxes use; zeros are words.
        unsafe {
            page.write_bytes(0, BYTES);
            Box::from_raw(page.cast())
        }
    }
}

impl Deref for LargePage {
    type Target = [u64; WORDS];

    #[inline(always)]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for LargePage {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_zeroed_whatever_was_there_before() {
        for _ in 0..3 {
            let mut page = LargePage::zeroed();
            assert!(page.iter().all(|&word| word == 0));
            page.fill(!0);
        }
    }
}
