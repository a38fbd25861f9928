//! The hardware floor: two threads, two packed-style rings, one copy, nothing else. What no switch between two guests can
//! beat on this machine.
//!
//! One thread plays both guests: it offers frames in one ring and empty buffers in the other, and takes back what was used.
//! Like `rspktgen` it touches descriptors only, never the frames. The other thread moves: it finds up to 32 offered
//! frames, copies each once, and gives both descriptors back. No header, no lookup, no rule, no counter.
//!
//! `cargo bench -p ringswitch-dataplane --bench floor [-- --cpus GUESTS,MOVER] [--json]` prints the mover's cycles per
//! frame, medians of several runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringswitch_dataplane::mem::{Area, GuestMemory, Lookup, Mapping, Region};
use ringswitch_dataplane::sys::affinity::{allowed_cpus, pin_to_cpu};
use ringswitch_dataplane::sys::clock::cycles;

const SIZES: [u32; 8] = [64, 128, 256, 512, 1024, 1500, 4096, 9000];
const SLOTS: usize = 256;
const BATCH: usize = 32;
/// Bytes of a descriptor: address, then length with the flag on top.
const SLOT: usize = 16;
const RING: usize = SLOTS * SLOT;
const BUFFERS: u64 = 1 << 20;
const BUFFER: u64 = 10_240;
const RUNS: usize = 5;
const RUN: Duration = Duration::from_millis(200);

/// The top bit of a descriptor's second word: set when it is the mover's. Written back cleared.
const OFFERED: u64 = 1 << 63;

fn is_offered(ring: &Area, slot: usize) -> bool {
    ring.load_u64(slot * SLOT + 8, Ordering::Acquire) & OFFERED != 0
}

/// Offers all descriptors of the next batch again when they came back.
fn offer(ring: &Area, next: &mut usize, buffers: u64, size: u32) {
    // The last of a batch comes back last.
    if is_offered(ring, *next + BATCH - 1) {
        return;
    }
    for slot in *next..*next + BATCH {
        ring.store_u64(slot * SLOT, buffers + slot as u64 * BUFFER, Ordering::Relaxed);
        ring.store_u64(slot * SLOT + 8, u64::from(size) | OFFERED, Ordering::Release);
    }
    *next = (*next + BATCH) % SLOTS;
}

/// Moves a batch; false when it was not there.
fn move_batch(tx: &Area, rx: &Area, at: usize, lookup: &mut Lookup) -> bool {
    if !is_offered(tx, at + BATCH - 1) || !is_offered(rx, at + BATCH - 1) {
        return false;
    }
    for slot in at..at + BATCH {
        // One batch ahead: the guests' core has just written it.
        let ahead = (slot + BATCH) % SLOTS * SLOT;
        if slot % 4 == 0 {
            tx.prefetch_write(ahead);
            rx.prefetch_write(ahead);
        }
        let len = tx.load_u64(slot * SLOT + 8, Ordering::Relaxed) as u32;
        let from = lookup.whole(tx.load_u64(slot * SLOT, Ordering::Relaxed), len).expect("in memory");
        let to = lookup.whole(rx.load_u64(slot * SLOT, Ordering::Relaxed), len).expect("in memory");
        to.copy_from(&from);
    }
    for slot in at..at + BATCH {
        let len = tx.load_u64(slot * SLOT + 8, Ordering::Relaxed) & !OFFERED;
        rx.store_u64(slot * SLOT + 8, len, Ordering::Release);
        tx.store_u64(slot * SLOT + 8, len, Ordering::Release);
    }
    true
}

/// Cycles per frame that the mover spent on batches that were there.
fn run(size: u32, guests_cpu: usize, mover_cpu: usize) -> f64 {
    let bytes = BUFFERS + 2 * SLOTS as u64 * BUFFER;
    let mapping = Arc::new(Mapping::memfd(c"floor", bytes).expect("memory"));
    let memory = Arc::new(GuestMemory::new(vec![Region::of_own(mapping, 0)]).expect("one region"));
    let ring = |number: u64| memory.area(number * 2 * RING as u64, RING, SLOT).expect("in memory");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin_to_cpu(guests_cpu).expect("the guests' CPU");
            let (tx, rx) = (ring(0), ring(1));
            let (mut next_tx, mut next_rx) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                offer(&rx, &mut next_rx, BUFFERS + SLOTS as u64 * BUFFER, size);
                offer(&tx, &mut next_tx, BUFFERS, size);
            }
        });
        let mover = scope.spawn(|| {
            pin_to_cpu(mover_cpu).expect("the mover's CPU");
            let (tx, rx) = (ring(0), ring(1));
            let mut lookup = Lookup::new(Arc::clone(&memory));
            let (mut at, mut busy, mut batches) = (0, 0, 0u64);
            while !stop.load(Ordering::Relaxed) {
                let start = cycles();
                if move_batch(&tx, &rx, at, &mut lookup) {
                    at = (at + BATCH) % SLOTS;
                    busy += cycles() - start;
                    batches += 1;
                }
            }
            busy as f64 / (batches.max(1) * BATCH as u64) as f64
        });
        let end = Instant::now() + RUN;
        std::thread::sleep(end - Instant::now());
        stop.store(true, Ordering::Relaxed);
        mover.join().expect("the mover ends")
    })
}

fn median(size: u32, cpus: (usize, usize)) -> f64 {
    let mut runs: Vec<f64> = (0..RUNS).map(|_| run(size, cpus.0, cpus.1)).collect();
    runs.sort_by(f64::total_cmp);
    runs[RUNS / 2]
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let allowed = allowed_cpus();
    let given = words.iter().position(|word| word == "--cpus").and_then(|at| words.get(at + 1)?.split_once(','));
    let cpus = match given {
        Some((guests, mover)) => (guests.parse().expect("a CPU"), mover.parse().expect("a CPU")),
        None => (allowed[0], *allowed.last().expect("one CPU")),
    };
    assert_ne!(cpus.0, cpus.1, "two threads that poll need two CPUs");
    let figures = SIZES.map(|size| (size, median(size, cpus)));
    if words.iter().any(|word| word == "--json") {
        let fields = figures.map(|(size, cycles)| format!("\"{size}\": {cycles:.1}"));
        println!("{{{}}}", fields.join(", "));
    } else {
        figures.iter().for_each(|(size, cycles)| println!("{size:>5} B  {cycles:>8.1} cycles per frame"));
    }
}
