//! What the table walk found, remembered by each worker for itself, under exactly the bits that rules look at.
//!
//! Set-associative: a bucket's eight marks are one cache line, which tells by a 12-bit tag where the key may lie; a hit then
//! compares the whole key. So a probe touches two lines, and both are fetched ahead for a whole batch. A key whose bucket
//! was full lies in one other bucket that its hash names, so that the memory is used to the last eighth.
//! Trust: packets choose the keys. The hash is secret ([`KeyShape::pack_into`]), so they cannot crowd one bucket, and a tag alone
//! is never believed. Neighbours: the classifier asks and fills it; a new snapshot makes it forget.

use super::path::{PathId, Paths};
use crate::flow::{FRAME_WORDS, FlowKey, KEY_WORDS, KeyShape, Mask, PackedKey, RuleId};
use crate::sys::cpu::{equal_halves, prefetch};

/// Entries when nothing else is said.
pub const DEFAULT_ENTRIES: usize = 128 * 1024;
/// Most entries there can be.
pub const MAX_ENTRIES: usize = 4 * 1024 * 1024;

/// Entries of a bucket: their marks fill one cache line.
const WAYS: usize = 8;
const LINE_WORDS: usize = 8;

// A mark: what was found (32 bits), tag (12), generation (20).
const GENERATION_BITS: u32 = 20;
const TAG_BITS: u32 = 12;
const VERDICT_SHIFT: u32 = GENERATION_BITS + TAG_BITS;

/// What is known about a key, in one word: they are compared packet by packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict(u32);

/// What a [`Verdict`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// This rule of table 0 decides, with actions that need nothing else.
    Rule(RuleId),
    /// No rule of table 0 matches, and nobody is told.
    NoRule,
    /// What a walk through the tables led to.
    Path(PathId),
    /// Each packet has a walk of its own: it depends on more than the key.
    Live,
    /// Nothing is known.
    Unknown,
}

/// Set in the words that are a path; no table has that many rules.
const PATH: u32 = 1 << 31;

impl Verdict {
    /// No rule of table 0 matches, and nobody is told.
    pub const NO_RULE: Self = Self(u32::MAX);
    /// Each packet has a walk of its own.
    pub const LIVE: Self = Self(u32::MAX - 1);
    /// Nothing is known. Never remembered.
    pub const UNKNOWN: Self = Self(u32::MAX - 2);

    /// The verdict that all of these are; `None` when they differ.
    #[inline(always)]
    pub(super) fn of_all(verdicts: &[Self]) -> Option<Self> {
        let first = *verdicts.first()?;
        let differences = verdicts.iter().fold(0, |all, verdict| all | (verdict.0 ^ first.0));
        (differences == 0).then_some(first)
    }

    /// This rule decides.
    #[must_use]
    pub fn rule(id: RuleId) -> Self {
        Self(id.0)
    }

    /// What a walk led to.
    pub(super) fn path(PathId(path): PathId) -> Self {
        Self(PATH | path)
    }

    /// True when something is known.
    #[inline(always)]
    #[must_use]
    pub fn is_known(self) -> bool {
        self != Self::UNKNOWN
    }

    /// True when packets with it are run by a rule or path that they share.
    pub(super) fn is_shared(self) -> bool {
        matches!(self.kind(), Kind::Rule(_) | Kind::Path(_))
    }

    #[inline(always)]
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::NO_RULE => Kind::NoRule,
            Self::LIVE => Kind::Live,
            Self::UNKNOWN => Kind::Unknown,
            Self(rule) if rule & PATH == 0 => Kind::Rule(RuleId(rule)),
            Self(path) => Kind::Path(PathId(path & !PATH)),
        }
    }
}

/// One worker's cache. See the file's head.
pub struct FlowCache {
    shape: KeyShape,
    /// A bucket's marks, [`WAYS`] words each, from the first cache line boundary on.
    marks: Lines,
    /// The keys, `stride` words each. Room for the longest keys is reserved; memory that is never written costs nothing.
    keys: Lines,
    stride: usize,
    bucket_mask: usize,
    generation: u64,
    turn: usize,
    /// The paths that verdicts name.
    pub(super) paths: Paths,
}

/// Words that start on a cache line.
struct Lines {
    words: Vec<u64>,
    skew: usize,
}

impl Lines {
    /// Zeros; what is never written costs no memory.
    fn new(count: usize) -> Self {
        let words = vec![0; count + LINE_WORDS];
        let misplaced = words.as_ptr() as usize / size_of::<u64>() % LINE_WORDS;
        Self { words, skew: (LINE_WORDS - misplaced) % LINE_WORDS }
    }

    #[inline(always)]
    fn word(&self, at: usize) -> &u64 {
        &self.words[self.skew + at]
    }

    #[inline(always)]
    fn slice(&self, at: usize, count: usize) -> &[u64] {
        &self.words[self.skew + at..][..count]
    }

    #[inline(always)]
    fn slice_mut(&mut self, at: usize, count: usize) -> &mut [u64] {
        &mut self.words[self.skew + at..][..count]
    }
}

impl FlowCache {
    /// Room for at least `entries` keys (a power of two, at most [`MAX_ENTRIES`]), for rules that look at `mask`
    /// ([`FRAME_WORDS`] words of it at most).
    #[must_use]
    pub fn new(entries: usize, mask: &Mask) -> Self {
        let entries = entries.clamp(WAYS, MAX_ENTRIES).next_power_of_two();
        let shape = KeyShape::new(mask);
        Self {
            stride: stride(&shape),
            shape,
            marks: Lines::new(entries),
            keys: Lines::new(entries * FRAME_WORDS.next_power_of_two()),
            bucket_mask: entries / WAYS - 1,
            generation: 1,
            turn: 0,
            paths: Paths::new(entries),
        }
    }

    /// How keys are packed and hashed now.
    #[inline(always)]
    #[must_use]
    pub fn shape(&self) -> &KeyShape {
        &self.shape
    }

    /// Rules changed: forgets everything; from now on keys are packed under `mask`. Allocates nothing.
    pub fn reshape(&mut self, mask: &Mask) {
        if self.shape.mask() != mask {
            self.shape = KeyShape::new(mask);
            self.stride = stride(&self.shape);
        }
        self.invalidate();
    }

    /// Forgets everything, by counting the generation up: O(1), but for once in a million times.
    pub fn invalidate(&mut self) {
        self.paths.clear();
        self.generation += 1;
        if self.generation >> GENERATION_BITS != 0 {
            self.marks.words.fill(0);
            self.generation = 1;
        }
    }

    /// The key's words that count, and their hash.
    #[inline(always)]
    #[must_use]
    pub fn pack(&self, key: &FlowKey) -> (PackedKey, u64) {
        let mut packed = PackedKey::default();
        let hash = self.shape.pack_into(key, &mut packed);
        (packed, hash)
    }

    /// Fetches the line that a probe with this hash looks at first.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        prefetch(self.marks.word(self.home(hash) * WAYS));
    }

    /// What is known about the key.
    #[inline(always)]
    #[must_use]
    pub fn probe(&self, hash: u64, key: &PackedKey) -> Verdict {
        let home = self.home(hash);
        match self.confirm(home, key, self.candidates(home, hash)) {
            Verdict::UNKNOWN => self.probe_other(hash, key),
            found => found,
        }
    }

    fn probe_other(&self, hash: u64, key: &PackedKey) -> Verdict {
        let other = self.other(hash);
        self.confirm(other, key, self.candidates(other, hash))
    }

    /// [`probe`](Self::probe) for up to a batch; the memory of all is fetched before the first is looked at.
    #[inline]
    pub fn probe_batch(&self, hashes: &[u64], keys: &[PackedKey], verdicts: &mut [Verdict]) {
        for &hash in hashes {
            self.prefetch(hash);
        }
        let mut candidates = [0_u8; crate::packet::BATCH];
        for (&hash, candidates) in hashes.iter().zip(&mut candidates) {
            let home = self.home(hash);
            *candidates = self.candidates(home, hash);
            if *candidates == 0 {
                prefetch(self.marks.word(self.other(hash) * WAYS));
            } else {
                prefetch(self.keys.word(self.entry(home, candidates.trailing_zeros() as usize)));
            }
        }
        for (((&hash, key), &candidates), verdict) in hashes.iter().zip(keys).zip(&candidates).zip(verdicts) {
            *verdict = match self.confirm(self.home(hash), key, candidates) {
                Verdict::UNKNOWN => self.probe_other(hash, key),
                found => found,
            };
        }
    }

    /// Remembers what was found for a key. Where both its buckets are full, an entry of its first makes way.
    pub fn insert(&mut self, hash: u64, key: &PackedKey, verdict: Verdict) {
        let (bucket, way) = self.place(hash, key);
        let (mark, entry, count) = (self.mark(hash), self.entry(bucket, way), self.shape.words());
        self.keys.slice_mut(entry, count).copy_from_slice(&key.words[..count]);
        self.marks.slice_mut(bucket * WAYS + way, 1)[0] = u64::from(verdict.0) << VERDICT_SHIFT | mark;
    }

    /// Where the key is, or a free place, or one in turn.
    fn place(&mut self, hash: u64, key: &PackedKey) -> (usize, usize) {
        let buckets = [self.home(hash), self.other(hash)];
        for bucket in buckets {
            let candidates = self.candidates(bucket, hash);
            if let Some(way) = (0..WAYS).find(|&way| candidates >> way & 1 != 0 && self.is_key(bucket, way, key)) {
                return (bucket, way);
            }
        }
        let stale = |mark: &u64| mark & ((1 << GENERATION_BITS) - 1) != self.generation;
        for bucket in buckets {
            if let Some(way) = self.marks.slice(bucket * WAYS, WAYS).iter().position(stale) {
                return (bucket, way);
            }
        }
        self.turn = (self.turn + 1) % WAYS;
        (buckets[0], self.turn)
    }

    /// A bit for each way of the bucket whose mark has the hash's tag.
    #[inline(always)]
    fn candidates(&self, bucket: usize, hash: u64) -> u8 {
        let marks = self.marks.slice(bucket * WAYS, WAYS).first_chunk::<WAYS>();
        marks.map_or(0, |marks| equal_halves(marks, self.mark(hash) as u32))
    }

    #[inline(always)]
    fn confirm(&self, bucket: usize, key: &PackedKey, mut candidates: u8) -> Verdict {
        while candidates != 0 {
            let way = candidates.trailing_zeros() as usize;
            if self.is_key(bucket, way, key) {
                let mark = self.marks.word(bucket * WAYS + way);
                return Verdict((mark >> VERDICT_SHIFT) as u32);
            }
            candidates &= candidates - 1;
        }
        Verdict::UNKNOWN
    }

    #[inline(always)]
    fn is_key(&self, bucket: usize, way: usize, key: &PackedKey) -> bool {
        let count = self.shape.words().min(KEY_WORDS);
        let stored = self.keys.slice(self.entry(bucket, way), count);
        stored.iter().zip(&key.words).fold(0, |differing, (stored, word)| differing | (stored ^ word)) == 0
    }

    /// The bucket where a key belongs.
    #[inline(always)]
    fn home(&self, hash: u64) -> usize {
        hash as usize & self.bucket_mask
    }

    /// The bucket where it lies when its own was full: chosen by hash bits that neither home nor tag depend on.
    #[inline(always)]
    fn other(&self, hash: u64) -> usize {
        (hash as usize).wrapping_add((hash >> 32 | 1) as usize) & self.bucket_mask
    }

    #[inline(always)]
    fn entry(&self, bucket: usize, way: usize) -> usize {
        (bucket * WAYS + way) * self.stride
    }

    /// The mark of an entry with this hash, without its verdict. The tag is the hash's top, the bucket its bottom.
    #[inline(always)]
    fn mark(&self, hash: u64) -> u64 {
        hash >> (64 - TAG_BITS) << GENERATION_BITS | self.generation
    }
}

/// Words between two keys: a power of two, so that short keys never lie across cache lines.
fn stride(shape: &KeyShape) -> usize {
    shape.words().next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Field;

    fn mask() -> Mask {
        let mut mask = Mask::NONE;
        mask.add(Field::IN_PORT, u64::MAX);
        mask.add(Field::DL_DST, u64::MAX);
        mask.add(Field::DL_SRC, u64::MAX);
        mask
    }

    fn key(number: u64) -> FlowKey {
        let mut key = FlowKey::default();
        key.set(Field::IN_PORT, number % 3);
        key.set(Field::DL_DST, number);
        key.set(Field::TP_DST, number * 7);
        key
    }

    #[test]
    fn nearly_all_keys_are_remembered_up_to_the_capacity_and_none_is_mixed_up() {
        let mut cache = FlowCache::new(4096, &mask());
        for number in 0..4096 {
            let (packed, hash) = cache.pack(&key(number));
            cache.insert(hash, &packed, Verdict::rule(RuleId(number as u32)));
        }
        let mut known = 0;
        for number in 0..8192 {
            let (packed, hash) = cache.pack(&key(number));
            let verdict = cache.probe(hash, &packed);
            if verdict.is_known() {
                assert_eq!(verdict, Verdict::rule(RuleId(number as u32)));
                known += 1;
            }
        }
        assert!((3600..=4096).contains(&known), "{known} of 4096 known");
    }

    #[test]
    fn a_batch_gets_the_same_answers_as_single_probes() {
        let mut cache = FlowCache::new(64, &mask());
        let keys: Vec<_> = (0..32).map(|number| cache.pack(&key(number))).collect();
        for (packed, hash) in &keys[..16] {
            cache.insert(*hash, packed, Verdict::NO_RULE);
        }
        let (packed, hashes): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
        let mut verdicts = [Verdict::UNKNOWN; 32];
        cache.probe_batch(&hashes, &packed, &mut verdicts);
        for number in 0..32 {
            assert_eq!(verdicts[number], cache.probe(hashes[number], &packed[number]));
            assert_eq!(verdicts[number], if number < 16 { Verdict::NO_RULE } else { Verdict::UNKNOWN });
        }
    }

    #[test]
    fn new_rules_make_it_forget_also_after_a_million_changes() {
        let mut cache = FlowCache::new(64, &mask());
        let (packed, hash) = cache.pack(&key(1));
        cache.insert(hash, &packed, Verdict::rule(RuleId(1)));
        for _ in 0..1 << GENERATION_BITS {
            cache.invalidate();
            assert_eq!(cache.probe(hash, &packed), Verdict::UNKNOWN);
        }
        cache.insert(hash, &packed, Verdict::rule(RuleId(2)));
        assert_eq!(cache.probe(hash, &packed), Verdict::rule(RuleId(2)));
        cache.insert(hash, &packed, Verdict::NO_RULE);
        assert_eq!(cache.probe(hash, &packed), Verdict::NO_RULE, "the same key is one entry");
    }

    #[test]
    fn under_an_empty_mask_all_packets_are_one_entry() {
        let mut cache = FlowCache::new(64, &Mask::NONE);
        let (packed, hash) = cache.pack(&key(1));
        cache.insert(hash, &packed, Verdict::rule(RuleId(5)));
        let (packed, hash) = cache.pack(&key(2));
        assert_eq!(cache.probe(hash, &packed), Verdict::rule(RuleId(5)));
        cache.reshape(&mask());
        let (packed, hash) = cache.pack(&key(2));
        assert_eq!(cache.probe(hash, &packed), Verdict::UNKNOWN);
    }
}
