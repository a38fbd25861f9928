//! What is to leave through one queue: indices into a batch.

use std::ops::Range;

use super::{BATCH, DropReason, Tally};

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
    use super::*;

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
