//! The sorted fast path: frames for a VM, told by {port, destination, VLAN} alone, get their verdict without parse, cache and
//! walk, exactly when every frame with these would get the same one. An offload of the rules, as a NIC would do it.
//!
//! ```text
//! control: rules -> prove: one rule at every table for all such frames? one output, nothing changed? -> SortTable in the snapshot
//! worker:  run of frames with equal {destination, tag} -> one lookup -> the entry's verdict; the rest takes the normal way
//! ```
//! Nothing is bypassed: an entry is no output, it is the promise that a walk with its key decides for all of its frames. The
//! worker takes that walk once per version of the bridge and then runs the rule or path found as always, so rules, tables and
//! ports are counted, and NORMAL learns, floods and treats VLANs, as without. Whatever else could happen to a frame (a
//! rewrite, a meter, a group, a packet-in, a second output) is no promise that is given.
//!
//! Installed lazily, removed at once: a changed rule that could match some frame of an entry takes the entry out of the very
//! snapshot that has the change ([`SortTable::carry`]); proofs are made later, in bounded turns ([`SortTable::derive`]), from what is known
//! about all rules and changed with each ([`Openings`]).
//!
//! Trust: sorters, NICs and programs may hand over anything: each frame's own bytes in the private head are compared, so a
//! frame in a wrong pool's ring is only slower. Neighbours: the classifier asks first; control says which frames are wanted.

mod entry;
mod prove;
mod stage;
mod table;

pub use entry::{SortEntry, SortState, SortTotals, SortedPool, Target};
pub use prove::{Openings, Refusal};
pub use table::{SortTable, Wanted};

pub(super) use stage::{Holds, Stage};
pub(super) use table::Seats;
