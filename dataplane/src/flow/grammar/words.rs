//! Actions that are a word and at most one value, read one at a time.
//!
//! Neighbours: `actions` has the lists and whatever needs to know about ports or other actions.

use std::net::Ipv4Addr;

use super::super::{Action, Controller, FieldId, Mac, Subfield, near_miss, reason};
use super::token::{Token, Tokens, number, wide_number};
use super::{Fault, PortNames, names, values};

/// Actions that give one thing a new value.
pub(super) fn modification(token: &Token<'_>) -> Result<Option<Action>, Fault> {
    Ok(Some(match token.key {
        "mod_dl_src" => Action::SetDlSrc(mac(token)?),
        "mod_dl_dst" => Action::SetDlDst(mac(token)?),
        "mod_vlan_vid" => Action::SetVlanVid(token.limited(0xfff, "a VLAN id, 0 to 4095")? as u16),
        "mod_vlan_pcp" => Action::SetVlanPcp(token.limited(7, "a VLAN priority, 0 to 7")? as u8),
        "mod_nw_src" => Action::SetNwSrc(ipv4(token)?),
        "mod_nw_dst" => Action::SetNwDst(ipv4(token)?),
        "mod_nw_tos" => {
            let expected = "a type of service, 0 to 252 and a multiple of 4, for ECN is not set";
            let tos = token.limited(0xff, expected)?;
            if tos & 3 != 0 {
                return Err(token.wrong(expected));
            }
            Action::SetNwTos(tos as u8)
        }
        "mod_nw_ecn" => Action::SetNwEcn(token.limited(3, "ECN bits, 0 to 3")? as u8),
        "mod_nw_ttl" => Action::SetNwTtl(token.limited(0xff, "a TTL, 0 to 255")? as u8),
        "mod_tp_src" => Action::SetTpSrc(token.limited(0xffff, "a port, 0 to 65535")? as u16),
        "mod_tp_dst" => Action::SetTpDst(token.limited(0xffff, "a port, 0 to 65535")? as u16),
        "set_tunnel" | "set_tunnel64" => Action::SetTunnel(token.limited(u64::MAX, "a number of 64 bits")?),
        "set_mpls_label" => Action::SetMplsLabel(token.limited(0xf_ffff, "a label, 0 to 1048575")? as u32),
        "set_mpls_tc" => Action::SetMplsTc(token.limited(7, "a traffic class, 0 to 7")? as u8),
        "set_mpls_ttl" => Action::SetMplsTtl(token.limited(0xff, "a TTL, 0 to 255")? as u8),
        "set_queue" => Action::SetQueue(token.number32()?),
        "group" => Action::Group(token.limited(0xffff_ffff, "a group's number")? as u32),
        "move" => {
            let (source, target) = arrow(token, "FIELD[..]->FIELD[..]")?;
            Action::Move { source: part(token, source)?, target: part(token, target)? }
        }
        "push" => Action::Push(part(token, token.text()?)?),
        "pop" => Action::Pop(part(token, token.text()?)?),
        "check_pkt_larger" => {
            let target = token.arrow.ok_or_else(|| token.wrong("check_pkt_larger(BYTES)->FIELD[BIT]"))?;
            Action::CheckPktLarger { len: token.number16()?, target: part(token, target.0)? }
        }
        _ => return Ok(None),
    }))
}

/// Actions that push, pop, count down, or stand for themselves.
pub(super) fn tags(token: &Token<'_>) -> Result<Option<Action>, Fault> {
    let alone = |action: Action| token.without().map(|()| action);
    let kind = |expected| token.limited(0xffff, expected).map(|kind| kind as u16);
    Ok(Some(match token.key {
        "push_vlan" => match kind("0x8100 or 0x88a8")? {
            tag if crate::wire::vlan::is_tag(tag) => Action::PushVlan(tag),
            _ => return Err(token.wrong("0x8100 or 0x88a8")),
        },
        "pop_vlan" | "strip_vlan" => alone(Action::PopVlan)?,
        "push_mpls" => Action::PushMpls(kind("0x8847 or 0x8848")?),
        "pop_mpls" => Action::PopMpls(kind("the Ethernet type behind the label")?),
        "push_pbb" => Action::PushPbb(kind("0x88e7")?),
        "pop_pbb" => alone(Action::PopPbb)?,
        "dec_ttl" => {
            let ids = token.value().unwrap_or("").split([',', ' ']).filter(|id| !id.is_empty());
            let ids = ids.map(|id| number(id).and_then(|id| u16::try_from(id).ok()));
            Action::DecTtl(ids.collect::<Option<_>>().ok_or_else(|| token.wrong("numbers of controllers"))?)
        }
        "dec_mpls_ttl" => alone(Action::DecMplsTtl)?,
        "copy_ttl_out" => alone(Action::CopyTtlOut)?,
        "copy_ttl_in" => alone(Action::CopyTtlIn)?,
        "pop_queue" => alone(Action::PopQueue)?,
        "exit" => alone(Action::Exit)?,
        "note" => {
            let bytes = token.value().unwrap_or("");
            Action::Note(hex(bytes).ok_or_else(|| token.wrong("bytes in hexadecimal, with or without dots"))?)
        }
        "fin_timeout" => {
            let (mut idle, mut hard) = (0, 0);
            let mut inner = Tokens::new(token.value().unwrap_or(""), token.value_start().unwrap_or(token.at));
            while let Some(part) = inner.next_token()? {
                match part.key {
                    "idle_timeout" => idle = part.number16()?,
                    "hard_timeout" => hard = part.number16()?,
                    _ => return Err(token.wrong("idle_timeout=SECONDS,hard_timeout=SECONDS")),
                }
            }
            Action::FinTimeout { idle, hard }
        }
        "conjunction" => conjunction(token)?,
        _ => return Ok(None),
    }))
}

/// What OpenFlow calls instructions.
pub(super) fn instruction(token: &Token<'_>) -> Result<Option<Action>, Fault> {
    Ok(Some(match token.key {
        "meter" => Action::Meter(token.limited(0xffff_ffff, "a meter's number")? as u32),
        "clear_actions" => token.without().map(|()| Action::ClearActions)?,
        "goto_table" => Action::GotoTable(token.limited(253, "a table number, 0 to 253")? as u8),
        "write_metadata" => {
            let text = token.text()?;
            let (value, mask) = text.split_once('/').map_or((text, None), |(value, mask)| (value, Some(mask)));
            let both = number(value).zip(mask.map_or(Some(u64::MAX), number));
            let (value, mask) = both.ok_or_else(|| token.wrong("a number of 64 bits, alone or with /MASK"))?;
            Action::WriteMetadata { value, mask }
        }
        _ => return Ok(None),
    }))
}

fn mac(token: &Token<'_>) -> Result<Mac, Fault> {
    super::parse_mac(token.text()?).ok_or_else(|| token.wrong("a MAC address"))
}

fn ipv4(token: &Token<'_>) -> Result<Ipv4Addr, Fault> {
    token.text()?.parse().map_err(|_| token.wrong("an IPv4 address"))
}

/// Bits of a field.
pub(super) fn part(token: &Token<'_>, text: &str) -> Result<Subfield, Fault> {
    let at = token.value_start().unwrap_or(token.at);
    names::subfield(text.trim())
        .map_err(|(problem, expected)| Fault::new(at, format!("{}: {problem}", token.key), expected))
}

/// What stands before and behind `->`.
fn arrow<'a>(token: &Token<'a>, expected: &str) -> Result<(&'a str, &'a str), Fault> {
    let parts = token.text()?.split_once("->");
    parts.ok_or_else(|| token.wrong(&format!("{}:{expected}", token.key)))
}

/// `load:VALUE->FIELD[..]`. A field of 128 bits takes two actions, for OpenFlow loads at most 64.
pub(super) fn load(token: &Token<'_>) -> Result<Vec<Action>, Fault> {
    let (value, target) = arrow(token, "VALUE->FIELD[..]")?;
    let target = part(token, target)?;
    let most = target.mask() >> target.start;
    let value = wide_number(value).filter(|&value| value <= most);
    let value = value.ok_or_else(|| token.wrong(&format!("a number of {} bits before the arrow", target.bits)))?;
    let low = Subfield { bits: target.bits.min(64), ..target };
    let mut actions = vec![Action::Load { value: value as u64, target: low }];
    if target.bits > 64 {
        let high = Subfield { start: target.start + 64, bits: target.bits - 64, ..target };
        actions.push(Action::Load { value: (value >> 64) as u64, target: high });
    }
    Ok(actions)
}

/// `set_field:VALUE[/MASK]->FIELD`
pub(super) fn set_field(token: &Token<'_>, ports: &dyn PortNames) -> Result<Action, Fault> {
    let (text, name) = arrow(token, "VALUE[/MASK]->FIELD")?;
    let field = names::field(name).ok_or_else(|| {
        let known = FieldId::ALL.iter().map(|id| names::of_set_field(*id));
        match near_miss(name, known) {
            Some(hint) => token.wrong(&format!("a field behind the arrow; did you mean \"{hint}\"?")),
            None => token.wrong("a field of ovs-fields(7) behind the arrow, such as eth_src, ip_dst or reg0"),
        }
    })?;
    let wrong = |expected: String| token.wrong(&format!("{expected}, before the arrow"));
    let (mut value, mask) = values::read(field, text, ports).map_err(wrong)?;
    if field == FieldId::VLAN_VID && mask == field.ones() {
        value |= 0x1000;
    }
    Ok(Action::SetField { field, value: value & mask, mask })
}

/// `controller`, `controller:MAX_LEN`, `controller(max_len=..,reason=..,id=..,userdata=..,pause,meter_id=..)`
pub(super) fn controller(token: &Token<'_>) -> Result<Controller, Fault> {
    let mut controller = Controller::default();
    let Some(text) = token.value() else { return Ok(controller) };
    if let Some(max_len) = number(text) {
        controller.max_len = u16::try_from(max_len).map_err(|_| token.wrong("bytes, 0 to 65535"))?;
        return Ok(controller);
    }
    let mut inner = token.inner()?;
    while let Some(part) = inner.next_token()? {
        match part.key {
            "max_len" => controller.max_len = part.number16()?,
            "id" => controller.id = part.number16()?,
            "meter_id" => controller.meter = Some(part.number32()?),
            "pause" => {
                part.without()?;
                controller.pause = true;
            }
            "userdata" => {
                controller.userdata = hex(part.text()?).ok_or_else(|| part.wrong("bytes in hexadecimal"))?;
            }
            "reason" => {
                let place = REASONS.iter().position(|name| Some(*name) == part.value());
                controller.reason = place.ok_or_else(|| part.wrong(&REASONS.join(", ")))? as u8;
            }
            _ => {
                let problem = format!("\"{}\" in controller", part.key);
                return Err(Fault::new(part.at, problem, "max_len, reason, id, userdata, pause or meter_id"));
            }
        }
    }
    Ok(controller)
}

/// Reasons by number.
pub(super) const REASONS: [&str; reason::PACKET_OUT as usize + 1] =
    ["no_match", "action", "invalid_ttl", "action_set", "group", "packet_out"];

/// Bytes in hexadecimal, with or without dots between them.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<_> =
        text.chars().filter(|digit| *digit != '.').map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let pair = |pair: &[u32]| Some((pair[0] << 4 | pair.get(1)?) as u8);
    digits.chunks(2).map(pair).collect()
}

/// `conjunction(ID,K/N)`
fn conjunction(token: &Token<'_>) -> Result<Action, Fault> {
    let read = || {
        let (id, dimension) = token.value()?.split_once(',')?;
        let (clause, clauses) = dimension.split_once('/')?;
        let small = |text: &str| number(text.trim()).and_then(|number| u8::try_from(number).ok());
        let clause = small(clause)?.checked_sub(1)?;
        Some(Action::Conjunction { id: u32::try_from(number(id.trim())?).ok()?, clause, clauses: small(clauses)? })
    };
    read().ok_or_else(|| token.wrong("conjunction(ID,K/N), K from 1 to N and N from 2 to 64"))
}
