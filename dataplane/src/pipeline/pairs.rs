//! What one worker remembers of pairs of addresses: one look at one cache line answers for both ends of a frame, where the
//! table that all workers share takes a look for each, after addresses and tag have been taken apart.
//!
//! An entry says: at this port, in this second, a frame that begins like this may pass, its source needs no learning, and its
//! destination is behind that port. It holds until the second is over, so that addresses are refreshed as if nothing were
//! remembered, until an address leaves either port ([`Fdb::stamp`]), and until a port carries other VLANs
//! ([`Snapshot::vlan_epoch`](super::Snapshot::vlan_epoch)).
//! Trust: packets choose the pairs. The hash is secret. An entry is written once a second at most, and only when its source is
//! seen for the second time in that second: who invents addresses takes nobody's place. When the table is full he pushes out his
//! own, and only his port gets new stamps.
//! Neighbours: `normal` asks, and fills it with what `fdb` said.

use super::fdb::{Fdb, FdbKey, fold};
use crate::port::PortId;
use crate::sys::cpu::prefetch;

/// Half a megabyte, which stays in a core's own cache. More pairs than that are found sooner in the table that all workers share,
/// see [`PairCache::asked`].
const LINES: usize = 1 << 13;
/// Batches that do without, after one of which less than half was remembered.
const REST: u32 = 15;
/// Fewer packets than this tell nothing about that.
const TELLING: u32 = 8;

/// What a frame begins with: both addresses, the type, and the tag if that is the type, else what follows. Taken as it is: few
/// pairs have frames that begin in several ways, and then they have an entry for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Start([u64; 2]);

impl Start {
    /// From the first 16 bytes.
    #[inline(always)]
    pub fn new(bytes: &[u8; 16]) -> Self {
        let word = u128::from_ne_bytes(*bytes);
        Self([word as u64, (word >> 64) as u64])
    }
}

/// The line where a pair is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place(u16);

/// The second and the epoch of the ports' VLANs, 16 bits of each, and the stamp of the port where frames come in, which names the
/// port too. What comes again after 18 hours, and still is in its place, only lets an address be refreshed a second later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Since(u64);

impl Since {
    /// To be asked for before the table is asked about sources.
    #[inline(always)]
    pub fn new(fdb: &Fdb, ingress: PortId, now_s: u32, vlan_epoch: u64) -> Self {
        Self(u64::from(now_s) << 48 | (vlan_epoch & 0xffff) << 32 | u64::from(fdb.stamp(ingress)))
    }
}

/// The destination's port, with its stamp above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Target(u64);

impl Target {
    /// The port.
    #[inline(always)]
    pub fn port(self) -> PortId {
        PortId(self.0 as u16)
    }

    /// No address left the port since it was noted.
    #[inline(always)]
    pub fn holds(self, fdb: &Fdb) -> bool {
        self.0 >> 32 == u64::from(fdb.stamp(self.port()))
    }
}

impl From<PortId> for Target {
    /// One that was just looked up.
    fn from(port: PortId) -> Self {
        Self(port.0.into())
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    start: Start,
    since: Since,
    target: Target,
}

/// A cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line([Entry; 2]);

/// See the module.
pub(super) struct PairCache {
    lines: Box<[Line; LINES]>,
    seeds: [u64; 2],
    /// Batches that still do without.
    rest: u32,
}

impl Default for PairCache {
    fn default() -> Self {
        use std::hash::{BuildHasher, RandomState};
        let random = RandomState::new();
        let lines = vec![Line::default(); LINES].try_into().expect("as many as were asked for");
        Self { lines, seeds: [0, 1].map(|which| random.hash_one(which)), rest: 0 }
    }
}

impl PairCache {
    /// Where to look for a pair that is going to be asked for; its entry is on its way then.
    #[inline(always)]
    pub fn place(&self, start: Start) -> Place {
        let hash = fold(start.0[0] ^ self.seeds[0], start.0[1] ^ self.seeds[1]);
        // The lowest bits would lie in a pattern when addresses count up.
        let place = Place((hash >> 24) as u16);
        prefetch(self.line(place));
        place
    }

    #[inline(always)]
    fn line(&self, place: Place) -> &Line {
        &self.lines[usize::from(place.0) % LINES]
    }

    /// True when a batch is to ask; others leave everything as it is.
    #[inline(always)]
    pub fn is_worth_asking(&mut self) -> bool {
        let is_worth = self.rest == 0;
        self.rest = self.rest.saturating_sub(1);
        is_worth
    }

    /// So many pairs of a batch were asked for, and so many were unknown.
    #[inline(always)]
    pub fn asked(&mut self, count: u32, unknown: u32) {
        if count >= TELLING && unknown * 2 > count {
            self.rest = REST;
        }
    }

    /// Where the destination was when the source needed no learning: it still is there if that [holds](Target::holds).
    #[inline(always)]
    pub fn recall(&self, start: Start, place: Place, since: Since) -> Option<Target> {
        let Line(entries) = self.line(place);
        let found = entries.iter().find(|entry| entry.start == start && entry.since == since);
        found.map(|entry| entry.target)
    }

    /// The table said that the source is settled and the destination behind `port`.
    pub fn note(&mut self, fdb: &Fdb, (start, dst): (Start, FdbKey), place: Place, since: Since, port: PortId) {
        let Line(entries) = &mut self.lines[usize::from(place.0) % LINES];
        let is_old = |entry: &&mut Entry| entry.since.0 >> 32 != since.0 >> 32;
        let Some(entry) = entries.iter_mut().find(is_old) else { return };
        let stamp = fdb.stamp(port);
        // It may have left before the stamp was taken.
        if fdb.lookup(fdb.probe(dst)) == Some(port) {
            *entry = Entry { start, since, target: Target(u64::from(stamp) << 32 | u64::from(port.0)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::fdb::Sighting;

    /// What a frame of these addresses begins with.
    fn start(dst: u64, src: u64) -> Start {
        Start([dst, src])
    }

    const PORTS: u64 = 3;
    const MACS: u64 = 10;

    /// Whatever happens to the table, what is recalled is what the table would have said, and the source was seen in this second.
    #[test]
    fn what_is_remembered_is_what_the_table_says() {
        let mut state = 7u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut cache = PairCache::default();
        // Smaller than what is learned, so that addresses are pushed out.
        let (mut fdb, mut now_s, mut recalled) = (Fdb::new(7), 1, 0);
        for _ in 0..200_000 {
            let port = PortId(random(PORTS) as u16);
            match random(400) {
                0 => now_s += 1,
                1 => _ = fdb.age(now_s, 2),
                2 => _ = fdb.flush(|entry| entry.port == port),
                3 => _ = fdb.add_static([0, 0, 0, 0, 0, random(MACS) as u8], 0, port),
                4 => fdb = fdb.resized(5 + random(4) as usize),
                _ => {}
            }
            // A few of them wander, the others keep to their ports.
            let mac = random(MACS);
            let port = if random(50) == 0 { port } else { PortId((mac % PORTS) as u16) };
            let start = start(random(MACS), mac);
            let (dst, src) = (FdbKey::new(start.0[0], 0), FdbKey::new(mac, 0));
            let (since, place) = (Since::new(&fdb, port, now_s, 0), cache.place(start));
            if let Some(found) = cache.recall(start, place, since).filter(|target| target.holds(&fdb)) {
                recalled += 1;
                assert_eq!(fdb.lookup(fdb.probe(dst)), Some(found.port()));
                let entries = fdb.entries(now_s);
                let source = entries.iter().find(|entry| FdbKey::of(entry.mac, 0) == src).expect("it was learned");
                assert_eq!(source.port, port);
                assert!(source.age_s.is_none_or(|age_s| age_s == 0), "{source:?}");
            } else if fdb.learn(fdb.probe(src), port, now_s) == Sighting::Settled
                && let Some(target) = fdb.lookup(fdb.probe(dst))
            {
                cache.note(&fdb, (start, dst), place, since, target);
            }
        }
        assert!(recalled > 500, "{recalled}");
    }

    #[test]
    fn it_is_asked_again_now_and_then_when_it_knew_little() {
        let mut cache = PairCache::default();
        let mut asks = |unknown| {
            let asks = cache.is_worth_asking();
            if asks {
                cache.asked(32, unknown);
            }
            asks
        };
        assert!((0..100).all(|_| asks(16)), "half is enough");
        assert!(asks(17));
        assert_eq!((0..32).filter(|_| asks(32)).count(), 2);
        assert_eq!((0..32).filter(|_| asks(0)).count(), 32 - REST as usize);
    }

    #[test]
    fn a_full_line_keeps_what_it_has_until_the_second_is_over() {
        let (fdb, mut cache) = (Fdb::new(64), PairCache::default());
        let starts: Vec<_> = (1..4).map(|mac| start(0, mac)).collect();
        (0..4).for_each(|mac| _ = fdb.learn(fdb.probe(FdbKey::new(mac, 0)), PortId(mac.min(1) as u16), 5));
        let (dst, place) = (FdbKey::new(0, 0), Place(0));
        let mut known = |now_s, vlan_epoch| {
            let since = Since::new(&fdb, PortId(1), now_s, vlan_epoch);
            starts.iter().for_each(|&start| cache.note(&fdb, (start, dst), place, since, PortId(0)));
            starts.iter().map(|&start| cache.recall(start, place, since).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(known(5, 1), [true, true, false]);
        assert_eq!(known(6, 1), [true, true, false]);
        assert_eq!(known(6, 2), [true, true, false], "or other VLANs are carried");
    }
}
