//! The hardware floor: two threads, two packed virtqueues, one copy, nothing else. What no switch between two guests can
//! beat on this machine.
//!
//! One thread plays both guests: it offers frames in one ring and empty buffers in the other, and takes back what was used.
//! With `--both-ways` the guests have a second pair of rings in the other direction, and so twice the frames that want to stay
//! in the caches. Like `rspktgen`, whose layout of memory it has, it touches descriptors only, never the frames, which so stay
//! in the mover's cache. With `--touch`, as with rspktgen's, it writes every frame before it offers it and reads every frame
//! that it got, as guests do: the bytes then move from cache to cache. It does so a batch at a time, so that the mover always
//! finds whole batches and its cycles are those of moving, not of waiting for the guest's next word.
//!
//! The other thread moves: it takes up to 32 offered frames, copies each once with the 12 bytes of virtio header before it, and
//! marks both descriptors as used (virtio 1.2, 2.8). No feature but the packed ring, no chains, no notifications, no check but
//! of addresses, no header parsed, no lookup, no rule, no counter.
//!
//! `cargo bench -p ringswitch-dataplane --bench floor [-- --cpus GUESTS,MOVER] [--size BYTES] [--both-ways] [--touch] [--runs N]
//! [--seconds S] [--json]` prints the mover's cycles per frame in passes that found some, medians of several runs.

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
/// Where the buffers begin, behind all rings.
const BUFFERS: u64 = 1 << 16;
/// Room for a frame in a buffer, unless frames are longer.
const ROOM: u32 = 1536;
const LINE: u32 = 64;
/// virtio_net_hdr with num_buffers, before each frame.
const HEADER: u32 = 12;
const RUNS: usize = 5;
const SECONDS: f64 = 0.2;

// A batch never lies across the ring's end.
const _: () = assert!(SLOTS.is_multiple_of(BATCH));

/// Cycles that no batch takes: the mover's CPU was given to somebody else meanwhile.
const STOLEN: u64 = 1 << 18;

/// Flags of a descriptor, in the top of its second word: available on this lap, used on this lap.
const AVAIL: u64 = 1 << 55;
const USED: u64 = 1 << 63;

/// A place in a ring, and the wrap counter there.
#[derive(Clone, Copy)]
struct Place {
    slot: usize,
    wrap: bool,
}

impl Place {
    const START: Self = Self { slot: 0, wrap: true };

    fn next(self) -> Self {
        match self.slot + 1 {
            SLOTS => Self { slot: 0, wrap: !self.wrap },
            slot => Self { slot, ..self },
        }
    }

    fn available(self) -> u64 {
        if self.wrap { AVAIL } else { USED }
    }

    fn used(self) -> u64 {
        if self.wrap { AVAIL | USED } else { 0 }
    }

    fn second(self) -> usize {
        self.slot * SLOT + 8
    }
}

/// What a guest does with its frames.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Touch {
    Never,
    Write,
    Read,
}

/// One guest's side of a ring: offers every descriptor again when it was used.
struct Guest {
    ring: Area,
    buffers: Area,
    stride: u64,
    at: Place,
    word: u64,
    touch: Touch,
    frame: Vec<u8>,
}

impl Guest {
    /// Offers all descriptors for the first time.
    fn new(memory: &GuestMemory, number: u64, size: u32, touch: Touch) -> Self {
        let ring = ring(memory, number);
        let stride = stride(size);
        let start = BUFFERS + number * SLOTS as u64 * stride;
        let buffers = memory.area(start, SLOTS * stride as usize, SLOT).expect("in memory");
        let word = u64::from(size + HEADER);
        for slot in 0..SLOTS {
            ring.store_u64(slot * SLOT, start + slot as u64 * stride, Ordering::Relaxed);
            ring.store_u64(slot * SLOT + 8, word | Place::START.available(), Ordering::Release);
        }
        Self { ring, buffers, stride, at: Place::START, word, touch, frame: vec![7; (size + HEADER) as usize] }
    }

    fn is_used(&self, at: Place) -> bool {
        self.ring.load_u64(at.second(), Ordering::Acquire) & (AVAIL | USED) == at.used()
    }

    /// Takes a batch back, as soon as it is whole, and offers it for the next lap.
    fn turn(&mut self) {
        // The mover shows the first of those it gives back last.
        if !self.is_used(Place { slot: self.at.slot + BATCH - 1, ..self.at }) || !self.is_used(self.at) {
            return;
        }
        let first = self.at;
        for slot in first.slot..first.slot + BATCH {
            let frame = slot * self.stride as usize;
            match self.touch {
                Touch::Never => {}
                Touch::Write => self.buffers.write_bytes(frame, &self.frame),
                Touch::Read => self.buffers.read_bytes(frame, &mut self.frame),
            }
        }
        std::hint::black_box(&mut self.frame);
        let lap = self.word | Place { wrap: !first.wrap, ..first }.available();
        for slot in (first.slot..first.slot + BATCH).rev() {
            self.ring.store_u64(slot * SLOT + 8, lap, Ordering::Release);
        }
        (0..BATCH).for_each(|_| self.at = self.at.next());
    }
}

/// The guests' ring with this number.
fn ring(memory: &GuestMemory, number: u64) -> Area {
    memory.area(number * 2 * RING as u64, RING, SLOT).expect("in memory")
}

/// From one buffer to the next: an odd number of cache lines, so that equal parts of all buffers do not fall into the same few
/// sets of the caches.
fn stride(size: u32) -> u64 {
    let lines = (size.max(ROOM) + HEADER).div_ceil(LINE);
    u64::from((lines | 1) * LINE)
}

/// The mover's side of a ring.
struct Ring {
    ring: Area,
    at: Place,
}

impl Ring {
    /// The next buffer at `at`, if it is offered: address and length.
    fn offered(&self, at: Place) -> Option<(u64, u32)> {
        let second = self.ring.load_u64(at.second(), Ordering::Acquire);
        (second & (AVAIL | USED) == at.available())
            .then(|| (self.ring.load_u64(at.slot * SLOT, Ordering::Relaxed), second as u32))
    }

    /// Marks `lens.len()` buffers as used, the first one last: the guest looks there.
    fn give_back(&mut self, lens: &[u32]) {
        let first = self.at;
        self.at = self.at.next();
        for &len in &lens[1..] {
            self.ring.store_u64(self.at.second(), u64::from(len) | self.at.used(), Ordering::Relaxed);
            self.at = self.at.next();
        }
        self.ring.store_u64(first.second(), u64::from(lens[0]) | first.used(), Ordering::Release);
    }
}

/// Moves up to a batch; how many.
fn move_batch(tx: &mut Ring, rx: &mut Ring, lookup: &mut Lookup) -> usize {
    let (mut from, mut to, mut lens, mut count) = (tx.at, rx.at, [0; BATCH], 0);
    while count < BATCH
        && let Some((frame, len)) = tx.offered(from)
        && let Some((buffer, _)) = rx.offered(to)
    {
        let frame = lookup.whole(frame, len).expect("in memory");
        let buffer = lookup.whole(buffer, len).expect("in memory");
        buffer.copy_from(&frame);
        lens[count] = len;
        (from, to, count) = (from.next(), to.next(), count + 1);
    }
    if count > 0 {
        rx.give_back(&lens[..count]);
        tx.give_back(&lens[..count]);
    }
    count
}

/// What is measured.
#[derive(Clone, Copy)]
struct Case {
    both_ways: bool,
    touch: bool,
    guests_cpu: usize,
    mover_cpu: usize,
    runs: usize,
    run: Duration,
}

/// Cycles per frame that the mover spent on batches that were there.
fn run(size: u32, case: Case) -> f64 {
    let directions = if case.both_ways { 2 } else { 1 };
    let bytes = (BUFFERS + 2 * directions * SLOTS as u64 * stride(size)).next_multiple_of(4096);
    let mapping = Arc::new(Mapping::memfd(c"floor", bytes).expect("memory"));
    let memory = Arc::new(GuestMemory::new(vec![Region::of_own(mapping, 0)]).expect("one region"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin_to_cpu(case.guests_cpu).expect("the guests' CPU");
            let touch = |how| if case.touch { how } else { Touch::Never };
            let guest = |number, how| Guest::new(&memory, number, size, touch(how));
            let mut guests: Vec<Guest> =
                (0..directions).flat_map(|d| [guest(2 * d + 1, Touch::Read), guest(2 * d, Touch::Write)]).collect();
            while !stop.load(Ordering::Relaxed) {
                guests.iter_mut().for_each(Guest::turn);
            }
        });
        let mover = scope.spawn(|| {
            pin_to_cpu(case.mover_cpu).expect("the mover's CPU");
            let ring = |number| Ring { ring: ring(&memory, number), at: Place::START };
            let mut ways: Vec<(Ring, Ring)> = (0..directions).map(|d| (ring(2 * d), ring(2 * d + 1))).collect();
            let mut lookup = Lookup::new(Arc::clone(&memory));
            let (mut busy, mut frames) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                for (tx, rx) in &mut ways {
                    let start = cycles();
                    let moved = move_batch(tx, rx, &mut lookup);
                    let spent = cycles() - start;
                    if moved > 0 && spent < STOLEN {
                        busy += spent;
                        frames += moved;
                    }
                }
            }
            busy as f64 / frames.max(1) as f64
        });
        let end = Instant::now() + case.run;
        std::thread::sleep(end - Instant::now());
        stop.store(true, Ordering::Relaxed);
        mover.join().expect("the mover ends")
    })
}

fn median(size: u32, case: Case) -> f64 {
    let mut runs: Vec<f64> = (0..case.runs).map(|_| run(size, case)).collect();
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let has = |option| words.iter().any(|word| word == option);
    let given = |option| words.iter().position(|word| word == option).and_then(|at| words.get(at + 1));
    let allowed = allowed_cpus();
    let (guests_cpu, mover_cpu) = match given("--cpus").and_then(|cpus| cpus.split_once(',')) {
        Some((guests, mover)) => (guests.parse().expect("a CPU"), mover.parse().expect("a CPU")),
        None => (allowed[0], *allowed.last().expect("one CPU")),
    };
    assert_ne!(guests_cpu, mover_cpu, "two threads that poll need two CPUs");
    let case = Case {
        both_ways: has("--both-ways"),
        touch: has("--touch"),
        guests_cpu,
        mover_cpu,
        runs: given("--runs").map_or(RUNS, |runs| runs.parse().expect("a number")).max(1),
        run: Duration::from_secs_f64(given("--seconds").map_or(SECONDS, |seconds| seconds.parse().expect("seconds"))),
    };
    let sizes = match given("--size") {
        Some(size) => vec![size.parse().expect("bytes")],
        None => SIZES.to_vec(),
    };
    let figures: Vec<(u32, f64)> = sizes.into_iter().map(|size| (size, median(size, case))).collect();
    if has("--json") {
        let fields: Vec<String> = figures.iter().map(|(size, cycles)| format!("\"{size}\": {cycles:.1}")).collect();
        println!("{{{}}}", fields.join(", "));
    } else {
        figures.iter().for_each(|(size, cycles)| println!("{size:>5} B  {cycles:>8.1} cycles per frame"));
    }
}
