//! A pool: the queues that belong to one VM, and its part of what is shared.
//!
//! Every port is in a pool; one that the operator put into none is a pool of its own. Neighbours: control makes pools from
//! the configuration, `PortEntry` names the one it is in, workers and egress shares serve by its weight.

use super::{Limits, Rates};

/// A pool's place in the switch: dense, from 0, reused after the pool is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u16);

/// The weight of a pool that was given none.
pub const DEFAULT_WEIGHT: u32 = 100;

/// What an operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// Its part of what several pools want, against the others' weights; at least 1.
    pub weight: u32,
    /// Strict class, 0 to 7: a higher one is served first wherever both wait for the same.
    pub priority: u8,
    /// Bytes per second that it gets of a shared port before weights count; none when nothing is promised.
    pub min_bytes: Option<u64>,
    /// Most that its ports together may send; only the shaped rates.
    pub max: Rates,
}

impl Default for PoolSpec {
    fn default() -> Self {
        Self { weight: DEFAULT_WEIGHT, priority: 0, min_bytes: None, max: Rates::default() }
    }
}

/// A pool as workers see it.
#[derive(Debug)]
pub struct Pool {
    id: PoolId,
    spec: PoolSpec,
    limits: Option<Limits>,
}

/// Alone, with the default weight: in tests, and where a packet of control's own comes from.
impl Default for Pool {
    fn default() -> Self {
        Self::new(PoolId(u16::MAX), PoolSpec::default())
    }
}

impl Pool {
    /// With full buckets.
    #[must_use]
    pub fn new(id: PoolId, spec: PoolSpec) -> Self {
        let limits = (spec.max != Rates::default()).then(|| Limits::new(spec.max));
        Self { id, spec, limits }
    }

    /// Its place.
    #[must_use]
    pub fn id(&self) -> PoolId {
        self.id
    }

    /// What was asked for.
    #[must_use]
    pub fn spec(&self) -> &PoolSpec {
        &self.spec
    }

    /// Its rates; none when it is not limited.
    #[inline(always)]
    #[must_use]
    pub fn limits(&self) -> Option<&Limits> {
        self.limits.as_ref()
    }
}
