//! Open rings, of either kind: chosen once per batch.

use std::any::Any;
use std::os::fd::{AsRawFd, RawFd};

use super::packed::Packed;
use super::rx::Rx;
use super::split::Split;
use super::tx::Tx;
use super::{RingError, RingSetup};
use crate::packet::{PacketBatch, TxList};
use crate::port::{RxQueue, TxQueue};

/// Opens the guest's transmit ring: the switch receives.
///
/// # Errors
/// An impossible size, and areas that are misaligned or outside the memory table.
pub fn open_rx(setup: RingSetup) -> Result<RxRing, RingError> {
    let packed = setup.features.packed;
    Ok(RxRing(if packed { RxKind::Packed(Rx::open(setup)?) } else { RxKind::Split(Rx::open(setup)?) }))
}

/// Opens the guest's receive ring: the switch sends.
///
/// # Errors
/// As [`open_rx`].
pub fn open_tx(setup: RingSetup) -> Result<TxRing, RingError> {
    let packed = setup.features.packed;
    Ok(TxRing(if packed { TxKind::Packed(Tx::open(setup)?) } else { TxKind::Split(Tx::open(setup)?) }))
}

/// A guest's transmit ring, from which the switch receives.
pub struct RxRing(RxKind);

enum RxKind {
    Split(Rx<Split>),
    Packed(Rx<Packed>),
}

/// A guest's receive ring, to which the switch sends.
pub struct TxRing(TxKind);

enum TxKind {
    Split(Tx<Split>),
    Packed(Tx<Packed>),
}

macro_rules! either {
    ($kind:ident, $ring:expr, $inner:ident => $body:expr) => {
        match $ring {
            $kind::Split($inner) => $body,
            $kind::Packed($inner) => $body,
        }
    };
}

impl RxRing {
    /// Stops the ring: gives all buffers back and says where it stands, for GET_VRING_BASE or to open it again. The
    /// packets of its last burst must not be used any more.
    #[must_use]
    pub fn close(self) -> RingSetup {
        either!(RxKind, self.0, ring => ring.close())
    }
}

impl TxRing {
    /// Stops the ring: publishes what was sent and says where it stands, for GET_VRING_BASE or to open it again.
    #[must_use]
    pub fn close(self) -> RingSetup {
        either!(TxKind, self.0, ring => ring.close())
    }
}

impl RxQueue for RxRing {
    fn rx_batch(&mut self, batch: &mut PacketBatch) -> usize {
        either!(RxKind, &mut self.0, ring => ring.rx_batch(batch))
    }

    fn finish(&mut self) {
        either!(RxKind, &mut self.0, ring => ring.finish());
    }

    fn event_fd(&self) -> Option<RawFd> {
        either!(RxKind, &self.0, ring => ring.kick()).map(AsRawFd::as_raw_fd)
    }

    fn arm(&mut self) -> bool {
        either!(RxKind, &mut self.0, ring => ring.arm())
    }

    fn disarm(&mut self) {
        either!(RxKind, &mut self.0, ring => ring.disarm());
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

impl TxQueue for TxRing {
    fn tx_batch(&mut self, packets: &PacketBatch, list: &mut TxList) -> usize {
        either!(TxKind, &mut self.0, ring => ring.tx_batch(packets, list))
    }

    fn flush(&mut self) {
        either!(TxKind, &mut self.0, ring => ring.flush());
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
