//! One trial: workers send and receive, the caller's thread watches.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringswitch_dataplane::sys::{affinity, clock};

use super::window::Window;
use super::{Counters, Station};

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Frames per second of each sender; infinite for as many as go.
    pub pps: f64,
    /// Stop after this time.
    pub duration: Option<Duration>,
    /// Stop after this many frames, all senders together.
    pub count: Option<u64>,
    /// Frames that may be on their way at the same time, all senders of a core together.
    pub window: Option<u64>,
}

/// The state of a running trial.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Since it began.
    pub elapsed: Duration,
    /// Sums over all stations.
    pub total: Counters,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// By station.
    pub stations: Vec<Counters>,
    /// How long was sent.
    pub sending: Duration,
    /// Ended by a signal.
    pub interrupted: bool,
    /// A back-end broke a ring or went away.
    pub faults: Vec<String>,
}

impl Outcome {
    /// Sums over all stations.
    #[must_use]
    pub fn total(&self) -> Counters {
        sum(&self.stations)
    }
}

fn sum(stations: &[Counters]) -> Counters {
    let mut total = Counters::default();
    for counters in stations {
        total.tx_frames += counters.tx_frames;
        total.tx_bytes += counters.tx_bytes;
        total.tx_missed += counters.tx_missed;
        total.rx_frames += counters.rx_frames;
        total.rx_bytes += counters.rx_bytes;
        total.tx_cycles += counters.tx_cycles;
        total.rx_cycles += counters.rx_cycles;
    }
    total
}

const SEND: u8 = 0;
const DRAIN: u8 = 1;
const STOP: u8 = 2;

/// Nothing may arrive for so long before the trial ends while frames are missing.
const QUIET: Duration = Duration::from_millis(100);
/// It ends after this in any case.
const MAX_DRAIN: Duration = Duration::from_secs(2);
/// How often the watching thread looks.
const TICK: Duration = Duration::from_millis(10);

/// What workers and the watching thread share.
struct Shared {
    phase: AtomicU8,
    still_sending: AtomicUsize,
    counters: Mutex<Vec<Counters>>,
    faults: Mutex<Vec<String>>,
    /// Longest time that a worker sent, cycles.
    sending: Mutex<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a trial with one worker thread per core, stations dealt out in turn. `cores` may be empty: one thread, not pinned.
/// `stop` ends it early; `watch` is called every 10 ms.
pub fn run(
    stations: &mut [Station],
    cores: &[usize],
    load: Load,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&Progress),
) -> Outcome {
    let senders = stations.iter().filter(|station| station.is_sender()).count() as u64;
    let mut sender = 0;
    for station in &mut *stations {
        let share = |count: u64| count / senders.max(1) + u64::from(sender < count % senders.max(1));
        station.begin(load.pps, load.count.map_or(u64::MAX, share));
        sender += u64::from(station.is_sender());
    }
    let count = cores.len().max(1).min(stations.len());
    let mut lots: Vec<Vec<(usize, &mut Station)>> = (0..count).map(|_| Vec::new()).collect();
    let total = stations.len();
    for (index, station) in stations.iter_mut().enumerate() {
        lots[index % count].push((index, station));
    }
    let shared = Shared {
        phase: AtomicU8::new(SEND),
        still_sending: AtomicUsize::new(lots.len()),
        counters: Mutex::new(vec![Counters::default(); total]),
        faults: Mutex::new(Vec::new()),
        sending: Mutex::new(0),
    };
    let interrupted = std::thread::scope(|scope| {
        for (worker, lot) in lots.into_iter().enumerate() {
            let (shared, core) = (&shared, cores.get(worker).copied());
            let window = Window::new(load.window);
            scope.spawn(move || work(lot, core, load.duration, window, shared));
        }
        let interrupted = supervise(&shared, stop, watch);
        shared.phase.store(STOP, Ordering::Release);
        interrupted
    });
    let cycles = *lock(&shared.sending);
    Outcome {
        stations: std::mem::take(&mut *lock(&shared.counters)),
        sending: Duration::from_secs_f64(cycles as f64 / clock::cycles_per_second() as f64),
        interrupted,
        faults: std::mem::take(&mut *lock(&shared.faults)),
    }
}

/// Waits until all is sent and nothing arrives any more; true when a signal ended it.
fn supervise(shared: &Shared, stop: &AtomicBool, watch: &mut dyn FnMut(&Progress)) -> bool {
    let start = Instant::now();
    let (mut received, mut quiet_since, mut drain_since) = (0, start, None);
    loop {
        std::thread::sleep(TICK);
        let total = sum(&lock(&shared.counters));
        watch(&Progress { elapsed: start.elapsed(), total });
        if stop.load(Ordering::Relaxed) && drain_since.is_none() {
            shared.phase.store(DRAIN, Ordering::Release);
        }
        if total.rx_frames != received {
            (received, quiet_since) = (total.rx_frames, Instant::now());
        }
        if shared.still_sending.load(Ordering::Acquire) == 0 {
            let since = *drain_since.get_or_insert_with(Instant::now);
            let quiet = quiet_since.max(since).elapsed() >= if received >= total.tx_frames { 3 * TICK } else { QUIET };
            if quiet || since.elapsed() >= MAX_DRAIN {
                return stop.load(Ordering::Relaxed);
            }
        }
    }
}

/// One worker thread.
fn work(
    mut lot: Vec<(usize, &mut Station)>,
    core: Option<usize>,
    limit: Option<Duration>,
    mut window: Window,
    shared: &Shared,
) {
    if let Some(core) = core
        && let Err(error) = affinity::pin_to_cpu(core)
    {
        lock(&shared.faults).push(format!("pinning to core {core}: {error}"));
    }
    let second = clock::cycles_per_second();
    let start = clock::cycles();
    let end = limit.map_or(u64::MAX, |limit| start + (limit.as_secs_f64() * second as f64) as u64);
    let (mut sending, mut housekeeping) = (true, start);
    let mut faults = 0;
    // Whoever sent last comes last, so that the first one does not take the whole window.
    let mut last = lot.len() - 1;
    loop {
        let now = clock::cycles();
        let first = last + 1;
        if sending && (now >= end || lot.iter().all(|(_, station)| station.is_over())) {
            sending = false;
            finish_sending(shared, now - start);
        }
        for turn in 0..lot.len() {
            let place = (first + turn) % lot.len();
            let station = &mut *lot[place].1;
            let (sent, received) = (station.counters.tx_frames, station.counters.rx_frames);
            let turn = station.turn(now, sending, window.room());
            let (sent, received) = (station.counters.tx_frames - sent, station.counters.rx_frames - received);
            window.moved(sent, received, now);
            if sent > 0 {
                last = place;
            }
            if let Err(error) = turn {
                let text = station.lose(&crate::report::chain(&error));
                report(shared, text, &mut faults);
            }
        }
        if now.wrapping_sub(housekeeping) > second / 1000 {
            housekeeping = now;
            window.forgive(now, second / 100);
            for (index, station) in &mut lot {
                lock(&shared.counters)[*index] = station.counters;
                if let Some(text) = station.look_after() {
                    report(shared, text, &mut faults);
                }
            }
            match shared.phase.load(Ordering::Acquire) {
                STOP => break,
                DRAIN if sending => {
                    sending = false;
                    finish_sending(shared, now - start);
                }
                _ => {}
            }
        }
    }
    for (index, station) in &lot {
        lock(&shared.counters)[*index] = station.counters;
    }
}

fn finish_sending(shared: &Shared, cycles: u64) {
    let mut longest = lock(&shared.sending);
    *longest = (*longest).max(cycles);
    shared.still_sending.fetch_sub(1, Ordering::AcqRel);
}

/// Lines of the same trouble that are worth reading.
const MAX_FAULTS: u32 = 20;

fn report(shared: &Shared, text: String, faults: &mut u32) {
    *faults += 1;
    if *faults <= MAX_FAULTS {
        eprintln!("rspktgen: {text}");
        lock(&shared.faults).push(text);
    }
}
