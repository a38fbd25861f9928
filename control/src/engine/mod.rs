//! The running switch as control knows it: which bridges and ports there are, their numbers, their flow tables; and the
//! one door ([`apply`]) through which it changes.
//!
//! Everything here runs on the control thread. Trust: commands were parsed but may ask for nonsense: every refusal is an
//! error text, and nothing is half applied. Neighbours: [`Dataplane`] is what it drives, `rpc` and `daemon` call it.

mod apply;
mod edit;
mod flow_mod;
mod flows;
mod group_mod;
mod listings;
mod meter_mod;
mod notice;
mod packets;
mod pools;
mod ports;
mod query;
mod served;
mod shaping;
mod state;
mod statistics;
#[cfg(test)]
mod tests;
mod texts;
mod trace;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::Receiver;
use ringswitch_dataplane::flow::{FlowKey, Mac};
use ringswitch_dataplane::packet::PortTotals;
use ringswitch_dataplane::pipeline::{PacketOut, Program, SortState, SortTotals, TableTotals, Trace, Upcall};
use ringswitch_dataplane::port::xdp::{PoolSorting, SortPool};
use ringswitch_dataplane::port::{PortEvent, PortId};
use ringswitch_dataplane::sched::{EgressSpec, Pool, PoolId, QueueCounts};
use tracing::{info, warn};

use crate::command::{Command, check_references, edit, resolve};
use crate::config;
use crate::merge::merge;
use crate::model::{Port, Rates, Settings, Switch, Vlan};
use crate::openflow::stats::Port as PortDesc;
use crate::report::{FdbStats, QueueReport, RebalanceReport, WorkerReport};

pub(crate) use flow_mod::output_to;
pub use notice::{Event, FlowChange, Notice, Origin};
pub use served::Served;
pub use statistics::{flow_entry, group_features, meter_features};
pub use texts::Source;

use apply::OnFailure;
use pools::Addresses;
use state::State;

/// What workers are to see next.
pub struct View<'a> {
    /// By bridge index; indices are dense and reused.
    pub bridges: Vec<Option<BridgeView<'a>>>,
    /// Those that have addresses.
    pub pools: Vec<PoolView<'a>>,
}

/// A bridge of a [`View`].
pub struct BridgeView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its flows, groups and meters.
    pub program: &'a Program,
    /// Its open ports.
    pub ports: Vec<PortView<'a>>,
}

/// A port of a [`View`].
pub struct PortView<'a> {
    /// Its place.
    pub id: PortId,
    /// Its name.
    pub name: &'a str,
    /// OpenFlow number.
    pub number: u32,
    /// The VLANs it carries.
    pub vlan: Vlan,
    /// How much it may send.
    pub rates: Rates,
    /// The pool it is in.
    pub pool: &'a Arc<Pool>,
    /// How those who send to it share it.
    pub qos: Option<EgressSpec>,
    /// What controllers said about it, bits of [`crate::openflow::stats::Port`].
    pub config: u32,
}

/// A pool of a [`View`]: the ports of one VM and what frames for it look like.
pub struct PoolView<'a> {
    /// Its number.
    pub id: PoolId,
    /// Its name.
    pub name: &'a str,
    /// Its ports.
    pub ports: &'a [PortId],
    /// Destination and id of the VLAN tag on the wire (0 for none) of frames that are probably for one of them.
    pub filters: &'a [(Mac, u16)],
}

/// A learned or static address, as the dataplane has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    /// The VLAN; 0 for none.
    pub vlan: u16,
    /// The address.
    pub mac: Mac,
    /// Behind which port.
    pub port: PortId,
    /// Seconds since it was seen; none when it is static.
    pub age: Option<u64>,
}

/// Which addresses to forget. Static ones stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdbFilter {
    /// Only those behind this port.
    pub port: Option<PortId>,
    /// Only those of this VLAN.
    pub vlan: Option<u16>,
}

/// How much a bridge learns, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learning {
    /// Most addresses.
    pub capacity: usize,
    /// Seconds until a silent one is forgotten.
    pub aging: u32,
}

/// A receive queue that the operator wants on a CPU. The queue need not be there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// Whose queue.
    pub port: PortId,
    /// Which of the port's queues.
    pub queue: u16,
    /// Where it is to be polled; there is a worker.
    pub cpu: usize,
}

/// What control drives: devices, learning tables and workers. `dataplane.rs` implements it with the real ones.
pub trait Dataplane {
    /// What would keep the port from being opened, as far as that can be told without opening it.
    ///
    /// # Errors
    /// Why it cannot.
    fn check_port(&self, name: &str, port: &Port) -> Result<(), String>;
    /// Opens the port's device or socket and gives its queues to workers. Its counters start at zero when the id is new,
    /// and go on when it was closed only.
    ///
    /// # Errors
    /// Why not, with the path or device in it.
    fn open_port(&mut self, id: PortId, name: &str, port: &Port) -> Result<(), String>;
    /// Closes it: rings go back to the peer, programs and sockets are removed.
    fn close_port(&mut self, id: PortId);
    /// Forgets the counters of a closed port.
    fn forget_port(&mut self, id: PortId);
    /// What the port tells about itself, by name.
    fn port_status(&self, id: PortId) -> BTreeMap<String, String>;
    /// Its counters.
    fn port_totals(&self, id: PortId) -> PortTotals;
    /// What went through the port's queues, by their numbers; nothing while it has none.
    fn queue_counts(&self, id: PortId) -> Vec<QueueCounts>;
    /// Its Ethernet address, when it has one of its own.
    fn port_mac(&self, id: PortId, name: &str, port: &Port) -> Option<Mac>;

    /// Frames that come in at this AF_XDP port are to be sorted for these pools, instead of those it had. Costs little for
    /// what is unchanged. A pool for which it cannot be done is served unsorted. `port` says which sorters may be used.
    fn sort(&mut self, uplink: PortId, port: &Port, pools: &[SortPool]);
    /// How it is done; nothing while the port is closed.
    fn sorting(&self, uplink: PortId) -> Vec<PoolSorting>;
    /// Cycles that workers spent on what came in, by port.
    fn cycles(&self) -> BTreeMap<PortId, u64>;

    /// A learning table for this bridge.
    fn add_bridge(&mut self, bridge: usize, learning: Learning);
    /// Other limits; what was learned stays as far as it fits.
    fn set_bridge(&mut self, bridge: usize, learning: Learning);
    /// The bridge is gone.
    fn remove_bridge(&mut self, bridge: usize);
    /// Everything in the bridge's learning table.
    fn fdb(&self, bridge: usize) -> Vec<FdbEntry>;
    /// The part of it in so many places from `from` on, and the place after them; none when that is the end.
    fn fdb_part(&self, bridge: usize, from: usize, places: usize) -> (Vec<FdbEntry>, Option<usize>);
    /// Forgets learned addresses; returns how many.
    fn fdb_flush(&mut self, bridge: usize, filter: FdbFilter) -> usize;
    /// Adds a static address.
    ///
    /// # Errors
    /// When the table is full of static ones.
    fn fdb_add(&mut self, bridge: usize, vlan: u16, mac: Mac, port: PortId) -> Result<(), String>;
    /// Removes an address, static or not; false when it is not there.
    fn fdb_remove(&mut self, bridge: usize, vlan: u16, mac: Mac) -> bool;
    /// The table's counts.
    fn fdb_stats(&self, bridge: usize) -> FdbStats;

    /// Publishes a snapshot to all workers and returns its epoch; does not wait for them.
    fn publish(&mut self, view: View<'_>) -> u64;
    /// The lowest epoch that every worker uses.
    fn acknowledged(&self) -> u64;
    /// True when no worker will touch another packet with anything older than this epoch.
    fn is_in_effect(&self, epoch: u64) -> bool;
    /// Now and then: silent addresses go, and whatever no worker uses any more is freed.
    fn tend(&mut self);
    /// Finds out what can be sorted after changes, for a millisecond or so. True when that was not all.
    fn derive(&mut self) -> bool;

    /// What packets asked control to do since the last call; the events' wake-up tells when to look.
    fn take_upcalls(&mut self) -> Vec<Upcall>;
    /// Sends a packet through a bridge.
    fn packet_out(&mut self, bridge: usize, packet: PacketOut);
    /// What would become of a packet of the bridge: with this key, or with what is read from the frame instead. `None` when
    /// there is no such bridge.
    fn trace(&self, bridge: usize, key: &FlowKey, frame: Option<&[u8]>) -> Option<Trace>;
    /// What a table of the bridge was asked, and how often it knew.
    fn table_totals(&self, bridge: usize, table: u8) -> TableTotals;
    /// Frames that came in for the pool where its frames are sorted.
    fn pool_totals(&self, pool: PoolId) -> SortTotals;
    /// Whose frames they are that come in at `ingress` with this destination in this VLAN (0: without a tag), and whether they are
    /// sorted; `None` when they are no pool's, or come in where nothing is sorted.
    fn sorted(&self, bridge: usize, ingress: PortId, mac: Mac, vlan: u16) -> Option<(PoolId, SortState)>;

    /// Workers there are: lanes of every counter.
    fn lanes(&self) -> usize;
    /// Makes workers behave as `[workers]` says (but for their CPUs, which stay), and moves queues to where they are wanted.
    fn place(&mut self, workers: &Settings, affinity: &[Affinity]);
    /// Evens out the load of the workers, or only tells how it would.
    fn rebalance(&mut self, dry_run: bool) -> RebalanceReport;
    /// What the workers did, and through which queues.
    fn workers(&self) -> Vec<WorkerReport>;
    /// Their counters start at zero.
    fn clear_worker_stats(&mut self);
}

/// The switch. See the file's head.
pub struct Engine<D> {
    dataplane: D,
    /// What is running, as it was asked for.
    model: Switch,
    /// The file, and what it said when it was loaded last.
    file: Option<(PathBuf, Switch)>,
    state: State,
    addresses: Addresses,
    epoch: u64,
    /// Ids of ports that went, usable again when every worker uses this epoch.
    retiring: Vec<(u64, PortId)>,
    events: Receiver<(PortId, PortEvent)>,
    /// What each port told last, and its name.
    links: BTreeMap<PortId, (Name, PortEvent)>,
    allowed_cpus: Vec<usize>,
    /// When ports that could not be opened are tried again.
    retry_ms: u64,
    /// Grows with every change of the configuration.
    generation: u64,
    /// There is something that takes long.
    busy: bool,
    /// Something changed since the last publication.
    unpublished: bool,
    notices: Vec<Notice>,
    /// Whose request is being carried out.
    origin: Option<Origin>,
    /// Bridges whose flows somebody monitors.
    watched: BTreeSet<usize>,
    /// What controllers know about ports, by bridge and number.
    told: BTreeMap<(usize, u32), PortDesc>,
}

impl<D: Dataplane> Engine<D> {
    /// An empty switch. `events` is what ports send to; `workers` is what the workers were started with.
    pub fn new(
        dataplane: D,
        started: &Switch,
        events: Receiver<(PortId, PortEvent)>,
        allowed_cpus: Vec<usize>,
    ) -> Self {
        let model = Switch { workers: started.workers.clone(), ..Switch::default() };
        Self {
            dataplane,
            model,
            file: None,
            state: State::default(),
            addresses: Addresses::default(),
            epoch: 0,
            retiring: Vec::new(),
            events,
            links: BTreeMap::new(),
            allowed_cpus,
            retry_ms: 0,
            generation: 0,
            busy: false,
            unpublished: false,
            notices: Vec::new(),
            origin: None,
            watched: BTreeSet::new(),
            told: BTreeMap::new(),
        }
    }

    /// Makes the loaded file true. A port that cannot be opened, because of what it finds on the host, is in error and tried
    /// again: after a reboot, one guest's stray socket must not keep the other guests from their network.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn start(&mut self, file: Option<PathBuf>, switch: Switch) -> Result<(), String> {
        self.apply(switch.clone(), OnFailure::Retry)?;
        self.file = file.map(|file| (file, switch));
        Ok(())
    }

    /// Runs commands as one transaction.
    ///
    /// # Errors
    /// The first command or change that failed; nothing is changed then.
    pub fn transact(&mut self, commands: &[Command]) -> Result<Vec<serde_json::Value>, String> {
        let mut wanted = self.model.clone();
        let commands = resolve(&wanted, commands)?;
        commands.iter().try_for_each(|command| edit(&mut wanted, command))?;
        check_references(&self.model, &wanted)?;
        self.apply(wanted, OnFailure::Refuse)?;
        if commands.iter().any(|command| matches!(command, Command::PoolList {})) {
            self.refresh_pools();
        }
        commands.iter().map(|command| self.answer(command)).collect()
    }

    /// Reads the file again (or another one), and carries over what changed in it.
    ///
    /// # Errors
    /// Everything wrong with the file, every contradiction, or the change that failed; nothing is changed then.
    pub fn reload(&mut self, other: Option<&Path>) -> Result<(), String> {
        let loaded = self.file.as_ref();
        let file = other
            .map(Path::to_owned)
            .or_else(|| loaded.map(|(file, _)| file.clone()))
            .ok_or("no configuration file was given, neither now nor at the start")?;
        let read = config::load(&file, &self.allowed_cpus).map_err(|errors| errors.to_string())?;
        let nothing = Switch { workers: self.model.workers.clone(), ..Switch::default() };
        let base = loaded.map_or(&nothing, |(_, base)| base);
        let wanted = merge(base, &read, &self.model).map_err(|conflicts| conflicts.join("\n"))?;
        self.apply(wanted, OnFailure::Refuse)?;
        info!(file = %file.display(), "loaded");
        self.file = Some((file, read));
        Ok(())
    }

    /// Takes in what ports told.
    pub fn drain_events(&mut self) {
        let mut changed = false;
        while let Ok((id, event)) = self.events.try_recv() {
            let Some((port, link)) = self.links.get_mut(&id) else { continue };
            if *link == event {
                continue;
            }
            match &event {
                PortEvent::Up(how) => info!(%port, "up: {how}"),
                PortEvent::Down(why) => info!(%port, "down: {why}"),
                PortEvent::Faulted(why) => warn!(%port, "faulted: {why}"),
            }
            *link = event;
            changed = true;
        }
        if changed {
            self.tell_ports();
        }
    }

    /// Now and then (every 250 ms or so): flows and addresses time out, ports that could not be opened are tried again, what
    /// is not used any more is freed.
    pub fn tend(&mut self, now_ms: u64) {
        self.expire_flows(now_ms);
        self.flush();
        self.retry(now_ms);
        self.dataplane.tend();
        self.go_on(now_ms);
        let acknowledged = self.dataplane.acknowledged();
        self.retiring.retain(|&(epoch, _)| epoch > acknowledged);
    }

    /// True while there is something that takes long and is done in turns.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Does a part of what takes long, for a millisecond or two: whatever else is to be done waits for no more than that.
    pub fn go_on(&mut self, now_ms: u64) {
        let reads = self.tend_pools(now_ms);
        self.busy = self.dataplane.derive() || reads;
    }

    /// Closes every port. The switch is empty after that.
    pub fn stop(&mut self) {
        for id in self.state.open_ports() {
            self.dataplane.close_port(id);
        }
        self.state = State::default();
        self.addresses = Addresses::default();
        self.model = Switch::default();
        self.generation += 1;
        self.publish();
    }

    /// What is running, as a configuration file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        config::to_toml(&self.model)
    }

    /// Workers' counts.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerReport> {
        self.dataplane.workers()
    }

    /// Who polls what.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueReport> {
        let mut queues: Vec<_> = self.dataplane.workers().into_iter().flat_map(|worker| worker.queues).collect();
        queues.sort_by(|a, b| (&a.port, a.queue).cmp(&(&b.port, b.queue)));
        queues
    }

    /// Evens out the load of the workers, or only tells how.
    pub fn rebalance(&mut self, dry_run: bool) -> RebalanceReport {
        self.dataplane.rebalance(dry_run)
    }

    /// Workers' and queues' counts start at zero.
    pub fn clear_worker_stats(&mut self) {
        self.dataplane.clear_worker_stats();
    }

    fn publish(&mut self) {
        self.unpublished = false;
        self.epoch = self.dataplane.publish(View { bridges: self.state.view(), pools: self.addresses.view() });
    }
}

/// A port's name, shared with its threads.
pub(crate) type Name = Arc<str>;
