//! Actions, printed.

use std::fmt::{self, Display, Formatter};

use super::super::{Action, Controller, reason};
use super::balance::{BundleText, MultipathText};
use super::learn::LearnText;
use super::ports::Port;
use super::values::{Hex, MacText, Value};
use super::{PortNames, names, words};

/// What stands behind `actions=`.
#[must_use]
pub fn format_actions(actions: &[Action], ports: &dyn PortNames) -> String {
    List(actions, ports).to_string()
}

/// A list of actions; an empty one drops.
struct List<'a>(&'a [Action], &'a dyn PortNames);

impl Display for List<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return to.write_str("drop");
        }
        self.0.iter().enumerate().try_for_each(|(place, action)| {
            to.write_str(if place == 0 { "" } else { "," })?;
            write!(to, "{}", One(action, self.1))
        })
    }
}

struct One<'a>(&'a Action, &'a dyn PortNames);

impl Display for One<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let ports = self.1;
        match self.0 {
            Action::Output(port) => write!(to, "output:{}", Port(*port, ports)),
            Action::OutputCut { port, max_len } => write!(to, "output(port={},max_len={max_len})", Port(*port, ports)),
            Action::OutputField { source, .. } => write!(to, "output:{source}"),
            Action::Controller(controller) => write!(to, "{}", ControllerText(controller)),
            Action::Enqueue { port, queue } => write!(to, "enqueue:{}:{queue}", Port(*port, ports)),
            Action::SetField { field, value, mask } => {
                let value = Value { field: *field, value: *value, bits: *mask, names: ports };
                write!(to, "set_field:{value}->{}", names::of_set_field(*field))
            }
            Action::Load { value, target } => write!(to, "load:{}->{target}", Hex((*value).into())),
            Action::Move { source, target } => write!(to, "move:{source}->{target}"),
            Action::Push(source) => write!(to, "push:{source}"),
            Action::Pop(target) => write!(to, "pop:{target}"),
            Action::Clone(list) => write!(to, "clone({})", List(list, ports)),
            Action::WriteActions(list) => write!(to, "write_actions({})", List(list, ports)),
            Action::Learn(learn) => write!(to, "{}", LearnText(learn, ports)),
            Action::Multipath(multipath) => write!(to, "{}", MultipathText(multipath)),
            Action::Bundle(bundle) => write!(to, "{}", BundleText(bundle, ports)),
            Action::CheckPktLarger { len, target } => write!(to, "check_pkt_larger({len})->{target}"),
            Action::Resubmit { port, table } => resubmit(to, *port, *table, ports),
            Action::WriteMetadata { value, mask: u64::MAX } => write!(to, "write_metadata:{}", Hex((*value).into())),
            Action::WriteMetadata { value, mask } => {
                write!(to, "write_metadata:{}/{}", Hex((*value).into()), Hex((*mask).into()))
            }
            action => match word(action) {
                Some(word) => to.write_str(word),
                None => number(to, action),
            },
        }
    }
}

/// Actions that are one word.
fn word(action: &Action) -> Option<&'static str> {
    Some(match action {
        Action::InPort => "IN_PORT",
        Action::Table => "TABLE",
        Action::Flood => "FLOOD",
        Action::All => "ALL",
        Action::Local => "LOCAL",
        Action::Normal => "NORMAL",
        Action::PopQueue => "pop_queue",
        Action::PopVlan => "strip_vlan",
        Action::PopPbb => "pop_pbb",
        Action::DecMplsTtl => "dec_mpls_ttl",
        Action::CopyTtlOut => "copy_ttl_out",
        Action::CopyTtlIn => "copy_ttl_in",
        Action::Exit => "exit",
        Action::ClearActions => "clear_actions",
        _ => return None,
    })
}

/// Actions that are a word and a simple value.
fn number(to: &mut Formatter<'_>, action: &Action) -> fmt::Result {
    let mac = |mac: &[u8; 6]| MacText(mac.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
    match action {
        Action::Group(id) => write!(to, "group:{id}"),
        Action::Meter(id) => write!(to, "meter:{id}"),
        Action::SetQueue(id) => write!(to, "set_queue:{id}"),
        Action::SetDlSrc(address) => write!(to, "mod_dl_src:{}", mac(address)),
        Action::SetDlDst(address) => write!(to, "mod_dl_dst:{}", mac(address)),
        Action::SetVlanVid(vid) => write!(to, "mod_vlan_vid:{vid}"),
        Action::SetVlanPcp(pcp) => write!(to, "mod_vlan_pcp:{pcp}"),
        Action::SetNwSrc(address) => write!(to, "mod_nw_src:{address}"),
        Action::SetNwDst(address) => write!(to, "mod_nw_dst:{address}"),
        Action::SetNwTos(tos) => write!(to, "mod_nw_tos:{tos}"),
        Action::SetNwEcn(ecn) => write!(to, "mod_nw_ecn:{ecn}"),
        Action::SetNwTtl(ttl) => write!(to, "mod_nw_ttl:{ttl}"),
        Action::SetTpSrc(port) => write!(to, "mod_tp_src:{port}"),
        Action::SetTpDst(port) => write!(to, "mod_tp_dst:{port}"),
        Action::SetTunnel(id) if *id > u64::from(u32::MAX) => write!(to, "set_tunnel64:{id:#x}"),
        Action::SetTunnel(id) => write!(to, "set_tunnel:{}", Hex((*id).into())),
        Action::PushVlan(kind) => write!(to, "push_vlan:{kind:#06x}"),
        Action::PushMpls(kind) => write!(to, "push_mpls:{kind:#06x}"),
        Action::PopMpls(kind) => write!(to, "pop_mpls:{kind:#06x}"),
        Action::PushPbb(kind) => write!(to, "push_pbb:{kind:#06x}"),
        Action::SetMplsLabel(label) => write!(to, "set_mpls_label({label})"),
        Action::SetMplsTc(class) => write!(to, "set_mpls_tc({class})"),
        Action::SetMplsTtl(ttl) => write!(to, "set_mpls_ttl({ttl})"),
        Action::DecTtl(ids) if ids.is_empty() => to.write_str("dec_ttl"),
        Action::DecTtl(ids) => write!(to, "dec_ttl({})", joined(ids, ",")),
        // OpenFlow counts dimensions from 1 in text only.
        Action::Conjunction { id, clause, clauses } => write!(to, "conjunction({id},{}/{clauses})", clause + 1),
        Action::Note(bytes) => write!(to, "note:{}", Bytes(bytes)),
        Action::FinTimeout { idle, hard } => {
            let parts =
                [("idle_timeout", idle), ("hard_timeout", hard)].into_iter().filter(|(_, seconds)| **seconds > 0);
            write!(to, "fin_timeout({})", joined(parts.map(|(name, seconds)| format!("{name}={seconds}")), ","))
        }
        Action::GotoTable(table) => write!(to, "goto_table:{table}"),
        _ => Ok(()),
    }
}

fn joined(parts: impl IntoIterator<Item = impl Display>, between: &str) -> String {
    parts.into_iter().map(|part| part.to_string()).collect::<Vec<_>>().join(between)
}

fn resubmit(to: &mut Formatter<'_>, port: Option<u32>, table: Option<u8>, ports: &dyn PortNames) -> fmt::Result {
    match (port, table) {
        (Some(port), None) => write!(to, "resubmit:{}", Port(port, ports)),
        (Some(port), Some(table)) => write!(to, "resubmit({},{table})", Port(port, ports)),
        (None, Some(table)) => write!(to, "resubmit(,{table})"),
        (None, None) => to.write_str("resubmit(,)"),
    }
}

struct ControllerText<'a>(&'a Controller);

impl Display for ControllerText<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let Controller { max_len, reason, id, userdata, pause, meter } = self.0;
        let plain = Controller { max_len: *max_len, ..Controller::default() };
        if *self.0 == plain {
            return write!(to, "CONTROLLER:{max_len}");
        }
        let mut parts = Vec::new();
        if *reason != reason::ACTION {
            let name = words::REASONS.get(usize::from(*reason)).copied().unwrap_or("action");
            parts.push(format!("reason={name}"));
        }
        if *max_len != u16::MAX {
            parts.push(format!("max_len={max_len}"));
        }
        if *id != 0 {
            parts.push(format!("id={id}"));
        }
        if !userdata.is_empty() {
            parts.push(format!("userdata={}", Bytes(userdata)));
        }
        if *pause {
            parts.push("pause".to_owned());
        }
        if let Some(meter) = meter {
            parts.push(format!("meter_id={meter}"));
        }
        write!(to, "controller({})", parts.join(","))
    }
}

/// Bytes in hexadecimal, dots between them.
struct Bytes<'a>(&'a [u8]);

impl Display for Bytes<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(place, byte)| {
            to.write_str(if place == 0 { "" } else { "." })?;
            write!(to, "{byte:02x}")
        })
    }
}
