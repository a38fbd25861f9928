//! NORMAL: the learning switch. Learns where the source is, sends to where the destination is, floods when it does not
//! know; per VLAN, as IEEE 802.1Q and OVS do.
//!
//! Trust: addresses are the guests' inventions, see `fdb`.

use std::ops::Range;

use super::act::{Burst, each};
use super::fdb::{FdbKey, Probe};
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
    dst: u64,
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
    let tag = match (word >> 16) as u16 {
        0x8100 | 0x88a8 => Some(word as u16 & 0x0fff),
        _ => None,
    };
    Addresses { dst: (word >> 80) as u64, src: (word >> 32) as u64 & 0xffff_ffff_ffff, tag }
}

/// Source and destination of a packet, to be looked up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    dst: Probe,
    src: Probe,
}

/// What [`forward`] knows of the packets of a batch between its two passes.
pub(super) type Pairs = [Option<Pair>; BATCH];

/// Forwards the packets in `alive`. `last`: no action follows, so a packet may be left in the form in which it went out.
///
/// Packets of one flow mostly come together: a run with the same addresses is worked out and looked up once. Runs that leave
/// through the same port are sent together.
pub(super) fn forward(burst: &mut Burst, alive: u32, ids: &Range<usize>, last: bool) {
    let starts = find_runs(burst.batch.packets(), alive, ids);
    find_pairs(burst, starts, alive, ids);
    let now_s = (burst.context.now_ms / 1000) as u32;
    let learns = burst.ingress.id != NOWHERE;
    // Where the run before went, as long as nothing was learned.
    let mut known: Option<(FdbKey, Option<PortId>)> = None;
    // Packets that wait to be sent to one port.
    let mut waiting: Option<(PortId, Range<usize>)> = None;
    for first in each(starts, ids) {
        let Some(pair) = burst.pairs[first] else { continue };
        if learns && !is_group(pair.src.key().mac_bits()) && burst.bridge.fdb.learn(pair.src, burst.ingress.id, now_s) {
            known = None;
        }
        let target = match known {
            Some((key, target)) if key == pair.dst.key() => target,
            _ => find(burst, pair.dst),
        };
        known = Some((pair.dst.key(), target));
        let run = run_from(first, starts | !alive, ids.end);
        if let (Some(port), Some((before, all))) = (target, &mut waiting)
            && port == *before
            && all.end == first
        {
            all.end = run.end;
            continue;
        }
        // In the order in which they came.
        send(burst, waiting.take());
        match target {
            Some(port) if burst.bridge.ports.is_mute(port) => {
                run.for_each(|id| burst.egress.note_drop(id, DropReason::PortConfig));
            }
            Some(port) if burst.bridge.ports.plain && port != burst.ingress.id => waiting = Some((port, run)),
            _ => run.for_each(|id| deliver(burst, id, pair.dst.key().vlan(), target, last)),
        }
    }
    send(burst, waiting);
}

fn send(burst: &mut Burst, waiting: Option<(PortId, Range<usize>)>) {
    if let Some((port, ids)) = waiting {
        burst.egress.output_range(burst.context, burst.batch, ids, port);
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

/// Works out where to look for the addresses of each run, all before the first is looked up: their entries are on the way
/// then.
#[inline(always)]
fn find_pairs(burst: &mut Burst, starts: u32, alive: u32, ids: &Range<usize>) {
    let mut before: Option<Pair> = None;
    for first in each(starts, ids) {
        let fdb = &burst.bridge.fdb;
        let pair = match admit(burst, first) {
            Ok((dst, src)) => Some(match before {
                Some(before) if before.dst.key() == dst => Pair { src: fdb.probe(src), ..before },
                _ => Pair { dst: fdb.probe(dst), src: fdb.probe(src) },
            }),
            Err(refused) => {
                run_from(first, starts | !alive, ids.end).for_each(|id| burst.egress.note_drop(id, refused));
                None
            }
        };
        (before, burst.pairs[first]) = (pair, pair);
    }
}

/// Checks what a bridge must not forward; destination and source in the frame's VLAN.
#[inline(always)]
fn admit(burst: &Burst, id: usize) -> Result<(FdbKey, FdbKey), DropReason> {
    // Receivers drop what is shorter than two addresses and a type.
    let Addresses { dst, src, tag } = addresses(&burst.batch.packets()[id]).ok_or(DropReason::RuleDrop)?;
    if dst & !0xf == RESERVED {
        return Err(DropReason::Reserved);
    }
    let vlan = if burst.bridge.ports.plain { Some(tag.unwrap_or(0)) } else { burst.ingress.vlan.ingress(tag) };
    let vlan = vlan.ok_or(DropReason::VlanNotAllowed)?;
    Ok((FdbKey::new(dst, vlan), FdbKey::new(src, vlan)))
}

/// The port behind which the destination is; `None` when it is to be flooded.
#[inline(always)]
fn find(burst: &Burst, dst: Probe) -> Option<PortId> {
    if is_group(dst.key().mac_bits()) {
        return None;
    }
    let port = burst.bridge.fdb.lookup(dst)?;
    // The port may have left the bridge since its addresses were learned.
    burst.context.snapshot.port(port).filter(|entry| entry.bridge == burst.ingress.bridge).map(|_| port)
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
