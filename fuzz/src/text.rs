//! Text as operators write it, nearly.

use crate::Random;

const NUMBERS: [&str; 12] = ["0", "1", "2", "3", "5", "17", "255", "4095", "65535", "0x1000/0x1000", "80/0xfff0", "-1"];
const MACS: [&str; 4] =
    ["02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "01:00:00:00:00:00/01:00:00:00:00:00", "1:2:3:4:5:6"];
const V4: [&str; 4] = ["10.0.0.1", "10.0.0.0/8", "192.0.2.1/255.0.255.0", "0.0.0.0/0"];
const V6: [&str; 4] = ["2001:db8::1", "2001:db8::/32", "::1/::1", "::"];

/// A field's names, and values that fit or nearly do.
type Clause = (&'static str, &'static [&'static str]);

const PROTOCOLS: [&str; 16] = [
    "ip",
    "icmp",
    "tcp",
    "udp",
    "sctp",
    "ipv6",
    "icmp6",
    "tcp6",
    "udp6",
    "sctp6",
    "arp",
    "rarp",
    "dl_type=0x8847",
    "dl_type=0x88e7",
    "icmp6,icmp_type=135",
    "icmp6,icmp_type=136",
];

const FIELDS: [Clause; 43] = [
    ("in_port", &["1", "2", "3", "LOCAL"]),
    ("dl_src", &MACS),
    ("dl_dst", &MACS),
    ("vlan_tci", &NUMBERS),
    ("dl_vlan", &["5", "0xffff", "4095", "0"]),
    ("vlan_vid", &["5", "0x1000/0x1000", "0x1005", "0"]),
    ("dl_vlan_pcp", &["0", "7"]),
    ("nw_src", &V4),
    ("nw_dst", &V4),
    ("ipv6_src", &V6),
    ("ipv6_dst", &V6),
    ("nw_proto", &["1", "6", "17", "44", "58", "132", "0"]),
    ("nw_tos", &["0", "252", "184"]),
    ("ip_dscp", &["46", "0", "63"]),
    ("nw_ecn", &["0", "3"]),
    ("nw_ttl", &["0", "1", "64"]),
    ("ip_frag", &["no", "yes", "first", "later", "not_later"]),
    ("tp_src", &NUMBERS),
    ("tp_dst", &NUMBERS),
    ("tcp_src", &NUMBERS),
    ("udp_dst", &NUMBERS),
    ("sctp_dst", &NUMBERS),
    ("tcp_flags", &["+syn-ack", "syn|ack", "0x12", "0x2/0x12", "+fin"]),
    ("icmp_type", &["8", "0", "135"]),
    ("icmp_code", &["0", "3"]),
    ("icmpv6_type", &["135"]),
    ("arp_op", &["1", "2", "0"]),
    ("arp_spa", &V4),
    ("arp_tpa", &V4),
    ("arp_sha", &MACS),
    ("mpls_label", &["0", "16", "1048575"]),
    ("mpls_tc", &["0", "3"]),
    ("mpls_bos", &["0", "1"]),
    ("mpls_ttl", &["64", "0"]),
    ("pbb_isid", &["5", "5/0xf", "0xffffff"]),
    ("ipv6_label", &["0", "0/0xff", "0x40000/0x40000"]),
    ("ipv6_exthdr", &["0", "64", "8/8", "256/256", "0/128"]),
    ("nd_target", &V6),
    ("nd_sll", &MACS),
    ("nd_tll", &MACS),
    ("priority", &["0", "1", "100", "65535"]),
    ("cookie", &["0x5", "1/3"]),
    ("idle_timeout", &["0", "60"]),
];

const ACTIONS: [&str; 46] = [
    "output:1",
    "output:2",
    "output:3",
    "3",
    "in_port",
    "flood",
    "all",
    "local",
    "normal",
    "mod_dl_src:02:00:00:00:00:09",
    "mod_dl_dst:02:00:00:00:00:08",
    "mod_vlan_vid:7",
    "mod_vlan_pcp:3",
    "push_vlan:0x8100",
    "push_vlan:0x88a8",
    "pop_vlan",
    "mod_nw_src:198.51.100.7",
    "mod_nw_dst:198.51.100.8",
    "mod_nw_tos:184",
    "mod_nw_ttl:5",
    "dec_ttl",
    "mod_tp_src:1234",
    "mod_tp_dst:0",
    "set_field:5->nw_ttl",
    "set_field:0e:00:00:00:00:00/ff:00:00:00:00:00->eth_src",
    "set_field:2001:db8::7->ipv6_dst",
    "set_field:5->icmpv6_code",
    "set_field:2001:db8::8->nd_target",
    "set_field:198.51.100.7->arp_spa",
    "set_field:3->ip_ecn",
    "load:0x1007->NXM_OF_VLAN_TCI[]",
    "load:0->NXM_OF_VLAN_TCI[]",
    "load:7->NXM_OF_IP_SRC[8..15]",
    "load:5->OXM_OF_SCTP_DST[0..7]",
    "push_mpls:0x8847",
    "pop_mpls:0x0800",
    "set_mpls_label:5",
    "set_mpls_tc:3",
    "set_mpls_ttl:9",
    "dec_mpls_ttl",
    "copy_ttl_in",
    "copy_ttl_out",
    "push_pbb:0x88e7",
    "pop_pbb",
    "mod_nw_ecn:1",
    "set_field:2/3->ip_ecn",
];

/// A protocol, or none.
pub fn protocol(random: &mut Random) -> &'static str {
    if random.once_in(2) { random.pick::<&str>(&PROTOCOLS) } else { "" }
}

/// Some fields.
pub fn matches(random: &mut Random) -> String {
    let mut clauses = Vec::new();
    if random.once_in(2) {
        clauses.push((*random.pick(&PROTOCOLS)).to_owned());
    }
    for _ in 0..random.below(4) {
        let (name, values) = random.pick(&FIELDS);
        clauses.push(format!("{name}={}", random.pick(values)));
    }
    clauses.join(",")
}

/// Some actions.
pub fn actions(random: &mut Random) -> String {
    let actions: Vec<_> = (0..random.below(5)).map(|_| *random.pick(&ACTIONS)).collect();
    if actions.is_empty() { "drop".to_owned() } else { actions.join(",") }
}

/// Some actions that change frames and send none.
pub fn rewrites(random: &mut Random) -> String {
    let rewrites: Vec<_> = ACTIONS
        .iter()
        .filter(|action| !action.contains("put") && action.contains('_') && **action != "in_port")
        .collect();
    let count = 1 + random.below(4);
    (0..count).map(|_| **random.pick(&rewrites)).collect::<Vec<_>>().join(",")
}

/// A flow, that may contradict itself.
pub fn flow(random: &mut Random) -> String {
    let (matches, actions) = (matches(random), actions(random));
    if random.once_in(2) { format!("{matches},actions={actions}") } else { format!("{matches} actions={actions}") }
}

/// The text with a few bytes changed, lost, doubled, or moved from elsewhere.
pub fn mutate(random: &mut Random, text: &str) -> String {
    const STRAY: [&str; 16] =
        ["\"", "'", ",", "=", ":", "/", "(", ")", "[", "{", "0x", "é", "\n", "#", "99999999999", "\0"];
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.index(bytes.len() + 1);
        let end = (at + random.index(12)).min(bytes.len());
        match random.below(5) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, random.pick(&STRAY).bytes())),
            2 => {
                let copy = bytes[at..end].to_vec();
                let to = random.index(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            3 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            _ => bytes.truncate(if random.once_in(8) { at } else { bytes.len() }),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
