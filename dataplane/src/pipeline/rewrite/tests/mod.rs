//! Actions on frames: examples here, an independent tool's frames in `golden`, random ones in `properties`.

mod frames;
mod golden;
mod properties;

use super::*;
use crate::flow::{Field, FlowKey};
use crate::packet::{HEADROOM, PacketBatch};
use crate::pipeline::parse::{Depth, parse};
use crate::wire::vlan;
use frames::set_checksums;

fn with_packet<R>(frame: &[u8], use_it: impl FnOnce(&mut Packet) -> R) -> R {
    thread_local!(static BATCH: std::cell::RefCell<PacketBatch> = std::cell::RefCell::new(PacketBatch::new()));
    BATCH.with_borrow_mut(|batch| {
        let packet = batch.next_slot().expect("never filled");
        packet.reset(frame.len()).copy_from_slice(frame);
        use_it(packet)
    })
}

fn rewritten(frame: &[u8], action: &Action) -> Result<Vec<u8>, DropReason> {
    with_packet(frame, |packet| apply(packet, action).map(|()| packet.head().to_vec()))
}

fn key_of(frame: &[u8]) -> FlowKey {
    with_packet(frame, |packet| {
        let mut key = FlowKey::default();
        parse(packet, 0, Depth::Transport, &mut key);
        key
    })
}

/// `[0, 0]` stays what it is: no checksum. Anything else becomes the right one.
fn udp(checksum: [u8; 2]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
    frame.extend([0x45, 0x03, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0, 1, 0, 2, 0, 12, checksum[0], checksum[1], 1, 2, 3, 4]);
    set_checksums(&mut frame);
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
    assert_eq!(twice[12..22], [0x88, 0xa8, 0x60, 0x05, 0x81, 0x00, 0x60, 0x05, 0x08, 0x00], "a copy of the tag");
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
fn a_label_takes_the_place_of_snap() {
    let plain = udp([1, 1]);
    let mut snap = plain[..12].to_vec();
    snap.extend([0, 40, 0xaa, 0xaa, 3, 0, 0, 0]);
    snap.extend(&plain[12..]);
    let labelled = rewritten(&snap, &Action::PushMpls(0x8847)).expect("room for a label");
    assert_eq!(labelled, rewritten(&plain, &Action::PushMpls(0x8847)).expect("room for a label"));
    assert_eq!(rewritten(&labelled, &Action::PopMpls(0x0800)), Ok(plain));
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
