//! What receiving and sending need from a ring, whatever its kind.
//!
//! Neighbours: `split` and `packed` implement it, `rx` and `tx` use it.

use super::{RingError, RingFaultKind, RingSetup};
use crate::mem::{Lookup, Span};

/// Descriptor flags, the same in both kinds (virtio 1.2, 2.7.5 and 2.8).
pub(super) mod flag {
    pub const NEXT: u16 = 1;
    pub const WRITE: u16 = 2;
    pub const INDIRECT: u16 = 4;
}

/// A chain that was walked: what the used entry will say about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    /// Split: the head's index. Packed: the buffer id.
    pub id: u16,
    /// Descriptors of the ring that it takes (an indirect table is one).
    pub count: u16,
}

/// How much work one frame may cause: descriptors read, those of indirect tables too, and pieces of memory. Rings may
/// have 32768 descriptors and a table as many more, which no driver needs for a frame, but which a guest could have us
/// walk again and again while all others wait.
pub(super) struct Walk(u32);

impl Walk {
    /// As many as QEMU accepts; Linux makes chains of 19 at most.
    pub const MOST: u32 = 1024;

    pub fn new() -> Self {
        Self(Self::MOST)
    }

    /// One step more.
    #[inline(always)]
    pub fn step(&mut self) -> Result<(), RingFaultKind> {
        self.0 = self.0.checked_sub(1).ok_or(RingFaultKind::TooManyPieces)?;
        Ok(())
    }

    /// Steps done.
    pub fn done(&self) -> u32 {
        Self::MOST - self.0
    }
}

/// The device side of one ring. `WRITE` says what the guest's descriptors must be: device-writable, or readable.
pub(super) trait Engine: Send + Sized {
    /// Where a ring can be taken back to as long as nothing was published since.
    type Mark: Copy;

    /// `one_entry`: buffers go back with length 0 and in order, so one used entry may stand for all of a burst.
    fn open(setup: &RingSetup, one_entry: bool) -> Result<Self, RingError>;

    /// Where the ring stands, as GET_VRING_BASE says it.
    fn base(&self) -> u32;

    fn memory(&mut self) -> &mut Lookup;

    /// Takes buffers of a single direct descriptor inside one region, up to one per element of `spans`. `take` is given
    /// the buffer's place in `spans` and the buffer; it says what of it is wanted, and with which length it is to be completed,
    /// which is zero if and only if not `WRITE`. Stops early at
    /// the first buffer that is not so simple, that `take` does not want, or that is not there.
    fn claim<const WRITE: bool>(
        &mut self,
        spans: &mut [Span],
        take: impl FnMut(usize, Span) -> Option<(Span, u32)>,
    ) -> Result<usize, RingFaultKind>;

    /// Takes the next buffer whatever its shape and shows its non-empty pieces in order; `None` when there is none.
    /// There is none either when as many as the ring holds were taken since the last [`publish`](Self::publish), so a
    /// guest that makes buffers available as fast as they are taken keeps nobody here.
    fn chain<const WRITE: bool>(
        &mut self,
        walk: &mut Walk,
        piece: &mut impl FnMut(Span),
    ) -> Result<Option<Chain>, RingFaultKind>;

    /// The chain taken last goes back with `len` bytes written, once [`publish`](Self::publish)ed.
    fn complete(&mut self, chain: Chain, len: u32);

    fn mark(&self) -> Self::Mark;

    /// Forgets what was taken and completed since.
    fn rewind(&mut self, mark: Self::Mark);

    /// Shows the driver what was completed; true when there was something and the driver wants to be notified of it.
    fn publish(&mut self) -> bool;

    /// Asks the driver for notifications, or to leave them.
    fn want_kicks(&mut self, on: bool);

    /// True when a buffer is available.
    fn is_ready(&self) -> bool;
}

/// True when moving an index from `old` to `new` passed `event` (virtio 1.2, 2.7.10: the wish is fulfilled by the entry
/// *at* the event index).
pub(super) fn passed(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

/// One piece of guest memory, which may cross regions, shown as spans.
pub(super) fn pieces(
    memory: &mut Lookup,
    walk: &mut Walk,
    mut address: u64,
    mut len: u32,
    piece: &mut impl FnMut(Span),
) -> Result<(), RingFaultKind> {
    while len > 0 {
        walk.step()?;
        let span = memory.span(address, len).ok_or(RingFaultKind::OutsideMemory)?;
        piece(span);
        address = address.wrapping_add(span.len() as u64);
        len -= span.len() as u32;
    }
    Ok(())
}

/// A descriptor of an indirect table, read once. Tables may lie at any address, so they are read as bytes.
pub(super) struct IndirectTable {
    address: u64,
    pub count: u32,
}

impl IndirectTable {
    /// Checks the length (virtio 1.2, 2.7.5.3.1: no longer than the ring).
    pub fn new(address: u64, len: u32, ring_size: u16) -> Result<Self, RingFaultKind> {
        let count = len / 16;
        let possible = len.is_multiple_of(16) && (1..=u32::from(ring_size)).contains(&count);
        if possible { Ok(Self { address, count }) } else { Err(RingFaultKind::IndirectLength) }
    }

    /// Address and the other word of an entry, as in a ring slot.
    pub fn entry(&self, memory: &mut Lookup, index: u32) -> Result<(u64, u64), RingFaultKind> {
        let mut bytes = [0; 16];
        let read = memory.read(self.address.wrapping_add(u64::from(index) * 16), &mut bytes);
        let words = u128::from_le_bytes(bytes);
        if read { Ok((words as u64, (words >> 64) as u64)) } else { Err(RingFaultKind::OutsideMemory) }
    }
}
