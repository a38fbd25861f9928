//! Keeps pools' addresses up to date, and those who sort by them.
//!
//! Flows and learned addresses are looked at about once a second and when somebody asks, never while a flow is changed: a
//! filter is only a hint, and what becomes of a frame is decided by the rules in force. What takes long is done in turns with
//! everything else ([`Reading`]), and less often; until it is done, what was known before is what counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use ringswitch_dataplane::flow::{Mac, Tables};
use ringswitch_dataplane::port::PortId;
use ringswitch_dataplane::port::xdp::{SortFilter, SortPool};
use ringswitch_dataplane::sched::PoolId;
use tracing::warn;

use super::filters::{Chosen, Place};
use super::reading::Reading;
use crate::engine::state::{BridgeSlot, PortSlot, State};
use crate::engine::{Dataplane, Engine, Name, PoolView};
use crate::model::PortType;

/// How often addresses are looked at.
const REFRESH_MS: u64 = 1000;
/// Where nothing changes it may take this part of the control thread's time at most: one of so many.
const PART: u64 = 50;
/// Rules and addresses that are looked at in one turn: a millisecond.
const TURN_BUDGET: u32 = 1_000;

/// What is known about pools' addresses, and what sorters were told.
#[derive(Default)]
pub struct Addresses {
    /// By pool.
    pub chosen: BTreeMap<PoolId, Vec<Chosen>>,
    /// Those that two pools claim.
    pub contested: BTreeMap<Place, [PoolId; 2]>,
    reading: Reading,
    /// What the round under way took, in microseconds.
    took_us: u64,
    /// Pools that have addresses, for snapshots.
    shown: Vec<Shown>,
    /// What uplinks sort for, and the sorters that they may use.
    told: BTreeMap<PortId, (Option<String>, Vec<SortPool>)>,
    next_ms: u64,
}

struct Shown {
    id: PoolId,
    name: Name,
    ports: Vec<PortId>,
    filters: Vec<(Mac, u16)>,
}

impl Shown {
    fn view(&self) -> PoolView<'_> {
        PoolView { id: self.id, name: &self.name, ports: &self.ports, filters: &self.filters }
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
    /// Looks again when it is time, or goes on looking. True when that is not done.
    pub(in crate::engine) fn tend_pools(&mut self, now_ms: u64) -> bool {
        if now_ms < self.addresses.next_ms && !self.addresses.reading.is_under_way() {
            return false;
        }
        let start = Instant::now();
        let is_done = self.read_addresses();
        if is_done {
            self.tell_pools();
        }
        self.addresses.took_us += start.elapsed().as_micros() as u64;
        if !is_done {
            return true;
        }
        let took_ms = std::mem::take(&mut self.addresses.took_us) / 1000;
        self.addresses.next_ms = now_ms + (took_ms * PART).max(REFRESH_MS);
        false
    }

    /// Looks again, or goes on, and tells workers and sorters what is different.
    pub(in crate::engine) fn refresh_pools(&mut self) {
        self.read_addresses();
        self.tell_pools();
    }

    fn tell_pools(&mut self) {
        if self.show_pools() {
            self.publish();
        }
        self.tell_sorters();
    }

    /// Looks again, or goes on, for one turn. True when all was looked at.
    pub(in crate::engine) fn read_addresses(&mut self) -> bool {
        let reading = &mut self.addresses.reading;
        if !reading.go_on((&self.state, self.generation), &self.dataplane, TURN_BUDGET) {
            return false;
        }
        if reading.take_changed() {
            let contested = reading.claims().contested().clone();
            let chosen = reading.claims().settle(&self.addresses.chosen);
            self.complain(&contested);
            (self.addresses.chosen, self.addresses.contested) = (chosen, contested);
        }
        true
    }

    /// Brings what workers are shown of pools up to date. True when they have to be told.
    pub(in crate::engine) fn show_pools(&mut self) -> bool {
        let shown = shown(&self.state, &self.addresses.chosen);
        let is_other = |(old, new): (&Shown, &Shown)| {
            (old.id, &old.name, &old.ports, &old.filters) != (new.id, &new.name, &new.ports, &new.filters)
        };
        let before = &self.addresses.shown;
        let changed = before.len() != shown.len() || before.iter().zip(&shown).any(is_other);
        self.addresses.shown = shown;
        changed
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
pub(super) fn tables(slot: &BridgeSlot) -> &Tables {
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
pub(super) fn members(state: &State) -> impl Iterator<Item = &PortSlot> {
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
