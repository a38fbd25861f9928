//! Workers: pinned threads that own receive queues and move batches.
//!
//! Trust: a worker calls code that reads foreign memory but reads none itself. Neighbours: control starts
//! [`Workers`], publishes snapshots and reads statistics; ports hand queues over through [`crate::port::QueueHost`].

mod attachment;
mod balance;
mod host;
mod idle;
mod placement;
mod roster;
mod run;
mod stats;
mod switchboard;

pub use balance::{AutoBalance, Idle, Move, Patience, Plan, QueueLoad, plan};
pub use host::{Workers, WorkersConfig};
pub use idle::IdlePolicy;
pub use placement::{Pin, QueuePlacement, WorkerPlacement};
pub use run::Worker;
pub use stats::{BATCH_CYCLES, BATCH_SIZES, QueueTotals, WorkerTotals};
pub use switchboard::Switchboard;
