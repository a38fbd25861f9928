//! What one pass over a hostile queue costs, in cycles: `cargo bench -p ringswitch-fuzz`. The honest burst of 32 small
//! frames stands first, for comparison.

use std::sync::Arc;

use ringswitch_dataplane::mem::{GuestMemory, Mapping, Region};
use ringswitch_dataplane::packet::PacketBatch;
use ringswitch_dataplane::port::RxQueue;
use ringswitch_dataplane::port::vhost::driver::{Driver, Piece, ring_bytes};
use ringswitch_dataplane::port::vhost::{RingFault, RingFeatures, open_rx};
use ringswitch_dataplane::sys::clock::cycles;

const SIZE: u16 = 1024;
const RINGS: u64 = 0x10_0000;
/// As many regions as a front-end may announce; neighbours in address are far apart in this process.
const REGIONS: u64 = 500;
const BUFFERS: u64 = 0x100_0000;
const TABLES: u64 = 0x1000_0000;

const VERSION_1: u64 = 1 << 32;
const INDIRECT: u64 = 1 << 28;
const PACKED: u64 = 1 << 34;

fn driver(features: u64) -> (Driver, Arc<RingFault>) {
    let region = |start, len| Region::of_own(Arc::new(Mapping::memfd(c"bench", len).expect("memory")), start);
    let mut regions = vec![region(RINGS, ring_bytes(SIZE) as u64), region(TABLES, 1 << 20)];
    regions.extend((0..REGIONS).map(|nth| region(BUFFERS + nth * 8192, 4096)));
    let memory = Arc::new(GuestMemory::new(regions).expect("no overlap"));
    (
        Driver::new(&memory, RINGS, SIZE, RingFeatures::from_virtio(features)),
        Arc::new(RingFault::new().expect("eventfd")),
    )
}

/// Pieces of `len` bytes, each in another region.
fn scattered(count: u64, len: u32) -> Vec<Piece> {
    let at = |nth: u64| BUFFERS + nth * 197 % REGIONS * 8192 + nth * 64 % 4096;
    (0..count).map(|nth| Piece { address: at(nth), len, writable: false }).collect()
}

/// `frames` buffers of `pieces` pieces each, `len` bytes a piece; as chains, or in tables.
fn measure(name: &str, frames: u64, pieces: u64, len: u32, tables: bool) {
    for (kind, features) in [("split", VERSION_1 | INDIRECT), ("packed", VERSION_1 | INDIRECT | PACKED)] {
        let (mut driver, fault) = driver(features);
        let mut ring = open_rx(driver.setup(&fault)).expect("a good ring");
        let mut batch = PacketBatch::new();
        let (mut samples, mut passes) = (Vec::new(), 0);
        for _ in 0..300 {
            for frame in 0..frames {
                let pieces = scattered(pieces, len);
                let added = if tables {
                    driver.add_indirect(&[], TABLES + frame * 16384, &pieces)
                } else {
                    driver.add(&pieces)
                };
                added.expect("room");
            }
            let (start, mut left) = (cycles(), frames);
            while left > 0 {
                let pass = cycles();
                ring.rx_batch(&mut batch);
                left -= (batch.len() as u64 + u64::from(batch.tally.total())).min(left);
                ring.finish();
                batch.clear();
                samples.push(cycles() - pass);
                passes += 1;
                assert!(fault.kind().is_none() && cycles() - start < 1 << 32, "{:?}", fault.kind());
            }
            driver.collect();
        }
        samples.sort_unstable();
        let (mean, worst) = (samples.iter().sum::<u64>() / passes, samples[samples.len() * 99 / 100]);
        println!("{name:<44} {kind:<6} {mean:>9} cycles a pass, 99 % below {worst:>9}, {passes} passes");
    }
}

fn main() {
    measure("32 frames of 64 bytes", 32, 1, 76, false);
    measure("32 frames in 2 pieces", 32, 2, 64, false);
    measure("32 frames in 15 pieces", 32, 15, 8, false);
    measure("32 frames in tables of 16", 32, 16, 8, true);
    measure("32 frames in tables of 500", 32, 500, 8, true);
    measure("32 empty tables of 1000", 32, 1000, 0, true);
    measure("2 chains of 500", 2, 500, 8, false);
}
