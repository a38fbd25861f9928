//! Guests that talk in a closed loop: nothing more is sent before everything has arrived, so a frame that is missing was
//! lost by the switch and by nobody else.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rspktgen::guest::{Guest, GuestConfig};

use super::eventually;

/// How long a frame may take before it counts as lost.
const LOST: Duration = Duration::from_secs(10);
/// Frames that an honest pair has under way.
const WINDOW: usize = 24;

/// The address of the guest on port `number`.
pub fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}

/// An IPv4 frame of an experimental protocol, `len` bytes that depend on `seed`; of a shorter one its beginning.
pub fn frame(from: [u8; 6], to: [u8; 6], len: usize, seed: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len.max(34)).map(|at| (at.wrapping_mul(31) ^ seed.wrapping_mul(17)) as u8).collect();
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&from);
    frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253]);
    frame[26..34].copy_from_slice(&[192, 0, 2, from[5], 192, 0, 2, to[5]]);
    frame.truncate(len);
    frame
}

/// Opens a guest on this socket, with options as on rspktgen's command line, that can send frames of any length.
pub fn open(path: &Path, options: &str) -> Guest {
    let text = [&path.to_string_lossy(), options].join(",");
    let text = text.trim_end_matches(',');
    let config: GuestConfig = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    Guest::open(GuestConfig { max_frame: 9300, ..config }).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

/// Sends a frame, when there is room.
pub fn send(guest: &mut Guest, queue: usize, frame: &[u8]) {
    let start = Instant::now();
    while !guest.send(queue, frame).expect("a sound ring") {
        assert!(start.elapsed() < LOST, "no room to send");
        std::thread::yield_now();
    }
}

/// These frames arrive, byte for byte, and no others; in this order, unless the guest has several queues (frames too short
/// for an address are not of the same flow as the rest).
pub fn assert_receives(who: &str, guest: &mut Guest, frames: &[Vec<u8>]) {
    let mut missing: Vec<_> = frames.iter().collect();
    while let Some(first) = missing.first() {
        let received = guest.receive_within(LOST).expect("a sound ring");
        let received = received.unwrap_or_else(|| panic!("{who}: a frame of {} bytes was lost", first.len()));
        let any = if guest.config().queues > 1 { missing.len() } else { 1 };
        let Some(place) = missing[..any].iter().position(|&frame| *frame == received) else {
            panic!("{who}: instead of {} bytes came {} others", first.len(), received.len());
        };
        missing.remove(place);
    }
}

/// Whatever is waiting to be received.
pub fn drain(guest: &mut Guest) -> usize {
    let mut count = 0;
    while guest.receive_within(Duration::from_millis(100)).expect("a sound ring").is_some() {
        count += 1;
    }
    count
}

/// Two guests that talk all the time, on a thread of their own, and lose nothing.
pub struct HonestPair {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: JoinHandle<[Guest; 2]>,
}

impl HonestPair {
    /// The guests on ports 1 and 2 start to talk.
    pub fn start(mut guests: [Guest; 2]) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&rounds));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let round = counted.fetch_add(1, Ordering::Relaxed) as usize;
                for (from, to) in [(0, 1), (1, 0)] {
                    let frames: Vec<_> = (0..WINDOW)
                        .map(|nth| frame(mac(from as u8 + 1), mac(to as u8 + 1), 60 + 61 * nth, round + nth))
                        .collect();
                    frames.iter().for_each(|frame| send(&mut guests[from], 0, frame));
                    assert_receives("the honest pair", &mut guests[to], &frames);
                }
            }
            guests
        });
        Self { stop, rounds, thread }
    }

    /// Waits until they have talked for this many rounds more.
    pub fn talks(&self, rounds: u64) {
        let goal = self.rounds.load(Ordering::Relaxed) + rounds;
        eventually("the honest pair talks", || {
            assert!(!self.thread.is_finished(), "the honest pair lost a frame");
            self.rounds.load(Ordering::Relaxed) >= goal
        });
    }

    /// They stop; every frame had arrived.
    pub fn stop(self) -> [Guest; 2] {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| panic!("the honest pair lost a frame"))
    }
}
