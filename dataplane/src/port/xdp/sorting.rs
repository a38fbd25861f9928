//! The sorting of one open port: which pool has what, and how that changes under traffic.
//!
//! A change is begun by whoever asks (opens sockets, tells the queues which destinations move), carried out by a thread of its
//! own (it waits until the kernel, or the NIC, is done with the old ways), followed by the queues (`change`), and finished by
//! the port's watcher (sockets that nobody needs are taken out). One change at a time.
//!
//! Neighbours: `plan` decides, `program` and `nic` sort, `queue` receives, `sockets` opens and closes all of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::chain;
use super::change::{Change, Place};
use super::nic::Nic;
use super::plan::{Home, Means, Planned, plan};
use super::program::{NewTable, Program, Tables};
use super::queue::{Lane, XdpRx};
use super::sort::{PoolSorting, SortFilter, SortPool, Sorter, SorterChoice};
use crate::mem::{XskCounters, XskOpener, XskSocket, XskStatistics};
use crate::port::PortContext;

/// The part of the port's time that everything has which is no pool's: a pool's default weight.
pub(super) const ANCHOR_WEIGHT: u32 = 100;
/// How long after a change of its rules a NIC may still deliver by the old ones: it keeps no frame longer than it puts off
/// interrupts, some hundred microseconds, and the driver no longer than it takes to be scheduled.
const HARDWARE_SETTLES: Duration = Duration::from_millis(50);
/// Sockets are closed by so many threads: the kernel waits some 10 ms for each.
const CLOSERS: usize = 32;

/// What the sorters are, on one open port.
pub(super) struct Sorters {
    /// Ring entries of a pool's socket.
    pub entries: u32,
    /// By queue: what opens sockets, and what its anchor has received.
    pub queues: Vec<(XskOpener, Arc<AtomicU64>)>,
    pub tables: Tables,
    pub nic: Nic,
}

/// See the module.
pub(super) struct Sorting {
    context: PortContext,
    choice: SorterChoice,
    entries: u32,
    queues: Vec<(XskOpener, Arc<AtomicU64>)>,
    tables: Tables,
    nic: Arc<Mutex<Nic>>,
    refusals: Arc<Mutex<Refusals>>,
    pools: Vec<Sorted>,
    change: Option<Running>,
    /// Of sockets that are closed.
    past: XskCounters,
}

/// What a sorter said when it was to sort: it is not asked again until the port opens again.
#[derive(Default)]
struct Refusals {
    nic: Option<String>,
    xdp: Option<String>,
}

/// A pool, and what it has.
struct Sorted {
    pool: SortPool,
    planned: Planned,
    /// By queue, through its sockets; they count on when it gets others.
    frames: Vec<Arc<AtomicU64>>,
    /// What the anchor of its hardware queue had received before that was the pool's.
    anchor_before: u64,
    statistics: Vec<XskStatistics>,
}

/// A change under way.
struct Running {
    change: Arc<Change>,
    /// Slots that are empty when it is over.
    leaving: Vec<u16>,
}

/// Sockets for each queue.
type Added = Vec<Vec<(XskSocket, Lane)>>;

impl Sorting {
    /// Without pools.
    pub fn new(context: &PortContext, sorters: Sorters) -> Self {
        let Sorters { entries, queues, tables, nic } = sorters;
        Self {
            context: context.clone(),
            choice: SorterChoice::default(),
            entries,
            queues,
            tables,
            nic: Arc::new(Mutex::new(nic)),
            refusals: Arc::default(),
            pools: Vec::new(),
            change: None,
            past: XskCounters::default(),
        }
    }

    /// Goes on towards what is wanted, without waiting for anything; true when that is reached.
    pub fn advance(&mut self, program: &mut Program, choice: SorterChoice, wanted: &[SortPool]) -> bool {
        self.choice = choice;
        if let Some(running) = self.change.take_if(|running| running.change.is_over()) {
            self.take_out(&running.leaving);
        }
        if self.change.is_some() {
            return false;
        }
        let homes: Vec<_> = self.pools.iter().map(|sorted| (&*sorted.pool.name, sorted.planned.home)).collect();
        let plans = plan(wanted, &homes, &self.means());
        let is_same =
            |((pool, plan), sorted): ((&SortPool, &Planned), &Sorted)| sorted.pool == *pool && sorted.planned == *plan;
        if self.pools.len() != wanted.len() || !wanted.iter().zip(&plans).zip(&self.pools).all(is_same) {
            self.begin(wanted, plans, program);
        }
        self.change.is_none()
    }

    fn means(&self) -> Means {
        let refusals = lock(&self.refusals);
        let nic = match &refusals.nic {
            Some(why) => Err(why.clone()),
            None => lock(&self.nic).spare_queues(self.queues.len() as u16),
        };
        Means { choice: self.choice, nic, xdp: refusals.xdp.clone().map_or(Ok(()), Err) }
    }

    fn begin(&mut self, wanted: &[SortPool], plans: Vec<Planned>, program: &mut Program) {
        let (before, weights) = (self.places(), self.weights());
        let added = self.rehouse(wanted, plans, program);
        let (after, new_weights) = (self.places(), self.weights());
        let gone = |&&(slot, _): &&(u16, u32)| !new_weights.iter().any(|&(other, _)| other == slot);
        let leaving = weights.iter().filter(gone).map(|&(slot, _)| slot).collect();
        let anchor = Place::Slot(0);
        let place = |places: &Places, filter| places.get(&filter).copied().unwrap_or(anchor);
        let mut moves: Vec<_> = before.iter().map(|(&filter, &old)| (filter, old)).collect();
        moves.extend(after.keys().filter(|filter| !before.contains_key(filter)).map(|&filter| (filter, anchor)));
        moves.retain(|&(filter, old)| place(&after, filter) != old);
        let hardware = |place: &Place| if let Place::Hardware(queue) = place { Some(*queue) } else { None };
        let reserved: Vec<_> = before.values().chain(after.values()).filter_map(hardware).collect();
        let change = (!moves.is_empty()).then(|| Change::new(moves, reserved, self.queues.len() as u16));
        if change.is_some() || weights != new_weights {
            self.tell_queues(added, &new_weights, change.as_ref());
        }
        if let Some(change) = change {
            self.carry_out(Arc::clone(&change), &after);
            self.change = Some(Running { change, leaving });
        }
    }

    /// Gives the pools what is planned; returns the sockets that the queues are to get. What cannot be opened, software does.
    fn rehouse(&mut self, wanted: &[SortPool], plans: Vec<Planned>, program: &mut Program) -> Added {
        let mut added: Added = self.queues.iter().map(|_| Vec::new()).collect();
        let mut old = std::mem::take(&mut self.pools);
        for (pool, planned) in wanted.iter().zip(plans) {
            let known = old.iter().position(|sorted| sorted.pool.name == pool.name);
            let mut sorted = known.map_or_else(|| Sorted::new(pool, self.queues.len()), |at| old.swap_remove(at));
            sorted.pool.clone_from(pool);
            let had = std::mem::replace(&mut sorted.planned, planned).home;
            if sorted.planned.home != had {
                self.past += sorted.counters();
                sorted.statistics.clear();
                if let Err(why) = self.furnish(&mut sorted, program, &mut added) {
                    sorted.planned.why_not.push((Sorter::Xdp, why));
                    sorted.planned.home = Home::Nothing;
                }
            }
            self.pools.push(sorted);
        }
        old.iter().for_each(|sorted| self.past += sorted.counters());
        added
    }

    /// Opens what a pool's new home needs.
    fn furnish(&self, sorted: &mut Sorted, program: &mut Program, added: &mut Added) -> Result<(), String> {
        match sorted.planned.home {
            Home::Nothing => {}
            Home::Hardware(queue) => sorted.anchor_before = self.queues[usize::from(queue)].1.load(Ordering::Relaxed),
            Home::Slot(slot) => {
                let open = |(opener, _): &(XskOpener, _)| opener.open(self.entries).map_err(|error| chain(&error));
                let sockets: Vec<_> = self.queues.iter().map(open).collect::<Result<_, _>>()?;
                for ((queue, socket), frames) in (0..).zip(sockets).zip(&sorted.frames) {
                    program.steer(queue, slot, &socket).map_err(|error| chain(&error))?;
                    sorted.statistics.push(socket.statistics().map_err(|error| error.to_string())?);
                    let lane = Lane { slot, weight: sorted.pool.weight, frames: Arc::clone(frames) };
                    added[usize::from(queue)].push((socket, lane));
                }
            }
        }
        Ok(())
    }

    /// Where each destination is now. Of pools that name the same, the first has it.
    fn places(&self) -> Places {
        let mut places = Places::new();
        for sorted in &self.pools {
            let place = match sorted.planned.home {
                Home::Hardware(queue) => Place::Hardware(queue),
                Home::Slot(slot) => Place::Slot(slot),
                Home::Nothing => Place::Slot(0),
            };
            for &filter in sorted.pool.filters.iter().filter(|filter| !filter.is_group()) {
                places.entry(filter).or_insert(place);
            }
        }
        places
    }

    /// By slot. The anchor has the weight of all that it carries.
    fn weights(&self) -> Vec<(u16, u32)> {
        let (mut anchor, mut weights) = (ANCHOR_WEIGHT, Vec::new());
        for sorted in &self.pools {
            match sorted.planned.home {
                Home::Slot(slot) => weights.push((slot, sorted.pool.weight)),
                Home::Nothing => anchor = anchor.saturating_add(sorted.pool.weight),
                Home::Hardware(_) => {}
            }
        }
        weights.push((0, anchor));
        weights
    }

    /// Between two bursts each queue gets its new sockets and weights, and hears of the change.
    fn tell_queues(&self, added: Added, weights: &[(u16, u32)], change: Option<&Arc<Change>>) {
        for (queue, added) in (0..).zip(added) {
            let told = self.with_queue(queue, |rx| {
                for (socket, lane) in added {
                    // It is not listened to while the worker sleeps, but served.
                    if let Err(error) = rx.add(socket, lane) {
                        tracing::warn!(port = %self.context.name, %error, "a pool's socket wakes nobody");
                    }
                }
                weights.iter().for_each(|&(slot, weight)| rx.set_weight(slot, weight));
                change.inspect(|change| rx.begin(change, queue));
            });
            if let (None, Some(change)) = (told, change) {
                change.leave_out();
            }
        }
    }

    /// Has the sorters sort anew. Their waiting is done elsewhere.
    fn carry_out(&self, change: Arc<Change>, after: &Places) {
        let slot =
            |(&filter, place): (_, &_)| if let Place::Slot(slot @ 1..) = place { Some((filter, *slot)) } else { None };
        let queue =
            |(&filter, place): (_, &_)| if let Place::Hardware(queue) = place { Some((filter, *queue)) } else { None };
        let slots: Vec<(SortFilter, u16)> = after.iter().filter_map(slot).collect();
        let queues: Vec<(SortFilter, u16)> = after.iter().filter_map(queue).collect();
        let (nic, tables, refusals) = (Arc::clone(&self.nic), self.tables.clone(), Arc::clone(&self.refusals));
        let body = move || {
            match lock(&nic).steer(&queues) {
                Ok(false) => {}
                Ok(true) => std::thread::sleep(HARDWARE_SETTLES),
                Err(why) => lock(&refusals).nic = Some(why),
            }
            // Where that fails the program finds what it found before, or no socket, and sends it to the anchor: that is
            // unsorted, and not lost.
            if let Err(error) = NewTable::new(&slots).and_then(|table| tables.publish(&table)) {
                lock(&refusals).xdp = Some(chain(&error));
            }
            change.settle();
        };
        // Without threads the switch is not to last; until then whoever asked waits.
        if let Err(body) = spawn(body) {
            body();
        }
    }

    /// Takes out the sockets of slots that nothing goes to any more, and that were drained.
    fn take_out(&self, leaving: &[u16]) {
        if leaving.is_empty() {
            return;
        }
        let mut sockets = Vec::new();
        for queue in 0..self.queues.len() as u16 {
            self.with_queue(queue, |rx| sockets.extend(leaving.iter().filter_map(|&slot| rx.remove(slot))));
        }
        if let Err(close) = spawn(move || close_all(sockets)) {
            close();
        }
    }

    /// Takes a queue from its worker, and gives it back.
    fn with_queue<R>(&self, queue: u16, change: impl FnOnce(&mut XdpRx) -> R) -> Option<R> {
        let PortContext { host, id, .. } = &self.context;
        let mut rx = host.detach_rx(*id, queue)?.into_any().downcast::<XdpRx>().ok()?;
        let result = change(&mut rx);
        host.attach_rx(*id, queue, rx);
        Some(result)
    }

    /// No change is under way, and these are the pools.
    pub fn is_sorted(&self, pools: &[SortPool]) -> bool {
        self.change.is_none() && self.pools.iter().map(|sorted| &sorted.pool).eq(pools)
    }

    /// For operators, in the order in which the pools were named.
    pub fn status(&self) -> Vec<PoolSorting> {
        self.pools.iter().map(|sorted| self.describe(sorted)).collect()
    }

    fn describe(&self, sorted: &Sorted) -> PoolSorting {
        let through_sockets: u64 = sorted.frames.iter().map(|frames| frames.load(Ordering::Relaxed)).sum();
        let (sorter, queues, through_queue) = match sorted.planned.home {
            Home::Nothing => (Sorter::Software, String::new(), 0),
            Home::Slot(_) if self.queues.len() == 1 => (Sorter::Xdp, "socket on the queue".into(), 0),
            Home::Slot(_) => (Sorter::Xdp, format!("socket on each of {} queues", self.queues.len()), 0),
            Home::Hardware(queue) => {
                let now = self.queues[usize::from(queue)].1.load(Ordering::Relaxed);
                (Sorter::Nic, format!("hardware queue {queue}"), now - sorted.anchor_before)
            }
        };
        let lost = sorted.counters();
        PoolSorting {
            name: Arc::clone(&sorted.pool.name),
            sorter,
            why_not: sorted.planned.why_not.clone(),
            queues,
            frames: through_sockets + through_queue,
            dropped: lost.rx_dropped + lost.rx_ring_full,
        }
    }

    /// The kernel's counters of all pools' sockets, since the port was opened.
    pub fn counters(&self) -> XskCounters {
        let mut sum = self.past;
        self.pools.iter().for_each(|sorted| sum += sorted.counters());
        sum
    }
}

/// Where destinations are.
type Places = BTreeMap<SortFilter, Place>;

impl Sorted {
    fn new(pool: &SortPool, queue_count: usize) -> Self {
        Self {
            pool: pool.clone(),
            planned: Planned { home: Home::Nothing, why_not: Vec::new() },
            frames: (0..queue_count).map(|_| Arc::default()).collect(),
            anchor_before: 0,
            statistics: Vec::new(),
        }
    }

    fn counters(&self) -> XskCounters {
        let mut sum = XskCounters::default();
        self.statistics.iter().for_each(|statistics| sum += statistics.read());
        sum
    }
}

/// Runs it in a thread of its own; gives it back when there is none to be had.
fn spawn<F: FnOnce() + Send + 'static>(body: F) -> Result<(), F> {
    let body = Arc::new(Mutex::new(Some(body)));
    let theirs = Arc::clone(&body);
    let run = move || {
        if let Some(body) = lock(&theirs).take() {
            body();
        }
    };
    match std::thread::Builder::new().name("xdp-sort".into()).spawn(run) {
        Ok(_) => Ok(()),
        Err(_) => lock(&body).take().map_or(Ok(()), Err),
    }
}

/// Closes sockets side by side: one after the other, those of 64 pools would take seconds.
pub(super) fn close_all(mut sockets: Vec<XskSocket>) {
    let each = sockets.len().div_ceil(CLOSERS).max(1);
    std::thread::scope(|scope| {
        while !sockets.is_empty() {
            let some = sockets.split_off(sockets.len() - each.min(sockets.len()));
            // Who gets no thread closes them here.
            let _ = std::thread::Builder::new().spawn_scoped(scope, move || drop(some));
        }
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
