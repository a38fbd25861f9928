//! NORMAL: the learning switch. Learns where the source is, sends to where the destination is, floods when it does not
//! know; per VLAN, as IEEE 802.1Q and OVS do.
//!
//! Trust: addresses are the guests' inventions, see `fdb`.

use std::ops::Range;

use super::act::{Burst, all, bits};
use super::fdb::{Fdb, FdbKey, Probe, Sighting};
use super::pairs::{PairCache, Since, Start, Targets};
use super::rewrite;
use super::snapshot::{Form, NOWHERE, VlanMode};
use crate::flow::Action;
use crate::packet::{BATCH, DropReason, MIN_FRAME, Packet};
use crate::port::PortId;

/// 01:80:c2:00:00:00 to 0f: addresses that a bridge never forwards.
const RESERVED: u64 = 0x0180_c200_0000;

/// The addresses and the tag of a frame.
#[derive(Clone, Copy)]
struct Addresses {
    /// In the upper 48 bits; what is below means nothing.
    dst: u64,
    /// The same.
    src: u64,
    /// The outermost tag's id; `None` without a tag.
    tag: Option<u16>,
}

fn is_group(mac: u64) -> bool {
    mac & 1 << 40 != 0
}

/// Of a frame that is as short as may be too: a tag that is cut off is none.
#[inline(always)]
fn addresses(packet: &Packet) -> Addresses {
    let word = u128::from_be_bytes(packet.beginning().copied().unwrap_or_else(|| other_beginning(packet.head())));
    let (first, second) = ((word >> 64) as u64, word as u64);
    let tag = match (second >> 16) as u16 {
        0x8100 | 0x88a8 => Some(second as u16 & 0x0fff),
        _ => None,
    };
    Addresses { dst: first, src: first << 48 | second >> 16, tag }
}

/// Of the few packets that [`Packet::beginning`] leaves out.
#[cold]
fn other_beginning(head: &[u8]) -> [u8; 16] {
    head.first_chunk().copied().unwrap_or_else(|| {
        let mut beginning = [0; 16];
        let there = head.len().min(MIN_FRAME);
        beginning[..there].copy_from_slice(&head[..there]);
        beginning
    })
}

/// What a worker keeps for [`forward`]: what it remembers, and what it knows of the packets of a batch between two passes.
pub(super) struct Room {
    known: PairCache,
    /// This batch asks it and tells it.
    asks: bool,
    /// Destination and source, of pairs that are not remembered.
    probes: [(Probe, Probe); BATCH],
    /// Where runs go; to [`NOWHERE`] what is to be flooded.
    targets: Targets,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            known: PairCache::default(),
            asks: false,
            probes: [(Probe::NONE, Probe::NONE); BATCH],
            targets: Targets::default(),
        }
    }
}

/// Where packets come in that are learned from.
#[derive(Clone, Copy)]
struct Here {
    port: PortId,
    now_s: u32,
    since: Since,
}

/// What a bridge lets in at a port.
struct Gate<'a> {
    packets: &'a [Packet],
    vlan: &'a VlanMode,
}

impl Gate<'_> {
    /// Checks what must not be forwarded; destination and source in the frame's VLAN.
    #[inline(always)]
    fn admit(&self, id: usize) -> Result<(FdbKey, FdbKey), DropReason> {
        let packet = &self.packets[id];
        if packet.len() < MIN_FRAME {
            return Err(DropReason::RuleDrop);
        }
        let Addresses { dst, src, tag } = addresses(packet);
        if dst >> 20 == RESERVED >> 4 {
            return Err(DropReason::Reserved);
        }
        let vlan = self.vlan.ingress(tag).ok_or(DropReason::VlanNotAllowed)?;
        Ok((FdbKey::of_upper(dst, vlan), FdbKey::of_upper(src, vlan)))
    }
}

/// Forwards the packets in `alive`. `last`: no action follows, so a packet may be left in the form in which it went out.
///
/// Packets of one flow mostly come together: a run that begins in the same way is worked out and looked up once. Runs that leave
/// through the same port are sent together.
pub(super) fn forward(burst: &mut Burst, alive: u32, ids: &Range<usize>, last: bool) {
    let mut passing = alive & all(ids);
    let starts = find_runs(burst.batch.packets(), passing);
    let Found { refused, parts } = find_targets(burst, starts);
    for first in bits(refused) {
        let run = run_from(first, starts | !passing, ids.end);
        passing &= !all(&run);
        let gate = Gate { packets: burst.batch.packets(), vlan: &burst.ingress.vlan };
        if let Err(reason) = gate.admit(first) {
            run.for_each(|id| burst.egress.note_drop(id, reason));
        }
    }
    let parts = parts | edges(passing);
    for first in bits(parts) {
        let target = burst.normal.targets.port(first);
        forward_to(burst, target, run_from(first, parts | !passing, ids.end), last);
    }
}

/// Forwards neighbours to the port behind which their destinations are.
#[inline(always)]
fn forward_to(burst: &mut Burst, target: PortId, ids: Range<usize>, last: bool) {
    // The port may have left the bridge since its addresses were learned.
    let entry = burst.context.snapshot.port(target).filter(|entry| entry.bridge == burst.ingress.bridge);
    match entry.map(|entry| entry.id) {
        Some(port) if burst.bridge.ports.is_mute(port) => {
            ids.for_each(|id| burst.egress.note_drop(id, DropReason::PortConfig));
        }
        Some(port) if burst.bridge.ports.plain && port != burst.ingress.id => {
            burst.egress.output_range(burst.context, burst.batch, ids, port);
        }
        target => ids.for_each(|id| deliver(burst, id, target, last)),
    }
}

/// From `first` to the next index whose bit in `breaks` is set, or to `end`.
#[inline(always)]
fn run_from(first: usize, breaks: u32, end: usize) -> Range<usize> {
    let behind = u64::from(breaks) >> (first + 1);
    first..(first + 1 + behind.trailing_zeros() as usize).min(end)
}

/// What is known of a batch's runs, as a bit for each.
struct Found {
    /// They must not be forwarded.
    refused: u32,
    /// They go elsewhere than the one before, of those that may be.
    parts: u32,
}

/// Learns sources and finds destinations of runs, in the order in which the packets came.
#[inline(always)]
fn find_targets(burst: &mut Burst, starts: u32) -> Found {
    let (fdb, port) = (&*burst.bridge.fdb, burst.ingress.id);
    let now_s = (burst.context.now_ms / 1000) as u32;
    let since = || Since::new(fdb, port, now_s, burst.context.snapshot.vlan_epoch);
    let here = (port != NOWHERE).then(|| Here { port, now_s, since: since() });
    let gate = Gate { packets: burst.batch.packets(), vlan: &burst.ingress.vlan };
    match burst.normal.recall(fdb, here, gate.packets, starts) {
        (0, parts) => Found { refused: 0, parts },
        (unknown, _) => {
            let refused = burst.normal.look_up(fdb, here, &gate, starts, unknown);
            Found { refused, parts: burst.normal.targets.parts(starts & !refused) }
        }
    }
}

/// The first bit of each stretch of neighbours.
fn edges(bits: u32) -> u32 {
    bits & !(bits << 1)
}

/// A bit for each packet that begins a run of neighbours with the same beginning. Where the first two differ, others mostly do
/// too: then each packet is a run, because to compare them all would cost more than it saves.
#[inline(always)]
fn find_runs(packets: &[Packet], passing: u32) -> u32 {
    let start = |id: usize| packets[id].beginning().map(Start::new);
    let mut ids = bits(passing);
    if let (Some(first), Some(second)) = (ids.next(), ids.next())
        && start(first) != start(second)
    {
        return passing;
    }
    let (mut starts, mut before) = (edges(passing), Start::default());
    for id in bits(passing) {
        let Some(start) = start(id) else {
            // A run of its own.
            starts |= 0b11 << id;
            continue;
        };
        starts |= u32::from(start != before) << id;
        before = start;
    }
    starts & passing
}

impl Room {
    /// Finds the targets of what is remembered: a bit for each that is not, and one for each that goes elsewhere than the one
    /// before.
    #[inline(always)]
    fn recall(&mut self, fdb: &Fdb, here: Option<Here>, packets: &[Packet], wanted: u32) -> (u32, u32) {
        self.targets.clear();
        self.asks = self.known.is_worth_asking();
        let Some(here) = here.filter(|_| self.asks) else { return (wanted, 0) };
        let mut unknown = self.known.recall(packets, wanted, here.since, &mut self.targets);
        let parts = self.targets.parts(wanted & !unknown);
        // What addresses left is looked up again, with what follows it: that is seldom.
        let stale = bits(parts).find(|&first| !self.targets.holds(first, fdb));
        unknown |= stale.map_or(0, |first| wanted & !0 << first);
        self.known.asked(wanted.count_ones(), unknown.count_ones());
        (unknown, parts)
    }

    /// Finds the targets of those that are `unknown`, and of all behind one that changed the table; a bit for each that must not
    /// be forwarded.
    #[inline(never)]
    fn look_up(&mut self, fdb: &Fdb, here: Option<Here>, gate: &Gate, wanted: u32, mut unknown: u32) -> u32 {
        let mut refused = self.fetch(fdb, gate, unknown);
        let mut fetched = unknown;
        unknown &= !refused;
        while unknown != 0 {
            let id = unknown.trailing_zeros() as usize;
            unknown &= unknown - 1;
            if self.look_up_one(fdb, here, gate, id) == Sighting::News {
                unknown = wanted & !1 << id;
                refused |= self.fetch(fdb, gate, unknown & !fetched);
                fetched |= unknown;
                unknown &= !refused;
            }
        }
        refused
    }

    /// Works out where the table has these, all before the first is looked up: their entries are on the way then. A bit for each
    /// that must not be forwarded.
    #[inline(always)]
    fn fetch(&mut self, fdb: &Fdb, gate: &Gate, unknown: u32) -> u32 {
        let mut refused = 0;
        for id in bits(unknown) {
            match gate.admit(id) {
                Ok((dst, src)) => self.probes[id] = (fdb.probe(dst), fdb.probe(src)),
                Err(_) => refused |= 1 << id,
            }
        }
        refused
    }

    #[inline(always)]
    fn look_up_one(&mut self, fdb: &Fdb, here: Option<Here>, gate: &Gate, id: usize) -> Sighting {
        let (dst, src) = self.probes[id];
        let sighting = match here {
            Some(here) if !is_group(src.key().mac_bits()) => fdb.learn(src, here.port, here.now_s),
            _ => Sighting::Other,
        };
        let target = if is_group(dst.key().mac_bits()) { None } else { fdb.lookup(dst) };
        self.targets.set(id, target.unwrap_or(NOWHERE));
        if let (true, Sighting::Settled, Some(here), Some(port)) = (self.asks, sighting, here, target)
            && let Some(beginning) = gate.packets[id].beginning()
        {
            self.known.note(fdb, (Start::new(beginning), dst.key()), here.since, port);
        }
        sighting
    }
}

#[inline(always)]
fn deliver(burst: &mut Burst, id: usize, target: Option<PortId>, last: bool) {
    match target {
        Some(port) if port == burst.ingress.id => burst.egress.note_drop(id, DropReason::SamePort),
        Some(port) if burst.bridge.ports.plain => burst.egress.output(burst.context, burst.batch, id, port),
        Some(port) => deliver_tagged(burst, id, std::iter::once(port), last),
        None => {
            burst.egress.note_drop(id, DropReason::NobodyToFlood);
            let bridge = burst.bridge;
            let ingress = burst.ingress.id;
            let others = bridge.ports.flooded(false).filter(move |&port| port != ingress);
            if bridge.ports.plain {
                others.for_each(|port| burst.egress.output(burst.context, burst.batch, id, port));
            } else {
                deliver_tagged(burst, id, others, last);
            }
        }
    }
}

/// Delivers where ports differ in how they carry the VLAN: first to those that want the frame as it is, then, with the tag
/// added or removed, to the others.
fn deliver_tagged(burst: &mut Burst, id: usize, ports: impl Iterator<Item = PortId> + Clone, last: bool) {
    let snapshot = burst.context.snapshot;
    let tag = addresses(&burst.batch.packets()[id]).tag;
    let Some(vlan) = burst.ingress.vlan.ingress(tag) else { return };
    let form = |port: PortId| snapshot.port(port).and_then(|entry| entry.vlan.egress(vlan));
    let (as_it_is, other) = match tag {
        Some(1..) => (Form::Tagged, Form::Untagged),
        // No tag, or one that carries a priority only.
        Some(0) | None => (Form::Untagged, Form::Tagged),
    };
    if !ports.clone().any(|port| form(port).is_some()) {
        burst.egress.note_drop(id, DropReason::VlanNotAllowed);
        return;
    }
    for port in ports.clone().filter(|&port| form(port) == Some(as_it_is)) {
        burst.egress.output(burst.context, burst.batch, id, port);
    }
    if !ports.clone().any(|port| form(port) == Some(other)) {
        return;
    }
    if burst.egress.is_output(id) {
        burst.egress.flush(burst.context, burst.batch);
    }
    let before = Undo::of(&burst.batch.packets()[id]);
    let packet = &mut burst.batch.packets_mut()[id];
    let changed = match other {
        Form::Tagged => rewrite::apply(packet, &Action::SetVlanVid(vlan)),
        // Without padding, which could not be undone.
        Form::Untagged => {
            rewrite::pop_tag(packet);
            Ok(())
        }
    };
    if let Err(reason) = changed {
        burst.egress.note_drop(id, reason);
        return;
    }
    for port in ports.filter(|&port| form(port) == Some(other)) {
        burst.egress.output(burst.context, burst.batch, id, port);
    }
    if !last {
        burst.egress.flush(burst.context, burst.batch);
        before.restore(&mut burst.batch.packets_mut()[id]);
    }
}

/// What a packet was before its outermost tag was pushed, popped or changed.
struct Undo {
    head_len: usize,
    tag: Option<[u8; 4]>,
}

impl Undo {
    fn of(packet: &Packet) -> Self {
        let head = packet.head();
        Self { head_len: head.len(), tag: head.get(12..).and_then(|rest| rest.first_chunk().copied()) }
    }

    fn restore(self, packet: &mut Packet) {
        if packet.head().len() > self.head_len {
            rewrite::pop_tag(packet);
            return;
        }
        // A popped tag left its four bytes free in front of the head.
        if packet.head().len() < self.head_len && packet.push_front(4) {
            packet.head_mut().copy_within(4..16, 0);
        }
        if let (Some(tag), Some(place)) = (self.tag, packet.head_mut().get_mut(12..16)) {
            place.copy_from_slice(&tag);
        }
    }
}
