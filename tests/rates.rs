//! Rates of ports: what a shaped guest sends too much of waits in its own ring, what a policed one does is dropped.

mod common;

use common::guests::{HonestPair, assert_receives, drain, frame, mac, open, send};
use common::{Daemon, alone, config, eventually};

/// Wires from port 1 to 2 and from 3 to 4, and back.
fn two_wires() -> Vec<String> {
    [(1, 2), (2, 1), (3, 4), (4, 3)].map(|(from, to)| format!("in_port={from} actions=output:{to}")).to_vec()
}

#[test]
fn what_a_shaped_guest_sends_too_much_of_waits_and_is_not_lost() {
    let _alone = alone();
    let ports = [("vm1", ""), ("vm2", ""), ("vm3", "max_packet_rate = 1"), ("vm4", "")];
    let daemon = Daemon::start(&config(&ports, &two_wires()));
    let [one, two, mut slow, mut four] = ["vm1", "vm2", "vm3", "vm4"].map(|port| open(&daemon.path(port), "mrg"));
    let frames: Vec<_> = (0..40).map(|seed| frame(mac(3), mac(4), 60 + seed, seed)).collect();
    frames.iter().for_each(|frame| send(&mut slow, 0, frame));
    assert_receives("the burst that it may send", &mut four, &frames[..2]);

    // The worker does not spin meanwhile.
    let sleeps = daemon.worker("sleeps");
    eventually("the worker sleeps although a ring is not empty", || daemon.worker("sleeps") > sleeps + 2);
    let received = daemon.totals().of("vm3", "rx_packets");
    assert!(received < 40, "{received} packets came in at one packet per second");

    let pair = HonestPair::start([one, two]);
    pair.talks(50);
    daemon.ok(&["set", "interface", "vm3", "max_packet_rate=0"]);
    let taken = received as usize;
    assert_receives("the rest, once nothing limits it", &mut four, &frames[taken.min(2)..]);
    pair.stop();
    assert_eq!(daemon.totals().all_drops(), 0);
    daemon.assert_balanced();
}

#[test]
fn what_a_policed_guest_sends_too_much_of_is_dropped_and_counted() {
    let _alone = alone();
    let daemon = Daemon::start(&config(&[("vm1", ""), ("vm2", "")], &common::wire()));
    let [mut one, mut two] = ["vm1", "vm2"].map(|port| open(&daemon.path(port), "packed,mrg"));
    let frame = frame(mac(1), mac(2), 1000, 0);
    for (column, burst) in [("ingress_policing_rate", 80), ("ingress_policing_kpkts_rate", 1)] {
        let burst_column = column.replace("rate", "burst");
        daemon.ok(&["set", "interface", "vm1", &format!("{column}=1"), &format!("{burst_column}={burst}")]);
        let before = daemon.totals().drops("vm1", "rx_policed");
        eventually("packets are dropped", || {
            (0..200).for_each(|_| send(&mut one, 0, &frame));
            daemon.totals().drops("vm1", "rx_policed") > before
        });
        assert!(drain(&mut two) > 0, "{column}: what conforms arrives");
        daemon.ok(&["set", "interface", "vm1", &format!("{column}=0")]);
    }
    let policed = daemon.totals().drops("vm1", "rx_policed");
    drain(&mut two);
    for _ in 0..20 {
        send(&mut one, 0, &frame);
        assert_receives("nothing limits it any more", &mut two, std::slice::from_ref(&frame));
    }
    assert_eq!(daemon.totals().drops("vm1", "rx_policed"), policed);
    daemon.assert_balanced();
}

#[test]
fn a_rate_is_a_number_within_limits() {
    let daemon = Daemon::start(&config(&[("vm1", "")], &[]));
    for value in ["fast", "-1", "1.5", "10000000000000"] {
        let why = daemon.refused(&["set", "interface", "vm1", &format!("max_rate={value}")]);
        assert!(why.contains("max_rate") && why.contains(value) && why.contains("a number from 0 to"), "{why}");
    }
    daemon.ok(&["set", "interface", "vm1", "max_rate=1000000", "ingress_policing_rate=1000"]);
    assert_eq!(daemon.ok(&["get", "interface", "vm1", "max_rate"]).trim(), "1000000");
}
