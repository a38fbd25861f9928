//! A change of the sorting under traffic: destinations move from one place (a pool's socket, a hardware queue, the anchor) to
//! another, and the frames of each must come out in the order in which they came in.
//!
//! While a change is under way, frames of a moving destination that appear anywhere but in its old place are parked, and
//! only they; everything else flows. Two things must have happened before they may follow:
//!
//! 1. *settled*: no frame is on its way to an old place any more (whoever makes the change knows: [`Change::settle`]);
//! 2. *drained*: on every queue, all that was in the old places by then was handed out.
//!
//! Nobody waits for anybody: each queue looks at two words per batch. Neighbours: `sorting` makes changes, `queue` asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::SortFilter;

/// Where the frames of a destination arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In this slot of whatever queue the NIC chose; 0 is the anchor.
    Slot(u16),
    /// In this hardware queue.
    Hardware(u16),
}

/// What all queues share.
#[derive(Debug)]
pub(super) struct Change {
    /// Sorted by destination.
    moves: Box<[(SortFilter, Place)]>,
    /// Hardware queues that belong to a pool, before or after: no slot is meant there.
    reserved: Box<[u16]>,
    is_settled: AtomicBool,
    /// Queues that have not drained their old places.
    queues_left: AtomicUsize,
    /// Queues that have not handed out what they parked.
    queues_busy: AtomicUsize,
}

impl Change {
    /// These destinations leave these places, on so many queues.
    pub fn new(mut moves: Vec<(SortFilter, Place)>, reserved: Vec<u16>, queue_count: u16) -> Arc<Self> {
        moves.sort_unstable_by_key(|&(filter, _)| filter);
        Arc::new(Self {
            moves: moves.into(),
            reserved: reserved.into(),
            is_settled: AtomicBool::new(false),
            queues_left: AtomicUsize::new(queue_count.into()),
            queues_busy: AtomicUsize::new(queue_count.into()),
        })
    }

    /// From now on no frame arrives in an old place.
    pub fn settle(&self) {
        self.is_settled.store(true, Ordering::Release);
    }

    /// One of the queues is not there.
    pub fn leave_out(&self) {
        self.queues_left.fetch_sub(1, Ordering::Release);
        self.queues_busy.fetch_sub(1, Ordering::Release);
    }

    /// Every queue is done with it.
    pub fn is_over(&self) -> bool {
        self.queues_busy.load(Ordering::Acquire) == 0
    }

    fn is_in(&self, place: Place, queue: u16, slot: u16) -> bool {
        match place {
            Place::Slot(old) => old == slot && !self.reserved.contains(&queue),
            Place::Hardware(old) => old == queue && slot == 0,
        }
    }

    fn is_left(&self, queue: u16, slot: u16) -> bool {
        self.moves.iter().any(|&(_, place)| self.is_in(place, queue, slot))
    }
}

/// A change as one queue sees it.
#[derive(Debug)]
pub(super) struct ChangeHere {
    change: Arc<Change>,
    queue: u16,
    step: Step,
    /// While draining: sockets that are old places, and how far they must be read. Made with room for all of them.
    until: Vec<(usize, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Old frames may still arrive.
    Settling,
    /// All have arrived.
    Draining,
    /// Other queues are not so far.
    Waiting,
}

/// What a change asks of a queue's sockets.
pub(super) trait Drain {
    /// The slots, in the order of the sockets.
    fn slots(&self) -> impl Iterator<Item = u16>;
    /// How much has arrived at a socket; wraps.
    fn position(&self, index: usize) -> u32;
    /// It was read up to there.
    fn has_passed(&self, index: usize, position: u32) -> bool;
}

impl ChangeHere {
    /// On this queue, which has so many sockets.
    pub fn new(change: Arc<Change>, queue: u16, socket_count: usize) -> Self {
        Self { change, queue, step: Step::Settling, until: Vec::with_capacity(socket_count) }
    }

    /// Looks how far it is, between two batches: what was handed out before has been dealt with. True when what is parked may
    /// be handed out.
    pub fn is_drained(&mut self, sockets: &impl Drain) -> bool {
        if self.step == Step::Settling && self.change.is_settled.load(Ordering::Acquire) {
            let left = sockets.slots().enumerate().filter(|&(_, slot)| self.change.is_left(self.queue, slot));
            self.until.extend(left.map(|(index, _)| (index, sockets.position(index))));
            self.step = Step::Draining;
        }
        let is_drained = || self.until.iter().all(|&(index, position)| sockets.has_passed(index, position));
        if self.step == Step::Draining && is_drained() {
            self.step = Step::Waiting;
            // Release, and acquire below: the frames handed out here come before those parked elsewhere.
            self.change.queues_left.fetch_sub(1, Ordering::Release);
        }
        self.step == Step::Waiting && self.change.queues_left.load(Ordering::Acquire) == 0
    }

    /// What was parked has been handed out: this queue is done with it.
    pub fn leave(&self) {
        self.change.queues_busy.fetch_sub(1, Ordering::Release);
    }

    /// A frame to this destination in this slot comes too early.
    pub fn is_early(&self, destination: SortFilter, slot: u16) -> bool {
        let moves = &self.change.moves;
        let found = moves.binary_search_by_key(&destination, |&(filter, _)| filter);
        found.is_ok_and(|at| !self.change.is_in(moves[at].1, self.queue, slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots, how much arrived, how much was read.
    struct Rings(Vec<(u16, u32, u32)>);

    impl Drain for Rings {
        fn slots(&self) -> impl Iterator<Item = u16> {
            self.0.iter().map(|ring| ring.0)
        }
        fn position(&self, index: usize) -> u32 {
            self.0[index].1
        }
        fn has_passed(&self, index: usize, position: u32) -> bool {
            self.0[index].2.wrapping_sub(position) as i32 >= 0
        }
    }

    fn to(last: u8) -> SortFilter {
        SortFilter { mac: [2, 0, 0, 0, 0, last], vlan: 0 }
    }

    #[test]
    fn what_moves_waits_for_the_old_places_of_all_queues_and_nothing_else_waits() {
        let change = Change::new(vec![(to(2), Place::Slot(1)), (to(1), Place::Slot(0))], vec![], 2);
        let mut here = [0, 1].map(|queue| ChangeHere::new(Arc::clone(&change), queue, 3));
        assert!(here[0].is_early(to(1), 1) && !here[0].is_early(to(1), 0));
        assert!(here[1].is_early(to(2), 0) && !here[1].is_early(to(2), 1));
        assert!(!here[0].is_early(to(3), 2), "does not move");
        // The counters of a ring wrap. Slot 2 is nobody's old place and never drained.
        let mut rings = Rings(vec![(0, 3, u32::MAX), (1, 9, 9), (2, 50, 0)]);
        assert!(!here[0].is_drained(&rings), "old frames may still arrive");
        change.settle();
        assert!(!here[0].is_drained(&rings), "the anchor is not read so far");
        rings.0[0] = (0, 70, 2);
        assert!(!here[0].is_drained(&rings));
        rings.0[0] = (0, 70, 3);
        assert!(!here[0].is_drained(&rings), "the other queue is not so far");
        assert!(!change.is_over());
        assert!(here[1].is_drained(&Rings(vec![(0, 0, 0)])), "nothing to read there");
        assert!(here[0].is_drained(&rings) && !change.is_over(), "what was parked is to be handed out");
        here.iter().for_each(ChangeHere::leave);
        assert!(change.is_over());
    }

    #[test]
    fn a_hardware_queue_is_one_place_and_no_anchor() {
        let change = Change::new(vec![(to(1), Place::Slot(0)), (to(2), Place::Hardware(2))], vec![2], 3);
        let here = |queue| ChangeHere::new(Arc::clone(&change), queue, 1);
        assert!(!here(0).is_early(to(1), 0), "still where it was");
        assert!(here(2).is_early(to(1), 0), "in its new hardware queue");
        assert!(!here(2).is_early(to(2), 0), "still in its old hardware queue");
        assert!(here(1).is_early(to(2), 0) && here(1).is_early(to(2), 5));
    }
}
