//! What changed from one state of the tables to another, a bounded number of rules at a time: for whoever keeps something
//! that is derived from all rules.
//!
//! Tables are persistent: two states share whatever did not change between them, so what differs is found without looking at
//! the rest, however many changes ago the other state was. A state that is being read stays as it was even when control goes on to the
//! next: reading always comes to its end, and then goes on from there. Neighbours: `slab` compares two tables' rules; the
//! pipeline's `sort` and control's pools follow.

use std::sync::Arc;

use super::tables::TABLES;
use super::{FlowTable, Rule, Tables};

/// See the file's head. A new one knows tables without rules.
#[derive(Default)]
pub struct Follower {
    /// The state of which everything was told.
    known: Tables,
    /// The state that is told now, and how far that is.
    next: Option<Next>,
}

struct Next {
    tables: Tables,
    /// Told up to this table, and in it up to this rule's number.
    table: u8,
    rule: u32,
}

impl Follower {
    /// True when everything was told about these tables, and nothing that is not true of them.
    #[must_use]
    pub fn knows(&self, tables: &Tables) -> bool {
        self.next.is_none() && self.known.is_same(tables)
    }

    /// Goes on towards these tables, until `budget` is spent: 1 for each rule told, and 1 for every 64 that had to be compared.
    /// `tell` gets a rule that went, one that came, or both, where one came in the place of the other. Returns whether it
    /// [`knows`](Self::knows) them now.
    pub fn follow(
        &mut self,
        tables: &Tables,
        budget: &mut u32,
        mut tell: impl FnMut(Option<&Arc<Rule>>, Option<&Arc<Rule>>),
    ) -> bool {
        loop {
            if self.knows(tables) {
                return true;
            }
            let mut next = self.next.take().unwrap_or_else(|| Next { tables: tables.clone(), table: 0, rule: 0 });
            while next.table < TABLES {
                let [before, after] = [&self.known, &next.tables].map(|tables| tables.table(next.table));
                match FlowTable::differ(before, after, next.rule, budget, &mut tell) {
                    None => (next.table, next.rule) = (next.table + 1, 0),
                    Some(rule) => {
                        next.rule = rule;
                        self.next = Some(next);
                        return false;
                    }
                }
            }
            self.known = next.tables;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::flow::grammar::parse_flow;
    use crate::flow::{Filter, RuleId};

    /// What is known of rules: their cookies, by table and number.
    #[derive(Default)]
    struct Copy(Follower, BTreeMap<(u8, RuleId), u64>);

    impl Copy {
        fn follow(&mut self, tables: &Tables, mut budget: u32) -> bool {
            let rules = &mut self.1;
            let place = |rule: &Rule| (rule.flow.table, rule.id);
            self.0.follow(tables, &mut budget, |before, after| {
                if let Some(rule) = before {
                    assert_eq!(rules.remove(&place(rule)), Some(rule.flow.cookie), "it was told before");
                }
                if let Some(rule) = after {
                    assert_eq!(rules.insert(place(rule), rule.flow.cookie), None, "it was not there");
                }
            })
        }
    }

    fn cookies(tables: &Tables) -> BTreeMap<(u8, RuleId), u64> {
        tables.rules().map(|rule| ((rule.flow.table, rule.id), rule.flow.cookie)).collect()
    }

    fn add(tables: &mut Tables, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let (table, address) = (number % 3, std::net::Ipv4Addr::from(number as u32 / 3));
            let flow = format!("table={table},cookie={number},nw_src={address},ip,actions=drop");
            tables.insert(parse_flow(&flow, &()).unwrap(), 0, 1);
        }
    }

    fn remove(tables: &mut Tables, cookie: u64, cookie_mask: u64) {
        tables.remove(&Filter { cookie, cookie_mask, ..Filter::default() });
    }

    #[test]
    fn whatever_happens_to_the_tables_what_was_told_is_what_they_hold() {
        let (mut tables, mut copy) = (Tables::new(), Copy::default());
        assert!(copy.follow(&tables, 0), "nothing to tell");
        add(&mut tables, 0..14_000);
        for turn in 0..100_u64 {
            if copy.follow(&tables, 1_000) {
                assert_eq!(copy.1, cookies(&tables), "turn {turn}");
            }
            match turn % 20 {
                3 => add(&mut tables, turn * 400..turn * 400 + 50),
                7 => remove(&mut tables, turn % 7, 7),
                9 => tables = Tables::new(),
                11 => add(&mut tables, 0..turn * 100),
                _ => {}
            }
        }
        assert!(copy.follow(&tables, u32::MAX));
        assert_eq!(copy.1, cookies(&tables));
    }

    #[test]
    fn one_change_among_many_rules_costs_little() {
        let (mut tables, mut copy) = (Tables::new(), Copy::default());
        add(&mut tables, 0..40_000);
        assert!(!copy.follow(&tables, 30_000));
        assert!(copy.follow(&tables, 20_000));
        remove(&mut tables, 17_777, u64::MAX);
        add(&mut tables, 200_000..200_002);
        assert!(copy.follow(&tables, 300));
        assert_eq!(copy.1, cookies(&tables));
    }
}
