//! Random actions on random frames.

use super::frames::{Random, assert_checksums, generate};
use super::*;
use crate::flow::{Action, Field, FlowKey, Mask, Subfield};
use crate::packet::PacketBatch;
use crate::pipeline::parse::{Depth, parse, parse_again};

/// Fields whose change makes other headers of what follows: what the checksums cover then is not what it was.
const STRUCTURE: [FieldId; 3] = [FieldId::ETH_TYPE, FieldId::IP_PROTO, FieldId::MPLS_BOS];

fn any_field(random: &mut Random) -> FieldId {
    let is_port = |id: &FieldId| [FieldId::IN_PORT, FieldId::NXM_IN_PORT].contains(id);
    let fields: Vec<_> = FieldId::ALL.iter().copied().filter(|id| id.info().writable && !is_port(id)).collect();
    fields[random.below(fields.len() as u64)]
}

/// Any action that changes packets. Labels are popped from what they hide, as a sane rule does.
fn any_action(random: &mut Random, frame: &[u8]) -> Action {
    let value = random.next();
    let [a, b, c, d, e, f, ..] = value.to_be_bytes();
    match random.below(36) {
        0 => Action::SetDlSrc([a, b, c, d, e, f]),
        1 => Action::SetDlDst([a, b, c, d, e, f]),
        2 => Action::SetVlanVid(value as u16 & 0xfff),
        3 => Action::SetVlanPcp(value as u8 & 7),
        4 => Action::PushVlan([0x8100, 0x88a8][random.below(2)]),
        5 => Action::PopVlan,
        6 => Action::SetNwSrc((value as u32).into()),
        7 => Action::SetNwDst((value as u32).into()),
        8 => Action::SetNwTos(value as u8),
        9 => Action::SetNwTtl(value as u8),
        10 => Action::DecTtl(Vec::new()),
        11 => Action::SetTpSrc(value as u16),
        12 => Action::SetTpDst(value as u16),
        13 => Action::SetNwEcn(value as u8 & 3),
        14 => Action::PushMpls(0x8847),
        15 => Action::PopMpls(behind_the_label(frame)),
        16 => Action::PushPbb(0x88e7),
        17 => Action::PopPbb,
        18 => Action::SetMplsLabel(value as u32 & 0xf_ffff),
        19 => Action::SetMplsTc(value as u8 & 7),
        20 => Action::SetMplsTtl(value as u8),
        21 => Action::DecMplsTtl,
        22 => Action::CopyTtlOut,
        23 => Action::CopyTtlIn,
        24..31 => {
            let field = any_field(random);
            let mask = if random.one_in(2) { field.ones() } else { random.wide() & field.ones() };
            Action::SetField { field, value: random.wide() & mask, mask }
        }
        _ => {
            let field = any_field(random);
            let start = random.below(field.info().bits.into()) as u16;
            let bits = 1 + random.below(u64::from(field.info().bits - start).min(64)) as u16;
            Action::Load { value: value & u64::MAX >> (64 - bits), target: Subfield { field, start, bits } }
        }
    }
}

/// The Ethernet type of what the outermost label hides.
fn behind_the_label(frame: &[u8]) -> u16 {
    let label = layout(frame).network;
    match (frame.get(label + 2).map_or(1, |byte| byte & 1), frame.get(label + 4).map_or(0, |byte| byte >> 4)) {
        (0, _) => 0x8847,
        (_, 4) => 0x0800,
        _ => 0x86dd,
    }
}

fn layout(frame: &[u8]) -> Layout {
    locate(frame, frame.len())
}

/// After these nobody can tell from outside which checksums a frame has.
fn hides_structure(action: &Action, frame: &[u8]) -> bool {
    match action {
        // What a label hides is told by its first bits, which only IP has at that place.
        Action::PushMpls(_) => matches!(layout(frame).dl_type, 0x8100 | 0x88a8 | 0x88e7),
        Action::SetField { field, .. } => STRUCTURE.contains(field),
        Action::Load { target, .. } => STRUCTURE.contains(&target.field),
        _ => false,
    }
}

#[test]
fn checksums_stay_right_whatever_is_rewritten() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..40_000 {
        let mut frame = generate(&mut random);
        let mut done = Vec::new();
        for _ in 0..4 {
            let action = any_action(&mut random, &frame);
            if hides_structure(&action, &frame) {
                continue;
            }
            let Ok(changed) = rewritten(&frame, &action) else { continue };
            done.push(action);
            assert_checksums(&changed, &done);
            frame = changed;
        }
    }
}

fn key_of(frame: &[u8], depth: Depth) -> FlowKey {
    with_packet(frame, |packet| {
        let mut key = FlowKey::default();
        parse(packet, 7, depth, &mut key);
        key
    })
}

/// Frames as they are, fragments, cut, and with bytes that lie.
fn any_frame(random: &mut Random) -> Vec<u8> {
    let mut frame = generate(random);
    let found = layout(&frame);
    if found.dl_type == ethernet::TYPE_IPV4 && random.one_in(4) {
        frame[found.network + 6] = 0x20; // more fragments
        frame[found.network + 7] = random.below(2) as u8;
    }
    if random.one_in(2) {
        for _ in 0..random.below(3) {
            let at = random.below(frame.len() as u64);
            frame[at] = random.next() as u8;
        }
        if random.one_in(2) {
            let len = 14 + random.below(frame.len() as u64 - 13);
            frame.truncate(len);
        }
    }
    frame
}

#[test]
fn the_key_tells_what_an_action_made_of_the_packet() {
    let mut random = Random(88_172_645_463_325_252);
    let mut known = 0;
    for _ in 0..100_000 {
        let frame = any_frame(&mut random);
        let action = any_action(&mut random, &frame);
        let mut key = key_of(&frame, Depth::All);
        let metadata = random.next();
        key.set(Field::METADATA, metadata);
        let effect = apply_to_key(&mut key, &action);
        let Ok(changed) = rewritten(&frame, &action) else { continue };
        let mut wanted = key_of(&changed, Depth::All);
        // What is no frame's field is the key's alone.
        wanted.words[crate::flow::FRAME_WORDS..].copy_from_slice(&key.words[crate::flow::FRAME_WORDS..]);
        match effect {
            KeyEffect::Known => {
                known += 1;
                assert_eq!(key, wanted, "{action:?} on {frame:02x?}");
            }
            KeyEffect::Stale => {
                with_packet(&changed, |packet| parse_again(packet, Depth::All, &mut key));
                assert_eq!(key, wanted, "{action:?}, parsed again");
            }
        }
    }
    assert!(known > 50_000, "{known}: most actions are known");
}

#[test]
fn the_effect_on_a_key_depends_on_nothing_but_what_is_said_to_be_read() {
    let mut random = Random(42);
    for _ in 0..100_000 {
        let frame = any_frame(&mut random);
        let action = any_action(&mut random, &frame);
        let one = key_of(&frame, Depth::All);
        let reads = crate::flow::change_reads(&action);
        let mut other = FlowKey::default();
        for (word, bits) in other.words.iter_mut().enumerate() {
            *bits = one.words[word] & reads.words[word] | random.next() & !reads.words[word];
        }
        let (mut one_after, mut other_after) = (one, other);
        let effect = apply_to_key(&mut one_after, &action);
        assert_eq!(effect, apply_to_key(&mut other_after, &action), "{action:?}");
        if effect == KeyEffect::Stale {
            continue;
        }
        for word in 0..one.words.len() {
            let changed = one.words[word] ^ one_after.words[word] | other.words[word] ^ other_after.words[word];
            let differing = one_after.words[word] ^ other_after.words[word];
            assert_eq!(changed & differing, 0, "{action:?}: word {word}");
        }
    }
}

#[test]
fn a_key_is_parsed_as_deep_as_any_mask_looks() {
    let mut random = Random(4711);
    let frame_fields: Vec<_> =
        FieldId::ALL.iter().filter(|id| usize::from(id.info().place.word) < FRAME_WORDS).collect();
    for _ in 0..50_000 {
        let frame = any_frame(&mut random);
        let mut mask = Mask::NONE;
        let looked_at = frame_fields[random.below(frame_fields.len() as u64)];
        mask.add_bits(*looked_at, looked_at.ones());
        // A rule looks at what its field needs, too.
        let whole = key_of(&frame, Depth::All);
        let prerequisites = [Field::DL_TYPE, Field::NW_PROTO, Field::TP_SRC];
        let needed = match looked_at.info().needs {
            crate::flow::Needs::Nothing | crate::flow::Needs::Tag => 0,
            crate::flow::Needs::Nd | crate::flow::Needs::NdSolicit | crate::flow::Needs::NdAdvert => 3,
            crate::flow::Needs::Ip | crate::flow::Needs::Arp | crate::flow::Needs::Mpls => 1,
            _ => 2,
        };
        prerequisites[..needed].iter().for_each(|&field| mask.add(field, u64::MAX));
        let key = key_of(&frame, Depth::of(&mask));
        let is_nd = whole.field(Field::HEADERS) & crate::flow::headers::ND != 0;
        if is_nd && matches!(looked_at.info().needs, crate::flow::Needs::Arp) {
            continue; // Those two places are an ARP packet's for this rule.
        }
        for (word, bits) in mask.words.iter().enumerate() {
            assert_eq!(key.words[word] & bits, whole.words[word] & bits, "{}: {frame:02x?}", looked_at.info().name);
        }
    }
}

/// A long frame's tail lies in the sender's memory; the outcome is the same.
#[test]
fn a_tail_makes_no_difference() {
    use crate::mem::{GuestMemory, Mapping, Region};
    use crate::packet::SPLIT_HEAD;
    use std::sync::Arc;

    let mapping = Arc::new(Mapping::memfd(c"sender", 4096).expect("memfd"));
    let memory = GuestMemory::new(vec![Region::of_own(mapping, 0)]).expect("one region");
    let mut random = Random(1 << 40 | 1);
    let mut batch = PacketBatch::new();
    for _ in 0..10_000 {
        let mut frame = generate(&mut random);
        frame.resize(frame.len().max(SPLIT_HEAD + 1) + random.below(600), 0);
        let packet = batch.next_slot().expect("never filled");
        packet.reset(SPLIT_HEAD).copy_from_slice(&frame[..SPLIT_HEAD]);
        let tail = memory.span(0, (frame.len() - SPLIT_HEAD) as u32, &mut 0).expect("inside");
        tail.write(&frame[SPLIT_HEAD..]);
        assert!(packet.push_tail(tail));
        for _ in 0..8 {
            let action = any_action(&mut random, &frame);
            let (split, whole) = (apply(packet, &action), rewritten(&frame, &action));
            let mut out = vec![0; packet.len()];
            packet.copy_to(&mut out);
            let Ok(whole) = whole else {
                assert_eq!(split, whole.map(|_| ()), "{action:?}");
                break;
            };
            assert_eq!(out, whole, "{action:?}");
            frame = whole;
        }
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = Random(88_172_645_463_325_253);
    for _ in 0..100_000 {
        let mut frame = generate(&mut random);
        for _ in 0..random.below(4) {
            let at = random.below(frame.len() as u64);
            frame[at] = random.next() as u8;
        }
        let len = random.below(frame.len() as u64 + 1);
        frame.truncate(len);
        let action = any_action(&mut random, &frame);
        let _ = rewritten(&frame, &action);
    }
}
