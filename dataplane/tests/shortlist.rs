//! The shortlist: the same switch twice, one that compares packets with a table's few rules and one that asks its cache, must do the
//! same under random rules that change at random times; and in the operators' words, which packets are decided so.

mod common;

use common::random::Random;
use common::twins::{any_frame, assert_same, change, set_group, set_meter};
use common::{TestSwitch, flow, tagged, udp};

/// What else rules match on; the twins' rules are for switches that sort.
const MATCHES: &[&str] = &[
    "udp,nw_src=10.0.0.1,nw_dst=10.0.0.5,tp_src=0x1000,tp_dst=0x2000",
    "udp,nw_src=10.0.0.2,tp_dst=0x2000",
    "udp,tp_src=7",
    "tcp,tp_dst=80",
    "tcp,tcp_flags=+syn",
    "tcp,in_port=2",
    "ip,nw_src=10.0.0.0/30",
    "ip,nw_frag=later",
    "ip,nw_frag=no",
    "ip,nw_ttl=64",
    "ip,nw_tos=0",
    "ipv6",
    "icmp",
    "arp,arp_tpa=10.0.0.5",
    "dl_vlan=7,udp",
    "dl_type=0x05ff",
    "metadata=1,udp",
    "metadata=0,udp",
    "in_port=1",
    "conj_id=1",
    "",
];

const ACTIONS: &[&str] = &[
    "drop",
    "output:2",
    "output:3",
    "output:2,output:4",
    "NORMAL",
    "in_port",
    "FLOOD",
    "mod_dl_src:02:00:00:00:00:77,output:2",
    "mod_nw_src:10.9.9.9,output:3",
    "goto_table:1",
    "CONTROLLER",
    "conjunction(1,1/2)",
    "conjunction(1,2/2)",
];

/// What the twins send, and more that differs where ports and addresses lie.
fn frame(random: &mut Random) -> Vec<u8> {
    let mut frame = any_frame(random);
    // Only of untagged frames these are what they are called; others just become odd.
    let mut put = |at: usize, value: u8| frame.iter_mut().skip(at).take(1).for_each(|byte| *byte = value);
    match random.below(12) {
        0 | 1 => put(23, 6),
        2 => put(23, 1),
        3 => put(20, random.of(&[0x20, 0x40])),
        4 => put(21, 9),
        5 => put(22, random.of(&[1, 2])),
        6 => put(35, 7),
        7 => put(15, 4),
        8 => put(14, random.of(&[0x46, 0x4f, 0x44])),
        9 => put(47, random.below(64) as u8),
        10 => [(12, 0x86), (13, 0xdd), (14, 0x60), (20, 17)].into_iter().for_each(|(at, value)| put(at, value)),
        _ => {}
    }
    frame
}

fn add_rule(switches: &mut [TestSwitch; 2], random: &mut Random) {
    let text = format!("priority={},{},actions=", 1 + random.below(5), random.of(MATCHES)) + random.of(ACTIONS);
    for switch in switches {
        switch.program.tables.insert(flow(&text), 0, 1);
    }
}

#[test]
fn with_and_without_a_shortlist_the_switch_does_the_same() {
    let (mut listed, mut others) = (0, 0);
    for seed in 0..1500 {
        let mut random = Random(seed * 7919 + 1);
        let mut switches = [TestSwitch::new(4), TestSwitch::new(4)];
        switches[1].has_shortlist = false;
        let (is_empty, asks) = (random.chance(2), random.chance(4));
        for switch in &mut switches {
            set_group(switch, "output:2");
            set_meter(switch);
            if is_empty {
                switch.set_flows("");
            }
            switch.program.miss_to_controller = asks;
        }
        for _ in 0..random.below(14) {
            add_rule(&mut switches, &mut random);
        }
        for _ in 0..20 {
            if random.chance(2) {
                match random.chance(4) {
                    true => change(&mut switches, &mut random),
                    false => add_rule(&mut switches, &mut random),
                }
                switches.iter_mut().for_each(TestSwitch::publish);
            }
            let port = random.of(&[1, 1, 2, 4]);
            let frames: Vec<_> = (0..1 + random.below(40)).map(|_| frame(&mut random)).collect();
            for switch in &mut switches {
                switch.send(port, frames.clone());
            }
            assert_same(&switches, seed);
        }
        let [with, without] = switches.each_ref().map(TestSwitch::worker);
        let found = with.port_hits + with.shortlist_hits + with.cache_hits + with.walks;
        assert_eq!((found, without.shortlist_hits), (with.packets, 0));
        listed += with.shortlist_hits;
        others += with.cache_hits + with.walks;
        switches[0].assert_accounted();
    }
    eprintln!("{listed} by the list, {others} otherwise");
    assert!(listed > 100_000 && others > 100_000, "{listed} by the list, {others} otherwise: nothing was compared");
}

/// How packets' verdicts were found: by the list, in the cache, by walks.
fn found(switch: &TestSwitch) -> (u64, u64, u64) {
    let worker = switch.worker();
    (worker.shortlist_hits, worker.cache_hits, worker.walks)
}

/// So many flows, a packet of each.
fn flows(count: u16) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(|number| {
        let mut frame = udp(1, 5, 20);
        frame[34..36].copy_from_slice(&number.to_be_bytes());
        frame
    })
}

#[test]
fn many_flows_under_few_rules_need_no_walk() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows(
        "priority=9,udp,tp_src=9,actions=drop
         priority=8,tcp,nw_src=10.0.0.1,tp_dst=80,actions=drop
         priority=1,in_port=1,actions=output:2",
    );
    switch.send(1, flows(1000));
    assert_eq!((found(&switch), switch.went_to()), ((1000, 0, 0), vec![2; 999]));
    switch.send(3, flows(10));
    assert_eq!((found(&switch), switch.drops()["no_rule"]), ((1010, 0, 0), 9), "none of them matches");
    assert_eq!(switch.rule_packets(), [(9, 2), (8, 0), (1, 999)].into());
    assert_eq!((switch.stats.totals(0).lookups, switch.stats.totals(0).matches), (1010, 1001));
}

#[test]
fn what_depends_on_more_than_the_rule_is_left_to_the_cache() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows(
        "priority=9,udp,tp_src=9,actions=drop
         priority=8,udp,tp_src=8,actions=CONTROLLER
         priority=7,udp,tp_src=7,actions=goto_table:1
         priority=1,udp,actions=output:3
         table=1,actions=output:2",
    );
    switch.send(1, flows(20));
    switch.send(1, flows(20));
    assert_eq!(found(&switch), (36, 2, 2));
    assert_eq!((switch.upcalls().len(), switch.went_to()), (2, [vec![2; 2], vec![3; 34]].concat()));
}

#[test]
fn those_that_no_rule_matches_are_left_to_it_when_controllers_want_them() {
    let mut switch = TestSwitch::new(2);
    switch.program.miss_to_controller = true;
    switch.program.tables = Default::default();
    switch.add_flows("udp,tp_src=9,actions=drop");
    switch.send(1, flows(10));
    assert_eq!((found(&switch), switch.upcalls().len()), ((1, 0, 9), 9));
}

#[test]
fn many_rules_long_ones_and_conjunctions_are_not_compared_with() {
    let mut switch = TestSwitch::new(3);
    let rule = |number: usize| format!("udp,tp_src={number},actions=output:2\n");
    switch.set_flows(&(0..16).map(rule).collect::<String>());
    switch.send(1, flows(1));
    assert_eq!(found(&switch), (1, 0, 0));
    switch.add_flows(&rule(16));
    switch.send(1, flows(1));
    assert_eq!(found(&switch), (1, 0, 1));
    let long = |number: usize| format!("dl_src=02:00:00:00:00:01,udp,nw_src=10.0.0.{number},tp_src=0,actions=drop\n");
    switch.set_flows(&(0..13).map(long).collect::<String>());
    switch.send(1, flows(1));
    assert_eq!(found(&switch), (1, 0, 2), "five words of each");
    let conjunction = "conj_id=1,actions=output:2
                       udp,actions=conjunction(1,1/2)
                       in_port=1,actions=conjunction(1,2/2)
                       priority=9,actions=output:3";
    switch.set_flows(conjunction);
    switch.went_to();
    switch.send(1, flows(1));
    assert_eq!((found(&switch), switch.went_to()), ((1, 0, 3), vec![2]));
    switch.send(2, [tagged(7, &[0; 20])]);
    assert_eq!((found(&switch), switch.went_to()), ((2, 0, 3), vec![3]), "no part of it matches");
}

#[test]
fn rules_that_come_and_go_take_effect_at_once() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows("udp,tp_src=0,actions=output:2");
    switch.send(1, flows(1));
    switch.add_flows("priority=40000,udp,tp_dst=0x2000,actions=output:3");
    switch.send(1, flows(1));
    assert_eq!(switch.went_to(), [2, 3]);
    let filter = ringswitch_dataplane::flow::grammar::parse_filter("tp_dst=0x2000,udp", false, &()).expect("a filter");
    switch.program.tables.modify(&filter, &common::actions("in_port"), None);
    switch.publish();
    switch.send(1, flows(1));
    switch.program.tables.remove(&filter);
    switch.publish();
    switch.send(1, flows(1));
    assert_eq!((switch.went_to(), found(&switch)), (vec![1, 2], (4, 0, 0)));
}
