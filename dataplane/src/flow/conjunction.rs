//! Conjunctions: one rule for each value of each dimension instead of one for each combination.
//!
//! Source: `ovs-fields(7)`, "Conjunctive Match Fields". A packet that matches a rule of every dimension of a conjunction, all of
//! one priority, is looked up again with `conj_id` set. Neighbours: `table` keeps which rules are dimensions.

use std::sync::Arc;

use super::table::{FlowTable, OutOfBudget};
use super::{Action, Field, FlowKey, Rule};

/// A dimension that a packet matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dimension {
    priority: u16,
    id: u32,
    clauses: u8,
    clause: u8,
}

impl FlowTable {
    /// As [`lookup`](FlowTable::lookup), with conjunctions. `scratch` is room for what it finds on the way.
    ///
    /// # Errors
    /// When the budget is spent before the answer is certain.
    pub fn decide(
        &self,
        key: &FlowKey,
        budget: &mut u32,
        scratch: &mut Vec<Dimension>,
    ) -> Result<Option<&Arc<Rule>>, OutOfBudget> {
        if !self.has_dimensions() {
            return self.lookup(key, budget);
        }
        scratch.clear();
        let plain = self.lookup_plain(key, budget, |rule| scratch.extend(dimensions(rule)))?;
        let least = plain.map_or(0, |rule| u32::from(rule.flow.priority) + 1);
        scratch.retain(|dimension| u32::from(dimension.priority) >= least);
        scratch.sort_unstable();
        scratch.dedup();
        let is_one = |one: &Dimension, next: &Dimension| {
            (one.priority, one.id, one.clauses) == (next.priority, next.id, next.clauses)
        };
        // Highest priority first.
        for found in scratch.chunk_by(is_one).rev().filter(|found| found.len() == usize::from(found[0].clauses)) {
            let mut key = *key;
            key.set(Field::CONJ_ID, u64::from(found[0].id));
            if let Some(rule) = self.lookup_plain(&key, budget, |_| {})? {
                return Ok(Some(rule));
            }
        }
        Ok(plain)
    }

    /// The rule of highest priority that is not a dimension; shows every dimension above it to `see`.
    fn lookup_plain(
        &self,
        key: &FlowKey,
        budget: &mut u32,
        mut see: impl FnMut(&Rule),
    ) -> Result<Option<&Arc<Rule>>, OutOfBudget> {
        let mut best: Option<&Arc<Rule>> = None;
        for matching in self.matching(key) {
            *budget = budget.checked_sub(1).ok_or(OutOfBudget)?;
            let (top_priority, rules) = matching;
            let floor = |best: Option<&Arc<Rule>>| best.map_or(0, |best| u32::from(best.flow.priority) + 1);
            if u32::from(top_priority) < floor(best) {
                break;
            }
            for rule in rules {
                if u32::from(rule.flow.priority) < floor(best) {
                    break;
                }
                if dimensions(rule).next().is_none() {
                    best = Some(rule);
                    break;
                }
                see(rule);
            }
        }
        Ok(best)
    }
}

fn dimensions(rule: &Rule) -> impl Iterator<Item = Dimension> + '_ {
    let priority = rule.flow.priority;
    rule.flow.actions.iter().filter_map(move |action| match *action {
        Action::Conjunction { id, clause, clauses } => Some(Dimension { priority, id, clauses, clause }),
        _ => None,
    })
}
