//! Flows, groups and meters with every field and action of `ovs-fields(7)` and `ovs-actions(7)`, as operators write them,
//! nearly. What the fast path is tried with is in `text`.

use crate::Random;

const NUMBERS: [&str; 11] =
    ["0", "1", "5", "0xff", "4095", "65535", "0x1000/0x1000", "7/3", "0xffffffff", "0x123456789abcdef0", "-1"];
const MACS: [&str; 3] = ["02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "01:00:00:00:00:00/01:00:00:00:00:00"];
const ADDRESSES: [&str; 6] = ["10.0.0.1", "10.0.0.0/8", "192.0.2.1/255.0.255.0", "2001:db8::1", "fe80::/16", "::1/::1"];
const WORDS: [&str; 12] =
    ["LOCAL", "no", "first", "later", "+syn-ack", "syn|ack", "", "*", "any", "CONTROLLER", "reg0", "NXM_OF_ETH_SRC[]"];

#[rustfmt::skip]
const PROTOCOLS: [&str; 18] = [
    "ip", "icmp", "tcp", "udp", "sctp", "ipv6", "icmp6", "tcp6", "udp6", "sctp6", "arp", "rarp", "mpls", "mplsm", "eth",
    "dl_type=0x88e7", "icmp6,icmp_type=135", "icmp6,icmpv6_type=136",
];

#[rustfmt::skip]
const FIELDS: [&str; 60] = [
    "in_port", "metadata", "dl_src", "eth_dst", "dl_type", "vlan_tci", "dl_vlan", "vlan_vid", "vlan_pcp", "nw_tos",
    "ip_dscp", "nw_ecn", "nw_proto", "nw_src", "ipv4_dst", "tcp_src", "tcp_dst", "udp_src", "sctp_dst", "tp_src",
    "tp_dst", "icmp_type", "icmpv6_code", "arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha", "ipv6_src", "ipv6_dst",
    "ipv6_label", "nd_target", "nd_sll", "nd_tll", "mpls_label", "mpls_tc", "mpls_bos", "mpls_ttl", "pbb_isid",
    "pbb_uca", "tun_id", "ipv6_exthdr", "tcp_flags", "actset_output", "ip_frag", "nw_ttl", "pkt_mark", "conj_id", "reg0",
    "reg15", "xreg1", "xxreg3", "table", "priority", "cookie", "idle_timeout", "importance", "out_port", "out_group",
    "reg1[3..7]",
];

const FLAGS: [&str; 5] = ["send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts"];

#[rustfmt::skip]
const PARTS: [&str; 12] = [
    "NXM_NX_REG0[]", "reg1[0..15]", "eth_src", "NXM_OF_ETH_DST[]", "OXM_OF_METADATA[3..40]", "tcp_dst", "ip_src",
    "NXM_OF_IN_PORT[]", "reg0[0]", "xxreg1[64..127]", "vlan_vid", "NXM_OF_VLAN_TCI[0..11]",
];

/// Actions with an argument that is chosen apart: `F` a field's bits, `N` a number, `V` any value, `L` a list.
#[rustfmt::skip]
const ACTIONS: [&str; 60] = [
    "output:N", "output:F", "output(port=N,max_len=N)", "in_port", "flood", "all", "normal", "table", "controller",
    "controller:N", "controller(max_len=N,reason=no_match,id=N,userdata=01.02,pause,meter_id=N)", "enqueue:N:N",
    "enqueue(N,N)", "group:N", "meter:N", "set_queue:N", "pop_queue", "mod_dl_src:V", "mod_vlan_vid:N",
    "mod_vlan_pcp:N", "mod_nw_dst:V", "mod_nw_tos:N", "mod_nw_ecn:N", "mod_tp_src:N", "set_field:V->F",
    "set_field:N->F", "load:N->F", "move:F->F", "push:F", "pop:F", "set_tunnel:N", "push_vlan:0x8100", "pop_vlan",
    "push_mpls:0x8847", "pop_mpls:0x800", "push_pbb:0x88e7", "pop_pbb", "dec_ttl(N,N)", "set_mpls_label(N)",
    "set_mpls_ttl:N", "dec_mpls_ttl", "copy_ttl_out", "resubmit(N,N)", "resubmit:N", "clone(L)",
    "learn(table=N,F=F,load:F->F,output:F)", "learn(limit=N,result_dst=F,F=N,F=V,load:N->F)", "conjunction(N,1/2)",
    "multipath(eth_src,N,hrw,N,N,F)", "bundle(nw_src,N,active_backup,ofport,members:N,N)",
    "bundle_load(symmetric_l4,N,hrw,ofport,F,members:N)", "check_pkt_larger(N)->F", "note:01.02",
    "fin_timeout(idle_timeout=N)", "exit", "clear_actions", "write_actions(L)", "apply_actions(L)",
    "write_metadata:N", "goto_table:N",
];

fn value(random: &mut Random) -> &'static str {
    match random.below(4) {
        0 => random.pick::<&str>(&MACS),
        1 => random.pick::<&str>(&ADDRESSES),
        2 => random.pick::<&str>(&WORDS),
        _ => random.pick::<&str>(&NUMBERS),
    }
}

/// A few fields and clauses.
fn matches(random: &mut Random) -> String {
    let mut clauses = vec![(*random.pick(&PROTOCOLS)).to_owned()];
    for _ in 0..random.below(4) {
        clauses.push(match random.below(6) {
            0 => (*random.pick(&FLAGS)).to_owned(),
            _ => format!("{}={}", random.pick(&FIELDS), value(random)),
        });
    }
    clauses.join(",")
}

fn action(random: &mut Random, depth: u32) -> String {
    let template = *random.pick(&ACTIONS);
    let mut text = String::new();
    for letter in template.chars() {
        match letter {
            'F' => text.push_str(random.pick::<&str>(&PARTS)),
            'N' => text.push_str(random.pick::<&str>(&NUMBERS)),
            'V' => text.push_str(value(random)),
            'L' => text.push_str(&list(random, depth + 1)),
            other => text.push(other),
        }
    }
    text
}

fn list(random: &mut Random, depth: u32) -> String {
    if depth > 40 {
        return "drop".to_owned();
    }
    let actions: Vec<_> = (0..random.below(4)).map(|_| action(random, depth)).collect();
    if actions.is_empty() { "drop".to_owned() } else { actions.join(",") }
}

/// A flow that is sound now and then.
pub fn flow(random: &mut Random) -> String {
    format!("{} actions={}", matches(random), list(random, 0))
}

/// A group that is sound now and then.
pub fn group(random: &mut Random) -> String {
    let kind = *random.pick(&["all", "select", "indirect", "ff", "select,selection_method=hash,fields(ip_src,reg0=V)"]);
    let mut text = format!("group_id={},type={}", random.pick(&NUMBERS), kind.replace('V', value(random)));
    for _ in 0..random.below(4) {
        let of_bucket = *random.pick(&["", "weight:5,", "watch_port:1,", "watch_group=2,", "bucket_id:3,", "actions="]);
        text.push_str(&format!(",bucket={of_bucket}{}", list(random, 0)));
    }
    text
}

/// A meter that is sound now and then.
pub fn meter(random: &mut Random) -> String {
    let mut text = format!("meter={},{}", random.pick(&NUMBERS), random.pick(&["kbps", "pktps", "kbps,burst,stats"]));
    text.push_str(",bands=");
    for _ in 0..random.below(3) {
        let kind = *random.pick(&["drop", "dscp_remark", "dscp_remark prec_level=2"]);
        text.push_str(&format!("type={kind} rate={} burst_size=5,", random.pick(&NUMBERS)));
    }
    text
}
