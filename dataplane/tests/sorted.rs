//! Sorted frames: the same switch twice, one with a sort table and one without, must do the same under random rules that change
//! at random times; and in the operators' words, what is sorted and why something is not.

mod common;

use std::sync::Arc;

use common::random::Random;
use common::twins::{any_frame, assert_same, change, set_group, set_meter};
use common::{TestSwitch, broadcast, flow, tagged, udp};
use ringswitch_dataplane::flow::Filter;
use ringswitch_dataplane::pipeline::{Native, SortState, SortTotals, SortedPool, VlanMode, VlanSet, Wanted};
use ringswitch_dataplane::port::PortId;
use ringswitch_dataplane::sched::PoolId;

/// The pool of one VM behind this port, and its frames that come in at these.
fn pool(id: u16, port: u32, mac: u8, vlans: &[u16], ingress: &[u32]) -> (Arc<SortedPool>, Vec<Wanted>) {
    let pool = Arc::new(SortedPool::new(PoolId(id), vec![PortId(port as u16 - 1)], 1));
    let wanted = |ingress: u32, vlan: u16| Wanted {
        ingress: PortId(ingress as u16 - 1),
        mac: [2, 0, 0, 0, 0, mac],
        vlan,
        pool: Arc::clone(&pool),
    };
    let all = ingress.iter().flat_map(|&port| vlans.iter().map(move |&vlan| (port, vlan)));
    let all = all.map(|(port, vlan)| wanted(port, vlan)).collect();
    (pool, all)
}

/// A NIC (port 1), VM 5 behind port 2, another VM behind port 3, a third port; derived at once.
fn switch(flows: &str) -> (TestSwitch, Arc<SortedPool>) {
    let mut switch = TestSwitch::new(4);
    let (pool, wanted) = pool(0, 2, 5, &[0, 7], &[1]);
    switch.wanted = wanted;
    switch.set_flows(flows);
    while switch.derive(1000) {}
    (switch, pool)
}

/// Why untagged frames for VM 5 take the normal way; empty when they do not.
fn why_not(flows: &str) -> String {
    let (switch, _) = switch(flows);
    let table = switch.sorted();
    match table.find(PortId(0), [2, 0, 0, 0, 0, 5], 0).expect("an entry").state() {
        SortState::Refused(why) => why.to_string(),
        SortState::Uniform(_) => String::new(),
        SortState::Pending => "pending".to_owned(),
    }
}

#[test]
fn frames_for_a_vm_are_sorted_when_the_rules_look_at_nothing_else() {
    for flows in [
        "actions=NORMAL",
        "priority=9,dl_dst=02:00:00:00:00:05,actions=2\npriority=1,actions=NORMAL",
        "priority=9,in_port=2,tcp,tp_dst=80,actions=drop\npriority=1,actions=NORMAL",
        "priority=9,tcp,tp_dst=80,dl_dst=02:00:00:00:00:06,actions=drop\npriority=1,actions=NORMAL",
        "priority=9,dl_dst=02:00:00:00:00:05,actions=2\npriority=5,tcp,actions=drop",
        "in_port=1,actions=load:5->NXM_NX_REG0[],resubmit(,1)\ntable=1,reg0=5,dl_dst=02:00:00:00:00:05,actions=output:2",
        "actions=write_metadata:3,goto_table:4\ntable=4,metadata=3,actions=write_actions(output:2),goto_table:5\n\
         table=5,actions=load:1->NXM_NX_REG1[]",
    ] {
        assert_eq!(why_not(flows), "", "{flows}");
    }
}

#[test]
fn what_could_happen_to_some_frame_keeps_all_of_them_from_being_sorted() {
    for (flows, wanted) in [
        ("priority=9,tcp,tp_dst=80,actions=drop\npriority=1,actions=NORMAL", "a rule of table 0 looks at tcp_dst"),
        ("priority=9,dl_src=02:00:00:00:00:01,actions=drop\npriority=1,actions=NORMAL", "looks at dl_src"),
        ("actions=goto_table:1\ntable=1,ip,actions=2", "a rule of table 1 looks at dl_type"),
        (
            "priority=9,dl_vlan=3,actions=drop\npriority=1,dl_dst=02:00:00:00:00:05,actions=mod_vlan_vid:3,2",
            "a rewrite",
        ),
        ("actions=meter:1,NORMAL", "a meter"),
        ("actions=group:1", "a group"),
        ("dl_dst=02:00:00:00:00:05,actions=2,4", "several outputs"),
        ("actions=NORMAL,4", "several outputs"),
        ("actions=clone(output:4),2", "a copy"),
        ("actions=CONTROLLER", "a packet-in"),
        ("actions=FLOOD", "a flood"),
        ("actions=3", "another port"),
        ("actions=drop", "rules drop it"),
        ("in_port=2,actions=NORMAL", "no rule"),
        ("actions=resubmit(3,1)\ntable=1,actions=2", "a resubmit as another port"),
        ("actions=move:NXM_OF_ETH_SRC[0..15]->NXM_NX_REG0[0..15],goto_table:1\ntable=1,actions=2", "reads the frame"),
        ("actions=learn(table=9,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[]),2", "learns"),
        ("actions=load:3->NXM_OF_IN_PORT[],2", "a rewrite"),
    ] {
        let why = why_not(flows);
        assert!(why.contains(wanted), "{flows}: {why}");
    }
}

#[test]
fn untagged_frames_may_be_sorted_where_those_with_a_priority_are_not() {
    let (mut switch, pool) = switch("priority=9,vlan_tci=0x1000/0x1000,actions=drop\npriority=1,actions=output:2");
    let priority_tagged = tagged(0x6000, &udp(1, 5, 10));
    switch.send(1, [udp(1, 5, 10), priority_tagged.clone(), udp(1, 5, 10)]);
    assert_eq!(switch.went_to(), [2, 2]);
    assert_eq!(switch.drops(), [("rule_drop", 1)].into());
    assert_eq!(pool.totals(), SortTotals { sorted: 2, unsorted: 1 });

    let (mut switch, pool) = self::switch("priority=9,dl_vlan_pcp=3,actions=drop\npriority=1,actions=output:2");
    switch.send(1, [udp(1, 5, 10), priority_tagged, tagged(7, &udp(1, 5, 10)), tagged(0x6007, &udp(1, 5, 10))]);
    assert_eq!(switch.went_to(), [2, 2]);
    assert_eq!(pool.totals(), SortTotals { sorted: 1, unsorted: 3 });
}

#[test]
fn each_frame_of_a_mixed_batch_goes_its_own_way() {
    let (mut switch, pool) = switch(
        "priority=9,dl_dst=02:00:00:00:00:06,udp,actions=3\npriority=5,dl_dst=02:00:00:00:00:05,actions=2\n\
         priority=1,actions=4",
    );
    let frames =
        [udp(1, 5, 10), udp(2, 5, 900), udp(1, 6, 10), udp(1, 5, 10), tagged(8, &udp(1, 5, 10)), udp(1, 9, 10)];
    switch.send(1, frames.clone());
    assert_eq!(switch.received(2), [&frames[0], &frames[1], &frames[3], &frames[4]].map(Clone::clone));
    assert_eq!((switch.received(3), switch.received(4)), (vec![frames[2].clone()], vec![frames[5].clone()]));
    // VLAN 8 is not among the pool's filters.
    assert_eq!(pool.totals(), SortTotals { sorted: 3, unsorted: 0 });
    assert_eq!(switch.rule_packets(), [(9, 1), (5, 4), (1, 1)].into());
    switch.assert_accounted();
}

#[test]
fn a_rule_that_comes_takes_effect_at_once_and_one_elsewhere_changes_nothing() {
    let (mut switch, pool) = switch("priority=1,actions=2");
    switch.send(1, [udp(1, 5, 10)]);
    switch.add_flows("priority=9,dl_dst=02:00:00:00:00:06,udp,actions=drop\npriority=9,in_port=3,actions=drop");
    switch.send(1, [udp(1, 5, 10)]);
    assert_eq!(pool.totals(), SortTotals { sorted: 2, unsorted: 0 });
    assert!(!switch.derive(1000), "nothing was taken out");

    switch.add_flows("priority=9,udp,tp_dst=0x2000,actions=drop");
    switch.send(1, [udp(1, 5, 10)]);
    assert_eq!(pool.totals(), SortTotals { sorted: 2, unsorted: 1 });
    assert_eq!(switch.drops(), [("rule_drop", 1)].into());
    while switch.derive(1000) {}
    switch.program.tables.remove(&Filter::strict(&flow("priority=9,udp,tp_dst=0x2000,actions=drop")));
    switch.publish();
    switch.send(1, [udp(1, 5, 10)]);
    assert_eq!(pool.totals(), SortTotals { sorted: 2, unsorted: 2 }, "sorted again only when control looked");
    while switch.derive(1000) {}
    switch.send(1, [udp(1, 5, 10)]);
    assert_eq!(pool.totals(), SortTotals { sorted: 3, unsorted: 2 });
    assert_eq!(switch.went_to().len(), 4);
}

#[test]
fn a_port_that_may_not_send_any_more_makes_control_look_again() {
    let (mut switch, pool) = switch("priority=1,actions=2");
    switch.set_flags(2, |flags| flags.no_fwd = true);
    switch.send(1, [udp(1, 5, 10)]);
    assert_eq!(pool.totals(), SortTotals { sorted: 0, unsorted: 1 });
    while switch.derive(1000) {}
    switch.send(1, [udp(1, 5, 10)]);
    assert_eq!(pool.totals(), SortTotals { sorted: 1, unsorted: 1 });
    assert_eq!(switch.drops(), [("port_config", 2)].into());
}

#[test]
fn normal_learns_moves_and_keeps_vlans_apart_for_sorted_frames_too() {
    let access = VlanMode::Trunk { allowed: VlanSet::of([7]), native: Native::Untagged(7) };
    let mut switch = TestSwitch::with_vlans(vec![VlanMode::default(), access, VlanMode::default()]);
    let (pool, wanted) = pool(0, 2, 5, &[0, 7], &[1]);
    switch.wanted = wanted;
    switch.publish();
    while switch.derive(1000) {}
    switch.send(2, [broadcast(udp(5, 1, 10))]);
    switch.went_to();
    switch.send(1, [tagged(7, &udp(1, 5, 10)), udp(1, 5, 10)]);
    assert_eq!(switch.received(2), [udp(1, 5, 10)], "VLAN 7 leaves without its tag; VLAN 0 is not carried");
    // The VM moves behind port 3, still in VLAN 7.
    switch.send(3, [tagged(7, &broadcast(udp(5, 1, 10)))]);
    switch.went_to();
    switch.send(1, [tagged(7, &udp(1, 5, 10))]);
    assert_eq!(switch.went_to(), [3]);
    assert_eq!(pool.totals(), SortTotals { sorted: 3, unsorted: 0 });
}

#[test]
fn with_and_without_a_sort_table_the_switch_does_the_same() {
    let (mut sorted, mut unsorted, mut uniform, mut seen) = (0, 0, 0, 0);
    for seed in 0..1500 {
        let mut random = Random(seed * 7919 + 1);
        let mut switches = [TestSwitch::new(4), TestSwitch::new(4)];
        let pools = [pool(0, 2, 5, &[0, 7], &[1, 4]), pool(1, 3, 6, &[0, 7], &[1, 4])];
        switches[0].wanted = pools.iter().flat_map(|(_, wanted)| wanted.clone()).collect();
        for switch in &mut switches {
            set_group(switch, "output:2");
            set_meter(switch);
        }
        for _ in 0..random.of(&[1, 3, 8]) {
            change(&mut switches, &mut random);
        }
        for _ in 0..30 {
            if random.chance(2) {
                for _ in 0..1 + random.below(2) {
                    change(&mut switches, &mut random);
                }
                switches.iter_mut().for_each(TestSwitch::publish);
            }
            if random.chance(2) {
                switches[0].derive(random.of(&[1, 5, 100]));
            }
            let port = random.of(&[1, 1, 1, 2, 4]);
            let some: Vec<_> = (0..1 + random.below(2)).map(|_| any_frame(&mut random)).collect();
            // Runs of frames that a sorter hands over, among others.
            let next = |random: &mut Random| match random.chance(4) {
                true => any_frame(random),
                false => some[random.below(some.len())].clone(),
            };
            let frames: Vec<_> = (0..1 + random.below(40)).map(|_| next(&mut random)).collect();
            for switch in &mut switches {
                switch.send(port, frames.clone());
            }
            assert_same(&switches, seed);
        }
        let entries: Vec<_> = switches[0].sorted().entries().map(|entry| entry.state().clone()).collect();
        uniform += entries.iter().filter(|state| matches!(state, SortState::Uniform(_))).count();
        seen += entries.len();
        for (pool, _) in &pools {
            sorted += pool.totals().sorted;
            unsorted += pool.totals().unsorted;
        }
        switches[0].assert_accounted();
    }
    eprintln!("{sorted} sorted, {unsorted} not; {uniform} of {seen} entries uniform at the end");
    assert!(sorted > 50_000 && unsorted > 50_000, "{sorted} sorted, {unsorted} not: nothing was compared");
}
