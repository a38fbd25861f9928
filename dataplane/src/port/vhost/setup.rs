//! What a front-end says about a ring before it runs, and why that may be refused.

use std::sync::Arc;

use super::RingFault;
use crate::mem::{Area, GuestMemory};
use crate::sys::event::EventFd;

/// Virtio feature bits that change how a ring is read.
mod bit {
    pub const MRG_RXBUF: u32 = 15;
    pub const INDIRECT_DESC: u32 = 28;
    pub const EVENT_IDX: u32 = 29;
    pub const VERSION_1: u32 = 32;
    pub const RING_PACKED: u32 = 34;
    pub const IN_ORDER: u32 = 35;
}

/// The negotiated features, as far as rings care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingFeatures {
    /// Packed instead of split.
    pub packed: bool,
    /// Bytes of the virtio-net header: 10 for legacy drivers without mergeable buffers, else 12.
    pub header_len: usize,
    /// A frame may fill several of the guest's receive buffers.
    pub mergeable: bool,
    /// Descriptors may point to tables of descriptors.
    pub indirect: bool,
    /// Both sides say by index when they want to be notified.
    pub event_idx: bool,
    /// Buffers are used in the order in which they were made available.
    pub in_order: bool,
}

impl RingFeatures {
    /// From the acknowledged virtio feature bits (SET_FEATURES).
    #[must_use]
    pub fn from_virtio(features: u64) -> Self {
        let has = |bit: u32| features >> bit & 1 == 1;
        Self {
            packed: has(bit::RING_PACKED),
            header_len: if has(bit::VERSION_1) || has(bit::MRG_RXBUF) { 12 } else { 10 },
            mergeable: has(bit::MRG_RXBUF),
            indirect: has(bit::INDIRECT_DESC),
            event_idx: has(bit::EVENT_IDX),
            in_order: has(bit::IN_ORDER),
        }
    }
}

/// Everything a ring needs to run; what [`RxRing::close`](super::RxRing::close) gives back to run it again.
#[derive(Debug)]
pub struct RingSetup {
    /// Descriptors (SET_VRING_NUM). Split: a power of two up to 32768. Packed: 1 to 32768.
    pub size: u16,
    /// Front-end address of the descriptor table or packed ring.
    pub desc: u64,
    /// Front-end address of what the driver writes: available ring, or driver event area.
    pub driver: u64,
    /// Front-end address of what the device writes: used ring, or device event area.
    pub device: u64,
    /// Where the ring stands, as in SET_VRING_BASE and GET_VRING_BASE. Split: the available index. Packed: available
    /// index in bits 0 to 14, its wrap counter in bit 15, used index and wrap counter in the upper half (written, but
    /// not read: buffers are returned in order before a ring stops, so both positions are one; DPDK's virtio-user
    /// leaves that half zero).
    pub base: u32,
    /// The guest's memory table.
    pub memory: Arc<GuestMemory>,
    /// Negotiated features.
    pub features: RingFeatures,
    /// How the guest wakes us; `None`: poll.
    pub kick: Option<EventFd>,
    /// How we interrupt the guest; `None`: it polls.
    pub call: Option<EventFd>,
    /// Where faults go.
    pub fault: Arc<RingFault>,
}

/// Why a ring was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// Zero, above 32768, or (split) not a power of two.
    #[error("ring size {size} is not possible for a {kind} ring")]
    Size {
        /// The size asked for.
        size: u16,
        /// `"split"` or `"packed"`.
        kind: &'static str,
    },
    /// Packed: the position to start from is outside the ring.
    #[error("base {base:#x} is outside a packed ring of {size}")]
    Base {
        /// As SET_VRING_BASE said it.
        base: u32,
        /// Descriptors of the ring.
        size: u16,
    },
    /// The address does not have the alignment that the spec asks for.
    #[error("{area} at {address:#x} is not aligned to {align} bytes")]
    Misaligned {
        /// Which part of the ring.
        area: &'static str,
        /// Its front-end address.
        address: u64,
        /// What the spec asks for.
        align: usize,
    },
    /// The bytes are not inside one region of the memory table.
    #[error("{area} at {address:#x}, {len} bytes, is not inside one memory region")]
    Outside {
        /// Which part of the ring.
        area: &'static str,
        /// Its front-end address.
        address: u64,
        /// Its length in bytes.
        len: usize,
    },
}

/// Largest ring of either kind.
const MAX_SIZE: u16 = 32768;

impl RingSetup {
    pub(super) fn check_size(&self) -> Result<(), RingError> {
        let Self { size, features: RingFeatures { packed, .. }, .. } = *self;
        let possible = (1..=MAX_SIZE).contains(&size) && (packed || size.is_power_of_two());
        let kind = if packed { "packed" } else { "split" };
        if possible { Ok(()) } else { Err(RingError::Size { size, kind }) }
    }

    pub(super) fn area(&self, area: &'static str, address: u64, len: usize, align: usize) -> Result<Area, RingError> {
        if !address.is_multiple_of(align as u64) {
            return Err(RingError::Misaligned { area, address, align });
        }
        self.memory.area(address, len, align).ok_or(RingError::Outside { area, address, len })
    }
}
