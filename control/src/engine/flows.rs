//! Flow commands: `add-flow` and its family, and flows that time out.

use ringswitch_dataplane::flow::grammar::{self, PortNames};
use ringswitch_dataplane::flow::{DEFAULT_PRIORITY, Rule, Tables};
use ringswitch_dataplane::sys::clock::coarse_ms;
use tracing::debug;

use super::{Dataplane, Engine};
use crate::flows::{self, Ports};
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
    /// The first text that is not a flow, by its line when there are several; nothing is changed then.
    pub fn add_flows(&mut self, bridge: &str, texts: &[String]) -> Result<Changed, String> {
        let ports = self.state.port_names(bridge)?;
        let mut table = self.state.bridge_mut(bridge)?.program.tables.clone();
        let mut count = 0;
        for (index, text) in texts.iter().enumerate() {
            let text = without_comment(text).trim();
            if text.is_empty() {
                continue;
            }
            let line = |why| if texts.len() > 1 { format!("line {}: {why}", index + 1) } else { why };
            let (verb, flow) = Verb::split(text);
            count += self.change(&mut table, verb, flow, &ports).map_err(line)?;
        }
        self.take(bridge, table, count)
    }

    /// Gives matching flows other actions. When there is none, the flow is added, as OpenFlow 1.0 (and so plain `ovs-ofctl`)
    /// has it.
    ///
    /// # Errors
    /// When the text is not a flow.
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
        let ports = self.state.port_names(bridge)?;
        let mut table = self.state.bridge_mut(bridge)?.program.tables.clone();
        let count = self.change(&mut table, verb, text, &ports)?;
        self.take(bridge, table, count)
    }

    /// Does what one line asks for; returns how many flows changed.
    fn change(&self, table: &mut Tables, verb: Verb, text: &str, ports: &Ports) -> Result<usize, String> {
        let (now, lanes) = (coarse_ms(), self.dataplane.lanes());
        match verb {
            Verb::Add => {
                table.insert(flows::parse(text, ports)?, now, lanes);
                Ok(1)
            }
            Verb::Delete { strict } => Ok(table.remove(&flows::selection(text, strict, ports)?).len()),
            Verb::Modify { strict } => {
                let modify = flows::modification(text, strict, ports)?;
                let changed = table.modify(&modify.filter, &modify.flow.actions, modify.cookie).len();
                // Whoever selects by more than the match means flows that exist.
                if changed > 0 || modify.filter.cookie_mask != 0 || modify.filter.out_port.is_some() {
                    return Ok(changed);
                }
                table.insert(modify.flow, now, lanes);
                Ok(1)
            }
        }
    }

    /// The table is the bridge's from now on.
    fn take(&mut self, bridge: &str, table: Tables, count: usize) -> Result<Changed, String> {
        self.state.bridge_mut(bridge)?.program.tables = table;
        self.publish();
        Ok(Changed { count })
    }

    /// Matching flows with their statistics, highest priority first; all without a text. With `names`, ports have theirs.
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
        rules.sort_by_key(|rule| (std::cmp::Reverse(rule.flow.priority), rule.created_ms, rule.id));
        let shown: &dyn PortNames = if names { &ports } else { &() };
        let now = coarse_ms();
        Ok(rules.iter().map(|rule| report(rule, now, shown)).collect())
    }

    pub(super) fn expire_flows(&mut self, now_ms: u64) {
        let mut changed = false;
        for bridge in self.state.bridges.iter_mut().flatten() {
            let expired: Vec<_> =
                bridge.program.tables.timed().filter(|rule| has_expired(rule, now_ms)).cloned().collect();
            for rule in expired {
                if let Some(rule) = bridge.program.tables.remove_rule(&rule) {
                    debug!(bridge = %bridge.name, flow = grammar::format_flow(&rule.flow, None, &()), "timed out");
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
    let (idle, hard) = rule.timeouts();
    let (idle, hard) = (u64::from(idle) * 1000, u64::from(hard) * 1000);
    (hard > 0 && now_ms.saturating_sub(rule.created_ms) >= hard)
        || (idle > 0 && now_ms.saturating_sub(rule.totals().used_ms) >= idle)
}

/// The line up to a `#` that is not between quotes.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let start = line.find(|letter| {
        quoted ^= letter == '"';
        letter == '#' && !quoted
    });
    &line[..start.unwrap_or(line.len())]
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
        priority: flow.priority,
        matches: grammar::format_match(&flow.matches, DEFAULT_PRIORITY, ports),
        actions: grammar::format_actions(&flow.actions, ports),
    }
}
