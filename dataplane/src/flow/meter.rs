//! Meters: limits that flows share, by number.
//!
//! Source: OpenFlow 1.5.1 section 5.11. A band is a token bucket, kept as the time at which it will be full again (a "generic cell
//! rate algorithm"): one atomic word, which a worker moves once for a whole batch. Neighbours: control keeps and changes
//! meters, the pipeline asks them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Highest number of an ordinary meter.
pub const METER_MAX: u32 = 0xffff_0000;
/// The meter of packet-ins to controllers.
pub const METER_CONTROLLER: u32 = 0xffff_fffe;
/// The meter of the slow path.
pub const METER_SLOWPATH: u32 = 0xffff_fffd;

/// Parts of a nanosecond that time is counted in: fine enough for a small packet's share of a fast link.
const TICKS_PER_NS: u64 = 16;
const TICKS_PER_SECOND: u64 = TICKS_PER_NS * 1_000_000_000;

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
    /// Packets that asked it; shared with its predecessor when it was modified.
    counts: Arc<Counts>,
    /// As many as the meter has bands.
    bands: Box<[Bucket]>,
}

/// Packets and bytes that all workers add to.
#[derive(Debug, Default)]
struct Counts {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Counts {
    fn add(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    fn totals(&self) -> (u64, u64) {
        (self.packets.load(Relaxed), self.bytes.load(Relaxed))
    }
}

/// A band at work.
#[derive(Debug)]
struct Bucket {
    /// Ticks that a packet or a byte costs, times 2^16.
    cost: u64,
    /// Ticks from empty to full.
    depth: u64,
    /// When it will be full again, in ticks.
    full_at: AtomicU64,
    /// What it caught.
    caught: Counts,
}

impl Bucket {
    fn new(band: &Band, meter: &Meter) -> Self {
        let rate = u64::from(band.rate.max(1));
        // One second's worth when nothing is said, as in Open vSwitch.
        let burst = if meter.burst && band.burst_size > 0 { u64::from(band.burst_size) } else { rate };
        let cost = if meter.pktps { (TICKS_PER_SECOND << 16) / rate } else { (TICKS_PER_SECOND << 16) / 125 / rate };
        let depth = u128::from(burst) * u128::from(TICKS_PER_SECOND) / u128::from(rate);
        let depth = depth.min(u128::from(u64::MAX / 4)) as u64;
        Self { cost, depth, full_at: AtomicU64::new(0), caught: Counts::default() }
    }

    /// Takes this many packets or bytes out of the bucket; false when it does not hold them.
    fn take(&self, count: u64, now: u64) -> bool {
        let need = ((u128::from(count) * u128::from(self.cost)) >> 16) as u64;
        let take = |full_at: u64| {
            let then = full_at.max(now).saturating_add(need);
            (then <= now.saturating_add(self.depth)).then_some(then)
        };
        self.full_at.fetch_update(Relaxed, Relaxed, take).is_ok()
    }
}

/// The counters of a meter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeterTotals {
    /// Packets that asked it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets and bytes that each band caught.
    pub bands: Vec<(u64, u64)>,
}

impl MeterEntry {
    /// A new one: its buckets are full.
    #[must_use]
    pub fn new(meter: Meter, created_ms: u64) -> Self {
        Self::with(meter, created_ms, Arc::default())
    }

    fn with(meter: Meter, created_ms: u64, counts: Arc<Counts>) -> Self {
        let bands = meter.bands.iter().map(|band| Bucket::new(band, &meter)).collect();
        Self { meter, created_ms, counts, bands }
    }

    /// What takes its place when it is modified: age and packets counted stay, bands begin anew.
    #[must_use]
    pub fn modified(&self, meter: Meter) -> Self {
        Self::with(meter, self.created_ms, Arc::clone(&self.counts))
    }

    /// Its counters.
    #[must_use]
    pub fn totals(&self) -> MeterTotals {
        let (packets, bytes) = self.counts.totals();
        MeterTotals { packets, bytes, bands: self.bands.iter().map(|band| band.caught.totals()).collect() }
    }

    /// Counts packets that are about to ask.
    pub fn count(&self, packets: u64, bytes: u64) {
        self.counts.add(packets, bytes);
    }

    /// True when this many packets or bytes in all are below every band's rate; they are paid for then. One step for a batch.
    #[must_use]
    pub fn admits_all(&self, packets: u64, bytes: u64, now_ns: u64) -> bool {
        let [band] = &*self.bands else { return self.bands.is_empty() };
        band.take(if self.meter.pktps { packets } else { bytes }, now_ns.saturating_mul(TICKS_PER_NS))
    }

    /// Asks for one packet: the band that catches it, of the highest rate that is exceeded; none when it may pass.
    #[must_use]
    pub fn catch(&self, bytes: u64, now_ns: u64) -> Option<BandKind> {
        let now = now_ns.saturating_mul(TICKS_PER_NS);
        let count = if self.meter.pktps { 1 } else { bytes };
        let bands = self.meter.bands.iter().zip(&self.bands);
        let exceeded = bands.filter(|(_, bucket)| !bucket.take(count, now));
        let (band, bucket) = exceeded.max_by_key(|(band, _)| band.rate)?;
        bucket.caught.add(1, bytes);
        Some(band.kind)
    }
}

/// The meters of a bridge by number: cheap to clone and to change.
pub type Meters = imbl::OrdMap<u32, Arc<MeterEntry>>;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn meter(pktps: bool, bands: &[(BandKind, u32, u32)]) -> MeterEntry {
        let band = |&(kind, rate, burst_size)| Band { kind, rate, burst_size };
        let bands = bands.iter().map(band).collect();
        MeterEntry::new(Meter { id: 1, pktps, burst: true, stats: true, bands }, 0)
    }

    #[test]
    fn a_band_lets_its_burst_and_then_its_rate_pass() {
        let meter = meter(true, &[(BandKind::Drop, 100, 10)]);
        let passed = |from: u64, count: u64, gap: u64| {
            (0..count).filter(|nth| meter.catch(64, from + nth * gap).is_none()).count()
        };
        assert_eq!(passed(SECOND, 50, 0), 10, "the burst");
        // Ten times the rate for a second.
        assert_eq!(passed(SECOND, 1000, SECOND / 1000), 99);
        assert!(meter.admits_all(10, 640, 10 * SECOND));
        assert!(!meter.admits_all(1, 64, 10 * SECOND));
        assert_eq!(meter.totals().bands, [(40 + 901, 941 * 64)]);
    }

    #[test]
    fn kilobits_are_counted_by_the_length_of_packets() {
        let meter = meter(false, &[(BandKind::Drop, 8000, 8)]);
        // A kilobyte every millisecond.
        assert_eq!(meter.catch(1000, SECOND), None);
        assert_eq!(meter.catch(1, SECOND), Some(BandKind::Drop));
        assert_eq!(meter.catch(1000, SECOND + SECOND / 1000), None);
    }

    #[test]
    fn of_the_bands_that_are_exceeded_the_highest_catches() {
        let meter = meter(true, &[(BandKind::Drop, 20, 20), (BandKind::DscpRemark(1), 10, 10)]);
        let caught: Vec<_> = (0..30).map(|_| meter.catch(64, SECOND)).collect();
        assert!(caught[..10].iter().all(Option::is_none));
        assert!(caught[10..20].iter().all(|kind| *kind == Some(BandKind::DscpRemark(1))));
        assert!(caught[20..].iter().all(|kind| *kind == Some(BandKind::Drop)));
    }
}
