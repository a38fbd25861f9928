//! The pipeline from outside: flows as text, frames in, frames and counters out.

mod common;

use common::{Feed, Fill, TestSwitch, broadcast, tagged, udp};
use ringswitch_dataplane::packet::{DropReason, PacketBatch};
use ringswitch_dataplane::pipeline::{Native, VlanMode, VlanSet};

#[test]
fn a_learning_switch_floods_what_it_does_not_know_and_then_does_not() {
    let mut switch = TestSwitch::new(3);
    switch.send(1, [udp(1, 2, 10)]);
    assert_eq!(switch.went_to(), [2, 3]);
    switch.send(2, [udp(2, 1, 10)]);
    assert_eq!(switch.went_to(), [1]);
    switch.send(1, [udp(1, 2, 10)]);
    assert_eq!(switch.went_to(), [2]);
    switch.send(1, [broadcast(udp(1, 2, 10))]);
    assert_eq!(switch.went_to(), [2, 3]);
    // Two floods of two outputs each.
    assert_eq!(switch.totals(1).copies, 2);
    switch.assert_accounted();
}

#[test]
fn an_address_that_moves_is_found_at_its_new_port() {
    let mut switch = TestSwitch::new(3);
    switch.send(1, [udp(1, 9, 10)]);
    switch.send(2, [udp(1, 9, 10)]);
    switch.went_to();
    switch.send(3, [udp(3, 1, 10)]);
    assert_eq!(switch.went_to(), [2]);
    assert_eq!(switch.fdb.stats().moved, 1);
}

#[test]
fn what_passed_many_times_does_not_hide_what_changed() {
    let mut switch = TestSwitch::new(3);
    let settled = |switch: &mut TestSwitch| {
        switch.send(2, [udp(2, 1, 10)]);
        (0..5).for_each(|_| switch.send(1, [udp(1, 2, 10), udp(4, 2, 10), udp(1, 2, 10)]));
        switch.went_to();
    };
    settled(&mut switch);
    switch.send(3, [udp(2, 9, 10)]);
    switch.went_to();
    switch.send(1, [udp(1, 2, 10)]);
    assert_eq!(switch.went_to(), [3], "the destination moved");
    settled(&mut switch);
    // In one batch: the sender of the second frame is where the third one goes.
    switch.send(1, [udp(1, 2, 10), udp(2, 9, 10), udp(1, 2, 10)]);
    assert_eq!(switch.drops(), [("same_port", 1)].into());
    settled(&mut switch);
    assert_eq!(switch.fdb.flush(|entry| entry.mac[5] == 1), 1);
    switch.send(1, [udp(1, 2, 10)]);
    switch.went_to();
    switch.send(2, [udp(2, 1, 10)]);
    assert_eq!(switch.went_to(), [1], "what was forgotten is learned at once");
    settled(&mut switch);
    switch.fdb.flush(|entry| entry.mac[5] == 2);
    switch.send(1, [udp(1, 2, 10)]);
    assert_eq!(switch.went_to(), [2, 3], "the destination was forgotten");
    settled(&mut switch);
    switch.lose(2);
    switch.send(1, [udp(1, 2, 10)]);
    assert_eq!(switch.went_to(), [3], "the port is gone");
}

#[test]
fn frames_to_a_neighbour_on_the_same_port_and_to_reserved_addresses_are_dropped_with_a_reason() {
    let mut switch = TestSwitch::new(2);
    let mut stp = udp(1, 2, 30);
    stp[..6].copy_from_slice(&[0x01, 0x80, 0xc2, 0, 0, 0]);
    switch.send(1, [udp(1, 9, 1), udp(9, 1, 1), udp(1, 9, 1), stp]);
    assert_eq!(switch.drops(), [("same_port", 2), ("reserved_address", 1)].into());
    switch.assert_accounted();
}

#[test]
fn access_and_trunk_ports_translate_tags() {
    let trunk = VlanMode::Trunk { allowed: VlanSet::of([10, 20]), native: Native::None };
    let native = VlanMode::Trunk { allowed: VlanSet::of([10, 20]), native: Native::Untagged(20) };
    let mut switch =
        TestSwitch::with_vlans(vec![VlanMode::Access(10), VlanMode::Access(10), VlanMode::Access(20), trunk, native]);
    let frame = broadcast(udp(1, 2, 600));

    switch.send(1, [frame.clone()]);
    assert_eq!(switch.received(2), std::slice::from_ref(&frame));
    assert_eq!(switch.received(3), Vec::<Vec<u8>>::new());
    assert_eq!(switch.received(4), [tagged(10, &frame)]);
    assert_eq!(switch.received(5), [tagged(10, &frame)]);

    switch.send(4, [tagged(20, &frame)]);
    assert_eq!(switch.received(3), std::slice::from_ref(&frame));
    assert_eq!(switch.received(5), std::slice::from_ref(&frame), "the native VLAN leaves without its tag");
    assert_eq!(switch.went_to(), [0; 0]);

    switch.send(1, [tagged(10, &frame)]);
    switch.send(4, [frame.clone(), tagged(30, &frame)]);
    assert_eq!(switch.went_to(), [0; 0]);
    assert_eq!(switch.drops(), [("vlan_not_allowed", 3)].into());
    switch.assert_accounted();
}

#[test]
fn actions_after_normal_see_the_packet_as_it_came() {
    let trunk = VlanMode::default();
    let mut switch = TestSwitch::with_vlans(vec![VlanMode::Access(10), trunk, VlanMode::Access(99)]);
    switch.set_flows("in_port=1,actions=normal,output:3");
    let frame = broadcast(udp(1, 2, 10));
    switch.send(1, [frame.clone()]);
    assert_eq!(switch.received(2), [tagged(10, &frame)]);
    assert_eq!(switch.received(3), [frame]);
}

#[test]
fn the_rule_of_highest_priority_decides_and_counts() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows(
        "priority=10,in_port=1,actions=output:2
         priority=20,udp,nw_dst=10.0.0.7,actions=output:3
         priority=30,udp,nw_dst=10.0.0.7,tp_dst=0x2000,actions=drop
         priority=25,udp,nw_dst=10.0.0.8,actions=in_port",
    );
    switch.send(1, [udp(1, 5, 10), udp(1, 7, 10), udp(1, 8, 10), udp(1, 5, 10)]);
    assert_eq!(switch.went_to(), [1, 2, 2]);
    switch.send(2, [udp(1, 5, 10)]);
    assert_eq!(switch.went_to(), [0; 0]);
    assert_eq!(switch.rule_packets(), [(10, 2), (20, 0), (30, 1), (25, 1)].into());
    assert_eq!(switch.drops(), [("rule_drop", 1), ("no_rule", 1)].into());
    switch.assert_accounted();
}

/// A sender of nothing but frames that are too short.
struct Runts;

impl Fill for Runts {
    fn fill(&mut self, batch: &mut PacketBatch) -> usize {
        batch.tally.drop(DropReason::Runt);
        0
    }
}

#[test]
fn frames_that_are_dropped_when_they_come_in_keep_no_rule_alive() {
    let mut switch = TestSwitch::new(2);
    switch.set_flows("in_port=1,idle_timeout=1,actions=output:2");
    switch.attach(1, Box::new(Feed(Runts)));
    switch.poll_once();
    assert_eq!(switch.drops(), [("rx_runt", 1)].into());
    let rule = switch.program.tables.rules().next().expect("the rule");
    assert_eq!(rule.totals().used_ms, 0, "it was created at 0, and not used since");
    switch.assert_accounted();
}

#[test]
fn a_flow_change_takes_effect_at_the_next_packet() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows("udp,tp_dst=0x2000,actions=output:2");
    switch.send(1, [udp(1, 5, 10), udp(1, 5, 10)]);
    switch.add_flows("udp,tp_dst=0x2000,actions=output:3");
    switch.send(1, [udp(1, 5, 10)]);
    assert_eq!(switch.went_to(), [2, 2, 3]);
    // A rule that looks at another field changes what the cache is keyed by.
    switch.add_flows("priority=50000,dl_src=02:00:00:00:00:01,actions=drop");
    switch.send(1, [udp(1, 5, 10), udp(2, 5, 10)]);
    assert_eq!(switch.went_to(), [3]);
}

#[test]
fn what_was_output_before_a_rewrite_leaves_as_it_was() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows(
        "in_port=1,actions=output:2,mod_vlan_vid:7,output:3,strip_vlan,mod_dl_dst:02:00:00:00:00:63,output:2",
    );
    let frame = udp(1, 2, 20);
    switch.send(1, [frame.clone(), frame.clone()]);
    let changed = udp(1, 99, 20);
    let received = switch.received(2);
    assert_eq!(received[0], frame);
    assert_eq!(received[2][..12], changed[..12]);
    assert_eq!(received.len(), 4);
    assert_eq!(switch.received(3), [tagged(7, &frame), tagged(7, &frame)]);
    assert_eq!(switch.totals(1).copies, 4);
    switch.assert_accounted();
}

#[test]
fn outputs_that_lead_nowhere_have_their_reasons() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows(
        "priority=3,in_port=1,udp,nw_dst=10.0.0.2,actions=output:77
         priority=2,in_port=1,udp,nw_dst=10.0.0.3,actions=output:1
         priority=1,in_port=1,actions=dec_ttl,output:2
         in_port=2,priority=1,actions=flood
         in_port=3,priority=1,actions=output:2",
    );
    let mut dying = udp(1, 9, 10);
    dying[22] = 1;
    switch.send(1, [udp(1, 2, 10), udp(1, 3, 10), dying]);
    switch.unplug(1);
    switch.limit_tx(3, 2);
    switch.send(2, vec![udp(2, 1, 10); 3]);
    switch.unplug(2);
    switch.send(3, [udp(3, 2, 10)]);
    assert_eq!(
        switch.drops(),
        [("no_such_port", 1), ("output_to_ingress", 1), ("ttl_expired", 1), ("tx_down", 4), ("tx_full", 1)].into()
    );
    assert_eq!(switch.went_to(), [3, 3]);
    switch.assert_accounted();
}

#[test]
fn a_packet_output_twice_to_one_port_is_sent_twice() {
    let mut switch = TestSwitch::new(2);
    switch.set_flows("actions=output:2,output:2,output:2");
    switch.send(1, vec![udp(1, 2, 10); 32]);
    assert_eq!(switch.received(2).len(), 96);
    switch.assert_accounted();
}

#[test]
fn what_passed_many_times_does_not_hide_that_a_port_changed_its_vlan() {
    let mut switch = TestSwitch::with_vlans([10, 10, 20].map(VlanMode::Access).into());
    switch.send(2, [udp(2, 1, 10)]);
    switch.send(3, [udp(3, 9, 10)]);
    (0..5).for_each(|_| switch.send(1, [udp(1, 2, 10), udp(4, 2, 10)]));
    switch.went_to();
    switch.change(1, |entry| entry.vlan = VlanMode::Access(20));
    switch.send(1, [udp(1, 2, 10), udp(1, 3, 10)]);
    assert_eq!(switch.went_to(), [3, 3], "2 is unknown in VLAN 20, and floods stay there");
    switch.change(1, |entry| entry.vlan = VlanMode::Access(10));
    switch.send(1, [udp(1, 2, 10), udp(1, 3, 10)]);
    assert_eq!(switch.went_to(), [2, 2]);
    switch.assert_accounted();
}

#[test]
fn a_flow_goes_on_behind_a_packet_of_it_that_is_dropped() {
    let mut switch = TestSwitch::new(2);
    switch.set_flows("actions=dec_ttl,NORMAL");
    switch.send(2, [udp(2, 1, 10)]);
    switch.received(1);
    let frame = udp(1, 2, 10);
    let mut dying = frame.clone();
    dying[22] = 1;
    // Also when it is remembered where the flow goes.
    for _ in 0..4 {
        switch.send(1, [&frame, &frame, &dying, &frame].map(Clone::clone));
    }
    assert_eq!((switch.received(2).len(), switch.drops()), (12, [("ttl_expired", 4)].into()));
    switch.assert_accounted();
}

#[test]
fn frames_are_looked_into_as_soon_as_something_depends_on_them() {
    let mut switch = TestSwitch::new(3);
    let send = |switch: &mut TestSwitch, flows: &str| {
        switch.set_flows(flows);
        // What is done with a port's frames is known from the second batch on.
        (0..3).for_each(|_| switch.send(1, [udp(1, 2, 1400), udp(1, 3, 10)]));
        switch.blind(1)
    };
    let frames = [udp(1, 2, 1400), udp(1, 3, 10)];
    assert_eq!(send(&mut switch, "in_port=1,actions=output:2,output:3"), 4);
    assert_eq!(switch.received(2), [&frames[..], &frames, &frames].concat());
    assert_eq!(switch.received(3), [&frames[..], &frames, &frames].concat());
    assert_eq!(send(&mut switch, "in_port=1,actions=mod_vlan_vid:7,output:2"), 0);
    assert_eq!(switch.received(2), [0, 1, 0, 1, 0, 1].map(|nth: usize| tagged(7, &frames[nth])));
    assert_eq!(send(&mut switch, "in_port=1,actions=all"), 4);
    assert_eq!(switch.went_to(), [2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3]);
    assert_eq!(send(&mut switch, "actions=NORMAL"), 0);
    assert_eq!(send(&mut switch, "in_port=1,actions=output:2\nin_port=2,udp,actions=drop"), 0);
    assert_eq!(send(&mut switch, "in_port=1,actions=controller"), 0);
    assert_eq!(send(&mut switch, "in_port=2,actions=output:1"), 4, "no rule says anything about them");
    switch.assert_accounted();
}

#[test]
fn many_flows_are_told_apart() {
    let mut switch = TestSwitch::new(2);
    switch.set_flows("priority=1,actions=drop");
    let rules: Vec<_> = (0..250).map(|n| format!("priority=9,udp,nw_src=10.0.0.{n},actions=output:2")).collect();
    switch.add_flows(&rules.join("\n"));
    for _ in 0..3 {
        switch.send(1, (0..=255).map(|n| udp(n, 2, 10)));
    }
    assert_eq!(switch.received(2).len(), 750);
    assert_eq!(switch.drops(), [("rule_drop", 18)].into());
}

#[test]
fn packets_to_a_port_or_through_a_bridge_that_is_gone_are_counted() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows("in_port=1,actions=output:2,mod_vlan_vid:7,output:3\nin_port=2,actions=flood");
    switch.lose(3);
    switch.send(1, vec![udp(1, 2, 10); 40]);
    switch.send(2, [udp(1, 2, 10)]);
    assert_eq!(switch.went_to(), [vec![1], vec![2; 40]].concat());
    assert_eq!(switch.drops(), [("no_such_port", 41)].into());
    switch.lose_bridge();
    switch.send(1, vec![udp(1, 2, 10); 40]);
    assert_eq!(switch.drops(), [("no_such_port", 41), ("no_rule", 40)].into());
    switch.assert_accounted();
}

/// Rules with 40 masks, of which a packet of an unknown flow passes all.
fn many_masks() -> String {
    let rule = |bits: u32| format!("priority=9,udp,nw_src=203.0.113.7/{},tp_dst={},actions=drop", bits % 20 + 9, bits);
    let masks = (0..40).map(|n| if n < 20 { rule(n) } else { rule(n).replace("tp_dst", "tp_src") });
    masks
        .chain(["in_port=1,actions=output:3".into(), "in_port=2,actions=output:3".into()])
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn who_makes_the_switch_walk_its_tables_waits_for_the_others_and_for_nobody_else() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows(&many_masks());
    let ever_new = |n: u32| {
        let mut frame = udp(1, 3, 10);
        frame[34..38].copy_from_slice(&(n + (4000 << 16)).to_be_bytes());
        frame
    };
    switch.offer(1, (0..3200).map(ever_new));
    switch.offer(2, vec![udp(2, 3, 10); 1600]);
    // A batch in each pass, but for those that the host spent elsewhere: they are charged to whoever had the CPU.
    for pass in 0.. {
        if switch.totals(2).rx_packets == 1600 {
            break;
        }
        assert!(pass < 1000, "{} packets of one flow in {pass} passes", switch.totals(2).rx_packets);
        switch.poll_once();
        switch.received(3);
    }
    let walked = switch.totals(1).rx_packets;
    assert!(walked < 1600, "{walked} packets of ever new flows beside them");
    while switch.totals(1).rx_packets < 3200 {
        switch.poll_once();
        switch.received(3);
    }
    switch.assert_accounted();
}

#[test]
fn ports_that_were_quiet_for_long_are_still_heard_beside_a_busy_one() {
    let mut switch = TestSwitch::new(70);
    switch.set_flows("in_port=1,actions=drop\npriority=0,actions=output:2");
    for _ in 0..1100 {
        switch.offer(1, [udp(1, 2, 10)]);
        switch.poll_once();
    }
    (3..=70).for_each(|quiet| switch.offer(quiet, [udp(3, 2, 10)]));
    for _ in 0..80 {
        switch.offer(1, [udp(1, 2, 10)]);
        switch.poll_once();
    }
    assert_eq!(switch.received(2).len(), 68, "each of the quiet ports had its turn");
    // They are busy now: the next frame needs no turn.
    switch.offer(50, [udp(3, 2, 10)]);
    switch.poll_once();
    assert_eq!(switch.received(2).len(), 1);
    switch.assert_accounted();
}
