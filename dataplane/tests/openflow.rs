//! OpenFlow's pipeline from outside: flows of several tables, groups, meters, controllers; frames and counters out.

mod common;

use std::sync::Arc;

use common::{TestSwitch, broadcast, tagged, udp};
use ringswitch_dataplane::flow::{
    Action, Band, BandKind, Bucket, Controller, Field, FieldId, FlowKey, Group, GroupEntry, GroupKind, Learn,
    LearnSource, LearnSpec, LearnTarget, Meter, MeterEntry, Subfield, WATCH_ANY, reason,
};
use ringswitch_dataplane::pipeline::{PacketIn, PacketOut, Upcall};

fn set_group(switch: &mut TestSwitch, id: u32, kind: GroupKind, buckets: &[(u32, &str)]) {
    let bucket = |(place, &(watch_port, actions)): (usize, &(u32, &str))| Bucket {
        id: place as u32,
        weight: 1,
        watch_port,
        watch_group: WATCH_ANY,
        actions: common::actions(actions),
    };
    let buckets = buckets.iter().enumerate().map(bucket).collect();
    let group = Group { id, kind, selection: None, buckets };
    switch.program.groups.insert(id, Arc::new(GroupEntry::new(group, 0, 1)));
    switch.publish();
}

fn packet_ins(switch: &TestSwitch) -> Vec<PacketIn> {
    let packet_in = |upcall| match upcall {
        Upcall::PacketIn(packet) => Some(*packet),
        Upcall::Learn(_) => None,
    };
    switch.upcalls().into_iter().filter_map(packet_in).collect()
}

fn out(in_port: u32, actions: Vec<Action>) -> PacketOut {
    let mut key = FlowKey::default();
    key.set(Field::IN_PORT, u64::from(in_port));
    PacketOut { frame: udp(7, 8, 10), key, actions, resume: None }
}

#[test]
fn tables_hand_packets_on_with_metadata_and_registers() {
    let mut switch = TestSwitch::new(4);
    switch.set_flows(
        "table=0,in_port=1,actions=load:7->NXM_NX_REG3[],write_metadata:0x12/0xff,goto_table:5\n\
         table=0,in_port=2,actions=write_metadata:0x34/0xff,goto_table:5\n\
         table=5,metadata=0x10/0xf0,reg3=7,actions=mod_dl_dst:02:00:00:00:00:99,output:2\n\
         table=5,priority=1,actions=goto_table:9\n\
         table=9,dl_src=02:00:00:00:00:03,actions=output:4",
    );
    for _ in 0..2 {
        switch.send(1, [udp(1, 2, 10)]);
        let frames = switch.received(2);
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0][5], 0x99);
        switch.send(2, [udp(3, 2, 10), udp(4, 2, 10)]);
        assert_eq!(switch.went_to(), [4]);
    }
    assert_eq!(switch.drops(), [("no_rule", 2)].into());
    let totals = |table| {
        let totals = switch.stats.totals(table);
        (totals.lookups, totals.matches)
    };
    assert_eq!((totals(0), totals(5), totals(9)), ((6, 6), (6, 6), (4, 2)));
    assert_eq!(switch.program.tables.rules().map(|rule| rule.totals().packets).sum::<u64>(), 6 + 6 + 2);
    switch.assert_accounted();
}

#[test]
fn resubmit_comes_back_and_goes_on_but_not_for_ever() {
    let mut switch = TestSwitch::new(4);
    switch.set_flows(
        "in_port=1,actions=resubmit(2,1),output:4,resubmit(,7),output:3\n\
         table=1,in_port=2,actions=mod_vlan_vid:5\n\
         in_port=3,actions=output:1,resubmit:3",
    );
    switch.send(1, [udp(1, 2, 10)]);
    let frames = [switch.received(4), switch.received(3)];
    assert!(frames.iter().all(|frames| *frames == [tagged(5, &udp(1, 2, 10))]), "{frames:?}");
    switch.send(3, [udp(1, 2, 10)]);
    assert!(switch.went_to().is_empty());
    assert_eq!(switch.drops(), [("too_complex", 1)].into());
    switch.assert_accounted();
}

#[test]
fn the_action_set_is_done_at_the_end_and_in_order() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows(
        "in_port=1,actions=write_actions(output:2,push_vlan:0x8100,mod_vlan_vid:7),goto_table:1\n\
         table=1,dl_dst=02:00:00:00:00:09,actions=clear_actions\n\
         table=1,dl_dst=02:00:00:00:00:08,actions=clear_actions,write_actions(output:3)\n\
         table=1,priority=1,actions=output:3",
    );
    switch.send(1, [udp(1, 2, 10), udp(1, 9, 10), udp(1, 8, 10)]);
    assert_eq!(switch.received(2), [tagged(7, &udp(1, 2, 10))]);
    assert_eq!(switch.received(3), [udp(1, 2, 10), udp(1, 8, 10)]);
    assert_eq!(switch.drops(), [("rule_drop", 1)].into());
    switch.assert_accounted();
}

#[test]
fn clones_change_nothing_for_those_behind() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows("in_port=1,actions=clone(mod_dl_src:02:00:00:00:00:77,output:2),output:3");
    switch.send(1, [udp(1, 2, 10), udp(1, 2, 600)]);
    let changed: Vec<u8> = switch.received(2).iter().map(|frame| frame[11]).collect();
    assert_eq!(changed, [0x77, 0x77]);
    assert_eq!(switch.received(3), [udp(1, 2, 10), udp(1, 2, 600)]);
    switch.assert_accounted();
}

#[test]
fn groups_send_to_all_buckets_to_one_or_to_the_first_that_is_alive() {
    let mut switch = TestSwitch::new(4);
    switch.set_flows("in_port=1,actions=group:1\nin_port=2,actions=group:2\nin_port=3,actions=group:3");
    set_group(&mut switch, 1, GroupKind::All, &[(WATCH_ANY, "mod_vlan_vid:5,output:2"), (WATCH_ANY, "output:3")]);
    set_group(&mut switch, 2, GroupKind::Select, &[(WATCH_ANY, "output:3"), (WATCH_ANY, "output:4")]);
    set_group(&mut switch, 3, GroupKind::FastFailover, &[(1, "output:1"), (2, "output:2")]);
    switch.send(1, [udp(1, 2, 10)]);
    assert_eq!(switch.received(2), [tagged(5, &udp(1, 2, 10))]);
    assert_eq!(switch.received(3), [udp(1, 2, 10)]);
    switch.send(2, (1..=200).map(|host| udp(host, 2, 10)));
    let (three, four) = (switch.received(3).len(), switch.received(4).len());
    assert_eq!(three + four, 200);
    assert!((60..140).contains(&three), "{three} of 200 through the first bucket");
    switch.send(3, [udp(1, 2, 10)]);
    assert_eq!(switch.went_to(), [1]);
    switch.program.dead_ports = Arc::new(vec![1]);
    switch.publish();
    switch.send(3, [udp(1, 2, 10)]);
    assert_eq!(switch.went_to(), [2]);
    switch.program.dead_ports = Arc::new(vec![1, 2]);
    switch.publish();
    switch.send(3, [udp(1, 2, 10)]);
    assert!(switch.went_to().is_empty());
    assert_eq!(switch.drops(), [("no_bucket", 1)].into());
    let counts = |id| switch.program.groups[&id].stats[0].buckets.iter().map(|bucket| bucket.totals().0).collect();
    let counted: [Vec<u64>; 3] = [counts(1), counts(2), counts(3)];
    assert_eq!(counted, [vec![1, 1], vec![three as u64, four as u64], vec![1, 1]]);
    assert_eq!(switch.program.groups[&3].stats[0].total.totals().0, 3);
    switch.assert_accounted();
}

#[test]
fn a_group_of_itself_ends() {
    let mut switch = TestSwitch::new(2);
    switch.set_flows("in_port=1,actions=group:1");
    set_group(&mut switch, 1, GroupKind::All, &[(WATCH_ANY, "group:1"), (WATCH_ANY, "group:1")]);
    switch.send(1, [udp(1, 2, 10)]);
    assert_eq!(switch.drops(), [("too_complex", 1)].into());
    switch.assert_accounted();
}

#[test]
fn meters_drop_what_is_above_their_rate() {
    let mut switch = TestSwitch::new(2);
    switch.set_flows("in_port=1,actions=meter:1,output:2");
    let band = Band { kind: BandKind::Drop, rate: 1, burst_size: 10 };
    let meter = Meter { id: 1, pktps: true, burst: true, stats: true, bands: vec![band] };
    switch.program.meters.insert(1, Arc::new(MeterEntry::new(meter, 0)));
    switch.publish();
    switch.send(1, vec![udp(1, 2, 10); 50]);
    let passed = switch.received(2).len() as u64;
    assert!((10..40).contains(&passed), "{passed} of a burst of 10 and what a second or so adds");
    let totals = switch.program.meters[&1].totals();
    assert_eq!((totals.packets, totals.bands[0].0), (50, 50 - passed));
    assert_eq!(switch.drops(), [("metered", 50 - passed)].into());
    switch.assert_accounted();
}

#[test]
fn controllers_get_packets_with_what_tables_noted_about_them() {
    let mut switch = TestSwitch::new(2);
    switch.set_flows(
        "in_port=1,cookie=0x55,actions=load:9->reg0,mod_vlan_vid:3,CONTROLLER:40\n\
         in_port=2,cookie=0x66,priority=0,actions=goto_table:3\n\
         table=3,priority=0,cookie=0x77,actions=CONTROLLER",
    );
    for _ in 0..2 {
        switch.send(1, [udp(1, 2, 100)]);
        let [packet] = &packet_ins(&switch)[..] else { panic!("one packet-in") };
        assert_eq!((packet.table, packet.cookie, packet.controller.reason), (0, 0x55, reason::ACTION));
        assert_eq!((packet.key.get(FieldId::REG0), packet.key.field(Field::IN_PORT)), (9, 1));
        assert_eq!(packet.total_len, 4 + udp(1, 2, 100).len());
        assert_eq!(packet.frame, tagged(3, &udp(1, 2, 100)), "all of it, for nothing is kept here");
    }
    switch.send(2, [udp(1, 2, 100)]);
    let [packet] = &packet_ins(&switch)[..] else { panic!("one packet-in") };
    assert_eq!((packet.table, packet.cookie, packet.controller.reason), (3, 0x77, reason::NO_MATCH));
    assert_eq!(switch.drops(), [("to_controller", 3)].into());
    switch.assert_accounted();
}

#[test]
fn without_a_rule_controllers_get_packets_when_the_bridge_says_so() {
    let mut switch = TestSwitch::new(2);
    switch.set_flows("in_port=2,actions=drop");
    switch.program.miss_to_controller = true;
    switch.publish();
    switch.send(1, [udp(1, 2, 300)]);
    let [packet] = &packet_ins(&switch)[..] else { panic!("one packet-in") };
    assert_eq!((packet.cookie, packet.controller.reason, packet.frame.len()), (u64::MAX, reason::NO_MATCH, 342));
    assert_eq!(packet.key.field(Field::IN_PORT), 1);
    switch.assert_accounted();
}

#[test]
fn a_ttl_that_is_used_up_is_told() {
    let mut switch = TestSwitch::new(2);
    switch.set_flows("in_port=1,actions=dec_ttl(3,4),output:2");
    let mut last = udp(1, 2, 10);
    last[22] = 1;
    switch.send(1, [udp(1, 2, 10), last.clone()]);
    assert_eq!(switch.received(2)[0][22], 63);
    let told: Vec<_> = packet_ins(&switch).iter().map(|told| (told.controller.id, told.controller.reason)).collect();
    assert_eq!(told, [(3, reason::INVALID_TTL), (4, reason::INVALID_TTL)]);
    assert_eq!(switch.drops(), [("ttl_expired", 1)].into());
    switch.assert_accounted();
}

#[test]
fn a_port_that_sends_too_much_to_controllers_is_cut_off() {
    let mut switch = TestSwitch::new(2);
    switch.set_flows("actions=CONTROLLER");
    switch.send(1, vec![udp(1, 2, 10); 4000]);
    let told = packet_ins(&switch).len() as u64;
    assert!((100..4000).contains(&told), "{told}");
    assert_eq!(switch.drops(), [("to_controller", told), ("upcall_limit", 4000 - told)].into());
    switch.assert_accounted();
}

#[test]
fn control_sends_packets_from_anywhere() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows("in_port=2,actions=output:3\nin_port=CONTROLLER,actions=output:1");
    switch.packet_out(out(1, vec![Action::Output(2)]));
    assert_eq!(switch.went_to(), [2]);
    switch.packet_out(out(1, vec![Action::Flood]));
    assert_eq!(switch.went_to(), [2, 3]);
    switch.packet_out(out(2, vec![Action::Table]));
    assert_eq!(switch.went_to(), [3]);
    switch.packet_out(out(0xffff_fffd, vec![Action::Table, Action::All]));
    assert_eq!(switch.went_to(), [1, 1, 2, 3]);
    switch.packet_out(out(0xffff_ffff, vec![Action::Normal]));
    assert_eq!(switch.went_to(), [1, 2, 3]);
    switch.packet_out(out(1, vec![Action::Controller(Box::default())]));
    let [packet] = &packet_ins(&switch)[..] else { panic!("one packet-in") };
    assert_eq!((packet.controller.reason, packet.frame.len()), (reason::PACKET_OUT, udp(7, 8, 10).len()));
    switch.packet_out(out(1, vec![]));
    switch.assert_accounted();
}

#[test]
fn a_paused_packet_goes_on_where_it_stopped() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows("table=1,reg1=5,actions=output:2,output:3");
    let pause = Controller { pause: true, ..Controller::default() };
    let mut flow = common::flow("in_port=1,actions=load:5->reg1,mod_vlan_vid:3,output:2,resubmit(,1)");
    flow.actions.insert(2, Action::Controller(Box::new(pause)));
    flow.actions.insert(0, Action::WriteActions(vec![Action::Output(3)]));
    switch.program.tables.insert(flow, 0, 1);
    switch.publish();
    switch.send(1, [udp(1, 2, 10)]);
    assert!(switch.went_to().is_empty());
    let [packet] = &packet_ins(&switch)[..] else { panic!("one packet-in") };
    let resume = packet.continuation.clone();
    assert!(resume.is_some());
    switch.packet_out(PacketOut { frame: packet.frame.clone(), key: packet.key, actions: vec![], resume });
    assert_eq!(switch.received(2), [tagged(3, &udp(1, 2, 10)), tagged(3, &udp(1, 2, 10))]);
    assert_eq!(switch.received(3).len(), 2, "of the resubmit and of the action set");
    switch.assert_accounted();
}

#[test]
fn packets_make_flows() {
    let mut switch = TestSwitch::new(2);
    let whole = |field| Subfield::whole(field);
    let spec = |source, target, bits| LearnSpec { source, target, bits };
    let learn = Learn {
        table: 10,
        priority: 7,
        idle_timeout: 30,
        specs: vec![
            spec(LearnSource::Field(whole(FieldId::ETH_SRC)), LearnTarget::Match(whole(FieldId::ETH_DST)), 48),
            spec(LearnSource::Value(3), LearnTarget::Load(whole(FieldId::REG2)), 32),
            spec(LearnSource::Field(whole(FieldId::IN_PORT)), LearnTarget::Output, 32),
        ],
        ..Learn::default()
    };
    let mut flow = common::flow("in_port=1,actions=output:2");
    flow.actions.insert(0, Action::Learn(Box::new(learn)));
    switch.set_flows("in_port=2,actions=drop");
    switch.program.tables.insert(flow, 0, 1);
    switch.publish();
    switch.send(1, vec![udp(1, 2, 10); 100]);
    switch.send(1, [udp(5, 2, 10)]);
    let learned: Vec<_> = switch.upcalls().into_iter().collect();
    let [Upcall::Learn(one), Upcall::Learn(other)] = &learned[..] else { panic!("{learned:?}") };
    let wanted = common::flow(
        "table=10,priority=7,idle_timeout=30,dl_dst=02:00:00:00:00:01,actions=load:3->NXM_NX_REG2[],output:1",
    );
    assert_eq!(one.flow, wanted);
    assert_eq!(other.flow.matches.key.get(FieldId::ETH_DST), 0x0200_0000_0005);
    assert_eq!(switch.received(2).len(), 101);
}

#[test]
fn conjunctions_match_when_every_dimension_does() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows(
        "priority=9,ip,nw_src=10.0.0.1,actions=conjunction(4,1/2)\n\
         priority=9,ip,nw_src=10.0.0.2,actions=conjunction(4,1/2)\n\
         priority=9,udp,tp_dst=0x2000,actions=conjunction(4,2/2)\n\
         priority=9,ip,nw_dst=10.0.0.9,actions=conjunction(4,2/2)\n\
         priority=9,conj_id=4,ip,actions=output:2\n\
         priority=1,actions=output:3",
    );
    let mut other_port = udp(1, 2, 10);
    other_port[36] = 0x30;
    let mut other_port_to_9 = udp(2, 9, 10);
    other_port_to_9[36] = 0x30;
    switch.send(1, [udp(1, 2, 10), udp(2, 3, 10), other_port_to_9]);
    assert_eq!(switch.went_to(), [2, 2, 2]);
    switch.send(1, [udp(3, 9, 10), other_port]);
    assert_eq!(switch.went_to(), [3, 3]);
}

#[test]
fn what_depends_on_the_length_or_on_what_a_pop_uncovers_is_right_too() {
    let mut switch = TestSwitch::new(4);
    switch.set_flows(
        "in_port=1,actions=check_pkt_larger(100)->NXM_NX_REG0[0],goto_table:1\n\
         table=1,reg0=1,actions=output:2\n\
         table=1,reg0=0,actions=output:3\n\
         in_port=2,dl_vlan=7,actions=pop_vlan,pop_vlan,goto_table:2\n\
         table=2,dl_vlan=9,udp,actions=output:4",
    );
    for _ in 0..2 {
        switch.send(1, [udp(1, 2, 10), udp(1, 2, 100)]);
        assert_eq!(switch.went_to(), [2, 3]);
        let frame = tagged(7, &tagged(8, &tagged(9, &udp(1, 2, 30))));
        switch.send(2, [frame]);
        assert_eq!(switch.received(4), [tagged(9, &udp(1, 2, 30))]);
    }
    switch.assert_accounted();
}

#[test]
fn floods_leave_out_who_is_set_so_and_output_goes_to_what_registers_say() {
    let mut switch = TestSwitch::new(4);
    switch.set_flags(3, |flags| flags.no_flood = true);
    switch.set_flags(4, |flags| flags.no_fwd = true);
    switch.set_flows("in_port=1,actions=FLOOD\nin_port=2,actions=ALL\nin_port=3,actions=load:2->reg5,output:reg5");
    switch.send(1, [broadcast(udp(1, 2, 10))]);
    assert_eq!(switch.went_to(), [2]);
    switch.send(2, [udp(1, 2, 10)]);
    assert_eq!(switch.went_to(), [1, 3]);
    switch.send(3, [udp(1, 2, 10)]);
    assert_eq!(switch.went_to(), [2]);
    switch.set_flags(3, |flags| flags.no_recv = true);
    switch.send(3, [udp(1, 2, 10)]);
    assert!(switch.went_to().is_empty());
    assert_eq!(switch.drops(), [("port_config", 1)].into());
    switch.assert_accounted();
}
