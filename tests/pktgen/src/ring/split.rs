//! Split virtqueue, driver side (virtio 1.2 section 2.7).

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::fence;

use super::order::Order;
use super::{Buffers, Place, RingError, Shape, flag, need_event};

/// Available ring flag: do not interrupt.
const NO_INTERRUPT: u16 = 1;
/// Used ring flag: do not kick.
const NO_NOTIFY: u16 = 1;

/// The ring. The descriptor of a buffer never moves, only its length changes; the available ring is rewritten only where
/// the device completed out of order.
#[derive(Debug)]
pub struct Split {
    place: Place,
    buffers: Buffers,
    order: Order,
    /// The frame length in each buffer's descriptor.
    lens: Box<[u32]>,
    /// The device's index as last read.
    used_idx: u16,
}

impl Split {
    /// Writes the descriptors into zeroed memory; nothing is offered yet.
    #[must_use]
    pub fn new(place: Place, buffers: Buffers) -> Self {
        let capacity = place.size / buffers.entries();
        let ring = Self {
            order: Order::new(capacity),
            lens: vec![buffers.room; usize::from(capacity)].into(),
            used_idx: 0,
            place,
            buffers,
        };
        for id in 0..capacity {
            ring.write_descriptors(id);
        }
        for slot in 0..place.size {
            ring.buffers.area.store_u16(ring.avail_entry(slot), ring.head(slot % capacity), Relaxed);
        }
        ring.buffers.area.store_u16(place.driver, NO_INTERRUPT, Relaxed);
        ring
    }

    fn write_descriptors(&self, id: u16) {
        let area = &self.buffers.area;
        let write = |offset: usize, address: u64, len: u32, flags: u16, next: u16| {
            area.store_u64(offset, address, Relaxed);
            area.store_u64(offset + 8, u64::from(len) | u64::from(flags) << 32 | u64::from(next) << 48, Relaxed);
        };
        let (first, second) = self.buffers.pieces(id, self.buffers.room);
        let desc = self.place.desc + 16 * usize::from(self.head(id));
        let Some(second) = second else { return write(desc, first.address, first.len, first.flags, 0) };
        let (at, next) = match self.buffers.shape {
            Shape::Indirect => {
                let table = self.buffers.table_offset(id);
                write(desc, self.buffers.base + table as u64, 32, flag::INDIRECT, 0);
                (table, 1)
            }
            Shape::Chain | Shape::Single => (desc, self.head(id) + 1),
        };
        write(at, first.address, first.len, first.flags, next);
        write(at + 16, second.address, second.len, second.flags, 0);
    }

    #[inline(always)]
    fn head(&self, id: u16) -> u16 {
        id * self.buffers.entries()
    }

    #[inline(always)]
    fn avail_entry(&self, slot: u16) -> usize {
        self.place.driver + 4 + 2 * usize::from(slot & (self.place.size - 1))
    }

    /// Where the length of buffer `id`'s last descriptor lies.
    fn len_offset(&self, id: u16) -> usize {
        match self.buffers.shape {
            Shape::Single => self.place.desc + 16 * usize::from(id) + 8,
            Shape::Chain => self.place.desc + 16 * usize::from(self.head(id)) + 24,
            Shape::Indirect => self.buffers.table_offset(id) + 24,
        }
    }

    /// See [`Ring::take`](super::Ring::take). One index is read per call, so patience is not needed.
    #[inline(always)]
    pub fn take(&mut self, max: usize, _: bool, mut used: impl FnMut(u16, u32)) -> Result<usize, RingError> {
        let mut ready = self.used_idx.wrapping_sub(self.order.taken() as u16);
        if usize::from(ready) < max {
            self.used_idx = self.buffers.area.load_u16(self.place.device + 2, Acquire);
            ready = self.used_idx.wrapping_sub(self.order.taken() as u16);
            let lent = self.order.lent();
            if u32::from(ready) > lent {
                return Err(RingError::TooMany { used: ready.into(), lent });
            }
        }
        let count = usize::from(ready).min(max);
        if self.place.in_order && !self.buffers.writable {
            // The device may write only the last entry of those it completes; the index says how many.
            self.order.take_count(count as u32);
            return Ok(count);
        }
        let entries = self.buffers.entries();
        for ahead in (8..count).step_by(8) {
            let slot = (self.order.taken() as usize + ahead) & usize::from(self.place.size - 1);
            self.buffers.area.prefetch(self.place.device + 4 + 8 * slot);
        }
        for _ in 0..count {
            let slot = self.order.taken() as usize & usize::from(self.place.size - 1);
            let entry = self.buffers.area.load_u64(self.place.device + 4 + 8 * slot, Relaxed);
            let (head, len) = (entry as u32, (entry >> 32) as u32);
            if head >= u32::from(self.place.size) || !head.is_multiple_of(u32::from(entries)) {
                return Err(RingError::Unknown(head));
            }
            let id = head as u16 / entries;
            self.order.take(id)?;
            used(id, len);
        }
        Ok(count)
    }

    /// See [`Ring::offer`](super::Ring::offer).
    #[inline(always)]
    pub fn offer(&mut self, count: usize, mut fill: impl FnMut(u16) -> u32) -> (usize, bool) {
        let count = count.min(self.order.free());
        if count == 0 {
            return (0, false);
        }
        let old = self.order.offered() as u16;
        for _ in 0..count {
            let entry = self.avail_entry(self.order.offered() as u16);
            let id = self.order.offer();
            let len = fill(id);
            if self.lens[usize::from(id)] != len {
                self.set_len(id, len);
            }
            let head = self.head(id);
            if self.buffers.area.load_u16(entry, Relaxed) != head {
                self.buffers.area.store_u16(entry, head, Relaxed);
            }
        }
        let new = self.order.offered() as u16;
        self.buffers.area.store_u16(self.place.driver + 2, new, Release);
        (count, self.wants_kick(old, new))
    }

    fn set_len(&mut self, id: u16, len: u32) {
        self.lens[usize::from(id)] = len;
        let header = if self.buffers.shape == Shape::Single { self.buffers.header } else { 0 };
        self.buffers.area.store_u32(self.len_offset(id), len + header, Relaxed);
    }

    #[inline(always)]
    fn wants_kick(&self, old: u16, new: u16) -> bool {
        // The device writes its wish, then looks at the index again; we write the index, then look at its wish.
        fence(SeqCst);
        let used = self.place.device;
        if self.place.event_idx {
            let event = self.buffers.area.load_u16(used + 4 + 8 * usize::from(self.place.size), Relaxed);
            need_event(event, new, old)
        } else {
            self.buffers.area.load_u16(used, Relaxed) & NO_NOTIFY == 0
        }
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
