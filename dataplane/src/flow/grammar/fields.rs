//! The match: fields by name, and what each of them needs beside it.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::{Field, LOCAL_PORT, Match, near_miss};
use super::token::{Token, number};
use super::{Fault, PortNames, actions};
use crate::flow::Action;
use crate::wire::{ethernet, icmp, sctp, tcp, udp};

/// How a field's value is written.
#[derive(Clone, Copy)]
enum Form {
    Port,
    Mac,
    Ipv4,
    Ipv6,
    /// As many bits as the field has.
    Number,
    /// The same, with `/MASK`.
    Masked,
    Byte,
    DlVlan,
    VlanVid,
    Pcp,
    Tos,
    Dscp,
    Ecn,
    Frag,
    TcpFlags,
}

/// What must be matched on too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    Tag,
    Ipv4,
    Ipv6,
    Ip,
    Arp,
    Ipv4OrArp,
    IpOrArp,
    Transport(u8),
    /// ICMP of either version.
    AnyIcmp,
    /// Whatever has ports; ICMP's type and code lie in the same place.
    Ports,
}

impl Needs {
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Tag => "dl_vlan, or push_vlan before it",
            Self::Ipv4 => "ip (dl_type=0x0800) beside it",
            Self::Ipv6 => "ipv6 (dl_type=0x86dd) beside it",
            Self::Ip => "ip or ipv6 beside it",
            Self::Arp => "arp or rarp beside it",
            Self::Ipv4OrArp => "ip, arp or rarp beside it",
            Self::IpOrArp => "ip, ipv6, arp or rarp beside it",
            Self::Transport(tcp::PROTOCOL) => "tcp or tcp6 beside it",
            Self::Transport(udp::PROTOCOL) => "udp or udp6 beside it",
            Self::Transport(sctp::PROTOCOL) => "sctp or sctp6 beside it",
            Self::Transport(_) => "icmp6 beside it",
            Self::AnyIcmp => "icmp or icmp6 beside it",
            Self::Ports => "tcp, udp or sctp (or tcp6, udp6, sctp6) beside it",
        }
    }

    pub(super) fn are_met(self, matches: &Match) -> bool {
        let exactly = |field: Field| {
            let all = u64::MAX >> (64 - field.bits);
            (matches.mask.field(field) == all).then(|| matches.key.field(field))
        };
        let dl_type = exactly(Field::DL_TYPE).map_or(0, |value| value as u16);
        let ipv4 = dl_type == ethernet::TYPE_IPV4;
        let ipv6 = dl_type == ethernet::TYPE_IPV6;
        let arp = dl_type == ethernet::TYPE_ARP || dl_type == ethernet::TYPE_RARP;
        let protocol = exactly(Field::NW_PROTO).filter(|_| ipv4 || ipv6).map(|value| value as u8);
        let icmp = ipv4 && protocol == Some(icmp::PROTOCOL) || ipv6 && protocol == Some(icmp::PROTOCOL_V6);
        match self {
            Self::Nothing => true,
            Self::Tag => matches.key.field(Field::VLAN_TCI) & 0x1000 != 0,
            Self::Ipv4 => ipv4,
            Self::Ipv6 => ipv6,
            Self::Ip => ipv4 || ipv6,
            Self::Arp => arp,
            Self::Ipv4OrArp => ipv4 || arp,
            Self::IpOrArp => ipv4 || ipv6 || arp,
            Self::Transport(icmp::PROTOCOL_V6) => icmp && ipv6,
            Self::Transport(wanted) => protocol == Some(wanted),
            Self::AnyIcmp => icmp,
            Self::Ports => icmp || matches!(protocol, Some(tcp::PROTOCOL | udp::PROTOCOL | sctp::PROTOCOL)),
        }
    }
}

/// Ethernet type, and protocol where the name says one.
const PROTOCOLS: &[(&str, u16, Option<u8>)] = &[
    ("ip", ethernet::TYPE_IPV4, None),
    ("icmp", ethernet::TYPE_IPV4, Some(icmp::PROTOCOL)),
    ("tcp", ethernet::TYPE_IPV4, Some(tcp::PROTOCOL)),
    ("udp", ethernet::TYPE_IPV4, Some(udp::PROTOCOL)),
    ("sctp", ethernet::TYPE_IPV4, Some(sctp::PROTOCOL)),
    ("ipv6", ethernet::TYPE_IPV6, None),
    ("ip6", ethernet::TYPE_IPV6, None),
    ("icmp6", ethernet::TYPE_IPV6, Some(icmp::PROTOCOL_V6)),
    ("tcp6", ethernet::TYPE_IPV6, Some(tcp::PROTOCOL)),
    ("udp6", ethernet::TYPE_IPV6, Some(udp::PROTOCOL)),
    ("sctp6", ethernet::TYPE_IPV6, Some(sctp::PROTOCOL)),
    ("arp", ethernet::TYPE_ARP, None),
    ("rarp", ethernet::TYPE_RARP, None),
];

type Spec = (&'static [&'static str], Field, Form, Needs);

const FIELDS: &[Spec] = &[
    (&["in_port"], Field::IN_PORT, Form::Port, Needs::Nothing),
    (&["dl_src", "eth_src"], Field::DL_SRC, Form::Mac, Needs::Nothing),
    (&["dl_dst", "eth_dst"], Field::DL_DST, Form::Mac, Needs::Nothing),
    (&["dl_type", "eth_type"], Field::DL_TYPE, Form::Number, Needs::Nothing),
    (&["vlan_tci"], Field::VLAN_TCI, Form::Masked, Needs::Nothing),
    (&["dl_vlan"], Field::VLAN_TCI, Form::DlVlan, Needs::Nothing),
    (&["vlan_vid"], Field::VLAN_TCI, Form::VlanVid, Needs::Nothing),
    (&["dl_vlan_pcp", "vlan_pcp"], Field::VLAN_TCI, Form::Pcp, Needs::Nothing),
    (&["nw_src", "ip_src"], Field::NW_SRC, Form::Ipv4, Needs::Ipv4OrArp),
    (&["nw_dst", "ip_dst"], Field::NW_DST, Form::Ipv4, Needs::Ipv4OrArp),
    (&["ipv6_src"], Field::IPV6_SRC, Form::Ipv6, Needs::Ipv6),
    (&["ipv6_dst"], Field::IPV6_DST, Form::Ipv6, Needs::Ipv6),
    (&["nw_proto", "ip_proto"], Field::NW_PROTO, Form::Number, Needs::IpOrArp),
    (&["nw_tos"], Field::NW_TOS, Form::Tos, Needs::Ip),
    (&["ip_dscp"], Field::NW_TOS, Form::Dscp, Needs::Ip),
    (&["nw_ecn", "ip_ecn"], Field::NW_TOS, Form::Ecn, Needs::Ip),
    (&["nw_ttl"], Field::NW_TTL, Form::Number, Needs::Ip),
    (&["ip_frag", "nw_frag"], Field::NW_FRAG, Form::Frag, Needs::Ip),
    (&["tp_src"], Field::TP_SRC, Form::Masked, Needs::Ports),
    (&["tp_dst"], Field::TP_DST, Form::Masked, Needs::Ports),
    (&["tcp_src"], Field::TP_SRC, Form::Masked, Needs::Transport(tcp::PROTOCOL)),
    (&["tcp_dst"], Field::TP_DST, Form::Masked, Needs::Transport(tcp::PROTOCOL)),
    (&["udp_src"], Field::TP_SRC, Form::Masked, Needs::Transport(udp::PROTOCOL)),
    (&["udp_dst"], Field::TP_DST, Form::Masked, Needs::Transport(udp::PROTOCOL)),
    (&["sctp_src"], Field::TP_SRC, Form::Masked, Needs::Transport(sctp::PROTOCOL)),
    (&["sctp_dst"], Field::TP_DST, Form::Masked, Needs::Transport(sctp::PROTOCOL)),
    (&["tcp_flags"], Field::TCP_FLAGS, Form::TcpFlags, Needs::Transport(tcp::PROTOCOL)),
    (&["icmp_type"], Field::TP_SRC, Form::Byte, Needs::AnyIcmp),
    (&["icmp_code"], Field::TP_DST, Form::Byte, Needs::AnyIcmp),
    (&["icmpv6_type"], Field::TP_SRC, Form::Byte, Needs::Transport(icmp::PROTOCOL_V6)),
    (&["icmpv6_code"], Field::TP_DST, Form::Byte, Needs::Transport(icmp::PROTOCOL_V6)),
    (&["arp_op"], Field::NW_PROTO, Form::Byte, Needs::Arp),
    (&["arp_spa"], Field::NW_SRC, Form::Ipv4, Needs::Arp),
    (&["arp_tpa"], Field::NW_DST, Form::Ipv4, Needs::Arp),
    (&["arp_sha"], Field::ARP_SHA, Form::Mac, Needs::Arp),
    (&["arp_tha"], Field::ARP_THA, Form::Mac, Needs::Arp),
];

/// TCP flags by bit.
pub(super) const TCP_FLAGS: [&str; 9] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns"];
/// All bits of the field, also those without a name.
pub(super) const ALL_TCP_FLAGS: u64 = 0xfff;

/// A match while its text is read. What a field needs may also stand behind it, so that is checked at the end.
#[derive(Default)]
pub(super) struct MatchBuilder {
    matches: Match,
    needs: Vec<(Needs, String, usize)>,
}

impl MatchBuilder {
    pub(super) fn take(&mut self, token: &Token<'_>, ports: &dyn PortNames) -> Result<(), Fault> {
        if let Some(&(_, dl_type, protocol)) = PROTOCOLS.iter().find(|(name, ..)| *name == token.key) {
            if token.value().is_some() {
                return Err(token.wrong(&format!("just \"{}\"", token.key)));
            }
            self.want(token, Field::DL_TYPE, u64::from(dl_type), u64::MAX)?;
            return protocol.map_or(Ok(()), |protocol| self.want(token, Field::NW_PROTO, u64::from(protocol), 0xff));
        }
        let Some(&(_, field, form, needs)) = FIELDS.iter().find(|(names, ..)| names.contains(&token.key)) else {
            return Err(unknown(token));
        };
        if token.text()? == "*" {
            return Ok(());
        }
        if needs != Needs::Nothing {
            self.needs.push((needs, token.key.to_owned(), token.at));
        }
        if let Form::Ipv6 = form {
            return self.want_ipv6(token, field);
        }
        let (value, bits) = read(token, field, form, ports)?;
        self.want(token, field, value, bits)
    }

    fn want(&mut self, token: &Token<'_>, field: Field, value: u64, bits: u64) -> Result<(), Fault> {
        let bits = bits & (u64::MAX >> (64 - field.bits));
        let both = self.matches.mask.field(field) & bits;
        if (self.matches.key.field(field) ^ value) & both != 0 {
            let expected = "fields that a packet can have together";
            return Err(Fault::new(token.at, format!("\"{}\" contradicts what stands before it", token.key), expected));
        }
        self.matches.want(field, value, bits);
        Ok(())
    }

    fn want_ipv6(&mut self, token: &Token<'_>, field: Field) -> Result<(), Fault> {
        let wrong = || token.wrong("an IPv6 address, alone, with /PREFIX-LENGTH or with /MASK");
        let address = |text: &str| text.parse::<Ipv6Addr>().ok().map(u128::from);
        let (value, bits) = masked(token.text()?, 128, address).ok_or_else(wrong)?;
        let low = Field { word: field.word + 1, ..field };
        self.want(token, field, (value >> 64) as u64, (bits >> 64) as u64)?;
        self.want(token, low, value as u64, bits as u64)
    }

    pub(super) fn finish(self) -> Result<Match, Fault> {
        let missing = self.needs.iter().find(|(needs, ..)| !needs.are_met(&self.matches));
        match missing {
            Some((needs, name, at)) => {
                Err(Fault::new(*at, format!("{name} without what it is a part of"), needs.expected()))
            }
            None => Ok(self.matches.normalized()),
        }
    }
}

fn unknown(token: &Token<'_>) -> Fault {
    let fields = FIELDS.iter().flat_map(|(names, ..)| names.iter().copied());
    let protocols = PROTOCOLS.iter().map(|&(name, ..)| name);
    let known = fields.chain(protocols).chain(super::CLAUSES.iter().copied());
    let expected = match near_miss(token.key, known) {
        Some(hint) => format!("a field of ovs-fields(7) that this switch knows; did you mean \"{hint}\"?"),
        None => "a field of ovs-fields(7) that this switch knows, such as in_port, dl_vlan or nw_dst".to_owned(),
    };
    Fault::new(token.at, format!("unknown field \"{}\"", token.key), expected)
}

/// A value and which of its bits count; `/LEN` is a prefix length where `width` says of how many bits.
fn masked(text: &str, width: u32, value: impl Fn(&str) -> Option<u128>) -> Option<(u128, u128)> {
    let all = u128::MAX >> (128 - width);
    match text.split_once('/') {
        None => Some((value(text)?, all)),
        Some((address, mask)) => {
            let prefix = mask.parse::<u32>().ok().filter(|&len| len <= width);
            let bits = match prefix {
                Some(len) => all & all.checked_shl(width - len).unwrap_or(0),
                None => value(mask)?,
            };
            Some((value(address)?, bits))
        }
    }
}

/// The value of a field of up to 64 bits, and which of its bits count.
fn read(token: &Token<'_>, field: Field, form: Form, ports: &dyn PortNames) -> Result<(u64, u64), Fault> {
    let text = token.text()?;
    let all = u64::MAX >> (64 - field.bits);
    let up_to = |max: u64, expected: &str| token.limited(max, expected);
    let whole = |value: u64| (value, all);
    Ok(match form {
        Form::Port => whole(port(text, ports).ok_or_else(|| token.wrong("a port number, a port's name, or LOCAL"))?),
        Form::Mac => mac_masked(text).ok_or_else(|| token.wrong("a MAC address, alone or with /MASK"))?,
        Form::Ipv4 => {
            let address = |text: &str| text.parse::<Ipv4Addr>().ok().map(|ip| u128::from(u32::from(ip)));
            let expected = "an IPv4 address, alone, with /PREFIX-LENGTH or with /MASK";
            let (value, bits) = masked(text, 32, address).ok_or_else(|| token.wrong(expected))?;
            (value as u64, bits as u64)
        }
        Form::Number => whole(up_to(all, &format!("a number, 0 to {all}"))?),
        Form::Byte => whole(up_to(0xff, "a number, 0 to 255")?),
        Form::Masked => {
            let wrong = || token.wrong(&format!("a number, 0 to {all}, alone or with /MASK"));
            let (value, bits) = text.split_once('/').unwrap_or((text, "0xffff"));
            let read = |text| number(text).filter(|&value| value <= all).ok_or_else(wrong);
            (read(value)?, read(bits)?)
        }
        Form::DlVlan => match number(text) {
            Some(0xffff) => whole(0),
            Some(vid) if vid < 0x1000 => (0x1000 | vid, 0x1fff),
            _ => return Err(token.wrong("a VLAN id, 0 to 4095, or 0xffff for no tag")),
        },
        Form::VlanVid => vlan_vid(text)
            .ok_or_else(|| token.wrong("0 for no tag, or a VLAN id plus 0x1000 (0x1005 for VLAN 5), or with /MASK"))?,
        Form::Pcp => (0x1000 | up_to(7, "a VLAN priority, 0 to 7")? << 13, 0xf000),
        Form::Tos => (up_to(0xff, "a type of service, 0 to 255")?, 0xfc),
        Form::Dscp => (up_to(0x3f, "a DSCP, 0 to 63")? << 2, 0xfc),
        Form::Ecn => (up_to(3, "ECN bits, 0 to 3")?, 3),
        Form::Frag => match text {
            "no" => (0, 3),
            "yes" => (1, 1),
            "first" => (1, 3),
            "later" => (3, 3),
            "not_later" => (0, 2),
            _ => return Err(token.wrong("no, yes, first, later or not_later")),
        },
        Form::TcpFlags => tcp_flags(text).ok_or_else(|| {
            token.wrong("flags that are set and not set, as +syn-ack; exactly these, as syn|ack; or NUMBER/MASK")
        })?,
        Form::Ipv6 => return Err(token.wrong("an address that is read elsewhere")),
    })
}

fn port(text: &str, ports: &dyn PortNames) -> Option<u64> {
    match actions::to_port(text, ports)? {
        Action::Output(number) => Some(u64::from(number)),
        Action::Local => Some(u64::from(LOCAL_PORT)),
        _ => None,
    }
}

fn vlan_vid(text: &str) -> Option<(u64, u64)> {
    let in_range = |text| number(text).filter(|&value| value < 0x2000);
    match text.split_once('/') {
        Some((value, bits)) => Some((in_range(value)?, in_range(bits)?)),
        None => match in_range(text)? {
            0 => Some((0, 0xffff)),
            value => (value & 0x1000 != 0).then_some((value, 0x1fff)),
        },
    }
}

/// The six bytes of a MAC address, as a number.
pub(super) fn mac(text: &str) -> Option<u64> {
    let mut value = 0;
    let mut count = 0;
    for part in text.split(':') {
        let digits = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        value = value << 8 | u64::from(u8::from_str_radix(part, 16).ok().filter(|_| digits)?);
        count += 1;
    }
    (count == 6).then_some(value)
}

fn mac_masked(text: &str) -> Option<(u64, u64)> {
    match text.split_once('/') {
        Some((value, bits)) => Some((mac(value)?, mac(bits)?)),
        None => Some((mac(text)?, u64::MAX >> 16)),
    }
}

fn tcp_flags(text: &str) -> Option<(u64, u64)> {
    let fits = |text| number(text).filter(|&value| value <= ALL_TCP_FLAGS);
    if let Some((value, bits)) = text.split_once('/') {
        return Some((fits(value)?, fits(bits)?));
    }
    if !text.starts_with(['+', '-']) {
        let flags = text.split('|').map(|part| fits(part).or_else(|| tcp_flag(part)));
        return Some((flags.sum::<Option<u64>>()?, ALL_TCP_FLAGS)).filter(|&(value, _)| value <= ALL_TCP_FLAGS);
    }
    let (mut value, mut bits) = (0, 0);
    for part in text.split_inclusive(['+', '-']).collect::<Vec<_>>().windows(2) {
        let bit = tcp_flag(part[1].trim_end_matches(['+', '-']))?;
        bits |= bit;
        value |= if part[0].ends_with('+') { bit } else { 0 };
    }
    (bits != 0 && !text.ends_with(['+', '-'])).then_some((value, bits))
}

/// The bit of a flag's name; one without a name is its bit in hexadecimal, in brackets.
fn tcp_flag(name: &str) -> Option<u64> {
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(digits) => u64::from_str_radix(digits, 16).ok().filter(|&bit| bit <= ALL_TCP_FLAGS && bit != 0),
        None => TCP_FLAGS.iter().position(|&known| known == name).map(|bit| 1 << bit),
    }
}
