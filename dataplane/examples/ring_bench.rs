//! Cycles per packet of the device side: one thread plays two guests and forwards from the first to the second; only the
//! forwarding is timed.
//!
//! `cargo run --release -p ringswitch-dataplane --example ring_bench [packets]`

use std::sync::Arc;

use ringswitch_dataplane::mem::{GuestMemory, Mapping, Region};
use ringswitch_dataplane::packet::{PacketBatch, TxList};
use ringswitch_dataplane::port::vhost::driver::{Driver, Piece, ring_bytes};
use ringswitch_dataplane::port::vhost::{RingFault, RingFeatures, RxRing, TxRing, open_rx, open_tx};
use ringswitch_dataplane::port::{RxQueue, TxQueue};
use ringswitch_dataplane::sys::clock;

/// Ring size, as DPDK's default.
const RING: u16 = 256;
/// One buffer each, with the header at the end of a cache line of its own as DPDK places it.
const STRIDE: u64 = 2304;
const HEADER_AT: u64 = 116;
const HEADER: u32 = 12;
const BATCH: u64 = 32;

const VERSION_1: u64 = 1 << 32;
const MRG: u64 = 1 << 15;
const PACKED: u64 = 1 << 34;
const IN_ORDER: u64 = 1 << 35;

/// Header at the start of the buffer with this number.
fn buffer(index: u64) -> u64 {
    0x10_0000 + index % u64::from(RING) * STRIDE + HEADER_AT
}

fn driver(features: u64) -> Driver {
    let len = 0x10_0000 + u64::from(RING) * STRIDE;
    let mapping = Arc::new(Mapping::memfd(c"guest", len).expect("memory"));
    let memory = Arc::new(GuestMemory::new(vec![Region::of_own(mapping, 0)]).expect("one region"));
    assert!(ring_bytes(RING) < 0x10_0000);
    Driver::new(&memory, 0, RING, RingFeatures::from_virtio(features))
}

/// Receives and sends one burst; `[rx, tx]` cycles.
fn forward(rx: &mut RxRing, tx: &mut TxRing, batch: &mut PacketBatch, list: &mut TxList) -> [u64; 2] {
    let start = clock::cycles();
    let count = rx.rx_batch(batch);
    let received = clock::cycles();
    (0..count).for_each(|id| assert!(list.push(id)));
    assert_eq!(tx.tx_batch(batch, list), count);
    tx.flush();
    let sent = clock::cycles();
    rx.finish();
    batch.clear();
    list.clear();
    assert_eq!(count as u64, BATCH);
    [received - start + (clock::cycles() - sent), sent - received]
}

fn measure(features: u64, len: u32, packets: u64) -> [f64; 2] {
    let (mut sender, mut receiver) = (driver(features), driver(features));
    let fault = Arc::new(RingFault::new().expect("eventfd"));
    let mut rx = open_rx(sender.setup(&fault)).expect("a good ring");
    let mut tx = open_tx(receiver.setup(&fault)).expect("a good ring");
    let (mut batch, mut list) = (PacketBatch::new(), TxList::new());
    let mut bursts = Vec::new();
    for burst in 0..packets / BATCH {
        for index in burst * BATCH..(burst + 1) * BATCH {
            let piece = Piece { address: buffer(index), len: HEADER + len, writable: false };
            sender.add(&[piece]).expect("room");
            let piece = Piece { address: buffer(index), len: HEADER + 2048, writable: true };
            receiver.add(&[piece]).expect("room");
        }
        bursts.push(forward(&mut rx, &mut tx, &mut batch, &mut list));
        assert_eq!(sender.collect().len() + receiver.collect().len(), 2 * BATCH as usize);
    }
    // The median leaves out bursts in which somebody else had the core.
    [0, 1].map(|side| {
        bursts.sort_unstable_by_key(|burst| burst[side]);
        bursts[bursts.len() / 2][side] as f64 / BATCH as f64
    })
}

fn main() {
    let packets = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(400_000);
    println!("{:24} {:>6} {:>8} {:>8} {:>8}", "ring", "bytes", "rx", "tx", "cycles");
    let kinds = [
        ("split", VERSION_1),
        ("split mrg", VERSION_1 | MRG),
        ("split in_order", VERSION_1 | IN_ORDER),
        ("packed", VERSION_1 | PACKED),
        ("packed mrg", VERSION_1 | PACKED | MRG),
        ("packed in_order", VERSION_1 | PACKED | IN_ORDER),
    ];
    for (name, features) in kinds {
        for len in [64, 512, 1500] {
            let [rx, tx] = measure(features, len, packets);
            println!("{name:24} {len:6} {rx:8.1} {tx:8.1} {:8.1}", rx + tx);
        }
    }
}
