//! What the kernel counts per socket.

use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

/// Reads the kernel's counters of one socket; keeps the socket open.
#[derive(Debug)]
pub struct XskStatistics {
    fd: OwnedFd,
    /// The kernel tells the fill ring's counter through every socket of the queue: it is counted through one of them.
    owns_fill: bool,
}

/// What the kernel counts per socket (`XDP_STATISTICS`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XskCounters {
    /// Received frames dropped: too long for a frame without jumbo, or no memory.
    pub rx_dropped: u64,
    /// Received frames dropped because the rx ring was full.
    pub rx_ring_full: u64,
    /// Times the kernel found no frame in the fill ring.
    pub fill_ring_empty: u64,
    /// Descriptors of ours that the kernel refused; never, unless we have a bug.
    pub invalid_descs: u64,
}

impl XskStatistics {
    /// Of the socket that owns the fill ring.
    pub(super) fn of_owner(fd: OwnedFd) -> Self {
        Self { fd, owns_fill: true }
    }

    /// Of one that only receives.
    pub(super) fn of_receiver(fd: OwnedFd) -> Self {
        Self { fd, owns_fill: false }
    }

    /// The counters now; zero when the kernel does not tell.
    #[must_use]
    pub fn read(&self) -> XskCounters {
        // SAFETY: all-zero is valid for plain counters; the kernel writes at most `len` bytes.
        let counters = unsafe {
            let mut counters: libc::xdp_statistics = std::mem::zeroed();
            let mut len = size_of::<libc::xdp_statistics>() as libc::socklen_t;
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_XDP,
                libc::XDP_STATISTICS,
                ptr::from_mut(&mut counters).cast(),
                &mut len,
            );
            counters
        };
        XskCounters {
            rx_dropped: counters.rx_dropped,
            rx_ring_full: counters.rx_ring_full,
            fill_ring_empty: if self.owns_fill { counters.rx_fill_ring_empty_descs } else { 0 },
            invalid_descs: counters.rx_invalid_descs + counters.tx_invalid_descs,
        }
    }
}

impl std::ops::AddAssign for XskCounters {
    fn add_assign(&mut self, other: Self) {
        self.rx_dropped += other.rx_dropped;
        self.rx_ring_full += other.rx_ring_full;
        self.fill_ring_empty += other.fill_ring_empty;
        self.invalid_descs += other.invalid_descs;
    }
}
