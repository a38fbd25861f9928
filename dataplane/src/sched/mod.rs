//! Who is served when, and how much: the transmit side of what Intel called VMDq, where the VMs' queues are served in turn.
//!
//! The ideal is generalized processor sharing (Parekh and Gallager, 1993): whatever is shared is at every moment divided among
//! those who want it, by weight, and what one does not want the others have. Packets cannot be divided, so two followers of it
//! are used here. **Deficit round robin** (Shreedhar and Varghese, 1995) gives each one a budget per round and carries what was
//! overdrawn to the next: so a worker's *cycles* are shared ([`Turns`]). **Start-time fair queueing** (Goyal, Vin and Cheng,
//! 1996) keeps a virtual time for each, which advances by what it got divided by its weight, and the one that is behind goes
//! first: so the *bytes* of a port are shared, below its rates, guarantees and classes ([`Egress`]).
//!
//! Nothing is queued here. Three ways to keep a sender to what it may send: **shaping** pulls no more from its ring, so that
//! the ring itself is the queue: what is too much waits in the sender's own memory, nothing is dropped and nothing is buffered.
//! **Sharing** does the same while others want the same port. **Policing** receives everything and drops what is too much, as
//! Open vSwitch's `ingress_policing_rate` does: for senders that cannot be made to wait, such as a NIC.
//!
//! All of it is pure: time is an argument. Neighbours: the worker asks before and after each burst; `pipeline::egress` tells
//! what was really sent; control sets rates, weights and classes.

mod bucket;
mod counts;
mod egress;
mod habit;
mod limits;
mod pool;
mod room;
mod turns;
mod waiting;

pub use bucket::Bucket;
pub use counts::QueueCounts;
pub use egress::{Egress, EgressSpec, QueueSpec, QueueTotals};
pub use habit::{Habit, Shared};
pub use limits::{Limits, Pull, Rate, Rates};
pub use pool::{DEFAULT_WEIGHT, MAX_POOLS, Pool, PoolId, PoolSpec};
pub use turns::Turns;
