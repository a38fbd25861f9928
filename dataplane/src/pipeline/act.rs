//! Act: runs a rule's actions on the packets it decided.

use std::ops::Range;

use super::egress::{Context, Egress};
use super::snapshot::{BridgeView, LOCAL_NUMBER, PortEntry};
use super::{normal, rewrite};
use crate::flow::Action;
use crate::packet::{DropReason, PacketBatch};
use crate::port::PortId;

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
    pub pairs: &'a mut normal::Pairs,
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
            Action::Flood | Action::All => flood(burst, alive, &ids),
            Action::Normal => normal::forward(burst, alive, &ids, nth + 1 == actions.len()),
            change => alive = rewrite_all(burst, change, alive, &ids),
        }
    }
}

/// One bit for each of `ids`.
#[inline(always)]
fn all(ids: &Range<usize>) -> u32 {
    ((1u64 << ids.end) - (1u64 << ids.start)) as u32
}

/// The set bits of `alive`, among `ids`.
#[inline(always)]
pub(super) fn each(alive: u32, ids: &Range<usize>) -> impl Iterator<Item = usize> + use<> {
    ids.clone().filter(move |id| alive & 1 << id != 0)
}

fn output(burst: &mut Burst, number: u32, alive: u32, ids: &Range<usize>) {
    let refused = match burst.bridge.ports.by_number(number) {
        Some(port) if port != burst.ingress.id => return send_all(burst, port, alive, ids),
        Some(_) => DropReason::OutputToIngress,
        None => DropReason::NoSuchPort,
    };
    each(alive, ids).for_each(|id| burst.egress.note_drop(id, refused));
}

fn send_all(burst: &mut Burst, port: PortId, alive: u32, ids: &Range<usize>) {
    if alive == all(ids) {
        burst.egress.output_range(burst.context, burst.batch, ids.clone(), port);
        return;
    }
    for id in each(alive, ids) {
        burst.egress.output(burst.context, burst.batch, id, port);
    }
}

fn flood(burst: &mut Burst, alive: u32, ids: &Range<usize>) {
    each(alive, ids).for_each(|id| burst.egress.note_drop(id, DropReason::NobodyToFlood));
    for port in burst.bridge.ports.all().filter(|&port| port != burst.ingress.id) {
        send_all(burst, port, alive, ids);
    }
}

/// Rewrites each packet; returns which are still alive.
fn rewrite_all(burst: &mut Burst, change: &Action, mut alive: u32, ids: &Range<usize>) -> u32 {
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
