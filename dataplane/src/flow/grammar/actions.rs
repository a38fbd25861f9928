//! The actions behind `actions=`.

use std::net::Ipv4Addr;

use super::super::{Action, Mac, Match, near_miss};
use super::fields::Needs;
use super::token::{Token, Tokens, number};
use super::{Fault, PortNames, parse_mac};
use crate::wire::{sctp, tcp, udp, vlan};

/// The largest port number that is not reserved.
const MAX_PORT: u64 = 0xfeff;

/// The words that an action starts with, ports apart.
const ACTIONS: &[&str] = &[
    "output",
    "IN_PORT",
    "FLOOD",
    "ALL",
    "LOCAL",
    "NORMAL",
    "drop",
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
    "mod_nw_ttl",
    "dec_ttl",
    "mod_tp_src",
    "mod_tp_dst",
    "set_field",
];

/// `base` is where `text` stands in the whole flow. An empty list drops.
pub(super) fn parse(text: &str, base: usize, matches: &Match, ports: &dyn PortNames) -> Result<Vec<Action>, Fault> {
    let mut actions = Vec::new();
    let mut dropped = None;
    let mut tokens = Tokens::new(text, base);
    while let Some(token) = tokens.next_token()? {
        if token.key == "drop" && token.value().is_none() {
            dropped = Some(token.at);
        } else {
            let action = action(&token, matches, &actions, ports)?;
            actions.push(action);
        }
    }
    match dropped {
        Some(at) if !actions.is_empty() => Err(Fault::new(at, "drop beside other actions", "drop alone")),
        _ => Ok(actions),
    }
}

fn action(token: &Token<'_>, matches: &Match, before: &[Action], ports: &dyn PortNames) -> Result<Action, Fault> {
    if token.key == "set_field" {
        return set_field(token, matches, before);
    }
    if token.key == "output" {
        let expected = "a port number, a port's name, IN_PORT, FLOOD, ALL, LOCAL or NORMAL";
        return to_port(token.text()?, ports).ok_or_else(|| token.wrong(expected));
    }
    if let Some(action) = modification(token)? {
        return Ok(action);
    }
    let port = to_port(token.key, ports).ok_or_else(|| unknown(token))?;
    match token.value() {
        Some(_) => Err(token.wrong(&format!("just \"{}\"", token.key))),
        None => Ok(port),
    }
}

fn unknown(token: &Token<'_>) -> Fault {
    let expected = match near_miss(token.key, ACTIONS.iter().copied()) {
        Some(hint) => format!("an action or a port; did you mean \"{hint}\"?"),
        None => format!("{}, or a port", ACTIONS.join(", ")),
    };
    Fault::new(token.at, format!("unknown action or port \"{}\"", token.key), expected)
}

/// The action that sends to this port: a number, a name, or a reserved port in either way.
pub(super) fn to_port(text: &str, ports: &dyn PortNames) -> Option<Action> {
    // A port's number is decimal even behind a zero.
    if let Some(number) = text.parse().ok().filter(|_| !text.starts_with('+')).or_else(|| number(text)) {
        // Reserved ports have 16 bits in OpenFlow 1.0 and 32 bits later, with the same low half.
        return match number {
            0..=MAX_PORT => Some(Action::Output(number as u32)),
            0xfff8 | 0xffff_fff8 => Some(Action::InPort),
            0xfffa | 0xffff_fffa => Some(Action::Normal),
            0xfffb | 0xffff_fffb => Some(Action::Flood),
            0xfffc | 0xffff_fffc => Some(Action::All),
            0xfffe | 0xffff_fffe => Some(Action::Local),
            _ => None,
        };
    }
    match text.to_ascii_lowercase().as_str() {
        "in_port" => Some(Action::InPort),
        "normal" => Some(Action::Normal),
        "flood" => Some(Action::Flood),
        "all" => Some(Action::All),
        "local" => Some(Action::Local),
        _ => ports.number(text).map(Action::Output),
    }
}

fn modification(token: &Token<'_>) -> Result<Option<Action>, Fault> {
    Ok(Some(match token.key {
        "mod_dl_src" => Action::SetDlSrc(mac_bytes(token, token.text()?)?),
        "mod_dl_dst" => Action::SetDlDst(mac_bytes(token, token.text()?)?),
        "mod_vlan_vid" => Action::SetVlanVid(token.limited(0xfff, "a VLAN id, 0 to 4095")? as u16),
        "mod_vlan_pcp" => Action::SetVlanPcp(token.limited(7, "a VLAN priority, 0 to 7")? as u8),
        "push_vlan" => match number(token.text()?) {
            Some(tag_type) if vlan::is_tag(tag_type as u16) && tag_type <= 0xffff => Action::PushVlan(tag_type as u16),
            _ => return Err(token.wrong("0x8100 or 0x88a8")),
        },
        "pop_vlan" | "strip_vlan" => alone(token, Action::PopVlan)?,
        "dec_ttl" => alone(token, Action::DecTtl(Vec::new()))?,
        "mod_nw_src" => Action::SetNwSrc(ipv4(token, token.text()?)?),
        "mod_nw_dst" => Action::SetNwDst(ipv4(token, token.text()?)?),
        "mod_nw_tos" => {
            let expected = "a type of service, 0 to 252 and a multiple of 4, for ECN is not set";
            let tos = token.limited(0xff, expected)?;
            if tos & 3 != 0 {
                return Err(token.wrong(expected));
            }
            Action::SetNwTos(tos as u8)
        }
        "mod_nw_ttl" => Action::SetNwTtl(token.limited(0xff, "a TTL, 0 to 255")? as u8),
        "mod_tp_src" => Action::SetTpSrc(token.limited(0xffff, "a port, 0 to 65535")? as u16),
        "mod_tp_dst" => Action::SetTpDst(token.limited(0xffff, "a port, 0 to 65535")? as u16),
        _ => return Ok(None),
    }))
}

fn alone(token: &Token<'_>, action: Action) -> Result<Action, Fault> {
    match token.value() {
        None | Some("") => Ok(action),
        Some(_) => Err(token.wrong("no value")),
    }
}

fn mac_bytes(token: &Token<'_>, text: &str) -> Result<Mac, Fault> {
    parse_mac(text).ok_or_else(|| token.wrong("a MAC address"))
}

fn ipv4(token: &Token<'_>, text: &str) -> Result<Ipv4Addr, Fault> {
    text.parse().map_err(|_| token.wrong("an IPv4 address"))
}

/// `set_field:VALUE->FIELD`. Unlike the `mod_` actions it demands that the match (or an action before it) makes sure that
/// the field is there.
fn set_field(token: &Token<'_>, matches: &Match, before: &[Action]) -> Result<Action, Fault> {
    let Some((value, field)) = token.text()?.split_once("->") else {
        return Err(token.wrong("set_field:VALUE->FIELD"));
    };
    let limited = |max: u64, expected: &str| {
        number(value).filter(|&value| value <= max).ok_or_else(|| token.wrong(&format!("{expected} before the arrow")))
    };
    let (action, needs) = match field {
        "eth_src" | "dl_src" => (Action::SetDlSrc(mac_bytes(token, value)?), Needs::Nothing),
        "eth_dst" | "dl_dst" => (Action::SetDlDst(mac_bytes(token, value)?), Needs::Nothing),
        "vlan_vid" => {
            let vid = limited(0x1fff, "a VLAN id, with or without 0x1000,")?;
            (Action::SetVlanVid(vid as u16 & vlan::VID), Needs::Tag)
        }
        "vlan_pcp" => (Action::SetVlanPcp(limited(7, "a VLAN priority, 0 to 7,")? as u8), Needs::Tag),
        "ip_src" | "nw_src" => (Action::SetNwSrc(ipv4(token, value)?), Needs::Ipv4),
        "ip_dst" | "nw_dst" => (Action::SetNwDst(ipv4(token, value)?), Needs::Ipv4),
        "ip_dscp" => (Action::SetNwTos((limited(63, "a DSCP, 0 to 63,")? << 2) as u8), Needs::Ip),
        "nw_tos" => (Action::SetNwTos(limited(255, "a type of service, 0 to 255,")? as u8 & 0xfc), Needs::Ip),
        "nw_ttl" => (Action::SetNwTtl(limited(255, "a TTL, 0 to 255,")? as u8), Needs::Ip),
        _ => {
            let Some((protocol, is_source)) = port_field(field) else {
                let expected = "one of eth_src, eth_dst, vlan_vid, vlan_pcp, ip_src, ip_dst, ip_dscp, nw_tos, nw_ttl, \
                    tcp_src, tcp_dst, udp_src, udp_dst, sctp_src, sctp_dst behind the arrow";
                return Err(token.wrong(expected));
            };
            let port = limited(0xffff, "a port, 0 to 65535,")? as u16;
            let action = if is_source { Action::SetTpSrc(port) } else { Action::SetTpDst(port) };
            (action, Needs::Transport(protocol))
        }
    };
    let tags = |action: &Action| matches!(action, Action::PushVlan(_) | Action::SetVlanVid(_) | Action::SetVlanPcp(_));
    let tagged = || needs == Needs::Tag && before.iter().any(tags);
    if needs.are_met(matches) || tagged() {
        return Ok(action);
    }
    let problem = format!("set_field on {field}, which the matched packets need not have");
    Err(Fault::new(token.at, problem, format!("{} in the match", needs.expected())))
}

/// The protocol whose port this is, and whether it is the source.
fn port_field(field: &str) -> Option<(u8, bool)> {
    let (name, end) = field.split_once('_')?;
    let protocol = match name {
        "tcp" => tcp::PROTOCOL,
        "udp" => udp::PROTOCOL,
        "sctp" => sctp::PROTOCOL,
        _ => return None,
    };
    match end {
        "src" => Some((protocol, true)),
        "dst" => Some((protocol, false)),
        _ => None,
    }
}
