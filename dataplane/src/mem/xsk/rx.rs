//! The receiving half of a queue: the fill ring, and the sockets whose frames go back through it.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::Arc;

use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{FillQueue, RxQueue};

use super::frames::{Frames, RxFrame};
use super::socket::{Desc, XskSocket};
use super::tx::Kicker;

/// The receiving half. Sockets are numbered from 0, without gaps; the first is there as long as the queue.
///
/// A receive frame is in the fill ring, with the kernel, in a socket's ring, handed out, or parked.
#[derive(Debug)]
pub struct XskRx {
    sockets: Vec<XskSocket>,
    fill: FillQueue,
    /// The socket that owns the fill ring. It has a ring because the library gives it one; the program never picks it.
    _owner: RxQueue,
    frames: Arc<Frames>,
    /// Handed out in this burst: as received, and as they go back. Never longer than there are frames.
    out: Vec<Desc>,
    back: Vec<FrameDesc>,
    /// Where in `out` the last frame begins.
    last: usize,
    /// Frames to be handed out later, with a word of whoever parked them.
    parked: VecDeque<(u16, Desc)>,
    /// The kernel drives the NIC only when it is asked to.
    busy_poll: bool,
    kicker: Arc<Kicker>,
}

impl XskRx {
    /// All of `descs` wait for [`XskRx::release`].
    pub(super) fn new(
        (owner, fill): (RxQueue, FillQueue),
        anchor: XskSocket,
        descs: Vec<FrameDesc>,
        busy_poll: bool,
        kicker: Arc<Kicker>,
    ) -> Self {
        Self {
            fill,
            _owner: owner,
            frames: Arc::clone(&anchor.frames),
            out: Vec::with_capacity(descs.len()),
            parked: VecDeque::with_capacity(descs.len()),
            back: descs,
            last: 0,
            sockets: vec![anchor],
            busy_poll,
            kicker,
        }
    }

    /// The sockets.
    #[must_use]
    pub fn sockets(&self) -> &[XskSocket] {
        &self.sockets
    }

    /// Adds a socket, as the last.
    ///
    /// # Panics
    /// When it is another queue's: its frames would end up in the wrong fill ring.
    pub fn add(&mut self, socket: XskSocket) {
        assert!(Arc::ptr_eq(&socket.frames, &self.frames), "a socket of this queue");
        self.sockets.push(socket);
    }

    /// Takes a socket out to be closed; those behind it move up. What is still in its ring goes back unread.
    pub fn remove(&mut self, index: usize) -> XskSocket {
        let mut socket = self.sockets.remove(index);
        while let Some(desc) = socket.peek(0) {
            socket.advance(1);
            self.back.extend(self.frames.desc(desc.address));
        }
        socket
    }

    /// Frames wait in this socket's ring. One load.
    #[inline(always)]
    #[must_use]
    pub fn has_frames(&self, index: usize) -> bool {
        self.sockets[index].has_frames()
    }

    /// How much the kernel has put into this socket's ring so far; wraps.
    #[must_use]
    pub fn position(&self, index: usize) -> u32 {
        self.sockets[index].position()
    }

    /// All that had come when [`XskRx::position`] was this has been handed out.
    #[must_use]
    pub fn has_passed(&self, index: usize, position: u32) -> bool {
        self.sockets[index].taken().wrapping_sub(position) as i32 >= 0
    }

    /// The next whole frame of this socket, if one is there.
    #[inline]
    pub fn next_frame(&mut self, index: usize) -> Option<RxFrame<'_>> {
        let socket = &mut self.sockets[index];
        let (first, mut count) = (self.out.len(), 0);
        loop {
            let Some(desc) = socket.peek(count) else {
                // Its rest is not there yet: it stays in the ring.
                self.out.truncate(first);
                return None;
            };
            self.out.push(desc);
            count += 1;
            if !desc.is_continued() {
                break;
            }
        }
        socket.advance(count);
        self.hand_out(first)
    }

    #[inline(always)]
    fn hand_out(&mut self, first: usize) -> Option<RxFrame<'_>> {
        self.last = first;
        let descs = &self.out[first..];
        self.back.extend(descs.iter().filter_map(|desc| self.frames.desc(desc.address)));
        Some(RxFrame { frames: &self.frames, descs })
    }

    /// Puts the frame handed out last aside; it comes back from [`XskRx::next_parked`]. False, and nothing done, when so
    /// many are parked that the kernel would soon have none.
    #[cold]
    pub fn park(&mut self, word: u16) -> bool {
        let count = self.out.len() - self.last;
        if self.parked.len() + count > self.parked.capacity() / 2 {
            return false;
        }
        self.back.truncate(self.back.len() - count);
        self.parked.extend(self.out.drain(self.last..).map(|desc| (word, desc)));
        true
    }

    /// Whose frame is parked in front.
    #[must_use]
    pub fn parked(&self) -> Option<u16> {
        self.parked.front().map(|&(word, _)| word)
    }

    /// The parked frame in front.
    #[cold]
    pub fn next_parked(&mut self) -> Option<RxFrame<'_>> {
        let first = self.out.len();
        while let Some((_, desc)) = self.parked.pop_front() {
            self.out.push(desc);
            if !desc.is_continued() {
                return self.hand_out(first);
            }
        }
        None
    }

    /// Gives all frames handed out back to the kernel; their spans are dead from now on.
    ///
    /// The kernel shows a frame in the rx ring a moment before it shows that its place in the fill ring is free. Whoever is
    /// faster than that finds the ring full: the frames wait for the next time, and the kernel has plenty until then.
    #[inline]
    pub fn release(&mut self) {
        if self.back.is_empty() {
            return;
        }
        self.out.clear();
        // SAFETY: these frames are of this UMEM, are ours, and are forgotten below.
        let count = unsafe { self.fill.produce(&self.back) };
        if count == self.back.len() {
            self.back.clear();
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
        if self.kicker.is_behind() {
            self.kicker.kick();
        }
    }

    #[cold]
    fn drive(&self) {
        // SAFETY: no buffer; the call only drives the queue.
        unsafe { libc::recv(self.anchor(), ptr::null_mut(), 0, libc::MSG_DONTWAIT) };
    }

    fn anchor(&self) -> RawFd {
        self.sockets[0].as_raw_fd()
    }

    /// True when nothing waits: in a ring, parked, or in a transmission that was put off.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.kicker.is_behind() && self.parked.is_empty() && !self.sockets.iter().any(XskSocket::has_frames)
    }
}
