//! One frame: [`Packet`], which rules may look at and rewrite, and [`Frame`], as those see it who send it.

use std::ops::Range;

use super::backup::Shape;
use super::{HEADROOM, MAX_FRAME, SPLIT_HEAD, TAIL_PIECES, WHOLE_FRAME};
use crate::mem::Span;

/// Room for the largest frame and what may be pushed before it.
const LARGE: usize = HEADROOM + MAX_FRAME;
/// Room for what heads mostly hold: a frame that is copied whole, and tags behind it. With what stands beside it in a
/// [`Packet`], an odd number of cache lines: the packets of a batch then spread over all sets of a cache.
const SMALL: usize = HEADROOM + WHOLE_FRAME + 64;

/// A frame of which somebody may look at the head: that is private, and of a long one the tail still lies in the sender's memory.
///
/// The tail is valid until the burst that received it ends. A batch's packets lie close together, so that few pages and cache
/// lines serve all of them; only the rare head that is longer than [`SMALL`] lies elsewhere.
#[repr(C, align(64))]
pub struct Packet {
    small: [u8; SMALL],
    start: u16,
    tail_len: u16,
    head_len: u16,
    tail_count: u8,
    is_large: bool,
    tail: [Span; TAIL_PIECES],
    large: Box<[u8]>,
}

impl Packet {
    pub(super) fn new() -> Self {
        Self {
            small: [0; SMALL],
            start: HEADROOM as u16,
            tail_len: 0,
            head_len: 0,
            tail_count: 0,
            is_large: false,
            tail: [Span::EMPTY; TAIL_PIECES],
            large: vec![0; LARGE].into(),
        }
    }

    /// Starts a new frame with a head of `len` bytes and no tail, and returns the head to be filled (its old bytes are
    /// some earlier frame's).
    ///
    /// # Panics
    /// When `len` exceeds [`MAX_FRAME`]: receivers check lengths first.
    #[inline(always)]
    pub fn reset(&mut self, len: usize) -> &mut [u8] {
        self.start = HEADROOM as u16;
        self.head_len = len as u16;
        self.tail_len = 0;
        self.tail_count = 0;
        self.is_large = len > SMALL - HEADROOM;
        &mut self.store_mut()[HEADROOM..HEADROOM + len]
    }

    /// Starts a new frame that comes in one piece: reads it whole, or of a long one only the head.
    #[inline(always)]
    pub fn reset_from(&mut self, frame: Span) {
        if frame.len() <= WHOLE_FRAME {
            frame.read(self.reset(frame.len()));
        } else {
            frame.read(self.reset(SPLIT_HEAD));
            self.push_tail(frame.behind(SPLIT_HEAD));
        }
    }

    /// Where the head lies.
    #[inline(always)]
    fn store_mut(&mut self) -> &mut [u8] {
        if self.is_large { &mut self.large } else { &mut self.small }
    }

    /// The frame when it is one of those most frequent: short and whole in the head.
    #[inline(always)]
    #[must_use]
    pub fn short(&self) -> Option<&[u8]> {
        let start = usize::from(self.start);
        match (self.tail_count, self.is_large) {
            (0, false) => self.small.get(start..start + usize::from(self.head_len)),
            _ => None,
        }
    }

    /// Moves the head to where there is room for the largest.
    #[cold]
    fn enlarge(&mut self) {
        if !self.is_large {
            self.large[..SMALL].copy_from_slice(&self.small);
            self.is_large = true;
        }
    }

    /// Appends a piece of foreign memory to the tail; false (and nothing done) when the tail is full or the frame would
    /// exceed [`MAX_FRAME`].
    #[inline(always)]
    pub fn push_tail(&mut self, piece: Span) -> bool {
        let count = usize::from(self.tail_count);
        if count == TAIL_PIECES || self.len() + piece.len() > MAX_FRAME {
            return false;
        }
        self.tail[count] = piece;
        self.tail_count += 1;
        self.tail_len += piece.len() as u16;
        true
    }

    /// The frame's length, head and tail, in bytes.
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.head_len) + usize::from(self.tail_len)
    }

    /// True for a packet that was never filled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first bytes of the frame; all of it when there is no tail.
    #[inline(always)]
    #[must_use]
    pub fn head(&self) -> &[u8] {
        let start = usize::from(self.start);
        let place = start..start + usize::from(self.head_len);
        match self.small.get(place.clone()) {
            Some(head) if !self.is_large => head,
            _ => self.large_head(place),
        }
    }

    /// The first 16 bytes of the head when it has that many and lies where heads mostly do; for those who look at many frames.
    #[inline(always)]
    #[must_use]
    pub fn beginning(&self) -> Option<&[u8; 16]> {
        let start = usize::from(self.start);
        let beginning = self.small.get(start..start + 16)?.first_chunk();
        beginning.filter(|_| self.head_len >= 16 && !self.is_large)
    }

    #[cold]
    fn large_head(&self, place: Range<usize>) -> &[u8] {
        &self.large[place]
    }

    /// The head, to rewrite.
    #[inline(always)]
    pub fn head_mut(&mut self) -> &mut [u8] {
        let (start, len) = (usize::from(self.start), usize::from(self.head_len));
        &mut self.store_mut()[start..start + len]
    }

    /// The pieces behind the head, in order.
    #[inline(always)]
    #[must_use]
    pub fn tail(&self) -> &[Span] {
        &self.tail[..usize::from(self.tail_count)]
    }

    /// Moves the whole tail into the head: for the rare frame whose headers do not end where heads do. The sender's bytes
    /// are read here, and then not again.
    #[cold]
    pub fn pull_tail(&mut self) {
        self.enlarge();
        let mut end = usize::from(self.start) + usize::from(self.head_len);
        for piece in &self.tail[..usize::from(self.tail_count)] {
            // `push_tail` keeps the frame below MAX_FRAME and `push_front` takes from the headroom: there is room.
            let Some(room) = self.large.get_mut(end..end + piece.len()) else { return };
            end += piece.read(room);
        }
        self.head_len += self.tail_len;
        (self.tail_len, self.tail_count) = (0, 0);
    }

    /// Cuts the frame to `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        if len > usize::from(self.head_len) {
            self.pull_tail();
        }
        self.head_len = len as u16;
        (self.tail_len, self.tail_count) = (0, 0);
    }

    pub(super) fn shape(&self) -> Shape {
        let Self { start, head_len, tail_len, tail_count, is_large, .. } = *self;
        Shape { start, head_len, tail_len, tail_count, is_large }
    }

    pub(super) fn set_shape(&mut self, shape: Shape) {
        let Shape { start, head_len, tail_len, tail_count, is_large } = shape;
        (self.start, self.head_len, self.is_large) = (start, head_len, is_large);
        (self.tail_len, self.tail_count) = (tail_len, tail_count);
    }

    /// Makes room for `count` bytes in front (their contents are undefined); false when the headroom is used up.
    pub fn push_front(&mut self, count: usize) -> bool {
        if count > usize::from(self.start) {
            return false;
        }
        self.start -= count as u16;
        self.head_len += count as u16;
        true
    }

    /// Removes `count` bytes from the front; false when the head is shorter.
    pub fn pull_front(&mut self, count: usize) -> bool {
        if count > usize::from(self.head_len) {
            return false;
        }
        self.start += count as u16;
        self.head_len -= count as u16;
        true
    }

    /// Appends zeros to a frame that is shorter than `len` and has no tail.
    pub fn pad_to(&mut self, len: usize) {
        let (start, head_len) = (usize::from(self.start), usize::from(self.head_len));
        if self.tail_count > 0 || head_len >= len {
            return;
        }
        if start + len > SMALL {
            self.enlarge();
        }
        if let Some(room) = self.store_mut().get_mut(start + head_len..start + len) {
            room.fill(0);
            self.head_len = len as u16;
        }
    }

    /// Copies the whole frame to `to`; returns its length, or `None` when `to` is shorter.
    pub fn copy_to(&self, to: &mut [u8]) -> Option<usize> {
        Frame::from(self).copy_to(to)
    }
}

// See `SMALL`.
const _: () = assert!(size_of::<Packet>() / 64 % 2 == 1);

/// A frame that is to be sent: what is private of it, and behind that what still lies in the sender's memory. One that nobody
/// looked at (see [`PacketBatch::set_blind`](super::PacketBatch::set_blind)) is all tail.
#[derive(Clone, Copy)]
pub struct Frame<'b> {
    pub(super) head: &'b [u8],
    pub(super) tail: &'b [Span],
    pub(super) len: usize,
}

impl<'b> Frame<'b> {
    /// Bytes of head and tail.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // None is.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The private bytes.
    #[inline(always)]
    #[must_use]
    pub fn head(&self) -> &'b [u8] {
        self.head
    }

    /// The pieces behind them, in order.
    #[inline(always)]
    #[must_use]
    pub fn tail(&self) -> &'b [Span] {
        self.tail
    }

    /// A look at the first bytes, for what is decided about them here and now and needs no private head.
    pub fn peek<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        match (self.head, self.tail) {
            ([], [all, ..]) => {
                let mut first = [0; SPLIT_HEAD];
                let count = all.read(&mut first);
                look(&first[..count])
            }
            (head, _) => look(head),
        }
    }

    /// Copies the whole frame to `to`; returns its length, or `None` when `to` is shorter.
    pub fn copy_to(&self, to: &mut [u8]) -> Option<usize> {
        if to.len() < self.len {
            return None;
        }
        let (head, mut rest) = to.split_at_mut(self.head.len());
        head.copy_from_slice(self.head);
        for piece in self.tail {
            let count = piece.read(rest);
            rest = &mut rest[count..];
        }
        Some(self.len)
    }
}

impl<'b> From<&'b Packet> for Frame<'b> {
    #[inline(always)]
    fn from(packet: &'b Packet) -> Self {
        Self { head: packet.head(), tail: packet.tail(), len: packet.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::PacketBatch;
    use super::*;

    #[test]
    fn a_frame_grows_and_shrinks_at_the_front() {
        let mut batch = PacketBatch::new();
        let packet = batch.next_slot().expect("an empty batch has room");
        packet.reset(4).copy_from_slice(b"abcd");
        assert!(packet.push_front(HEADROOM));
        assert!(!packet.push_front(1), "the headroom is used up");
        assert!(packet.pull_front(HEADROOM + 1));
        assert_eq!(packet.head(), b"bcd");
        assert!(!packet.pull_front(4));
    }
}
