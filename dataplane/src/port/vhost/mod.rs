//! vhost-user ports: a session thread that speaks with the front-end, and the device side of virtio-net rings, split and
//! packed.
//!
//! Trust: the guest may lie about every descriptor, index, address, length and flag, at any time. Each is read once,
//! checked, then used; what makes no sense faults the ring ([`RingFault`]) and never anything else.
//! The front-end may lie in every message; `message` bounds them, `requests` checks them, and the worst that follows is
//! that it is sent away.
//! Spec: vhost-user; virtio 1.2, sections 2.7 (split), 2.8 (packed) and 5.1.6 (network device).
//! Neighbours: the session opens and closes rings; `worker` drives them as [`RxQueue`](super::RxQueue) and
//! [`TxQueue`](super::TxQueue).

mod device;
pub mod driver;
mod engine;
mod error;
mod fault;
mod gather;
mod memory;
mod message;
mod options;
mod packed;
mod port;
mod requests;
mod ring;
mod rx;
mod scatter;
mod session;
mod setup;
mod socket;
mod split;
mod tx;
mod vring;

pub use error::VhostError;
pub use fault::{RingFault, RingFaultKind};
pub use options::{FeatureSwitches, Mode, RingStatus, VhostOptions, VhostStatus};
pub use port::VhostPort;
pub use ring::{RxRing, TxRing, open_rx, open_tx};
pub use setup::{RingError, RingFeatures, RingSetup};

#[cfg(test)]
mod tests;
