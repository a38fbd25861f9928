//! The tables of a bridge, by number.
//!
//! Most bridges use one or a few of the 254, so only those that hold rules are there. Cheap to clone and to change, as each
//! table is. Neighbours: control keeps and changes them, the pipeline walks through them.

use std::sync::Arc;

use super::history::History;
use super::{Action, Filter, Flow, FlowTable, Inserted, Mask, Rule};

/// Tables there are: 0 to 253.
pub const TABLES: u8 = 254;

/// See the file's head.
#[derive(Clone, Default)]
pub struct Tables {
    /// By number, ascending; none is empty.
    list: Arc<Vec<(u8, FlowTable)>>,
    history: History,
}

impl Tables {
    /// No rules in any table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The table with this number, when it holds rules.
    #[inline(always)]
    #[must_use]
    pub fn table(&self, number: u8) -> Option<&FlowTable> {
        // The first place is table 0's whenever it holds rules: no search in the common case.
        match self.list.first() {
            Some((first, table)) if *first == number => Some(table),
            _ => self.place(number).ok().map(|place| &self.list[place].1),
        }
    }

    /// The tables that hold rules, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &FlowTable)> {
        self.list.iter().map(|(number, table)| (*number, table))
    }

    /// All rules, in no order that means anything.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.list.iter().flat_map(|(_, table)| table.iter())
    }

    /// Rules in all tables.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.iter().map(|(_, table)| table.len()).sum()
    }

    /// True when no table holds a rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// True when the others are these or a clone, and neither changed since.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.list.len() == other.list.len()
            && self.iter().zip(other.iter()).all(|((one, table), (two, other))| one == two && table.is_same(other))
    }

    /// A number for the rules as they are now: no other state of any tables has it, but for those without rules.
    #[must_use]
    pub fn state(&self) -> u64 {
        self.history.number()
    }

    /// The rules that came, went or changed since the tables were in this [`state`](Self::state); `None` when that is not known.
    pub fn changes_since(&self, state: u64) -> Option<impl Iterator<Item = &Arc<Rule>>> {
        self.history.since(state)
    }

    /// What any rule of any table looks at: to match, and in its actions where packets are walked through the tables.
    #[must_use]
    pub fn union_mask(&self) -> Mask {
        let mut union = Mask::NONE;
        self.iter().for_each(|(_, table)| union.union(&table.union_mask()));
        if self.iter().any(|(_, table)| table.reads().need_walks()) {
            self.iter().flat_map(|(_, table)| table.reads().masks()).for_each(|mask| union.union(mask));
        }
        union
    }

    /// True when some rule looks at which ports' links are up.
    #[must_use]
    pub fn watch_links(&self) -> bool {
        self.iter().any(|(_, table)| table.reads().watch_links())
    }

    /// The rules that time out some day.
    pub fn timed(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.list.iter().flat_map(|(_, table)| table.timed())
    }

    /// The rules that the filter selects.
    #[must_use]
    pub fn select(&self, filter: &Filter) -> Vec<Arc<Rule>> {
        let meant = |number: &u8| filter.table.is_none_or(|wanted| wanted == *number);
        self.iter().filter(|(number, _)| meant(number)).flat_map(|(_, table)| table.select(filter)).collect()
    }

    /// Installs a flow in its table; one with the same match and priority is replaced. See [`FlowTable::insert`].
    pub fn insert(&mut self, flow: Flow, now_ms: u64, lanes: usize) -> Inserted {
        let number = flow.table;
        let inserted = self.change(number, |table| table.insert(flow, now_ms, lanes));
        self.history.note(&inserted.rule);
        inserted
    }

    /// The same, but counters of a flow that is replaced go on. See [`FlowTable::insert_counting_on`].
    pub fn insert_counting_on(&mut self, flow: Flow, now_ms: u64, lanes: usize) -> Inserted {
        let number = flow.table;
        let inserted = self.change(number, |table| table.insert_counting_on(flow, now_ms, lanes));
        self.history.note(&inserted.rule);
        inserted
    }

    /// Puts another rule in the place of one with the same table, number, match and priority.
    pub fn exchange(&mut self, rule: Arc<Rule>) {
        self.history.note(&rule);
        self.change(rule.flow.table, |table| table.exchange(rule));
    }

    /// Gives the selected rules other actions. See [`FlowTable::modify`].
    pub fn modify(&mut self, filter: &Filter, actions: &[Action], cookie: Option<u64>) -> Vec<Arc<Rule>> {
        let touched = self.touched(filter);
        let modify = |number| self.change(number, |table| table.modify(filter, actions, cookie));
        let modified: Vec<_> = touched.into_iter().flat_map(modify).collect();
        modified.iter().for_each(|rule| self.history.note(rule));
        modified
    }

    /// Removes the selected rules and returns them.
    pub fn remove(&mut self, filter: &Filter) -> Vec<Arc<Rule>> {
        let touched = self.touched(filter);
        let remove = |number| self.change(number, |table| table.remove(filter));
        let removed: Vec<_> = touched.into_iter().flat_map(remove).collect();
        removed.iter().for_each(|rule| self.history.note(rule));
        removed
    }

    /// Removes this rule, if it is still there.
    pub fn remove_rule(&mut self, rule: &Rule) -> Option<Arc<Rule>> {
        let removed = self.change(rule.flow.table, |table| table.remove_id(rule.id))?;
        self.history.note(&removed);
        Some(removed)
    }

    /// Tables with a rule that the filter selects: the others must stay the objects they are.
    fn touched(&self, filter: &Filter) -> Vec<u8> {
        let mut numbers: Vec<_> = self.select(filter).iter().map(|rule| rule.flow.table).collect();
        numbers.dedup();
        numbers
    }

    fn place(&self, number: u8) -> Result<usize, usize> {
        self.list.binary_search_by_key(&number, |(number, _)| *number)
    }

    /// Whoever calls it notes the rules that changed in the history.
    fn change<T>(&mut self, number: u8, change: impl FnOnce(&mut FlowTable) -> T) -> T {
        let place = self.place(number);
        let list = Arc::make_mut(&mut self.list);
        let place = place.unwrap_or_else(|place| {
            list.insert(place, (number, FlowTable::new()));
            place
        });
        let outcome = change(&mut list[place].1);
        if list[place].1.is_empty() {
            list.remove(place);
        }
        outcome
    }
}
