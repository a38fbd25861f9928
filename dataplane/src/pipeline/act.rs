//! Act: runs a rule's actions on the packets it decided, when all of them are plain; and what paths need to output and change.

use std::num::NonZeroU32;
use std::ops::Range;

use super::egress::{Context, Egress};
use super::punt::Upcaller;
use super::snapshot::{BridgeView, LOCAL_NUMBER, PortEntry};
use super::walk::Room;
use super::{normal, rewrite};
use crate::flow::{Action, Field, FlowKey, Learn};
use crate::packet::{BATCH, Backup, DropReason, PacketBatch};
use crate::port::PortId;

/// What only packets need that are more than forwarded.
#[derive(Default)]
pub(super) struct Slow {
    /// The way to control.
    pub upcaller: Upcaller,
    /// For walks with a packet.
    pub room: Room,
    /// Packets that come back.
    pub backup: Backup,
    /// Which packets went on when copies were begun.
    pub alive: Vec<u32>,
}

/// What one burst is: its packets, where they came in, what is in force.
pub(super) struct Burst<'a> {
    /// The snapshot and the worker's lane.
    pub context: Context<'a>,
    /// The bridge of the ingress port.
    pub bridge: &'a BridgeView,
    /// Where the packets came in.
    pub ingress: &'a PortEntry,
    /// The packets.
    pub batch: &'a mut PacketBatch,
    /// Where they go.
    pub egress: &'a mut Egress,
    /// Room for NORMAL.
    pub normal: &'a mut normal::Room,
    /// Where they really came in, when that was a port; `ingress` may be what rules believe.
    pub origin: Option<PortId>,
    /// Their keys as parsed, when rules look at more than the port.
    pub keys: &'a [FlowKey; BATCH],
    /// Lookups that walks in this burst may still make.
    pub budget: u32,
    /// Room for what is done seldom.
    pub slow: &'a mut Slow,
}

impl Burst<'_> {
    /// What rules see of packet `id` as it came in.
    pub fn key(&self, id: usize) -> FlowKey {
        let mut key = if self.bridge.only_port { FlowKey::default() } else { self.bridge.seen(&self.keys[id]) };
        key.set(Field::IN_PORT, u64::from(self.ingress.number));
        key
    }

    /// True when a packet with this key was learned from a moment ago: packets that walk by themselves ask for each.
    pub fn has_learned(&mut self, learn: &Learn, key: &FlowKey) -> bool {
        self.slow.upcaller.has_learned(learn, key, self.context.now_ms)
    }

    /// True when the port may make one more upcall.
    pub fn may_punt(&mut self) -> bool {
        !self.ingress.flags.no_packet_in && self.slow.upcaller.admits(self.origin, self.context.now_ms)
    }
}

/// True when nothing of `actions` looks at a frame or changes it.
pub(super) fn only_sends(actions: &[Action]) -> bool {
    use Action::{All, Flood, InPort, Local, Output, PopQueue, SetQueue};
    let sends = |action: &Action| matches!(action, Output(_) | Local | InPort | Flood | All | SetQueue(_) | PopQueue);
    actions.iter().all(sends)
}

/// Runs `actions` on the packets with these indices; all were decided by the same rule.
#[inline]
pub(super) fn run(burst: &mut Burst, actions: &[Action], ids: Range<usize>) {
    let mut alive = all(&ids);
    for (nth, action) in actions.iter().enumerate() {
        match action {
            Action::Output(number) => output(burst, *number, alive, &ids),
            Action::Local => output(burst, LOCAL_NUMBER, alive, &ids),
            Action::InPort => send_all(burst, burst.ingress.id, alive, &ids),
            Action::Flood => flood(burst, burst.ingress.number, false, alive, &ids),
            Action::All => flood(burst, burst.ingress.number, true, alive, &ids),
            Action::Normal => normal::forward(burst, alive, &ids, nth + 1 == actions.len()),
            Action::SetQueue(queue) => set_queue(burst, *queue, alive, &ids),
            Action::PopQueue => set_queue(burst, 0, alive, &ids),
            change => alive = rewrite_all(burst, change, alive, &ids),
        }
    }
}

/// One bit for each of `ids`.
#[inline(always)]
pub(super) fn all(ids: &Range<usize>) -> u32 {
    ((1u64 << ids.end) - (1u64 << ids.start)) as u32
}

/// The set bits of `alive`, among `ids`.
#[inline(always)]
pub(super) fn each(alive: u32, ids: &Range<usize>) -> impl Iterator<Item = usize> + use<> {
    bits(alive & all(ids))
}

/// The set bits. None of them is beyond a batch, as the compiler sees.
#[inline(always)]
pub(super) fn bits(word: u32) -> impl Iterator<Item = usize> {
    let mut left = NonZeroU32::new(word);
    std::iter::from_fn(move || {
        let bits = left?;
        left = NonZeroU32::new(bits.get() & (bits.get() - 1));
        Some(bits.trailing_zeros() as usize)
    })
}

#[inline(always)]
fn output(burst: &mut Burst, number: u32, alive: u32, ids: &Range<usize>) {
    let refused = match burst.bridge.ports.by_number(number) {
        Some(port) if port != burst.ingress.id => return send_all(burst, port, alive, ids),
        Some(_) => DropReason::OutputToIngress,
        None => DropReason::NoSuchPort,
    };
    each(alive, ids).for_each(|id| burst.egress.note_drop(id, refused));
}

pub(super) fn send_all(burst: &mut Burst, port: PortId, alive: u32, ids: &Range<usize>) {
    if burst.bridge.ports.is_mute(port) {
        each(alive, ids).for_each(|id| burst.egress.note_drop(id, DropReason::PortConfig));
        return;
    }
    if alive == all(ids) {
        burst.egress.output_range(burst.context, burst.batch, ids.clone(), port);
        return;
    }
    for id in each(alive, ids) {
        burst.egress.output(burst.context, burst.batch, id, port);
    }
}

/// To all ports but the one with the number `from`; with `all`, also to those set to no-flood.
pub(super) fn flood(burst: &mut Burst, from: u32, all: bool, alive: u32, ids: &Range<usize>) {
    each(alive, ids).for_each(|id| burst.egress.note_drop(id, DropReason::NobodyToFlood));
    let bridge = burst.bridge;
    let except = bridge.ports.by_number(from);
    for port in bridge.ports.flooded(all).filter(|&port| Some(port) != except) {
        send_all(burst, port, alive, ids);
    }
}

/// From here on the packets leave through this queue of whatever port they go to.
pub(super) fn set_queue(burst: &mut Burst, queue: u32, alive: u32, ids: &Range<usize>) {
    if each(alive, ids).any(|id| burst.egress.is_output(id)) {
        burst.egress.flush(burst.context, burst.batch);
    }
    each(alive, ids).for_each(|id| burst.egress.set_queue(id, queue));
}

/// Rewrites each packet; returns which are still alive.
pub(super) fn rewrite_all(burst: &mut Burst, change: &Action, mut alive: u32, ids: &Range<usize>) -> u32 {
    if each(alive, ids).any(|id| burst.egress.is_output(id)) {
        burst.egress.flush(burst.context, burst.batch);
    }
    for id in each(alive, ids) {
        if let Err(reason) = rewrite::apply(&mut burst.batch.packets_mut()[id], change) {
            burst.egress.note_drop(id, reason);
            alive &= !(1 << id);
        }
    }
    alive
}
