//! The grammar against itself, and against the real `ovs-ofctl` where it is installed.

mod groups;
mod random;

use std::process::Command;

use super::*;
use crate::flow::{DEFAULT_PRIORITY, Field, LOCAL_PORT};

struct Ports;

impl PortNames for Ports {
    fn number(&self, name: &str) -> Option<u32> {
        ["zero", "vm1", "vm-2"].iter().position(|&known| known == name).map(|number| number as u32)
    }

    fn name(&self, number: u32) -> Option<&str> {
        ["zero", "vm1", "vm-2"].get(number as usize).copied()
    }
}

/// Match and actions as we print them.
fn canonical(text: &str) -> String {
    let flow = parse_flow(text, &()).unwrap_or_else(|error| panic!("{error}"));
    let matches = format_match(&flow.matches, flow.priority, &());
    format!("{matches} actions={}", format_actions(&flow.actions, &())).trim_start().to_owned()
}

/// The same as Open vSwitch prints them in this version of OpenFlow; `None` when it is not installed.
fn ovs_canonical(version: &str, text: &str) -> Option<String> {
    let output = Command::new("ovs-ofctl").args(["-O", version, "parse-flow", text]).output().ok()?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let flow = stdout.lines().find_map(|line| line.split_once(": ADD ").map(|(_, flow)| flow));
    let flow = flow.unwrap_or_else(|| panic!("{text}: {stdout}{}", String::from_utf8_lossy(&output.stderr)));
    let words = flow.split(' ').filter(|word| {
        let of_the_message = [
            "idle:",
            "hard:",
            "cookie:",
            "table:",
            "out_port:",
            "importance:",
            "send_flow_rem",
            "check_overlap",
            "reset_counts",
            "no_packet_counts",
            "no_byte_counts",
        ];
        !of_the_message.iter().any(|start| word.starts_with(start))
    });
    Some(words.collect::<Vec<_>>().join(" "))
}

const FLOWS: &[&str] = &[
    "tcp,nw_dst=10.0.0.0/8,tp_dst=80,in_port=1,priority=100,idle_timeout=5,actions=mod_vlan_vid:5,output:2",
    "ip nw_src=1.2.3.4/255.0.255.0 actions=drop",
    "ip nw_src=1.2.3.4/0.255.0.255 actions=drop",
    "actions=",
    "action=normal",
    "priority=0 actions=normal",
    "priority=32768,table=0,cookie=0x10,hard_timeout=0x10,actions=1 2,3",
    "dl_vlan=0xffff actions=1",
    "dl_vlan=0 actions=1",
    "dl_vlan=5,dl_vlan_pcp=3,actions=LOCAL,all,flood,in_port,normal",
    "vlan_pcp=3,actions=output:LOCAL,output:IN_PORT,output:Flood,output:65534",
    "vlan_tci=0x1005/0x1fff,actions=1",
    "vlan_tci=0xb005,actions=1",
    "vlan_tci=0x5/0x7,actions=1",
    "vlan_tci=0x1000/0x1000,actions=1",
    "vlan_tci=0,actions=pop_vlan,strip_vlan",
    "vlan_vid=0x1005,actions=1",
    "vlan_vid=0x1000/0x1000,actions=1",
    "ipv6,ipv6_src=fe80::/16,ipv6_dst=2001:db8::1,nw_ttl=64,nw_ecn=1,nw_tos=4,ip_frag=later,actions=1",
    "ipv6,ipv6_dst=fe80::1/ffff::ffff,nw_proto=0,actions=1",
    "ipv6,ipv6_dst=::/0,nw_proto=44,actions=1",
    "icmp6,icmp_type=128,icmpv6_code=0,actions=dec_ttl",
    "icmp,icmp_type=8,icmp_code=0,actions=dec_ttl",
    "icmp,tp_src=8,actions=1",
    "tcp,tcp_flags=+syn-ack,actions=mod_nw_tos:4,mod_nw_src:1.2.3.4,mod_nw_dst:5.6.7.8",
    "tcp,tcp_flags=0x12/0xff,actions=mod_tp_src:3,mod_tp_dst:4",
    "tcp6,tcp_flags=0x12/0x812,actions=1",
    "tcp,tcp_flags=0x12,actions=1",
    "tcp,tcp_flags=0xe01,actions=1",
    "tcp,tcp_flags=0,actions=1",
    "tcp,tcp_flags=syn|ack,actions=1",
    "arp,arp_spa=1.2.3.4,arp_sha=00:11:22:33:44:55,arp_op=1,arp_tpa=10.0.0.0/8,arp_tha=0:0:0:0:0:1,actions=normal",
    "arp,nw_src=1.2.3.4,nw_proto=2,actions=normal",
    "rarp,arp_spa=1.1.1.1,actions=1",
    "dl_type=0x800,nw_proto=6,tp_src=0x50/0xfff0,actions=mod_dl_src:1:2:3:4:5:6",
    "dl_type=0x800,nw_proto=47,actions=1",
    "dl_src=01:00:00:00:00:00/01:00:00:00:00:00,dl_dst=ff:ff:ff:ff:ff:ff,actions=mod_dl_dst:00:11:22:33:44:55",
    "dl_dst=00:00:00:00:00:01/ff:ff:ff:ff:ff:ff,actions=1",
    "dl_type=0x88cc,actions=2,3",
    "dl_type=0x5ff,actions=2",
    "tcp_src=3,tcp,actions=mod_vlan_pcp:3",
    "sctp,tp_src=4,sctp_dst=5,actions=1",
    "sctp6,tp_dst=5,actions=1",
    "udp6,udp_dst=0x35,actions=1",
    "udp,tp_src=0x10/0xffff,tp_dst=0/0,actions=1",
    "in_port=LOCAL,actions=output:IN_PORT",
    "in_port=local,actions=local",
    "in_port=65000,actions=output:65279",
    "in_port=65534,actions=drop",
    "ip,nw_tos=5,actions=1",
    "ip,ip_frag=no,actions=1",
    "ip,ip_frag=yes,actions=1",
    "ip,ip_frag=first,actions=1",
    "ip,ip_frag=not_later,actions=1",
    "ip,nw_src=0.0.0.0/0,nw_dst=10.1.2.3/16,actions=1",
    "ip,nw_src=*,actions=1",
    "eth_src=00:00:00:00:00:01,eth_type=0x86dd,ip_proto=58,icmpv6_type=135,actions=1",
    "ip,ip,dl_type=0x800,actions=dec_ttl()",
    "dl_vlan=3,in_port=2,ip,nw_dst=10.0.0.1,priority=3 actions=output=1,,2",
    "ip,nw_src=157.2.155.203/7.15.100.89,nw_dst=1.2.3.4/0.0.0.1,actions=1",
    "ipv6,ipv6_src=::1/::1,actions=1",
    // Behind a zero numbers are octal, those of ports apart.
    "priority=010,tcp,tp_dst=0120,nw_ttl=077,dl_vlan=017,in_port=010,actions=mod_vlan_vid:012,output:011,07",
];

/// What only OpenFlow 1.3 and the extensions to it say.
const FLOWS_13: &[&str] = &[
    "ip,actions=set_field:1.2.3.4->ip_src",
    "actions=set_field:aa:bb:cc:dd:ee:ff->eth_dst",
    "actions=load:5->NXM_NX_REG0[]",
    "actions=load:5->reg0[3..7]",
    "actions=load:5->metadata",
    "actions=set_field:5->reg0",
    "actions=set_field:5->xreg0",
    "actions=set_field:5->xxreg0",
    "actions=set_field:5->tun_id",
    "actions=set_field:5->metadata",
    "actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]",
    "actions=move:reg0[0..15]->reg1[16..31]",
    "actions=push:NXM_NX_REG0[],pop:NXM_NX_REG1[0..3]",
    "actions=output:NXM_NX_REG0[],output:reg1[0..15]",
    "actions=output(port=1,max_len=100)",
    "actions=controller",
    "actions=controller:100",
    "actions=controller(max_len=100,reason=no_match,id=5)",
    "actions=controller(userdata=01.02.03,pause)",
    "actions=controller(userdata=01.02.03,meter_id=5)",
    "actions=controller:65535",
    "actions=group:5,resubmit(1,2),resubmit(,3),resubmit:4,resubmit(5,)",
    "ip,actions=dec_ttl(1,2,3)",
    "actions=push_mpls:0x8847,pop_mpls:0x800",
    "tcp,actions=fin_timeout(idle_timeout=5)",
    "actions=conjunction(5,1/2)",
    "actions=multipath(eth_src,50,modulo_n,4,0,NXM_NX_REG0[])",
    "actions=bundle(eth_src,0,hrw,ofport,members:4,8)",
    "actions=bundle(eth_src,0,hrw,ofport,slaves:4,8)",
    "actions=bundle_load(eth_src,0,active_backup,ofport,NXM_NX_REG0[],members:4,8)",
    "actions=check_pkt_larger(1500)->reg0[0]",
    "actions=write_metadata:0x5",
    "actions=write_metadata:0x5/0xff,goto_table:5",
    "actions=meter:1,output:1",
    "actions=meter:1",
    "actions=drop",
    "actions=push_vlan:0x8100,set_field:0x1005->vlan_vid,set_field:3->vlan_pcp",
    "actions=output:TABLE",
    "actions=table",
    "pkt_mark=5,conj_id=7,actset_output=3,reg1=5,reg15=0x10/0xf0,tun_id=5,metadata=6/0xff,in_port=3,actions=drop",
    "actset_output=LOCAL,actions=drop",
    "xreg1=0x500000006,actions=drop",
    "xxreg0=5,actions=drop",
    "xxreg0=5/0xf000f,actions=drop",
    "tun_id=5/0xf,metadata=6,actions=drop",
    "ipv6,ipv6_label=0x5,actions=drop",
    "ipv6,ipv6_label=0x5/0xf,actions=drop",
    "mpls,mpls_label=5,mpls_tc=3,mpls_bos=1,mpls_ttl=4,actions=drop",
    "mplsm,actions=drop",
    "ipv4,actions=drop",
    "ip4,actions=drop",
    "eth,actions=drop",
    "icmp6,icmp_type=135,icmp_code=0,nd_target=fe80::1,nd_sll=1:2:3:4:5:6,actions=drop",
    "icmp6,icmp_type=136,icmp_code=0,nd_target=fe80::1/16,nd_tll=1:2:3:4:5:6,actions=drop",
    "icmp6,icmpv6_type=136,icmpv6_code=0,nd_target=fe80::1/16,nd_tll=1:2:3:4:5:6,actions=drop",
    "icmp6,icmpv6_type=136,nd_target=fe80::1/16,nd_tll=1:2:3:4:5:6,actions=drop",
    "arp,arp_sha=1:2:3:4:5:6/ff:ff:ff:00:00:00,arp_op=2,actions=drop",
    "vlan_vid=0,actions=1",
    "vlan_vid=0x1000/0x1000,actions=1",
    "vlan_vid=0x1005,vlan_pcp=3,actions=1",
    "vlan_vid=0x1005/0x100f,vlan_pcp=3,actions=1",
    "ip,ip_dscp=5,actions=1",
    "ip,nw_tos=20,actions=1",
    "in_port_oxm=3,actions=1",
    "reg0[0..15]=5,actions=1",
    "ip,nw_frag=first,actions=1",
    "in_port=CONTROLLER,actions=1",
    "in_port=ANY,actions=1",
    "in_port=NONE,actions=1",
    "tcp,tp_src=0x50/0xfff0,actions=1",
    "dl_type=0x88e7,actions=1",
    "conj_id=5,ip,actions=1",
    "reg0=0,actions=1",
    "reg0=5/0,actions=1",
    "metadata=0xffffffffffffffff,actions=1",
    "tcp,tcp_flags=+syn,actions=1",
    "actions=set_field:LOCAL->in_port",
    "ip,actions=set_field:8->nw_tos",
    "ip,actions=set_field:6->ip_dscp,set_field:3->ip_ecn",
    "ip,actions=set_field:6->nw_ttl",
    "tcp,actions=set_field:6->tp_src,set_field:7->tcp_dst",
    "icmp6,actions=set_field:6->icmpv6_type",
    "arp,actions=set_field:2->arp_op,set_field:1.2.3.4->arp_spa,set_field:1:2:3:4:5:6->arp_tha",
    "ipv6,actions=set_field:fe80::1->ipv6_src,set_field:5->ipv6_label",
    "actions=set_field:5->vlan_tci,set_field:5->pkt_mark",
    "actions=load:5->xxreg0[100..120]",
    "actions=load:5->xxreg0",
    "actions=move:eth_type->reg1[0..15]",
    "ip,actions=write_actions(controller)",
    "ip,actions=write_actions(resubmit(,1))",
    "ip,actions=write_actions(group:5,output:1)",
    "ip,actions=clone()",
    "ip,actions=clone(drop)",
    "actions=set_field:0->reg0",
    "actions=write_metadata:0",
    "actions=write_metadata:0/0",
    "actions=write_metadata:5/0x3",
    "actions=load:0->reg0",
    "actions=group:0xffffff00",
    "actions=conjunction(5,1/64),conjunction(6,1/2)",
    "actions=output:65279",
    "actions=output:CONTROLLER",
    "actions=CONTROLLER",
    "actions=output(port=LOCAL,max_len=14)",
    "actions=output(max_len=100,port=1)",
    "actions=resubmit(in_port,1)",
    "actions=resubmit(LOCAL,1)",
    "actions=multipath(symmetric_l4,50,hrw,1,5,reg0[0..3])",
    "actions=multipath(symmetric_l3l4+udp,50,iter_hash,65,5,reg0[0..6])",
    "actions=multipath(symmetric_l3l4,50,hash_threshold,16,5,reg0[0..3])",
    "actions=multipath(symmetric_l3,50,hash_threshold,17,5,reg0[0..31])",
    "actions=bundle(symmetric_l4,60,hrw,ofport,members:)",
    "actions=bundle(symmetric_l4,60,hrw,ofport,members:2,LOCAL)",
    "actions=bundle(nw_dst,60,hrw,ofport,members:2,ANY)",
    "actions=exit,output:1",
    "actions=clear_actions",
    "actions=push_mpls:0x8848,set_field:5->mpls_label",
    "mpls,actions=pop_mpls:0x800,set_field:1.2.3.4->ip_src",
    "mpls,actions=pop_mpls:0x8847,set_mpls_ttl:5",
    "ip,actions=dec_ttl(1)",
    "ip,actions=dec_ttl(0,5)",
    "ip,actions=dec_ttl()",
    "tcp,actions=fin_timeout()",
    "tcp,actions=fin_timeout",
    "actions=output:reg0[0..5],output:eth_src[0..15]",
    "actions=output:eth_src",
    "actions=push:eth_src,pop:eth_dst",
    "actions=push:reg0[0..5],pop:vlan_tci[0..5]",
    "actions=controller(reason=action)",
    "actions=controller(reason=invalid_ttl,max_len=5)",
    "actions=controller(reason=group)",
    "actions=controller(reason=packet_out)",
    "actions=controller(reason=action_set)",
    "actions=controller(pause)",
    "actions=controller(id=5)",
    "actions=controller(id=5,max_len=65535)",
    "actions=controller(max_len=128)",
    "actions=controller()",
    "actions=controller(meter_id=5)",
    "actions=1,output:2,flood,3",
    "actions=output(1)",
    "actions=meter:5,clear_actions,goto_table:4",
    "ip,actions=write_actions(set_queue:1)",
    "actions=bundle(nw_dst,60,hrw,ofport,members:2 3)",
    "actions=learn()",
    "actions=learn(NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])",
    "tcp,actions=learn(eth_type=0x800,nw_proto=6,nw_src=1.2.3.4,ip_dst=ip_src,tcp_src=tcp_dst,tcp_dst=80)",
    "actions=learn(eth_type=0x800,load:0xa->reg0[0..7])",
    "ipv6,actions=learn(eth_type=0x86dd,ipv6_src=fe80::1,ipv6_dst=ipv6_src)",
    "actions=learn(vlan_vid=0x1005)",
    "actions=learn(vlan_tci=0x1005)",
    "actions=learn(output:reg0)",
    "actions=learn(limit=5)",
    "actions=learn(in_port=LOCAL)",
    "actions=learn(in_port)",
    "actions=learn(load:1->xxreg0)",
    "actions=learn(xxreg0=0x123456789012345678901)",
    "actions=learn(reg0=5,reg0)",
    "actions=learn(load:0->reg0)",
    "actions=learn(reg0=0)",
    "actions=learn(metadata=0x1234,tun_id=tun_id)",
    "table=3,in_port=5,actions=learn(table=4,hard_timeout=10,priority=10,NXM_OF_ETH_SRC[])",
    "actions=controller(max_len=0)",
    "actions=controller:0",
    "actions=controller(userdata=)",
    "actions=controller(userdata=0102)",
    "actions=set_queue:0xffffffff",
    "actions=write_metadata:0xffffffffffffffff/0xffffffffffffffff",
    "actions=write_metadata:7/0xffffffffffffffff",
    "actions=output:in_port",
    "actions=output:NXM_OF_IN_PORT",
    "actions=push:NXM_NX_REG0",
    "actions=load:0xfffe->NXM_OF_IN_PORT[]",
    "actions=load:0xfffffffffffffffffff->xxreg0",
    "actions=load:0xffff->reg0[0..15],load:1->reg0[31]",
    "actions=resubmit:65534",
    "ip,ip_dscp=5,ip_ecn=3,actions=set_field:3->ip_dscp",
    "dl_vlan=5,actions=set_field:0x1005->vlan_vid,set_field:3->vlan_pcp",
    "tcp,actions=set_field:1.2.3.4->ip_src,set_field:80->tcp_dst,set_field:00:11:22:33:44:55->eth_dst",
    "table=5,priority=5,actions=learn(table=5,priority=5,idle_timeout=3,hard_timeout=4,cookie=0x5,send_flow_rem,\
        delete_learned,fin_idle_timeout=1,fin_hard_timeout=2,limit=5,result_dst=reg0[0],in_port=5,reg0=0x5,load:5->reg1,\
        load:reg0->reg2,load:reg0[0..3]->reg1[4..7],reg5[0..3]=reg6[4..7],eth_dst=1:2:3:4:5:6,metadata,output:reg0[0..15])",
    "tcp,actions=learn(eth_type=0x800,nw_proto=6,nw_src=1.2.3.4,ip_dst=ip_src,tcp_src=tcp_dst,tcp_dst=80)",
    "actions=learn(table=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15],output:NXM_OF_IN_PORT[])",
];

#[test]
fn flows_print_as_ovs_ofctl_prints_them() {
    if ovs_canonical("OpenFlow10", "actions=drop").is_none() {
        eprintln!("skipped: ovs-ofctl is not installed");
        return;
    }
    for (version, flows) in [("OpenFlow10", FLOWS), ("OpenFlow13", FLOWS_13)] {
        for text in flows {
            assert_eq!(Some(canonical(text)), ovs_canonical(version, text), "{text}");
        }
    }
}

#[test]
fn what_is_printed_is_read_back_as_the_same_flow() {
    let more = [
        "actions=push_vlan:0x88a8,set_field:5->vlan_vid,mod_nw_ttl:7,output:vm1,\"vm-2\"",
        "in_port=vm-2,cookie=0xffffffffffffffff,table=0,priority=65535,idle_timeout=1,hard_timeout=2,actions=vm1",
    ];
    for text in FLOWS.iter().chain(FLOWS_13).chain(&more) {
        let flow = parse_flow(text, &Ports).expect(text);
        for ports in [&() as &dyn PortNames, &Ports] {
            for stats in [None, Some(FlowStats { age_ms: 1, packets: 2, bytes: 3 })] {
                let printed = format_flow(&flow, stats.as_ref(), ports);
                assert_eq!(parse_flow(&printed, &Ports).as_ref(), Ok(&flow), "{text} -> {printed}");
            }
        }
    }
}

#[test]
fn a_line_of_dump_flows() {
    let flow = parse_flow("idle_timeout=5,priority=100,tcp,in_port=1,nw_dst=10.0.0.0/8,tp_dst=80 actions=2", &());
    let flow = flow.expect("sound");
    let stats = FlowStats { age_ms: 1200, packets: 7, bytes: 420 };
    let wanted = " cookie=0x0, duration=1.200s, table=0, n_packets=7, n_bytes=420, idle_timeout=5, \
        priority=100,tcp,in_port=1,nw_dst=10.0.0.0/8,tp_dst=80 actions=output:2";
    assert_eq!(format_flow(&flow, Some(&stats), &()), wanted);
    let named = "idle_timeout=5, priority=100,tcp,in_port=vm1,nw_dst=10.0.0.0/8,tp_dst=80 actions=output:\"vm-2\"";
    assert_eq!(format_flow(&flow, None, &Ports), named);
    let all = parse_flow("actions=drop", &()).expect("sound");
    assert_eq!(format_flow(&all, None, &()), "actions=drop");
}

#[test]
fn errors_say_what_where_and_what_was_expected() {
    for (text, column, parts) in [
        ("ip,nw_src=1.2.3,actions=1", 11, ["nw_src", "\"1.2.3\"", "IPv4 address"]),
        ("nw_src=1.2.3.4,actions=1", 1, ["nw_src", "part of", "ip, arp or rarp"]),
        ("ip,tp_dst=80,actions=1", 4, ["tp_dst", "part of", "tcp, udp or sctp"]),
        ("udp,tcp_dst=80,actions=1", 5, ["tcp_dst", "part of", "tcp or tcp6"]),
        ("tcp,udp,actions=1", 5, ["udp", "contradicts", "together"]),
        ("tcp,bogus=1,actions=1", 5, ["bogus", "unknown field", "ovs-fields"]),
        ("tcp,tp_dts=1,actions=1", 5, ["tp_dts", "unknown field", "did you mean \"tp_dst\"?"]),
        ("tpc,actions=1", 1, ["tpc", "unknown field", "did you mean \"tcp\"?"]),
        ("tcp,actoins=1", 5, ["actoins", "unknown field", "did you mean \"actions\"?"]),
        ("prioritiy=1,actions=1", 1, ["prioritiy", "unknown field", "did you mean \"priority\"?"]),
        ("actions=outptu:1", 9, ["unknown action", "outptu", "did you mean \"output\"?"]),
        ("actions=normla", 9, ["unknown action", "normla", "did you mean \"NORMAL\"?"]),
        ("tcp,tp_dst=08,actions=1", 12, ["tp_dst", "\"08\"", "0 to 65535"]),
        ("igmp,actions=1", 1, ["igmp", "unknown field", "ovs-fields"]),
        ("tcp", 4, ["no actions", "actions=", "drop"]),
        ("tcp tp_src = 5 actions=1", 5, ["tp_src", "without a value", "tp_src=VALUE"]),
        ("tcp,tp_src=70000,actions=1", 12, ["tp_src", "70000", "0 to 65535"]),
        ("tcp,table=254,actions=1", 5, ["table 254", "expected", "0 to 253"]),
        ("table=256,actions=1", 7, ["table", "256", "255 for all"]),
        ("metadata=0x1ffffffffffffffff,actions=1", 10, ["metadata", "0x1fff", "64 bits"]),
        ("mpls_label=5,actions=1", 1, ["mpls_label", "part of", "mpls or mplsm"]),
        ("mpls,mpls_label=5/1,actions=1", 17, ["mpls_label", "5/1", "0 to 1048575"]),
        ("reg0[0..32]=5,actions=1", 1, ["reg0", "0 to 32", "0 to 31"]),
        ("actions=group:5,meter:1", 17, ["meter", "behind actions", "in this order"]),
        ("actions=goto_table:1,goto_table:2", 22, ["goto_table", "second time", "once"]),
        ("table=3,actions=goto_table:3", 17, ["goto_table", "table 3", "later table"]),
        ("actions=write_actions(1,goto_table:3)", 25, ["goto_table", "among actions", "outside"]),
        ("actions=write_actions(note:01)", 23, ["note", "action set", "output"]),
        ("actions=conjunction(1,1/2),1", 28, ["1:", "beside other actions", "nothing but"]),
        ("actions=conjunction(1,3/2)", 9, ["conjunction", "out of its range", "K from 1 to N"]),
        ("actions=load:5->reg0[0..1]", 14, ["load", "5->reg0", "2 bits"]),
        ("actions=load:5->tcp_flags", 9, ["load", "read-only", "may write"]),
        ("actions=move:reg0[0..5]->reg1", 9, ["move", "argument", "as many bits"]),
        ("actions=move:rge0->reg1", 14, ["move", "unknown field \"rge0\"", "reg0"]),
        ("actions=clone(set_field:1.2.3.4->ip_src)", 15, ["set_field", "nw_src", "ip (dl_type=0x0800)"]),
        ("actions=learn(nw_src=1.2.3.4)", 9, ["learn", "nw_src", "ip (dl_type=0x0800)"]),
        ("actions=learn(nosuch=1)", 15, ["unknown field", "nosuch", "reg0"]),
        ("actions=set_field:1->actset_output", 9, ["actset_output", "read-only", "may write"]),
        ("actions=output(port=1,max_len=13)", 9, ["output", "argument", "at least 14"]),
        ("priority=70000,actions=1", 10, ["priority", "70000", "0 to 65535"]),
        ("dl_vlan=4096,actions=1", 9, ["dl_vlan", "4096", "0 to 4095"]),
        ("vlan_vid=5,actions=1", 10, ["vlan_vid", "5", "0x1005"]),
        ("in_port=nosuch,actions=1", 9, ["in_port", "nosuch", "port"]),
        ("in_port=flood,actions=1", 9, ["in_port", "flood", "LOCAL"]),
        ("in_port=\"vm1,actions=1", 9, ["quote", "without an end", "closing"]),
        ("tcp,tcp_flags=+bogus,actions=1", 15, ["tcp_flags", "+bogus", "+syn-ack"]),
        ("ip=4,actions=1", 4, ["ip", "4", "just"]),
        ("cookie=1/1,actions=1", 1, ["cookie", "mask", "new flow"]),
        ("out_port=1,actions=1", 1, ["out_port", "expected", "selected"]),
        ("actions=drop,1", 9, ["drop", "other actions", "alone"]),
        ("actions=fly", 9, ["unknown action", "fly", "output"]),
        ("actions=1,mod_vlan_vid:4096", 24, ["mod_vlan_vid", "4096", "0 to 4095"]),
        ("actions=mod_nw_tos:5", 20, ["mod_nw_tos", "5", "multiple of 4"]),
        ("actions=push_vlan:0x9100", 19, ["push_vlan", "0x9100", "0x88a8"]),
        ("actions=strip_vlan:1", 20, ["strip_vlan", "1", "no value"]),
        ("actions=set_field:5->vlan_vid", 9, ["set_field", "vlan_vid", "push_vlan"]),
        ("tcp,actions=set_field:5->udp_src", 13, ["set_field", "udp_src", "udp or udp6"]),
        ("actions=set_field:5->bogus", 19, ["set_field", "5->bogus", "eth_src"]),
        ("actions=output:1(", 16, ["output", "1(", "port number"]),
    ] {
        let error = parse_flow(text, &Ports).expect_err(text);
        let printed = error.to_string();
        assert!(parts.iter().all(|part| printed.contains(part)), "{text}: {printed}");
        assert_eq!(error.column, column, "{printed}");
    }
}

#[test]
fn filters_select_by_match_cookie_port_and_priority() {
    let filter = parse_filter("table=0,cookie=0x10/0xf0,out_port=vm1,tcp", false, &Ports).expect("sound");
    assert_eq!((filter.table, filter.cookie, filter.cookie_mask), (Some(0), 0x10, 0xf0));
    assert_eq!((filter.out_port, filter.strict_priority), (Some(Action::Output(1)), None));
    assert_eq!(filter.matches.key.field(Field::NW_PROTO), 6);
    assert_eq!(parse_filter("cookie=7/-1", false, &()).expect("sound").cookie_mask, u64::MAX);
    assert_eq!(parse_filter("cookie=7", false, &()).expect("sound").cookie_mask, u64::MAX);
    assert_eq!(parse_filter("", false, &()), Ok(Filter::default()));
    assert_eq!(parse_filter("priority=5,ip", true, &()).expect("sound").strict_priority, Some(5));
    assert_eq!(parse_filter("ip", true, &()).expect("sound").strict_priority, Some(DEFAULT_PRIORITY));
    assert!(parse_filter("priority=5,ip", false, &()).is_err());
    assert!(parse_filter("ip,actions=1", false, &()).is_err());
    let local = parse_filter("in_port=LOCAL", false, &()).expect("sound");
    assert_eq!(local.matches.key.field(Field::IN_PORT), u64::from(LOCAL_PORT));
}

#[test]
fn a_modification_says_which_flows_and_what_they_become() {
    let modify = parse_modify("cookie=5,ip,actions=2", false, &()).expect("sound");
    assert_eq!((modify.cookie, modify.filter.cookie_mask, modify.flow.cookie), (Some(5), 0, 5));
    let modify = parse_modify("cookie=5/0xff,ip,actions=2", false, &()).expect("sound");
    assert_eq!((modify.cookie, modify.filter.cookie_mask, modify.flow.cookie), (None, 0xff, 0));
    assert_eq!(modify.flow.actions, [Action::Output(2)]);
    let loose = parse_modify("priority=9,ip,actions=2", false, &()).expect("the flow's, when it has to be added");
    assert_eq!((loose.filter.strict_priority, loose.flow.priority), (None, 9));
    let strict = parse_modify("priority=9,ip,actions=2", true, &()).expect("sound");
    assert_eq!((strict.filter.strict_priority, strict.flow.priority), (Some(9), 9));
}

#[test]
fn no_text_makes_it_panic() {
    let alphabet: Vec<char> = "actions=tcp_flags+-[]|/:,\"( )0x19fiptl->éset_field".chars().collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % limit
    };
    for round in 0..20_000 {
        let mut text: Vec<char> = FLOWS[next(FLOWS.len())].chars().collect();
        for _ in 0..1 + round % 4 {
            let at = next(text.len() + 1);
            match next(3) {
                0 => text.truncate(at),
                1 => text.insert(at, alphabet[next(alphabet.len())]),
                _ => drop((at < text.len()).then(|| text.remove(at))),
            }
        }
        let text: String = text.into_iter().collect();
        let _ = (parse_flow(&text, &Ports), parse_filter(&text, true, &()));
    }
}

/// Open vSwitch prints `icmp_type=4095` here, and does not take it back.
#[test]
fn an_icmp_type_of_more_than_8_bits_reads_as_it_is_printed() {
    let text = "icmp,tp_src=4095,icmp_code=0 actions=drop";
    assert_eq!(canonical(text), text);
}
