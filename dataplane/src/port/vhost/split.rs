//! The split ring, device side (virtio 1.2, 2.7).
//!
//! Trust: the guest writes the descriptor table and the available ring at any time; each word is loaded once.
//! Used entries are written where they belong as soon as a buffer is completed: the driver does not look at them before
//! the used index says so. Neighbours: `rx` and `tx`.

use std::sync::atomic::{AtomicU16, Ordering, fence};

use super::engine::{Chain, Engine, IndirectTable, Walk, flag, passed, pieces};
use super::{RingError, RingFaultKind, RingSetup};
use crate::mem::{Area, Lookup, Slot, Span, Table, UsedEntry};

/// Offsets in the available and used rings: flags, index, entries.
const FLAGS: usize = 0;
const INDEX: usize = 2;
const ENTRIES: usize = 4;
/// Bytes of a used entry: id, len.
const USED_ENTRY: usize = 8;
/// Available ring flag: the driver polls.
const NO_INTERRUPT: u16 = 1;
/// Used ring flag: the device polls.
const NO_NOTIFY: u16 = 1;

pub(super) struct Split {
    table: Table<Slot>,
    /// The available and the used ring, and their entries.
    avail: Area,
    heads: Table<AtomicU16>,
    used: Area,
    entries: Table<UsedEntry>,
    size: u16,
    /// The next available entry to take, and the available index as loaded last.
    next: u16,
    avail_seen: u16,
    /// The next used entry to write, and the used index as the driver sees it.
    used_next: u16,
    published: u16,
    /// Publishing for the first time: the driver may have waited for an earlier run of this ring, so it is told.
    first: bool,
    /// Buffers go back with length 0 and in order: one used entry, with the id of the last, stands for all.
    one_entry: bool,
    last_id: u16,
    event_idx: bool,
    indirect: bool,
    can_call: bool,
    memory: Lookup,
}

/// Positions: available, used.
#[derive(Clone, Copy)]
pub(super) struct Mark(u16, u16);

#[derive(Clone, Copy)]
struct Desc {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

impl Desc {
    #[inline(always)]
    fn new(low: u64, high: u64) -> Self {
        Self { address: low, len: high as u32, flags: (high >> 32) as u16, next: (high >> 48) as u16 }
    }
}

impl Split {
    #[inline(always)]
    fn slot(&self, position: u16) -> usize {
        usize::from(position & (self.size - 1))
    }

    #[inline(always)]
    fn load(&self, index: u16) -> Result<Desc, RingFaultKind> {
        let slot = self.table.all().get(usize::from(index)).ok_or(RingFaultKind::DescriptorIndex)?;
        Ok(Desc::new(slot.low(), slot.high(Ordering::Relaxed)))
    }

    #[inline(always)]
    fn head(&self, position: u16) -> u16 {
        self.heads.all()[self.slot(position)].load(Ordering::Relaxed)
    }

    /// Buffers that can be taken; loads the available index when fewer than `wanted` are known.
    #[inline(always)]
    fn available(&mut self, wanted: usize) -> Result<usize, RingFaultKind> {
        let mut count = self.avail_seen.wrapping_sub(self.next);
        if usize::from(count) < wanted {
            // Acquire: entries and descriptors are loaded after the index that made them available (2.7.13).
            self.avail_seen = self.avail.load_u16(INDEX, Ordering::Acquire);
            count = self.avail_seen.wrapping_sub(self.next);
            if count > self.size {
                return Err(RingFaultKind::IndexJumped);
            }
        }
        // Not more than the ring has before some are given back: what the guest adds meanwhile has to wait.
        let taken = self.used_next.wrapping_sub(self.published);
        Ok(usize::from(count.min(self.size.saturating_sub(taken))))
    }

    #[inline(always)]
    fn put_used(&self, position: u16, id: u16, len: u32) {
        self.entries.all()[self.slot(position)].put(u32::from(id), len);
    }

    /// As [`claim`](Engine::claim), for buffers that are known to be available, as far as both rings go without a wrap.
    #[inline(always)]
    fn claim_run<const WRITE: bool>(
        &mut self,
        spans: &mut [Span],
        mut take: impl FnMut(usize, Span) -> Option<(Span, u32)>,
    ) -> usize {
        let simple = if WRITE { flag::WRITE } else { 0 };
        let heads = self.heads.run(self.slot(self.next), spans.len());
        let entries = self.entries.run(self.slot(self.used_next), heads.len());
        let table = self.table.all();
        // What goes back with a length has an entry of its own.
        let one_entry = !WRITE && self.one_entry;
        let mut last_id = self.last_id;
        let mut count = 0;
        for ((place, head), entry) in spans.iter_mut().zip(heads).zip(entries) {
            let id = head.load(Ordering::Relaxed);
            let Some(slot) = table.get(usize::from(id)) else { break };
            let high = slot.high(Ordering::Relaxed);
            // The flags; what follows them has no meaning without NEXT.
            if (high >> 32) as u16 != simple {
                break;
            }
            let Some(span) = self.memory.whole(slot.low(), high as u32) else { break };
            let Some((span, len)) = take(count, span) else { break };
            *place = span;
            if one_entry {
                last_id = id;
            } else {
                entry.put(u32::from(id), len);
            }
            count += 1;
        }
        self.last_id = last_id;
        self.next = self.next.wrapping_add(count as u16);
        self.used_next = self.used_next.wrapping_add(count as u16);
        count
    }

    fn walk_table<const WRITE: bool>(
        &mut self,
        desc: Desc,
        walk: &mut Walk,
        piece: &mut impl FnMut(Span),
    ) -> Result<(), RingFaultKind> {
        if !self.indirect || desc.flags & flag::NEXT != 0 {
            return Err(RingFaultKind::UnexpectedIndirect);
        }
        let table = IndirectTable::new(desc.address, desc.len, self.size)?;
        let mut index = 0;
        for _ in 0..table.count {
            walk.step()?;
            let (low, high) = table.entry(&mut self.memory, index)?;
            let entry = Desc::new(low, high);
            if entry.flags & flag::INDIRECT != 0 {
                return Err(RingFaultKind::UnexpectedIndirect);
            }
            self.buffer::<WRITE>(entry, walk, piece)?;
            if entry.flags & flag::NEXT == 0 {
                return Ok(());
            }
            index = u32::from(entry.next);
            if index >= table.count {
                return Err(RingFaultKind::DescriptorIndex);
            }
        }
        Err(RingFaultKind::DescriptorLoop)
    }

    fn buffer<const WRITE: bool>(
        &mut self,
        desc: Desc,
        walk: &mut Walk,
        piece: &mut impl FnMut(Span),
    ) -> Result<(), RingFaultKind> {
        if (desc.flags & flag::WRITE != 0) != WRITE {
            return Err(RingFaultKind::WrongDirection);
        }
        pieces(&mut self.memory, walk, desc.address, desc.len, piece)
    }
}

impl Engine for Split {
    type Mark = Mark;

    fn open(setup: &RingSetup, one_entry: bool) -> Result<Self, RingError> {
        setup.check_size()?;
        let size = usize::from(setup.size);
        let table = setup.area("descriptor table", setup.desc, 16 * size, 16)?;
        let avail = setup.area("available ring", setup.driver, ENTRIES + 2 * size + 2, 2)?;
        let used = setup.area("used ring", setup.device, ENTRIES + USED_ENTRY * size + 2, 4)?;
        let misaligned = |area, address, align| RingError::Misaligned { area, address, align };
        // The used ring itself knows how far the driver was told, even when a switch died before it could say so.
        let published = used.load_u16(INDEX, Ordering::Relaxed);
        let next = setup.base as u16;
        Ok(Self {
            table: Table::new(&table, 0, size).ok_or(misaligned("descriptor table", setup.desc, 16))?,
            heads: Table::new(&avail, ENTRIES, size).ok_or(misaligned("available ring", setup.driver, 2))?,
            avail,
            entries: Table::new(&used, ENTRIES, size).ok_or(misaligned("used ring", setup.device, 4))?,
            used,
            size: setup.size,
            next,
            avail_seen: next,
            used_next: published,
            published,
            first: true,
            one_entry,
            last_id: 0,
            event_idx: setup.features.event_idx,
            indirect: setup.features.indirect,
            can_call: setup.call.is_some(),
            memory: Lookup::new(setup.memory.clone()),
        })
    }

    fn base(&self) -> u32 {
        u32::from(self.next)
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
        let wanted = self.available(spans.len())?.min(spans.len());
        let mut count = 0;
        while count < wanted {
            let rest = &mut spans[count..wanted];
            let to_end = usize::from(self.size) - self.slot(self.next).max(self.slot(self.used_next));
            let run = rest.len().min(to_end);
            let found = self.claim_run::<WRITE>(&mut rest[..run], |place, span| take(count + place, span));
            count += found;
            if found < run {
                break;
            }
        }
        Ok(count)
    }

    fn chain<const WRITE: bool>(
        &mut self,
        walk: &mut Walk,
        piece: &mut impl FnMut(Span),
    ) -> Result<Option<Chain>, RingFaultKind> {
        if self.available(1)? == 0 {
            return Ok(None);
        }
        let id = self.head(self.next);
        let mut index = id;
        for count in 1..=self.size {
            walk.step()?;
            let desc = self.load(index)?;
            if desc.flags & flag::INDIRECT != 0 {
                self.walk_table::<WRITE>(desc, walk, piece)?;
            } else {
                self.buffer::<WRITE>(desc, walk, piece)?;
                if desc.flags & flag::NEXT != 0 {
                    index = desc.next;
                    continue;
                }
            }
            self.next = self.next.wrapping_add(1);
            return Ok(Some(Chain { id, count }));
        }
        Err(RingFaultKind::DescriptorLoop)
    }

    fn complete(&mut self, chain: Chain, len: u32) {
        if self.one_entry {
            self.last_id = chain.id;
        } else {
            self.put_used(self.used_next, chain.id, len);
        }
        self.used_next = self.used_next.wrapping_add(1);
    }

    fn mark(&self) -> Mark {
        Mark(self.next, self.used_next)
    }

    fn rewind(&mut self, mark: Mark) {
        (self.next, self.used_next) = (mark.0, mark.1);
    }

    fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.used_next);
        if old == new {
            return false;
        }
        if self.one_entry {
            self.put_used(old, self.last_id, 0);
        }
        // Release: the entries, and what was written into the buffers, are visible before the index (2.7.8).
        self.used.store_u16(INDEX, new, Ordering::Release);
        self.published = new;
        if !self.can_call {
            return false;
        }
        // The index must be visible before the driver's wish is read: a driver that asks for a notification looks at the
        // index afterwards, so one of the two sees the other (2.7.10.1). Only a full fence orders a store before a load.
        fence(Ordering::SeqCst);
        if std::mem::take(&mut self.first) {
            return true;
        }
        if self.event_idx {
            let used_event = self.avail.load_u16(ENTRIES + 2 * usize::from(self.size), Ordering::Relaxed);
            return passed(used_event, new, old);
        }
        self.avail.load_u16(FLAGS, Ordering::Relaxed) & NO_INTERRUPT == 0
    }

    fn want_kicks(&mut self, on: bool) {
        if self.event_idx {
            // Not wanted: an index that was passed already, met again after 65535 buffers at the earliest (2.7.10).
            let event = if on { self.next } else { self.next.wrapping_sub(1) };
            self.used.store_u16(ENTRIES + USED_ENTRY * usize::from(self.size), event, Ordering::Relaxed);
        } else {
            self.used.store_u16(FLAGS, if on { 0 } else { NO_NOTIFY }, Ordering::Relaxed);
        }
    }

    fn is_ready(&self) -> bool {
        self.avail.load_u16(INDEX, Ordering::Acquire) != self.next
    }
}
