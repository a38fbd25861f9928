//! The one text form of flows, groups and meters, in and out: that of `ovs-ofctl`, for commands, logs and tests.
//!
//! Trust: operators write it; what is wrong is answered with what, where and what was expected. Where Open vSwitch drops a
//! field whose prerequisite is missing and goes on, this is an error. Reference: `ovs-fields(7)`, `ovs-actions(7)`,
//! `ovs-ofctl(8)`, "Flow Syntax". Neighbours: control parses and prints; nothing on the forwarding path comes here.

mod action_text;
mod actions;
mod balance;
mod clauses;
mod flow_text;
mod groups;
mod learn;
mod match_text;
mod matches;
mod meters;
mod names;
mod packets;
mod ports;
mod token;
mod values;
mod words;

pub use action_text::format_actions;
pub use flow_text::{FlowStats, format_flow};
pub use groups::{
    BucketChange, BucketPlace, GroupStats, format_group, format_group_stats, parse_bucket_change, parse_group,
    parse_group_id,
};
pub use match_text::format_match;
pub use matches::fields_of;
pub use meters::{MeterStats, format_meter, format_meter_stats, parse_meter, parse_meter_id};
pub use packets::{PacketText, parse_frame, parse_packet_out};
pub use ports::PortNames;

use super::{Action, Filter, Flow, Mac, Match, Place};
use clauses::Clauses;

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} \"{text}\", column {column}: {problem}; expected {expected}")]
pub struct GrammarError {
    /// What the text should be: a flow, a group, a meter, actions.
    pub what: &'static str,
    /// The whole text.
    pub text: String,
    /// Where the trouble starts, from 1, in bytes.
    pub column: usize,
    /// What was found there.
    pub problem: String,
    /// What would have been right.
    pub expected: String,
}

/// A [`GrammarError`] whose text is added at the door.
#[derive(Debug)]
struct Fault {
    at: usize,
    problem: String,
    expected: String,
}

impl Fault {
    fn new(at: usize, problem: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { at, problem: problem.into(), expected: expected.into() }
    }

    fn in_text(self, what: &'static str, text: &str) -> GrammarError {
        GrammarError {
            what,
            text: text.trim().to_owned(),
            column: self.at + 1,
            problem: self.problem,
            expected: self.expected,
        }
    }
}

/// What `mod-flows` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modify {
    /// Which flows.
    pub filter: Filter,
    /// Their new actions; all of it is added when no flow is selected.
    pub flow: Flow,
    /// Their new cookie, when one is given.
    pub cookie: Option<u64>,
}

/// Parses what `add-flow` takes.
///
/// # Errors
/// See [`GrammarError`].
pub fn parse_flow(text: &str, ports: &dyn PortNames) -> Result<Flow, GrammarError> {
    Clauses::parse(text, ports)
        .and_then(|clauses| clauses.flow(ports, false))
        .map_err(|fault| fault.in_text("flow", text))
}

/// Parses what `del-flows` and `dump-flows` take. With `strict`, as in `--strict`, the priority counts.
///
/// # Errors
/// See [`GrammarError`].
pub fn parse_filter(text: &str, strict: bool, ports: &dyn PortNames) -> Result<Filter, GrammarError> {
    let filter = Clauses::parse(text, ports).and_then(|clauses| match clauses.actions {
        Some((_, at)) => Err(Fault::new(at, "actions", "only a match, for flows are selected here")),
        None => clauses.without_idle_clauses(strict).map(|clauses| clauses.filter(strict, u64::MAX)),
    });
    filter.map_err(|fault| fault.in_text("flow", text))
}

/// Parses what `mod-flows` takes. `cookie=V/MASK` selects, `cookie=V` is the new cookie; a priority selects when `strict`, and
/// is that of the flow that is added when none is selected.
///
/// # Errors
/// See [`GrammarError`].
pub fn parse_modify(text: &str, strict: bool, ports: &dyn PortNames) -> Result<Modify, GrammarError> {
    let modify = Clauses::parse(text, ports).and_then(|clauses| {
        let cookie = clauses.cookie.and_then(|cookie| cookie.mask.is_none().then_some(cookie.value));
        Ok(Modify { filter: clauses.filter(strict, 0), flow: clauses.flow(ports, true)?, cookie })
    });
    modify.map_err(|fault| fault.in_text("flow", text))
}

/// Parses what stands behind `actions=` where there is no flow: in a packet-out.
///
/// # Errors
/// See [`GrammarError`].
pub fn parse_actions(text: &str, ports: &dyn PortNames) -> Result<Vec<Action>, GrammarError> {
    actions::parse_list(text, 0, Place::List, ports).map_err(|fault| fault.in_text("actions", text))
}

/// Parses a match alone, as `trace` takes it.
///
/// # Errors
/// See [`GrammarError`].
pub fn parse_match(text: &str, ports: &dyn PortNames) -> Result<Match, GrammarError> {
    parse_filter(text, false, ports).map(|filter| filter.matches)
}

/// Reads a MAC address as flows have them.
#[must_use]
pub fn parse_mac(text: &str) -> Option<Mac> {
    let [_, _, mac @ ..] = values::mac(text)?.to_be_bytes();
    Some(mac)
}

#[cfg(test)]
mod tests;
