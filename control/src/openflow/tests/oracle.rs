//! Open vSwitch's `ovs-ofctl` prints messages of ours the way it prints its own.

use std::process::Command;

use super::*;

/// What `ovs-ofctl` prints for these arguments; none when it is not installed.
fn ovs_ofctl(args: &[&str]) -> Option<String> {
    let output = Command::new("ovs-ofctl").args(args).output().ok()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ovs-ofctl {args:?}: {errors}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned() + &errors)
}

pub(super) fn name(version: Version) -> &'static str {
    match version {
        Version::V10 => "OpenFlow10",
        Version::V13 => "OpenFlow13",
        Version::V14 => "OpenFlow14",
        Version::V15 => "OpenFlow15",
    }
}

/// What it prints of a file with these bytes.
fn printed(bytes: &[u8]) -> Option<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("messages");
    std::fs::write(&file, bytes).expect("a file");
    ovs_ofctl(&["ofp-parse", file.to_str().expect("a path")])
}

const MATCHES: &[&str] = &[
    "in_port=1",
    "in_port=LOCAL",
    "dl_src=02:00:00:00:00:01,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00",
    "dl_type=0x88cc",
    "dl_vlan=5",
    "dl_vlan=5,dl_vlan_pcp=3",
    "vlan_tci=0",
    "vlan_tci=0x1000/0x1000",
    "ip,nw_src=10.0.0.0/8,nw_dst=192.0.2.1",
    "ip,nw_tos=32",
    "ip,nw_ecn=2",
    "ip,nw_ttl=64",
    "ip,nw_frag=later",
    "ip,nw_proto=47",
    "tcp,tp_src=80,tp_dst=0x100/0xff00",
    "tcp,tcp_flags=+syn-ack",
    "udp,tp_dst=53",
    "sctp,tp_src=9",
    "icmp,icmp_type=8,icmp_code=0",
    "ipv6,ipv6_src=2001:db8::/32,ipv6_dst=::1",
    "ipv6,ipv6_label=0x12345",
    "tcp6,tp_dst=443",
    "icmp6,icmp_type=135,nd_target=fe80::1,nd_sll=02:00:00:00:00:09",
    "icmp6,icmp_type=136,nd_tll=02:00:00:00:00:09",
    "arp,arp_op=1,arp_spa=10.0.0.1,arp_tpa=10.0.0.0/24",
    "arp,arp_sha=02:00:00:00:00:01,arp_tha=02:00:00:00:00:02",
    "rarp",
    "mpls,mpls_label=100,mpls_tc=3,mpls_bos=1",
    "tun_id=0x1234",
    "tun_id=0x10/0xff",
    "metadata=0x5",
    "metadata=0x5/0xf",
    "reg0=1",
    "reg3=0x10/0xf0,reg15=7",
    "xreg1=0x100000002",
    "xxreg1=0x1",
    "pkt_mark=5/7",
    "conj_id=9",
];

const ACTIONS: &[&str] = &[
    "drop",
    "output:1",
    "LOCAL",
    "NORMAL",
    "FLOOD",
    "ALL",
    "IN_PORT",
    "CONTROLLER",
    "CONTROLLER:128",
    "controller(reason=no_match,max_len=64,id=5)",
    "controller(userdata=01.02.03,pause,meter_id=4)",
    "output(port=3,max_len=64)",
    "output:NXM_NX_REG0[0..15]",
    "group:5",
    "set_queue:3",
    "set_queue:3,output:1,pop_queue",
    "mod_dl_src:02:00:00:00:00:01",
    "mod_dl_dst:02:00:00:00:00:01",
    "set_tunnel:5",
    "set_tunnel64:0x123456789",
    "load:0x5->NXM_NX_REG0[]",
    "load:0x5->NXM_NX_REG0[4..11]",
    "load:0xffffffff->OXM_OF_METADATA[0..31]",
    "set_field:02:00:00:00:00:01->eth_src",
    "set_field:0x5/0xff->reg2",
    "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]",
    "move:NXM_NX_REG0[0..15]->NXM_NX_REG1[16..31]",
    "push:NXM_NX_REG0[]",
    "pop:NXM_NX_REG1[0..7]",
    "resubmit:1",
    "resubmit(,3)",
    "resubmit(2,4)",
    "clone(output:1,resubmit(,2))",
    "multipath(symmetric_l4,1024,hrw,16,0,NXM_NX_REG0[0..7])",
    "multipath(eth_src,50,modulo_n,1,0,NXM_NX_REG0[])",
    "bundle(nw_src,0,hrw,ofport,members:1,2,3)",
    "bundle(eth_src,7,active_backup,ofport,members:)",
    "bundle_load(symmetric_l4,60,hrw,ofport,NXM_NX_REG0[0..15],members:4,5)",
    "check_pkt_larger(1500)->NXM_NX_REG0[3]",
    "note:00.11.22.33.44.55",
    "exit",
    "conjunction(7,1/3),conjunction(8,2/2)",
    "learn(table=1,idle_timeout=10,priority=5,cookie=0x9,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],\
     load:NXM_OF_IN_PORT[]->NXM_NX_REG1[16..31],output:NXM_OF_IN_PORT[])",
    "learn(table=2,eth_type=0x800,nw_proto=6,load:0x5->NXM_NX_REG0[0..7],limit=9,result_dst=NXM_NX_REG3[2])",
    "learn(table=2,send_flow_rem,delete_learned,fin_idle_timeout=2,fin_hard_timeout=3,metadata=0x123456789)",
    "learn(eth_type=0x86dd,ipv6_dst=2001:db8::1)",
    "write_metadata:0x5/0xff",
    "goto_table:5",
    "push_mpls:0x8847",
];

/// Matches and actions that need each other.
const BOTH: &[&str] = &[
    "ip actions=mod_nw_src:10.0.0.1,mod_nw_dst:10.0.0.2,mod_nw_tos:32,mod_nw_ecn:1,mod_nw_ttl:9,dec_ttl,dec_ttl(3,4)",
    "tcp actions=mod_tp_src:5,mod_tp_dst:6",
    "udp6 actions=mod_tp_src:5,mod_tp_dst:6",
    "tcp actions=fin_timeout(idle_timeout=5,hard_timeout=6)",
    "sctp actions=set_field:7->sctp_dst",
    "dl_vlan=5 actions=mod_vlan_vid:7,mod_vlan_pcp:1",
    "dl_vlan=5 actions=strip_vlan",
    "actions=mod_vlan_vid:7,mod_vlan_pcp:1",
    "mpls actions=dec_mpls_ttl,set_mpls_ttl:5,pop_mpls:0x800",
    "dl_vlan=5 actions=set_field:4103->vlan_vid",
    "arp actions=load:2->NXM_OF_ARP_OP[],move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],set_field:10.0.0.9->arp_spa",
    "icmp6,icmp_type=135 actions=set_field:fe80::2->nd_target",
    "ipv6 actions=set_field:::1->ipv6_src",
    "table=3,priority=7,cookie=0x1234,idle_timeout=5,hard_timeout=6,send_flow_rem,check_overlap,ip actions=output:2",
];

/// What cannot be said in 1.0.
const SINCE_13: &[&str] = &[
    "actions=meter:5,output:1",
    "actions=clear_actions",
    "actions=write_metadata:0x5/0xff,goto_table:9",
    "actions=write_actions(output:1,group:5)",
    "actions=output:1,clear_actions,write_actions(output:2),write_metadata:1,goto_table:3",
    "actions=push_vlan:0x88a8,set_field:4097->vlan_vid",
    "reset_counts,no_packet_counts,no_byte_counts,actions=drop",
    "dl_vlan=5 actions=set_field:3->vlan_pcp",
];

pub(super) fn flows(version: Version) -> Vec<String> {
    let mut flows: Vec<_> = MATCHES.iter().map(|matches| format!("{matches} actions=drop")).collect();
    flows.extend(ACTIONS.iter().map(|actions| format!("actions={actions}")));
    flows.extend(BOTH.iter().map(|flow| (*flow).to_owned()));
    if version != Version::V10 {
        flows.extend(SINCE_13.iter().map(|flow| (*flow).to_owned()));
    }
    flows
}

/// The lines that are flow-mods.
fn flow_mods(text: &str) -> Vec<String> {
    let found = text.lines().filter_map(|line| line.split_once(": ").filter(|(head, _)| head.contains("FLOW_MOD")));
    found.map(|(_, flow)| flow.to_owned()).collect()
}

#[test]
fn flows_mean_to_ovs_ofctl_what_they_mean_here() {
    for version in Version::ALL {
        let flows = flows(version);
        let mut all = Vec::new();
        let mut expected = Vec::new();
        for flow in &flows {
            all.extend(bytes(version, &add(flow, version == Version::V10)));
            let Some(line) = ovs_ofctl(&["-O", name(version), "parse-flow", flow]) else {
                eprintln!("skipped: no ovs-ofctl");
                return;
            };
            expected.extend(flow_mods(&line));
        }
        let got = flow_mods(&printed(&all).expect("ovs-ofctl"));
        assert!(!got.iter().any(|line| line.contains("error")), "{version:?}: {got:#?}");
        assert_eq!(got.len(), flows.len(), "{version:?}");
        let both = got.iter().zip(&expected).zip(&flows).filter(|((got, expected), _)| got != expected);
        let wrong: Vec<_> = both.map(|((got, expected), flow)| format!("{flow}\n  {got}\n  {expected}")).collect();
        assert!(wrong.is_empty(), "{version:?}\n{}", wrong.join("\n"));
    }
}

#[test]
fn every_kind_of_message_is_read_by_ovs_ofctl() {
    for version in Version::ALL {
        let messages = samples::common(version);
        let all: Vec<_> = messages.iter().flat_map(|message| bytes(version, message)).collect();
        let Some(text) = printed(&all) else {
            eprintln!("skipped: no ovs-ofctl");
            return;
        };
        let bad = |line: &&str| line.contains("decode error") || line.contains("WARN") || line.contains("leftover");
        let wrong: Vec<_> = text.lines().filter(bad).collect();
        assert!(wrong.is_empty(), "{version:?}\n{}\n{text}", wrong.join("\n"));
    }
}
