//! The few rules of a small table 0, as a list that packets are compared with, one rule after the other.
//!
//! Between parse and cache: what the cache would have to remember of every flow, under rules that look at ports and addresses, the list
//! knows of all of them at once. A million flows cost what one costs, and touch no memory but the list. A rule is tested by its word
//! of most bits first: that is where nearly every packet that it does not mean already differs.
//!
//! What is answered is what a walk would find (`record::judge`), and only where that is the same for whatever a rule matches: for rules
//! with plain actions, and for packets that no rule matches and nobody is told of. All others are left to the cache.
//! Trust: packets choose keys; each costs at most [`MAX_TESTS`] comparisons. Neighbours: the snapshot holds it, the classifier asks.

use super::cache::Verdict;
use super::snapshot::Program;
use crate::flow::{FRAME_WORDS, FlowKey, Rule, is_plain};

/// Most rules of a list: more, and the cache is as fast for a flow that it remembers.
const MAX_RULES: usize = 16;
/// Most comparisons for a packet: so many rules that look at IPv4 addresses and ports.
const MAX_TESTS: usize = 4 * MAX_RULES;

/// See the file's head.
#[derive(Clone, Debug)]
pub struct Shortlist {
    /// The first one that matches decides.
    entries: Box<[Entry]>,
    /// Of packets that none of them matches.
    miss: Verdict,
}

/// A rule.
#[derive(Clone, Debug)]
struct Entry {
    /// The one that most packets fail; beside the others, so that going past a rule takes one look.
    first: Test,
    rest: Box<[Test]>,
    /// Not known where more than the rule decides: its actions are not plain, or lead to a conjunction.
    verdict: Verdict,
}

/// What a word of the key has to be; by default anything.
#[derive(Clone, Copy, Debug, Default)]
struct Test {
    word: usize,
    mask: u64,
    value: u64,
}

impl Shortlist {
    /// The list of these rules; `None` when they are too many, or when it would leave every packet to the cache.
    #[must_use]
    pub fn of(program: &Program) -> Option<Self> {
        let table = program.tables.table(0);
        if table.is_some_and(|table| table.len() > MAX_RULES) {
            return None;
        }
        let rules = table.map(|table| table.by_precedence()).unwrap_or_default();
        let mut entries: Vec<_> = rules.into_iter().filter_map(|rule| Entry::new(rule)).collect();
        let mut miss = if program.miss_to_controller { Verdict::UNKNOWN } else { Verdict::NO_RULE };
        if let Some(last) = entries.iter().position(|entry| entry.first.mask == 0) {
            // It matches everything: what is behind it decides nothing.
            miss = entries[last].verdict;
            entries.truncate(last);
        }
        while !miss.is_known() && entries.pop_if(|last| !last.verdict.is_known()).is_some() {}
        let is_short = entries.iter().map(|entry| 1 + entry.rest.len()).sum::<usize>() <= MAX_TESTS;
        let is_of_use = miss.is_known() || !entries.is_empty();
        (is_short && is_of_use).then(|| Self { entries: entries.into(), miss })
    }

    /// The verdict of packets with this key, that came in just now; not known when it is not the list that decides.
    #[inline(always)]
    pub(super) fn decide(&self, key: &FlowKey) -> Verdict {
        let matches = |entry: &&Entry| entry.first.holds(key) && entry.rest.iter().all(|test| test.holds(key));
        let entry = self.entries.iter().find(matches);
        entry.map_or(self.miss, |entry| entry.verdict)
    }
}

impl Entry {
    /// `None` for a rule that wants what no frame has when it comes in, such as a register or a conjunction.
    fn new(rule: &Rule) -> Option<Self> {
        let matches = &rule.flow.matches;
        if matches.key.words[FRAME_WORDS..].iter().any(|&word| word != 0) {
            return None;
        }
        let test = |word| Test { word, mask: matches.mask.words[word], value: matches.key.words[word] };
        let mut tests: Vec<_> = (0..FRAME_WORDS).map(test).filter(|test| test.mask != 0).collect();
        // Of words alike, those behind say more: ports differ where types do not.
        tests.sort_by_key(|test| std::cmp::Reverse((test.mask.count_ones(), test.word)));
        let rest = tests.split_off(tests.len().min(1));
        let first = tests.pop().unwrap_or_default();
        let is_plain = rule.flow.actions.iter().all(is_plain);
        let verdict = if is_plain { Verdict::rule(rule.id) } else { Verdict::UNKNOWN };
        Some(Self { first, rest: rest.into(), verdict })
    }
}

impl Test {
    #[inline(always)]
    fn holds(&self, key: &FlowKey) -> bool {
        // Always below it: the remainder spares a check.
        (key.words[self.word % FRAME_WORDS] ^ self.value) & self.mask == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::flow::grammar::parse_flow;
    use crate::flow::{Field, KEY_WORDS};
    use crate::pipeline::cache::Kind;
    use crate::pipeline::classify::Workshop;
    use crate::pipeline::path::Paths;
    use crate::pipeline::record::judge;
    use crate::pipeline::{BridgePorts, BridgeView, Fdb, TableStats};

    /// Few values of few fields, so that rules overlap and packets meet them; one field that no frame fills.
    const FIELDS: [Field; 6] =
        [Field::IN_PORT, Field::DL_SRC, Field::NW_PROTO, Field::NW_DST, Field::TP_DST, Field::CONJ_ID];
    const ACTIONS: [&str; 6] = ["drop", "1", "2,3", "goto_table:1", "conjunction(1,1/2)", "conjunction(1,2/2)"];

    fn dice() -> impl FnMut(u64) -> u64 {
        let mut state = 88_172_645_463_325_252_u64;
        move |limit| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % limit
        }
    }

    #[test]
    fn what_it_decides_a_walk_decides_too() {
        let mut dice = dice();
        let (mut paths, mut workshop) = (Paths::new(64), Workshop::default());
        let (mut known, mut unknown) = (0, 0);
        for _ in 0..3000 {
            let mut program = Program { miss_to_controller: dice(3) == 0, ..Program::default() };
            let conjunctions = dice(2) == 0;
            for _ in 0..dice(9) {
                let mut flow =
                    parse_flow(&format!("actions={}", ACTIONS[dice(if conjunctions { 6 } else { 4 }) as usize]), &())
                        .expect("a flow");
                flow.priority = dice(4) as u16;
                for field in FIELDS {
                    if dice(3) == 0 {
                        // No rule that can match asks for more of what is zero than that it is.
                        flow.matches.want(field, dice(3), 1 + dice(3));
                    }
                }
                program.tables.insert(flow, 0, 1);
            }
            let (fdb, stats) = (Arc::new(Fdb::new(16)), Arc::new(TableStats::new(1)));
            let bridge = BridgeView::new(1, program, fdb, Arc::new(BridgePorts::default()), stats);
            let Some(list) = &bridge.shortlist else { continue };
            for _ in 0..20 {
                let mut key = FlowKey { words: [0; KEY_WORDS] };
                FIELDS[..5].iter().for_each(|&field| key.set(field, dice(4)));
                let (budget, full) = (&mut { u32::MAX }, &mut false);
                let walked = judge(&bridge, &bridge.seen(&key), &mut paths, &mut workshop, budget, full);
                let found = list.decide(&key);
                // A conjunction may come to the rule that the list would have named, or to none.
                let may_leave = matches!(walked.kind(), Kind::Path(_)) || conjunctions;
                assert!(found == walked || may_leave && !found.is_known(), "{walked:?} {found:?} {key:?} {list:?}");
                known += u32::from(found.is_known());
                unknown += u32::from(!found.is_known());
            }
            paths.clear();
        }
        assert!(known > 5000 && unknown > 5000, "{known} known, {unknown} not");
    }
}
