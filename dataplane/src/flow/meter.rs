//! Meters: limits that flows share, by number.
//!
//! Source: OpenFlow 1.5.1 section 5.11. Neighbours: control keeps and changes them, the pipeline asks them.

use std::sync::Arc;

/// Highest number of an ordinary meter.
pub const METER_MAX: u32 = 0xffff_0000;
/// The meter of packet-ins to controllers.
pub const METER_CONTROLLER: u32 = 0xffff_fffe;
/// The meter of the slow path.
pub const METER_SLOWPATH: u32 = 0xffff_fffd;

/// A meter as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    /// Its number.
    pub id: u32,
    /// Rates are in packets per second, not kilobits per second.
    pub pktps: bool,
    /// Bands say how large a burst may be.
    pub burst: bool,
    /// Statistics are wanted.
    pub stats: bool,
    /// What happens above which rate.
    pub bands: Vec<Band>,
}

/// A limit of a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// What happens to packets above the rate.
    pub kind: BandKind,
    /// Kilobits or packets per second.
    pub rate: u32,
    /// Kilobits or packets, exactly as asked for.
    pub burst_size: u32,
}

/// What a band does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BandKind {
    /// It drops.
    Drop,
    /// It makes dropping more likely further on: DSCP's drop precedence goes up by so much.
    DscpRemark(u8),
}

/// An installed meter.
#[derive(Debug)]
pub struct MeterEntry {
    /// What was asked for.
    pub meter: Meter,
    /// When it was installed, milliseconds of `sys::clock::coarse_ms`.
    pub created_ms: u64,
}

/// The meters of a bridge by number: cheap to clone and to change.
pub type Meters = imbl::OrdMap<u32, Arc<MeterEntry>>;
