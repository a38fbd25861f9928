//! What the operating system and the CPU give us, each call one safe function.
//!
//! Trust: nobody lies here; arguments come from our own code. `unsafe` is allowed in this room and in `mem` only, and
//! every block names its invariant. Neighbours: everything below may call these.

pub mod affinity;
mod bell;
pub mod clock;
pub mod cpu;
pub mod ethtool;
pub mod event;
pub mod large_page;
pub mod limits;
pub mod netdev;
pub mod packet_socket;
pub mod poll;
pub mod resume_latency;
pub mod sigbus;
pub mod socket;
pub mod tap;
