//! The queues of a worker: busy ones first, which are served in every pass, then quiet ones, of which a few are.
//!
//! Most ports of a host are quiet most of the time. A busy pair must not pay for looking at all of them in each pass.
//! Neighbours: `run` serves them and says what it found.

use std::collections::VecDeque;
use std::ops::{Index, IndexMut, Range};

use super::attachment::Attachment;
use crate::port::PortId;

/// A queue that was empty in this many passes is quiet.
const QUIET_AFTER: u32 = 1024;
/// A quiet queue is looked at in one pass of so many: a look can be a system call (a tap's). A pass takes a few microseconds
/// for each busy queue, so the first packet waits well under a millisecond; when nothing is busy, passes are so short that it
/// hardly waits.
const QUIET_PARTS: usize = 32;

/// See the module. Places change only in [`seen`](Self::seen), `add` and `remove`.
#[derive(Default)]
pub(super) struct Roster {
    queues: VecDeque<Attachment>,
    /// The first so many are busy.
    busy: usize,
    /// Where the next look at quiet queues begins, from the first of them on.
    next_quiet: usize,
    /// The most that were quiet in this round.
    round: usize,
    /// Looks that earlier passes left to the next ones, in parts of a look.
    due: usize,
}

impl Roster {
    /// How many queues are served in every pass.
    #[inline(always)]
    pub fn busy(&self) -> usize {
        self.busy
    }

    /// The quiet queues that this pass looks at.
    #[inline(always)]
    pub fn quiet_turn(&mut self) -> Range<usize> {
        let quiet = self.queues.len() - self.busy;
        if quiet == 0 {
            return 0..0;
        }
        if self.next_quiet >= quiet {
            (self.next_quiet, self.round) = (0, 0);
        }
        // Those that wake up meanwhile do not slow the round down: the last one waits for two rounds at most.
        self.round = self.round.max(quiet);
        self.due += self.round;
        let count = self.due / QUIET_PARTS;
        self.due %= QUIET_PARTS;
        let start = self.next_quiet;
        let end = (start + count).min(quiet);
        self.next_quiet = end;
        self.busy + start..self.busy + end
    }

    /// What a look at the queue at `place` found. True when another queue stands at `place` now, which had no turn yet.
    #[inline(always)]
    pub fn seen(&mut self, place: usize, found_something: bool) -> bool {
        let queue = &mut self.queues[place];
        if found_something {
            queue.empty_passes = 0;
            if place >= self.busy {
                self.queues.swap(place, self.busy);
                self.busy += 1;
                // Those that wait for their turn are counted from the first quiet one.
                self.next_quiet = self.next_quiet.saturating_sub(1);
            }
            return false;
        }
        queue.empty_passes += 1;
        if queue.empty_passes < QUIET_AFTER || place >= self.busy {
            return false;
        }
        self.busy -= 1;
        self.queues.swap(place, self.busy);
        true
    }

    /// This queue, if it is one of ours, says that it has something: the next pass looks.
    pub fn expect(&mut self, port: PortId, index: u16) {
        if let Some(place) = self.place(port, index) {
            self.seen(place, true);
        }
    }

    fn place(&self, port: PortId, index: u16) -> Option<usize> {
        self.queues.iter().position(|queue| queue.port == port && queue.index == index)
    }

    /// A new queue is busy.
    pub fn add(&mut self, queue: Attachment) {
        self.queues.push_back(queue);
        self.queues.swap(self.busy, self.queues.len() - 1);
        self.busy += 1;
    }

    /// Takes a queue out.
    pub fn remove(&mut self, port: PortId, index: u16) -> Option<Attachment> {
        let place = self.place(port, index)?;
        if place < self.busy {
            self.busy -= 1;
        }
        self.queues.remove(place)
    }

    /// All of them; none is left.
    pub fn take_all(&mut self) -> VecDeque<Attachment> {
        std::mem::take(self).queues
    }

    pub fn len(&self) -> usize {
        self.queues.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Attachment> {
        self.queues.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Attachment> {
        self.queues.iter_mut()
    }
}

impl Index<usize> for Roster {
    type Output = Attachment;

    #[inline(always)]
    fn index(&self, place: usize) -> &Attachment {
        &self.queues[place]
    }
}

impl IndexMut<usize> for Roster {
    #[inline(always)]
    fn index_mut(&mut self, place: usize) -> &mut Attachment {
        &mut self.queues[place]
    }
}

#[cfg(test)]
mod tests {
    use std::any::Any;
    use std::os::fd::RawFd;
    use std::sync::Arc;

    use super::*;
    use crate::packet::PacketBatch;
    use crate::port::RxQueue;

    struct Silent;

    impl RxQueue for Silent {
        fn rx_batch(&mut self, _: &mut PacketBatch) -> usize {
            0
        }

        fn finish(&mut self) {}

        fn event_fd(&self) -> Option<RawFd> {
            None
        }

        fn arm(&mut self) -> bool {
            true
        }

        fn disarm(&mut self) {}

        fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
            self
        }
    }

    #[test]
    fn each_quiet_queue_is_looked_at_in_one_pass_of_so_many_however_few_there_are() {
        for count in [1, 2, 31, 32, 33, 70] {
            let mut roster = Roster::default();
            for port in 0..count {
                roster.add(Attachment::new(PortId(port), 0, Box::new(Silent), Arc::default()));
            }
            for _ in 0..QUIET_AFTER {
                (0..roster.busy()).rev().for_each(|place| _ = roster.seen(place, false));
            }
            assert_eq!(roster.busy(), 0);
            let mut looks = vec![0; usize::from(count)];
            for _ in 0..100 * QUIET_PARTS {
                roster.quiet_turn().for_each(|place| looks[usize::from(roster.queues[place].port.0)] += 1);
            }
            // The round ends with the last queue, even when one more could be looked at.
            assert!(looks.iter().all(|looks| (95..=101).contains(looks)), "{count}: {looks:?}");
        }
    }

    #[test]
    fn who_says_that_it_has_something_is_in_the_next_pass_however_quiet_it_was() {
        let mut roster = Roster::default();
        (0..64).for_each(|port| roster.add(Attachment::new(PortId(port), 0, Box::new(Silent), Arc::default())));
        for _ in 0..QUIET_AFTER {
            let mut place = 0;
            while place < roster.busy() {
                place += usize::from(!roster.seen(place, false));
            }
        }
        assert_eq!(roster.busy(), 0);
        roster.expect(PortId(40), 0);
        roster.expect(PortId(40), 1);
        assert_eq!((roster.busy(), roster[0].port), (1, PortId(40)));
        roster.expect(PortId(40), 0);
        roster.expect(PortId(3), 0);
        assert_eq!((roster.busy(), roster[1].port), (2, PortId(3)));
    }
}
