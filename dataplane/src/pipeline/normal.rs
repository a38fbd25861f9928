//! NORMAL: the learning switch. Learns where the source is, sends to where the destination is, floods when it does not
//! know; per VLAN, as IEEE 802.1Q and OVS do.
//!
//! Trust: addresses are the guests' inventions, see `fdb`.

use std::ops::Range;

use super::act::{Burst, each};
use super::fdb::{Fdb, FdbKey, Probe, Sighting};
use super::pairs::{Pair, PairCache, Since};
use super::rewrite;
use super::snapshot::{Form, NOWHERE};
use crate::flow::Action;
use crate::packet::{BATCH, DropReason, Packet};
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

/// What a frame begins with: both addresses, the type, and the tag's id if there is one.
type Start = [u8; 16];

/// Of frames that are shorter too: a tag that is cut off is none.
#[inline(always)]
fn addresses(packet: &Packet) -> Option<Addresses> {
    let head = packet.head();
    if let Some(start) = head.first_chunk::<16>() {
        return Some(addresses_in(start));
    }
    let mut start: Start = [0; 16];
    start[..14].copy_from_slice(head.get(..14)?);
    Some(Addresses { tag: None, ..addresses_in(&start) })
}

#[inline(always)]
fn addresses_in(start: &Start) -> Addresses {
    let word = u128::from_be_bytes(*start);
    let (first, second) = ((word >> 64) as u64, word as u64);
    let tag = match (second >> 16) as u16 {
        0x8100 | 0x88a8 => Some(second as u16 & 0x0fff),
        _ => None,
    };
    Addresses { dst: first, src: first << 48 | second >> 16, tag }
}

/// What a worker keeps for [`forward`]: what it remembers, and what it knows of the packets of a batch between two passes.
pub(super) struct Room {
    known: PairCache,
    /// This batch asks it and tells it.
    asks: bool,
    pairs: [Pair; BATCH],
    /// Destination and source, of pairs that are not remembered.
    probes: [(Probe, Probe); BATCH],
    /// Where to; [`NOWHERE`] when it is to be flooded.
    targets: [PortId; BATCH],
}

impl Default for Room {
    fn default() -> Self {
        let none = (Probe::NONE, Probe::NONE);
        Self {
            known: PairCache::default(),
            asks: false,
            pairs: [Pair::NONE; BATCH],
            probes: [none; BATCH],
            targets: [NOWHERE; BATCH],
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

/// Forwards the packets in `alive`. `last`: no action follows, so a packet may be left in the form in which it went out.
///
/// Packets of one flow mostly come together: a run with the same addresses is worked out and looked up once. Runs that leave
/// through the same port are sent together.
pub(super) fn forward(burst: &mut Burst, alive: u32, ids: &Range<usize>, last: bool) {
    let starts = find_runs(burst.batch.packets(), alive, ids);
    burst.normal.asks = burst.normal.known.is_worth_asking();
    let admitted = find_pairs(burst, starts, alive, ids);
    find_targets(burst, admitted, ids);
    let ends = !alive | starts & !admitted;
    let mut left = admitted;
    while left != 0 {
        let first = left.trailing_zeros() as usize;
        let target = burst.normal.targets[first];
        // With the runs behind it that go to the same port.
        let most = run_from(first, ends, ids.end).end;
        let mut end = first;
        while left != 0 && end < most && burst.normal.targets[end] == target {
            left &= left - 1;
            end = (left.trailing_zeros() as usize).min(most);
        }
        forward_to(burst, target, first..end, starts, last);
    }
}

/// Forwards neighbours to the port behind which their destinations are; `starts` begin runs with the same addresses.
#[inline(always)]
fn forward_to(burst: &mut Burst, target: PortId, ids: Range<usize>, starts: u32, last: bool) {
    // The port may have left the bridge since its addresses were learned.
    let entry = burst.context.snapshot.port(target).filter(|entry| entry.bridge == burst.ingress.bridge);
    match entry.map(|entry| entry.id) {
        Some(port) if burst.bridge.ports.is_mute(port) => {
            ids.for_each(|id| burst.egress.note_drop(id, DropReason::PortConfig));
        }
        Some(port) if burst.bridge.ports.plain && port != burst.ingress.id => {
            burst.egress.output_range(burst.context, burst.batch, ids, port);
        }
        target => {
            let mut first = ids.start;
            for id in ids {
                first = if starts & 1 << id != 0 { id } else { first };
                deliver(burst, id, burst.normal.pairs[first].dst.vlan(), target, last);
            }
        }
    }
}

/// A bit for each packet that begins a run of packets with the same addresses and tag.
#[inline(always)]
fn find_runs(packets: &[Packet], alive: u32, ids: &Range<usize>) -> u32 {
    let mut starts = 0;
    let mut before: Option<&Start> = None;
    for id in each(alive, ids) {
        let start = packets[id].head().first_chunk();
        starts |= u32::from(start.is_none() || start != before) << id;
        before = start;
    }
    starts
}

/// From `first` to the next index whose bit in `breaks` is set, or to `end`.
#[inline(always)]
fn run_from(first: usize, breaks: u32, end: usize) -> Range<usize> {
    let behind = u64::from(breaks) >> (first + 1);
    first..(first + 1 + behind.trailing_zeros() as usize).min(end)
}

/// The addresses of each run, as a bit for each run that may be forwarded: what is remembered of them is on its way then.
#[inline(always)]
fn find_pairs(burst: &mut Burst, starts: u32, alive: u32, ids: &Range<usize>) -> u32 {
    let (mut admitted, asks) = (starts, burst.normal.asks);
    for first in each(starts, ids) {
        match admit(burst, first) {
            Ok((dst, src)) if asks => burst.normal.pairs[first] = burst.normal.known.pair(dst, src),
            Ok((dst, src)) => burst.normal.pairs[first] = Pair::unasked(dst, src),
            Err(refused) => {
                admitted &= !(1 << first);
                run_from(first, starts | !alive, ids.end).for_each(|id| burst.egress.note_drop(id, refused));
            }
        }
    }
    admitted
}

/// Learns sources and finds destinations, in the order in which the packets came.
#[inline(always)]
fn find_targets(burst: &mut Burst, wanted: u32, ids: &Range<usize>) {
    let (fdb, port) = (&*burst.bridge.fdb, burst.ingress.id);
    let now_s = (burst.context.now_ms / 1000) as u32;
    let here = (port != NOWHERE).then(|| Here { port, now_s, since: Since::new(fdb, port, now_s) });
    let unknown = burst.normal.recall(fdb, here, wanted, ids);
    if unknown != 0 {
        burst.normal.look_up(fdb, here, wanted, unknown, ids);
    }
}

impl Room {
    /// Finds the targets of what is remembered; a bit for each that is not.
    #[inline(always)]
    fn recall(&mut self, fdb: &Fdb, here: Option<Here>, wanted: u32, ids: &Range<usize>) -> u32 {
        let Some(here) = here.filter(|_| self.asks) else { return wanted };
        let mut unknown = 0;
        for id in each(wanted, ids) {
            let target = self.known.recall(fdb, &self.pairs[id], here.since);
            unknown |= u32::from(target.is_none()) << id;
            self.targets[id] = target.unwrap_or(NOWHERE);
        }
        self.known.asked(wanted.count_ones(), unknown.count_ones());
        unknown
    }

    /// Finds the targets of those that are `unknown`, and of all behind one that changed the table.
    fn look_up(&mut self, fdb: &Fdb, here: Option<Here>, wanted: u32, mut unknown: u32, ids: &Range<usize>) {
        self.fetch(fdb, unknown, ids);
        let mut fetched = unknown;
        while unknown != 0 {
            let id = unknown.trailing_zeros() as usize;
            unknown &= unknown - 1;
            if self.look_up_one(fdb, here, id) == Sighting::News {
                unknown = wanted & !1 << id;
                self.fetch(fdb, unknown & !fetched, ids);
                fetched |= unknown;
            }
        }
    }

    /// Works out where the table has these, all before the first is looked up: their entries are on the way then.
    #[inline(always)]
    fn fetch(&mut self, fdb: &Fdb, unknown: u32, ids: &Range<usize>) {
        for id in each(unknown, ids) {
            self.probes[id] = (fdb.probe(self.pairs[id].dst), fdb.probe(self.pairs[id].src));
        }
    }

    #[inline(always)]
    fn look_up_one(&mut self, fdb: &Fdb, here: Option<Here>, id: usize) -> Sighting {
        let (dst, src) = self.probes[id];
        let sighting = match here {
            Some(here) if !is_group(src.key().mac_bits()) => fdb.learn(src, here.port, here.now_s),
            _ => Sighting::Other,
        };
        let target = if is_group(dst.key().mac_bits()) { None } else { fdb.lookup(dst) };
        self.targets[id] = target.unwrap_or(NOWHERE);
        if let (true, Sighting::Settled, Some(here), Some(port)) = (self.asks, sighting, here, target) {
            self.known.note(fdb, &self.pairs[id], here.since, port);
        }
        sighting
    }
}

/// Checks what a bridge must not forward; destination and source in the frame's VLAN.
#[inline(always)]
fn admit(burst: &Burst, id: usize) -> Result<(FdbKey, FdbKey), DropReason> {
    // Receivers drop what is shorter than two addresses and a type.
    let Addresses { dst, src, tag } = addresses(&burst.batch.packets()[id]).ok_or(DropReason::RuleDrop)?;
    if dst >> 20 == RESERVED >> 4 {
        return Err(DropReason::Reserved);
    }
    let vlan = if burst.bridge.ports.plain { Some(tag.unwrap_or(0)) } else { burst.ingress.vlan.ingress(tag) };
    let vlan = vlan.ok_or(DropReason::VlanNotAllowed)?;
    Ok((FdbKey::of_upper(dst, vlan), FdbKey::of_upper(src, vlan)))
}

#[inline(always)]
fn deliver(burst: &mut Burst, id: usize, vlan: u16, target: Option<PortId>, last: bool) {
    match target {
        Some(port) if port == burst.ingress.id => burst.egress.note_drop(id, DropReason::SamePort),
        Some(port) if burst.bridge.ports.plain => burst.egress.output(burst.context, burst.batch, id, port),
        Some(port) => deliver_tagged(burst, id, vlan, std::iter::once(port), last),
        None => {
            burst.egress.note_drop(id, DropReason::NobodyToFlood);
            let bridge = burst.bridge;
            let ingress = burst.ingress.id;
            let others = bridge.ports.flooded(false).filter(move |&port| port != ingress);
            if bridge.ports.plain {
                others.for_each(|port| burst.egress.output(burst.context, burst.batch, id, port));
            } else {
                deliver_tagged(burst, id, vlan, others, last);
            }
        }
    }
}

/// Delivers where ports differ in how they carry the VLAN: first to those that want the frame as it is, then, with the tag
/// added or removed, to the others.
fn deliver_tagged(burst: &mut Burst, id: usize, vlan: u16, ports: impl Iterator<Item = PortId> + Clone, last: bool) {
    let snapshot = burst.context.snapshot;
    let form = |port: PortId| snapshot.port(port).and_then(|entry| entry.vlan.egress(vlan));
    let tag = addresses(&burst.batch.packets()[id]).and_then(|addresses| addresses.tag);
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
