//! Figures of the flow table and the flow cache, for whoever tunes them:
//! `cargo bench -p ringswitch-dataplane --bench flows`.

use std::hint::black_box;
use std::time::Instant;

use ringswitch_dataplane::flow::{Action, Field, Flow, FlowKey, FlowTable, Mask, Match, PackedKey, RuleId};
use ringswitch_dataplane::packet::BATCH;
use ringswitch_dataplane::pipeline::{FlowCache, Verdict};

fn key(number: u64) -> FlowKey {
    let mut key = FlowKey::default();
    key.set(Field::IN_PORT, 1);
    key.set(Field::DL_TYPE, 0x0800);
    key.set(Field::DL_DST, 0x0200_0000_0000 | number);
    key.set(Field::DL_SRC, 0x0210_0000_0000 | (number / 3));
    key.set(Field::NW_PROTO, 6);
    key.set(Field::NW_SRC, 0x0a00_0000 | (number & 0xffff));
    key.set(Field::NW_DST, 0x0b00_0000 | (number >> 16));
    key.set(Field::TP_SRC, number & 0xffff);
    key.set(Field::TP_DST, 80);
    key
}

fn mask(fields: &[Field]) -> Mask {
    let mut mask = Mask::NONE;
    fields.iter().for_each(|&field| mask.add(field, u64::MAX));
    mask
}

fn five_tuple() -> Mask {
    let ports = [Field::TP_SRC, Field::TP_DST];
    mask(&[&[Field::IN_PORT, Field::DL_TYPE, Field::NW_PROTO, Field::NW_SRC, Field::NW_DST], &ports[..]].concat())
}

fn flow(number: u64) -> Flow {
    let matches = Match { key: key(number), mask: five_tuple() };
    let actions = vec![Action::Output(2)];
    Flow { table: 0, priority: 100, cookie: 0, idle_timeout: 0, hard_timeout: 0, matches, actions, ..Flow::default() }
}

fn table_changes() {
    let start = Instant::now();
    let mut table = FlowTable::new();
    for number in 0..100_000 {
        table.insert(flow(number), 0, 2);
    }
    println!("100 000 rules: {:?}", start.elapsed());
    let mut published = table.clone();
    let start = Instant::now();
    for number in 100_000..110_000 {
        let mut next = published.clone();
        next.insert(flow(number), 0, 2);
        published = next;
    }
    println!("one more, on a fresh clone: {:?}", start.elapsed() / 10_000);
    let start = Instant::now();
    for number in 0..100_000 {
        let found = published.lookup(&key(number * 7919 % 110_000), &mut 10);
        assert!(black_box(found).is_ok_and(|rule| rule.is_some()));
    }
    println!("lookup: {:?}", start.elapsed() / 100_000);
    let start = Instant::now();
    for number in 0..1_000_000 {
        black_box(published.rule(RuleId(number * 7919 % 110_000)));
    }
    println!("rule by number: {:?}", start.elapsed() / 1_000_000);
}

fn cache_hits() {
    let shapes =
        [("L2", mask(&[Field::IN_PORT, Field::VLAN_TCI, Field::DL_DST, Field::DL_SRC])), ("5-tuple", five_tuple())];
    for (name, mask) in shapes {
        for count in [1_u64, 1000, 100_000, 1_000_000] {
            measure(name, &mask, count);
        }
    }
}

/// Nanoseconds per packet to pack, hash and probe, and what of that the probe takes.
fn measure(name: &str, mask: &Mask, count: u64) {
    let mut cache = FlowCache::new((count as usize * 5 / 4).max(64 * 1024), mask);
    for number in 0..count {
        let (packed, hash) = cache.pack(&key(number));
        cache.insert(hash, &packed, Verdict::rule(RuleId(number as u32)));
    }
    // Keys come in an order that no prefetcher can guess, from a buffer that is the same for all counts.
    let mut state = 1_u64;
    let keys: Vec<FlowKey> = (0..4 * 1024)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            key((state >> 33) % count)
        })
        .collect();
    // Few enough to stay in the second level of cache, as the keys of a batch do.
    let (rounds, mut hits, mut best, mut best_pack) = (400, 0, f64::MAX, f64::MAX);
    let (mut hashes, mut packed) = ([0; BATCH], [PackedKey::default(); BATCH]);
    let mut verdicts = [Verdict::UNKNOWN; BATCH];
    for _ in 0..rounds {
        hits = 0;
        let start = Instant::now();
        for batch in keys.as_chunks::<BATCH>().0 {
            for at in 0..BATCH {
                hashes[at] = cache.shape().pack_into(&batch[at], &mut packed[at]);
            }
            cache.probe_batch(&hashes, &packed, &mut verdicts);
            hits += verdicts.iter().filter(|verdict| verdict.is_known()).count();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / keys.len() as f64);
        let start = Instant::now();
        for _ in keys.as_chunks::<BATCH>().0 {
            let batch = black_box(&keys[..BATCH]);
            for at in 0..BATCH {
                hashes[at] = cache.shape().pack_into(&batch[at], &mut packed[at]);
            }
            black_box((&packed, &hashes));
        }
        best_pack = best_pack.min(start.elapsed().as_nanos() as f64 / keys.len() as f64);
    }
    let rate = hits as f64 * 100.0 / keys.len() as f64;
    println!("{name:8} {count:8} keys: {best:5.1} ns, of that pack and hash {best_pack:4.1} ns, {rate:.1} % hits");
}

fn main() {
    table_changes();
    cache_hits();
}
