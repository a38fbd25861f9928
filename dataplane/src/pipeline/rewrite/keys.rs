//! What an action makes of a packet's key, so that the next lookup need not parse the packet again.
//!
//! Contract: for every packet, `parse(apply(packet, action)) == apply_to_key(parse(packet), action)` whenever the outcome is
//! [`KeyEffect::Known`] and the action did not drop the packet. The key must hold what
//! [`change_reads`](crate::flow::change_reads) names: whoever looks something up afterwards has those bits in its mask, and
//! so the parser fills them. Neighbours: the walk through the tables calls this, `rewrite::apply` does the same to the
//! bytes.

use crate::flow::{Action, Change, Field, FieldId, FlowKey, Needs, TAGGED, headers};
use crate::pipeline::parse::pbb_field;
use crate::wire::{ethernet, icmp, ipv4, mpls, nd, sctp, vlan};

/// Whether the key tells what the packet is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEffect {
    /// It does.
    Known,
    /// The frame's fields have to be read from the packet again ([`parse_again`](crate::pipeline::parse::parse_again))
    /// before anything looks at them; the key may have changed in part.
    Stale,
}

/// Does to the key what `rewrite::apply` does to the packet. Actions that change no packet change no key, but for those that
/// set a field which is no frame's (registers, metadata). A TTL that is used up stays at its value: such a packet has no
/// next lookup.
pub fn apply_to_key(key: &mut FlowKey, action: &Action) -> KeyEffect {
    match action {
        Action::PushVlan(_) => push_vlan(key),
        Action::PopVlan => pop_vlan(key),
        Action::PushMpls(kind) => push_mpls(key, *kind),
        Action::PushPbb(kind) => push_pbb(key, *kind),
        Action::PopMpls(_) if Headers::of(key).is_mpls() => KeyEffect::Stale,
        Action::PopPbb if Headers::of(key).is_pbb() => KeyEffect::Stale,
        Action::DecTtl(_) if Headers::of(key).is_ip() => {
            let ttl = key.field(Field::NW_TTL);
            key.set(Field::NW_TTL, if ttl > 1 { ttl - 1 } else { ttl });
            KeyEffect::Known
        }
        Action::DecMplsTtl if Headers::of(key).is_mpls() => {
            let ttl = key.get(FieldId::MPLS_TTL);
            key.put(FieldId::MPLS_TTL, if ttl > 1 { ttl - 1 } else { ttl });
            KeyEffect::Known
        }
        // The header behind the outermost one is not in the key.
        Action::CopyTtlOut if Headers::of(key).is_nested() => KeyEffect::Stale,
        setter => {
            let protocol = key.field(Field::NW_PROTO) as u8;
            Change::of(setter, || protocol).map_or(KeyEffect::Known, |change| set_in_key(key, change))
        }
    }
}

/// Changes a field of the key, when the packet has it.
pub fn set_in_key(key: &mut FlowKey, change: Change) -> KeyEffect {
    let Change { field, .. } = change;
    if field == FieldId::VLAN_TCI {
        return set_tag(key, change);
    }
    if !Headers::of(key).has(field) {
        return KeyEffect::Known;
    }
    match field {
        // What follows is now something else.
        FieldId::ETH_TYPE | FieldId::IP_PROTO | FieldId::ICMPV6_TYPE | FieldId::ICMPV6_CODE => KeyEffect::Stale,
        // Of the opcode the key has only half, see `parse`.
        FieldId::ARP_OP if change.mask != field.ones() => KeyEffect::Stale,
        FieldId::ARP_OP => {
            key.set(Field::NW_PROTO, u64::from(u8::try_from(change.value).unwrap_or(0)));
            KeyEffect::Known
        }
        _ => {
            key.put(field, change.to(key.get(field)));
            KeyEffect::Known
        }
    }
}

fn set_tag(key: &mut FlowKey, change: Change) -> KeyEffect {
    let tci = change.to(key.get(FieldId::VLAN_TCI));
    let had = key.get(FieldId::VLAN_TCI) & TAGGED != 0;
    if tci & TAGGED != 0 {
        key.put(FieldId::VLAN_TCI, tci);
        KeyEffect::Known
    } else if had {
        pop_vlan(key)
    } else {
        KeyEffect::Known
    }
}

fn push_vlan(key: &mut FlowKey) -> KeyEffect {
    if key.field(Field::INNER_TCI) != 0 {
        // The third tag takes the place of the type.
        return KeyEffect::Stale;
    }
    let outer = key.field(Field::VLAN_TCI);
    key.set(Field::INNER_TCI, outer);
    key.set(Field::VLAN_TCI, outer | u64::from(vlan::DEI));
    KeyEffect::Known
}

fn pop_vlan(key: &mut FlowKey) -> KeyEffect {
    let dl_type = key.field(Field::DL_TYPE) as u16;
    let is_ip = matches!(dl_type, ethernet::TYPE_IPV4 | ethernet::TYPE_IPV6);
    if key.field(Field::VLAN_TCI) == 0 {
        return KeyEffect::Known;
    }
    // A tag may follow that is now the second one; and padding may make up for the bytes that a header claims to have.
    if vlan::is_tag(dl_type) || is_ip && key.field(Field::HEADERS) & headers::NETWORK == 0 {
        return KeyEffect::Stale;
    }
    key.set(Field::VLAN_TCI, key.field(Field::INNER_TCI));
    key.set(Field::INNER_TCI, 0);
    KeyEffect::Known
}

fn push_mpls(key: &mut FlowKey, kind: u16) -> KeyEffect {
    let headers = Headers::of(key);
    let entry = match key.field(Field::MPLS_LSE) as u32 {
        existing if headers.is_mpls() => existing & !mpls::BOTTOM,
        _ if headers.is_ip() => mpls::BOTTOM | key.field(Field::NW_TTL) as u32,
        _ => mpls::BOTTOM,
    };
    forget_payload(key);
    key.set(Field::DL_TYPE, u64::from(kind));
    key.set(Field::MPLS_LSE, u64::from(entry));
    key.set(Field::HEADERS, headers::NETWORK);
    KeyEffect::Known
}

fn push_pbb(key: &mut FlowKey, kind: u16) -> KeyEffect {
    let isid = if Headers::of(key).is_pbb() { key.get(FieldId::PBB_ISID) as u32 } else { 0 };
    forget_payload(key);
    key.set(Field::VLAN_TCI, 0);
    key.set(Field::INNER_TCI, 0);
    key.set(Field::DL_TYPE, u64::from(kind));
    key.set(Field::PBB, pbb_field(isid));
    key.set(Field::HEADERS, headers::NETWORK);
    KeyEffect::Known
}

/// Clears all that lies behind the Ethernet type.
fn forget_payload(key: &mut FlowKey) {
    for field in [
        Field::NW_PROTO,
        Field::NW_TOS,
        Field::NW_TTL,
        Field::NW_FRAG,
        Field::NW_SRC,
        Field::NW_DST,
        Field::TP_SRC,
        Field::TP_DST,
        Field::TCP_FLAGS,
        Field::IPV6_SRC,
        Field::IPV6_SRC_LOW,
        Field::IPV6_DST,
        Field::IPV6_DST_LOW,
        Field::IPV6_LABEL,
        Field::IPV6_EXTHDR,
        Field::ARP_SHA,
        Field::ARP_THA,
        Field::ND_TARGET,
        Field::ND_TARGET_LOW,
        Field::MPLS_LSE,
        Field::PBB,
    ] {
        key.set(field, 0);
    }
}

/// Which headers a packet has, as its key tells.
struct Headers {
    dl_type: u16,
    whole: u64,
    protocol: u8,
    fragment: u64,
    icmp_type: u8,
    is_tagged: bool,
}

impl Headers {
    fn of(key: &FlowKey) -> Self {
        Self {
            dl_type: key.field(Field::DL_TYPE) as u16,
            whole: key.field(Field::HEADERS),
            protocol: key.field(Field::NW_PROTO) as u8,
            fragment: key.field(Field::NW_FRAG),
            icmp_type: key.field(Field::TP_SRC) as u8,
            is_tagged: key.field(Field::VLAN_TCI) != 0,
        }
    }

    fn is(&self, types: &[u16]) -> bool {
        self.whole & headers::NETWORK != 0 && types.contains(&self.dl_type)
    }

    fn is_ip(&self) -> bool {
        self.is(&[ethernet::TYPE_IPV4, ethernet::TYPE_IPV6])
    }

    fn is_mpls(&self) -> bool {
        self.is(&[ethernet::TYPE_MPLS, ethernet::TYPE_MPLS_MULTICAST])
    }

    fn is_pbb(&self) -> bool {
        self.is(&[ethernet::TYPE_PBB])
    }

    /// Another header with a TTL may follow.
    fn is_nested(&self) -> bool {
        self.is_mpls() || self.is_ip() && matches!(self.protocol, ipv4::IN_IP | ipv4::V6_IN_IP)
    }

    fn is_icmp6(&self) -> bool {
        self.has_transport(icmp::PROTOCOL_V6) && self.is(&[ethernet::TYPE_IPV6])
    }

    fn has_transport(&self, protocol: u8) -> bool {
        self.is_ip() && self.whole & headers::TRANSPORT != 0 && self.protocol == protocol
    }

    /// True when actions can set the field.
    fn has(&self, field: FieldId) -> bool {
        let has_option = |option| self.is_icmp6() && self.whole & option == option;
        match field.info().needs {
            // Rules may ask for its absence, actions cannot set it there.
            Needs::Nothing => field != FieldId::VLAN_VID || self.is_tagged,
            Needs::Tag => self.is_tagged,
            Needs::Mpls => self.is_mpls(),
            Needs::Pbb => self.is_pbb(),
            Needs::Ipv4 => self.is(&[ethernet::TYPE_IPV4]),
            Needs::Ipv6 => self.is(&[ethernet::TYPE_IPV6]),
            Needs::Ip => self.is_ip(),
            Needs::Arp => self.is(&[ethernet::TYPE_ARP, ethernet::TYPE_RARP]),
            // The checksum covers what other fragments carry.
            Needs::Transport(sctp::PROTOCOL) => self.has_transport(sctp::PROTOCOL) && self.fragment == 0,
            Needs::Transport(protocol) => self.has_transport(protocol),
            Needs::Icmp => self.has_transport(icmp::PROTOCOL) && self.is(&[ethernet::TYPE_IPV4]),
            Needs::Icmp6 => self.is_icmp6(),
            Needs::Nd => has_option(headers::ND),
            Needs::NdSolicit => self.icmp_type == nd::SOLICITATION && has_option(headers::ND | headers::ND_SLL),
            Needs::NdAdvert => self.icmp_type == nd::ADVERTISEMENT && has_option(headers::ND | headers::ND_TLL),
            // No field that can be set.
            Needs::Ipv4OrArp | Needs::IpOrArp | Needs::AnyIcmp | Needs::Ports => false,
        }
    }
}
