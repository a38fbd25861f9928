//! Where packets of a batch wait for their transmit queue, and what became of each.
//!
//! An output only notes the packet's index in the list of its port. Lists are sent when the batch is done, or before a
//! packet that stands in one is rewritten: so nothing is cloned, and each port gets its packets in order and in one go.

use std::ops::Range;

use super::parse::rss_hash;
use super::snapshot::{PortEntry, Snapshot};
use crate::packet::{BATCH, DropReason, PacketBatch, PortCounters, TxList};
use crate::port::{MAX_PORTS, PortId};

/// The snapshot in force and the worker's lane of every counter.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// What the worker reads in this pass.
    pub snapshot: &'a Snapshot,
    /// The worker's lane.
    pub lane: usize,
    /// Milliseconds of `sys::clock::coarse_ms`.
    pub now_ms: u64,
    /// Of the port where the burst came in: what has no other port to be counted at.
    pub ingress: &'a PortCounters,
}

/// See the module.
pub struct Egress {
    lists: Box<[TxList]>,
    pending: Vec<PortId>,
    /// The part of a list that goes to one queue of several.
    part: TxList,
    outputs: [u32; BATCH],
    reasons: [DropReason; BATCH],
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            lists: (0..MAX_PORTS).map(|_| TxList::new()).collect(),
            pending: Vec::with_capacity(MAX_PORTS),
            part: TxList::new(),
            outputs: [0; BATCH],
            reasons: [DropReason::RuleDrop; BATCH],
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
        self.outputs[id] += 1;
        if !list.push(id) {
            // The same packet more than once to the same port: what waits goes first.
            send(context, batch, port, list, &mut self.part);
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
            send(context, batch, port, list, &mut self.part);
            list.push_range(ids.clone());
        }
        self.outputs[ids].iter_mut().for_each(|outputs| *outputs += 1);
    }

    /// Remembers why packet `id` goes nowhere, should it end without an output.
    #[inline(always)]
    pub fn note_drop(&mut self, id: usize, reason: DropReason) {
        self.reasons[id] = reason;
    }

    /// True when packet `id` was output already: it must be flushed before it is rewritten.
    #[inline(always)]
    #[must_use]
    pub fn is_output(&self, id: usize) -> bool {
        self.outputs[id] > 0
    }

    /// Sends what waits.
    #[inline]
    pub fn flush(&mut self, context: Context, batch: &PacketBatch) {
        for &port in &self.pending {
            send(context, batch, port, &mut self.lists[usize::from(port.0)], &mut self.part);
        }
        self.pending.clear();
    }

    /// The batch is done: counts copies and drops of its first `count` packets for the port they came in on, so that
    /// received + copies = sent + dropped.
    #[inline]
    pub fn settle(&mut self, counters: &PortCounters, count: usize) {
        // The common case, without a branch for each packet: all went out once.
        let other = self.outputs[..count].iter().fold(0, |other, outputs| other | (outputs ^ 1));
        if other == 0 {
            self.outputs[..count].fill(0);
            self.reasons[..count].fill(DropReason::RuleDrop);
            return;
        }
        let mut copies = 0;
        for (outputs, reason) in self.outputs[..count].iter_mut().zip(&mut self.reasons) {
            match *outputs {
                0 => counters.dropped(*reason, 1),
                outputs => copies += u64::from(outputs) - 1,
            }
            *outputs = 0;
            *reason = DropReason::RuleDrop;
        }
        if copies > 0 {
            counters.copied(copies);
        }
    }
}

/// Sends a list through its port and empties it: what the port does not take is dropped and counted there.
fn send(context: Context, batch: &PacketBatch, port: PortId, list: &mut TxList, part: &mut TxList) {
    let Some(port) = context.snapshot.port(port) else {
        // A snapshot whose bridge names a port that it does not have.
        context.ingress.dropped(DropReason::NoSuchPort, list.len() as u64);
        list.clear();
        return;
    };
    let counters = &port.counters[context.lane];
    match port.tx.active_count() {
        0 | 1 => transmit(port, counters, port.tx.choose(0), batch, list),
        _ => spread(port, counters, batch, list, part),
    }
    list.clear();
}

fn transmit(port: &PortEntry, counters: &PortCounters, slot: Option<usize>, batch: &PacketBatch, list: &mut TxList) {
    let sent = slot.and_then(|slot| {
        port.tx.with(slot, |queue| {
            let sent = queue.tx_batch(batch, list);
            queue.flush();
            sent
        })
    });
    if let Some(sent @ 1..) = sent {
        counters.sent(sent as u64, list.sent_bytes());
    }
    if list.tally.total() > 0 {
        counters.add_tally(&list.tally);
    }
    if !list.is_empty() {
        let reason = if sent.is_some() { DropReason::TxFull } else { DropReason::TxDown };
        counters.dropped(reason, list.len() as u64);
    }
}

/// Several queues: each flow keeps to one of them, so its packets stay in order.
fn spread(port: &PortEntry, counters: &PortCounters, batch: &PacketBatch, list: &TxList, part: &mut TxList) {
    let mut slots = [None; BATCH];
    let ids = list.ids();
    for (slot, &id) in slots.iter_mut().zip(ids) {
        *slot = port.tx.choose(rss_hash(&batch.packets()[usize::from(id)]));
    }
    let mut done = 0u32;
    for first in 0..ids.len() {
        if done & 1 << first != 0 {
            continue;
        }
        for nth in first..ids.len() {
            if slots[nth] == slots[first] {
                part.push(usize::from(ids[nth]));
                done |= 1 << nth;
            }
        }
        transmit(port, counters, slots[first], batch, part);
        part.clear();
    }
}
