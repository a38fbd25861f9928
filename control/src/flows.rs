//! Flow text, through the dataplane's one grammar; ports may be named.
//!
//! Neighbours: `config` reads flows of ports that have no number yet and keeps their text; `engine` reads the text again when
//! they have.

use std::collections::BTreeMap;

use ringswitch_dataplane::flow::grammar::{self, Modify, PortNames};
use ringswitch_dataplane::flow::{Action, Filter, Flow};

/// Numbers that stand for ports which have none yet; beyond all real ones, so that they can be told apart.
const UNNUMBERED: u32 = 0x8000_0000;

/// The ports that a flow of a bridge may name.
pub struct Ports(Vec<(String, u32)>);

impl Ports {
    /// Ports with their OpenFlow numbers.
    pub fn new<'a>(ports: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        Self(ports.into_iter().map(|(name, number)| (name.to_owned(), number)).collect())
    }
}

impl PortNames for Ports {
    fn number(&self, name: &str) -> Option<u32> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, number)| *number)
    }

    fn name(&self, number: u32) -> Option<&str> {
        self.0.iter().find(|(_, known)| *known == number).map(|(name, _)| name.as_str())
    }
}

/// The flow in the grammar's own spelling, ports by name where they were named: two texts that mean the same flow become
/// equal. `ports` are the bridge's.
///
/// # Errors
/// What is wrong with it, in the grammar's words.
pub fn canonical<'a>(text: &str, ports: impl IntoIterator<Item = &'a str>) -> Result<String, String> {
    let ports = Ports::new(ports.into_iter().zip(UNNUMBERED..));
    let flow = grammar::parse_flow(text, &ports).map_err(|error| error.to_string())?;
    Ok(grammar::format_flow(&flow, None, &ports).trim().to_owned())
}

/// What a flow names that is not there: `group 7`, `meter 1`.
#[must_use]
pub fn missing<'a>(
    text: &str,
    ports: impl IntoIterator<Item = &'a str>,
    groups: &BTreeMap<u32, String>,
    meters: &BTreeMap<u32, String>,
) -> Option<String> {
    let ports = Ports::new(ports.into_iter().zip(UNNUMBERED..));
    let flow = grammar::parse_flow(text, &ports).ok()?;
    let mut missing = None;
    Action::any(&flow.actions, &mut |action| {
        missing = match action {
            Action::Group(group) if !groups.contains_key(group) => Some(format!("group {group}")),
            Action::Meter(meter) if !meters.contains_key(meter) => Some(format!("meter {meter}")),
            _ => return false,
        };
        true
    });
    missing
}

/// The same of a group, with its number.
///
/// # Errors
/// What is wrong with it, in the grammar's words.
pub fn canonical_group<'a>(text: &str, ports: impl IntoIterator<Item = &'a str>) -> Result<(u32, String), String> {
    let ports = Ports::new(ports.into_iter().zip(UNNUMBERED..));
    let group = grammar::parse_group(text, &ports).map_err(|error| error.to_string())?;
    Ok((group.id, grammar::format_group(&group, &ports)))
}

/// The same of a meter, in one line.
///
/// # Errors
/// What is wrong with it, in the grammar's words.
pub fn canonical_meter(text: &str) -> Result<(u32, String), String> {
    let meter = grammar::parse_meter(text).map_err(|error| error.to_string())?;
    Ok((meter.id, grammar::format_meter(&meter).replace('\n', " ")))
}

/// Reads a flow.
///
/// # Errors
/// What is wrong with it, in the grammar's words.
pub fn parse(text: &str, ports: &Ports) -> Result<Flow, String> {
    grammar::parse_flow(text, ports).map_err(|error| error.to_string())
}

/// Which flows `del-flows` or `dump-flows` means; empty for all.
///
/// # Errors
/// What is wrong with the text.
pub fn selection(text: &str, strict: bool, ports: &Ports) -> Result<Filter, String> {
    grammar::parse_filter(text, strict, ports).map_err(|error| error.to_string())
}

/// What `mod-flows` means.
///
/// # Errors
/// What is wrong with the text.
pub fn modification(text: &str, strict: bool, ports: &Ports) -> Result<Modify, String> {
    grammar::parse_modify(text, strict, ports).map_err(|error| error.to_string())
}

/// The line up to a `#` that is not between quotes.
#[must_use]
pub fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let start = line.find(|letter| {
        quoted ^= letter == '"';
        letter == '#' && !quoted
    });
    &line[..start.unwrap_or(line.len())]
}
