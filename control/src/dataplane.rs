//! The one real [`Dataplane`]: workers, devices and learning tables of the dataplane crate.
//!
//! Thin on purpose: it translates words (model to options, view to snapshot) and keeps what is open. Trust: settings were
//! checked. Neighbours: `engine` drives it.

mod options;
mod sorting;
mod workers;

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::Arc;

use ringswitch_dataplane::flow::{FlowKey, Mac};
use ringswitch_dataplane::packet::{PortCounters, PortTotals};
use ringswitch_dataplane::pipeline::{
    self, BridgePorts, BridgeView as Bridge, Fdb, Openings, PacketOut, PortEntry, PortFlags, Program, Snapshot,
    SortState, SortTable, SortTotals, TableStats, TableTotals, Trace, Upcall, Wanted, trace,
};
use ringswitch_dataplane::port::tap::TapPort;
use ringswitch_dataplane::port::vhost::VhostPort;
use ringswitch_dataplane::port::xdp::{PoolSorting, SortPool, XdpPort};
use ringswitch_dataplane::port::{PortContext, PortEvents, PortId, QueueHost, TxQueues};
use ringswitch_dataplane::sched::{Egress, EgressSpec, Limits, PoolId, QueueCounts};
use ringswitch_dataplane::sys::clock::coarse_ms;
use ringswitch_dataplane::sys::netdev;
use ringswitch_dataplane::worker::Workers;

use crate::engine::{Affinity, Dataplane, FdbEntry, FdbFilter, Learning, PortView, View};
use crate::model::{Port, PortType, Settings};
use crate::openflow::stats;
use crate::report::{FdbStats, RebalanceReport, WorkerReport};
use workers::Balance;

/// See the file's head.
pub struct Switch {
    workers: Arc<Workers>,
    events: PortEvents,
    ports: BTreeMap<PortId, Opened>,
    bridges: BTreeMap<usize, Kept>,
    pools: sorting::Pools,
    /// What is known about bridges' rules, to find out what can be sorted.
    openings: BTreeMap<usize, Openings>,
    version: u64,
    balance: Balance,
}

struct Opened {
    name: Arc<str>,
    tx: Arc<TxQueues>,
    counters: Arc<[PortCounters]>,
    /// How those who send to it share it; kept while nothing about that changes.
    egress: Option<Arc<Egress>>,
    /// None while it is closed.
    device: Option<Device>,
}

enum Device {
    Vhost(VhostPort),
    Xdp(XdpPort),
    Tap(TapPort),
}

struct Kept {
    fdb: Arc<Fdb>,
    stats: Arc<TableStats>,
    aging: u32,
}

impl Switch {
    /// Starts the workers that `[workers]` asks for; without CPUs there, one on the last CPU allowed.
    ///
    /// # Errors
    /// When a worker cannot be started or bound to its CPU.
    pub fn start(settings: &Settings, allowed_cpus: &[usize], events: PortEvents) -> io::Result<Self> {
        let workers = Workers::start(options::workers(settings, allowed_cpus))?;
        workers.wake_through(&events.waker());
        let mut balance = Balance::default();
        balance.place(&workers, settings, &[], |_| String::new());
        let (ports, bridges, pools) = (BTreeMap::new(), BTreeMap::new(), sorting::Pools::default());
        let openings = BTreeMap::new();
        Ok(Self { workers, events, ports, bridges, pools, openings, version: 0, balance })
    }

    fn xdp(&self, port: PortId) -> Option<&XdpPort> {
        match self.ports.get(&port)?.device.as_ref()? {
            Device::Xdp(device) => Some(device),
            _ => None,
        }
    }

    fn fdb_of(&self, bridge: usize) -> Option<&Fdb> {
        self.bridges.get(&bridge).map(|bridge| &*bridge.fdb)
    }
}

impl Opened {
    /// Has the port shared by this specification: through the object there is, or one that takes its counters over.
    fn share(&mut self, wanted: Option<&EgressSpec>) {
        if self.egress.as_ref().map(|egress| egress.spec()) != wanted {
            let before = self.egress.take();
            self.egress = wanted.cloned().map(|spec| match before {
                Some(before) => Arc::new(Egress::after(spec, &before)),
                None => Arc::new(Egress::new(spec)),
            });
        }
    }
}

impl Switch {
    /// The port as workers see it: the object they have, when nothing about it changed.
    fn entry(&self, bridge: usize, port: &PortView<'_>, old: &Snapshot) -> Option<Arc<PortEntry>> {
        let Opened { tx, counters, egress, .. } = self.ports.get(&port.id)?;
        let (tx, counters, egress) = (Arc::clone(tx), Arc::clone(counters), egress.clone());
        let (id, number, vlan, flags) = (port.id, port.number, options::vlan(&port.vlan), port_flags(port.config));
        // Rates that stay keep their level, whatever else changes about the port.
        let known = old.port(port.id);
        let limits = options::limits(&port.rates).map(|rates| {
            let same = known.and_then(|old| old.limits.as_ref()).filter(|limits| *limits.rates() == rates);
            same.map_or_else(|| Arc::new(Limits::new(rates)), Arc::clone)
        });
        let pool = Arc::clone(port.pool);
        let new = PortEntry { id, number, bridge, tx, counters, vlan, limits, pool, egress, flags };
        let same = known.filter(|old| old.is_same(&new)).cloned();
        Some(same.unwrap_or_else(|| Arc::new(new)))
    }
}

/// The bridge as workers see it. Where nothing changed it keeps its version, and so workers keep what they cached. What was
/// sorted and is still `wanted` goes on as far as it certainly holds.
fn bridge_view(
    version: u64,
    program: &Program,
    kept: &Kept,
    ports: BridgePorts,
    old: Option<&Arc<Bridge>>,
    wanted: &Arc<[Wanted]>,
) -> Arc<Bridge> {
    let is_same =
        |old: &&Arc<Bridge>| old.program.is_same(program) && Arc::ptr_eq(&old.fdb, &kept.fdb) && *old.ports == ports;
    if let Some(old) = old.filter(is_same) {
        let sorted = SortTable::carry(Some(old), old, wanted);
        let is_same = Arc::ptr_eq(&sorted, &old.sorted) && old.program.dead_ports == program.dead_ports;
        let new = || Arc::new(Bridge { program: program.clone(), sorted, ..Bridge::clone(old) });
        return if is_same { Arc::clone(old) } else { new() };
    }
    let (fdb, stats) = (Arc::clone(&kept.fdb), Arc::clone(&kept.stats));
    let mut new = Bridge::new(version, program.clone(), fdb, Arc::new(ports), stats);
    new.sorted = SortTable::carry(old.map(|old| &**old), &new, wanted);
    Arc::new(new)
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.ports.clear();
        self.workers.stop();
    }
}

impl Dataplane for Switch {
    fn check_port(&self, name: &str, port: &Port) -> Result<(), String> {
        match port.port_type() {
            Some(PortType::VhostUser) => options::vhost(&port.settings).map(drop),
            Some(PortType::AfXdp) => options::xdp(name, &port.settings).map(drop),
            _ => Ok(()),
        }
    }

    fn open_port(&mut self, id: PortId, name: &str, port: &Port) -> Result<(), String> {
        let known = self.ports.remove(&id);
        let lanes = self.workers.count();
        let egress = known.as_ref().and_then(|port| port.egress.clone());
        let counters =
            known.map_or_else(|| (0..lanes).map(|_| PortCounters::default()).collect(), |port| port.counters);
        let tx = Arc::new(TxQueues::new(options::tx_queues(port)));
        let name: Arc<str> = name.into();
        let host: Arc<dyn QueueHost> = Arc::clone(&self.workers) as _;
        let context =
            PortContext { id, name: Arc::clone(&name), host, tx: Arc::clone(&tx), events: self.events.clone() };
        let opened = open(&name, port, context);
        let (device, outcome) = match opened {
            Ok(device) => (Some(device), Ok(())),
            Err(why) => (None, Err(why)),
        };
        self.ports.insert(id, Opened { name, tx, counters, egress, device });
        outcome
    }

    fn close_port(&mut self, id: PortId) {
        if let Some(port) = self.ports.get_mut(&id) {
            port.device = None;
        }
    }

    fn forget_port(&mut self, id: PortId) {
        self.ports.remove(&id);
        for bridge in self.bridges.values() {
            bridge.fdb.flush(|entry| entry.port == id);
        }
    }

    fn port_status(&self, id: PortId) -> BTreeMap<String, String> {
        match self.ports.get(&id).and_then(|port| port.device.as_ref()) {
            Some(Device::Vhost(port)) => options::vhost_status(&port.status()),
            Some(Device::Xdp(port)) => options::xdp_status(&port.status()),
            Some(Device::Tap(port)) => options::tap_status(&port.status()),
            None => BTreeMap::new(),
        }
    }

    fn port_totals(&self, id: PortId) -> PortTotals {
        let mut totals = PortTotals::default();
        for lane in self.ports.get(&id).iter().flat_map(|port| port.counters.iter()) {
            lane.add_to(&mut totals);
        }
        totals
    }

    fn queue_counts(&self, id: PortId) -> Vec<QueueCounts> {
        self.ports.get(&id).and_then(|port| port.egress.as_ref()).map(|egress| egress.counts()).unwrap_or_default()
    }

    fn port_mac(&self, id: PortId, name: &str, port: &Port) -> Option<Mac> {
        self.ports.get(&id)?.device.as_ref()?;
        match port.port_type()? {
            PortType::VhostUser => None,
            PortType::AfXdp | PortType::Tap | PortType::Internal => {
                netdev::mac(port.settings.text("netdev").unwrap_or(name)).ok()
            }
        }
    }

    fn sort(&mut self, uplink: PortId, port: &Port, pools: &[SortPool]) {
        if let Some(device) = self.xdp(uplink) {
            device.choose(options::sorter(&port.settings));
            device.sort(pools);
        }
    }

    fn sorting(&self, uplink: PortId) -> Vec<PoolSorting> {
        self.xdp(uplink).map(|device| device.status().pools).unwrap_or_default()
    }

    fn cycles(&self) -> BTreeMap<PortId, u64> {
        let mut cycles = BTreeMap::new();
        for queue in self.workers.queues() {
            *cycles.entry(queue.port).or_default() += queue.totals.cycles;
        }
        cycles
    }

    fn add_bridge(&mut self, bridge: usize, learning: Learning) {
        let (fdb, stats) = (Arc::new(Fdb::new(learning.capacity)), Arc::new(TableStats::new(self.workers.count())));
        self.bridges.insert(bridge, Kept { fdb, stats, aging: learning.aging });
    }

    fn set_bridge(&mut self, bridge: usize, learning: Learning) {
        let Some(learned) = self.bridges.get_mut(&bridge) else { return };
        learned.aging = learning.aging;
        if learned.fdb.stats().limit != learning.capacity as u64 {
            learned.fdb = Arc::new(learned.fdb.resized(learning.capacity));
        }
    }

    fn remove_bridge(&mut self, bridge: usize) {
        self.bridges.remove(&bridge);
    }

    fn fdb(&self, bridge: usize) -> Vec<FdbEntry> {
        let entries = self.fdb_of(bridge).map(|fdb| fdb.entries(now_s())).unwrap_or_default();
        entries.iter().map(fdb_entry).collect()
    }

    fn fdb_part(&self, bridge: usize, from: usize, places: usize) -> (Vec<FdbEntry>, Option<usize>) {
        let Some(fdb) = self.fdb_of(bridge) else { return (Vec::new(), None) };
        let (entries, next) = fdb.part(from, places, now_s());
        (entries.iter().map(fdb_entry).collect(), next)
    }

    fn fdb_flush(&mut self, bridge: usize, filter: FdbFilter) -> usize {
        let meant = |entry: &pipeline::FdbEntry| {
            entry.age_s.is_some()
                && filter.port.is_none_or(|port| entry.port == port)
                && filter.vlan.is_none_or(|vlan| entry.vlan == vlan)
        };
        self.fdb_of(bridge).map_or(0, |fdb| fdb.flush(meant))
    }

    fn fdb_add(&mut self, bridge: usize, vlan: u16, mac: Mac, port: PortId) -> Result<(), String> {
        let added = self.fdb_of(bridge).is_some_and(|fdb| fdb.add_static(mac, vlan, port));
        if added { Ok(()) } else { Err("the table has no room for another static address".to_owned()) }
    }

    fn fdb_remove(&mut self, bridge: usize, vlan: u16, mac: Mac) -> bool {
        let gone = |fdb: &Fdb| fdb.flush(|entry| entry.mac == mac && entry.vlan == vlan);
        self.fdb_of(bridge).map_or(0, gone) > 0
    }

    fn fdb_stats(&self, bridge: usize) -> FdbStats {
        let Some(fdb) = self.fdb_of(bridge) else { return FdbStats::default() };
        let stats = fdb.stats();
        let fixed = fdb.entries(now_s()).iter().filter(|entry| entry.age_s.is_none()).count();
        FdbStats {
            entries: stats.current,
            capacity: stats.limit,
            static_entries: fixed as u64,
            learned: stats.learned,
            expired: stats.expired,
            evicted: stats.evicted,
            moved: stats.moved,
        }
    }

    fn publish(&mut self, view: View<'_>) -> u64 {
        let old = self.workers.current();
        let mut pools = std::mem::take(&mut self.pools);
        pools.update(&view.pools, self.workers.count());
        for port in view.bridges.iter().flatten().flat_map(|bridge| &bridge.ports) {
            if let Some(opened) = self.ports.get_mut(&port.id) {
                opened.share(port.qos.as_ref());
            }
        }
        let is_xdp = |id| self.xdp(id).is_some();
        let mut snapshot = Snapshot::default();
        let mut version = self.version;
        for (index, bridge) in view.bridges.iter().enumerate() {
            let view = bridge.as_ref().zip(self.bridges.get(&index)).map(|(bridge, kept)| {
                let entries: Vec<_> = bridge.ports.iter().filter_map(|port| self.entry(index, port, &old)).collect();
                let ports = BridgePorts::new(entries.iter().map(|entry| &**entry));
                for entry in entries {
                    let place = usize::from(entry.id.0);
                    snapshot.ports.resize(snapshot.ports.len().max(place + 1), None);
                    snapshot.ports[place] = Some(entry);
                }
                version += 1;
                let wanted = pools.wanted(index, &ports, is_xdp);
                bridge_view(version, bridge.program, kept, ports, old.bridge(index), &wanted)
            });
            snapshot.bridges.push(view);
        }
        (self.version, self.pools) = (version, pools);
        self.workers.publish(snapshot)
    }

    fn acknowledged(&self) -> u64 {
        self.workers.acknowledged()
    }

    fn is_in_effect(&self, epoch: u64) -> bool {
        self.workers.is_in_effect(epoch)
    }

    fn tend(&mut self) {
        for bridge in self.bridges.values() {
            bridge.fdb.age(now_s(), bridge.aging);
        }
        self.workers.collect();
        self.balance.tend(&self.workers, workers::names(&self.ports));
    }

    fn derive(&mut self) -> bool {
        let (snapshot, more) = sorting::derive(&self.workers.current(), &mut self.openings);
        if let Some(snapshot) = snapshot {
            self.workers.publish(snapshot);
        }
        more
    }

    fn take_upcalls(&mut self) -> Vec<Upcall> {
        self.workers.take_upcalls()
    }

    fn packet_out(&mut self, bridge: usize, packet: PacketOut) {
        self.workers.inject(bridge, packet);
    }

    fn trace(&self, bridge: usize, key: &FlowKey, frame: Option<&[u8]>) -> Option<Trace> {
        self.workers.current().bridge(bridge).map(|view| trace(view, key, frame))
    }

    fn table_totals(&self, bridge: usize, table: u8) -> TableTotals {
        self.bridges.get(&bridge).map(|kept| kept.stats.totals(table)).unwrap_or_default()
    }

    fn pool_totals(&self, pool: PoolId) -> SortTotals {
        self.pools.totals(pool)
    }

    fn sorted(&self, bridge: usize, ingress: PortId, mac: Mac, vlan: u16) -> Option<(PoolId, SortState)> {
        let snapshot = self.workers.current();
        let entry = snapshot.bridge(bridge)?.sorted.find(ingress, mac, vlan)?;
        Some((entry.pool().id(), entry.state().clone()))
    }

    fn lanes(&self) -> usize {
        self.workers.count()
    }

    fn place(&mut self, settings: &Settings, affinity: &[Affinity]) {
        self.balance.place(&self.workers, settings, affinity, workers::names(&self.ports));
    }

    fn rebalance(&mut self, dry_run: bool) -> RebalanceReport {
        workers::rebalance(&self.workers, dry_run, workers::names(&self.ports))
    }

    fn workers(&self) -> Vec<WorkerReport> {
        workers::report(&self.workers, workers::names(&self.ports))
    }

    fn clear_worker_stats(&mut self) {
        self.workers.clear_stats();
    }
}

fn fdb_entry(entry: &pipeline::FdbEntry) -> FdbEntry {
    FdbEntry { vlan: entry.vlan, mac: entry.mac, port: entry.port, age: entry.age_s.map(u64::from) }
}

fn open(name: &str, port: &Port, context: PortContext) -> Result<Device, String> {
    match port.port_type() {
        Some(PortType::VhostUser) => {
            let options = options::vhost(&port.settings)?;
            VhostPort::open(options, context).map(Device::Vhost).map_err(|error| chain(&error))
        }
        Some(PortType::AfXdp) => {
            let options = options::xdp(name, &port.settings)?;
            XdpPort::open(options, context).map(Device::Xdp).map_err(|error| chain_of_netdev(&error))
        }
        Some(PortType::Tap | PortType::Internal) => {
            let options = options::tap(name, &port.settings);
            TapPort::open(options, context).map(Device::Tap).map_err(|error| chain_of_netdev(&error))
        }
        None => Err("it has no type".to_owned()),
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The same for a netdev's port, which takes rights that a daemon may lack.
fn chain_of_netdev(error: &dyn Error) -> String {
    let text = chain(error);
    let system = ["Operation not permitted", "Permission denied"];
    if system.iter().any(|refusal| text.contains(refusal)) {
        format!("{text}; it needs root, or CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF")
    } else {
        text
    }
}

/// What controllers said about a port. One that they took down neither receives nor sends.
fn port_flags(config: u32) -> PortFlags {
    let has = |bits: u32| config & bits != 0;
    PortFlags {
        no_recv: has(stats::Port::NO_RECV | stats::Port::PORT_DOWN),
        no_fwd: has(stats::Port::NO_FWD | stats::Port::PORT_DOWN),
        no_flood: has(stats::Port::NO_FLOOD),
        no_packet_in: has(stats::Port::NO_PACKET_IN),
    }
}

fn now_s() -> u32 {
    (coarse_ms() / 1000) as u32
}

#[cfg(test)]
mod tests {
    use ringswitch_dataplane::flow::GroupEntry;
    use ringswitch_dataplane::flow::grammar::{parse_flow, parse_group};
    use ringswitch_dataplane::port::PortEvents;
    use ringswitch_dataplane::sys::affinity::allowed_cpus;
    use ringswitch_dataplane::sys::event::EventFd;

    use ringswitch_dataplane::sched::QueueSpec;

    use super::*;
    use crate::engine::BridgeView;
    use crate::model::{Rates, Record, Vlan, port_column};

    fn switch() -> Switch {
        let (sender, _) = crossbeam_channel::unbounded();
        let events = PortEvents::new(sender, Arc::new(EventFd::new().unwrap()));
        Switch::start(&Settings::default(), &allowed_cpus(), events).unwrap()
    }

    fn publish(switch: &mut Switch, programs: &[Program]) -> Vec<u64> {
        let bridges =
            programs.iter().map(|program| Some(BridgeView { name: "br", program, ports: Vec::new() })).collect();
        switch.publish(View { bridges, pools: Vec::new() });
        let snapshot = switch.workers.current();
        (0..programs.len()).map(|index| snapshot.bridge(index).unwrap().version).collect()
    }

    #[test]
    fn a_flow_of_one_bridge_leaves_the_caches_of_another_alone() {
        let mut switch = switch();
        let mut programs = [Program::default(), Program::default()];
        for (bridge, program) in programs.iter_mut().enumerate() {
            switch.add_bridge(bridge, Learning { capacity: 16, aging: 300 });
            program.tables.insert(parse_flow("actions=NORMAL", &()).unwrap(), 0, 1);
        }
        let before = publish(&mut switch, &programs);
        assert_eq!(publish(&mut switch, &programs), before, "nothing changed");
        programs[1].tables.insert(parse_flow("tcp actions=drop", &()).unwrap(), 0, 1);
        let after = publish(&mut switch, &programs);
        assert_eq!(after[0], before[0]);
        assert!(after[1] > before[1]);
    }

    #[test]
    fn a_link_that_goes_down_leaves_the_caches_alone_unless_somebody_looks_at_it() {
        let mut switch = switch();
        let group = |text: &str| {
            let group = parse_group(&format!("group_id=1,{text}"), &()).unwrap();
            Program {
                groups: [(1u32, Arc::new(GroupEntry::new(group, 0, 1)))].into_iter().collect(),
                ..Program::default()
            }
        };
        let rule = |text: &str| {
            let mut program = Program::default();
            program.tables.insert(parse_flow(text, &()).unwrap(), 0, 1);
            program
        };
        let bundle = "bundle(symmetric_l4,0,hrw,ofport,members:1,2)";
        let mut programs = [
            rule("actions=NORMAL"),
            group("type=select,bucket=output:1,bucket=output:2"),
            group("type=ff,bucket=watch_port:1,output:1"),
            rule(&format!("actions={bundle}")),
            rule(&format!("actions=clone({bundle})")),
        ];
        (0..programs.len()).for_each(|bridge| switch.add_bridge(bridge, Learning { capacity: 16, aging: 300 }));
        let before = publish(&mut switch, &programs);
        programs.iter_mut().for_each(|program| program.dead_ports = Arc::new(vec![7]));
        let after = publish(&mut switch, &programs);
        let is_other: Vec<_> = before.iter().zip(&after).map(|(before, after)| before != after).collect();
        assert_eq!(is_other, [false, false, true, true, true]);
        // What a packet that control sends is to do may look at it all the same.
        let snapshot = switch.workers.current();
        assert_eq!(*snapshot.bridge(0).unwrap().program.dead_ports, [7]);
        // Nobody looks any more.
        programs[3].tables = rule("actions=NORMAL").tables;
        let before = publish(&mut switch, &programs);
        programs[3].dead_ports = Arc::default();
        assert_eq!(publish(&mut switch, &programs)[3], before[3]);
    }

    #[test]
    fn who_shares_a_port_goes_on_sharing_it_until_the_rules_are_other_ones() {
        let dir = tempfile::TempDir::new().unwrap();
        let mut switch = switch();
        let mut port = Port::default();
        for column in ["type=vhost-user".to_owned(), format!("path={}/vm1", dir.path().display())] {
            port_column(&mut port, Record::Any, &column).unwrap();
        }
        let (id, pool, program) = (PortId(0), Arc::default(), Program::default());
        switch.open_port(id, "vm1", &port).unwrap();
        switch.add_bridge(0, Learning { capacity: 16, aging: 300 });
        let mut egress = |tag: u16, qos: Option<EgressSpec>| {
            let (name, rates, vlan, config) = ("vm1", Rates::default(), Vlan::Access(tag), 0);
            let port = PortView { id, name, number: 1, vlan, rates, pool: &pool, qos, config };
            let view = BridgeView { name: "br", program: &program, ports: vec![port] };
            switch.publish(View { bridges: vec![Some(view)], pools: Vec::new() });
            switch.workers.current().port(id).unwrap().egress.clone()
        };
        let queue = |id| QueueSpec { id, ..QueueSpec::default() };
        let of = |ids: &[u32]| Some(EgressSpec { max_bytes: None, queues: ids.iter().copied().map(queue).collect() });
        let first = egress(1, of(&[0])).unwrap();
        assert!(Arc::ptr_eq(&first, &egress(2, of(&[0])).unwrap()), "another VLAN is nothing to it");
        let second = egress(2, of(&[0, 1])).unwrap();
        assert_eq!(second.counts().len(), 2);
        assert_eq!(second.counts()[0], first.counts()[0], "queue 0 is the one that was there");
        assert!(egress(2, None).is_none());
    }
}
