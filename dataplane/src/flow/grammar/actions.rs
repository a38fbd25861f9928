//! The actions behind `actions=`, read.

use super::super::{Action, Checker, Match, Misuse, Place, near_miss};
use super::token::{Token, Tokens, number};
use super::words::{self, controller, instruction, set_field};
use super::{Fault, PortNames, balance, learn, names, ports};

/// The words that an action starts with, ports apart.
const ACTIONS: &[&str] = &[
    "output",
    "IN_PORT",
    "FLOOD",
    "ALL",
    "LOCAL",
    "NORMAL",
    "TABLE",
    "CONTROLLER",
    "drop",
    "enqueue",
    "group",
    "meter",
    "set_queue",
    "pop_queue",
    "mod_dl_src",
    "mod_dl_dst",
    "mod_vlan_vid",
    "mod_vlan_pcp",
    "push_vlan",
    "pop_vlan",
    "strip_vlan",
    "mod_nw_src",
    "mod_nw_dst",
    "mod_nw_tos",
    "mod_nw_ecn",
    "mod_nw_ttl",
    "dec_ttl",
    "mod_tp_src",
    "mod_tp_dst",
    "set_field",
    "load",
    "move",
    "push",
    "pop",
    "set_tunnel",
    "set_tunnel64",
    "push_mpls",
    "pop_mpls",
    "set_mpls_label",
    "set_mpls_tc",
    "set_mpls_ttl",
    "dec_mpls_ttl",
    "push_pbb",
    "pop_pbb",
    "copy_ttl_out",
    "copy_ttl_in",
    "resubmit",
    "clone",
    "learn",
    "conjunction",
    "multipath",
    "bundle",
    "bundle_load",
    "check_pkt_larger",
    "note",
    "fin_timeout",
    "exit",
    "clear_actions",
    "write_actions",
    "apply_actions",
    "write_metadata",
    "goto_table",
];

/// Reads the actions of a flow. `base` is where `text` stands in the whole text. An empty list drops.
pub(super) fn parse_flow(
    text: &str,
    base: usize,
    matches: &Match,
    table: u8,
    ports: &dyn PortNames,
) -> Result<Vec<Action>, Fault> {
    let checker = Checker::new(Some(*matches), Place::Flow(table), false);
    Reader { checker, ports, actions: Vec::new() }.list(Tokens::new(text, base))
}

/// Reads actions of any packets: those of a bucket or a packet-out.
pub(super) fn parse_list(text: &str, base: usize, place: Place, ports: &dyn PortNames) -> Result<Vec<Action>, Fault> {
    let checker = Checker::new(None, place, false);
    Reader { checker, ports, actions: Vec::new() }.list(Tokens::new(text, base))
}

/// A list while it is read.
struct Reader<'a> {
    checker: Checker,
    ports: &'a dyn PortNames,
    actions: Vec<Action>,
}

impl Reader<'_> {
    fn list(mut self, mut tokens: Tokens<'_>) -> Result<Vec<Action>, Fault> {
        let mut dropped = None;
        while let Some(token) = tokens.next_token()? {
            match token.key {
                "drop" if token.value().is_none() => dropped = Some(token.at),
                // What is applied needs no word of its own.
                "apply_actions" => {
                    let mut inner = token.inner()?;
                    while let Some(token) = inner.next_token()? {
                        if instruction(&token)?.is_some() || token.key == "write_actions" {
                            return Err(Fault::new(token.at, format!("{} in apply_actions", token.key), "actions"));
                        }
                        if token.key != "drop" {
                            self.take(&token)?;
                        }
                    }
                }
                _ => self.take(&token)?,
            }
        }
        match dropped {
            Some(at) if !self.actions.is_empty() => Err(Fault::new(at, "drop beside other actions", "drop alone")),
            _ => Ok(self.actions),
        }
    }

    fn take(&mut self, token: &Token<'_>) -> Result<(), Fault> {
        for action in self.action(token)? {
            self.checker.take(&action).map_err(|misuse| misused(token, misuse))?;
            self.actions.push(action);
        }
        Ok(())
    }

    /// Most words are one action.
    fn action(&self, token: &Token<'_>) -> Result<Vec<Action>, Fault> {
        if token.quoted {
            return Ok(vec![self.to_port(token)?]);
        }
        if token.key == "load" {
            return words::load(token);
        }
        let parsers = [words::modification, words::tags, instruction];
        for parse in parsers {
            if let Some(action) = parse(token)? {
                return Ok(vec![action]);
            }
        }
        let action = match token.key {
            "output" => self.output(token)?,
            "enqueue" => self.enqueue(token)?,
            "set_field" => set_field(token, self.ports)?,
            "resubmit" => self.resubmit(token)?,
            "clone" => Action::Clone(self.inner(token, Place::List)?),
            "write_actions" => Action::WriteActions(self.inner(token, Place::Set)?),
            "learn" => Action::Learn(Box::new(learn::parse(token, self.ports)?)),
            "multipath" => Action::Multipath(Box::new(balance::multipath(token)?)),
            "bundle" | "bundle_load" => Action::Bundle(Box::new(balance::bundle(token, self.ports)?)),
            "controller" | "CONTROLLER" => Action::Controller(Box::new(controller(token)?)),
            _ => self.to_port(token)?,
        };
        Ok(vec![action])
    }

    fn inner(&self, token: &Token<'_>, place: Place) -> Result<Vec<Action>, Fault> {
        let checker = self.checker.inside(place).map_err(|misuse| misused(token, misuse))?;
        Reader { checker, ports: self.ports, actions: Vec::new() }.list(token.inner()?)
    }

    fn to_port(&self, token: &Token<'_>) -> Result<Action, Fault> {
        let port = if token.quoted { self.ports.number(token.key) } else { ports::port(token.key, self.ports) };
        let action = port.and_then(ports::output).ok_or_else(|| unknown(token))?;
        match token.value() {
            Some(_) => Err(token.wrong(&format!("just \"{}\"", token.key))),
            None => Ok(action),
        }
    }

    /// `output:PORT`, `output:FIELD[..]`, `output(port=PORT,max_len=N)`
    fn output(&self, token: &Token<'_>) -> Result<Action, Fault> {
        let text = token.text()?;
        if text.contains("max_len") {
            return self.output_cut(token);
        }
        if let Some(action) = ports::port(text, self.ports).and_then(ports::output) {
            return Ok(action);
        }
        if let (true, Ok(source)) = (text.contains('[') || names::field(text).is_some(), names::subfield(text)) {
            return Ok(Action::OutputField { source, max_len: u16::MAX });
        }
        let expected = "a port number, a port's name, IN_PORT, FLOOD, ALL, LOCAL or NORMAL, or bits of a field";
        Err(token.wrong(expected))
    }

    fn output_cut(&self, token: &Token<'_>) -> Result<Action, Fault> {
        let (mut port, mut max_len) = (None, None);
        let mut inner = token.inner()?;
        while let Some(part) = inner.next_token()? {
            match part.key {
                "port" => port = Some(self.port(&part, part.text()?)?),
                "max_len" => max_len = Some(part.number32()?),
                _ => return Err(Fault::new(part.at, format!("\"{}\" in output", part.key), "port=PORT,max_len=BYTES")),
            }
        }
        match (port, max_len) {
            (Some(port), Some(max_len)) => Ok(Action::OutputCut { port, max_len }),
            _ => Err(token.wrong("port=PORT,max_len=BYTES")),
        }
    }

    fn port(&self, token: &Token<'_>, text: &str) -> Result<u32, Fault> {
        ports::port(text, self.ports).ok_or_else(|| token.wrong("a port number, a port's name, or a reserved port"))
    }

    /// `enqueue:PORT:QUEUE`, `enqueue(PORT,QUEUE)`
    fn enqueue(&self, token: &Token<'_>) -> Result<Action, Fault> {
        let parts = token.text()?.rsplit_once([':', ',']);
        let parts = parts.and_then(|(port, queue)| Some((port, u32::try_from(number(queue.trim())?).ok()?)));
        let (port, queue) = parts.ok_or_else(|| token.wrong("PORT:QUEUE, or (PORT,QUEUE)"))?;
        Ok(Action::Enqueue { port: self.port(token, port.trim())?, queue })
    }

    /// `resubmit:PORT`, `resubmit(PORT,TABLE)`
    fn resubmit(&self, token: &Token<'_>) -> Result<Action, Fault> {
        let (port, table) = token.text()?.split_once(',').unwrap_or((token.text()?, ""));
        let port = match port.trim() {
            "" => None,
            port => Some(self.port(token, port)?).filter(|port| *port != ports::IN_PORT),
        };
        let table = match table.trim() {
            "" | "255" => None,
            table => {
                let number = number(table).filter(|&number| number < super::super::TABLES.into());
                Some(number.ok_or_else(|| token.wrong("(PORT,TABLE) with a table number, 0 to 253"))? as u8)
            }
        };
        Ok(Action::Resubmit { port, table })
    }
}

/// What the checker says, where the text has it.
fn misused(token: &Token<'_>, misuse: Misuse) -> Fault {
    Fault::new(token.at, format!("{}: {}", token.key, misuse.problem()), misuse.expected())
}

fn unknown(token: &Token<'_>) -> Fault {
    let expected = match near_miss(token.key, ACTIONS.iter().copied()) {
        Some(hint) => format!("an action or a port; did you mean \"{hint}\"?"),
        None => format!("{}, or a port", ACTIONS.join(", ")),
    };
    Fault::new(token.at, format!("unknown action or port \"{}\"", token.key), expected)
}
