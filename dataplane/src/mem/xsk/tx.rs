//! The transmitting half of a socket: tx ring and completion ring.

use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{CompQueue, TxQueue};

use super::FETCH;
use super::frames::{FRAME_ROOM, Frames};
use crate::mem::Span;

/// The bit that says that the frame goes on in the next descriptor.
const XDP_PKT_CONTD: u32 = 1;
/// In copy mode a kernel before 6.17 sends 32 descriptors per call: enough calls for a batch of jumbo frames.
const KICKS: usize = 8;

/// The transmitting half.
#[derive(Debug)]
pub struct XskTx {
    tx: TxQueue,
    done: CompQueue,
    /// Where the library puts what it takes from the completion ring.
    fetched: Box<[FrameDesc; FETCH]>,
    frames: Arc<Frames>,
    free: Vec<FrameDesc>,
    staged: Vec<FrameDesc>,
    kicker: Arc<Kicker>,
}

impl XskTx {
    /// All of `free` are free.
    pub(super) fn new(
        tx: TxQueue,
        done: CompQueue,
        frames: Arc<Frames>,
        free: Vec<FrameDesc>,
        kicker: Arc<Kicker>,
    ) -> Self {
        let fetched = Box::new([FrameDesc::default(); FETCH]);
        Self { tx, done, fetched, frames, staged: Vec::with_capacity(free.len()), free, kicker }
    }

    /// Copies a packet of `len` bytes (head and tail together) into free frames and stages it; false, and nothing done,
    /// when there are not enough.
    #[inline]
    pub fn stage(&mut self, len: usize, head: &[u8], tail: &[Span]) -> bool {
        let count = len.div_ceil(FRAME_ROOM);
        if self.free.len() < count {
            self.reap();
            if self.free.len() < count {
                return false;
            }
        }
        let mut room = self.next_room(len.min(FRAME_ROOM));
        let mut left = len - room.len();
        let mut head = head;
        while !head.is_empty() {
            if room.is_empty() {
                room = self.go_on(&mut left);
            }
            let count = room.write(head);
            head = &head[count..];
            room = room.slice(count, usize::MAX);
        }
        for &piece in tail {
            let mut piece = piece;
            while !piece.is_empty() {
                if room.is_empty() {
                    room = self.go_on(&mut left);
                }
                let count = room.copy_from(&piece);
                piece = piece.slice(count, usize::MAX);
                room = room.slice(count, usize::MAX);
            }
        }
        true
    }

    /// Marks the last staged frame as continued, and stages the next for what is left.
    #[cold]
    fn go_on(&mut self, left: &mut usize) -> Span {
        if let Some(last) = self.staged.last_mut() {
            last.set_options(XDP_PKT_CONTD);
        }
        let room = self.next_room((*left).min(FRAME_ROOM));
        *left -= room.len();
        room
    }

    /// Moves a free frame to the staged ones, with this length.
    #[inline(always)]
    fn next_room(&mut self, len: usize) -> Span {
        let Some(mut desc) = self.free.pop() else { return Span::EMPTY };
        desc.set_options(0);
        // SAFETY: a free frame is of this UMEM and only ours.
        unsafe { self.frames.umem.data_mut(&mut desc) }.cursor().set_pos(len);
        self.staged.push(desc);
        self.frames.span(desc.addr(), len)
    }

    /// Takes back the frames that were sent.
    #[inline]
    pub fn reap(&mut self) {
        loop {
            // SAFETY: completed frames are of this UMEM and ours again; each goes to the free ones once.
            let count = unsafe { self.done.consume(&mut self.fetched[..]) };
            self.free.extend_from_slice(&self.fetched[..count]);
            if count < FETCH {
                return;
            }
        }
    }

    /// How many frames are free, after a look at what was sent meanwhile.
    pub fn room(&mut self) -> usize {
        if self.staged.is_empty() {
            self.reap();
        } else {
            self.flush();
        }
        self.free.len()
    }

    /// Publishes what is staged and has the kernel send it.
    #[inline]
    pub fn flush(&mut self) {
        let is_published = self.publish();
        self.wake();
        if !is_published {
            // The kernel was late to publish that it took earlier frames. It has been called since, so the second try is
            // the last; what it cannot bring either goes with the next flush.
            self.publish();
            self.wake();
        }
        self.reap();
    }

    /// Moves the staged frames into the tx ring, all or none; false when it has no room for them.
    #[inline]
    fn publish(&mut self) -> bool {
        if self.staged.is_empty() {
            return true;
        }
        // SAFETY: staged frames are of this UMEM, ours, filled, and forgotten when the ring took them.
        let is_published = unsafe { self.tx.produce(&self.staged) } == self.staged.len();
        if is_published {
            self.staged.clear();
        }
        is_published
    }

    #[inline]
    fn wake(&self) {
        if self.tx.needs_wakeup() {
            self.kicker.kick();
        }
    }
}

/// Has the kernel send what is in the tx ring. Both halves of a queue have it, and keep its descriptor open.
#[derive(Debug)]
pub(super) struct Kicker {
    fd: RawFd,
    /// Calls that a full ring may need.
    calls: usize,
    /// Something was left in the ring.
    is_behind: AtomicBool,
}

impl Kicker {
    /// For the socket that sends; `in_one_call`: it can send a whole ring in one.
    pub fn new(fd: RawFd, in_one_call: bool) -> Self {
        Self { fd, calls: if in_one_call { 1 } else { KICKS }, is_behind: AtomicBool::new(false) }
    }

    /// The kernel sends only so much per call (`EAGAIN`); what it cannot send now (the device is busy, memory is short) is
    /// left in the ring, and [`is_behind`](Self::is_behind) tells the receiving half, which is polled all the time, to kick
    /// again.
    pub fn kick(&self) {
        let mut errno = 0;
        for _ in 0..self.calls {
            // SAFETY: no buffer; it only drives the queue.
            if unsafe { libc::send(self.fd, ptr::null(), 0, libc::MSG_DONTWAIT) } >= 0 {
                errno = 0;
                break;
            }
            errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
            if errno != libc::EAGAIN {
                break;
            }
        }
        let is_behind = matches!(errno, libc::EAGAIN | libc::EBUSY | libc::ENOBUFS);
        self.is_behind.store(is_behind, Ordering::Relaxed);
    }

    /// The last kick left something in the ring.
    #[inline(always)]
    pub fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Relaxed)
    }
}
