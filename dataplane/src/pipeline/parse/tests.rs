//! Golden frames, and frames that lie.

use super::*;
use crate::flow::{FieldId, headers};
use crate::packet::PacketBatch;

const MACS: [u8; 12] = [0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2];

fn with_packet<R>(frame: &[u8], use_it: impl FnOnce(&Packet) -> R) -> R {
    let mut batch = PacketBatch::new();
    let packet = batch.next_slot().expect("an empty batch has room");
    packet.reset(frame.len()).copy_from_slice(frame);
    use_it(packet)
}

fn parsed(frame: &[u8]) -> FlowKey {
    let mut key = FlowKey::default();
    with_packet(frame, |packet| parse(packet, 7, Depth::Transport, &mut key));
    key
}

fn frame(parts: &[&[u8]]) -> Vec<u8> {
    [&[&MACS[..]], parts].concat().concat()
}

fn ipv4(protocol: u8, fragment: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len()) as u16;
    let [high, low] = len.to_be_bytes();
    let header = [0x45, 0xb9, high, low, 0, 1, fragment[0], fragment[1], 63, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    [&[0x08, 0x00], &header[..], payload].concat()
}

fn fields(key: &FlowKey, fields: &[Field]) -> Vec<u64> {
    fields.iter().map(|&field| key.field(field)).collect()
}

const TCP: [u8; 20] = [0x1f, 0x90, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x51, 0x12, 0, 0, 0, 0, 0, 0];
const IP_FIELDS: [Field; 6] =
    [Field::NW_SRC, Field::NW_DST, Field::NW_PROTO, Field::NW_TOS, Field::NW_TTL, Field::NW_FRAG];
const PORT_FIELDS: [Field; 3] = [Field::TP_SRC, Field::TP_DST, Field::TCP_FLAGS];

#[test]
fn tcp_behind_two_tags() {
    let key = parsed(&frame(&[&[0x88, 0xa8, 0x60, 0x05, 0x81, 0x00, 0x00, 0x07], &ipv4(6, [0x40, 0], &TCP)]));
    let ethernet = [Field::IN_PORT, Field::DL_DST, Field::DL_SRC, Field::DL_TYPE, Field::VLAN_TCI];
    assert_eq!(fields(&key, &ethernet), [7, 0x5254_0000_0001, 0x5254_0000_0002, 0x0800, 0x7005]);
    assert_eq!(fields(&key, &IP_FIELDS), [0x0a00_0001, 0x0a00_0002, 6, 0xb9, 63, 0]);
    assert_eq!(fields(&key, &PORT_FIELDS), [8080, 80, 0x112]);
}

#[test]
fn only_the_first_fragment_has_ports() {
    let first = parsed(&frame(&[&ipv4(6, [0x20, 0], &TCP)]));
    assert_eq!((first.field(Field::NW_FRAG), first.field(Field::TP_DST)), (1, 80));
    let later = parsed(&frame(&[&ipv4(6, [0x20, 9], &TCP)]));
    assert_eq!((later.field(Field::NW_FRAG), later.field(Field::TP_DST)), (3, 0));
    assert_eq!(later.field(Field::NW_PROTO), 6);
}

#[test]
fn cut_headers_leave_zero() {
    let whole = frame(&[&ipv4(6, [0, 0], &TCP)]);
    for len in 0..whole.len() {
        let key = parsed(&whole[..len]);
        assert_eq!(key.field(Field::DL_DST) != 0, len >= 14, "{len}");
        assert_eq!(fields(&key, &IP_FIELDS), [0; 6], "the total length is more than {len} bytes hold");
        assert_eq!(fields(&key, &PORT_FIELDS), [0; 3], "{len}");
    }
    let short = parsed(&frame(&[&ipv4(6, [0, 0], &TCP[..19])]));
    assert_eq!((short.field(Field::NW_PROTO), short.field(Field::TP_DST)), (6, 0), "half a TCP header");
    let padded = parsed(&frame(&[&ipv4(17, [0, 0], &[0, 1, 0, 2]), &[0; 30]]));
    assert_eq!((padded.field(Field::NW_PROTO), padded.field(Field::TP_DST)), (17, 0), "padding is no header");
    let half_a_tag = parsed(&frame(&[&[0x81, 0x00, 0x60, 0x05, 0x08]]));
    assert_eq!((half_a_tag.field(Field::VLAN_TCI), half_a_tag.field(Field::DL_TYPE)), (0, 0x8100));
}

#[test]
fn other_protocols() {
    let udp = parsed(&frame(&[&ipv4(17, [0, 0], &[0x12, 0x34, 0, 53, 0, 8, 0, 0])]));
    assert_eq!(fields(&udp, &PORT_FIELDS), [0x1234, 53, 0]);
    let icmp = parsed(&frame(&[&ipv4(1, [0, 0], &[3, 13, 0, 0, 0, 0, 0, 0])]));
    assert_eq!(fields(&icmp, &PORT_FIELDS), [3, 13, 0]);
    let sctp = parsed(&frame(&[&ipv4(132, [0, 0], &[0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0])]));
    assert_eq!(fields(&sctp, &PORT_FIELDS), [1, 2, 0]);
    let llc = parsed(&frame(&[&[0, 3, 0x42, 0x42, 3]]));
    assert_eq!(llc.field(Field::DL_TYPE), 0x05ff);
    let body = [0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 9, 10, 0, 0, 1, 0, 0, 0, 0, 0, 7, 10, 0, 0, 2];
    let arp = parsed(&frame(&[&[0x08, 0x06], &body]));
    let arp_fields = [Field::NW_PROTO, Field::NW_SRC, Field::NW_DST, Field::ARP_SHA, Field::ARP_THA];
    assert_eq!(fields(&arp, &arp_fields), [2, 0x0a00_0001, 0x0a00_0002, 0x0200_0000_0009, 7]);
}

#[test]
fn ipv6_behind_extension_headers() {
    let mut ip = vec![0x86, 0xdd, 0x6b, 0x80, 0, 0, 0, 16, 60, 9];
    ip.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    ip.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    ip.extend([58, 0, 0, 0, 0, 0, 0, 0, 135, 0, 0, 0, 0, 0, 0, 0]);
    let key = parsed(&frame(&[&ip]));
    let addresses = [Field::IPV6_SRC, Field::IPV6_SRC_LOW, Field::IPV6_DST, Field::IPV6_DST_LOW];
    assert_eq!(fields(&key, &addresses), [0xfe80 << 48, 1, 0xff02 << 48, 2]);
    assert_eq!(fields(&key, &IP_FIELDS), [0, 0, 58, 0xb8, 9, 0]);
    assert_eq!(fields(&key, &PORT_FIELDS), [135, 0, 0]);
    ip[42] = 44;
    ip[44] = 0;
    let mut later = ip.clone();
    later[42..50].copy_from_slice(&[58, 0, 0, 8, 0, 0, 0, 1]);
    later[8] = 44;
    let key = parsed(&frame(&[&later]));
    assert_eq!(fields(&key, &IP_FIELDS)[2..], [44, 0xb8, 9, 3], "a later fragment's protocol is \"fragment\"");
    assert_eq!(fields(&key, &PORT_FIELDS), [0; 3]);
}

fn parsed_all(frame: &[u8]) -> FlowKey {
    let mut key = FlowKey::default();
    with_packet(frame, |packet| parse(packet, 7, Depth::All, &mut key));
    key
}

/// An IPv6 packet with this first header and payload.
fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (payload.len() as u16).to_be_bytes();
    let mut ip = vec![0x86, 0xdd, 0x60, 0x01, 0x23, 0x45, high, low, next_header, 64];
    ip.extend([0xfd; 32]);
    ip.extend(payload);
    ip
}

#[test]
fn labels_and_backbone_tags_hide_what_is_behind_them() {
    let inside = ipv4(6, [0, 0], &TCP);
    let label = [0x00, 0x06, 0x47, 0x40];
    let key = parsed_all(&frame(&[&[0x81, 0, 0x60, 0x05, 0x88, 0x47], &label, &inside[2..]]));
    assert_eq!(fields(&key, &[Field::VLAN_TCI, Field::DL_TYPE, Field::MPLS_LSE]), [0x7005, 0x8847, 0x0006_4740]);
    assert_eq!(key.get(FieldId::MPLS_LABEL), 100);
    assert_eq!([key.get(FieldId::MPLS_TC), key.get(FieldId::MPLS_BOS), key.get(FieldId::MPLS_TTL)], [3, 1, 64]);
    assert_eq!(fields(&key, &IP_FIELDS), [0; 6]);
    let multicast = parsed_all(&frame(&[&[0x88, 0x48], &label]));
    assert_eq!(fields(&multicast, &[Field::DL_TYPE, Field::MPLS_LSE]), [0x8848, 0x0006_4740]);
    let cut = parsed_all(&frame(&[&[0x88, 0x47], &label[..3]]));
    assert_eq!(fields(&cut, &[Field::MPLS_LSE, Field::HEADERS]), [0, 0]);

    let customer = frame(&[&inside]);
    let key = parsed_all(&frame(&[&[0x88, 0xa8, 0, 10, 0x88, 0xe7, 0x08, 0, 0, 0x64], &customer]));
    assert_eq!(fields(&key, &[Field::VLAN_TCI, Field::DL_TYPE]), [0x100a, 0x88e7], "the backbone's tag");
    assert_eq!([key.get(FieldId::PBB_ISID), key.get(FieldId::PBB_UCA)], [100, 1]);
    assert_eq!(key.field(Field::PBB), 0x300_0064, "and a bit for \"there is one\"");
    assert_eq!(fields(&key, &IP_FIELDS), [0; 6]);
}

#[test]
fn the_second_tag_and_the_flow_label() {
    let tags = [0x88, 0xa8, 0x60, 0x05, 0x81, 0x00, 0x20, 0x07];
    let key = parsed_all(&frame(&[&tags, &ipv6(6, &TCP)]));
    assert_eq!(fields(&key, &[Field::VLAN_TCI, Field::INNER_TCI, Field::IPV6_LABEL]), [0x7005, 0x3007, 0x1_2345]);
    assert_eq!(fields(&key, &PORT_FIELDS), [8080, 80, 0x112]);
    let key = parsed_all(&frame(&[&tags[4..], &ipv6(6, &TCP)]));
    assert_eq!(fields(&key, &[Field::VLAN_TCI, Field::INNER_TCI]), [0x3007, 0]);
    let mut longer = ipv6(6, &TCP);
    longer[7] += 1;
    let key = parsed_all(&frame(&[&longer]));
    assert_eq!(fields(&key, &[Field::IPV6_LABEL, Field::HEADERS]), [0, 0], "the length says more than there is");
}

/// Sequences of extension headers, with OpenFlow's bits for them.
#[test]
fn extension_headers_are_named() {
    let seen = |numbers: &[u8]| {
        let mut payload = Vec::new();
        for pair in numbers.windows(2) {
            payload.extend([pair[1], 0, 0, 0, 0, 0, 0, 0]);
        }
        payload.extend([0; 20]);
        parsed_all(&frame(&[&ipv6(numbers[0], &payload)])).get(FieldId::IPV6_EXTHDR)
    };
    const TCP: u8 = 6;
    const NO_NEXT: u8 = 59;
    let (hop, routing, fragment, esp, dest) = (0, 43, 44, 50, 60);
    for (numbers, bits) in [
        (&[TCP][..], 0),
        (&[NO_NEXT], 1),
        (&[esp], 2),
        (&[dest, TCP], 8),
        (&[fragment, TCP], 16),
        (&[routing, TCP], 32),
        (&[hop, TCP], 64),
        (&[hop, dest, routing, fragment, esp], 64 | 8 | 32 | 16 | 2),
        (&[hop, dest, routing, dest, TCP], 64 | 8 | 32),
        (&[dest, dest, NO_NEXT], 8 | 1),
        (&[dest, dest, dest, TCP], 8 | 128),
        (&[routing, routing, TCP], 32 | 128),
        (&[dest, hop, TCP], 64 | 8 | 256),
        (&[fragment, routing, TCP], 32 | 16 | 256),
        (&[dest, dest, routing, TCP], 8 | 32 | 256),
    ] {
        assert_eq!(seen(numbers), bits, "{numbers:?}");
    }
    // Authentication counts its length in other units: hop-by-hop and authentication, as controllers' tests have it.
    let payload = [&[51, 0, 0, 0, 0, 0, 0, 0, 6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[0; 20]].concat();
    assert_eq!(parsed_all(&frame(&[&ipv6(0, &payload)])).get(FieldId::IPV6_EXTHDR), 68);
    // A later fragment says nothing about what the first one has behind its fragment header.
    let later = [&[60, 0, 0, 8, 0, 0, 0, 1][..], &[0; 40]].concat();
    assert_eq!(parsed_all(&frame(&[&ipv6(44, &later)])).get(FieldId::IPV6_EXTHDR), 16);
}

#[test]
fn neighbour_discovery() {
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend([0xfd; 15]);
    message.extend([9, 1, 1, 2, 0, 0, 0, 0, 5]);
    let key = parsed_all(&frame(&[&ipv6(58, &message)]));
    assert_eq!(key.get(FieldId::ND_TARGET), u128::from_be_bytes([0xfd; 16]) & !0xff | 9);
    assert_eq!([key.get(FieldId::ND_SLL), key.get(FieldId::ND_TLL)], [0x0200_0000_0005, 0]);
    assert_eq!(key.field(Field::HEADERS), headers::NETWORK | headers::TRANSPORT | headers::ND | headers::ND_SLL);
    message[0] = 133;
    let other = parsed_all(&frame(&[&ipv6(58, &message)]));
    assert_eq!([other.get(FieldId::ND_TARGET), other.get(FieldId::ND_SLL)], [0, 0], "a router solicitation");
}

#[test]
fn depth_says_how_far_to_look() {
    let mut mask = Mask::NONE;
    assert_eq!(Depth::of(&mask), Depth::Port);
    for (field, depth) in [
        (Field::IN_PORT, Depth::Port),
        (Field::DL_DST, Depth::Ethernet),
        (Field::IPV6_DST_LOW, Depth::Network),
        (Field::TCP_FLAGS, Depth::Transport),
        (Field::ND_TARGET_LOW, Depth::All),
    ] {
        mask.add(field, 1);
        assert_eq!(Depth::of(&mask), depth);
    }
    let frame = frame(&[&ipv4(6, [0, 0], &TCP)]);
    let mut full = FlowKey::default();
    with_packet(&frame, |packet| {
        parse(packet, 7, Depth::Transport, &mut full);
        for depth in [Depth::Port, Depth::Ethernet, Depth::Network] {
            let mut key = full;
            parse(packet, 7, depth, &mut key);
            let differing = (0..key.words.len()).filter(|&word| key.words[word] & !full.words[word] != 0).count();
            assert_eq!(differing, 0, "{depth:?} says nothing that is not true");
            assert_eq!(key.field(Field::DL_DST) != 0, depth >= Depth::Ethernet);
            assert_eq!(key.field(Field::NW_SRC) != 0, depth >= Depth::Network);
            assert_eq!(key.field(Field::TP_SRC), 0);
        }
    });
}

#[test]
fn packets_of_one_flow_have_one_hash() {
    let hash = |parts: &[&[u8]]| with_packet(&frame(parts), |packet| rss_hash(packet.into()));
    let one = hash(&[&ipv4(6, [0, 0], &TCP)]);
    assert_eq!(one, hash(&[&ipv4(6, [0, 0], &[&TCP[..], b"payload"].concat())]));
    let mut other = TCP;
    other[1] += 1;
    assert_ne!(one, hash(&[&ipv4(6, [0, 0], &other)]));
    assert_eq!(hash(&[&ipv4(6, [0x20, 0], &TCP)]), hash(&[&ipv4(6, [0x20, 3], &[1; 20])]), "fragments");
}

#[test]
fn no_bytes_make_it_panic() {
    let mut state = 88_172_645_463_325_252_u64;
    let mut seed = frame(&[&[0x81, 0, 0, 1], &ipv4(6, [0, 0], &TCP), &[0; 60]]);
    for _ in 0..200_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = state as usize % 60;
        seed[at] = [(state >> 32) as u8, 0x81, 0, 0x86, 0xdd, 60, 44, 0x88][(state >> 40) as usize % 8];
        let len = (state >> 48) as usize % seed.len();
        with_packet_reused(&seed[..len]);
    }
}

/// Frames of the common shape are read in a way of their own, which must find what the general one does.
#[test]
fn the_short_way_and_the_long_way_find_the_same() {
    let (mut state, mut short) = (11u64, 0);
    for round in 0..20_000 {
        let mut frame = vec![0x5a; 14];
        frame[12..].copy_from_slice(&[0x08, 0x00]);
        frame.extend([
            0x45,
            3,
            0,
            46,
            0,
            1,
            0,
            0,
            64,
            if round % 2 == 0 { 6 } else { 17 },
            0,
            0,
            10,
            0,
            0,
            1,
            10,
            0,
            0,
            2,
        ]);
        frame.extend((0..26).map(|byte| byte * 7));
        for _ in 0..round % 4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = [12, 13, 14, 16, 17, 20, 21, 23, 30, 46][(state >> 33) as usize % 10];
            frame[at] = [0, 1, 5, 6, 17, 28, 39, 40, 0x45, 0x46][(state >> 45) as usize % 10];
        }
        let cut = [60, 60, 54, 53, 42, 30][(state >> 55) as usize % 6];
        let frame = &frame[..cut];
        let (mut one, mut other) = (FlowKey::default(), FlowKey::default());
        if fill_common(frame, frame.len(), &mut one).is_some() {
            short += 1;
            extract(frame, frame.len(), Depth::Transport, &mut other);
        }
        assert_eq!(one, other, "{frame:x?}");
    }
    assert!(short > 1000, "{short}");
}

/// A batch is large; one for all rounds.
fn with_packet_reused(frame: &[u8]) {
    thread_local!(static BATCH: std::cell::RefCell<PacketBatch> = std::cell::RefCell::new(PacketBatch::new()));
    BATCH.with_borrow_mut(|batch| {
        let packet = batch.next_slot().expect("never filled");
        packet.reset(frame.len()).copy_from_slice(frame);
        let mut key = FlowKey::default();
        parse(packet, 1, Depth::All, &mut key);
        let _ = (rss_hash((&*packet).into()), locate(packet.head(), packet.len()));
    });
}

/// Long extension headers push the transport behind the head: the key is that of the whole frame all the same.
#[test]
fn headers_in_the_tail_are_found() {
    use crate::mem::{GuestMemory, Mapping, Region};
    use crate::packet::SPLIT_HEAD;
    use std::sync::Arc;

    for options in [6, 8, 20, 100] {
        let payload = 8 * (options + 1) + TCP.len() + 600;
        let mut ip = vec![0x60, 0, 0, 0, (payload >> 8) as u8, payload as u8, 60, 64];
        ip.extend([0xfd; 32]);
        ip.extend([6, options as u8]);
        ip.extend(vec![0; 8 * (options + 1) - 2]);
        ip.extend(TCP);
        ip.extend([0; 600]);
        let frame = frame(&[&[0x86, 0xdd], &ip]);

        let mapping = Arc::new(Mapping::memfd(c"sender", 4096).expect("memfd"));
        let memory = GuestMemory::new(vec![Region::of_own(mapping, 0)]).expect("one region");
        let tail = memory.span(0, (frame.len() - SPLIT_HEAD) as u32, &mut 0).expect("inside");
        tail.write(&frame[SPLIT_HEAD..]);
        let mut batch = PacketBatch::new();
        let packet = batch.next_slot().expect("an empty batch has room");
        packet.reset(SPLIT_HEAD).copy_from_slice(&frame[..SPLIT_HEAD]);
        assert!(packet.push_tail(tail));

        reach_headers(packet);
        assert_eq!(packet.head(), frame);
        let mut key = FlowKey::default();
        parse(packet, 7, Depth::Transport, &mut key);
        assert_eq!(key, parsed(&frame));
        assert_eq!(fields(&key, &[Field::NW_PROTO, Field::TP_DST]), [6, 80], "{options}");
    }
}
