//! Time: the cycle counter for per-batch accounting, a cheap monotonic clock for ageing.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The time stamp counter: constant rate, used for busy-cycle accounting and latency stamps.
#[inline(always)]
#[must_use]
pub fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `rdtsc` exists on every x86-64 CPU and touches no memory.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        monotonic_ns()
    }
}

/// Cycles of [`cycles`] per second, measured once (20 ms) on first use.
pub fn cycles_per_second() -> u64 {
    static RATE: OnceLock<u64> = OnceLock::new();
    *RATE.get_or_init(|| {
        let (start, from) = (Instant::now(), cycles());
        std::thread::sleep(Duration::from_millis(20));
        let (ns, ticks) = (start.elapsed().as_nanos() as u64, cycles() - from);
        (u128::from(ticks) * 1_000_000_000 / u128::from(ns.max(1))) as u64
    })
}

/// Cycles of [`cycles`] as time.
#[must_use]
pub fn duration(cycles: u64) -> Duration {
    Duration::from_nanos((u128::from(cycles) * 1_000_000_000 / u128::from(cycles_per_second())) as u64)
}

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec for the whole call; the clock ids used here exist on every Linux.
    unsafe { libc::clock_gettime(clock, &mut now) };
    now
}

/// Nanoseconds since boot, full resolution.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = read(libc::CLOCK_MONOTONIC);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Milliseconds since boot, updated by the kernel's tick (1 to 4 ms): a few nanoseconds to read, no syscall.
#[inline]
#[must_use]
pub fn coarse_ms() -> u64 {
    let now = read(libc::CLOCK_MONOTONIC_COARSE);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}
