//! Packets in flight through one worker.

use std::ops::Range;

use super::backup::Shape;
use super::{DropReason, HEADROOM, MAX_FRAME, SPLIT_HEAD, TAIL_PIECES, Tally, WHOLE_FRAME};
use crate::mem::Span;

/// Packets in one batch.
pub const BATCH: usize = 32;

/// Room for the largest frame and what may be pushed before it.
const LARGE: usize = HEADROOM + MAX_FRAME;
/// Room for what heads mostly hold: a frame that is copied whole, and tags behind it. With what stands beside it in a
/// [`Packet`], an odd number of cache lines: the packets of a batch then spread over all sets of a cache.
const SMALL: usize = HEADROOM + WHOLE_FRAME + 64;

/// A frame: a private head, and for long frames a tail that still lies in the sender's memory. A frame that nobody looks at
/// (see [`PacketBatch::set_blind`]) may be all tail.
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
    fn new() -> Self {
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

    /// Starts a new frame that nobody looks at: it has no head, all of it stays in the sender's memory.
    ///
    /// # Panics
    /// When it exceeds [`MAX_FRAME`]: as [`reset`](Self::reset).
    #[inline(always)]
    pub fn reset_blind(&mut self, frame: Span) {
        debug_assert!(frame.len() <= MAX_FRAME, "receivers check lengths first");
        (self.start, self.head_len, self.is_large) = (HEADROOM as u16, 0, false);
        (self.tail_len, self.tail_count) = (frame.len() as u16, 1);
        self.tail[0] = frame;
    }

    /// A frame of [`reset_blind`](Self::reset_blind), as long as nobody asked to see it.
    #[inline(always)]
    #[must_use]
    pub fn blind(&self) -> Option<&Span> {
        // One comparison: these fields lie side by side.
        let form = u32::from(self.head_len) | u32::from(self.tail_count) << 16 | u32::from(self.is_large) << 24;
        (form == 1 << 16).then_some(&self.tail[0])
    }

    /// Reads the head of a frame that came without one.
    fn see(&mut self) {
        if let Some(&frame) = self.blind() {
            self.reset_from(frame);
        }
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

    /// A look at the frame's first bytes, for what is decided about it here and now and needs no private head.
    pub fn peek<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        match self.blind() {
            None => look(self.head()),
            Some(frame) => {
                let mut first = [0; SPLIT_HEAD];
                let count = frame.read(&mut first);
                look(&first[..count])
            }
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

    /// Fetches the head's first line for writing, ahead of use.
    #[inline(always)]
    pub fn prefetch(&self) {
        crate::sys::cpu::prefetch(&self.small[HEADROOM]);
    }

    /// Copies the whole frame to `to`; returns its length, or `None` when `to` is shorter.
    pub fn copy_to(&self, to: &mut [u8]) -> Option<usize> {
        let len = self.len();
        if to.len() < len {
            return None;
        }
        let (head, mut rest) = to.split_at_mut(usize::from(self.head_len));
        head.copy_from_slice(self.head());
        for piece in self.tail() {
            let count = piece.read(rest);
            rest = &mut rest[count..];
        }
        Some(len)
    }
}

// See `SMALL`.
const _: () = assert!(size_of::<Packet>() / 64 % 2 == 1);

/// Up to [`BATCH`] packets of one burst, and the drops that the receiving queue noted meanwhile.
///
/// The packets live here for good and are filled again for each burst: nothing is allocated, and when the burst ends
/// nothing refers to the sender's memory any more.
pub struct PacketBatch {
    packets: Box<[Packet]>,
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

    /// Whether nobody looks into the frames of this burst: receivers may then leave them where they are.
    #[inline(always)]
    pub fn set_blind(&mut self, blind: bool) {
        self.blind = blind;
    }

    /// What [`set_blind`](Self::set_blind) said.
    #[inline(always)]
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.blind
    }

    /// Somebody looks into the frames after all.
    #[cold]
    pub fn see(&mut self) {
        self.blind = false;
        self.packets[..self.len].iter_mut().for_each(Packet::see);
    }

    /// Drops the last `count` packets.
    ///
    /// # Panics
    /// When there are not that many.
    pub fn drop_last(&mut self, count: usize, reason: DropReason) {
        assert!(count <= self.len, "dropped more packets than there are");
        self.len -= count;
        self.bytes -= self.packets[self.len..self.len + count].iter().map(Packet::len).sum::<usize>();
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

    /// The packets taken in.
    #[inline(always)]
    #[must_use]
    pub fn packets(&self) -> &[Packet] {
        &self.packets[..self.len]
    }

    /// The packets taken in, to rewrite.
    #[inline(always)]
    pub fn packets_mut(&mut self) -> &mut [Packet] {
        &mut self.packets[..self.len]
    }

    /// The burst is over: forgets the packets and the tally.
    #[inline]
    pub fn clear(&mut self) {
        (self.len, self.bytes) = (0, 0);
        self.limit = BATCH;
        self.blind = false;
        self.tally.clear();
    }
}

/// Every index of a batch, in order.
const IDS: [u8; BATCH] = {
    let (mut ids, mut id) = ([0; BATCH], 0);
    while id < BATCH {
        ids[id] = id as u8;
        id += 1;
    }
    ids
};

/// Packets of one batch that are to leave through one queue, in order: indices into the batch, so that a flood sends
/// the same packet many times without copying it.
pub struct TxList {
    ids: [u8; BATCH],
    first: usize,
    len: usize,
    /// Each index is that before it plus one.
    is_run: bool,
    sent_bytes: u64,
    /// What the queue took but could not send.
    pub tally: Tally,
}

impl Default for TxList {
    fn default() -> Self {
        Self::new()
    }
}

impl TxList {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self { ids: [0; BATCH], first: 0, len: 0, is_run: true, sent_bytes: 0, tally: Tally::default() }
    }

    /// Appends the packet with this index in its batch; false when the list already holds [`BATCH`].
    #[inline(always)]
    pub fn push(&mut self, id: usize) -> bool {
        if self.len == BATCH {
            return false;
        }
        self.is_run &= self.continues(id);
        self.ids[self.len] = id as u8;
        self.len += 1;
        true
    }

    /// Appends the packets with these indices; false, and nothing done, when they are more than fit.
    #[inline(always)]
    pub fn push_range(&mut self, ids: Range<usize>) -> bool {
        // A whole batch, mostly: a copy of known length.
        if self.len == 0 && ids.start == 0 && ids.end <= BATCH {
            (self.ids, self.len) = (IDS, ids.end);
            return true;
        }
        let continues = self.continues(ids.start);
        let Some(places) = self.ids.get_mut(self.len..self.len + ids.len()) else { return false };
        self.is_run &= continues;
        places.copy_from_slice(&IDS[ids.clone()]);
        self.len += ids.len();
        true
    }

    #[inline(always)]
    fn continues(&self, id: usize) -> bool {
        self.len == 0 || usize::from(self.ids[self.len - 1]) + 1 == id
    }

    /// The packets still to be sent, when they are neighbours in their batch.
    #[inline(always)]
    #[must_use]
    pub fn run(&self) -> Option<Range<usize>> {
        let first = usize::from(*self.ids().first()?);
        self.is_run.then(|| first..first + self.len())
    }

    /// The packets still to be sent, front first.
    #[inline(always)]
    #[must_use]
    pub fn ids(&self) -> &[u8] {
        &self.ids[self.first..self.len]
    }

    /// How many are still to be sent.
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len - self.first
    }

    /// True when nothing is left to send.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == self.first
    }

    /// The queue sent the first `count` packets, `bytes` in all.
    ///
    /// # Panics
    /// When there are not that many.
    #[inline(always)]
    pub fn take(&mut self, count: usize, bytes: usize) {
        assert!(count <= self.len(), "took more packets than there are");
        self.first += count;
        self.sent_bytes += bytes as u64;
    }

    /// The queue takes the first packet and drops it.
    #[inline]
    pub fn take_dropped(&mut self, reason: DropReason) {
        self.take(1, 0);
        self.tally.drop(reason);
    }

    /// Bytes of the packets that the queue sent.
    #[inline(always)]
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// What was taken has been counted, and what is left stays.
    pub fn settle(&mut self) {
        self.sent_bytes = 0;
        self.tally.clear();
    }

    /// Forgets everything.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.first = 0;
        self.len = 0;
        self.is_run = true;
        self.sent_bytes = 0;
        self.tally.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mem::{GuestMemory, Lookup, Mapping, Region};

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
            batch.next_slot().expect("an empty batch has room").reset_blind(span);
            batch.push();
            let packet = &batch.packets()[0];
            assert_eq!((packet.len(), packet.head().len()), (len as usize, 0));
            assert!(packet.short().is_none());
            let first = &bytes[..bytes.len().min(SPLIT_HEAD)];
            packet.peek(|head| assert_eq!(head, first));
            batch.see();
            let packet = &batch.packets()[0];
            assert!(packet.blind().is_none() && !batch.is_blind());
            assert_eq!(packet.head().len(), if len as usize <= WHOLE_FRAME { len as usize } else { SPLIT_HEAD });
            packet.peek(|head| assert_eq!(head, packet.head()));
            let mut copy = vec![0; len as usize];
            packet.copy_to(&mut copy).expect("room");
            assert_eq!(copy, bytes);
        }
    }

    #[test]
    fn neighbours_in_a_batch_are_a_run_and_nothing_else_is() {
        let mut list = TxList::new();
        assert!(list.push_range(3..6) && list.push(6));
        assert_eq!(list.run(), Some(3..7));
        list.take(2, 0);
        assert_eq!(list.run(), Some(5..7));
        assert!(list.push_range(8..10));
        assert_eq!((list.run(), list.ids()), (None, &[5, 6, 8, 9][..]));
        list.clear();
        assert!(list.push(0) && list.push(1) && list.push(0));
        assert_eq!(list.run(), None, "a packet that is sent twice");
        list.clear();
        assert_eq!(list.run(), None);
    }

    #[test]
    fn what_a_queue_does_not_take_stays_in_the_list() {
        let mut list = TxList::new();
        (0..BATCH).for_each(|id| assert!(list.push(id)));
        assert!(!list.push(0));
        list.take(30, 1800);
        list.take_dropped(DropReason::TxTooLarge);
        assert_eq!(list.ids(), [31]);
        assert_eq!(list.sent_bytes(), 1800, "of what was sent");
        assert_eq!(list.tally.count(DropReason::TxTooLarge), 1);
    }
}
