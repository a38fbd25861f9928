//! How the senders to one port share it: port, then queue, then pool.
//!
//! Neighbours: control makes it from the port's QoS; workers ask before they pull from a ring whose frames go there.

use super::{AllCounts, QueueCounts, Rate};

/// One of a port's QoS queues (OpenFlow's `set_queue`, Open vSwitch's table Queue).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSpec {
    /// OpenFlow's number of the queue. Packets that name none are in 0.
    pub id: u32,
    /// Bytes per second that it gets before others.
    pub min_bytes: Option<u64>,
    /// Most that it gets.
    pub max_bytes: Option<Rate>,
    /// Strict class, 0 to 7, higher first.
    pub priority: u8,
}

/// A port's QoS, as an operator asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressSpec {
    /// Most that all together send through the port; none when only its own speed limits it.
    pub max_bytes: Option<Rate>,
    /// Its queues, by number.
    pub queues: Vec<QueueSpec>,
}

/// A shared port. Workers of all its senders use it at once.
#[derive(Debug)]
pub struct Egress {
    spec: EgressSpec,
    counts: AllCounts,
}

impl Egress {
    /// Nobody waits yet.
    #[must_use]
    pub fn new(spec: EgressSpec) -> Self {
        Self::after(spec, None)
    }

    /// The same; queues that this port had before count on.
    #[must_use]
    pub fn after(spec: EgressSpec, before: Option<&Self>) -> Self {
        let counts = AllCounts::new(&spec, before.map(|before| &before.counts));
        Self { spec, counts }
    }

    /// What its queues counted.
    #[must_use]
    pub fn counts(&self) -> Vec<QueueCounts> {
        self.counts.totals()
    }

    /// What was asked for.
    #[must_use]
    pub fn spec(&self) -> &EgressSpec {
        &self.spec
    }
}
