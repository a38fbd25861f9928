//! The packed ring, device side (virtio 1.2, 2.8).
//!
//! Trust: the guest writes descriptors and its event area at any time; each word is loaded once. A descriptor's second
//! word (length, id, flags) is one 64-bit load: what it says belongs together.
//! Neighbours: `rx` and `tx`.

use std::sync::atomic::{Ordering, fence};

use super::engine::{Chain, Engine, IndirectTable, Walk, flag, passed, pieces};
use super::{RingError, RingFaultKind, RingSetup};
use crate::mem::{Area, Lookup, Slots, Span};
use crate::packet::BATCH;

/// Descriptor flags: equal to the driver's wrap counter and unlike the device's when available, both alike when used.
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;
/// Event flags (2.8.10): notify always, never, or when a descriptor is reached.
const EVENT_ENABLE: u16 = 0;
const EVENT_DISABLE: u16 = 1;
const EVENT_DESC: u16 = 2;

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

    /// What marks a descriptor here as used, in its second word.
    #[inline(always)]
    fn used_bits(self) -> u64 {
        if self.wrap { u64::from(AVAIL | USED) << 48 } else { 0 }
    }

    /// As in SET_VRING_BASE and in event areas: index in 15 bits, wrap counter above.
    fn bits(self) -> u16 {
        self.index | u16::from(self.wrap) << 15
    }
}

/// A buffer to go back: its used descriptor's second word without flags for availability, and how far to skip.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    word: u64,
    count: u16,
}

impl Done {
    /// A used descriptor says WRITE when something was written (2.8.7).
    #[inline(always)]
    fn new(len: u32, id: u16, count: u16) -> Self {
        let flags = if len > 0 { flag::WRITE } else { 0 };
        Self { word: u64::from(len) | u64::from(id) << 32 | u64::from(flags) << 48, count }
    }
}

pub(super) struct Packed {
    ring: Slots,
    driver: Area,
    device: Area,
    size: u16,
    /// The next descriptor to take, and the next to be given back.
    next: Position,
    used: Position,
    /// Completed since the last publish: the descriptors themselves are only overwritten then. Room for the whole ring.
    done: Box<[Done]>,
    done_count: usize,
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

    #[inline(always)]
    fn push_done(&mut self, len: u32, id: u16, count: u16) {
        if self.one_entry && self.done_count == 1 {
            // The id of the last buffer, and a skip over all (2.8.20).
            self.done[0] = Done::new(0, id, self.done[0].count + count);
            return;
        }
        self.done[self.done_count] = Done::new(len, id, count);
        self.done_count += 1;
    }

    /// As [`claim`](Engine::claim), with no more `spans` than descriptors are left before the ring's end.
    #[inline(always)]
    fn claim_run<const WRITE: bool>(&mut self, spans: &mut [Span], take: impl Fn(usize, Span) -> Option<u32>) -> usize {
        let simple = Self::available_bits(self.next.wrap) | if WRITE { flag::WRITE } else { 0 };
        let first = usize::from(self.next.index);
        let (mut count, mut last_id) = (0, 0);
        for (slot, done) in spans.iter_mut().zip(&mut self.done[self.done_count..]) {
            // Acquire: address and buffer are read after the flags that made them available (2.8.6).
            let Some(high) = self.ring.high(first + count, Ordering::Acquire) else { break };
            if flags_of(high) != simple || id_of(high) >= self.size {
                break;
            }
            let Some(low) = self.ring.low(first + count) else { break };
            let Some(span) = self.memory.whole(low, high as u32) else { break };
            let Some(len) = take(count, span) else { break };
            *slot = span;
            last_id = id_of(high);
            *done = Done::new(len, last_id, 1);
            count += 1;
        }
        if count > 0 {
            if self.one_entry {
                self.push_done(0, last_id, count as u16);
            } else {
                self.done_count += count;
            }
            self.next.advance(count as u16, self.size);
            self.taken += count as u16;
        }
        count
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
            ring: Slots::new(&ring).ok_or(misaligned)?,
            driver,
            device,
            size: setup.size,
            next,
            used: next,
            done: vec![Done::default(); usize::from(setup.size).max(BATCH)].into(),
            done_count: 0,
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
        take: impl Fn(usize, Span) -> Option<u32>,
    ) -> Result<usize, RingFaultKind> {
        let wanted = spans.len().min(usize::from(self.size - self.taken));
        let to_end = wanted.min(usize::from(self.size - self.next.index));
        let (before, behind) = spans[..wanted].split_at_mut(to_end);
        let mut count = self.claim_run::<WRITE>(before, &take);
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
            let index = usize::from(at.index);
            // Acquire: as in `claim`. The driver makes the first descriptor of a chain available last (2.8.6), so the
            // others need no look at their availability.
            let high = self.ring.high(index, Ordering::Acquire).ok_or(RingFaultKind::DescriptorIndex)?;
            let low = self.ring.low(index).ok_or(RingFaultKind::DescriptorIndex)?;
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
        let (first, others) = (self.done[0], &self.done[1..self.done_count]);
        let mut at = old;
        at.advance(first.count, self.size);
        for done in others {
            self.ring.set_high(usize::from(at.index), done.word | at.used_bits(), Ordering::Relaxed);
            at.advance(done.count, self.size);
        }
        self.used = at;
        (self.done_count, self.taken) = (0, 0);
        // The driver looks at the first descriptor only, until it is used: written last, it shows all of them at once.
        // Release: the others, and what was written into the buffers, are visible before it (2.8.6).
        self.ring.set_high(usize::from(old.index), first.word | old.used_bits(), Ordering::Release);
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
        let Some(high) = self.ring.high(usize::from(self.next.index), Ordering::Acquire) else { return false };
        flags_of(high) & (AVAIL | USED) == Self::available_bits(self.next.wrap)
    }
}
