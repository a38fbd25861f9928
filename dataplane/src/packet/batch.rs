//! Packets in flight through one worker.

use super::{DropReason, Frame, Packet, Tally};
use crate::mem::Span;

/// Packets in one batch.
pub const BATCH: usize = 32;

/// Up to [`BATCH`] packets of one burst, and the drops that the receiving queue noted meanwhile.
///
/// The packets live here for good and are filled again for each burst: nothing is allocated, and when the burst ends
/// nothing refers to the sender's memory any more.
///
/// A burst into which nobody looks has no packets, only frames that stay where they are, see [`set_blind`](Self::set_blind).
pub struct PacketBatch {
    packets: Box<[Packet]>,
    /// The frames, where they lie, when `in_place`; then what `packets` hold is of earlier bursts.
    frames: [Span; BATCH],
    in_place: bool,
    len: usize,
    /// Bytes of the packets as they were taken in.
    bytes: usize,
    /// How many it takes in this burst.
    limit: usize,
    /// See [`set_blind`](Self::set_blind).
    blind: bool,
    /// What the receiving queue dropped in this burst.
    pub tally: Tally,
}

impl Default for PacketBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl PacketBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self {
            packets: (0..BATCH).map(|_| Packet::new()).collect(),
            frames: [Span::EMPTY; BATCH],
            in_place: false,
            len: 0,
            bytes: 0,
            limit: BATCH,
            blind: false,
            tally: Tally::default(),
        }
    }

    /// How many packets are in it.
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Their bytes, as they were taken in.
    #[inline(always)]
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when there are none.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many more fit.
    #[inline(always)]
    #[must_use]
    pub fn room(&self) -> usize {
        self.limit - self.len
    }

    /// Takes at most `count` packets in this burst, at least one.
    pub fn limit(&mut self, count: usize) {
        self.limit = count.clamp(1, BATCH).max(self.len);
    }

    /// Whether nobody looks into the frames of this burst: receivers may then leave them where they are
    /// ([`free_frames`](Self::free_frames)).
    #[inline(always)]
    pub fn set_blind(&mut self, blind: bool) {
        self.blind = blind;
    }

    /// What [`set_blind`](Self::set_blind) said, if nobody has looked since.
    #[inline(always)]
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.blind
    }

    /// Somebody looks into the frames after all: they become packets, and so do all that follow.
    #[cold]
    pub fn see(&mut self) {
        if std::mem::take(&mut self.in_place) {
            let frames = self.packets[..self.len].iter_mut().zip(&self.frames);
            frames.for_each(|(packet, &frame)| packet.reset_from(frame));
        }
        self.blind = false;
    }

    /// The frames of a burst that nobody looked into: there are no packets.
    #[inline(always)]
    #[must_use]
    pub fn frames(&self) -> Option<&[Span]> {
        self.in_place.then(|| &self.frames[..self.len])
    }

    /// Places for further frames of a blind burst; see [`push_frames`](Self::push_frames).
    #[inline(always)]
    pub fn free_frames(&mut self) -> &mut [Span] {
        debug_assert!(self.blind && (self.in_place || self.len == 0), "frames and packets do not mix");
        &mut self.frames[self.len..self.limit]
    }

    /// Takes `count` frames of [`free_frames`](Self::free_frames) in, each of at most [`MAX_FRAME`](super::MAX_FRAME) bytes, `bytes`
    /// together.
    ///
    /// # Panics
    /// When that many are not free.
    #[inline(always)]
    pub fn push_frames(&mut self, count: usize, bytes: usize) {
        self.in_place = true;
        self.push_many(count, bytes);
    }

    /// The frame with this index, for those who send it.
    ///
    /// # Panics
    /// When there are not that many.
    #[inline(always)]
    #[must_use]
    pub fn frame(&self, id: usize) -> Frame<'_> {
        match self.frames() {
            Some(frames) => Frame { head: &[], tail: std::slice::from_ref(&frames[id]), len: frames[id].len() },
            None => (&self.packets()[id]).into(),
        }
    }

    /// Bytes of each frame, in order.
    pub fn lens(&self) -> impl Iterator<Item = usize> + Clone {
        (0..self.len).map(|id| self.frame(id).len())
    }

    /// Drops the last `count` packets.
    ///
    /// # Panics
    /// When there are not that many.
    pub fn drop_last(&mut self, count: usize, reason: DropReason) {
        assert!(count <= self.len, "dropped more packets than there are");
        self.bytes -= self.lens().skip(self.len - count).sum::<usize>();
        self.len -= count;
        self.tally.drop_many(reason, count as u32);
    }

    /// The next free packet, to be filled and then [`push`](Self::push)ed; `None` when the batch is full.
    #[inline(always)]
    pub fn next_slot(&mut self) -> Option<&mut Packet> {
        self.packets[..self.limit].get_mut(self.len)
    }

    /// Takes the packet of [`next_slot`](Self::next_slot) in.
    ///
    /// # Panics
    /// When the batch is full.
    #[inline(always)]
    pub fn push(&mut self) {
        assert!(self.len < BATCH, "push into a full batch");
        self.bytes += self.packets[self.len].len();
        self.len += 1;
    }

    /// The next free packet and the tally at once, for receivers that decide about a frame while they fill it.
    ///
    /// # Panics
    /// When the batch is full.
    #[inline(always)]
    pub fn slot_and_tally(&mut self) -> (&mut Packet, &mut Tally) {
        (&mut self.packets[self.len], &mut self.tally)
    }

    /// The free packets behind those taken in, for receivers that fill several at once; see [`push_many`](Self::push_many).
    #[inline(always)]
    pub fn free_slots(&mut self) -> &mut [Packet] {
        &mut self.packets[self.len..self.limit]
    }

    /// Takes `count` packets of [`free_slots`](Self::free_slots) in, which have so many bytes.
    ///
    /// # Panics
    /// When that many are not free.
    #[inline(always)]
    pub fn push_many(&mut self, count: usize, bytes: usize) {
        assert!(count <= self.room(), "push into a full batch");
        self.len += count;
        self.bytes += bytes;
    }

    /// The packets taken in; of a blind burst see [`frames`](Self::frames).
    #[inline(always)]
    #[must_use]
    pub fn packets(&self) -> &[Packet] {
        debug_assert!(!self.in_place, "nobody looks into these frames");
        &self.packets[..self.len]
    }

    /// The packets taken in, to rewrite.
    #[inline(always)]
    pub fn packets_mut(&mut self) -> &mut [Packet] {
        debug_assert!(!self.in_place, "nobody looks into these frames");
        &mut self.packets[..self.len]
    }

    /// The burst is over: forgets the packets and the tally.
    #[inline]
    pub fn clear(&mut self) {
        (self.len, self.bytes) = (0, 0);
        self.limit = BATCH;
        (self.blind, self.in_place) = (false, false);
        self.tally.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{SPLIT_HEAD, WHOLE_FRAME};
    use super::*;
    use crate::mem::{GuestMemory, Lookup, Mapping, Region};

    #[test]
    fn a_frame_that_came_blind_is_read_when_somebody_wants_to_see_it() {
        let mapping = Arc::new(Mapping::memfd(c"frame", 4096).expect("memory"));
        let memory = Arc::new(GuestMemory::new(vec![Region::of_own(mapping, 0)]).expect("one region"));
        let mut memory = Lookup::new(memory);
        for len in [14, 60, 128, 512, 513, 1514] {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let span = memory.whole(0, len).expect("in memory");
            span.write(&bytes);
            let mut batch = PacketBatch::new();
            batch.set_blind(true);
            batch.free_frames()[0] = span;
            batch.push_frames(1, span.len());
            assert_eq!((batch.bytes(), batch.lens().collect()), (bytes.len(), vec![bytes.len()]));
            let frame = batch.frame(0);
            assert_eq!((frame.len(), frame.head().len(), frame.tail().len()), (bytes.len(), 0, 1));
            frame.peek(|head| assert_eq!(head, &bytes[..bytes.len().min(SPLIT_HEAD)]));
            batch.see();
            assert!(batch.frames().is_none() && !batch.is_blind());
            let (packet, frame) = (&batch.packets()[0], batch.frame(0));
            assert_eq!(packet.head().len(), if len as usize <= WHOLE_FRAME { len as usize } else { SPLIT_HEAD });
            frame.peek(|head| assert_eq!(head, packet.head()));
            let mut copy = vec![0; len as usize];
            frame.copy_to(&mut copy).expect("room");
            assert_eq!(copy, bytes);
        }
    }
}
