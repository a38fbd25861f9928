//! A guest that writes whatever it likes into its rings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use ringswitch_dataplane::mem::Area;
use ringswitch_dataplane::port::vhost::driver::Driver;

use crate::Random;
use crate::guest::{BUFFER_BYTES, BUFFERS, Guest, RINGS};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// The guest's place in one of its rings, kept apart from the driver, which believes in used entries.
pub struct Hostile {
    size: u16,
    packed: bool,
    /// Of buffers in this ring.
    write: u16,
    at: u16,
    wrap: bool,
    offered: u16,
    /// The used index, for split rings.
    used: u64,
}

impl Hostile {
    /// Of the ring that the switch receives from, and of the other.
    #[must_use]
    pub fn rings(guest: &Guest) -> [Self; 2] {
        [(&guest.sends, 0), (&guest.receives, WRITE)].map(|(driver, write)| {
            let setup = driver.setup(&guest.fault);
            let (size, packed) = (setup.size, guest.features.packed);
            Self { size, packed, write, at: 0, wrap: true, offered: 0, used: setup.device + 2 }
        })
    }

    /// Does something to the ring: mostly a buffer that is nearly right, sometimes nonsense.
    pub fn act(&mut self, random: &mut Random, driver: &mut Driver, words: &Area) {
        match random.below(24) {
            0 => {
                let at = random.index(words.len() / 8) * 8;
                words.store_u64(at, random.edge(), Relaxed);
            }
            1 => {
                let at = random.index(words.len() / 2) * 2;
                words.store_u16(at, random.edge() as u16, Relaxed);
            }
            2 if !self.packed => driver.set_avail_index(random.edge() as u16),
            3 => {
                let flags = random.word() as u16;
                driver.set_desc(
                    random.below(u64::from(self.size)) as u16,
                    address(random),
                    random.edge() as u32,
                    0,
                    flags,
                );
            }
            _ => self.offer(random, driver),
        }
    }

    /// A chain, with a mistake now and then.
    fn offer(&mut self, random: &mut Random, driver: &mut Driver) {
        let used = u16::from_le_bytes(driver.read(self.used, 2).try_into().expect("two bytes"));
        if !self.packed && self.offered.wrapping_sub(used) >= self.size && !random.once_in(50) {
            return;
        }
        let count = if random.once_in(20) { random.below(u64::from(self.size) + 2) } else { 1 + random.below(4) };
        let count = count as u16;
        let (head, mistakes) = (self.at, !random.once_in(3));
        for nth in 0..count {
            let slip = mistakes && random.once_in(40);
            let mut flags = self.write | if nth + 1 < count { NEXT } else { 0 };
            let (mut address, mut len) = (address(random), random.below(900) as u32);
            if random.once_in(8) && nth + 1 == count {
                (address, len) = (table(random, driver, self.packed, self.write), 16 * (1 + random.below(9)) as u32);
                flags = flags & !WRITE | INDIRECT;
            }
            if slip {
                match random.below(4) {
                    0 => flags ^= 1 << random.below(3),
                    1 => len = random.edge() as u32,
                    2 => address = random.edge(),
                    _ => self.at = random.below(u64::from(self.size)) as u16,
                }
            }
            let next = (self.at + 1) % self.size;
            let id = if slip && random.once_in(2) { random.edge() as u16 } else { next };
            if self.packed {
                flags |= if self.wrap { AVAIL } else { USED };
            }
            driver.set_desc(self.at, address, len, id, flags);
            self.wrap ^= next == 0;
            self.at = next;
        }
        if !self.packed {
            driver.push_avail(if mistakes && random.once_in(40) { random.edge() as u16 } else { head });
            self.offered = self.offered.wrapping_add(1);
        }
    }
}

/// Mostly inside memory: buffers, and the rings themselves.
fn address(random: &mut Random) -> u64 {
    match random.below(40) {
        0 => random.edge(),
        1 => RINGS + random.below(0x4000),
        2 => BUFFERS + BUFFER_BYTES - random.below(900),
        _ => BUFFERS + random.below(BUFFER_BYTES - 1000),
    }
}

/// Writes an indirect table somewhere and says where.
fn table(random: &mut Random, driver: &Driver, packed: bool, write: u16) -> u64 {
    let place = BUFFERS + random.below(BUFFER_BYTES - 256);
    for nth in 0..1 + random.below(9) {
        let next = if random.once_in(5) || packed { 0 } else { NEXT };
        let flags = if random.once_in(30) { random.word() as u16 } else { write | next };
        let link = if random.once_in(30) { random.edge() as u16 } else { nth as u16 + 1 };
        let len = if random.once_in(50) { random.edge() as u32 } else { random.below(400) as u32 };
        let (low, high) = if packed { (link, flags) } else { (flags, link) };
        let word = u64::from(len) | u64::from(low) << 32 | u64::from(high) << 48;
        driver.write(place + 16 * nth, &address(random).to_le_bytes());
        driver.write(place + 16 * nth + 8, &word.to_le_bytes());
    }
    place
}

/// Another CPU of the guest, which writes into the rings while the switch reads them.
pub struct Scribbler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scribbler {
    /// Starts to write.
    #[must_use]
    pub fn start(mut random: Random, words: Area) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            // The same few words again and again, back and forth: what is read twice differs.
            let places: Vec<_> = (0..8).map(|_| random.index(words.len() / 8) * 8).collect();
            while !stopped.load(Relaxed) {
                let at = *random.pick(&places);
                let old = words.load_u64(at, Relaxed);
                words.store_u64(
                    at,
                    if random.once_in(2) { random.edge() } else { old ^ 1 << random.below(64) },
                    Relaxed,
                );
                words.store_u64(at, old, Relaxed);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Scribbler {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
