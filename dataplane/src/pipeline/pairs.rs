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

use super::act::bits;
use super::fdb::{Fdb, FdbKey, fold};
use crate::packet::{BATCH, Packet};
use crate::port::PortId;
use crate::sys::large_page::{LargePage, WORDS};

/// As many as a large page has room for. Those of some thousand pairs stay in a core's own caches; many times more pairs are found
/// sooner in the table that all workers share, see [`PairCache::asked`].
const ENTRIES: usize = WORDS / ENTRY;
/// Words of an entry.
const ENTRY: usize = 4;
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
struct Target(u64);

impl Target {
    #[inline(always)]
    fn new(port: PortId, stamp: u32) -> Self {
        Self(u64::from(stamp) << 32 | u64::from(port.0))
    }

    #[inline(always)]
    fn port(self) -> PortId {
        PortId(self.0 as u16)
    }

    /// No address left the port since it was noted.
    #[inline(always)]
    fn holds(self, fdb: &Fdb) -> bool {
        self.0 >> 32 == u64::from(fdb.stamp(self.port()))
    }
}

/// Where packets of a batch go.
pub(super) struct Targets {
    each: [Target; BATCH],
    /// Bits that any of those since the last [`clear`](Self::clear) has, and that every one has: the same when all go to the same
    /// port, which costs less to know than to compare neighbours.
    any: u64,
    every: u64,
}

impl Default for Targets {
    fn default() -> Self {
        Self { each: [Target::default(); BATCH], any: 0, every: !0 }
    }
}

impl Targets {
    /// A new batch begins.
    #[inline(always)]
    pub fn clear(&mut self) {
        (self.any, self.every) = (0, !0);
    }

    /// Packet `id` goes to `port`, which was just looked up.
    #[inline(always)]
    pub fn set(&mut self, id: usize, port: PortId) {
        let target = Target::new(port, 0);
        self.each[id] = target;
        self.any |= target.0;
        self.every &= target.0;
    }

    /// Where packet `id` goes.
    #[inline(always)]
    pub fn port(&self, id: usize) -> PortId {
        self.each[id].port()
    }

    /// True when no address left the port since what was recalled for packet `id` was noted.
    #[inline(always)]
    pub fn holds(&self, id: usize, fdb: &Fdb) -> bool {
        self.each[id].holds(fdb)
    }

    /// A bit for each of `ids` with another target than the one before it, and for the first.
    #[inline(always)]
    pub fn parts(&self, ids: u32) -> u32 {
        let first = ids & ids.wrapping_neg();
        if self.any == self.every {
            return first;
        }
        let (mut parts, mut before) = (first, Target::default());
        for id in bits(ids) {
            let target = self.each[id];
            parts |= u32::from(target != before) << id;
            before = target;
        }
        parts
    }
}

/// See the module.
pub(super) struct PairCache {
    /// Entries of four words: how frames begin, since when that is known, the target.
    entries: Box<LargePage>,
    seeds: [u64; 2],
    /// Batches that still do without.
    rest: u32,
}

impl Default for PairCache {
    fn default() -> Self {
        use std::hash::{BuildHasher, RandomState};
        let random = RandomState::new();
        Self { entries: LargePage::zeroed(), seeds: [0, 1].map(|which| random.hash_one(which)), rest: 0 }
    }
}

impl PairCache {
    /// Where a pair's entry is, unless that was taken: then it is its neighbour.
    #[inline(always)]
    fn place(&self, start: Start) -> usize {
        let hash = fold(start.0[0] ^ self.seeds[0], start.0[1].wrapping_add(self.seeds[1]));
        // The highest bits: the lowest would lie in a pattern when addresses count up.
        (hash >> (u64::BITS - ENTRIES.ilog2())) as usize
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

    /// Finds the targets of the packets that are `wanted`: where their destinations were when their sources needed no learning,
    /// and still are if that [holds](Targets::holds). Returns a bit for each that is not remembered.
    #[inline(always)]
    pub fn recall(&self, packets: &[Packet], wanted: u32, since: Since, targets: &mut Targets) -> u32 {
        match self.recall_from::<0>(packets, wanted, since, targets) {
            0 => 0,
            others => self.recall_from::<1>(packets, others, since, targets),
        }
    }

    /// The same, looking for pairs in their entries, or in the `NEXT` ones only. Functions of their own, because the loop needs all
    /// registers; entries come in time without having been asked for, as one packet does not wait for another.
    #[inline(never)]
    fn recall_from<const NEXT: usize>(
        &self,
        packets: &[Packet],
        wanted: u32,
        since: Since,
        targets: &mut Targets,
    ) -> u32 {
        let (mut unknown, mut any, mut every) = (0, targets.any, targets.every);
        for id in bits(wanted) {
            let start = packets[id].beginning().map(Start::new);
            match start.and_then(|start| self.entry(self.place(start) ^ NEXT, start, since)) {
                Some(target) => {
                    targets.each[id] = target;
                    any |= target.0;
                    every &= target.0;
                }
                None => unknown |= 1 << id,
            }
        }
        (targets.any, targets.every) = (any, every);
        unknown
    }

    #[inline(always)]
    fn entry(&self, place: usize, start: Start, since: Since) -> Option<Target> {
        let [first, second, noted, target] = self.entries.as_chunks().0[place];
        (Start([first, second]) == start && Since(noted) == since).then_some(Target(target))
    }

    /// The table said that the source is settled and the destination behind `port`.
    pub fn note(&mut self, fdb: &Fdb, (start, dst): (Start, FdbKey), since: Since, port: PortId) {
        let place = self.place(start);
        let (entries, _) = self.entries.as_chunks_mut::<ENTRY>();
        let is_old = |&place: &usize| entries[place][2] >> 32 != since.0 >> 32;
        let Some(place) = [place, place ^ 1].into_iter().find(is_old) else { return };
        let stamp = fdb.stamp(port);
        // It may have left before the stamp was taken.
        if fdb.lookup(fdb.probe(dst)) == Some(port) {
            entries[place] = [start.0[0], start.0[1], since.0, Target::new(port, stamp).0];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::PacketBatch;
    use crate::pipeline::fdb::Sighting;

    /// What a frame of these addresses begins with.
    fn start(dst: u64, src: u64) -> Start {
        Start([dst, src])
    }

    /// Asks about one frame; what was recalled holds.
    fn recall(batch: &mut PacketBatch, (cache, fdb): (&PairCache, &Fdb), start: Start, since: Since) -> Option<PortId> {
        batch.clear();
        let beginning = batch.next_slot().expect("room").reset(16);
        beginning.copy_from_slice(&start.0.map(u64::to_ne_bytes).concat());
        batch.push();
        let mut targets = Targets::default();
        let unknown = cache.recall(batch.packets(), 1, since, &mut targets);
        (unknown == 0 && targets.holds(0, fdb)).then(|| targets.port(0))
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
        let (mut cache, mut batch) = (PairCache::default(), PacketBatch::new());
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
            let since = Since::new(&fdb, port, now_s, 0);
            if let Some(found) = recall(&mut batch, (&cache, &fdb), start, since) {
                recalled += 1;
                assert_eq!(fdb.lookup(fdb.probe(dst)), Some(found));
                let entries = fdb.entries(now_s);
                let source = entries.iter().find(|entry| FdbKey::of(entry.mac, 0) == src).expect("it was learned");
                assert_eq!(source.port, port);
                assert!(source.age_s.is_none_or(|age_s| age_s == 0), "{source:?}");
            } else if fdb.learn(fdb.probe(src), port, now_s) == Sighting::Settled
                && let Some(target) = fdb.lookup(fdb.probe(dst))
            {
                cache.note(&fdb, (start, dst), since, target);
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
    fn full_entries_are_kept_until_the_second_is_over() {
        let (fdb, mut cache, mut batch) = (Fdb::new(64), PairCache::default(), PacketBatch::new());
        // Three that want the same two entries, from one sender.
        let mut wanting = std::collections::HashMap::<usize, Vec<u64>>::new();
        let (senders, starts): (Vec<_>, Vec<_>) = (1..)
            .find_map(|mac| {
                let macs = wanting.entry(cache.place(start(0, mac)) / 2).or_default();
                macs.push(mac);
                (macs.len() == 3).then(|| macs.iter().map(|&mac| (mac, start(0, mac))).unzip())
            })
            .expect("one of many");
        let dst = FdbKey::new(0, 0);
        fdb.learn(fdb.probe(dst), PortId(0), 5);
        senders.into_iter().for_each(|mac| _ = fdb.learn(fdb.probe(FdbKey::new(mac, 0)), PortId(1), 5));
        let mut known = |now_s, vlan_epoch| {
            let since = Since::new(&fdb, PortId(1), now_s, vlan_epoch);
            starts.iter().for_each(|&start| cache.note(&fdb, (start, dst), since, PortId(0)));
            starts.iter().map(|&start| recall(&mut batch, (&cache, &fdb), start, since).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(known(5, 1), [true, true, false]);
        assert_eq!(known(6, 1), [true, true, false]);
        assert_eq!(known(6, 2), [true, true, false], "or other VLANs are carried");
    }

    #[test]
    fn neighbours_with_the_same_target_are_told_from_others() {
        let mut targets = Targets::default();
        let mut parts = |ports: &[u16], ids| {
            targets.clear();
            ports.iter().enumerate().for_each(|(id, &port)| targets.set(id, PortId(port)));
            targets.parts(ids)
        };
        assert_eq!(parts(&[0, 0, 0], 0b111), 0b001, "also of what no port set means");
        assert_eq!(parts(&[7, 7, 7], 0b110), 0b010);
        assert_eq!(parts(&[7, 7, 4, 4, 7], 0b11111), 0b10101);
        assert_eq!(parts(&[1, 2, 1], 0b101), 0b001);
        assert_eq!(parts(&[], 0), 0);
    }
}
