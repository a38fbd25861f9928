//! Tap ports: the switch on one side, the kernel on the other.

mod netns;

use std::time::Duration;

use netns::{Bench, batch_of, collect, frame, inject, inside, sh};
use ringswitch_dataplane::packet::{DropReason, PacketBatch};
use ringswitch_dataplane::port::PortEvent;
use ringswitch_dataplane::port::tap::{TapError, TapOptions, TapPort};
use ringswitch_dataplane::sys::packet_socket::PacketSocket;

#[test]
fn a_tap_carries_frames_both_ways_and_goes_away() {
    if !inside("a_tap_carries_frames_both_ways_and_goes_away", "") {
        return;
    }
    let bench = Bench::new(1);
    let mac = Some([2, 0, 0, 0, 0, 0x77]);
    let options = TapOptions { mtu: 9000, mac, ..TapOptions::new("t0") };
    let port = TapPort::open(options, bench.context.clone()).expect("a tap");
    assert_eq!(bench.next_event(), PortEvent::Up("tap t0, mtu 9000".into()));
    assert!(sh("ip link show t0").contains("02:00:00:00:00:77"));
    let kernel = PacketSocket::open("t0").expect("packet socket on t0");
    let frames: Vec<_> = [60, 512, 513, 1514, 9014].iter().map(|&len| frame(len, len)).collect();
    frames.iter().for_each(|frame| inject(&kernel, frame));
    assert_eq!(bench.receive(0, frames.len()), frames, "kernel to switch");
    assert_eq!(bench.send(0, &frames), frames.len());
    assert_eq!(collect(&kernel, frames.len()), frames, "switch to kernel");
    port.close();
    assert!(!sh("ip link").contains("t0"), "the netdev is gone");
}

#[test]
fn a_tap_in_another_namespace_answers_pings() {
    if !inside("a_tap_in_another_namespace_answers_pings", "") {
        return;
    }
    let bench = Bench::new(1);
    let _port = TapPort::open(TapOptions::new("t0"), bench.context.clone()).expect("a tap");
    let guest = format!("xdp-guest-{}", std::process::id());
    sh(&format!("ip netns add {guest} && ip link set t0 netns {guest}"));
    sh(&format!("ip -n {guest} link set t0 up && ip -n {guest} addr add 192.0.2.1/24 dev t0"));
    // Who has 192.0.2.1? Tell 192.0.2.2.
    let mut arp = frame(60, 0);
    arp[..6].fill(0xff);
    arp[12..42].copy_from_slice(&[
        8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 192, 0, 2, 2, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1,
    ]);
    assert_eq!(bench.send(0, &[arp]), 1);
    let answers = bench.receive(0, 1);
    sh(&format!("ip netns del {guest}"));
    let answer = answers.iter().find(|answer| answer[12..14] == [8, 6]).expect("an ARP answer");
    assert_eq!(answer[20..22], [0, 2], "it is a reply");
    assert_eq!(answer[28..32], [192, 0, 2, 1]);
}

#[test]
fn frames_that_cannot_be_sent_are_counted() {
    if !inside("frames_that_cannot_be_sent_are_counted", "") {
        return;
    }
    let bench = Bench::new(1);
    let _port = TapPort::open(TapOptions::new("t0"), bench.context.clone()).expect("a tap");
    let send = |frames: &[Vec<u8>]| {
        let (batch, mut list) = batch_of(frames);
        let sent = bench.tx.with(0, |tx| tx.tx_batch(&batch, &mut list)).expect("the queue is there");
        assert!(list.is_empty());
        (sent, list.tally)
    };
    let (sent, tally) = send(&[frame(1515, 0), frame(1514, 0)]);
    assert_eq!((sent, tally.count(DropReason::TxTooLarge)), (1, 1));
    sh("ip link set t0 down");
    let (sent, tally) = send(&[frame(60, 0), frame(60, 1)]);
    assert_eq!((sent, tally.count(DropReason::TxDown)), (0, 2));
    assert_eq!(bench.poll(0, &mut PacketBatch::new(), |_| ()), 0);
    sh("ip link set t0 up");
    assert_eq!(send(&[frame(60, 0)]).0, 1);
}

#[test]
fn a_deleted_tap_is_told_and_made_again() {
    if !inside("a_deleted_tap_is_told_and_made_again", "") {
        return;
    }
    let bench = Bench::new(1);
    let mac = Some([2, 0, 0, 0, 0, 0x77]);
    let options = TapOptions { mac, mtu: 2000, ..TapOptions::new("t0") };
    let _port = TapPort::open(options, bench.context.clone()).expect("a tap");
    let up = || PortEvent::Up("tap t0, mtu 2000".into());
    assert_eq!(bench.next_event(), up());
    for _ in 0..3 {
        sh("ip link del t0");
        assert_eq!(bench.next_event(), PortEvent::Down("netdev t0 is gone".into()));
        assert_eq!(bench.next_event(), up());
        assert!(sh("ip link show t0").contains("02:00:00:00:00:77"));
        let kernel = PacketSocket::open("t0").expect("packet socket on t0");
        inject(&kernel, &frame(2014, 1));
        assert_eq!(bench.receive(0, 1), [frame(2014, 1)]);
        assert_eq!(bench.send(0, &[frame(2014, 2)]), 1);
        assert_eq!(collect(&kernel, 1), [frame(2014, 2)]);
    }
    // Something else took the name meanwhile: the port waits until it is free.
    sh("ip link set t0 name t1 && ip link add t0 type veth peer name p0 && ip link del t1");
    assert_eq!(bench.next_event(), PortEvent::Up("tap t1, mtu 2000".into()));
    assert_eq!(bench.next_event(), PortEvent::Down("netdev t0 is gone".into()));
    assert!(matches!(bench.next_event(), PortEvent::Down(why) if why.starts_with("opening tap netdev t0: ")));
    sh("ip link del t0");
    assert_eq!(bench.next_event(), up());
}

#[test]
fn a_tap_is_followed_when_it_is_changed() {
    if !inside("a_tap_is_followed_when_it_is_changed", "") {
        return;
    }
    let bench = Bench::new(1);
    let port = TapPort::open(TapOptions::new("t0"), bench.context.clone()).expect("a tap");
    assert_eq!(bench.next_event(), PortEvent::Up("tap t0, mtu 1500".into()));
    sh("ip link set t0 mtu 1400");
    assert_eq!(bench.next_event(), PortEvent::Up("tap t0, mtu 1400".into()));
    assert_eq!(bench.send(0, &[frame(1415, 0), frame(1414, 0)]), 1);
    sh("ip link set t0 down");
    assert_eq!(bench.next_event(), PortEvent::Down("netdev t0 is down".into()));
    sh("ip link set t0 up");
    assert_eq!(bench.next_event(), PortEvent::Up("tap t0, mtu 1400".into()));
    // A container takes it along when it ends.
    let guest = format!("xdp-guest-{}", std::process::id());
    sh(&format!("ip netns add {guest} && ip link set t0 netns {guest}"));
    let away = PortEvent::Up("tap t0, in another network namespace".into());
    while bench.next_event() != away {}
    sh(&format!("ip netns del {guest}"));
    assert_eq!(bench.next_event(), PortEvent::Down("netdev t0 is gone".into()));
    assert_eq!(bench.next_event(), PortEvent::Up("tap t0, mtu 1500".into()));
    assert_eq!(port.status().mtu, 1500);
}

#[test]
fn a_sleeping_tap_becomes_readable() {
    if !inside("a_sleeping_tap_becomes_readable", "") {
        return;
    }
    let bench = Bench::new(1);
    let _port = TapPort::open(TapOptions::new("t0"), bench.context.clone()).expect("a tap");
    let kernel = PacketSocket::open("t0").expect("packet socket on t0");
    assert!(bench.with_rx(0, |rx| rx.arm()));
    inject(&kernel, &frame(60, 0));
    std::thread::sleep(Duration::from_millis(10));
    assert!(!bench.with_rx(0, |rx| rx.arm()));
}

#[test]
fn taps_that_cannot_be_are_refused() {
    if !inside("taps_that_cannot_be_are_refused", "ip link add v0 type veth peer name p0") {
        return;
    }
    let refused = |options| TapPort::open(options, Bench::new(1).context).err().expect("refused");
    assert!(matches!(refused(TapOptions::new("v0")), TapError::Open { .. }), "it is a veth");
    assert!(matches!(refused(TapOptions { mtu: 67, ..TapOptions::new("t0") }), TapError::Mtu(67)));
    assert!(matches!(refused(TapOptions::new("")), TapError::Open { .. }));
    assert!(matches!(refused(TapOptions { mac: Some([1; 6]), ..TapOptions::new("t0") }), TapError::Set { .. }));
}
