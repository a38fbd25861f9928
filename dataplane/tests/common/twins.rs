//! Two switches that get the same rules, changed at random times, and the same frames, and must do the same.

use std::sync::Arc;

use ringswitch_dataplane::flow::{
    Band, BandKind, Bucket, Filter, Flow, Group, GroupEntry, GroupKind, Meter, MeterEntry, Rule, Tables, WATCH_ANY,
    grammar,
};

use super::random::Random;
use super::{TestSwitch, broadcast, flow, tagged, udp};

/// What rules match on.
pub const MATCHES: &[&str] = &[
    "in_port=1",
    "in_port=4",
    "dl_dst=02:00:00:00:00:05",
    "dl_dst=02:00:00:00:00:05",
    "dl_dst=02:00:00:00:00:06",
    "dl_dst=02:00:00:00:00:04/ff:ff:ff:ff:ff:fc",
    "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00",
    "dl_src=02:00:00:00:00:01",
    "vlan_tci=0",
    "vlan_tci=0x1000/0x1000",
    "vlan_tci=0/0xfff",
    "dl_vlan=7",
    "dl_vlan=7,dl_vlan_pcp=3",
    "vlan_tci=0x6000/0xe000",
    "ip",
    "udp",
    "udp,tp_dst=0x2000",
    "ip,nw_dst=10.0.0.5",
    "arp",
    "reg0=1",
    "metadata=1",
    "reg0=0",
];

const ACTIONS: &[&str] = &[
    "output:2",
    "output:2",
    "output:2",
    "output:3",
    "NORMAL",
    "NORMAL",
    "drop",
    "in_port",
    "load:1->NXM_NX_REG0[],resubmit(,1)",
    "resubmit(,1),output:2",
    "resubmit(,2)",
    "goto_table:1",
    "write_metadata:1,goto_table:2",
    "write_actions(output:2),goto_table:2",
    "clear_actions,goto_table:2",
    "set_queue:3,output:2",
    "output:2,output:4",
    "mod_dl_src:02:00:00:00:00:77,output:2",
    "mod_vlan_vid:3,output:2",
    "strip_vlan,goto_table:1",
    "group:1",
    "meter:1,output:2",
    "clone(output:4),output:2",
    "CONTROLLER",
    "FLOOD",
    "move:NXM_OF_ETH_SRC[0..1]->NXM_NX_REG0[0..1],resubmit(,2)",
    "load:4->NXM_OF_IN_PORT[],resubmit(,1)",
    "dec_ttl,output:2",
    "push:NXM_NX_REG0[],pop:NXM_NX_REG1[],NORMAL",
];

/// Some combinations are refused.
fn any_rule(random: &mut Random) -> Flow {
    loop {
        if let Ok(flow) = grammar::parse_flow(&any_text(random), &()) {
            return flow;
        }
    }
}

/// A rule; those of later tables lead on to later ones only.
fn any_text(random: &mut Random) -> String {
    let table = random.of(&[0, 0, 0, 1, 2]);
    let mut matches = Vec::new();
    for _ in 0..random.of(&[0, 0, 1, 1, 2]) {
        // The first ones are what entries know.
        let some = if random.chance(2) { &MATCHES[..5] } else { MATCHES };
        matches.push(random.of(some));
    }
    let leads_back = |text: &str| match table {
        0 => false,
        1 => text.contains(",1)") || text.contains("table:1"),
        _ => text.contains("resubmit") || text.contains("goto"),
    };
    let actions = loop {
        let actions = random.of(ACTIONS);
        if !leads_back(actions) {
            break actions;
        }
    };
    let mut text = format!("table={table},priority={}", 1 + random.below(12));
    matches.iter().for_each(|part| text += &format!(",{part}"));
    text + &format!(",actions={actions}")
}

/// A frame, whole or not, that some of the rules know.
pub fn any_frame(random: &mut Random) -> Vec<u8> {
    let mut frame = udp(1 + random.below(2) as u8, random.of(&[5, 5, 5, 6, 9]), random.of(&[10, 10, 700]));
    match random.below(14) {
        0 => frame = broadcast(frame),
        1 => frame[12..14].copy_from_slice(&[8, 6]),
        // 802.3 with a length.
        2 => frame[12..14].copy_from_slice(&[0, 40]),
        3 => frame[36..38].copy_from_slice(&[0, 80]),
        _ => {}
    }
    for _ in 0..random.of(&[0, 0, 0, 1, 1, 2]) {
        frame = tagged(random.of(&[0, 7, 7, 8, 0x6000, 0x6007]), &frame);
        if random.chance(4) {
            frame[12..14].copy_from_slice(&[0x88, 0xa8]);
        }
    }
    if random.chance(12) {
        frame.truncate(14 + random.below(8));
    }
    frame
}

/// Changes rules, groups or ports, of both alike.
pub fn change(switches: &mut [TestSwitch; 2], random: &mut Random) {
    match random.below(14) {
        0..=6 => {
            let flow = any_rule(random);
            switches.iter_mut().for_each(|switch| drop(switch.program.tables.insert(flow.clone(), 0, 1)));
        }
        7..=9 => {
            let count = switches[0].program.tables.len();
            let nth = random.below(count.max(1));
            let rule = switches[0].program.tables.rules().nth(nth).cloned();
            for switch in switches {
                rule.iter().for_each(|rule| drop(switch.program.tables.remove_rule(rule)));
            }
        }
        10 | 11 => {
            let which = random.of(&["dl_dst=02:00:00:00:00:05", "udp", "in_port=1"]);
            let matches = flow(&format!("{which},actions=drop")).matches;
            let filter = Filter { table: Some(random.below(3) as u8), matches, ..Filter::default() };
            let leads_on = ["output:2", "output:3", "NORMAL", "drop", "goto_table:2", "strip_vlan,goto_table:2"];
            let actions = super::actions(random.of(&leads_on[..if filter.table == Some(2) { 4 } else { 6 }]));
            for switch in switches {
                switch.program.tables.modify(&filter, &actions, None);
            }
        }
        12 => {
            let number = random.of(&[2, 3]);
            switches.iter_mut().for_each(|switch| switch.set_flags(number, |flags| flags.no_fwd = !flags.no_fwd));
        }
        _ if random.chance(3) => {
            // All rules at once, as when a controller starts over.
            for switch in switches {
                switch.program.tables = Tables::new();
                switch.program.tables.insert(flow("priority=0,actions=NORMAL"), 0, 1);
            }
        }
        _ => {
            let bucket = random.of(&["output:2", "output:3"]);
            switches.iter_mut().for_each(|switch| set_group(switch, bucket));
        }
    }
}

pub fn set_group(switch: &mut TestSwitch, actions: &str) {
    let actions = super::actions(actions);
    let bucket = Bucket { id: 0, weight: 1, watch_port: WATCH_ANY, watch_group: WATCH_ANY, actions };
    let group = Group { id: 1, kind: GroupKind::Indirect, selection: None, buckets: vec![bucket] };
    switch.program.groups.insert(1, Arc::new(GroupEntry::new(group, 0, 1)));
}

pub fn set_meter(switch: &mut TestSwitch) {
    // Never too much: what it counts must be the same.
    let band = Band { kind: BandKind::Drop, rate: 1_000_000_000, burst_size: 0 };
    let meter = Meter { id: 1, pktps: true, burst: false, stats: true, bands: vec![band] };
    switch.program.meters.insert(1, Arc::new(MeterEntry::new(meter, 0)));
}

/// Frames, counters and upcalls are the same.
pub fn assert_same(switches: &[TestSwitch; 2], seed: u64) {
    let [with, without] = switches;
    let rules = |switch: &TestSwitch| -> Vec<_> {
        let seen = |rule: &Arc<Rule>| {
            let totals = rule.totals();
            (rule.flow.table, rule.id, totals.packets, totals.bytes)
        };
        switch.program.tables.rules().map(seen).collect()
    };
    let show = || -> Vec<_> { with.program.tables.rules().map(|rule| rule.flow.clone()).collect() };
    for port in 1..=4 {
        assert_eq!(with.received(port), without.received(port), "seed {seed}, port {port}, {:#?}", show());
        assert_eq!(with.totals(port), without.totals(port), "seed {seed}, port {port}, {:#?}", show());
    }
    assert_eq!(rules(with), rules(without), "seed {seed}, {:#?}", show());
    assert_eq!(with.upcalls().len(), without.upcalls().len(), "seed {seed}, {:#?}", show());
    let tables = |switch: &TestSwitch| [0, 1, 2].map(|table| switch.stats.totals(table));
    assert_eq!(tables(with), tables(without), "seed {seed}, {:#?}", show());
    let meters = |switch: &TestSwitch| switch.program.meters.get(&1).map(|meter| meter.totals().packets);
    assert_eq!(meters(with), meters(without), "seed {seed}, {:#?}", show());
}
