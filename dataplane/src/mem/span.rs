//! A checked run of foreign bytes.

use std::ptr;

use super::copy::{copy, copy_any};
use crate::sys::cpu;

/// `len` bytes at `start`, checked by whoever made it (a memory table, a UMEM) to lie inside one mapping.
///
/// Invariant, on which every block below rests: a span is used only while its mapping lives. Spans are made during a
/// burst from a mapping that the receiving queue holds by `Arc`, and a burst ends (`RxQueue::finish`, then
/// `PacketBatch::clear`) before the worker gives that queue away. Only this room makes spans.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    start: *mut u8,
    len: u32,
}

// SAFETY: a span is an address; what may be done with it is stated above and does not depend on the thread.
unsafe impl Send for Span {}

impl Span {
    /// No bytes.
    pub const EMPTY: Self = Self { start: ptr::null_mut(), len: 0 };

    /// # Safety
    /// `start .. start + len` lies inside one mapping that outlives the burst in which the span is used.
    pub(in crate::mem) const unsafe fn new(start: *mut u8, len: u32) -> Self {
        Self { start, len }
    }

    /// Bytes in the span.
    #[inline(always)]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// True when there is nothing in it.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The part from `offset`, at most `len` bytes: cut to what is there.
    #[inline(always)]
    #[must_use]
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        let offset = offset.min(self.len());
        let len = len.min(self.len() - offset);
        // `offset` is inside the span or one past its end, so the sum cannot leave the mapping.
        Self { start: self.start.wrapping_add(offset), len: len as u32 }
    }

    /// The part from `offset`; nothing when it is shorter.
    #[inline(always)]
    #[must_use]
    pub fn behind(&self, offset: usize) -> Self {
        match self.len().checked_sub(offset) {
            Some(len) => Self { start: self.start.wrapping_add(offset), len: len as u32 },
            None => Self::EMPTY,
        }
    }

    /// Reads the first bytes into `to`; returns how many (the shorter of both lengths).
    #[inline(always)]
    pub fn read(&self, to: &mut [u8]) -> usize {
        let count = self.len().min(to.len());
        // SAFETY: the span is live (type invariant) and holds at least `count` bytes, `to` is ours and cannot
        // overlap foreign memory. The peer may write meanwhile: bytes have no invalid values, and each is read once.
        unsafe { copy(self.start, to.as_mut_ptr(), count) };
        count
    }

    /// Writes `from` to the first bytes; returns how many (the shorter of both lengths).
    #[inline(always)]
    pub fn write(&self, from: &[u8]) -> usize {
        let count = self.len().min(from.len());
        // SAFETY: as in `read`, the other way round.
        unsafe { copy(from.as_ptr(), self.start, count) };
        count
    }

    /// Writes all of `from` at byte `offset`; nothing when it does not fit.
    #[inline(always)]
    pub fn write_at(&self, offset: usize, from: &[u8]) {
        if offset <= self.len() && from.len() <= self.len() - offset {
            // SAFETY: the bytes lie inside the span (checked), which is live; `from` is ours.
            unsafe { copy(from.as_ptr(), self.start.add(offset), from.len()) };
        }
    }

    /// Writes `header` to the front, unless it is there already, and `frame` behind it; nothing when they do not fit.
    #[inline(always)]
    pub fn write_framed<const N: usize>(&self, header: &[u8; N], frame: &[u8]) {
        if self.len().checked_sub(N).is_some_and(|room| frame.len() <= room) {
            // SAFETY: both fit into the span (checked), which is live (type invariant); `frame` is ours.
            unsafe {
                self.write_if_different(header);
                copy(frame.as_ptr(), self.start.add(N), frame.len());
            }
        }
    }

    /// As [`write_framed`](Self::write_framed), foreign memory to foreign memory.
    #[inline(always)]
    pub fn copy_framed<const N: usize>(&self, header: &[u8; N], frame: &Span) {
        if self.len().checked_sub(N).is_some_and(|room| frame.len() <= room) {
            // SAFETY: both fit into the span (checked); both spans are live. A hostile guest may make them overlap.
            unsafe {
                self.write_if_different(header);
                copy_any(frame.start, self.start.add(N), frame.len());
            }
        }
    }

    /// # Safety
    /// The span has `N` bytes.
    #[inline(always)]
    unsafe fn write_if_different<const N: usize>(&self, bytes: &[u8; N]) {
        let place = self.start.cast::<[u8; N]>();
        // SAFETY: the span is live (type invariant) and long enough (the caller's promise); byte arrays need no alignment.
        unsafe {
            if place.read() != *bytes {
                place.write(*bytes);
            }
        }
    }

    /// Copies `from` here, foreign memory to foreign memory; returns how many bytes (the shorter of both lengths).
    #[inline(always)]
    pub fn copy_from(&self, from: &Span) -> usize {
        let count = self.len().min(from.len());
        // SAFETY: both spans are live. A hostile guest may make them overlap.
        unsafe { copy_any(from.start, self.start, count) };
        count
    }

    /// Fetches the cache line at byte `offset` ahead of reading; out of range is harmless.
    #[inline(always)]
    pub fn prefetch_at(&self, offset: usize) {
        cpu::prefetch_address(self.start.wrapping_add(offset));
    }

    /// Fetches the cache line at byte `offset` ahead of writing; out of range is harmless.
    #[inline(always)]
    pub fn prefetch_write_at(&self, offset: usize) {
        cpu::prefetch_write_address(self.start.wrapping_add(offset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(bytes: &mut [u8]) -> Span {
        // SAFETY: the array outlives the span in each test.
        unsafe { Span::new(bytes.as_mut_ptr(), bytes.len() as u32) }
    }

    #[test]
    fn copies_are_cut_to_the_shorter_side() {
        let mut foreign = *b"abcdef";
        let span = over(&mut foreign);
        let mut four = [0; 4];
        assert_eq!(span.read(&mut four), 4);
        assert_eq!(&four, b"abcd");
        assert_eq!(span.slice(4, 100).len(), 2);
        assert_eq!((span.behind(4).len(), span.behind(6).len(), span.behind(7).len()), (2, 0, 0));
        assert_eq!(span.slice(99, 1).len(), 0);
        assert_eq!(span.slice(5, 1).write(b"XYZ"), 1);
        assert_eq!(span.copy_from(&span.slice(3, 3)), 3);
        assert_eq!(&foreign, b"deXdeX");
        span.write_at(4, b"pq");
        span.write_at(4, b"pqr");
        span.write_at(9, b"");
        assert_eq!(&foreign, b"deXdpq");
    }
}
