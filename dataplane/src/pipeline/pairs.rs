//! What one worker remembers of pairs of addresses: one look at one cache line answers for both ends of a frame, where the
//! table that all workers share takes a look for each.
//!
//! An entry says: at this port, in this second, the source needs no learning, and the destination is behind that port. It holds
//! until the second is over, so that addresses are refreshed as if nothing were remembered, and until an address leaves
//! either port ([`Fdb::stamp`]).
//! Trust: packets choose the pairs. The hash is secret. An entry is written once a second at most, and only when its source is
//! seen for the second time in that second: who invents addresses takes nobody's place. When the table is full he pushes out his
//! own, and only his port gets new stamps.
//! Neighbours: `normal` asks, and fills it with what `fdb` said.

use super::cache::Lines;
use super::fdb::{Fdb, FdbKey, fold};
use crate::port::PortId;
use crate::sys::cpu::prefetch;

/// Two entries each: half a megabyte, which stays in a core's own cache. More pairs than that are found sooner in the table that
/// all workers share, see [`PairCache::asked`].
const LINES: usize = 1 << 13;
/// Batches that do without, after one of which less than half was remembered.
const REST: u32 = 15;
/// Fewer packets than this tell nothing about that.
const TELLING: u32 = 8;
const LINE_WORDS: usize = 8;
/// An entry: destination, source, [`Since`], and the destination's port with its stamp above.
const WORDS: usize = 4;

/// A pair, and where to look for it.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub dst: FdbKey,
    pub src: FdbKey,
    at: usize,
}

impl Pair {
    /// Of no frame.
    pub const NONE: Self = Self::unasked(FdbKey::new(0, 0), FdbKey::new(0, 0));

    /// One that is not going to be asked for.
    #[inline(always)]
    pub const fn unasked(dst: FdbKey, src: FdbKey) -> Self {
        Self { dst, src, at: 0 }
    }
}

/// The second, and the stamp of the port where frames come in, which names the port too.
#[derive(Clone, Copy)]
pub(super) struct Since(u64);

impl Since {
    /// To be asked for before the table is asked about sources.
    #[inline(always)]
    pub fn new(fdb: &Fdb, ingress: PortId, now_s: u32) -> Self {
        Self(u64::from(now_s) << 32 | u64::from(fdb.stamp(ingress)))
    }
}

/// See the module.
pub(super) struct PairCache {
    entries: Lines,
    seeds: [u64; 2],
    /// Batches that still do without.
    rest: u32,
}

impl Default for PairCache {
    fn default() -> Self {
        use std::hash::{BuildHasher, RandomState};
        let random = RandomState::new();
        Self { entries: Lines::new(LINES * LINE_WORDS), seeds: [0, 1].map(|which| random.hash_one(which)), rest: 0 }
    }
}

impl PairCache {
    /// Where to look for a pair that is going to be asked for; its entry is on its way then.
    #[inline(always)]
    pub fn pair(&self, dst: FdbKey, src: FdbKey) -> Pair {
        let hash = fold(dst.word() ^ self.seeds[0], src.word() ^ self.seeds[1]);
        // The lowest bits would lie in a pattern when addresses count up.
        let at = (hash >> 24) as usize % LINES * LINE_WORDS;
        prefetch(self.entries.word(at));
        Pair { dst, src, at }
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

    /// The port of the destination, when the source needs no learning.
    #[inline(always)]
    pub fn recall(&self, fdb: &Fdb, pair: &Pair, since: Since) -> Option<PortId> {
        let &[dst, src, when, place, other_dst, other_src, other_when, other_place] =
            self.entries.slice(pair.at, LINE_WORDS)
        else {
            return None;
        };
        // One decision for all of it.
        let differs = |dst, src, when| (dst ^ pair.dst.word()) | (src ^ pair.src.word()) | (when ^ since.0);
        let (first, other) = (differs(dst, src, when), differs(other_dst, other_src, other_when));
        let (differs, place) = if first == 0 { (first, place) } else { (other, other_place) };
        let port = PortId(place as u16);
        (differs | (place >> 32 ^ u64::from(fdb.stamp(port))) == 0).then_some(port)
    }

    /// The table said that the source is settled and the destination behind `port`.
    pub fn note(&mut self, fdb: &Fdb, pair: &Pair, since: Since, port: PortId) {
        let (entries, _) = self.entries.slice_mut(pair.at, LINE_WORDS).as_chunks_mut::<WORDS>();
        let is_old = |entry: &&mut [u64; WORDS]| entry[2] >> 32 != since.0 >> 32;
        let Some(entry) = entries.iter_mut().find(is_old) else { return };
        let stamp = fdb.stamp(port);
        // It may have left before the stamp was taken.
        if fdb.lookup(fdb.probe(pair.dst)) == Some(port) {
            *entry = [pair.dst.word(), pair.src.word(), since.0, u64::from(stamp) << 32 | u64::from(port.0)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::fdb::Sighting;

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
            let (dst, src) = (FdbKey::new(random(MACS), 0), FdbKey::new(mac, 0));
            let (since, pair) = (Since::new(&fdb, port, now_s), cache.pair(dst, src));
            if let Some(found) = cache.recall(&fdb, &pair, since) {
                recalled += 1;
                assert_eq!(fdb.lookup(fdb.probe(dst)), Some(found));
                let entries = fdb.entries(now_s);
                let source = entries.iter().find(|entry| FdbKey::of(entry.mac, 0) == src).expect("it was learned");
                assert_eq!(source.port, port);
                assert!(source.age_s.is_none_or(|age_s| age_s == 0), "{source:?}");
            } else if fdb.learn(fdb.probe(src), port, now_s) == Sighting::Settled
                && let Some(target) = fdb.lookup(fdb.probe(dst))
            {
                cache.note(&fdb, &pair, since, target);
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
        let pairs: Vec<_> =
            (1..4).map(|mac| Pair { at: 0, ..cache.pair(FdbKey::new(0, 0), FdbKey::new(mac, 0)) }).collect();
        (0..4).for_each(|mac| _ = fdb.learn(fdb.probe(FdbKey::new(mac, 0)), PortId(mac.min(1) as u16), 5));
        let mut known = |now_s| {
            let since = Since::new(&fdb, PortId(1), now_s);
            pairs.iter().for_each(|pair| cache.note(&fdb, pair, since, PortId(0)));
            pairs.iter().map(|pair| cache.recall(&fdb, pair, since).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(known(5), [true, true, false]);
        assert_eq!(known(6), [true, true, false]);
    }
}
