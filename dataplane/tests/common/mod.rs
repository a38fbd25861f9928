//! A switch of one worker without threads, with ports in memory: frames in, frames out, counters. For what real ports
//! cannot show repeatably; `tests/` of the workspace drives real ones.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod model;
pub mod random;
pub mod twins;

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ringswitch_dataplane::flow::{Action, Flow, grammar};
use ringswitch_dataplane::mem::{GuestMemory, Lookup, Mapping, Region};
use ringswitch_dataplane::packet::{BATCH, DropReason, MAX_FRAME, PacketBatch, PortCounters, PortTotals, TxList};
use ringswitch_dataplane::pipeline::{
    BridgePorts, BridgeView, Fdb, Openings, PacketOut, PortEntry, PortFlags, Program, Snapshot, SortTable, TableStats,
    Upcall, VlanMode, Wanted,
};
use ringswitch_dataplane::port::{PortId, QueueHost, RxQueue, TxQueue, TxQueues};
use ringswitch_dataplane::sched::{Pool, PoolId, PoolSpec};
use ringswitch_dataplane::worker::{Worker, WorkerTotals, Workers};

type Wire = Arc<Mutex<VecDeque<Vec<u8>>>>;

/// What comes in at a port that has no device.
pub trait Fill: Send + 'static {
    /// Appends frames to the batch; returns how many.
    fn fill(&mut self, batch: &mut PacketBatch) -> usize;
}

/// Such a port's queue: polled, never waited for.
pub struct Feed<T>(pub T);

impl<T: Fill> RxQueue for Feed<T> {
    fn rx_batch(&mut self, batch: &mut PacketBatch) -> usize {
        self.0.fill(batch)
    }

    fn finish(&mut self) {}

    fn event_fd(&self) -> Option<RawFd> {
        None
    }

    fn arm(&mut self) -> bool {
        false
    }

    fn disarm(&mut self) {}

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Frames that a test offers, in memory as a guest's is: those that nobody looks at stay there.
struct MemoryRx {
    wire: Wire,
    memory: Lookup,
    /// How many stayed there.
    blind: Arc<AtomicUsize>,
}

impl MemoryRx {
    fn new(wire: Wire, blind: Arc<AtomicUsize>) -> Self {
        let mapping = Arc::new(Mapping::memfd(c"frames", (BATCH * MAX_FRAME) as u64).expect("memory"));
        let memory = GuestMemory::new(vec![Region::of_own(mapping, 0)]).expect("one region");
        Self { wire, memory: Lookup::new(Arc::new(memory)), blind }
    }
}

impl Fill for MemoryRx {
    fn fill(&mut self, batch: &mut PacketBatch) -> usize {
        let mut wire = self.wire.lock().expect("the test thread");
        let (before, is_blind) = (batch.len(), batch.is_blind());
        while batch.room() > 0 {
            let Some(frame) = wire.pop_front() else { break };
            let place = (batch.len() * MAX_FRAME) as u64;
            let span = self.memory.whole(place, frame.len() as u32).expect("in memory");
            span.write(&frame);
            if is_blind {
                batch.free_frames()[0] = span;
                batch.push_frames(1, span.len());
            } else {
                batch.next_slot().expect("there is room").reset(frame.len()).copy_from_slice(&frame);
                batch.push();
            }
        }
        let count = batch.len() - before;
        self.blind.fetch_add(if is_blind { count } else { 0 }, Ordering::Relaxed);
        count
    }
}

/// What leaves through a port: room for a number of frames.
struct MemoryTx {
    wire: Wire,
    room: usize,
}

impl TxQueue for MemoryTx {
    fn tx_batch(&mut self, packets: &PacketBatch, list: &mut TxList) -> usize {
        let mut wire = self.wire.lock().expect("the test thread");
        let mut sent = 0;
        while let Some(&id) = list.ids().first()
            && wire.len() < self.room
        {
            let frame = packets.frame(usize::from(id));
            let mut bytes = vec![0; frame.len()];
            frame.copy_to(&mut bytes).expect("as long as the frame");
            wire.push_back(bytes);
            list.take(1, frame.len());
            sent += 1;
        }
        sent
    }

    fn flush(&mut self) {}

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// One port of the test switch.
pub struct TestPort {
    pub entry: Arc<PortEntry>,
    input: Wire,
    output: Wire,
    blind: Arc<AtomicUsize>,
}

/// See the module.
pub struct TestSwitch {
    workers: Arc<Workers>,
    worker: Worker,
    ports: Vec<TestPort>,
    pub program: Program,
    pub stats: Arc<TableStats>,
    pub fdb: Arc<Fdb>,
    /// What is to be sorted; [`derive`](Self::derive) says when it is.
    pub wanted: Vec<Wanted>,
    /// Few rules are compared with one after the other.
    pub has_shortlist: bool,
    openings: Openings,
    version: u64,
}

impl TestSwitch {
    /// Ports 1, 2, ... with these VLAN modes, and one rule: `priority=0,actions=NORMAL`.
    pub fn with_vlans(modes: Vec<VlanMode>) -> Self {
        let (workers, mut ready) = Workers::prepare(vec![0], 4096).expect("event descriptors");
        let mut ports = Vec::new();
        for (id, vlan) in modes.into_iter().enumerate() {
            let (input, output) = (Wire::default(), Wire::default());
            let tx = Arc::new(TxQueues::new(1));
            tx.replace(0, Some(Box::new(MemoryTx { wire: Arc::clone(&output), room: 1000 })));
            let id = PortId(id as u16);
            let blind = Arc::default();
            workers.attach_rx(id, 0, Box::new(Feed(MemoryRx::new(Arc::clone(&input), Arc::clone(&blind)))));
            let entry = PortEntry::new(id, u32::from(id.0) + 1, 0, tx, Arc::new([PortCounters::default()]));
            let pool = Arc::new(Pool::new(PoolId(id.0), PoolSpec::default()));
            let entry = Arc::new(PortEntry { vlan, pool, ..entry });
            ports.push(TestPort { entry, input, output, blind });
        }
        let worker = ready.pop().expect("one worker");
        let (program, stats, fdb) = (Program::default(), Arc::new(TableStats::new(1)), Arc::new(Fdb::new(1024)));
        let (wanted, openings, has_shortlist, version) = (Vec::new(), Openings::default(), true, 0);
        let mut switch = Self { workers, worker, ports, program, stats, fdb, wanted, has_shortlist, openings, version };
        switch.add_flows("priority=0,actions=NORMAL");
        switch
    }

    /// This many ports that carry every VLAN.
    pub fn new(ports: usize) -> Self {
        Self::with_vlans(vec![VlanMode::default(); ports])
    }

    /// Adds flows, one per line, in ovs-ofctl's syntax.
    pub fn add_flows(&mut self, text: &str) {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let flow = grammar::parse_flow(line, &()).unwrap_or_else(|error| panic!("{line}: {error}"));
            self.program.tables.insert(flow, 0, 1);
        }
        self.publish();
    }

    /// Replaces all flows.
    pub fn set_flows(&mut self, text: &str) {
        self.program = Program::default();
        self.add_flows(text);
    }

    /// What packets asked control for since the last call.
    pub fn upcalls(&self) -> Vec<Upcall> {
        self.workers.take_upcalls()
    }

    /// Control sends a packet.
    pub fn packet_out(&mut self, packet: PacketOut) {
        self.workers.inject(0, packet);
        while self.worker.poll_once() > 0 {}
    }

    /// Makes the program as it is now the one in force.
    pub fn publish(&mut self) {
        self.version += 1;
        let entries: Vec<_> = self.ports.iter().map(|port| Some(Arc::clone(&port.entry))).collect();
        let ports = Arc::new(BridgePorts::new(entries.iter().flatten().map(|entry| &**entry)));
        let (program, fdb, stats) = (self.program.clone(), Arc::clone(&self.fdb), Arc::clone(&self.stats));
        let mut view = BridgeView::new(self.version, program, fdb, ports, stats);
        view.shortlist = view.shortlist.filter(|_| self.has_shortlist);
        let before = self.workers.current();
        view.sorted = SortTable::carry(before.bridge(0).map(|before| &**before), &view, &self.wanted.as_slice().into());
        self.workers.publish(Snapshot { ports: entries, bridges: vec![Some(Arc::new(view))], ..Snapshot::default() });
    }

    /// Control finds out about what is wanted, until it looked at so many rules; false when there was nothing to find out.
    pub fn derive(&mut self, mut budget: u32) -> bool {
        let mut snapshot = Snapshot::clone(&self.workers.current());
        let view = snapshot.bridges[0].as_mut().expect("the bridge");
        if !view.sorted.is_pending() {
            return false;
        }
        let Some(sorted) = view.sorted.derive(view, &mut self.openings, &mut budget) else { return true };
        *view = Arc::new(BridgeView { sorted: Arc::new(sorted), ..BridgeView::clone(view) });
        self.workers.publish(snapshot);
        true
    }

    /// What is sorted now.
    pub fn sorted(&self) -> Arc<SortTable> {
        Arc::clone(&self.workers.current().bridge(0).expect("the bridge").sorted)
    }

    /// How many frames port `number` can still take.
    pub fn limit_tx(&self, number: u32, room: usize) {
        let port = self.port(number);
        port.entry.tx.replace(0, Some(Box::new(MemoryTx { wire: Arc::clone(&port.output), room })));
    }

    /// Nobody is attached to port `number`.
    pub fn unplug(&self, number: u32) {
        self.port(number).entry.tx.replace(0, None);
    }

    /// Publishes a snapshot whose bridge still names port `number`, which is gone.
    pub fn lose(&mut self, number: u32) {
        let mut snapshot = Snapshot::clone(&self.workers.current());
        snapshot.ports[number as usize - 1] = None;
        self.workers.publish(snapshot);
    }

    /// Publishes a snapshot without its bridge.
    pub fn lose_bridge(&mut self) {
        let snapshot = Snapshot::clone(&self.workers.current());
        self.workers.publish(Snapshot { bridges: vec![None], ..snapshot });
    }

    /// Changes what controllers forbid port `number`.
    pub fn set_flags(&mut self, number: u32, change: impl FnOnce(&mut PortFlags)) {
        self.change(number, |entry| change(&mut entry.flags));
    }

    /// Publishes another entry of port `number`.
    pub fn change(&mut self, number: u32, change: impl FnOnce(&mut PortEntry)) {
        let port = &mut self.ports[number as usize - 1];
        let mut entry = PortEntry::clone(&port.entry);
        change(&mut entry);
        port.entry = Arc::new(entry);
        self.publish();
    }

    /// Puts port `number` into a pool of its own with this specification.
    pub fn set_pool(&mut self, number: u32, spec: PoolSpec) {
        self.change(number, |entry| entry.pool = Arc::new(Pool::new(PoolId(entry.id.0), spec)));
    }

    /// Another receive queue of port `number`.
    pub fn attach(&self, number: u32, queue: Box<dyn RxQueue>) {
        self.workers.attach_rx(self.port(number).entry.id, 1, queue);
    }

    /// What leaves through port `number` goes here instead.
    pub fn plug(&self, number: u32, queue: Box<dyn TxQueue>) {
        self.port(number).entry.tx.replace(0, Some(queue));
    }

    fn port(&self, number: u32) -> &TestPort {
        &self.ports[number as usize - 1]
    }

    /// Frames arrive at port `number`.
    pub fn send(&mut self, number: u32, frames: impl IntoIterator<Item = Vec<u8>>) {
        self.offer(number, frames);
        while self.worker.poll_once() > 0 {}
    }

    /// Frames wait at port `number` for the next passes.
    pub fn offer(&self, number: u32, frames: impl IntoIterator<Item = Vec<u8>>) {
        self.port(number).input.lock().expect("the test thread").extend(frames);
    }

    /// One pass of the worker.
    pub fn poll_once(&mut self) -> usize {
        self.worker.poll_once()
    }

    /// What left through port `number` since the last call.
    pub fn received(&self, number: u32) -> Vec<Vec<u8>> {
        self.port(number).output.lock().expect("the test thread").drain(..).collect()
    }

    /// What left through every port since the last call: port numbers, sorted.
    pub fn went_to(&self) -> Vec<u32> {
        (1..=self.ports.len() as u32).flat_map(|number| vec![number; self.received(number).len()]).collect()
    }

    /// Frames that came in at port `number` and into which nobody looked, since the last call.
    pub fn blind(&self, number: u32) -> usize {
        self.port(number).blind.swap(0, Ordering::Relaxed)
    }

    pub fn totals(&self, number: u32) -> PortTotals {
        let mut totals = PortTotals::default();
        self.port(number).entry.counters[0].add_to(&mut totals);
        totals
    }

    /// What the worker did.
    pub fn worker(&self) -> WorkerTotals {
        self.workers.stats()[0]
    }

    /// The drops of all ports, by reason.
    pub fn drops(&self) -> HashMap<&'static str, u64> {
        let mut drops = HashMap::new();
        for number in 1..=self.ports.len() as u32 {
            for (reason, count) in DropReason::ALL.iter().zip(self.totals(number).drops) {
                if count > 0 {
                    *drops.entry(reason.name()).or_default() += count;
                }
            }
        }
        drops
    }

    /// Packets that `dump-flows` shows for each rule, by priority.
    pub fn rule_packets(&self) -> HashMap<u16, u64> {
        self.program.tables.rules().map(|rule| (rule.flow.priority, rule.totals().packets)).collect()
    }

    /// Received + copies = sent + dropped, over all ports.
    pub fn assert_accounted(&self) {
        let (mut came, mut went) = (0, 0);
        for number in 1..=self.ports.len() as u32 {
            let totals = self.totals(number);
            came += totals.rx_packets + totals.copies;
            went += totals.tx_packets + totals.dropped();
        }
        assert_eq!(came, went, "received + copies = sent + dropped");
    }
}

/// A flow from its text.
pub fn flow(text: &str) -> Flow {
    grammar::parse_flow(text, &()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Actions from their text.
pub fn actions(text: &str) -> Vec<Action> {
    flow(&format!("actions={text}")).actions
}

/// An untagged UDP frame between two hosts of the form 02:00:00:00:00:NN and 10.0.0.NN.
pub fn udp(from: u8, to: u8, payload: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x08, 0x00];
    let ip_len = (28 + payload) as u16;
    frame.extend([0x45, 0]);
    frame.extend(ip_len.to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, from, 10, 0, 0, to]);
    let sum: u32 = frame[14..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let sum = !(((sum >> 16) + (sum & 0xffff)) as u16);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame.extend([0x10, 0x00, 0x20, 0x00]);
    frame.extend(((8 + payload) as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend((0..payload).map(|n| n as u8));
    frame
}

/// The same frame with an 802.1Q tag.
pub fn tagged(vid: u16, frame: &[u8]) -> Vec<u8> {
    let mut tagged = frame[..12].to_vec();
    tagged.extend([0x81, 0x00]);
    tagged.extend(vid.to_be_bytes());
    tagged.extend(&frame[12..]);
    tagged
}

/// The same frame to everybody.
pub fn broadcast(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].fill(0xff);
    frame
}
