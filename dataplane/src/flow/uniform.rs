//! Does one rule decide for *all* packets of which only some bits are known?
//!
//! Neighbours: the pipeline's `sort` asks at every table that such packets come through.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use super::table::{FlowTable, OutOfBudget, Through};
use super::{Action, FlowKey, KEY_WORDS, KeyShape, Mask, Match, Rule, RuleId};

impl Match {
    /// True when some packet is meant among those that agree with `key` in the bits of `known`.
    #[must_use]
    pub fn may_cover(&self, key: &FlowKey, known: &Mask) -> bool {
        let differs = |word| (key.words[word] ^ self.key.words[word]) & self.mask.words[word] & known.words[word];
        (0..KEY_WORDS).all(|word| differs(word) == 0)
    }
}

impl Mask {
    /// True when everything that counts here also counts in `other`.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        (0..KEY_WORDS).all(|word| self.words[word] & !other.words[word] == 0)
    }
}

/// The rules of a table that may decide differently among packets that agree in some bits: they look at others, or are a part of a
/// conjunction that others complete. By what they say about the bits that are known, so that those which such packets may
/// match are found without looking at the others; kept up to date rule by rule.
pub struct OpenRules {
    known: Mask,
    /// By what of the known bits they look at.
    groups: HashMap<Mask, Group>,
}

/// Rules, highest priority first.
type Chain = BTreeSet<(Reverse<u16>, RuleId)>;

/// Rules that look at the same of the known bits.
struct Group {
    shape: KeyShape,
    /// By hash of these bits.
    chains: HashMap<u64, Chain, BuildHasherDefault<Through>>,
}

impl OpenRules {
    /// None yet. They will be asked about packets that agree in the bits of `known`.
    #[must_use]
    pub fn new(known: Mask) -> Self {
        Self { known, groups: HashMap::new() }
    }

    /// Takes in that a rule went, one came, or both, where one came in the place of the other.
    pub fn change(&mut self, before: Option<&Rule>, after: Option<&Rule>) {
        let [before, after] = [before, after].map(|rule| rule.filter(|rule| self.is_open(rule)));
        let place = |rule: &Rule| (rule.id, rule.flow.priority, rule.flow.matches);
        if before.map(place) == after.map(place) {
            return;
        }
        if let Some(rule) = before {
            let mask = self.certain(rule);
            if let Some(group) = self.groups.get_mut(&mask) {
                group.remove(rule);
                if group.chains.is_empty() {
                    self.groups.remove(&mask);
                }
            }
        }
        if let Some(rule) = after {
            let mask = self.certain(rule);
            let new = || Group { shape: KeyShape::new(&mask), chains: HashMap::default() };
            self.groups.entry(mask).or_insert_with(new).insert(rule);
        }
    }

    fn is_open(&self, rule: &Rule) -> bool {
        !rule.flow.matches.mask.is_within(&self.known) || is_dimension(rule)
    }

    /// What of the known bits the rule looks at.
    fn certain(&self, rule: &Rule) -> Mask {
        let mask = &rule.flow.matches.mask;
        Mask { words: std::array::from_fn(|word| mask.words[word] & self.known.words[word]) }
    }

    /// Of the packets that agree with `key` in the bits that are known, the table decides those with zeros elsewhere by `found` (none:
    /// by no rule). Returns a rule of it because of which others may be decided differently; `None` when there is none. These
    /// must be the open rules of this `table` (none: it has no rules). Each probe costs 1 of `budget`.
    ///
    /// # Errors
    /// When the budget is spent before the answer is certain.
    pub fn rival<'a>(
        &self,
        table: Option<&'a FlowTable>,
        key: &FlowKey,
        found: Option<&Rule>,
        budget: &mut u32,
    ) -> Result<Option<&'a Arc<Rule>>, OutOfBudget> {
        let mut best: Option<&'a Arc<Rule>> = None;
        for group in self.groups.values() {
            *budget = budget.checked_sub(1).ok_or(OutOfBudget)?;
            for &(Reverse(priority), id) in group.chains.get(&group.shape.hash(key)).into_iter().flatten() {
                // Rules below never decide; those of the same priority may, whichever of the two is found. The one found itself is
                // a rival when it looks at what is not known.
                let least = found.map_or(0, |found| found.flow.priority);
                if priority < least || best.is_some_and(|best| (best.flow.priority, id) >= (priority, best.id)) {
                    break;
                }
                // Hashes of different bits are equal now and then.
                let rule = table.and_then(|table| table.rule(id));
                if let Some(rule) = rule.filter(|rule| rule.flow.matches.may_cover(key, &self.known)) {
                    best = Some(rule);
                    break;
                }
                *budget = budget.checked_sub(1).ok_or(OutOfBudget)?;
            }
        }
        Ok(best)
    }
}

impl Group {
    fn insert(&mut self, rule: &Rule) {
        let hash = self.shape.hash(&rule.flow.matches.key);
        self.chains.entry(hash).or_default().insert((Reverse(rule.flow.priority), rule.id));
    }

    fn remove(&mut self, rule: &Rule) {
        let hash = self.shape.hash(&rule.flow.matches.key);
        if let Some(chain) = self.chains.get_mut(&hash) {
            chain.remove(&(Reverse(rule.flow.priority), rule.id));
            if chain.is_empty() {
                self.chains.remove(&hash);
            }
        }
    }
}

fn is_dimension(rule: &Rule) -> bool {
    rule.flow.actions.iter().any(|action| matches!(action, Action::Conjunction { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::grammar::{parse_flow, parse_match};

    fn open_rules(table: &FlowTable, known: Mask) -> OpenRules {
        let mut open = OpenRules::new(known);
        table.iter().for_each(|rule| open.change(None, Some(rule)));
        open
    }

    /// The rule that `rival` names, by its priority, for packets known by this match; `found` is what decides them with zeros.
    fn rival(flows: &str, known: &str) -> Option<u16> {
        let mut table = FlowTable::new();
        for line in flows.lines() {
            table.insert(parse_flow(line.trim(), &()).unwrap(), 0, 1);
        }
        let known = parse_match(known, &()).unwrap();
        let found = table.decide(&known.key, &mut u32::MAX.clone(), &mut Vec::new()).unwrap();
        let open = open_rules(&table, known.mask);
        let rival = open.rival(Some(&table), &known.key, found.map(|rule| &**rule), &mut 1000).unwrap();
        rival.map(|rule| rule.flow.priority)
    }

    const VM: &str = "in_port=1,dl_dst=02:00:00:00:00:05";

    #[test]
    fn rules_that_look_at_nothing_else_decide_for_all() {
        assert_eq!(rival("priority=7,actions=2\npriority=5,tcp,actions=3", VM), None);
        assert_eq!(
            rival("priority=7,dl_dst=02:00:00:00:00:05,actions=2\npriority=9,in_port=3,tcp,actions=3", VM),
            None
        );
        assert_eq!(rival("priority=9,dl_dst=02:00:00:00:00:04/02:00:00:00:00:06,ip,actions=3", VM), Some(9));
        assert_eq!(rival("priority=9,dl_dst=02:00:00:00:00:06/02:00:00:00:00:06,ip,actions=3", VM), None);
    }

    #[test]
    fn a_rule_that_may_match_some_of_them_is_a_rival_unless_it_is_below() {
        assert_eq!(rival("priority=7,actions=2\npriority=9,tcp,tp_dst=80,actions=3", VM), Some(9));
        assert_eq!(rival("priority=7,actions=2\npriority=7,dl_src=02:00:00:00:00:01,actions=3", VM), Some(7));
        assert_eq!(rival("priority=7,actions=2\npriority=6,dl_src=02:00:00:00:00:01,actions=3", VM), None);
        assert_eq!(rival("priority=1,udp,actions=2", VM), Some(1), "without it, no rule decides");
    }

    #[test]
    fn the_rule_found_may_itself_look_at_what_is_not_known() {
        // Zero matches: frames that carry no IP have none of these addresses.
        assert_eq!(rival("priority=3,dl_src=00:00:00:00:00:00,actions=2", VM), Some(3));
    }

    #[test]
    fn a_part_of_a_conjunction_is_a_rival() {
        let flows = "priority=9,dl_dst=02:00:00:00:00:05,actions=conjunction(1,1/2)\n\
                     priority=9,tcp,tp_dst=80,actions=conjunction(1,2/2)\n\
                     priority=9,conj_id=1,actions=3\n\
                     priority=1,actions=2";
        assert_eq!(rival(flows, VM), Some(9));
        assert_eq!(rival(&flows.replace("priority=1,", "priority=10,"), VM), None);
    }

    #[test]
    fn rules_cost_as_many_probes_as_there_are_things_to_look_at() {
        let mut table = FlowTable::new();
        for port in 0..100 {
            for looks_at in ["in_port=2,", "dl_dst=02:00:00:00:00:06,", "in_port=1,dl_dst=02:00:00:00:00:07,"] {
                let line = format!("priority=9,{looks_at}tcp,tp_dst={port},actions=3");
                table.insert(parse_flow(&line, &()).unwrap(), 0, 1);
            }
        }
        let known = parse_match(VM, &()).unwrap();
        let open = open_rules(&table, known.mask);
        let ask = |mut budget| open.rival(Some(&table), &known.key, None, &mut budget).map(|rival| rival.is_some());
        assert_eq!((ask(2), ask(3)), (Err(OutOfBudget), Ok(false)));
    }

    #[test]
    fn rules_that_come_change_and_go_leave_what_the_table_holds() {
        let mut table = FlowTable::new();
        let known = parse_match(VM, &()).unwrap();
        let mut open = OpenRules::new(known.mask);
        let mut add = |table: &mut FlowTable, line: &str| {
            let inserted = table.insert(parse_flow(line, &()).unwrap(), 0, 1);
            open.change(inserted.replaced.as_deref(), Some(&inserted.rule));
            inserted.rule
        };
        // One that is open only as a part of a conjunction, and then not any more.
        add(&mut table, "priority=9,dl_dst=02:00:00:00:00:05,actions=conjunction(1,1/2)");
        add(&mut table, "priority=9,dl_dst=02:00:00:00:00:05,actions=2");
        let tcp = add(&mut table, "priority=8,tcp,actions=2");
        let udp = add(&mut table, "priority=7,udp,actions=2");
        let rival = |open: &OpenRules, table: &FlowTable| {
            open.rival(Some(table), &known.key, None, &mut 1000).unwrap().map(|rule| rule.flow.priority)
        };
        assert_eq!(rival(&open, &table), Some(8));
        open.change(table.remove_id(tcp.id).as_deref(), None);
        assert_eq!(rival(&open, &table), Some(7));
        open.change(table.remove_id(udp.id).as_deref(), None);
        assert_eq!(rival(&open, &table), None);
        assert!(open.groups.is_empty());
    }
}
