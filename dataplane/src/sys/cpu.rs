//! CPU hints, and what its vector registers do better than a loop.

/// Asks the CPU to fetch the cache line of `target` for reading. Never faults, changes nothing but timing.
#[inline(always)]
pub fn prefetch<T>(target: &T) {
    prefetch_address(std::ptr::from_ref(target).cast());
}

/// As [`prefetch`], for any address, mapped or not.
#[inline(always)]
pub fn prefetch_address(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no architectural effect, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// As [`prefetch_address`], for writing: takes the line away from other cores before the store needs it.
#[inline(always)]
pub fn prefetch_write_address(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as above. 64-bit CPUs without `prefetchw` run it as a no-op. The intrinsic would become a read prefetch,
    // because x86-64-v2 does not include this instruction.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// A bit for each word whose lower half is `wanted`.
#[inline(always)]
#[must_use]
pub fn equal_halves(words: &[u64; 8], wanted: u32) -> u8 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has SSE2.
    unsafe {
        equal_halves_sse2(words, wanted)
    }
    #[cfg(not(target_arch = "x86_64"))]
    (0..8).fold(0, |found, at| found | u8::from(words[at] as u32 == wanted) << at)
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn equal_halves_sse2(words: &[u64; 8], wanted: u32) -> u8 {
    use std::arch::x86_64::*;
    let (pairs, _) = words.as_chunks::<2>();
    // SAFETY: two words are 16 bytes, which need no alignment here.
    let two = |at: usize| unsafe { _mm_loadu_ps(pairs[at].as_ptr().cast()) };
    // The even quarters of two registers are the lower halves of four words.
    let four = |at: usize| {
        let halves = _mm_castps_si128(_mm_shuffle_ps::<0b10_00_10_00>(two(at), two(at + 1)));
        _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(halves, _mm_set1_epi32(wanted as i32))))
    };
    (four(0) | four(2) << 4) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_halves_are_compared_and_nothing_else() {
        let mut words = [1 << 32 | 7, 7 << 32 | 1, 7, 0, 6, 8, 7 << 32, u64::MAX << 32 | 7];
        assert_eq!(equal_halves(&words, 7), 0b1000_0101);
        for at in 0..8 {
            words = [0; 8];
            words[at] = u64::MAX;
            assert_eq!(equal_halves(&words, u32::MAX), 1 << at);
        }
    }
}
