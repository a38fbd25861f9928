//! Cycles per packet of the device side: one thread plays two guests and forwards from the first to the second; only the
//! forwarding is timed.
//!
//! `cargo run --release -p ringswitch-dataplane --example ring_bench [packets [two]]`
//!
//! With `two`, the guests run on a core of their own, as in life; then the machine must be otherwise idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringswitch_dataplane::mem::{Area, GuestMemory, Mapping, Region};
use ringswitch_dataplane::packet::{PacketBatch, TxList};
use ringswitch_dataplane::port::vhost::driver::{Driver, Piece, ring_bytes};
use ringswitch_dataplane::port::vhost::{RingFault, RingFeatures, RxRing, TxRing, open_rx, open_tx};
use ringswitch_dataplane::port::{RxQueue, TxQueue};
use ringswitch_dataplane::sys::{affinity, clock};

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

/// The fastest plain guest: buffer and descriptor `i` always belong together, so that only what must change is written.
struct FastGuest {
    packed: bool,
    sends: bool,
    /// Bytes of each buffer, header included.
    len: u32,
    memory: Area,
    /// Buffers used by the device so far.
    done: u64,
    frame_count: u64,
}

impl FastGuest {
    /// Fills the ring: a sender makes its first buffers available, a receiver all.
    fn new(memory: &GuestMemory, packed: bool, sends: bool, len: u32) -> Self {
        let memory = memory.area(0, memory.regions()[0].len() as usize, 64).expect("all memory");
        let guest = Self { packed, sends, len, memory, done: 0, frame_count: 0 };
        for index in 0..u64::from(RING) {
            guest.memory.store_u64(16 * index as usize, buffer(index), Ordering::Relaxed);
            let write = u64::from(!sends) << 1;
            if !packed {
                guest.memory.store_u64(16 * index as usize + 8, u64::from(len) | write << 32, Ordering::Relaxed);
                guest.memory.store_u16(guest.driver() + 4 + 2 * index as usize, index as u16, Ordering::Relaxed);
            }
        }
        guest.make_available(0, u64::from(RING));
        guest
    }

    fn driver(&self) -> usize {
        16 * usize::from(RING)
    }

    fn device(&self) -> usize {
        (self.driver() + 6 + 2 * usize::from(RING)).next_multiple_of(64)
    }

    fn make_available(&self, from: u64, to: u64) {
        if !self.packed {
            self.memory.store_u16(self.driver() + 2, to as u16, Ordering::Release);
            return;
        }
        for position in from..to {
            let (index, lap) = (position % u64::from(RING), position / u64::from(RING));
            let flags = if lap % 2 == 0 { 1 << 7 } else { 1 << 15 } | u64::from(!self.sends) << 1;
            let high = u64::from(self.len) | index << 32 | flags << 48;
            self.memory.store_u64(16 * index as usize + 8, high, Ordering::Release);
        }
    }

    fn is_used(&self, position: u64) -> bool {
        if !self.packed {
            return self.memory.load_u16(self.device() + 2, Ordering::Acquire) != position as u16;
        }
        let high = self.memory.load_u64(16 * (position % u64::from(RING)) as usize + 8, Ordering::Acquire);
        let lap_bit = (position / u64::from(RING)).is_multiple_of(2);
        (high >> 63 == 1) == lap_bit && (high >> 55 & 1 == 1) == lap_bit
    }

    /// Turns over at most one burst of used buffers.
    fn turn(&mut self) {
        let from = self.done;
        while self.done < from + BATCH && self.is_used(self.done) {
            let frame = buffer(self.done) as usize + HEADER as usize;
            if self.sends {
                self.frame_count += 1;
                self.memory.store_u64(frame, self.frame_count, Ordering::Relaxed);
            } else {
                self.frame_count += self.memory.load_u64(frame, Ordering::Relaxed) & 1;
            }
            self.done += 1;
        }
        if self.done > from {
            self.make_available(from + u64::from(RING), self.done + u64::from(RING));
        }
    }
}

/// Guests on core 0, device on core 1: busy cycles per packet, and packets per burst.
fn measure_two(features: u64, len: u32, packets: u64) -> [f64; 2] {
    let packed = features & PACKED != 0;
    let fault = Arc::new(RingFault::new().expect("eventfd"));
    let (sender, receiver) = (driver(features), driver(features));
    let (rx_setup, tx_setup) = (sender.setup(&fault), receiver.setup(&fault));
    let mut guests = [(&rx_setup, true, HEADER + len), (&tx_setup, false, HEADER + 2048)]
        .map(|(setup, sends, len)| FastGuest::new(&setup.memory, packed, sends, len));
    let (mut rx, mut tx) = (open_rx(rx_setup).expect("a good ring"), open_tx(tx_setup).expect("a good ring"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            affinity::pin_to_cpu(0).expect("a first core");
            while !stop.load(Ordering::Relaxed) {
                guests.iter_mut().for_each(FastGuest::turn);
            }
        });
        affinity::pin_to_cpu(1).expect("a second core");
        let (mut batch, mut list) = (PacketBatch::new(), TxList::new());
        let (mut passed, mut bursts) = (0, Vec::new());
        while passed < packets {
            let start = clock::cycles();
            let count = rx.rx_batch(&mut batch);
            if count > 0 {
                (0..count).for_each(|id| assert!(list.push(id)));
                while !list.is_empty() {
                    tx.tx_batch(&batch, &mut list);
                    tx.flush();
                }
                rx.finish();
                bursts.push((clock::cycles() - start) as f64 / count as f64);
                passed += count as u64;
            }
            batch.clear();
            list.clear();
        }
        stop.store(true, Ordering::Relaxed);
        // The median: as above.
        bursts.sort_unstable_by(f64::total_cmp);
        [bursts[bursts.len() / 2], passed as f64 / bursts.len() as f64]
    })
}

fn main() {
    let packets = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(400_000);
    let two = std::env::args().nth(2).is_some_and(|text| text == "two");
    let columns = if two { ["cycles", "burst", ""] } else { ["rx", "tx", "cycles"] };
    println!("{:24} {:>6} {:>8} {:>8} {:>8}", "ring", "bytes", columns[0], columns[1], columns[2]);
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
            if two {
                let [cycles, burst] = measure_two(features, len, packets);
                println!("{name:24} {len:6} {cycles:8.1} {burst:8.1}");
                continue;
            }
            let [rx, tx] = measure(features, len, packets);
            println!("{name:24} {len:6} {rx:8.1} {tx:8.1} {:8.1}", rx + tx);
        }
    }
}
