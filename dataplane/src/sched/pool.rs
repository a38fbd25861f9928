//! A pool: the queues that belong to one VM, and its part of what is shared.
//!
//! Every port is in a pool; one that the operator put into none is a pool of its own. Neighbours: control makes pools from
//! the configuration, `PortEntry` names the one it is in, workers and egress shares serve by its weight.

use super::{Bucket, Limits, Rates};
use crate::port::MAX_PORTS;
use crate::sys::clock;

/// A pool's place in the switch, below [`MAX_POOLS`], reused after the pool is gone. A port that is a pool of its own has its
/// port's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u16);

/// The weight of a pool that was given none.
pub const DEFAULT_WEIGHT: u32 = 100;

/// Most pools there can be: each port by itself, and those that were made of ports.
pub const MAX_POOLS: usize = 2 * MAX_PORTS;

/// Places in tables by pool: one for each, and one for what is nobody's.
pub(super) const POOLS: usize = MAX_POOLS + 1;

/// What something that was served adds to the virtual time of who got it: its amount divided by a weight, with 32 bits behind
/// the point. Wide enough never to overflow.
pub(super) type Virtual = u128;

/// The virtual time of `amount` at this weight.
pub(super) const fn virtual_time(amount: u64, weight: u32) -> Virtual {
    ((amount as u128) << 32) / weight as u128
}

/// What an operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// Its part of what several pools want, against the others' weights; at least 1.
    pub weight: u32,
    /// Strict class at a shared port, 0 to 7: a higher one goes first where both wait, within a QoS queue of the port. The
    /// time of workers is shared by weight alone, or a busy VM of a higher class would leave none to others.
    pub priority: u8,
    /// Bytes per second that it gets of shared ports, all of them together, before weights count; none when nothing is
    /// promised. What it sends beyond is shared by weight.
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
    promise: Option<Bucket>,
    /// Virtual time of one unit: a division less for each batch.
    step: u64,
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
        // Measuring the clock takes a while: only for those who need it.
        let second = || clock::cycles_per_second();
        Self::with_clock(id, spec, second)
    }

    pub(super) fn with_clock(id: PoolId, spec: PoolSpec, second: impl Fn() -> u64) -> Self {
        let limits = (spec.max != Rates::default()).then(|| Limits::with_clock(spec.max, second()));
        let promise = spec.min_bytes.map(|bytes| promise(bytes, second()));
        let step = virtual_time(1, spec.weight.max(1)) as u64;
        Self { id, spec, limits, promise, step }
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

    /// What it was promised of shared ports.
    pub(super) fn promise(&self) -> Option<&Bucket> {
        self.promise.as_ref()
    }

    /// Where it stands in tables by pool.
    #[inline(always)]
    pub(super) fn place(&self) -> usize {
        usize::from(self.id.0).min(POOLS - 1)
    }

    /// How much further in virtual time it is after `amount`.
    #[inline(always)]
    pub(super) fn advance(&self, amount: u64) -> Virtual {
        Virtual::from(amount) * Virtual::from(self.step)
    }

    /// What it may have until it is `ahead` in virtual time.
    pub(super) fn amount(&self, ahead: Virtual) -> u64 {
        u64::try_from(ahead / Virtual::from(self.step)).unwrap_or(u64::MAX)
    }
}

/// A guaranteed rate: it holds for as long a time as the burst of a limited one.
pub(super) fn promise(bytes: u64, second: u64) -> Bucket {
    let rate = Rates::shaped_bytes(bytes);
    Bucket::new(rate.per_second, rate.burst, second)
}
