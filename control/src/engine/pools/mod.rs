//! Pools as control knows them: which there are, whose ports they have, by which addresses they are reached ([`filters`]),
//! what flows and learning say about those ([`reading`]), who sorts for them ([`refresh`]), and what is told about them ([`reports`], [`trace`]).
//!
//! A port that the operator put into no pool is a pool of its own: it is named as the port and has the port's number.
//! Neighbours: `apply` changes pools, the dataplane gets them with every snapshot.

mod filters;
mod reading;
mod refresh;
mod reports;
mod trace;

use std::collections::BTreeMap;
use std::sync::Arc;

use ringswitch_dataplane::port::{MAX_PORTS, PortId};
use ringswitch_dataplane::sched::{DEFAULT_WEIGHT, Pool, PoolId, PoolSpec, Rates};

use super::state::{PortSlot, State};
use crate::model;

pub(super) use refresh::Addresses;

/// A pool that the operator made.
#[derive(Clone)]
pub struct PoolSlot {
    /// As workers see it. The same object while its share and rates stay: its buckets keep their level.
    pub pool: Arc<Pool>,
    /// What the operator said.
    pub spec: model::Pool,
}

/// A pool, made by the operator or a port's own.
pub(super) struct PoolRef<'a> {
    pub id: PoolId,
    pub name: &'a str,
    /// None of a port's own.
    pub spec: Option<&'a model::Pool>,
    /// At least one.
    pub ports: Vec<&'a PortSlot>,
}

impl State {
    /// A pool comes, or has other columns. Its number is none that `taken` rules out.
    pub fn set_pool(&mut self, name: &str, spec: &model::Pool, taken: impl Fn(PoolId) -> bool) {
        let wanted = pool_spec(spec);
        let known = self.pools.get(name).map(|slot| &slot.pool);
        let pool = match known {
            Some(pool) if *pool.spec() == wanted => Arc::clone(pool),
            Some(pool) => Arc::new(Pool::new(pool.id(), wanted)),
            None => {
                let free = |id: &PoolId| !self.has_pool(*id) && !taken(*id);
                let id = (MAX_PORTS as u16..).map(PoolId).find(free);
                // Each has a port of its own, so there are far fewer than numbers.
                Arc::new(Pool::new(id.unwrap_or(PoolId(u16::MAX)), wanted))
            }
        };
        self.pools.insert(name.to_owned(), PoolSlot { pool, spec: spec.clone() });
    }

    /// True when a pool that the operator made has this number.
    pub fn has_pool(&self, id: PoolId) -> bool {
        self.pools.values().any(|slot| slot.pool.id() == id)
    }

    /// Gives every port the pool it is in, after ports or pools changed.
    pub fn place_ports(&mut self) {
        let mut members = BTreeMap::new();
        for slot in self.pools.values() {
            members.extend(slot.spec.ports().iter().map(|port| (port.clone(), Arc::clone(&slot.pool))));
        }
        for port in self.ports_mut() {
            let own = PoolId(port.id.0);
            match members.remove(&*port.name) {
                Some(pool) => port.pool = pool,
                None if port.pool.id() == own => {}
                None => port.pool = Arc::new(Pool::new(own, PoolSpec::default())),
            }
        }
    }

    /// All pools, by name.
    pub fn pools(&self) -> Vec<PoolRef<'_>> {
        let mut members = BTreeMap::<PoolId, Vec<&PortSlot>>::new();
        for port in self.ports() {
            members.entry(port.pool.id()).or_default().push(port);
        }
        let mut pools = Vec::with_capacity(members.len());
        for (name, slot) in &self.pools {
            let id = slot.pool.id();
            let ports = members.remove(&id).unwrap_or_default();
            pools.push(PoolRef { id, name, spec: Some(&slot.spec), ports });
        }
        // What is left are ports of their own, one each.
        pools.extend(members.into_iter().map(|(id, ports)| PoolRef { id, name: &ports[0].name, spec: None, ports }));
        pools.sort_by_key(|pool| pool.name);
        pools
    }

    /// The pool with this name.
    pub fn pool(&self, name: &str) -> Option<PoolRef<'_>> {
        self.pools().into_iter().find(|pool| pool.name == name)
    }
}

impl PoolRef<'_> {
    /// True when one of its ports is on this bridge.
    pub fn is_on(&self, bridge: usize) -> bool {
        self.ports.iter().any(|port| port.bridge == bridge)
    }

    /// Its part of what is shared.
    pub fn weight(&self) -> u32 {
        self.ports.first().map_or(DEFAULT_WEIGHT, |port| port.pool.spec().weight)
    }

    pub fn port_ids(&self) -> Vec<PortId> {
        self.ports.iter().map(|port| port.id).collect()
    }
}

/// In the words of the scheduler.
fn pool_spec(pool: &model::Pool) -> PoolSpec {
    let max = Rates {
        shape_bytes: pool.number("max_rate").map(|bits| Rates::shaped_bytes(bits.div_ceil(8))),
        shape_packets: pool.number("max_packet_rate").map(Rates::shaped_packets),
        ..Rates::default()
    };
    PoolSpec {
        weight: pool.number("weight").map_or(DEFAULT_WEIGHT, |weight| weight as u32),
        priority: pool.number("priority").map_or(0, |priority| priority as u8),
        min_bytes: pool.number("min_rate").map(|bits| bits.div_ceil(8)),
        max,
    }
}
