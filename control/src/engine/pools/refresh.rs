//! Keeps pools' addresses up to date, and those who sort by them.
//!
//! Flows and learned addresses are looked at about once a second and when somebody asks, never while a flow is changed: a
//! filter is only a hint, and what becomes of a frame is decided by the rules in force. What takes long is done less often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use ringswitch_dataplane::flow::{Mac, Tables};
use ringswitch_dataplane::port::PortId;
use ringswitch_dataplane::port::xdp::{SortFilter, SortPool};
use ringswitch_dataplane::sched::PoolId;
use tracing::warn;

use super::filters::{Chosen, Claims, FilterOrigin, Place, of_rule, on_the_wire};
use crate::engine::state::{BridgeSlot, PortSlot, State};
use crate::engine::{Dataplane, Engine, Name, PoolView};
use crate::model::{PoolFilter, PortType};

/// How often addresses are looked at.
const REFRESH_MS: u64 = 1000;
/// It may take this part of the control thread's time at most: one of so many.
const PART: u64 = 50;

/// What is known about pools' addresses, and what sorters were told.
#[derive(Default)]
pub struct Addresses {
    /// By pool.
    pub chosen: BTreeMap<PoolId, Vec<Chosen>>,
    /// Those that two pools claim.
    pub contested: BTreeMap<Place, [PoolId; 2]>,
    /// What flows say, by bridge.
    flows: BTreeMap<usize, FlowClaims>,
    /// Pools that have addresses, for snapshots.
    shown: Vec<Shown>,
    /// What uplinks sort for, and the sorters that they may use.
    told: BTreeMap<PortId, (Option<String>, Vec<SortPool>)>,
    next_ms: u64,
}

/// What a bridge's flows said when they were read.
struct FlowClaims {
    tables: Tables,
    /// Of the configuration: ports get other numbers and pools with it.
    generation: u64,
    claims: Vec<(PoolFilter, PoolId)>,
}

struct Shown {
    id: PoolId,
    name: Name,
    ports: Vec<PortId>,
    filters: Vec<(Mac, u16)>,
}

impl Shown {
    fn view(&self) -> PoolView<'_> {
        PoolView { id: self.id, name: &self.name, ports: self.ports.clone(), filters: self.filters.clone() }
    }
}

impl Addresses {
    /// For a snapshot.
    pub fn view(&self) -> Vec<PoolView<'_>> {
        self.shown.iter().map(Shown::view).collect()
    }

    /// The port was opened: whoever sorted for it is gone.
    pub fn reopened(&mut self, port: PortId) {
        self.told.remove(&port);
    }
}

impl<D: Dataplane> Engine<D> {
    /// Looks again when it is time.
    pub(in crate::engine) fn tend_pools(&mut self, now_ms: u64) {
        if now_ms < self.addresses.next_ms {
            return;
        }
        let start = Instant::now();
        self.refresh_pools();
        let took = start.elapsed().as_millis() as u64;
        self.addresses.next_ms = now_ms + (took * PART).max(REFRESH_MS);
    }

    /// Looks again, and tells workers and sorters what is different.
    pub(in crate::engine) fn refresh_pools(&mut self) {
        if self.choose_addresses() {
            self.publish();
        }
        self.tell_sorters();
    }

    /// Finds out which addresses pools have. True when workers have to be told.
    pub(in crate::engine) fn choose_addresses(&mut self) -> bool {
        self.read_flows();
        let claims = self.claims();
        let contested = claims.contested();
        self.complain(&contested);
        let chosen = claims.settle(&self.addresses.chosen);
        let shown = shown(&self.state, &chosen);
        let is_other = |(old, new): (&Shown, &Shown)| {
            (old.id, &old.name, &old.ports, &old.filters) != (new.id, &new.name, &new.ports, &new.filters)
        };
        let before = &self.addresses.shown;
        let changed = before.len() != shown.len() || before.iter().zip(&shown).any(is_other);
        (self.addresses.chosen, self.addresses.contested, self.addresses.shown) = (chosen, contested, shown);
        changed
    }

    /// Reads the flows of bridges where flows or the configuration changed.
    fn read_flows(&mut self) {
        let generation = self.generation;
        self.addresses.flows.retain(|index, _| matches!(self.state.bridges.get(*index), Some(Some(_))));
        for (index, slot) in self.state.bridges.iter().enumerate() {
            let Some(tables) = slot.as_ref().map(tables) else { continue };
            let known = self.addresses.flows.get(&index);
            if known.is_some_and(|known| known.generation == generation && known.tables.is_same(tables)) {
                continue;
            }
            let numbers = members(&self.state).filter(|port| port.bridge == index);
            let pools: BTreeMap<u32, PoolId> = numbers.map(|port| (port.number, port.pool.id())).collect();
            let claim = |(filter, ports): (PoolFilter, Vec<u32>)| {
                // What goes to several pools is a mirror or a group of its own making, and no one's address.
                let mut found = ports.iter().filter_map(|number| pools.get(number));
                let pool = *found.next()?;
                found.all(|other| *other == pool).then_some((filter, pool))
            };
            let claims = tables.rules().filter_map(|rule| of_rule(rule)).filter_map(claim).collect();
            self.addresses.flows.insert(index, FlowClaims { tables: tables.clone(), generation, claims });
        }
    }

    fn claims(&self) -> Claims {
        let mut claims = Claims::default();
        let pools = self.state.pools();
        // Those whose addresses the operator said have no others.
        let mut said = BTreeSet::new();
        for pool in &pools {
            let Some(filters) = pool.spec.and_then(|spec| spec.filters()) else { continue };
            said.insert(pool.id);
            let bridges: BTreeSet<usize> = pool.ports.iter().map(|port| port.bridge).collect();
            for bridge in bridges {
                filters.iter().for_each(|filter| claims.add(bridge, *filter, pool.id, FilterOrigin::Config));
            }
        }
        for (bridge, flows) in &self.addresses.flows {
            for (filter, pool) in flows.claims.iter().filter(|(_, pool)| !said.contains(pool)) {
                claims.add(*bridge, *filter, *pool, FilterOrigin::Flow);
            }
        }
        let members: BTreeMap<PortId, &PortSlot> =
            members(&self.state).filter(|port| !said.contains(&port.pool.id())).map(|port| (port.id, port)).collect();
        for bridge in (0..self.state.bridges.len()).filter(|bridge| self.state.bridges[*bridge].is_some()) {
            let vlans: Vec<_> = uplinks(&self.state, bridge).map(|port| port.spec.vlan()).collect();
            for entry in self.dataplane.fdb(bridge) {
                let Some(port) = members.get(&entry.port).filter(|_| entry.mac[0] & 1 == 0) else { continue };
                let origin = if entry.age.is_some() { FilterOrigin::Learned } else { FilterOrigin::Static };
                let mut tags: BTreeSet<u16> = vlans.iter().flat_map(|vlan| on_the_wire(vlan, entry.vlan)).collect();
                if vlans.is_empty() {
                    tags.insert(entry.vlan);
                }
                for vlan in tags {
                    claims.add(bridge, PoolFilter { mac: entry.mac, vlan }, port.pool.id(), origin);
                }
            }
        }
        claims
    }

    /// Says which addresses two pools claim, when that is news.
    fn complain(&self, contested: &BTreeMap<Place, [PoolId; 2]>) {
        let mut news = contested.iter().filter(|(place, _)| !self.addresses.contested.contains_key(place));
        if let Some(((_, filter), pools)) = news.next() {
            let [one, other] = pools.map(|id| self.pool_name(id));
            let more = news.count();
            warn!(address = %filter, more, "claimed by pools {one} and {other}: frames to it are sorted for neither");
        }
    }

    pub(super) fn pool_name(&self, id: PoolId) -> String {
        let pools = self.state.pools();
        pools.iter().find(|pool| pool.id == id).map_or_else(String::new, |pool| pool.name.to_owned())
    }

    /// Gives every uplink the pools that it is to sort for, when they changed.
    pub(in crate::engine) fn tell_sorters(&mut self) {
        let pools = self.state.pools();
        let mut lists = BTreeMap::new();
        for uplink in self.state.ports().filter(|port| port.open && is_uplink(port)) {
            let mut list = Vec::new();
            for pool in pools.iter().filter(|pool| pool.ports.iter().all(|port| port.id != uplink.id)) {
                let chosen = self.addresses.chosen.get(&pool.id).into_iter().flatten();
                let here = chosen.filter(|chosen| chosen.bridge == uplink.bridge);
                let filters: Vec<_> =
                    here.map(|one| SortFilter { mac: one.filter.mac, vlan: one.filter.vlan }).collect();
                if !filters.is_empty() {
                    list.push(SortPool { name: pool.name.into(), weight: pool.weight(), filters });
                }
            }
            let sorter = uplink.spec.settings.text("sorter").map(str::to_owned);
            lists.insert(uplink.id, (&uplink.spec, (sorter, list)));
        }
        self.addresses.told.retain(|uplink, _| lists.contains_key(uplink));
        for (uplink, (spec, wanted)) in lists {
            let told = self.addresses.told.entry(uplink).or_default();
            if *told != wanted {
                self.dataplane.sort(uplink, spec, &wanted.1);
                *told = wanted;
            }
        }
    }
}

/// The rules that workers see.
fn tables(slot: &BridgeSlot) -> &Tables {
    &slot.fallback.as_ref().unwrap_or(&slot.program).tables
}

/// Where frames of many pools come in.
pub(super) fn is_uplink(port: &PortSlot) -> bool {
    port.spec.port_type() == Some(PortType::AfXdp)
}

/// The bridge's uplinks.
pub(super) fn uplinks(state: &State, bridge: usize) -> impl Iterator<Item = &PortSlot> {
    state.ports().filter(move |port| port.bridge == bridge && is_uplink(port))
}

/// Ports whose own addresses are behind them: behind an uplink are those of the rest of the world.
fn members(state: &State) -> impl Iterator<Item = &PortSlot> {
    state.ports().filter(|port| !is_uplink(port))
}

fn shown(state: &State, chosen: &BTreeMap<PoolId, Vec<Chosen>>) -> Vec<Shown> {
    let show = |pool: super::PoolRef<'_>| {
        let filters: BTreeSet<_> = chosen.get(&pool.id)?.iter().map(|one| (one.filter.mac, one.filter.vlan)).collect();
        let (name, ports) = (pool.name.into(), pool.port_ids());
        Some(Shown { id: pool.id, name, ports, filters: filters.into_iter().collect() })
    };
    state.pools().into_iter().filter_map(show).collect()
}
