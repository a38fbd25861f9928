//! The rules of one table, found by tuple space search, in a structure that is cheap to clone and to change.
//!
//! Control clones the published table (two pointers), changes one rule in the clone and publishes that; workers keep
//! reading theirs. Rules with the same mask form a subtable: one hash probe tells which of them match a packet. Packets
//! choose what is searched for and rules how many subtables there are, so each search has a budget of probes.
//! Neighbours: control builds it, the pipeline looks up what its cache does not know.

use std::cmp::Reverse;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use imbl::shared_ptr::DefaultSharedPtr;

use super::reads::Reads;
use super::slab::Slab;
use super::{Action, Filter, Flow, FlowKey, KeyShape, Mask, Match, Rule, RuleId, RuleLane};

/// Prioritised rules. See the file's head.
#[derive(Clone)]
pub struct FlowTable {
    rules: Slab,
    /// Highest priority first.
    subtables: Arc<Vec<Arc<Subtable>>>,
    /// Rules with a timeout: nobody has to look at the others now and then.
    timed: imbl::OrdSet<RuleId>,
    /// What rules' actions look at.
    reads: Reads,
    /// Rules that are a dimension of a conjunction.
    dimensions: imbl::OrdSet<RuleId>,
}

/// The rules that share a mask.
#[derive(Clone)]
struct Subtable {
    shape: KeyShape,
    /// By hash of the masked key.
    chains: imbl::GenericHashMap<u64, Chain, BuildHasherDefault<Through>, DefaultSharedPtr>,
    /// How many rules have which priority.
    priorities: imbl::OrdMap<u16, usize>,
}

/// Rules whose masked keys have the same hash: nearly always equal keys, highest priority first.
#[derive(Clone)]
struct Chain {
    id: RuleId,
    priority: u16,
    next: Option<Arc<Chain>>,
}

/// The keys of the maps are hashes already.
#[derive(Default)]
pub(super) struct Through(u64);

impl Hasher for Through {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 keys are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What [`FlowTable::insert`] did.
#[derive(Debug)]
pub struct Inserted {
    /// The rule as installed.
    pub rule: Arc<Rule>,
    /// The rule with the same match and priority that made way.
    pub replaced: Option<Arc<Rule>>,
}

/// The search was given up: more subtables than the budget allows for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("looking up a flow: the budget of probes is spent")]
pub struct OutOfBudget;

impl Default for FlowTable {
    fn default() -> Self {
        Self::new()
    }
}

impl FlowTable {
    /// No rules.
    #[must_use]
    pub fn new() -> Self {
        Self {
            rules: Slab::new(),
            subtables: Arc::new(Vec::new()),
            timed: imbl::OrdSet::new(),
            reads: Reads::default(),
            dimensions: imbl::OrdSet::new(),
        }
    }

    /// Rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rule with this number.
    #[inline(always)]
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&Arc<Rule>> {
        self.rules.rule(id)
    }

    /// All rules, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter()
    }

    /// The rules that time out some day.
    pub fn timed(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.timed.iter().filter_map(|id| self.rules.rule(*id))
    }

    /// True when the other table is this one or a clone, and neither changed since. Compares two pointers; of two tables that
    /// hold the same rules for another reason it may say false.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.rules.is_same(&other.rules) && Arc::ptr_eq(&self.subtables, &other.subtables)
    }

    /// Tells rules that are different in `after`, see [`Slab::differ`].
    pub(super) fn differ(
        before: Option<&Self>,
        after: Option<&Self>,
        from: u32,
        budget: &mut u32,
        tell: &mut impl FnMut(Option<&Arc<Rule>>, Option<&Arc<Rule>>),
    ) -> Option<u32> {
        Slab::differ(before.map(|table| &table.rules), after.map(|table| &table.rules), from, budget, tell)
    }

    /// What rules' actions look at.
    pub(super) fn reads(&self) -> &Reads {
        &self.reads
    }

    /// What any rule looks at to match.
    #[must_use]
    pub fn union_mask(&self) -> Mask {
        let mut union = Mask::NONE;
        for subtable in &*self.subtables {
            union.union(subtable.shape.mask());
        }
        union
    }

    /// The rule of highest priority that matches the key. Each probe of a subtable costs 1 of `budget`.
    ///
    /// # Errors
    /// When the budget is spent before the answer is certain.
    pub fn lookup(&self, key: &FlowKey, budget: &mut u32) -> Result<Option<&Arc<Rule>>, OutOfBudget> {
        let mut best: Option<&Arc<Rule>> = None;
        for subtable in &*self.subtables {
            if best.is_some_and(|best| best.flow.priority >= subtable.top_priority()) {
                break;
            }
            *budget = budget.checked_sub(1).ok_or(OutOfBudget)?;
            if let Some(rule) = subtable.find(key, None, &self.rules)
                && best.is_none_or(|best| rule.flow.priority > best.flow.priority)
            {
                best = Some(rule);
            }
        }
        Ok(best)
    }

    /// For each subtable, highest priority first: that priority, and its rules that match the key.
    pub(super) fn matching<'a, 'k>(
        &'a self,
        key: &'k FlowKey,
    ) -> impl Iterator<Item = (u16, impl Iterator<Item = &'a Arc<Rule>> + use<'a, 'k>)> + use<'a, 'k> {
        self.subtables.iter().map(|subtable| (subtable.top_priority(), subtable.matching(key, &self.rules)))
    }

    /// All rules, in such an order that the first that matches a packet decides; unless it is a dimension of a conjunction, which
    /// says only that rules before it do not.
    #[must_use]
    pub fn by_precedence(&self) -> Vec<&Arc<Rule>> {
        let mut rules: Vec<_> = self.subtables.iter().flat_map(|subtable| subtable.rules(&self.rules)).collect();
        // Stable: of rules with the same priority, a lookup finds the one in the subtable that it asks first.
        rules.sort_by_key(|rule| Reverse(rule.flow.priority));
        rules
    }

    /// True when some rule is a dimension of a conjunction.
    pub(super) fn has_dimensions(&self) -> bool {
        !self.dimensions.is_empty()
    }

    /// The rule with exactly this match and priority.
    #[must_use]
    pub fn find(&self, matches: &Match, priority: u16) -> Option<&Arc<Rule>> {
        let place = self.place_of(&matches.mask)?;
        self.subtables[place].find(&matches.key, Some(priority), &self.rules)
    }

    /// The rules that the filter selects.
    #[must_use]
    pub fn select(&self, filter: &Filter) -> Vec<Arc<Rule>> {
        match filter.strict_priority {
            Some(priority) => {
                self.find(&filter.matches, priority).filter(|rule| filter.selects(rule)).cloned().into_iter().collect()
            }
            None => self.iter().filter(|rule| filter.selects(rule)).cloned().collect(),
        }
    }

    /// Installs a flow; one with the same match and priority is replaced, and its counters go with it. `lanes` is the
    /// number of workers that will count.
    pub fn insert(&mut self, flow: Flow, now_ms: u64, lanes: usize) -> Inserted {
        self.put(flow, now_ms, |_| (0..lanes).map(|_| RuleLane::default()).collect())
    }

    /// The same, but the counters of the one that is replaced go on.
    pub fn insert_counting_on(&mut self, flow: Flow, now_ms: u64, lanes: usize) -> Inserted {
        let new = || (0..lanes).map(|_| RuleLane::default()).collect();
        self.put(flow, now_ms, |replaced| replaced.map_or_else(new, |old| Arc::clone(&old.stats)))
    }

    /// Puts another rule in the place of one with the same number, match and priority.
    pub fn exchange(&mut self, rule: Arc<Rule>) {
        if let Some(old) = self.rules.rule(rule.id).cloned() {
            self.unnote(&old);
        }
        self.note(&rule);
        self.rules.replace(rule);
    }

    fn put(
        &mut self,
        mut flow: Flow,
        now_ms: u64,
        stats: impl FnOnce(Option<&Arc<Rule>>) -> Arc<[RuleLane]>,
    ) -> Inserted {
        flow.matches = flow.matches.normalized();
        let (matches, priority) = (flow.matches, flow.priority);
        let replaced = self.find(&matches, priority).cloned();
        let id = replaced.as_ref().map_or_else(|| self.rules.next_id(), |old| old.id);
        let stats = stats(replaced.as_ref());
        let rule = Arc::new(Rule { id, flow, created_ms: now_ms, modified_ms: now_ms.into(), stats });
        if let Some(old) = &replaced {
            self.unnote(old);
        }
        self.note(&rule);
        if replaced.is_some() {
            self.rules.replace(Arc::clone(&rule));
        } else {
            self.rules.insert(Arc::clone(&rule));
            self.change_subtable(&matches.mask, |subtable| subtable.link(&matches.key, id, priority));
        }
        Inserted { rule, replaced }
    }

    /// Gives the selected rules other actions, and another cookie when one is given. Counters and ages stay. Returns the
    /// rules as they are now.
    pub fn modify(&mut self, filter: &Filter, actions: &[Action], cookie: Option<u64>) -> Vec<Arc<Rule>> {
        let changed = self.select(filter).into_iter().map(|old| {
            let flow =
                Flow { actions: actions.to_vec(), cookie: cookie.unwrap_or(old.flow.cookie), ..old.flow.clone() };
            Arc::new(old.changed(flow, old.created_ms, Arc::clone(&old.stats)))
        });
        let changed: Vec<_> = changed.collect();
        changed.iter().for_each(|rule| self.exchange(Arc::clone(rule)));
        changed
    }

    /// Takes the rule into the lists of those with a timeout, with actions that look at something and so on.
    fn note(&mut self, rule: &Rule) {
        if rule.flow.times_out() {
            self.timed.insert(rule.id);
        }
        if rule.flow.actions.iter().any(|action| matches!(action, Action::Conjunction { .. })) {
            self.dimensions.insert(rule.id);
        }
        self.reads.add(&rule.flow.actions);
    }

    fn unnote(&mut self, rule: &Rule) {
        self.timed.remove(&rule.id);
        self.dimensions.remove(&rule.id);
        self.reads.remove(&rule.flow.actions);
    }

    /// Removes the selected rules and returns them.
    pub fn remove(&mut self, filter: &Filter) -> Vec<Arc<Rule>> {
        let selected = self.select(filter);
        selected.iter().filter_map(|rule| self.remove_id(rule.id)).collect()
    }

    /// Removes the rule with this number.
    pub fn remove_id(&mut self, id: RuleId) -> Option<Arc<Rule>> {
        let rule = self.rules.remove(id)?;
        self.unnote(&rule);
        let Flow { matches, priority, .. } = &rule.flow;
        self.change_subtable(&matches.mask, |subtable| subtable.unlink(&matches.key, id, *priority));
        Some(rule)
    }

    fn place_of(&self, mask: &Mask) -> Option<usize> {
        self.subtables.iter().position(|subtable| subtable.shape.mask() == mask)
    }

    /// Changes the subtable of this mask (a new one when there is none), drops it when it is empty after that, and keeps
    /// the order by priority.
    fn change_subtable(&mut self, mask: &Mask, change: impl FnOnce(&mut Subtable)) {
        let place = self.place_of(mask);
        let subtables = Arc::make_mut(&mut self.subtables);
        let place = place.unwrap_or_else(|| {
            subtables.push(Arc::new(Subtable::new(mask)));
            subtables.len() - 1
        });
        let subtable = Arc::make_mut(&mut subtables[place]);
        change(subtable);
        let top = subtable.top_priority();
        let in_order = subtables.get(place + 1).is_none_or(|after| after.top_priority() <= top)
            && (place == 0 || subtables[place - 1].top_priority() >= top);
        if subtables[place].priorities.is_empty() {
            subtables.remove(place);
        } else if !in_order {
            let subtable = subtables.remove(place);
            let place = subtables.partition_point(|other| other.top_priority() >= top);
            subtables.insert(place, subtable);
        }
    }
}

impl Subtable {
    fn new(mask: &Mask) -> Self {
        Self { shape: KeyShape::new(mask), chains: imbl::GenericHashMap::default(), priorities: imbl::OrdMap::new() }
    }

    fn top_priority(&self) -> u16 {
        self.priorities.get_max().map_or(0, |(priority, _)| *priority)
    }

    fn hash(&self, key: &FlowKey) -> u64 {
        self.shape.hash(key)
    }

    /// The rule that matches the key: the one with this priority, or the one with the highest.
    fn find<'a>(&self, key: &FlowKey, priority: Option<u16>, rules: &'a Slab) -> Option<&'a Arc<Rule>> {
        let mut next = self.chains.get(&self.hash(key));
        while let Some(chain) = next {
            if priority.is_none_or(|wanted| wanted == chain.priority)
                && let Some(rule) = rules.rule(chain.id)
                && rule.flow.matches.covers(key)
            {
                return Some(rule);
            }
            next = chain.next.as_deref();
        }
        None
    }

    /// All rules that match the key, highest priority first.
    fn matching<'a, 'k>(
        &'a self,
        key: &'k FlowKey,
        rules: &'a Slab,
    ) -> impl Iterator<Item = &'a Arc<Rule>> + use<'a, 'k> {
        let entries = Chain::entries(self.chains.get(&self.hash(key)));
        entries.filter_map(|(id, _)| rules.rule(id)).filter(|rule| rule.flow.matches.covers(key))
    }

    /// All rules.
    fn rules<'a>(&'a self, rules: &'a Slab) -> impl Iterator<Item = &'a Arc<Rule>> {
        self.chains.values().flat_map(|chain| Chain::entries(Some(chain))).filter_map(|(id, _)| rules.rule(id))
    }

    fn link(&mut self, key: &FlowKey, id: RuleId, priority: u16) {
        *self.priorities.entry(priority).or_default() += 1;
        let hash = self.hash(key);
        let mut entries: Vec<_> = Chain::entries(self.chains.get(&hash)).collect();
        let place = entries.partition_point(|&(_, other)| other >= priority);
        entries.insert(place, (id, priority));
        self.set_chain(hash, &entries);
    }

    fn unlink(&mut self, key: &FlowKey, id: RuleId, priority: u16) {
        let left = self.priorities.get(&priority).map_or(0, |count| count - 1);
        if left == 0 {
            self.priorities.remove(&priority);
        } else {
            self.priorities.insert(priority, left);
        }
        let hash = self.hash(key);
        let entries: Vec<_> = Chain::entries(self.chains.get(&hash)).filter(|&(other, _)| other != id).collect();
        self.set_chain(hash, &entries);
    }

    fn set_chain(&mut self, hash: u64, entries: &[(RuleId, u16)]) {
        let chain =
            entries.iter().rev().fold(None, |next, &(id, priority)| Some(Arc::new(Chain { id, priority, next })));
        match chain {
            Some(chain) => self.chains.insert(hash, Arc::unwrap_or_clone(chain)),
            None => self.chains.remove(&hash),
        };
    }
}

impl Chain {
    fn entries(first: Option<&Self>) -> impl Iterator<Item = (RuleId, u16)> {
        std::iter::successors(first, |chain| chain.next.as_deref()).map(|chain| (chain.id, chain.priority))
    }
}

#[cfg(test)]
mod tests;
