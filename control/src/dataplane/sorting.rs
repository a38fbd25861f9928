//! What of the pools' traffic is to be sorted: frames with a pool's address and VLAN that come in from outside, at an AF_XDP
//! port of a bridge where the pool has a port.
//!
//! Neighbours: `Switch::publish` takes the pools in and asks for each bridge; `Switch::tend` has what is wanted derived.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringswitch_dataplane::flow::Mac;
use ringswitch_dataplane::pipeline::{BridgePorts, BridgeView, Openings, Snapshot, SortTotals, SortedPool, Wanted};
use ringswitch_dataplane::port::PortId;
use ringswitch_dataplane::sched::PoolId;

use crate::engine::PoolView;

/// Rules that are taken in in one turn of the control thread: a millisecond.
const TURN_BUDGET: u32 = 1_000;

/// The pools of the last publication.
#[derive(Default)]
pub struct Pools {
    known: BTreeMap<PoolId, Known>,
    /// What was wanted in the last publication, by bridge: it stays the same object while it stays the same, so that nobody compares
    /// thousands of addresses because of a flow.
    lists: BTreeMap<usize, List>,
}

struct List {
    /// The bridge's ports, with true for those where frames come from outside.
    ports: BTreeMap<PortId, bool>,
    wanted: Arc<[Wanted]>,
}

struct Known {
    name: String,
    filters: Vec<(Mac, u16)>,
    pool: Arc<SortedPool>,
}

impl Known {
    fn is(&self, view: &PoolView<'_>) -> bool {
        self.name == view.name && self.filters == view.filters && self.pool.ports() == view.ports
    }
}

impl Pools {
    /// Takes the pools as they are now. One that stays goes on counting.
    pub fn update(&mut self, views: &[PoolView<'_>], workers: usize) {
        let is_known = |view: &PoolView<'_>| self.known.get(&view.id).is_some_and(|known| known.is(view));
        if views.len() == self.known.len() && views.iter().all(is_known) {
            return;
        }
        self.lists.clear();
        let mut before = std::mem::take(&mut self.known);
        for view in views {
            let old = before.remove(&view.id).filter(|old| old.name == view.name).map(|old| old.pool);
            let pool = match old {
                Some(pool) if pool.ports() == view.ports => pool,
                Some(pool) => Arc::new(pool.with_ports(view.ports.to_vec())),
                None => Arc::new(SortedPool::new(view.id, view.ports.to_vec(), workers)),
            };
            self.known.insert(view.id, Known { name: view.name.to_owned(), filters: view.filters.to_vec(), pool });
        }
    }

    /// What is to be sorted in a bridge, which has these ports. `is_outside` tells where frames come from outside.
    pub fn wanted(&mut self, bridge: usize, ports: &BridgePorts, is_outside: impl Fn(PortId) -> bool) -> Arc<[Wanted]> {
        if self.known.is_empty() {
            return Arc::default();
        }
        let ports: BTreeMap<_, _> = ports.all().map(|port| (port, is_outside(port))).collect();
        if let Some(list) = self.lists.get(&bridge).filter(|list| list.ports == ports) {
            return Arc::clone(&list.wanted);
        }
        let wanted: Arc<[Wanted]> = self.list(&ports).into();
        self.lists.insert(bridge, List { ports, wanted: Arc::clone(&wanted) });
        wanted
    }

    fn list(&self, ports: &BTreeMap<PortId, bool>) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        let outside = || ports.iter().filter(|&(_, &is_outside)| is_outside).map(|(&port, _)| port);
        for Known { filters, pool, .. } in self.known.values() {
            let is_own = |port: &PortId| pool.ports().contains(port);
            if !pool.ports().iter().any(|port| ports.contains_key(port)) {
                continue;
            }
            for ingress in outside().filter(|port| !is_own(port)) {
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

/// Finds out more about what is sorted: a snapshot in which more is known, if there is one, and whether there is still more to
/// find out. `openings` is what it keeps about bridges' rules.
pub fn derive(current: &Snapshot, openings: &mut BTreeMap<usize, Openings>) -> (Option<Snapshot>, bool) {
    let (mut next, mut more, mut budget) = (None, false, TURN_BUDGET);
    let bridges = || current.bridges.iter().enumerate().filter_map(|(index, bridge)| Some((index, bridge.as_ref()?)));
    let sorting: BTreeMap<_, _> = bridges().filter(|(_, bridge)| !bridge.sorted.is_empty()).collect();
    openings.retain(|index, _| sorting.contains_key(index));
    for (index, bridge) in sorting {
        let derived = match budget {
            0 => None,
            _ => bridge.sorted.derive(bridge, openings.entry(index).or_default(), &mut budget),
        };
        more |= derived.as_ref().unwrap_or(&bridge.sorted).is_pending();
        if let Some(sorted) = derived {
            let view = BridgeView { sorted: Arc::new(sorted), ..BridgeView::clone(bridge) };
            next.get_or_insert_with(|| current.clone()).bridges[index] = Some(Arc::new(view));
        }
    }
    (next, more)
}

#[cfg(test)]
mod tests {
    use ringswitch_dataplane::flow::grammar::parse_flow;
    use ringswitch_dataplane::packet::PortCounters;
    use ringswitch_dataplane::pipeline::{Fdb, PortEntry, Program, SortState, SortTable, TableStats};
    use ringswitch_dataplane::port::TxQueues;

    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 5];

    fn ports(count: u16) -> BridgePorts {
        let entry = |id: u16| {
            let (tx, counters) = (Arc::new(TxQueues::new(1)), Arc::new([PortCounters::default()]));
            PortEntry::new(PortId(id), u32::from(id) + 1, 0, tx, counters)
        };
        let entries: Vec<_> = (0..count).map(entry).collect();
        BridgePorts::new(&entries)
    }

    fn view<'a>(name: &'a str, ports: &'a [PortId]) -> PoolView<'a> {
        PoolView { id: PoolId(3), name, ports, filters: &[(MAC, 0), (MAC, 7)] }
    }

    /// Ports 0 and 1 are NICs.
    fn is_nic(PortId(id): PortId) -> bool {
        id < 2
    }

    #[test]
    fn what_comes_in_at_nics_of_the_pools_bridge_is_wanted() {
        let mut pools = Pools::default();
        assert!(pools.wanted(0, &ports(4), is_nic).is_empty());
        pools.update(&[view("vm5", &[PortId(2)])], 1);
        let wanted = pools.wanted(0, &ports(4), is_nic);
        let wanted: Vec<_> = wanted.iter().map(|one| (one.ingress.0, one.vlan)).collect();
        assert_eq!(wanted, [(0, 0), (0, 7), (1, 0), (1, 7)]);
        assert!(pools.wanted(0, &ports(2), is_nic).is_empty(), "a bridge where it has no port");
        pools.update(&[view("uplink", &[PortId(1), PortId(2)])], 1);
        assert!(pools.wanted(0, &ports(4), is_nic).iter().all(|one| one.ingress == PortId(0)), "not from itself");
    }

    #[test]
    fn what_is_wanted_is_the_same_object_until_pools_or_ports_change() {
        let mut pools = Pools::default();
        let mut wanted = |port: u16, bridge: u16, nics: u16| {
            pools.update(&[view("vm5", &[PortId(port)])], 1);
            pools.wanted(0, &super::tests::ports(bridge), |PortId(id)| id < nics)
        };
        let first = wanted(2, 4, 2);
        assert!(Arc::ptr_eq(&first, &wanted(2, 4, 2)));
        let others = [wanted(3, 4, 2), wanted(2, 4, 1), wanted(2, 3, 2)];
        let of =
            |wanted: &[Wanted]| wanted.iter().map(|one| (one.ingress.0, one.pool.ports().to_vec())).collect::<Vec<_>>();
        let places =
            |nics: &[u16], port| nics.iter().flat_map(|&nic| vec![(nic, vec![PortId(port)]); 2]).collect::<Vec<_>>();
        assert_eq!(others.each_ref().map(|one| of(one)), [places(&[0, 1], 3), places(&[0], 2), places(&[0, 1], 2)]);
    }

    #[test]
    fn a_pool_is_the_same_until_its_ports_or_its_name_change() {
        let mut pools = Pools::default();
        let pool = |pools: &Pools| Arc::clone(&pools.known[&PoolId(3)].pool);
        pools.update(&[view("vm5", &[PortId(2)])], 1);
        let first = pool(&pools);
        pools.update(&[view("vm5", &[PortId(2)])], 1);
        assert!(Arc::ptr_eq(&first, &pool(&pools)));
        pools.update(&[view("vm5", &[PortId(3)])], 1);
        assert!(!Arc::ptr_eq(&first, &pool(&pools)), "frames go elsewhere");
        pools.update(&[], 1);
        assert_eq!(pools.totals(PoolId(3)), SortTotals::default());
    }

    #[test]
    fn what_is_wanted_is_found_out_in_turns_and_once() {
        let mut pools = Pools::default();
        pools.update(&[view("vm5", &[PortId(2)])], 1);
        let (mut program, ports) = (Program::default(), Arc::new(ports(3)));
        program.tables.insert(parse_flow("actions=NORMAL", &()).unwrap(), 0, 1);
        let wanted = pools.wanted(0, &ports, is_nic);
        let mut bridge = BridgeView::new(1, program, Arc::new(Fdb::new(16)), ports, Arc::new(TableStats::new(1)));
        bridge.sorted = SortTable::carry(None, &bridge, &wanted);
        let snapshot = Snapshot { bridges: vec![None, Some(Arc::new(bridge))], ..Snapshot::default() };
        let mut openings = BTreeMap::new();
        let (next, more) = derive(&snapshot, &mut openings);
        let next = next.expect("something was not known");
        assert!(!more);
        let table = &next.bridge(1).unwrap().sorted;
        assert!(table.entries().all(|entry| matches!(entry.state(), SortState::Uniform(_))));
        assert_eq!(next.bridge(1).unwrap().version, 1, "workers keep what they cached");
        assert!(derive(&next, &mut openings).0.is_none());
    }

    #[test]
    fn many_rules_are_taken_in_over_many_turns_and_one_more_in_one() {
        let mut pools = Pools::default();
        pools.update(&[view("vm5", &[PortId(2)])], 1);
        let (mut program, ports) = (Program::default(), Arc::new(ports(3)));
        for address in (0..10_000).map(std::net::Ipv4Addr::from_bits) {
            program.tables.insert(parse_flow(&format!("tcp,nw_src={address} actions=drop"), &()).unwrap(), 0, 1);
        }
        program.tables.insert(parse_flow("priority=40000 actions=NORMAL", &()).unwrap(), 0, 1);
        let wanted = pools.wanted(0, &ports, is_nic);
        let mut bridge = |line: &str| {
            program.tables.insert(parse_flow(line, &()).unwrap(), 0, 1);
            let (fdb, stats) = (Arc::new(Fdb::new(16)), Arc::new(TableStats::new(1)));
            let mut bridge = BridgeView::new(1, program.clone(), fdb, Arc::clone(&ports), stats);
            bridge.sorted = SortTable::carry(None, &bridge, &wanted);
            Snapshot { bridges: vec![Some(Arc::new(bridge))], ..Snapshot::default() }
        };
        let mut openings = BTreeMap::new();
        let mut turns = |mut snapshot: Snapshot| {
            let mut turns = 0;
            loop {
                let (next, more) = derive(&snapshot, &mut openings);
                (snapshot, turns) = (next.unwrap_or(snapshot), turns + 1);
                if !more {
                    let table = &snapshot.bridge(0).unwrap().sorted;
                    return (
                        turns,
                        table.entries().filter(|entry| matches!(entry.state(), SortState::Uniform(_))).count(),
                    );
                }
            }
        };
        let (many, uniform) = turns(bridge("priority=1,udp actions=drop"));
        assert!(many > 5 && uniform > 0, "{many} turns, {uniform} entries");
        assert_eq!(turns(bridge("priority=2,udp actions=drop")), (1, uniform));
        assert_eq!(turns(bridge("priority=50000,udp actions=drop")), (1, 0));
    }
}
