//! A flow's text taken apart: what is said about the flow as a whole, the match, the actions.

use super::super::{DEFAULT_PRIORITY, Filter, Flow, TABLES};
use super::matches::MatchBuilder;
use super::ports::{self, ANY, port};
use super::token::{Token, Tokens, number};
use super::{Fault, PortNames, actions};

/// What is said about a flow as a whole.
pub(super) const WORDS: &[&str] = &[
    "table",
    "priority",
    "idle_timeout",
    "hard_timeout",
    "importance",
    "cookie",
    "out_port",
    "out_group",
    "send_flow_rem",
    "check_overlap",
    "reset_counts",
    "no_packet_counts",
    "no_byte_counts",
    "actions",
];

/// What `dump-flows` says beside the flow: understood, so that it can be fed back, and not kept.
const IGNORED: &[&str] = &["duration", "n_packets", "n_bytes", "idle_age", "hard_age"];

#[derive(Clone, Copy)]
pub(super) struct Cookie {
    pub value: u64,
    pub mask: Option<u64>,
    at: usize,
}

/// See the file's head.
#[derive(Default)]
pub(super) struct Clauses<'a> {
    /// Without its actions and cookie.
    flow: Flow,
    table: Option<(u8, usize)>,
    priority: Option<(u16, usize)>,
    pub cookie: Option<Cookie>,
    out_port: Option<(u32, usize)>,
    out_group: Option<(u32, usize)>,
    /// The text behind `actions=`, and where it starts.
    pub actions: Option<(&'a str, usize)>,
    len: usize,
}

impl<'a> Clauses<'a> {
    pub(super) fn parse(text: &'a str, ports: &dyn PortNames) -> Result<Self, Fault> {
        let mut builder = MatchBuilder::default();
        let mut clauses = Self { len: text.trim_end().len(), ..Self::default() };
        let mut tokens = Tokens::new(text, 0);
        while let Some(token) = tokens.next_token()? {
            if matches!(token.key, "actions" | "action") {
                let start = token.value_start()?;
                clauses.actions = Some((&text[start..], start));
                break;
            }
            if !clauses.take(&token, ports)? && !clauses.take_flag(&token)? {
                builder.take(&token, ports)?;
            }
        }
        clauses.flow.matches = builder.finish()?;
        Ok(clauses)
    }

    /// False when the token is not about the flow as a whole.
    fn take(&mut self, token: &Token<'_>, ports: &dyn PortNames) -> Result<bool, Fault> {
        let flow = &mut self.flow;
        match token.key {
            "table" => {
                let table = match token.text()? {
                    "all" | "ALL" => u64::from(ALL_TABLES),
                    _ => token.limited(255, "a table number, 0 to 253, or 255 for all")?,
                };
                self.table = Some((table as u8, token.at));
            }
            "priority" => self.priority = Some((token.limited(0xffff, "a priority, 0 to 65535")? as u16, token.at)),
            "idle_timeout" => flow.idle_timeout = token.limited(0xffff, "seconds, 0 to 65535")? as u16,
            "hard_timeout" => flow.hard_timeout = token.limited(0xffff, "seconds, 0 to 65535")? as u16,
            "importance" => flow.importance = token.limited(0xffff, "an importance, 0 to 65535")? as u16,
            "cookie" => self.cookie = Some(cookie(token)?),
            "out_port" => {
                let port = port(token.text()?, ports);
                let wrong = || token.wrong("a port number, a port's name, or a reserved port");
                self.out_port = Some((port.ok_or_else(wrong)?, token.at));
            }
            "out_group" => {
                let group = match token.text()? {
                    "any" | "ANY" => ANY,
                    _ => token.limited(0xffff_ffff, "a group's number, or any")? as u32,
                };
                self.out_group = Some((group, token.at));
            }
            word if IGNORED.contains(&word) => drop(token.text()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// False when the token is not one of OpenFlow's flags of a flow.
    fn take_flag(&mut self, token: &Token<'_>) -> Result<bool, Fault> {
        let flags = &mut self.flow.flags;
        let flag = match token.key {
            "send_flow_rem" => &mut flags.send_flow_rem,
            "check_overlap" => &mut flags.check_overlap,
            "reset_counts" => &mut flags.reset_counts,
            "no_packet_counts" => &mut flags.no_packet_counts,
            "no_byte_counts" => &mut flags.no_byte_counts,
            _ => return Ok(false),
        };
        *flag = true;
        token.without().map(|()| true)
    }

    /// Refuses what would not count.
    pub(super) fn without_idle_clauses(self, strict: bool) -> Result<Self, Fault> {
        match self.priority {
            Some((_, at)) if !strict => {
                Err(Fault::new(at, "a priority", "none, for priorities count only with --strict"))
            }
            _ => Ok(self),
        }
    }

    /// `plain_cookie_mask` is the mask of a cookie without one.
    pub(super) fn filter(&self, strict: bool, plain_cookie_mask: u64) -> Filter {
        let cookie_mask = self.cookie.map_or(0, |cookie| cookie.mask.unwrap_or(plain_cookie_mask));
        Filter {
            matches: self.flow.matches,
            strict_priority: strict.then(|| self.priority()),
            table: self.table.map(|(table, _)| table).filter(|table| *table != ALL_TABLES),
            cookie: self.cookie.map_or(0, |cookie| cookie.value & cookie_mask),
            cookie_mask,
            out_port: self.out_port.and_then(|(port, _)| ports::output(port)),
            out_group: self.out_group.map(|(group, _)| group).filter(|group| *group != ANY),
        }
    }

    fn priority(&self) -> u16 {
        self.priority.map_or(DEFAULT_PRIORITY, |(priority, _)| priority)
    }

    pub(super) fn flow(self, ports: &dyn PortNames, selects_too: bool) -> Result<Flow, Fault> {
        let Some((text, at)) = self.actions else {
            return Err(Fault::new(self.len, "no actions", "\"actions=\" at the end; \"actions=drop\" to drop"));
        };
        let selects = self.out_port.map(|(_, at)| ("out_port", at)).or(self.out_group.map(|(_, at)| ("out_group", at)));
        if let (false, Some((name, at))) = (selects_too, selects) {
            return Err(Fault::new(at, name, "it only where flows are selected"));
        }
        let table = match self.table {
            // All tables, where flows are selected; one that is added all the same goes to the first.
            Some((ALL_TABLES, _)) if selects_too => 0,
            Some((table, at)) if table >= TABLES => {
                return Err(Fault::new(at, format!("table {table}"), "a table number, 0 to 253"));
            }
            table => table.map_or(0, |(table, _)| table),
        };
        let cookie = match self.cookie {
            Some(Cookie { mask: Some(_), at, .. }) if !selects_too => {
                return Err(Fault::new(at, "a cookie with a mask", "cookie=VALUE, for a new flow has one cookie"));
            }
            Some(Cookie { value, mask: None, .. }) => value,
            _ => 0,
        };
        let actions = actions::parse_flow(text, at, &self.flow.matches, table, ports)?;
        Ok(Flow { table, priority: self.priority(), cookie, actions, ..self.flow })
    }
}

/// OpenFlow's OFPTT_ALL.
const ALL_TABLES: u8 = 255;

fn cookie(token: &Token<'_>) -> Result<Cookie, Fault> {
    let wrong = || token.wrong("a number of 64 bits, with /MASK where flows are selected");
    let (value, mask) = match token.text()?.split_once('/') {
        Some((value, "-1")) => (value, Some(u64::MAX)),
        Some((value, mask)) => (value, Some(number(mask).ok_or_else(wrong)?)),
        None => (token.text()?, None),
    };
    Ok(Cookie { value: number(value).ok_or_else(wrong)?, mask, at: token.at })
}
