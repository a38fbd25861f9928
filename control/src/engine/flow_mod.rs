//! Flow-mods: what OpenFlow says adding, modifying and deleting flows means, where it says nothing as Open vSwitch does it.
//!
//! OpenFlow 1.5.1 section 6.4 and 7.3.4.2. Neighbours: `edit` calls it, `verify` checks actions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use ringswitch_dataplane::flow::{Action, Filter, Flow, FlowTable, Match, Rule, RuleLane, TABLES, Tables};

use super::edit::Editor;
use super::notice::FlowChange;
use crate::openflow::message::{FlowMod, FlowModCommand, RemovedReason, TABLE_ALL, TableMod};
use crate::openflow::stats::FlowRequest;
use crate::openflow::{OfError, action_to};

impl Editor<'_> {
    /// Returns how many flows changed.
    pub fn flow_mod(&mut self, request: FlowMod) -> Result<usize, OfError> {
        match request.command {
            FlowModCommand::Add => {
                let resets = request.flow.flags.reset_counts;
                self.add_flow(request.flow, resets).map(|()| 1)
            }
            FlowModCommand::Modify | FlowModCommand::ModifyStrict => {
                // Only 1.0 adds what is not there; and whoever selects by cookie means flows that exist.
                let adds = request.new_cookie.is_some() && request.cookie_mask == 0;
                self.modify_flows(&filter_of(&request), request.flow, request.new_cookie, adds)
            }
            FlowModCommand::Delete | FlowModCommand::DeleteStrict => {
                Ok(self.delete_flows(&filter_of(&request), RemovedReason::Delete))
            }
        }
    }

    /// Adds a flow. One with the same match and priority makes way; what it counted stays unless `resets`.
    pub fn add_flow(&mut self, mut flow: Flow, resets: bool) -> Result<(), OfError> {
        if flow.table >= TABLES {
            return Err(OfError::OFPFMFC_BAD_TABLE_ID);
        }
        self.verify(&flow.actions, Some(flow.table))?;
        flow.matches = flow.matches.normalized();
        if let Some(table) = self.bridge.program.tables.table(flow.table) {
            if flow.flags.check_overlap && overlaps(table, &flow) {
                return Err(OfError::OFPFMFC_OVERLAP);
            }
            self.make_room(&flow)?;
        }
        let tables = &mut self.bridge.program.tables;
        let inserted = match resets {
            true => tables.insert(flow, self.now_ms, self.lanes),
            false => tables.insert_counting_on(flow, self.now_ms, self.lanes),
        };
        match inserted.replaced {
            Some(old) => {
                self.changed(FlowChange::Modified, &inserted.rule);
                self.forget_learned(&[old]);
            }
            None => self.changed(FlowChange::Added, &inserted.rule),
        }
        Ok(())
    }

    /// Refuses a flow for which there is no room, or lets less important ones go.
    fn make_room(&mut self, flow: &Flow) -> Result<(), OfError> {
        let Some(limit) = self.bridge.flow_limit else { return Ok(()) };
        let Some(table) = self.bridge.program.tables.table(flow.table) else { return Ok(()) };
        if table.len() < limit || table.find(&flow.matches, flow.priority).is_some() {
            return Ok(());
        }
        if !self.bridge.evicts(flow.table) {
            return Err(OfError::OFPFMFC_TABLE_FULL);
        }
        // The least important one goes, of several the one that would go first by itself.
        let worth = |rule: &Rule| (rule.flow.importance, expiry_ms(rule).unwrap_or(u64::MAX));
        let least = table.iter().filter(|rule| rule.flow.importance <= flow.importance).min_by_key(|rule| worth(rule));
        let least = Arc::clone(least.ok_or(OfError::OFPFMFC_TABLE_FULL)?);
        self.remove_rules(&[least], |_| RemovedReason::Eviction);
        Ok(())
    }

    /// Gives the selected flows this one's actions, and another cookie when one is given. When there are none, adds it
    /// if told so.
    pub fn modify_flows(
        &mut self,
        filter: &Filter,
        wanted: Flow,
        cookie: Option<u64>,
        adds: bool,
    ) -> Result<usize, OfError> {
        let rules = self.bridge.program.tables.select(filter);
        if rules.is_empty() {
            if !adds {
                return Ok(0);
            }
            let resets = wanted.flags.reset_counts;
            return self.add_flow(wanted, resets).map(|()| 1);
        }
        let tables: BTreeSet<u8> = rules.iter().map(|rule| rule.flow.table).collect();
        tables.into_iter().try_for_each(|table| self.verify(&wanted.actions, Some(table)))?;
        for old in &rules {
            let cookie = cookie.unwrap_or(old.flow.cookie);
            let flow = Flow { actions: wanted.actions.clone(), cookie, ..old.flow.clone() };
            let stats = match wanted.flags.reset_counts {
                true => (0..self.lanes).map(|_| RuleLane::default()).collect(),
                false => Arc::clone(&old.stats),
            };
            let rule = Arc::new(old.changed(flow, self.now_ms, stats));
            self.bridge.program.tables.exchange(Arc::clone(&rule));
            self.changed(FlowChange::Modified, &rule);
        }
        self.forget_learned(&rules);
        Ok(rules.len())
    }

    /// Deletes the selected flows; returns how many there were.
    pub fn delete_flows(&mut self, filter: &Filter, reason: RemovedReason) -> usize {
        if *filter == Filter::default() {
            let tables = std::mem::take(&mut self.bridge.program.tables);
            tables.rules().for_each(|rule| self.removed(rule, reason));
            return tables.len();
        }
        let rules = self.bridge.program.tables.select(filter);
        self.remove_rules(&rules, |_| reason)
    }

    /// Deletes the flows with such an action.
    pub fn delete_flows_with(&mut self, mut is_it: impl FnMut(&Action) -> bool, reason: RemovedReason) {
        let uses = |rule: &&Arc<Rule>| Action::any(&rule.flow.actions, &mut is_it);
        let rules: Vec<_> = self.bridge.program.tables.rules().filter(uses).cloned().collect();
        self.remove_rules(&rules, |_| reason);
    }

    /// Deletes the flows whose time is over; returns how many there were.
    pub fn expire_flows(&mut self) -> usize {
        let now = self.now_ms;
        let is_over = |rule: &&Arc<Rule>| expiry_ms(rule).is_some_and(|then| then <= now);
        let rules: Vec<_> = self.bridge.program.tables.timed().filter(is_over).cloned().collect();
        let is_hard = |rule: &Rule| hard_expiry_ms(rule).is_some_and(|then| then <= now);
        self.remove_rules(
            &rules,
            |rule| {
                if is_hard(rule) { RemovedReason::HardTimeout } else { RemovedReason::IdleTimeout }
            },
        )
    }

    fn remove_rules(&mut self, rules: &[Arc<Rule>], reason: impl Fn(&Rule) -> RemovedReason) -> usize {
        for rule in rules {
            if self.bridge.program.tables.remove_rule(rule).is_some() {
                self.removed(rule, reason(rule));
            }
        }
        self.forget_learned(rules);
        rules.len()
    }

    /// Flows that were learned go with the last rule that learned them, where that rule says so.
    fn forget_learned(&mut self, gone: &[Arc<Rule>]) {
        let mut orphans = BTreeSet::new();
        for rule in gone {
            orphans.extend(learns(rule));
        }
        if orphans.is_empty() {
            return;
        }
        for rule in self.bridge.program.tables.rules() {
            for learned in learns(rule) {
                orphans.remove(&learned);
            }
        }
        for (table, cookie) in orphans {
            let filter = Filter { table: Some(table), cookie, cookie_mask: u64::MAX, ..Filter::default() };
            self.delete_flows(&filter, RemovedReason::Delete);
        }
    }

    /// A flow that a packet made: new, or fresh again.
    pub fn learn_flow(&mut self, mut flow: Flow, limit: u32) -> Result<(), OfError> {
        flow.matches = flow.matches.normalized();
        if let Some(table) = self.bridge.program.tables.table(flow.table) {
            if let Some(there) = table.find(&flow.matches, flow.priority) {
                if there.flow == flow {
                    there.modified_ms.store(self.now_ms, Relaxed);
                    return Ok(());
                }
            } else if limit > 0 && table.iter().filter(|rule| rule.flow.cookie == flow.cookie).count() >= limit as usize
            {
                return Ok(());
            }
        }
        self.add_flow(flow, false)
    }

    pub fn table_mod(&mut self, request: TableMod) -> Result<(), OfError> {
        if request.table != TABLE_ALL && request.table >= TABLES {
            return Err(OfError::OFPTMFC_BAD_TABLE);
        }
        let numbers = if request.table == TABLE_ALL { 0..=TABLES - 1 } else { request.table..=request.table };
        for number in numbers {
            let mut table = self.bridge.table_desc(number);
            table.eviction = request.eviction.unwrap_or(table.eviction);
            table.eviction_flags = request.eviction_flags.unwrap_or(table.eviction_flags);
            if let Some((down, up)) = request.vacancy {
                table.vacancy = (up > 0).then_some((down, up, 0));
            }
            self.bridge.tables.insert(number, table);
        }
        Ok(())
    }
}

/// The tables and cookies of flows that this rule's packets make and that are not to outlive it.
fn learns(rule: &Rule) -> Vec<(u8, u64)> {
    let mut found = Vec::new();
    Action::any(&rule.flow.actions, &mut |action| {
        if let Action::Learn(learn) = action
            && learn.delete_learned
        {
            found.push((learn.table, learn.cookie));
        }
        false
    });
    found
}

/// When the flow goes by itself, if its packets stop now.
fn expiry_ms(rule: &Rule) -> Option<u64> {
    let idle = u64::from(rule.timeouts().0) * 1000;
    let idle = (idle > 0).then(|| rule.totals().used_ms + idle);
    idle.into_iter().chain(hard_expiry_ms(rule)).min()
}

fn hard_expiry_ms(rule: &Rule) -> Option<u64> {
    let hard = u64::from(rule.timeouts().1) * 1000;
    (hard > 0).then(|| rule.modified_ms.load(Relaxed) + hard)
}

/// Could a packet match this flow and another one of the same priority?
fn overlaps(table: &FlowTable, flow: &Flow) -> bool {
    table.iter().any(|rule| rule.flow.priority == flow.priority && can_both(&rule.flow.matches, &flow.matches))
}

fn can_both(one: &Match, other: &Match) -> bool {
    let words = one.key.words.iter().zip(&one.mask.words).zip(other.key.words.iter().zip(&other.mask.words));
    words.into_iter().all(|((key, mask), (other, others))| (key ^ other) & mask & others == 0)
}

/// Which flows a request means.
pub(super) fn filter_of(request: &FlowMod) -> Filter {
    let strict = matches!(request.command, FlowModCommand::ModifyStrict | FlowModCommand::DeleteStrict);
    let deletes = matches!(request.command, FlowModCommand::Delete | FlowModCommand::DeleteStrict);
    Filter {
        matches: request.flow.matches.normalized(),
        strict_priority: strict.then_some(request.flow.priority),
        table: (request.table != TABLE_ALL).then_some(request.table),
        cookie: request.cookie & request.cookie_mask,
        cookie_mask: request.cookie_mask,
        out_port: request.out_port.filter(|_| deletes).map(output_to),
        out_group: request.out_group.filter(|_| deletes),
    }
}

/// What a flow that outputs there has among its actions.
pub(crate) fn output_to(port: u32) -> Action {
    action_to(port).unwrap_or(Action::Output(port))
}

/// Which flows statistics are asked for.
pub(super) fn filter_of_request(request: &FlowRequest) -> Filter {
    Filter {
        matches: request.matches.normalized(),
        strict_priority: None,
        table: (request.table != TABLE_ALL).then_some(request.table),
        cookie: request.cookie & request.cookie_mask,
        cookie_mask: request.cookie_mask,
        out_port: request.out_port.map(output_to),
        out_group: request.out_group,
    }
}

/// Flows in this table, for its statistics.
pub(super) fn active(tables: &Tables, number: u8) -> u32 {
    tables.table(number).map_or(0, |table| u32::try_from(table.len()).unwrap_or(u32::MAX))
}
