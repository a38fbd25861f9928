//! Flow commands: `add-flow` and its family, and flows that time out.

use ringswitch_dataplane::flow::{Rule, grammar};
use ringswitch_dataplane::sys::clock::coarse_ms;
use tracing::debug;

use super::{Dataplane, Engine};
use crate::flows;
use crate::report::{Changed, FlowReport};

impl<D: Dataplane> Engine<D> {
    /// Adds flows, all of them in one snapshot.
    ///
    /// # Errors
    /// The first text that is not a flow, by its line when there are several; nothing is added then.
    pub fn add_flows(&mut self, bridge: &str, texts: &[String]) -> Result<Changed, String> {
        let lanes = self.dataplane.lanes();
        let now = coarse_ms();
        let ports = self.state.port_names(bridge)?;
        let mut table = self.state.bridge_mut(bridge)?.table.clone();
        let mut count = 0;
        for (index, text) in texts.iter().enumerate() {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let line = |why| if texts.len() > 1 { format!("line {}: {why}", index + 1) } else { why };
            table.insert(flows::parse(text, &ports).map_err(line)?, now, lanes);
            count += 1;
        }
        self.state.bridge_mut(bridge)?.table = table;
        self.publish();
        Ok(Changed { count })
    }

    /// Gives matching flows other actions. As in Open vSwitch, a flow that is not there is not added.
    ///
    /// # Errors
    /// When the text is not a flow.
    pub fn mod_flows(&mut self, bridge: &str, text: &str, strict: bool) -> Result<Changed, String> {
        let modify = flows::modification(text, strict, &self.state.port_names(bridge)?)?;
        let table = &mut self.state.bridge_mut(bridge)?.table;
        let count = table.modify(&modify.filter, &modify.flow.actions, modify.cookie).len();
        self.publish();
        Ok(Changed { count })
    }

    /// Removes matching flows; all without a text.
    ///
    /// # Errors
    /// When the text is not a match.
    pub fn del_flows(&mut self, bridge: &str, text: Option<&str>, strict: bool) -> Result<Changed, String> {
        let selection = flows::selection(text.unwrap_or(""), strict, &self.state.port_names(bridge)?)?;
        let count = self.state.bridge_mut(bridge)?.table.remove(&selection).len();
        self.publish();
        Ok(Changed { count })
    }

    /// Matching flows with their statistics, highest priority first; all without a text.
    ///
    /// # Errors
    /// When the text is not a match.
    pub fn dump_flows(&mut self, bridge: &str, text: Option<&str>) -> Result<Vec<FlowReport>, String> {
        let selection = flows::selection(text.unwrap_or(""), false, &self.state.port_names(bridge)?)?;
        let mut rules = self.state.bridge_mut(bridge)?.table.select(&selection);
        rules.sort_by_key(|rule| (std::cmp::Reverse(rule.flow.priority), rule.created_ms, rule.id));
        let now = coarse_ms();
        Ok(rules.iter().map(|rule| report(rule, now)).collect())
    }

    pub(super) fn expire_flows(&mut self, now_ms: u64) {
        let mut changed = false;
        for bridge in self.state.bridges.iter_mut().flatten() {
            let expired: Vec<_> =
                bridge.table.timed().filter(|rule| has_expired(rule, now_ms)).map(|rule| rule.id).collect();
            for id in expired {
                if let Some(rule) = bridge.table.remove_id(id) {
                    debug!(bridge = bridge.name, flow = grammar::format_flow(&rule.flow, None, &()), "timed out");
                    changed = true;
                }
            }
        }
        if changed {
            self.publish();
        }
    }
}

fn has_expired(rule: &Rule, now_ms: u64) -> bool {
    let (idle, hard) = (u64::from(rule.flow.idle_timeout) * 1000, u64::from(rule.flow.hard_timeout) * 1000);
    (hard > 0 && now_ms.saturating_sub(rule.created_ms) >= hard)
        || (idle > 0 && now_ms.saturating_sub(rule.totals().used_ms) >= idle)
}

fn report(rule: &Rule, now_ms: u64) -> FlowReport {
    let (flow, totals) = (&rule.flow, rule.totals());
    FlowReport {
        cookie: flow.cookie,
        duration_ms: now_ms.saturating_sub(rule.created_ms),
        table: flow.table,
        packets: totals.packets,
        bytes: totals.bytes,
        idle_timeout: flow.idle_timeout,
        hard_timeout: flow.hard_timeout,
        idle_ms: now_ms.saturating_sub(totals.used_ms),
        priority: flow.priority,
        matches: grammar::format_match(&flow.matches, flow.priority, &()),
        actions: grammar::format_actions(&flow.actions, &()),
    }
}
