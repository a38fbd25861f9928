//! vhost-user ports: the device side of virtio-net rings, split and packed.
//!
//! Trust: the guest may lie about every descriptor, index, address, length and flag, at any time. Each is read once,
//! checked, then used; what makes no sense faults the ring ([`RingFault`]) and never anything else.
//! Spec: virtio 1.2, sections 2.7 (split), 2.8 (packed) and 5.1.6 (network device).
//! Neighbours: the session opens and closes rings; `worker` drives them as [`RxQueue`](super::RxQueue) and
//! [`TxQueue`](super::TxQueue).

mod engine;
mod fault;
mod gather;
mod packed;
mod ring;
mod rx;
mod scatter;
mod setup;
mod split;
mod tx;

pub use fault::{RingFault, RingFaultKind};
pub use ring::{RxRing, TxRing, open_rx, open_tx};
pub use setup::{RingError, RingFeatures, RingSetup};
