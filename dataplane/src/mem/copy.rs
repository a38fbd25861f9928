//! Copies of frame size without a call.

use std::ptr;

/// Above this the C library's copy is called, with its wider registers: at 200 B that is faster by a tenth, at 100 B not.
const INLINE: usize = 128;

/// Copies `len` bytes. Short ones in blocks that may overlap, so that a length costs one or two predictable branches.
///
/// # Safety
/// `len` bytes are readable at `from` and writable at `to`, and the two do not overlap.
#[inline(always)]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: every block below lies inside `len` bytes on both sides; the caller keeps the rest.
    unsafe {
        if len > INLINE {
            ptr::copy_nonoverlapping(from, to, len);
        } else if len > 64 {
            ends::<64>(from, to, len);
        } else if len > 32 {
            ends::<32>(from, to, len);
        } else if len >= 16 {
            ends::<16>(from, to, len);
        } else {
            ptr::copy_nonoverlapping(from, to, len);
        }
    }
}

/// # Safety
/// As [`copy`], with `N <= len <= 2 * N`.
#[inline(always)]
unsafe fn ends<const N: usize>(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the first and the last `N` bytes.
    unsafe {
        block::<N>(from, to);
        block::<N>(from.add(len - N), to.add(len - N));
    }
}

/// # Safety
/// As [`copy`], with `len` = `N`.
#[inline(always)]
unsafe fn block<const N: usize>(from: *const u8, to: *mut u8) {
    // SAFETY: the caller's promise; byte arrays need no alignment.
    unsafe { ptr::copy_nonoverlapping(from.cast::<[u8; N]>(), to.cast::<[u8; N]>(), 1) };
}

/// Copies `len` bytes between places that may overlap: short ones without a call, each read before anything is written.
///
/// # Safety
/// `len` bytes are readable at `from` and writable at `to`.
#[inline(always)]
pub(super) unsafe fn copy_any(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: every block below lies inside `len` bytes on both sides; the caller keeps the rest.
    unsafe {
        if !(16..=INLINE).contains(&len) {
            ptr::copy(from, to, len);
        } else if len > 64 {
            ends_any::<4>(from, to, len);
        } else if len > 32 {
            ends_any::<2>(from, to, len);
        } else {
            ends_any::<1>(from, to, len);
        }
    }
}

/// # Safety
/// As [`copy_any`], with `16 * N <= len <= 32 * N`.
#[inline(always)]
unsafe fn ends_any<const N: usize>(from: *const u8, to: *mut u8, len: usize) {
    let behind = len - 16 * N;
    // SAFETY: every word lies in the first or the last `16 * N` bytes, on both sides; unaligned access is asked for.
    let read = |at: usize| unsafe { from.add(at).cast::<u128>().read_unaligned() };
    let (first, last) =
        (std::array::from_fn::<_, N, _>(|n| read(16 * n)), std::array::from_fn::<_, N, _>(|n| read(behind + 16 * n)));
    for n in 0..N {
        // SAFETY: as above.
        unsafe {
            to.add(16 * n).cast::<u128>().write_unaligned(first[n]);
            to.add(behind + 16 * n).cast::<u128>().write_unaligned(last[n]);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_length_is_copied_and_nothing_else() {
        let from: Vec<u8> = (0..700u32).map(|i| (i % 251) as u8 + 1).collect();
        for len in 0..600 {
            let mut to = vec![0; 700];
            // SAFETY: both are longer than `len`, and apart.
            unsafe { super::copy(from.as_ptr(), to.as_mut_ptr(), len) };
            assert_eq!(to[..len], from[..len]);
            assert!(to[len..].iter().all(|&byte| byte == 0), "{len}");
            to.fill(0);
            // SAFETY: both are longer than `len`.
            unsafe { super::copy_any(from.as_ptr(), to.as_mut_ptr(), len) };
            assert_eq!(to[..len], from[..len]);
            assert!(to[len..].iter().all(|&byte| byte == 0), "{len}");
        }
    }

    #[test]
    fn places_may_overlap() {
        for len in 0..300 {
            for (from, to) in [(100, 100 + len / 2), (100 + len / 2, 100), (100, 107), (107, 100)] {
                let mut bytes: Vec<u8> = (0..700u32).map(|i| (i % 251) as u8).collect();
                let mut want = bytes.clone();
                want.copy_within(from..from + len, to);
                let place = bytes.as_mut_ptr();
                // SAFETY: both lie inside `bytes`.
                unsafe { super::copy_any(place.add(from), place.add(to), len) };
                assert_eq!(bytes, want, "{len} bytes from {from} to {to}");
            }
        }
    }
}
