//! Which rules were touched since an earlier state of the tables: for whoever derived something from that state and wants to
//! know whether it still holds.
//!
//! Every change has a number that no other change of this process has, so a number names a state: clones share it, and of two
//! states that went apart neither knows the other's last number. Whoever asks for a state that is not known, or is too long
//! ago, is told so and has to start over. Neighbours: `tables` notes every change; the pipeline's `sort` asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Rule;

/// Changes that are remembered.
const REMEMBERED: usize = 1024;

/// See the file's head. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct History {
    /// The number of each change and the rule that came, went or became another; oldest first.
    changes: imbl::Vector<(u64, Arc<Rule>)>,
    /// The last change that is not remembered any more; 0 for the empty tables with which all begin.
    forgotten: u64,
}

impl History {
    pub fn note(&mut self, rule: &Arc<Rule>) {
        static LAST: AtomicU64 = AtomicU64::new(0);
        if self.changes.len() == REMEMBERED
            && let Some((number, _)) = self.changes.pop_front()
        {
            self.forgotten = number;
        }
        self.changes.push_back((LAST.fetch_add(1, Relaxed) + 1, Arc::clone(rule)));
    }

    /// The number of this state.
    pub fn number(&self) -> u64 {
        self.changes.last().map_or(self.forgotten, |(number, _)| *number)
    }

    /// The rules touched since that state; `None` when it is not known here.
    pub fn since(&self, number: u64) -> Option<impl Iterator<Item = &Arc<Rule>>> {
        let newer = self.changes.iter().rev().take_while(|change| change.0 != number).count();
        let is_known = newer < self.changes.len() || number == self.forgotten;
        is_known.then(|| self.changes.iter().rev().take(newer).map(|(_, rule)| rule))
    }
}

#[cfg(test)]
mod tests {
    use crate::flow::grammar::parse_flow;
    use crate::flow::{Filter, Tables};

    fn add(tables: &mut Tables, flow: &str) {
        tables.insert(parse_flow(flow, &()).unwrap(), 0, 1);
    }

    /// Priorities of the rules touched since.
    fn since(tables: &Tables, state: u64) -> Option<Vec<u16>> {
        let mut rules: Vec<_> = tables.changes_since(state)?.map(|rule| rule.flow.priority).collect();
        rules.sort_unstable();
        Some(rules)
    }

    #[test]
    fn every_way_to_change_rules_is_remembered() {
        let mut tables = Tables::new();
        let empty = tables.state();
        add(&mut tables, "priority=1,actions=drop");
        add(&mut tables, "priority=2,udp,actions=drop");
        let two = tables.state();
        assert_eq!(since(&tables, empty), Some(vec![1, 2]));
        assert_eq!(since(&tables, two), Some(vec![]));
        add(&mut tables, "priority=2,udp,actions=2");
        let filter = Filter { matches: parse_flow("udp,actions=drop", &()).unwrap().matches, ..Filter::default() };
        tables.modify(&filter, &[], None);
        assert_eq!(since(&tables, two), Some(vec![2, 2]));
        let modified = tables.state();
        tables.remove(&filter);
        assert_eq!(since(&tables, modified), Some(vec![2]));
        let removed = tables.state();
        let last = tables.rules().next().unwrap().clone();
        tables.remove_rule(&last);
        assert_eq!(since(&tables, removed), Some(vec![1]));
        assert_eq!(since(&tables, empty), Some(vec![1, 1, 2, 2, 2, 2]));
    }

    #[test]
    fn a_state_of_other_tables_or_of_long_ago_is_not_known() {
        let mut tables = Tables::new();
        add(&mut tables, "priority=1,actions=drop");
        let before = tables.state();
        let mut taken_back = tables.clone();
        add(&mut taken_back, "priority=2,actions=drop");
        assert_eq!(since(&tables, taken_back.state()), None);
        assert_eq!(since(&Tables::new(), before), None);
        for priority in 0..super::REMEMBERED {
            add(&mut tables, &format!("priority={priority},udp,actions=drop"));
        }
        assert_eq!(since(&tables, before).map(|rules| rules.len()), Some(super::REMEMBERED));
        add(&mut tables, "priority=1,tcp,actions=drop");
        assert_eq!(since(&tables, before), None);
    }
}
