//! Does one rule decide for *all* packets of which only some bits are known?
//!
//! Neighbours: the pipeline's `sort` asks at every table that such packets come through.

use std::sync::Arc;

use super::table::{FlowTable, OutOfBudget};
use super::{Action, FlowKey, KEY_WORDS, Mask, Match, Rule};

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

/// A rule whose match is not certain for packets that agree in some bits only, with what of it is certain brought together:
/// a list of many is gone through for many such sets of packets.
#[derive(Clone, Copy, Debug)]
pub struct OpenRule<'a> {
    rule: &'a Arc<Rule>,
    priority: u16,
    /// Key and mask of the first words, where port, tag and addresses lie; only bits that are certain.
    words: [(u64, u64); WORDS],
}

const WORDS: usize = 2;

impl OpenRule<'_> {
    #[inline(always)]
    fn may_match(&self, key: &FlowKey, known: &Mask) -> bool {
        let differs = |word: usize| (key.words[word] ^ self.words[word].0) & self.words[word].1;
        (0..WORDS).fold(0, |differing, word| differing | differs(word)) == 0
            && self.rule.flow.matches.may_cover(key, known)
    }
}

impl FlowTable {
    /// The rules that may decide differently among packets that agree in the bits of `known`: they look at others, or are a part of
    /// a conjunction that others complete. Highest priority first.
    #[must_use]
    pub fn open_rules(&self, known: &Mask) -> Vec<OpenRule<'_>> {
        let mut open = Vec::new();
        for (mask, rules) in self.by_mask() {
            let is_certain = mask.is_within(known);
            // Whether such rules match is the same for all of the packets.
            if is_certain && !self.has_dimensions() {
                continue;
            }
            let words = |rule: &Rule| {
                let Match { key, mask } = rule.flow.matches;
                std::array::from_fn(|word| (key.words[word], mask.words[word] & known.words[word]))
            };
            let new = |rule| OpenRule { rule, priority: rule.flow.priority, words: words(rule) };
            open.extend(rules.filter(|rule| !is_certain || is_dimension(rule)).map(new));
        }
        open.sort_by_key(|open| std::cmp::Reverse(open.priority));
        open
    }
}

/// Of the packets that agree with `key` in the bits of `known`, a table decides those with zeros elsewhere by `found` (none: by no
/// rule). Returns a rule of it because of which others may be decided differently; `None` when there is none. `open` are the
/// table's [`FlowTable::open_rules`] for `known`; each that has to be looked at costs 1 of `budget`.
///
/// # Errors
/// When the budget is spent before the answer is certain.
pub fn rival<'a>(
    key: &FlowKey,
    known: &Mask,
    found: Option<&Rule>,
    open: &[OpenRule<'a>],
    budget: &mut u32,
) -> Result<Option<&'a Arc<Rule>>, OutOfBudget> {
    // Rules below never decide; those of the same priority may, whichever of the two is found. The one found itself is a rival
    // when it looks at what is not known.
    let least = found.map_or(0, |found| found.flow.priority);
    let above = &open[..open.partition_point(|open| open.priority >= least)];
    let rival = above.iter().position(|open| open.may_match(key, known));
    let looked_at = rival.map_or(above.len(), |place| place + 1);
    *budget = u32::try_from(looked_at).ok().and_then(|cost| budget.checked_sub(cost)).ok_or(OutOfBudget)?;
    Ok(rival.map(|place| above[place].rule))
}

fn is_dimension(rule: &Rule) -> bool {
    rule.flow.actions.iter().any(|action| matches!(action, Action::Conjunction { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::grammar::{parse_flow, parse_match};

    /// The rule that `rival` names, by its priority, for packets known by this match; `found` is what decides them with zeros.
    fn rival(flows: &str, known: &str) -> Option<u16> {
        let mut table = FlowTable::new();
        for line in flows.lines() {
            table.insert(parse_flow(line.trim(), &()).unwrap(), 0, 1);
        }
        let known = parse_match(known, &()).unwrap();
        let found = table.decide(&known.key, &mut u32::MAX.clone(), &mut Vec::new()).unwrap();
        let open = table.open_rules(&known.mask);
        let rival = super::rival(&known.key, &known.mask, found.map(|rule| &**rule), &open, &mut 1000).unwrap();
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
    fn many_rules_cost_their_number() {
        let mut table = FlowTable::new();
        for port in 0..100 {
            let line = format!("priority=9,in_port=2,tcp,tp_dst={port},actions=3");
            table.insert(parse_flow(&line, &()).unwrap(), 0, 1);
        }
        let known = parse_match(VM, &()).unwrap();
        let open = table.open_rules(&known.mask);
        let ask =
            |mut budget| super::rival(&known.key, &known.mask, None, &open, &mut budget).map(|rival| rival.is_some());
        assert_eq!((ask(99), ask(100)), (Err(OutOfBudget), Ok(false)));
    }
}
