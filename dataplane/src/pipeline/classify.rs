//! Classify: which rule decides each packet of a batch.
//!
//! Tiers: frames whose verdict is known by where they are sorted to; one verdict for all traffic of the port, when no rule looks at
//! anything else; the rules of a small table, one after the other; the exact cache, keyed by only the fields that some rule looks at; a
//! walk through the tables, within the port's budget.
//! Trust: packets choose keys. A sender of ever new keys fills the cache with them and pays for walks, up to its budget.

use std::ops::Range;

use super::act::only_sends;
use super::cache::{FlowCache, Kind, Verdict};
use super::parse::{Depth, parse, reach_headers};
use super::path::{Paths, Step};
use super::record::judge;
use super::snapshot::{BridgeView, PortEntry};
use super::sort::{Holds, Seats, SortEntry, Stage};
use super::walk::Room;
use crate::flow::{Field, FlowKey, PackedKey};
use crate::packet::{BATCH, Packet, PacketBatch};
use crate::port::{MAX_PORTS, PortId};
use crate::sys::clock;

/// Subtables that the walks of one port may probe in one pass: 32 packets through 64 different masks each, twice.
pub(super) const WALK_BUDGET: u32 = 4096;

/// How verdicts were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Packets whose verdict holds for all that are sorted as they are.
    pub sorted_hits: u64,
    /// Packets whose verdict holds for all traffic of their port.
    pub port_hits: u64,
    /// Packets whose rule was found by comparing with a few.
    pub shortlist_hits: u64,
    /// Packets found in the cache.
    pub cache_hits: u64,
    /// Packets that needed a walk.
    pub walks: u64,
    /// Cycles that these walks took.
    pub walk_cycles: u64,
}

/// A cache, and for which version of the bridge its entries hold.
struct BridgeCache {
    version: u64,
    cache: Box<FlowCache>,
    /// A path found no room: the next batch begins with an empty cache.
    full: bool,
}

impl BridgeCache {
    /// Forgets what does not hold any more.
    #[inline(always)]
    fn refresh(&mut self, bridge: &BridgeView) {
        if self.version != bridge.version {
            self.cache.reshape(&bridge.union);
            (self.version, self.full) = (bridge.version, false);
        }
        if self.full {
            self.cache.invalidate();
            self.full = false;
        }
    }
}

/// The verdict for all traffic of a port, in one version of its bridge and one generation of paths.
#[derive(Clone, Copy)]
struct PortVerdict {
    version: u64,
    generation: u64,
    verdict: Verdict,
    /// What is done to them needs no look at them.
    is_blind: bool,
}

/// Where walks work.
#[derive(Default)]
pub(super) struct Workshop {
    pub room: Room,
    pub steps: Vec<Step>,
}

/// One worker's classifier.
pub(super) struct Classifier {
    caches: Vec<Option<BridgeCache>>,
    stage: Stage,
    ports: Box<[Option<PortVerdict>]>,
    keys: Box<[FlowKey; BATCH]>,
    packed: Box<[PackedKey; BATCH]>,
    hashes: [u64; BATCH],
    workshop: Workshop,
    /// Probes that walks in this batch may still make.
    budget: u32,
    pub(super) lookups: Lookups,
}

impl Default for Classifier {
    fn default() -> Self {
        Self {
            caches: Vec::new(),
            stage: Stage::default(),
            ports: vec![None; MAX_PORTS].into(),
            keys: Box::default(),
            packed: Box::default(),
            hashes: [0; BATCH],
            workshop: Workshop::default(),
            budget: 0,
            lookups: Lookups::default(),
        }
    }
}

impl Classifier {
    pub(super) fn set_cache(&mut self, bridge: usize, cache: Option<Box<FlowCache>>) -> Option<Box<FlowCache>> {
        if self.caches.len() <= bridge {
            self.caches.resize_with(bridge + 1, || None);
        }
        let new = cache.map(|cache| BridgeCache { version: 0, cache, full: false });
        std::mem::replace(&mut self.caches[bridge], new).map(|old| old.cache)
    }

    /// Returns the verdict that all packets have because nothing but their port counts; otherwise each has its own in `verdicts`.
    pub(super) fn classify(
        &mut self,
        bridge: &BridgeView,
        ingress: &PortEntry,
        batch: &mut PacketBatch,
        lane: usize,
        verdicts: &mut [Verdict; BATCH],
    ) -> Option<Verdict> {
        self.lookups = Lookups::default();
        self.budget = WALK_BUDGET;
        // Never missing in practice, here and below: a bridge's cache arrives before the bridge does.
        let own = self.caches.get_mut(ingress.bridge).and_then(Option::as_mut)?;
        // Once for a batch: the paths that its first verdicts name must not go before they are run.
        own.refresh(bridge);
        let seats = bridge.sorted.seats(ingress.id);
        if bridge.only_port && seats.is_none() {
            self.lookups.port_hits = batch.len() as u64;
            return Some(self.port_verdict(bridge, ingress));
        }
        let mut rest = ((1u64 << batch.len()) - 1) as u32;
        if let Some(seats) = seats {
            rest = self.sort(bridge, ingress.bridge, seats, batch.packets(), lane, verdicts);
            self.lookups.sorted_hits = (batch.len() as u32 - rest.count_ones()).into();
        }
        for ids in runs(rest) {
            if bridge.only_port {
                self.lookups.port_hits += ids.len() as u64;
                verdicts[ids].fill(self.port_verdict(bridge, ingress));
            } else {
                self.look_up(bridge, ingress, batch, verdicts, ids);
            }
        }
        None
    }

    /// Returns a bit for each packet that is not sorted.
    #[inline(never)]
    fn sort(
        &mut self,
        bridge: &BridgeView,
        index: usize,
        seats: &Seats,
        packets: &[Packet],
        lane: usize,
        verdicts: &mut [Verdict; BATCH],
    ) -> u32 {
        let Some(own) = self.caches.get_mut(index).and_then(Option::as_mut) else { return 0 };
        let (workshop, budget) = (&mut self.workshop, &mut self.budget);
        let verdict = |stage: &mut Stage, entry: &SortEntry| {
            let generation = own.cache.paths.generation();
            let holds = Holds { entry: entry.number(), version: bridge.version, generation };
            let paths = &mut own.cache.paths;
            stage.verdict(holds, || judge(bridge, entry.key(), paths, workshop, budget, &mut own.full))
        };
        self.stage.sort((&bridge.sorted, seats), packets, lane, verdicts, verdict)
    }

    fn port_verdict(&mut self, bridge: &BridgeView, ingress: &PortEntry) -> Verdict {
        let Some(own) = self.caches.get_mut(ingress.bridge).and_then(Option::as_mut) else { return Verdict::UNKNOWN };
        let PortId(place) = ingress.id;
        let generation = own.cache.paths.generation();
        match self.ports[usize::from(place)] {
            Some(known) if known.version == bridge.version && known.generation == generation => known.verdict,
            _ => {
                let mut key = FlowKey::default();
                key.set(Field::IN_PORT, u64::from(ingress.number));
                let (paths, budget) = (&mut own.cache.paths, &mut { u32::MAX });
                let verdict = judge(bridge, &key, paths, &mut self.workshop, budget, &mut own.full);
                let is_blind = is_blind(bridge, verdict);
                let known = PortVerdict { version: bridge.version, generation, verdict, is_blind };
                self.ports[usize::from(place)] = Some(known);
                verdict
            }
        }
    }

    /// True when it is known that nobody looks into frames that come in at `ingress`.
    #[inline(always)]
    pub(super) fn is_blind(&self, bridge: &BridgeView, ingress: &PortEntry) -> bool {
        let PortId(place) = ingress.id;
        let known = self.ports[usize::from(place)].filter(|known| known.version == bridge.version);
        known.is_some_and(|known| known.is_blind) && bridge.only_port && bridge.sorted.seats(ingress.id).is_none()
    }

    /// The paths that verdicts name, and the keys of the last batch (not parsed when only the port counts).
    pub(super) fn found(&self, bridge: usize) -> (Option<&Paths>, &[FlowKey; BATCH], u32) {
        let cache = self.caches.get(bridge).and_then(Option::as_ref);
        (cache.map(|own| &own.cache.paths), &self.keys, self.budget)
    }

    fn look_up(
        &mut self,
        bridge: &BridgeView,
        ingress: &PortEntry,
        batch: &mut PacketBatch,
        verdicts: &mut [Verdict; BATCH],
        ids: Range<usize>,
    ) {
        for (packet, key) in batch.packets_mut()[ids.clone()].iter_mut().zip(&mut self.keys[ids.clone()]) {
            if bridge.depth >= Depth::Network {
                reach_headers(packet);
            }
            parse(packet, ingress.number, bridge.depth, key);
        }
        let Some(list) = &bridge.shortlist else { return self.recall(bridge, ingress, verdicts, ids) };
        let mut rest = 0;
        for id in ids.clone() {
            verdicts[id] = list.decide(&self.keys[id]);
            rest |= u32::from(!verdicts[id].is_known()) << id;
        }
        self.lookups.shortlist_hits += ids.len() as u64 - u64::from(rest.count_ones());
        runs(rest).for_each(|ids| self.recall(bridge, ingress, verdicts, ids));
    }

    /// The verdicts that the cache remembers, or else walks find, for packets whose keys are known.
    fn recall(&mut self, bridge: &BridgeView, ingress: &PortEntry, verdicts: &mut [Verdict; BATCH], ids: Range<usize>) {
        let Some(own) = self.caches.get_mut(ingress.bridge).and_then(Option::as_mut) else { return };
        let (keys, hashes) = (&self.keys[ids.clone()], &mut self.hashes[ids.clone()]);
        let (packed, verdicts) = (&mut self.packed[ids.clone()], &mut verdicts[ids]);
        for ((key, hash), packed) in keys.iter().zip(&mut *hashes).zip(&mut *packed) {
            *hash = own.cache.shape().pack_into(key, packed);
        }
        own.cache.probe_batch(hashes, packed, verdicts);
        for id in 0..verdicts.len() {
            if verdicts[id].is_known() {
                self.lookups.cache_hits += 1;
                continue;
            }
            // An earlier packet of this batch may have been the first of the same flow.
            verdicts[id] = own.cache.probe(hashes[id], &packed[id]);
            if verdicts[id].is_known() {
                self.lookups.cache_hits += 1;
                continue;
            }
            self.lookups.walks += 1;
            let start = clock::cycles();
            let key = bridge.seen(&keys[id]);
            let paths = &mut own.cache.paths;
            let verdict = judge(bridge, &key, paths, &mut self.workshop, &mut self.budget, &mut own.full);
            self.lookups.walk_cycles += clock::cycles().saturating_sub(start);
            if verdict.is_known() {
                own.cache.insert(hashes[id], &packed[id], verdict);
            }
            verdicts[id] = verdict;
        }
    }
}

/// True when packets with this verdict go to ports as they are.
fn is_blind(bridge: &BridgeView, verdict: Verdict) -> bool {
    match verdict.kind() {
        Kind::Rule(id) => {
            let rule = bridge.program.tables.table(0).and_then(|table| table.rule(id));
            rule.is_some_and(|rule| only_sends(&rule.flow.actions))
        }
        Kind::NoRule => true,
        Kind::Path(_) | Kind::Live | Kind::Unknown => false,
    }
}

/// The places of set bits that are neighbours.
#[inline(always)]
fn runs(mut bits: u32) -> impl Iterator<Item = Range<usize>> {
    std::iter::from_fn(move || {
        (bits != 0).then(|| {
            let first = bits.trailing_zeros();
            let end = first + (bits >> first).trailing_ones();
            bits &= (u64::MAX << end) as u32;
            first as usize..end as usize
        })
    })
}
