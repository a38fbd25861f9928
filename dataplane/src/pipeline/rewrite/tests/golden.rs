//! Frames in, frames out: `golden.txt` has for each name the frame before and after, built header by header with Scapy, which
//! computed every checksum from scratch.

use super::rewritten;
use crate::flow::{Action, FieldId, Subfield};

const MAC: u128 = 0x0211_2233_4455;
const IPV4: u128 = 0x0a01_0203;
const IPV6: u128 = 0xfd11 << 112 | 5;

fn set(field: FieldId, value: u128) -> Action {
    Action::SetField { field, value, mask: field.ones() }
}

fn masked(field: FieldId, value: u128, mask: u128) -> Action {
    Action::SetField { field, value, mask }
}

fn load(value: u64, field: FieldId, start: u16, bits: u16) -> Action {
    Action::Load { value, target: Subfield { field, start, bits } }
}

/// What happens between the two frames of this name.
fn action(name: &str) -> Action {
    let address = [10, 1, 2, 3].into();
    match name {
        "mod_dl_src" => Action::SetDlSrc([2, 0x11, 0x22, 0x33, 0x44, 0x55]),
        "set_field eth_dst masked" => masked(FieldId::ETH_DST, 0x33_4400, 0xff_ff00),
        "set_field eth_type" => set(FieldId::ETH_TYPE, 0x8848),
        "mod_vlan_vid untagged" => Action::SetVlanVid(5),
        "set_field vlan_vid" => set(FieldId::VLAN_VID, 0x1000 | 203),
        "set_field vlan_pcp" => set(FieldId::VLAN_PCP, 5),
        "load vlan_tci strips" => load(0, FieldId::VLAN_TCI, 0, 16),
        "push_vlan 0x8100" => Action::PushVlan(0x8100),
        "push_vlan 0x88a8 on a tag" => Action::PushVlan(0x88a8),
        "pop_vlan" => Action::PopVlan,
        "mod_nw_src tcp" => Action::SetNwSrc(address),
        "set_field ip_dst masked" => masked(FieldId::IPV4_DST, 0x0700, 0xff00),
        "mod_nw_tos ipv4" => Action::SetNwTos(0x2c),
        "set_field ip_dscp ipv6" => set(FieldId::IP_DSCP, 40),
        "mod_nw_ecn ipv4" => Action::SetNwEcn(2),
        "set_field ip_ecn ipv6" => set(FieldId::IP_ECN, 3),
        "load tcp_dst low byte" => load(0x55, FieldId::TCP_DST, 0, 8),
        "mod_tp_src tcp" => Action::SetTpSrc(80),
        "mod_tp_dst udp6" => Action::SetTpDst(80),
        "set_field sctp_src" => set(FieldId::SCTP_SRC, 80),
        "set_field sctp_dst ipv6" => set(FieldId::SCTP_DST, 80),
        "set_field icmp_type" => set(FieldId::ICMP_TYPE, 0),
        "set_field icmp_code" => set(FieldId::ICMP_CODE, 7),
        "set_field icmpv6_type" => set(FieldId::ICMPV6_TYPE, 150),
        "set_field icmpv6_code" => set(FieldId::ICMPV6_CODE, 2),
        "set_field arp_op" => set(FieldId::ARP_OP, 2),
        "set_field arp_spa" => set(FieldId::ARP_SPA, IPV4),
        "set_field arp_tpa" => set(FieldId::ARP_TPA, IPV4),
        "set_field arp_sha" => set(FieldId::ARP_SHA, MAC),
        "set_field arp_tha" => set(FieldId::ARP_THA, MAC),
        "set_field ipv6_src" => set(FieldId::IPV6_SRC, IPV6),
        "set_field ipv6_label masked" => masked(FieldId::IPV6_LABEL, 0x0fff, 0x0fff),
        "set_field nd_target" => set(FieldId::ND_TARGET, IPV6),
        "set_field nd_sll" => set(FieldId::ND_SLL, MAC),
        "set_field nd_tll" | "set_field nd_tll of a solicitation" => set(FieldId::ND_TLL, MAC),
        "push_mpls arp" => Action::PushMpls(0x8848),
        "pop_mpls of two" => Action::PopMpls(0x8847),
        "set_mpls_label" => Action::SetMplsLabel(0xf_ffff),
        "set_mpls_tc" => Action::SetMplsTc(5),
        "set_field mpls_bos" => set(FieldId::MPLS_BOS, 0),
        "set_mpls_ttl" => Action::SetMplsTtl(9),
        "dec_mpls_ttl" => Action::DecMplsTtl,
        "set_field pbb_isid" => set(FieldId::PBB_ISID, 203),
        "set_field pbb_uca" => set(FieldId::PBB_UCA, 1),
        _ => match name.split_once(' ').map_or(name, |(first, _)| first) {
            "mod_nw_dst" => Action::SetNwDst(address),
            "mod_nw_ttl" => Action::SetNwTtl(9),
            "dec_ttl" => Action::DecTtl(Vec::new()),
            "push_mpls" => Action::PushMpls(0x8847),
            "pop_mpls" => Action::PopMpls(0x0800),
            "copy_ttl_out" => Action::CopyTtlOut,
            "copy_ttl_in" => Action::CopyTtlIn,
            "push_pbb" => Action::PushPbb(0x88e7),
            "pop_pbb" => Action::PopPbb,
            "set_field" if name.contains("ip_proto") => set(FieldId::IP_PROTO, 17),
            "set_field" if name.contains("ipv6_dst") => set(FieldId::IPV6_DST, IPV6),
            _ => panic!("{name}: no action of this name"),
        },
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn frames_come_out_as_an_independent_tool_builds_them() {
    let lines: Vec<_> = include_str!("golden.txt").lines().collect();
    assert!(lines.len() > 200, "the table is there");
    for case in lines.chunks(3) {
        let &[name, before, after] = case else { panic!("three lines each") };
        let name = name.trim_start_matches("# ");
        let out = rewritten(&bytes(before), &action(name)).expect("not dropped");
        assert_eq!(hex(&out), after, "{name}");
    }
}
