//! Which words of a key a set of rules looks at, and the hash over just those words.
//!
//! Trust: packets choose the words, so the hash is seeded once per process with secrets that nobody outside can learn;
//! without them nobody can aim at one bucket. Neighbours: `table` hashes subtables with it, the pipeline's cache its keys.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

use super::{FlowKey, KEY_WORDS, Mask};

/// The words of a key that count, masked and moved together; words beyond the shape's are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackedKey {
    /// The first [`KeyShape::words`] of them are used.
    pub words: [u64; KEY_WORDS],
}

/// How to pack and hash keys under one mask.
#[derive(Clone, Debug)]
pub struct KeyShape {
    mask: Mask,
    count: usize,
    index: [u8; KEY_WORDS],
    masks: [u64; KEY_WORDS],
    secrets: [u64; SECRETS],
}

/// One per word, and two for the final fold.
const SECRETS: usize = KEY_WORDS + 2;

/// The same for the whole process: a hash computed under one shape can be used with a clone of it.
fn secrets() -> &'static [u64; SECRETS] {
    static ONCE: OnceLock<[u64; SECRETS]> = OnceLock::new();
    ONCE.get_or_init(|| {
        let random = RandomState::new();
        std::array::from_fn(|index| {
            let mut hasher = random.build_hasher();
            hasher.write_usize(index);
            hasher.finish() | 1
        })
    })
}

impl KeyShape {
    /// The shape of keys under this mask.
    #[must_use]
    pub fn new(mask: &Mask) -> Self {
        let mut shape =
            Self { mask: *mask, count: 0, index: [0; KEY_WORDS], masks: [0; KEY_WORDS], secrets: *secrets() };
        for (word, &bits) in mask.words.iter().enumerate().filter(|&(_, &bits)| bits != 0) {
            shape.index[shape.count] = word as u8;
            shape.masks[shape.count] = bits;
            shape.count += 1;
        }
        shape
    }

    /// The mask it was made for.
    #[must_use]
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// How many words of a packed key are used.
    #[inline(always)]
    #[must_use]
    pub fn words(&self) -> usize {
        self.count
    }

    /// The words of `key` that count.
    #[inline]
    #[must_use]
    pub fn pack(&self, key: &FlowKey) -> PackedKey {
        let mut packed = PackedKey::default();
        self.pack_into(key, &mut packed);
        packed
    }

    /// Packs `key` in place (words beyond the shape's are left as they are) and returns its hash.
    ///
    /// The hash is NH (the universal hash inside UMAC): pairs of words plus secrets, multiplied and summed in 128 bits. For
    /// any two keys that are not equal the sums differ but with probability 2^-64 over the secrets, and the products do not
    /// wait for each other. One more multiplication spreads the sum over all bits.
    #[inline(always)]
    pub fn pack_into(&self, key: &FlowKey, packed: &mut PackedKey) -> u64 {
        self.hash_words(key, |at, word| packed.words[at] = word)
    }

    /// The hash alone.
    #[inline(always)]
    #[must_use]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        self.hash_words(key, |_, _| {})
    }

    #[inline(always)]
    fn hash_words(&self, key: &FlowKey, mut each: impl FnMut(usize, u64)) -> u64 {
        let mut sum = 0_u128;
        let mut at = 0;
        while at < self.count.min(KEY_WORDS) {
            // An odd last word is paired with one whose mask is zero.
            let [left, right] = [at, at + 1].map(|at| key.words[usize::from(self.index[at])] & self.masks[at]);
            each(at, left);
            each(at + 1, right);
            let left = left.wrapping_add(self.secrets[at]);
            let right = right.wrapping_add(self.secrets[at + 1]);
            sum = sum.wrapping_add(u128::from(left) * u128::from(right));
            at += 2;
        }
        let low = sum as u64 ^ self.secrets[KEY_WORDS];
        let high = (sum >> 64) as u64 ^ self.secrets[KEY_WORDS + 1];
        let product = (u128::from(low) * u128::from(high.rotate_left(32) | 1)) ^ sum;
        (product >> 64) as u64 ^ product as u64
    }
}

// Words are hashed in pairs.
const _: () = assert!(KEY_WORDS.is_multiple_of(2));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Field;

    #[test]
    fn only_bits_under_the_mask_reach_the_packed_key() {
        let mut mask = Mask::NONE;
        mask.add(Field::DL_DST, u64::MAX);
        mask.add(Field::TP_DST, 0xff00);
        let shape = KeyShape::new(&mask);
        assert_eq!(shape.words(), 2);
        let mut key = FlowKey::default();
        key.set(Field::DL_DST, 0x1122_3344_5566);
        key.set(Field::TP_DST, 0x1234);
        let packed = shape.pack(&key);
        key.set(Field::NW_PROTO, 6);
        key.set(Field::TP_DST, 0x12ff);
        key.set(Field::IN_PORT, 9);
        assert_eq!(shape.pack(&key), packed);
        key.set(Field::TP_DST, 0x1334);
        assert_ne!(shape.pack(&key), packed);
    }

    #[test]
    fn keys_that_differ_in_few_bits_spread_over_low_and_high_hash_bits() {
        let mut mask = Mask::NONE;
        mask.add(Field::NW_SRC, u64::MAX);
        mask.add(Field::NW_DST, u64::MAX);
        mask.add(Field::TP_SRC, u64::MAX);
        let shape = KeyShape::new(&mask);
        let (mut low, mut high) = (vec![0_u32; 1024], vec![0_u32; 1024]);
        for count in 0..65536_u64 {
            let mut key = FlowKey::default();
            key.set(Field::NW_SRC, 0x0a00_0000 | count);
            let hash = shape.pack_into(&key, &mut PackedKey::default());
            low[(hash & 1023) as usize] += 1;
            high[(hash >> 54) as usize] += 1;
        }
        // 64 expected per bucket; an even spread stays within 5 standard deviations (8 each).
        for buckets in [low, high] {
            assert!(buckets.iter().all(|&count| (20..=108).contains(&count)), "{buckets:?}");
        }
    }
}
