//! Flow commands: `add-flow` and its family, and flows that time out.

use ringswitch_dataplane::flow::grammar::{self, Modify, PortNames};
use ringswitch_dataplane::flow::{DEFAULT_PRIORITY, Rule};
use ringswitch_dataplane::sys::clock::coarse_ms;
use tracing::debug;

use super::state::BridgeSlot;
use super::{Dataplane, Engine};
use crate::flows::{self, Ports};
use crate::openflow::message::RemovedReason;
use crate::report::{Changed, FlowReport};

/// What a line of a flow file asks for.
#[derive(Clone, Copy)]
enum Verb {
    Add,
    Modify { strict: bool },
    Delete { strict: bool },
}

impl Verb {
    /// The verb in front of a flow, as `ovs-ofctl add-flows` takes it, and the rest; without one it is added.
    fn split(text: &str) -> (Self, &str) {
        let (word, rest) = text.split_once([' ', '\t', ',']).unwrap_or((text, ""));
        let verb = match word {
            "add" => Self::Add,
            "modify" => Self::Modify { strict: false },
            "modify_strict" => Self::Modify { strict: true },
            "delete" => Self::Delete { strict: false },
            "delete_strict" => Self::Delete { strict: true },
            _ => return (Self::Add, text),
        };
        (verb, rest.trim_start())
    }
}

impl<D: Dataplane> Engine<D> {
    /// Adds flows, or does what the verbs in front of them say (`delete tcp`), all of it in one snapshot.
    ///
    /// # Errors
    /// The first text that is not a flow or is refused, by its line when there are several; nothing is changed then.
    pub fn add_flows(&mut self, bridge: &str, texts: &[String]) -> Result<Changed, String> {
        let (index, ports) = (self.state.bridge(bridge)?, self.state.port_names(bridge)?);
        let (before, told) = (self.state.clone(), self.notices.len());
        let mut count = 0;
        for (number, text) in texts.iter().enumerate() {
            let text = flows::without_comment(text).trim();
            if text.is_empty() {
                continue;
            }
            let (verb, flow) = Verb::split(text);
            match self.change(index, verb, flow, &ports) {
                Ok(changed) => count += changed,
                Err(why) => {
                    self.state = before;
                    self.notices.truncate(told);
                    return Err(if texts.len() > 1 { format!("line {}: {why}", number + 1) } else { why });
                }
            }
        }
        self.flush();
        Ok(Changed { count })
    }

    /// Gives matching flows other actions. When there is none, the flow is added, as OpenFlow 1.0 (and so plain `ovs-ofctl`)
    /// has it.
    ///
    /// # Errors
    /// When the text is not a flow, or refused.
    pub fn mod_flows(&mut self, bridge: &str, text: &str, strict: bool) -> Result<Changed, String> {
        self.change_one(bridge, Verb::Modify { strict }, text)
    }

    /// Removes matching flows; all without a text.
    ///
    /// # Errors
    /// When the text is not a match.
    pub fn del_flows(&mut self, bridge: &str, text: Option<&str>, strict: bool) -> Result<Changed, String> {
        self.change_one(bridge, Verb::Delete { strict }, text.unwrap_or(""))
    }

    fn change_one(&mut self, bridge: &str, verb: Verb, text: &str) -> Result<Changed, String> {
        let (index, ports) = (self.state.bridge(bridge)?, self.state.port_names(bridge)?);
        let count = self.change(index, verb, text, &ports)?;
        self.flush();
        Ok(Changed { count })
    }

    /// Does what one line asks for; returns how many flows changed.
    fn change(&mut self, bridge: usize, verb: Verb, text: &str, ports: &Ports) -> Result<usize, String> {
        self.origin = None;
        let refused = |error| format!("flow \"{text}\" is refused: {error}");
        match verb {
            Verb::Add => {
                let flow = flows::parse(text, ports)?;
                self.edit(bridge, |editor| editor.add_flow(flow, true).map(|()| 1)).map_err(refused)
            }
            Verb::Delete { strict } => {
                let filter = flows::selection(text, strict, ports)?;
                self.edit(bridge, |editor| Ok(editor.delete_flows(&filter, RemovedReason::Delete))).map_err(refused)
            }
            Verb::Modify { strict } => {
                let Modify { filter, flow, cookie } = flows::modification(text, strict, ports)?;
                // Whoever selects by more than the match means flows that exist.
                let adds = filter.cookie_mask == 0 && filter.out_port.is_none() && filter.out_group.is_none();
                self.edit(bridge, |editor| editor.modify_flows(&filter, flow, cookie, adds)).map_err(refused)
            }
        }
    }

    /// Matching flows with their statistics, by table, highest priority first; all without a text. With `names`, ports have theirs.
    ///
    /// # Errors
    /// When the text is not a match.
    pub fn dump_flows(
        &mut self,
        bridge: &str,
        text: Option<&str>,
        strict: bool,
        names: bool,
    ) -> Result<Vec<FlowReport>, String> {
        let ports = self.state.port_names(bridge)?;
        let selection = flows::selection(text.unwrap_or(""), strict, &ports)?;
        let mut rules = self.state.bridge_mut(bridge)?.program.tables.select(&selection);
        rules.sort_by_key(|rule| (rule.flow.table, std::cmp::Reverse(rule.flow.priority), rule.created_ms, rule.id));
        let shown: &dyn PortNames = if names { &ports } else { &() };
        let now = coarse_ms();
        Ok(rules.iter().map(|rule| report(rule, now, shown)).collect())
    }

    fn expire_flows_of(&mut self, bridge: usize, now_ms: u64) -> usize {
        let is_idle = |slot: &BridgeSlot| slot.program.tables.timed().next().is_none();
        if self.state.bridges[bridge].as_ref().is_none_or(is_idle) {
            return 0;
        }
        let unpublished = self.unpublished;
        let expired = self.edit(bridge, |editor| {
            editor.now_ms = now_ms;
            Ok(editor.expire_flows())
        });
        let expired = expired.unwrap_or(0);
        self.unpublished = unpublished || expired > 0;
        expired
    }

    /// Flows whose time is over go.
    pub(super) fn expire_flows(&mut self, now_ms: u64) {
        self.origin = None;
        for bridge in 0..self.state.bridges.len() {
            let expired = self.expire_flows_of(bridge, now_ms);
            if expired > 0 {
                debug!(bridge, expired, "flows timed out");
            }
        }
    }
}

fn report(rule: &Rule, now_ms: u64, ports: &dyn PortNames) -> FlowReport {
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
        importance: flow.importance,
        flags: flow.flags.names().map(str::to_owned).collect(),
        priority: flow.priority,
        matches: grammar::format_match(&flow.matches, DEFAULT_PRIORITY, ports),
        actions: grammar::format_actions(&flow.actions, ports),
    }
}
