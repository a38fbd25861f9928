//! A burst through the pipeline allocates nothing, whether its packets follow one rule, a path or a walk of their own.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::any::Any;
use std::cell::Cell;
use std::sync::Arc;

use common::udp;
use ringswitch_dataplane::flow::{
    Band, BandKind, Bucket, Group, GroupEntry, GroupKind, Mask, Meter, MeterEntry, WATCH_ANY,
};
use ringswitch_dataplane::packet::{BATCH, PacketBatch, PortCounters, TxList};
use ringswitch_dataplane::pipeline::{
    BridgePorts, BridgeView, Fdb, FlowCache, Openings, Pipeline, PortEntry, Program, Snapshot, SortTable, SortedPool,
    TableStats, Wanted,
};
use ringswitch_dataplane::port::{PortId, TxQueue, TxQueues};
use ringswitch_dataplane::sched::{Egress, EgressSpec, Pool, PoolId, PoolSpec, Pull, QueueSpec, QueueTotals, Rate};

/// Counts what this thread allocates.
struct Counting;

thread_local!(static ALLOCATIONS: Cell<u64> = const { Cell::new(0) });

// SAFETY: all work is the system allocator's; counting touches a thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's layout, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: allocated above with this layout.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Takes everything.
struct Sink;

impl TxQueue for Sink {
    fn tx_batch(&mut self, packets: &PacketBatch, list: &mut TxList) -> usize {
        let count = list.len();
        let bytes = list.ids().iter().map(|&id| packets.frame(usize::from(id)).len()).sum();
        list.take(count, bytes);
        count
    }

    fn flush(&mut self) {}

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

fn port(id: u16) -> Arc<PortEntry> {
    let tx = Arc::new(TxQueues::new(1));
    tx.replace(0, Some(Box::new(Sink)));
    let queues = (0..2).map(|id| QueueSpec { id, ..QueueSpec::default() }).collect();
    let egress = (id > 0).then(|| Arc::new(Egress::new(EgressSpec { max_bytes: None, queues })));
    let entry = PortEntry::new(PortId(id), u32::from(id) + 1, 0, tx, Arc::new([PortCounters::default()]));
    Arc::new(PortEntry { egress, ..entry })
}

fn program() -> Program {
    let mut program = Program::default();
    let flows = "in_port=1,udp,actions=meter:1,mod_dl_dst:02:00:00:00:00:09,load:5->NXM_NX_REG0[],dec_ttl,\
                 clone(set_queue:1,mod_vlan_vid:3,output:2),write_actions(group:1),goto_table:1\n\
                 table=1,udp,reg0=5,tp_dst=0x2000,actions=push:NXM_NX_REG0[],pop:NXM_OF_IP_DST[],resubmit(,2)\n\
                 table=2,ip,nw_dst=0.0.0.5,actions=check_pkt_larger(100)->NXM_NX_REG1[0],output:3";
    for line in flows.lines() {
        program.tables.insert(common::flow(line), 0, 1);
    }
    let bucket = |id, actions| Bucket {
        id,
        weight: 1,
        watch_port: WATCH_ANY,
        watch_group: WATCH_ANY,
        actions: common::actions(actions),
    };
    let buckets = vec![bucket(0, "mod_dl_src:02:00:00:00:00:08,output:2"), bucket(1, "output:3")];
    let group = Group { id: 1, kind: GroupKind::Select, selection: None, buckets };
    program.groups.insert(1, Arc::new(GroupEntry::new(group, 0, 1)));
    let band = Band { kind: BandKind::Drop, rate: 1000, burst_size: 0 };
    let meter = Meter { id: 1, pktps: true, burst: false, stats: true, bands: vec![band] };
    program.meters.insert(1, Arc::new(MeterEntry::new(meter, 0)));
    program
}

#[test]
fn paths_and_walks_allocate_nothing() {
    let ports: Vec<_> = (0..3).map(|id| Some(port(id))).collect();
    let bridge_ports = Arc::new(BridgePorts::new(ports.iter().flatten().map(|port| &**port)));
    for live in [false, true] {
        let mut program = program();
        if !live {
            program.tables.insert(common::flow("table=2,ip,nw_dst=0.0.0.5,actions=output:3"), 0, 1);
        }
        let (fdb, stats) = (Arc::new(Fdb::new(64)), Arc::new(TableStats::new(1)));
        let view = BridgeView::new(1, program, fdb, Arc::clone(&bridge_ports), stats);
        let snapshot =
            Snapshot { epoch: 1, ports: ports.clone(), bridges: vec![Some(Arc::new(view))], ..Snapshot::default() };
        let mut pipeline = Pipeline::new(0);
        pipeline.set_cache(0, Some(Box::new(FlowCache::new(1024, &Mask::NONE))));
        let mut batch = PacketBatch::new();
        let mut allocated = 0;
        for round in 0..300u32 {
            let frames: Vec<_> = (0..BATCH as u32).map(|n| frame(round / 2 * BATCH as u32 + n)).collect();
            for frame in &frames {
                batch.next_slot().expect("room").reset(frame.len()).copy_from_slice(frame);
                batch.push();
            }
            let before = ALLOCATIONS.get();
            pipeline.process(&mut batch, &snapshot, ports[0].as_ref().expect("a port"));
            // Scratch space grows once.
            allocated += if round < 2 { 0 } else { ALLOCATIONS.get() - before };
            batch.clear();
        }
        assert_eq!(allocated, 0, "live: {live}");
    }
}

#[test]
fn sorted_frames_allocate_nothing_also_after_rules_changed() {
    let ports: Vec<_> = (0..3).map(|id| Some(port(id))).collect();
    let bridge_ports = Arc::new(BridgePorts::new(ports.iter().flatten().map(|port| &**port)));
    let pool = Arc::new(SortedPool::new(PoolId(0), vec![PortId(1)], 1));
    let wanted = Wanted { ingress: PortId(0), mac: [2, 0, 0, 0, 0, 2], vlan: 0, pool: Arc::clone(&pool) };
    let mut program = Program::default();
    for line in [
        "priority=9,dl_dst=02:00:00:00:00:02,actions=load:1->NXM_NX_REG0[],goto_table:1",
        "priority=5,udp,tp_dst=0x2000,actions=output:3",
        "table=1,reg0=1,actions=output:2",
    ] {
        program.tables.insert(common::flow(line), 0, 1);
    }
    let snapshot = |version| {
        let (fdb, stats) = (Arc::new(Fdb::new(64)), Arc::new(TableStats::new(1)));
        let mut view = BridgeView::new(version, program.clone(), fdb, Arc::clone(&bridge_ports), stats);
        let table = SortTable::carry(None, &view, &[wanted.clone()].into());
        let derived = table.derive(&view, &mut Openings::default(), &mut 1000);
        view.sorted = Arc::new(derived.expect("something was not known"));
        Snapshot { epoch: version, ports: ports.clone(), bridges: vec![Some(Arc::new(view))], ..Snapshot::default() }
    };
    let mut pipeline = Pipeline::new(0);
    pipeline.set_cache(0, Some(Box::new(FlowCache::new(1024, &Mask::NONE))));
    let mut batch = PacketBatch::new();
    let mut allocated = 0;
    for round in 0..100 {
        let snapshot = snapshot(1 + round / 2);
        for n in 0..BATCH as u32 {
            // Every other one is for somebody else.
            let mut frame = frame(n);
            frame[5] += (n % 2) as u8;
            batch.next_slot().expect("room").reset(frame.len()).copy_from_slice(&frame);
            batch.push();
        }
        let before = ALLOCATIONS.get();
        pipeline.process(&mut batch, &snapshot, ports[0].as_ref().expect("a port"));
        allocated += if round < 2 { 0 } else { ALLOCATIONS.get() - before };
        batch.clear();
    }
    assert_eq!(pool.totals().sorted, 100 * BATCH as u64 / 2);
    assert_eq!(allocated, 0);
}

#[test]
fn sharing_a_port_allocates_nothing() {
    let rate = Rate { per_second: 1_000_000, burst: 10_000 };
    let queues = (0..4).map(|id| QueueSpec { id, min_bytes: Some(1000), ..QueueSpec::default() }).collect();
    let egress = Egress::new(EgressSpec { max_bytes: Some(rate), queues });
    let spec = PoolSpec { min_bytes: Some(1000), ..PoolSpec::default() };
    let pools: Vec<_> = (0..64).map(|id| Pool::new(PoolId(id), spec)).collect();
    let before = ALLOCATIONS.get();
    for round in 0..100u64 {
        for (n, pool) in pools.iter().enumerate() {
            let (queue, now) = (n as u32 % 5, round * 1_000_000);
            if let Pull::Packets(_) = egress.ask(queue, pool, 1000, now) {
                egress.charge(queue, pool, QueueTotals { packets: 1, bytes: 1000 }, now);
            }
        }
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}

/// Each number is a flow of its own.
fn frame(number: u32) -> Vec<u8> {
    let mut frame = udp(1, 2, 30);
    frame[26..30].copy_from_slice(&number.to_be_bytes());
    frame
}
