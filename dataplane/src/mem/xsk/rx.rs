//! The receiving half of a socket: rx ring and fill ring.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{FillQueue, RxQueue};

use super::frames::{Frames, RxFrame};
use super::tx::kick;
use super::{FETCH, XskStatistics};

/// The receiving half.
#[derive(Debug)]
pub struct XskRx {
    rx: RxQueue,
    fill: FillQueue,
    frames: Arc<Frames>,
    /// `..taken` were handed out and wait for release, `taken..len` are next. As long as there are frames.
    held: Box<[FrameDesc]>,
    taken: usize,
    len: usize,
    /// The kernel drives the NIC only when it is asked to.
    pub(super) busy_poll: bool,
    tx_is_behind: Arc<AtomicBool>,
}

impl XskRx {
    /// All of `descs` wait for [`XskRx::release`].
    pub(super) fn new(
        rx: RxQueue,
        fill: FillQueue,
        frames: Arc<Frames>,
        descs: Vec<FrameDesc>,
        tx_is_behind: Arc<AtomicBool>,
    ) -> Self {
        let (taken, len) = (descs.len(), descs.len());
        Self { rx, fill, frames, held: descs.into(), taken, len, busy_poll: false, tx_is_behind }
    }

    /// The next whole frame, if one is there.
    #[inline]
    pub fn next_frame(&mut self) -> Option<RxFrame<'_>> {
        let mut end = self.taken;
        loop {
            if end == self.len && !self.fetch() {
                return None;
            }
            end += 1;
            if !self.held[end - 1].has_more_frames() {
                break;
            }
        }
        let first = std::mem::replace(&mut self.taken, end);
        Some(RxFrame { frames: &self.frames, descs: &self.held[first..end] })
    }

    #[inline]
    fn fetch(&mut self) -> bool {
        let room = FETCH.min(self.held.len() - self.len);
        // SAFETY: the frames that come out belong to this UMEM and to us until they are released.
        let count = unsafe { self.rx.consume(&mut self.held[self.len..self.len + room]) };
        self.len += count;
        count > 0
    }

    /// Gives all frames handed out back to the kernel; their spans are dead from now on.
    ///
    /// The kernel shows a frame in the rx ring a moment before it shows that its place in the fill ring is free. Whoever is
    /// faster than that finds the ring full: the frames wait for the next time, and the kernel has plenty until then.
    #[inline]
    pub fn release(&mut self) {
        if self.taken == 0 {
            return;
        }
        // SAFETY: these frames are of this UMEM, are ours, and are forgotten below.
        let count = unsafe { self.fill.produce(&self.held[..self.taken]) };
        if count == self.taken {
            self.held.copy_within(self.taken..self.len, 0);
            self.len -= self.taken;
            self.taken = 0;
        }
        if self.fill.needs_wakeup() {
            self.drive();
        }
    }

    /// Wakes the kernel's half where it asked for that: a driver that ran out of frames, a NIC that is driven by
    /// busy-polling, a transmission that the kernel had to put off. One system call at most for each, usually none.
    #[inline]
    pub fn nudge(&mut self) {
        if self.busy_poll || self.fill.needs_wakeup() {
            self.drive();
        }
        if self.tx_is_behind.load(Ordering::Relaxed) {
            kick(self.as_raw_fd(), &self.tx_is_behind);
        }
    }

    #[cold]
    fn drive(&self) {
        // SAFETY: no buffer; the call only drives the queue.
        unsafe { libc::recv(self.as_raw_fd(), ptr::null_mut(), 0, libc::MSG_DONTWAIT) };
    }

    /// True when nothing waits here, in the rx ring or in a transmission that was put off.
    pub fn is_idle(&mut self) -> bool {
        self.taken == self.len && self.rx.nb_avail_exact() == 0 && !self.tx_is_behind.load(Ordering::Relaxed)
    }

    /// A handle to read the kernel's counters. It keeps the socket open.
    ///
    /// # Errors
    /// What `dup(2)` says.
    pub fn statistics(&self) -> io::Result<XskStatistics> {
        // SAFETY: the descriptor is open as long as `self.rx`.
        let fd = unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) };
        fd.try_clone_to_owned().map(XskStatistics::new)
    }
}

impl AsRawFd for XskRx {
    fn as_raw_fd(&self) -> RawFd {
        self.rx.fd().as_raw_fd()
    }
}
