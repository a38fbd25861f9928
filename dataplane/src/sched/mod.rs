//! How much may be served now: rates of ports.
//!
//! Two ways to keep a sender to a rate. **Shaping** pulls no more from its ring than it may send, so the ring itself is the
//! queue: what is too much waits in the sender's own memory, nothing is dropped and nothing is buffered here. **Policing**
//! receives everything and drops what is too much, as Open vSwitch's `ingress_policing_rate` does: for senders that cannot
//! be made to wait, such as a NIC. Neighbours: the worker asks before and after each burst; control sets the rates.

mod bucket;
mod counts;
mod egress;
mod limits;
mod pool;

pub use bucket::Bucket;
pub use counts::{AllCounts, QueueCounts};
pub use egress::{Egress, EgressSpec, QueueSpec};
pub use limits::{Limits, Pull, Rate, Rates};
pub use pool::{DEFAULT_WEIGHT, Pool, PoolId, PoolSpec};
