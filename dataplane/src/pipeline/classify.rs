//! Classify: which rule decides each packet of a batch.
//!
//! Tiers: one verdict for all traffic of the port, when no rule looks at anything else; the exact cache, keyed by only
//! the fields that some rule looks at; a walk through the table, within the port's budget.
//! Trust: packets choose keys. A sender of ever new keys fills the cache with them and pays for walks, up to its budget.

use super::cache::{FlowCache, Verdict};
use super::parse::{Depth, parse, reach_headers};
use super::snapshot::{BridgeView, PortEntry};
use crate::flow::{Field, FlowKey, OutOfBudget, PackedKey};
use crate::packet::{BATCH, PacketBatch};
use crate::port::{MAX_PORTS, PortId};
use crate::sys::clock;

/// Subtables that the walks of one port may probe in one pass: 32 packets through 64 different masks each, twice.
const WALK_BUDGET: u32 = 4096;

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
}

/// The verdict for all traffic of a port, in one version of its bridge.
#[derive(Clone, Copy)]
struct PortVerdict {
    version: u64,
    verdict: Option<Verdict>,
}

/// One worker's classifier.
pub(super) struct Classifier {
    caches: Vec<Option<BridgeCache>>,
    ports: Box<[Option<PortVerdict>]>,
    keys: Box<[FlowKey; BATCH]>,
    packed: Box<[PackedKey; BATCH]>,
    hashes: [u64; BATCH],
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
            lookups: Lookups::default(),
        }
    }
}

impl Classifier {
    pub(super) fn set_cache(&mut self, bridge: usize, cache: Option<Box<FlowCache>>) -> Option<Box<FlowCache>> {
        if self.caches.len() <= bridge {
            self.caches.resize_with(bridge + 1, || None);
        }
        let new = cache.map(|cache| BridgeCache { version: 0, cache });
        std::mem::replace(&mut self.caches[bridge], new).map(|old| old.cache)
    }

    pub(super) fn classify(
        &mut self,
        bridge: &BridgeView,
        ingress: &PortEntry,
        batch: &mut PacketBatch,
        verdicts: &mut [Option<Verdict>; BATCH],
    ) {
        self.lookups = Lookups::default();
        if bridge.only_port {
            self.lookups.port_hits = batch.len() as u64;
            verdicts[..batch.len()].fill(self.port_verdict(bridge, ingress));
        } else {
            self.look_up(bridge, ingress, batch, verdicts);
        }
    }

    fn port_verdict(&mut self, bridge: &BridgeView, ingress: &PortEntry) -> Option<Verdict> {
        let PortId(place) = ingress.id;
        match self.ports[usize::from(place)] {
            Some(known) if known.version == bridge.version => known.verdict,
            _ => {
                let mut key = FlowKey::default();
                key.set(Field::IN_PORT, u64::from(ingress.number));
                let verdict = walk(bridge, &key, &mut { u32::MAX });
                self.ports[usize::from(place)] = Some(PortVerdict { version: bridge.version, verdict });
                verdict
            }
        }
    }

    fn look_up(
        &mut self,
        bridge: &BridgeView,
        ingress: &PortEntry,
        batch: &mut PacketBatch,
        verdicts: &mut [Option<Verdict>; BATCH],
    ) {
        let count = batch.len();
        let Some(own) = self.caches.get_mut(ingress.bridge).and_then(Option::as_mut) else {
            // Never in practice: a bridge's cache arrives before the bridge does.
            return;
        };
        if own.version != bridge.version {
            own.cache.reshape(&bridge.union);
            own.version = bridge.version;
        }
        for (id, packet) in batch.packets_mut().iter_mut().enumerate() {
            if bridge.depth >= Depth::Network {
                reach_headers(packet);
            }
            parse(packet, ingress.number, bridge.depth, &mut self.keys[id]);
            self.hashes[id] = own.cache.shape().pack_into(&self.keys[id], &mut self.packed[id]);
        }
        let (hashes, packed) = (&self.hashes[..count], &self.packed[..count]);
        own.cache.probe_batch(hashes, packed, &mut verdicts[..count]);
        let mut budget = WALK_BUDGET;
        for id in 0..count {
            if verdicts[id].is_some() {
                self.lookups.cache_hits += 1;
                continue;
            }
            // An earlier packet of this batch may have been the first of the same flow.
            verdicts[id] = own.cache.probe(hashes[id], &packed[id]);
            if verdicts[id].is_some() {
                self.lookups.cache_hits += 1;
                continue;
            }
            self.lookups.walks += 1;
            let start = clock::cycles();
            verdicts[id] = walk(bridge, &self.keys[id], &mut budget);
            self.lookups.walk_cycles += clock::cycles().saturating_sub(start);
            if let Some(verdict) = verdicts[id] {
                own.cache.insert(hashes[id], &packed[id], verdict);
            }
        }
    }
}

/// `None` when the budget was spent.
fn walk(bridge: &BridgeView, key: &FlowKey, budget: &mut u32) -> Option<Verdict> {
    let Some(table) = bridge.program.tables.table(0) else { return Some(Verdict::NoRule) };
    match table.lookup(key, budget) {
        Ok(Some(rule)) => Some(Verdict::Rule(rule.id)),
        Ok(None) => Some(Verdict::NoRule),
        Err(OutOfBudget) => None,
    }
}
