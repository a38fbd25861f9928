//! CPU hints.

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
