//! Which worker polls which queue, why, and what each costs: the table that [`super::host`] keeps under one lock.
//!
//! A queue goes where the operator pinned it, otherwise to the least loaded worker that is open to all. A worker with a pin
//! is isolated: nobody else is placed there, unless isolation is off. When every worker is isolated, isolation cannot hold,
//! and all are open: a queue that nobody polls would be worse. Neighbours: `balance` plans moves from the loads.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::balance::{Move, QueueLoad};
use super::stats::{QueueCounters, QueueTotals};
use crate::port::PortId;
use crate::sys::clock;

/// A load is an average over about so long.
const SMOOTHED_OVER_S: f64 = 5.0;

/// A queue that the operator wants on a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Whose queue; it need not be there yet.
    pub port: PortId,
    /// Which of the port's queues.
    pub index: u16,
    /// The worker's number.
    pub worker: usize,
}

/// A receive queue and the worker that polls it.
#[derive(Clone, Debug, PartialEq)]
pub struct QueuePlacement {
    /// The worker's number.
    pub worker: usize,
    /// Whose queue.
    pub port: PortId,
    /// Which of the port's queues.
    pub index: u16,
    /// The operator wants it there.
    pub pinned: bool,
    /// Share of a CPU that it took lately.
    pub load: f64,
    /// How often it went from one worker to another since it was attached.
    pub moves: u64,
    /// What was counted through it since it was attached, or since counters were cleared.
    pub totals: QueueTotals,
}

/// A worker, as queues are placed on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerPlacement {
    /// Only queues that are pinned to it are placed on it.
    pub isolated: bool,
    /// Share of its CPU that it was busy lately.
    pub busy: f64,
}

pub(super) type Key = (PortId, u16);

/// See the module.
pub(super) struct Placement {
    placed: HashMap<Key, Placed>,
    pins: BTreeMap<Key, usize>,
    isolates: bool,
    /// How busy each worker is.
    busy: Vec<Smoothed>,
    sampled: Option<u64>,
}

struct Placed {
    worker: usize,
    counters: Arc<QueueCounters>,
    load: Smoothed,
    moves: u64,
    /// Counted before counters were cleared.
    cleared: QueueTotals,
}

impl Placement {
    pub fn new(workers: usize) -> Self {
        Self {
            placed: HashMap::new(),
            pins: BTreeMap::new(),
            isolates: true,
            busy: vec![Smoothed::default(); workers],
            sampled: None,
        }
    }

    /// Other wishes; [`strays`](Self::strays) tells what has to move. False when they are what they were.
    pub fn set_pins(&mut self, pins: &[Pin], isolates: bool) -> bool {
        let pins: BTreeMap<Key, usize> = pins.iter().map(|pin| ((pin.port, pin.index), pin.worker)).collect();
        let changed = pins != self.pins || isolates != self.isolates;
        (self.pins, self.isolates) = (pins, isolates);
        changed
    }

    fn is_isolated(&self, worker: usize) -> bool {
        self.isolates && self.pins.values().any(|&pinned| pinned == worker)
    }

    /// The workers that take queues which are not pinned to them.
    pub fn open(&self) -> Vec<bool> {
        let open: Vec<bool> = (0..self.busy.len()).map(|worker| !self.is_isolated(worker)).collect();
        if open.contains(&true) { open } else { vec![true; open.len()] }
    }

    pub fn workers(&self) -> Vec<WorkerPlacement> {
        let open = self.open();
        self.busy.iter().zip(open).map(|(busy, open)| WorkerPlacement { isolated: !open, busy: busy.share }).collect()
    }

    /// A worker for a queue that comes; `None` when there is no worker.
    pub fn place(&mut self, key: Key, counters: Arc<QueueCounters>) -> Option<usize> {
        let worker = self.pins.get(&key).copied().or_else(|| self.least_loaded(&self.carried(), &self.open()))?;
        let (load, moves, cleared) = (Smoothed::default(), 0, QueueTotals::default());
        self.placed.insert(key, Placed { worker, counters, load, moves, cleared });
        Some(worker)
    }

    /// Load and number of queues of each worker.
    fn carried(&self) -> Vec<(f64, usize)> {
        let mut carried = vec![(0.0, 0); self.busy.len()];
        for placed in self.placed.values() {
            carried[placed.worker].0 += placed.load.share;
            carried[placed.worker].1 += 1;
        }
        carried
    }

    /// Loads are compared in whole percents: what is about the same is decided by the number of queues.
    fn least_loaded(&self, carried: &[(f64, usize)], open: &[bool]) -> Option<usize> {
        let cost = |&worker: &usize| ((carried[worker].0 * 100.0).round() as u64, carried[worker].1);
        (0..carried.len()).filter(|&worker| open[worker]).min_by_key(cost)
    }

    pub fn worker_of(&self, key: Key) -> Option<usize> {
        self.placed.get(&key).map(|placed| placed.worker)
    }

    pub fn remove(&mut self, key: Key) -> Option<usize> {
        self.placed.remove(&key).map(|placed| placed.worker)
    }

    /// It was moved.
    pub fn moved(&mut self, key: Key, to: usize) {
        if let Some(placed) = self.placed.get_mut(&key) {
            placed.worker = to;
            placed.moves += 1;
        }
    }

    /// Queues that are not where pins and isolation want them, and where they belong.
    pub fn strays(&self) -> Vec<Move> {
        let (open, mut carried) = (self.open(), self.carried());
        let mut strays: Vec<_> = self
            .placed
            .iter()
            .filter(|(key, placed)| match self.pins.get(key) {
                Some(&pinned) => placed.worker != pinned,
                None => !open[placed.worker],
            })
            .collect();
        // The heaviest first: the others fill up what it leaves.
        strays.sort_by(|(a, one), (b, other)| other.load.share.total_cmp(&one.load.share).then(a.cmp(b)));
        let mut moves = Vec::with_capacity(strays.len());
        for (&key, placed) in strays {
            let Some(to) = self.pins.get(&key).copied().or_else(|| self.least_loaded(&carried, &open)) else {
                continue;
            };
            let ((port, index), from, load) = (key, placed.worker, placed.load.share);
            moves.push(Move { port, index, load, from, to, loads: (carried[from].0, carried[to].0) });
            carried[from] = (carried[from].0 - load, carried[from].1 - 1);
            carried[to] = (carried[to].0 + load, carried[to].1 + 1);
        }
        moves
    }

    /// Measures every queue's and worker's load since the last time; `busy` is every worker's busy cycles so far.
    pub fn sample(&mut self, now: u64, busy: impl Iterator<Item = u64>) {
        let elapsed = now.saturating_sub(self.sampled.replace(now).unwrap_or(now));
        let second = clock::cycles_per_second();
        for placed in self.placed.values_mut() {
            placed.load.add(placed.counters.cycles(), elapsed, second);
        }
        for (worker, cycles) in self.busy.iter_mut().zip(busy) {
            worker.add(cycles, elapsed, second);
        }
    }

    pub fn loads(&self) -> Vec<QueueLoad> {
        let load = |(&key, placed): (&Key, &Placed)| {
            let ((port, index), movable) = (key, !self.pins.contains_key(&key));
            QueueLoad { port, index, worker: placed.worker, load: placed.load.share, movable }
        };
        let mut loads: Vec<_> = self.placed.iter().map(load).collect();
        loads.sort_by_key(|queue| (queue.port, queue.index));
        loads
    }

    /// Sorted by port and queue.
    pub fn queues(&self) -> Vec<QueuePlacement> {
        let queue = |(&key, placed): (&Key, &Placed)| QueuePlacement {
            worker: placed.worker,
            port: key.0,
            index: key.1,
            pinned: self.pins.get(&key) == Some(&placed.worker),
            load: placed.load.share,
            moves: placed.moves,
            totals: placed.counters.totals().since(placed.cleared),
        };
        let mut queues: Vec<_> = self.placed.iter().map(queue).collect();
        queues.sort_by_key(|queue| (queue.port, queue.index));
        queues
    }

    /// Counters start at zero.
    pub fn clear(&mut self) {
        self.placed.values_mut().for_each(|placed| placed.cleared = placed.counters.totals());
    }
}

/// A share of a CPU, averaged over the last seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Smoothed {
    share: f64,
    /// Cycles when it was looked at last.
    cycles: u64,
    measured: bool,
}

impl Smoothed {
    /// So many cycles were spent in all, `elapsed` cycles after the last look.
    fn add(&mut self, cycles: u64, elapsed: u64, second: u64) {
        let spent = cycles.saturating_sub(std::mem::replace(&mut self.cycles, cycles));
        if elapsed == 0 {
            return;
        }
        // The clock runs on where a burst was cut short by the host: a CPU has no more than all of its time.
        let now = (spent as f64 / elapsed as f64).min(1.0);
        // The first look is all that is known, and better than nothing.
        let first = !std::mem::replace(&mut self.measured, true);
        let weight = if first { 1.0 } else { 1.0 - (-(elapsed as f64) / (second as f64 * SMOOTHED_OVER_S)).exp() };
        self.share += (now - self.share) * weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn key(port: u16) -> Key {
        (PortId(port), 0)
    }

    fn place(placement: &mut Placement, port: u16) -> usize {
        placement.place(key(port), Arc::default()).unwrap()
    }

    fn pin(port: u16, worker: usize) -> Pin {
        Pin { port: PortId(port), index: 0, worker }
    }

    /// Ports and where they belong.
    fn strays(placement: &Placement) -> Vec<(u16, usize)> {
        placement.strays().iter().map(|stray| (stray.port.0, stray.to)).collect()
    }

    fn set_load(placement: &mut Placement, port: u16, share: f64) {
        placement.placed.get_mut(&key(port)).unwrap().load.share = share;
    }

    #[test]
    fn a_new_queue_goes_to_the_least_loaded_worker_and_of_equals_to_the_one_with_fewest_queues() {
        let mut placement = Placement::new(2);
        assert_eq!([0, 1, 2, 3].map(|port| place(&mut placement, port)), [0, 1, 0, 1]);
        set_load(&mut placement, 0, 0.5);
        assert_eq!([4, 5].map(|port| place(&mut placement, port)), [1, 1]);
        set_load(&mut placement, 1, 0.502);
        assert_eq!(place(&mut placement, 6), 0, "about the same load, fewer queues");
    }

    #[test]
    fn pins_isolate_and_what_is_in_the_way_moves() {
        let mut placement = Placement::new(2);
        assert_eq!([0, 1, 2, 3].map(|port| place(&mut placement, port)), [0, 1, 0, 1]);
        assert!(placement.set_pins(&[pin(3, 0)], true));
        assert!(!placement.set_pins(&[pin(3, 0)], true), "nothing changed");
        assert_eq!(strays(&placement), [(0, 1), (2, 1), (3, 0)]);
        placement.strays().into_iter().for_each(|it| placement.moved((it.port, it.index), it.to));
        assert!(placement.strays().is_empty());
        assert_eq!(place(&mut placement, 9), 1, "worker 0 is isolated");
        assert_eq!(placement.workers().iter().map(|worker| worker.isolated).collect::<Vec<_>>(), [true, false]);
        placement.set_pins(&[pin(3, 0)], false);
        assert!(placement.strays().is_empty(), "the pinned one stays, the others may");
        assert_eq!(place(&mut placement, 10), 0);
    }

    #[test]
    fn when_all_are_isolated_every_queue_is_polled_still() {
        let mut placement = Placement::new(2);
        placement.set_pins(&[pin(0, 0), pin(1, 1)], true);
        assert_eq!([1, 0, 2, 3].map(|port| place(&mut placement, port)), [1, 0, 0, 1]);
        assert!(placement.strays().is_empty());
    }

    #[test]
    fn the_heaviest_of_those_that_must_leave_chooses_first() {
        let mut placement = Placement::new(3);
        placement.set_pins(&[pin(0, 1), pin(1, 2)], true);
        (2..6).for_each(|port| assert_eq!(place(&mut placement, port), 0));
        for (port, load) in [(2, 0.1), (3, 0.1), (4, 0.3), (5, 0.2)] {
            set_load(&mut placement, port, load);
        }
        placement.set_pins(&[pin(9, 0)], true);
        assert_eq!(strays(&placement), [(4, 1), (5, 2), (2, 2), (3, 1)]);
    }

    #[test]
    fn loads_follow_what_was_measured_over_some_seconds() {
        let mut load = Smoothed::default();
        load.add(SECOND / 2, SECOND, SECOND);
        assert_eq!(load.share, 0.5, "the first look counts in full");
        load.add(SECOND / 2, SECOND, SECOND);
        assert!((0.35..0.45).contains(&load.share), "{load:?}");
        (0..60).for_each(|_| load.add(SECOND / 2, SECOND, SECOND));
        assert!(load.share < 0.001, "{load:?}");
        load.add(u64::MAX, 1, SECOND);
        assert!(load.share <= 1.0);
    }
}
