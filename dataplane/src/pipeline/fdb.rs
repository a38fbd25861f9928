//! The forwarding database: which MAC address was last seen behind which port, per VLAN. One per bridge, shared by all
//! workers.
//!
//! Trust: source addresses are invented by guests. Looking up and refreshing never lock. Learning takes a lock that
//! nobody waits for: when it is taken, the next packet of that sender learns instead. When the table is full, an address is
//! taken from the port that holds the most, so a guest that invents addresses pushes out its own.
//! Neighbours: `normal` looks up and learns; `pairs` is what a worker remembers of that, by our stamps; control shows, flushes,
//! ages (as in OVS's `fdb/*`).

use std::num::NonZeroU64;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::flow::Mac;
use crate::port::{MAX_PORTS, PortId};
use crate::sys::cpu::prefetch;

/// Entries of a bucket: one cache line of four 16-byte entries.
const WAYS: usize = 4;
/// Slots inspected for a victim when the table is at its limit and the buckets at hand hold none.
const VICTIM_SCAN: usize = 256;
/// Bit of a slot's value: never aged, moved or evicted.
const STATIC: u64 = 1 << 63;

/// An address in its VLAN, as one word: MAC in the upper 48 bits, VLAN id below; the lowest bit is set, so that no key is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdbKey(NonZeroU64);

impl FdbKey {
    /// From the MAC's bytes as a big-endian number in the lower 48 bits.
    #[inline(always)]
    #[must_use]
    pub const fn new(mac: u64, vlan: u16) -> Self {
        Self::of_upper(mac << 16, vlan)
    }

    /// From the MAC in the upper 48 bits of a word; those below do not count.
    #[inline(always)]
    #[must_use]
    pub const fn of_upper(mac: u64, vlan: u16) -> Self {
        Self(NonZeroU64::new(mac & !0xffff | (vlan as u64 & 0xfff) << 4 | 1).expect("a bit is set"))
    }

    /// From a MAC.
    #[must_use]
    pub fn of(mac: Mac, vlan: u16) -> Self {
        Self::new(mac.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)), vlan)
    }

    /// The MAC as a number.
    #[inline(always)]
    #[must_use]
    pub const fn mac_bits(self) -> u64 {
        self.0.get() >> 16
    }

    /// The word itself.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0.get()
    }

    /// The VLAN id.
    #[inline(always)]
    #[must_use]
    pub const fn vlan(self) -> u16 {
        (self.0.get() >> 4) as u16 & 0xfff
    }

    fn mac(self) -> Mac {
        let bytes = self.0.get().to_be_bytes();
        [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]]
    }
}

/// A key and its hash: what [`Fdb::probe`] worked out, so that looking up does not do it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    key: FdbKey,
    hash: u64,
}

impl Probe {
    /// Of no key.
    pub const NONE: Self = Self { key: FdbKey::new(0, 0), hash: 0 };

    /// What is looked for.
    #[inline(always)]
    #[must_use]
    pub const fn key(&self) -> FdbKey {
        self.key
    }
}

/// `key` is zero for a free slot. A reader takes key, value, key again: a writer that replaces an entry clears the key
/// first, so a value is never taken for another key.
#[derive(Default)]
struct Slot {
    key: AtomicU64,
    /// Port in the lower 16 bits, seconds of last sight above, [`STATIC`].
    value: AtomicU64,
}

#[derive(Default)]
#[repr(align(64))]
struct Bucket([Slot; WAYS]);

/// A port's stamp; another one, never used before by any port of any table, whenever an address leaves the port. On a line of
/// its own: who looks at other ports' is not disturbed.
#[repr(align(64))]
struct Stamp(AtomicU32);

/// The next stamp. That they are used again after 2^32 is known to those who keep them, for less than a second each.
static NEXT_STAMP: AtomicU32 = AtomicU32::new(0);

/// What a packet's source was to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// At its port, and seen there in this second already, or static: until an address leaves that port, or the second is over,
    /// there is nothing to learn from it.
    Settled,
    /// Refreshed; or static at another port, and ignored. No address moved.
    Other,
    /// Learned, moved, or refused: addresses may have come, moved or gone.
    News,
}

/// A 128-bit product, both halves folded into one.
#[inline(always)]
pub(super) fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product >> 64) as u64 ^ product as u64
}

fn port_of(value: u64) -> PortId {
    PortId(value as u16)
}

fn seen_of(value: u64) -> u32 {
    (value >> 16) as u32
}

fn value(port: PortId, seen_s: u32) -> u64 {
    u64::from(seen_s) << 16 | u64::from(port.0)
}

/// What the lock of the slow path protects.
struct Book {
    count: usize,
    per_port: Vec<u32>,
    cursor: usize,
    /// Sweeps under way: nothing may be put past them.
    sweeps: u32,
    stats: FdbStats,
}

/// What happened to the table since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdbStats {
    /// Entries now, static ones included.
    pub current: u64,
    /// Entries allowed.
    pub limit: u64,
    /// Addresses learned.
    pub learned: u64,
    /// Addresses that changed port.
    pub moved: u64,
    /// Addresses that aged out.
    pub expired: u64,
    /// Addresses pushed out because the table was full.
    pub evicted: u64,
    /// Addresses not learned because the table was full of ports holding no more than the sender's.
    pub refused: u64,
}

/// An entry as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    /// VLAN id, 0 for none.
    pub vlan: u16,
    /// The address.
    pub mac: Mac,
    /// Behind this port.
    pub port: PortId,
    /// Seconds since it was last seen; `None` for a static entry.
    pub age_s: Option<u32>,
}

/// See the module.
pub struct Fdb {
    buckets: Box<[Bucket]>,
    limit: usize,
    seed: u64,
    factor: u64,
    stamps: Box<[Stamp; MAX_PORTS]>,
    book: Mutex<Book>,
}

impl Fdb {
    /// A table for at most `limit` addresses (64 bytes of memory for each two, and 64 KB).
    #[must_use]
    pub fn new(limit: usize) -> Self {
        use std::hash::{BuildHasher, RandomState};
        let random = RandomState::new();
        // Half-full at the limit: the second bucket is then seldom looked at. Two at least, for there must be a second one.
        let buckets = (limit.max(WAYS) * 2 / WAYS).next_power_of_two();
        let stamp = NEXT_STAMP.fetch_add(MAX_PORTS as u32, Ordering::Relaxed);
        let book = Book { count: 0, per_port: vec![0; MAX_PORTS], cursor: 0, sweeps: 0, stats: FdbStats::default() };
        Self {
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            limit,
            seed: random.hash_one(0),
            factor: random.hash_one(1) | 1,
            stamps: Box::new(std::array::from_fn(|port| Stamp(AtomicU32::new(stamp.wrapping_add(port as u32))))),
            book: Mutex::new(book),
        }
    }

    /// A table of another size with the same entries as far as they fit: static ones first, then those seen last. What
    /// happened to this table is counted on.
    #[must_use]
    pub fn resized(&self, limit: usize) -> Self {
        let new = Self::new(limit);
        let word = |word: &AtomicU64| word.load(Ordering::Acquire);
        let mut used: Vec<_> = self.sweep(|| self.slots().map(|slot| (word(&slot.key), word(&slot.value))).collect());
        used.retain(|&(key, _)| key != 0);
        used.sort_unstable_by_key(|&(_, value)| std::cmp::Reverse((value & STATIC, seen_of(value))));
        let mut book = new.book();
        for &(key, value) in used.iter().take(limit) {
            if let Some(key) = NonZeroU64::new(key) {
                new.put(&mut book, new.probe(FdbKey(key)), port_of(value), value);
            }
        }
        let lost = used.len().saturating_sub(book.count) as u64;
        let stats = self.book().stats;
        book.stats = FdbStats { evicted: stats.evicted + lost, ..stats };
        drop(book);
        new
    }

    /// Where to look for a key; its first line is on its way then. The seed keeps senders from aiming at one bucket.
    #[inline(always)]
    #[must_use]
    pub fn probe(&self, key: FdbKey) -> Probe {
        // Twice: after one multiplication, addresses that count up would still lie in a pattern.
        let hash = fold(fold(key.0.get() ^ self.seed, self.factor) ^ self.seed, 0x9e37_79b9_7f4a_7c15);
        let probe = Probe { key, hash };
        prefetch(&self.buckets[self.place(probe, 0)]);
        probe
    }

    /// The first or second of the two buckets where a key may lie: never the same.
    #[inline(always)]
    fn place(&self, probe: Probe, which: u32) -> usize {
        let other = if which == 0 { 0 } else { probe.hash >> 32 | 1 };
        (probe.hash ^ other) as usize & (self.buckets.len() - 1)
    }

    #[inline(always)]
    fn find(&self, probe: Probe) -> Option<(&Slot, u64)> {
        self.find_in(0, probe).or_else(|| self.find_in(1, probe))
    }

    /// Looks at all entries of one bucket before it decides: which of them it is follows no pattern that a CPU could predict.
    #[inline(always)]
    fn find_in(&self, which: u32, probe: Probe) -> Option<(&Slot, u64)> {
        let (slots, key) = (&self.buckets[self.place(probe, which)].0, probe.key);
        let mut at = WAYS;
        for (way, slot) in slots.iter().enumerate() {
            at = if slot.key.load(Ordering::Acquire) == key.0.get() { way } else { at };
        }
        let slot = slots.get(at)?;
        let value = slot.value.load(Ordering::Acquire);
        (slot.key.load(Ordering::Relaxed) == key.0.get()).then_some((slot, value))
    }

    /// The port behind which this address was last seen.
    #[inline(always)]
    #[must_use]
    pub fn lookup(&self, probe: Probe) -> Option<PortId> {
        self.find(probe).map(|(_, value)| port_of(value))
    }

    /// Another number whenever an address left `port`: as long as it is the same, whatever was found there still is.
    #[inline(always)]
    #[must_use]
    pub fn stamp(&self, port: PortId) -> u32 {
        self.stamps[usize::from(port.0) % MAX_PORTS].0.load(Ordering::Acquire)
    }

    /// An address left `port`; to be called when it is gone.
    fn stamp_anew(&self, port: PortId) {
        let new = NEXT_STAMP.fetch_add(1, Ordering::Relaxed);
        self.stamps[usize::from(port.0) % MAX_PORTS].0.store(new, Ordering::Release);
    }

    /// A packet from this address came in at `port`: learns, moves or refreshes. Costs one probe when nothing changed.
    #[inline(always)]
    pub fn learn(&self, probe: Probe, port: PortId, now_s: u32) -> Sighting {
        match self.find(probe) {
            Some((_, old)) if old == value(port, now_s) => Sighting::Settled,
            found => self.learn_news(probe, found, port, now_s),
        }
    }

    fn learn_news(&self, probe: Probe, found: Option<(&Slot, u64)>, port: PortId, now_s: u32) -> Sighting {
        match found {
            Some((_, old)) if old & STATIC != 0 && port_of(old) == port => Sighting::Settled,
            Some((_, old)) if old & STATIC != 0 => Sighting::Other,
            // Once a second at most: the line stays shared between the workers.
            Some((slot, old)) if port_of(old) == port => {
                let new = value(port, now_s);
                match slot.value.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed) {
                    Ok(_) => Sighting::Other,
                    Err(_) => Sighting::News,
                }
            }
            _ => {
                self.learn_slowly(probe, port, now_s);
                Sighting::News
            }
        }
    }

    #[cold]
    fn learn_slowly(&self, probe: Probe, port: PortId, now_s: u32) {
        if let Ok(mut book) = self.book.try_lock() {
            self.put(&mut book, probe, port, value(port, now_s));
        }
    }

    /// Adds or moves an entry; false when there is no room.
    fn put(&self, book: &mut Book, probe: Probe, port: PortId, new: u64) -> bool {
        if let Some((slot, old)) = self.find(probe) {
            // Made static between the packet's look and the lock.
            if old & STATIC != 0 && new & STATIC == 0 {
                return true;
            }
            slot.value.store(new, Ordering::Release);
            if port_of(old) != port {
                book.per_port[usize::from(port_of(old).0)] -= 1;
                book.per_port[usize::from(port.0)] += 1;
                book.stats.moved += 1;
                self.stamp_anew(port_of(old));
            }
            return true;
        }
        let slot = match self.free_near(probe).or_else(|| self.make_room(book, probe)) {
            Some(free) => (book.count < self.limit || self.evict_anywhere(book, port)).then_some(free),
            None => self.evict(book, self.near(probe), port),
        };
        let Some(slot) = slot else {
            book.stats.refused += 1;
            return false;
        };
        slot.value.store(new, Ordering::Release);
        slot.key.store(probe.key.0.get(), Ordering::Release);
        book.count += 1;
        book.per_port[usize::from(port.0)] += 1;
        book.stats.learned += 1;
        true
    }

    /// The slots of both buckets where a key may lie.
    fn near(&self, probe: Probe) -> impl Iterator<Item = &Slot> {
        [0, 1].into_iter().flat_map(move |which| &self.buckets[self.place(probe, which)].0)
    }

    fn free_near(&self, probe: Probe) -> Option<&Slot> {
        self.near(probe).find(|slot| slot.key.load(Ordering::Relaxed) == 0)
    }

    /// Both buckets are full: moves one of their entries to its other bucket. It is in both for a moment, so readers find it; one
    /// that looked into the new one before and into the old one afterwards takes it for unknown once.
    fn make_room(&self, book: &Book, probe: Probe) -> Option<&Slot> {
        if book.sweeps > 0 {
            return None;
        }
        self.near(probe).find(|slot| {
            let key = NonZeroU64::new(slot.key.load(Ordering::Relaxed));
            let Some((key, free)) = key.and_then(|key| Some((key, self.free_near(self.probe(FdbKey(key)))?))) else {
                return false;
            };
            free.value.store(slot.value.load(Ordering::Acquire), Ordering::Release);
            free.key.store(key.get(), Ordering::Release);
            slot.key.store(0, Ordering::Release);
            true
        })
    }

    /// Frees the slot of the port that holds the most among `slots`, provided it holds more than `port` or is `port`.
    fn evict<'a>(&self, book: &mut Book, slots: impl Iterator<Item = &'a Slot>, port: PortId) -> Option<&'a Slot> {
        let holds = |slot: &&Slot| book.per_port[usize::from(port_of(slot.value.load(Ordering::Relaxed)).0)];
        let used = slots
            .filter(|slot| slot.key.load(Ordering::Relaxed) != 0 && slot.value.load(Ordering::Relaxed) & STATIC == 0);
        let victim = used.max_by_key(holds)?;
        let owner = port_of(victim.value.load(Ordering::Relaxed));
        if owner != port && holds(&victim) <= book.per_port[usize::from(port.0)] {
            return None;
        }
        self.remove(book, victim);
        book.stats.evicted += 1;
        Some(victim)
    }

    fn evict_anywhere(&self, book: &mut Book, port: PortId) -> bool {
        let total = self.buckets.len() * WAYS;
        let start = book.cursor;
        book.cursor = (start + VICTIM_SCAN) % total;
        let slots = (start..start + VICTIM_SCAN.min(total)).map(|n| &self.buckets[n % total / WAYS].0[n % WAYS]);
        self.evict(book, slots, port).is_some()
    }

    fn remove(&self, book: &mut Book, slot: &Slot) {
        let port = port_of(slot.value.load(Ordering::Relaxed));
        slot.key.store(0, Ordering::Release);
        self.stamp_anew(port);
        book.count -= 1;
        book.per_port[usize::from(port.0)] -= 1;
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.buckets.iter().flat_map(|bucket| &bucket.0)
    }

    /// Adds an entry that is never aged, moved or evicted; false when the table has no room for it.
    pub fn add_static(&self, mac: Mac, vlan: u16, port: PortId) -> bool {
        let probe = self.probe(FdbKey::of(mac, vlan));
        self.put(&mut self.book(), probe, port, value(port, 0) | STATIC)
    }

    /// Removes the entries that `unwanted` picks; returns how many.
    pub fn flush(&self, unwanted: impl Fn(&FdbEntry) -> bool) -> usize {
        self.remove_where(|entry, _| unwanted(entry))
    }

    /// Removes learned entries not seen for `ageing_s` seconds; returns how many.
    pub fn age(&self, now_s: u32, ageing_s: u32) -> usize {
        let expired =
            self.remove_where(|entry, seen_s| entry.age_s.is_some() && now_s.saturating_sub(seen_s) >= ageing_s);
        self.book().stats.expired += expired as u64;
        expired
    }

    fn remove_where(&self, unwanted: impl Fn(&FdbEntry, u32) -> bool) -> usize {
        self.sweep(|| {
            let mut removed = 0;
            // The lock is taken per bucket, so that learning goes on while a large table is swept.
            for bucket in &self.buckets {
                if bucket.0.iter().all(|slot| slot.key.load(Ordering::Relaxed) == 0) {
                    continue;
                }
                let mut book = self.book();
                for slot in &bucket.0 {
                    let value = slot.value.load(Ordering::Relaxed);
                    if entry(slot, 0).is_some_and(|entry| unwanted(&entry, seen_of(value))) {
                        self.remove(&mut book, slot);
                        removed += 1;
                    }
                }
            }
            removed
        })
    }

    /// Goes through all of the table, in which no entry moves to another bucket meanwhile.
    fn sweep<T>(&self, through: impl FnOnce() -> T) -> T {
        self.book().sweeps += 1;
        let result = through();
        self.book().sweeps -= 1;
        result
    }

    /// All entries, in no order.
    #[must_use]
    pub fn entries(&self, now_s: u32) -> Vec<FdbEntry> {
        self.sweep(|| self.slots().filter_map(|slot| entry(slot, now_s)).collect())
    }

    /// The entries at so many places from `from` on, in no order, and the place after them; none when that is the end.
    #[must_use]
    pub fn part(&self, from: usize, places: usize, now_s: u32) -> (Vec<FdbEntry>, Option<usize>) {
        let buckets = self.buckets.get(from..).unwrap_or_default();
        let (now, rest) = buckets.split_at(places.min(buckets.len()));
        let slots = now.iter().flat_map(|bucket| &bucket.0);
        let entries = slots.filter_map(|slot| entry(slot, now_s)).collect();
        (entries, (!rest.is_empty()).then_some(from + places))
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> FdbStats {
        let book = self.book();
        FdbStats { current: book.count as u64, limit: self.limit as u64, ..book.stats }
    }
}

fn entry(slot: &Slot, now_s: u32) -> Option<FdbEntry> {
    let key = NonZeroU64::new(slot.key.load(Ordering::Acquire)).map(FdbKey)?;
    let value = slot.value.load(Ordering::Acquire);
    Some(FdbEntry {
        vlan: key.vlan(),
        mac: key.mac(),
        port: port_of(value),
        age_s: (value & STATIC == 0).then(|| now_s.saturating_sub(seen_of(value))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(fdb: &Fdb, mac: u64, port: PortId, now_s: u32) {
        fdb.learn(fdb.probe(FdbKey::new(mac, 0)), port, now_s);
    }

    const A: PortId = PortId(1);
    const B: PortId = PortId(2);

    #[test]
    fn an_address_is_learned_per_vlan_and_moves() {
        let fdb = Fdb::new(16);
        let mac = [2, 0, 0, 0, 0, 1];
        fdb.learn(fdb.probe(FdbKey::of(mac, 0)), A, 10);
        assert_eq!(fdb.lookup(fdb.probe(FdbKey::of(mac, 0))), Some(A));
        assert_eq!(fdb.lookup(fdb.probe(FdbKey::of(mac, 5))), None);
        fdb.learn(fdb.probe(FdbKey::of(mac, 0)), B, 12);
        assert_eq!(fdb.entries(15), [FdbEntry { vlan: 0, mac, port: B, age_s: Some(3) }]);
        assert_eq!((fdb.stats().learned, fdb.stats().moved, fdb.stats().current), (1, 1, 1));
    }

    #[test]
    fn old_addresses_go_and_static_ones_stay_where_they_are() {
        let fdb = Fdb::new(16);
        learn(&fdb, 1, A, 10);
        assert!(fdb.add_static([0, 0, 0, 0, 0, 2], 0, A));
        learn(&fdb, 2, B, 20);
        assert_eq!(fdb.lookup(fdb.probe(FdbKey::new(2, 0))), Some(A), "static entries do not move");
        assert_eq!(fdb.age(309, 300), 0);
        assert_eq!(fdb.age(310, 300), 1);
        assert_eq!(fdb.entries(310).len(), 1);
        assert_eq!(fdb.flush(|entry| entry.port == A), 1);
        assert_eq!(fdb.stats().current, 0);
    }

    #[test]
    fn a_static_address_is_not_moved_by_a_packet_that_looked_before() {
        let fdb = Fdb::new(64);
        assert!(fdb.add_static([2, 0, 0, 0, 0, 1], 0, A));
        let key = FdbKey::of([2, 0, 0, 0, 0, 1], 0);
        fdb.learn_slowly(fdb.probe(key), B, 1);
        assert_eq!(fdb.lookup(fdb.probe(key)), Some(A));
    }

    #[test]
    fn another_size_keeps_what_fits_static_and_fresh_addresses_first() {
        let fdb = Fdb::new(64);
        (0..20).for_each(|mac| learn(&fdb, mac, A, 100 + mac as u32));
        assert!(fdb.add_static([0, 0, 0, 0, 0, 99], 7, B));
        let larger = fdb.resized(1000);
        let sorted = |fdb: &Fdb| {
            let mut entries = fdb.entries(200);
            entries.sort_by_key(|entry| entry.mac);
            entries
        };
        assert_eq!(sorted(&larger), sorted(&fdb));
        assert_eq!((larger.stats().learned, larger.stats().limit), (21, 1000));
        let smaller = fdb.resized(5);
        assert_eq!(smaller.lookup(smaller.probe(FdbKey::new(99, 7))), Some(B));
        (16..20).for_each(|mac| assert_eq!(smaller.lookup(smaller.probe(FdbKey::new(mac, 0))), Some(A), "{mac}"));
        assert_eq!((smaller.stats().current, smaller.stats().evicted), (5, 16));
    }

    #[test]
    fn who_invents_addresses_pushes_out_his_own() {
        let fdb = Fdb::new(64);
        (0..4).for_each(|mac| learn(&fdb, mac, A, 1));
        (1000..50_000).for_each(|mac| learn(&fdb, mac, B, 1));
        (0..4).for_each(|mac| assert_eq!(fdb.lookup(fdb.probe(FdbKey::new(mac, 0))), Some(A), "{mac}"));
        assert_eq!(fdb.stats().current, 64);
        // A newcomer still finds a place.
        learn(&fdb, 77, PortId(3), 1);
        assert_eq!(fdb.lookup(fdb.probe(FdbKey::new(77, 0))), Some(PortId(3)));
    }

    #[test]
    fn a_hundred_thousand_addresses_are_all_found() {
        let fdb = Fdb::new(131_072);
        (0..100_000).for_each(|mac| learn(&fdb, mac, A, 1));
        let found = |mac| fdb.lookup(fdb.probe(FdbKey::new(mac, 0))) == Some(A);
        assert_eq!((0..100_000).filter(|&mac| !found(mac)).count(), 0);
        assert_eq!((fdb.stats().current, fdb.stats().evicted, fdb.stats().refused), (100_000, 0, 0));
        let (mut entries, mut next) = (0, Some(0));
        while let Some(from) = next {
            let (part, rest) = fdb.part(from, 1000, 1);
            (entries, next) = (entries + part.len(), rest);
        }
        assert_eq!(entries, 100_000, "all parts are the whole");
        assert_eq!(fdb.part(1 << 30, 1000, 1), (Vec::new(), None), "it was larger a moment ago");
    }

    #[test]
    fn a_small_table_holds_what_it_is_allowed_to() {
        for limit in [4, 5, 8] {
            for _ in 0..200 {
                let fdb = Fdb::new(limit);
                (0..limit as u64).for_each(|mac| learn(&fdb, mac, A, 1));
                assert_eq!(fdb.stats().evicted, 0, "{limit}");
                (0..limit as u64).for_each(|mac| assert_eq!(fdb.lookup(fdb.probe(FdbKey::new(mac, 0))), Some(A)));
            }
        }
    }

    #[test]
    fn entries_make_room_for_another_but_not_while_the_table_is_swept() {
        for sweeps in [0, 1] {
            let fdb = Fdb::new(16);
            let place = |mac, which| fdb.place(fdb.probe(FdbKey::new(mac, 0)), which);
            let full = [place(0, 0), place(0, 1)];
            // Both buckets of address 0 are full of those that could lie elsewhere as well.
            for bucket in full {
                let fits = |&mac: &u64| place(mac, 0) == bucket && !full.contains(&place(mac, 1));
                (1..).filter(fits).take(WAYS).for_each(|mac| learn(&fdb, mac, A, 1));
            }
            fdb.book().sweeps = sweeps;
            learn(&fdb, 0, A, 1);
            let is_found = |entry: &FdbEntry| fdb.lookup(fdb.probe(FdbKey::of(entry.mac, 0))) == Some(A);
            let found = fdb.entries(1).iter().filter(|entry| is_found(entry)).count();
            assert_eq!(found as u32, 9 - sweeps);
            assert_eq!(fdb.stats().evicted, u64::from(sweeps), "it would have moved past the sweep");
        }
    }

    #[test]
    fn a_port_has_another_stamp_when_an_address_left_it_and_not_before() {
        let fdb = Fdb::new(16);
        let stamps = || (fdb.stamp(A), fdb.stamp(B));
        let first = stamps();
        learn(&fdb, 1, A, 1);
        learn(&fdb, 1, A, 2);
        assert!(fdb.add_static([0, 0, 0, 0, 0, 1], 0, A));
        assert_eq!(stamps(), first);
        assert!(fdb.add_static([0, 0, 0, 0, 0, 1], 0, B));
        let moved = stamps();
        assert!(moved.0 != first.0 && moved.1 == first.1, "it left A");
        fdb.flush(|entry| entry.port == B);
        assert!(stamps().1 != moved.1, "it left B");
        let other = fdb.resized(16);
        assert!(other.stamp(A) != fdb.stamp(A) && other.stamp(B) != fdb.stamp(B), "of another table");
    }
}
