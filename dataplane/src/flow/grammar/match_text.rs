//! The match, printed: fields in Open vSwitch's order.

use std::fmt::{Display, Write};

use super::super::{DEFAULT_PRIORITY, Field, FieldId, Match};
use super::values::Value;
use super::{PortNames, matches, names};
use crate::wire::{ethernet, icmp};

/// The match, with the priority in front when it is not the default one. Empty for "all packets".
#[must_use]
pub fn format_match(matches: &Match, priority: u16, ports: &dyn PortNames) -> String {
    let mut printer = Printer { matches, ports, text: String::new() };
    if priority != DEFAULT_PRIORITY {
        printer.put("priority", priority);
    }
    printer.all();
    printer.text.pop();
    printer.text
}

/// A comma is behind each field.
struct Printer<'a> {
    matches: &'a Match,
    ports: &'a dyn PortNames,
    text: String,
}

impl Printer<'_> {
    fn all(&mut self) {
        let dl_type = self.exact(Field::DL_TYPE).map(|value| value as u16);
        let protocol = self.exact(Field::NW_PROTO).map(|value| value as u8);
        self.value(FieldId::PKT_MARK);
        self.value(FieldId::CONJ_ID);
        self.value(FieldId::ACTSET_OUTPUT);
        let short = matches::protocol(self.matches);
        if let Some((name, _)) = short {
            write!(self.text, "{name},").unwrap_or_default();
        }
        names::REGISTERS.iter().for_each(|register| self.value(*register));
        self.value(FieldId::TUNNEL_ID);
        self.value(FieldId::METADATA);
        self.value(FieldId::IN_PORT);
        self.vlan();
        self.value(FieldId::ETH_SRC);
        self.value(FieldId::ETH_DST);
        if let (None, Some(dl_type)) = (short, dl_type) {
            self.put("dl_type", format_args!("{dl_type:#06x}"));
        }
        let is_arp = matches!(dl_type, Some(ethernet::TYPE_ARP | ethernet::TYPE_RARP));
        self.network(dl_type, is_arp);
        if let (false, Some(protocol)) = (short.is_some_and(|(_, named)| named), protocol) {
            self.put(if is_arp { "arp_op" } else { "nw_proto" }, protocol);
        }
        if is_arp {
            self.value(FieldId::ARP_SHA);
            self.value(FieldId::ARP_THA);
        }
        self.ip_rest();
        self.tags();
        self.named("nw_frag", FieldId::IP_FRAG);
        self.transport(dl_type, protocol);
    }

    fn bits(&self, field: Field) -> (u64, u64) {
        (self.matches.key.field(field), self.matches.mask.field(field))
    }

    fn exact(&self, field: Field) -> Option<u64> {
        let (value, bits) = self.bits(field);
        (bits != 0).then_some(value)
    }

    fn put(&mut self, name: &str, value: impl Display) {
        write!(self.text, "{name}={value},").unwrap_or_default();
    }

    /// A field in its own form, under its own name.
    fn value(&mut self, field: FieldId) {
        self.named(field.info().name, field);
    }

    fn named(&mut self, name: &str, field: FieldId) {
        let (value, bits) = (self.matches.key.get(field), self.matches.mask.get(field) & field.ones());
        if bits != 0 {
            self.put(name, Value { field, value, bits, names: self.ports });
        }
    }

    fn vlan(&mut self) {
        let (tci, bits) = self.bits(Field::VLAN_TCI);
        let (vid_bits, pcp_bits) = (bits & 0xfff, bits & 0xe000);
        let whole = matches!(vid_bits, 0 | 0xfff) && matches!(pcp_bits, 0 | 0xe000) && vid_bits | pcp_bits != 0;
        if tci & bits & 0x1000 != 0 && whole {
            if vid_bits != 0 {
                self.put("dl_vlan", tci & 0xfff);
            }
            if pcp_bits != 0 {
                self.put("dl_vlan_pcp", tci >> 13);
            }
        } else if bits == 0xffff {
            self.put("vlan_tci", format_args!("{tci:#06x}"));
        } else if bits != 0 {
            self.put("vlan_tci", format_args!("{tci:#06x}/{bits:#06x}"));
        }
    }

    fn network(&mut self, dl_type: Option<u16>, is_arp: bool) {
        if dl_type == Some(ethernet::TYPE_IPV6) {
            self.value(FieldId::IPV6_SRC);
            self.value(FieldId::IPV6_DST);
            match self.bits(Field::IPV6_LABEL) {
                (_, 0) => {}
                (value, 0xf_ffff) => self.put("ipv6_label", format_args!("{value:#07x}")),
                (value, bits) => self.put("ipv6_label", format_args!("{value:#07x}/{bits:#07x}")),
            }
            self.value(FieldId::IPV6_EXTHDR);
        } else if is_arp {
            self.value(FieldId::ARP_SPA);
            self.value(FieldId::ARP_TPA);
        } else {
            self.value(FieldId::IPV4_SRC);
            self.value(FieldId::IPV4_DST);
        }
    }

    fn ip_rest(&mut self) {
        let (tos, bits) = self.bits(Field::NW_TOS);
        if bits & 0xfc != 0 {
            self.put("nw_tos", tos & 0xfc);
        }
        if bits & 3 != 0 {
            self.put("nw_ecn", tos & 3);
        }
        self.value(FieldId::NW_TTL);
    }

    fn tags(&mut self) {
        let mpls = [FieldId::MPLS_LABEL, FieldId::MPLS_TC, FieldId::MPLS_TTL, FieldId::MPLS_BOS];
        mpls.into_iter().chain([FieldId::PBB_ISID, FieldId::PBB_UCA]).for_each(|field| self.value(field));
    }

    fn transport(&mut self, dl_type: Option<u16>, protocol: Option<u8>) {
        let is_icmp6 = (dl_type, protocol) == (Some(ethernet::TYPE_IPV6), Some(icmp::PROTOCOL_V6));
        let is_icmp = is_icmp6 || (dl_type, protocol) == (Some(ethernet::TYPE_IPV4), Some(icmp::PROTOCOL));
        let names = [("tp_src", "icmp_type", Field::TP_SRC), ("tp_dst", "icmp_code", Field::TP_DST)];
        for (name, of_icmp, field) in names {
            match self.bits(field) {
                (_, 0) => {}
                // A type has 8 bits; rules may look for more all the same, under the name that allows for it.
                (value @ ..=0xff, 0xffff) if is_icmp => self.put(of_icmp, value),
                (value, 0xffff) => self.put(name, value),
                (value, bits) => self.put(name, format_args!("{value:#x}/{bits:#x}")),
            }
        }
        if is_icmp6 {
            [FieldId::ND_TARGET, FieldId::ND_SLL, FieldId::ND_TLL].into_iter().for_each(|field| self.value(field));
        }
        self.value(FieldId::TCP_FLAGS);
    }
}
