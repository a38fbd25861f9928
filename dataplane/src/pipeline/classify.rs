//! Classify: which rule decides each packet of a batch.
//!
//! Tiers: one verdict for all traffic of the port, when no rule looks at anything else; the exact cache, keyed by only
//! the fields that some rule looks at; a walk through the tables, within the port's budget.
//! Trust: packets choose keys. A sender of ever new keys fills the cache with them and pays for walks, up to its budget.

use super::cache::{FlowCache, Verdict};
use super::parse::{Depth, parse, reach_headers};
use super::path::{Paths, Step};
use super::record::judge;
use super::snapshot::{BridgeView, PortEntry};
use super::walk::Room;
use crate::flow::{Field, FlowKey, PackedKey};
use crate::packet::{BATCH, PacketBatch};
use crate::port::{MAX_PORTS, PortId};
use crate::sys::clock;

/// Subtables that the walks of one port may probe in one pass: 32 packets through 64 different masks each, twice.
pub(super) const WALK_BUDGET: u32 = 4096;

/// How verdicts were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Packets whose verdict holds for all traffic of their port.
    pub port_hits: u64,
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

    pub(super) fn classify(
        &mut self,
        bridge: &BridgeView,
        ingress: &PortEntry,
        batch: &mut PacketBatch,
        verdicts: &mut [Verdict; BATCH],
    ) {
        self.lookups = Lookups::default();
        self.budget = WALK_BUDGET;
        if bridge.only_port {
            self.lookups.port_hits = batch.len() as u64;
            verdicts[..batch.len()].fill(self.port_verdict(bridge, ingress));
        } else {
            self.look_up(bridge, ingress, batch, verdicts);
        }
    }

    fn port_verdict(&mut self, bridge: &BridgeView, ingress: &PortEntry) -> Verdict {
        // Never missing in practice, here and below: a bridge's cache arrives before the bridge does.
        let Some(own) = self.caches.get_mut(ingress.bridge).and_then(Option::as_mut) else { return Verdict::UNKNOWN };
        own.refresh(bridge);
        let PortId(place) = ingress.id;
        let generation = own.cache.paths.generation();
        match self.ports[usize::from(place)] {
            Some(known) if known.version == bridge.version && known.generation == generation => known.verdict,
            _ => {
                let mut key = FlowKey::default();
                key.set(Field::IN_PORT, u64::from(ingress.number));
                let (paths, budget) = (&mut own.cache.paths, &mut { u32::MAX });
                let verdict = judge(bridge, &key, paths, &mut self.workshop, budget, &mut own.full);
                self.ports[usize::from(place)] = Some(PortVerdict { version: bridge.version, generation, verdict });
                verdict
            }
        }
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
    ) {
        let count = batch.len();
        let Some(own) = self.caches.get_mut(ingress.bridge).and_then(Option::as_mut) else { return };
        own.refresh(bridge);
        for (id, packet) in batch.packets_mut().iter_mut().enumerate() {
            if bridge.depth >= Depth::Network {
                reach_headers(packet);
            }
            parse(packet, ingress.number, bridge.depth, &mut self.keys[id]);
            self.hashes[id] = own.cache.shape().pack_into(&self.keys[id], &mut self.packed[id]);
        }
        let (hashes, packed) = (&self.hashes[..count], &self.packed[..count]);
        own.cache.probe_batch(hashes, packed, &mut verdicts[..count]);
        for id in 0..count {
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
            let key = bridge.seen(&self.keys[id]);
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
