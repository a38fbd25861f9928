//! Cycles of a worker's pass per packet: rings of two guests, the whole pipeline, one core, no threads.
//!
//! `cargo bench -p ringswitch-dataplane --bench core [FILTER]` prints a table of medians; `--list`, `--only CASE` and
//! `--passes N` are for `benches/count`, which counts instructions instead. The guests' drivers run on the
//! same core between passes, so their memory is warm; figures are for comparing one version with another, not with
//! other switches (`benches/vs-ovs` does that).

use std::sync::Arc;

use ringswitch_dataplane::flow::grammar;
use ringswitch_dataplane::mem::{GuestMemory, Mapping, Region};
use ringswitch_dataplane::packet::{BATCH, PortCounters};
use ringswitch_dataplane::pipeline::{BridgePorts, BridgeView, Fdb, PortEntry, Program, Snapshot, TableStats};
use ringswitch_dataplane::port::vhost::driver::{Driver, Piece, ring_bytes};
use ringswitch_dataplane::port::vhost::{RingFault, RingFeatures, open_rx, open_tx};
use ringswitch_dataplane::port::{PortId, QueueHost, TxQueues};
use ringswitch_dataplane::sys::clock::cycles;
use ringswitch_dataplane::worker::Workers;

const RING: u16 = 256;
const HEADER: usize = 12;
const PASSES: usize = 4000;
/// Where buffers start in a guest's memory, behind its two rings.
const BUFFERS: u64 = 1 << 20;
const BUFFER: u64 = 2048;

struct Guest {
    memory: Arc<GuestMemory>,
    tx: Driver,
    rx: Driver,
    fault: Arc<RingFault>,
}

impl Guest {
    fn new(features: RingFeatures) -> Self {
        let bytes = BUFFERS + u64::from(RING) * 2 * BUFFER;
        let mapping = Arc::new(Mapping::memfd(c"bench", bytes).expect("memory"));
        let memory = Arc::new(GuestMemory::new(vec![Region::of_own(mapping, 0)]).expect("one region"));
        let tx = Driver::new(&memory, 0, RING, features);
        let rx = Driver::new(&memory, ring_bytes(RING) as u64, RING, features);
        Self { memory, tx, rx, fault: Arc::new(RingFault::new().expect("an event descriptor")) }
    }

    /// Offers all receive buffers again.
    fn refill(&mut self) {
        self.rx.collect();
        let mut slot = u64::from(RING);
        while self.rx.add(&[Piece { address: BUFFERS + slot * BUFFER, len: BUFFER as u32, writable: true }]).is_some() {
            slot += 1;
        }
    }

    fn send(&mut self, frames: &[Vec<u8>]) {
        self.tx.collect();
        for (slot, frame) in frames.iter().enumerate() {
            let address = BUFFERS + slot as u64 * BUFFER;
            self.tx.write(address + HEADER as u64, frame);
            self.tx.add(&[Piece { address, len: (HEADER + frame.len()) as u32, writable: false }]).expect("room");
        }
    }
}

struct Case<'r> {
    name: &'static str,
    packed: bool,
    size: usize,
    flows: u32,
    /// What differs between flows.
    vary: Vary,
    rules: &'r str,
}

#[derive(Clone, Copy)]
enum Vary {
    /// The source's MAC address.
    Macs,
    /// The source's and the destination's.
    Pairs,
    /// The source's IP address and port.
    Tuples,
}

fn frame(size: usize, flow: u32, vary: Vary) -> Vec<u8> {
    let mut frame = vec![0; size];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    frame[14..24].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17]);
    frame[16..18].copy_from_slice(&(size as u16 - 14).to_be_bytes());
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    frame[34..38].copy_from_slice(&[0x10, 0, 0x20, 0]);
    let flow = flow.to_be_bytes();
    match vary {
        // No sender has the address of the receiving guest.
        Vary::Macs => {
            frame[8..12].copy_from_slice(&flow);
            frame[7] = 1;
        }
        Vary::Pairs => {
            frame[2..6].copy_from_slice(&flow);
            frame[8..12].copy_from_slice(&flow);
            (frame[1], frame[7]) = (2, 1);
        }
        Vary::Tuples => {
            frame[27..30].copy_from_slice(&flow[1..]);
            frame[34..36].copy_from_slice(&flow[2..]);
        }
    }
    frame
}

fn run(case: &Case, passes: usize) -> (f64, u64) {
    let mut features = RingFeatures::from_virtio(1 << 32 | 1 << 15);
    features.packed = case.packed;
    let (workers, mut ready) = Workers::prepare(vec![0], 1 << 18).expect("event descriptors");
    let mut worker = ready.pop().expect("one worker");
    let mut guests = [Guest::new(features), Guest::new(features)];
    let mut entries = Vec::new();
    for (number, guest) in guests.iter_mut().enumerate() {
        let id = PortId(number as u16);
        let tx = Arc::new(TxQueues::new(1));
        tx.replace(0, Some(Box::new(open_tx(guest.rx.setup(&guest.fault)).expect("a good ring"))));
        workers.attach_rx(id, 0, Box::new(open_rx(guest.tx.setup(&guest.fault)).expect("a good ring")));
        let counters = Arc::new([PortCounters::default()]);
        entries.push(Some(Arc::new(PortEntry::new(id, number as u32 + 1, 0, tx, counters))));
    }
    let mut program = Program::default();
    for rule in case.rules.lines() {
        program.tables.insert(grammar::parse_flow(rule.trim(), &()).expect("a flow"), 0, 1);
    }
    let ports = Arc::new(BridgePorts::new(entries.iter().flatten().map(|entry| &**entry)));
    let view = BridgeView::new(1, program, Arc::new(Fdb::new(250_000)), ports, Arc::new(TableStats::new(1)));
    workers.publish(Snapshot { ports: entries, bridges: vec![Some(Arc::new(view))], ..Snapshot::default() });
    // Guest 1 makes all of its addresses known.
    for flow in 0..if matches!(case.vary, Vary::Pairs) { case.flows } else { 1 } {
        let mut hello = frame(case.size, flow, case.vary);
        hello.copy_within(..6, 6);
        hello[..6].fill(0xff);
        guests[1].send(&[hello]);
        worker.poll_once();
    }

    let mut samples = Vec::with_capacity(passes);
    let mut next = 0;
    for _ in 0..passes.max(case.flows as usize * 3 / BATCH) {
        let frames: Vec<_> = (0..BATCH as u32).map(|n| frame(case.size, (next + n) % case.flows, case.vary)).collect();
        next = (next + BATCH as u32) % case.flows;
        guests[1].refill();
        guests[0].send(&frames);
        let (mut start, mut received) = (cycles(), worker.poll_once());
        // Queues that were quiet for long are not looked at in every pass.
        while samples.is_empty() && received == 0 {
            (start, received) = (cycles(), worker.poll_once());
        }
        samples.push(cycles() - start);
        assert_eq!(received, BATCH, "the guests' ring was read");
    }
    let arrived = guests[1].rx.collect().len();
    assert_eq!(arrived, BATCH, "{}: the last batch arrived whole", case.name);
    let _ = &guests[0].memory;
    // The first two thirds fill caches and tables.
    let rest = &mut samples[passes * 2 / 3..];
    rest.sort_unstable();
    (rest[rest.len() / 2] as f64 / BATCH as f64, rest[rest.len() / 10] / BATCH as u64)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let filter = words.first().filter(|word| !word.starts_with('-')).cloned().unwrap_or_default();
    let option = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
    let passes = option("--passes").map_or(PASSES, |count| count.parse().expect("--passes N"));
    let normal = "priority=0,actions=NORMAL";
    let port = "in_port=1,actions=output:2";
    let tuple = "priority=9,udp,nw_src=10.0.0.0/8,nw_dst=10.0.0.2,tp_src=0x1000/0,tp_dst=0x2000,actions=output:2\n\
                 priority=5,tcp,tp_src=7,actions=drop\n\
                 priority=4,udp,nw_src=10.1.2.3,tp_src=7,actions=drop";
    // The rule that decides behind so many others.
    let behind = |count: u32| {
        let other = |n| format!("priority=10,udp,nw_src=10.9.9.{n},tp_src={n},actions=drop\n");
        (1..=count).map(other).collect::<String>() + tuple
    };
    // As many as are compared with, and more: the cache remembers each flow.
    let (short, long) = (&*behind(13), &*behind(20));
    let case = |name, packed, size, flows, vary, rules| Case { name, packed, size, flows, vary, rules };
    let cases = [
        case("64 B split, port rule", false, 64, 1, Vary::Macs, port),
        case("64 B packed, port rule", true, 64, 1, Vary::Macs, port),
        case("512 B packed, port rule", true, 512, 1, Vary::Macs, port),
        case("1500 B packed, port rule", true, 1500, 1, Vary::Macs, port),
        case("64 B split, NORMAL", false, 64, 1, Vary::Macs, normal),
        case("64 B packed, NORMAL", true, 64, 1, Vary::Macs, normal),
        case("256 B packed, NORMAL", true, 256, 1, Vary::Macs, normal),
        case("512 B packed, NORMAL", true, 512, 1, Vary::Macs, normal),
        case("1500 B split, NORMAL", false, 1500, 1, Vary::Macs, normal),
        case("1500 B packed, NORMAL", true, 1500, 1, Vary::Macs, normal),
        case("64 B packed, NORMAL, 1 000 MACs", true, 64, 1000, Vary::Macs, normal),
        case("64 B packed, NORMAL, 100 000 MACs", true, 64, 100_000, Vary::Macs, normal),
        case("64 B packed, NORMAL, 64 pairs", true, 64, 64, Vary::Pairs, normal),
        case("64 B packed, NORMAL, 1 000 pairs", true, 64, 1000, Vary::Pairs, normal),
        case("64 B packed, NORMAL, 100 000 pairs", true, 64, 100_000, Vary::Pairs, normal),
        case("64 B packed, 5-tuple, 1 flow", true, 64, 1, Vary::Tuples, tuple),
        case("64 B packed, 5-tuple, 1 000 flows", true, 64, 1000, Vary::Tuples, tuple),
        case("64 B packed, 5-tuple, 100 000 flows", true, 64, 100_000, Vary::Tuples, tuple),
        case("64 B packed, 5-tuple, 1 000 000 flows", true, 64, 1_000_000, Vary::Tuples, tuple),
        case("64 B packed, 16 rules, 1 000 flows", true, 64, 1000, Vary::Tuples, short),
        case("64 B packed, 23 rules, 1 000 flows", true, 64, 1000, Vary::Tuples, long),
        case("64 B packed, 23 rules, 100 000 flows", true, 64, 100_000, Vary::Tuples, long),
    ];
    if words.iter().any(|word| word == "--list") {
        cases.iter().for_each(|case| println!("{}", case.name));
        return;
    }
    println!("{:<40} {:>8} {:>8}", "cycles per packet", "median", "p10");
    let wanted = |case: &&Case| option("--only").map_or(case.name.contains(&filter), |only| only == case.name);
    for case in cases.iter().filter(wanted) {
        let (median, p10) = run(case, passes);
        println!("{:<40} {median:>8.1} {p10:>8}", case.name);
    }
}
