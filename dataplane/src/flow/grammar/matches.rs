//! The match, read: fields by name, and what each of them needs beside it.

use super::super::{Field, FieldId, FlowKey, Match, Needs, near_miss};
use super::token::{Token, number};
use super::{Fault, PortNames, names, values};
use crate::wire::{ethernet, icmp, sctp, tcp, udp};

/// Ethernet type, and protocol where the name says one.
pub(super) const PROTOCOLS: &[(&str, u16, Option<u8>)] = &[
    ("ip", ethernet::TYPE_IPV4, None),
    ("icmp", ethernet::TYPE_IPV4, Some(icmp::PROTOCOL)),
    ("tcp", ethernet::TYPE_IPV4, Some(tcp::PROTOCOL)),
    ("udp", ethernet::TYPE_IPV4, Some(udp::PROTOCOL)),
    ("sctp", ethernet::TYPE_IPV4, Some(sctp::PROTOCOL)),
    ("ipv6", ethernet::TYPE_IPV6, None),
    ("icmp6", ethernet::TYPE_IPV6, Some(icmp::PROTOCOL_V6)),
    ("tcp6", ethernet::TYPE_IPV6, Some(tcp::PROTOCOL)),
    ("udp6", ethernet::TYPE_IPV6, Some(udp::PROTOCOL)),
    ("sctp6", ethernet::TYPE_IPV6, Some(sctp::PROTOCOL)),
    ("arp", ethernet::TYPE_ARP, None),
    ("rarp", ethernet::TYPE_RARP, None),
    ("mpls", ethernet::TYPE_MPLS, None),
    ("mplsm", ethernet::TYPE_MPLS_MULTICAST, None),
    // Other names of those above: never printed.
    ("ipv4", ethernet::TYPE_IPV4, None),
    ("ip4", ethernet::TYPE_IPV4, None),
    ("ip6", ethernet::TYPE_IPV6, None),
];

/// Names that mean something else in a match than [`FieldId::named`] says, or nothing to it.
const ONLY_HERE: &[&str] = &["eth", "dl_vlan", "tp_src", "tp_dst"];

/// A match while its text is read. What a field needs may also stand behind it, so that is checked at the end.
#[derive(Default)]
pub(super) struct MatchBuilder {
    matches: Match,
    needs: Vec<(Needs, String, usize)>,
}

impl MatchBuilder {
    pub(super) fn take(&mut self, token: &Token<'_>, ports: &dyn PortNames) -> Result<(), Fault> {
        if token.key == "eth" && token.value().is_none() {
            return Ok(());
        }
        if let Some(&(_, dl_type, protocol)) = PROTOCOLS.iter().find(|(name, ..)| *name == token.key) {
            if token.value().is_some() {
                return Err(token.wrong(&format!("just \"{}\"", token.key)));
            }
            self.want(token, FieldId::ETH_TYPE, dl_type.into(), FieldId::ETH_TYPE.ones())?;
            let protocol = protocol.map(|protocol| self.want(token, FieldId::IP_PROTO, protocol.into(), 0xff));
            return protocol.unwrap_or(Ok(()));
        }
        if token.key.contains('[') {
            return self.take_bits(token);
        }
        let (id, needs) = field(token.key).ok_or_else(|| unknown(token))?;
        if token.text()? == "*" {
            return Ok(());
        }
        if needs != Needs::Nothing {
            self.needs.push((needs, token.key.to_owned(), token.at));
        }
        let (id, value, bits) = read(token, id, ports)?;
        self.want(token, id, value, bits)
    }

    /// `reg0[3..7]=5`
    fn take_bits(&mut self, token: &Token<'_>) -> Result<(), Fault> {
        let wrong = |(problem, expected): (String, String)| Fault::new(token.at, problem, expected);
        let part = names::subfield(token.key).map_err(wrong)?;
        let info = part.field.info();
        if !info.maskable && part.mask() != part.field.ones() {
            return Err(Fault::new(token.at, format!("a part of {}", info.name), "all of it, for it has no mask"));
        }
        if info.needs != Needs::Nothing {
            self.needs.push((info.needs, token.key.to_owned(), token.at));
        }
        let most = part.mask() >> part.start;
        let value = super::token::wide_number(token.text()?).filter(|&value| value <= most);
        let value = value.ok_or_else(|| token.wrong(&format!("a number of {} bits", part.bits)))?;
        self.want(token, part.field, value << part.start, part.mask())
    }

    fn want(&mut self, token: &Token<'_>, id: FieldId, value: u128, bits: u128) -> Result<(), Fault> {
        let both = self.matches.mask.get(id) & bits;
        if (self.matches.key.get(id) ^ value) & both != 0 {
            let expected = "fields that a packet can have together";
            return Err(Fault::new(token.at, format!("\"{}\" contradicts what stands before it", token.key), expected));
        }
        self.matches.want_bits(id, value & bits, bits);
        Ok(())
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

/// The field with this name in a match, and what it needs. A name may stand for several fields of one place.
fn field(name: &str) -> Option<(FieldId, Needs)> {
    Some(match name {
        "in_port" => (FieldId::IN_PORT, Needs::Nothing),
        "tp_src" => (FieldId::TCP_SRC, Needs::Ports),
        "tp_dst" => (FieldId::TCP_DST, Needs::Ports),
        "nw_src" | "ip_src" => (FieldId::IPV4_SRC, Needs::Ipv4OrArp),
        "nw_dst" | "ip_dst" => (FieldId::IPV4_DST, Needs::Ipv4OrArp),
        "nw_proto" | "ip_proto" => (FieldId::IP_PROTO, Needs::IpOrArp),
        "icmp_type" => (FieldId::ICMP_TYPE, Needs::AnyIcmp),
        "icmp_code" => (FieldId::ICMP_CODE, Needs::AnyIcmp),
        // These say themselves that there is a tag.
        "dl_vlan" => (FieldId::VLAN_VID, Needs::Nothing),
        "dl_vlan_pcp" | "vlan_pcp" => (FieldId::VLAN_PCP, Needs::Nothing),
        _ => {
            let id = FieldId::named(name)?;
            (id, id.info().needs)
        }
    })
}

/// Which field's bits are wanted, their value, and which of them.
fn read(token: &Token<'_>, id: FieldId, ports: &dyn PortNames) -> Result<(FieldId, u128, u128), Fault> {
    let text = token.text()?;
    let (value, bits) = match token.key {
        "dl_vlan" => match number(text) {
            Some(0xffff) => return Ok((FieldId::VLAN_TCI, 0, 0xffff)),
            Some(vid) if vid < 0x1000 => (0x1000 | u128::from(vid), 0x1fff),
            _ => return Err(token.wrong("a VLAN id, 0 to 4095, or 0xffff for no tag")),
        },
        "vlan_vid" => {
            let expected = "0 for no tag, or a VLAN id plus 0x1000 (0x1005 for VLAN 5), or with /MASK";
            let read = values::read(id, text, ports).ok();
            let sound = |&(value, bits): &(u128, u128)| bits != id.ones() || value == 0 || value & 0x1000 != 0;
            read.filter(sound).ok_or_else(|| token.wrong(expected))?
        }
        "dl_vlan_pcp" | "vlan_pcp" => {
            let priority = token.limited(7, "a VLAN priority, 0 to 7")?;
            return Ok((FieldId::VLAN_TCI, u128::from(0x1000 | priority << 13), 0xf000));
        }
        "nw_tos" => (token.limited(0xff, "a type of service, 0 to 255")?.into(), 0xfc),
        _ => values::read(id, text, ports).map_err(|expected| token.wrong(&expected))?,
    };
    Ok((id, value, bits))
}

fn unknown(token: &Token<'_>) -> Fault {
    let fields = FieldId::ALL.iter().flat_map(|id| std::iter::once(&id.info().name).chain(id.info().aliases)).copied();
    let protocols = PROTOCOLS.iter().map(|&(name, ..)| name);
    let clauses = super::clauses::WORDS.iter().chain(ONLY_HERE).copied();
    let expected = match near_miss(token.key, fields.chain(protocols).chain(clauses)) {
        Some(hint) => format!("a field of ovs-fields(7) that this switch knows; did you mean \"{hint}\"?"),
        None => "a field of ovs-fields(7) that this switch knows, such as in_port, dl_vlan or nw_dst".to_owned(),
    };
    Fault::new(token.at, format!("unknown field \"{}\"", token.key), expected)
}

/// All fields that a packet with this key has, as a match: those of its protocols, and of the others those that are not zero.
#[must_use]
pub fn fields_of(key: &FlowKey) -> Match {
    let mut matches = Match::default();
    let want = |matches: &mut Match, id: FieldId| matches.want_bits(id, key.get(id) & id.ones(), id.ones());
    let always = [FieldId::IN_PORT, FieldId::VLAN_TCI, FieldId::ETH_SRC, FieldId::ETH_DST, FieldId::ETH_TYPE];
    always.into_iter().for_each(|id| want(&mut matches, id));
    let of_no_frame = [FieldId::METADATA, FieldId::TUNNEL_ID, FieldId::PKT_MARK];
    for id in of_no_frame.into_iter().chain(names::REGISTERS).filter(|id| key.get(*id) != 0) {
        want(&mut matches, id);
    }
    for &id in FieldId::ALL {
        let needs = id.info().needs;
        // A tag is in vlan_tci already.
        if !matches!(needs, Needs::Nothing | Needs::Tag) && needs.are_met(&matches) {
            want(&mut matches, id);
        }
    }
    matches
}

/// The short name of what is matched on; whether it covers the IP protocol too.
pub(super) fn protocol(matches: &Match) -> Option<(&'static str, bool)> {
    if matches.mask.field(Field::DL_TYPE) == 0 {
        return None;
    }
    let dl_type = matches.key.field(Field::DL_TYPE) as u16;
    let protocol = (matches.mask.field(Field::NW_PROTO) != 0).then(|| matches.key.field(Field::NW_PROTO) as u8);
    let named = |wanted| PROTOCOLS.iter().find(|&&(_, of, protocol)| of == dl_type && protocol == wanted);
    let found = protocol.and_then(|protocol| named(Some(protocol))).or_else(|| named(None));
    found.map(|(name, _, protocol)| (*name, protocol.is_some()))
}
