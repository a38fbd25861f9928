//! Packed virtqueue, driver side (virtio 1.2 section 2.8).

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::fence;

use super::order::Order;
use super::{Buffers, Place, RingError, Shape, flag, need_event};

/// Event suppression flags: never, and only at the given descriptor. (0 is always.)
const EVENT_DISABLE: u16 = 1;
const EVENT_DESC: u16 = 2;

/// The ring. Per packet one word (length, id, flags) is written and one read; the address next to it is rewritten only
/// where the device completed out of order.
#[derive(Debug)]
pub struct Packed {
    place: Place,
    buffers: Buffers,
    order: Order,
    /// The frame length in each indirect table.
    lens: Box<[u32]>,
    /// Next entry to be offered, and the wrap counter's sense there.
    next: u16,
    wrap: bool,
    /// Next entry that the device will use, and the wrap counter's sense there.
    next_used: u16,
    used_wrap: bool,
}

impl Packed {
    /// Writes the addresses into zeroed memory; nothing is offered yet.
    #[must_use]
    pub fn new(place: Place, buffers: Buffers) -> Self {
        let capacity = place.size / buffers.entries();
        let ring = Self {
            order: Order::new(capacity),
            lens: vec![buffers.room; usize::from(capacity)].into(),
            next: 0,
            wrap: true,
            next_used: 0,
            used_wrap: true,
            place,
            buffers,
        };
        ring.buffers.area.store_u16(place.driver + 2, EVENT_DISABLE, Relaxed);
        if ring.buffers.shape == Shape::Indirect {
            for id in 0..capacity {
                ring.write_table(id);
            }
        }
        ring
    }

    fn write_table(&self, id: u16) {
        let (first, second) = self.buffers.pieces(id, self.buffers.room);
        let at = self.buffers.table_offset(id);
        for (offset, piece) in [Some(first), second].into_iter().flatten().enumerate().map(|(i, p)| (at + 16 * i, p)) {
            // In a packed table only WRITE means anything; the order says what follows.
            let flags = piece.flags & flag::WRITE;
            self.buffers.area.store_u64(offset, piece.address, Relaxed);
            self.buffers.area.store_u64(offset + 8, u64::from(piece.len) | u64::from(flags) << 48, Relaxed);
        }
    }

    #[inline(always)]
    fn entry(&self, position: u16) -> usize {
        self.place.desc + 16 * usize::from(position)
    }

    /// True when the device has used the entry, as seen from `next_used` (a little further is fine).
    #[inline(always)]
    fn is_used(&self, position: u16, wrap: bool) -> Option<u64> {
        let word = self.buffers.area.load_u64(self.entry(position) + 8, Acquire);
        let want = if wrap { flag::AVAIL | flag::USED } else { 0 };
        ((word >> 48) as u16 & (flag::AVAIL | flag::USED) == want).then_some(word)
    }

    /// See [`Ring::take`](super::Ring::take). Patience: the last of the wanted entries is looked at first, several cache
    /// lines ahead of those that the device is writing.
    #[inline(always)]
    pub fn take(&mut self, max: usize, patient: bool, mut used: impl FnMut(u16, u32)) -> Result<usize, RingError> {
        let entries = self.buffers.entries();
        if patient && !self.place.in_order && !self.has_used(max) {
            return Ok(0);
        }
        if patient && !self.place.in_order {
            self.fetch(max);
        }
        let mut count = 0;
        while count < max && self.order.lent() > 0 {
            let Some(word) = self.is_used(self.next_used, self.used_wrap) else { break };
            let (id, len) = ((word >> 32) as u16, word as u32);
            let taken = if self.place.in_order && !self.buffers.writable {
                self.order.take_through(id)? as u16
            } else {
                self.order.take(id)?;
                used(id, len);
                1
            };
            self.next_used += taken * entries;
            if self.next_used >= self.place.size {
                self.next_used -= self.place.size;
                self.used_wrap = !self.used_wrap;
            }
            count += usize::from(taken);
        }
        Ok(count)
    }

    /// Fetches the next `max` buffers' entries for writing, all at once: they are read now and written soon, and one after
    /// the other each would wait for the device's core twice.
    #[inline(always)]
    fn fetch(&self, max: usize) {
        let count = max.min(self.order.lent() as usize) * usize::from(self.buffers.entries());
        let mask = usize::from(self.place.size) - 1;
        for ahead in (0..count).step_by(4) {
            let position = (usize::from(self.next_used) + ahead) & mask;
            self.buffers.area.prefetch_write(self.entry(position as u16));
        }
    }

    #[inline(always)]
    fn has_used(&self, max: usize) -> bool {
        let max = max.min(self.order.lent() as usize);
        if max == 0 {
            return false;
        }
        let ahead = usize::from(self.next_used) + (max - 1) * usize::from(self.buffers.entries());
        let size = usize::from(self.place.size);
        let (position, wrap) = if ahead >= size { (ahead - size, !self.used_wrap) } else { (ahead, self.used_wrap) };
        self.is_used(position as u16, wrap).is_some()
    }

    /// See [`Ring::offer`](super::Ring::offer).
    #[inline(always)]
    pub fn offer(&mut self, count: usize, mut fill: impl FnMut(u16) -> u32) -> (usize, bool) {
        let count = count.min(self.order.free());
        if count == 0 {
            return (0, false);
        }
        let (old, old_wrap) = (self.next, self.wrap);
        // The first entry's flags are written last: until then the device sees nothing of the batch.
        let mut first = 0;
        for number in 0..count {
            let id = self.order.offer();
            let len = fill(id);
            let word = self.write_entry(id, len);
            if number == 0 {
                first = word;
            } else {
                self.buffers.area.store_u64(self.entry(self.next) + 8, word, Release);
            }
            self.next += self.buffers.entries();
            if self.next >= self.place.size {
                self.next -= self.place.size;
                self.wrap = !self.wrap;
            }
        }
        self.buffers.area.store_u64(self.entry(old) + 8, first, Release);
        (count, self.wants_kick(old, old_wrap))
    }

    /// Writes all of the next entry but the word that makes it available, which is returned.
    #[inline(always)]
    fn write_entry(&mut self, id: u16, len: u32) -> u64 {
        let wrap = if self.wrap { flag::AVAIL } else { flag::USED };
        let word = |len: u32, flags: u16| u64::from(len) | u64::from(id) << 32 | u64::from(flags | wrap) << 48;
        let write = if self.buffers.writable { flag::WRITE } else { 0 };
        let header = self.buffers.header;
        let mut address = self.buffers.base + self.buffers.header_offset(id) as u64;
        let word = match self.buffers.shape {
            Shape::Single => word(len + header, write),
            Shape::Chain => {
                let second = self.entry(self.next + 1);
                self.store_address(second, address + u64::from(header));
                self.buffers.area.store_u64(second + 8, word(len, write), Relaxed);
                word(header, write | flag::NEXT)
            }
            Shape::Indirect => {
                if self.lens[usize::from(id)] != len {
                    self.lens[usize::from(id)] = len;
                    self.buffers.area.store_u32(self.buffers.table_offset(id) + 24, len, Relaxed);
                }
                address = self.buffers.base + self.buffers.table_offset(id) as u64;
                word(32, flag::INDIRECT)
            }
        };
        self.store_address(self.entry(self.next), address);
        word
    }

    /// The device need not keep the address of an entry that it used, but all do.
    #[inline(always)]
    fn store_address(&self, entry: usize, address: u64) {
        if self.buffers.area.load_u64(entry, Relaxed) != address {
            self.buffers.area.store_u64(entry, address, Relaxed);
        }
    }

    #[inline(always)]
    fn wants_kick(&self, old: u16, old_wrap: bool) -> bool {
        fence(SeqCst);
        let word = self.buffers.area.load_u32(self.place.device, Relaxed);
        let (at, flags) = (word as u16, (word >> 16) as u16 & 3);
        if flags != EVENT_DESC {
            return flags != EVENT_DISABLE;
        }
        // All three in the distance from where the ring was at `old` (section 2.8.10).
        let size = self.place.size;
        let new = if self.wrap == old_wrap { self.next } else { self.next + size };
        let (event, event_wrap) = (at & 0x7fff, at >> 15 != 0);
        let event = if event_wrap == old_wrap { event } else { event.wrapping_add(size) };
        need_event(event, new, old)
    }

    /// Buffers not lent.
    #[inline(always)]
    #[must_use]
    pub fn free(&self) -> usize {
        self.order.free()
    }

    /// The buffers.
    #[inline(always)]
    #[must_use]
    pub fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Where it lies.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }
}
