//! The table spoken to in the grammar's words, and against a plain list of rules.

use super::*;
use crate::flow::Field;
use crate::flow::grammar::{parse_filter, parse_flow, parse_modify};

fn table(flows: &[&str]) -> FlowTable {
    let mut table = FlowTable::new();
    for text in flows {
        table.insert(parse_flow(text, &()).expect(text), 1, 2);
    }
    table
}

fn tcp_to(address: u32, port: u16) -> FlowKey {
    let mut key = FlowKey::default();
    key.set(Field::DL_TYPE, 0x0800);
    key.set(Field::NW_PROTO, 6);
    key.set(Field::NW_DST, u64::from(address));
    key.set(Field::TP_DST, u64::from(port));
    key
}

/// Where the rule that decides sends to.
fn output(table: &FlowTable, key: &FlowKey) -> Option<Action> {
    let rule = table.lookup(key, &mut 100).expect("budget enough");
    rule.map(|rule| rule.flow.actions[0].clone())
}

const FLOWS: &[&str] = &[
    "priority=10,ip,nw_dst=10.0.0.0/8,actions=1",
    "priority=20,ip,nw_dst=10.1.0.0/16,actions=2",
    "priority=30,tcp,tp_dst=80,actions=3",
    "priority=5,ip,nw_dst=10.1.2.3,actions=4",
    "priority=0,actions=5",
    "priority=25,ip,nw_dst=10.1.0.0/16,actions=6",
];

#[test]
fn the_highest_priority_wins() {
    let mut table = table(FLOWS);
    assert_eq!(output(&table, &tcp_to(0x0a01_0203, 80)), Some(Action::Output(3)));
    assert_eq!(output(&table, &tcp_to(0x0a01_0203, 81)), Some(Action::Output(6)));
    assert_eq!(output(&table, &tcp_to(0x0a02_0203, 81)), Some(Action::Output(1)));
    assert_eq!(output(&table, &tcp_to(0x0b02_0203, 81)), Some(Action::Output(5)));
    table.remove(&parse_filter("priority=25,ip,nw_dst=10.1.0.0/16", true, &()).expect("sound"));
    assert_eq!(output(&table, &tcp_to(0x0a01_0203, 81)), Some(Action::Output(2)), "same match, next priority");
    table.remove(&parse_filter("", false, &()).expect("sound"));
    assert_eq!((output(&table, &tcp_to(0x0a01_0203, 81)), table.len()), (None, 0));
    assert!(table.union_mask().is_empty());
}

#[test]
fn a_search_that_costs_too_much_is_given_up() {
    let table = table(FLOWS);
    let mut budget = 1;
    assert_eq!(
        table.lookup(&tcp_to(1, 80), &mut budget).map(|rule| rule.is_some()),
        Ok(true),
        "first subtable decides"
    );
    assert_eq!(budget, 0);
    assert_eq!(table.lookup(&tcp_to(1, 80), &mut budget).map(|rule| rule.is_some()), Err(OutOfBudget));
    let mut budget = 3;
    assert!(table.lookup(&tcp_to(1, 81), &mut budget).is_err());
}

#[test]
fn a_clone_does_not_see_later_changes() {
    let mut table = table(FLOWS);
    let published = table.clone();
    table.remove(&Filter::default());
    table.insert(parse_flow("actions=9", &()).expect("sound"), 1, 1);
    assert_eq!((published.len(), table.len()), (6, 1));
    assert_eq!(output(&published, &tcp_to(0x0a01_0203, 80)), Some(Action::Output(3)));
    assert_eq!(output(&table, &tcp_to(0x0a01_0203, 80)), Some(Action::Output(9)));
    assert!(published.iter().all(|rule| published.rule(rule.id).is_some_and(|found| Arc::ptr_eq(found, rule))));
}

#[test]
fn a_table_is_the_same_as_its_clone_until_either_changes() {
    let mut table = table(FLOWS);
    let published = table.clone();
    assert!(table.is_same(&published));
    let flow = |text| parse_flow(text, &()).expect("sound");
    let installed = table.insert(flow("tcp,tp_dst=9999 actions=1"), 1, 1);
    assert!(!table.is_same(&published));
    let published = table.clone();
    table.modify(&Filter::strict(&installed.rule.flow), &[Action::Flood], None);
    assert!(!table.is_same(&published), "other actions are another table");
    let published = table.clone();
    table.remove_id(installed.rule.id);
    assert!(!table.is_same(&published));
}

#[test]
fn rules_with_a_timeout_are_known_without_looking_at_the_others() {
    let mut table = table(FLOWS);
    let timed = |table: &FlowTable| table.timed().map(|rule| rule.id).collect::<Vec<_>>();
    assert_eq!(timed(&table), []);
    let flow = |text| parse_flow(text, &()).expect("sound");
    let idle = table.insert(flow("idle_timeout=5,udp actions=1"), 1, 1).rule.id;
    let hard = table.insert(flow("hard_timeout=5,icmp actions=1"), 1, 1).rule.id;
    assert_eq!(timed(&table), [idle, hard]);
    assert_eq!(table.insert(flow("udp actions=2"), 1, 1).rule.id, idle, "it replaces the one with a timeout");
    assert_eq!(timed(&table), [hard]);
    table.remove_id(hard);
    assert_eq!(timed(&table), []);
}

#[test]
fn adding_resets_counters_and_modifying_keeps_them() {
    let mut table = table(FLOWS);
    let first = table.iter().find(|rule| rule.flow.priority == 10).cloned().expect("installed");
    first.stats[1].count(3, 300, 50);
    let modify = parse_modify("cookie=7,ip,nw_dst=10.0.0.0/8,actions=8", false, &()).expect("sound");
    let changed = table.modify(&modify.filter, &modify.flow.actions, modify.cookie);
    assert_eq!(changed.len(), 4, "loose: all that look at 10.0.0.0/8 or less");
    let now = table.rule(first.id).expect("still there");
    assert_eq!((now.totals().packets, now.created_ms, now.flow.cookie), (3, 1, 7));
    let added = table.insert(parse_flow(FLOWS[0], &()).expect("sound"), 60, 2);
    assert_eq!(added.replaced.map(|old| old.totals().packets), Some(3));
    assert_eq!((added.rule.totals().packets, added.rule.id, table.len()), (0, first.id, 6));
}

#[test]
fn filters_select_loosely_and_strictly() {
    let table = table(FLOWS);
    let count = |text, strict| table.select(&parse_filter(text, strict, &()).expect(text)).len();
    assert_eq!(count("", false), 6);
    assert_eq!(count("ip", false), 5);
    assert_eq!(count("ip,nw_dst=10.1.0.0/16", false), 3);
    assert_eq!(count("ip,nw_dst=10.1.0.0/16", true), 0, "the default priority");
    assert_eq!(count("priority=20,ip,nw_dst=10.1.0.0/16", true), 1);
    assert_eq!(count("out_port=3", false), 1);
    assert_eq!(count("cookie=1/1", false), 0);
    assert_eq!(count("table=1", false), 0);
}

#[test]
fn it_agrees_with_a_plain_list_after_thousands_of_random_changes() {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    let (mut table, mut plain) = (FlowTable::new(), Vec::<Arc<Rule>>::new());
    for round in 0..6000 {
        let mut matches = Match::default();
        if next(2) == 0 {
            matches.want(Field::NW_DST, next(40) << 24, 0xff00_0000 << next(2));
        }
        if next(3) == 0 {
            matches.want(Field::TP_DST, next(9), 0xffff);
        }
        let priority = next(200) as u16;
        let actions = vec![Action::Output(round)];
        let flow = Flow {
            table: 0,
            priority,
            cookie: 0,
            idle_timeout: 0,
            hard_timeout: 0,
            matches,
            actions,
            ..Flow::default()
        };
        let done = table.insert(flow, 0, 1);
        plain.retain(|rule| rule.id != done.rule.id);
        plain.push(done.rule);
        if plain.len() > 300 {
            let victim = plain.swap_remove(next(plain.len() as u64) as usize);
            assert!(table.remove_id(victim.id).is_some_and(|rule| Arc::ptr_eq(&rule, &victim)));
        }
        let key = tcp_to((next(40) << 24) as u32, next(9) as u16);
        let best = plain.iter().filter(|rule| rule.flow.matches.covers(&key)).map(|rule| rule.flow.priority).max();
        let found = table.lookup(&key, &mut 1000).expect("budget enough").map(|rule| rule.flow.priority);
        assert_eq!(found, best);
        assert_eq!(table.len(), plain.len());
    }
    assert!(table.iter().all(|rule| rule.id.0 <= 301), "numbers stay dense");
}
