//! One frame into a guest's buffers, behind the virtio-net header (virtio 1.2, 5.1.6).
//!
//! The header says that nothing is left to do (all zero) and how many buffers the frame took.

use crate::mem::Span;
use crate::packet::{Frame, Packet};

/// Flags, segmentation and checksum fields zero, one buffer. Legacy drivers without mergeable buffers have no such field.
const HEADER: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
/// Where the number of buffers is.
const BUFFERS_AT: usize = 10;

/// What is sent behind a header.
pub(super) trait Body {
    fn len(&self) -> usize;

    /// Into a span that is long enough. A driver leaves the header of the last lap in place, mostly in a cache line of its own:
    /// a line that is already right is not dirtied.
    fn write_behind<const N: usize>(&self, header: &[u8; N], span: &Span);
}

/// A frame that stayed in the sender's memory.
impl Body for Span {
    #[inline(always)]
    fn len(&self) -> usize {
        Self::len(self)
    }

    #[inline(always)]
    fn write_behind<const N: usize>(&self, header: &[u8; N], span: &Span) {
        span.copy_framed(header, self);
    }
}

impl Body for Packet {
    #[inline(always)]
    fn len(&self) -> usize {
        Self::len(self)
    }

    #[inline(always)]
    fn write_behind<const N: usize>(&self, header: &[u8; N], span: &Span) {
        match self.short() {
            Some(frame) => span.write_framed(header, frame),
            None => write_long(span, header, self),
        }
    }
}

/// Each body, behind a header of `header_len` bytes, into a span that is long enough.
#[inline(always)]
pub(super) fn write_simple<'p, B: Body + 'p>(spans: &[Span], header_len: usize, bodies: impl Iterator<Item = &'p B>) {
    let both = spans.iter().zip(bodies);
    if header_len == HEADER.len() {
        both.for_each(|(span, body)| body.write_behind(&HEADER, span));
    } else {
        both.for_each(|(span, body)| body.write_behind(&[0; BUFFERS_AT], span));
    }
}

/// Head and tail behind the header.
#[inline(never)]
fn write_long(span: &Span, header: &[u8], packet: &Packet) {
    span.write(header);
    let head = packet.head();
    span.write_at(header.len(), head);
    let mut rest = span.behind(header.len() + head.len());
    for piece in packet.tail() {
        rest = rest.behind(rest.copy_from(piece));
    }
}

/// Header and frame into pieces of any length.
pub(super) struct Scatter<'p> {
    frame: Frame<'p>,
    header_len: usize,
    /// Bytes written, header included.
    written: usize,
    total: usize,
    /// The place in the tail: piece, and byte in it.
    tail_index: usize,
    tail_offset: usize,
    /// The two bytes that hold the number of buffers.
    buffers_at: [Span; 2],
}

impl<'p> Scatter<'p> {
    pub fn new(frame: Frame<'p>, header_len: usize) -> Self {
        Self {
            frame,
            header_len,
            written: 0,
            total: header_len + frame.len(),
            tail_index: 0,
            tail_offset: 0,
            buffers_at: [Span::EMPTY; 2],
        }
    }

    pub fn written(&self) -> usize {
        self.written
    }

    pub fn is_done(&self) -> bool {
        self.written == self.total
    }

    /// Fills the next piece as far as there is something.
    pub fn piece(&mut self, mut piece: Span) {
        while !piece.is_empty() && !self.is_done() {
            let count = self.fill(&piece);
            self.written += count;
            piece = piece.slice(count, piece.len());
        }
    }

    /// Writes what comes next, as far as it is contiguous on both sides.
    fn fill(&mut self, piece: &Span) -> usize {
        let at = self.written;
        if at < self.header_len {
            let count = piece.write(&HEADER[at..self.header_len]);
            for (byte, place) in self.buffers_at.iter_mut().enumerate() {
                if (at..at + count).contains(&(BUFFERS_AT + byte)) {
                    *place = piece.slice(BUFFERS_AT + byte - at, 1);
                }
            }
            return count;
        }
        let head = self.frame.head();
        if let Some(rest) = head.get(at - self.header_len..).filter(|rest| !rest.is_empty()) {
            return piece.write(rest);
        }
        let source = self.frame.tail()[self.tail_index];
        let count = piece.copy_from(&source.slice(self.tail_offset, source.len()));
        self.tail_offset += count;
        if self.tail_offset == source.len() {
            (self.tail_index, self.tail_offset) = (self.tail_index + 1, 0);
        }
        count
    }

    /// Corrects the header of a frame that took more than one buffer.
    pub fn set_buffers(&self, count: u16) {
        if count > 1 {
            for (place, byte) in self.buffers_at.iter().zip(count.to_le_bytes()) {
                place.write(&[byte]);
            }
        }
    }
}
