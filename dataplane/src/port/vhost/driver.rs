//! A plain driver, the guest's side of a ring: for tests, fuzzers and benchmarks. It makes chains of any shape, right or
//! wrong; it is not fast.
//!
//! Spec: virtio 1.2, 2.7 and 2.8. Neighbours: the rings of this room are its peers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::engine::{flag, passed};
use super::{RingFault, RingFeatures, RingSetup};
use crate::mem::{Area, GuestMemory};

/// A piece of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Guest-physical address.
    pub address: u64,
    /// Bytes.
    pub len: u32,
    /// Device-writable.
    pub writable: bool,
}

/// When the driver wants to be notified of used buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Of each.
    Always,
    /// It polls.
    Never,
    /// When the next buffer after so many more is used (with EVENT_IDX).
    After(u16),
}

/// One ring, from the guest's side.
pub struct Driver {
    /// Where the ring is, for the device.
    start: u64,
    size: u16,
    features: RingFeatures,
    memory: Arc<GuestMemory>,
    desc: Area,
    driver: Area,
    device: Area,
    /// Free descriptors (split) or free buffer ids (packed).
    free: VecDeque<u16>,
    /// Free places in the ring (packed).
    room: u16,
    /// Per id: the descriptors that the buffer occupies.
    held: Vec<Vec<u16>>,
    /// Ids in the order in which they were made available.
    order: VecDeque<u16>,
    avail: u16,
    avail_wrap: bool,
    used: u16,
    used_wrap: bool,
    kicked: u16,
}

/// Bytes that a ring of this size takes, at most.
#[must_use]
pub fn ring_bytes(size: u16) -> usize {
    (32 * usize::from(size) + 256).next_multiple_of(4096)
}

impl Driver {
    /// A new ring at `start` (front-end address = guest-physical address), all zero.
    ///
    /// # Panics
    /// When [`ring_bytes`] from there are not in one region.
    #[must_use]
    pub fn new(memory: &Arc<GuestMemory>, start: u64, size: u16, features: RingFeatures) -> Self {
        let count = usize::from(size);
        let area = |address, len| memory.area(address, len, 4).expect("the ring lies in one region");
        let whole = area(start, ring_bytes(size));
        (0..whole.len()).step_by(8).for_each(|offset| whole.store_u64(offset, 0, Ordering::Relaxed));
        let (driver_at, device_at) = places(start, size);
        Self {
            start,
            size,
            features,
            memory: Arc::clone(memory),
            desc: area(start, 16 * count),
            driver: area(driver_at, 6 + 2 * count),
            device: area(device_at, 6 + 8 * count),
            free: (0..size).collect(),
            room: size,
            held: vec![Vec::new(); count],
            order: VecDeque::new(),
            avail: 0,
            avail_wrap: true,
            used: 0,
            used_wrap: true,
            kicked: 0,
        }
    }

    /// What the device needs to open this ring from its start; without kick and call.
    #[must_use]
    pub fn setup(&self, fault: &Arc<RingFault>) -> RingSetup {
        let (driver, device) = places(self.start, self.size);
        RingSetup {
            size: self.size,
            desc: self.start,
            driver,
            device,
            base: if self.features.packed { 0x8000_8000 } else { 0 },
            memory: Arc::clone(&self.memory),
            features: self.features,
            kick: None,
            call: None,
            fault: Arc::clone(fault),
        }
    }

    /// Makes a buffer available; its id, or `None` when the ring has no room for it.
    pub fn add(&mut self, pieces: &[Piece]) -> Option<u16> {
        let entries: Vec<_> = pieces.iter().map(|&piece| (piece, 0)).collect();
        self.add_entries(&entries)
    }

    /// Makes a buffer available whose last pieces stand in an indirect table, to be written at `table`.
    ///
    /// # Panics
    /// When the table is outside memory.
    pub fn add_indirect(&mut self, direct: &[Piece], table: u64, pieces: &[Piece]) -> Option<u16> {
        for (index, piece) in pieces.iter().enumerate() {
            let last = index + 1 == pieces.len();
            let mut flags = if piece.writable { flag::WRITE } else { 0 };
            flags |= if last || self.features.packed { 0 } else { flag::NEXT };
            let high = self.high(piece.len, index as u16 + 1, flags);
            self.write(table + 16 * index as u64, &piece.address.to_le_bytes());
            self.write(table + 16 * index as u64 + 8, &high.to_le_bytes());
        }
        let mut entries: Vec<_> = direct.iter().map(|&piece| (piece, 0)).collect();
        let len = 16 * pieces.len() as u32;
        entries.push((Piece { address: table, len, writable: false }, flag::INDIRECT));
        self.add_entries(&entries)
    }

    fn add_entries(&mut self, entries: &[(Piece, u16)]) -> Option<u16> {
        let id = if self.features.packed { self.add_packed(entries)? } else { self.add_split(entries)? };
        self.order.push_back(id);
        Some(id)
    }

    fn add_split(&mut self, entries: &[(Piece, u16)]) -> Option<u16> {
        if self.free.len() < entries.len() {
            return None;
        }
        let taken: Vec<u16> = self.free.drain(..entries.len()).collect();
        for (place, (piece, extra)) in entries.iter().enumerate() {
            let next = taken.get(place + 1);
            let flags = extra | if piece.writable { flag::WRITE } else { 0 } | next.map_or(0, |_| flag::NEXT);
            self.set_desc(taken[place], piece.address, piece.len, next.copied().unwrap_or(0), flags);
        }
        let id = taken[0];
        self.held[usize::from(id)] = taken;
        self.push_avail(id);
        Some(id)
    }

    fn add_packed(&mut self, entries: &[(Piece, u16)]) -> Option<u16> {
        let count = entries.len() as u16;
        if self.room < count {
            return None;
        }
        let id = self.free.pop_front()?;
        let (first, mut first_flags) = (self.avail, 0);
        for (place, (piece, extra)) in entries.iter().enumerate() {
            let next = if place + 1 < entries.len() { flag::NEXT } else { 0 };
            let state = if self.avail_wrap { 1 << 7 } else { 1 << 15 };
            let flags = extra | if piece.writable { flag::WRITE } else { 0 } | next | state;
            if place == 0 {
                first_flags = flags;
            }
            // The first becomes available when all others are written.
            let flags = if place == 0 { flags ^ (1 << 7 | 1 << 15) } else { flags };
            self.set_desc(self.avail, piece.address, piece.len, id, flags);
            self.avail += 1;
            if self.avail == self.size {
                (self.avail, self.avail_wrap) = (0, !self.avail_wrap);
            }
        }
        self.desc.store_u16(16 * usize::from(first) + 14, first_flags, Ordering::Release);
        self.room -= count;
        self.held[usize::from(id)] = vec![0; entries.len()];
        Some(id)
    }

    /// Buffers that came back: id, and bytes written.
    pub fn collect(&mut self) -> Vec<(u16, u32)> {
        let mut back = Vec::new();
        while let Some((id, len)) = self.next_used() {
            // IN_ORDER: one entry stands for all buffers up to it.
            while self.features.in_order && self.order.front().is_some_and(|&earlier| earlier != id) {
                let earlier = self.order.pop_front().unwrap_or(id);
                self.release(earlier);
                back.push((earlier, 0));
            }
            self.order.retain(|&other| other != id);
            self.release(id);
            back.push((id, len));
        }
        back
    }

    fn next_used(&mut self) -> Option<(u16, u32)> {
        if self.features.packed {
            let high = self.desc.load_u64(16 * usize::from(self.used) + 8, Ordering::Acquire);
            let (avail, used) = (high >> 55 & 1 == 1, high >> 63 == 1);
            return (avail == used && used == self.used_wrap).then_some(((high >> 32) as u16, high as u32));
        }
        let entry = 4 + 8 * usize::from(self.used & (self.size - 1));
        (self.device.load_u16(2, Ordering::Acquire) != self.used).then(|| {
            (self.device.load_u32(entry, Ordering::Relaxed) as u16, self.device.load_u32(entry + 4, Ordering::Relaxed))
        })
    }

    fn release(&mut self, id: u16) {
        let held = std::mem::take(&mut self.held[usize::from(id)]);
        if !self.features.packed {
            self.used = self.used.wrapping_add(1);
            self.free.extend(held);
            return;
        }
        self.free.push_back(id);
        self.room += held.len() as u16;
        self.used += held.len() as u16;
        if self.used >= self.size {
            (self.used, self.used_wrap) = (self.used - self.size, !self.used_wrap);
        }
    }

    /// Says when the driver wants to be notified.
    pub fn wish(&mut self, wish: Wish) {
        if self.features.packed {
            let (mut index, mut wrap) = (self.used, self.used_wrap);
            let flags = match wish {
                Wish::Always => 0,
                Wish::Never => 1,
                Wish::After(count) => {
                    index += count;
                    if index >= self.size {
                        (index, wrap) = (index - self.size, !wrap);
                    }
                    2
                }
            };
            let event = u32::from(index) | u32::from(wrap) << 15 | flags << 16;
            self.driver.store_u32(0, event, Ordering::SeqCst);
            return;
        }
        let after = match wish {
            Wish::Always => 0,
            Wish::Never => u16::MAX,
            Wish::After(count) => count,
        };
        self.driver.store_u16(0, u16::from(wish == Wish::Never), Ordering::Relaxed);
        self.driver.store_u16(4 + 2 * usize::from(self.size), self.used.wrapping_add(after), Ordering::SeqCst);
    }

    /// True when the device wants a kick for what was added since this was asked last.
    pub fn must_kick(&mut self) -> bool {
        fence(Ordering::SeqCst);
        let old = std::mem::replace(&mut self.kicked, self.avail);
        if self.features.packed {
            return self.device.load_u16(2, Ordering::Relaxed) != 1;
        }
        if self.features.event_idx {
            let event = self.device.load_u16(4 + 8 * usize::from(self.size), Ordering::Relaxed);
            return passed(event, self.avail, old);
        }
        self.device.load_u16(0, Ordering::Relaxed) & 1 == 0
    }

    /// Writes a descriptor, whatever it says. `link` is the next index (split) or the buffer id (packed).
    pub fn set_desc(&self, index: u16, address: u64, len: u32, link: u16, flags: u16) {
        let at = 16 * usize::from(index);
        self.desc.store_u64(at, address, Ordering::Relaxed);
        self.desc.store_u64(at + 8, self.high(len, link, flags), Ordering::Release);
    }

    /// Split: makes any number available as a head.
    pub fn push_avail(&mut self, head: u16) {
        self.driver.store_u16(4 + 2 * usize::from(self.avail & (self.size - 1)), head, Ordering::Relaxed);
        self.avail = self.avail.wrapping_add(1);
        self.set_avail_index(self.avail);
    }

    /// Split: writes the available index, whatever it says.
    pub fn set_avail_index(&self, index: u16) {
        self.driver.store_u16(2, index, Ordering::Release);
    }

    /// Writes guest memory, across regions.
    ///
    /// # Panics
    /// When the bytes are not all in the memory table.
    pub fn write(&self, mut address: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let span = self.memory.span(address, bytes.len() as u32, &mut 0).expect("inside memory");
            let count = span.write(bytes);
            (address, bytes) = (address + count as u64, &bytes[count..]);
        }
    }

    /// Reads guest memory, across regions.
    ///
    /// # Panics
    /// When the bytes are not all in the memory table.
    #[must_use]
    pub fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let (mut bytes, mut at) = (vec![0; len], 0);
        while at < len {
            let span = self.memory.span(address + at as u64, (len - at) as u32, &mut 0).expect("inside memory");
            at += span.read(&mut bytes[at..]);
        }
        bytes
    }

    fn high(&self, len: u32, link: u16, flags: u16) -> u64 {
        let (low, high) = if self.features.packed { (link, flags) } else { (flags, link) };
        u64::from(len) | u64::from(low) << 32 | u64::from(high) << 48
    }
}

/// Driver's and device's areas of a ring at `start`.
fn places(start: u64, size: u16) -> (u64, u64) {
    let driver = start + 16 * u64::from(size);
    (driver, (driver + 6 + 2 * u64::from(size)).next_multiple_of(64))
}
