//! Workers: pinned threads that own receive queues and move batches.
//!
//! Trust: a worker calls code that reads foreign memory but reads none itself. Neighbours: control starts
//! [`Workers`], publishes snapshots and reads statistics; ports hand queues over through [`crate::port::QueueHost`].

mod attachment;
mod host;
mod idle;
mod roster;
mod run;
mod stats;
mod switchboard;

pub use host::{QueuePlacement, Workers, WorkersConfig};
pub use idle::IdlePolicy;
pub use run::Worker;
pub use stats::WorkerTotals;
pub use switchboard::Switchboard;
