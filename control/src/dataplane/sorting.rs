//! What of the pools' traffic is to be sorted: frames with a pool's address and VLAN that come in from outside, at an AF_XDP
//! port of a bridge where the pool has a port.
//!
//! Neighbours: `Switch::publish` takes the pools in and asks for each bridge; `Switch::tend` has what is wanted derived.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringswitch_dataplane::flow::Mac;
use ringswitch_dataplane::pipeline::{BridgePorts, BridgeView, Snapshot, SortTotals, SortedPool, Wanted};
use ringswitch_dataplane::port::PortId;
use ringswitch_dataplane::sched::PoolId;

use crate::engine::PoolView;

/// Rules that are looked at in one turn of the control thread; a few milliseconds.
const TURN_BUDGET: u32 = 200_000;

/// The pools of the last publication.
#[derive(Default)]
pub struct Pools {
    known: BTreeMap<PoolId, Known>,
}

struct Known {
    name: String,
    filters: Vec<(Mac, u16)>,
    pool: Arc<SortedPool>,
}

impl Pools {
    /// Takes the pools as they are now. One that stays goes on counting.
    pub fn update(&mut self, views: &[PoolView<'_>], workers: usize) {
        let mut before = std::mem::take(&mut self.known);
        for view in views {
            let old = before.remove(&view.id).filter(|old| old.name == view.name).map(|old| old.pool);
            let pool = match old {
                Some(pool) if pool.ports() == view.ports => pool,
                Some(pool) => Arc::new(pool.with_ports(view.ports.clone())),
                None => Arc::new(SortedPool::new(view.id, view.ports.clone(), workers)),
            };
            self.known.insert(view.id, Known { name: view.name.to_owned(), filters: view.filters.clone(), pool });
        }
    }

    /// What is to be sorted in the bridge with these ports. `is_outside` tells where frames come from outside.
    pub fn wanted(&self, ports: &BridgePorts, is_outside: impl Fn(PortId) -> bool) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        let here: BTreeSet<PortId> = if self.known.is_empty() { BTreeSet::new() } else { ports.all().collect() };
        let outside: Vec<PortId> = here.iter().copied().filter(|&port| is_outside(port)).collect();
        for Known { filters, pool, .. } in self.known.values() {
            let is_own = |port: &PortId| pool.ports().contains(port);
            if !pool.ports().iter().any(|port| here.contains(port)) {
                continue;
            }
            for ingress in outside.iter().copied().filter(|port| !is_own(port)) {
                let frames = filters.iter().map(|&(mac, vlan)| Wanted { ingress, mac, vlan, pool: Arc::clone(pool) });
                wanted.extend(frames);
            }
        }
        wanted
    }

    /// Frames that came in for the pool.
    pub fn totals(&self, pool: PoolId) -> SortTotals {
        self.known.get(&pool).map(|known| known.pool.totals()).unwrap_or_default()
    }
}

/// A snapshot in which more is known about what is sorted; `None` when everything is.
pub fn derive(current: &Snapshot) -> Option<Snapshot> {
    let (mut next, mut budget) = (None, TURN_BUDGET);
    for (index, bridge) in current.bridges.iter().enumerate() {
        let Some(bridge) = bridge.as_ref().filter(|_| budget > 0) else { continue };
        if let Some(sorted) = bridge.sorted.derive(bridge, &mut budget) {
            let view = BridgeView { sorted: Arc::new(sorted), ..BridgeView::clone(bridge) };
            next.get_or_insert_with(|| current.clone()).bridges[index] = Some(Arc::new(view));
        }
    }
    next
}
