//! The packed ring, device side (virtio 1.2, 2.8).
//!
//! Trust: the guest writes descriptors and its event area at any time; each word is loaded once. A descriptor's second
//! word (length, id, flags) is one 64-bit load: what it says belongs together.
//! Neighbours: `rx` and `tx`.

use std::sync::atomic::{Ordering, fence};

use super::engine::{Chain, Engine, IndirectTable, Walk, flag, passed, pieces};
use super::{RingError, RingFaultKind, RingSetup};
use crate::mem::{Area, Lookup, Slot, Span, Table};
use crate::packet::BATCH;

/// Descriptor flags: equal to the driver's wrap counter and unlike the device's when available, both alike when used.
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;
/// Event flags (2.8.10): notify always, never, or when a descriptor is reached.
const EVENT_ENABLE: u16 = 0;
const EVENT_DISABLE: u16 = 1;
const EVENT_DESC: u16 = 2;

/// Descriptors in a cache line.
const SLOTS_PER_LINE: usize = 4;

/// A place in the ring and the wrap counter there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    index: u16,
    wrap: bool,
}

impl Position {
    #[inline(always)]
    fn advance(&mut self, count: u16, size: u16) {
        // `count` is at most `size`, and both at most 32768: no overflow.
        self.index += count;
        if self.index >= size {
            self.index -= size;
            self.wrap = !self.wrap;
        }
    }

    /// What marks a descriptor as used on every other lap, in its second word; on the others these bits are zero.
    const USED_BITS: u64 = ((AVAIL | USED) as u64) << 48;

    /// What marks a descriptor here as used.
    #[inline(always)]
    fn used_bits(self) -> u64 {
        if self.wrap { Self::USED_BITS } else { 0 }
    }

    /// As in SET_VRING_BASE and in event areas: index in 15 bits, wrap counter above.
    fn bits(self) -> u16 {
        self.index | u16::from(self.wrap) << 15
    }
}

/// The second word of a used descriptor, but for the bits that mark it as used.
#[derive(Clone, Copy, Default)]
#[repr(C, align(8))]
struct Done {
    len: u32,
    /// The buffer's id, and flags in the upper half.
    id: u32,
}

impl Done {
    /// It says WRITE when something was written (2.8.7).
    fn new(len: u32, id: u16) -> Self {
        let flags = if len > 0 { flag::WRITE } else { 0 };
        Self { len, id: u32::from(id) | u32::from(flags) << 16 }
    }

    #[inline(always)]
    fn word(self) -> u64 {
        u64::from(self.len) | u64::from(self.id) << 32
    }
}

pub(super) struct Packed {
    ring: Table<Slot>,
    driver: Area,
    device: Area,
    size: u16,
    /// The next descriptor to take, and the next to be given back.
    next: Position,
    used: Position,
    /// Completed since the last publish: the descriptors themselves are only overwritten then. Room for the whole ring.
    done: Box<[Done]>,
    done_count: usize,
    /// How many descriptors each of them takes, known only when some buffer took more than one.
    skips: Box<[u16]>,
    has_skips: bool,
    /// Descriptors taken since the last publish. Never more than the ring has, whatever the guest writes meanwhile.
    taken: u16,
    /// See [`super::split::Split`].
    first: bool,
    one_entry: bool,
    indirect: bool,
    can_call: bool,
    memory: Lookup,
}

/// Position, completions, descriptors taken.
#[derive(Clone, Copy)]
pub(super) struct Mark(Position, usize, u16);

fn flags_of(word: u64) -> u16 {
    (word >> 48) as u16
}

fn id_of(word: u64) -> u16 {
    (word >> 32) as u16
}

impl Packed {
    /// The availability bits of a descriptor that the driver made available on this lap.
    #[inline(always)]
    fn available_bits(wrap: bool) -> u16 {
        if wrap { AVAIL } else { USED }
    }

    fn push_done(&mut self, len: u32, id: u16, count: u16) {
        if self.one_entry {
            self.join_done(id, count);
            return;
        }
        if count != 1 && !self.has_skips {
            self.has_skips = true;
            self.skips[..self.done_count].fill(1);
        }
        self.done[self.done_count] = Done::new(len, id);
        if self.has_skips {
            self.skips[self.done_count] = count;
        }
        self.done_count += 1;
    }

    /// One used descriptor for all: the id of the last buffer, and a skip over all (2.8.20).
    fn join_done(&mut self, last_id: u16, count: u16) {
        let before = if self.done_count > 0 { self.skips[0] } else { 0 };
        (self.done_count, self.has_skips) = (1, true);
        (self.done[0], self.skips[0]) = (Done::new(0, last_id), before + count);
    }

    /// As [`claim`](Engine::claim), with no more `spans` than descriptors are left before the ring's end.
    #[inline(always)]
    fn claim_run<const WRITE: bool>(
        &mut self,
        spans: &mut [Span],
        mut take: impl FnMut(usize, Span) -> Option<(Span, u32)>,
    ) -> usize {
        let written = if WRITE { u32::from(flag::WRITE) << 16 } else { 0 };
        let simple = u32::from(Self::available_bits(self.next.wrap)) << 16 | written;
        let size = u32::from(self.size);
        // Flags and id at once: what is left of them is the id when the flags are these, and more than any id otherwise.
        let id_of_simple = |high: u64| ((high >> 32) as u32).wrapping_sub(simple);
        let slots = self.ring.run(usize::from(self.next.index), spans.len());
        let done = &mut self.done[self.done_count..];
        // All lines of the run at once, and for writing: used descriptors go where they were read. Not while there are none:
        // that would take the line away from a driver that is about to write there.
        if slots.first().is_some_and(|slot| id_of_simple(slot.high(Ordering::Relaxed)) < size) {
            slots.iter().skip(SLOTS_PER_LINE).step_by(SLOTS_PER_LINE).for_each(Slot::prefetch_write);
        }
        let mut count = 0;
        for ((place, slot), done) in spans.iter_mut().zip(slots).zip(done) {
            // Acquire: address and buffer are read after the flags that made them available (2.8.6).
            let high = slot.high(Ordering::Acquire);
            let id = id_of_simple(high);
            if id >= size {
                break;
            }
            let Some(span) = self.memory.whole(slot.low(), high as u32) else { break };
            let Some((span, len)) = take(count, span) else { break };
            *place = span;
            *done = Done { len, id: id | written };
            count += 1;
        }
        if count > 0 {
            self.took(count as u16);
        }
        count
    }

    /// So many single descriptors were taken, and stand behind those completed.
    #[inline(always)]
    fn took(&mut self, count: u16) {
        let (first, end) = (self.done_count, self.done_count + usize::from(count));
        if self.one_entry {
            self.join_done(self.done[end - 1].id as u16, count);
        } else {
            if self.has_skips {
                self.skips[first..end].fill(1);
            }
            self.done_count = end;
        }
        self.next.advance(count, self.size);
        self.taken += count;
    }

    /// Writes all used descriptors but the first, where each buffer took one.
    #[inline(always)]
    fn publish_singles(&mut self) {
        let (first, bits) = (usize::from(self.used.index), self.used.used_bits());
        let done = &self.done[..self.done_count];
        let (before, behind) = done.split_at(done.len().min(usize::from(self.size) - first));
        let slots = self.ring.all();
        for (slot, done) in slots[first + 1..].iter().zip(&before[1..]) {
            slot.set_high(done.word() | bits, Ordering::Relaxed);
        }
        let bits = bits ^ Position::USED_BITS;
        for (slot, done) in slots.iter().zip(behind) {
            slot.set_high(done.word() | bits, Ordering::Relaxed);
        }
        self.used.advance(done.len() as u16, self.size);
    }

    /// The same where some took several.
    fn publish_others(&mut self) {
        for nth in 0..self.done_count {
            if let Some(slot) = self.ring.all().get(usize::from(self.used.index)).filter(|_| nth > 0) {
                slot.set_high(self.done[nth].word() | self.used.used_bits(), Ordering::Relaxed);
            }
            self.used.advance(self.skips[nth], self.size);
        }
    }

    /// Walks an indirect table; its entries follow each other and only their direction counts (2.8.8).
    fn walk_table<const WRITE: bool>(
        &mut self,
        address: u64,
        len: u32,
        walk: &mut Walk,
        piece: &mut impl FnMut(Span),
    ) -> Result<(), RingFaultKind> {
        let table = IndirectTable::new(address, len, self.size)?;
        for index in 0..table.count {
            walk.step()?;
            let (low, high) = table.entry(&mut self.memory, index)?;
            if flags_of(high) & flag::INDIRECT != 0 {
                return Err(RingFaultKind::UnexpectedIndirect);
            }
            if WRITE {
                self.buffer::<WRITE>(low, high, walk, piece)?;
            } else {
                // DPDK's driver leaves WRITE in the tables that it sends; reading them harms nobody.
                pieces(&mut self.memory, walk, low, high as u32, piece)?;
            }
        }
        Ok(())
    }

    fn buffer<const WRITE: bool>(
        &mut self,
        low: u64,
        high: u64,
        walk: &mut Walk,
        piece: &mut impl FnMut(Span),
    ) -> Result<(), RingFaultKind> {
        if (flags_of(high) & flag::WRITE != 0) != WRITE {
            return Err(RingFaultKind::WrongDirection);
        }
        pieces(&mut self.memory, walk, low, high as u32, piece)
    }

    /// Whether the driver wants to hear that the used position moved from `old`.
    fn driver_wants(&self, old: Position) -> bool {
        // One load: offset and flags belong together.
        let event = self.driver.load_u32(0, Ordering::Relaxed);
        let (offset, flags) = (event as u16, (event >> 16) as u16);
        if flags != EVENT_DESC {
            return flags != EVENT_DISABLE;
        }
        // Indices as if the ring had not wrapped: those of the lap before lie `size` lower.
        let (mut event, mut from) = (offset & 0x7fff, old.index);
        if (offset >> 15 == 1) != self.used.wrap {
            event = event.wrapping_sub(self.size);
        }
        if self.used.index <= from {
            from = from.wrapping_sub(self.size);
        }
        passed(event, self.used.index, from)
    }
}

impl Engine for Packed {
    type Mark = Mark;

    fn open(setup: &RingSetup, one_entry: bool) -> Result<Self, RingError> {
        setup.check_size()?;
        let ring = setup.area("descriptor ring", setup.desc, 16 * usize::from(setup.size), 16)?;
        let driver = setup.area("driver event area", setup.driver, 4, 4)?;
        let device = setup.area("device event area", setup.device, 4, 4)?;
        let misaligned = RingError::Misaligned { area: "descriptor ring", address: setup.desc, align: 16 };
        let next = Position { index: setup.base as u16 & 0x7fff, wrap: setup.base & 0x8000 != 0 };
        if next.index >= setup.size {
            return Err(RingError::Base { base: setup.base, size: setup.size });
        }
        Ok(Self {
            ring: Table::new(&ring, 0, usize::from(setup.size)).ok_or(misaligned)?,
            driver,
            device,
            size: setup.size,
            next,
            used: next,
            done: vec![Done::default(); usize::from(setup.size).max(BATCH)].into(),
            done_count: 0,
            skips: vec![0; usize::from(setup.size).max(BATCH)].into(),
            has_skips: false,
            taken: 0,
            first: true,
            one_entry,
            indirect: setup.features.indirect,
            can_call: setup.call.is_some(),
            memory: Lookup::new(setup.memory.clone()),
        })
    }

    fn base(&self) -> u32 {
        u32::from(self.next.bits()) | u32::from(self.used.bits()) << 16
    }

    #[inline(always)]
    fn memory(&mut self) -> &mut Lookup {
        &mut self.memory
    }

    #[inline(always)]
    fn claim<const WRITE: bool>(
        &mut self,
        spans: &mut [Span],
        mut take: impl FnMut(usize, Span) -> Option<(Span, u32)>,
    ) -> Result<usize, RingFaultKind> {
        let wanted = spans.len().min(usize::from(self.size - self.taken));
        let to_end = wanted.min(usize::from(self.size - self.next.index));
        let (before, behind) = spans[..wanted].split_at_mut(to_end);
        let mut count = self.claim_run::<WRITE>(before, &mut take);
        if count == to_end && !behind.is_empty() {
            count += self.claim_run::<WRITE>(behind, |place, span| take(to_end + place, span));
        }
        Ok(count)
    }

    fn chain<const WRITE: bool>(
        &mut self,
        walk: &mut Walk,
        piece: &mut impl FnMut(Span),
    ) -> Result<Option<Chain>, RingFaultKind> {
        let most = self.size - self.taken;
        if most == 0 || !self.is_ready() {
            return Ok(None);
        }
        let mut at = self.next;
        for count in 1..=most {
            walk.step()?;
            let slot = self.ring.all().get(usize::from(at.index)).ok_or(RingFaultKind::DescriptorIndex)?;
            // Acquire: as in `claim`. The driver makes the first descriptor of a chain available last (2.8.6), so the
            // others need no look at their availability.
            let (high, low) = (slot.high(Ordering::Acquire), slot.low());
            if flags_of(high) & flag::INDIRECT != 0 {
                if !self.indirect || count > 1 || flags_of(high) & flag::NEXT != 0 {
                    return Err(RingFaultKind::UnexpectedIndirect);
                }
                self.walk_table::<WRITE>(low, high as u32, walk, piece)?;
            } else {
                self.buffer::<WRITE>(low, high, walk, piece)?;
            }
            at.advance(1, self.size);
            if flags_of(high) & flag::NEXT != 0 {
                continue;
            }
            // The id is that of the last descriptor (2.8.5).
            let id = id_of(high);
            if id >= self.size {
                return Err(RingFaultKind::BufferId);
            }
            self.next = at;
            self.taken += count;
            return Ok(Some(Chain { id, count }));
        }
        Err(RingFaultKind::DescriptorLoop)
    }

    fn complete(&mut self, chain: Chain, len: u32) {
        self.push_done(len, chain.id, chain.count);
    }

    fn mark(&self) -> Mark {
        Mark(self.next, self.done_count, self.taken)
    }

    fn rewind(&mut self, mark: Mark) {
        (self.next, self.done_count, self.taken) = (mark.0, mark.1, mark.2);
    }

    fn publish(&mut self) -> bool {
        if self.done_count == 0 {
            return false;
        }
        let old = self.used;
        // The driver looks at the first descriptor only, until it is used: written last, it shows all of them at once.
        match self.has_skips {
            false => self.publish_singles(),
            true => self.publish_others(),
        }
        (self.done_count, self.taken, self.has_skips) = (0, 0, false);
        if let Some(slot) = self.ring.all().get(usize::from(old.index)) {
            // Release: the others, and what was written into the buffers, are visible before it (2.8.6).
            slot.set_high(self.done[0].word() | old.used_bits(), Ordering::Release);
        }
        if !self.can_call {
            return false;
        }
        // The used descriptors must be visible before the driver's wish is read: a driver that asks for a notification
        // looks at the ring afterwards, so one of the two sees the other. Only a full fence orders a store before a load.
        fence(Ordering::SeqCst);
        std::mem::take(&mut self.first) || self.driver_wants(old)
    }

    fn want_kicks(&mut self, on: bool) {
        let flags = if on { EVENT_ENABLE } else { EVENT_DISABLE };
        self.device.store_u16(2, flags, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        let Some(slot) = self.ring.all().get(usize::from(self.next.index)) else { return false };
        flags_of(slot.high(Ordering::Acquire)) & (AVAIL | USED) == Self::available_bits(self.next.wrap)
    }
}
