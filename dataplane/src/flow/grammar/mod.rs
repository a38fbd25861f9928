//! The one text form of flows, in and out: that of `ovs-ofctl`, for commands, logs and tests.
//!
//! Trust: operators write it; what is wrong is answered with what, where and what was expected. Where Open vSwitch drops a
//! field whose prerequisite is missing and goes on, this is an error. Reference: `ovs-fields(7)`, `ovs-actions(7)`,
//! `ovs-ofctl(8)`, "Flow Syntax". Neighbours: control parses and prints; nothing on the forwarding path comes here.

mod actions;
mod fields;
mod format;
mod token;

pub use format::{FlowStats, format_actions, format_flow, format_match};

use super::{Action, DEFAULT_PRIORITY, Filter, Flow, Mac, Match};
use fields::MatchBuilder;
use token::{Token, Tokens, number};

/// Names of ports, where there are any. `()` knows none.
pub trait PortNames {
    /// The OpenFlow number of the port with this name.
    fn number(&self, name: &str) -> Option<u32>;
    /// The name of the port with this OpenFlow number.
    fn name(&self, number: u32) -> Option<&str>;
}

impl PortNames for () {
    fn number(&self, _: &str) -> Option<u32> {
        None
    }

    fn name(&self, _: u32) -> Option<&str> {
        None
    }
}

/// What is wrong with a flow's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("flow \"{text}\", column {column}: {problem}; expected {expected}")]
pub struct GrammarError {
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

    fn in_text(self, text: &str) -> GrammarError {
        GrammarError {
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
    Clauses::parse(text, ports).and_then(|clauses| clauses.flow(ports, false)).map_err(|fault| fault.in_text(text))
}

/// Parses what `del-flows` and `dump-flows` take. With `strict`, as in `--strict`, the priority counts.
///
/// # Errors
/// See [`GrammarError`].
pub fn parse_filter(text: &str, strict: bool, ports: &dyn PortNames) -> Result<Filter, GrammarError> {
    let filter = Clauses::parse(text, ports).and_then(|clauses| match clauses.actions {
        Some((_, at)) => Err(Fault::new(at, "actions", "only a match, for flows are selected here")),
        None => clauses.without_idle_priority(strict).map(|clauses| clauses.filter(strict, u64::MAX)),
    });
    filter.map_err(|fault| fault.in_text(text))
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
    modify.map_err(|fault| fault.in_text(text))
}

/// Reads a MAC address as flows have them.
#[must_use]
pub fn parse_mac(text: &str) -> Option<Mac> {
    let [_, _, mac @ ..] = fields::mac(text)?.to_be_bytes();
    Some(mac)
}

#[derive(Clone, Copy)]
struct Cookie {
    value: u64,
    mask: Option<u64>,
    at: usize,
}

/// What is said about a flow as a whole.
const CLAUSES: &[&str] = &["table", "priority", "idle_timeout", "hard_timeout", "cookie", "out_port", "actions"];

/// A flow's text taken apart.
struct Clauses<'a> {
    matches: Match,
    table: Option<(u8, usize)>,
    priority: Option<(u16, usize)>,
    cookie: Option<Cookie>,
    idle_timeout: u16,
    hard_timeout: u16,
    out_port: Option<(Action, usize)>,
    /// The text behind `actions=`, and where it starts.
    actions: Option<(&'a str, usize)>,
    len: usize,
}

impl<'a> Clauses<'a> {
    fn parse(text: &'a str, ports: &dyn PortNames) -> Result<Self, Fault> {
        let mut builder = MatchBuilder::default();
        let mut clauses = Self {
            matches: Match::default(),
            table: None,
            priority: None,
            cookie: None,
            idle_timeout: 0,
            hard_timeout: 0,
            out_port: None,
            actions: None,
            len: text.trim_end().len(),
        };
        let mut tokens = Tokens::new(text, 0);
        while let Some(token) = tokens.next_token()? {
            if matches!(token.key, "actions" | "action") {
                let start = token.value_start()?;
                clauses.actions = Some((&text[start..], start));
                break;
            }
            if !clauses.take(&token, ports)? {
                builder.take(&token, ports)?;
            }
        }
        clauses.matches = builder.finish()?;
        Ok(clauses)
    }

    /// False when the token is not about the flow as a whole.
    fn take(&mut self, token: &Token<'_>, ports: &dyn PortNames) -> Result<bool, Fault> {
        match token.key {
            "table" => self.table = Some((token.limited(254, "a table number, 0 to 254")? as u8, token.at)),
            "priority" => self.priority = Some((token.limited(0xffff, "a priority, 0 to 65535")? as u16, token.at)),
            "idle_timeout" => self.idle_timeout = token.limited(0xffff, "seconds, 0 to 65535")? as u16,
            "hard_timeout" => self.hard_timeout = token.limited(0xffff, "seconds, 0 to 65535")? as u16,
            "cookie" => self.cookie = Some(cookie(token)?),
            "out_port" => {
                let action = actions::to_port(token.text()?, ports);
                let wrong = || token.wrong("a port number, a port's name, or a reserved port");
                self.out_port = Some((action.ok_or_else(wrong)?, token.at));
            }
            // So that what dump-flows printed can be fed back.
            "duration" | "n_packets" | "n_bytes" | "idle_age" | "hard_age" => drop(token.text()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Refuses a priority that would not count.
    fn without_idle_priority(self, strict: bool) -> Result<Self, Fault> {
        match self.priority {
            Some((_, at)) if !strict => {
                Err(Fault::new(at, "a priority", "none, for priorities count only with --strict"))
            }
            _ => Ok(self),
        }
    }

    /// `plain_cookie_mask` is the mask of a cookie without one.
    fn filter(&self, strict: bool, plain_cookie_mask: u64) -> Filter {
        let cookie_mask = self.cookie.map_or(0, |cookie| cookie.mask.unwrap_or(plain_cookie_mask));
        Filter {
            matches: self.matches,
            strict_priority: strict.then(|| self.priority.map_or(DEFAULT_PRIORITY, |(priority, _)| priority)),
            table: self.table.map(|(table, _)| table),
            cookie: self.cookie.map_or(0, |cookie| cookie.value & cookie_mask),
            cookie_mask,
            out_port: self.out_port.clone().map(|(action, _)| action),
            out_group: None,
        }
    }

    fn flow(&self, ports: &dyn PortNames, selects_too: bool) -> Result<Flow, Fault> {
        let Some((text, at)) = self.actions else {
            return Err(Fault::new(self.len, "no actions", "\"actions=\" at the end; \"actions=drop\" to drop"));
        };
        if let (false, Some((_, at))) = (selects_too, &self.out_port) {
            return Err(Fault::new(*at, "out_port", "it only where flows are selected"));
        }
        if let Some((table @ 1.., at)) = self.table {
            return Err(Fault::new(at, format!("table {table}"), "table 0, for there is no other one yet"));
        }
        let cookie = match self.cookie {
            Some(Cookie { mask: Some(_), at, .. }) if !selects_too => {
                return Err(Fault::new(at, "a cookie with a mask", "cookie=VALUE, for a new flow has one cookie"));
            }
            Some(Cookie { value, mask: None, .. }) => value,
            _ => 0,
        };
        Ok(Flow {
            table: 0,
            priority: self.priority.map_or(DEFAULT_PRIORITY, |(priority, _)| priority),
            cookie,
            idle_timeout: self.idle_timeout,
            hard_timeout: self.hard_timeout,
            matches: self.matches,
            actions: actions::parse(text, at, &self.matches, ports)?,
            ..Flow::default()
        })
    }
}

fn cookie(token: &Token<'_>) -> Result<Cookie, Fault> {
    let wrong = || token.wrong("a number of 64 bits, with /MASK where flows are selected");
    let (value, mask) = match token.text()?.split_once('/') {
        Some((value, "-1")) => (value, Some(u64::MAX)),
        Some((value, mask)) => (value, Some(number(mask).ok_or_else(wrong)?)),
        None => (token.text()?, None),
    };
    Ok(Cookie { value: number(value).ok_or_else(wrong)?, mask, at: token.at })
}

#[cfg(test)]
mod tests;
