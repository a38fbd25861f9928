//! What uplinks are asked and answer about sorting.

use std::sync::Arc;

use ringswitch_dataplane::flow::Mac;

/// A pool that an uplink's frames are sorted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortPool {
    /// Its name.
    pub name: Arc<str>,
    /// Its part of the uplink's attention.
    pub weight: u32,
    /// What its frames look like; no two pools share one.
    pub filters: Vec<SortFilter>,
}

/// What a pool's frames look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortFilter {
    /// Their destination.
    pub mac: Mac,
    /// The id of their VLAN tag; 0 for none.
    pub vlan: u16,
}

/// Who sorts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sorter {
    /// The NIC, into a queue of the pool's own.
    Nic,
    /// The XDP program, into sockets of the pool's own.
    Xdp,
    /// The worker.
    Software,
}

/// How an uplink sorts for a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSorting {
    /// The pool.
    pub name: Arc<str>,
    /// Who does it.
    pub sorter: Sorter,
    /// Why the better ones do not.
    pub why_not: Vec<(Sorter, String)>,
    /// Through which queues or sockets.
    pub queues: String,
    /// Frames that came sorted.
    pub frames: u64,
}
