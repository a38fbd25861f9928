//! Where packets of a batch wait for their transmit queue, and what became of each.
//!
//! An output only notes the packet's index in the list of its port. Lists are sent when the batch is done, or before a
//! packet that stands in one is rewritten: so nothing is cloned, and each port gets its packets in order and in one go. A
//! receiver whose ring is full costs the others nothing: what it did not take is offered once more when all of them have
//! theirs, and then dropped. What goes to a port that senders share is charged there, to the pool that sent it.

use std::ops::Range;

use super::act::{all, each};
use super::parse::rss_hash;
use super::snapshot::{PortEntry, Snapshot};
use crate::packet::{BATCH, DropReason, PacketBatch, PortCounters, TxList};
use crate::port::{MAX_PORTS, PortId};
use crate::sched::{self, QueueTotals, Shared};
use crate::sys::clock;

/// The snapshot in force and the worker's lane of every counter.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// What the worker reads in this pass.
    pub snapshot: &'a Snapshot,
    /// The worker's lane.
    pub lane: usize,
    /// Milliseconds of `sys::clock::coarse_ms`.
    pub now_ms: u64,
    /// Where the burst came in: what has no other port is counted there, and its pool pays for what is sent.
    pub ingress: &'a PortEntry,
}

/// See the module.
pub struct Egress {
    lists: Box<[TxList]>,
    pending: Vec<PortId>,
    outlet: Outlet,
    /// A bit for each packet of the batch that was output, and how often one was that had been already.
    outputs: u32,
    copies: u64,
    /// Why packets go nowhere, should they end without an output.
    reasons: [DropReason; BATCH],
    has_reasons: bool,
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            lists: (0..MAX_PORTS).map(|_| TxList::new()).collect(),
            pending: Vec::with_capacity(MAX_PORTS),
            outlet: Outlet { part: TxList::new(), queues: [0; BATCH], has_queues: false, left: false, shared: None },
            outputs: 0,
            copies: 0,
            reasons: [DropReason::RuleDrop; BATCH],
            has_reasons: false,
        }
    }
}

impl Egress {
    /// Notes that packet `id` leaves through `port`.
    #[inline(always)]
    pub fn output(&mut self, context: Context, batch: &PacketBatch, id: usize, port: PortId) {
        let list = &mut self.lists[usize::from(port.0)];
        if list.is_empty() {
            self.pending.push(port);
        }
        self.copies += u64::from(self.outputs >> id & 1);
        self.outputs |= 1 << id;
        if !list.push(id) {
            // The same packet more than once to the same port: what waits goes first.
            self.outlet.send(context, batch, port, list, true);
            list.push(id);
        }
    }

    /// The same for all of `ids`.
    #[inline]
    pub fn output_range(&mut self, context: Context, batch: &PacketBatch, ids: Range<usize>, port: PortId) {
        let list = &mut self.lists[usize::from(port.0)];
        if list.is_empty() {
            self.pending.push(port);
        }
        if !list.push_range(ids.clone()) {
            self.outlet.send(context, batch, port, list, true);
            list.push_range(ids.clone());
        }
        let some = all(&ids);
        self.copies += u64::from((self.outputs & some).count_ones());
        self.outputs |= some;
    }

    /// Remembers why packet `id` goes nowhere, should it end without an output.
    #[inline(always)]
    pub fn note_drop(&mut self, id: usize, reason: DropReason) {
        self.reasons[id] = reason;
        self.has_reasons = true;
    }

    /// True when packet `id` was output already: it must be flushed before it is rewritten.
    #[inline(always)]
    #[must_use]
    pub fn is_output(&self, id: usize) -> bool {
        self.outputs >> id & 1 != 0
    }

    /// Sends what waits.
    #[inline]
    pub fn flush(&mut self, context: Context, batch: &PacketBatch) {
        for &port in &self.pending {
            self.outlet.send(context, batch, port, &mut self.lists[usize::from(port.0)], false);
        }
        if std::mem::take(&mut self.outlet.left) {
            self.flush_rest(context, batch);
        }
        self.pending.clear();
    }

    /// Once more to those that took a part.
    #[cold]
    fn flush_rest(&mut self, context: Context, batch: &PacketBatch) {
        for &port in &self.pending {
            let list = &mut self.lists[usize::from(port.0)];
            if !list.is_empty() {
                self.outlet.send(context, batch, port, list, true);
            }
        }
        self.outlet.left = false;
    }

    /// From here on packet `id` leaves through the queue with this number, where ports have such queues. It must not wait in a
    /// list: see [`is_output`](Self::is_output).
    pub fn set_queue(&mut self, id: usize, queue: u32) {
        self.outlet.queues[id] = queue;
        self.outlet.has_queues = true;
    }

    /// The shared port that most of the batch went to, of `count` packets; to be asked after each batch.
    #[inline(always)]
    pub fn take_shared(&mut self, count: usize) -> Option<Shared> {
        let (place, packets) = self.outlet.shared.take()?;
        (packets * 2 > count).then_some(place)
    }

    /// The batch is done: counts copies and drops of its first `count` packets for the port they came in on, so that
    /// received + copies = sent + dropped.
    #[inline]
    pub fn settle(&mut self, counters: &PortCounters, count: usize) {
        if std::mem::take(&mut self.outlet.has_queues) {
            self.outlet.queues.fill(0);
        }
        let range = 0..count;
        for id in each(!self.outputs, &range) {
            counters.dropped(self.reasons[id], 1);
        }
        self.outputs = 0;
        let copies = std::mem::take(&mut self.copies);
        if copies > 0 {
            counters.copied(copies);
        }
        if std::mem::take(&mut self.has_reasons) {
            self.reasons.fill(DropReason::RuleDrop);
        }
    }
}

/// The way out: what sending a list needs and finds out.
struct Outlet {
    /// The part of a list that goes to one queue of several.
    part: TxList,
    /// OpenFlow's number of the queue for each packet, where somebody set one.
    queues: [u32; BATCH],
    has_queues: bool,
    /// Some list is not empty after its port got it.
    left: bool,
    /// The shared port that most of the batch was for, as far as lists were sent, and how many packets that is.
    shared: Option<(Shared, usize)>,
}

impl Outlet {
    /// Sends a list through its port. What the port does not take stays in the list when it may take it in a moment, and
    /// is dropped and counted when not, or when this is the `last` try. Once per list, and kept out of what runs per packet.
    #[inline(never)]
    fn send(&mut self, context: Context, batch: &PacketBatch, port: PortId, list: &mut TxList, last: bool) {
        let Some(port) = context.snapshot.port(port) else {
            // A snapshot whose bridge names a port that it does not have.
            context.ingress.counters[context.lane].dropped(DropReason::NoSuchPort, list.len() as u64);
            list.clear();
            return;
        };
        let by_queue = self.has_queues && port.egress.as_ref().is_some_and(|egress| egress.has_queues());
        if port.tx.active_count() <= 1 && !by_queue {
            self.transmit(context, batch, port, port.tx.choose(0), 0, list, last);
        } else {
            self.spread(context, batch, port, by_queue, list, last);
        }
        self.left |= !list.is_empty();
    }

    /// Several queues: each flow keeps to one of them, so its packets stay in order.
    fn spread(
        &mut self,
        context: Context,
        batch: &PacketBatch,
        port: &PortEntry,
        by_queue: bool,
        list: &mut TxList,
        last: bool,
    ) {
        let mut ways = [(None, 0); BATCH];
        let (mut ids, count) = ([0; BATCH], list.len());
        ids[..count].copy_from_slice(list.ids());
        list.clear();
        for (way, &id) in ways.iter_mut().zip(&ids[..count]) {
            let id = usize::from(id);
            let slot = port.tx.choose(rss_hash(batch.frame(id)));
            *way = (slot, if by_queue { self.queues[id] } else { 0 });
        }
        let mut part = std::mem::take(&mut self.part);
        let mut done = 0u32;
        for first in 0..count {
            if done & 1 << first != 0 {
                continue;
            }
            for nth in first..count {
                if ways[nth] == ways[first] {
                    part.push(usize::from(ids[nth]));
                    done |= 1 << nth;
                }
            }
            let (slot, queue) = ways[first];
            self.transmit(context, batch, port, slot, queue, &mut part, last);
            part.ids().iter().for_each(|&id| _ = list.push(usize::from(id)));
            part.clear();
        }
        self.part = part;
    }

    /// One list, one transmit queue, one QoS queue.
    #[allow(clippy::too_many_arguments)] // Each of them is another thing.
    #[inline]
    fn transmit(
        &mut self,
        context: Context,
        batch: &PacketBatch,
        port: &PortEntry,
        slot: Option<usize>,
        queue: u32,
        list: &mut TxList,
        last: bool,
    ) {
        let counters = &port.counters[context.lane];
        let (tried, mut room) = (list.len(), usize::MAX);
        let sent = slot.and_then(|slot| {
            port.tx.with(slot, |ring| {
                let sent = ring.tx_batch(batch, list);
                ring.flush();
                if port.egress.is_some() {
                    room = ring.room();
                }
                sent
            })
        });
        if let Some(sent @ 1..) = sent {
            counters.sent(sent as u64, list.sent_bytes());
        }
        if list.tally.total() > 0 {
            counters.add_tally(&list.tally);
        }
        if let Some(egress) = &port.egress {
            let sent = QueueTotals { packets: sent.unwrap_or(0) as u64, bytes: list.sent_bytes() };
            self.charge(context, egress, Shared { port: port.id, queue }, tried, sent, room);
        }
        match sent {
            _ if list.is_empty() => list.clear(),
            // It took some and is full now: that may be over when the others have got theirs.
            Some(1..) if !last => list.settle(),
            _ => {
                let reason = if sent.is_some() { DropReason::TxFull } else { DropReason::TxDown };
                counters.dropped(reason, list.len() as u64);
                if let Some(egress) = &port.egress {
                    egress.missed(queue, list.len() as u64);
                }
                list.clear();
            }
        }
    }

    /// Tells a shared port what its sender got of it.
    fn charge(
        &mut self,
        context: Context,
        egress: &sched::Egress,
        place: Shared,
        tried: usize,
        sent: QueueTotals,
        room: usize,
    ) {
        let now = clock::cycles();
        egress.saw_rest(room, now);
        if sent.bytes > 0 {
            egress.charge(place.queue, &context.ingress.pool, sent, now);
        }
        match &mut self.shared {
            Some((known, packets)) if *known == place => *packets += tried,
            Some((_, packets)) if *packets >= tried => {}
            shared => *shared = Some((place, tried)),
        }
    }
}
