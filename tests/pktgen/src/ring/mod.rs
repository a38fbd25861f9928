//! The driver's side of a virtqueue, split and packed.
//!
//! Trust: the device (the switch under test) may be wrong; a used buffer that was not offered is a [`RingError`], never a
//! panic. Spec: virtio 1.2 sections 2.7 and 2.8. Neighbours: `guest` lays rings out in memory, `traffic` drives them.
//!
//! Speed: descriptors are filled in once and used again in place. A device that completes in order makes a split ring
//! cost one index per batch and a packed ring one word per packet.

mod buffers;
mod order;
mod packed;
mod split;

pub use buffers::{Buffers, Shape};
pub use packed::Packed;
pub use split::Split;

use dataplane::mem::Area;
use ringswitch_dataplane as dataplane;

/// What the device did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The id of a used buffer is not one of ours.
    #[error("the device used buffer {0}, which does not exist")]
    Unknown(u32),
    /// The device returned a buffer that it did not hold.
    #[error("the device used buffer {0}, which it does not hold")]
    NotLent(u16),
    /// The device's index moved further than buffers are lent.
    #[error("the device used {used} buffers but holds {lent}")]
    TooMany {
        /// What its index says.
        used: u32,
        /// What it holds.
        lent: u32,
    },
    /// A receive buffer came back with more bytes than it has.
    #[error("the device wrote {len} bytes into buffer {id} of {capacity}")]
    TooLong {
        /// Buffer.
        id: u16,
        /// Bytes stated.
        len: u32,
        /// Bytes there are.
        capacity: u32,
    },
}

/// Where the three parts of a queue lie in the guest's memory (offsets), and how it behaves.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Descriptor table, or packed descriptor ring.
    pub desc: usize,
    /// Available ring, or driver event suppression.
    pub driver: usize,
    /// Used ring, or device event suppression.
    pub device: usize,
    /// Entries, a power of two.
    pub size: u16,
    /// IN_ORDER was negotiated.
    pub in_order: bool,
    /// EVENT_IDX was negotiated.
    pub event_idx: bool,
}

/// One virtqueue of either kind.
#[derive(Debug)]
pub enum Ring {
    /// Split, section 2.7.
    Split(Split),
    /// Packed, section 2.8.
    Packed(Packed),
}

macro_rules! either {
    ($self:ident, $ring:ident => $body:expr) => {
        match $self {
            Ring::Split($ring) => $body,
            Ring::Packed($ring) => $body,
        }
    };
}

impl Ring {
    /// Takes up to `max` used buffers back; calls `used` with each one's id and the bytes that the device wrote. With
    /// `patient`, takes nothing unless `max` are there, where that can be seen without disturbing the device.
    ///
    /// # Errors
    /// See [`RingError`]; the ring is unusable afterwards.
    #[inline(always)]
    pub fn take(&mut self, max: usize, patient: bool, used: impl FnMut(u16, u32)) -> Result<usize, RingError> {
        either!(self, ring => ring.take(max, patient, used))
    }

    /// Lends up to `count` buffers to the device and publishes them; `fill` gets each one's id and returns the length of
    /// its frame. Returns how many, and whether the device wants to be told.
    #[inline(always)]
    pub fn offer(&mut self, count: usize, fill: impl FnMut(u16) -> u32) -> (usize, bool) {
        either!(self, ring => ring.offer(count, fill))
    }

    /// Buffers not lent.
    #[inline(always)]
    #[must_use]
    pub fn free(&self) -> usize {
        either!(self, ring => ring.free())
    }

    /// The buffers.
    #[inline(always)]
    #[must_use]
    pub fn buffers(&self) -> &Buffers {
        either!(self, ring => ring.buffers())
    }

    /// The memory it lies in.
    #[must_use]
    pub fn area(&self) -> &Area {
        &self.buffers().area
    }

    /// Where it lies.
    #[must_use]
    pub fn place(&self) -> Place {
        either!(self, ring => ring.place())
    }
}

/// Descriptor flags (sections 2.7.5 and 2.8.1).
pub(crate) mod flag {
    /// More descriptors follow.
    pub const NEXT: u16 = 1;
    /// The device writes.
    pub const WRITE: u16 = 2;
    /// The buffer is a table of descriptors.
    pub const INDIRECT: u16 = 4;
    /// Packed: available, in the sense of the driver's wrap counter.
    pub const AVAIL: u16 = 1 << 7;
    /// Packed: used, in the sense of the device's wrap counter.
    pub const USED: u16 = 1 << 15;
}

/// True when the device, waiting for `event`, is to be told that the index moved from `old` to `new`.
#[inline(always)]
pub(crate) fn need_event(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}
