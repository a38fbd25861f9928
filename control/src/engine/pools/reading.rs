//! What flows and learned addresses say about pools' addresses, read a bounded number at a time.
//!
//! It goes in rounds. In one, the flows that changed since the last are looked at, and the learning tables as a whole: workers
//! write those, and nobody tells. Claims are kept from round to round and changed one by one. Trust: flows are a controller's,
//! addresses anybody's: both only cost rounds. Neighbours: [`super::refresh`] says when, `filters` settles claims.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ringswitch_dataplane::flow::{Follower, Mac, Rule};
use ringswitch_dataplane::port::PortId;
use ringswitch_dataplane::sched::PoolId;

use super::filters::{Claims, FilterOrigin, of_rule, on_the_wire};
use super::refresh::{members, tables, uplinks};
use crate::engine::Dataplane;
use crate::engine::state::State;
use crate::model::{PoolFilter, Vlan};

/// Places of a learning table that are looked at together.
const PLACES: usize = 256;
/// Places that cost as much as one rule or address, when they are empty.
const EMPTY: usize = 16;

/// See the file's head.
#[derive(Default)]
pub struct Reading {
    /// Of the configuration when it was looked at last; 0 for never.
    generation: u64,
    basis: Basis,
    claims: Claims,
    bridges: BTreeMap<usize, OfBridge>,
    /// A round goes on.
    under_way: bool,
    /// Claims changed since somebody asked.
    changed: bool,
}

/// What of the configuration decides whose a flow's or a port's address is. Where it changes, everything is read again.
#[derive(Default, PartialEq)]
struct Basis {
    bridges: BTreeMap<usize, Numbers>,
    /// Ports whose addresses are those of their pools.
    members: BTreeMap<PortId, PoolId>,
    /// Pools that have the addresses which the operator said, and no others; on these bridges.
    said: BTreeMap<PoolId, (Vec<PoolFilter>, BTreeSet<usize>)>,
}

#[derive(Default, PartialEq)]
struct Numbers {
    pools: BTreeMap<u32, PoolId>,
    /// How uplinks carry VLANs.
    vlans: Vec<Vlan>,
}

/// What was read of one bridge.
#[derive(Default)]
struct OfBridge {
    flows: Follower,
    /// Addresses as this round found them, and those of the last one that it did not find yet.
    learned: HashMap<(u16, Mac), Seen>,
    before: HashMap<(u16, Mac), Seen>,
    left: Left,
}

type Seen = (PortId, FilterOrigin);

/// What is left to do in this round.
#[derive(Default)]
enum Left {
    /// Flows have to be followed, then addresses from this place on.
    Places(usize),
    /// Addresses that are not there any more have to be forgotten.
    Gone,
    #[default]
    Nothing,
}

impl Reading {
    /// True between the first and the last turn of a round.
    pub fn is_under_way(&self) -> bool {
        self.under_way
    }

    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Whether claims changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Begins a round where none is under way, and goes on until `budget` rules and addresses were looked at. True at the end of
    /// the round. `generation` is another one whenever the configuration in `state` changed.
    pub fn go_on(&mut self, (state, generation): (&State, u64), dataplane: &impl Dataplane, mut budget: u32) -> bool {
        if self.generation != generation {
            let basis = Basis::of(state);
            if self.basis != basis {
                *self = Self::new(basis);
            }
            self.generation = generation;
        }
        if !self.under_way {
            self.under_way = true;
            self.bridges.retain(|index, _| self.basis.bridges.contains_key(index));
            for index in self.basis.bridges.keys() {
                let bridge = self.bridges.entry(*index).or_default();
                (bridge.before, bridge.left) = (std::mem::take(&mut bridge.learned), Left::Places(0));
            }
        }
        let mut is_done = true;
        for (index, bridge) in &mut self.bridges {
            let mut claiming =
                Claiming { index: *index, basis: &self.basis, claims: &mut self.claims, changed: &mut self.changed };
            is_done &= bridge.go_on(&mut claiming, state, dataplane, &mut budget);
        }
        self.under_way = !is_done;
        is_done
    }

    fn new(basis: Basis) -> Self {
        let mut claims = Claims::default();
        for (pool, (filters, bridges)) in &basis.said {
            for bridge in bridges {
                for filter in filters {
                    claims.add((*bridge, *filter), *pool, FilterOrigin::Config);
                }
            }
        }
        Self { basis, claims, changed: true, ..Self::default() }
    }
}

impl OfBridge {
    /// True when nothing is left to do in this round.
    fn go_on(
        &mut self,
        claiming: &mut Claiming<'_>,
        state: &State,
        dataplane: &impl Dataplane,
        budget: &mut u32,
    ) -> bool {
        loop {
            match self.left {
                Left::Nothing => return true,
                _ if *budget == 0 => return false,
                Left::Places(from) => {
                    // Flows may change between turns; what they say at the round's last one is known.
                    let tables = state.bridges.get(claiming.index).and_then(|slot| slot.as_ref().map(tables));
                    let tell = |before: Option<&_>, after: Option<&_>| claiming.flow(before, after);
                    if !tables.is_none_or(|tables| self.flows.follow(tables, budget, tell)) {
                        return false;
                    }
                    let (entries, next) = dataplane.fdb_part(claiming.index, from, PLACES);
                    *budget = budget.saturating_sub((entries.len() + PLACES / EMPTY) as u32);
                    for entry in entries.iter().filter(|entry| entry.mac[0] & 1 == 0) {
                        let origin = if entry.age.is_some() { FilterOrigin::Learned } else { FilterOrigin::Static };
                        let (key, seen) = ((entry.vlan, entry.mac), (entry.port, origin));
                        // One that moved within the table while it was read may be there twice.
                        let known = self.before.remove(&key).or_else(|| self.learned.get(&key).copied());
                        if known != Some(seen) {
                            claiming.address(key, known, Some(seen));
                        }
                        self.learned.insert(key, seen);
                    }
                    self.left = next.map_or(Left::Gone, Left::Places);
                }
                Left::Gone => {
                    let gone = self.before.extract_if(|_, _| true).take(*budget as usize);
                    for (key, seen) in gone {
                        claiming.address(key, Some(seen), None);
                        *budget -= 1;
                    }
                    if self.before.is_empty() {
                        self.left = Left::Nothing;
                    }
                }
            }
        }
    }
}

/// Turns what is read of a bridge into claims.
struct Claiming<'a> {
    index: usize,
    basis: &'a Basis,
    claims: &'a mut Claims,
    changed: &'a mut bool,
}

impl Claiming<'_> {
    fn change(&mut self, filter: PoolFilter, pool: PoolId, origin: FilterOrigin, is_new: bool) {
        let place = (self.index, filter);
        *self.changed |= match is_new {
            true => self.claims.add(place, pool, origin),
            false => self.claims.remove(place, pool, origin),
        };
    }

    /// A flow went, came, or became another one.
    fn flow(&mut self, before: Option<&Arc<Rule>>, after: Option<&Arc<Rule>>) {
        let [before, after] = [before, after].map(|rule| rule.and_then(|rule| self.claim(rule)));
        if before == after {
            return;
        }
        for ((filter, pool), is_new) in after.map(|new| (new, true)).into_iter().chain(before.map(|old| (old, false))) {
            self.change(filter, pool, FilterOrigin::Flow, is_new);
        }
    }

    /// The address that a flow says a pool has.
    fn claim(&self, rule: &Rule) -> Option<(PoolFilter, PoolId)> {
        let pools = &self.basis.bridges.get(&self.index)?.pools;
        let (filter, ports) = of_rule(rule)?;
        // What goes to several pools is a mirror or a group of its own making, and no one's address.
        let mut found = ports.iter().filter_map(|number| pools.get(number));
        let pool = *found.next()?;
        (found.all(|other| *other == pool) && !self.basis.said.contains_key(&pool)).then_some((filter, pool))
    }

    /// A learned or static address went, came or moved.
    fn address(&mut self, (vlan, mac): (u16, Mac), before: Option<Seen>, after: Option<Seen>) {
        let Some(Numbers { vlans, .. }) = self.basis.bridges.get(&self.index) else { return };
        let mut tags: BTreeSet<u16> = vlans.iter().flat_map(|port| on_the_wire(port, vlan)).collect();
        if vlans.is_empty() {
            tags.insert(vlan);
        }
        for (seen, is_new) in [(after, true), (before, false)] {
            let Some((port, origin)) = seen else { continue };
            let Some(pool) = self.basis.members.get(&port).copied() else { continue };
            tags.iter().for_each(|&vlan| self.change(PoolFilter { mac, vlan }, pool, origin, is_new));
        }
    }
}

impl Basis {
    fn of(state: &State) -> Self {
        let mut basis = Self::default();
        for pool in state.pools() {
            let Some(filters) = pool.spec.and_then(|spec| spec.filters()) else { continue };
            let bridges = pool.ports.iter().map(|port| port.bridge).collect();
            basis.said.insert(pool.id, (filters, bridges));
        }
        for (index, _) in state.bridges.iter().enumerate().filter(|(_, slot)| slot.is_some()) {
            let numbers = members(state).filter(|port| port.bridge == index);
            let pools = numbers.map(|port| (port.number, port.pool.id())).collect();
            let vlans = uplinks(state, index).map(|port| port.spec.vlan()).collect();
            basis.bridges.insert(index, Numbers { pools, vlans });
        }
        let others = members(state).filter(|port| !basis.said.contains_key(&port.pool.id()));
        basis.members = others.map(|port| (port.id, port.pool.id())).collect();
        basis
    }
}
