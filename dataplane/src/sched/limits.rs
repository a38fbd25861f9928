//! The rates of one port, or of all ports of a pool.

use super::Bucket;
use crate::packet::{BATCH, PacketBatch};
use crate::sys::clock;

/// The least burst of a shaped port: one frame of any usual size and another that is begun.
const MIN_BURST_BYTES: u64 = 3028;

/// A rate and how far above it a burst may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units per second.
    pub per_second: u64,
    /// Units.
    pub burst: u64,
}

/// What an operator asked for. Bytes are those of frames, without preamble and checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bytes that are pulled from the port.
    pub shape_bytes: Option<Rate>,
    /// Packets that are pulled from the port.
    pub shape_packets: Option<Rate>,
    /// Bytes above which it drops.
    pub police_bytes: Option<Rate>,
    /// Packets above which it drops.
    pub police_packets: Option<Rate>,
}

impl Rates {
    /// A rate of this many bytes per second with the burst that suits it: what it sends in ten milliseconds. A worker that
    /// the host keeps from its CPU for as long makes up for it; one of less would fall short of the rate on a busy host.
    #[must_use]
    pub fn shaped_bytes(per_second: u64) -> Rate {
        Rate { per_second, burst: (per_second / 100).max(MIN_BURST_BYTES) }
    }

    /// The same in packets.
    #[must_use]
    pub fn shaped_packets(per_second: u64) -> Rate {
        Rate { per_second, burst: (per_second / 100).max(2) }
    }
}

/// The rates of one port, and where it stands. Shared by the workers that serve its queues.
#[derive(Debug)]
pub struct Limits {
    rates: Rates,
    shape_bytes: Option<Bucket>,
    shape_packets: Option<Bucket>,
    police_bytes: Option<Bucket>,
    police_packets: Option<Bucket>,
}

/// What may be pulled from a ring now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// At most so many packets, at least one.
    Packets(usize),
    /// Nothing before this time (`sys::clock::cycles`).
    NotBefore(u64),
    /// Nothing in this pass: others go first.
    Later,
}

impl Limits {
    /// All buckets full.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        Self::with_clock(rates, clock::cycles_per_second())
    }

    pub(super) fn with_clock(rates: Rates, second: u64) -> Self {
        let bucket = |rate: Option<Rate>| rate.map(|rate| Bucket::new(rate.per_second, rate.burst, second));
        Self {
            rates,
            shape_bytes: bucket(rates.shape_bytes),
            shape_packets: bucket(rates.shape_packets),
            police_bytes: bucket(rates.police_bytes),
            police_packets: bucket(rates.police_packets),
        }
    }

    /// What was asked for.
    #[must_use]
    pub fn rates(&self) -> &Rates {
        &self.rates
    }

    /// How much of a ring whose frames are `mean_len` bytes long on average may be pulled at `now`. The last packet may
    /// exceed what is there; the next ones wait for it.
    #[must_use]
    pub fn pull(&self, now: u64, mean_len: usize) -> Pull {
        let (mut packets, mut not_before) = (BATCH, None);
        if let Some(bucket) = &self.shape_bytes {
            match u64::try_from(bucket.level(now)) {
                Ok(level @ 1..) => packets = packets.min(level as usize / mean_len.max(1) + 1),
                _ => not_before = Some(bucket.ready_at()),
            }
        }
        if let Some(bucket) = &self.shape_packets {
            match u64::try_from(bucket.level(now)) {
                Ok(level @ 1..) => packets = packets.min(level as usize),
                _ => not_before = not_before.max(Some(bucket.ready_at())),
            }
        }
        not_before.map_or(Pull::Packets(packets), Pull::NotBefore)
    }

    /// Counts what was pulled, and drops what is above the policed rates: the end of the batch, from the first packet on
    /// that does not conform. Returns how many packets were dropped.
    pub fn admit(&self, now: u64, batch: &PacketBatch) -> usize {
        let lens = batch.lens().map(|len| len as u64);
        if let Some(bucket) = &self.shape_bytes {
            bucket.take(lens.clone().sum(), now);
        }
        if let Some(bucket) = &self.shape_packets {
            bucket.take(batch.len() as u64, now);
        }
        let room = |bucket: &Option<Bucket>| bucket.as_ref().map_or(i64::MAX, |bucket| bucket.level(now));
        let (mut bytes, packets) = (room(&self.police_bytes), room(&self.police_packets));
        let conforms = |len: u64| {
            bytes = bytes.saturating_sub_unsigned(len);
            bytes >= 0
        };
        let admitted = lens.clone().map(conforms).take_while(|&conforms| conforms).count();
        let admitted = admitted.min(usize::try_from(packets).unwrap_or(0));
        if let Some(bucket) = &self.police_bytes {
            bucket.take(lens.take(admitted).sum(), now);
        }
        if let Some(bucket) = &self.police_packets {
            bucket.take(admitted as u64, now);
        }
        batch.len() - admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that is easy to read: nanoseconds.
    const SECOND: u64 = 1_000_000_000;

    fn fill(batch: &mut PacketBatch, lens: impl Iterator<Item = usize>, most: usize) {
        batch.clear();
        for len in lens.take(most) {
            batch.next_slot().expect("room").reset(len);
            batch.push();
        }
    }

    /// Packets and bytes that get through in ten seconds when the ring is always full, looked at every `step` ns.
    fn pulled(rates: Rates, lens: &[usize], step: u64) -> (u64, u64) {
        let limits = Limits::with_clock(rates, SECOND);
        let mut batch = PacketBatch::new();
        let mut ring = lens.iter().copied().cycle();
        let (mut packets, mut bytes, mut mean) = (0, 0, 64);
        let mut now = SECOND;
        while now < 11 * SECOND {
            match limits.pull(now, mean) {
                Pull::Later => panic!("a rate knows when"),
                Pull::NotBefore(time) => now = now.max(time).next_multiple_of(step),
                Pull::Packets(most) => {
                    fill(&mut batch, ring.by_ref(), most);
                    assert_eq!(limits.admit(now, &batch), 0, "shaping drops nothing");
                    packets += batch.len() as u64;
                    let got: usize = batch.packets().iter().map(|packet| packet.len()).sum();
                    bytes += got as u64;
                    mean = got / batch.len();
                    now += step;
                }
            }
        }
        (packets, bytes)
    }

    fn assert_close(got: u64, wanted: u64) {
        assert!(got.abs_diff(wanted) * 200 <= wanted, "{got} is not within 0.5 % of {wanted}");
    }

    #[test]
    fn a_shaped_port_sends_what_it_may_whatever_its_frames_are() {
        for lens in [&[64][..], &[1514], &[9000, 64, 64, 300], &[60, 1514]] {
            for bits in [1_000_000, 100_000_000, 1_000_000_000] {
                let rates = Rates { shape_bytes: Some(Rates::shaped_bytes(bits / 8)), ..Rates::default() };
                // A worker that is back every 2 us, and one that slept until the next millisecond.
                assert_close(pulled(rates, lens, 2_000).1, bits / 8 * 10);
            }
            let slow = Rates { shape_bytes: Some(Rates::shaped_bytes(1_000_000 / 8)), ..Rates::default() };
            assert_close(pulled(slow, lens, 1_000_000).1, 1_000_000 / 8 * 10);
            for pps in [10_000, 1_000_000] {
                let rates = Rates { shape_packets: Some(Rates::shaped_packets(pps)), ..Rates::default() };
                assert_close(pulled(rates, lens, 2_000).0, pps * 10);
            }
        }
    }

    #[test]
    fn the_lower_of_two_rates_counts() {
        let rates = Rates {
            shape_bytes: Some(Rates::shaped_bytes(1_000_000)),
            shape_packets: Some(Rates::shaped_packets(1000)),
            ..Rates::default()
        };
        assert_close(pulled(rates, &[100], 1000).0, 10_000);
        assert_close(pulled(rates, &[2000], 1000).1, 10_000_000);
    }

    #[test]
    fn a_policed_port_drops_the_end_of_what_is_too_much() {
        let police = Rate { per_second: 1000, burst: 2000 };
        let limits = Limits::with_clock(Rates { police_bytes: Some(police), ..Rates::default() }, SECOND);
        let mut batch = PacketBatch::new();
        fill(&mut batch, [900, 900, 900, 64].into_iter(), 4);
        assert_eq!(limits.pull(SECOND, 64), Pull::Packets(BATCH), "nobody waits");
        assert_eq!(limits.admit(SECOND, &batch), 2);
        assert_eq!(limits.admit(SECOND, &batch), 4, "200 bytes are left");
        assert_eq!(limits.admit(2 * SECOND, &batch), 3, "1200 are");
        let police = Rate { per_second: 1000, burst: 3 };
        let limits = Limits::with_clock(Rates { police_packets: Some(police), ..Rates::default() }, SECOND);
        assert_eq!(limits.admit(SECOND, &batch), 1);
        assert_eq!(limits.admit(SECOND, &batch), 4);
    }
}
