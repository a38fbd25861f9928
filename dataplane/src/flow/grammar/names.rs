//! Names of fields as actions have them: `NXM_OF_ETH_DST[]`, `OXM_OF_METADATA[0..31]`, `reg0[3]`, `tcp_dst`.
//!
//! Source: `ovs-fields(7)`. A name of NXM is printed where there is one, as Open vSwitch does.

use std::fmt::{self, Display, Formatter};

use super::super::{FieldId, Subfield};

/// Fields, and their names with a prefix: first the one that is printed, then others that are understood.
const NAMES: &[(FieldId, &[&str])] = &[
    (FieldId::IN_PORT, &["OXM_OF_IN_PORT"]),
    (FieldId::NXM_IN_PORT, &["NXM_OF_IN_PORT"]),
    (FieldId::METADATA, &["OXM_OF_METADATA"]),
    (FieldId::ETH_DST, &["NXM_OF_ETH_DST", "OXM_OF_ETH_DST"]),
    (FieldId::ETH_SRC, &["NXM_OF_ETH_SRC", "OXM_OF_ETH_SRC"]),
    (FieldId::ETH_TYPE, &["NXM_OF_ETH_TYPE", "OXM_OF_ETH_TYPE"]),
    (FieldId::VLAN_TCI, &["NXM_OF_VLAN_TCI"]),
    (FieldId::VLAN_VID, &["OXM_OF_VLAN_VID"]),
    (FieldId::VLAN_PCP, &["OXM_OF_VLAN_PCP"]),
    (FieldId::IP_TOS, &["NXM_OF_IP_TOS"]),
    (FieldId::IP_DSCP, &["OXM_OF_IP_DSCP"]),
    (FieldId::IP_ECN, &["NXM_NX_IP_ECN", "OXM_OF_IP_ECN"]),
    (FieldId::IP_PROTO, &["NXM_OF_IP_PROTO", "OXM_OF_IP_PROTO"]),
    (FieldId::IPV4_SRC, &["NXM_OF_IP_SRC", "OXM_OF_IPV4_SRC"]),
    (FieldId::IPV4_DST, &["NXM_OF_IP_DST", "OXM_OF_IPV4_DST"]),
    (FieldId::TCP_SRC, &["NXM_OF_TCP_SRC", "OXM_OF_TCP_SRC"]),
    (FieldId::TCP_DST, &["NXM_OF_TCP_DST", "OXM_OF_TCP_DST"]),
    (FieldId::UDP_SRC, &["NXM_OF_UDP_SRC", "OXM_OF_UDP_SRC"]),
    (FieldId::UDP_DST, &["NXM_OF_UDP_DST", "OXM_OF_UDP_DST"]),
    (FieldId::SCTP_SRC, &["OXM_OF_SCTP_SRC"]),
    (FieldId::SCTP_DST, &["OXM_OF_SCTP_DST"]),
    (FieldId::ICMP_TYPE, &["NXM_OF_ICMP_TYPE", "OXM_OF_ICMPV4_TYPE"]),
    (FieldId::ICMP_CODE, &["NXM_OF_ICMP_CODE", "OXM_OF_ICMPV4_CODE"]),
    (FieldId::ARP_OP, &["NXM_OF_ARP_OP", "OXM_OF_ARP_OP"]),
    (FieldId::ARP_SPA, &["NXM_OF_ARP_SPA", "OXM_OF_ARP_SPA"]),
    (FieldId::ARP_TPA, &["NXM_OF_ARP_TPA", "OXM_OF_ARP_TPA"]),
    (FieldId::ARP_SHA, &["NXM_NX_ARP_SHA", "OXM_OF_ARP_SHA"]),
    (FieldId::ARP_THA, &["NXM_NX_ARP_THA", "OXM_OF_ARP_THA"]),
    (FieldId::IPV6_SRC, &["NXM_NX_IPV6_SRC", "OXM_OF_IPV6_SRC"]),
    (FieldId::IPV6_DST, &["NXM_NX_IPV6_DST", "OXM_OF_IPV6_DST"]),
    (FieldId::IPV6_LABEL, &["NXM_NX_IPV6_LABEL", "OXM_OF_IPV6_FLABEL"]),
    (FieldId::ICMPV6_TYPE, &["NXM_NX_ICMPV6_TYPE", "OXM_OF_ICMPV6_TYPE"]),
    (FieldId::ICMPV6_CODE, &["NXM_NX_ICMPV6_CODE", "OXM_OF_ICMPV6_CODE"]),
    (FieldId::ND_TARGET, &["NXM_NX_ND_TARGET", "OXM_OF_IPV6_ND_TARGET"]),
    (FieldId::ND_SLL, &["NXM_NX_ND_SLL", "OXM_OF_IPV6_ND_SLL"]),
    (FieldId::ND_TLL, &["NXM_NX_ND_TLL", "OXM_OF_IPV6_ND_TLL"]),
    (FieldId::MPLS_LABEL, &["OXM_OF_MPLS_LABEL"]),
    (FieldId::MPLS_TC, &["OXM_OF_MPLS_TC"]),
    (FieldId::MPLS_BOS, &["OXM_OF_MPLS_BOS"]),
    (FieldId::MPLS_TTL, &["NXM_NX_MPLS_TTL"]),
    (FieldId::PBB_ISID, &["OXM_OF_PBB_ISID"]),
    (FieldId::PBB_UCA, &["OXM_OF_PBB_UCA"]),
    (FieldId::TUNNEL_ID, &["NXM_NX_TUN_ID", "OXM_OF_TUNNEL_ID"]),
    (FieldId::IPV6_EXTHDR, &["OXM_OF_IPV6_EXTHDR"]),
    (FieldId::TCP_FLAGS, &["NXM_NX_TCP_FLAGS", "OXM_OF_TCP_FLAGS", "ONFOXM_ET_TCP_FLAGS"]),
    (FieldId::ACTSET_OUTPUT, &["ONFOXM_ET_ACTSET_OUTPUT", "OXM_OF_ACTSET_OUTPUT"]),
    (FieldId::IP_FRAG, &["NXM_NX_IP_FRAG"]),
    (FieldId::NW_TTL, &["NXM_NX_IP_TTL"]),
    (FieldId::PKT_MARK, &["NXM_NX_PKT_MARK"]),
    (FieldId::CONJ_ID, &["NXM_NX_CONJ_ID"]),
];

/// What names with a number start with, the first field, and how many there are.
const NUMBERED: &[(&str, &[FieldId])] = &[
    ("NXM_NX_REG", &REGISTERS),
    (
        "OXM_OF_PKT_REG",
        &[
            FieldId::XREG0,
            FieldId::XREG1,
            FieldId::XREG2,
            FieldId::XREG3,
            FieldId::XREG4,
            FieldId::XREG5,
            FieldId::XREG6,
            FieldId::XREG7,
        ],
    ),
    ("NXM_NX_XXREG", &[FieldId::XXREG0, FieldId::XXREG1, FieldId::XXREG2, FieldId::XXREG3]),
];

/// Registers by number.
pub(super) const REGISTERS: [FieldId; 16] = [
    FieldId::REG0,
    FieldId::REG1,
    FieldId::REG2,
    FieldId::REG3,
    FieldId::REG4,
    FieldId::REG5,
    FieldId::REG6,
    FieldId::REG7,
    FieldId::REG8,
    FieldId::REG9,
    FieldId::REG10,
    FieldId::REG11,
    FieldId::REG12,
    FieldId::REG13,
    FieldId::REG14,
    FieldId::REG15,
];

/// The field with this name of whatever kind. Where Open vSwitch has one name for two fields (`in_port`, `tp_src`), it is
/// the one that actions mean.
pub(super) fn field(name: &str) -> Option<FieldId> {
    match name {
        "in_port" => return Some(FieldId::NXM_IN_PORT),
        "tp_src" => return Some(FieldId::TCP_SRC),
        "tp_dst" => return Some(FieldId::TCP_DST),
        _ => {}
    }
    let named = |&&(_, names): &&(FieldId, &[&str])| names.contains(&name);
    let numbered = || {
        let (fields, number) = NUMBERED.iter().find_map(|(start, all)| Some((all, name.strip_prefix(start)?)))?;
        let place = fields.iter().enumerate().position(|(place, _)| place.to_string() == number)?;
        Some(fields[place])
    };
    FieldId::named(name).or_else(|| NAMES.iter().find(named).map(|(id, _)| *id)).or_else(numbered)
}

/// The name that `set_field` prints.
pub(super) fn of_set_field(id: FieldId) -> &'static str {
    match id {
        FieldId::NXM_IN_PORT => "in_port",
        FieldId::IN_PORT => "in_port_oxm",
        FieldId::ETH_SRC => "eth_src",
        FieldId::ETH_DST => "eth_dst",
        FieldId::ETH_TYPE => "eth_type",
        FieldId::IPV4_SRC => "ip_src",
        FieldId::IPV4_DST => "ip_dst",
        _ => id.info().name,
    }
}

/// Bits that actions see of a field: of a VLAN id, those without the one that says that there is a tag.
pub(super) fn width(id: FieldId) -> u16 {
    if id == FieldId::VLAN_VID { 12 } else { id.info().bits }
}

/// Reads `NAME`, `NAME[]`, `NAME[BIT]` or `NAME[START..END]`; what is wrong otherwise, and what was expected.
pub(super) fn subfield(text: &str) -> Result<Subfield, (String, String)> {
    let (name, bits) = match text.split_once('[') {
        Some((name, rest)) => (name, Some(rest.strip_suffix(']').ok_or_else(|| syntax(text))?)),
        None => (text, None),
    };
    let field = field(name).ok_or_else(|| {
        let problem = format!("unknown field \"{name}\"");
        (problem, "a field of ovs-fields(7) that this switch knows, such as reg0 or NXM_OF_ETH_SRC".to_owned())
    })?;
    let (start, end) = match bits {
        None | Some("") => (0, width(field) - 1),
        Some(bits) => {
            let (start, end) = bits.split_once("..").unwrap_or((bits, bits));
            let number = |text: &str| text.parse::<u16>().map_err(|_| syntax(text));
            (number(start)?, number(end)?)
        }
    };
    if start > end || end >= field.info().bits {
        let problem = format!("bits {start} to {end} of {name}");
        return Err((problem, format!("bits of it from low to high, {name} has 0 to {}", field.info().bits - 1)));
    }
    Ok(Subfield { field, start, bits: end - start + 1 })
}

fn syntax(text: &str) -> (String, String) {
    (format!("\"{text}\" for bits of a field"), "FIELD[], FIELD[BIT] or FIELD[START..END]".to_owned())
}

impl Display for Subfield {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let numbered = NUMBERED.iter().find_map(|(start, all)| {
            let place = all.iter().position(|id| *id == self.field)?;
            Some((start, place))
        });
        match (numbered, NAMES.iter().find(|(id, _)| *id == self.field)) {
            (Some((start, place)), _) => write!(to, "{start}{place}")?,
            (None, Some((_, names))) => to.write_str(names[0])?,
            (None, None) => to.write_str(self.field.info().name)?,
        }
        let end = self.start + self.bits.max(1) - 1;
        match self.bits {
            bits if self.start == 0 && bits == width(self.field) => to.write_str("[]"),
            1 => write!(to, "[{}]", self.start),
            _ => write!(to, "[{}..{end}]", self.start),
        }
    }
}
