//! Rewritten frames against checksums computed from scratch, over many generated frames.

use std::net::Ipv4Addr;

use super::*;
use crate::flow::{Field, FlowKey};
use crate::packet::{HEADROOM, PacketBatch};
use crate::pipeline::parse::{Depth, parse};
use crate::wire::icmp;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> usize {
        (self.next() % limit) as usize
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.iter_mut().for_each(|byte| *byte = self.next() as u8);
    }
}

const MIN_LENS: [(u8, usize); 5] = [(6, 20), (17, 8), (132, 12), (1, 8), (58, 8)];

/// A frame of random contents with right checksums: 0 to 2 tags, IPv4 with options or IPv6, any transport.
fn generate(random: &mut Random) -> Vec<u8> {
    let mut frame = vec![0; 12];
    random.fill(&mut frame);
    for _ in 0..random.below(3) {
        frame.extend([0x81, 0, random.next() as u8, random.next() as u8]);
    }
    let (protocol, min_len) = MIN_LENS[random.below(MIN_LENS.len() as u64)];
    let mut payload = vec![0; min_len + random.below(90)];
    random.fill(&mut payload);
    if random.below(4) > 0 {
        let header_len = 20 + 4 * random.below(11);
        let mut header = vec![0; header_len];
        random.fill(&mut header);
        header[0] = 0x40 | (header_len / 4) as u8;
        header[2..4].copy_from_slice(&((header_len + payload.len()) as u16).to_be_bytes());
        header[6..8].fill(0);
        header[9] = protocol;
        frame.extend([0x08, 0x00]);
        frame.extend(header);
    } else {
        let mut header = [0; 40];
        random.fill(&mut header);
        header[0] = 0x60 | header[0] & 0xf;
        header[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
        header[6] = protocol;
        frame.extend([0x86, 0xdd]);
        frame.extend(header);
    }
    frame.extend(payload);
    set_checksums(&mut frame);
    frame.resize(frame.len() + random.below(8), 0xee); // padding is not covered
    frame
}

/// Where the checksums lie, with what they ought to be.
fn right_checksums(frame: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let layout = locate(frame, frame.len());
    let network = layout.network;
    let mut right = Vec::new();
    let mut pseudo = 0;
    if layout.dl_type == ethernet::TYPE_IPV4 {
        let header_len = usize::from(frame[network] & 0xf) * 4;
        let mut header = frame[network..network + header_len].to_vec();
        header[10..12].fill(0);
        right.push((network + 10, (!checksum::sum(&header)).to_be_bytes().to_vec()));
        pseudo = u32::from(checksum::sum(&frame[network + 12..network + 20]));
    } else if layout.dl_type == ethernet::TYPE_IPV6 {
        pseudo = u32::from(checksum::sum(&frame[network + 8..network + 40]));
    }
    let Some(transport) = layout.transport else { return right };
    let mut segment = frame[transport.start..transport.start + transport.len].to_vec();
    let at = match transport.protocol {
        tcp::PROTOCOL => tcp::CHECKSUM,
        udp::PROTOCOL => udp::CHECKSUM,
        icmp::PROTOCOL => icmp::CHECKSUM,
        icmp::PROTOCOL_V6 if layout.dl_type == ethernet::TYPE_IPV6 => icmp::CHECKSUM,
        sctp::PROTOCOL => {
            segment[8..12].fill(0);
            right.push((transport.start + 8, crc32c(&segment).to_le_bytes().to_vec()));
            return right;
        }
        _ => return right,
    };
    segment[at..at + 2].fill(0);
    pseudo += u32::from(transport.protocol) + transport.len as u32;
    // ICMP for IPv4 is the one that does not cover the addresses.
    let covered = if transport.protocol == icmp::PROTOCOL { 0 } else { pseudo };
    let total = covered + u32::from(checksum::sum(&segment));
    let folded = checksum::sum(&total.to_be_bytes());
    let value = if transport.protocol == udp::PROTOCOL && !folded == 0 { 0xffff } else { !folded };
    right.push((transport.start + at, value.to_be_bytes().to_vec()));
    right
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 != 0 { 0x82f6_3b78 } else { 0 })
    })
}

fn set_checksums(frame: &mut [u8]) {
    for (at, value) in right_checksums(frame) {
        frame[at..at + value.len()].copy_from_slice(&value);
    }
}

/// Ones' complement has two zeros; receivers take both.
fn same_checksum(found: &[u8], right: &[u8]) -> bool {
    let zero = |bytes: &[u8]| bytes.len() == 2 && (bytes == [0, 0] || bytes == [0xff, 0xff]);
    found == right || zero(found) && zero(right)
}

fn rewritten(frame: &[u8], action: &Action) -> Result<Vec<u8>, DropReason> {
    thread_local!(static BATCH: std::cell::RefCell<PacketBatch> = std::cell::RefCell::new(PacketBatch::new()));
    BATCH.with_borrow_mut(|batch| {
        let packet = batch.next_slot().expect("never filled");
        packet.reset(frame.len()).copy_from_slice(frame);
        apply(packet, action).map(|()| packet.head().to_vec())
    })
}

fn key_of(frame: &[u8]) -> FlowKey {
    let mut batch = PacketBatch::new();
    let packet = batch.next_slot().expect("an empty batch has room");
    packet.reset(frame.len()).copy_from_slice(frame);
    let mut key = FlowKey::default();
    parse(packet, 0, Depth::Transport, &mut key);
    key
}

fn any_action(random: &mut Random) -> Action {
    let value = random.next();
    let address = Ipv4Addr::from(value as u32);
    let [a, b, c, d, e, f, ..] = value.to_be_bytes();
    match random.below(13) {
        0 => Action::SetDlSrc([a, b, c, d, e, f]),
        1 => Action::SetDlDst([a, b, c, d, e, f]),
        2 => Action::SetVlanVid(value as u16 & 0xfff),
        3 => Action::SetVlanPcp(value as u8 & 7),
        4 => Action::PushVlan(0x88a8),
        5 => Action::PopVlan,
        6 => Action::SetNwSrc(address),
        7 => Action::SetNwDst(address),
        8 => Action::SetNwTos(value as u8),
        9 => Action::SetNwTtl(value as u8),
        10 => Action::DecTtl(Vec::new()),
        11 => Action::SetTpSrc(value as u16),
        _ => Action::SetTpDst(value as u16),
    }
}

#[test]
fn checksums_stay_right_whatever_is_rewritten() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..30_000 {
        let mut frame = generate(&mut random);
        for _ in 0..3 {
            let action = any_action(&mut random);
            let Ok(changed) = rewritten(&frame, &action) else { continue };
            for (at, right) in right_checksums(&changed) {
                let found = &changed[at..at + right.len()];
                assert!(same_checksum(found, &right), "round {round}: {action:?}, {found:x?} at {at}, not {right:x?}");
            }
            frame = changed;
        }
    }
}

fn udp(checksum: [u8; 2]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
    frame.extend([0x45, 0x03, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0, 1, 0, 2, 0, 12, 0, 0, 1, 2, 3, 4]);
    set_checksums(&mut frame);
    if checksum == [0, 0] {
        frame[40..42].fill(0);
    }
    frame
}

#[test]
fn fields_change_as_asked_and_nothing_else_does() {
    let frame = udp([1, 1]);
    let before = key_of(&frame);
    for (action, field, value) in [
        (Action::SetDlSrc([2, 0, 0, 0, 0, 9]), Field::DL_SRC, 0x0200_0000_0009),
        (Action::SetDlDst([2, 0, 0, 0, 0, 9]), Field::DL_DST, 0x0200_0000_0009),
        (Action::SetNwSrc([1, 2, 3, 4].into()), Field::NW_SRC, 0x0102_0304),
        (Action::SetNwDst([1, 2, 3, 4].into()), Field::NW_DST, 0x0102_0304),
        (Action::SetNwTos(0xb8), Field::NW_TOS, 0xbb),
        (Action::SetNwTtl(1), Field::NW_TTL, 1),
        (Action::DecTtl(Vec::new()), Field::NW_TTL, 63),
        (Action::SetTpSrc(99), Field::TP_SRC, 99),
        (Action::SetTpDst(99), Field::TP_DST, 99),
        (Action::SetVlanVid(5), Field::VLAN_TCI, 0x1005),
        (Action::SetVlanPcp(5), Field::VLAN_TCI, 0xb000),
        (Action::PushVlan(0x8100), Field::VLAN_TCI, 0x1000),
    ] {
        let mut wanted = before;
        wanted.set(field, value);
        assert_eq!(key_of(&rewritten(&frame, &action).expect("not dropped")), wanted, "{action:?}");
    }
}

#[test]
fn tags_are_pushed_changed_and_popped() {
    let frame = udp([1, 1]);
    let tagged = rewritten(&frame, &Action::SetVlanVid(5)).expect("room for a tag");
    let marked = rewritten(&tagged, &Action::SetVlanPcp(3)).expect("not dropped");
    assert_eq!(marked[12..18], [0x81, 0x00, 0x60, 0x05, 0x08, 0x00]);
    let twice = rewritten(&marked, &Action::PushVlan(0x88a8)).expect("room for a tag");
    assert_eq!(twice[12..22], [0x88, 0xa8, 0, 0, 0x81, 0x00, 0x60, 0x05, 0x08, 0x00]);
    assert_eq!(rewritten(&twice, &Action::PopVlan).as_ref(), Ok(&marked));
    assert_eq!(rewritten(&marked, &Action::PopVlan).as_ref(), Ok(&frame));
    assert_eq!(rewritten(&frame, &Action::PopVlan).as_ref(), Ok(&frame), "no tag to pop");
}

#[test]
fn a_tag_that_finds_no_room_drops_the_packet() {
    let mut batch = PacketBatch::new();
    let packet = batch.next_slot().expect("an empty batch has room");
    packet.reset(60);
    for _ in 0..HEADROOM / vlan::LEN {
        assert_eq!(apply(packet, &Action::PushVlan(0x8100)), Ok(()));
    }
    assert_eq!(apply(packet, &Action::PushVlan(0x8100)), Err(DropReason::NoHeadroom));
}

#[test]
fn a_used_up_ttl_drops_the_packet() {
    let mut frame = udp([1, 1]);
    for ttl in [0, 1] {
        frame[22] = ttl;
        assert_eq!(rewritten(&frame, &Action::DecTtl(Vec::new())), Err(DropReason::TtlExpired));
    }
    frame[22] = 2;
    assert_eq!(rewritten(&frame, &Action::DecTtl(Vec::new())).map(|frame| frame[22]), Ok(1));
}

#[test]
fn a_udp_checksum_that_was_not_computed_stays_so() {
    let frame = udp([0, 0]);
    let changed = rewritten(&frame, &Action::SetNwSrc([9, 9, 9, 9].into())).expect("not dropped");
    assert_eq!(changed[40..42], [0, 0]);
    // The port that makes the sum come out as zero: it is sent as 0xffff.
    let frame = udp([1, 1]);
    let zeroes = (0..=u16::MAX).filter(|&port| {
        let changed = rewritten(&frame, &Action::SetTpDst(port)).expect("not dropped");
        assert_ne!(changed[40..42], [0, 0]);
        changed[40..42] == [0xff, 0xff]
    });
    assert!(zeroes.count() > 0);
}

#[test]
fn what_is_not_there_is_not_changed() {
    let mut arp = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1];
    arp.resize(60, 7);
    let mut later = udp([1, 1]);
    later[20] = 0x20;
    later[21] = 1;
    let cut = udp([1, 1])[..40].to_vec();
    for action in
        [Action::SetNwSrc([1, 1, 1, 1].into()), Action::SetNwTos(4), Action::DecTtl(Vec::new()), Action::SetTpDst(1)]
    {
        assert_eq!(rewritten(&arp, &action).as_ref(), Ok(&arp), "{action:?}");
        assert_eq!(rewritten(&cut, &action).as_ref(), Ok(&cut), "{action:?}: the length says more than there is");
    }
    assert_eq!(rewritten(&later, &Action::SetTpDst(1)).as_ref(), Ok(&later), "a later fragment has no ports");
    let moved = rewritten(&later, &Action::SetNwSrc([1, 1, 1, 1].into())).expect("not dropped");
    assert_eq!(moved[34..], later[34..], "payload of a later fragment");
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = Random(88_172_645_463_325_252);
    for _ in 0..50_000 {
        let mut frame = generate(&mut random);
        for _ in 0..random.below(4) {
            let at = random.below(frame.len() as u64);
            frame[at] = random.next() as u8;
        }
        frame.truncate(random.below(frame.len() as u64 + 1));
        let action = any_action(&mut random);
        let _ = rewritten(&frame, &action);
    }
}
